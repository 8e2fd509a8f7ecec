#!/bin/sh
# hostile.t: inputs that are made to do harm (hostile.pl, hostile.sql), and a
# worker that one of them has taken over (crash/taken.c).  Each is refused,
# by name and reason, in bounded time and memory; nothing of it is published,
# or written outside of staging, or reaches a terminal as it is.
# FULL=1: larger ones.
# shellcheck disable=SC2016,SC2086
. "$(dirname "$0")/lib.sh"
GEN=${GEN:-$SRC/build/gen}
S=$DATA/samples
FULL=${FULL:-}
export FULL
# preloads come before a sanitizer here; what is killed leaks
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0
export ASAN_OPTIONS
plan 71
echo mine >canary
tar -cf made.tar canary

# raw FILE...: those with a byte that a terminal obeys (C0, DEL, C1)
raw() {
	perl -0777 -ne 'print "$ARGV: raw: ", unpack("H*", $1), "\n"
	    if /(.{0,8}(?:[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]).{0,8})/s' \
	    "$@"
}
# outside: what has been touched that is none of theirs
outside() {
	[ "$(cat canary)" = mine ] || echo "canary: $(cat canary)"
	[ ! -e escaped ] || echo "escaped is there"
	ls -d t/commits/* t/latest* t/timestamped/* 2>/dev/null
	ls -d "$TMPDIR"/* 2>/dev/null
}
# told LIST: each input of it is refused in one line: name, why, what to do;
# or accepted where it may be
told() {
	while IFS='	' read -r name say; do
		line=$(grep -c "/$name: " err)
		case "$line $say" in
		"0 ok"* | 0\ *"|ok"*) ;;
		1\ *) grep -Eq "^dcheck: [^ ]*/$name: ($say): .*; mend: " err ||
			echo "$name: want $say: $(grep "/$name: " err)" ;;
		*) echo "$name: want $say, got $line lines" ;;
		esac
	done <"$1"
}
# within SECONDS MIB: what the last one took
within() {
	tail -1 spent | perl -ne '@f = split; $n = @f;
	    print "took $_" if $f[0] > '"$1 || \$f[2] > $2"' * 1024;
	    END { print "took nobody knows what" if $n != 3 }'
}
# corpus KIND 'what' FROM SECONDS MIB: six tests of them all
corpus() {
	d=in.$1
	mkdir -p "$d"
	[ "$1" = sql ] || perl "$SRC/tests/hostile.pl" "$1" "$T/$d" "$3" \
	    >"$1.list" || echo "$1: not made" >>"$1.list"
	sed "s,	.*,,; s,^,$T/$d/," "$1.list" >"$1.plan"
	"$GEN/spent" spent timeout 300 sh -c 'dfetch -f "$1" |
	    dcheck -k --no-cache --json --timeout 60' sh "$1.plan" \
	    >"$1.json" 2>err
	is $? 65 "$2: $(wc -l <"$1.list" | tr -d ' ') of them are refused"
	is "$(told "$1.list")" "" "$2: by name, with why and what to do"
	is "$(raw err "$1.json")" "" "$2: nothing that a terminal obeys"
	is "$(within "$4" "$5")" "" "$2: in bounded time and memory"
	status 65 "$2: a run with them" drun \
	    "dfetch -B t -f $1.plan | dcheck --no-cache | dmerge | dpublish t"
	is "$(outside)" "" "$2: nothing is published, or left, or elsewhere"
	[ -n "$FULL" ] || [ "$1" = sql ] || rm -rf "$d"
}
clean=$S/clean_small/db
corpus archives "archives" "$clean" 30 600
corpus bombs "bombs" "$clean" 120 600
corpus formats "other formats" "$clean" 10 600
corpus headers "SQLite headers, logs, journals" "$clean" 30 600
corpus index "indexes and pickles" "$S/purged_hnsw_l2/db" 30 600
corpus json "batch results" "$clean" 30 600

