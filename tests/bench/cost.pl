#!/usr/bin/perl
# cost.pl COMMAND...: run it, and print what it cost: CPU seconds of it and
# all of its children, wall seconds, and in KiB the largest resident set of
# any of them, then the largest part of one that is no mapped file.
# SPDX-License-Identifier: ISC
use strict;
use warnings;
use POSIX ();
use Time::HiRes qw(time);

my $start = time;
my $pid = fork // die "fork: $!\n";
if (!$pid) {
	setpgrp;
	exec @ARGV or die "$ARGV[0]: $!\n";
}
local $SIG{TERM} = local $SIG{INT} = sub { kill 'KILL', -$pid };
my ($rss, $anon) = (0, 0);
while (waitpid($pid, POSIX::WNOHANG()) == 0) {
	for my $f (glob '/proc/[0-9]*/stat') {
		open my $h, '<', $f or next;
		my $s = <$h> // next;
		my ($group) = $s =~ /\) \S (?:\S+) (\S+)/;
		next if !defined $group || $group != $pid;
		open $h, '<', "${f}us" or next;
		while (<$h>) {
			$rss = $1 if /^VmHWM:\s+(\d+)/ && $1 > $rss;
			$anon = $1 if /^RssAnon:\s+(\d+)/ && $1 > $anon;
		}
	}
	select undef, undef, undef, 0.05;
}
my $status = $?;
my (undef, undef, $user, $sys) = times;
printf "%.2f %.2f %d %d\n", $user + $sys, time - $start, $rss, $anon;
exit($status ? 1 : 0);
