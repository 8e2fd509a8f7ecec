#!/bin/sh
# drun_tries.t: a run again: what is tried again and what never is, the
# deadline, the lock, what is left when any of it is killed, and that a run
# that failed, given again, does only what is not done.
. "$(dirname "$0")/lib.sh"
plan 116

now() { date +%s%N | sed 's/......$//'; }
# until_true N command...: wait for it, at most N tenths of a second
until_true() {
	_i=$1; shift
	while ! "$@" >/dev/null 2>&1; do
		_i=$((_i - 1))
		[ "$_i" -gt 0 ] || return 1
		sleep 0.1
	done
}
no_staging() { [ -z "$(find "$TMPDIR" -mindepth 1 -maxdepth 1)" ]; }
Z=61.$$
asleep() { grep -qszx "$Z" /proc/[0-9]*/cmdline; }
gone() { ! asleep; }
# a stage that notes each try and exits with the first number left in
# the file `plan`, 0 when there is none
cat >flaky <<'E2'
#!/bin/sh
echo "$DRUN_ID $DSTAGE" >>tried
ls "$DSTAGE" >>seen
echo x >"$DSTAGE/mine"
cat
s=$(head -n 1 plan)
sed -i 1d plan
exit "${s:-0}"
E2
chmod +x flaky
PATH=$T:$PATH
# tries STATUS... : what the stage will exit with
tries() { rm -f tried seen; printf '%s\n' "$@" >plan; }
count() { wc -l <tried | tr -d ' '; }

# --- what is tried again
tries 75 75
status 0 "75 twice, then well" drun --retry 2 'echo data | flaky'
is "$(count)" 3 "three tries"
is "$(cut -d' ' -f1 tried | sort -u | wc -l | tr -d ' ')" 3 \
    "each with a run id of its own"
is "$(sort -u seen | tr '\n' ' ')" "lock output " \
    "and a staging that nobody has used"
is "$(cat out)" data "the output is that of one try"
is "$(grep -c 'nothing was published' err)" 2 "each failure is said"
like err '^drun: try 2 of 3 in [0-9.]+ s$' "and each new try"
ok "staging is gone" no_staging
tries 73 75
status 0 "73 is tried again too" drun --retry 5 'flaky'
is "$(count)" 3 "until it goes well"
tries 75 75 75
status 75 "at most so many times" drun --retry 1 'echo data | flaky'
is "$(count)" 2 "two tries"
is "$(cat out)" data "the output of the last, though it failed"
tries 75 65 0
status 65 "the last status wins" drun --retry 5 flaky
is "$(count)" 2 "65 is not tried again"
for s in 1 64 65 66 70 74 76 77 127 137; do
	tries $s 0
	status $s "$s is never tried again" drun --retry 3 flaky
	is "$(count)" 1 "$s: one try"
done
tries 75 0
status 75 "nor anything without --retry" drun flaky
is "$(count)" 1 "one try"
tries 75 0
status 75 "--retry 0" drun --retry 0 flaky
is "$(count)" 1 "is the same"
status 137 "nor a stage that was killed" drun --retry 3 'kill -KILL $$'
tries 75
status 75 "--keep" drun -k --retry 1 'flaky | { cat; exit 75; }'
is "$(find "$TMPDIR" -name 'kept.*' | wc -l | tr -d ' ')" 1 \
    "keeps the staging of the last try alone"
is "$(find "$TMPDIR" -name 'kept.*')" \
    "$(tail -n 1 tried | cut -d' ' -f2 | sed 's|/intact\.2|/kept.intact.2|')" \
    "and of no other"
rm -rf "$TMPDIR"/kept.*
for v in -1 1001 x ''; do
	status 64 "--retry '$v'" drun --retry "$v" true
done
# waits: a thousand tries would not overflow; the first waits are short
cat >always <<'E2'
#!/bin/sh
exit 75
E2
chmod +x always
t0=$(now)
status 75 "four tries" drun --retry 3 always
t1=$(now)
sed -n 's/.*in \([0-9.]*\) s$/\1/p' err >waits
is "$(awk '{ if ($1 > 2 ^ (NR - 1)) bad = 1 } END { print NR, bad + 0 }' \
    waits)" "3 0" "wait less than 1 s, 2 s and 4 s"
