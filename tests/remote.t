#!/bin/sh
# remote.t: dfetch from real object stores (Ceph's gateway, OpenStack Swift)
# and from web servers, through a proxy that counts and fails requests: the
# same as from disk, or said why not.
. "$(dirname "$0")/lib.sh"
EACH=102
plan $((2 * EACH + 4 + 34))
. "$SRC/tests/real/s3lib.sh"
S=$DATA/samples

# a fresh place for stagings
fresh() { rm -rf "$TMPDIR"; mkdir "$TMPDIR"; }
left() { ls -A "$TMPDIR" | wc -l | tr -d ' '; }
staged() { sed -n 's/.*"stage":"\([^"]*\)".*/\1/p' "$T/out"; }
# the values of KEY in the records of type TYPE, one a line
get() {
	grep "\"t\":\"$1\"" "${3:-$T/out}" |
	    sed -n "s/.*\"$2\":\"\\{0,1\\}\\([^\",}]*\\).*/\\1/p"
}
# DIR below URL, a file an object, past the proxy
up() {
	(cd "$1" && find . -type f | sed 's|^\./||' | while read -r f; do
		AWS_ENDPOINT_URL=$direct s3do put "$2$f" "$f" >/dev/null
	done)
}
put() { AWS_ENDPOINT_URL=$direct s3do put "$1" "$2" >/dev/null; }
del() { AWS_ENDPOINT_URL=$direct s3do del "$1"; }
# digests and sizes of -l, by the last part of the name
sums() { sed 's|/	|	|; s|^[^	]*/||; s/seq=[0-9]*	//' "$@"; }
norm() { grep -v '"t":"hello"' | sed 's/"path":"[^"]*"//'; }
merged() { dcheck | dmerge --json | get store content_digest -; }
delta() { mkdir -p "$1" && cp -R "$S/clean_small/db/." "$1"; }

mkdir disk
cp -R "$DATA"/demo/delta-* disk
delta one
tar cf one.tar -C one .
printf '{"custom_id":"1"}\n' >batch.jsonl
head -c 20000000 /dev/zero | tr '\0' 'x' >big
objects=$(find disk -type f | wc -l | tr -d ' ')

