#!/usr/bin/perl
# s3ops.pl SCENE SAVED COMMAND...: for tests/s3ops.t: the files of SAVED
# are put below a new prefix, COMMAND (@P in it is the prefix) is run there,
# and killed at its first request, then all of it again at its next (BY=3: the
# third after that), until it comes to its end.  In between everything is
# whole, here or there, and # the same command again ends it.  It prints what is not so, and as a comment
# how often it killed.  SCENE is aside, back (of two inputs into quarantine)
# or gc.
#
# A is the target as it was made before, V the versions of it: gone, kept,
# gone, kept; FP and PROXY the proxy, KILLER its hook: files.t's.
# SPDX-License-Identifier: ISC
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/real";
use S3do;

my ($scene, $saved, @cmd) = @ARGV;
my $s3 = S3do->new($ENV{FP});
my ($gone1, $kept1, $gone2, $kept2) = split ' ', $ENV{V} // '';
my $was = $s3->list("$ENV{A}/");
my @files = split /\n/, `cd '$saved' && find . -type f | sed 's,^./,,'`;

# of what matches: "size etag rest", sorted
sub below
{
	my ($all, $re) = @_;

	return join "\n", sort map { /^$re(.*)$/s ? "$all->{$_} $1" : () }
	    keys %$all;
}

my %input = (bad_magic => qr{bad_magic/}, batch => qr{batch\.jsonl(?=$)});
my $either = qr{(?:$input{bad_magic}|$input{batch})};
my $set_aside = qr{quarantine/[^/]*/};
my %want = map { $_ => below($was, qr{$set_aside$input{$_}}) } keys %input;

sub between_aside
{
	my ($all) = @_;

	return map { my $in = $input{$_};
	    below($all, qr{deltas/$in}) eq $want{$_} ||
	    below($all, qr{$set_aside$in}) eq $want{$_} ? () : "$_ torn" }
	    sort keys %input;
}

sub rest
{
	my ($all, $moved) = @_;
	my @n = grep { m{^quarantine/.*moved\.json} } keys %$all;

	return ((grep { m{^staging/} } sort keys %$all),
	    @n == $moved ? () : scalar(@n) . ' moved.json');
}

sub after_aside
{
	my ($all, $st) = @_;

	return (between_aside($all), $st == 0 ? () : 'status',
	    below($all, qr{deltas/$either}) eq '' ? () :
	    'not moved', rest($all, 2));
}

# back: entries name the URL, so that each prefix makes its own
sub before_back
{
	my ($P) = @_;

	sh("dpublish quarantine $P $P/deltas/bad_magic/ " .
	    "$P/deltas/batch.jsonl");
	open my $f, '>', 'names' or die;
	print $f map { m{^quarantine/([^/]+)/verdict\.json} ? "$1\n" : () }
	    sort keys %{ $s3->list("$P/") };
	close $f or die;
}

sub after_back
{
	my ($all, $st) = @_;

	return (between_aside($all), $st == 0 || $st == 66 ? () : 'status',
	    below($all, qr{$set_aside$either}) eq '' ? () :
	    'not moved', rest($all, 0));
}

# gc: what is pinned and what is current is whole; of what goes the manifest
# is gone first
sub between_gc
{
	my ($all) = @_;
	my $at = sub { below($_[0], qr{timestamped/$_[1]/}) };

	return ((map { $at->($all, $_) eq $at->($was, $_) ? () : "$_ torn" }
	    $kept1, $kept2),
	    (map { $at->($all, $_) eq $at->($was, $_) ||
	    $at->($all, $_) !~ /manifest\.json/ ? () : "$_ torn" }
	    $gone1, $gone2),
	    join("\n", sort grep { m{^commits/} } keys %$all) eq
	    join("\n", sort grep { m{^commits/} } keys %$was) ? () :
	    'commits');
}

sub after_gc
{
	my ($all, $st) = @_;

	return (between_gc($all), $st == 0 ? () : 'status',
	    (map { below($all, qr{timestamped/$_/}) eq '' ? () :
	    'not gone' } $gone1, $gone2),
	    grep { m{^staging/} } sort keys %$all);
}

sub sh
{
	my $st = system 'sh', '-c', "{ $_[0]; } >kout 2>&1 </dev/null";

	return $st & 127 ? 128 + ($st & 127) : $st >> 8;
}

my %scenes = (
	aside => [sub { }, \&between_aside, \&after_aside],
	back => [\&before_back, \&between_aside, \&after_back],
	gc => [sub { }, \&between_gc, \&after_gc],
);
my ($before, $between, $after) = @{ $scenes{$scene} };
my ($n, $by) = (1, $ENV{BY} // 1);

die "nothing to look for\n"
    if $scene ne 'gc' && grep { $_ eq '' } values %want;
for ($n = 1; $n <= 200; $n += $by) {
	my $P = "s3://bucket/k/$scene.$n";
	my $do = join(' ', @cmd) =~ s/\@P/$P/gr;

	$s3->ask('put', "$P/$_", "$saved/$_") for @files;
	$before->($P);
	$s3->fault("* . $n done reset then=$ENV{KILLER}");
	my $st = do {
		local $ENV{AWS_ENDPOINT_URL} = $ENV{PROXY};
		system 'sh', '-c', "echo \$\$ >pid; exec $do >kout 2>&1";
	};
	print map { "$n: $_\n" } $between->($s3->list("$P/"));
	# a shell's 137
	last if $st != 9;
	$st = sh($do);
	print map { "$n: again: $st: $_ " . S3do::slurp('kout') . "\n" }
	    $after->($s3->list("$P/"), $st);
}
$s3->fault;
print "# $scene: killed at ", ($n - 1) / $by, " requests\n";
print "only $n\n" if $n <= 8;
