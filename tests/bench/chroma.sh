#!/bin/sh
# chroma.sh: dmerge -F chroma against the real ChromaDB server that is given
# the same rows over HTTP, in one run, as ratios: rows per CPU second, adding
# to a base, first answers, recall, and the same bytes for any number of
# threads (chroma.mjs).  Nothing here passes or fails.
#
# Needs node and npm (tests/real/lib/servers.sh), perl, flock, and
# build/gen/gendelta (make gens).
# B=build  GEN=build/gen  VERSIONS=1.3.4  ROWS=50000  SMALL=10000  RUNS=5
# WHAT=build,add,open,recall,threads
# SPDX-License-Identifier: ISC
set -eu
VERSIONS=${VERSIONS:-1.3.4}
. "$(dirname "$0")/../real/lib/servers.sh"
unset DSTAGE DRUN_ID DCKPT_DB DTRACE || :
GEN=${GEN:-$B/gen} TMPDIR=${TMPDIR:-/var/tmp}
export GEN TMPDIR
# shellcheck disable=SC2086 # a list of words
exec node "$here/chroma.mjs" "$B" "${ROWS:-50000}" "${SMALL:-10000}" \
    "${RUNS:-5}" "${WHAT:-build,add,open,recall,threads}" $have
