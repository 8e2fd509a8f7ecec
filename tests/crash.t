#!/bin/sh
# crash.t: the power goes at any moment of a run.  tests/crash/record.c writes
# down what the run does to its files, tests/crash/states.pl makes of that the
# states that the disk may be left in (the model is described there), and
# looks at each: old or new, whole, opened by the programs, and the same
# command again comes to the same end.  CRASH=n states in all (500), SEED=n
# others.
. "$(dirname "$0")/lib.sh"
GEN=${GEN:-$SRC/build/gen}
CRASH=${CRASH:-500}
SEED=${SEED:-1}
# the preload stands before the sanitizer's own library, which may be so;
# a leak checker waits for ever for its own helper when that is what dies
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0
RECORD=$GEN/record.so
IN=$T/in
export ASAN_OPTIONS RECORD IN

# two at a time: the long ones first
one="killed_next killed_ckpt ckpt chroma next merge rollback place gc
    killed_rollback quarantine"
two="killed_inplace killed_first alone first killed_merge inplace inback
    killed_place prune killed_gc killed_quarantine"
plan 24

mkdir in
"$GEN/gendelta" --out in/a --count 2 --records 4 --dim 8 --seed 1
"$GEN/gendelta" --out in/b --count 2 --records 4 --dim 8 --seed 2 --start 100
mkdir -p in/s/x in/s/y in/t/x in/t/z
for f in 1 2 3 4 x/5 x/6 y/gone; do
	echo "old $f" >"in/s/$f"
done
for f in 1 2 3 5 x/5 x/6 z/fresh; do
	echo "new, and longer: $f" >"in/t/$f"
done
echo same | tee in/s/same >in/t/same

lap=
each=$(((CRASH + 21) / 22))
look() {
	for s in "$@"; do
		perl "$SRC/tests/crash/states.pl" "$s" $each "$SEED" \
		    >"$s.got$lap" 2>&1
	done
}
# what does not sync is found out, or nothing else here means anything
look naive
sed 's/^[^#]/# &/' naive.got | tail -3
is "$(grep -v '^#' naive.got | tr -s '0-9 ' '\n' | grep -E 'lost|torn' |
    tr '\n' ' ')" "lost torn " "a rename without fsync is caught"
# shellcheck disable=SC2086 # lists of words
{
	look $one &
	look $two
	wait
}
sum=0
for s in $one $two; do
	grep '^#' "$s.got" | head -20
	is "$(grep -v '^#' "$s.got")" whole "$s"
	got=$(sed -n 's/^# [a-z_]*: \([0-9]*\) distinct.*/\1/p' "$s.got")
	sum=$((sum + ${got:-0}))
done
# some have no more states than they have: those with the most make up for it
if [ $sum -lt $((CRASH - CRASH / 10)) ]; then
	lap=.more SEED=$((SEED + 1)) each=$(((CRASH - sum + 1) / 2))
	look killed_next &
	look killed_inplace
	wait
	for s in killed_next.got.more killed_inplace.got.more; do
		grep '^#' $s | head -20
		[ "$(grep -v '^#' $s)" = whole ] || sum=0
		got=$(sed -n 's/^# [a-z_]*: \([0-9]*\) distinct.*/\1/p' $s)
		sum=$((sum + ${got:-0}))
	done
fi
is "$([ $sum -ge $((CRASH - CRASH / 10)) ] && echo ok)" ok \
    "$sum distinct states were left by the power cut, all whole"
finish
