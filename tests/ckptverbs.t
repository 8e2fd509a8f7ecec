#!/bin/sh
# ckptverbs.t: what an operator does with the checkpoint database: look at
# one thing, verify, retry and run again, force, expire, breakers; and what
# a monitor asks.
. "$(dirname "$0")/lib.sh"
plan 171

A=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
DB=$T/db
hello() { echo '{"t":"hello","v":1,"prog":"test","version":"0","run":"r"}'; }
delta() {
	printf '{"t":"delta","url":"%s","sha256":"%s","kind":"dir","path":"in/x","size":7,"seq":1,"mtime":5}\n' "$1" $A
}
refused() { printf '{"t":"refused","url":"%s","verdict":"%s","reason":"its \\"writer\\"\\u000adied","mend":"copy"}\n' "$1" "$2"; }
skip_() { printf '{"t":"skip","url":"%s","sha256":"%s","why":"digest"}\n' "$1" $A; }
end() { echo '{"t":"end","totals":{}}'; }
sql() { sqlite3 -cmd '.timeout 20000' "$DB" "$1"; }
count() { sql "select count(*) from unit where $1"; }
# json FILE EXPR: $u is the first line's object
json() { perl -MJSON::PP -e 'open my $f, "<", shift; my $u = decode_json(scalar <$f>); print eval shift' "$1" "$2"; }

for v in stale show verify force expire breaker alert export; do
	status 66 "$v: no database" dckpt -c typo "$v" x
	ok "$v: none is made" [ ! -e typo ]
done

# --- show
{ hello; delta /d/one; skip_ /d/ok; refused /d/bad hot; refused /d/torn torn
    end; } >s
drun "dckpt -c '$DB' --json-in --json <s >/dev/null"
status 64 "show what?" dckpt -c "$DB" show
status 66 "show of what is not there" dckpt -c "$DB" show /d/nope
status 0 "show" dckpt -c "$DB" show /d/bad
like out '^/d/bad$' "its key"
like out 'input of pipeline default, failed with exit 65 hot, permanent' \
    "its state, status, verdict and class"
like out 'error: its "writer"\?died' "its error"
like out 'mend: mend or quarantine them' "what to do"
like out "command: dckpt -c $DB retry --run /d/bad" "the command"
like out "pipeline: cd $T && drun 'dckpt -c .*--json-in --json <s" \
    "its pipeline, for a shell"
like out '^    20.* failed, exit 65 \(permanent\), run 2' "its history"
status 0 "show, for a program" dckpt -c "$DB" show --json /d/bad
is "$(json out '"$u->{code}|$u->{history}[0]{outcome}|$u->{command}|$u->{cwd}"')" \
    "hot|failed|dckpt -c $DB retry --run /d/bad|$T" "has all of it"
is "$(json out '$u->{pipeline_text}')" \
    "dckpt -c '$DB' --json-in --json <s >/dev/null" "and the pipeline as it was"
status 0 "stale" dckpt -c "$DB" stale --json
is "$(json out '$u->{key}')" /d/one "is what nobody works on"
status 0 "by verdict" dckpt -c "$DB" failed --code torn --json
is "$(wc -l <out | tr -d ' ') $(json out '$u->{key}')" "1 /d/torn" "that one"

# --- ages
sql "update unit set updated = updated - 86400000 * 3 where key = '/d/torn'"
status 0 "older than" dckpt -c "$DB" failed --older-than 2d --json
is "$(wc -l <out | tr -d ' ') $(json out '$u->{key}')" "1 /d/torn" "that one"
status 0 "newer than" dckpt -c "$DB" failed --newer-than 2d --json
is "$(wc -l <out | tr -d ' ')" 2 "the others"
status 64 "an age that is none" dckpt -c "$DB" list --older-than soon
status 0 "retry by age" dckpt -c "$DB" retry --older-than 2d
is "$(cat out) $(count "state = 'pending'")" "/d/torn 1" "the old one"

