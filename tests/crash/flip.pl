#!/usr/bin/perl
# flip.pl one FILE STATUSES COMMAND
# flip.pl many [-a] INPUT FILE
#
# Bytes of FILE are flipped, one bit of each or all of them.  one: COMMAND is
# run for each, and prints what matters; its status without a change is 0, and
# with one it is among STATUSES.  many: FILE is INPUT, or a file in it, and
# some hundred copies of INPUT, each with its flip, are fetched and checked in
# one run; what was accepted is merged, of FULL and a large file every eighth
# run.  -a: other content may come out, as nobody can know it from what was
# there.
#
# FLIPS bytes are tried; with FULL every byte: of a file of more than 8192
# bytes one 2000 times, and many with one flip a byte.  What went wrong, and
# counts as the last line but one.  For flip.t.
# SPDX-License-Identifier: ISC
use strict;
use warnings;
use File::Find;

my $AT_ONCE = 250;
my (%n, %ok, $want, $text, $file, $all);

sub slurp {
	open my $f, '<', $_[0] or return '';
	local $/;
	return scalar(<$f>) // '';
}
sub spew {
	open my $f, '>', $_[0] or die "$_[0]: $!\n";
	print $f $_[1];
	close $f or die "$_[0]: $!\n";
}
sub run {
	my $st = system 'sh', '-c',
	    "{ $_[0]; } >flip.out 2>flip.err </dev/null";
	my @d = slurp('flip.out') =~ /"content_digest":"([0-9a-f]+)"/g;

	return ($st, @d ? $d[-1] : 'none', slurp('flip.err'));
}
# the first run, without a change
sub first {
	my ($st, $d, $err) = run($_[0]);

	die "$file: $st: $err" if $st != 0 || $d eq 'none';
	return $d;
}
# where, and how: the first bytes say what it is
sub flips {
	my ($most, $each) = @_;
	my $len = length $text;
	my @at = $most >= $len ? 0 .. $len - 1 :
	    (0, map { int rand $len } 2 .. $most);

	return map {
		my $at = $_;
		my @with = (1 << int rand 8, 0xff);
		@with = $with[int rand 2] if $each == 1;
		map { [$at, $_] } @with;
	} @at;
}
sub flipped {
	my ($f) = @_;
	my $t = $text;

	substr($t, $f->[0], 1) = chr(ord(substr $t, $f->[0], 1) ^ $f->[1]);
	return $t;
}
sub count {
	my ($f, $is, $st, $err) = @_;

	$n{$is}++;
	return if $is =~ /^(?:refused|harmless|other)$/ || $n{$is} > 5;
	print "# $file: byte $f->[0] ^ $f->[1]: $is: $st: ",
	    $err =~ s/\n/ /gr, "\n";
}
# what a run of one flip came to
sub judge {
	my ($st, $got, $err) = @_;

	return ($st & 127) != 0 ? 'died' : $st == 0 ?
	    $got eq $want ? 'harmless' : $all ? 'other' : 'passed' :
	    !$ok{$st >> 8} ? 'status' : $err eq '' ? 'silent' : 'refused';
}

sub one {
	my $cmd = shift;
	my $most = !$ENV{FULL} ? $ENV{FLIPS} :
	    length $text <= 8192 ? length $text : 2000;

	$want = first($cmd);
	chmod 0644, $file;
	for my $f (flips($most, 2)) {
		# the same file, as a disk flips it
		open my $o, '+<', $file or die;
		print $o flipped($f);
		close $o;
		my @got = run($cmd);
		count($f, judge(@got), $got[0], $got[2]);
		open $o, '+<', $file or die;
		print $o $text;
		close $o;
	}
}

my (@dirs, %rest, $input, $good);
my $runs = 0;

sub lay {
	my ($to, $with) = @_;

	if ($input eq $file) {
		spew($to, $with);
		return;
	}
	mkdir $to or die "$to: $!\n";
	mkdir "$to/$_" for @dirs;
	spew("$to$_", $rest{$_}) for keys %rest;
	spew($to . substr($file, length $input), $with);
}
sub planned { join '', map { "$_\n" } @_ }

