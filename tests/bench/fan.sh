#!/bin/sh
# fan.sh [COUNT [RECORDS [DIM]]]: a whole run, from deltas on disk to a
# published snapshot, and how it grows: COUNT ChromaDB deltas of 27 to 300
# records, RECORDS in all, and the first 11, 25 and 50 in a hundred of them.
#
# Prints CPU seconds of all processes, wall seconds, and the largest
# resident set of any, the least of RUNS (3); of the whole, what each
# program took and when each stage ended; one delta more, onto what was
# published; the same plan in chunks of 25, a pipeline each, and merged; and
# the floors that no such run can go below, in the same minutes: the SHA-256
# of the inputs' bytes, a copy of them, and the merge alone by the sqlite3
# shell, which checks nothing.
# Nothing here passes or fails.  The inputs are in the page cache, if they
# fit; caches of verdicts are cold.  Needs the sqlite3 and openssl shells,
# jq, and gendelta and spent (make gens).
# SPDX-License-Identifier: ISC
set -eu
LC_ALL=C
export LC_ALL
SRC=$(cd "$(dirname "$0")/../.." && pwd)
BIN=$(cd "${BIN:-$SRC/build/bin}" && pwd)
GEN=$(cd "${GEN:-$SRC/build/gen}" && pwd)
count=${1:-459} records=${2:-62455} dim=${3:-1536} runs=${RUNS:-3}
unset DSTAGE DRUN_ID DCKPT_DB DTRACE || :
T=$(mktemp -d "${TMPDIR:-/var/tmp}/intact-bench.XXXXXX")
trap 'rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM
TMPDIR=$T/tmp DCACHE=$T/cache PATH=$BIN:$GEN:$PATH
export TMPDIR DCACHE
cd "$T"

# index, records, first id and time of each delta: few are large, and the
# sum is what was asked for
awk -v n="$count" -v want="$records" 'BEGIN {
	lo = 27; hi = 300
	if (want < n * lo || want > n * hi) {
		print "fan.sh: 27 to 300 records a delta" >"/dev/stderr"
		exit 64
	}
	for (i = 0; i < n; i++) {
		seed = (seed * 1103515245 + 12345) % 2147483648
		u = seed / 2147483648
		sum += r[i] = lo + int((hi - lo + 1) * u * sqrt(u))
	}
	for (i = 0; sum != want; i = (i + 1) % n) {
		step = sum < want ? 1 : -1
		if (r[i] + step < lo || r[i] + step > hi)
			continue
		r[i] += step
		sum += step
	}
	for (i = 0; i < n; i++) {
		printf "%04d %d %d %d\n", i, r[i], start, 1760000000 + i
		start += r[i]
	}
}' >sizes
mkdir all wrap
while read -r i r start time; do
	gendelta --out "all/delta-$i" --records "$r" --start "$start" \
	    --dim "$dim" --time "$time"
done <sizes

