#!/bin/sh
# slurm-kill.sh DIR NODE: a node of slurm.sh's cluster loses its power: its
# slurmd, and every task on it, all at once, unasked.
# SPDX-License-Identifier: ISC
dir=${1:?usage: slurm-kill.sh DIR NODE} node=${2:?usage: slurm-kill.sh DIR NODE}
# shellcheck disable=SC2046 # a list of numbers
kill -9 "$(cat "$dir/pid.$node")" \
    $("$(dirname "$0")/slurm-tasks.sh" "$dir" "$node") 2>/dev/null
# one may have ended by itself
:
