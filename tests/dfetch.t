#!/bin/sh
# dfetch.t: every kind of local input, every way in which one can be absent,
# odd, hostile or still written to, and what is left behind.
ON_DISK=1
. "$(dirname "$0")/lib.sh"
GEN=${GEN:-$SRC/build/gen}
# the preload stands before the sanitizer's own library, which may be so
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0"
plan 210

S=$DATA/samples
left() { ls -A "$TMPDIR" | wc -l | tr -d ' '; }
# a fresh place for stagings
fresh() { rm -rf "$TMPDIR"; mkdir "$TMPDIR"; }
# the staging of the run whose JSON is FILE
staged() { sed -n 's/.*"stage":"\([^"]*\)".*/\1/p' "${1:-$T/out}"; }
# the values of KEY in the records of type TYPE, one a line
get() {
	grep "\"t\":\"$1\"" "${3:-$T/out}" |
	    sed -n "s/.*\"$2\":\"\\{0,1\\}\\([^\",}]*\\).*/\\1/p"
}
# the input digest, by other means than ours
tree() {
	(cd "$1" && find . -type f | sed 's|^\./||' | sort |
	    while read -r f; do
		printf '%s\0%s\0%s\n' "$f" "$(wc -c <"$f" | tr -d ' ')" \
		    "$(sha256sum <"$f" | cut -d' ' -f1)"
	    done) | sha256sum | cut -d' ' -f1
}
delta() { mkdir -p "$1" && cp -R "$S/clean_small/db/." "$1"; }

# --- one of each kind
delta a
tar cf a.tar -C a .
printf '{"custom_id":"1"}\n' >batch.jsonl
status 0 "a delta, an archive and a batch result" \
    dfetch --json a a.tar batch.jsonl
is "$(get delta url)" "$T/a
$T/a.tar
$T/batch.jsonl" "three records in order, absolute urls"
is "$(get delta kind)" "dir
file
file" "kinds"
is "$(get delta path)" "in/00000001
in/00000002/a.tar
in/00000003/batch.jsonl" "paths below staging"
st=$(staged)
ok "the copy of the directory is the directory" diff -r a "$st/in/00000001"
ok "the copy of the archive is the archive" cmp a.tar "$st/in/00000002/a.tar"
is "$(get delta sha256)" "$(tree a)
$(sha256sum <a.tar | cut -d' ' -f1)
$(sha256sum <batch.jsonl | cut -d' ' -f1)" "input digests, by sha256sum"
is "$(get delta size | tr '\n' ' ')" \
    "$(find a -type f -exec cat {} + | wc -c | tr -d ' ') $(wc -c <a.tar |
    tr -d ' ') 18 " "sizes; of a directory the sum"
like out '^\{"t":"end","totals":\{"planned":3,"fetched":3,"skipped":0,' \
    "planned = fetched + skipped"
is "$(find "$st" -perm -0001 -o -perm -0010)" "" \
    "nothing in staging is for others"
fresh

# --- time and sequence
touch -d '2020-01-01 00:00:00' a/chroma.sqlite3 a/*/*.bin
touch -d '2021-02-03 04:05:06.123456789' a/*/length.bin
status 0 "a delta with a newest file" dfetch --json a
is "$(get delta seq) $(get delta guessed) $(get delta mtime)" \
    "1612325106123456789 true 1612325106123456789" \
    "seq is the newest file's time, in ns, and guessed"

# --- once is once
status 0 "one input in five spellings" \
    dfetch --json a ./a a/ "$T/../$(basename "$T")/a" "file://$T/a"
is "$(get delta url)" "$T/a" "is one record"
like out '"planned":1,"fetched":1' "and is planned once"
mkdir 'od d'
delta "od d/x%y"
status 0 "a file:// URL with %XX" dfetch --json "file://$T/od%20d/x%25y"
is "$(get delta url)" "$T/od d/x%y" "is its path"
status 64 "a file:// URL without a path" dfetch --json file://host/x
status 64 "a file:// URL with a bad escape" dfetch --json "file:///x%zz"

