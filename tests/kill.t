#!/bin/sh
# kill.t: SIGKILL at random moments of real runs: of drun, of each stage,
# of the commit (dpublish again).  The target is always the old or the new
# version, whole; the same command run again ends with the same content
# digest, and nothing is left in staging.  KILLS=n does n of them (90;
# MORE=1: 800), SEED=n others.
. "$(dirname "$0")/lib.sh"
# a leak checker waits for ever for its own helper when that is what dies
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export ASAN_OPTIONS
plan 8
GEN=${GEN:-$SRC/build/gen}
KILLS=${KILLS:-$(few 90 800)}
SEED=${SEED:-1}

digest() {
	sed -n 's/.*"content_digest": *"\([0-9a-f]*\)".*/\1/p' "$1"
}
pointer() { cat "$1/latest-pointer.txt" 2>/dev/null; }
run() { drun "dfetch -B $1 b | dcheck --no-cache | dmerge | dpublish $1"; }

"$GEN/gendelta" --out a --count 3 --records 24 --dim 16 --seed 1
"$GEN/gendelta" --out b --count 4 --records 24 --dim 16 --seed 2 --start 100
drun 'dfetch -B base a | dcheck | dmerge | dpublish base' >/dev/null
old=$(digest "base/timestamped/$(pointer base)/manifest.json")
cp -R base want
run want >/dev/null
new=$(digest "want/timestamped/$(pointer want)/manifest.json")
is "$([ -n "$old" ] && [ -n "$new" ] && [ "$old" != "$new" ] && echo ok)" \
    ok "an old and a new snapshot"

cat >kill.pl <<'P'
# kill.pl KILLS SEED OLD NEW: a run is started KILLS times, and SIGKILL sent
# to a process of it after a random part of the time that it takes.  What is
# wrong then as comments; in counts, how often; in hits, who was killed.
use strict; use warnings; use POSIX qw(setsid); use Time::HiRes qw(sleep time);
use Digest::SHA;
my ($kills, $seed, $old, $new) = @ARGV;
my @run = ('drun', 'dfetch -B t b | dcheck --no-cache | dmerge | dpublish t');
my @who = qw(drun dfetch dcheck dmerge dpublish any);
my %n = map { $_ => 0 } qw(other torn undone lost litter alive);
$| = 1;
sub slurp { open my $f, '<', $_[0] or return ''; local $/; <$f> // '' }
sub complain {
	my ($what, @say) = @_;
	$n{$what}++;
	print "# @say" =~ s/\n/ /gr, "\n";
}
sub entries {
	opendir my $d, $_[0] or return ();
	return grep { !/^\.\.?$/ } readdir $d;
}
sub fresh { system('rm -rf t; cp -R base t') == 0 or die }
# that run, in a session of its own; what it says in again.err
sub start {
	my $pid = fork // die;
	if ($pid == 0) {
		setsid;
		open STDOUT, '>', '/dev/null';
		open STDERR, '>', 'again.err';
		exec @run;
		exit 127;
	}
	return $pid;
}
# the processes of a session, and their names: they are younger than it,
# or the numbers have begun anew
sub session {
	my ($sid, @p) = @_;
	for my $d (grep { /^\d+$/ && ($_ >= $sid || $_ < 5000) }
	    entries('/proc')) {
		my ($id, $name, $rest) = slurp("/proc/$d/stat") =~
		    /^(\d+) \((.*)\) (.*)$/s or next;
		my @f = split ' ', $rest;
		push @p, [$id, $name] if $f[3] == $sid && $f[0] ne 'Z';
	}
	return @p;
}
sub shot {
	my ($ms, $who) = @_;
	my $pid = start();
	sleep rand($ms) / 1000;
	my @p = session($pid);
	my @c = grep { $_->[1] eq $who } @p;
	@c = @p if !@c && $who eq 'any';
	my $hit = @c ? $c[rand @c] : [0, 'none'];
	kill 'KILL', $hit->[0] if $hit->[0];
	waitpid $pid, 0;
	# what drun left behind when it was killed itself ends soon, on its own
	my $until = time + 30;
	sleep 0.02 while session($pid) && time < $until;
	complain('alive', "$hit->[1] was killed: something is still running")
	    if time >= $until;
	return $hit->[1];
}
# the content digest of what the pointer names; and what of it is torn
sub version {
	my $d = 't/timestamped/' . slurp('t/latest-pointer.txt') =~ s/\s+\z//r;
	my $m = slurp("$d/manifest.json");
	my $torn = $m eq '' ? 'manifest.json' : '';
	while ($m =~ /"name":"([^"]*)","size":\d+,"sha256":"([0-9a-f]*)"/g) {
		$torn = $1 if Digest::SHA::sha256_hex(slurp("$d/$1")) ne $2;
	}
	return ($m =~ /"content_digest": *"([0-9a-f]*)"/ ? $1 : '', $torn);
}
# How long a run takes, in ms, so that moments are spread over all of it:
# the last few, for the machine has other things to do, too.
fresh();
my $t = time;
waitpid start(), 0;
my $ms = 1000 * (time - $t);
open my $hits, '>', 'hits' or die;
for my $i (1 .. $kills) {
	fresh();
	srand $seed * 1000 + $i;
	my $hit = shot($ms, $who[$i % @who]);
	print $hits "$hit\n";
	# at this instant: old or new, whole
	my ($got, $torn) = version();
	complain('other', "$i: digest $got") if $got ne $old && $got ne $new;
	complain('torn', "$i: killed $hit: $torn") if $torn ne '';
	# the same again finishes the job
	$t = time;
	waitpid start(), 0;
	complain('undone', "$i: killed $hit: again:", slurp('again.err'))
	    if $? != 0;
	$ms = 0.7 * $ms + 300 * (time - $t);
	($got) = version();
	complain('lost', "$i: killed $hit: digest $got") if $got ne $new;
	my @left = (entries($ENV{TMPDIR}),
	    (grep { $_ ne '.lock' } entries('t/staging')),
	    grep { /^\.intact/ } entries('.'));
	my ($v, $c) = map { scalar entries("t/$_") } qw(timestamped commits);
	complain('litter', "$i: killed $hit: left: @left; $v versions,",
	    "$c commits") if @left || $v != $c;
}
printf "# a run takes %d ms\n", $ms;
close $hits or die;
open my $f, '>', 'counts' or die;
print $f "$_=$n{$_}\n" for sort keys %n;
close $f or die;
P
other= torn= undone= lost= litter= alive=
perl kill.pl "$KILLS" "$SEED" "$old" "$new" && . ./counts
sort hits | uniq -c | sed 's/^/# killed /'
is "$other" 0 "$KILLS kills: the pointer names the old version or the new"
is "$torn" 0 "and that version is whole, to the byte"
is "$undone" 0 "the same command again succeeds"
is "$lost" 0 "with the same content digest"
is "$litter" 0 "and nothing is left in staging, no version without a commit"
is "$alive" 0 "no process outlives its run for long"
hit=$(grep -c -v '^none$' hits)
is "$([ "$hit" -ge $((KILLS / 3)) ] && echo ok)" ok \
    "most of them hit ($hit of $KILLS)"
finish
