#!/bin/sh
# mistakes.t: what a hand on the keyboard gets wrong: plain keys where versions
# are published, a word misspelt, an operand too few, a clock of tomorrow, a
# plan out of an editor.  Nothing is lost, and one line says what was wanted.
. "$(dirname "$0")/lib.sh"
plan 96

publish() { drun "dfetch -B $1 '$DATA'/demo/delta-01 | dcheck | dmerge |
    dpublish $1"; }
files() { drun "dfetch --files $1 | dcheck | dpublish --in-place $2"; }
whole() { find "$1" -type f -exec sha256sum {} + | sort; }

# --- plain keys over versions
mkdir -p site up
echo 1 >site/x
status 0 "a target" publish up/t
whole up >before
for o in '' --delete '--delete -n' '--delete --max-delete 99'; do
	status 64 "no plain keys go over versions: $o" files site "$o up/t"
	like "$T/err" "dpublish: $T/up/t: versions are published there" \
	    "and it is said"
done
status 64 "nor do versions go with what lies beside them" \
    files site "--delete up"
like "$T/err" "dpublish: $T/up/t: --delete: versions .* \(t/commits/1.json\)" \
    "and it is said"
find up -path up/.intact -prune -o -type f -exec sha256sum {} + | sort >after
ok "all is as it was" cmp before after
mv up/t/latest-pointer.txt pointer
status 64 "nor where a crash came before the pointer" \
    files site "--delete up"
ok "they are there" test -e up/t/commits/1.json
mv pointer up/t/latest-pointer.txt
status 0 "beside them plain keys may lie" files site up
ok "all is there" test -e up/x -a -e up/t/latest-pointer.txt

status 0 "a copy of a target is a set like any other" \
    files up/t "--delete copy"
status 0 "so is the next one" files up/t "--delete copy"
ok "it is the target" cmp up/t/latest-pointer.txt copy/latest-pointer.txt
status 64 "another set does not end it" files site "--delete copy"
status 0 "without --delete it lies beside" files site copy
status 0 "a target in between plain keys" publish up
status 64 "stays" files site "--delete up"
status 66 "plain keys have no log" dpublish log copy/t
rm -r copy
status 0 "plain keys" files site copy
status 66 "have no versions" dpublish log copy
like "$T/err" "dpublish log $T/copy/.intact\$" "where they are is said"
status 0 "there they are" dpublish log copy/.intact
status 0 "a target of its own" publish copy2

# --- commits that somebody has cleared away
status 0 "a second version" drun "dfetch -b copy2 '$DATA'/demo/delta-02 |
    dcheck | dmerge | dpublish copy2"
rm copy2/commits/2.json
status 66 "a commit that is lost is no pointer that the next run mends" \
    dpublish log copy2
like "$T/err" ": commits were lost (.*); restore commits/\$" "it is said"
is "$(wc -l <"$T/out")" 1 "what is left is listed"

# --- one line that says what was wanted, and the usage
# says 'STDERR' PROGRAM ARGUMENT...
says() {
	re=$1; shift
	"$@" >"$T/out" 2>"$T/err" </dev/null
	got="$? $(sed -n 1p "$T/err" | grep -c -- "$re") \
$(sed -n 2p "$T/err" | grep -c '^usage: ')"
	is "$got" "64 1 1" "$*"
	[ "$got" = "64 1 1" ] || sed 's/^/# /' "$T/err" | head -3
}
says ': rolback: no such verb; .* got 2$' dpublish rolback up
says ': want a target, or a verb' dpublish
says ': log: want a target, got 0 operands$' dpublish log
says ': gc: want --keep-newer-than, such as' dpublish gc up
says ': prune: want a target, got 2 operands$' dpublish prune \
    --keep-newer-than 7d up up
says ': lease: want --for, such as' dpublish lease up
says ': pin --list: want a target alone, got 0' dpublish pin --list
says ': unpin: want a target and names, got 1 operand$' dpublish unpin up
says ': rebuild: want a target, a directory' dpublish rebuild up
says ': quarantine: want a target and --verdicts' dpublish quarantine up
says ': unquarantine: want' dpublish unquarantine up
says ': holds: want places, got 0' dpublish holds
says ': --in-place: want a prefix, got 0' dpublish --in-place
says ': --max-delete: want --delete' dpublish --in-place --max-delete 1 x
says ': --rollback: neither with' dpublish --in-place --rollback --delete x
says ': --keep: does not go with log$' dpublish log --keep 3 up
says ': --rollback: does not go with a target$' dpublish --rollback up
says ': --plan: does not go with gc$' dpublish gc -p x up
says ': --artifact: does not go with --in-place$' dpublish -a x --in-place up
says ': --keep-newer-than: 7x: want seconds, or' dpublish gc \
    --keep-newer-than 7x up
says ': --max-size: 7q: want bytes, or' dfetch --max-size 7q up
says ': x: want no operand' dmerge x
says ': want a pipeline' drun
says ': --state: x: want pending, in_progress,' dckpt -c c.db list --state x

# --- a URL where only a path will do
status 64 "a store is made here" sh -c "dfetch '$DATA'/demo/delta-01 | dcheck |
    dmerge -o s3://b/k"
like "$T/err" 's3://b/k: want a path of this machine here, got a URL' \
    "and it is said"
status 66 "a file may be called like that" dpublish -a out ./s3://b/k

# --- a target where only inputs will do
V=$(cat up/t/latest-pointer.txt)
for o in up/t up/t/ "file://$T/up/t"; do
	status 64 "a target is no directory of inputs: $o" dfetch "$o"
	like "$T/err" "^dfetch: $T/up/t: a target, .* -b .* timestamped/ as" \
	    "and it is said"
	is "$(wc -l <"$T/err")" 1 "in one line"
done
status 64 "nor in a list" dfetch -l up/t
status 0 "what is said goes: the base" sh -c 'dfetch -b up/t | dcheck'
status 0 "what is said goes: a version" dfetch -l "up/t/timestamped/$V"
mv up/t/commits lost
status 64 "nor is it without its commits" dfetch -l up/t
mv lost up/t/commits
mkdir names
cp -R "$DATA/demo/delta-01" names/commits
cp -R "$DATA/demo/delta-02" names/latest
status 0 "one such name is an input's" dfetch -l names
is "$(wc -l <"$T/out")" 2 "of two"

# --- the other form of the stream
piped() { sh -c "dfetch $1 '$DATA'/demo/delta-01 | dcheck $2 >/dev/null"; }
status 76 "JSON for msgpack" piped --json ''
like "$T/err" ': stream: JSON lines: want msgpack, or --json-in' "is said"
status 76 "msgpack for JSON" piped '' --json-in
like "$T/err" ': stream: msgpack: want JSON lines, or no --json-in' "is said"

# --- help that nobody gets
[ ! -c /dev/full ] || dmerge --help >/dev/full 2>"$T/err"
is "$? $(grep -c '^dmerge: stdout: ' "$T/err")" "74 1" "help, and no room"

# --- a clock of tomorrow, a plan out of an editor
cp -R "$DATA/demo/delta-01" now
cp -R now later
find later -exec touch -d '2 days' {} +
status 0 "a delta of today" dfetch -l now
is "$(cat "$T/err")" "" "about which nothing is said"
status 0 "one of the day after tomorrow" dfetch -l later now
is "$(grep -c "^dfetch: warning: $T/later: its newest file is of the future" \
    "$T/err")" 1 "and it is said"
dfetch -l later >plan 2>/dev/null
status 0 "with a seq= of its own" dfetch -l -f plan
is "$(cat "$T/err")" "" "it is as it should be"
printf '\357\273\277now\n' >plan
status 64 "a byte order mark" dfetch -l -f plan
like "$T/err" ": plan:1: begins with a byte order mark" "is named"

# --- an operand too many or too few, a number out of range
status 64 "dfetch alone" dfetch
like "$T/err" "^dfetch: nothing to fetch: want an input, a base" \
    "says what it lacks"
status 64 "dfetch -l alone" dfetch -l
like "$T/err" "^dfetch: nothing to list: want an input or a plan" "so, too"
status 64 "dcheck with an operand" dcheck now
like "$T/err" "^dcheck: now: no operand is wanted: .* stdin" "says why"
status 64 "no time at all" dcheck --timeout 0
like "$T/err" "^dcheck: --timeout 0: too small: want 1s to [0-9]+s" \
    "names the range"
finish
