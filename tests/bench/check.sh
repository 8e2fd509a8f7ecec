#!/bin/sh
# check.sh [RECORDS [DIM]]: dcheck of one large delta against what any check
# of it costs: PRAGMA quick_check by the sqlite3 shell, and the SHA-256 of
# the same bytes; a ChromaDB delta, and a store of ours.
#
# The runs take turns, RUNS (5) of each; the medians of CPU, wall and the
# largest process.  dcheck does more: every record is read and digested (a
# second SHA-256 of about as many bytes), indexes are held against their
# tables, vectors looked at for NaN.  "floor" is quick_check and SHA-256;
# "twice" has the record digests in it, too.  Verdicts are not cached.
# Needs the sqlite3 and openssl shells, flock, and build/gen (make gens).
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
holder=
trap 'kill $holder 2>/dev/null; rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$T/tmp"
TMPDIR=$T/tmp DCACHE=$T/cache PATH=$BIN:$GEN:$PATH
export TMPDIR DCACHE
cd "$T"
gendelta --out delta --count 1 --records "$records" --dim "$dim"
drun 'dfetch delta | dcheck | dmerge -o ours' >out </dev/null

# one staging, held alive, so that dcheck alone can be run again and again
DSTAGE=$T/tmp/intact.bench
export DSTAGE
mkdir -m 700 "$DSTAGE"
: >"$DSTAGE/lock"
flock -sF "$DSTAGE/lock" sleep 3600 &
holder=$!
dfetch delta >delta.stream
dfetch ours >ours.stream

# of column COLUMN of FILE
median() { cut -d' ' -f"$2" "$1" | sort -n |
    awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
measure() {
	files=$(find "$1" -type f)
	db=$(find "$1" -name '*.sqlite3')
	cat $files >/dev/null
	i=0
	while [ "$i" -lt "$runs" ]; do
		i=$((i + 1))
		rm -rf cache
		spent "$1.dcheck" sh -c 'exec dcheck <"$1" >out' - "$1.stream"
		spent "$1.quick" sqlite3 -readonly "$db" \
		    'PRAGMA quick_check' >out
		grep -qx ok out
		spent "$1.sha" openssl dgst -sha256 $files >out
	done
	echo "$1: $records records x $dim, $(cat $files | wc -c) bytes," \
	    "medians of $runs runs, load $(cut -d' ' -f1 /proc/loadavg)"
	for c in dcheck quick sha; do
		echo "$c $(median "$1.$c" 1) $(median "$1.$c" 2)" \
		    "$(median "$1.$c" 3)"
	done | awk '{ printf "  %-8s %6.3f s cpu %6.3f s wall %7d KiB\n", $1,
		$2, $3, $4; cpu[$1] = $2 }
	    END { f = cpu["quick"] + cpu["sha"]
		printf "  cpu: %.2f x floor, %.2f x twice\n",
		cpu["dcheck"] / f, cpu["dcheck"] / (f + cpu["sha"]) }'
}
measure delta
measure ours
