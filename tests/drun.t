#!/bin/sh
# drun.t: a pipeline of which all is committed or nothing: who is blamed,
# who is stopped, what is left behind.
. "$(dirname "$0")/lib.sh"
plan 170

now() { date +%s%N | sed 's/......$//'; }
# heeded MS: it took so long, which is less than the sleepers sleep, and
# nobody was killed for not ending on a signal, which is told after 10 s
heeded() { [ "$1" -lt 45000 ] && ! grep 'does not end on TERM' err; }
# quick WANT 'what' command...: as status, and at the first signal
quick() {
	_want=$1 _what=$2; shift 2
	_t0=$(now)
	status "$_want" "$_what" "$@"
	_t1=$(now)
	ok "$_what: at the first signal" heeded $((_t1 - _t0))
}
# until_true N command...: wait for it, at most N tenths of a second
until_true() {
	_i=$1; shift
	while ! "$@" >/dev/null 2>&1; do
		_i=$((_i - 1))
		[ "$_i" -gt 0 ] || return 1
		sleep 0.1
	done
}
staging() { find "$TMPDIR" -mindepth 1 -maxdepth 1 -name '*intact.*'; }
no_staging() { [ -z "$(staging)" ]; }
# The sleepers of this test have a number of seconds of their own.
Z=60.$$
asleep() { grep -qszx "$Z" /proc/[0-9]*/cmdline; }
gone() { ! asleep; }

# --- the happy pipe
status 0 "one stage" drun 'echo one'
is "$(cat out)" one "its output is ours"
status 0 "three stages" drun 'printf "b\na\n" | sort | tr a-z A-Z'
is "$(cat out)" "A
B" "data goes through"
is "$(echo in | drun 'cat | cat')" in "our stdin is the first stage's"
status 0 "what stages see" drun '{ echo "$DRUN_ID"; echo "$DSTAGE"; ls "$DSTAGE"; }'
like out '^[0-9]{8}T[0-9]{6}\.[0-9]{6}Z-[0-9a-f]{8}$' "DRUN_ID"
is "$(sed -n 2p out)" "$TMPDIR/intact.$(sed -n 1p out)" "DSTAGE, below TMPDIR"
is "$(sed -n 3p out)" lock "and its lock in it"
ok "staging is gone" no_staging
mkdir par
status 0 "--stage-parent" drun --stage-parent par '{ echo "$DSTAGE"; }'
like out "^$T/par/intact\." "staging is made there"
is "$(ls par)" "" "and removed there"
status 66 "--stage-parent that is not there" drun --stage-parent nope true
status 0 "64 stages" drun "echo deep$(i=1; while [ $i -lt 64 ]; do printf ' | cat'; i=$((i + 1)); done)"
is "$(cat out)" deep "and all of them carry"
status 64 "65 stages" drun "echo deep$(i=1; while [ $i -lt 65 ]; do printf ' | cat'; i=$((i + 1)); done)"
status 0 "a dash first is no option of sh" drun '{ exit 0; } | { cat; }'

# --- splitting
# splits 'what' PIPELINE STAGE...
splits() {
	_what=$1; shift
	drun -n "$1" >got 2>err; shift
	_i=0
	for _s; do
		_i=$((_i + 1))
		printf '%s\t%s\n' "$_i" "$_s"
	done >want
	is "$(cat got)" "$(cat want)" "$_what"
}
splits "plain" 'a 1|b 2 |c' 'a 1' 'b 2' c
splits "quotes" "a '|' \"|\" \\| | b" "a '|' \"|\" \\|" b
splits "substitutions" 'a "$(b | c ")")" `d | e` ${f:-g|h} | i' \
    'a "$(b | c ")")" `d | e` ${f:-g|h}' i
splits "arithmetic" 'echo $((1 | 2 << 3)) | b' 'echo $((1 | 2 << 3))' b
splits "brackets" '(a | b; c) | { d | e; f & }' '(a | b; c)' \
    '{ d | e; f & }'
splits "case in braces" '{ case x in a|b) c ;; (d) e | f; esac; } | g' \
    '{ case x in a|b) c ;; (d) e | f; esac; }' g
splits "case in a substitution" 'a $(case x in y) b | c;; esac) | d' \
    'a $(case x in y) b | c;; esac)' d
splits "redirections" 'a >|b 2>&1 <&3 >&- | c' 'a >|b 2>&1 <&3 >&-' c
splits "braces that are words" 'xargs -I{} a {} } | echo {' \
    'xargs -I{} a {} }' 'echo {'
