#!/bin/sh
# s3log.t: the history of a target on a real S3 server, which is read ahead,
# many at once: the same lines in the same order as of the same target here,
# where one commit is read after the other; also when requests fail.
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
N=15
plan $N
if ! s3_rgw; then
	skip $N "$why"
	s3_down
	finish
fi
export AWS_ENDPOINT_URL=$RGW
s3do make s3://bucket

# 300 commits, every third of whose versions lies there; 40 are missing, 7,
# 9 and 271 alone
mkdir -p d/commits d/timestamped
awk 'BEGIN {
	h = "0123456789abcdef"; h = h h h h
	for (g = 1; g <= 300; g++) {
		v = sprintf("20260101T%02d%02d00.000000Z-%08x", g / 60, g % 60,
		    g)
		if (g != 7 && g != 9 && g != 271 && (g < 100 || g > 140)) {
			f = "d/commits/" g ".json"
			printf "{\"format\":1,\"generation\":%d,\"kind\":" \
			    "\"publish\",\"version\":\"%s\",\"run\":\"r%d\"," \
			    "\"manifest_sha256\":\"%s\",\"content_digest\":" \
			    "\"%s\",\"store\":\"sqlite\",\"records\":%d," \
			    "\"tombstones\":0,\"created\":" \
			    "\"2026-01-01T00:00:00.000000Z\"}\n", g, v, g, h,
			    h, g * g % 1000 >f
			close(f)
		}
		if (g % 3 == 0)
			print v
	}
}' | while read -r v; do
	mkdir "d/timestamped/$v"
	echo '{}' >"d/timestamped/$v/manifest.json"
done
printf '%s' 20260101T050000.000000Z-0000012c >d/latest-pointer.txt
A=s3://bucket/log
s3tree send $A/ d >/dev/null

# both [OPTION]: of here and of there; messages and records name the target
both() {
	dpublish log "$@" "$T/d" 2>err.here | sed "s,$T/d,AT,g" >here
	dpublish log "$@" $A 2>err.there | sed "s,$A,AT,g" >there
	sed "s,$T/d,AT,g" err.here >err.want
	sed "s,$A,AT,g" err.there >err.got
}
both
is "$(grep -c . here)" 256 "256 commits"
ok "the same lines, in the same order" cmp here there
is "$(grep -c ' gone ' there)" "$(grep -c ' gone ' here)" \
    "of those whose version is gone, too"
is "$(cat err.got)" "$(cat err.want)" "the same are missing"
both --json
ok "the same as records" cmp here there
cp here whole

# many are under way at once; memory and requests are those of a window
fault_up log "$RGW"
export AWS_ENDPOINT_URL=$PROXY
fault '* . * done delay 0.02'
both --json
ok "the same of a slow server" cmp whole there
ok "many are asked for at once" test "$(awk '/^ask / { n++ }
    /^end / { n-- } n > m { m = n } END { print m }' "$FP/log")" -ge 8
ok "and each once" test "$(asked 'GET .*/commits/[0-9]')" -le 310 -a \
    "$(asked 'HEAD .*/timestamped/')" -eq 256

# who stops early has not asked for all
fault
status 66 "a rollback to the version before, which is gone" \
    dpublish rollback $A 20260101T045900.000000Z-0000012b
ok "reads a few commits" test "$(asked 'GET .*/commits/[0-9]')" -lt 20

# requests that fail: as often as they may, and for good
fault '* . 10% not status 503 SlowDown' '* . 5% done reset'
both --json
ok "the same of a server that is too busy" cmp whole there
fault '* commits/200.json * not status 403 AccessDenied'
status 77 "a commit that may not be read" dpublish log $A
is "$(tail -1 out | awk '{ print $1 }')" 202 "ends the lines before it"
fault
cp d/commits/201.json d/commits/200.json
s3do put $A/commits/200.json d/commits/200.json >/dev/null
both
ok "one that is damaged, too" cmp here there
like err.there 'commits/200.json: its generation is not its name' "named"
s3_down
finish
