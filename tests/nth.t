#!/bin/sh
# nth.t: the Nth call of each kind fails, in each program of a run, for some
# N; NTH=3 (MORE=1): for thrice as many, NTH=0: for each N until there is none
# left (tests/crash/nth.pl).  What fails is the machine's fault, never the
# inputs' or ours, and the status says so; something is said, the target holds the old version or the new
# one, whole, and the run again ends as if nothing had been.  A run that says
# 0 has done its work.  ONLY= and CALLS= name some, without a network.
. "$(dirname "$0")/lib.sh"
GEN=${GEN:-$SRC/build/gen}
export GEN
. "$SRC/tests/real/s3lib.sh"
export REAL
PROGS='dfetch dcheck dmerge dpublish drun dckpt'
CALLS=${CALLS:-malloc mmap open read write sync rename unlink mkdir fork pipe \
sqlite}
if [ -z "${ONLY:-}" ]; then
	plan 10
else
	plan $((1 + $(echo "$ONLY" | wc -w)))
fi
mkdir d tmp0
gendelta() { "$GEN/gendelta" "$@"; }
gendelta --out d --count 2 --records 5 --dim 8 >/dev/null
cp -Rp "$DATA/samples/purged_hnsw_l2/db" d/purged
drun "dfetch d/delta-0000 | dcheck | dmerge | dpublish t0" >/dev/null
NTH=${NTH:-$(few 1 3)}
DCKPT_DB=$T/ck0.db drun "dfetch d/delta-0000 | dcheck | dmerge -o m" >/dev/null
rm -rf tmp0
: >"$T/one"
printf 0 >hit
env LD_PRELOAD="$GEN/nth.so" NTH_PROG=cat NTH_CALL=open NTH_N=1 \
    NTH_HIT="$T/hit" cat one 2>/dev/null
is "$(cat hit)" 1 "the preload can be loaded"
# try NAME PROGRAM CALL...: the bytes of libraries' own messages say more
# than a test can hold
try() {
	name=$1 p=$2
	shift 2
	perl "$SRC/tests/crash/nth.pl" "$p" "$NTH" "$@" >said 2>&1
	tail -1 said | sed "s/^/# $name: /"
	is "$(sed "s/ of [1-9].*/ of some/" said | head -60)" "0 bad of some" \
	    "$name: whatever fails"
}
for p in ${ONLY:-$PROGS}; do
	# shellcheck disable=SC2086 # words
	try $p $p $CALLS
done
[ -z "${ONLY:-}" ] || finish
# over TLS: no crash in the library that speaks it, and up to the server's
# certificate no wrong answer of its own (RELIABILITY says of what comes then)
tls() {
	n=1 runs=0
	while [ $n -le 6000 ]; do
		printf 0 >hit
		env LD_PRELOAD="$GEN/nth.so" NTH_PROG=dfetch NTH_CALL=malloc \
		    NTH_N=$n NTH_HIT="$T/hit" AWS_CA_BUNDLE="$T/web/ca.pem" \
		    dfetch -l "$(cat web/url)/plain/a" >out 2>err
		got=$?
		# a sanitizer's malloc cannot be made to fail
		[ "$n" != 1 ] || [ "$(cat hit)" = 1 ] || runs=31
		[ "$(cat hit)" = 1 ] || break
		case $got in
		0) ;;
		74 | 75) [ -s err ] || echo "malloc $n: exit $got, no word" ;;
		*) echo "malloc $n: exit $got: $(cat err)" ;;
		esac
		n=$((n + (NTH == 0 ? 1 : 1 + 135 / NTH)))
		runs=$((runs + 1))
	done
	echo "runs: $((runs > 30))"
}
mkdir -p web root
echo a >root/a
if ! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
    -keyout web/tls.pem -out web/ca.pem -days 2 -subj /CN=127.0.0.1 \
    -addext subjectAltName=IP:127.0.0.1 2>/dev/null; then
	skip 1 "no openssl here"
elif cat web/ca.pem >>web/tls.pem && ! "$REAL/webd.sh" web root; then
	skip 1 "no web server here"
else
	is "$(tls)" "runs: 1" "dfetch, over TLS: malloc"
fi
if s3_rgw; then
	AWS_ENDPOINT_URL=$RGW
	export AWS_ENDPOINT_URL RGW
	s3do make s3://bucket
	for p in dfetch dpublish; do
		try "$p, in S3" $p malloc sqlite curl net
	done
else
	skip 2 "$why"
fi
s3_down
finish