# --- schemas and rows; those of FULL are large
mkdir -p in.sql sql
awk -v full="$FULL" '/^== / { f = $4 != "FULL" || full ? "sql/" $2 : ""
    if (f) { print $2 "\t" $3 >"sql.list"; printf "" >f }; next }
    f { print >f }' "$SRC/tests/hostile.sql"
cut -f1 sql.list | while read -r s; do
	cp -r "$clean" "in.sql/$s"
	chmod -R u+w "in.sql/$s"
	# newer shells are defensive unless told
	sqlite3 -batch "in.sql/$s/chroma.sqlite3" '.dbconfig defensive off' \
	    'PRAGMA journal_mode=OFF' 'PRAGMA synchronous=OFF' \
	    ".read sql/$s" 2>&1 >/dev/null | sed "s/^/$s: /"
done >sql.err
is "$(cat sql.err)" "" "the SQL works"
corpus sql "schemas and rows" "$clean" 120 1000

# --- what is odd and allowed is kept as it is, and masked where it is shown
odd='id_control id_nul key_control collection_control'
for s in $odd; do
	rm -rf one two
	cp -r "in.sql/$s" two.in
	sqlite3 two.in/chroma.sqlite3 "UPDATE embedding_metadata
	    SET string_value = 'other' WHERE id = 1 AND key = 'image_id'"
	drun "dfetch in.sql/$s two.in | dcheck | dmerge -F sqlite -o one" \
	    >out 2>err || echo "$s: sqlite: $(cat err)"
	cat err >>met
	drun "dfetch one | dcheck --json | dmerge --json-in -F chroma -o two" \
	    >>out 2>>err || echo "$s: chroma: $(cat err)"
	drun "dfetch two | dcheck --json" >out.json 2>>err
	raw err met out.json
	a=$(grep '^"content_digest"' one/manifest.json)
	[ -n "$a" ] && [ "$a" = "$(grep '^"content_digest"' two/manifest.json)" ] ||
	    echo "$s: not the same in both formats"
	rm -rf two.in
done >complaints
is "$(cat complaints)" "" "control characters in ids, keys and names are kept, and masked"
like met '^dmerge: warning: a.*owned.*: .* both have it' "and the one that two inputs have is named"
n1=$(printf 'a\033]0;owned\007\033[2J\nb\302\233')
cp -r "$S/bad_size0/db" "$n1"
status 65 "an input of such a name" sh -c 'dfetch "$1" | dcheck --json' sh "$n1"
is "$(raw out err)" "" "is named without them"
printf '%s\n' "$T/a$(printf '\033[2J\007')" >p1
printf 'x\tseq=99999999999999999999\n' >p2
printf 'x\tseq=1\tseq=2\n' >p3
printf 'x\0y\n' >p4
head -c 2000000 /dev/zero | tr '\0' x >p5
printf 'x\tsha256=\033[2J\n' >p6
printf 'x\tsize=-1\n' >p7
for p in p1 p2 p3 p4 p5 p6 p7; do
	timeout 60 dfetch -f $p >out 2>err </dev/null
	got=$?
	case "$p $got" in
	'p1 66' | 'p'[2-7]' 64') ;;
	*) echo "$p: status $got: $(head -c 200 err)" ;;
	esac
	[ -s err ] || echo "$p: not a word"
	[ "$(wc -c <err)" -lt 20000 ] || echo "$p: too many words"
	raw err
done >complaints
is "$(cat complaints)" "" "hostile plans are refused in a word"