# each is told to a tenth of a second; a machine may be slow
ok "and as long as they say" awk -v t=$((t1 - t0)) '{ s += $1 * 1000 }
    END { exit !(t >= s - 150 && t < s + 60000) }' waits

# --- stdin
printf 'a\nb\n' >in
tries 75
drun --retry 1 'flaky' <in >out 2>err
is "$? $(tr '\n' ' ' <out)" "0 a b " "a file is read again"
tries 75
{ read -r line; drun --retry 1 'flaky' >out 2>err; } <in
is "$? $(cat out)" "0 b" "from where it stood"
# piped TEXT command...: stdin is a pipe that holds it, and whose writer is gone
piped() {
	perl -e 'pipe R, W; syswrite W, shift; close W; open STDIN, "<&R";
	    exec @ARGV' "$@"
}
piped 'in
' drun --retry 1 cat >out 2>err
is "$?" 64 "a pipe cannot be"
like err 'give a file, or </dev/null' "and what to do is said"
piped '' drun --retry 1 cat >out 2>err
is "$?" 0 "one that is over is nothing to read"
echo in | drun cat >out 2>err
is "$? $(cat out)" "0 in" "without --retry it is a pipe as ever"

# --- what is held back
tries 75
drun --retry 1 'echo data | flaky' >/dev/full 2>err </dev/null
is "$?" 74 "full stdout, when it is passed on"
like err 'stdout: No space' "said"
{ timeout 60 drun --retry 1 'head -c 300000 /dev/zero' </dev/null 2>err
    echo $? >st; } | { head -c 1 >/dev/null; }
is "$(cat st)" 76 "a reader that leaves is no hang, and no success"
mkfifo slow
drun --retry 1 'head -c 300000 /dev/zero' >slow 2>err </dev/null & pid=$!
exec 5<slow
ok "the output waits for its reader" until_true 600 \
    sh -c "[ \$(find $TMPDIR -name output -size +200k | wc -l) = 1 ]"
kill -TERM $pid
wait $pid
is $? 143 "TERM is heard while it does"
exec 5<&-
ok "staging is gone" no_staging

# --- the deadline
t0=$(now)
status 75 "a deadline" drun --deadline 1 "sleep $Z | sleep $Z"
t1=$(now)
ok "is kept" [ $((t1 - t0)) -lt 30000 ]
like err '^drun: deadline: .*stopped; nothing was published$' "and said"
is "$(wc -l <err | tr -d ' ')" 1 "in one line"
ok "no sleeper is left" gone
ok "staging is gone" no_staging
t0=$(now)
drun --deadline 2 --retry 1000 '{ sleep 0.2; exit 75; }' >out 2>err </dev/null
is $? 75 "tries without end"
t1=$(now)
ok "end at the deadline" [ $((t1 - t0)) -lt 30000 ]
like err 'deadline' "which is said"
status 65 "one that fails first is to blame all the same" \
    drun --deadline 30 "sleep $Z | exit 65"
status 0 "one that is done in time" drun --deadline 1h true
for v in 0 x 5y -3 99999w; do
	status 64 "--deadline $v" drun --deadline "$v" true
done
# never in the commit
mkdir fake
cp "$BIN/drun" fake/
cat >fake/dpublish <<'E2'
#!/bin/sh
echo "$1" >>"$LOG"
[ "$1" != --commit ] || { touch committing; sleep 11; }
exit 0
E2
chmod +x fake/dpublish
LOG=$T/log
export LOG
leave='{ mkdir "$DSTAGE/tickets"; echo "{}" >"$DSTAGE/tickets/1.json"; }'
status 0 "a deadline within the commit" fake/drun --deadline 10 "$leave"
is "$(cat log)" "--commit" "does not stop it"
rm log
status 75 "a deadline before it" fake/drun --deadline 10 \
    "$leave | sleep $Z"
is "$(cat log)" "--discard" "discards what was prepared"
rm log

