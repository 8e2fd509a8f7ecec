#!/bin/sh
# ckpt.t: the checkpoint database among real runs: who dies, who is slow,
# what is mounted elsewhere, other journals, older schemas.
. "$(dirname "$0")/lib.sh"
plan 64

A=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
hello() { echo '{"t":"hello","v":1,"prog":"test","version":"0","run":"r"}'; }
delta() {
	printf '{"t":"delta","url":"%s","sha256":"%s","kind":"dir","path":"in/x","size":7,"seq":1,"mtime":5}\n' "$1" $A
}
skip_() { printf '{"t":"skip","url":"%s","sha256":"%s","why":"digest"}\n' "$1" $A; }
end() { echo '{"t":"end","totals":{}}'; }
sql() { sqlite3 -cmd '.timeout 20000' "$DB" "$1"; }
state() { sql "select state from unit where key = '$1'"; }
# until COMMAND...: at most a minute or two
until_() {
	i=0
	until "$@" >/dev/null 2>&1; do
		i=$((i + 1))
		[ $i -lt 600 ] || { echo "# waited in vain: $*"; return 1; }
		sleep 0.1
	done
}
is_state() { [ "$(state "$1")" = "$2" ]; }
is_stale() { dckpt -c "$DB" stale | grep -q "^$1\$"; }

# --- a worker that lives is not stale, however slow
DB=$T/slow.db
{ hello; delta /s/one; } >s1
mkfifo hold
drun "{ cat s1; read -r x <hold; cat '$T/end'; } |
    dckpt -c '$DB' --json-in --json >/dev/null" 2>/dev/null & pid=$!
end >end
until_ is_state /s/one in_progress
sql "update unit set lease = 1"
is "$(dckpt -c "$DB" stale)" "" "alive, its lease over: not stale"
{ hello; delta /s/one; skip_ /s/one; end; } >s2
{ hello; delta /s/one; end; } >s3
status 0 "another run comes to it" drun \
    "cat s3 | dckpt -c '$DB' --json-in --json >/dev/null"
is "$(sql 'select count(distinct run) from attempt')" 2 "its attempt is kept"
is "$(sql 'select count(*) from unit join attempt on unit.id = unit and unit.run = attempt.run where started = (select min(started) from attempt)')" \
    1 "the first one has it still"
status 66 "nor is it retried" dckpt -c "$DB" retry /s/one
status 66 "nor forced" dckpt -c "$DB" force /s/one
sql "update unit set updated = 1"
status 0 "nor expired" dckpt -c "$DB" expire -y --older-than 1d
is "$(cat out)" "expired 0" "said so"
# the number of a process that is another one by now
sql "update unit set born = born - 1, pgborn = pgborn - 1"
is_stale /s/one
is $? 0 "another process with its number is not its process"
sql "update unit set born = born + 1, pgborn = pgborn + 1"
echo >hold
wait $pid
is "$? $(sql 'select count(*) from attempt where ended is null')" "0 2" \
    "it ends well"

# --- killed: seen at once, taken over, completed once
DB=$T/kill.db
drun "{ cat s1; read -r x <hold; } | dckpt -c '$DB' --json-in --json \
    >/dev/null" 2>/dev/null & pid=$!
until_ is_state /s/one in_progress
is "$(dckpt -c "$DB" stale)" "" "at work"
group=$(sql 'select pgid from unit')
# all of it, the watcher first, and nothing can be tidied up
kill -KILL "-$group" $pid 2>/dev/null
wait $pid 2>/dev/null
until_ is_stale /s/one
is $? 0 "killed: stale at once, its lease not over"
dckpt -c "$DB" stale >out
like out 'its processes are gone' "and why"
like out "command: dckpt -c $DB retry --run /s/one" "and what to do"
status 0 "the next run takes it and does it" drun \
    "cat s2 | dckpt -c '$DB' --json-in --json >/dev/null"
is "$(sql 'select group_concat(outcome) from (select outcome from attempt order by id)')" \
    "abandoned,completed" "one completion, and who died"
is "$(state /s/one)" completed "done"
is "$(sql 'select count(distinct attempt.run), attempts from unit join attempt on unit.id = unit')" \
    "2|2" "two runs, two attempts"

