#!/bin/sh
# drun_summary.t: what a run was, as a line and as a record: right numbers,
# of every kind of end; whole lines whoever appends at the same time; and
# lines on standard error as JSON.
. "$(dirname "$0")/lib.sh"
plan 86

# f FILTER FILE: of its last record
f() { tail -n 1 "$2" | jq -r "$1"; }
until_true() {
	_i=$1; shift
	while ! "$@" >/dev/null 2>&1; do
		_i=$((_i - 1))
		[ "$_i" -gt 0 ] || return 1
		sleep 0.1
	done
}
Z=62.$$
asleep() { grep -qszx "$Z" /proc/[0-9]*/cmdline; }

# --- a run that goes well
mkdir in
cp -R "$DATA"/demo/delta-0[1-5] in/
pipe='dfetch -B tgt in | dcheck | dmerge | dpublish tgt'
status 0 "a run" drun --summary sum "$pipe"
is "$(wc -l <sum | tr -d ' ')" 1 "one record"
is "$(f '[.t, .status, .tries] | @tsv' sum)" "run	0	1" "of a good run"
is "$(f .command sum)" "$pipe" "its command"
is "$(f .run sum)" "$(jq -r .run tgt/commits/1.json)" "its id is the commit's"
is "$(f .inputs sum | tr -d ' \n')" \
    '{"planned":5,"fetched":5,"skipped":0,"checked":5,"refused":0,"merged":5}' \
    "inputs by outcome"
is "$(f .records sum)" \
    "$(sqlite3 -readonly "tgt/timestamped/$(cat tgt/latest-pointer.txt)/store.sqlite3" \
    'SELECT count(*) FROM records')" "records in the store that was made"
is "$(f .bytes sum)" "$(find in -type f -printf '%s\n' |
    awk '{ n += $1 } END { print n }')" "bytes of the inputs"
is "$(f '[.stages[] | .status] | @tsv' sum)" "0	0	0	0" "each stage's end"
is "$(f '[.stages[] | .seconds >= 0 and .seconds < 60] | all' sum)" true \
    "and time"
is "$(f '.stages[1].totals | keys | @tsv' sum)" "checked	refused" \
    "what a stage counted itself, and not those before it"
is "$(f '.start < .end and .seconds > 0 and .commit_seconds > 0' sum)" true \
    "times"
is "$(f '[has("reason", "code", "class", "stage")] | any' sum)" false \
    "no reason of a failure"
like err '^drun: run 2[^ ]*: done: 5 planned, 5 fetched, 0 skipped, 5 checked, 0 refused, 5 merged; [0-9]+ records; [0-9]+ bytes; [0-9.]+ s, 1 try$' \
    "the line for people"
status 0 "again" drun --summary sum "$pipe"
is "$(f '[.inputs.planned, .inputs.fetched, .inputs.skipped] | @tsv' sum)" \
    "5	0	5" "five skips"
is "$(wc -l <sum | tr -d ' ')" 2 "a second record, behind the first"

# --- failures
truncate -s 50000 in/delta-03/chroma.sqlite3
status 65 "a bad input" drun --summary sum \
    'dfetch in | dcheck -k | dmerge -o out1'
is "$(f '[.status, .code, .class, .stage] | @tsv' sum)" \
    "65	DATAERR	permanent	2" "what, and where"
is "$(f '[.inputs.checked, .inputs.refused] | @tsv' sum)" "4	1" \
    "inputs by outcome, though it failed"
is "$(f .reason sum)" \
    "stage 2 (dcheck -k): exit 65 (DATAERR); nothing was published" \
    "the reason"
like err 'run 2[^ ]*: exit 65 \(DATAERR\) at stage 2 \(dcheck -k\): 5 pla' \
    "in the line as well"
status 66 "an input that is missing" drun --summary sum \
    "printf '%s\n' $T/in/delta-01 $T/in/nope | dfetch - | dcheck | dmerge"
is "$(f '[.inputs.planned, .inputs.failed] | @tsv' sum)" "2	1" \
    "is counted as failed"
status 7 "a foreign status" drun --summary sum 'exit 7'
is "$(f '[.status, .class, .stage] | @tsv' sum)" "7	unknown	1" \
    "is of an unknown class"
status 127 "a command that is not there" drun --summary sum 'nope | cat'
is "$(f '[.status, .stages[0].status] | @tsv' sum)" "127	127" "told"
status 75 "tries" drun --retry 2 --summary sum 'cat | { cat; exit 75; }'
is "$(f '[.tries, (.attempts | length), ([.attempts[].run] | unique |
    length), .run == .attempts[2].run] | @tsv' sum)" "3	3	3	true" \
    "each is an attempt with a run of its own"