# --- directories of inputs
mkdir d
for i in 03 01 02; do delta d/delta-$i; done
cp a.tar d/x.tar
mkdir d/.hidden
touch d/.gitkeep
status 0 "a directory of inputs" dfetch -v --json d
is "$(get delta url)" "$T/d/delta-01
$T/d/delta-02
$T/d/delta-03
$T/d/x.tar" "each entry is one, sorted"
like err "d/.gitkeep: hidden, passed over" "-v names the hidden"
status 0 "the same, quietly" dfetch --json d
is "$(cat err)" "" "says nothing"
for f in chroma.sqlite3 store.sqlite3 manifest.json x.bin x.pickle; do
	mkdir one && mkdir one/sub && echo x >one/sub/f && echo x >"one/$f"
	dfetch --json one >out 2>err
	is "$(get delta url)" "$T/one" "a directory with $f is one input"
	rm -r one
done
status 0 "what a plan names is one input" sh -c \
    'printf "%s\n" "# comment" "" d/delta-01 | dfetch --json -'
is "$(get delta url)" "$T/d/delta-01" "comments and empty lines are nothing"

# --- plans
sha=$(tree d/delta-01)
size=$(find d/delta-01 -type f -exec cat {} + | wc -c | tr -d ' ')
printf 'd/delta-02\nd/delta-01\tseq=-7\tsize=%s\tsha256=%s\trecords=27\n' \
    "$size" "$sha" >plan
status 0 "a plan file" dfetch --json -f plan
is "$(get delta url | sed 's/.*-//')" "02
01" "in its order"
like out '"seq":-7,"guessed":false' "its seq is taken, and not guessed"
like out '"want_records":27' "its records= travels on"
status 0 "twice the same plan, and its operands" \
    dfetch --json -f plan -f plan d/delta-01
like out '"planned":2,"fetched":2' "is one plan"
printf 'd/delta-01\tsize=%s\n' "$((size + 1))" >plan
status 65 "a size that is not the plan's" dfetch --json -f plan
like err "d/delta-01: size: want $((size + 1)) \\(plan\\), got $size" \
    "is named, want and got"
like out '^\{"t":"fail"' "and FAIL ends the stream"
printf 'd/delta-01\tsha256=%064d\n' 0 >plan
status 65 "a digest that is not the plan's" dfetch --json -f plan
like err "d/delta-01: sha256: want 0{64} \\(plan\\), got $sha" \
    "is named, want and got"
printf 'a\tseq=1\na\tseq=2\n' >plan
status 64 "one input, two sequence numbers" dfetch --json -f plan
status 66 "an empty plan" dfetch --json -f /dev/null
status 66 "an empty plan on stdin" dfetch --json -
status 66 "no plan file" dfetch --json -f nosuch
status 64 "a plan with an input of no known kind" sh -c \
    'echo ftp://h/k | dfetch --json -'
like err "ftp://h/k: want a path, file://, s3://" "says so"
for u in gopher://h/x http://user:secret@h/x http://h/ https://h; do
	status 64 "$u is not read here" dfetch --json "$u"
done
ok "and no password is told" sh -c '! grep -q secret err out'
status 65 "an input larger than --max-size" dfetch --json --max-size=10K a.tar
like err "a.tar: size: want at most 10240 \\(--max-size\\), got" "says so"

# --- absent is an error
fresh
printf 'gone1\nd/delta-01\ngone2\nd/gone3\n' >plan
status 66 "missing inputs" dfetch --json -f plan
is "$(sed 's/.*\(gone[0-9]\).*/\1/' err | tr '\n' ' ')" "gone1 gone2 gone3 " \
    "are all named"
is "$(grep -c '"t":"delta"' out)" "0" "before anything is fetched"
is "$(left)" "0" "and the staging is gone"
status 66 "a missing operand" dfetch --json gone
mkdir empty
status 66 "an empty directory" dfetch --json empty
like err "empty: an empty directory" "is named"
mkdir hid && touch hid/.x
status 66 "a directory with hidden entries only" dfetch --json hid
mkdir -p dd/nothing && delta dd/some
status 66 "an empty delta among others" dfetch --json dd
like err "dd/nothing: an empty directory: want at least one file" "is named"
: >zero
status 65 "a file of zero bytes" dfetch --json zero
like err "zero: size: want more than 0 bytes, got 0" "is named"

