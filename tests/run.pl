#!/usr/bin/perl
# run.pl BUILDDIR [TEST...]: what `make check` runs: unit tests and tests/*.t
# through TAP::Harness (that is, prove), then one line that says it all:
# "N passed, N failed" and ", N skipped" when a test skipped something.
# JOBS (two a processor, for many of them wait) run at once; a file that
# takes longer than LIMIT seconds (900) is killed and has failed.  They work
# in memory (memory.sh says where), or below TMPDIR; ON_DISK=1 in one of them,
# or FULL=1, says that it needs a disk.
# SPDX-License-Identifier: ISC
use strict;
use warnings;
use Cwd qw(abs_path);
use TAP::Harness;

my $build = abs_path(shift // 'build');
# the longest first: at the end nobody waits for one
my @long = map { "tests/$_.t" } qw(unknown files fetchfault send dav remote
    nth s3ops real cluster openai s3 crash interleave s3race soak drun_tries
    artifact s3target dcheck kill fault);
my %long = map { $_ => 1 } @long;
my @tests = @ARGV ? @ARGV : ((grep { -e } @long),
    sort(glob('tests/unit/*.c')),
    grep { !$long{$_} } sort(glob('tests/*.t')));
my $limit = $ENV{LIMIT} // 900;
my @run;

for my $t (@tests) {
	my $name = $t;

	$name =~ s/^tests\///;
	# a unit test is its program, built beforehand
	$t = "$build/unit/$1" if $t =~ m{unit/(\w+)\.c$};
	push @run, [ $t, $name ];
}
die "run.pl: no tests\n" if !@run;
$ENV{BIN} = "$build/bin";
$ENV{UNIT} = "$build/unit";
$ENV{GEN} = "$build/gen";
open STDIN, '<', '/dev/null' or die "run.pl: /dev/null: $!\n";

sub processors
{
	my $n = `nproc 2>/dev/null`;

	return ($n // "") =~ /^([1-9]\d*)$/ ? $1 : 1;
}

my $memory = `tests/memory.sh`;
chomp $memory;
$ENV{MEMORY} = $memory;
# a unit test has no lib.sh
my @unit = $ENV{TMPDIR} || $memory eq '' ? () : ('env', "TMPDIR=$memory");
# it is ours: examples have one of that name
my $jobs = delete $ENV{JOBS} // 2 * processors();
my $h = TAP::Harness->new({
	jobs => $jobs,
	timer => 1,
	verbosity => $ENV{VERBOSE} // 0,
	failures => 1,
	comments => 1,
	exec => sub {
		my ($harness, $test) = @_;

		return [ ($test =~ /\.t$/ ? () : @unit), 'timeout', '-k', '10',
		    $limit, $test ];
	},
});
# which tests were skipped, and why: a number alone helps nobody
my @skips;
$h->callback(made_parser => sub {
	my ($parser, $job) = @_;

	$parser->callback(test => sub {
		push @skips, "$job->[1]: " . $_[0]->explanation
		    if $_[0]->has_skip;
	});
});
my $agg = $h->runtests(@run);
my $failed = $agg->failed;
my $skipped = $agg->skipped;
# a file that died, or broke its plan, counts even when no line said so
for my $p ($agg->parsers) {
	next if $p->failed;
	$failed++ if $p->parse_errors || $p->exit || $p->wait;
}
print "skipped: $_\n" for @skips;
printf "%d passed, %d failed%s\n", $agg->passed - $skipped, $failed,
    $skipped ? ", $skipped skipped" : '';
exit($failed == 0 && $agg->passed > 0 ? 0 : 1);
