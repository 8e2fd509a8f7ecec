#!/bin/sh
# unknown.t: a publish to a real S3 server, with one fault at one of its
# requests: {reset, silence, empty answer, 500, 503, 409, 412, 404, an error
# in a 200; and dpublish killed there, or the server gone from there on} x
# {the request was applied, or not} x {another publisher came then, or not}.
# Nothing is lost, nothing that readers see is removed, nothing is claimed
# that is not so, and the next run finds and leaves all in order.
#
# All faults at the commit and the pointer, and one case in EVERY (30;
# MORE=1: 15) at the other requests, those of an upload in parts among them; FULL=1: every fault
# at every request (15 minutes).
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
N=12
plan $N
if ! s3_rgw; then
	skip $N "$why"
	s3_down
	finish
fi
hang=1
if [ "${FULL:-0}" = 1 ]; then
	EVERY=1 hang=2
fi
EVERY=${EVERY:-$(few 30 15)}
export EVERY
HANG=$hang "$REAL/unknown.py" "$T" "$RGW" >all 2>err
is "$? $(cat err)" "0 " "every case is run"
# several go up at once: which of them a fault meets differs
BIG=1 EVERY=$((EVERY < 15 ? EVERY : 15)) ONLY='uploads=|uploadId' "$REAL/unknown.py" "$T" \
    "$RGW" >big 2>err
is "$? $(cat err)" "0 " "those of an upload in parts, too"
cat big >>all
grep -v '^#' all >rows
grep '^# request' all | sed 's/.*: //' | sort -u >requests
echo "# $(wc -l <requests) kinds of requests, $(wc -l <rows) cases"
is "$(wc -l <rows)" "$(sed -n 's/^# \([0-9]*\) cases$/\1/p' all |
    awk '{ n += $1 } END { print n }')" \
    "as many as there are"
ok "some of them at all kinds of requests" sh -c '
    cut -f2 rows | sort -u >g
    [ -s requests ] && [ -z "$(comm -23 requests g)" ]'

is "$(grep -v '^ok' rows)" "" "all is in order after each of them"
is "$(awk -F'\t' '$6 == 0 && $7 !~ /^ours/' rows)" "" \
    "0 is said of what is published, and of nothing else"
is "$(awk -F'\t' '$6 == 73 && $7 !~ /^theirs/' rows)" "" \
    "73 where another was first, and nowhere else"
is "$(awk -F'\t' '$6 != 0 && $6 != 73 && $6 != -9 && $7 ~ /^ours/ &&
    $8 !~ /published as generation|is not known/' rows)" "" \
    "and who fails after the commit says that it is published"
ok "whoever does not die has told why" sh -c \
    '! awk -F"\t" "\$6 > 0" rows | grep -v "	dpublish: "'

# what comes before the commit may be lost on the way, and is sent again
EVERY=3 FAULTS='reset 503' ONLY='PUT staging/RUN/(owner|probe)' \
    "$REAL/unknown.py" "$T" "$RGW" >first 2>err
is "$(awk -F'\t' '!/^#/ && ($1 != "ok" || ($5 == "alone" && $6 != 0))' first
    cat err) $(grep -c '	alone	0	' first)" " 4" \
    "a fault at the claim or the probe ends nothing"

# What becomes of the commit, and of the pointer: the table of dpublish(1).
# pinned REQUEST: its rows, without their names
pinned() {
	awk -F'\t' -v c="$1" '$2 == c { print $3, $4, $5, $6, $7 }' rows |
	    sed 's/, leftovers//' | sort
}
each='reset empty hang 500 503 409 412 error'
for f in $each; do
	echo "$f not alone 0 ours"
	echo "$f applied alone 0 ours"
	echo "$f not another 73 theirs"
	echo "$f applied another 0 ours, then theirs"
done >want
sort - want >commits <<-X
	404 not alone 66 the old version
	404 applied alone 0 ours
	404 not another 73 theirs
	404 applied another 0 ours, then theirs
	kill not alone -9 the old version
	kill applied alone -9 ours, pointer behind
	kill not another -9 theirs
	kill applied another -9 ours, then theirs
	down not alone 75 the old version
X
is "$(pinned PUT\ commits/N.json)" "$(cat commits)" \
    "what becomes of the commit is as documented"
for f in $each; do
	echo "$f not alone 0 ours"
	echo "$f applied alone 0 ours"
	echo "$f not another 0 ours, then theirs"
	echo "$f applied another 0 ours, then theirs"
done >want
sort - want >pointer <<-X
	404 not alone 66 ours, pointer behind
	404 applied alone 66 ours
	404 not another 66 ours, then theirs
	404 applied another 66 ours, then theirs
	kill not alone -9 ours, pointer behind
	kill applied alone -9 ours
	kill not another -9 ours, then theirs
	kill applied another -9 ours, then theirs
	down not alone 75 ours, pointer behind
X
is "$(pinned PUT\ latest-pointer.txt)" "$(cat pointer)" \
    "and of the pointer"
s3_down
finish
