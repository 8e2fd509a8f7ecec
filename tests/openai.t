#!/bin/sh
# openai.t: a batch at a provider as an input: every status, answers that
# add up and that do not, what is sent again, keys, files from strangers,
# and the whole producer of deltas.
ON_DISK=1
. "$(dirname "$0")/lib.sh"
# OPENAI_BIG=1: 50,000 results of 1536, too
plan $((174 + ${OPENAI_BIG:+1} + 0))
BATCHD=$SRC/tests/real/batchd.py
KEY=sk-proj-4f1bNEVERSEEN8842
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY \
    OPENAI_ORG_ID OPENAI_PROJECT OPENAI_PROJECT_ID
if ! python3 -c 'import http.server' 2>/dev/null; then
	skip $planned "no python3 here"
	finish
fi

server=
down() {
	[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null
	server=
}
trap down EXIT
batchd() { verb=$1; shift; python3 "$BATCHD" "$verb" "$T/srv" "$@"; }
python3 "$BATCHD" serve "$T/srv" >srv.log 2>&1 &
server=$!
until [ -s srv/url ] || ! kill -0 $server 2>/dev/null; do sleep 0.05; done
echo $KEY >srv/key
OPENAI_BASE_URL=$(cat srv/url) OPENAI_API_KEY=$KEY
export OPENAI_BASE_URL OPENAI_API_KEY

# requests N...: one each
requests() {
	for i; do
		printf '{"custom_id":"r%s","method":"POST","url":"/v1/embeddings","body":{"model":"text-embedding-3-small","input":"text \\"%s\\""}}\n' \
		    "$i" "$i"
	done
}
requests 1 2 3 4 5 6 7 8 9 10 >ten.jsonl
fresh() { rm -rf "$TMPDIR"; mkdir "$TMPDIR"; }
staged() { sed -n 's/.*"stage":"\([^"]*\)".*/\1/p' "$T/out"; }
# what came of the last run, if anything
result() { cat "$(staged)"/in/00000001/*.jsonl; }
digest() { sed -n 's/.*"t":"delta".*"sha256":"\([0-9a-f]*\)".*/\1/p' "$T/out"; }
asked() { grep -c "$1" srv/log; }
# a fresh batch of FILE in $id, U its URL
batch() { id=$(batchd new "$1") && U=openai-batch:$id; }
out_file() { echo "srv/files/file-out${id#batch_}"; }
err_file() { echo "srv/files/file-err${id#batch_}"; }

# --- every status
batch ten.jsonl
for s in validating in_progress finalizing cancelling canceling; do
	batchd set "$id" "status=\"$s\"" request_counts.completed=3
	status 75 "$s is not ready" dfetch --json --requeue rq "$U"
	like err "openai-batch:$id: not ready yet: status $s, 3 of 10 done" \
	    "$s: is named, with its progress"
done
ok "nothing is written to be sent again" test ! -e rq
batchd set "$id" 'status="failed"' 'errors={"object":"list","data":[
    {"code":"invalid_json_line","line":4,"message":"no JSON","param":null},
    {"code":"model_mismatch","line":null,"message":"another model"}]}'
status 65 "failed is refused" dfetch --json "$U"
like err "status failed: .*file-in.*; invalid_json_line, line 4: no JSON; model_mismatch: another model" \
    "with what the provider says"
batchd set "$id" 'status="dreaming"'
status 65 "a status that is not known" dfetch --json "$U"
like err "$id: status \"dreaming\": want one that is known" "is named"
batchd set "$id" 'status=null'
status 65 "no status" dfetch --json "$U"
batchd set "$id" 'status=7'
status 65 "a status that is no text" dfetch --json "$U"
status 66 "a batch that is not there" dfetch --json openai-batch:batch_none
like err 'openai-batch:batch_none: .*404: No batch found' "is named"
for u in openai-batch: openai-batch:../x openai-batch:.x 'openai-batch:a b' \
    "openai-batch:$(printf %0300d 0)"; do
	status 64 "$(printf %.30s "$u") is no batch" dfetch --json "$u"
done

# --- all have a result
batch ten.jsonl
batchd finish "$id"
: >srv/log
status 0 "completed" dfetch --json --requeue rq "$U"
result >got
is "$(sed 's/,"response.*//' got)" "$(for i in 1 10 2 3 4 5 6 7 8 9; do
    printf '{"custom_id":"r%s","document":"text \\"%s\\""\n' $i $i; done)" \
    "its results, in order, with their documents"