# --- expire: exactly the aged rows
status 64 "expire when?" dckpt -c "$DB" expire -y
sql "update unit set updated = 1000 where key in ('/d/ok', '/d/bad')"
status 64 "expire with nobody to ask" dckpt -c "$DB" expire --older-than 30d
status 0 "expire -n" dckpt -c "$DB" expire -n --older-than 30d --json
is "$(wc -l <out | tr -d ' ') $(count 1)" "2 4" "shows two, and changes nothing"
before=$(dckpt -c "$DB" export --json | grep attempts_total || echo none)
status 0 "expire" dckpt -c "$DB" expire -y --older-than 30d --json
is "$(cat out) $(sql 'select group_concat(key) from (select key from unit order by 1)')" \
    '{"expired":2} /d/one,/d/torn' "those and no others"
is "$(sql 'select count(*) from attempt where unit not in (select id from unit)')" \
    0 "with their history"
is "$(dckpt -c "$DB" export --json | grep attempts_total)" "$before" \
    "the counters go on"
# preview, answer and rows agree with the new filters, too
sql "update unit set state = 'failed', class = 'permanent', status = 65,
    code = 'torn', updated = updated - 86400000 * 3 where key = '/d/torn'"
same=0 tried=0 some=0
for sel in '--code torn' '--older-than 1d' '--newer-than 1d' \
    '--code torn --older-than 1d' '--scope input --newer-than 9d' \
    '--class permanent --older-than 1h'; do
	rm -f copy.db*
	sql "vacuum into '$T/copy.db'"
	was=$(sqlite3 copy.db 'select count(*) from unit')
	# shellcheck disable=SC2086
	shown=$(dckpt -c copy.db clear -n $sel --json | wc -l)
	# shellcheck disable=SC2086
	said=$(dckpt -c copy.db clear -y $sel --json | tr -dc 0-9)
	left=$(sqlite3 copy.db 'select count(*) from unit')
	tried=$((tried + 1)) some=$((some + (shown > 0)))
	if [ "$shown" -eq "$said" ] && [ $((was - left)) -eq "$said" ]; then
		same=$((same + 1))
	else
		echo "# $sel: shown $shown, said $said, gone $((was - left))"
	fi
done
is "$same $some" "$tried $tried" \
    "clear: preview, answer and rows agree in $tried more ways"

# --- a real run: verify
mkdir run
cp -R "$DATA/demo/delta-01" "$DATA/demo/delta-02" "$DATA/demo/delta-03" run
rm -f "$DB"*
cd run || exit 99
DCKPT_DB=$DB drun 'dfetch -B target delta-0* | dcheck | dmerge |
    dpublish target' >/dev/null 2>&1
drun "dfetch delta-01 | dcheck | dmerge -c '$DB' -o chunk" >/dev/null 2>&1
DCKPT_DB=$DB drun 'dfetch delta-01 | dcheck | dmerge -o chunk' \
    >/dev/null 2>&1
cd .. || exit 99
status 0 "verify" dckpt -c "$DB" verify -v
is "$(cat out)" "5 ok, 0 missing, 0 differ, 0 unknown, 0 elsewhere" "all is well"
is "$(grep -c 'ok by size, time and inode' err)" 3 "inputs are not read"
like err "publish .*/target: ok by commit and every byte" "the target is"
like err "chunk: ok by manifest and digests" "and the intermediate"
sql "insert into unit (pipeline, scope, key, state, created, updated)
    values ('default', 'input', '/new', 'failed', 1, 4102444800000)"