# --- the lock
drun --lock lck "sleep $Z" & pid=$!
until_true 600 asleep
t0=$(now)
status 75 "a lock that is held" drun --lock lck 'touch ran'
t1=$(now)
ok "is no wait" [ $((t1 - t0)) -lt 30000 ]
like err "^drun: lck: lock: held by pid $pid since 20[0-9T:-]*Z: nothing was run" \
    "its holder is named"
ok "and nothing was run" [ ! -e ran ]
status 75 "--retry does not try that again" drun --retry 3 --lock lck true
is "$(wc -l <err | tr -d ' ')" 1 "it says so once"
t0=$(now)
status 75 "--lock-wait" drun --lock lck --lock-wait 1 true
t1=$(now)
ok "waits as long" [ $((t1 - t0)) -ge 900 ]
t0=$(now)
status 75 "the deadline is shorter" \
    drun --lock lck --lock-wait 60 --deadline 1 true
t1=$(now)
ok "than the wait" [ $((t1 - t0)) -lt 30000 ]
drun --lock lck --lock-wait 60 'touch waited' 2>err & pid2=$!
drun --lock lck --lock-wait 60 true 2>err3 & pid3=$!
sleep 0.3
kill -TERM $pid3
wait $pid3
is $? 143 "a signal ends the wait"
kill -TERM $pid
wait $pid
wait $pid2
is "$? $(ls waited)" "0 waited" "who waits runs when it is free"
ok "the file stays" [ -e lck ]
drun --lock lck "sleep $Z" 2>/dev/null & pid=$!
until_true 600 asleep
kill -KILL $pid
wait $pid
ok "kill -9: the lock ends" until_true 600 drun --lock lck true
ok "not before the stages have" gone
status 64 "a directory is no lock" drun --lock "$TMPDIR" true
ln -s nowhere link
status 64 "nor is a link" drun --lock link true
status 66 "a directory that is not there" drun --lock no/such/lck true
status 64 "--lock-wait alone" drun --lock-wait 5 true
drun --lock lck 'ls -l /proc/self/fd' >fds
is "$? $(grep -c ' 0 -> ' fds) $(grep -c 'lck$' fds)" "0 1 0" \
    "stages do not inherit it"

# --- signals and kill -9 between tries
drun --retry 1000 always 2>err </dev/null & pid=$!
ok "it waits for its next try" until_true 600 grep -q 'try [34] of' err
kill -TERM $pid
wait $pid
is $? 143 "TERM in the wait: it dies of that"
ok "staging is gone" no_staging
tries 75 75 75 75
drun --retry 1000 "flaky | sleep $Z" 2>err </dev/null & pid=$!
until_true 600 asleep
kill -KILL $pid
wait $pid
ok "kill -9 in a try: the stages end" until_true 600 gone
# all that held its lock are gone a little later than the sleeper
swept() { drun true && no_staging; }
status 0 "the next run" drun true
ok "sweeps its staging, once it is dead" until_true 600 swept

# --- resume: the same command does only what is not done
mkdir in2
cp -R "$DATA"/demo/delta-0[1-6] in2/
cp -R in2/delta-03 good
truncate -s 50000 in2/delta-03/chroma.sqlite3
export DCKPT_DB=$T/ck.db
pipe='dfetch -B tgt in2 | dcheck -k -v | dmerge | dpublish tgt'
status 65 "one of six deltas is bad" drun --summary sum "$pipe"
is "$(grep -c 'from the cache' err)" 0 "nothing was known"
rm -rf in2/delta-03
mv good in2/delta-03
status 0 "mended, the same command" drun --summary sum "$pipe"
is "$(grep -c 'from the cache' err)" 5 "five verdicts are known, one is made"
is "$(ls tgt/commits)" 1.json "it is published"
status 0 "and again" drun --summary sum "$pipe"
is "$(jq -r .inputs.skipped sum | tail -n 1)" 6 "all are held: six skips"
is "$(jq -c '[.status, .inputs.refused, .inputs.skipped]' sum | tr '\n' ' ')" \
    '[65,1,0] [0,0,0] [0,0,6] ' "the summaries tell the three runs"
finish
