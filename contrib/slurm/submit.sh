#!/bin/sh
# submit.sh [-w] TARGET INPUT...: as examples/fanout.sh, on a Slurm cluster:
# an array of tasks, one for each chunk that is not done, arrays for the
# groups where there are many, and a last job that proves and publishes.
# Run it again after a failure: only what is missing is submitted.
# -w waits for the end, says what failed, and exits with the last job's status.
#
# WORK (.)  holds WORK/slurm, which all nodes must see under this name
# PARTS     where parts lie: a directory likewise (WORK/slurm/parts), or
#           s3://bucket/prefix
# LINES_EACH (25) inputs in a chunk, FAN (16) parts in a group
# EACH (1)  chunks in a task, at least; JOBS tasks at a time (no limit)
# RETRIES (3) times a job is queued again; RETRY (3) tries in it
# NODE_TMP  where tasks stage (SLURM_TMPDIR, else the node's TMPDIR or /tmp)
# SBATCH_*  partition, account, time and so on: sbatch(1); SBATCH (sbatch) is
#           the command itself, with whatever options have no variable
# SPDX-License-Identifier: ISC
set -u
usage() { echo "usage: submit.sh [-w] target input ..." >&2; exit 64; }
say() { echo "submit.sh: $*" >&2; }
wait=''
while getopts w o; do
	case $o in
	w) wait=1 ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || usage
HERE=$(cd "$(dirname "$0")" && pwd) || exit 66
EXAMPLES=$(cd "${EXAMPLES:-$HERE/../../examples}" && pwd) || exit 66
mkdir -p "${WORK:-.}/slurm" && WORK=$(cd "${WORK:-.}/slurm" && pwd) || exit 73
# absolute NAME: as any node in any directory says it
absolute() {
	case $1 in
	/* | *://*) printf '%s\n' "${1%/}" ;;
	*) printf '%s\n' "$PWD/${1%/}" ;;
	esac
}
TARGET=$(absolute "$1") PARTS=$(absolute "${PARTS:-$WORK/parts}")
shift
export PARTS

# One run at a time in WORK.  Two would do no harm, but the work twice.
name=intact-$(printf '%s' "$WORK" | sha256sum | cut -c 1-8)
busy=$(squeue -h -u "$(id -un)" -n "$name" -o %A) || exit 75
if [ -n "$busy" ]; then
	say "$WORK: a run is under way: wait for it, or scancel -n $name"
	exit 75
fi

# The plan first, whole: what is submitted gets its name.  RUN is named by
# all that it means, and never changed.
new=$WORK/new.$$
trap 'rm -rf "$new"' EXIT
trap 'exit 143' HUP INT TERM
mkdir "$new" "$new/said" "$new/slurm" || exit 73
dfetch -l -B "$TARGET" "$@" >"$new/plan" || exit
if [ ! -s "$new/plan" ]; then
	say "$TARGET holds all of it already"
	exit 0
fi
printf '%s\n' "$TARGET" >"$new/target"
printf '%s\n' "$PARTS" >"$new/place"
printf '%s\n' "$EXAMPLES" >"$new/examples"
"$EXAMPLES/chunks.sh" "$new" "$PARTS" || exit
RUN=$WORK/run.$(cat "$new/plan" "$new/target" "$new/place" "$new"/level.* |
    sha256sum | cut -c 1-16)
[ -d "$RUN" ] || mv "$new" "$RUN" || exit 73
rm -rf "$new"
mkdir -p "$new" || exit 73
rm -f "$RUN/failed"
ln -sf "${RUN##*/}/failed" "$WORK/failed" || exit 73
export RUN new

# missing: those names of stdin whose part is not there and whole
missing() {
	cat >"$new/asked"
	: >"$new/holds"
	# shellcheck disable=SC2016 # its own
	xargs -P 4 -I@ sh -c '
		dpublish holds -p "$RUN/@.plan" "$PARTS/@" >/dev/null 2>"$new/@"
		case $? in
		0) echo @ >>"$new/holds" ;;
		65 | 66) ;;
		*)	s=$?
			cat "$new/@" >&2
			echo $s >"$new/status"
			exit 255 ;;
		esac' <"$new/asked" || exit "$(cat "$new/status" || echo 74)"
	grep -Fxv -f "$new/holds" "$new/asked"
}

