#!/bin/sh
# dckpt.t: what the checkpoint database says to people and programs, and
# dckpt as a stage, many at once.
. "$(dirname "$0")/lib.sh"
plan 132

DB=$T/db
A=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
# a stream in JSON lines, of deltas by these names
hello() { echo '{"t":"hello","v":1,"prog":"test","version":"0","run":"r"}'; }
delta() {
	printf '{"t":"delta","url":"%s","sha256":"%s","kind":"dir","path":"in/x","size":7,"seq":1,"mtime":5}\n' "$1" $A
}
refused() { printf '{"t":"refused","url":"%s","verdict":"hot","reason":"its \\"writer\\"\\u000adied","mend":"copy"}\n' "$1"; }
skip_() { printf '{"t":"skip","url":"%s","sha256":"%s","why":"digest"}\n' "$1" $A; }
end() { echo '{"t":"end","totals":{}}'; }
# through FILE: the stream in it through dckpt, under drun
through() { drun "cat '$1' | dckpt -c '$DB' --json-in --json"; }
sql() { sqlite3 "$DB" "$1"; }
keys() { dckpt -c "$DB" list "$@" --json | sed 's/.*"key":"\([^"]*\)".*/\1/' | sort | tr '\n' ' '; }
count() { dckpt -c "$DB" list "$@" --json | wc -l | tr -d ' '; }

# --- called wrongly; a typo creates nothing
status 64 "no database" dckpt list
like err 'give -c db or set DCKPT_DB' "told so"
status 64 "no such verb" dckpt -c db lst
status 64 "no such state" dckpt -c db list --state compleeted
status 64 "an option of another verb" dckpt -c db list -y
status 64 "a limit that is none" dckpt -c db list --limit 0
for v in list failed stats clear retry; do
	status 66 "$v: no database" dckpt -c typo "$v" x
	ok "$v: none is made" [ ! -e typo ]
done
echo hello >text
status 65 "a file of text" dckpt -c text list
is "$(cat text)" hello "is left alone"
sqlite3 foreign 'create table t (a); insert into t values (1)'
before=$(cksum <foreign)
status 65 "another database" dckpt -c foreign list
hello >s0; end >>s0
status 65 "not as a stage either" \
    drun "cat s0 | dckpt -c foreign --json-in --json"
is "$(cksum <foreign)" "$before" "it is left alone, byte for byte"
: >empty
status 65 "an empty file" dckpt -c empty list
status 66 "below a directory that is not there" dckpt -c no/db list

# --- as a stage
{ hello; delta /d/one; delta "/d/two words|'q'"; skip_ /d/skipped
    refused /d/bad; echo '{"t":"novel","x":[1,{"y":null}]}'; end; } >s1
DCKPT_PIPELINE=lines status 0 "a stream goes through" through s1
sed 1d s1 >want1
sed 1d out >got1
is "$(cat got1)" "$(cat want1)" "as it is"
is "$(keys)" "/d/bad /d/one /d/skipped /d/two words|'q' " "all recorded"
is "$(count --state in_progress)" 2 "deltas are in progress"
is "$(keys --state completed)" "/d/skipped " "a skip is completed"
is "$(keys --state failed)" "/d/bad " "a refused one has failed"
is "$(sql "select pipeline, size, mtime, attempts, digest from unit where key = '/d/one'")" \
    "lines|7|5|1|$A" "with its facts"
is "$(sql 'pragma application_id; pragma user_version; pragma journal_mode')" \
    "1229870160
2
wal" "ours, schema 2, WAL"
is "$(sql "select name from sqlite_master where type = 'table' order by 1" | tr '\n' ' ')" \
    "attempt breaker meta past run unit " "its tables"
status 76 "a stream without END" drun \
    "{ head -n 3 s1; } | dckpt -c cut.db --json-in --json >/dev/null"
is "$(sqlite3 cut.db 'select distinct state from unit')" pending \
    "its units are pending again"
is "$(sqlite3 cut.db "select outcome, status, class from attempt limit 1")" \
    "abandoned|76|unknown" "their attempts abandoned"
status 64 "a stage without database" drun "cat s1 | dckpt --json-in"
DCKPT_DB=$T/env.db status 0 "DCKPT_DB" drun "cat s1 | dckpt --json-in --json"
ok "it is there" [ -s env.db ]
status 74 "a full stdout is 74" sh -c "dckpt -c '$DB' list >/dev/full"
DB=/nope/db status 66 "a database that cannot be made" through s1

# what comes together is recorded together, and each as if it came alone
{ hello; refused /d/before; echo '{"t":"delta","url":7}'; refused /d/behind
    end; } >s2