is "$(digest)" "$(sha256sum <got | cut -d' ' -f1)" "their digest"
like out "\"path\":\"in/00000001/$id.jsonl\".*\"seq\":1700003600000000000.*\"etag\":\"file-out" \
    "its time is the sequence, its files are the ETag"
ok "nothing is to be sent again" test ! -s rq -a -f rq
is "$(ls "$(staged)/in/00000001")" "$id.jsonl" "nothing else is left"
first=$(digest)
batchd finish "$id" order=reverse
status 0 "the same in another order" dfetch --json "$U"
is "$(digest)" "$first" "is the same"
is "$(asked "GET /v1/files/file-out${id#batch_}/content")" 2 \
    "the files are asked for each time"
sed 's/"embedding": \[/&7.5,/' "$(out_file)" >x
cp x "$(out_file)"
status 0 "once more" dfetch --json "$U"
ok "and are those that are there" test "$(digest)" != "$first"
ok "nothing is in the cache" sh -c '! find "$DCACHE" -type f 2>/dev/null | grep .'
batchd set "$id" "error_file_id=\"\""
status 0 "an error file of no name is none" dfetch --json "$U"
batchd set "$id" completed_at=null finalizing_at=1700000009
status 0 "a batch that does not say when it ended" dfetch --json "$U"
like out '"seq":1700000009000000000' "has a time all the same"
batchd set "$id" request_counts=null
status 0 "one without counts has its input file" dfetch --json "$U"
batchd set "$id" 'request_counts={"total":10,"completed":8,"failed":0}'
status 0 "one that counts wrongly what is done" dfetch --json "$U"
like err 'warning: .*request_counts.completed is 8, and 10 have a result' \
    "is told of"
status 0 "-l" dfetch -l "$U"
is "$(cat out)" "$U	seq=1700000009000000000" \
    "has no size before it is made"
status 0 "-l --sha256" dfetch -l --sha256 "$U"
like out "	size=[0-9]*	sha256=[0-9a-f]{64}" "has"
is "$(ls -A "$TMPDIR" | grep -c .)" "$(ls -d "$TMPDIR"/intact.* | grep -c .)" \
    "only stagings are left"
fresh
rm "srv/files/file-in${id#batch_}"
status 0 "a provider that dropped the input file" dfetch --json "$U"
like err 'warning: .*no input file.*no documents' "is told of"
is "$(result | grep -c document)" 0 "and there are no documents"
batchd set "$id" request_counts=null
status 65 "without that, and without counts" dfetch --json "$U"
like err 'nobody knows what was requested' "nobody knows"
fresh

# --- some have none
batch ten.jsonl
batchd finish "$id" fail=r3:429,r7:500 miss=r9
status 65 "two failed, one is missing" dfetch --json --requeue rq "$U"
like err '3 of 10 requests have no result \(2 failed, 1 missing\): want at most 0; first error: status 429: no luck with r3; failed: r3, r7; missing: r9' \
    "they are counted and named"
is "$(cat rq)" "$(requests 3 7 9)" "and can be sent again as they were"
ok "nothing is left beside" sh -c '! ls -A | grep "^\.rq"'
status 65 "two may fail" dfetch --json --max-failed 2 "$U"
status 0 "three may fail" dfetch --json --max-failed 3 --requeue rq "$U"
like err 'warning: .*3 of 10 requests have no result.*accepted' "is told"
is "$(result | wc -l)" 7 "the others are there"
is "$(cat rq)" "$(requests 3 7 9)" "those are to be sent again"
status 65 "29%" dfetch --json --max-failed 29% "$U"
like err 'want at most 29%' "is said"
status 0 "30%" dfetch --json --max-failed 30% "$U"
batchd finish "$id" fail=r3:429 into=output
status 65 "one failed among the results" dfetch --json --requeue rq "$U"
is "$(cat rq)" "$(requests 3)" "is seen"
mkdir rqs
status 65 "a directory" dfetch --json --requeue rqs "$U"
is "$(cat "rqs/$id.jsonl")" "$(requests 3)" "gets a file for the batch"
other=$U
batch ten.jsonl
batchd finish "$id" fail=r4:500
status 64 "one file for two batches" dfetch --json --requeue rq "$other" "$U"
status 0 "a directory for two" \
    dfetch --json --max-failed 1 --requeue rqs "$other" "$U"
is "$(cat rqs/batch_*)" "$(requests 3 4)" "has a file for each"
status 66 "nowhere to write what is to be sent again" \
    dfetch --json --max-failed 1 --requeue nowhere/rq "$U"
like err '^dfetch: --requeue: nowhere: ' "is named"
mkfifo pipe
status 64 "what is no file" dfetch --json --max-failed 100% --requeue pipe "$U"
ok "is not replaced by one" test -p pipe
rm "srv/files/file-in${id#batch_}"
status 65 "one failed, without the input file" \
    dfetch --json --requeue rq "$U"
is "$(cat rq)" '{"custom_id":"r4"}' "is named to be sent again"
fresh

batch ten.jsonl
batchd finish "$id" status=expired fail=r8:expired,r9:expired miss=r10
status 65 "expired" dfetch --json --requeue rq "$U"
like err 'status expired: 3 of 10 .*first error: This request could not' \
    "says what is there"
is "$(cat rq)" "$(requests 8 9 10)" "the rest is to be sent again"
status 0 "expired, accepted" dfetch --json --max-failed 3 "$U"
is "$(result | wc -l)" 7 "the part that is there"
batchd finish "$id" status=cancelled miss=r2,r4
status 65 "cancelled" dfetch --json "$U"
status 0 "cancelled, accepted" dfetch --json --max-failed 20% "$U"
batchd set "$id" output_file_id=null
status 65 "cancelled before anything was done" \
    dfetch --json --max-failed 100% --requeue rq "$U"
like err '10 of 10 .*want at least one' "is never accepted"
is "$(cat rq)" "$(cat ten.jsonl)" "all of it is to be sent again"
batchd finish "$id" fail=r1:500,r2:500,r3:500,r4:500,r5:500,r6:500,r7:500,r8:500,r9:500,r10:500
status 65 "all have failed" dfetch --json --max-failed 100% "$U"
batchd set "$id" request_counts.total=0
status 65 "a batch of no requests" dfetch --json --max-failed 100% "$U"
like err 'request_counts.total is 0' "is said"
fresh

# --- what does not add up
batch ten.jsonl
batchd finish "$id"
cp "$(out_file)" good
# bad WHAT PATTERN: the results are such
bad() {
	status 65 "$1" dfetch --json --max-failed 100% --requeue rq2 "$U"
	like err "openai-batch:$id: $2" "$1: is named"
}
head -1 good >>"$(out_file)"
bad "an answer twice" 'output file: line 11 \(custom_id r1\): comes twice, also on line 1 of the output file'
sed '3s/"r3"/"zz"/' good >"$(out_file)"
bad "one that nobody asked for" 'output file: line 3 \(custom_id zz\): was not requested'
cp good "$(out_file)"
batchd set "$id" request_counts.total=11
bad "a total that lies" 'request_counts: total is 11, and the input file has 10'
batchd set "$id" request_counts.total=10
echo 9999 >"$(out_file).bytes"
bad "a file that is shorter than it should be" 'output file: .*size'
rm "$(out_file).bytes"
batchd set "$id" "error_file_id=\"file-none\""
status 66 "an error file that is gone" dfetch --json "$U"
batchd set "$id" error_file_id=null

# --- from strangers
head -c 104857600 /dev/zero | tr '\0' x >"$(out_file)"
bad "a line of 100 MB" 'output file: line 1: longer than 32 MiB'
{ head -2 good; printf '{"custom_id":"r3\0"}\n'; } >"$(out_file)"
bad "a NUL byte" 'output file: line 3: '
{ head -1 good; head -c 1000000 /dev/zero | tr '\0' '['; } >"$(out_file)"
bad "deep JSON" 'output file: line 2: '
echo 'no JSON' >"$(out_file)"
bad "no JSON" 'output file: line 1: '
printf '{"custom_id":"r1\377"}' >"$(out_file)"
bad "no UTF-8" 'output file: line 1: '
ok "nothing was written to be sent again" test ! -e rq2
is "$(find "$TMPDIR" -name '*.jsonl')" "" "nor came anything of it"
cp good "$(out_file)"
echo '{"id":' >"srv/batches/$id.json"
status 65 "a batch object that is none" dfetch --json "$U"
fresh

# --- whom to ask, and the key
batch ten.jsonl
batchd finish "$id"
OPENAI_API_KEY=sk-wrong-WRONGKEY status 77 "a wrong key" dfetch --json "$U"
like err 'status 401: it does not take the key in OPENAI_API_KEY' "is said"
ok "but not which" sh -c '! grep -q WRONGKEY err out'
OPENAI_API_KEY='' status 77 "no key" dfetch --json "$U"
env -u OPENAI_BASE_URL OPENAI_API_KEY= dfetch --json "$U" 2>err >out
is "$? $(grep -c 'OPENAI_API_KEY is not set' err)" "77 1" \
    "no key for the one who wants one"
OPENAI_BASE_URL=http://192.0.2.1/v1 status 64 \
    "a key is not sent over http to another host" dfetch --json "$U"
OPENAI_BASE_URL=ftp://x status 64 "another scheme" dfetch --json "$U"
OPENAI_API_KEY="a b" status 64 "a key that is no header" dfetch --json "$U"
http_proxy=http://127.0.0.1:1 all_proxy=http://127.0.0.1:1 status 0 \
    "loopback is not for a proxy" dfetch --json "$U"
batchd fault 429 2 1
DTRACE=1 DCKPT_DB=$T/ckpt.db dfetch --json -v "$U" >out 2>err &
pid=$!
until [ "$(asked "batches/$id 429")" -ge 1 ]; do sleep 0.02; done
ps -eo args= >args
wait $pid
is "$? $(asked "batches/$id 429")" "0 2" "429, 429, and then it is fine"
ok "the key is nowhere" sh -c '! grep -rq NEVERSEEN args out err "$1" "$2" ckpt.db*' \
    - "$TMPDIR" "$(staged)"
batchd fault 500 2 '' content
status 0 "500 of a file, and then it is fine" dfetch --json "$U"
batchd fault 403 1
: >srv/log
status 77 "403" dfetch --json "$U"
is "$(wc -l <srv/log)" 1 "is asked for once"
fresh

# --- the reader of the files dies
i=0
while [ $i -lt 3000 ]; do
	i=$((i + 1))
	printf '{"custom_id":"%s","body":{"model":"m","input":"t%s"}}\n' $i $i
done >many.jsonl
batch many.jsonl
batchd finish "$id" dim=1536
dfetch --json "$U" >out 2>err &
pid=$!
# a grandchild whose work directory is ours is it
perl -e 'my $d = shift; for (1 .. 20000) {
	my %up; for my $f (glob "/proc/[0-9]*/stat") {
		open my $h, "<", $f or next; my $s = <$h> // next;
		$s =~ /^(\d+) .*\) \S (\d+)/ and $up{$1} = $2 }
	for my $c (keys %up) { my $p = $up{$up{$c} // 0} // 0;
		if ($p == $d) { kill "SEGV", $c; exit 0 } }
	select undef, undef, undef, 0.01 } exit 1' $pid
