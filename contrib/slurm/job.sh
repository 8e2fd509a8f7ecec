# job.sh: what the batch scripts here have in common; they source it.  It
# starts one process at a time and waits for it, so that a signal is heeded
# and a job asks to be queued again only for what may pass by itself.
# SPDX-License-Identifier: ISC
# shellcheck shell=sh

# Staging is the node's own, never the submitter's TMPDIR on a shared disk;
# so is the cache.  A checkpoint database is one machine's.
TMPDIR=${NODE_TMP:-${SLURM_TMPDIR:-${TMPDIR:-/tmp}}}
[ -d "$TMPDIR" ] && [ -w "$TMPDIR" ] || TMPDIR=/tmp
DCACHE=${DCACHE:-$TMPDIR/intact-cache.$(id -u)}
export TMPDIR DCACHE
unset DSTAGE DRUN_ID DCKPT_DB
caught='' pid=''

# Slurm signals every process of a job, but with scancel --batch, or --signal=B:,
# this shell alone: then the signal is passed on, late, as a second one
# makes drun hurry.
trap 'caught=1; sleep 1; [ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null' TERM

# child command...: its exit status; 143, and no other child, after a TERM
child() {
	[ -z "$caught" ] || return 143
	"$@" &
	pid=$!
	while wait "$pid"; status=$?; kill -0 "$pid" 2>/dev/null; do :; done
	pid=''
	[ -z "$caught" ] || return 143
	return "$status"
}

# job: the name under which Slurm knows this job alone: the id of the last
# task of an array is that of the array, and would mean all of it
job() {
	if [ -n "${SLURM_ARRAY_JOB_ID:-}" ]; then
		echo "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
	else
		echo "$SLURM_JOB_ID"
	fi
}

# again STATUS: may it pass by itself, and has it not been tried too often?
again() {
	case $1 in
	73 | 75) [ "${SLURM_RESTART_COUNT:-0}" -lt "${RETRIES:-3}" ] ;;
	*) return 1 ;;
	esac
}

# leave STATUS: the end of the job, which may be queued once more
leave() {
	if [ -z "$caught" ] && again "$1"; then
		echo "$(basename "$0"): job $(job): exit $1: queued again," \
		    "$((${SLURM_RESTART_COUNT:-0} + 1)) of ${RETRIES:-3}" >&2
		# it ends with a TERM for this shell
		scontrol requeue "$(job)"
	fi
	exit "$1"
}