status 76 "a record that is wrong, between others" \
    drun "cat s2 | dckpt -c mix.db --json-in --json"
is "$(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' out)" /d/before \
    "those before it have gone on"
is "$(sqlite3 mix.db 'select key, state from unit')" "/d/before|failed" \
    "and are recorded"
{ hello; i=0; while [ $i -lt 3000 ]; do delta /m/$i; i=$((i + 1)); done
    end; } >s3
status 0 "three thousand at once" \
    drun "cat s3 | dckpt -c many.db --json-in --json"
is "$(sed 1d out | cksum)" "$(sed 1d s3 | cksum)" "all go on, in their order"
is "$(sqlite3 many.db 'select count(*), sum(size), min(state) from unit')" \
    "3000|21000|in_progress" "and are recorded"

# --- where nothing may be written
cp s1 in1
drun 'cat in1 | dckpt -c ro.db --json-in --json' >/dev/null 2>&1
mkdir ro
cp ro.db ro/db
dckpt -c ro.db list --json >want
sqlite3 ro.db 'pragma journal_mode = delete' >/dev/null
cp ro.db ro/delete
cat >ro.sh <<'E2'
mount --bind ro ro && mount -o remount,bind,ro ro || exit 99
for v in "list --json" failed stats "export --prometheus" breaker \
    "list --json -g /d/*"; do
	dckpt -c ro/db $v >ro.out 2>&1 || echo "$v: $?: $(cat ro.out)"
done
dckpt -c ro/db list --json | cmp - want
dckpt -c ro/delete list --json | cmp - want
dckpt -c ro/db retry -g '*'; echo $?
dckpt -c ro/log list; echo $?
E2
# a log that nobody has taken in
cp ro/db ro/log
sqlite3 ro/log 'update unit set size = 8' \
    '.shell cp ro/log ro/l; cp ro/log-wal ro/l-wal'
mv ro/l ro/log
mv ro/l-wal ro/log-wal
rm -f ro/log-shm
# a container may forbid it to root, too: then nothing is printed
unshare -m sh ro.sh >ro.got 2>ro.err || unshare -rm sh ro.sh >ro.got 2>ro.err
if [ $? = 99 ] || [ ! -s ro.got ]; then
	skip 3 "nothing can be mounted here: $(head -1 ro.err)"
else
	is "$(cat ro.got)" "77
77" "on read-only media it can be looked at, and not changed"
	like ro.err '^dckpt: ro/db: Read-only file system' "by who changes it"
	like ro.err '^dckpt: ro/log: its log, ro/log-wal, wants to be recovered' \
	    "and not looked at where a log must be taken in"
fi
rm -f many.db* ro.db*

# --- list, failed, stats
status 0 "list" dckpt -c "$DB" list
is "$(wc -l <out | tr -d ' ')" 4 "a line each"
like out '^failed +input +20[^ ]*Z +1 lines /d/bad$' "with what it should"
status 0 "list of a key" dckpt -c "$DB" list /d/one
is "$(wc -l <out | tr -d ' ')" 1 "that one"
status 66 "list of a key that is not there" dckpt -c "$DB" list /d/one /d/onne
like err '^dckpt: /d/onne: no such checkpoint: dckpt list ' "named"
status 66 "a pipeline that is not there" dckpt -c "$DB" -p linse list
status 66 "a glob like nothing" dckpt -c "$DB" -g '/e/*' list
is "$(count -g '/d/*')" 4 "a glob"
status 0 "--limit" dckpt -c "$DB" list -g '/d/*' --limit 1
is "$(wc -l <out | tr -d ' ') $(cat err)" "1 dckpt: 3 more; --limit" \
    "says how many it left out"
status 0 "--limit, for a program" dckpt -c "$DB" list --limit 3 --json
is "$(grep -c '"key"' out) $(sed -n '$p' out)" '3 {"more":1}' \
    "has a last line that says so"
status 0 "a limit that is not reached" dckpt -c "$DB" list --limit 4 --json
is "$(wc -l <out | tr -d ' ') $(cat err)" "4 " "leaves nothing out"
is "$(count -p lines --scope input --scope chunk)" 4 "two scopes"
is "$(count --scope chunk)" 0 "none of a scope is no error"
is "$(count -g "x' OR 1=1 --" 2>/dev/null)" 0 "text is not SQL"
status 0 "failed" dckpt -c "$DB" failed
is "$(grep -c '^/d' out)" 3 "the failed one and two stale ones"
like out 'failed with exit 65 hot, permanent' "its status, code and class"
like out 'error: its "writer"\?died' "its error, on one line"
like out 'in progress and stale \(its processes are gone\)' "who is gone"
like out "[0-9]+ s ago, attempt 1, run 2[^ ]* on [^ ]+ pid [0-9]+" \
    "age and owner"
