#!/bin/sh
# remote.sh [COUNT [KIB [RUNS]]]: dfetch of COUNT objects of KIB each from
# loopback against curl --parallel and rclone, dpublish to S3 against
# rclone, and what memory they take as one object grows.
#
# Prints CPU seconds, wall seconds and the largest resident set of the
# client (the server's are not counted), the least of RUNS, and ratios.
# dfetch digests every byte and curl does not: the row sha256 is what that
# alone costs, and the ratio is given without it, too.  Needs curl, rclone,
# s3cmd, lighttpd (http) and Ceph's gateway (S3); what is missing is said.
# SPDX-License-Identifier: ISC
set -eu
LC_ALL=C
export LC_ALL
SRC=$(cd "$(dirname "$0")/../.." && pwd)
BIN=${BIN:-$SRC/build/bin} GEN=${GEN:-$SRC/build/gen}
count=${1:-400} kib=${2:-1100} runs=${3:-${RUNS:-5}}
unset DRUN_ID DCKPT_DB DTRACE DSTAGE http_proxy https_proxy all_proxy || :
T=$(mktemp -d "${TMPDIR:-/var/tmp}/intact-bench.XXXXXX")
down() {
	"$SRC/tests/real/down.sh" "$T/web" 2>/dev/null || :
	"$SRC/tests/real/down.sh" "$T/rgw" 2>/dev/null || :
	rm -rf "$T"
}
trap down EXIT
trap 'exit 1' HUP INT TERM
mkdir "$T/tmp" "$T/src" "$T/out"
TMPDIR=$T/tmp DCACHE=$T/cache
export TMPDIR DCACHE
export AWS_ACCESS_KEY_ID=testkey AWS_SECRET_ACCESS_KEY=testsecret \
    AWS_EC2_METADATA_DISABLED=true
PATH=$BIN:$GEN:$PATH

# measure NAME SETUP COMMAND...: the least of the runs, kept in $T/NAME
measure() {
	name=$1 setup=$2; shift 2
	: >"$T/all"
	i=0
	while [ $i -lt "$runs" ]; do
		i=$((i + 1))
		rm -rf "$T/out" "$T/tmp" "$T/cache"
		mkdir "$T/out" "$T/tmp"
		sh -c "$setup"
		"$SRC/tests/bench/cost.pl" "$@" >>"$T/all" 2>"$T/err" || {
			echo "$name failed:" >&2
			tail -3 "$T/err" >&2
			return 0
		}
	done
	cpu=$(sort -n "$T/all" | head -1 | cut -d' ' -f1)
	wall=$(cut -d' ' -f2 "$T/all" | sort -n | head -1)
	rss=$(cut -d' ' -f3 "$T/all" | sort -n | tail -1)
	echo "$cpu $wall $rss" >"$T/$name.cost"
	awk -v n="$name" -v c="$cpu" -v w="$wall" -v r="$rss" 'BEGIN {
	    printf "%-22s %8.2f s CPU %8.2f s wall %8.1f MiB\n", n, c, w,
	    r / 1024 }'
}
# ratio A B 'what' [LESS]: A against B, CPU and wall; LESS's CPU off A's
ratio() {
	[ -s "$T/$1.cost" ] && [ -s "$T/$2.cost" ] || return 0
	less=0
	[ -z "${4:-}" ] || read -r less _ <"$T/$4.cost"
	read -r ac aw ar <"$T/$1.cost"
	read -r bc bw br <"$T/$2.cost"
	awk -v ac="$ac" -v aw="$aw" -v bc="$bc" -v bw="$bw" -v l="$less" \
	    -v t="$3" 'BEGIN { printf "  %-44s CPU %5.2f  wall %5.2f\n", t,
	    (ac - l) / bc, aw / bw }'
}

i=0
while [ $i -lt "$count" ]; do
	i=$((i + 1))
	head -c $((kib * 1024)) /dev/urandom >"$T/src/$(printf 'o%05d.tar' $i)"
done
echo "$count objects of $kib KiB, the least of $runs runs"
echo "$(du -sk "$T/src" | awk '{ printf "%d MiB", $1 / 1024 }') in all," \
    "$(nproc) processors"
measure sha256 : sh -c 'openssl dgst -sha256 -r "$1"/src/* >/dev/null' - "$T"

if ! "$SRC/tests/real/lighttpd.sh" "$T/web" 2>"$T/err"; then
	echo "no lighttpd: $(tail -1 "$T/err")"
