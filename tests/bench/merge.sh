#!/bin/sh
# merge.sh [COUNT [RECORDS [DIM]]]: dmerge against the sqlite3 shell doing
# the same by ATTACH, and against cp of the same bytes, in one run.
#
# Prints CPU seconds, wall seconds and peak RSS of each, RUNS (5) of which
# take turns, rows per CPU second, and ratios.  The
# shell is as fast as it can be told to be, and does less: it digests no
# record, neither digests nor reopens what it wrote, and does not sort.  The
# row sha256 is the floor of those digests alone: the store's bytes twice,
# once as records and once as a file.  Needs the sqlite3 and openssl shells,
# flock, and gendelta and spent (make gens).
# SPDX-License-Identifier: ISC
set -eu
LC_ALL=C
export LC_ALL
SRC=$(cd "$(dirname "$0")/../.." && pwd)
BIN=${BIN:-$SRC/build/bin}
GEN=${GEN:-$SRC/build/gen}
count=${1:-400} records=${2:-100} dim=${3:-1536} runs=${RUNS:-5}
unset DRUN_ID DCKPT_DB DTRACE || :

T=$(mktemp -d "${TMPDIR:-/var/tmp}/intact-bench.XXXXXX")
trap 'kill $holder 2>/dev/null; rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM
holder=

mkdir "$T/d" "$T/tmp"
TMPDIR=$T/tmp DCACHE=$T/cache
export TMPDIR DCACHE
"$GEN/gendelta" --out "$T/d" --count "$count" --records "$records" \
    --dim "$dim"

# one staging, held alive, so that dmerge alone can be run again and again
DSTAGE=$T/tmp/intact.bench
export DSTAGE
mkdir -m 700 "$DSTAGE"
: >"$DSTAGE/lock"
flock -sF "$DSTAGE/lock" sleep 3600 &
holder=$!
"$BIN/dfetch" "$T/d" | "$BIN/dcheck" >"$T/stream"

"$SRC/tests/bench/attach.sh" "$T"/d/* >"$T/shell.sql"

# each is a script of one line; they take turns
echo "exec '$BIN/dmerge' -o '$T/out' <'$T/stream' >/dev/null" >"$T/dmerge.sh"
echo "exec sqlite3 '$T/out.db' <'$T/shell.sql' >/dev/null" >"$T/sqlite3.sh"
echo "exec cp '$T/copy' '$T/out.db'" >"$T/cp.sh"
echo "exec openssl dgst -sha256 '$T/copy' '$T/copy' >/dev/null" \
    >"$T/sha256.sh"
i=0
while [ $i -lt "$runs" ]; do
	i=$((i + 1))
	for name in dmerge sqlite3 cp sha256; do
		rm -rf "$T/out" "$T/out.db"
		"$GEN/spent" "$T/$name.cost" sh "$T/$name.sh"
		case $name in
		dmerge)
			mv "$T/out/store.sqlite3" "$T/copy" ;;
		sqlite3)
			mv "$T/out.db" "$T/theirs" ;;
		esac
	done
done
sqlite3 "$T/theirs" 'SELECT count(*), sum(length(embedding)) FROM record' \
    >"$T/shell.count"
sqlite3 "$T/copy" 'SELECT count(*), sum(length(embedding)) FROM records' \
    >"$T/our.count"
cmp "$T/shell.count" "$T/our.count"
# of column COLUMN of what NAME cost
median() { cut -d' ' -f"$2" "$T/$1.cost" | sort -n |
    awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
for name in dmerge sqlite3 cp sha256; do
	echo "$name $(median $name 1) $(median $name 2) $(median $name 3)"
done >"$T/table"

echo "merge of $count deltas x $records records x $dim," \
    "medians of $runs runs in turns; store $(wc -c <"$T/copy") bytes;" \
    "$(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg)"
awk -v rows="$((count * records))" '
{ cpu[$1] = $2; wall[$1] = $3; rss[$1] = $4
  printf "%-8s %6.3f s cpu %6.3f s wall %7d KiB\n", $1, $2, $3, $4 }
END {
  printf "rows per CPU second: dmerge %d, sqlite3 %d\n",
      rows / cpu["dmerge"], rows / cpu["sqlite3"]
  printf "dmerge / sqlite3: cpu %.2f wall %.2f\n",
      cpu["dmerge"] / cpu["sqlite3"], wall["dmerge"] / wall["sqlite3"]
  printf "dmerge / (sqlite3 + sha256): cpu %.2f\n",
      cpu["dmerge"] / (cpu["sqlite3"] + cpu["sha256"])
  printf "dmerge / (cp + sha256): cpu %.2f\n",
      cpu["dmerge"] / (cpu["cp"] + cpu["sha256"])
  printf "dmerge / cp:      cpu %.1f wall %.1f\n",
      cpu["dmerge"] / (cpu["cp"] > 0 ? cpu["cp"] : 0.01),
      wall["dmerge"] / (wall["cp"] > 0 ? wall["cp"] : 0.01)
}' "$T/table"
