#!/bin/sh
# s3ops.t: health and cleanup before a real S3 server: verdicts of a prefix,
# quarantine and back, pins, leases and gc; and each of these killed at every
# fourth request it makes (MORE=1: each), by a proxy that kills it between the
# server's deed and its answer.
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
N=44
plan $N
if ! s3_rgw; then
	skip $N "$why"
	s3_down
	finish
fi
export AWS_ENDPOINT_URL=$RGW
s3do make s3://bucket
A=s3://bucket/rag
S=$DATA/samples

# tree DIR URL: all files of a directory, as objects
tree() {
	(cd "$1" && find . -type f | sed 's,^\./,,') | while read -r f; do
		printf 'put\t%s\t%s\n' "$2/$f" "$1/$f"
	done | s3do - >/dev/null
}
# objects URL: "size etag name" of all below it
objects() { s3do list "$1" | sed "s, ${1#s3://bucket/}, ,"; }
names() { objects "$1" | sed 's/.* //'; }
mkdir d
for s in clean_small bad_trunc50 bad_magic; do cp -R "$S/$s/db" "d/$s"; done
chmod -R u+w d
printf '%s\n' '{"custom_id":"r1","error":{}}' >d/batch.jsonl
tree d $A/deltas
merge() {
	drun "dfetch -B $A $1 | dcheck | dmerge | dpublish $A" >/dev/null
}
merge $A/deltas/clean_small/

# --- verdicts
status 65 "a health check of a whole store of deltas" sh -c \
    "dfetch $A/deltas/ | dcheck -k --verdicts v --json"
like err '^dcheck: 4 inputs: 1 ok, 1 notadb, 1 torn, 1 batch$' \
    "how many of each"
status 0 "inputs of an age" dfetch -l --newer-than 1h $A/deltas/
is "$(grep -c . out)" 4 "are listed"
status 0 "none that is older" dfetch -l --older-than 1h $A/deltas/
is "$(cat out)" "" "is"

# --- set aside
torn=$(objects $A/deltas/bad_trunc50/)
status 0 "what would be set aside" dpublish quarantine -n --verdicts v \
    --requeue again $A
is "$(grep -c '^would move ' out)" 3 "is said"
is "$(names $A/quarantine/)" "" "and nothing is done"
status 0 "set aside" dpublish quarantine --verdicts v --requeue again $A
is "$(names $A/deltas/ | sed 's,/.*,,' | sort -u)" clean_small \
    "what was refused is gone from there"
is "$(names $A/quarantine/ | grep '\.json$' | sed 's/-[0-9a-f]*//' | sort)" \
    "bad_magic/moved.json
bad_magic/requeue.json
bad_magic/verdict.json
bad_trunc50/moved.json
bad_trunc50/requeue.json
bad_trunc50/verdict.json
batch.jsonl/moved.json
batch.jsonl/requeue.json
batch.jsonl/verdict.json" "and lies there with its verdicts"
q=$(names $A/quarantine/ | sed -n 's,^\(bad_trunc50[^/]*\)/verdict.*,\1,p')
is "$(objects "$A/quarantine/$q/bad_trunc50/")" "$torn" "whole"
is "$(grep -c . again)" 3 "all are listed to be sent again"
like again '"custom_ids":\["r1"\]' "with custom_ids"
status 0 "once more" dpublish quarantine --verdicts v --requeue again $A
is "$(grep -c '^kept ' out) $(grep -c . again)" "3 3" "changes nothing"
status 0 "the list" dpublish quarantine --list --verdict torn $A
like out " torn       moved   $q  $A/deltas/bad_trunc50/\$" "of one verdict"
printf x >x
s3do put $A/deltas/bad_trunc50/x x >/dev/null
status 73 "back, where something is" dpublish unquarantine $A "$q"
s3do del $A/deltas/bad_trunc50/x
status 0 "back" dpublish unquarantine $A "$q"
is "$(objects $A/deltas/bad_trunc50/)" "$torn" "whole"
is "$(names "$A/quarantine/$q/")" "" "and gone from there"
printf x >>d/bad_trunc50/chroma.sqlite3
s3do put $A/deltas/bad_trunc50/chroma.sqlite3 \
    d/bad_trunc50/chroma.sqlite3 >/dev/null
