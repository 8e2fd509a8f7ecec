#!/bin/sh
# soak.t: three publishers, five readers and a collector at work on one
# target at once, here, and in a real S3 server behind a proxy that fails
# three requests in ten and delays as many (tests/real/soak.py tells what
# each does and proves).  SOAK=10m goes on for so long (s, m, h); without it
# each does its work once and a little more.
ON_DISK=1
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
SOAK=${SOAK:-1s}
LEAST=${LEAST:-1}
EXITS=$GEN/exits.so
# the preload stands before the sanitizer's
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0
# which takes memory of its own
PEAK=65536
! grep -q __asan_init "$BIN/dpublish" || PEAK=1048576
export LEAST EXITS ASAN_OPTIONS PEAK
each=8
plan $((2 * each + 1))
case $SOAK in
*s)	s=${SOAK%s} unit=1 ;;
*m)	s=${SOAK%m} unit=60 ;;
*h)	s=${SOAK%h} unit=3600 ;;
*)	s=$SOAK unit=1 ;;
esac
case $s in
'' | *[!0-9]*)
	echo "Bail out! SOAK=$SOAK: want a number and s, m or h"
	exit 64 ;;
esac
s=$((s * unit))

# soak NAME ARG...: in the background
soak() {
	name=$1
	shift
	{
		"$REAL/soak.py" "$T/$name" $s "$@" >"$name.facts" 2>"$name.err"
		echo $? >"$name.status"
	} &
}
# fact NAME WHAT: its number
fact() { sed -n "s/^$2 //p" "$1.facts" | grep . || echo 0; }
bad() { sed -n "s/^bad $2 //p" "$1.facts"; }
# judge NAME: what came of it
judge() {
	echo "# $1, $s s:"
	grep -v '^bad' "$1.facts" | sed 's/^/#   /'
	is "$(cat "$1.status" "$1.err")" 0 "$1: it runs to its end"
	ok "$1: all have published and read" test \
	    "$(fact "$1" published)" -ge $((1 + 3 * LEAST)) -a \
	    "$(fact "$1" snapshots_read)" -ge $((5 * LEAST)) -a \
	    "$(fact "$1" snapshots_read)" -eq "$(fact "$1" snapshots_verified)"
	is "$(bad "$1" snapshot)" "" "$1: each snapshot that was read is one"
	is "$(bad "$1" lost)" "" "$1: nothing is lost, nothing goes back"
	is "$(bad "$1" status)" "" "$1: nothing fails but with 73 or 75"
	is "$(bad "$1" left)" "" \
	    "$1: no file, upload, claim, lease or process is left"
	is "$(bad "$1" descriptor)" "" "$1: nor a descriptor"
	is "$(bad "$1" memory)" "" "$1: memory stays what it was"
}

if [ ! -x /usr/bin/python3 ]; then
	skip $planned "no Python here"
	finish
fi
if s3_rgw; then
	fault_up '' "$RGW"
	fault '* . 5% not reset' '* . 5% done reset' '* . 5% done tear 200' \
	    '* . 35% done delay 0.2' '* . 10% not status 503' \
	    '* . 5% not status 429 after=1'
	soak s3 "$RGW" "$PROXY"
fi
soak local
wait
judge local
if [ -z "${RGW-}" ]; then
	skip $((each + 1)) "$why"
	s3_down
	finish
fi
judge s3
# as many of each kind as there should be, within four deviations
awk '/^ask / { n++; k[$5]++ }
    END {
	split("5 5 5 35 10 5", p, " ")
	split("reset,reset after it was done,torn,late,503,429", w, ",")
	printf "# %d requests, %d faults:\n", n, n - k[0] - k[4]
	for (i = 1; i <= 6; i++) {
		want = n * p[i] / 100
		far = k[i] < want ? want - k[i] : k[i] - want
		printf "#   %s: %d\n", w[i], k[i]
		if (far > 4 * sqrt(want * (1 - p[i] / 100)) + 1)
			print w[i] ": " k[i] + 0 ", want " want
	}
    }' "$FP/log" >faults
grep '^#' faults
is "$(grep -v '^#' faults)" "" "s3: three of ten requests failed, as many were late"
s3_down
finish
