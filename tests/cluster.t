#!/bin/sh
# cluster.t: contrib/slurm on real Slurm clusters of three nodes on loopback:
# the content digest of one pipeline; faults, what is queued again and what
# is not; a node that dies; a cancelled run; two last steps at once.
. "$(dirname "$0")/lib.sh"
plan 50
GEN=${GEN:-$SRC/build/gen}
REAL=$SRC/tests/real
SUBMIT=$SRC/contrib/slurm/submit.sh
PATH=$GEN:$PATH:/usr/sbin
export AWS_ACCESS_KEY_ID=testkey AWS_SECRET_ACCESS_KEY=testsecret \
    AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/nonexistent \
    AWS_SHARED_CREDENTIALS_FILE=/nonexistent
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_CA_BUNDLE AWS_REGION \
    AWS_DEFAULT_REGION AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 http_proxy \
    https_proxy all_proxy SLURM_CONF NODE_TMP JOBS EACH RETRY RETRIES \
    WINDOW PARTS WORK FAN LINES_EACH SBATCH EXAMPLES

for v in $(env | sed -n 's/^\(SBATCH_[A-Z_]*\)=.*/\1/p'); do
	unset "$v"
done

# on CLUSTER command...: the client of that one
on() {
	c=$1; shift
	case $1 in
	idle | gone) (export SLURM_CONF="$T/$c/conf"; "$@") ;;
	*) env SLURM_CONF="$T/$c/conf" "$@" ;;
	esac
}
# whatever happens, what was started here ends here
down() {
	for c in a loss; do
		[ -s "$T/$c/pids" ] || continue
		on $c scancel -u "$(id -un)" 2>/dev/null
		wait_for on $c idle
		"$REAL/down.sh" "$T/$c" &
	done
	"$REAL/down.sh" "$T/rgw"
	wait
}
idle() { [ -z "$(squeue -h 2>/dev/null)" ]; }
trap down EXIT
trap 'exit 143' HUP INT TERM
# wait_for command...: until it succeeds, or five minutes have passed
wait_for() {
	w=0
	until "$@" >/dev/null 2>&1; do
		w=$((w + 1))
		[ $w -lt 3000 ] || { echo "# waited in vain: $*"; return 1; }
		sleep 0.1
	done
}

MISSED=30 "$REAL/slurm.sh" "$T/loss" 2>loss.err &
starting=$!
if ! MAXARRAY=8 "$REAL/slurm.sh" "$T/a" 2>a.err || ! wait $starting; then
	wait $starting
	skip 50 "no Slurm here (contrib/deps.sh cluster): $(head -n 1 a.err)"
	down
	finish
fi
rgw=
! "$REAL/rgw.sh" "$T/rgw" >rgw.out 2>rgw.err || rgw=1

# --- a hundred deltas, and what one pipeline makes of them
gendelta --out deltas --count 100 --records 20 --dim 16 --overlap 3
status 0 "one pipeline" drun 'dfetch -B single deltas | dcheck | dmerge |
    dpublish single'