# --- links, pipes, devices
ln -s a link
status 0 "a link that is named is followed" dfetch --json link
is "$(get delta url)" "$T/link" "and keeps its name"
delta ln1 && ln -s /etc/passwd ln1/x
status 65 "a link in a delta" dfetch --json ln1
like err "ln1/x: neither a regular file nor a directory" "is named"
mkdir ln2 && delta ln2/a && ln -s ../a ln2/b
status 65 "a link in a directory of inputs" dfetch --json ln2
like err "ln2/b: a symbolic link" "is named"
delta ff && mkfifo ff/p
status 65 "a fifo in a delta" dfetch --json ff
mkfifo p
status 65 "a fifo as an input" dfetch --json p
status 65 "a device as an input" dfetch --json /dev/null

# --- odd names
nl='new
line'
uni=$(printf 's\303\251gment \342\202\254')
long=$(printf '%0255d' 0)
mkdir odd
for i in ' sp ace ' "$nl" "$uni" "$long" "$(printf 'bad\377utf')" '#x' \
    "quo'te\"" "tab	tab"; do
	delta "odd/$i"
done
status 0 "odd names" dfetch --json odd
is "$(grep -c '"t":"delta"' out)" "8" "all of them"
like out "file://$T/odd/new%0Aline" "a newline is written as %0A"
like out "file://$T/odd/bad%FFutf" "and bytes that are no UTF-8 as %XX"
dfetch -l odd >plan
is "$(dfetch --json - <plan | get delta sha256 | sort -u)" "$(tree a)" \
    "and they are found again through a plan"
echo x >"$nl.jsonl"
status 0 "a file with a newline in its name" dfetch --json "$nl.jsonl"
is "$(get delta path)" "in/00000001/input" "gets a safe one in staging"
delta bad && echo x >"bad/$nl"
status 65 "a newline in a name within a delta" dfetch --json bad
delta bad8 && echo x >"bad8/$(printf 'x\377')"
status 65 "a name within a delta that is no UTF-8" dfetch --json bad8
like out 'bad8/x\?: not a safe name' "and the reason in FAIL is UTF-8"
delta deep && mkdir -p deep/1/2/3/4/5/6/7/8/9 && echo x >deep/1/2/3/4/5/6/7/8/9/f
status 65 "nine directories deep" dfetch --json deep

# --- the machine
fresh
status 74 "stdout is full" sh -c 'dfetch a >/dev/full'
is "$(left)" "0" "and the staging is gone"
sh -c 'ulimit -n 6; exec dfetch --json d' >out 2>err; echo $? >st
is "$(cat st)" "75" "no descriptors: 75"
is "$(left)" "0" "and the staging is gone"
if [ "$(id -u)" != 0 ]; then
	as=''
elif command -v setpriv >/dev/null; then
	as='setpriv --reuid=65534 --regid=65534 --clear-groups'
	chmod 755 "$T"
	cp "$(command -v dfetch)" "$T/dfetch.copy"
else
	as=no
fi
if [ "$as" = no ]; then
	skip 3 "root, and no setpriv"
else
	prog=dfetch
	[ -z "$as" ] || prog=$T/dfetch.copy
	chmod 1777 "$TMPDIR"
	delta locked && chmod 0 locked/chroma.sqlite3
	$as "$prog" --json locked >out 2>err
	is "$?" "77" "a file that may not be read: 77"
	like err "locked/chroma.sqlite3: Permission denied" "is named"
	chmod 700 locked/chroma.sqlite3
	chmod 555 "$TMPDIR"
	$as "$prog" --json a >out 2>err
	is "$?" "77" "no staging may be made: 77"
	chmod 755 "$TMPDIR"
fi
fresh
(ulimit -f 64; dfetch --json a.tar >out 2>err; echo $? >st)
is "$(cat st)" "74" "the copy may not grow: 74"
is "$(left)" "0" "and the staging is gone"
cat >full.sh <<'SH'
mount -t tmpfs -o size=64k tmpfs "$TMPDIR" || exit 99
dfetch --json a.tar || st=$?
dfetch --json sparse 2>err.sparse
echo $? >st.sparse
exit $st
SH
truncate -s 900G sparse
unshare -rm sh full.sh >out 2>err </dev/null
r=$?
if [ $r -eq 99 ] || ! grep -q hello out; then
	skip 4 "no small file system can be mounted here"
else
	is "$r" "74" "disk full: 74"
	like err "a.tar: copy: want room for [0-9]+ bytes in $TMPDIR/intact.*, got [0-9]+: make room there, or set TMPDIR\$" \
	    "what was wanted, where, and what to do"
	is "$(cat st.sparse)" 74 "a file of holes that would fill it: 74"
	like err.sparse "sparse: copy: want room for 966367641600 bytes" \
	    "before a byte is written"
fi
rm -f sparse

# --- writers at work: they have their turn as the copy of a file is begun
fresh
# meanwhile FILE COMMAND...: dfetch --json w; COMMAND is run before FILE is
# copied, in $T
meanwhile() {
	file=$1; shift
	env LD_PRELOAD="$GEN/meanwhile.so" MEANWHILE_AT="$file" \
	    MEANWHILE="$*" dfetch --json w
}
# busy 'what' FILE COMMAND...: the same, and all that must come of it
busy() {
	what=$1; shift
	rm -rf w
	mkdir w
	for f in 1 2 3; do echo $f >w/$f.bin; done
	status 75 "$what" meanwhile "$@"
	like err "$T/w: changed while it was read; its writer is still at work" \
	    "is named"
	is "$(left)" "0" "and the staging is gone"
}
busy "a file that grows as it is copied" 2.bin 'echo x >>w/2.bin'
busy "one that grows when it has been copied" 3.bin 'echo x >>w/1.bin'
busy "one that grows before it is" 1.bin 'echo x >>w/3.bin'
busy "one that is written over" 3.bin 'touch -r w/1.bin t; echo 9 >w/1.bin;
    touch -r t w/1.bin'
busy "one that is replaced" 3.bin 'cp -p w/1.bin t; mv t w/1.bin'
busy "one that goes" 1.bin rm w/3.bin
busy "one that comes" 1.bin 'echo 4 >w/4.bin'
busy "one that comes and goes" 1.bin ': >w/journal; rm w/journal'
rm -r w
echo 1 >w
status 75 "an input that is a file, and grows" meanwhile w 'echo x >>w'
status 75 "and one that is replaced" meanwhile w 'cp -p w t; mv t w'
status 0 "nobody at work" meanwhile w ': >here'
ok "whoever was there meanwhile" test -e here
fresh

# --- whoever leaves
# the copy is not gone on with until dfetch has ended, or is ended after a
# minute, for it hangs
HOLD='i=0; while kill -0 $MEANWHILE_PID 2>/dev/null; do sleep 0.1
    i=$((i + 1)); [ $i -lt 600 ] || kill -9 $MEANWHILE_PID; done'
rm -f st
{ meanwhile w ": >$T/begun; $HOLD" 2>err; echo $? >st; } | {
	head -n 1 >out
	until [ -e begun ] || [ -s st ]; do sleep 0.1; done
}
is "$(cat st)" "76" "the reader leaves: 76"
is "$(cat err)" "" "without a word"
is "$(left)" "0" "and the staging is gone"
for sig in TERM INT KILL; do
	# a shell ignores INT in what it puts in the background
	perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' \
	    env LD_PRELOAD="$GEN/meanwhile.so" MEANWHILE_AT=w \
	    MEANWHILE="kill -$sig \$MEANWHILE_PID; $HOLD" \
	    dfetch --json w >out 2>err &
	wait $! 2>/dev/null
	is "$(kill -l $?)" "$sig" "$sig in the middle: it dies of it"
	[ $sig = KILL ] || is "$(left)" "0" "and the staging is gone"
done
ok "KILL leaves its staging" test "$(left)" = 1
old=$(ls "$TMPDIR")
tries=0
while [ -e "$TMPDIR/$old" ] && [ $tries -lt 1000 ]; do
	dfetch --json a >/dev/null
	tries=$((tries + 1))
done
ok "which is swept by the next" test ! -e "$TMPDIR/$old"

# --- plans out of it
fresh
status 0 "-l" dfetch -l d
is "$(cut -f1 out | sed "s|$T/||" | tr '\n' ' ')" \
    "d/delta-01 d/delta-02 d/delta-03 d/x.tar " "prints the inputs"
like out "^$T/d/delta-01	seq=[0-9]+	size=$size\$" "with seq and size"
is "$(left)" "0" "and stages nothing"
dfetch -l --sha256 d >plan
is "$(sed -n 's/.*sha256=//p' plan | head -1)" "$(tree d/delta-01)" \
    "--sha256 adds digests"
dfetch --json d | grep '"t":"delta"' |
    sed 's/.*"sha256":"\([^"]*\)".*"size":\([0-9]*\),"seq":\([0-9]*\).*/\1 \2 \3/' |
    sort >want
