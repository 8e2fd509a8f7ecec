#!/bin/sh
# apache.sh DIR: a real Apache with mod_dav on loopback, its files in
# DIR/root.  DIR/url says where it listens, DIR/pids who it is (for
# down.sh).  Exits 69 where it is not installed.
# SPDX-License-Identifier: ISC
set -eu
dir=${1:?usage: apache.sh DIR}
PATH=$PATH:/usr/sbin
mods=/usr/lib/apache2/modules
command -v apache2 >/dev/null && [ -e $mods/mod_dav_fs.so ] ||
    { echo "apache.sh: no apache2 here" >&2; exit 69; }
mkdir -p "$dir/root" "$dir/run"
dir=$(cd "$dir" && pwd)
port=$("$(dirname "$0")/ports.pl")
: >"$dir/pids"
{
	for m in mpm_event authz_core dav dav_fs; do
		echo "LoadModule ${m}_module $mods/mod_$m.so"
	done
	cat <<EOT
ServerName 127.0.0.1
Listen 127.0.0.1:$port
ServerRoot $dir
DefaultRuntimeDir $dir/run
PidFile $dir/run/pid
ErrorLog $dir/log
Mutex posixsem
StartServers 1
ThreadsPerChild 16
MinSpareThreads 16
MaxSpareThreads 32
DocumentRoot $dir/root
DavLockDB $dir/run/locks
<Directory $dir/root>
	Dav On
	Require all granted
</Directory>
EOT
} >"$dir/conf"
apache2 -d "$dir" -f "$dir/conf" -DFOREGROUND >>"$dir/log" 2>&1 </dev/null &
echo $! >"$dir/pids"
exec "$(dirname "$0")/answers.sh" "$dir" "http://127.0.0.1:$port"
