#!/bin/sh
# holds.t: dpublish holds, on disk and on a real S3 server: what is whole,
# what is not there, what is damaged, and what of a plan is where.
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
LOCAL=98 RGWS=44
plan $((LOCAL + RGWS))
unset DRUN_ID

# delta NAME SEED: 20 records
delta() {
	gendelta --out "$T/d/$1" --records 20 --dim 8 --seed "$2" >/dev/null
}
# part PLAN DIR: what a task of a chunk does
part() {
	drun "dfetch -f $1 | dcheck | dmerge -p $1 -o $2" >/dev/null
}
# flip FILE OFFSET: another byte there
flip() {
	perl -e 'open F, "+<", $ARGV[0] or die; sysseek F, $ARGV[1], 0;
	    sysread F, my $b, 1; sysseek F, $ARGV[1], 0;
	    syswrite F, chr(ord($b) ^ 1)' "$1" "$2"
}
# fresh DIR [FROM]: a copy of a whole part, to be harmed
fresh() {
	rm -rf "$1"
	cp -Rp "${2:-p1}" "$1"
}
mkdir d
for i in 1 2 3 4 5 6; do delta x$i $i; done
dfetch -l d/x1 d/x2 d/x3 d/x4 d/x5 d/x6 >plan
sed -n 1,2p plan >c1
sed -n 3,4p plan >c2
sed -n 5,6p plan >c3
part c1 p1
part c2 p2
part c3 p3
digest=$(sed -n 's/.*"content_digest":"\([0-9a-f]*\)".*/\1/p' p1/manifest.json)

# --- whole
status 0 "a part is whole" dpublish holds p1
is "$(cat out)" "p1: 2 inputs, 20 records, content digest $digest" \
    "and is told of in one line"
is "$(cat err)" "" "and in no other"
status 0 "and is its chunk's" dpublish holds -p c1 p1
status 0 "a trailing slash" dpublish holds -p c1 p1/
status 0 "a file:// URL" dpublish holds -p c1 "file://$T/p1"
ln -s p1 link
status 0 "a symbolic link to it" dpublish holds -p c1 link
status 0 "opened, too" dpublish holds --verify=full -p c1 p1
status 0 "three parts together are the plan" dpublish holds -p plan p1 p2 p3
is "$(wc -l <out)" 3 "a line for each"
status 0 "in any order, one of them twice" \
    dpublish holds -p plan p3 p1 p2 p1
is "$(dpublish holds -p - p1 p2 p3 <plan | wc -l)" 3 "the plan on stdin"
drun "dfetch p1 p2 | dcheck | dmerge -o p12" >/dev/null
cat c1 c2 >c12
status 0 "merged from two parts: it is both chunks" \
    dpublish holds --verify=full -p c12 p12
drun "dfetch p12 p3 | dcheck | dmerge -p plan -o all" >/dev/null
status 0 "and merged from that" dpublish holds -p plan all
like out '^all: 6 inputs' "with all inputs"
drun "dfetch -f c1 | dcheck | dmerge -F chroma -o chroma" >/dev/null
status 0 "a ChromaDB directory of ours" \
    dpublish holds --verify=full -p c1 chroma
mkdir parts
drun "dfetch -f c1 | dcheck | dmerge -p c1 | dpublish -a parts/one" >/dev/null
status 0 "what dpublish -a placed" dpublish holds -p c1 parts/one
# each name, file and time below: a change within a second shows, too
seen() { find p1 p2 p3 -printf '%p %i %s %m %T@ %C@\n' | sort; }
before=$(seen)
dpublish holds --verify=full -p plan p1 p2 p3 >j
dpublish holds --json -p c1 p1 >j
is "$(cat j)" "{\"t\":\"place\",\"place\":\"p1\",\"status\":0,\"inputs\":2,\"records\":20,\"tombstones\":0,\"format\":\"sqlite\",\"content_digest\":\"$digest\"}" \
    "as JSON"
is "$(seen) $(ls tmp)" "$before " "nothing is changed, nothing is left"