status 0 "verify --limit" dckpt -c "$DB" verify --quick --limit 2
is "$(cat out) $(cat err)" "2 ok, 0 missing, 0 differ, 0 unknown, 0 elsewhere dckpt: 3 more; --limit" "is of what was completed"
sql "delete from unit where key = '/new'"
touch run/delta-01/chroma.sqlite3
status 0 "touched only" dckpt -c "$DB" verify -v
like err 'delta-01: ok by digest' "is read, and the same"
status 0 "verify --quick" dckpt -c "$DB" verify --quick
like out '^4 ok, 0 missing, 0 differ, 1 unknown' "reads nothing"
status 0 "verify --full" dckpt -c "$DB" verify --full -v
is "$(grep -c 'ok by digest' err)" 3 "reads all"
cp -Rp run saved
printf x >>run/delta-02/chroma.sqlite3
status 65 "an input that changed" dckpt -c "$DB" verify
like out '^differs +input .*delta-02: sha256: want [0-9a-f]{64}, got ' "is named"
rm -r run/delta-03
status 66 "and one that is gone" dckpt -c "$DB" verify --json
is "$(grep -c '"found":"missing"' out) $(grep -c '"found":"differs"' out)" \
    "1 1" "each is said"
rm -rf run
cp -Rp saved run
v=$(cat run/target/latest-pointer.txt)
printf x >>"run/target/timestamped/$v/store.sqlite3"
status 65 "a published file that changed" dckpt -c "$DB" verify --scope operation
like out 'differs +operation .*store.sqlite3' "is named"
status 0 "unseen by --quick" dckpt -c "$DB" verify --quick --scope operation
rm -r "run/target/timestamped/$v"
status 66 "a version that is gone" dckpt -c "$DB" verify --scope operation
like out "^missing +operation .*/target" "is named"
rm -rf run/target
status 66 "a target that is gone" dckpt -c "$DB" verify --scope operation
rm -rf run
cp -Rp saved run
rm run/chunk/store.sqlite3
status 65 "a file of an intermediate that is gone" dckpt -c "$DB" verify \
    --scope chunk --quick
like out '^differs +chunk .*store.sqlite3' "is named"
rm -rf run
cp -Rp saved run