# suite NAME: EACH tests
suite() {
	name=$1
	if ! "$REAL/$name.sh" "$T/$name" 2>"$T/$name.err"; then
		skip $EACH "no $name here (contrib/deps.sh s3): $(tail -1 "$T/$name.err")"
		return
	fi
	direct=$(cat "$T/$name/url")
	fault_up '' "$direct"
	AWS_ENDPOINT_URL=$PROXY
	export AWS_ENDPOINT_URL
	fresh
	rm -rf cache t
	B=s3://bucket
	AWS_ENDPOINT_URL=$direct s3do make $B
	fault

	# --- the same as from disk
	up disk $B/d/
	dfetch -l --sha256 disk | sums >want
	fault
	status 0 "$name: a prefix of deltas" dfetch -l --sha256 $B/d/
	is "$(sums out)" "$(cat want)" "$name: has the digests of the disk"
	is "$(asked 'GET [^ ]*list-type') $(asked 'GET [^ ]*/d/delta')" \
	    "2 $objects" \
	    "$name: for two lists, and a request for each object"
	fault
	dfetch -l $B/d/ >plan
	is "$(asked)" 1 "$name: -l is one request"
	status 0 "$name: fetched" dfetch --json $B/d/
	is "$(get delta kind | sort -u) $(get delta url | head -1)" \
	    "dir $B/d/delta-01/" "$name: are directories, with their URL"
	ok "$name: byte for byte" diff -r disk/delta-03 \
	    "$(staged)/in/00000003"
	is "$(get delta etag | grep -c '^tree-')" 10 "$name: each has an ETag"
	is "$(get delta sha256 | sort)" "$(sed 's/.*sha256=//' want | sort)" \
	    "$name: and its digest"
	sed "s|$B/d/|$T/disk/|; s|/	|	|" plan >diskplan
	is "$(dfetch -f plan | merged)" "$(dfetch -f diskplan | merged)" \
	    "$name: merged, they are what those on disk are"
	for i in 1 32; do
		dfetch -P $i --json $B/d/ | norm >p$i
	done
	ok "$name: -P 1 and -P 32: the same records" cmp p1 p32
	(ulimit -n 32; dfetch -P 32 --json $B/d/ | norm >p)
	ok "$name: and with 32 descriptors" cmp p p32
	sort -R plan | cut -f1 >shuffled
	fault
	status 0 "$name: lines of a plan, in any order" \
	    dfetch --json -f shuffled
	is "$(get delta url)" "$(cat shuffled)" "$name: are told in its order"
	is "$(asked 'GET [^ ]*list-type')" 2 "$name: for two lists, again"
	sed -n 4p plan >p4
	status 0 "$name: one line" dfetch --json -f p4
	is "$(get delta seq)" "$(sed 's/.*seq=\([0-9]*\).*/\1/' p4)" \
	    "$name: with its seq"

	# --- files, and a delta that lies right there
	put $B/f/one.tar one.tar
	put $B/f/batch.jsonl batch.jsonl
	put $B/f/.hid batch.jsonl
	: >none
	put $B/f/sub/ none
	up one $B/f/one/
	status 0 "$name: objects and prefixes" dfetch -v --json $B/f/
	is "$(get delta url)" "$B/f/batch.jsonl
$B/f/one.tar
$B/f/one/" "$name: in the order of their keys"
	is "$(get delta sha256 | sed -n 2p)" \
	    "$(sha256sum <one.tar | cut -d' ' -f1)" \
	    "$name: an archive is its bytes"
	is "$(get delta path | head -2)" "in/00000001/batch.jsonl
in/00000002/one.tar" "$name: under its name"
	like err 'f/.hid: hidden, passed over' "$name: hidden ones are named"
	like err 'f/sub/: marks a directory, passed over' \
	    "$name: and markers"
	put $B/hid/.one.tar one.tar
	status 66 "$name: nothing but hidden ones" dfetch -l $B/hid/
	like err 'hid/: only hidden names' "$name: is what is said"
	status 0 "$name: an object" dfetch -l $B/f/one.tar
	like out "^$B/f/one.tar	seq=[0-9]*	size=$(wc -c <one.tar | tr -d ' ')\$" \
	    "$name: is one input"
	status 0 "$name: a prefix that is one delta" dfetch -l --sha256 \
	    $B/f/one/
	is "$(sums out)" "$(dfetch -l --sha256 one | sums)" \
	    "$name: is one input"
	status 0 "$name: the same without its slash" dfetch -l $B/f/one
	is "$(cut -f1 out)" "$B/f/one/" "$name: has one"
	status 0 "$name: a plan names a prefix as one input" sh -c \
	    "echo $B/f/ | dfetch --json -"
	is "$(get delta url) $(get delta kind)" "$B/f/ dir" \
	    "$name: whatever lies in it"
	printf '%s\tsize=1\n' $B/f/one/ >p
	status 65 "$name: a size that is not the plan's" dfetch --json -f p
	printf '%s\tsha256=%064d\n' $B/f/one.tar 0 >p
	status 65 "$name: a digest that is not" dfetch --json -f p
	status 65 "$name: more than --max-size" \
	    dfetch --json --max-size=100K $B/f/one/
	is "$(dfetch $B/f/one.tar $B/f/one/ | merged)" "$(dfetch one | merged)" \
	    "$name: an archive and its prefix are one"

	# --- odd keys
	uni=$(printf 's\303\251g \342\202\254')
	long=$(printf '%0255d' 0)
	printf '%s\n' ' sp ace ' 'pl+us' "$uni" "quo'te\"" '100%25 %' \
	    '&<>;=?#[]@!$*(),:|^{}~' "$long" '#x' >names
	while read -r i; do
		put "$B/o/$i/store.sqlite3" batch.jsonl
		put "$B/o/$i/x/$i" one.tar
	done <names
	# the shell's read takes the spaces at the ends
	put "$B/o/ sp ace /x.bin" batch.jsonl
	status 0 "$name: odd keys" dfetch --json $B/o/
	is "$(grep -c '"t":"delta"' out)" 9 "$name: all of them"
	is "$(find "$(staged)/in" -type f -exec cksum {} + | cut -d' ' -f1,2 |
	    sort | uniq -c | tr -s ' ')" "$( { i=0
		while [ $i -lt 8 ]; do cksum <one.tar; i=$((i + 1)); done
		i=0
		while [ $i -lt 9 ]; do cksum <batch.jsonl; i=$((i + 1)); done
	    } | sort | uniq -c | tr -s ' ')" "$name: byte for byte"
	dfetch -l $B/o/ >p
	is "$(dfetch --json -f p | get delta sha256 -)" \
	    "$(get delta sha256)" "$name: and again through a plan"
	nl='new
