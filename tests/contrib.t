#!/bin/sh
# contrib.t: what lies in contrib/ for operators does what it says: the
# units against systemd-analyze, the system calls that a pipeline makes, and
# a file system that can only be read; the alert rules against promtool and
# the metrics that are really there.
. "$(dirname "$0")/lib.sh"
plan 32
C=$SRC/contrib

# --- a pipeline as the service runs it
mkdir -p etc units var/lib/intact/lines/staging var/lib/intact/lines/metrics \
    var/cache/intact srv man
mkdir deltas
cp -R "$DATA"/demo/delta-* deltas/
cp -R "$SRC/man" man/man1
for p in 5 7; do
	mkdir "man/man$p"
	mv man/man1/*."$p" "man/man$p/"
done
cp -R "$BIN" bin
# the unit with this directory for a root
sed "s|/usr/local/bin|$T/bin|g; s|/var/|$T/var/|g; s|/etc/|$T/etc/|" \
    "$C/intact@.service" >units/intact@.service
cp "$C/intact@.timer" units/
# key KEY: its value in the unit, for the instance lines
key() {
	sed -n "s/^$1=//p" units/intact@.service | sed 's/^-//; s/%i/lines/g'
}
cat >etc/lines.conf <<E2
PIPELINE="dfetch -B $T/srv/lines $T/deltas | dcheck | dmerge | dpublish $T/srv/lines"
E2
# what systemd makes of it: the environment, and ${PIPELINE} as one word
{
	echo 'set -e'
	key Environment | tr ' ' '\n' | sed 's/^/export /'
	sed 's/^/export /' etc/lines.conf
	echo "PATH=$T/bin:\$PATH"
	key ExecStart | sed 's/\${PIPELINE}/"$PIPELINE"/'
} >service.sh
key ExecStopPost >stop.sh
status 0 "ExecStart publishes" sh service.sh
ok "it is published" [ -e srv/lines/latest-pointer.txt ]
V=$T/var/lib/intact/lines
is "$(jq -c '[.status, .inputs.planned]' "$V/runs.jsonl")" "[0,10]" \
    "the record is there"
is "$(ls "$V/staging")" "" "staging is used, and empty"
ok "lines for the journal are JSON" \
    jq -es 'length > 0 and all(has("time"))' err
status 0 "ExecStopPost" sh stop.sh
like "$V/metrics/intact-lines.prom" \
    '^intact_run_status\{pipeline="lines"\} 0$' "metrics are written"

# --- the last job on a cluster, which leaves no way to what is not there
mkdir -p slurm/run.1/parts examples
printf 'exit $(cat "$1/want")\n' >examples/reduce.sh
chmod 755 examples/reduce.sh
sed -i '1i #!/bin/sh' examples/reduce.sh
for f in parts.last level.1 failed; do
	: >slurm/run.1/$f
done
echo "$T/examples" >slurm/run.1/examples
echo "$T/slurm/parts" >slurm/run.1/place
echo "$T/target" >slurm/run.1/target
# last STATUS LINK: how reduce.sh ends; what WORK/failed then names
last() {
	echo "$1" >slurm/run.1/want
	ln -sfn "$2" slurm/failed
	SLURM_JOB_ID=1 "$C/slurm/last.sh" "$C/slurm" "$T/slurm/run.1" >/dev/null
	echo "$? $(readlink slurm/failed)"
}
is "$(last 66 run.1/failed)" "66 run.1/failed" "a failure is shown"
is "$(last 0 run.1/failed)" "0 " "after a success there is none to show"
is "$(last 0 run.2/failed)" "0 run.2/failed" "but another run's"

# --- systemd
if command -v systemd-analyze >/dev/null; then
	MANPATH=$T/man:
	export MANPATH
	# without a manager it wants a directory that it may write
	XDG_RUNTIME_DIR=$T/tmp status 0 "systemd-analyze verify" \
	    systemd-analyze verify "$T/units/intact@.service" \
	    "$T/units/intact@.timer"
	is "$(grep -v '^$' err)" "" "has nothing to say"
	sed 's/^ProtectSystem=.*/ProtectSystm=strict/' units/intact@.service \
	    >units/broken@.service
	systemd-analyze verify "$T/units/broken@.service" >out 2>err
	like err 'ProtectSystm' "and would have said it"
	status 0 "systemd-analyze security: exposure of at most 2.5" \
	    systemd-analyze security --offline=yes --threshold=25 --no-pager \
	    "$T/units/intact@.service"
	# every system call of the pipeline is allowed, with its sandbox
	systemd-analyze syscall-filter --no-pager >sets 2>/dev/null
	cat >allowed.pl <<'P'