# --- force
status 64 "force of nothing named" dckpt -c "$DB" force
status 66 "force of what is not there" dckpt -c "$DB" force run/nope
status 0 "force -n" dckpt -c "$DB" force -n run/delta-01
is "$(cat out) $(count 'forced')" "$T/run/delta-01 0" "shows and changes nothing"
status 0 "force" dckpt -c "$DB" force run/delta-01
is "$(count "forced and state = 'pending'")" 1 "it is to be done again"
status 0 "list says so" dckpt -c "$DB" list run/delta-01
like out '^forced +input' "in its first word"
(cd run && DCKPT_DB=$DB drun --summary ../force.json 'dfetch -B target delta-0* |
    dcheck | dmerge | dpublish target' >/dev/null 2>&1)
is "$? $(perl -MJSON::PP -e 'open my $f, "<", "force.json"; my $i = decode_json(scalar <$f>)->{inputs}; print "$i->{fetched} $i->{skipped}"')" \
    "0 1 2" "the next run leaves it not out, though the target holds it"
is "$(count forced) $(sql "select state from unit where key glob '*delta-01'")" \
    "0 completed" "then it is done, and forced no more"

# --- retry --run: what failed is run again as it was
mkdir again
cat >again/work <<'E2'
#!/bin/sh
# an input is good when there is a file of its name
cat <<EOF
{"t":"hello","v":1,"prog":"work","version":"0","run":"r"}
EOF
for f in one two; do
	if [ -e "$f" ]; then
		echo '{"t":"skip","url":"/w/'$f'","sha256":"'$(printf '%064d' 1)'","why":"digest"}'
	else
		echo '{"t":"refused","url":"/w/'$f'","verdict":"hot","reason":"no '$f'","mend":"touch '$f'"}'
	fi
done
echo run >>runs
cat plan.in >>stdin 2>/dev/null
echo '{"t":"end","totals":{}}'
E2
chmod +x again/work
DB=$T/again.db
export DCKPT_DB="$DB"
(cd again && DCKPT_PIPELINE=odd drun "./work | dckpt --json-in --json >/dev/null")
unset DCKPT_DB
is "$(count "state = 'failed'") $(sql "select command, cwd from run")" \
    "2 ./work | dckpt --json-in --json >/dev/null|$T/again" "two fail; the run is known"
status 0 "retry --run -n" dckpt -c "$DB" retry --run -n
is "$(wc -l <out | tr -d ' ') $(wc -l <again/runs | tr -d ' ')" "2 1" \
    "shows the keys and runs nothing"
like err "would run: drun './work \| dckpt --json-in --json >/dev/null' in $T/again" \
    "and what it would run"
dckpt -c "$DB" failed /w/one >out
cmd=$(sed -n 's/^    command: //p' out)
is "$cmd" "dckpt -c $DB retry --run -p odd /w/one" "the command for it"
touch again/one
status 0 "it mends" sh -c "$cmd"
is "$(sql "select state from unit where key = '/w/one'") $(wc -l <again/runs | tr -d ' ')" \
    "completed 2" "that one, in one run"
touch again/two
dckpt -c "$DB" retry /w/two >/dev/null
is "$(count "state = 'pending'")" 1 "pending"
status 0 "what was made pending is run, too" dckpt -c "$DB" retry --run
is "$(count "state = 'completed'") $(wc -l <again/runs | tr -d ' ')" "2 3" "all done"
status 0 "nothing to retry runs nothing" dckpt -c "$DB" retry --run
is "$(wc -l <again/runs | tr -d ' ')" 3 "nothing"
status 0 "force --run does" dckpt -c "$DB" force --run /w/one
is "$(wc -l <again/runs | tr -d ' ') $(count forced)" "4 0" "once, and it is over"
sql "update run set command = './work | false'; update unit set state = 'failed', status = 75, class = 'transient'"
status 1 "the pipeline's status is ours" dckpt -c "$DB" retry --run
sql "update run set command = null; update unit set state = 'failed'"
status 66 "a pipeline that was not recorded" dckpt -c "$DB" retry --run
like err 'their pipeline was not recorded' "said"

# --- note: how runs ended, from drun's own record
DB=$T/note.db
cat >sum <<'E2'
{"t":"run","run":"r1","command":"a | b","host":"h","start":"2026-02-28T23:59:59.000Z","end":"2026-03-01T00:00:09.500Z","seconds":10.5,"status":75,"records":12,"bytes":3456,"requests":7,"retries":2,"breaker_openings":1,"stages":[{"stage":1,"command":"/opt/dfetch -b T","status":0,"seconds":1.5,"totals":{}},{"stage":2,"command":"dcheck","status":75,"seconds":9,"totals":{"checked":3}}],"attempts":[{"run":"r1","status":75}]}
E2
status 0 "note" sh -c "dckpt -c '$DB' note <sum"
is "$(sql 'select id, command, started, ended, status, records, bytes from run')" \
    "r1|a | b|1772323199000|1772323209500|75|12|3456" "what it says"
status 0 "twice" sh -c "dckpt -c '$DB' note <sum"
is "$(sql 'select count(*) from run')" 1 "is once"
echo '{"run":1}' >bad
status 65 "what is no summary" sh -c "dckpt -c '$DB' note <bad"
echo nonsense >>sum
status 65 "nor JSON" sh -c "dckpt -c '$DB' note <sum"

# --- export
status 64 "export how?" dckpt -c "$DB" export
dckpt -c "$DB" export --prometheus >prom
like prom '^intact_stage_seconds\{pipeline="default",stage="1",program="dfetch"\} 1.500$' \
    "stage seconds"
like prom '^intact_run_retries\{pipeline="default"\} 2$' "retries"
DB=$T/db
rm -f "$DB"*
{ hello; delta /d/one; skip_ /d/ok; skip_ /d/ok2; refused /d/bad hot
    refused '/d/q' torn; end; } >s
DCKPT_PIPELINE='a "b" \c' drun "dckpt -c '$DB' --json-in --json <s >/dev/null"
sql "insert into breaker (host, state, failures, recent, opened, until, wait, error, updated) values ('s3.example', 'open', 5, '-----', 1, 4102444800000, 30000, 'HTTP 503', 1), ('ok.example', 'closed', 0, '+', null, null, null, null, 1)"
status 0 "export to a file" dckpt -c "$DB" export --prometheus -o m.prom
is "$(find . -maxdepth 1 -name '.m.prom*')" "" "renamed"
like m.prom '^intact_units\{pipeline="a \\"b\\" \\\\c",scope="input",state="failed"\} 2$' \
    "units, and labels escaped"
like m.prom 'intact_failures_total\{.*class="permanent",code="hot"\} 1$' \
    "failures by verdict"
like m.prom 'intact_refused\{.*verdict="torn"\} 1$' "refused now"
like m.prom '^intact_breaker_state\{host="s3.example"\} 2$' "breakers"
is "$(grep -v '^#' m.prom | grep -vcE '^[a-z_]+(\{([a-z]+="([^"\\]|\\.)*",?)+\})? -?[0-9.]+$')" \
    0 "every line is well formed"