is "$(grep -c 'mend: ' out)" 3 "and what to do"
dckpt -c "$DB" failed --json /d/bad >out
is "$(perl -MJSON::PP -e 'local $/; $u = decode_json(<>); print "$u->{error}|$u->{class}|$u->{status}"' out)" \
    'its "writer"
died|permanent|65' "JSON keeps the text as it was"
status 0 "class" dckpt -c "$DB" failed --class permanent --json
is "$(wc -l <out | tr -d ' ')" 1 "only that one"
status 0 "stats" dckpt -c "$DB" stats
like out '^lines +input +0 +2 +1 +1 +2 +4 ' "counts"
dckpt -c "$DB" stats --json >out
like out '"in_progress":2,"completed":1,"failed":1,"stale":2,.*"failed_ratio":0.5' \
    "in JSON"
drun "cat s0 | dckpt -c new.db --json-in >/dev/null"
status 0 "stats of no units" dckpt -c new.db stats --json
is "$(cat out)" "" "are none"
# who is alive is not stale
{ hello; delta /d/alive; } >s2
drun "{ cat s2; while [ ! -e stop ]; do sleep 0.1; done; } |
    dckpt -c '$DB' --json-in --json >/dev/null" 2>/dev/null & pid=$!
i=0
while [ "$(count -g /d/alive 2>/dev/null)" != 1 ] && [ $i -lt 600 ]; do
	sleep 0.1
	i=$((i + 1))
done
is "$(keys --state in_progress -g /d/alive)" "/d/alive " "another run is at work"
is "$(dckpt -c "$DB" failed | grep -c '^/d/alive')" 0 "it is not stale"
status 66 "nor retried" dckpt -c "$DB" retry /d/alive
like err '/d/alive: not retried: it is in progress, and its run lives' "said so"
touch stop
wait $pid
is "$(sql "select state from unit where key = '/d/alive'")" pending \
    "its run broke off: pending"
sql "update unit set state = 'in_progress', host = 'elsewhere', place = 'x', lease = 4102444800000 where key = '/d/alive'"
is "$(dckpt -c "$DB" failed | grep -c '^/d/alive')" 0 "elsewhere, under a lease"
sql "update unit set lease = 1 where key = '/d/alive'"
dckpt -c "$DB" failed /d/alive >out
like out 'stale \(its lease is over\)' "and when that is over"

# --- retry
status 66 "retry: a key that is not there" dckpt -c "$DB" retry /d/nope
status 66 "retry: a completed key" dckpt -c "$DB" retry /d/skipped
like err 'not retried: it is completed' "said"
status 0 "retry --limit" dckpt -c "$DB" retry -n --limit 3
is "$(wc -l <out | tr -d ' ') $(cat err)" "3 dckpt: 1 more; --limit" \
    "leaves the rest, and says so"
status 0 "retry -n" dckpt -c "$DB" retry -n
is "$(wc -l <out | tr -d ' ')" 4 "shows the failed and the stale"
is "$(count --state pending)" 0 "and changes nothing"
status 0 "retry by class" dckpt -c "$DB" retry --class permanent
is "$(cat out)" /d/bad "prints the key"
is "$(keys --state pending)" "/d/bad " "it is pending"
status 0 "retry -0" dckpt -c "$DB" retry -0
is "$(xargs -0 -n 1 <out | sort)" "/d/alive
/d/one
/d/two words|'q'" "keys for xargs"
is "$(count --state pending)" 4 "all pending"
status 0 "retry again" dckpt -c "$DB" retry
is "$(cat out)" "" "finds nothing"
is "$(sql "select count(*) from attempt where ended is null")" 0 \
    "no attempt is open"
is "$(sql "select group_concat(outcome) from attempt join unit on unit.id = unit where key = '/d/bad'")" \
    failed "the history stays"
status 0 "--history" dckpt -c "$DB" list --history /d/bad
like out '^    20.* failed, exit 65 \(permanent\), run 2.* pid [0-9]+: its "writer"' "shows it"

