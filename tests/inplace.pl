#!/usr/bin/perl
# inplace.pl: for tests/files.t: the tree B is published over A and A over B,
# by turns, as plain keys (dpublish --in-place --delete), and stopped at each
# step, one after the other.  After each stop every key is old or new, none
# is deleted before all others have come, the journal knows of a half, and
# the next run ends it, or takes it back.  It says what is wrong, and how
# often it tried; 0 when it was often enough and nothing was wrong.
#
#	inplace.pl on|back each FAULT BY CALL...
#		dpublish under strace: at each BYth of each of these calls
#	inplace.pl on undo FAULT BY CALL...
#		the rollback of what lies half way in "half", killed likewise
#	inplace.pl on|back requests BY METHOD
#		killed by a proxy at each BYth request, done or not
#
# P is the target, a directory or s3://; A and B lie in the working directory.
# Of S3, FP is the proxy's directory, PROXY its address, KILLER what kills
# the process that the file "pid" names.
#
# SIGKILL loses nothing that was written: where no fsync is counted, NOSYNC (a
# preload) lets it do nothing, for a disk that others use keeps it waiting.
# SPDX-License-Identifier: ISC
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use FindBin;
use lib "$FindBin::Bin/real";
use S3do;

my ($how, $verb, @args) = @ARGV;
my $P = $ENV{P};
my $s3 = $P =~ m{^s3://} ? S3do->new($ENV{FP}) : undef;
my @put = ('dpublish', '--in-place', '--delete', $P);
my @undo = ('dpublish', '--in-place', '--rollback', $P);
my ($tried, $halves, $bad) = (0, 0, 0);
my @strace = ('strace', '-qq', '-f', '-o', 'log');
# stops at the calls it looks for alone, where it knows how; then it injects
# errors, and no signals (6.1)
my @fast = (@strace, '--seccomp-bpf');
my @nosync = ();

if (!$s3) {
	@fast = @strace if system("@fast true 2>/dev/null") != 0;
	@nosync = ('env', "LD_PRELOAD=$ENV{NOSYNC}") if exists $ENV{NOSYNC};
}

sub complain
{
	$bad++;
	print "# @_\n" if $bad <= 5;
}

# name => digest of all files below, but for what is hidden
sub tree
{
	my ($d, $rel, $h) = (@_, '', {});

	opendir my $dir, "$d/$rel" or die "$d/$rel: $!\n";
	for my $n (grep { !/^\./ } readdir $dir) {
		my $at = "$d/$rel$n";

		if (-d $at) {
			tree($d, "$rel$n/", $h);
		} elsif (-f _) {
			$h->{"$rel$n"} = sha256_hex(S3do::slurp($at));
		}
	}
	return $h;
}

my %set = (A => tree('A'), B => tree('B'));

# Of a journal's own names: is the last commit's work over?
sub journal
{
	my ($names) = @_;
	my ($last) = sort { $b <=> $a }
	    map { m{^commits/(\d+)\.json$} ? $1 : () } keys %$names;

	return defined $last && $names->{"done/$last.json"} ? 'over' :
	    'begun';
}

# What lies there: the keys' digests, the journal's state, what is left of
# work that is over.
sub look
{
	my (%names, %versions, $keys, @left);

	if ($s3) {
		my $all = $s3->list("$P/");

		%names = map { s{^\.intact/}{}r => 1 }
		    grep { m{^\.intact/} } keys %$all;
		%versions = map { m{^timestamped/([^/]+)} ? ($1, 1) : () }
		    keys %names;
		$keys = { map { $_ => $s3->ask('sum', "$P/$_") }
		    grep { !m{(?:^|/)\.} } keys %$all };
		@left = ((grep { m{^(?:old|staging)/} } keys %names),
		    $s3->ask('uploads', "$P/"));
	} else {
		my $at = "$P/.intact";

		%names = map { s{^\Q$at\E/}{}r => 1 }
		    glob("$at/commits/* $at/done/*");
		%versions = map { $_ => 1 } glob("$at/timestamped/*");
		$keys = tree($P);
		@left = grep { -e } "$at/old", "$at/moving",
		    glob("$at/staging/2*");
	}
	push @left, keys %versions if keys %versions != 1;
	return ($keys, journal(\%names), "@left");
}

# A, B or mixed; torn when a key is in neither state, or one was deleted
# before all others had come
sub judge
{
	my ($want, $s) = @_;
	my ($a, $b, $w) = (@set{qw(A B)}, $set{$want});
	my ($torn, $na, $nb, $late, $gone);

	for my $n (sort keys %{ { %$a, %$b, %$s } }) {
		my ($is, $x, $y, $z) = map { $_ // '' } $s->{$n}, $a->{$n},
		    $b->{$n}, $w->{$n};

		$torn = $n if $is ne $x && $is ne $y;
		$na = 1 if $is ne $x;
		$nb = 1 if $is ne $y;
		$late = $n if $z ne '' && $is ne $z;
		$gone = $n if $z eq '' && "$x$y" ne '' && $is eq '';
	}
	return "torn $torn" if defined $torn;
	return "torn: deleted $gone before $late"
	    if $na && $nb && defined $gone && defined $late;
	return $na ? $nb ? 'mixed' : 'B' : 'A';
}

# Run COMMAND with the files of a set as its input, if any: its status as a
# shell has it, what it says in out and err.
sub run
{
	my ($set, @cmd) = @_;
	my ($r, $w, $up, $pid);

	if (defined $set) {
		pipe $r, $w or die;
		$up = fork // die;
		if ($up == 0) {
			open STDOUT, '>&', $w or die;
			close $r;
			close $w;
			open STDERR, '>', 'err.up';
			exec 'dfetch', '--files', $set;
			exit 127;
		}
		close $w;
	}
	$pid = fork // die;
	if ($pid == 0) {
		open STDIN, '<&', $r or die if defined $r;
		open STDIN, '<', '/dev/null' if !defined $r;
		close $r if defined $r;
		open STDOUT, '>', 'out' or die;
		open STDERR, '>', 'err' or die;
		# whom the proxy's hook is to kill
		if ($s3) {
			open my $f, '>', 'pid' or die;
			print $f "$$\n";
			close $f or die;
		}
		exec @cmd;
		exit 127;
	}
	close $r if defined $r;
	waitpid $pid, 0;
	my $st = $? & 127 ? 128 + ($? & 127) : $? >> 8;

	waitpid $up, 0 if defined $up;
	return $st;
}

sub said { return S3do::slurp('out') . S3do::slurp('err') }

# The end of it: the next run comes to $end, and leaves nothing
sub ends
{
	my ($what, $to, $end, @cmd) = @_;

	run($cmd[2] eq '--delete' ? $to : undef, @nosync, @cmd) == 0 or
	    complain("$what: again:", said());
	my ($keys, undef, $left) = look();
	my $got = judge($to, $keys);

	complain("$what: $how: $got, want $end:", said()) if $got ne $end;
	complain("$what: left: $left") if $left ne '';
	return $got;
}

# What lies there after a run that was to make $to of $from; what is there
# when the next has run.
sub after
{
	my ($what, $st, $from, $to) = @_;
	my ($keys, $journal) = look();
	my $got = judge($to, $keys);

	if ($got =~ /^torn/) {
		complain("$what: $got");
	} elsif ($got eq 'mixed') {
		complain("$what: mixed, and the journal is $journal")
		    if $journal ne 'begun';
		$halves++;
	} elsif ($got ne $to && $st == 0) {
		complain("$what: success, and nothing is there");
	}
	return ends($what, $to, $to, @put) if $how ne 'back';
	return $got if $journal ne 'begun';
	return ends($what, $to, $from, @undo);
}

# A command under strace, which stops it at the Nth of these calls; undef
# when there is none.
sub traced
{
	my ($set, $call, $n, $fault, @cmd) = @_;

	unlink 'log';
	my @quick = $call eq 'fsync' ? () : map { ('-E', $_) }
	    @nosync[1 .. $#nosync];
	my $st = run($set, $fault =~ /^error/ ? @fast : @strace, '-e',
	    'signal=none', '-e', "trace=$call", '-e',
	    "inject=$call:$fault:when=$n", @quick, @cmd);

	return S3do::slurp('log') =~ ($fault =~ /^signal/ ? qr/= \?$/m :
	    qr/INJECTED/) ? $st : undef;
}

sub each_call
{
	my ($fault, $by, @calls) = @_;
	my $is = judge('A', (look())[0]);

	for my $call (@calls) {
		for (my $n = 1; $n <= 300; $n += $by) {
			my ($from, $to) = ($is, $is eq 'A' ? 'B' : 'A');
			my $st = traced($to, $call, $n, $fault, @put) // do {
				# it has come to its end
				$is = judge('A', (look())[0]);
				last;
			};

			$tried++;
			complain("$fault at $call $n: $st:", said())
			    if $fault =~ /^error/ && $st !~ /^(?:0|74)$/;
			$is = after("$fault at $call $n", $st, $from, $to);
		}
	}
	print "# $how: $tried times $fault, $halves half way\n";
	# some kill must leave a half; errors are too few to
	return $tried * $by > 10 && ($halves > 0 || $fault =~ /^error/);
}

sub each_undo
{
	my ($fault, $by, @calls) = @_;

	for my $call (@calls) {
		for (my $n = 1; $n <= 100; $n += $by) {
			system('rm', '-rf', $P) == 0 &&
			    system('cp', '-a', 'half', $P) == 0 or die;
			last if !defined traced(undef, $call, $n, $fault,
			    @undo);
			$tried++;
			my $got = judge('A', (look())[0]);

			complain("$call $n: $got") if $got =~ /^torn/;
			# the next publication takes it back, too
			ends("$call $n", $n % 2 ? ('B', 'B', @put) :
			    ('A', 'A', @undo));
		}
	}
	print "# rollback: $tried times $fault\n";
	return $tried * $by > 10;
}

sub each_request
{
	my ($by, $method) = @_;
	my $is = judge('A', (look())[0]);

	for my $where ('not hang first', 'done pass then') {
		my ($turn) = $where =~ /^(\w+ \w+)/;

		for (my $n = 1; $n <= 200; $n += $by) {
			my ($from, $to) = ($is, $is eq 'A' ? 'B' : 'A');

			$s3->fault("$method . $n $where=$ENV{KILLER}");
			my $st = do {
				local $ENV{AWS_ENDPOINT_URL} = $ENV{PROXY};
				run($to, @put);
			};

			if (!grep { / 1 $turn/ } $s3->asked) {
				$is = judge('A', (look())[0]);
				last;
			}
			$tried++;
			$is = after("$method $n $where", $st, $from, $to);
		}
	}
	print "# $how: killed at $tried times $method, $halves half way\n";
	return $tried > 0;
}

my %verbs = (each => \&each_call, undo => \&each_undo,
    requests => \&each_request);
my $enough = $verbs{$verb}->(@args);

exit($enough && $bad == 0 ? 0 : 1);