is "$(grep -v '^#' m.prom | sed 's/[{ ].*//' | uniq | sort | uniq -d)" "" \
    "all of a metric stands together"
if command -v promtool >/dev/null 2>&1; then
	ok "promtool has nothing to say" sh -c 'promtool check metrics <m.prom'
else
	skip 1 "promtool is not installed"
fi
is "$(dckpt -c "$DB" export --json | perl -MJSON::PP -ne 'my $u = decode_json($_); $s += $u->{value} if $u->{metric} eq "intact_units"; END { print $s }')" \
    5 "the same in JSON"
status 66 "a file where there is no directory" dckpt -c "$DB" export --json -o no/file
# --- alert
status 64 "alert of what?" dckpt -c "$DB" alert
status 64 "a rate that is none" dckpt -c "$DB" alert --max-failure-rate 110%
status 0 "within limits" dckpt -c "$DB" alert --max-failure-rate 50% \
    --max-stale 1h --max-age-success 1h --max-open-breakers 1
is "$(cat out)" "" "says nothing"
status 65 "a failure rate" dckpt -c "$DB" alert --max-failure-rate 49.9%
like out 'input: failure rate: want at most 49.9%, got 50.0% \(2 of 4\)' "is said"
status 65 "breakers" dckpt -c "$DB" alert --max-open-breakers 0
like out 'open breakers: want at most 0, got 1 \(s3.example\)' "are said"
sql "update unit set updated = updated - 7200000"
status 65 "stale, and no success" dckpt -c "$DB" alert --max-stale 1h \
    --max-age-success 1h --json
is "$(cat out | perl -MJSON::PP -ne 'print decode_json($_)->{alert}, ";"')" \
    "stale;last success;" "both are said"

# --- breaker
status 0 "breaker" dckpt -c "$DB" breaker
like out '^open +5 s3.example for another .*: HTTP 503$' "with what it waits for"
status 66 "reset of one that is not there" dckpt -c "$DB" breaker reset s3.exmaple
status 0 "reset -n" dckpt -c "$DB" breaker -n reset
is "$(sql 'select count(*) from breaker')" 2 "changes nothing"
status 0 "reset of one" dckpt -c "$DB" breaker reset s3.example
is "$(cat out) $(sql 'select host from breaker')" "reset 1 ok.example" "that one"
status 0 "of all" dckpt -c "$DB" breaker reset --json
is "$(cat out)" '{"reset":1}' "all"
status 64 "breaker what?" dckpt -c "$DB" breaker rest

