#!/bin/sh
# breaker.t: a host's breaker, seen by four processes at once through one
# checkpoint database: it opens, lets one probe through, and closes; who is
# turned away asks nothing and waits for nothing.  Before a real server, with
# requests counted on the way to it.
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
N=40
plan $N
if ! s3_rgw; then
	skip $N "$why"
	s3_down
	finish
fi
fault_up '' "$RGW"
# a leak checker cannot look at what strace holds
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export ASAN_OPTIONS
AWS_ENDPOINT_URL=$RGW s3do make s3://bucket
AWS_ENDPOINT_URL=$RGW s3do put s3://bucket/a "$SRC/LICENSE" >/dev/null
export AWS_ENDPOINT_URL=$PROXY DCKPT_DB=$T/db

# four: that many processes at once; their statuses, sorted, in $got
one() { s3do head s3://bucket/a >"o.$1" 2>"e.$1"; echo $? >"s.$1"; }
begin() {
	rm -f s.[1-4]
	for p in 1 2 3 4; do one $p & done
}
four() {
	begin
	wait
	got=$(sort s.[1-4] | tr '\n' ' ')
}
# ended: how many of them have
ended() { ls s.[1-4] 2>/dev/null | wc -l | tr -d ' '; }
# await WHAT COMMAND...: until it succeeds
await() {
	what=$1 k=0
	shift
	until "$@"; do
		k=$((k + 1))
		[ $k -lt 600 ] || { echo "# never: $what"; return 1; }
		sleep 0.05
	done
}
sql() { sqlite3 -cmd '.timeout 10000' "$DCKPT_DB" "$1"; }
state() { sql 'SELECT state FROM breaker'; }
now() { date +%s%3N; }
# it waits for as long as may be, so that its time does not pass by itself
# on a slow machine; and that is over, as if its own time had passed
long() {
	own=$(sql 'SELECT wait FROM breaker')
	sql 'UPDATE breaker SET until = until - wait + 900000, wait = 900000'
}
over() { sql "UPDATE breaker SET until = until - wait, wait = $own"; }
# within N LOW HIGH
within() { [ "$1" -ge "$2" ] && [ "$1" -le "$3" ]; }

# what a process would wait with
calls=connect,nanosleep,clock_nanosleep,poll,ppoll,select,pselect6
calls=$calls,epoll_wait,epoll_pwait

# --- a host that is well: nothing is written for it
fault
four
is "$got$(asked)" "0 0 0 0 4" "four ask"
is "$(sql 'SELECT count(*) FROM breaker')" 0 "and there is nothing to tell of"

# cycle NAME RULE: from closed to open to closed, twice as slow in between
cycle() {
	fault "$2"
	four
	is "$got" "75 75 75 75 " "$1: all four give up"
	k=$(asked)
	echo "# $k requests until it was open"
	# five in a row, and what was under way in the other three
	ok "$1: after five failures in a row, over all of them" within "$k" 5 8
	is "$(state)" open "$1: it is open"
	like e.1 "not asked: it failed too often \(.+\); again in (30|[12]?[0-9]) s" \
	    "$1: which they are told, why, and for how long"

	long
	fault "$2"
	t=$(now)
	for k in 1 2 3 4 5; do
		four
		[ "$got" = "75 75 75 75 " ] || echo "# round $k: $got"
	done
	t=$(($(now) - t))
	is "$got$(asked)" "75 75 75 75 0" "$1: twenty are turned away, unasked"
	echo "# in $t ms"
	# not after its time; strace says below whether anything waits
	ok "$1: at once" within "$t" 0 600000
	if strace -o trace -e trace="$calls" \
	    s3do head s3://bucket/a >/dev/null 2>&1; then
		is 0 75 "$1: turned away"
	else
		is "$(cat trace)" "+++ exited with 75 +++" \
		    "$1: without a connection, and without a wait"
	fi

	# its time has passed: one of four may ask, and holds the others off
	cat >hold <<-X
		#!/bin/sh
		until [ -e $T/go ]; do sleep 0.02; done
	X
	chmod +x hold
	rm -f go
	over
	fault "$2 first=$T/hold"
	begin
	await "three are turned away" sh -c '[ $(ls s.[1-4] 2>/dev/null |
	    wc -l) -eq 3 ]'
	is "$(cat s.[1-4] | tr '\n' ' ')$(sed -n 's/^ask //p' "$FP/log" |
	    wc -l | tr -d ' ') $(state)" "75 75 75 1 half_open" \
	    "$1: later one is let through, and only one"
	ok "$1: the others are told so" sh -c \
	    '[ $(grep -l "is being probed" e.[1-4] | wc -l) -eq 3 ]'
	: >go
	wait
	is "$(sort s.[1-4] | tr '\n' ' ')$(asked) $(state)" \
	    "75 75 75 75 1 open" "$1: it fails, and that was all"
	is "$(sql "SELECT wait FROM breaker")" 60000 \
	    "$1: the next wait is twice as long"
	long
	fault "$2"
	four
	is "$got$(asked)" "75 75 75 75 0" "$1: nobody asks meanwhile"

	# the host is well again
	over
	rm -f go
	fault "* . 1 done pass first=$T/hold"
	begin
	await "three are turned away" sh -c '[ $(ls s.[1-4] 2>/dev/null |
	    wc -l) -eq 3 ]'
	: >go
	wait
	is "$(sort s.[1-4] | tr '\n' ' ')$(asked)" "0 75 75 75 1" \
	    "$1: a probe that does well"
	is "$(state)" closed "$1: closes it"
	fault
	four
	is "$got$(asked)" "0 0 0 0 4" "$1: all four ask again"
}
cycle reset '* . * not reset'
sql 'DELETE FROM breaker'
cycle 503 '* . * not status 503'

