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
# every shard is read again.  Of two of these at once, wherever they run, one
# begins anew (RETRY, 3, times): a set never goes back to older shards.
# Nothing is published when a shard is missing that the version before had.
# SPDX-License-Identifier: ISC
set -u
LC_ALL=C
export LC_ALL

# the generation of SET; none yet: 0
generation() {
	dpublish log --json "$SHARDS_SET" >"$DSTAGE/set" 2>"$DSTAGE/set.err"
	case $? in
	0)	jq 'select(.current).generation' "$DSTAGE/set" ;;
	66)	echo 0 ;;
	*)	cat "$DSTAGE/set.err" >&2
		return 75 ;;
	esac
}
# Under drun (below), as its first stage: a file for each shard.
heads() {
	W=$DSTAGE/heads
	was=$(generation) || exit
	mkdir "$W"
	for target; do
		name=$(basename "$target")
		[ ! -e "$W/$name.json" ] || {
			echo "shards.sh: $target: a second $name" >&2
			exit 64
		}
		dpublish log --json "$target" >"$DSTAGE/head" || exit
		jq -c 'select(.current)' "$DSTAGE/head" >"$W/$name.json"
		version=$(jq -r .version "$W/$name.json")
		[ -n "$version" ] || {
			echo "shards.sh: $target: no current version" >&2
			exit 66
		}
		dpublish lease --for "${KEEP:-7d}" --name set "$target" \
		    "$version" >/dev/null || exit
	done
	dfetch --files -B "$SHARDS_SET" "$W" || exit
	# what dfetch saw current, and the set is published onto, was current
	# before the first shard was looked at
	now=$(generation) || exit
	[ "$now" = "$was" ] || {
		echo "shards.sh: $SHARDS_SET: another set was published" \
		    "meanwhile" >&2
		exit 75
	}
	exit 0
}
if [ -n "${SHARDS_SET:-}" ] && [ -n "${DSTAGE:-}" ]; then
	heads "$@"
fi

[ $# -ge 2 ] || { echo "usage: shards.sh set target ..." >&2; exit 64; }
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
exec drun --retry "${RETRY:-3}" "\"\$SHARDS_ME\" $SHARDS |
    dcheck -x \"\$PROOF\" | dpublish \"\$SHARDS_SET\"" </dev/null
