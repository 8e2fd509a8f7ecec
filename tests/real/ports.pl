#!/usr/bin/perl
# ports.pl [N]: N (1) ports of loopback that nobody has just now, and that
# nobody gets by chance before the server that is begun next has them: not of
# those that the kernel gives to connections and to whoever wants just any.
# SPDX-License-Identifier: ISC
use strict;
use warnings;
use IO::Socket::INET;

my $n = shift // 1;
my ($first, $end) = (10000, 32768);
if (open my $f, '<', '/proc/sys/net/ipv4/ip_local_port_range') {
	$end = $1 if (<$f> // '') =~ /^(\d+)/;
}
my @held; # until the end, so that none is given twice
for (1 .. 1000) {
	last if @held == $n;
	# where there are none but the kernel's, one of those
	my $port = $end > $first + 1000 ? $first + int rand($end - $first) : 0;
	my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1',
	    LocalPort => $port);
	push @held, $s if $s;
}
@held == $n or die "ports.pl: no ports\n";
print join(' ', map { $_->sockport } @held), "\n";