sort -R plan >shuffled
split -l 1 shuffled chunk.
for c in chunk.*; do dfetch --json -f "$c"; done | grep '"t":"delta"' |
    sed 's/.*"sha256":"\([^"]*\)".*"size":\([0-9]*\),"seq":\([0-9]*\).*/\1 \2 \3/' |
    sort >got
is "$(cat got)" "$(cat want)" "-l, shuffled, split: the same inputs"
status 66 "-l of what is not there" dfetch -l d gone
is "$(cat out)" "" "prints nothing"
status 66 "-l --sha256 of a plan, a line of which is not there" sh -c \
    'printf "%s\n" d/delta-01 gone | dfetch -l --sha256 -'
is "$(cat out)" "" "neither"
status 74 "-l on a full disk" sh -c 'dfetch -l d >/dev/full'

# --- many
fresh
mkdir many
i=0
while [ $i -lt 300 ]; do
	i=$((i + 1))
	mkdir many/$i && echo $i >many/$i/x.bin
done
norm() { grep -v '"t":"hello"' | sed 's/"path":"[^"]*"//'; }
dfetch -P 1 --json many | norm >p1
dfetch -P 16 --json many | norm >p16
is "$(grep -c '"t":"delta"' p16)" "300" "300 inputs"
ok "any -P: the same records in the same order" cmp p1 p16
seq -f '/nonexistent/%.0f' 100000 >plan
sh -c 'ulimit -n 32; exec dfetch --json -f plan' >out 2>err; echo $? >st
is "$(cat st) $(wc -l <err | tr -d ' ')" "66 100000" \
    "100,000 missing inputs are 100,000 names"
like out '"n_reasons":100000' "and FAIL counts them"

