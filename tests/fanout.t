#!/bin/sh
# fanout.t: one plan of a hundred deltas through every engine of examples/: a
# single pipeline, xargs, GNU parallel on two hosts, make.  The content is the
# same; a bad delta, a task or a host that is killed, and a run that is
# stopped leave the target as it was, and who runs it again does what is
# missing and no more.
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
plan 75
EX=$SRC/examples
down() {
	"$REAL/down.sh" "$T/ssh"
	s3_down
}
trap down EXIT
LINES_EACH=10 FAN=4 RETRY=0
PARALLEL_HOME=$T/parallel
export LINES_EACH FAN RETRY PARALLEL_HOME
# a leak checker waits for ever for its own helper when that is what dies
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export ASAN_OPTIONS

digest() {
	sed -n 's/.*"content_digest": *"\([0-9a-f]*\)".*/\1/p' \
	    "$1/timestamped/$(cat "$1/latest-pointer.txt")/manifest.json"
}
# what readers of a target see, and what would be there if more were published
seen() { cat "$1/latest-pointer.txt"; ls "$1/commits" "$1/timestamped"; }
# await COMMAND...: until it succeeds, a minute at most
await() {
	i=0
	until "$@"; do
		i=$((i + 1))
		[ $i -lt 1200 ] || return 1
		sleep 0.05
	done
}
# Programs of ours that tell: each dmerge says which plan it is for, and while
# there is a file "hold", each dcheck says which drun it works for, and where.
mkdir wrap
cat >wrap/dmerge <<W
#!/bin/sh
[ -z "\${PLAN-}" ] || basename "\$PLAN" .plan >>"$T/ran"
exec "$BIN/dmerge" "\$@"
W
cat >wrap/dcheck <<W
#!/bin/sh
p=\$PPID
until [ "\$(cat /proc/\$p/comm)" = drun ]; do
	p=\$(sed 's/.*) . \([0-9]*\) .*/\1/' /proc/\$p/stat) || exit 70
done
[ ! -e "$T/hold" ] || echo \$p >"$T/held/\${NODE-here}.\$p"
while [ -e "$T/hold" ]; do
	sleep 0.05
done
exec "$BIN/dcheck" "\$@"
W
chmod +x wrap/*
PATH=$T/wrap:$PATH
hold() { rm -rf held; mkdir held; : >hold; }
held() { [ -n "$(ls held)" ] && [ -s "held/$(ls held | head -1)" ]; }

# start COMMAND...: as a terminal would, with a process group of its own
start() {
	FANOUT=$T perl -e 'setpgrp; $SIG{$_} = "DEFAULT" for qw(INT HUP);
	    exec @ARGV' "$@" >out 2>err </dev/null &
	pid=$!
}
ended() {
	for p in "$@"; do
		! kill -0 "$p" 2>/dev/null || return 1
	done
}
# the processes of a run, here and on the hosts, and staging of one
left() {
	for p in $(grep -laE "FANOUT=$T|TMPDIR=$T/ssh" /proc/[0-9]*/environ \
	    2>/dev/null | cut -d / -f 3); do
		tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null && echo "($p)"
	done
	ls -dA "$TMPDIR"/* "$TMPDIR"/.[!.]* ssh/n*.tmp/intact* "$W"/parts/.[!.]* 2>/dev/null
}
nothing_left() { [ -z "$(left)" ]; }

"$GEN/gendelta" --out in --count 100 --records 5 --dim 8 --seed 1
"$GEN/gendelta" --out old --count 2 --records 5 --dim 8 --seed 2 --start 5000
mv in/delta-0050 "in/delta 'x' \"50\" \\t & \$co"
cp -Rp in/delta-0037 good
status 0 "a target that holds something" "$EX/oneliner.sh" base old
cp -R base single
status 0 "a single pipeline" "$EX/oneliner.sh" single in
DIGEST=$(digest single)

# drill NAME FAILS SIGNAL COMMAND...: what it says when something failed, and
# what stops it (not TERM: all of its group); $W is its work, $tg its target
drill() {
	name=$1 fails=$2 sig=$3
	shift 3
	cp -R base "$tg"
	was=$(seen "$tg")
	truncate -s 5000 in/delta-0037/chroma.sqlite3
	status "$fails" "$name: a delta is bad" "$@"
	like err 'in/delta-0037: torn: ' "$name: it is named"
	like "$W/failed" 'in/delta-0037: torn: ' "$name: and where one would look"
	is "$(seen "$tg")" "$was" "$name: nothing is published"
	ls "$W/parts" >present
	rm -rf in/delta-0037
	cp -R good in/delta-0037
	# one that was just being started by ssh ends by itself
	await nothing_left || left | sed 's/^/# /'

	: >ran
	if [ "$name" != parallel ]; then
		hold
		start "$@"
		ok "$name: the delta is mended, a task begins" await held
		kill -9 "$(cat held/*)"
		rm hold
		wait $pid
		is "$?" "$fails" "$name: it is killed"
		is "$(seen "$tg")" "$was" "$name: nothing is published"
	fi

	hold
	start "$@"
	ok "$name: again, a task begins" await held
	tasks=$(cat held/*)
	kill -s "$sig" -- "$([ "$sig" = TERM ] || echo -)$pid"
	wait $pid
	is "$([ $? -gt 128 ] && echo signal)" signal "$name: it is stopped"
	ok "$name: and with it what was at work" await ended $tasks
	rm hold
	await nothing_left
	is "$(left)" "" "$name: no process and no staging is left"
	is "$(seen "$tg")" "$was" "$name: nothing is published"

	if [ "$name" = parallel ]; then
		hold
		start "$@"
		ok "$name: again, a task begins on a host" await held
		kill_host "$(ls held | head -1 | cut -d . -f 1)"
		rm hold
		wait $pid
		is "$?" 0 "$name: that is killed, and the other does it all"
	else
		status 0 "$name: again" "$@"
	fi
	is "$(digest "$tg")" "$DIGEST" "$name: the same content"
	is "$([ -s present ] && [ -s ran ] && echo some) $(grep -Fxf present \
	    ran)" "some " "$name: nothing was done twice"
	is "$(ls -d "$W" 2>/dev/null)" "" "$name: its work is cleared away"
	was=$(seen "$tg")
	: >ran
	status 0 "$name: again" "$@"
	is "$(cat ran)$(seen "$tg")" "$was" "$name: nothing is left to do"
}

W="wo rk@/fanout" tg="by 'xargs'"
drill xargs 66 INT env WORK="$T/wo rk@" "$EX/fanout.sh" "$tg" in

W=work tg="by make"
drill make 2 TERM make -f "$EX/fanout.mk" -j4 -k WORK=work TARGET="$tg" INPUTS=in

# --- two at once in one WORK: the plan of one is not published by the other
cp -R base twice
hold
start env WORK=two "$EX/fanout.sh" twice in
ok "two at once: a task begins" await held
mkdir -p ones
cp -Rp in/delta-0001 ones
LOCK_WAIT=0
export LOCK_WAIT
status 75 "two at once: the second is refused" \
    timeout 60 env WORK=two "$EX/fanout.sh" other ones
like err 'two/fanout: another run is at work there' "it is said"
status 2 "a make, too" \
    timeout 60 make -f "$EX/fanout.mk" WORK=two/fanout TARGET=other \
	INPUTS=ones
like err 'two/fanout: another run is at work there' "it is said"
rm hold
wait $pid
is "$? $(digest twice)" "0 $DIGEST" "two at once: the first does all of it"
is "$(ls -d other two/fanout 2>/dev/null)" "" "and nothing else"
unset LOCK_WAIT

# --- tasks that are called wrongly
mkdir tasks
dfetch -l in/delta-0001 >./-x.plan
status 0 "a plan whose name begins with a dash" "$EX/chunk.sh" -x.plan tasks
is "$(ls tasks)" "-x" "is a part of that name"
printf 'x\tsequel=1\n' >no.plan
status 64 "a plan that is none" "$EX/chunk.sh" no.plan tasks
status 66 "cutting no plan" "$EX/chunks.sh" tasks tasks
: >tasks/parts.last
status 66 "publishing no plan" "$EX/reduce.sh" tasks other
like err 'tasks/plan: not there' "it is named"

# every process of a host, and its sshd first
kill_host() {
	kill -9 "$(cat "ssh/$1.pid")"
	for p in $(grep -la "TMPDIR=$T/ssh/$1" /proc/[0-9]*/environ 2>/dev/null |
	    cut -d / -f 3); do
		# what stands above the first of them is a session of sshd
		up=$(sed 's/.*) . \([0-9]*\) .*/\1/' "/proc/$p/stat" 2>/dev/null)
		[ "$(cat "/proc/${up:-0}/comm" 2>/dev/null)" != sshd ] ||
		    kill -9 "$up"
		kill -9 "$p"
	done 2>/dev/null
}
if ! command -v parallel >/dev/null; then
	skip 16 "no GNU parallel here"
