#!/bin/sh
# reprocess.t: examples/reprocess.mk: what fails is tried again, set aside
# or given up by its class; what comes again flows in; make -j and kill -9.
. "$(dirname "$0")/lib.sh"
plan 51
BATCHD=$SRC/tests/real/batchd.py
pointer() { cat "$1/latest-pointer.txt" 2>/dev/null; }
digest() {
	sed -n 's/.*"content_digest": *"\([0-9a-f]*\)".*/\1/p' \
	    "$1/timestamped/$(pointer "$1")/manifest.json" 2>/dev/null
}
commits() { ls "$1/commits" 2>/dev/null | wc -l | tr -d ' '; }
mk() { make -s -f "$SRC/examples/reprocess.mk" -j4 -k RETRY=0 "$@"; }
names() { cut -f1 quarantine/requeue | tr '\n' ' '; }
staging() { ls -A "$TMPDIR"; }
# ten deltas in DIR, a minute apart
ten() {
	mkdir "$1"
	m=10
	for d in "$DATA"/demo/delta-*; do
		cp -R "$d" "$1/"
		find "$1/${d##*/}" -exec touch -d "2026-11-20 12:$m:00" {} +
		m=$((m + 1))
	done
}
ten all
drun 'dfetch -B want all | dcheck | dmerge | dpublish want' >out 2>err
WANT=$(digest want)
is "${#WANT}" 64 "what all ten deltas become"

# --- refused: set aside at once, the rest goes on
ten deltas
cp -Rp deltas good
for k in 03 07 10; do
	truncate -s 50000 "deltas/delta-$k/chroma.sqlite3"
done
status 0 "three of ten are bad" mk
is "$(names)" "delta-03 delta-07 delta-10 " "the list names the three"
is "$(cut -f2,3 quarantine/requeue | sort -u)" "65	1" \
    "refused, tried once"
is "$(cut -f4 quarantine/requeue | grep -c 'delta-[0-9]*: .*mend: ')" 3 \
    "with the verdict, and what would mend it"
is "$(ls deltas | wc -l | tr -d ' ')" 7 "they are out of the way"
is "$(cat quarantine/*/input/chroma.sqlite3 | wc -c | tr -d ' ')" 150000 \
    "and kept, as they were"
is "$(commits lines)" 1 "seven are published"
is "$(grep -c ': done$' out)" 7 "each was done once"
like out 'set aside, to be made again: 3: quarantine/requeue' "it is said"
status 0 "again" mk
is "$(commits lines) $(grep -c ': done$' out)" "1 0" "nothing to do"
is "$(names)" "delta-03 delta-07 delta-10 " "the list stays"

# --- one comes again: an older time and all
cp -Rp good/delta-07 deltas/
status 0 "one was made again" mk
is "$(names)" "delta-03 delta-10 " "it is off the list"
is "$(commits lines) $(grep -a ': done$' out)" "2 reprocess: delta-07: done" \
    "it alone was done, and published"
is "$(ls -d quarantine/*/input | wc -l | tr -d ' ')" 3 "nothing is deleted"
cp -Rp good/delta-03 good/delta-10 deltas/
status 0 "so were the others" mk
is "$(names)$(wc -c <quarantine/requeue | tr -d ' ')" 0 "the list is empty"
is "$(digest lines)" "$WANT" "the same content digest as if nothing had been"
truncate -s 50000 deltas/delta-03/chroma.sqlite3
status 0 "bad again, under a name that was mended before" mk
is "$(names)" "delta-03 " "is listed again"
cp -Rp good/delta-03 deltas/
status 0 "and mended" mk
is "$(names)" "" "off the list again"
is "$(staging)" "" "staging is empty"

