#!/bin/sh
# check.sh: all that real ChromaDB servers are asked: chroma-read.sh, then
# chroma-write.sh, both, whatever the first says.  Their variables hold.
# SPDX-License-Identifier: ISC
set -u
here=$(dirname "$0")
bad=0
for what in chroma-read chroma-write; do
	"$here/$what.sh" || bad=1
done
exit $bad