# --- clear: what is shown is what goes
status 64 "clear of nothing named" dckpt -c "$DB" clear
status 64 "clear with nobody to ask" dckpt -c "$DB" clear -g '*'
is "$(count)" 5 "nothing is gone"
same=0 tried=0 some=0
for sel in '--state pending' '--state failed' '--state in_progress' \
    '--state completed' '--scope input' '--scope chunk' \
    '--scope input --state pending' '--state pending --state completed' \
    '--class permanent' '-g /d/*' '-g *one -p lines' '/d/one /d/bad' \
    '/d/one --state failed' '--scope input -g /d/* --class transient' \
    '-p lines --state completed'; do
	cp "$DB" copy.db
	cp "$DB-wal" copy.db-wal 2>/dev/null || rm -f copy.db-wal
	was=$(sqlite3 copy.db 'select count(*) from unit')
	set -f
	# shellcheck disable=SC2086
	shown=$(dckpt -c copy.db clear -n $sel --json | wc -l)
	# shellcheck disable=SC2086
	said=$(dckpt -c copy.db clear -y $sel --json | tr -dc 0-9)
	set +f
	left=$(sqlite3 copy.db 'select count(*) from unit')
	tried=$((tried + 1)) some=$((some + (shown > 0)))
	if [ "$shown" -eq "$said" ] && [ $((was - left)) -eq "$said" ]; then
		same=$((same + 1))
	else
		echo "# $sel: shown $shown, said $said, gone $((was - left))"
	fi
	rm -f copy.db*
done
is "$same $some" "$tried 10" \
    "clear: preview, answer and rows agree in $tried ways"
status 66 "clear of a key that is not there" dckpt -c "$DB" clear -y /d/nope
status 0 "clear of a key" dckpt -c "$DB" clear -y /d/one
is "$(cat out)" "cleared 1" "said"
is "$(keys)" "/d/alive /d/bad /d/skipped /d/two words|'q' " "that one is gone"
is "$(sql 'select count(*) from attempt where unit not in (select id from unit)')" \
    0 "with its history"
status 0 "clear of all" dckpt -c "$DB" clear -y -g '*' --json
is "$(cat out) $(sql 'select count(*) from unit')" '{"cleared":4} 0' "all gone"

# --- a newer schema
sqlite3 newer.db 'pragma journal_mode=wal; pragma application_id=1229870160;
    pragma user_version=3; create table unit (x)' >/dev/null
status 65 "a newer schema" dckpt -c newer.db list
like err 'schema: want 2, got 3' "refused by number"

# --- many at once: 32 stages, a new database, readers beside them
DB=$T/many.db
i=0
while [ $i -lt 32 ]; do
	{ hello; k=0
	while [ $k -lt 10 ]; do
		delta "/m/$i/$k"
		k=$((k + 1))
	done
	skip_ "/m/shared"; refused "/m/$i/9"; end; } >"many.$i"
	i=$((i + 1))
done
i=0
while [ $i -lt 32 ]; do
	{ through "many.$i" >/dev/null 2>"many.err.$i" || echo "$i"; } >>many.rc &
	i=$((i + 1))
done
i=0
while [ $i -lt 10 ]; do
	dckpt -c "$DB" stats >/dev/null 2>>many.read
	i=$((i + 1))
done
wait
is "$(cat many.rc many.err.*)" "" "32 at once: none failed or complained"
is "$(grep -v 'no such checkpoint database' many.read)" \
    "" "readers beside them"
is "$(sql 'select count(*), sum(attempts) from unit')" "321|321" \
    "nothing is lost"
is "$(sql "select state, count(*) from unit group by 1 order by 1")" \
    "completed|1
failed|32
in_progress|288" "states are right"
is "$(sql 'select count(*) from attempt')" 321 "every attempt is there"
is "$(sql 'pragma integrity_check')" ok "and the file is whole"

# --- killed in the middle, again and again
DB=$T/kill.db
{ hello; k=0
while [ $k -lt 400 ]; do delta "/k/$k"; k=$((k + 1)); done; end; } >s3
k=0
while [ $k -lt 8 ]; do
	flock -sF kill.lock drun "{ cat s3; sleep 5; } |
	    dckpt -c '$DB' --json-in --json >/dev/null" 2>/dev/null & pid=$!
	i=0
	while [ ! -s "$DB" ] && [ $i -lt 600 ]; do
		sleep 0.1
		i=$((i + 1))
	done
	sleep "0.$((k + 1))"
	kill -KILL $pid
	wait $pid 2>/dev/null
	k=$((k + 1))
done 2>/dev/null
# until nobody of any of them lives: they all hold the lock
flock -x -w 60 kill.lock true
status 0 "killed eight times, then left alone" through s3
is "$(sql 'pragma integrity_check; select count(*) from unit')" "ok
400" "whole and complete"
is "$(sql "select count(*) from attempt where ended is null and unit in (select unit from attempt where ended is null group by unit having count(*) > 1)")" \
    0 "one open attempt at most"
finish
