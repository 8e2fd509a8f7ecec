#!/bin/sh
# dav.t: publishing to WebDAV on real servers on loopback: lighttpd, which
# excludes; nginx, which heeds no condition, and Apache, of whose many
# writers several win: both are refused.  Faults come from faultproxy.py:
# every third that there is; MORE=1: every other, FULL=1: all.
ON_DISK=1
. "$(dirname "$0")/lib.sh"
PROBES=26 LIFE=60 FAULTS=13
# a server of root's reads what it may not
[ "$(id -u)" != 0 ] || LIFE=59
plan $((PROBES + LIFE + FAULTS))
GEN=${GEN:-$SRC/build/gen}
REAL=$SRC/tests/real
PATH=$GEN:$PATH
unset DAV_USER DAV_PASSWORD http_proxy https_proxy all_proxy \
    HTTP_PROXY HTTPS_PROXY ALL_PROXY AWS_CA_BUNDLE AWS_PROFILE
export AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/nonexistent \
    AWS_SHARED_CREDENTIALS_FILE=/nonexistent

down() {
	for s in proxy lighttpd nginx nginxext apache; do
		[ ! -d "$T/$s" ] || "$REAL/down.sh" "$T/$s"
	done
}
trap down EXIT

# up NAME [ARG]: its address in $U, its files in $R; or why not in $why
up() {
	if ! "$REAL/$1.sh" "$T/$1${2:-}" ${2:+"$2"} 2>"$T/err.$1"; then
		why="$(tail -1 "$T/err.$1") (contrib/deps.sh dav)"
		return 1
	fi
	U=$(cat "$T/$1${2:-}/url") R=$T/$1${2:-}/root
}
files() { find "$R/$1" -type f 2>/dev/null | sed "s,^$R/,,;
    s/[0-9]\{8\}T[0-9]\{6\}\.[0-9]*Z-[0-9a-f]*/ID/g" | sort; }
# refused TARGET WHAT REASON: by the probe, and by a publication; 4
refused() {
	status 64 "$2: the probe refuses it" dpublish probe "$1"
	like err "$3" "$2: with the reason"
	status 64 "$2: so does a publication" \
	    drun "dfetch -B $1 deltas/ | dcheck | dmerge | dpublish $1"
	is "$(files a)" "" "$2: which leaves nothing"
}

gendelta --out deltas --count 3 --records 20 --dim 8 >/dev/null
gendelta --out more --count 2 --records 20 --dim 8 --start 100 >/dev/null

# --- what the probe says (PROBES)
if up lighttpd; then
	status 0 "lighttpd: the probe" dpublish probe "$U/p/q"
	is "$(grep -c '^ok ' out)" 7 "lighttpd: proves seven things"
	is "$(files p)" "" "lighttpd: and leaves nothing"
	status 0 "lighttpd: a lock may be asked for all the same" \
	    dpublish probe --lock "$T/lock" "$U/p/q"
else
	skip 4 "$why"
fi
if up nginx; then
	status 64 "nginx: the probe refuses it" davdo probe "$U/a" staging/x
	like err 'does not exclude: it ignores If-None-Match' \
	    "nginx: with the reason"
	is "$(files a)" "" "nginx: leaves nothing"
	refused "$U/a" "nginx without lists" 'PROPFIND: 405'
else
	skip 7 "$why"
fi
if up nginx ext; then
	refused "$U/a" "nginx with lists" 'it ignores If-None-Match: \*'
	status 0 "nginx: but under a lock" drun "dfetch -B $U/l deltas/ |
	    dcheck | dmerge | dpublish --lock $T/lock $U/l"
	is "$(files l)" "l/commits/1.json
l/latest-pointer.txt
l/timestamped/ID/manifest.json
l/timestamped/ID/store.sqlite3" "nginx: what lies there"
else
	skip 6 "$why"
fi
if up apache; then
	refused "$U/a" Apache 'creates at once more than one succeeded'
	k=0
	for i in 1 2 3; do
		davdo probe "$U/a" "staging/$i" >o 2>&1
		[ $? -ne 64 ] || k=$((k + 1))
	done
	is $k 3 "Apache: every time"
	status 0 "Apache: but under a lock" drun "dfetch -B $U/l deltas/ |
	    dcheck | dmerge | dpublish --lock $T/lock $U/l"
	# an ETag is weak for a second: the pointer waits for a strong one
	davdo replace "$U/l" latest-pointer.txt one >o 2>&1
	is "$(davdo stale "$U/l" latest-pointer.txt two three)
$(davdo get "$U/l" latest-pointer.txt)" "changed
two" "Apache: what has changed meanwhile is not replaced"
	status 0 "Apache: a collection is there" davdo has "$U/l" commits
	is "$(cat out)" 1 "Apache: though not for HEAD"
else
	skip 9 "$why"
fi

# --- a target's life on lighttpd (LIFE)
if [ -s "$T/lighttpd/url" ]; then
	U=$(cat "$T/lighttpd/url") R=$T/lighttpd/root
else
	skip $((LIFE + FAULTS)) "$(tail -1 "$T/err.lighttpd")"
	down
	finish
fi
A="$U/odd%20na+me%C3%BC/rag" D="odd na+me$(printf '\303\274')/rag"
pipe() { drun "dfetch $1 | dcheck | dmerge | dpublish --json ${2:-} $A"; }
pointer() { cat "$R/${1:-$D}/latest-pointer.txt"; }
status 66 "nothing was published yet" dpublish log "$A"
status 66 "nor is there a base" pipe "-b $A deltas/"
status 0 "a first version" pipe "-B $A deltas/"
digest=$(sed -n 's/.*"content_digest":"\([^"]*\)".*/\1/p' out)
is "$(files "$D")" "$D/commits/1.json
$D/latest-pointer.txt
$D/timestamped/ID/manifest.json
$D/timestamped/ID/store.sqlite3" "what lies there"
drun "dfetch -B $T/local deltas/ | dcheck | dmerge | dpublish --json $T/local" \
    >o 2>&1
like o "\"content_digest\":\"$digest\"" "is what a local target gets"
cp "$T"/local/timestamped/*/store.sqlite3 x
ok "to the byte" cmp x "$R/$D/timestamped/$(pointer)/store.sqlite3"
is "$(printf %s "$(pointer)" | wc -c)" 32 \
    "the pointer is the bare version id"
v1=$(pointer)
status 0 "nothing new" pipe "-b $A deltas/"
like out '"unchanged":true' "is said so"
status 0 "more of it, onto that" pipe "-b $A deltas/ more/"
like out '"generation":2.*"records":100,' "makes a second version"
like out '"skipped":3,' "of what was not in the first"
status 0 "proved by bringing it back" pipe "-b $A more/" --verify=full
gendelta --out third --count 1 --records 5 --dim 8 --start 200 >/dev/null
status 0 "a third" pipe "-b $A third/" --verify=full
status 0 "its history" dpublish log "$A"
is "$(grep -c ' present ' out)" 3 "of three"
status 0 "back to the first" dpublish rollback "$A" "$v1"
is "$(pointer)" "$v1" "the pointer says so"
status 0 "prune" dpublish prune --keep 1 --keep-newer-than 0 "$A"
is "$(grep -c '^removed' out) $(ls "$R/$D/timestamped" | wc -l) $(
    ls "$R/$D/commits" | wc -l)" "1 2 4" \
    "removes all but that and the newest, and no commit"
status 66 "no way back to what was pruned" dpublish rollback "$A" \
    20200101T000000.000000Z-00000000
is "$(files "$D/staging")" "" "nothing is left in staging"
# not behind the server's back, which remembers
rmobj() { perl -MIO::Socket::INET -e 'my ($a, $p) = $ARGV[0] =~ m,//([^/]*)(.*),;
    my $s = IO::Socket::INET->new(PeerAddr => $a) or exit 1;
    print $s "DELETE $p HTTP/1.0\r\n\r\n"; exit <$s> !~ / 204 /' "$1"; }
status 0 "the pointer may be gone" rmobj "$A/latest-pointer.txt"
status 0 "a run with nothing new" pipe "-b $A deltas/"
is "$(pointer)" "$v1" "brings it back"

# objects, one by one
O=$U/objects
is "$(davdo create "$O" commits/1.json one)
$(davdo create "$O" commits/1.json two)
$(davdo get "$O" commits/1.json)" "created
taken
one" "a name is created once"
is "$(davdo replace "$O" p one) $(davdo replace "$O" p two) $(davdo get "$O" p)" \
    "replaced replaced two" "an object is replaced"
is "$(davdo stale "$O" p three four) $(davdo get "$O" p)" "changed three" \
    "but not when it is another by now"
is "$(davdo stale "$O" q one two) $(davdo get "$O" q)" "changed one" \
    "nor when it was not there, and is"
is "$(davdo claim "$O" staging/r me) $(davdo claim "$O" staging/r you)" \
    "claimed taken" "a claim is made once"
age=$(davdo age "$O" staging/r/owner)
ok "its age is that of the server's clock" test "$age" -ge 0 -a "$age" -lt 60
is "$(davdo age "$O" staging/none/owner) $(davdo has "$O" commits/1.json)$(
    davdo has "$O" commits)$(davdo has "$O" nope)" "-1 110" \
    "what is not there is told"
: >"$R/objects/commits/.hidden"
: >"$R/objects/commits/2.json-1234-abc~"
mkdir "$R/objects/commits/dir"
: >"$R/objects/commits/a b%41&<"
is "$(davdo list "$O" commits)" "1.json
a b%41&<
dir" "a list, without what servers put aside"
is "$(davdo list "$O" nope; echo $?)" 0 "of what is not there: nothing"
printf x >"$R/objects/x"
chmod 0 "$R/objects/commits"
[ "$(id -u)" = 0 ] || status 77 "a list that is forbidden" \
    davdo list "$O" commits
chmod 755 "$R/objects/commits"

# versions, file by file
mkdir -p tree/sub/dir
head -c 3000000 /dev/urandom >tree/big
printf 'a\n' >'tree/sub/a b+%41?#'
: >tree/sub/dir/empty
V=timestamped/v1
status 0 "files, in collections" davdo put "$O" $V tree
ok "lie there" diff -r tree "$R/objects/$V"
status 0 "are verified" davdo verify "$O" $V tree
status 0 "are fetched" davdo fetch "$O" $V tree back
ok "as they were" diff -r tree back
status 0 "what is there already stays" davdo put "$O" $V tree
davdo create "$O" $V/sub/extra x >o
status 65 "a file that nobody knows" davdo verify "$O" $V tree
like err 'v1/sub/extra: not in the manifest' "is named"
davdo replace "$O" "$V/sub/a b+%41?#" b >o
status 65 "one that is another" davdo verify "$O" $V tree
like err 'sub/a%20b%2B%2541%3F%23: (size|SHA-256)' "is named"
status 65 "and not fetched" davdo fetch "$O" $V tree back2
ok "not a byte of it" test ! -e 'back2/sub/a b+%41?#'
status 73 "nor written over" davdo put "$O" $V tree
is "$(davdo get "$O" "$V/sub/a b+%41?#")" b "it stays"
status 0 "a version is removed" davdo remove "$O" $V
is "$(files objects/$V) $(davdo has "$O" $V)" " 0" "all of it"
status 0 "once more" davdo remove "$O" $V

# who may
status 77 "no user and password" dpublish log "$U/auth/x"
like err 'set DAV_USER and DAV_PASSWORD' "says what is wanted"
DAV_USER=tester DAV_PASSWORD=wr0ngpassword status 77 "wrong ones" \
    drun "dfetch -B $U/auth/x deltas/ | dcheck | dmerge | dpublish $U/auth/x"
ok "which are not told" sh -c '! grep -q wr0ngpassword err'
# and no proxy sees them
A=$U/auth/x D=auth/x
DAV_USER=tester DAV_PASSWORD=testsecret http_proxy=http://127.0.0.1:1 \
    status 0 "the right ones" pipe "-B $A deltas/"
DAV_USER=tester DAV_PASSWORD=testsecret status 77 "not over http to others" \
    dpublish log http://192.0.2.1/x
status 64 "nor in a URL" dpublish log "http://tester:testsecret@${U#*//}/x"
ok "which is not told" sh -c '! grep -q testsecret err'