else
	U=$(cat "$T/web/url")
	root=$T/web/root
	mkdir -p "$root/o"
	ln "$T"/src/* "$root/o/" 2>/dev/null || cp "$T"/src/* "$root/o/"
	for f in "$T"/src/*; do
		echo "$U/o/${f##*/}"
	done >"$T/plan"
	awk -v o="$T/out" '{ n = $0; sub(/.*\//, "", n)
	    printf "url = \"%s\"\noutput = \"%s/%s\"\n", $0, o, n }' \
	    "$T/plan" >"$T/curl.conf"
	echo
	echo "http, from lighttpd:"
	measure dfetch-http : sh -c 'dfetch -P 16 -f "$1" >/dev/null' - \
	    "$T/plan"
	measure curl-http : curl -sS --parallel --parallel-max 16 -K \
	    "$T/curl.conf"
	ratio dfetch-http curl-http "dfetch against curl"
	ratio dfetch-http curl-http "the same, its SHA-256 taken off" sha256
fi

if ! "$SRC/tests/real/rgw.sh" "$T/rgw" 2>"$T/err"; then
	echo "no Ceph gateway: $(tail -1 "$T/err")"
	exit 0
fi
AWS_ENDPOINT_URL=$(cat "$T/rgw/url")
export AWS_ENDPOINT_URL
cat >"$T/rclone.conf" <<CONF
[r]
type = s3
provider = Ceph
access_key_id = testkey
secret_access_key = testsecret
endpoint = $AWS_ENDPOINT_URL
CONF
RC="rclone --config $T/rclone.conf -q --transfers 16 --checkers 16"
s3do make s3://bucket >/dev/null
echo
echo "S3, from and to Ceph:"
env -u AWS_CA_BUNDLE $RC copy "$T/src" r:bucket/o
measure dfetch-s3 : sh -c 'dfetch -P 16 s3://bucket/o/ >/dev/null'
measure rclone-down : env -u AWS_CA_BUNDLE $RC copy r:bucket/o "$T/out"
ratio dfetch-s3 rclone-down "dfetch against rclone"

mkdir "$T/one"
"$GEN/gendelta" --out "$T/one" --count 1 --records 20000 --dim 2048 >/dev/null
mkdir "$T/hold"
drun "dfetch $T/one | dcheck | dmerge -o $T/hold/store" >/dev/null
echo "upload of one store of $(du -sm "$T/hold/store" | cut -f1) MiB:"
measure s3tree-send 's3cmd -c /dev/null --no-ssl --host=${AWS_ENDPOINT_URL#http://} --host-bucket=x --access_key=testkey --secret_key=testsecret del -r --force s3://bucket/up >/dev/null 2>&1 || :' \
    sh -c 's3tree send s3://bucket/up/ "$1" >/dev/null' - "$T/hold/store"
measure rclone-up 's3cmd -c /dev/null --no-ssl --host=${AWS_ENDPOINT_URL#http://} --host-bucket=x --access_key=testkey --secret_key=testsecret del -r --force s3://bucket/up >/dev/null 2>&1 || :' \
    env -u AWS_CA_BUNDLE $RC copy "$T/hold/store" r:bucket/up
ratio s3tree-send rclone-up "s3_send (dpublish's uploads) against rclone"

echo
echo "memory, as one object grows:"
for mib in 64 256 1024; do
	head -c $((mib << 20)) /dev/urandom >"$T/big"
	env -u AWS_CA_BUNDLE $RC copyto "$T/big" r:bucket/big/$mib.tar
	runs=1
	measure "fetch-$mib-MiB" : sh -c \
	    'dfetch "$1" >/dev/null' - "s3://bucket/big/$mib.tar"
	rm -rf "$T/out"
	mkdir "$T/out"
	mv "$T/big" "$T/out.big"
	mkdir -p "$T/bigdir"
	mv "$T/out.big" "$T/bigdir/big"
	measure "send-$mib-MiB" : sh -c 's3tree send "$1" "$2" >/dev/null' \
	    - "s3://bucket/sent$mib/" "$T/bigdir"
	s3cmd -c /dev/null --no-ssl --host="${AWS_ENDPOINT_URL#http://}" \
	    --host-bucket=x --access_key=testkey --secret_key=testsecret \
	    del -r --force "s3://bucket/sent$mib/" "s3://bucket/big/" \
	    >/dev/null 2>&1 || :
done
