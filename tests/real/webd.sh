#!/bin/sh
# webd.sh DIR ROOT: a web server on loopback for the files below ROOT
# (webd.py tells how).  DIR/url says where it listens, DIR/pids who it is
# (for down.sh).  Exits 69 where there is no Python.
# SPDX-License-Identifier: ISC
set -eu
dir=${1:?usage: webd.sh DIR ROOT}
root=${2:?usage: webd.sh DIR ROOT}
here=$(cd "$(dirname "$0")" && pwd)
[ -x /usr/bin/python3 ] || { echo "webd.sh: no Python here" >&2; exit 69; }
mkdir -p "$dir"
rm -f "$dir/url"
: >"$dir/log"
/usr/bin/python3 -B "$here/webd.py" "$dir" "$root" >"$dir/err" 2>&1 \
    </dev/null &
echo $! >"$dir/pids"
n=0
until [ -s "$dir/url" ]; do
	n=$((n + 1))
	if ! kill -0 "$(cat "$dir/pids")" 2>/dev/null || [ $n -gt 600 ]; then
		echo "webd.sh: it does not start:" >&2
		tail -5 "$dir/err" >&2
		"$here/down.sh" "$dir"
		exit 75
	fi
	sleep 0.05
done
