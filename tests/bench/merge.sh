#!/bin/sh
# merge.sh [COUNT [RECORDS [DIM]]]: dmerge against the sqlite3 shell doing
# the same by ATTACH, and against cp of the same bytes, in one run.
#
# Prints CPU seconds, wall seconds and peak RSS of each, and ratios.  The
# shell is as fast as it can be told to be, and does less: it digests no
# record, neither digests nor reopens what it wrote, and does not sort.  The
# row sha256 is the floor of those digests alone: the store's bytes twice,
# once as records and once as a file.  Needs the sqlite3 and openssl shells,
# perl, flock, and build/gen/gendelta (make gens).
# SPDX-License-Identifier: ISC
set -eu
LC_ALL=C
export LC_ALL
SRC=$(cd "$(dirname "$0")/../.." && pwd)
BIN=${BIN:-$SRC/build/bin}
GEN=${GEN:-$SRC/build/gen}
count=${1:-400} records=${2:-100} dim=${3:-1536} runs=${RUNS:-3}
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
flock -s "$DSTAGE/lock" sleep 3600 &
holder=$!
"$BIN/dfetch" "$T/d" | "$BIN/dcheck" >"$T/stream"

"$SRC/tests/bench/attach.sh" "$T"/d/* >"$T/shell.sql"

# cpu, wall, peak RSS in KiB of a command and its children
cat >"$T/time.pl" <<'P'
use strict; use warnings; use Time::HiRes qw(time); use POSIX ();
my $t = time;
my $pid = fork // die;
if (!$pid) { exec @ARGV or die "$ARGV[0]: $!" }
# the largest resident set of any process below, sampled: GNU time is not
# everywhere
my $rss = 0;
while (waitpid($pid, POSIX::WNOHANG()) == 0) {
	for my $f (glob '/proc/[0-9]*/status') {
		open my $h, '<', $f or next;
		my ($pp, $hwm) = (0, 0);
		while (<$h>) {
			$pp = $1 if /^PPid:\s+(\d+)/;
			$hwm = $1 if /^VmHWM:\s+(\d+)/;
		}
		my ($p) = $f =~ m{/(\d+)/};
		$rss = $hwm if ($p == $pid || $pp == $pid) && $hwm > $rss;
	}
	select undef, undef, undef, 0.02;
}
my $st = $?;
my (undef, undef, $cu, $cs) = times;
printf "%.2f %.2f %d\n", $cu + $cs, time - $t, $rss;
exit($st ? 1 : 0);
P

# name command...: cpu wall rss of the median run by CPU
row() {
	name=$1
	shift
	: >"$T/times"
	i=0
	while [ $i -lt "$runs" ]; do
		rm -rf "$T/out" "$T/out.db"
		perl "$T/time.pl" "$@" >>"$T/times"
		i=$((i + 1))
	done
	sort -n "$T/times" | awk -v n="$runs" -v name="$name" \
	    'NR == int((n + 1) / 2) { print name, $1, $2, $3 }' >>"$T/table"
}

: >"$T/table"
# each is a script of one line
echo "exec '$BIN/dmerge' -o '$T/out' <'$T/stream' >/dev/null" >"$T/m.sh"
echo "exec sqlite3 '$T/out.db' <'$T/shell.sql' >/dev/null" >"$T/s.sh"
echo "exec cp '$T/copy' '$T/out.db'" >"$T/c.sh"
row dmerge sh "$T/m.sh"
cp "$T/out/store.sqlite3" "$T/copy"
row sqlite3 sh "$T/s.sh"
sqlite3 "$T/out.db" 'SELECT count(*), sum(length(embedding)) FROM record' \
    >"$T/shell.count"
sqlite3 "$T/copy" 'SELECT count(*), sum(length(embedding)) FROM records' \
    >"$T/our.count"
cmp "$T/shell.count" "$T/our.count"
row cp sh "$T/c.sh"
echo "exec openssl dgst -sha256 '$T/copy' '$T/copy' >/dev/null" >"$T/h.sh"
row sha256 sh "$T/h.sh"

echo "merge of $count deltas x $records records x $dim," \
    "median of $runs runs; store $(wc -c <"$T/copy") bytes"
awk '
{ cpu[$1] = $2; wall[$1] = $3; rss[$1] = $4
  printf "%-8s %6.2f s cpu %6.2f s wall %7d KiB\n", $1, $2, $3, $4 }
END {
  printf "dmerge / sqlite3: cpu %.2f wall %.2f\n",
      cpu["dmerge"] / cpu["sqlite3"], wall["dmerge"] / wall["sqlite3"]
  printf "dmerge / (sqlite3 + sha256): cpu %.2f\n",
      cpu["dmerge"] / (cpu["sqlite3"] + cpu["sha256"])
  printf "dmerge / cp:      cpu %.1f wall %.1f\n",
      cpu["dmerge"] / (cpu["cp"] > 0 ? cpu["cp"] : 0.01),
      wall["dmerge"] / (wall["cp"] > 0 ? wall["cp"] : 0.01)
}' "$T/table"
