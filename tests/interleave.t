#!/bin/sh
# interleave.t: publishers, gc, prune, rollback and readers at work on one
# target, each stopped at named points, in every order (the model and what
# must hold after each is in tests/crash/interleave.pl): on disk and in a
# real S3 server.  ORDERS=n tries n orders a scene, taken evenly from all (a
# few); FULL=1: all of them, and says how many there are; ONLY= names scenes.
#
#	two	two publishers: version placed, lock wanted, commit, lock
#		wanted, pointer, lock wanted; in S3 list, commit, pointer
#	three	three of them: their commits
#	lease	gc and a slow reader of an old version who takes a lease
#	rollback  gc, and a rollback to the version that it removes
#	reader	a publisher, gc, and a slow reader with a lease
#	aged	a publisher, prune --keep-newer-than, a reader without
#	bare	a publisher, prune that keeps nothing, a reader without
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
# the preload stands before the sanitizer's own library, which may be so
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0
STEP=$GEN/step.so
export ASAN_OPTIONS STEP
SCENES=${ONLY:-two three lease rollback reader aged bare}
scenes=$(echo "$SCENES" | wc -w)
[ "${FULL:-0}" != 1 ] || ORDERS=${ORDERS:-0}
plan $((2 * scenes + 1))

# look PLACE SCENE N: nothing here is about what a disk keeps (crash.t)
look() {
	CRASH_NOSYNC=1 LD_PRELOAD=$GEN/record.so \
	    perl "$SRC/tests/crash/interleave.pl" "$1" "$2" \
	    "${ORDERS:-$3}" >"$2.got" 2>&1
	grep '^#' "$2.got"
	is "$(grep -v '^#' "$2.got")" whole \
	    "$2, $where: in each order all is in order"
	# shellcheck disable=SC2046 # words
	set -- $(sed -n 's/^# [a-z]*: \([0-9]*\) orders.*/\1/p' "$2.got")
	sum=$((sum + ${1:-0}))
}
sum=0 where='on disk'
for s in $SCENES; do
	case $s in
	two) look local $s "$(few 10 20)" ;;
	*) look local $s "$(few 6 10)" ;;
	esac
done
if s3_rgw; then
	AWS_ENDPOINT_URL=$RGW
	export AWS_ENDPOINT_URL
	s3do make s3://bucket
	where='in S3'
	for s in $SCENES; do
		look "$RGW" $s "$(few 2 4)"
	done
	want=$((2 * scenes))
else
	skip "$scenes" "$why"
	want=$scenes
fi
s3_down
ok "$sum orders were tried" test $sum -ge $want
finish
