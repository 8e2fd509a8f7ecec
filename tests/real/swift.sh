#!/bin/sh
# swift.sh DIR: a real OpenStack Swift with its S3 interface on loopback.
# DIR/url says where, DIR/pids who (for down.sh).  Keys: testkey,
# testsecret.  Exits 69 where the packages are not here.
# SPDX-License-Identifier: ISC
set -eu
dir=${1:?usage: swift.sh DIR}
here=$(cd "$(dirname "$0")" && pwd)
# found, not imported: that would want /etc/swift
/usr/bin/python3 -c 'from importlib.util import find_spec as f
import sys; sys.path.pop(0); sys.exit(not all(f(m) for m in (
"eventlet", "paste.deploy", "swift.proxy", "swift.obj")))' 2>/dev/null || {
	echo "swift.sh: no Swift here" >&2
	exit 69
}
mkdir -p "$dir"
/usr/bin/python3 -W ignore "$here/swiftd.py" "$dir" >"$dir/log" 2>&1 \
    </dev/null &
echo $! >"$dir/pids"
n=0
until [ -s "$dir/url" ]; do
	n=$((n + 1))
	if ! kill -0 "$(cat "$dir/pids")" 2>/dev/null || [ $n -gt 1200 ]; then
		echo "swift.sh: it does not start; the end of its log:" >&2
		tail -20 "$dir/log" >&2
		"$here/down.sh" "$dir"
		exit 75
	fi
	sleep 0.05
done
