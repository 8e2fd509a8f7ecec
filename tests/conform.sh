#!/bin/sh
# conform.sh COMMAND [ARG...]: does a stage keep the rules of dstream(5)?
# Runs it on small streams, whole, cut at every byte and malformed, and
# looks at what it writes.  TAP; any stage that passes records on can be
# put through it, in any language:
#	tests/conform.sh examples/foreign.py
# CONFORM_STATUS=76 wants exactly that status where a broken stream is
# refused; without it any status but 0 will do.
# CONFORM_STEP=N cuts at every Nth byte only.
# It uses perl for msgpack and nothing of intact's own.
# SPDX-License-Identifier: ISC
[ $# -gt 0 ] || { echo "usage: conform.sh command [arg ...]" >&2; exit 64; }
if [ -f "$1" ] && [ "${1#/}" = "$1" ] && [ "${1#*/}" != "$1" ]; then
	first=$PWD/$1
	shift
	set -- "$first" "$@"
fi
. "$(dirname "$0")/lib.sh"
plan 34
MP=$SRC/tests/mp.pl
STATUS=${CONFORM_STATUS:-}
# a staging directory, as drun would make it
DRUN_ID=20261120T120000.000000Z-c0f0c0f0
DSTAGE=$T/intact.$DRUN_ID
mkdir -m 700 "$DSTAGE"
: >"$DSTAGE/lock"
export DSTAGE
# no DRUN_ID: nothing here is a run of drun's

H='{"t":"hello","v":1,"prog":"conform","version":"0","run":"'$DRUN_ID'"}'
E='{"t":"end","totals":{"planned":0,"fetched":0,"skipped":0,"x_seen":7}}'
S='{"t":"skip","url":"/a b","sha256":"'$(printf '%064d' 0)'","why":"digest",
"x_key":{"deep":[1,-5,300,18446744073709551615,1.5,null,true,"é☃"]}}'
S=$(printf %s "$S" | tr -d '\n')
U='{"t":"x-unknown","list":[1,-1,255,65536,-9223372036854775808,0.1,{"a":[]}],
"bin":{"$bin":"00ff80"},"text":"tab\tnul\u0000 ☃"}'
U=$(printf %s "$U" | tr -d '\n')

# stream LINE...: as msgpack into $T/in
stream() { printf '%s\n' "$@" | "$MP" enc >"$T/in"; }
# through CMD...: $T/in through it; $T/out its bytes, $T/lines its records,
# $got its status; a decoder that finds a cut leaves "CUT" as last line
through() {
	timeout 60 "$@" <"$T/in" >"$T/out" 2>"$T/err"
	got=$?
	"$MP" dec <"$T/out" >"$T/lines" 2>"$T/dec" || echo CUT >>"$T/lines"
}
ended() { grep -c '"t":"end"' "$T/lines"; }
failed() { grep -c '"t":"fail"' "$T/lines"; }
# refused 'what': no END, and the status says so
refused() {
	if [ -n "$STATUS" ]; then
		is "end $(ended) status $got" "end 0 status $STATUS" "$1"
	elif [ "$got" = 0 ] || [ "$got" = 124 ] || [ "$(ended)" != 0 ]; then
		is "end $(ended) status $got" "end 0 status not 0, in time" "$1"
	else
		is 1 1 "$1"
	fi
}
# canon LINE: as the decoder writes it
canon() { printf '%s\n' "$1" | "$MP" enc | "$MP" dec; }

# --- what must pass
stream "$H" "$E"
through "$@"
is "$got" 0 "hello, end: status 0"
is "$(sed -n 1p "$T/lines" | grep -c '"t":"hello".*"v":1')" 1 \
    "the first record is a hello of version 1"
