#!/bin/sh
# nginx.sh DIR [ext]: a real nginx on loopback that takes PUT, MKCOL and
# DELETE and heeds no condition; with ext, and its module, PROPFIND too.
# Its files are in DIR/root; DIR/url says where it listens, DIR/pids who it
# is (for down.sh).  Exits 69 where it is not installed.
# SPDX-License-Identifier: ISC
set -eu
dir=${1:?usage: nginx.sh DIR [ext]}
PATH=$PATH:/usr/sbin
command -v nginx >/dev/null || { echo "nginx.sh: no nginx here" >&2; exit 69; }
load='' list=''
if [ "${2:-}" = ext ]; then
	so=/usr/lib/nginx/modules/ngx_http_dav_ext_module.so
	[ -e $so ] || { echo "nginx.sh: no PROPFIND here" >&2; exit 69; }
	load="load_module $so;" list="dav_ext_methods PROPFIND OPTIONS;"
fi
mkdir -p "$dir/root" "$dir/tmp"
dir=$(cd "$dir" && pwd)
port=$("$(dirname "$0")/ports.pl")
: >"$dir/pids"
# as root it would work as somebody who may not write here
user=
[ "$(id -u)" != 0 ] || user="user root;"
cat >"$dir/conf" <<EOT
$load
$user
daemon off;
master_process off;
pid $dir/nginx.pid;
error_log $dir/log;
events { }
http {
	access_log off;
	client_max_body_size 0;
	client_body_temp_path $dir/tmp/body;
	proxy_temp_path $dir/tmp/proxy;
	fastcgi_temp_path $dir/tmp/fastcgi;
	uwsgi_temp_path $dir/tmp/uwsgi;
	scgi_temp_path $dir/tmp/scgi;
	server {
		listen 127.0.0.1:$port;
		root $dir/root;
		dav_methods PUT DELETE MKCOL COPY MOVE;
		$list
	}
}
EOT
nginx -p "$dir" -c "$dir/conf" -e "$dir/log" >>"$dir/log" 2>&1 </dev/null &
echo $! >"$dir/pids"
exec "$(dirname "$0")/answers.sh" "$dir" "http://127.0.0.1:$port"