is "$(f '[.attempts[].status] | @tsv' sum)" "75	75	75" "and its status"
# waits are told to a tenth of a second
waits=$(sed -n 's/^drun: try .* in \([0-9.]*\) s$/\1/p' err |
    awk '{ s += $1 } END { print NR, (s > 0.11 ? s - 0.11 : 0) }')
is "${waits% *} $(f ".seconds >= ([.attempts[].seconds] | add) + ${waits#* }" \
    sum)" "2 true" \
    "attempts do not count the waits between"
like err '3 tries$' "told in the line"
status 75 "a deadline" drun --deadline 1 --summary sum "sleep $Z"
is "$(f '[.status, .reason[0:9]] | @tsv' sum)" "75	deadline:" "is the reason"
drun --lock lck "sleep $Z" 2>/dev/null & pid=$!
until_true 600 asleep
status 75 "a lock that is held" drun --lock lck --summary sum true
is "$(f '[.status, .tries, .reason[0:9]] | @tsv' sum)" "75	0	lck: lock" \
    "is a record of no try"
kill -TERM $pid
wait $pid
drun --summary sum "sleep $Z" 2>err & pid=$!
until_true 600 asleep
kill -TERM $pid
wait $pid
is "$? $(f '[.status, .reason[0:9]] | @tsv' sum)" "143 143	signal 15" \
    "a signal"
like err 'run 2[^ ]*: killed by signal 15' "in the line too"

# --- costs, as stages leave them
cat >spend <<'E2'
#!/bin/sh
mkdir "$DSTAGE/totals"
printf '{"x":[1,{"totals":2}],"totals":{"requests":7,"retries":2,"own":1,"s":"t"}}' \
    >"$DSTAGE/totals/$DRUN_STAGE.spend.1.json"
printf '{"totals":{"requests":1,"breaker_openings":1}}' \
    >"$DSTAGE/totals/$DRUN_STAGE.other.2.json"
echo '{"totals":' >"$DSTAGE/totals/1.bad.json"
echo '{"totals":{"own":100}}' >"$DSTAGE/totals/9.bad.json"
head -c 100000 /dev/zero | tr '\0' 'x' >"$DSTAGE/totals/1.long.json"
[ -e second ] || { touch second; exit 75; }
E2
chmod +x spend
PATH=$T:$PATH
status 0 "a foreign stage that counts" drun --retry 1 --summary sum spend
is "$(f '[.requests, .retries, .breaker_openings, .stages[0].totals.own] |
    @tsv' sum)" "16	4	2	1" \
    "costs of all tries are added up, counts are of the last; junk is not taken"
like err '16 requests; 4 retries; 2 breaker openings' "in the line"

# of dfetch, whichever of its processes asks: a server that is not well
if python3 -c 'import http.server' 2>/dev/null; then
	cat >sick.py <<'E2'
import http.server, sys
n = 0
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *a):
        pass
    def do_GET(self):
        global n
        n += 1
        body = b'' if n <= 2 else b'no store'
        self.send_response(503 if n <= 2 else 200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
s = http.server.HTTPServer(('127.0.0.1', 0), H)
open('port.new', 'w').write(str(s.server_port))
import os
os.rename('port.new', 'port')
s.serve_forever()
E2
	python3 sick.py & server=$!
	until_true 600 [ -s port ]
	env -u http_proxy -u HTTP_PROXY -u all_proxy -u ALL_PROXY \
	    drun --summary sum \
	    "dfetch http://127.0.0.1:$(cat port)/x.jsonl | dcheck" >out 2>err
	is "$?" 65 "an input that comes at the third time, and is none"
	is "$(f '[.retries, .requests >= 3, .breaker_openings,
	    .stages[0].totals.retries, .stages[1].totals.retries] | @tsv' \
	    sum)" "2	true	0	2	" "each request and each retry is counted, once"
	kill $server
	wait $server 2>/dev/null
else
	skip 2 "no python3 here"
fi

# --- the file
status 77 "a file that cannot be made is told first" \
    sh -c 'mkdir -m 555 ro && mkdir may && chmod 777 may && if [ "$(id -u)" = 0 ]; then
	chmod 755 "$PWD"; cp "$1" drun.nobody
	exec setpriv --reuid=65534 --regid=65534 --clear-groups \
	    ./drun.nobody --summary ro/sum "touch may/ran"
    else exec "$1" --summary ro/sum "touch may/ran"; fi' - "$BIN/drun"
