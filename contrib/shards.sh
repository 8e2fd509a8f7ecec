#!/bin/sh
# shards.sh SET TARGET...: one commit over many shards.  The current version
# of each TARGET, the targets of a collection that is split by id, is named
# in a file NAME.json (what `dpublish log` says of it), and these files are
# published together as a version of SET, a target of its own: readers follow
# SET alone, and see the shards of one moment, all or none (scale.md).
#
# Each version is leased for KEEP (7d) first, so that no prune or gc of its
# target takes it from under a reader of SET; run this more often than that,
# and prune SET with --keep-newer-than of less.  With PROVE=1 every byte of
# every shard is read again.  LOCK=FILE keeps two of these apart on one
# machine; on several, let only one run: the last to publish wins.
# Nothing is published when a shard is missing that the version before had.
# SPDX-License-Identifier: ISC
set -eu
LC_ALL=C
export LC_ALL
[ $# -ge 2 ] || { echo "usage: shards.sh set target ..." >&2; exit 64; }

# Under drun (below), as its first stage: a file for each shard.
heads() {
	W=$DSTAGE/heads
	mkdir "$W"
	for target; do
		name=$(basename "$target")
		[ ! -e "$W/$name.json" ] || {
			echo "shards.sh: $target: a second $name" >&2
			exit 64
		}
		dpublish log --json "$target" >"$W/.log"
		jq -c 'select(.current)' "$W/.log" >"$W/$name.json"
		version=$(jq -r .version "$W/$name.json")
		[ -n "$version" ] || {
			echo "shards.sh: $target: no current version" >&2
			exit 66
		}
		dpublish lease --for "${KEEP:-7d}" --name set "$target" \
		    "$version" >/dev/null
	done
	rm "$W/.log"
	exec dfetch --files "$W"
}
if [ -n "${SHARDS_SET:-}" ] && [ -n "${DSTAGE:-}" ]; then
	heads "$@"
fi

SHARDS_SET=$1 SHARDS_ME=$0
shift
# its operands as words of the pipeline, whatever is in them
SHARDS=
for target; do
	SHARDS="$SHARDS '$(printf '%s\n' "$target" | sed "s/'/'\\\\''/g")'"
done
PROOF='dpublish holds "$(jq -r "\"\(.target)/timestamped/\(.version)\"" "$1")"'
[ -n "${PROVE:-}" ] || PROOF=true
export SHARDS_SET SHARDS_ME PROOF
exec drun ${LOCK:+--lock "$LOCK"} "\"\$SHARDS_ME\" $SHARDS |
    dcheck -x \"\$PROOF\" | dpublish \"\$SHARDS_SET\"" </dev/null