# --- what is not there
status 66 "nothing is there" dpublish holds nowhere
like err '^dpublish: nowhere: No such file' "named"
is "$(cat out)" "" "no line of it on stdout"
mkdir empty
status 66 "an empty directory" dpublish holds empty
like err 'empty: no manifest.json there: not whole yet' "what it wants"
status 66 "a delta, which has no manifest" dpublish holds d/x1
fresh h
rm h/manifest.json
status 66 "all but the manifest" dpublish holds h
fresh h
rm h/store.sqlite3
status 66 "all but a file" dpublish holds h
like err 'h/store.sqlite3: not there, and the manifest names it' "named"
status 66 "one of three is missing" dpublish holds -p plan p1 p3 nowhere
like err 'd/x3: planned in plan, but not held' "its lines are named"
like err 'd/x4: planned in plan, but not held' "both"
is "$(grep -c 'not held' err)" 2 "and no other"
status 66 "two parts of three" dpublish holds --json -p plan p1 p3
is "$(sed -n 's/.*"t":"missing","url":"\([^"]*\)".*/\1/p' out)" \
    "$(cut -f1 c2)" "as JSON, the resume list"
sed -n 's/.*"t":"missing","url":"\([^"]*\)","seq":\([0-9]*\),"size":\([0-9]*\).*/\1	seq=\2	size=\3/p' \
    out >again
ok "which makes the plan of what is left" cmp again c2
part again p2b
status 0 "and then all is there" dpublish holds -p plan p1 p2b p3
cp plan longer
printf '/nowhere/x7\tseq=7\n' >>longer
status 66 "a line that nothing holds" dpublish holds -p longer p1 p2 p3
like err '/nowhere/x7: planned in longer, but not held' "named"
i=0
while [ $i -lt 30 ]; do
	i=$((i + 1))
	echo "/nowhere/y$i"
done >>longer
status 66 "of many lines" dpublish holds --json -p longer p1 p2 p3
is "$(grep -c 'not held' err) $(grep -c '"missing"' out)" "21 31" \
    "20 are named, and all are in the JSON"
like err '11 more that are planned and not held' "the rest is counted"
status 66 "an empty plan" dpublish holds -p /dev/null p1
status 66 "a plan that is not there" dpublish holds -p noplan p1

# --- what is damaged
fresh h
flip h/store.sqlite3 9000
status 65 "one bit" dpublish holds -p c1 h
like err 'h/store.sqlite3: SHA-256: want [0-9a-f]{64}, got [0-9a-f]{64}' \
    "named"
is "$(cat out)" "" "it is not told of as whole"
fresh h
echo x >>h/store.sqlite3
status 65 "a byte too many" dpublish holds h
like err 'h/store.sqlite3: size: want [0-9]*, got [0-9]*' "named"
fresh h
: >h/store.sqlite3-wal
status 65 "a file too many" dpublish holds h
like err 'h/store.sqlite3-wal: a file that the manifest does not' "named"
fresh h
rm h/store.sqlite3
ln -s ../p1/store.sqlite3 h/store.sqlite3
status 65 "a link for a file" dpublish holds h
fresh h
echo '{}' >h/manifest.json
status 65 "a manifest that is none" dpublish holds h
like err 'h: manifest.json: not a manifest of intact' "named"
: >h/manifest.json
status 65 "an empty one" dpublish holds h
# what only opening can tell: a manifest that was made to fit
fresh h
flip h/store.sqlite3 9000
sum=$(sha256sum h/store.sqlite3 | cut -d' ' -f1)
sed "s/\"name\":\"store.sqlite3\",\(.*\)\"sha256\":\"[0-9a-f]*\"/\"name\":\"store.sqlite3\",\1\"sha256\":\"$sum\"/" \
    p1/manifest.json >h/manifest.json
sed 's/"records":20,$/"records":21,/' p1/manifest.json >m
fresh g
cp m g/manifest.json
status 0 "a count that is wrong in the manifest" dpublish holds g
status 65 "is seen when it is opened" dpublish holds --verify=full g
like err 'records: want 21 \(manifest\), got 20' "named"
status 66 "damaged here, and missing there" dpublish holds h nowhere g

# --- what is not planned
status 65 "more than is planned" dpublish holds -p c1 p1 p2
like err 'd/x3: held by p2, but not planned in c1' "named"
status 66 "another chunk's part" dpublish holds --json -p c2 p1
is "$(grep -c '"unplanned"' out) $(grep -c '"missing"' out)" "2 2" \
    "both ways, as JSON"
sed 's/seq=1760000000000000000/seq=1760000000000000001/' c1 >newer
status 66 "an input that was rewritten since, with the same size" \
    dpublish holds -p newer p1
like err 'd/x1: held by p1, but not as newer plans it: another seq' "named"
sed 's/size=/size=1/' c1 >larger
status 66 "one that has another size since" dpublish holds -p larger p1
like err 'd/x2: held by p1, but not as larger plans it: another size' "named"
status 66 "dmerge -p says the same of that" \
    drun "dfetch p1 | dcheck | dmerge -p newer -o no"
like err 'd/x1: planned in newer, but not merged' "and names it"
is "$(ls -d no 2>/dev/null)" "" "and places nothing"
sum() {
	sed -n "s/.*\"sha256\":\"\([0-9a-f]*\)\",\"url\":\"[^\"]*\/$1\".*/\1/p" \
	    p1/manifest.json
}
printf '%s\tsha256=%s\n%s\tsha256=%s\n' "$T/d/x1" "$(sum x1)" "$T/d/x2" \
    "$(sum x2)" >pinned
status 0 "bytes that are pinned" dpublish holds -p pinned p1
sed "s|$T/d/x1|/elsewhere/y1|" pinned >moved
status 0 "and under another name" dpublish holds -p moved p1
status 0 "to dmerge -p as well" \
    drun "dfetch p1 | dcheck | dmerge -p moved -o yes"
sed "s/$(sum x1)/$(sum x2)/" pinned >swapped
status 65 "other bytes of that name" dpublish holds -p swapped p1
like err 'd/x1: held by p1, but not as swapped plans it: another sha256' \
    "named"

# --- archives
(cd p1 && tar cf ../p1.tar .)
tar czf p2.tgz p2
status 0 "archives, with a directory in them and without" \
    dpublish holds --verify=full -p c12 p1.tar p2.tgz
head -c 100000 p1.tar >short.tar
status 65 "half of one" dpublish holds short.tar
fresh h
flip h/store.sqlite3 9000
(cd h && tar cf ../h.tar .)
status 65 "a damaged store in one" dpublish holds h.tar
like err 'h.tar/store.sqlite3: SHA-256: want' "named"
(cd p1 && tar cf ../half.tar store.sqlite3)
status 66 "without a manifest in it" dpublish holds half.tar
status 65 "what is no archive" dpublish holds plan
is "$(ls tmp)" "" "nothing is left of them"

# --- called wrongly, and what the machine says
status 64 "no place" dpublish holds -p plan
status 64 "behind http" dpublish holds http://127.0.0.1:1/p1
status 64 "an option that is another's" dpublish holds --lock l p1
status 64 "a plan on stdin, where that is the stream" dpublish -p - target
status 64 "how to verify" dpublish holds --verify=quick p1
status 64 "a bucket alone" dpublish holds s3://bucket
printf 'x\tsequel=1\n' >badplan
status 64 "a plan that is none" dpublish holds -p badplan p1
like err 'badplan:1: sequel=1' "named"
status 74 "nowhere to write" sh -c 'dpublish holds p1 >/dev/full'
fresh h
chmod 0 h/store.sqlite3
# root, without what lets it read anything
as=
[ "$(id -u)" != 0 ] ||
    as='setpriv --no-new-privs --bounding-set=-all --inh-caps=-all'
if [ -n "$as" ] && ! command -v setpriv >/dev/null; then
	skip 8 "root, and no setpriv"
else
	status 77 "nor put another time" $as dpublish -a h p1
	like err 'h: what is already there cannot be compared: .*denied' \
	    "that is not called something else"
	mkdir ro
	chmod 555 ro
	status 77 "a place that is read-only" $as dpublish -a ro/x p1
	like err 'ro: \.intact.*: Permission denied' "it is named"
	is "$(ls -A ro)" "" "and nothing is left there"
	status 77 "what may not be read" $as dpublish holds --json -p c12 h p2
	like err 'h: store.sqlite3: Permission denied' "named"
	is "$(grep -c '"missing"' out)" 0 \
	    "what was not judged is not called missing"
fi
chmod 600 h/store.sqlite3

on_rgw() {
	export AWS_ENDPOINT_URL=$RGW
	U=s3://bucket
	s3do make $U
	for i in 1 2 3; do
		dpublish -a $U/parts/$i p$i >/dev/null
	done
	dpublish -a $U/parts/12 p12 >/dev/null
	dpublish -a $U/tar/1.tar p1.tar >/dev/null

	status 0 "S3: a part" dpublish holds -p c1 $U/parts/1
	is "$(cat out)" \
	    "$U/parts/1: 2 inputs, 20 records, content digest $digest" \
	    "is told of"
	status 0 "S3: with a slash" dpublish holds -p c1 $U/parts/1/
	status 0 "S3: three parts, one of them here" \
	    dpublish holds -p plan $U/parts/1 p2 $U/parts/3
	status 0 "S3: merged from two parts" dpublish holds -p c12 $U/parts/12
	status 0 "S3: brought back and opened" \
	    dpublish holds --verify=full -p plan $U/parts/12 $U/parts/3
	status 0 "S3: an archive" dpublish holds -p c1 $U/tar/1.tar
	is "$(ls tmp)" "" "nothing is left of them"

	status 66 "S3: nothing there" dpublish holds $U/parts/4
	like err "$U/parts/4: no manifest.json there: not whole yet" "named"
	status 66 "S3: no bucket" dpublish holds s3://none/parts/1
	status 66 "S3: one of three is missing" \
	    dpublish holds --json -p plan $U/parts/1 $U/parts/2 $U/parts/4
	is "$(sed -n 's/.*"missing","url":"\([^"]*\)".*/\1/p' out)" \
	    "$(cut -f1 c3)" "its lines are told"
	status 66 "S3: a name that only begins so" dpublish holds $U/part
	# what an upload leaves that was killed: the manifest comes last
	s3do put $U/half/1/store.sqlite3 p1/store.sqlite3 >/dev/null
	status 66 "S3: half uploaded" dpublish holds $U/half/1
	s3do put $U/half/2/manifest.json p1/manifest.json >/dev/null
	status 66 "S3: the manifest alone" dpublish holds $U/half/2
	like err "half/2/store.sqlite3: not there, and the manifest names" \
	    "what is missing is named"
	status 66 "S3: a line more than is held" \
	    dpublish holds -p longer $U/parts/1 $U/parts/2 $U/parts/3

	status 65 "S3: more than is planned" \
	    dpublish holds -p c1 $U/parts/1 $U/parts/2
	status 66 "S3: another plan" dpublish holds -p c2 $U/parts/1
	cp p1/store.sqlite3 bad
	flip bad 9000
	s3do put $U/bad/1/store.sqlite3 bad >/dev/null
	s3do put $U/bad/1/manifest.json p1/manifest.json >/dev/null
	status 65 "S3: a bit differs" dpublish holds $U/bad/1
	like err 'bad/1/store.sqlite3: what lies there is not what was sent' \
	    "named"
	echo >>bad
	s3do put $U/bad/1/store.sqlite3 bad >/dev/null
	status 65 "S3: a byte too many" dpublish holds $U/bad/1
	like err 'bad/1/store.sqlite3: size: want' "named"
	s3do put $U/bad/1/store.sqlite3 p1/store.sqlite3 >/dev/null
	status 0 "S3: put by others, and mended" dpublish holds -p c1 $U/bad/1
	s3do put $U/bad/1/store.sqlite3-wal plan >/dev/null
	status 65 "S3: a file too many" dpublish holds $U/bad/1
	like err 'bad/1/store.sqlite3-wal: a file that' "named"
	s3do put $U/bad/2/manifest.json plan >/dev/null
	status 65 "S3: a manifest that is none" dpublish holds $U/bad/2
	s3do put $U/bad/3.tar plan >/dev/null
	status 65 "S3: an archive that is none" dpublish holds $U/bad/3.tar

	# on the way, and what is asked
	fault_up holds "$RGW"
	export AWS_ENDPOINT_URL=$PROXY
	status 0 "S3: through a proxy" dpublish holds -p c1 $U/parts/1
	is "$(asked '(PUT|POST|DELETE)')" 0 "nothing is written"
	fault 'GET .*store.sqlite3 1 done flip 5000'
	status 0 "S3: a bit that flips on its way, once" \
	    dpublish holds $U/parts/1
	fault 'GET parts/1/manifest.json 1 done flip 40'
	status 0 "S3: one of the manifest" dpublish holds -p c1 $U/parts/1
	fault 'GET parts/1/manifest.json 1- done flip 40'
	status 65 "S3: each time" dpublish holds $U/parts/1
	fault 'GET .* 1 not status 503'
	status 0 "S3: busy, once" dpublish holds -p c1 $U/parts/1
	fault 'GET .*manifest 1- not status 403'
	status 77 "S3: permission denied" \
	    dpublish holds --json -p plan $U/parts/1 $U/parts/2
	is "$(grep -c '"missing"' out)" 0 "and nothing is called missing"
	fault 'GET .* 1- not status 503' 'HEAD .* 1- not status 503'
	status 75 "S3: busy for good" dpublish holds -p plan $U/parts/1 p2 p3
	is "$(grep -c 'not held' err)" 0 "and nothing is called missing"
	fault 'GET .*manifest 1- not hang'
	dpublish holds $U/parts/1 >out 2>err &
	p=$!
	i=0
	until grep -q 'GET .*manifest' "$FP/log" || [ $i -ge 600 ]; do
		i=$((i + 1))
		sleep 0.05
	done
	kill -TERM $p
	wait $p
	is "$?" 143 "S3: TERM, while it waits"
	fault
	export AWS_ENDPOINT_URL=$RGW
	status 77 "S3: keys that are wrong" \
	    env AWS_SECRET_ACCESS_KEY=no dpublish holds $U/parts/1
	export AWS_ENDPOINT_URL=http://127.0.0.1:1
	status 75 "S3: nobody there" dpublish holds -p c1 $U/parts/1
	like err 'parts/1/manifest.json: ' "named"
	is "$(grep -c 'not held' err)" 0 "and nothing is called missing"
}

if s3_rgw; then
	on_rgw
else
	skip $RGWS "$why"
fi
trap - EXIT
s3_down
finish
