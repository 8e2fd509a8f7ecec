#!/bin/sh
# race.t: two publishers, one target, 30 rounds (MORE=1: 200).  Both merge a delta of
# their own onto the same version; one wins, the other is told 73, leaves
# nothing and does it again.  No delta may be lost.
. "$(dirname "$0")/lib.sh"
GEN=${GEN:-$SRC/build/gen}
PATH=$GEN:$PATH
ROUNDS=${ROUNDS:-$(few 30 200)}
plan 8

# gen NAME SOURCE; pub NAME: each with a staging of its own
gen() {
	rm -rf "intact.$1"
	genrun A "intact.$1" "$2" >"$1.json"
}
pub() { dpublish --json-in --stage "intact.$1" A <"$1.json" >"$1.out" 2>"$1.err"; }

gen a first
pub a
is $? 0 "a first version"
r=0 first=0 second=0 odd='' again='' behind=''
while [ $r -lt "$ROUNDS" ]; do
	r=$((r + 1))
	gen a "a$r"
	gen b "b$r"
	pub a & pa=$!
	pub b & pb=$!
	wait $pa; sa=$?
	wait $pb; sb=$?
	case $sa,$sb in
	0,73) first=$((first + 1)) loser=b ;;
	73,0) second=$((second + 1)) loser=a ;;
	*) odd="$odd $r:$sa,$sb"; continue ;;
	esac
	grep -q 'generation .* was taken by run .* with version' $loser.err ||
		odd="$odd $r:words"
	gen $loser "$loser$r"
	pub $loser || again="$again $r:$?"
	[ "$(ls A/commits | wc -l)" -eq $((1 + 2 * r)) ] ||
		behind="$behind $r"
done
is "$odd" "" "in each of $ROUNDS rounds one wins and the other is told 73"
is "$again" "" "which then publishes what it has onto the winner's version"
is "$behind" "" "one commit for each version that was published"
echo "# the first to start won $first times, the second $second times"
{ echo first; i=0; while [ $i -lt "$ROUNDS" ]; do
	i=$((i + 1)); echo "a$i"; echo "b$i"; done; } | sort >want
grep -o '/deltas/[^"]*' "A/timestamped/$(cat A/latest-pointer.txt)/manifest.json" |
    sed 's,.*/,,' | sort >got
ok "no delta was lost" cmp got want
is "$(ls A/timestamped | wc -l | tr -d ' ')" $((1 + 2 * ROUNDS)) \
    "and no loser left a version"
is "$(find A/staging -mindepth 1 ! -name .lock)" "" "or anything in staging"
status 0 "the last version is what it was published as" dpublish rollback A \
    "$(cat A/latest-pointer.txt)"
finish
