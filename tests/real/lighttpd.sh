#!/bin/sh
# lighttpd.sh DIR: a real lighttpd with WebDAV on loopback, its files in
# DIR/root; below /auth/ it wants user "tester", password "testsecret".
# DIR/url says where it listens, DIR/pids who it is (for down.sh).  Started
# anew in the same DIR it listens where it did.  WORKERS=N: that many
# processes.  Exits 69 where it is not installed.
# SPDX-License-Identifier: ISC
set -eu
dir=${1:?usage: lighttpd.sh DIR}
PATH=$PATH:/usr/sbin
command -v lighttpd >/dev/null || { echo "lighttpd.sh: no lighttpd here" >&2; exit 69; }
for m in /usr/lib/lighttpd/mod_webdav.so /usr/lib/*/lighttpd/mod_webdav.so; do
	[ ! -e "$m" ] || webdav=$m
done
[ -n "${webdav:-}" ] || { echo "lighttpd.sh: no mod_webdav here" >&2; exit 69; }
mkdir -p "$dir/root/auth" "$dir/tmp"
dir=$(cd "$dir" && pwd)
if [ -s "$dir/url" ]; then
	port=$(sed 's/.*://' "$dir/url")
else
	port=$("$(dirname "$0")/ports.pl")
fi
: >"$dir/pids"
echo tester:testsecret >"$dir/users"
cat >"$dir/conf" <<EOT
server.modules = ( "mod_auth", "mod_authn_file", "mod_webdav" )
server.bind = "127.0.0.1"
server.port = $port
server.max-worker = ${WORKERS:-0}
server.document-root = "$dir/root"
server.upload-dirs = ( "$dir/tmp" )
server.errorlog = "$dir/log"
# a body is written to a file as it comes, however large
server.max-request-size = 0
server.stream-request-body = 1
mimetype.assign = ( "" => "application/octet-stream" )
webdav.activate = "enable"
webdav.sqlite-db-name = "$dir/tmp/locks.db"
auth.backend = "plain"
auth.backend.plain.userfile = "$dir/users"
auth.require = ( "/auth/" => ( "method" => "basic", "realm" => "tests",
    "require" => "valid-user" ) )
EOT
lighttpd -D -f "$dir/conf" >>"$dir/log" 2>&1 </dev/null &
echo $! >"$dir/pids"
exec "$(dirname "$0")/answers.sh" "$dir" "http://127.0.0.1:$port"