digest() {
	dpublish log --json "$1" 2>/dev/null |
	    sed -n 's/.*"content_digest":"\([0-9a-f]*\)".*/\1/p' | head -n 1
}
commits() { find "$1/commits" -name '*.json' 2>/dev/null | wc -l | tr -d ' '; }
WANT=$(digest single)
ok "has a content digest" [ ${#WANT} = 64 ]
LINES_EACH=10 FAN=4 WINDOW=5
export LINES_EACH FAN WINDOW

# A dcheck that does what the test wants of a chunk, and then its work:
#	fault/NAME	the status to fail with, and with "once", only once
#	HOLD		while it is there, it waits; held/HOLD.JOB.NODE.NAME says
#			so, and where its staging is
#	two/		last steps wait until there are two jobs of them
mkdir shim fault held two
cat >shim/dcheck <<E2
#!/bin/sh
n=\${PLAN:+\$(basename "\$PLAN" .plan)}
if [ -n "\$n" ] && mv "$T/fault/\$n.once" "$T/fault/\$n.was" 2>/dev/null; then
	exit "\$(cat "$T/fault/\$n.was")"
fi
[ -z "\$n" ] || [ ! -e "$T/fault/\$n" ] || exit "\$(cat "$T/fault/\$n")"
if [ -n "\$n" ] && [ -n "\${HOLD:-}" ]; then
	j=\${SLURM_ARRAY_JOB_ID:-0}_\${SLURM_ARRAY_TASK_ID:-0}
	[ ! -e "\$HOLD" ] ||
	    echo "\$DSTAGE" >"$T/held/\${HOLD##*/}.\$j.\${SLURMD_NODENAME:-}.\$n"
	while [ -e "\$HOLD" ]; do sleep 0.1; done
fi
if [ -z "\$n" ] && [ -n "\${TWO:-}" ]; then
	: >"\$TWO/\$SLURM_JOB_ID"
	while [ "\$(ls "\$TWO" | wc -l)" -lt 2 ]; do sleep 0.1; done
fi
exec "$BIN/dcheck" "\$@"
E2
chmod 755 shim/dcheck
PATH=$T/shim:$PATH
held() { [ "$(ls held | grep -c "^$1\.")" -ge "$2" ]; }
# staged CLUSTER: what runs have on its nodes
staged() { find "$T/$1/scratch" -name 'intact.2*' -o -name '.intact.*'; }
# starts WORK NAME: how often it was begun
starts() { grep -c "^== $2: .* job " "$1"/slurm/run.*/said/"$2"; }
ended() { tail -n 1 "$1"/slurm/run.*/said/"$2"; }

# --- a node is to die while others work: that takes its time to be noticed
: >hold.loss
on loss env HOLD="$T/hold.loss" WORK=loss.w "$SUBMIT" lost deltas 2>loss.said
like loss.said 'level 1: job [0-9]*, 10 tasks; 3 parts of level 2' \
    "an array for the chunks, one for the groups"
wait_for held hold.loss 6
is "$(ls held | sed 's/.*_[0-9]*\.\(n[0-9]\)\..*/\1/' | sort | uniq -c |
    tr -s ' \n' ' ')" " 2 n1 2 n2 2 n3 " "all nodes are at work"
"$REAL/slurm-kill.sh" "$T/loss" n1
on_n2=$(ls held | sed -n 's/hold\.loss\.\([0-9_]*\)\.n2\..*/\1/p' | head -n 1)
ok "another task is queued again while it works" \
    on loss scontrol requeue "$on_n2"
twice=$(ls held | sed -n 's/.*\.n3\.\(.*\)/\1/p' | head -n 1)
ok "and what a third does is done by somebody else, too" \
    "$SRC/examples/chunk.sh" loss.w/slurm/run.*/"$twice.plan" loss.w/slurm/parts
rm hold.loss

# --- what should be
status 0 "a run" on a env WORK=w1 "$SUBMIT" -w lines deltas
like err 'level 1: job [0-9]*, 7 tasks; 3 parts of level 2: job [0-9]*, 3 t' \
    "several chunks in a task, where an array may not be longer"
is "$(digest lines)" "$WANT" "the content digest of one pipeline"
is "$(ls w1/slurm/parts | wc -l | tr -d ' ')" 13 "10 chunks, 3 groups"
is "$(staged a)" "" "no staging on any node"
status 0 "again" on a env WORK=w1 "$SUBMIT" -w lines deltas
like err 'holds all of it already' "there is nothing to do"

# --- faults: one that passes, one that comes back, one of permissions, and
# a delta that is cut off; the one that comes back is the last task's, whose
# id is that of its array
mkdir more names
cp -pR deltas more/
torn=more/deltas/delta-0037
truncate -s 50000 $torn/chroma.sqlite3
dfetch -l more/deltas >names/plan
"$SRC/examples/chunks.sh" names parts
line() { sed -n "$1p" names/level.1; }
once=$(line 2) cut=$(line 4) always=$(line 7) never=$(line 8)
echo 75 >"fault/$once.once"
echo 75 >"fault/$always"
echo 77 >"fault/$never"
on a env RETRY=0 RETRIES=1 EACH=1 WORK=w2 "$SUBMIT" -w two more/deltas \
    >two.out 2>two.err &
two=$!

# --- meanwhile: cancelled in the middle
dpublish log lines >kept.log
gendelta --out late --count 20 --records 20 --dim 16 --start 5000 \
    --time 1770000000
: >hold.cancel
on a env HOLD="$T/hold.cancel" JOBS=2 WORK=w3 LINES_EACH=5 "$SUBMIT" lines late \
    2>cancel.err
job=$(sed -n 's/.*scancel -n \(intact-[0-9a-f]*\).*/\1/p' cancel.err)
wait_for held hold.cancel 2
is "$(cat held/hold.cancel.* | xargs -n 1 test -d && echo there)" there \
    "a run is at work, and staging"
status 75 "a second one beside it is not begun" \
    on a env WORK=w3 "$SUBMIT" lines late
like err "under way: wait for it, or scancel -n $job" "and says so"
# the batch shell alone gets this signal, and must not leave the others to
# the KILL that follows its end
one=$(ls held/hold.cancel.* | head -n 1)
on a scancel --batch --signal=TERM \
    "$(echo "$one" | sed 's/.*cancel\.\([0-9_]*\)\..*/\1/')"
wait_for held hold.cancel 3
status 2 "a signal for the batch shell alone: no staging of that task" \
    ls -d "$(cat "$one")"
on a scancel -n "$job"
gone() { [ -z "$(squeue -h -n "$1" -o %i)" ]; }
wait_for on a gone "$job"
# of a job that is gone something may still be about its last removals
no_staging() { cat held/hold.cancel.* | while read -r d; do
	[ ! -e "$d" ] || return 1
done; }
wait_for no_staging
is "$(cat held/hold.cancel.* | while read -r d; do ls -d "$d"; done 2>&1 |
    grep -v 'No such file')" "" "cancelled: no staging on any node"
