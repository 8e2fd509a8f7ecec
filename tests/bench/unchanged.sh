#!/bin/sh
# unchanged.sh [COUNT]: a run whose COUNT (10000) inputs are all published
# already, against find -newer over the same inputs, which only looks at
# them, too.  Prints CPU, wall and peak RSS of the medians of RUNS (5), and
# how often an input was read, or the snapshot.  Needs strace, python3, and
# build/gen (make gens).
# SPDX-License-Identifier: ISC
set -eu
LC_ALL=C
export LC_ALL
SRC=$(cd "$(dirname "$0")/../.." && pwd)
BIN=$(cd "${BIN:-$SRC/build/bin}" && pwd)
GEN=$(cd "${GEN:-$SRC/build/gen}" && pwd)
count=${1:-10000} runs=${RUNS:-5}
PATH=$BIN:$GEN:$PATH
unset DSTAGE DRUN_ID DCKPT_DB DTRACE || :
T=$(mktemp -d "${TMPDIR:-/var/tmp}/intact-bench.XXXXXX")
trap 'rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$T/in" "$T/tmp"
TMPDIR=$T/tmp DCACHE=$T/cache
export PATH TMPDIR DCACHE
cd "$T"

# one record each: what is counted is inputs
python3 - "$count" <<'P'
import json, sys
for i in range(int(sys.argv[1])):
    with open("in/%06d.jsonl" % i, "w") as f:
        json.dump({"custom_id": "id%d" % i, "response": {"status_code": 200,
            "body": {"model": "m", "data": [{"embedding": [1.0, i / 7]}]}}}, f)
        f.write("\n")
P
LINE='dfetch -B t in | dcheck | dmerge | dpublish t'
drun "$LINE" >out </dev/null
touch mark
i=0
while [ $i -lt "$runs" ]; do
	i=$((i + 1))
	spent intact drun "$LINE" >out </dev/null
	spent find find in -newer mark >out
done
strace -f -qq -y -e trace=read,pread64,mmap -o trace drun "$LINE" >out \
    </dev/null
# median FILE COLUMN
median() { sort -n -k "$2" "$1" | awk -v c="$2" '{ v[NR] = $c }
    END { print v[int((NR + 1) / 2)] }'; }
for c in intact find; do
	printf '%-8s %6.3f s cpu %6.3f s wall %6d KiB\n' $c \
	    "$(median $c 1)" "$(median $c 2)" "$(median $c 3)"
done
awk -v a="$(median intact 2)" -v b="$(median find 2)" -v n="$count" \
    'BEGIN { printf "ratio    %6.1f of the wall of find; %.3f s for 10,000 inputs\n", a / b, a / n * 10000 }'
echo "read     $(grep -c "<$T/in/[^>]*\\.jsonl>" trace || :) calls that read an input"
echo "read     $(grep -c '/store\.sqlite3>' trace || :) calls that read the snapshot"
