#!/bin/sh
# s3kill.t: dpublish to a real S3 server, killed in the middle of an upload
# in parts: the same again sends only what was missing.  And killed between
# the upload and the commit: it sends nothing of it again.
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
N=17
plan $N
if ! s3_rgw; then
	skip $N "$why"
	s3_down
	finish
fi
fault_up '' "$RGW"
export AWS_ENDPOINT_URL=$PROXY
# a leak checker waits for ever for its own helper when that is what dies
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export ASAN_OPTIONS
s3do make s3://bucket
A=s3://bucket/t
# five deltas of 8 MB
BIGS='big1 big2 big3 big4 big5'

# gen RUN SOURCE...: its staging and its stream; pub RUN: its publication
gen() {
	run=$1
	shift
	AWS_ENDPOINT_URL=$RGW genrun $A "$T/intact.$run" "$@" >"$run.json"
}
pub() {
	dpublish --json-in --stage "$T/intact.$1" $A <"$1.json" >out 2>err
}
# bytes of bodies that the server got, of requests that match
sent() {
	settled
	awk -v re="$1" '/^ask/ { want[$2] = ($3 " " $4) ~ re }
	    /^end/ && want[$2] { n += $5 } END { printf "%d\n", n }' "$FP/log"
}
look() { "$REAL/s3look.py" "$RGW" $A; }
# killed_at PATTERN: run the publication of gen k, and kill it when a
# request was asked for that the rule stops
killed_at() {
	dpublish --json-in --stage "$T/intact.k" $A <k.json >out 2>&1 &
	victim=$!
	turns=0
	until [ "$(asked "$1")" -ge 1 ]; do
		turns=$((turns + 1))
		[ $turns -lt 600 ] || { echo "# never asked"; break; }
		sleep 0.05
	done
	settled
	kill -9 $victim
	wait $victim 2>/dev/null
}

gen a first
status 0 "a first version" pub a

# --- with one part missing
gen k $BIGS
size=$(wc -c <intact.k/store/store.sqlite3 | tr -d ' ')
fault 'PUT partNumber=1& 1 not hang'
killed_at ' 1 not hang'
parts=$(asked '^PUT [^ ]*partNumber=')
have=$(sent '^PUT .*partNumber=[^1]')
echo "# $size bytes in $parts parts, $have were there"
is "$(look | grep -v '^source')" "commit 1 a
pointer 1
staging k
upload $(look | sed -n 's/^upload //p')" \
    "killed with a part missing: readers see nothing of it"
ok "most of it lies there" test "$have" -gt $((size / 2))
gen again $BIGS
fault
status 0 "the same again" pub again
is "$(sent '^PUT .*partNumber=')" $((size - have)) \
    "sends the part that was missing, and no other"
is "$(asked '^POST .*uploads=') $(asked '^GET .*uploadId=')" "0 1" \
    "into the upload that it found"
is "$(look | sort)" "commit 1 a
commit 2 again
pointer 2
source big1
source big2
source big3
source big4
source big5
source first" "all is there, to the byte, and nothing else is left"

# --- between the last part and its end; another delta meanwhile
rm -rf intact.k
gen k b $BIGS big6 big7
size=$(wc -c <intact.k/store/store.sqlite3 | tr -d ' ')
fault 'POST uploadId= 1 not hang'
killed_at ' 1 not hang'
is "$(sent '^PUT .*partNumber=')" "$size" "killed when all parts are there"
rm -rf intact.again
gen again b $BIGS big6 big7
fault
status 0 "the same again" pub again
is "$(sent '^PUT .*(store|partNumber)') $(asked '^POST .*uploadId=')" "0 1" \
    "puts them together, and sends none"

# --- between the upload and the commit
rm -rf intact.k
gen k c
fault 'PUT /commits/ 1 not hang'
killed_at ' 1 not hang'
rm -rf intact.again
gen again c
fault
status 0 "killed before the commit, the same again" pub again
is "$(sent '^PUT .*(store|partNumber)')" 0 "sends nothing of the store"
is "$(look | grep -v '^source')" "commit 1 a
commit 2 again
commit 3 again
commit 4 again
pointer 4" "each is there once"

# --- after the commit, which nobody was told of
rm -rf intact.k
gen k d
fault 'PUT /commits/ 1 done hang'
killed_at ' 1 done hang'
is "$(look | grep -E '^(pointer|commit 5)')" "commit 5 k
pointer 4" "killed after the commit: it is published, the pointer behind"
rm -rf intact.again
gen again d
fault
status 0 "the same again" pub again
is "$(look | grep -E '^(pointer|commit [56]|staging|stray|bad)')" \
    "commit 5 k
commit 6 again
pointer 6" "and all is in order"
is "$(s3do uploads s3://bucket/)" "" "no upload is left over"
s3_down
finish