# --- faults (FAULTS)
if ! "$REAL/faultproxy.sh" "$T/proxy" "${U#http://}" 2>err; then
	skip $FAULTS "$(cat err)"
	down
	finish
fi
A=$(cat "$T/proxy/url")/f D=f
# settled: every request has its end in the log
settled() {
	awk '/^ask / { n++ } /^end / { n-- } END { exit n != 0 }' \
	    "$T/proxy/log"
}
# hung: one is silent by now, and whatever it did to the server is done
hung() { grep -q ' hang$' "$T/proxy/log" && settled; }
# await COMMAND...: until it succeeds, a minute at least
await() {
	k=0
	until "$@"; do
		k=$((k + 1))
		[ $k -lt 1200 ] || return 1
		sleep 0.05
	done
}
fault() {
	await settled
	for r; do echo "$r"; done >"$T/proxy/rules.new"
	mv "$T/proxy/rules.new" "$T/proxy/rules"
	: >"$T/proxy/log"
}
runs=0 fault_n=0
gen() {
	runs=$((runs + 1)) ST=$T/intact.run$runs
	genrun "$A" "$ST" "$1" >"$ST.json"
}
pub() { dpublish --json-in --stage "$1" "$A" <"$1.json" >/dev/null; }
commits() { ls "$R/$D/commits" | wc -l; }
# "3: " and what is not in order at the third generation
odd() {
	[ "$(commits)" = "$1" ] || echo "want $1 commits, got $(commits)"
	v=$(sed 's/.*"version":"\([^"]*\)".*/\1/' "$R/$D/commits/$1.json")
	[ "$(pointer $D)" = "$v" ] || echo "pointer: want $v"
	[ -z "$(files $D/staging)" ] || echo "left: $(files $D/staging)"
	[ "$(ls "$R/$D/timestamped" | wc -l)" = "$(commits)" ] ||
	    echo "versions: $(ls "$R/$D/timestamped")"
}
fault
gen start
ok "a first version through the proxy" pub "$ST"

