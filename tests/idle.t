#!/bin/sh
# idle.t: a run that finds nothing new, and a target elsewhere (Ceph's
# gateway; WebDAV on lighttpd), through a proxy that counts: the snapshot is
# not brought, but wherever somebody might want it.
. "$(dirname "$0")/lib.sh"
PLAIN=15 EACH=48
plan $((PLAIN + 2 * EACH))
. "$SRC/tests/real/s3lib.sh"
unset DAV_USER DAV_PASSWORD

# --- which pipelines are nothing but the four (PLAIN)
mkdir stub
for i in dfetch dcheck dmerge dpublish nice; do
	cat >stub/$i <<SH
#!/bin/sh
[ \${0##*/} != dmerge ] || printf %s "\${DRUN_PLAIN-no}" >"$T/said"
cat >/dev/null
SH
	chmod +x stub/$i
done
ln -s "$BIN/drun" stub/drun
plain() { rm -f said; PATH=$T/stub:$PATH DRUN_PLAIN=${3:-} drun "$1" >o 2>&1
	is "$(cat said)" "${2:-no}" "$1"; }
plain 'dfetch -b t in | dcheck | dmerge | dpublish t' 1
plain ' dfetch -b t "$a b"|dcheck -x "x; y" 2>err| dmerge -p plan |dpublish t' 1
plain "$T/stub/dfetch | $T/stub/dcheck | $T/stub/dmerge | $T/stub/dpublish" 1
plain 'dfetch -b t in | dcheck | dmerge' '' 1
plain 'dfetch -b t in | dcheck | dmerge -o o | cat' '' 1
plain 'dfetch -b t in | dcheck | cat | dmerge | dpublish t' '' 1
plain 'dfetch -b t in | dcheck | dmerge | dpublish t | cat'
plain 'dfetch -b t in | dmerge | dcheck | dpublish t'
plain 'dfetch -b t in | dcheck | { dmerge; } | dpublish t'
plain 'dfetch -b t in | dcheck | nice | dmerge | dpublish t'
plain 'dfetch -b t in | a=b dcheck | dmerge | dpublish t'
plain 'dfetch -b t in | dcheck | dmerge | (dpublish t)'
plain 'dfetch -b t $(echo in) | dcheck | dmerge | dpublish t'
plain 'dfetch -b t `echo in` | dcheck | dmerge | dpublish t'
plain '"dfetch" -b t in | dcheck | dmerge | dpublish t'

# was a file of a version asked for, other than its manifest?
came() { grep -cE '^ask [0-9]+ GET [^ ]*/timestamped/[^/ ]+/[^m ]' \
    "$FP/log" | sed 's/^[1-9].*/yes/; s/^0$/no/'; }
# idle WANT STATUS 'what' PIPELINE: does the snapshot come?
idle() {
	fault
	want_came=$1 want_st=$2 what_came=$3; shift 3
	status "$want_st" "$name: $what_came" "$@"
	is "$(came)" "$want_came" "$name: it comes: $want_came"
}
# shellcheck disable=SC2120 # idle hands them on
line() { drun "dfetch -b $A ${4:-in} | dcheck | ${3:-}dmerge ${1:-} |
    dpublish --json ${2:-$A}"; }
field() { sed -n "s/.*\"$1\":\"\\{0,1\\}\\([^\",}]*\\).*/\\1/p" "${2:-out}"; }
# where the current version's files lie, from here
version() { case $name in
	rgw) AWS_ENDPOINT_URL=$direct s3do get $A/latest-pointer.txt p \
		>/dev/null; cat p ;;
	*) cat "$R/lines/latest-pointer.txt" ;;
	esac; }
# put FILE NAME; get NAME FILE; del NAME: of that version, past the proxy
dav() { perl -MIO::Socket::INET -e 'my ($m, $u, $f) = @ARGV; local $/;
    my $b = ""; if ($f) { open F, "<", $f or exit 1; $b = <F>; }
    my ($a, $p) = $u =~ m,//([^/]*)(.*),;
    my $s = IO::Socket::INET->new(PeerAddr => $a) or exit 1;
    print $s "$m $p HTTP/1.0\r\nContent-Length: ", length $b, "\r\n\r\n$b";
    exit <$s> !~ m,^HTTP/1.. 2,' "$@"; }
put() { case $name in
	rgw) AWS_ENDPOINT_URL=$direct s3do put "$A/timestamped/$v/$2" "$1" ;;
	*) dav PUT "$direct/lines/timestamped/$v/$2" "$1" ;;
	esac >/dev/null; }
get() { case $name in
	rgw) AWS_ENDPOINT_URL=$direct s3do get "$A/timestamped/$v/$1" "$2" ;;
	*) cp "$R/lines/timestamped/$v/$1" "$2" ;;
	esac >/dev/null; }