is "$(ls -A w3/slurm/parts 2>/dev/null)" "" "no part, nothing hidden is left"
is "$(dpublish log lines)" "$(cat kept.log)" "the target is as it was"
rm hold.cancel

# --- two last steps at once
on a env TWO="$T/two" WORK=w3 LINES_EACH=5 "$SUBMIT" lines late 2>err
like err '4 parts of level 1' "run again, all of it is done"
last=$(sed -n 's/.*last step: job \([0-9]*\).*/\1/p' err)
chunks=$(sed -n 's/.*level 1: job \([0-9]*\).*/\1/p' err)
run=$(echo w3/slurm/run.*)
other=$(on a env TWO="$T/two" sbatch --parsable --requeue -J "$job" \
    -d "afterany:$chunks" -o "$T/other" "$SRC/contrib/slurm/last.sh" \
    "$SRC/contrib/slurm" "$T/$run")
wait_for on a gone "$job"
is "$(cat "$run/end.$last" "$run/end.$other")" "0
0" "both last steps are done"
is "$(ls two | wc -l | tr -d ' ')" 2 "they were at work at once"
is "$(commits lines)" 2 "there is one more version, not two"
status 0 "one pipeline with those, too" drun 'dfetch -b single late | dcheck |
    dmerge | dpublish single'
is "$(digest lines)" "$(digest single)" "the content digest of one pipeline"

# --- parts, and the target, on S3
if [ -n "$rgw" ]; then
	AWS_ENDPOINT_URL=$(cat rgw/url)
	export AWS_ENDPOINT_URL
	s3do make s3://bucket >/dev/null
	status 0 "parts on S3" on a env WORK=w4 PARTS=s3://bucket/parts \
	    "$SUBMIT" -w s3://bucket/lines deltas
	is "$(digest s3://bucket/lines)" "$WANT" \
	    "the content digest of one pipeline"
	s3do del "s3://bucket/parts/$(sed -n 3p w4/slurm/run.*/level.1)/manifest.json"
	status 0 "one is not whole, for another target" on a env WORK=w4 \
	    FAN=16 PARTS=s3://bucket/parts "$SUBMIT" -w s3://bucket/again deltas
	like err 'submit.sh: 1 parts of level 1' "it alone is made again"
	is "$(digest s3://bucket/again)" "$WANT" "and nothing is missing"
	unset AWS_ENDPOINT_URL
else
	skip 5 "no Ceph here (contrib/deps.sh s3): $(tail -n 1 rgw.err)"
fi

# --- what became of the faults
wait $two
is $? 66 "with faults: the status of the last step"
is "$(commits two)" 0 "nothing was published"
is "$(starts w2 "$once") $(ended w2 "$once")" "2 == exit 0" \
    "75, once: queued again, and done"
is "$(starts w2 "$always") $(ended w2 "$always")" "2 == exit 75" \
    "75, for ever: queued again as often as may be"
is "$(starts w2 "$never") $(ended w2 "$never")" "1 == exit 77" \
    "77: not queued again"
is "$(starts w2 "$cut") $(ended w2 "$cut")" "1 == exit 65" \
    "65: not queued again"
like w2/slurm/failed "dcheck: .*delta-0037" "the delta is named in one file"
like two.err "dcheck: .*delta-0037" "and by who waited for the end"
is "$(sed -n 's/^\([0-9a-f]\{16\}\): .*/\1/p' w2/slurm/failed | sort -u |
    grep -Fxf names/level.1)" \
    "$(printf '%s\n' "$cut" "$always" "$never" | sort)" \
    "so are the chunks that are missing, and no others"
ls -i w2/slurm/parts/*/manifest.json | sort >before
rm "fault/$always" "fault/$never"
rm -rf $torn
cp -pR deltas/delta-0037 $torn
status 0 "mended and run again" on a env WORK=w2 "$SUBMIT" -w two more/deltas
like err 'submit.sh: 3 parts of level 1' "only those three are done again"
is "$(ls -i w2/slurm/parts/*/manifest.json | sort | comm -13 - before)" "" \
    "the others are what they were"
is "$(commits two) $(digest two)" "1 $WANT" \
    "published, with the content digest of one pipeline"

# --- the node that died
wait_for on loss idle
is "$(on loss sinfo -h -n n1 -o %t | tr -d '*')" down "a node has died"
is "$(dpublish log lost | wc -l | tr -d ' ') $(digest lost)" "1 $WANT" \
    "all was published all the same, nothing twice"
is "$(grep -l 'start 2' loss.w/slurm/run.*/said/* | wc -l | tr -d ' ')" 3 \
    "two tasks of that node and one more were begun again"
is "$(staged loss | grep -v scratch/n1/)" "" "no staging on what lives"
is "$("$REAL/slurm-tasks.sh" a; "$REAL/slurm-tasks.sh" loss)" "" \
    "no process of a job is left"
down
is "$(ls a/pids loss/pids rgw/pids 2>/dev/null)" "" "the clusters are ended"
finish