# each fault at each request: found out, mended, published once
g=1 faulty='' turn=0
BY=$([ "${FULL:-0}" = 1 ] && echo 1 || few 3 2)
for req in 'PUT staging/[^/]*/owner' 'PUT store.sqlite3' \
    'PUT timestamped/[^/]*/manifest.json' 'PUT commits/' \
    'PUT latest-pointer' 'MKCOL timestamped/' 'PROPFIND commits/' \
    'DELETE staging/'; do
	for f in 'not reset' 'done reset' 'not status 500' 'done status 503' \
	    'done empty'; do
		turn=$((turn + 1))
		[ $((turn % BY)) = 0 ] || continue
		gen "source$runs"
		fault "${req% *} ${req#* } 1 $f"
		g=$((g + 1))
		pub "$ST" 2>e || faulty="$faulty
$req $f: $(cat e)"
		grep -q ' 1 \(not\|done\) ' "$T/proxy/log" || faulty="$faulty
$req $f: not asked"
		o=$(odd $g)
		[ -z "$o" ] || faulty="$faulty
$req $f: $o"
	done
done
is "$faulty" "" "a fault at any request of a publish: it is published, once"

# the commit: what is said is not what is so
faulty=
for f in 'not status 412' 'done status 412' 'not status 409' \
    'done status 409' 'not status 404' 'done status 404'; do
	gen "source$runs"
	fault "PUT commits/ 1 $f"
	g=$((g + 1))
	pub "$ST" 2>e || faulty="$faulty
$f: $(cat e)"
	grep -q ' 1 \(not\|done\) ' "$T/proxy/log" || faulty="$faulty
$f: not asked"
	o=$(odd $g)
	[ -z "$o" ] || faulty="$faulty
$f: $o"
done
is "$faulty" "" "a commit of which the server does not say what is so"

# another one comes at that instant
cat >other <<X
#!/bin/sh
dpublish --json-in --stage "$T/intact.other" "$A" <"$T/other.json" >/dev/null \
    2>"$T/other.err"
echo \$? >"$T/other.status"
X
chmod 755 other
for f in 'not reset' 'done reset'; do
	gen "source$runs"
	rm -rf "$T/intact.other" other.status
	genrun "$A" "$T/intact.other" "other$runs" >"$T/other.json"
	fault "PUT commits/ 1 $f then=$T/other"
	g=$((g + 1))
	pub "$ST" 2>e
	is "$? $(cat other.status) $(odd $g)" \
	    "$([ "$f" = 'not reset' ] && echo 73 0 || echo 0 73) " \
	    "a commit, $f, and another publisher: one wins"
done

# kill -9, and again
faulty=
for f in 'PUT staging/[^/]*/owner 1 done' 'PUT store.sqlite3 1 not' \
    'PUT store.sqlite3 1 done' 'PUT manifest.json 1 not' \
    'PUT manifest.json 1 done' 'PUT commits/ 1 not' 'PUT commits/ 1 done' \
    'PUT latest-pointer 1 not' 'DELETE staging/ 1 not'; do
	gen "source$runs"
	fault "$f hang"
	dpublish --json-in --stage "$ST" "$A" <"$ST.json" >/dev/null 2>&1 &
	p=$!
	await hung || faulty="$faulty
