#!/bin/sh
# slurm.sh DIR [NODES]: a real Slurm cluster on loopback: munged, slurmctld
# and NODES (3) times slurmd, n1 to nN, of two processors each, all as
# whoever calls this, who need not be root.  Nothing of the machine's own
# Slurm, if it has one, is read or touched.
#
# DIR/conf is what SLURM_CONF is to name; DIR/scratch/nN is what a task finds
# as SLURM_TMPDIR on node nN; DIR/log holds what each daemon says, DIR/ended
# a line for each job that ended, DIR/pids who they are (down.sh ends them),
# DIR/pid.nN one node alone.  Jobs are not ended by down.sh: scancel first.
# MAXARRAY=N: an array's greatest index, and one.  MISSED=S: a node that does
# not answer for so long is lost (300: none is).  Exits 69 where Slurm is not
# installed.
# SPDX-License-Identifier: ISC
set -eu
dir=${1:?usage: slurm.sh DIR [NODES]} nodes=${2:-3}
PATH=$PATH:/usr/sbin
for p in munged slurmctld slurmd sbatch; do
	command -v $p >/dev/null ||
	    { echo "slurm.sh: no $p here" >&2; exit 69; }
done
# slurmd wants to see control groups, though nothing here uses them; from
# 23.02 on it can be told not to
case $(slurmd -V) in
*' 2[0-1].'* | *' 22.'*)
	[ -d /sys/fs/cgroup ] && grep -q ' /sys/fs/cgroup' /proc/self/mounts ||
	    { echo "slurm.sh: no control groups here" >&2; exit 69; }
	;;
esac
mkdir -p "$dir/log" "$dir/run" "$dir/state"
dir=$(cd "$dir" && pwd)
me=$(id -un) host=$(hostname -s)
conf=$dir/conf
# shellcheck disable=SC2046 # a list of numbers
set -- $("$(dirname "$0")/ports.pl" $((nodes + 1)))
(umask 077 && head -c 1024 /dev/urandom >"$dir/munge.key")
: >"$dir/pids"
: >"$dir/ended"
[ -e "$dir/cgroup.conf" ] || case $(slurmd -V) in
*' 2[0-1].'* | *' 22.'*) ;;
*) echo CgroupPlugin=disabled >"$dir/cgroup.conf" ;;
esac

# what sites do so that tasks have a scratch of their own: whose output
# "export" begins is the task's environment
cat >"$dir/prolog" <<EOT
#!/bin/sh
echo "export SLURM_TMPDIR=$dir/scratch/\$SLURMD_NODENAME"
EOT
chmod 755 "$dir/prolog"

# Noticing soon: a credential is waited for when a job is requeued (120 s if
# nothing is said); a node is missed when it has not answered for
# SlurmdTimeout and a few times MessageTimeout.  Records of jobs stay: there
# is no accounting that would have them.
cat >"$conf" <<EOT
ClusterName=intact
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$1
SlurmUser=$me
SlurmdUser=$me
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge,cred_expire=5
CryptoType=crypto/munge
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/%n
TmpFS=$dir/scratch/%n
TaskProlog=$dir/prolog
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/ended
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=100000,batch_sched_delay=0,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
JobRequeue=1
MinJobAge=3600
MaxArraySize=${MAXARRAY:-1001}
KillWait=5
SlurmctldTimeout=30
SlurmdTimeout=${MISSED:-300}
MessageTimeout=10
PartitionName=all Nodes=ALL Default=YES MaxTime=60 State=UP
EOT

# start NAME COMMAND...: in the background, to be ended by its pid
start() {
	name=$1
	shift
	"$@" >>"$dir/log/$name.out" 2>&1 </dev/null &
	echo $! >"$dir/pid.$name"
	echo $! >>"$dir/pids"
}
# fail WHAT LOG: what was the matter; nothing is left running
fail() {
	echo "slurm.sh: $1; the end of its log:" >&2
	tail -5 "$dir/log/$2" "$dir/log/$2.out" >&2
	"$(dirname "$0")/down.sh" "$dir"
	exit 75
}
here=$(dirname "$0")
SLURM_CONF=$conf
export SLURM_CONF

# its directories are as private as their owner made them
start munged munged --foreground --force --num-threads=2 \
    --key-file="$dir/munge.key" --socket="$dir/run/munge" \
    --pid-file="$dir/run/munged.pid" --seed-file="$dir/state/seed" \
    --log-file="$dir/log/munged"
i=0
for port; do
	if [ $i = 0 ]; then
		i=1
		continue
	fi
	mkdir -p "$dir/spool/n$i" "$dir/scratch/n$i"
	echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1" \
	    "Port=$port CPUs=2 RealMemory=1000 State=UNKNOWN" >>"$conf"
	i=$((i + 1))
done
n=0
until [ -S "$dir/run/munge" ]; do
	n=$((n + 1))
	[ $n -lt 1200 ] && kill -0 "$(cat "$dir/pid.munged")" 2>/dev/null ||
	    fail 'munged does not start' munged
	sleep 0.05
done
start slurmctld slurmctld -D -c -f "$conf"
i=1
while [ $i -le "$nodes" ]; do
	start "n$i" slurmd -D -N "n$i" -f "$conf"
	i=$((i + 1))
done
n=0
until [ "$(sinfo -h -N -t idle -o %N 2>/dev/null | wc -l)" -eq "$nodes" ]; do
	n=$((n + 1))
	[ $n -lt 1200 ] || fail 'its nodes do not come up' slurmctld
	sleep 0.1
done