# --- manifests of stores of ours
drun "dfetch $clean | dcheck | dmerge -F sqlite -o ours" >out 2>err
man() {
	rm -rf "m.$1"
	cp -r ours "m.$1"
	chmod -R u+w "m.$1"
	cat >"m.$1/manifest.json"
	echo "m.$1" >>manifests
}
deep=$(perl -e 'print "[" x 1000000')
echo "$deep" | man deep
echo "{\"intact\":1,\"files\":$deep" | man deep_in
sed 's/"records":40/"records":99999999999999999999/' ours/manifest.json | man huge
sed 's/"records":40/"records":-1/' ours/manifest.json | man negative
sed 's/"records":40/"records":1e400/' ours/manifest.json | man number
sed 's/"records":40/"records":40,"records":40/' ours/manifest.json | man twice
sed 's/"store.sqlite3"/"..\/store.sqlite3"/' ours/manifest.json | man up
sed 's/"store.sqlite3"/"\/etc\/passwd"/' ours/manifest.json | man absolute
sed 's/"store.sqlite3"/"\\u001b[2J"/' ours/manifest.json | man control
sed 's/"store.sqlite3"/"\\ud800"/' ours/manifest.json | man lone
sed 's/"format":"sqlite"/"format":"\\u001b[2J\\u009b"/' ours/manifest.json | man format
head -c 3000000 /dev/zero | man zeros
: | man empty
ln -s /etc/passwd link
timeout 60 sh -c 'dfetch "$@" | dcheck -k --no-cache --json' sh $(cat manifests) \
    >out 2>err
is $? 65 "hostile manifests"
is "$(grep -c '; mend: ' err)" "$(wc -l <manifests | tr -d ' ')" "each is named"
is "$(raw err out)" "" "and nothing that a terminal obeys"

# --- a journal that names a master: it is not followed
mkdir -p hot/d
echo mine >canary
perl "$SRC/tests/hostile.pl" headers "$T/hot/d" "$clean" >/dev/null
cp canary hot/canary
cp -r hot bitten
# one of the names is relative to where dcheck works
cd hot/d/master_up || exit 99
for c in nothing landlock,seccomp; do
	dfetch ../master ../master_up | "$GEN/without" $c \
	    dcheck -k --no-cache --recover-hot >"$T/out" 2>"$T/err"
	echo "$? $(grep -c 'journal: it names another journal, which' \
	    "$T/err") $(cat ../../canary "$T/canary")"
done >"$T/judged"
cd "$T" || exit 99
is "$(cat judged)" "65 2 mine
mine
65 2 mine
mine" "a journal that names a file is refused, confined or not, and removes none"
(cd bitten/d/master_up && sqlite3 chroma.sqlite3 .tables) >out 2>err
ok "(as SQLite does by itself)" test ! -e bitten/canary

# --- streams
mkdir stream
stage=$T/intact.20261120T120000.000000Z-00000001
mkdir -m 700 "$stage" && : >"$stage/lock"
perl "$SRC/tests/hostile.pl" stream "$T/stream" "$clean" >stream.list &&
    [ -s stream.list ] || echo "no streams" >unmade
cut -f1 stream.list | while read -r f; do
	in=
	case $f in *.json) in=--json-in ;; esac
	for p in dcheck dmerge 'dpublish t'; do
		# they share the reader: all of them meet some
		case "$FULL$p$f" in
		dcheck* | 1* | *twice* | *deep* | *32) ;;
		*) continue ;;
		esac
		"$GEN/spent" spent timeout 60 $p $in --stage "$stage" \
		    <"stream/$f" >out 2>err
		got=$?
		[ $got -eq 76 ] || echo "$f: $p: status $got: $(head -c 300 err)"
		[ "$(wc -l <err)" -eq 1 ] || echo "$f: $p: $(wc -l <err) lines"
		raw err
		within 20 300
	done
done >complaints
is "$(cat unmade complaints 2>/dev/null)" "" "no program reads on in what is no stream ($(wc -l <stream.list | tr -d ' '))"
is "$(outside)" "" "and none publishes"

# --- a worker that has been taken over
mkdir out.d
perl -MIO::Socket::INET -MIO::Socket::UNIX -e '
    my $u = IO::Socket::UNIX->new(Local => "out.d/s", Listen => 9) or die $!;
    my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 9) or
	die $!;
    open my $f, ">", "port.new" or die $!;
    print $f $s->sockport;
    close $f;
    rename "port.new", "port" or die $!;
    $SIG{ALRM} = sub { exit };
    alarm 600;
    sleep 1 while 1' 2>listen.err &