# --- a prober that dies holds nobody up
sql 'DELETE FROM breaker'
fault '* . * not reset'
four
long
over
fault '* . 1 done hang'
s3do head s3://bucket/a >/dev/null 2>&1 &
prober=$!
await "the probe" grep -q '^ask' "$FP/log"
s3do head s3://bucket/a >/dev/null 2>&1
is "$? $(grep -c '^ask' "$FP/log")" "75 1" "a probe is under way"
kill -9 $prober
wait $prober 2>/dev/null
four
is "$(state)" closed "and is killed: another one probes, at once"
like s.1 '^(0|75)$' "whoever of the four it is"

# --- half of the last twenty
sql 'DELETE FROM breaker'
set --
for k in 1 3 5 7 9 11 13 15 17 19; do
	set -- "$@" "* . $k not status 500"
done
fault "$@"
got=
for k in 1 2 3 4 5 6 7 8 9 10; do
	s3do head s3://bucket/a >/dev/null 2>&1
	got="$got$? "
done
is "$got$(asked)" "0 0 0 0 0 0 0 0 0 75 19" \
    "every second one fails: the tenth failure opens it"
is "$(state)" open "for all"

# --- who answers is well
sql 'DELETE FROM breaker'
fault '* . * not status 503 after=121'
for k in 1 2; do four; done
is "$got$(asked) $(sql "SELECT count(*) FROM breaker
    WHERE state != 'closed'")" "75 75 75 75 8 0" \
    "503 with a Retry-After beyond patience: once each, and it stays closed"
fault '* . * not status 404'
for k in 1 2; do four; done
is "$got$(asked) $(sql "SELECT count(*) FROM breaker
    WHERE state != 'closed'")" "66 66 66 66 8 0" "404 likewise"

# --- hosts have breakers of their own
fault '* . * not reset'
four
AWS_ENDPOINT_URL=$RGW
four
is "$got$(sql 'SELECT group_concat(state) FROM breaker')" "0 0 0 0 open" \
    "another host is asked"
s3_down
finish
