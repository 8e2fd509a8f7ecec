#!/bin/sh
# chroma-read.sh: random histories against real ChromaDB servers; what the
# server answers must be what `dfetch | dcheck | dmerge` make of its
# directory (chroma-read.mjs).  Run by `make check-chroma`.
#
# How the servers are got, and what is skipped: lib/servers.sh.
#
# B=build       where the programs are       ROUNDS=42   histories
# SEED=1        of the first history         JOBS=2      at a time
# VERSIONS="1.0.1 1.1.1 1.3.4"   of the binding, the oldest first
# SPDX-License-Identifier: ISC
set -eu
. "$(dirname "$0")/lib/servers.sh"
# shellcheck disable=SC2086 # a list of words
exec node "$here/chroma-read.mjs" "$B" "${SEED:-1}" "${ROUNDS:-42}" \
    "${JOBS:-2}" $have
