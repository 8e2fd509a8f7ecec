#!/bin/sh
# down.sh DIR: end the processes that rgw.sh, or a neighbour of it, began,
# those and no others, and wait for it.  DIR/by names the signal, TERM without.
# SPDX-License-Identifier: ISC
dir=${1:?usage: down.sh DIR}
[ -s "$dir/pids" ] || exit 0
pids=$(cat "$dir/pids")
by=$(cat "$dir/by" 2>/dev/null)
# shellcheck disable=SC2086 # a list of numbers
kill -s "${by:-TERM}" $pids 2>/dev/null
for p in $pids; do
	n=0
	while kill -0 "$p" 2>/dev/null; do
		n=$((n + 1))
		[ $n -ne 100 ] || kill -9 "$p" 2>/dev/null
		[ $n -lt 200 ] || exit 1
		sleep 0.05
	done
done
rm -f "$dir/pids"