del() { case $name in
	rgw) AWS_ENDPOINT_URL=$direct s3do del "$A/timestamped/$v/$1" ;;
	*) dav DELETE "$direct/lines/timestamped/$v/$1" ;;
	esac >/dev/null; }

# suite NAME: EACH tests
suite() {
	name=$1
	if ! "$REAL/$name.sh" "$T/$name" 2>"$T/$name.err"; then
		skip $EACH "no $name here (contrib/deps.sh): $(tail -1 "$T/$name.err")"
		return
	fi
	direct=$(cat "$T/$name/url")
	fault_up '' "$direct"
	if [ $name = rgw ]; then
		AWS_ENDPOINT_URL=$PROXY A=s3://bucket/lines
		export AWS_ENDPOINT_URL
		AWS_ENDPOINT_URL=$direct s3do make s3://bucket
	else
		A=$PROXY/lines R=$T/$name/root
	fi
	rm -rf in x cache o1 arts ck.db*
	mkdir in x
	cp -pR "$DATA"/demo/delta-0[1-3] in
	cp -pR "$DATA"/demo/delta-04 x
	fault
	status 0 "$name: a first version" drun "dfetch -B $A in | dcheck |
	    dmerge | dpublish --json $A"
	digest=$(field content_digest) v=$(version)
	get store.sqlite3 was

	# nothing new, and nobody who could want it
	idle no 0 "nothing new" line
	like out '"content_digest":"'"$digest"'".*"unchanged":true,"unread":true' \
	    "$name: said to be unchanged, and unread"
	ok "$name: which costs less than it" test "$(moved)" -lt \
	    "$(wc -c <was)"
	is "$(ls -A tmp)" "" "$name: and leaves nothing"
	dfetch -l in >plan
	idle no 0 "in the format that it has, and all that was planned" \
	    line '-F sqlite -p plan --threads 1' "-p plan $A"
	dfetch -l in x >wider
	idle no 66 "a plan that names more" line '-p wider'
	idle no 0 "and a checkpoint database" drun "dfetch -c ck.db -B $A in |
	    dcheck -c ck.db | dmerge | dpublish -c ck.db $A"

	# somebody could
	idle yes 0 "a stage that is none of ours" line '' '' 'cat | '
	idle yes 0 "a copy of it" line '-o o1'
	ok "$name: which it is" cmp was o1/store.sqlite3
	idle yes 0 "an artefact of it" line '' '-a arts/s'
	idle yes 0 "without drun" sh -c "dfetch -b $A in | dcheck |
	    dmerge | dpublish $A"
	idle yes 0 "dfetch alone" drun "dfetch --json -b $A in"
	idle yes 0 "and no input at all" drun "dfetch -b $A | dcheck | dmerge |
	    dpublish $A"
	dckpt force -c ck.db "$T/in/delta-02" >o 2>&1
	idle yes 0 "an input that is to be done again" drun "dfetch -c ck.db \
	    -b $A in | dcheck | dmerge | dpublish --json $A"
	touch in/delta-02/chroma.sqlite3
	idle yes 0 "an input that was touched" line
	like out '"skipped":3.*"unchanged":true' "$name: but is the same"
	cp -pR "$DATA"/demo/delta-02/. in/delta-02

	# it is not what was committed, or nobody can tell
	if [ $name = rgw ]; then
		v=$(version)
		get store.sqlite3 was
		put was store.sqlite3
		idle yes 0 "written again, the same" line
	else
		fault 'HEAD /store 1 done header Last-Modified Fri,'
		line >out 2>err
		is "$? $(came)" "0 yes" "$name: of no time: it comes"
		fault "HEAD /store 1 done header Last-Modified $(date -u -d \
		    +2days '+%a, %d %b %Y %H:%M:%S GMT')"
		line >out 2>err
		is "$? $(came)" "0 yes" "$name: younger: it comes"
	fi
	idle yes 0 "a new input" line '' '' '' 'in x'
	like out '"generation":3' "$name: is published"
	v=$(version)
	idle no 0 "then nothing is new again" line '' '' '' 'in x'
	idle yes 0 "another format" line '-F chroma' '' '' 'in x'
	like out '"generation":4' "$name: is another version"
	v=$(version)
	idle no 0 "of which the same is true" line '-F chroma' '' '' 'in x'
	idle no 0 "unasked" line '' '' '' 'in x'
	printf '{}' >other
	get manifest.json m
	put other manifest.json
	idle no 65 "another manifest" line '' '' '' 'in x'
	put m manifest.json
	del ledger.sqlite3
	status 66 "$name: a file that is gone" line '' '' '' 'in x'
	put other ledger.sqlite3
	status 65 "$name: one of another size" line '' '' '' 'in x'
	s3_down
}
suite rgw
suite lighttpd
finish