status 65 "one that has changed since" dpublish quarantine --verdicts v $A
like err 'bad_trunc50/: sha256: .* changed since it was checked' "is named"
# from one kind of place to the other
cp -R "$S/bad_size0/db" here && chmod -R u+w here
status 0 "from here" dpublish quarantine $A here
ok "it is gone" test ! -e here
q=$(names $A/quarantine/ | sed -n 's,^\(here[^/]*\)/verdict.*,\1,p')
status 0 "and back" dpublish unquarantine $A "$q"
ok "whole" diff -r "$S/bad_size0/db" here
mkdir -p L/timestamped
status 0 "from there to here" dpublish quarantine L \
    $A/deltas/bad_trunc50/
ok "whole" diff -r d/bad_trunc50 L/quarantine/bad_trunc50-*/bad_trunc50
is "$(names $A/deltas/bad_trunc50/)" "" "and gone from there"

# --- pins and leases
gendelta --out g --count 3 --records 4 --dim 8 --seed 3 >/dev/null
for i in 0 1 2; do merge "g/delta-000$i"; done
# shellcheck disable=SC2046
set -- $(names $A/timestamped/ | sed 's,/.*,,' | sort -u)
v1=$1 v2=$2 v3=$3 v4=$4
dpublish pin $A "$v1" --reason why >/dev/null
dpublish lease $A "$v2" --for 1h --name me >/dev/null
status 0 "what is kept" dpublish pin --list $A
is "$(sed 's/ 3[56][0-9]* s/ S/' out)" "$v1  pin  why
$v2.me  lease, S left" "is listed"
dpublish lease $A "$v2" --for 2h --name me >/dev/null
like "$(dpublish pin --list --json $A >l; echo l)" '"seconds":7200' \
    "a lease goes on"
status 0 "gc" dpublish gc --keep-newer-than 0 $A
is "$(cat out)" "removed $A/timestamped/$v3" "removes what nobody holds"
# one that is being removed is not leased any more
printf '{"removes":"%s","run":"x"}\n' "$v2" >owner
s3do put $A/staging/other/owner owner >/dev/null
status 75 "a lease of what is being removed" dpublish lease $A "$v2" \
    --for 1h --name late
is "$(names $A/pins/ | grep -c late)" 0 "is not made"
s3do del $A/staging/other/owner
dpublish unpin $A "$v2.me"
dpublish lease $A "$v2" --for 1s --name short >/dev/null
perl -e 'select(undef, undef, undef, 2.2)'
status 0 "gc after a lease is over" dpublish gc --keep-newer-than 0 $A
is "$(names $A/timestamped/ | sed 's,/.*,,' | sort -u | tr '\n' ' ')" \
    "$v1 $v4 " "by the store's clock"

# --- killed at every request
cat >killer <<'K'
#!/bin/sh
kill -KILL "$(cat pid)" 2>/dev/null
K
sed -i "s,pid,$T/pid,g" killer
chmod +x killer
fault_up a "$RGW"
# what is put under each new prefix, as far as it can be copied
save() {
	rm -rf "$1"
	mkdir "$1"
	for f in $(names "$2/"); do
		mkdir -p "$1/$(dirname "$f")"
		printf 'get\t%s\t%s\n' "$2/$f" "$1/$f"
	done | s3do - >/dev/null
}
# killed SCENE SAVED COMMAND...: tests/s3ops.pl
killed() {
	BY=$(few 4 1) A=$A V="$v1 $v2 $v3 $v4" KILLER=$T/killer perl "$SRC/tests/s3ops.pl" \
	    "$@" >odd 2>&1
	grep '^#' odd
	is "$(grep -v '^#' odd | head -40)" "" "$1: killed at a request"
}
export FP PROXY
mkdir k
cp -R d/bad_magic d/batch.jsonl k
mkdir -p K/deltas
cp -R k/* K/deltas
mkdir one
drun "dfetch -B s3://bucket/one g/delta-0000 | dcheck | dmerge |
    dpublish s3://bucket/one" >/dev/null
save one s3://bucket/one
cp -R one/* K
killed aside K dpublish quarantine @P @P/deltas/bad_magic/ \
    @P/deltas/batch.jsonl

killed back K dpublish unquarantine @P '$(cat names)'

dpublish unpin $A "$v1"
for i in 1 2; do merge "a$i" 2>/dev/null || {
	gendelta --out "h$i" --count 1 --records 4 --dim 8 --seed "4$i" \
	    --start "${i}000" >/dev/null
	merge "h$i"
}; done
# shellcheck disable=SC2046
set -- $(names $A/timestamped/ | sed 's,/.*,,' | sort -u)
v1=$1 v2=$2 v3=$3 v4=$4
dpublish pin $A "$v2" >/dev/null
save V $A
rm -rf V/deltas V/quarantine V/staging
killed gc V dpublish gc --keep-newer-than 0 @P
s3_down
finish