splits "} as an argument does not close" '{ a } | b; } | c' '{ a } | b; }' c
splits "comments" 'a b#c $# # d | e' 'a b#c $# # d | e'
splits "newlines after |" 'a |
    b |   # why | not
    c
' a b '# why | not
    c'
splits "nested quotes" 'a "${b:-"it'"'"'s|"}" | c' 'a "${b:-"it'"'"'s|"}"' c
refused=0
for text in 'a || b' 'a && b' 'a; b' 'a & b' 'a |& b' 'a
b' 'a | | b' '| a' 'a |' '' '   ' '# only' 'a "b' "a 'b" 'a `b' '(a | b' \
    '{ a | b' 'a ) | b' '} | a' 'a ${b | c' 'cat <<E | b' "echo \$'a|b' | c" \
    '{ case x in a) b; } | c'; do
	refused=$((refused + 1))
	drun -n "$text" >out 2>err </dev/null
	is "$? $(wc -c <out | tr -d ' ') $(wc -l <err | tr -d ' ')" "64 0 1" \
	    "refused, in one line: $(printf %s "$text" | tr '\n' '~')"
done
is "$refused" 23 "all of them"
drun 'touch x; touch y' 2>err
like err 'wrap the stage in \{ \.\.\.; \}' "told how"
ok "and nothing has run" [ ! -e x ]
status 64 "several operands" drun echo a
like err 'one argument, in quotes' "told why"
status 64 "none" drun

# --- who is blamed; the rest is stopped, wherever it stands
quick 65 "the first fails" drun "exit 65 | sleep $Z | sleep $Z"
like err '^drun: stage 1 \(exit 65\): exit 65 \(DATAERR\); nothing was pub' \
    "named with its status"
quick 66 "the middle fails" drun "sleep $Z | exit 66 | sleep $Z"
like err '^drun: stage 2 \(exit 66\): exit 66 \(NOINPUT\)' "named"
quick 75 "the last fails" drun "sleep $Z | sleep $Z | exit 75"
like err '^drun: stage 3 \(exit 75\): exit 75 \(TEMPFAIL\)' "named"
is "$(wc -l <err | tr -d ' ')" 1 "in one line"
ok "no sleeper is left" gone
i=0 slow=0
while [ $i -lt 50 ]; do
	_t0=$(now)
	drun "exit 65 | sleep $Z | sleep $Z | sleep $Z" 2>err
	_t1=$(now)
	heeded $((_t1 - _t0)) || slow=$((slow + 1))
	i=$((i + 1))
done
is $slow 0 "50 times: none is missed between fork and exec"
quick 5 "sleepers below a shell" \
    drun "{ sleep $Z; true; } | exit 5 | (sleep $Z; true)"
ok "none is left either" gone
# not before drun knows of the 76; nor long after, which is to try again
verdict() {
	i=0
	while [ $i -lt 20 ]; do
		rm -f first
		drun '{ echo $$ >first; exit 76; } | {
		    until [ -s first ] && ! kill -0 $(cat first) 2>/dev/null
		    do sleep 0.02; done; exit 65; }'
		r=$?
		[ $r -eq 76 ] || return $r
		i=$((i + 1))
	done
	return 76
}
status 65 "76 first, a verdict soon after" verdict
like err 'stage 2 .*exit 65' "the verdict is named"
quick 76 "76 and nobody says more" drun "exit 76 | sleep $Z"
like err '^drun: stage 1 \(exit 76\): exit 76 \(PROTOCOL\)' "76 then"
status 1 "SIGPIPE is not to blame" drun 'yes | { sleep 0.1; exit 1; }'
like err 'stage 2 .*exit 1; nothing' "but who left"
status 141 "unless nobody says more" drun 'yes | head -n 1'
status 1 "a foreign 1 passes" drun 'false | cat'
status 127 "not found" drun 'true | no-such-program-here'
like err 'stage 2 \(no-such-program-here\): exit 127 \(command not found\)' \
    "said so"
status 137 "killed" drun 'cat | { kill -KILL $$; }'
like err 'killed by signal 9 \(Killed\)' "by what"
status 255 "255 passes" drun 'exit 255'
quick 3 "one that is stopped too" drun "{ kill -STOP \$\$; } | { sleep 0.2; exit 3; }"
ok "staging is gone" no_staging
_t0=$(now)
status 66 "one that ignores TERM" \
    drun "{ trap '' TERM; sleep $Z; sleep $Z; } | { sleep 0.2; exit 66; }"