listener=$!
i=0
while [ ! -s port ] && [ $i -lt 600 ]; do
	i=$((i + 1))
	perl -e 'select undef, undef, undef, 0.05'
done
# taken WITHOUT PROGRAM: what came of what it tried, as "call errno ..."
taken() {
	rm -rf out.d/new out.d/dir out.d/link out.d/moved out.d/sym notes tt
	for f in f t u; do echo $f >out.d/$f; done
	chmod 600 out.d/f
	main=
	[ "$2" != dmerge ] || main=TAKEN_MAIN=1
	"$GEN/without" "$1" env LD_PRELOAD="$GEN/taken.so" TAKEN_PROG="$2" \
	    $main TAKEN_NOTES="$T/notes" TAKEN_OUT="$T/out.d" \
	    TAKEN_PORT="$(cat port)" TAKEN_PID=$listener drun \
	    "dfetch -B tt $clean | dcheck --no-cache | dmerge | dpublish tt" \
	    >out 2>err || cat err
	tr -d '\0' <notes | paste -sd' ' -
}
# left: is what lies there as it was?
left() { (cd out.d && echo * && cat f t u && stat -c %a f) 2>&1 | paste -sd' ' -; }
holds=$(dcheck -v --json --json-in </dev/null 2>&1 | sed -n 's/^dcheck: sandbox: //p' | head -1)
if [ "$holds" = 'files and sockets' ]; then
	no='tcp udp unix read write create mkdir chmod utimes symlink link
rename unlink truncate list kill ptrace exec uring type'
	for p in dcheck dmerge dpublish; do
		got=$(taken nothing $p)
		is "$(echo "$got" | sed 's/ E[A-Z]*\( \|$\)/ /g; s/ $//')" \
		    "$(echo $no)" "$p: it can do nothing of all that"
		is "$(left)" "f s t u f t u 600" "$p: and has done nothing"
		ok "$p: without a word of warning" sh -c '! grep -q "sandbox" "$1"' sh err
	done
	got=$(taken landlock dcheck)
	# a leak checker attaches to what it checks
	spared=
	! grep -q __asan_init "$BIN/dcheck" || spared=ptrace
	is "$(echo "$got" | grep -oE '[a-z]+ EPERM' | sed 's/ .*//' | paste -sd' ' -)" \
	    "$(echo tcp udp unix chmod utimes kill ptrace exec uring type |
	    sed "s/$spared *//")" \
	    "without Landlock: no socket, program, or other process"
	is "$(grep -c 'warning: sandbox: this kernel has no Landlock' err) $(grep -c sandbox: err)" \
	    "1 1" "which is said, once"
	got=$(taken seccomp dcheck)
	is "$(echo "$got" | grep -oE '(tcp|read|write|create|unlink|exec) EACCES' | wc -l | tr -d ' ')" \
	    6 "without seccomp: no file, no TCP"
	like notes '^udp done' "but UDP, which dcheck -v tells"
	is "$("$GEN/without" seccomp dcheck -v --json --json-in </dev/null 2>&1 |
	    sed -n 's/^dcheck: sandbox: //p' | head -1)" 'files and tcp' "as files and tcp"
	got=$(taken landlock,seccomp dcheck)
	is "$(echo "$got" | grep -oE '(tcp|udp|unix|read|create|chmod|unlink) done' | wc -l | tr -d ' ')" \
	    7 "without both it does as it likes (and this test would see it)"
	is "$(grep -c 'warning: sandbox: this kernel has neither' err) $(grep -c sandbox: err)" \
	    "1 1" "which is said, once"
else
	skip 16 "this kernel confines: $holds"
fi
kill $listener
wait $listener 2>/dev/null
finish
