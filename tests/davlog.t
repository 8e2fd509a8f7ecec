#!/bin/sh
# davlog.t: the history of a target on a real WebDAV server (lighttpd), which
# is read ahead, several at once: the same lines in the same order as of the
# same target here, where one commit is read after the other; also when
# requests fail.
. "$(dirname "$0")/lib.sh"
N=13
plan $N
REAL=$SRC/tests/real
unset DAV_USER DAV_PASSWORD http_proxy https_proxy all_proxy
down() {
	for s in proxy lighttpd; do
		[ ! -d "$T/$s" ] || "$REAL/down.sh" "$T/$s"
	done
}
trap down EXIT
if ! "$REAL/lighttpd.sh" "$T/lighttpd" 2>err ||
    ! "$REAL/faultproxy.sh" "$T/proxy" \
	"$(sed 's,http://,,' "$T/lighttpd/url")" 2>err; then
	skip $N "$(tail -1 err) (contrib/deps.sh dav)"
	down
	finish
fi
D=$T/lighttpd/root/log A=$(cat "$T/proxy/url")/log
fault() {
	settled
	printf '%s\n' "$@" >"$T/proxy/rules.new"
	mv "$T/proxy/rules.new" "$T/proxy/rules"
	: >"$T/proxy/log"
}
# until every request has its end in the log, a minute at least
settled() {
	k=0
	until awk '/^ask / { n++ } /^end / { n-- } END { exit n != 0 }' \
	    "$T/proxy/log" || [ $k -ge 1200 ]; do
		k=$((k + 1))
		sleep 0.05
	done
}
asked() { settled; grep -cE "^ask [0-9]+ $1" "$T/proxy/log"; }
# as many at once as there were
most() { settled; awk '/^ask / { n++ } /^end / { n-- } n > m { m = n }
    END { print m }' "$T/proxy/log"; }

# 200 commits, every third of whose versions lies there; 7, 9 and 171 are
# missing alone, and 40 in a row
mkdir -p "$D/commits" "$D/timestamped"
awk -v d="$D" 'BEGIN {
	h = "0123456789abcdef"; h = h h h h
	for (g = 1; g <= 200; g++) {
		v = sprintf("20260101T%02d%02d00.000000Z-%08x", g / 60, g % 60,
		    g)
		if (g != 7 && g != 9 && g != 171 && (g < 100 || g > 140)) {
			f = d "/commits/" g ".json"
			printf "{\"format\":1,\"generation\":%d,\"kind\":" \
			    "\"publish\",\"version\":\"%s\",\"run\":\"r%d\"," \
			    "\"manifest_sha256\":\"%s\",\"content_digest\":" \
			    "\"%s\",\"store\":\"sqlite\",\"records\":%d," \
			    "\"tombstones\":0,\"created\":" \
			    "\"2026-01-01T00:00:00.000000Z\"}\n", g, v, g, h,
			    h, g * g % 1000 >f
			close(f)
		}
		if (g % 3 == 0 || g == 200)
			print v
	}
}' | while read -r v; do
	mkdir "$D/timestamped/$v"
	echo '{}' >"$D/timestamped/$v/manifest.json"
done
printf '%s' 20260101T032000.000000Z-000000c8 >"$D/latest-pointer.txt"

# both [OPTION]: of here and of there; messages and records name the target
both() {
	dpublish log "$@" "$D" 2>err.here | sed "s,$D,AT,g" >here
	dpublish log "$@" "$A" 2>err.there | sed "s,$A,AT,g" >there
	sed "s,$D,AT,g" err.here >err.want
	sed "s,$A,AT,g" err.there >err.got
}
fault ''
both
is "$(grep -c . here)" 156 "156 commits"
ok "the same lines, in the same order" cmp here there
is "$(cat err.got)" "$(cat err.want)" "the same are missing"
ok "and each is asked for once" test "$(asked 'GET .*/commits/[0-9]')" -le \
    210 -a "$(asked 'HEAD .*/timestamped/')" -le 160
both --json
ok "the same as records" cmp here there
cp here whole
# behind the first, commits are not answered before eight are asked for
cat >eight <<X
#!/bin/sh
k=0
until [ "\$(grep -c '^ask .*/commits/1[0-8][0-9]' "$T/proxy/log")" -ge 8 ] ||
    [ \$k -ge 600 ]; do
	k=\$((k + 1))
	sleep 0.05
done
X
chmod +x eight
fault "GET commits/1[0-8][0-9] 1-8 done delay 0.02 first=$T/eight" \
    '* . * done delay 0.02'
both --json
ok "the same of a slow server" cmp whole there
ok "many are asked for at once" test "$(most)" -ge 8

# who stops early has not asked for all
fault ''
status 66 "a rollback to the version before, which is gone" \
    dpublish rollback "$A" 20260101T031900.000000Z-000000c7
ok "reads a few commits" test "$(asked 'GET .*/commits/[0-9]')" -lt 20

# requests that fail: as often as they may, and for good
fault '* . 5% not status 503' '* . 5% done reset'
both --json
ok "the same of a server that is not well" cmp whole there
fault '* commits/150.json * not status 403'
status 77 "a commit that may not be read" dpublish log "$A"
fault ''
cp "$D/commits/151.json" "$D/commits/150.json"
both
ok "one that is damaged, too" cmp here there
like err.there 'commits/150.json: its generation is not its name' "named"
down
finish