# --- secrets: run with them, and nowhere kept or shown
DB=$T/secret.db
{ hello; refused 'https://h/x' hot; end; } >s
# a pipeline fails and has a signed URL, a password and a key in it
printf '%s' "{ : 'https://h/x?a=1&X-Amz-Signature=S3CRET' https://u:S3CRET@h/;
    A_KEY=S3CRET; env | grep DRUN_PIPELINE= >&2; [ \${#A_KEY} -eq 6 ] || exit 3
    cat s; } | { dckpt --json-in --json; exit 9; }" >pipeline
DCKPT_DB=$DB DLOG=json status 9 "a pipeline with secrets" \
    drun -v --summary sum "$(cat pipeline)"
is "$(grep -c S3CRET sum out err)" "sum:0
out:0
err:0" "none in messages, summary and environment"
like err 'stage 2 .*exit 9' "where it is named"
is "$(cat "$DB"* | grep -c S3CRET) $(sql 'select count(*) from run')" "0 1" \
    "nor in the database"
like sum '"command":"[{] : .https://h/x[?]\[hidden\]. https://\[hidden\]@h/;' \
    "what was hidden is marked"
status 0 "show" dckpt -c "$DB" show https://h/x
like out 'X-Amz|give what is \[hidden\] anew' "says so"
like out "command: dckpt -c $DB retry https://h/x" "and has no --run"
status 64 "retry --run has no secret to run it with" \
    dckpt -c "$DB" retry --run
like err '1 units: their pipeline held a secret' "said"
status 0 "dry run" drun -n "$(cat pipeline)"
is "$(grep -c S3CRET out)" 0 "nor there"
echo '{"t":"run","run":"r9","status":0,"command":"dfetch https://h/?sig=S3CRET"}' |
    dckpt -c "$DB" note
is "$? $(cat "$DB"* | grep -c S3CRET)" "0 0" "nor by note"

# --- what was set aside has failed, and is nobody's to retry or to alert of
DB=$T/aside.db
mkdir q
cp -R "$DATA/demo/delta-01" q/good
cp -R "$DATA/demo/delta-02" q/bad
truncate -s 8192 q/bad/chroma.sqlite3
export DCKPT_DB="$DB"
drun 'dfetch -B qt q/good | dcheck | dmerge | dpublish qt' >/dev/null 2>&1
drun 'dfetch -b qt q/bad | dcheck | dmerge | dpublish qt' >/dev/null 2>&1
sql "delete from unit where scope = 'operation' and state = 'failed'"
is "$(sql "select key, state from unit where scope = 'input' order by 1")" \
    "./q/bad|failed
./q/good|completed" "one has failed"
status 65 "that is an alert" dckpt alert --scope input --max-failure-rate 10%
status 0 "it is set aside" dpublish quarantine qt --reason bad q/bad
name=$(ls qt/quarantine)
status 0 "failed" dckpt failed
like out "input of .*failed with exit 65.*; set aside as $T/qt/quarantine/$name" \
    "says where it is"
like out 'mend: have it sent again' "and what to do"
status 0 "no alert" dckpt alert --scope input --max-failure-rate 10%
dckpt export --prometheus >out
like out 'units.*scope="input",state="failed"} 0' "nor a failure"
like out 'units.*scope="input",state="aside"} 1' "it is counted as that"
status 0 "retry" dckpt retry
is "$(cat out)" "" "leaves it alone"
status 66 "by name, too" dckpt retry q/bad
like err 'not retried: it was set aside .dpublish unquarantine.' "and says so"
status 0 "brought back" dpublish unquarantine qt "$name"
status 65 "it has failed as before" dckpt alert --scope input \
    --max-failure-rate 10%
dpublish quarantine qt --reason bad q/bad >/dev/null
cp -R "$DATA/demo/delta-02" q/bad
status 0 "sent again" \
    drun 'dfetch -b qt q/bad | dcheck | dmerge | dpublish qt'
is "$(dckpt list --json q/bad | grep -c '"state":"completed".*aside')$(dckpt failed)" \
    0 "it is done, and that is over"
unset DCKPT_DB
finish