# --- a batch at its provider
if python3 -c 'import http.server' 2>/dev/null; then
	server=
	down() {
		[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null
	}
	trap down EXIT
	python3 "$BATCHD" serve "$T/srv" >srv.log 2>&1 &
	server=$!
	until [ -s srv/url ] || ! kill -0 $server 2>/dev/null; do
		sleep 0.05
	done
	unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY \
	    ALL_PROXY OPENAI_ORG_ID OPENAI_PROJECT OPENAI_PROJECT_ID
	echo key >srv/key
	OPENAI_BASE_URL=$(cat srv/url) OPENAI_API_KEY=key
	export OPENAI_BASE_URL OPENAI_API_KEY
	batchd() { verb=$1; shift; python3 "$BATCHD" "$verb" "$T/srv" "$@"; }
	for i in 1 2 3 4; do
		printf '{"custom_id":"r%s","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":"%s"}}\n' $i $i
	done >four.jsonl
	b() { mk DELTAS=bd TARGET=bt WORK=bw QUARANTINE=bq CAP=2 "$@"; }
	mkdir bd
	id=$(batchd new four.jsonl) ready=$(batchd new four.jsonl)
	echo "openai-batch:$id" >bd/night.plan
	echo "openai-batch:$ready" >bd/day.plan
	batchd finish "$ready"
	batchd set "$id" 'status="in_progress"'
	status 2 "a batch is not ready" b
	like out 'night.plan: exit 75, 1 of 2' "it is counted"
	is "$(commits bt)" 0 "and waited for: nothing is published"
	status 0 "not ready again: its cap" b
	is "$(cut -f1-3 bq/requeue)" "night.plan	75	2" "it is set aside"
	like bq/requeue 'not ready yet' "as what it is"
	is "$(commits bt)" 1 "and the rest is published"
	batchd finish "$id"
	printf 'junk\n' >"srv/files/file-out${id#batch_}"
	status 0 "make again" b again
	ok "puts the plan back" [ -e bd/night.plan ]
	status 0 "now its results are broken" b
	is "$(cut -f1-3 bq/requeue)" "night.plan	65	1" "they are refused"
	batchd finish "$id"
	status 0 "the provider brings them whole" b again
	status 0 "and the next make" b
	is "$(wc -c <bq/requeue | tr -d ' ') $(commits bt)" "0 2" \
	    "takes them: nobody lent a hand"
else
	skip 15 "no python3 here"
fi

# --- not the input's fault
mkdir fake
fake() { printf '#!/bin/sh\n%s\n' "$1" >fake/dcheck; chmod +x fake/dcheck; }
PATH=$T/fake:$PATH
export PATH
f() { mk DELTAS=fd TARGET=ft WORK=fw QUARANTINE=fq CAP=2; }
mkdir fd
cp -Rp good/delta-01 good/delta-02 fd/
for s in 64 70 74 77; do
	fake "exit $s"
	f >/dev/null 2>&1
	f >/dev/null 2>&1
	status 2 "exit $s fails make, each time" f
done
is "$(ls fd fw/*.tries fq 2>/dev/null | tr '\n' ' ')" "fd: delta-01 delta-02  fq: " \
    "counts nothing, sets nothing aside"
fake 'kill -KILL $$'
status 2 "a worker that is killed" f
status 0 "is tried again, CAP times" f
is "$(cut -f1-3 fq/requeue | tr '\n\t' '  ')" \
    "delta-01 137 2 delta-02 137 2 " "and its input set aside"
fake 'exit 75'
cp -Rp good/delta-03 fd/
status 2 "what has passed" f
rm fake/dcheck
status 0 "is not held against it" f
ok "no count is kept" [ -z "$(ls fw/*.tries 2>/dev/null)" ]

# --- kill -9 of all of it, at any moment
cat >shot.pl <<'P'
# shot.pl SECONDS COMMAND...: a session of its own, killed after that, with
# whatever it forks meanwhile
my ($s, @cmd) = @ARGV;
my $pid = fork // die;
if (!$pid) { require POSIX; POSIX::setsid(); exec @cmd or exit 127 }
select undef, undef, undef, $s;
my $n = 1;
while ($n) {
	$n = 0;
	for my $d (glob '/proc/[0-9]*/stat') {
		open my $f, '<', $d or next;
		my @f = split ' ', (<$f> // next) =~ s/^\d+ \(.*\) //sr;
		next if $f[3] != $pid || $f[0] eq 'Z' ||
		    $d !~ m{^/proc/(\d+)/};
		kill 'KILL', $1;
		$n++;
	}
}
waitpid $pid, 0;
P
truncate -s 50000 good/delta-05/chroma.sqlite3
wrong=0 i=0
while [ $i -lt 12 ]; do
	i=$((i + 1))
	rm -rf kd kt kw kq
	cp -Rp good kd
	k() {
		make -s -f "$SRC/examples/reprocess.mk" -j4 -k RETRY=0 \
		    DELTAS=kd TARGET=kt WORK=kw QUARANTINE=kq
	}
	perl shot.pl "0.$((i * 7))" make -s -f "$SRC/examples/reprocess.mk" \
	    -j4 -k RETRY=0 DELTAS=kd TARGET=kt WORK=kw QUARANTINE=kq \
	    >/dev/null 2>&1
	k >/dev/null 2>again || { wrong=$((wrong + 1)); echo "# $i:"; \
	    head -3 again | sed 's/^/# /'; }
	[ "$(cut -f1 kq/requeue)" = delta-05 ] || {
		wrong=$((wrong + 1))
		echo "# $i: listed: $(cat kq/requeue)"
	}
	rm -rf kd/delta-05
	cp -Rp all/delta-05 kd/
	k >/dev/null 2>&1
	[ "$(digest kt) $(wc -c <kq/requeue)" = "$WANT 0" ] || {
		wrong=$((wrong + 1))
		echo "# $i: $(digest kt), listed: $(cat kq/requeue)"
	}
done
is $wrong 0 "killed at 12 moments: run again, the same end"
finish