is $? 0 "who reads them is found"
wait $pid
is $? 65 "and its death is that of the input"
like err "openai-batch:$id: the reader of its files (died of signal [0-9]+|ended with status)" \
    "which is named"
fresh

# --- memory does not grow with the results
rss() {
	python3 -c 'import resource, subprocess, sys
r = subprocess.run(sys.argv[1:], stdout=open("out", "w")).returncode
print(r, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)' "$@"
}
big=$(rss dfetch --json "$U")
like out "\"size\":[1-9][0-9]{7}" "3000 x 1536, tens of megabytes"
# as an input it holds the same to the last digit
is "$(result | head -1 | cut -c1-40)" \
    '{"custom_id":"1","document":"t1","respon' "are there"
head -300 many.jsonl >few.jsonl
batch few.jsonl
batchd finish "$id" dim=1536
small=$(rss dfetch --json "$U")
ok "ten times as many take no more memory ($small, $big)" \
    sh -c '[ "$1" = 0 ] && [ "$3" = 0 ] && [ "$4" -lt $(($2 + 16384)) ]' - \
    $small $big
if [ -n "${OPENAI_BIG:-}" ]; then
	python3 -c 'for i in range(50000):
	    print("{\"custom_id\":\"%d\",\"body\":{\"model\":\"m\",\"input\":\"%d\"}}" % (i, i))' >huge.jsonl
	batch huge.jsonl
	batchd finish "$id" dim=1536
	huge=$(rss dfetch --json "$U")
	ok "50000 x 1536 take no more memory ($huge)" \
	    sh -c '[ "$3" = 0 ] && [ "$4" -lt $(($2 + 16384)) ]' - $small $huge