_t1=$(now)
ok "is killed after 10 s" [ $((_t1 - _t0)) -lt 45000 ]
ok "and gone" gone
status 0 "background work does not outlive the run" \
    drun "{ sleep $Z >/dev/null & }"
ok "it is gone" gone

# --- tickets
mkdir fake
cp "$BIN/drun" fake/
cat >fake/dpublish <<'E'
#!/bin/sh
echo "$1 $DRUN_ID $(ls "$DSTAGE/tickets" | tr '\n' ' ')" >>"$LOG"
case $1 in
--commit)
	[ -z "${WAIT-}" ] || { trap 'echo term >>"$LOG"' TERM
	    echo $$ >"$WAIT"
	    while [ -e "$WAIT" ]; do sleep 0.1; done; }
	echo published ;;
esac
exit "${RC-0}"
E
chmod +x fake/dpublish
LOG=$T/log
export LOG
leave='{ cat; mkdir "$DSTAGE/tickets"; echo "{}" >"$DSTAGE/tickets/1.json"; }'
status 0 "all 0 and a ticket" fake/drun "echo data | $leave | cat"
is "$(cat out)" "data
published" "the commit writes to our stdout"
like log '^--commit 2[^ ]* 1.json $' "commit was run once, on our staging"
is "$(wc -l <log | tr -d ' ')" 1 "and nothing else"
rm log
status 0 "no ticket" fake/drun "echo data | cat"
ok "no commit" [ ! -e log ]
status 1 "a foreign stage that exits 1 after it wrote everything" \
    fake/drun "echo data | $leave | { cat; exit 1; }"
like log '^--discard ' "its ticket is discarded"
is "$(grep -c commit log)" 0 "and not committed"
like err 'stage 3 .*: exit 1; nothing was published' "named"
rm log
RC=73 status 73 "the commit's status is ours" fake/drun "echo data | $leave"
like err 'dpublish --commit: exit 73 \(CANTCREAT\)' "said"
rm log
mkdir other
cp "$BIN/drun" other/
PATH=$T/fake:$PATH status 0 "dpublish from PATH" other/drun "echo data | $leave"
like log '^--commit' "it was run"
rm log
ok "staging is gone" no_staging

# a signal before the commit, and one in it
fake/drun "{ mkdir \"\$DSTAGE/tickets\"; echo >\"\$DSTAGE/tickets/1.json\"; sleep $Z; }" \
    2>err & pid=$!