# a chunk: where not each has an answer, or the run has none that an input
# may cause, it is parted
sub chunk {
	my @f = @_;
	my (%is, %at, $i);

	$at{"$ENV{T}/many/" . $i++} = $_ for @f;
	mkdir 'many';
	lay($_, flipped($at{$_})) for keys %at;
	# a good one before them, which says what they have to agree with
	spew('many.plan', planned($good, sort keys %at));
	my ($st, undef, $err) = run("drun 'dfetch -f many.plan | " .
	    "dcheck -k --no-cache --json'");
	for (split /\n/, slurp('flip.out')) {
		next if !/^{"t":"(delta|refused)","url":"([^"]+)"/ ||
		    !exists $at{$2};
		my ($t, $url) = ($1, $2);
		die "$url: twice\n" if exists $is{$url};
		if ($t eq 'delta') {
			$is{$url} = /"content_digest":"(\w+)"/ ?
			    $1 eq $want ? 'harmless' : $all ? "other $1" :
			    'passed' : 'silent';
		} else {
			$is{$url} = /"verdict":"(?:crash|timeout)"/ ? 'died' :
			    /"reason":"[^"]/ ? 'refused' : 'silent';
		}
	}
	my $refused = grep { $_ eq 'refused' } values %is;
	if (($st != 0 && $st >> 8 != 65) || keys %is != @f ||
	    ($st == 0) != ($refused == 0)) {
		system 'rm', '-rf', 'many';
		if (@f == 1) {
			count($f[0], $st == 0 ? 'silent' :
			    judge($st, 'none', $err), $st, $err);
		} else {
			chunk(@f[0 .. @f / 2 - 1]);
			chunk(@f[@f / 2 .. $#f]);
		}
		return;
	}
	# the merge of what is called the same must be the same, too
	my $merge = "drun 'dfetch -f many.plan | dcheck --no-cache | " .
	    "dmerge --json'";
	my @same = grep { $is{$_} eq 'harmless' } sort keys %is;
	if (@same && (!$ENV{FULL} || length $text <= 8192 || $runs++ % 8 == 0)) {
		spew('many.plan', planned(@same));
		my ($mst, $got, $merr) = run($merge);
		if ($mst != 0 || $got ne $want) {
			for (@same) {
				spew('many.plan', planned($_));
				my @got = run($merge);
				$is{$_} = judge(@got);
				$is{$_} = 'merged' if $is{$_} eq 'refused';
				$err .= $got[2];
			}
		}
	}
	for (grep { $is{$_} =~ /^other / } keys %is) {
		spew('many.plan', planned($_));
		my ($mst, $got, $merr) = run($merge);
		$is{$_} = $mst == 0 && $is{$_} eq "other $got" ? 'other' :
		    'merged';
		$err .= $merr;
	}
	count($at{$_}, $is{$_}, $st, $is{$_} eq 'refused' ? '' : $err)
	    for sort keys %is;
	system 'rm', '-rf', 'many';
}
sub many {
	my @f = flips($ENV{FULL} ? length $text : $ENV{FLIPS},
	    $ENV{FULL} && length $text > 8192 ? 1 : 2);

	if ($input ne $file) {
		find({ no_chdir => 1, wanted => sub {
			my $rel = substr $_, length $input;
			push @dirs, $rel if -d && $rel ne '';
			$rest{$rel} = slurp($_) if -f && $_ ne $file;
		} }, $input);
	}
	$good = "$ENV{T}/" . ($input eq $file ? 'good' : 'good.d');
	system 'rm', '-rf', $good;
	lay($good, $text);
	spew('many.plan', planned($good));
	$want = first("drun 'dfetch -f many.plan | dcheck --no-cache | " .
	    "dmerge --json'");
	while (@f) {
		chunk(splice @f, 0, $AT_ONCE);
	}
}

srand $ENV{SEED};
my $how = shift;
if ($how eq 'one') {
	($file, my $may, my $cmd) = @ARGV;
	%ok = map { $_ => 1 } split ' ', $may;
	$text = slurp($file);
	one($cmd);
} else {
	$all = shift if $ARGV[0] eq '-a';
	($input, $file) = @ARGV;
	%ok = (65 => 1, 66 => 1);
	$text = slurp($file);
	many();
}
my $fine = ($n{refused} // 0) + ($n{harmless} // 0) + ($n{other} // 0);
my $sum = 0;
$sum += $_ for values %n;
printf "# %s: %d flips of %d bytes: %s; %.4g %% refused or harmless\n",
    $file, $sum, length $text, join(', ', map { "$n{$_} $_" } sort keys %n),
    100 * (($n{refused} // 0) + ($n{harmless} // 0)) / $sum;
print $fine == $sum ? 'all' : 'not all', "\n";
