#!/bin/sh
# run.sh [TARGET...]: libFuzzer on each target (all), FUZZ_S (60) seconds
# each; what it finds stays in B/found, its corpus in B/corpus.  A table of
# executions and coverage at the end; exit 1 where something was found.
# SPDX-License-Identifier: ISC
set -u
LC_ALL=C
export LC_ALL
SRC=$(cd "$(dirname "$0")/../.." && pwd)
B=$(cd "${B:-$SRC/build/fuzz}" && pwd) || exit 66
BIN=${BIN:-$SRC/build/bin}
export BIN
[ $# != 0 ] || set -- stream record json plan xml s3list davlist manifest \
    journal commit sign cred pickle hnsw archive batch join chroma sql store \
    ledger
mkdir -p "$B/corpus" "$B/found"
"$SRC/tests/fuzz/seeds.sh" "$B/seeds" || exit 70
cd "$SRC" || exit 66
ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=1
UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export ASAN_OPTIONS UBSAN_OPTIONS
bad=0
for t; do
	mkdir -p "$B/corpus/$t"
	max=65536 limit=10
	case $t in
	chroma | store | ledger) max=400000 ;;
	archive) max=300000 ;;
	hnsw) max=131072 ;;
	esac
	FUZZ=$t "$B/fuzzer" -max_total_time="${FUZZ_S:-60}" -max_len=$max \
	    -timeout=$limit -rss_limit_mb=2048 -print_final_stats=1 \
	    -artifact_prefix="$B/found/$t-" "$B/corpus/$t" "$B/seeds/$t" \
	    >"$B/$t.log" 2>&1 || {
		bad=1
		grep -E 'SUMMARY|ERROR|runtime error|fuzz:' "$B/$t.log" | head -3
	}
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$B/$t.log")
	cov=$(grep -Eo 'cov: [0-9]+ ft: [0-9]+ corp: [0-9]+' "$B/$t.log" | tail -1)
	rss=$(sed -n 's/^stat::peak_rss_mb: *//p' "$B/$t.log")
	line=$(printf '%-9s %10s runs  %-36s %s MiB' "$t" "${runs:-?}" "$cov" \
	    "${rss:-?}")
	echo "$line"
done
ls "$B/found" | sed "s|^|found: $B/found/|"
exit $bad
