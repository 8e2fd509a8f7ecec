#!/bin/sh
# fetch.sh [COUNT [KIB]]: dfetch of COUNT objects of KIB each over http from
# loopback, against curl --parallel of the same and the SHA-256 of what it
# brought; the three take turns, RUNS (7) of each, and the medians of the
# client's CPU are compared.  The server's CPU is not counted.
#
# Nothing here passes or fails.  Needs curl, openssl, lighttpd, and
# build/gen (make gens); remote.sh has S3, uploads and memory.
# SPDX-License-Identifier: ISC
set -eu
LC_ALL=C
export LC_ALL
SRC=$(cd "$(dirname "$0")/../.." && pwd)
BIN=$(cd "${BIN:-$SRC/build/bin}" && pwd)
GEN=$(cd "${GEN:-$SRC/build/gen}" && pwd)
count=${1:-200} kib=${2:-1100} runs=${RUNS:-7}
unset DRUN_ID DCKPT_DB DTRACE DSTAGE http_proxy https_proxy all_proxy || :
T=$(mktemp -d "${TMPDIR:-/var/tmp}/intact-bench.XXXXXX")
down() {
	"$SRC/tests/real/down.sh" "$T/web" 2>/dev/null || :
	rm -rf "$T"
}
trap down EXIT
trap 'exit 1' HUP INT TERM
PATH=$BIN:$GEN:$PATH
"$SRC/tests/real/lighttpd.sh" "$T/web" 2>"$T/err" || {
	echo "no lighttpd: $(tail -1 "$T/err")"
	exit 0
}
url=$(cat "$T/web/url")
mkdir "$T/web/root/o"
i=0
while [ "$i" -lt "$count" ]; do
	i=$((i + 1))
	n=$(printf 'o%05d.tar' "$i")
	head -c $((kib * 1024)) /dev/urandom >"$T/web/root/o/$n"
	echo "$url/o/$n" >>"$T/plan"
	printf 'url = "%s"\noutput = "%s"\n' "$url/o/$n" "$T/out/$n" \
	    >>"$T/curl.conf"
done
i=0
while [ "$i" -lt "$runs" ]; do
	i=$((i + 1))
	rm -rf "$T/out" "$T/tmp" "$T/cache"
	mkdir "$T/out" "$T/tmp"
	TMPDIR=$T/tmp DCACHE=$T/cache spent "$T/dfetch" \
	    dfetch -P 16 -f "$T/plan" >"$T/stream"
	spent "$T/curl" curl -sS --parallel --parallel-max 16 \
	    -K "$T/curl.conf" 2>"$T/err"
	spent "$T/sha256" openssl dgst -sha256 "$T"/out/* >"$T/sums"
	[ "$(wc -l <"$T/sums")" -eq "$count" ]
done
median() { cut -d' ' -f"$2" "$T/$1" | sort -n |
    awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
echo "$count objects of $kib KiB over http, medians of $runs runs;" \
    "$(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg)"
for c in dfetch curl sha256; do
	echo "$c $(median $c 1) $(median $c 2) $(median $c 3)"
done | awk '{ printf "%-8s %7.3f s cpu %7.3f s wall %7d KiB\n", $1, $2, $3,
	$4; c[$1] = $2 }
    END { printf "dfetch / (curl + sha256): cpu %.2f\n",
	c["dfetch"] / (c["curl"] + c["sha256"]) }'