# --- on another machine the lease decides, and is renewed
DB=$T/beat.db
drun "cat s3 | dckpt -c '$DB' --json-in --json >/dev/null"
run=$(sql 'select run from unit')
away() {
	sql "update unit set state = 'in_progress', place = 'elsewhere', host = 'elsewhere', lease = (select max(started) from attempt) + $1"
}
away 3600000
is "$(dckpt -c "$DB" stale)" "" "under a lease"
away 0
is_stale /s/one
is $? 0 "its lease is over"
was=$(sql 'select lease from unit')
mkfifo beat
DCKPT_LEASE=10s dckpt -c "$DB" beat "$run" <beat & pid=$!
exec 9>beat
renewed() { [ "$(sql 'select lease from unit')" -gt "$1" ]; }
until_ renewed "$was"
is "$(dckpt -c "$DB" stale)" "" "renewed: not stale"
was=$(sql 'select lease from unit')
until_ renewed "$was"
is $? 0 "again, and again"
exec 9>&-
wait $pid
is $? 0 "beat ends with its standard input"
until_ is_stale /s/one
is $? 0 "nobody renews it: stale, after 10 seconds"
status 64 "beat whom?" dckpt -c "$DB" beat
DCKPT_LEASE=soon status 64 "a lease that is no time" dckpt -c "$DB" list

# --- under drun it is renewed whatever a stage is busy with
DB=$T/busy.db
mkdir busy
cp -R "$DATA/demo/delta-01" busy/one
mkfifo go
# shellcheck disable=SC2016
DCKPT_LEASE=10s drun "dfetch -c '$DB' busy/one |
    dcheck -x 'read -r x <$T/go' | dmerge | dpublish -c '$DB' busy/target" \
    >/dev/null 2>busy.err & pid=$!
until_ is_state ./busy/one in_progress
away 10000
was=$(sql 'select lease from unit')
until_ renewed "$was"
is "$? $(dckpt -c "$DB" stale)" "0 " "a check that takes long: not stale"
was=$(sql 'select lease from unit')
until_ renewed "$was"
is $? 0 "again, and again, under drun"
echo >go
wait $pid
is "$? $(grep -v ': run ' busy.err)" "0 " "it ends well"
# -c reaches the commit, which is another process
is "$(sql "select key, state, attempts from unit order by 1")" \
    "./busy/one|completed|1
publish ./busy/target|completed|1" "with -c alone the commit is recorded"
is "$(sql "select result = '$(cat busy/target/latest-pointer.txt)' from unit where scope = 'operation'")" \
    1 "and what it made"
drun "dfetch busy/one | dcheck | dmerge | dpublish -c '$T/one.db' \
    busy/target2" >/dev/null 2>&1
is "$(sqlite3 one.db 'select scope, state from unit order by 1')" \
    "input|completed
operation|completed" "with -c of dpublish alone, too"
drun "dfetch -c '$T/two.db' busy/one | dcheck | dmerge -o busy/out" \
    >/dev/null 2>&1
is "$(sqlite3 two.db 'select scope, state from unit order by 1')" \
    "chunk|completed
input|completed" "and an intermediate with -c of dfetch"