is "$(sed -n 1p "$T/lines" | sed 's/.*"run":"\([^"]*\)".*/\1/')" "$DRUN_ID" \
    "its run id is the one that came in"
is "$(wc -l <"$T/lines" | tr -d ' ') $(sed -n 2p "$T/lines" | grep -c '"t":"end"')" \
    "2 1" "the second and last is an end"
is "$(grep '"t":"end"' "$T/lines" | grep -c '"totals":{')" 1 "end has totals"
is "$(grep '"t":"end"' "$T/lines" | grep -c '"x_seen":7')" 1 \
    "totals that it does not know go on"

stream "$H" "$U" "$S" "$U" "$E"
through "$@"
is "$got" 0 "unknown type and keys: status 0"
is "$(sed -n 2p "$T/lines")" "$(canon "$U")" \
    "an unknown lower-case type passes untouched"
is "$(grep '"t":"skip"' "$T/lines")" "$(canon "$S")" \
    "unknown keys of a known type pass untouched"
is "$(grep -c x-unknown "$T/lines")" 2 "twice is twice"
is "$(tail -1 "$T/lines" | grep -c '"t":"end"')" 1 "end comes last"

stream "$H" "$U" "$E"
mv "$T/in" "$T/whole"
mkfifo "$T/in"
dd ibs=7 obs=7 if="$T/whole" of="$T/in" 2>/dev/null &
through "$@"
wait
rm "$T/in"
is "$(ended)" 1 "bytes that arrive in pieces make the same records"

# --- what must not become an END
stream "$H" "$U" "$S" "$E"
mv "$T/in" "$T/whole"
size=$(wc -c <"$T/whole")
wrong=$("$MP" cuts "$T/whole" "${CONFORM_STEP:-1}" "$STATUS" "$@")
is "$wrong" "" "cut at any of $size bytes: no end, and a status that says so"

: >"$T/in"
through "$@"
refused "no byte at all is no stream"

stream "$H"
through "$@"
refused "hello alone is no stream"

F='{"t":"fail","prog":"up","status":65,"reasons":["up: a/b.tar: torn"],"n_reasons":1}'
stream "$H" "$U" "$F"
through "$@"
refused "fail in: no end out"
is "$(failed) $(tail -1 "$T/lines" | grep -c '"t":"fail"')" "1 1" \
    "fail in: one fail out, as the last record"
is "$(grep -c 'a/b.tar: torn' "$T/lines")" 1 "its reasons go on"

stream "$H" "$E" "$U"
through "$@"
refused "a record after end"
{ stream "$H" "$E" && printf x >>"$T/in"; }
through "$@"
refused "a byte after end"
stream "$H" "$F" "$E"
through "$@"
refused "end after fail"
is "$(ended)" 0 "no end is written after a fail"

stream "$H" '{"t":"Important","x":1}' "$E"
through "$@"
refused "an unknown type in capitals"
stream '{"t":"hello","v":2,"run":"r"}' "$E"
through "$@"
refused "a version of the format that is not 1"
stream "$E"
through "$@"
refused "no hello"
stream "$H" "$H" "$E"
through "$@"
refused "two hellos"
stream "$H" '{"x":1}' "$E"
through "$@"
refused "a record without a type"
stream "$H" '[1]' "$E"
through "$@"
refused "a record that is no map"
stream "$H" '{"$raw":"82a174a161a174a162"}' "$E"
through "$@"
refused "a key twice"

# --- limits: five bytes that ask for 2^32 - 1 pairs, and the like
stream "$H" '{"$raw":"dfffffffff"}' "$E"
through "$@"
refused "a map that declares 4294967295 pairs"
stream "$H" '{"t":"x","d":[[[[[[[[[[[[1]]]]]]]]]]]]}' "$E"
through "$@"
refused "deeper than 8"
{
	stream "$H"
	cat "$T/in"
	perl -e 'print "\x82\xa1t\xa1x\xa1s\xdb", pack("N", 2000000), "y" x 2000000'
	stream "$E"
	cat "$T/in"
} >"$T/big"
mv "$T/big" "$T/in"
through "$@"
refused "a record over 1 MiB"

# --- its own output
stream "$H" "$U" "$E"
timeout 60 "$@" <"$T/in" >/dev/full 2>"$T/err"
got=$?
[ -z "$STATUS" ] || want=74
if [ "$got" = 0 ] || { [ -n "$STATUS" ] && [ "$got" != "$want" ]; }; then
	is "$got" "${want:-not 0}" "a full disk is not success"
else
	is 1 1 "a full disk is not success"
fi
# the reader leaves at once, and upstream has nothing more to say
mkfifo "$T/pipe"
(
	exec >"$T/pipe"
	cat "$T/in"
	exec sleep 60
) &
holder=$!
{
	timeout 20 "$@" <"$T/pipe" 2>"$T/err"
	echo $? >"$T/status"
} | :
kill $holder
is "$(grep -cvE '^(0|124|137)$' "$T/status")" 1 \
    "a reader that left is noticed, and is no success"
finish