elif ! "$REAL/sshd.sh" ssh 2 2>why; then
	skip 16 "$(cat why)"
else
	W="wo rk@/fanout" tg="by parallel"
	PARALLEL_SSH="ssh -F $T/ssh/config"
	export PARALLEL_SSH
	drill parallel 66 TERM env WORK="$T/wo rk@" "$EX/fanout-parallel.sh" \
	    ssh/hosts "$tg" in
	"$REAL/down.sh" ssh
fi

# --- parts and target on S3
if ! s3_rgw; then
	skip 8 "$why"
else
	AWS_ENDPOINT_URL=$RGW PARTS=s3://bucket/parts LINES_EACH=3 FAN=2
	export AWS_ENDPOINT_URL PARTS
	s3do make s3://bucket >/dev/null
	mkdir few
	mv in/delta-000? few
	"$EX/oneliner.sh" one few >/dev/null
	cp -R few/delta-0007 mended
	truncate -s 5000 few/delta-0007/chroma.sqlite3
	status 66 "parts on S3: a delta is bad" "$EX/fanout.sh" s3://bucket/t few
	like fanout/failed 'few/delta-0007: torn: ' "it is named"
	part=$PARTS/$(head -1 fanout/level.1)
	rm -rf few/delta-0007
	mv mended few/delta-0007
	cp "one/timestamped/$(cat one/latest-pointer.txt)/store.sqlite3" other
	s3do put "$part/store.sqlite3" other >/dev/null
	status 66 "it is mended, and a part is damaged" "$EX/fanout.sh" \
	    s3://bucket/t few
	like fanout/failed "$part: remove it, and run again" "that is named"
	is "$(s3do list s3://bucket/t/)" "" "nothing is published"
	for o in store.sqlite3 manifest.json; do
		s3do del "$part/$o" >/dev/null
	done
	status 0 "it is removed" "$EX/fanout.sh" s3://bucket/t few
	is "$(s3do list s3://bucket/t/commits/ | wc -l)" 1 "it is published once"
	is "$(dpublish sources s3://bucket/t |
	    sed -n 's/^# content_digest=\([0-9a-f]*\).*/\1/p')" \
	    "$(digest one)" "the same content"
fi
# finish removes the directory that says what runs
down
finish
