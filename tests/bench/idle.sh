#!/bin/sh
# idle.sh [RECORDS [DIM]]: a run that has nothing to do, onto a snapshot in
# S3 (Ceph's gateway on loopback): what it costs, and which bytes come.
#
# In turns with "whole": the same pipeline, whose last stage stands in braces,
# so that drun cannot say that nobody wants the snapshot's files, and all of
# it comes, as it does for a run with something new.  RUNS (5) of each, the
# medians.  Bytes and requests are those of the proxy before the server.
# Needs Ceph (contrib/deps.sh s3), python3 and build/gen (make gens).
# SPDX-License-Identifier: ISC
set -eu
LC_ALL=C
export LC_ALL
SRC=$(cd "$(dirname "$0")/../.." && pwd)
BIN=$(cd "${BIN:-$SRC/build/bin}" && pwd)
GEN=$(cd "${GEN:-$SRC/build/gen}" && pwd)
records=${1:-20000} dim=${2:-1536} runs=${RUNS:-5}
unset DSTAGE DRUN_ID DCKPT_DB DTRACE || :
T=$(mktemp -d "${TMPDIR:-/var/tmp}/intact-bench.XXXXXX")
. "$SRC/tests/real/s3lib.sh"
trap 's3_down; rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$T/tmp"
TMPDIR=$T/tmp DCACHE=$T/cache PATH=$BIN:$GEN:$PATH
export TMPDIR DCACHE
cd "$T"
s3_rgw || { echo "$why" >&2; exit 69; }
fault_up '' "$RGW"
export AWS_ENDPOINT_URL=$PROXY
s3do make s3://bucket
gendelta --out in --count 1 --records "$records" --dim "$dim" >out
P='dfetch -B s3://bucket/t in | dcheck | dmerge'
drun "$P | dpublish s3://bucket/t" >out </dev/null

# once NAME PIPELINE
once() {
	fault
	spent "$1" drun "$2" >out </dev/null
	echo "$(moved) $(asked)" >>"$1.moved"
}
i=0
while [ $i -lt "$runs" ]; do
	i=$((i + 1))
	once idle "$P | dpublish s3://bucket/t"
	once whole "$P | { dpublish s3://bucket/t; }"
done
# median FILE COLUMN
median() { sort -n -k "$2" "$1" | awk -v c="$2" '{ v[NR] = $c }
    END { print v[int((NR + 1) / 2)] }'; }
echo "$records records x $dim, medians of $runs runs"
for c in idle whole; do
	printf '%-6s %10d bytes %4d requests %6.3f s cpu %6.3f s wall\n' $c \
	    "$(median $c.moved 1)" "$(median $c.moved 2)" "$(median $c 1)" \
	    "$(median $c 2)"
done
