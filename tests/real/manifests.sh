#!/bin/sh
# manifests.sh FILE...: what lies in contrib/ for Kubernetes, Argo and Step
# Functions against what knows their syntax: the packages kubernetes-models
# (the API's schema), asl-validator and yaml for node, brought by npm into
# build/manifests once, not installed.  manifests.mjs is the judge; a line of
# TAP for each thing held, without a plan.
#
# With SHOW=1 it judges nothing, and prints as JSON what would be started.
# 77: node, npm or the packages cannot be had; standard error says why.
# PERMANENT, PASSING: the statuses that must not, and must, be tried again.
# SPDX-License-Identifier: ISC
set -u
LC_ALL=C
export LC_ALL
here=$(cd "$(dirname "$0")" && pwd)
dir=${MANIFESTS:-$here/../../build/manifests}
want='kubernetes-models@4.5.1 asl-validator@4.0.0 yaml@2.9.1'
for prog in node npm; do
	command -v $prog >/dev/null || {
		echo "manifests.sh: no $prog here" >&2
		exit 77
	}
done
# whole, of these versions, or not at all
if [ "$(cat "$dir/have" 2>/dev/null)" != "$want" ]; then
	mkdir -p "$(dirname "$dir")"
	tmp=$(mktemp -d "$dir.XXXXXX") || exit 77
	# shellcheck disable=SC2086 # a list of words
	(cd "$tmp" && echo '{"private":true}' >package.json &&
	    npm install --silent --no-audit --no-fund --ignore-scripts \
	    --fetch-retries=1 --fetch-retry-mintimeout=1000 \
	    --fetch-timeout=60000 $want && echo "$want" >have) \
	    >"$tmp.log" 2>&1 || {
		tail -3 "$tmp.log" >&2
		echo "manifests.sh: npm does not bring $want" >&2
		rm -rf "$tmp" "$tmp.log"
		exit 77
	}
	rm -rf "$dir" "$tmp.log"
	mv "$tmp" "$dir" || exit 77
fi
exec node "$here/manifests.mjs" "$dir" "$@"
