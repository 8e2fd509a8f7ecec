#!/bin/sh
# start.sh [ROUNDS [STARTS]]: what it costs to start each program, against
# /bin/true, in one run: STARTS (50) times PROGRAM --version, ROUNDS (7)
# times, one after the other; the medians of the rounds, for one start.
#
# Nothing here passes or fails.  Needs perl.
# SPDX-License-Identifier: ISC
set -eu
LC_ALL=C
export LC_ALL
SRC=$(cd "$(dirname "$0")/../.." && pwd)
BIN=$(cd "${BIN:-$SRC/build/bin}" && pwd)
rounds=${1:-7} starts=${2:-50}
unset DSTAGE DRUN_ID DCKPT_DB DTRACE || :
T=$(mktemp -d "${TMPDIR:-/var/tmp}/intact-bench.XXXXXX")
trap 'rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM

# one process starts them all, so that a shell's forks are not in it
cat >"$T/starts.pl" <<'P'
use strict; use warnings; use Time::HiRes qw(time);
my $n = shift;
open STDOUT, '>', '/dev/null' or die;
my $wall = time;
for (1 .. $n) {
	my $pid = fork // die;
	if (!$pid) { exec @ARGV or die "$ARGV[0]: $!\n" }
	waitpid $pid, 0;
	die "$ARGV[0]: $?\n" if $?;
}
$wall = time - $wall;
my @t = times;
printf STDERR "%.3f %.3f\n", 1000 * ($t[2] + $t[3]) / $n, 1000 * $wall / $n;
P

programs='dfetch dcheck dmerge dpublish dckpt drun'
i=0
while [ "$i" -lt "$rounds" ]; do
	i=$((i + 1))
	perl "$T/starts.pl" "$starts" /bin/true 2>>"$T/true"
	for p in $programs; do
		perl "$T/starts.pl" "$starts" "$BIN/$p" --version 2>>"$T/$p"
	done
done
median() { cut -d' ' -f"$2" "$T/$1" | sort -n |
    awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
echo "one start, medians of $rounds rounds of $starts;" \
    "$(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg)"
echo "            cpu ms  wall ms  / true (cpu)"
for p in true $programs; do
	echo "$p $(median "$p" 1) $(median "$p" 2) $(median true 1)"
done | awk '{ printf "%-10s %7.2f  %7.2f  %6.1f\n", $1, $2, $3, $2 / $4 }'
