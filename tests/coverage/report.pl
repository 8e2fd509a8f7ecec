#!/usr/bin/perl
# report.pl [-u] BUILDDIR [FILE...]: what was counted there: per file the
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
my @raw = glob("$build/raw/*.profraw") or die "report.pl: nothing counted\n";
my @bins = grep { -x && !/\.so$/ } glob("$build/{bin,unit,gen}/*");
my %of;	# file -> { line number -> count }

@bins = grep { !/\.o$/ } @bins;
system('llvm-profdata', 'merge', '-sparse', '-o', "$build/raw/all", @raw) == 0
    or die "report.pl: llvm-profdata: status $?\n";
open my $f, '-|', 'llvm-cov', 'export', '-format=lcov',
    "-instr-profile=$build/raw/all", shift(@bins),
    map { ('-object', $_) } @bins or die "report.pl: llvm-cov: $!\n";
my $src = '';
while (<$f>) {
	$src = $1 if /^SF:(.*)$/;
	my ($name) = $src =~ m{((?:common|bin)/\w+\.c)$} or next;
	$of{$name}{$1} += $2 if /^DA:(\d+),(\d+)/;
}
close $f or die "report.pl: llvm-cov: status $?\n";

sub row {
	my ($name, $all, $ran) = @_;

	printf "%5.1f %% %6d of %6d  %s\n", $all ? 100 * $ran / $all : 0,
	    $ran, $all, $name;
}

my @names = grep {
	my $n = $_;
	!@ARGV || grep { index($n, $_) == 0 } @ARGV;
} sort keys %of;
die "report.pl: no such file was counted\n" if !@names;
my (%all, %ran, %dir);
for my $n (@names) {
	my @text;
	if ($lines) {
		open my $s, '<', $n or die "report.pl: $n: $!\n";
		@text = <$s>;
	}
	for my $at (sort { $a <=> $b } keys %{$of{$n}}) {
		my $count = $of{$n}{$at};
		print "$n:$at:$text[$at - 1]" if $lines && !$count;
		$all{$n}++;
		$ran{$n} += $count > 0;
	}
	my $d = $n =~ s{/.*}{}r;
	$dir{$_}[0] += $all{$n}, $dir{$_}[1] += $ran{$n} for $d, 'total';
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
