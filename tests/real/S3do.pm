# S3do: one "s3do -" for all that a test asks of an S3 server, and the rules
# and the log of the fault proxy before it (faultproxy.py), for the loops of
# tests in perl.  A process for each object would cost more than what is
# tested; what s3do refuses ends the test.
#
# SPDX-License-Identifier: ISC
package S3do;
use strict;
use warnings;
use IPC::Open2 ();
use Time::HiRes ();

# S3do->new(PROXYDIR): the server is that of AWS_ENDPOINT_URL; the directory
# is that of fault_up
sub new
{
	my ($class, $fp) = @_;
	my ($out, $in);
	my $pid = IPC::Open2::open2($out, $in, 's3do', '-');

	return bless { out => $out, in => $in, pid => $pid, fp => $fp },
	    $class;
}

# The lines that a verb prints.
sub ask
{
	my ($s, @words) = @_;
	my @v;

	print { $s->{in} } join("\t", @words), "\n";
	$s->{in}->flush;
	while (1) {
		my $line = readline $s->{out} // die "s3do: @words: failed\n";

		return @v if $line eq ".\n";
		chomp $line;
		push @v, $line;
	}
}

# All objects below a URL: what comes after it in their keys, with "size
# etag" of each.
sub list
{
	my ($s, $url) = @_;
	my ($key) = $url =~ m{^s3://[^/]+/(.*)}s;

	return { map { my ($size, $etag, $k) = split / /, $_, 3;
	    (substr($k, length $key) => "$size $etag") }
	    $s->ask('list', $url) };
}

sub slurp
{
	open my $f, '<', $_[0] or return '';
	local $/;
	return scalar(<$f>) // '';
}

# What was asked, as "METHOD TARGET RULE WHERE ACTION": when all of it has
# had its end.
sub asked
{
	my ($s) = @_;

	for my $turn (1 .. 1500) {
		my $log = slurp("$s->{fp}/log");
		my @v = $log =~ /^ask \d+ (.*)$/mg;

		return @v if @v == (() = $log =~ /^end /mg);
		Time::HiRes::sleep(0.02);
	}
	die "requests without an end\n";
}

# These rules from now on, none without, and an empty log.
sub fault
{
	my ($s, @rules) = @_;

	$s->asked;
	open my $f, '>', "$s->{fp}/rules.new" or die;
	print $f "$_\n" for @rules;
	close $f or die;
	rename "$s->{fp}/rules.new", "$s->{fp}/rules" or die;
	open $f, '>', "$s->{fp}/log" or die;
}

1;