fi
fresh

# --- some are out of date
batch ten.jsonl
batchd finish "$id" fail=r3:429 miss=r9
printf 'r1\n# r2\n\nr1?\r\nnobody\nr3' >old
status 0 "results that are out of date" \
    dfetch --json --max-failed 2 --requeue rq --stale old "$U"
like err 'warning: .*: 2 of 8 results are stale and left out; .*; stale: r1, r10; ' \
    "are counted and named"
is "$(result | sed 's/.*"custom_id":"\([^"]*\)".*/\1/' | tr '\n' ' ')" \
    "r2 r4 r5 r6 r7 r8 " "left out"
is "$(cat rq)" "$(requests 1 3 9 10)" "and sent again, with those that have none"
echo 'r[2-8]' | dfetch --json --max-failed 2 --requeue rq --stale - "$U" \
    >out 2>err
is "$? $(wc -l <rq) $(result | wc -l)" "0 8 2" "a list on stdin, of globs"
status 65 "what has failed counts as before" \
    dfetch --json --max-failed 1 --stale old "$U"
status 66 "a list that is not there" dfetch --json --stale nowhere "$U"
echo '# nobody' >none
status 64 "a list of nothing" dfetch --json --stale none "$U"
perl -e 'print "*$_\n" for 1 .. 1001' >globs
status 64 "a thousand globs and one" dfetch --json --stale globs "$U"
like err 'stale: globs: more than 1000 lines with' "is told"
status 64 "one stdin for two things" dfetch --json --stale - -
status 64 "file sets have no results" dfetch --files --stale old .
rm "srv/files/file-in${id#batch_}"
status 0 "without the input file" \
    dfetch --json --max-failed 2 --requeue rq --stale old "$U"
is "$(tr '\n' ' ' <rq)" \
    '{"custom_id":"r1"} {"custom_id":"r10"} {"custom_id":"r3"} ' \
    "they are named"
fresh
batch ten.jsonl
batchd finish "$id"
echo '*' >old
for as in '' '-c db'; do
	# shellcheck disable=SC2086
	status 65 "all are out of date: no delta$as" drun \
	    "dfetch $as --stale old --requeue rq $U | dcheck | dmerge |
	    dpublish -a $T/deltas/"
	like err 'dfetch: --stale: every result of every input is out of date' \
	    "and that is said"
done
is "$(cat rq)" "$(cat ten.jsonl)" "all of it is to be sent again"
ok "nothing was ingested" sh -c '! find deltas -type f 2>/dev/null | grep .'
is "$(ls -A "$TMPDIR")" "" "nothing is left"
stale=$U
requests 21 22 23 >three.jsonl
batch three.jsonl
batchd finish "$id"
echo 'r[1-9]
r10' >old
mkdir rqs2 deltas
status 0 "one is, and another is not" drun "dfetch -c db --stale old \
    --requeue rqs2 $stale $U | dcheck | dmerge | dpublish --json -a $T/deltas/"
like out '"records":3' "the other is ingested"
like err "warning: $stale: 10 of 10 results are stale and left out: nothing of it is ingested" \
    "the first is told of"
is "$(cat "rqs2/${stale#*:}.jsonl") $(wc -c <"rqs2/$id.jsonl")" \
    "$(cat ten.jsonl) 0" "and sent again, it alone"
is "$(dckpt -c db failed --json | sed -n \
    's/.*"key":"\(openai[^"]*\)".*"code":"\([a-z]*\)".*/\1 \2/p')" \
    "$stale stale" \
    "its checkpoint says so"
status 0 "in a stream" dfetch --json --stale old "$stale" "$U"
like out "\"t\":\"stale\",\"url\":\"$stale\"" "it is a record of its own"
like out '"planned":2,"fetched":1,"skipped":0,.*"stale":1' "and in the totals"
rm -rf deltas/* db
fresh

# --- the whole producer
batch ten.jsonl
batchd finish "$id" fail=r2:500
status 65 "one failed: no delta" drun \
    "dfetch --requeue rq $U | dcheck | dmerge | dpublish -a $T/deltas/"
ok "at all" sh -c '! find deltas -type f 2>/dev/null | grep .'
status 0 "it is accepted: a delta" drun \
    "dfetch --max-failed 1 $U | dcheck | dmerge | dpublish --json -a $T/deltas/"
is "$(ls deltas | wc -l)" 1 "one"
status 0 "which holds what was embedded" \
    sh -c 'dfetch deltas | dcheck --json'
like out '"verdict":"ok".*"records":9,' "nine records"
batchd finish "$id"
sed -i '4s/"embedding": \[[^]]*\]/"embedding": [null]/' "$(out_file)"
status 65 "an embedding that is none" drun \
    "dfetch $U | dcheck | dmerge | dpublish -a $T/deltas/"
is "$(ls deltas | wc -l)" 1 "is no delta"
batchd finish "$id"
status 0 "a batch straight into a snapshot" \
    drun "dfetch -B $T/snap $U | dcheck | dmerge | dpublish $T/snap"
: >srv/log
status 0 "and once more" sh -c "dfetch -b snap $U | dcheck --json"
like out '"t":"skip".*"url":"openai-batch:.*"why":"unchanged"' \
    "is held already"
is "$(cut -d' ' -f2 srv/log | sort -u)" "/v1/batches/$id" \
    "and none of its files is asked for"
fresh
is "$(ls -A "$TMPDIR")" "" "nothing is left"
finish