# --- the base, and what it holds
fresh
cp -R "$DATA/demo" tg && rm -f tg/*.*
status 66 "-b of a target that does not exist" dfetch --json -b t tg
status 0 "-B of a target that does not exist" dfetch --json -B t tg
like out "^\{\"t\":\"base\",\"target\":\"$T/t\",\"none\":true\}" \
    "is no base"
mkdir t
status 66 "-b of an empty target" dfetch --json -b t tg
status 0 "-B of an empty target" dfetch --json -B t tg
like out '"none":true' "is no base"
rmdir t
status 0 "a first version" sh -c 'dfetch -B t tg/delta-0[1-5] | dcheck |
    dmerge | dpublish t'
status 0 "-b alone" dfetch --json -b t
is "$(get base format) $(get base generation) $(get base path)" \
    "sqlite 1 base" "brings the base"
ok "which is the published version" \
    diff -r t/timestamped/* "$(staged)/base"
like out '"planned":0,"fetched":0,"skipped":0' "and nothing else"
status 0 "-b with inputs" dfetch --json -b t tg
is "$(get skip why | sort | uniq -c | tr -s ' ')" " 5 unchanged" \
    "what the base holds is skipped"
is "$(get delta url | sed 's/.*-//' | tr '\n' ' ')" "06 07 08 09 10 " \
    "the rest is fetched"
like out '"planned":10,"fetched":5,"skipped":5' "planned = fetched + skipped"
is "$(find "$(staged)/in" -maxdepth 1 | wc -l | tr -d ' ')" "6" \
    "no copy is left of what was skipped"
mkdir moved && cp -R tg/delta-01 moved/x
status 0 "a copy of it elsewhere" dfetch --json -b t moved
is "$(get skip why) $(get skip sha256)" "digest $(tree moved/x)" \
    "is skipped by its digest"
touch tg/delta-02/chroma.sqlite3
status 0 "the same bytes with another time" dfetch --json -b t tg/delta-02
is "$(get skip why)" "digest" "are skipped by their digest"
printf 'tg/delta-03\tsha256=%064d\n' 1 >plan
status 65 "another digest than the plan's is not skipped" \
    dfetch --json -b t -f plan
is "$(dfetch -l -b t tg | cut -f1 | sed 's/.*-//' | tr '\n' ' ')" \
    "02 06 07 08 09 10 " "-l -b lists what the base does not hold"
is "$(dfetch -l --sha256 -b t tg | cut -f1 | sed 's/.*-//' | tr '\n' ' ')" \
    "06 07 08 09 10 " "and with --sha256 knows it by its bytes"
dfetch tg/delta-01 tg/delta-04 | dcheck | dmerge -o im1 >/dev/null
dfetch tg/delta-01 tg/delta-06 | dcheck | dmerge -o im2 >/dev/null
status 0 "intermediates" dfetch --json -b t im1 im2
is "$(get skip url) $(get skip why) $(get delta url)" \
    "$T/im1 sources $T/im2" "are skipped when all their sources are held"
printf '{' >im1/manifest.json
dfetch --json -b t im1 >out
is "$(get delta url)" "$T/im1" "and never by a manifest that is none"

# --- checkpoints
fresh
q() { sqlite3 "$T/ck.db" "$1"; }
if command -v sqlite3 >/dev/null; then
	status 0 "-c" dfetch -c ck.db --json -b t tg/delta-01 tg/delta-06
	is "$(q "SELECT replace(key, './', '') || ' ' || state || ' ' ||
	    (size > 0) FROM unit WHERE scope = 'input' ORDER BY key")" \
	    "tg/delta-01 completed 1
tg/delta-06 in_progress 1" "skipped is completed, fetched is in progress"
	rm -f ck.db*
	printf 'tg/delta-07\ngone\n' >plan
	DCKPT_DB=$T/ck.db dfetch --json -f plan >out 2>err
	is "$? $(q "SELECT replace(key, './', '') || ' ' || state
	    FROM unit ORDER BY key" | tr '\n' ' ')" \
	    "66 gone failed tg/delta-07 pending " \
	    "missing is failed, the rest is given back"
	rm -f ck.db*
	: >zero
	DCKPT_DB=$T/ck.db dfetch --json zero >out 2>err
	is "$(q 'SELECT state, status, class FROM unit')" \
	    "failed|65|permanent" "refused is failed, for good"
else
	skip 4 "no sqlite3 shell"
fi
fresh
echo text >nodb
status 65 "checkpoints that are none" dfetch -c nodb --json a
is "$(left)" "0" "and the staging is gone"
status 0 "SIGUSR1 does not end it" meanwhile w 'kill -USR1 $MEANWHILE_PID
    i=0; until [ -s err ] || [ $i -ge 600 ]; do sleep 0.1; i=$((i + 1)); done'
like err '^dfetch: 0 of 1 inputs$' "it says how far it is"

# --- staging of a run
fresh
dfetch --json a >out
dfetch --json --stage "$(staged)" a >out2
is "$(get delta path out2)" "in/00000002" \
    "two in one staging do not get in each other's way"
is "$(staged out2)" "" "and --stage is not announced"
status 66 "a staging that is not there" dfetch --json --stage "$T/intact.x" a

# --- called wrongly
status 64 "no input" dfetch
status 64 "-b and -B" dfetch -b t -B t a
status 64 "--sha256 without -l" dfetch --sha256 a
status 64 "-P 0" dfetch -P 0 a
status 64 "--max-size without a number" dfetch --max-size=x a
status 64 "--max-time without one" dfetch --max-time= a
status 64 "--max-failed, more than all" dfetch --max-failed=101% a
status 64 "two batches, and one file for what is left of them" \
    dfetch --requeue=again openai-batch:b1 openai-batch:b2
like "$T/err" "again: more than one batch: want a directory" "says so"

# --- what another dfetch wrote is never silently left unread
cp -R a a2
fresh
dfetch a >first.mp
dfetch --json a >first.json
mkfifo pipe
exec 3<>pipe
for i in first.mp first.json; do
	cat $i >&3
	status 64 "$i on stdin, and operands" sh -c 'dfetch a2 <&3'
	like "$T/err" "stdin: a stream, which dfetch does not read" "and says so"
	# it is all still there
	head -c "$(wc -c <$i)" <&3 >rest
	ok "the stream was only looked at" cmp -s $i rest
done
echo "not a stream" >&3
status 0 "anything else on stdin is nobody's business" \
    sh -c 'dfetch a2 <&3 >"$1"' sh "$T/second"
exec 3>&-
dfetch -l a a2 >plan2
is "$(cat plan2 | dfetch --json -f /dev/stdin | grep -c '"t":"delta"')" 2 \
    "a plan on stdin under another name"

# --- descriptors that are closed
status 74 "without stdin, stdout and stderr" sh -c 'dfetch a <&- >&- 2>&-'
status 74 "a plan on a stdin that is closed" sh -c 'dfetch - <&-'
like "$T/err" "stdin: Bad file descriptor" "and says so"
finish