ok "it runs" until_true 600 asleep
kill -TERM $pid
wait $pid
is $? 143 "TERM: it dies of that"
ok "no sleeper is left" gone
like err 'signal 15 .*nothing was published' "said"
is "$(cut -d' ' -f1 log)" "--discard" "ticket discarded, nothing committed"
rm log
ok "staging is gone" no_staging
WAIT=$T/wait fake/drun "echo | $leave" >out 2>err & pid=$!
ok "the commit has begun" until_true 600 [ -s wait ]
kill -TERM $pid
ok "TERM is passed on" until_true 600 grep -q term log
rm wait
wait $pid
is $? 0 "a commit that was completed is 0"
like err 'signal 15 came during the commit, which was completed' "and told"
like log term "dpublish was asked"
for sig in HUP:129 INT:130; do
	want=${sig#*:} sig=${sig%:*}
	# a shell's & ignores INT: perl asks for the default again
	perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' \
	    drun "sleep $Z | sleep $Z" 2>err & pid=$!
	until_true 600 asleep
	_t0=$(now)
	kill -$sig $pid
	wait $pid
	got=$?
	_t1=$(now)
	is "$got" "$want" "$sig: it dies of that"
	ok "$sig: at once" heeded $((_t1 - _t0))
	ok "$sig: no sleeper is left" gone
done
nohup sh -c 'trap "" HUP
    exec drun "{ : >up; until [ -e on ]; do sleep 0.05; done; }"' \
    >/dev/null 2>&1 & pid=$!
until_true 600 [ -e up ]
kill -HUP $pid
kill -HUP $pid
: >on
wait $pid
is "$? $(ls up)" "0 up" "HUP that was ignored stays ignored"

# --- killed without a word
drun "{ echo \$DSTAGE >mine; sleep $Z; } | sleep $Z" 2>err & pid=$!
ok "it runs" until_true 600 [ -s mine ]
until_true 600 asleep
dead=$(cat mine)
kill -KILL $pid
wait $pid
is $? 137 "kill -9"
ok "its stages are stopped all the same" until_true 600 gone
ok "staging is left" [ -d "$dead" ]
ok "watching has ended" until_true 600 flock -n -x "$dead/lock" true
drun "{ echo \$DSTAGE >live; while [ ! -e stop ]; do sleep 0.1; done; }" & pid=$!
ok "another run" until_true 600 [ -s live ]
ok "has collected it" [ ! -e "$dead" ]
status 0 "a third" drun true
ok "does not touch the living one" [ -d "$(cat live)" ]
touch stop
wait $pid
ok "staging is gone" no_staging

# --- our own stages, and the real commit
mkdir in
cp -R "$DATA/demo/delta-01" "$DATA/demo/delta-02" in/
pipe="dfetch -B tgt in | dcheck | dmerge | dpublish tgt"
status 1 "a foreign 1 at the end of a real run" \
    drun "$pipe | { cat >/dev/null; exit 1; }"
ok "nothing was committed" [ ! -e tgt/commits/1.json ]
ok "staging is gone" no_staging
drun "$pipe | { cat >/dev/null; touch prepared; sleep $Z; }" 2>err & pid=$!
ok "all is prepared" until_true 1800 [ -e prepared ]
kill -KILL $pid
wait $pid
ok "kill -9 then: the stages end" until_true 600 gone
ok "and nothing is committed" [ ! -e tgt/commits/1.json ]
status 0 "the same again" drun "$pipe"
ok "is committed" [ -s tgt/commits/1.json ]
is "$(cat tgt/latest-pointer.txt)" "$(ls tgt/timestamped)" "and pointed to"
status 0 "and again" drun "$pipe"
is "$(ls tgt/commits)" 1.json "has nothing to do"
ok "staging is gone" until_true 600 no_staging

# --- keep
status 65 "--keep" drun -k '{ echo x >"$DSTAGE/file"; exit 65; }'
kept=$(sed -n 's/^drun: staging kept: //p' err)
is "$(cat "$kept/file")" x "staging is kept where it says"
status 0 "another run" drun true
ok "does not collect it" [ -e "$kept/file" ]
rm -r "$kept"
status 0 "--keep, and it went well" drun -k true
ok "nothing is kept" no_staging

# --- odd descriptors
status 0 "stdin is /dev/null" drun 'cat | cat'
drun 'cat | wc -c' <&- >out 2>err
is $? 1 "closed stdin is cat's error"
drun 'echo x' >&- 2>err
ok "closed stdout is an error" [ $? -ne 0 ]
drun 'echo x | tr x y | cat' >&- 2>err
ok "at the end of a pipe too" [ $? -ne 0 ]
drun 'echo x | cat' >/dev/full 2>err
ok "full stdout" [ $? -ne 0 ]
drun -n 'a | b' >/dev/full 2>err
is $? 74 "full stdout of -n"
is "$( (drun 'echo x | cat') 2>&-)" x "closed stderr"
chmod 555 "$TMPDIR"
if [ "$(id -u)" -eq 0 ]; then
	# root writes anywhere: as nobody, who may not be let into BIN
	chmod 755 "$T"
	cp "$BIN/drun" "$T/drun.nobody"
	status 77 "TMPDIR that cannot be written" \
	    setpriv --reuid=65534 --regid=65534 --clear-groups \
	    "$T/drun.nobody" true
else
	status 77 "TMPDIR that cannot be written" drun true
fi
chmod 700 "$TMPDIR"
# a signal that comes while the one that commits is only starting
mkdir late
cp "$BIN/drun" late
# in perl: a shell unblocks what is blocked
cat >late/dpublish <<X
#!/usr/bin/perl
if (\$ARGV[0] eq '--commit') {
	kill 'TERM', getppid;
	select undef, undef, undef, 0.3;
}
exec '$BIN/dpublish', @ARGV;
X
chmod +x late/dpublish
cp -R "$DATA/samples/clean_small/db" late/d
for to in '-a late/out/x' late/T; do
	late/drun "dfetch late/d | dcheck | dmerge | dpublish $to" \
	    >out 2>err
	st=$?
	ok "a signal as dpublish --commit starts, $to: $st" \
	    test $st = 143 -o $st = 0
	is "$(find late/out late/T/staging late/T/timestamped -mindepth 1 \
	    -maxdepth 1 ! -name .lock 2>/dev/null | wc -l)" \
	    "$([ $st = 0 ] && echo 1 || echo 0)" \
	    "there is what is published, and nothing else"
	rm -rf late/out late/T
done
finish
