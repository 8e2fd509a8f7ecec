#!/bin/sh
# chroma-write.sh: what `dmerge -F chroma` writes, before real ChromaDB
# servers: every sample, alone and together with others; random histories
# in random groups onto published bases; 100,000 records.  What each server
# answers, and what it leaves when it has gone on writing, must be what was
# given (chroma-write.mjs).  Run by `make check-chroma`.
#
# How the servers are got, and what is skipped: lib/servers.sh.
#
# B=build       where the programs are
# WHAT=samples,groups,histories,big      SAMPLES="clean_small ..." only
# SEED=1        of the first history     ROUNDS=24    histories
# JOBS=2        at a time
# VERSIONS="1.0.1 1.0.6 1.1.1 1.2.0 1.3.1 1.3.4"   of the binding, the
#               oldest first
# SPDX-License-Identifier: ISC
set -eu
VERSIONS=${VERSIONS:-1.0.1 1.0.6 1.1.1 1.2.0 1.3.1 1.3.4}
. "$(dirname "$0")/lib/servers.sh"
# shellcheck disable=SC2086 # a list of words
exec node "$here/chroma-write.mjs" "$B" \
    "${WHAT:-samples,groups,histories,big}" "${SEED:-1}" "${ROUNDS:-24}" \
    "${JOBS:-2}" $have