status 66 "nor one in no directory" drun --summary no/sum 'touch ran'
ok "and nothing has run" [ -d may -a ! -e may/ran -a ! -e ran ]
status 74 "a full disk" drun --summary /dev/full true
like err 'its record is not written' "is said"
status 65 "and hides no other status" drun --summary /dev/full 'exit 65'
drun --summary - 'echo data' >out 2>err
is "$(sed -n 1p out) $(sed -n 2p out | jq -r .status)" "data 0" \
    "- is standard output"
printf 'torn' >torn
status 0 "a line that was torn" drun --summary torn true
is "$(sed -n 1p torn) $(sed -n 2p torn | jq .status)" "torn 0" \
    "stays alone"
i=0
while [ $i -lt 20 ]; do
	i=$((i + 1))
	drun --summary many "true | : $(head -c 3000 /dev/zero | tr '\0' x)" \
	    2>/dev/null &
done
wait
is "$(jq -s 'length' many)" 20 "twenty at once: twenty whole records"
status 0 "bytes that are no UTF-8, quotes, newlines" drun --summary sum \
    "$(printf 'true "a\\\\b" |\n: \351 \303\251')"
is "$(f .status sum)" 0 "are a record all the same"

# --- the checkpoint database
rm -rf tgt in
mkdir in
cp -R "$DATA"/demo/delta-0[1-3] in/
DCKPT_DB=$T/ck.db
export DCKPT_DB
status 75 "a run with DCKPT_DB, without --summary" \
    drun --retry 1 'dfetch in | { cat; exit 75; }'
is "$(grep -c '^drun: run ' err)" 0 "has no line for people"
col() { sqlite3 -readonly "$DCKPT_DB" "SELECT $1 FROM run ORDER BY id"; }
is "$(col "status, ended >= started, summary IS NULL, cwd = '$T'" |
    tr '\n' ' ')" "75|1|1|1 75|1|0|1 " "each try is noted, the last with its record"
is "$(col command | sort -u)" 'dfetch in | { cat; exit 75; }' "and what it ran"
status 0 "a good run" drun "$pipe"
is "$(col 'status, bytes > 0, records > 0' | tail -n 1)" "0|1|1" "is noted"
is "$(sqlite3 -readonly ck.db 'SELECT summary FROM run ORDER BY id' |
    tail -n 1 | jq -c '[.status, .inputs.merged]')" "[0,3]" "with its record"
echo junk >ck2.db
DCKPT_DB=ck2.db status 0 "a database that is none" drun true
like err 'warning: .*ck2' "is warned of, and no failure of the run"
unset DCKPT_DB

# --- --log=json
truncate -s 50000 in/delta-03/chroma.sqlite3
good() {
	jq -es 'length > 0 and all(has("time") and has("program") and has("pid") and
	    has("level") and has("text"))' "$1"
}
status 65 "a run with --log=json" drun --log=json -v --summary sum \
    'dfetch in | dcheck -v | dmerge -o out1'
ok "every line is an object" good err
is "$(jq -r 'select(.program == "dcheck" and .level == "error") |
    [.object[-8:], .status, .code, .class, .stage] | @tsv' err)" \
    "delta-03	65	DATAERR	permanent	2" \
    "an error has an object, a status and a stage"
is "$(jq -r 'select(.program == "dcheck") | .run' err | sort -u)" \
    "$(f .run sum)" "and a run"
is "$(jq -r 'select(.program == "drun" and .level == "error") | .text' err)" \
    "stage 2 (dcheck -v): exit 65 (DATAERR); nothing was published" \
    "the text is the line's"
is "$(jq -r .level err | sort -u | tr '\n' ' ')" "error info " "levels"
ok "the summary is a note" sh -c \
    'jq -e "select(.text | startswith(\"run \")) | .level == \"info\"" err'
DLOG=json status 66 "DLOG does the same" dfetch nope
ok "in each program" good err
DLOG=json status 66 "the option wins" dfetch --log=text nope
like err '^dfetch: ' "over DLOG"
for p in dfetch dcheck dmerge dpublish dckpt drun; do
	status 64 "$p --log=xml" "$p" --log=xml x
done
DLOG=xml status 64 "DLOG=xml" drun true
like err 'DLOG: want text or json' "said"
# a quote opens nothing in a comment
odd=$(printf 'exit 3 # a"b\\c\001 \303\251 \351')
DLOG=json status 3 "odd bytes" drun "$odd"
is "$(jq -r .object err)" "$(printf 'stage 1 (exit 3 # a"b\\c\001 \303\251 \357\277\275)')" \
    "come out as they were, or as no character"
finish
