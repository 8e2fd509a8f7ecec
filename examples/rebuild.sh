#!/bin/sh
# rebuild.sh TARGET DIR [VERSION]: a snapshot (the current one, or VERSION)
# made anew, from the deltas that its manifest names, into DIR; and the proof
# that it is the same: the content digests are compared.
#
# Every delta is fetched from where it was, must have the bytes that it had,
# and is checked again.  Those that are gone are named, each (66); bytes that
# are others are refused (65), and so is a content that is another.
# SPDX-License-Identifier: ISC
set -eu
LC_ALL=C
export LC_ALL
[ $# -eq 2 ] || [ $# -eq 3 ] || {
	echo "usage: rebuild.sh target dir [version]" >&2
	exit 64
}
DIR=$2
[ ! -e "$DIR" ] || { echo "rebuild.sh: $DIR: is there already" >&2; exit 73; }
PLAN=$(mktemp "${TMPDIR:-/tmp}/rebuild.XXXXXX")
NEW=$DIR.new.$$
export PLAN NEW
trap 'rm -rf "$PLAN" "$NEW"' EXIT
dpublish sources "$1" ${3+"$3"} >"$PLAN"
want=$(sed -n 's/^# content_digest=\([0-9a-f]*\) .*/\1/p' "$PLAN")
FORMAT=$(sed -n 's/^# content_digest=.* format=//p' "$PLAN")
export FORMAT

drun 'dfetch -f "$PLAN" | dcheck --allow-empty |
    dmerge -F "$FORMAT" -p "$PLAN" -o "$NEW"' >/dev/null
got=$(sed -n 's/.*"content_digest": *"\([0-9a-f]*\)".*/\1/p' \
    "$NEW/manifest.json")
if [ "$got" != "$want" ]; then
	echo "rebuild.sh: $1: content digest: want $want, got $got" >&2
	exit 65
fi
mv "$NEW" "$DIR"
echo "$DIR: content digest $got, from $(grep -vc '^#' "$PLAN") deltas"
