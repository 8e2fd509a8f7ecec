#!/bin/sh
# kill.t: SIGKILL at random moments of real runs: of drun, of each stage,
# of the commit (dpublish again).  The target is always the old or the new version, whole;
# the same command run again ends with the same content digest, and nothing
# is left in staging.  KILLS=n does n of them
# (200), SEED=n others.
. "$(dirname "$0")/lib.sh"
# a leak checker waits for ever for its own helper when that is what dies
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export ASAN_OPTIONS
plan 8
GEN=${GEN:-$SRC/build/gen}
KILLS=${KILLS:-200}
SEED=${SEED:-1}

digest() {
	sed -n 's/.*"content_digest": *"\([0-9a-f]*\)".*/\1/p' "$1"
}
pointer() { cat "$1/latest-pointer.txt" 2>/dev/null; }
left() {
	ls -A "$TMPDIR"
	ls -A "$1/staging" 2>/dev/null | grep -v '^\.lock$'
	ls -A . | grep '^\.intact'
}
run() { drun "dfetch -B $1 b | dcheck --no-cache | dmerge | dpublish $1"; }

"$GEN/gendelta" --out a --count 3 --records 40 --dim 64 --seed 1
"$GEN/gendelta" --out b --count 8 --records 40 --dim 64 --seed 2 --start 100
drun 'dfetch -B base a | dcheck | dmerge | dpublish base' >/dev/null
old=$(digest "base/timestamped/$(pointer base)/manifest.json")
cp -R base want
run want >/dev/null
new=$(digest "want/timestamped/$(pointer want)/manifest.json")
is "$([ -n "$old" ] && [ -n "$new" ] && [ "$old" != "$new" ] && echo ok)" \
    ok "an old and a new snapshot"

# How long a run takes, in ms, so that moments are spread over all of it.
cat >shot.pl <<'P'
# shot.pl SEED MS WHO COMMAND...: start COMMAND in a group of its own,
# SIGKILL a process of it after a random part of MS milliseconds.  Prints
# the name of what was killed.
use strict; use warnings; use POSIX qw(setsid); use Time::HiRes qw(sleep);
my ($seed, $ms, $who, @cmd) = @ARGV;
srand $seed;
my $pid = fork;
if ($pid == 0) {
	setsid;
	open STDOUT, '>', '/dev/null';
	exec @cmd;
	exit 127;
}
sleep rand($ms) / 1000;
# every process of that session, by name
my @p;
for my $d (glob "/proc/[0-9]*") {
	open my $f, '<', "$d/stat" or next;
	my $s = <$f> // next;
	my ($id, $name, $rest) = $s =~ /^(\d+) \((.*)\) (.*)$/s or next;
	my @f = split ' ', $rest;
	push @p, [$id, $name] if $f[3] == $pid;
}
my @c = grep { $_->[1] eq $who } @p;
@c = @p if !@c && $who eq 'any';
my $hit = @c ? $c[rand @c] : undef;
if ($hit) { kill 'KILL', $hit->[0]; print "$hit->[1]\n"; }
else { print "none\n"; }
waitpid $pid, 0;
# what drun left behind when it was killed itself ends soon, on its own
my $until = time + 30;
while (time < $until) {
	my $alive = 0;
	for my $d (glob "/proc/[0-9]*") {
		open my $f, '<', "$d/stat" or next;
		my $s = <$f> // next;
		my @f = split ' ', ($s =~ /^\d+ \(.*\) (.*)$/s)[0] // '';
		$alive++ if @f > 3 && $f[3] == $pid && $f[0] ne 'Z';
	}
	exit 0 if !$alive;
	sleep 0.01;
}
print "something is still running\n";
exit 1;
P
ms=$(perl -MTime::HiRes=time -e '$t = time; system @ARGV;
    printf "%d", 1000 * (time - $t)' sh -c "cp -R base warm; drun 'dfetch -B \
    warm b | dcheck --no-cache | dmerge | dpublish warm' >/dev/null")
echo "# a run takes $ms ms"

torn=0 lost=0 litter=0 other=0 undone=0 alive=0 i=0
: >hits
while [ $i -lt "$KILLS" ]; do
	i=$((i + 1))
	rm -rf t
	cp -R base t
	case $((i % 6)) in
	0) who=drun ;;
	1) who=dfetch ;;
	2) who=dcheck ;;
	3) who=dmerge ;;
	4) who=dpublish ;;
	*) who=any ;;
	esac
	perl shot.pl $((SEED * 1000 + i)) $((ms + ms / 4)) $who drun \
	    'dfetch -B t b | dcheck --no-cache | dmerge | dpublish t' \
	    >hit 2>shot.err || alive=$((alive + 1))
	head -1 hit >>hits
	# at this instant: old or new, whole
	p=$(pointer t)
	got=$(digest "t/timestamped/$p/manifest.json")
	case $got in
	"$old" | "$new") ;;
	*) other=$((other + 1)); echo "# $i: pointer $p, digest $got" ;;
	esac
	(cd "t/timestamped/$p" && sed -n \
	    's/.*"name":"\([^"]*\)".*"sha256":"\([0-9a-f]*\)".*/\2  \1/p' \
	    manifest.json | sha256sum -c --quiet) >sum 2>&1 || {
		torn=$((torn + 1))
		echo "# $i: killed $(cat hit): $(head -1 sum)"
	}
	# the same again finishes the job
	run t >again 2>again.err || {
		undone=$((undone + 1))
		echo "# $i: killed $(cat hit): again: $(head -1 again.err)"
	}
	got=$(digest "t/timestamped/$(pointer t)/manifest.json")
	[ "$got" = "$new" ] || {
		lost=$((lost + 1))
		echo "# $i: killed $(cat hit): digest $got"
	}
	l=$(left t)
	v=$(ls t/timestamped | wc -l)
	c=$(ls t/commits | wc -l)
	[ -z "$l" ] && [ "$v" -eq "$c" ] || {
		litter=$((litter + 1))
		echo "# $i: killed $(cat hit): left: $l; $v versions," \
		    "$c commits"
	}
done
sort hits | uniq -c | sed 's/^/# killed /'
is $other 0 "$KILLS kills: the pointer names the old version or the new"
is $torn 0 "and that version is whole, to the byte"
is $undone 0 "the same command again succeeds"
is $lost 0 "with the same content digest"
is $litter 0 "and nothing is left in staging, no version without a commit"
is $alive 0 "no process outlives its run for long"
hit=$(grep -c -v '^none$' hits)
is "$([ "$hit" -ge $((KILLS / 3)) ] && echo ok)" ok \
    "most of them hit ($hit of $KILLS)"
finish
