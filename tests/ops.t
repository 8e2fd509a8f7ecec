#!/bin/sh
# ops.t: health and cleanup on disk: verdicts and ages of inputs,
# quarantine and back, pins, leases, what gc removes and what not, and a
# snapshot made anew from its sources.
# shellcheck disable=SC2016,SC2086
. "$(dirname "$0")/lib.sh"
plan 13
S=$DATA/samples

# sample SAMPLE NAME: a writable copy
sample() {
	rm -rf "$2"
	cp -r "$S/$1/db" "$2" && chmod -R u+w "$2"
}
mkdir d
sample clean_small d/good
sample bad_trunc50 d/torn
sample bad_magic d/alien
find d/good -exec touch -d '3 days ago' {} +

# --- the health check of a whole store of deltas
check() { dfetch "$@" | dcheck -k --verdicts v --json; }
status 65 "a health check of all" check d/
like err '^dcheck: 3 inputs: 1 ok, 1 notadb, 1 torn$' \
    "says at the end how many of each"
is "$(sed 's/.*"url":"[^"]*\/\([a-z]*\)".*"verdict":"\([a-z]*\)".*/\1 \2/' v)" \
    "alien notadb
good ok
torn torn" "the list has every verdict"
is "$(grep -c '"sha256":"[0-9a-f]\{64\}","kind":"dir","size":[0-9]*,"mtime":[0-9]*,"verdict"' v)" \
    3 "with digest, size and time"
is "$(grep -c '"reason":".*","mend":"' v)" 2 "with reason and mend"
cp v before
status 65 "a stream that breaks" sh -c \
    'dfetch d/ --json | head -3 | dcheck -k --json --json-in --verdicts v'
ok "leaves the list that was there" cmp v before
is "$(echo v.new*)" "v.new*" "and nothing else"
mkdir taken
status 64 "no directory is a list" sh -c \
    'dfetch d/ | dcheck --verdicts taken --json'
is "$(dfetch -l --older-than 1d d/ | cut -f1)" "$T/d/good" \
    "--older-than lists what is older"
is "$(dfetch -l --newer-than 1d d/ | cut -f1)" "$T/d/alien
$T/d/torn" "--newer-than what is not"
status 0 "nothing of that age" check --older-than 4d d/
status 64 "a web page has no age" dfetch -l --newer-than 1d \
    http://127.0.0.1:1/x
finish
