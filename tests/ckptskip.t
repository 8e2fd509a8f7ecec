#!/bin/sh
# ckptskip.t: what the base holds is never begun: whatever kills the run, and
# whenever, it is completed as before, and nobody's to mend.
. "$(dirname "$0")/lib.sh"
plan 10
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export ASAN_OPTIONS
"$GEN/gendelta" --out deltas --count 4 --records 5 --dim 8 --seed 1
run_() { drun "dfetch -c db -B S deltas | dcheck -c db | dmerge |
    dpublish -c db --json S" >out 2>err; }
states() {
	dckpt -c db list --json | sed -n \
	    's/.*"scope":"input".*"state":"\([a-z_]*\)".*/\1/p' | sort | uniq -c |
	    sed 's/^ *//'
}
run_
is "$? $(states)" "0 4 completed" "four are done"
cp db before
# a run that publishes nothing, and its end
fetch() { drun 'dfetch -c db --json -b S deltas | cat' >stream 2>err; }
fetch
is "$(grep -c '"t":"skip"' stream) $(states)" "4 4 completed" "and skipped"
was=$(dckpt -c before show "$T"/deltas/*1 | grep -c completed)
is "$((was > 0)) $(dckpt -c db show "$T"/deltas/*1 | grep -c completed)" \
    "1 $was" "which is no attempt"

mkdir d2
"$GEN/gendelta" --out d2 --count 1 --records 5 --dim 8 --seed 2
mv d2/* deltas/new
fetch
is "$(states)" "4 completed
1 in_progress" "of four and one, one is at work"
is "$(grep -c '"t":"skip"' stream) $(grep -c '"t":"delta"' stream)" "4 1" \
    "in the stream, too"
is "$(sed -n 's/.*"t":"\(skip\|delta\)","url":"\([^"]*\)".*/\2/p' stream)" \
    "$(ls -d "$T"/deltas/*)" "in order"
dckpt -c db force "$T"/deltas/*1 >/dev/null
fetch
is "$(grep -c '"t":"skip"' stream) $(states)" "3 3 completed
2 in_progress" "what is forced is begun"
run_
is "$? $(states)" "0 5 completed" "and all of it ends"

# killed at each write of the database, and in between
if ! strace -f -o probe true 2>/dev/null; then
	skip 2 "strace cannot trace here"
	finish
fi
tried=0 lost=
for call in pwrite64 write fork,clone,clone3,vfork socketpair; do
	i=0
	while [ $i -lt 60 ]; do
		i=$((i + 1))
		rm -f log
		strace -qq -f -o log -e signal=none -e trace=$call -e \
		    inject=$call:signal=KILL:when=$i dfetch -c db --json -b S \
		    deltas >/dev/null 2>&1
		grep -q 'killed\|= ?$' log || break
		tried=$((tried + 1))
		[ "$(states)" = "5 completed" ] ||
		    lost="$lost $call:$i:$(states | tr '\n' ' ')"
	done
done
is "$lost" "" "killed at $tried moments: all are completed as before"
ok "there are some" test $tried -gt 5
finish
