#!/usr/bin/perl
# nth.pl PROGRAM TRIES CALL...: the Nth call of each kind fails, in one
# program of a run, for ever larger N (TRIES of about three each; 0: for each
# N until there is none left).  What went wrong, and counts as the last line.
# For nth.t, which made d, t0, ck0.db; with $RGW it is a run onto that server.
# SPDX-License-Identifier: ISC
use strict;
use warnings;

my ($prog, $tries, @calls) = @ARGV;
my $s3 = $ENV{RGW};
# the machine failed, or is to be asked again later: no more can be said of
# what is wrong here, and nothing at all of the inputs
my %fine = (74 => 1, 75 => 1);
# its watcher hears nothing any more, and ends the stages
$fine{128 + 15} = 1 if $prog eq 'drun';
my ($runs, $bad, $fine, $turn, $t) = (0, 0, 0, 0, "t");

sub slurp { open my $f, '<', $_[0] or return ''; local $/; <$f> // '' }
sub spew { open my $f, '>', $_[0] or die; print $f $_[1]; close $f or die }
sub sh { system('sh', '-c', "{ $_[0]; } >out 2>err </dev/null"); $? }
sub bad { $bad++; print "# $prog $_[0]\n" }
sub line { "dfetch -B $t d | dcheck | dmerge | dpublish $t" }

# a directory
sub digest {
	my $v = slurp('t/latest-pointer.txt');
	slurp("t/timestamped/$v/manifest.json") =~
	    /"content_digest": *"(\w+)"/ ? $1 : 'none';
}
sub whole {
	sh('dpublish holds t/timestamped/$(cat t/latest-pointer.txt)') == 0;
}
sub left {
	my @left = (glob('tmp/*'), glob('t/staging/*'));
	my @v = glob 't/timestamped/*';
	push @left, @v - 2 . ' versions more' if @v != 2;
	return @left;
}

# an object store: by eyes of their own, which prove what they see; a prefix
# for each turn
sub look {
	return `$ENV{REAL}/s3look.py $s3 $t` =~ s/^(commit \d+) .*/$1/gmr;
}
sub again {
	if (!$s3) {
		sh('rm -rf t tmp/* cache ck.db*; cp -Rp t0 t; cp ck0.db ck.db');
		return;
	}
	$t = "s3://bucket/$prog-" . $turn++;
	sh('rm -rf tmp/* cache');
	sh("drun 'dfetch d/delta-0000 | dcheck | dmerge | dpublish $t'") == 0
	    or die slurp('err');
}
sub state_of { $s3 ? look() : digest() }

again();
my $old = state_of();
sh("drun '" . line() . "'") == 0 or die slurp('err');
my $new = state_of();
die "old is new: $old" if $old eq $new || $new =~ /none|^bad/m;
for my $call (@calls) {
	# the first few, then ever wider steps
	for (my ($n, $k) = (1, 0);; $n += $tries == 0 ? 1 :
	    1 + int($n * 6 / $tries)) {
		last if $tries != 0 && $k++ == 3 * $tries;
		again();
		unlink 'metrics';
		spew('hit', '0');
		my $run = $prog ne 'dckpt' ? "drun '" . line() . "'" :
		    'dckpt -c ck.db list && dckpt -c ck.db export ' .
		    '--prometheus -o metrics';
		# who dies for want of memory frees nothing
		my $asan = $ENV{ASAN_OPTIONS} // '';
		$asan .= ':detect_leaks=0' if $call eq 'sqlite';
		my $st = sh("export LD_PRELOAD=$ENV{GEN}/nth.so NTH_PROG=$prog " .
		    "ASAN_OPTIONS='$asan' " .
		    "NTH_CALL=$call NTH_N=$n NTH_HIT=\$PWD/hit " .
		    "NTH_CURL=$ENV{GEN}/nthcurl.so; " .
		    "timeout -k 5 60 sh -c '" . ($run =~ s/'/'\\''/gr) . "'");
		last if slurp('hit') ne '1';
		$runs++;
		my ($err, $what) = (slurp('err'), "$call $n");
		my $s = $st >> 8;
		if ($st & 127 || ($s != 0 && !$fine{$s})) {
			bad("$what: status $st: $err");
		} elsif ($s != 0 && $err !~ /\S/) {
			bad("$what: exit $s without a word");
		}
		$fine++ if $s == 0;
		if ($prog eq 'dckpt') {
			my @left = glob('*.tmp* .*.tmp* metrics?*');
			bad("$what: left: @left") if @left;
			bad("$what: done, but nothing is there")
			    if $s == 0 && slurp('metrics') !~ /^intact_/m;
			sh($run) == 0 && slurp('metrics') =~ /^intact_/m or
			    bad("$what: again: " . slurp('err'));
			next;
		}
		my $is = state_of();
		if ($s3) {
			# the pointer may lag behind, and what was about to be
			# done lie there: the next one sees to both
			my $seen = $is =~ s/^(?:staging|upload|stray) .*\n//gmr;
			my $lags = $new =~ s/^pointer 2$/pointer 1/mr;
			bad("$what: exit $s: $is$err") if $s == 0 ?
			    $is ne $new : $seen ne $old && $seen ne $lags &&
			    $seen ne $new;
		} else {
			bad("$what: exit $s, $is: $err") if ($is ne $old &&
			    $is ne $new) || ($s == 0 && $is ne $new);
			bad("$what: what is published is not whole")
			    if !whole();
		}
		sh("drun '" . line() . "'") == 0 && state_of() eq $new or
		    bad("$what: again: " . state_of() . slurp('err'));
		my @left = $s3 ? glob('tmp/*') : left();
		bad("$what: left: @left") if @left;
	}
}
print "$bad bad of $runs, $fine of which were done all the same\n";