# From the last level to the first: of a group that is there, no member is
# asked for; of one that is not, each is.
set -- "$RUN"/level.*
k=$#
sed 's,.*/,,' "$RUN/parts.last" >"$new/want"
while [ $k -gt 0 ]; do
	missing <"$new/want" >"$new/todo.$k" || [ $? = 1 ] || exit
	: >"$new/want"
	if [ $k -gt 1 ]; then
		: >"$new/here"
		while read -r n; do
			if [ -e "$RUN/$n.parts" ]; then
				echo "$n" >>"$new/here"
				sed 's,.*/,,' "$RUN/$n.parts"
			else
				echo "$n"
			fi
		done <"$new/todo.$k" >"$new/want"
		mv "$new/here" "$new/todo.$k"
	fi
	k=$((k - 1))
done

# submit ARGUMENT...: its id in $id; nothing starts before all is submitted
ids='' id=''
trap '[ -z "$ids" ] || scancel $ids; exit 143' HUP INT TERM
submit() {
	if [ -z "$id" ]; then
		set -- --hold "$@"
	else
		set -- --dependency="afterany:$id" "$@"
	fi
	# what TMPDIR is here says nothing of the nodes, and two that sbatch
	# heeds would make another job of it
	# shellcheck disable=SC2086 # a list of words
	id=$(env -u TMPDIR -u SBATCH_ARRAY_INX -u SBATCH_WAIT \
	    ${SBATCH:-sbatch} --parsable --export=ALL --requeue \
	    --open-mode=append --job-name="$name" "$@") || {
		say "sbatch refuses: nothing was submitted"
		# shellcheck disable=SC2086 # a list of numbers
		[ -z "$ids" ] || scancel $ids
		exit 64
	}
	id=${id%%;*}
	ids="$ids $id"
}
out=$(printf '%s' "$RUN/slurm" | sed 's/%/%%/g')
# an array has so many indices, from 0, and no more
most=$(scontrol show config | sed -n 's/^MaxArraySize *= *//p')
most=$((${most:-1001} - 1))
told=''
for level in "$RUN"/level.*; do
	k=${level##*.}
	count=$(($(wc -l <"$new/todo.$k")))
	[ $count -gt 0 ] || continue
	list=$(mktemp "$RUN/todo.XXXXXX") || exit 73
	cat "$new/todo.$k" >"$list"
	tasks=$(((count + ${EACH:-1} - 1) / ${EACH:-1}))
	[ $tasks -le $most ] || tasks=$most
	submit --array="1-$tasks${JOBS:+%$JOBS}" --output="$out/%A_%a" \
	    "$HERE/task.sh" "$HERE" "$RUN" "$list" $tasks
	told="$told$count parts of level $k: job $id, $tasks tasks; "
done
submit --output="$out/%j" "$HERE/last.sh" "$HERE" "$RUN"
# shellcheck disable=SC2086 # a list of numbers
set -- $ids
scontrol release "$1" || {
	say "scontrol release $1: it fails; submitted were $ids: scancel them"
	exit 75
}
trap - HUP INT TERM
say "$told""last step: job $id (all of it: scancel -n $name)"
[ -n "$wait" ] || exit 0

# An answer other than "there is no such job" is asked for again.
n=1
while o=$(squeue -h -j "$id" -o %T 2>&1); [ -n "$o" ]; do
	case $o in
	*'Invalid job id'*) break ;;
	esac
	sleep $n
	[ $n -ge 10 ] || n=$((n + 1))
done
end=$(cat "$RUN/end.$id" 2>/dev/null) || {
	say "job $id ended before it was done: scontrol show job $id"
	exit 143
}
[ ! -e "$RUN/failed" ] || cat "$RUN/failed" >&2
exit "$end"