$f: not asked"
	kill -9 $p
	wait $p 2>/dev/null
	# what was prepared is of a run that is dead: so is its staging
	rm -rf "$ST"
	fault
	before=$(commits)
	gen "again$runs"
	g=$((before + 1))
	pub "$ST" 2>e || faulty="$faulty
$f: $(cat e)"
	dpublish prune --keep 1000 --keep-newer-than 0 "$A" >o 2>&1
	o=$(odd $g)
	[ -z "$o" ] || faulty="$faulty
$f: $o"
done
is "$faulty" "" "killed at any request, and run again: all in order"

# the same again, where one was killed between two files
gen twice
fault 'PUT timestamped/[^/]*/manifest.json 1 not hang'
dpublish --json-in --stage "$ST" "$A" <"$ST.json" >/dev/null 2>&1 &
p=$!
await hung
kill -9 $p
wait $p 2>/dev/null
rm -rf "$ST"
fault
gen twice
g=$((g + 1))
ok "the same, killed before its manifest, again" pub "$ST"
is "$(grep -c 'PUT [^ ]*store.sqlite3' "$T/proxy/log")" 0 \
    "sends no file that is there"
is "$(odd $g)" "" "and all is in order"

# two at once
faulty=
for i in 1 2 3 4 5 6; do
	gen "a$i"
	a=$ST
	gen "b$i"
	b=$ST
	{ pub "$a" 2>a.err; echo $? >a.status; } &
	{ pub "$b" 2>b.err; echo $? >b.status; } &
	wait
	g=$((g + 1))
	got=$(cat a.status b.status | sort -n | tr '\n' ' ')
	[ "$got" = '0 73 ' ] || faulty="$faulty
$i: $got: $(cat a.err b.err)"
	o=$(odd $g)
	[ -z "$o" ] || faulty="$faulty
$i: $o"
done
is "$faulty" "" "two at once: one wins, the other is told 73"

# the server dies in the middle of a body
truncate -s 300M tree/huge
rm -f tree/manifest.json
got=0 i=0
# again when it was done before
while [ $got = 0 ] && [ $i -lt 10 ]; do
	[ $i -eq 0 ] || { "$REAL/down.sh" "$T/lighttpd"; up lighttpd; }
	rm -rf "$R/objects/timestamped/v2"
	davdo put "$O" timestamped/v2 tree >o 2>e &
	p=$! i=$((i + 1))
	daemon=$(cat "$T/lighttpd/pids")
	until [ -n "$(find -L "/proc/$daemon/fd" -type f -size +20M \
	    2>/dev/null)" ] || ! kill -0 $p 2>/dev/null; do sleep 0.01; done
	kill -9 "$daemon"
	wait $p
	got=$?
done
is "$got $(files objects/timestamped/v2 | grep -c huge)" "75 0" \
    "a server that dies in the middle of a file: 75, nothing of it is there"
"$REAL/down.sh" "$T/lighttpd"
up lighttpd
ok "again, when it is back" davdo put "$O" timestamped/v2 tree
ok "every byte is there" cmp tree/huge "$R/objects/timestamped/v2/huge"
down
trap - EXIT
finish
