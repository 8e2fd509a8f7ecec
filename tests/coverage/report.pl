#!/usr/bin/perl
# report.pl [-u] BUILDDIR [FILE...]: what gcov counted there: per file the
# lines that can run, those that did, and the percentage, the least first;
# then totals.  -u prints the lines that did not run instead.  FILEs (as
# common/s3.c, or the beginning of names) are all that is looked at.
# WANT=90: status 1 when a file has less than that percentage.
# SPDX-License-Identifier: ISC
use strict;
use warnings;
use Cwd qw(abs_path);

my $lines = @ARGV && $ARGV[0] eq '-u' && shift;
my $build = abs_path(shift // 'build/cov') or die "report.pl: no build\n";
my %of;	# file -> { line number -> [count, text] }

# gcov(1)'s text: COUNT: LINE: TEXT, # for no count, - for what is no code
sub count {
	my ($gcno) = @_;
	my $src = '';
	my $dir = $gcno =~ s{/[^/]*$}{}r;
	# its stderr tells of each file that nothing ran
	open my $f, '-|', "gcov -t -o '$dir' '$gcno' 2>/dev/null"
	    or die "report.pl: gcov: $!\n";
	while (<$f>) {
		my ($n, $at, $text) = /^\s*([^:]+):\s*(\d+):(.*)$/ or next;
		if ($at == 0) {
			$src = $1 if $text =~ /^Source:(.*)$/;
			next;
		}
		next if $n eq '-' || $src !~ m{^(?:common|bin)/\w+\.c$};
		$n = $n =~ /^(\d+)/ ? $1 : 0;
		my $l = $of{$src}{$at} //= [ 0, $text ];
		$l->[0] += $n;
	}
	close $f or die "report.pl: gcov $gcno: status $?\n";
}

sub row {
	my ($name, $all, $ran) = @_;

	printf "%5.1f %% %6d of %6d  %s\n", $all ? 100 * $ran / $all : 0,
	    $ran, $all, $name;
}

count($_) for sort(glob("$build/common/*.gcno $build/bin/*.gcno"));
my @names = grep {
	my $f = $_;
	!@ARGV || grep { index($f, $_) == 0 } @ARGV;
} sort keys %of;
die "report.pl: nothing was counted in $build\n" if !@names;
my (%all, %ran, %dir);
for my $f (@names) {
	for my $at (sort { $a <=> $b } keys %{$of{$f}}) {
		my ($n, $text) = @{$of{$f}{$at}};
		print "$f:$at:$text\n" if $lines && !$n;
		$all{$f}++;
		$ran{$f} += $n > 0;
	}
	my $d = $f =~ s{/.*}{}r;
	$dir{$_}[0] += $all{$f}, $dir{$_}[1] += $ran{$f} for $d, 'total';
}
if (!$lines) {
	row($_, $all{$_}, $ran{$_}) for sort {
	    $ran{$a} / $all{$a} <=> $ran{$b} / $all{$b} || $a cmp $b } @names;
	row($_, @{$dir{$_}}) for sort { ($a eq 'total') <=> ($b eq 'total') ||
	    $a cmp $b } keys %dir;
}
my @low = grep { 100 * $ran{$_} < ($ENV{WANT} // 0) * $all{$_} } @names;
warn "report.pl: less than $ENV{WANT} %: @low\n" if @low;
exit(@low ? 1 : 0);