# least FILE: CPU and wall of the quickest run, and the largest memory
least() {
	awk 'NR == 1 || $1 < c { c = $1 } NR == 1 || $2 < w { w = $2 }
	    $3 > r { r = $3 } END { print c, w, r }' "$1"
}
fresh() {
	rm -rf tmp cache target copy
	mkdir tmp
}
# pipeline IN [PATH]: from nothing to a published snapshot
pipeline() {
	fresh
	PATH=${2:-}$PATH spent "$1.cost" drun --summary "$1.json" \
	    "dfetch -B target $1 | dcheck | dmerge | dpublish target" \
	    >out 2>err || {
		cat err >&2
		exit 1
	}
	[ "$(sqlite3 target/timestamped/*/store.sqlite3 \
	    'SELECT count(*) FROM records')" = "$(awk -v n="${1#d}" \
	    'NR <= n { s += $2 } END { print s }' sizes)" ]
}
# floor NAME COMMAND...
floor() {
	name=$1; shift
	i=0
	while [ $i -lt "$runs" ]; do
		i=$((i + 1))
		fresh
		spent "$name.cost" "$@" >out 2>&1
	done
}

echo "$count deltas, $records records x $dim, $(du -sm all | cut -f1) MiB;" \
    "$(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg);" \
    "the least of $runs runs"
echo "  deltas records    MiB   cpu s  wall s  largest process"
for part in 11 25 50 100; do
	n=$(((count * part + 50) / 100))
	mkdir "d$n"
	for d in $(find all -mindepth 1 -maxdepth 1 | sort | head -n $n); do
		mkdir "d$n/${d#*/}"
		ln "$d"/* "d$n/${d#*/}/"
		touch -r "$d" "d$n/${d#*/}"
	done
	cat "d$n"/*/* >/dev/null
	i=0
	while [ $i -lt "$runs" ]; do
		i=$((i + 1))
		pipeline "d$n"
	done
	least "d$n.cost" | { read -r cpu wall rss
	printf '%8d %7d %6d %7.2f %7.2f %9d KiB\n' $n \
	    "$(awk -v n=$n 'NR <= n { s += $2 } END { print s }' sizes)" \
	    "$(du -sm "d$n" | cut -f1)" "$cpu" "$wall" "$rss"; }
done

echo "when each stage of the quickest run of $count had ended, in seconds:"
jq -rs 'min_by(.seconds) | (.stages[] | "\(.command)\t\(.seconds)"),
    "commit\t\(.seconds)"' "d$count.json" |
    awk -F '\t' '{ printf "  %-20s %7.2f\n", $1, $2 }'

# each program by itself, in a run of its own: what it and its workers take
for p in dfetch dcheck dmerge dpublish; do
	printf '#!/bin/sh\nexec spent "%s" "%s" "$@"\n' "$T/$p.each" \
	    "$BIN/$p" >"wrap/$p"
	chmod +x "wrap/$p"
done
mv "d$count.cost" whole.cost
pipeline "d$count" "$T/wrap:"
echo "each program, with its workers:"
for p in dfetch dcheck dmerge dpublish; do
	[ ! -s $p.each ] || least $p.each | { read -r cpu wall rss
	printf '  %-20s %7.2f s cpu %9d KiB\n' $p "$cpu" "$rss"; }
done

# one delta more onto the snapshot; and then nothing to do
i=$runs
gendelta --out more --records 136 --start "$records" --dim "$dim" \
    --time 1770000000
mkdir base
cp -R target base/
while [ "$i" -gt 0 ]; do
	i=$((i - 1))
	fresh
	cp -R base/target target
	for name in more again; do
		spent $name.cost drun 'dfetch -b target more | dcheck | dmerge |
		    dpublish target' >out 2>err || cat err >&2
	done
done
row() {
	least "$1.cost" | { read -r cpu wall rss
	printf '  %-48s %7.2f s cpu %7.2f s wall %9d KiB\n' "$2" "$cpu" "$wall" \
	    "$rss"; }
}
row more "one delta of 136 more, onto that"
row again "the same again: nothing to do"

# the plan in chunks, as many pipelines at once as there are processors
P=$(nproc) PATH=$PATH:$SRC/examples
export P
i=$runs
while [ "$i" -gt 0 ]; do
	i=$((i - 1))
	fresh
	rm -rf work parts
	mkdir work
	# shellcheck disable=SC2016 # the inner shell's
	spent fan.cost sh -ec 'dfetch -l all >work/plan
	    chunks.sh work "$PWD/parts"
	    for l in work/level.*; do
		xargs -P "$P" -I@ chunk.sh work/@.plan "$PWD/parts" <"$l"
	    done
	    reduce.sh work target' >out 2>err || {
		cat err >&2
		exit 1
	}
	sqlite3 target/timestamped/*/store.sqlite3 \
	    'SELECT count(*) FROM records' | grep -qx "$records"
done
row fan "in $(sort -u work/level.* | wc -l) chunks and groups, $P at once"

floor sha256 sh -c 'openssl dgst -sha256 all/*/* >/dev/null'
floor cp cp -R all copy
"$SRC/tests/bench/attach.sh" all/* >shell.sql
floor sqlite3 sh -c 'exec sqlite3 copy <shell.sql'
echo "floors, and the run as a multiple of them:"
least whole.cost >whole
for f in sha256 cp sqlite3; do
	least $f.cost | paste -d' ' - whole | awk -v f=$f '{
	    printf "  %-20s %7.2f s cpu %7.2f s wall  x %5.1f cpu %5.1f wall\n",
	    f, $1, $2, $4 / ($1 > 0 ? $1 : .001), $5 / ($2 > 0 ? $2 : .001) }'
done