line'
	put "$B/n/$nl/x.bin" batch.jsonl
	status 65 "$name: a name that no plan can hold" dfetch --json $B/n/
	like err 'n/new.line/: a key that no plan can name' "$name: is named"
	put "$B/e/a/../../../out" batch.jsonl
	status 65 "$name: a key that leads out" dfetch --json $B/e/
	like err 'e/a/../../../out: not a safe name' "$name: is named"
	status 65 "$name: by a plan, too" sh -c "echo $B/e/ | dfetch --json -"
	is "$(find "$T" -path "*/out" ! -path "$T/out")" "" \
	    "$name: and leads nowhere"
	put "$B/h/a/f" batch.jsonl
	put "$B/h/a/f-" batch.jsonl
	put "$B/h/a/f/x" batch.jsonl
	status 65 "$name: an object that is a directory, too" \
	    dfetch --json $B/h/
	like err 'h/a/f/x: below an object' "$name: is named"

	# --- absent is an error
	fresh
	status 66 "$name: an empty prefix" dfetch --json $B/nope/
	like err "$B/nope/: nothing lies below" "$name: is named"
	status 66 "$name: no such object" dfetch --json $B/nope
	status 66 "$name: no such bucket" dfetch --json s3://buckett/d/
	cut -f1 plan | sed 's|delta-0[27]/|gone&|' >p
	echo "$B/f/nope.tar" >>p
	fault
	status 66 "$name: some of a plan" dfetch --json -f p
	is "$(grep -c "nothing lies below\|no such object" err)" 3 \
	    "$name: each is named"
	is "$(asked 'GET [^ ]*/d/delta')" 0 "$name: before anything is fetched"
	is "$(left)" 0 "$name: and the staging is gone"
	put $B/z/zero none
	status 65 "$name: an object without a byte" dfetch --json $B/z/zero
	fault
	AWS_SECRET_ACCESS_KEY=other5ecret status 77 "$name: a wrong secret" \
	    dfetch --json $B/d/
	is "$(asked) $(grep -c other5ecret err out)" \
	    "1 err:0