# allowed.pl SETS NAME...: the system calls of these, @sets expanded
my %set; my $on;
open my $f, '<', shift or die;
while (<$f>) {
	if (/^(@\S+)/) { $on = $1 }
	elsif (/^\s+(?!#)(\S+)/) { push @{$set{$on}}, $1 }
	elsif (/^#/) { $on = '@none' }
}
sub expand { map { /^@/ ? expand(@{$set{$_} // []}) : $_ } @_ }
print "$_\n" for expand(@ARGV);
P
	# shellcheck disable=SC2046 # a list of words
	perl allowed.pl sets $(key SystemCallFilter) | sort -u >allowed
	rm -rf srv/lines
	# who is traced cannot look for leaks
	ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
	export ASAN_OPTIONS
	if command -v strace >/dev/null && strace -f -qq -o trace \
	    sh service.sh >out 2>err && sh stop.sh; then
		sed -n 's/^[0-9]* *\([a-z0-9_]*\)(.*/\1/p' trace | sort -u >calls
		ok "the calls of a run are seen" [ "$(wc -l <calls)" -gt 40 ]
		is "$(comm -23 calls allowed)" "" \
		    "SystemCallFilter allows all of them"
		"$BIN/dcheck" -v </dev/null >out 2>err
		if grep -q 'sandbox: files' err; then
			is "$(grep -c '^landlock_' calls)" 3 \
			    "those of Landlock among them"
		else
			skip 1 "no Landlock here"
		fi
	else
		skip 3 "no strace here, or it may not trace"
	fi
else
	skip 7 "no systemd-analyze"
fi

# ProtectSystem=strict, NoNewPrivileges= and no capability, by hand: all is
# read-only but the service's directories, and one that a drop-in adds
rm -rf srv/lines var/lib/intact/lines/* var/cache/intact/*
mkdir -p var/lib/intact/lines/staging var/lib/intact/lines/metrics
cat >inside.sh <<E2
set -e
mount --make-rprivate /
for d in var srv; do
	mount --bind "$T/\$d" "$T/\$d"
done
awk '{ print \$5 }' /proc/self/mountinfo | sort -u | while read -r m; do
	case \$m in
	$T/* | /proc* | /sys* | /dev*) ;;
	*) mount -o remount,bind,ro "\$m" ;;
	esac
done
cd /
if [ "\$1" = 0 ]; then
	exec setpriv --reuid=65534 --regid=65534 --clear-groups \\
	    --no-new-privs --bounding-set=-all --inh-caps=-all sh "\$2"
fi
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all sh "\$2"
E2
echo "touch $T/proof 2>/dev/null && exit 1; touch $T/var/proof" >proof.sh
[ "$(id -u)" != 0 ] || { chmod 755 "$T"; chmod -R a+rX .
    chown -R 65534:65534 var srv; }
ns() {
	if [ "$(id -u)" = 0 ]; then
		unshare --mount sh inside.sh 0 "$1"
	else
		unshare --user --map-root-user --mount sh inside.sh 1 "$1"
	fi
}
if ns "$T/proof.sh" >out 2>err && [ ! -e proof ] && [ -e var/proof ]; then
	ok "only its directories can be written to" true
	ns "$T/service.sh" >out 2>err
	is $? 0 "ExecStart publishes there, too"
	ok "it is published" [ -e srv/lines/latest-pointer.txt ]
	ns "$T/stop.sh" >out 2>err
	is $? 0 "and ExecStopPost exports"
else
	skip 4 "no mount name space here"
fi

# --- alert rules
grep -o 'intact_[a-z_]*' "$C/intact.rules.yml" | sort -u >used
ok "the rules use ten metrics or more" [ "$(wc -l <used)" -ge 10 ]
grep -oh '"intact_[a-z_]*"' "$SRC"/bin/dckpt*.c | tr -d '"' | sort -u >made
is "$(comm -23 used made)" "" "dckpt makes all of them"
if command -v promtool >/dev/null; then
	cp "$C/intact.rules.yml" "$DATA/alerts.yml" .
	status 0 "promtool check rules" promtool check rules intact.rules.yml
	is "$(grep -c '^ *- alert:' intact.rules.yml)" \
	    "$(sed -n 's/.*alertname: \([A-Za-z]*\).*/\1/p' alerts.yml |
	    sort -u | wc -l | tr -d ' ')" "every rule has a test"
	status 0 "promtool test rules" promtool test rules alerts.yml
	sed 's/intact_run_status != 0/intact_run_status == 1/' \
	    "$C/intact.rules.yml" >intact.rules.yml
	status 1 "and a rule that is wrong fails them" \
	    promtool test rules alerts.yml
else
	skip 4 "no promtool"
fi
# a storm, for real: what is exported is what the rules look at
cp -R deltas bad
for d in bad/delta-0[1-5]; do
	truncate -s 50000 "$d/chroma.sqlite3"
done
DCKPT_DB=$T/storm.db DCKPT_PIPELINE=p status 65 "half the inputs are bad" \
    drun 'dfetch bad | dcheck -k --no-cache | dmerge -o out1'
dckpt -c storm.db export --prometheus >storm.prom
is "$(sed -n 's/^intact_run_status{pipeline="p"} //p' storm.prom)" 65 \
    "the run failed, the export says"
is "$(sed -n 's/^intact_refused{pipeline="p".*} //p' storm.prom |
    awk '{ n += $1 } END { print n + 0 }')" 5 "five inputs are refused"
is "$(sed -n 's/^intact_units_stale{.*} //p' storm.prom | sort -u)" 0 \
    "and nothing is left in progress by a run that is over"
if command -v promtool >/dev/null; then
	promtool check metrics <storm.prom >out 2>err
	is "$? $(cat out err)" "0 " "promtool check metrics: well-formed"
else
	skip 1 "no promtool"
fi
finish
