#!/bin/sh
# davfiles.t: file sets on WebDAV, on real servers on loopback: as versions
# they go there like stores do; plain keys and what is set aside do not, and
# why is said before anything is done.
. "$(dirname "$0")/lib.sh"
plan 24
GEN=${GEN:-$SRC/build/gen}
REAL=$SRC/tests/real
PATH=$GEN:$PATH
unset DAV_USER DAV_PASSWORD http_proxy https_proxy all_proxy \
    HTTP_PROXY HTTPS_PROXY ALL_PROXY
held=
free_() {
	[ -z "$held" ] || { kill "$held"; wait "$held"; } 2>/dev/null
	held=
}
down() {
	free_
	for s in lighttpd nginxext; do
		[ ! -d "$T/$s" ] || "$REAL/down.sh" "$T/$s"
	done
}
trap down EXIT
# hold FILE: its lock is somebody's until free_
hold() {
	rm -f held
	perl -MFcntl=:flock -e 'open my $f, ">>", $ARGV[0] or die;
	    flock $f, LOCK_EX or die; open my $h, ">", "held"; close $h;
	    sleep' "$1" &
	held=$!
	until [ -e held ]; do sleep 0.02; done
}
field() { k=$1; shift; sed -n "s/.*\"$k\":\"\{0,1\}\([^\",}]*\).*/\1/p" "$@"; }
mkdir -p tree/sub
echo 1 >tree/one
echo 2 >'tree/sub/tw o'
: >tree/none
put() { drun "dfetch --files -B $1 tree | dcheck | dpublish --json ${2-} $1"; }

if ! "$REAL/lighttpd.sh" "$T/lighttpd" 2>err; then
	skip 24 "$(tail -1 err) (contrib/deps.sh dav)"
	finish
fi
U=$(cat lighttpd/url)/a R=$T/lighttpd/root/a
there() { find "$R" -type f 2>/dev/null | sed "s,^$R/,,;
    s/[0-9]\{8\}T[0-9]\{6\}\.[0-9]*Z-[0-9a-f]*/ID/g" | sort; }

# --- what does not go there
for how in "" "--lock $T/lock" "--delete" "-n"; do
	# shellcheck disable=SC2086 # options
	dfetch --files tree | dpublish --in-place $how "$U" >out 2>err
	is "$? $(there)" "64 " "--in-place $how: refused, and nothing is there"
	like err "$U: want a directory or s3://bucket/prefix: no copy on a WebDAV server is promised to appear whole at once" \
	    "with the reason"
done
status 64 "--in-place --rollback" dpublish --in-place --rollback "$U"
status 64 "under drun" drun \
    "dfetch --files tree | dcheck | dpublish --in-place $U"
"$GEN/gendelta" --out deltas --count 1 --records 5 --dim 8
for v in "quarantine $U $T/deltas/delta-0000" "quarantine --list $U" \
    "unquarantine $U x"; do
	# shellcheck disable=SC2086 # its words
	status 64 "${v%% http*}: refused" dpublish $v
	like err "$U: inputs are set aside into a directory or s3://bucket/prefix" \
	    "with the reason"
done
is "$(ls deltas | wc -l) $(there)" "1 " "the input stays, and nothing is there"

# --- versions
put "$U" >out 2>err
is "$? $(there | tr '\n' ' ')" "0 commits/1.json latest-pointer.txt timestamped/ID/manifest.json timestamped/ID/none timestamped/ID/one timestamped/ID/sub/tw o " \
    "a file set is one version"
while find tree -type f -newerct '3 seconds ago' | grep -q .; do sleep 0.1; done
put "$U" >out 2>err
put "$U" >out 2>err
is "$? $(field unchanged out) $(field skipped out)" "0 true 3" \
    "again, with a base: all is skipped"
echo 3 >tree/one
dfetch --files --json -b "$U" tree >slow
echo 4 >tree/one
put "$U" >out 2>err
dcheck --json-in <slow | dpublish "$U" >out 2>err
is "$? $(cat "$R/timestamped/$(cat "$R/latest-pointer.txt")/one")" "73 4" \
    "a slow run does not publish over a newer set"
hold lock
echo 5 >tree/one
put "$U" "--lock $T/lock" >out 2>err &
p=$!
# until it waits for the lock, too
until [ "$(ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c " $T/lock$")" -ge 2 ] ||
    ! kill -0 $p 2>/dev/null; do sleep 0.02; done
c=$(ls "$R/commits" | wc -l | tr -d ' ')
free_
wait $p
is "$? $c $(ls "$R/commits" | wc -l | tr -d ' ')" "0 2 3" \
    "--lock: while another has it, nothing is committed; then it is"
like out '"generation":3' "and told"
if ! "$REAL/nginx.sh" "$T/nginxext" ext 2>err; then
	skip 2 "$(tail -1 err) (contrib/deps.sh dav)"
	down
	finish
fi
U=$(cat nginxext/url)/a
put "$U" >out 2>err
is "$? $(grep -c 'does not exclude' err)" "64 1" \
    "a server that does not exclude is refused"
put "$U" "--lock $T/lock" >out 2>err
is "$? $(field generation out)" "0 1" "unless a lock does"
down
finish