out:0" "$name: is one request, and not told"

	fault 'GET list-type * not status 403'
	status 0 "$name: objects, without the right to list" \
	    dfetch --json $B/f/one.tar $B/f/batch.jsonl
	printf '%s\n' $B/f/one.tar $B/f/batch.jsonl $B/f/no >p
	status 66 "$name: so does a plan" dfetch --json -f p
	is "$(grep -c . err) $(grep -c 'f/no: ' err)" "1 1" \
	    "$name: and names who is missing"
	status 77 "$name: a prefix needs it" dfetch --json $B/f/one/
	fault

	# --- what the base holds
	fresh
	status 0 "$name: a version of the first five" sh -c \
	    "head -5 plan | dfetch -B t - | dcheck | dmerge | dpublish t"
	fault
	status 0 "$name: then all" dfetch --json -b t $B/d/
	is "$(get skip why | sort | uniq -c | tr -s ' ') $(get delta url |
	    wc -l | tr -d ' ')" " 5 unchanged 5" "$name: those are skipped"
	is "$(asked 'GET [^ ]*/d/delta-0[1-5]')" 0 "$name: and not read"
	put $B/d/delta-02/more.txt batch.jsonl
	like t/timestamped/*/manifest.json '"etag":"tree-[0-9a-f]{64}"' \
	    "$name: by the ETags that its manifest has"
	up disk/delta-01 $B/d/delta-01/
	is "$(dfetch --json -b t $B/d/delta-01/ | get skip why -)" unchanged \
	    "$name: written again, the same is unchanged"
	status 0 "$name: one that has changed" dfetch --json -b t $B/d/
	is "$(get delta url | head -1)" "$B/d/delta-02/" "$name: is fetched"
	del $B/d/delta-02/more.txt
	mkdir again
	cp -R disk/delta-03 again
	up again $B/again/
	status 0 "$name: the same elsewhere" dfetch --json -b t $B/again/
	is "$(get skip why)" digest "$name: is skipped by its digest"
	rm -r again
	status 0 "$name: a target there that holds nothing" \
	    dfetch --json -B $B/target $B/f/one.tar
	is "$(get base none)" true "$name: is no base"
	if command -v sqlite3 >/dev/null; then
		rm -f ck.db*
		status 0 "$name: checkpoints" dfetch -c ck.db --json -b t \
		    $B/d/delta-01/ $B/d/delta-06/
		is "$(sqlite3 ck.db "SELECT key || ' ' || state || ' ' ||
		    (size > 0) FROM unit WHERE scope = 'input' ORDER BY key")" \
		    "$B/d/delta-01/ completed 1
$B/d/delta-06/ in_progress 1" "$name: of what is skipped, and fetched"
		printf '%s\n' $B/d/delta-06/ $B/nope |
		    dfetch -c ck.db --json - >out 2>err
		is "$? $(sqlite3 ck.db "SELECT key || ' ' || state FROM unit
		    WHERE key LIKE '%nope'")" "66 $B/nope failed" \
		    "$name: and of what is not there"
	else
		skip 3 "no sqlite3 shell"
	fi

	# --- all of it, there and back
	if [ "$name" = rgw ]; then
		all="dfetch -B $B/lines $B/d/ | dcheck | dmerge |
		    dpublish $B/lines"
		status 0 "$name: from deltas to a snapshot" drun "$all"
		status 0 "$name: again" drun "$all"
		dfetch --json -b $B/lines $B/d/ >out
		is "$(get base generation) $(get skip why | sort |
		    uniq -c | tr -s ' ')" "1  10 unchanged" \
		    "$name: nothing to do"
		dfetch -l $B/d/ | sed "s|$B/d/|$T/disk/|; s|/	|	|" >p
		is "$(get base content_digest)" "$(dfetch -f p | merged)" "$name: it holds what those on disk hold"
	fi

	# --- writers at work
	fresh
	cat >hook <<SH
#!/bin/sh
cd "$T" && AWS_ENDPOINT_URL=$direct && export AWS_ENDPOINT_URL
PATH=$PATH
\$(cat todo)
SH
	chmod +x hook
	for i in "s3do put $B/d/delta-04/late.bin batch.jsonl" \
	    "s3do del $B/d/delta-04/chroma.sqlite3" \
	    "s3do put $B/d/delta-04/chroma.sqlite3 one.tar"; do
		echo "$i" >todo
		fault "GET /d/delta-04/chroma 1 not pass first=$T/hook"
		status 75 "$name: ${i%% s3:*} while it is read" \
		    dfetch --json $B/d/
		like err 'd/delta-04/.*(changed while it was read|replaced)' \
		    "$name: is named"
		is "$(tail -1 out | cut -c1-11)" '{"t":"fail"' \
		    "$name: and nothing ends well"
		del $B/d/delta-04/late.bin
		up disk/delta-04 $B/d/delta-04/
	done

	# --- killed
	fresh
	put $B/big/big.tar big
	fault 'GET /big 1 done stall 12000000'
	dfetch --json $B/big/ >out 2>err &
	pid=$!
	until [ -n "$(find "$T/cache" -name '*.mark' -size +0 2>/dev/null)" ] ||
	    ! kill -0 $pid 2>/dev/null; do :; done
	kill -9 $pid
	wait $pid 2>/dev/null
	is "$(grep -c '"t":"delta"\|"t":"end"' out) $(find "$TMPDIR" \
	    -name big.tar)" "0 " "$name: killed in the middle: nothing is seen"
	fault
	status 0 "$name: again" dfetch --json $B/big/
	is "$(get delta sha256)" "$(sha256sum <big | cut -d' ' -f1)" \
	    "$name: is whole"
	settled
	came=$(awk '$1 == "end" && $4 == 206 { n = $6 }
	    END { print (n > 0 && n < 17000000) }' "$FP/log")
	is "$came" 1 "$name: and only the rest came"
	rm -rf cache
	fault 'GET /big * done stall 8000000'
	for sig in TERM INT; do
		fresh
		rm -rf cache
		# a shell ignores INT in what it puts in the background
		perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' dfetch --json \
		    $B/big/ >out 2>err &
		pid=$!
		until [ -n "$(find "$TMPDIR" "$T/cache" -size +1000k \
		    2>/dev/null)" ] || ! kill -0 $pid 2>/dev/null; do :; done
		worker=$(ps -e -o pid= -o ppid= | awk "\$2 == $pid { print \$1 }")
		until grep -q iB err || ! kill -USR1 $pid 2>/dev/null; do
			sleep 0.1
		done
		kill -$sig $pid
		wait $pid 2>/dev/null
		is "$(kill -l $?) $(left)" "$sig 0" \
		    "$name: $sig in the middle: it dies of it, and cleans up"
		is "${worker:+one}$(kill -0 ${worker:-0} 2>/dev/null &&
		    echo ' alive')" one "$name: its worker is gone"
	done
	like err '^dfetch: 0 of 1 inputs, [0-9.]+ [KM]iB came, 1 at once$' \
	    "$name: SIGUSR1 says how far it is"
	fault 'GET /big * done slow 4000000'
	fresh
	{ dfetch --json $B/big/ 2>err; echo $? >st; } | head -n 1 >out
	is "$(cat st err) $(left)" "76 0" "$name: the reader leaves"
	/usr/bin/python3 - "$B/big/" >out <<'PY'
import os, pty, subprocess, sys
a, b = pty.openpty()
p = subprocess.Popen(['dfetch', '--json', sys.argv[1]], stderr=b,
                     stdout=subprocess.DEVNULL)
os.close(b)
text = b''
try:
    while True:
        text += os.read(a, 4096)
except OSError:
    pass
print(p.wait(), text.replace(b'\x1b[K', b'^K').replace(b'\r', b'\n').decode())
PY
	like out '^\^K0 of 1 inputs, [0-9.]+ MiB, [0-9.]+ [KM]iB/s, 1 at once' \
	    "$name: a terminal is told"
	is "$(head -1 out | tr -d ' ') $(tail -1 out)" "0 ^K" \
	    "$name: and cleared"
	rm -rf cache
	fault 'GET /big * done stall 1000000'
	status 75 "$name: no end after --max-time" \
	    dfetch --json --max-time=1 $B/big/
	like err 'big.tar: not whole after 1 seconds' "$name: is named"
	del $B/big/big.tar

	s3_down
}

suite rgw
[ -e rgw/url ] || skip 4 "no rgw here"
suite swift

# --- web servers
fresh
rm -rf t
mkdir root
cp one.tar root/x.tar
cp one.tar "root/a b%.tar"
: >root/none.tar
sum=$(sha256sum <one.tar | cut -d' ' -f1)
if ! "$REAL/webd.sh" "$T/web" "$T/root"; then
	skip 34 "no web server here"
else
	U=$(cat web/url)
	web() { : >web/log; }
	requests() { sort web/log | uniq -c | tr -s ' '; }
	for i in plain tag nohead nolength moved; do
		status 0 "web: $i" dfetch --json "$U/$i/x.tar"
		is "$(get delta sha256) $(get delta path)" \
		    "$sum in/00000001/x.tar" "web: $i: is the file"
	done
	t=$(stat -c %Y root/x.tar 2>/dev/null || stat -f %m root/x.tar)
	is "$(get delta seq)" "${t}000000000" "web: Last-Modified is its seq"
	status 0 "web: %XX in a name" dfetch --json "$U/plain/a%20b%25.tar"
	is "$(get delta path)" "in/00000001/a b%.tar" "web: is undone"
	web
	status 65 "web: no Last-Modified" dfetch --json "$U/nodate/x.tar"
	like err 'no Last-Modified.*want seq=' "web: says what to do"
	is "$(requests)" " 1 HEAD /nodate/x.tar" "web: and does not read it"
	printf '%s\tseq=7\n' "$U/nodate/x.tar" >p
	status 0 "web: with seq=" dfetch --json -f p
	is "$(get delta seq) $(get delta guessed)" "7 false" "web: that is it"
	web
	status 66 "web: nothing there" \
	    dfetch --json "$U/plain/no" "$U/plain/x.tar" "$U/plain/none"
	is "$(requests)" " 1 HEAD /plain/no
 1 HEAD /plain/none
 1 HEAD /plain/x.tar" "web: is asked for once, and all are named"
	status 65 "web: a file of no bytes" dfetch --json "$U/plain/none.tar"
	status 65 "web: a redirect to itself" dfetch --json "$U/loop/x.tar"
	web
	status 75 "web: 503" dfetch --json "$U/off/x.tar"
	is "$(requests)" " 8 HEAD /off/x.tar" "web: is asked again, and ends"
	status 64 "web: a directory" dfetch --json "$U/plain/"
	status 77 "web: no signature" dfetch --json "$U/signed/x.tar"
	q='X-Amz-Signature=good'
	status 0 "web: a signed query" dfetch --json "$U/signed/x.tar?$q"
	is "$(get delta url) $(grep -c "$q" out)" "$U/signed/x.tar 0" \
	    "web: is in no record"
	printf '%s\tseq=3\n' "$U/signed/x.tar?$q" >p
	status 0 "web: in a plan" sh -c "dfetch -f p | dcheck |
	    dmerge -p p | dpublish t"
	ok "web: nor published" sh -c "! grep -r $q t"
	status 0 "web: what the base holds" dfetch --json -b t -f p
	is "$(get skip why)" unchanged "web: is skipped"
	touch -d 2020-01-01 root/x.tar
	web
	status 0 "web: -l" dfetch -l "$U/tag/x.tar"
	is "$(cat out) $(requests)" "$U/tag/x.tar	seq=1577836800000000000	size=$(wc -c <one.tar | tr -d ' ')  1 HEAD /tag/x.tar" \
	    "web: is one HEAD"
fi
s3_down
finish