# --- keys: the same files elsewhere are the same units
mkdir -p here/deltas
cp -R "$DATA/demo/delta-01" "$DATA/demo/delta-02" here/deltas
(cd here && DCKPT_DB=ckpt.db drun 'dfetch -B target deltas/* | dcheck |
    dmerge | dpublish target' >/dev/null 2>&1)
DB=$T/here/ckpt.db
is "$(sql 'select key from unit order by 1' | tr '\n' ' ')" \
    "./deltas/delta-01 ./deltas/delta-02 publish ./target " \
    "relative to the database's directory"
is "$(dckpt -c here/ckpt.db list --json | sed 's/.*"key":"\([^"]*\)".*/\1/' | sort | tr '\n' ' ')" \
    "$T/here/deltas/delta-01 $T/here/deltas/delta-02 publish $T/here/target " \
    "shown as they are here"
mv here there
DB=$T/there/ckpt.db
status 0 "moved: found by their new names" dckpt -c there/ckpt.db list \
    "$T/there/deltas/delta-01" there/deltas/delta-02
is "$(wc -l <out | tr -d ' ')" 2 "both"
status 66 "not by the old ones" dckpt -c there/ckpt.db list \
    "$T/here/deltas/delta-01"
status 0 "what was published is found there" dckpt -c there/ckpt.db verify
like out '^3 ok, 0 missing, 0 differ' "all of it"
cp -R "$DATA/demo/delta-03" there/deltas
(cd there && DCKPT_DB=ckpt.db drun 'dfetch -B target deltas/* | dcheck |
    dmerge | dpublish target' >/dev/null 2>&1)
is "$(sql "select count(*), sum(attempts), count(distinct run) from unit where scope = 'input'")" \
    "3|3|1" "a run there goes on with the same units, and a skip is no attempt"
status 0 "a glob is of the names here" dckpt -c there/ckpt.db \
    -g "$T/there/*03" list
status 64 "a root of its own, too late" env DCKPT_ROOT="$T" \
    dckpt -c there/ckpt.db list
like err 'its keys are relative to its own directory' "said"
# data and state mounted apart
mkdir -p v1/data v1/state
DB=$T/v1/state/db
{ hello; delta "$T/v1/data/x"; delta "/elsewhere/x"; end; } >s4
DCKPT_ROOT=$T/v1/data status 0 "DCKPT_ROOT" drun \
    "cat s4 | dckpt -c '$DB' --json-in --json"
mkdir -p w
mv v1/data w/data
mv v1/state w/mnt
DB=$T/w/mnt/db
is "$(sql 'select key from unit order by 1' | tr '\n' ' ')" \
    "./x /elsewhere/x " "relative to it"
DCKPT_ROOT=$T/w/data status 0 "mounted apart: found" dckpt -c "$DB" list \
    w/data/x /elsewhere/x
status 64 "without it" dckpt -c "$DB" list
like err 'its keys are relative to DCKPT_ROOT: set it' "refused"

# --- names
DB=$T/names.db
perl -CS -e 'binmode(STDOUT, ":utf8"); for my $u ("/n/a|b", "/n/a", "/n/x/same", "/n/y/same", "/n/it\x27s \\\"q\\\"", "/n/sp ace", "/n/\x{e9}\x{4e2d}", "/n/*", "/n/%25") {
    print "{\"t\":\"delta\",\"url\":\"$u\",\"sha256\":\"" . "a" x 64 . "\",\"kind\":\"dir\",\"path\":\"in/x\",\"size\":7,\"seq\":1,\"mtime\":5}\n" }' >body
{ hello; cat body; end; } >s5
status 0 "odd names" drun "cat s5 | dckpt -c '$DB' --json-in --json"
is "$(sql 'select count(*) from unit')" 9 "are nine units"
is "$(dckpt -c "$DB" list --json | perl -MJSON::PP -ne '$n{decode_json($_)->{key}}++; END { print scalar keys %n }')" \
    9 "and nine names in JSON"
is "$(dckpt -c "$DB" retry -0 | xargs -0 -n 1 dckpt -c "$DB" list --json 2>&1 | wc -l | tr -d ' ')" \
    9 "that each find their own again"

# --- other journals
DB=$T/delete.db
DCKPT_JOURNAL=delete status 0 "a rollback journal" drun \
    "cat s5 | dckpt -c '$DB' --json-in --json"
is "$(sql 'pragma journal_mode')" delete "is one"
status 0 "it stays" dckpt -c "$DB" stats
is "$(sql 'pragma journal_mode') $(ls "$DB"-* 2>/dev/null)" "delete " \
    "without being told again"
i=0
while [ $i -lt 8 ]; do
	{ hello; delta "/j/$i"; end; } >"j.$i"
	{ drun "cat j.$i | dckpt -c '$DB' --json-in --json" >/dev/null \
	    2>"j.err.$i" || echo "$i"; } >>j.rc &
	i=$((i + 1))
done
wait
is "$(cat j.rc j.err.*) $(sql "select count(*) from unit where key glob '/j/*'")" \
    " 8" "many at once with it"
DCKPT_JOURNAL=wal status 0 "back to a log" dckpt -c "$DB" list
is "$(sql 'pragma journal_mode')" wal "is one"
DCKPT_JOURNAL=fast status 64 "a journal that is none" dckpt -c "$DB" list
like err 'DCKPT_JOURNAL: want wal or delete, got fast' "named"

# --- an older schema
mkdir old
DB=$T/old/db
sqlite3 "$DB" >/dev/null <<EOF
pragma journal_mode = wal;
$(cat "$DATA/ckpt-v1.sql")
insert into unit values (1, 'p', 'input', '$T/old/d/x', 'completed',
 '$A', 7, 5, 9, 'dfetch 0.1.0', null, 'r2', 'h', 4, 4, null, 2, null, null,
 null, null, 10, 20);
insert into unit values (2, 'p', 'input', 's3://b/y', 'failed', null, null,
 null, null, 'dcheck 0.1.0', null, 'r1', 'h', 4, 4, null, 1, 'permanent', 65,
 'hot', 'x', 10, 20);
insert into attempt values (1, 1, 'r1', 'h', 4, 't', 10, 11, 'abandoned',
 null, 75, 'transient', null, null);
insert into attempt values (2, 1, 'r2', 'h', 4, 't', 12, 13, 'completed',
 '$A', null, null, null, null);
pragma application_id = 1229870160; pragma user_version = 1;
EOF
status 0 "a database of schema 1" dckpt -c "$DB" list --history old/d/x \
    s3://b/y
is "$(sql 'pragma user_version; select key from unit order by id;
    select nth, outcome from attempt order by id; pragma integrity_check;
    select count(*) from pragma_foreign_key_check' | tr '\n' ' ')" \
    "2 ./d/x s3://b/y 1|abandoned 2|completed ok 0 " \
    "is brought up to date, nothing lost"
finish
