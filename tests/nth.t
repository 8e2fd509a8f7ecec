#!/bin/sh
# nth.t: the Nth call of each kind fails, in each program of a run, for some
# N; NTH=0: for each N until there is none left.  Whatever fails: the status
# is one of ours and says no bug, something is said, the target holds the
# old version or the new one, whole, and the run again ends as if nothing
# had been.  A run that says 0 has done its work.
IN_MEMORY=1
. "$(dirname "$0")/lib.sh"
GEN=${GEN:-$SRC/build/gen}
export GEN
PROGS='dfetch dcheck dmerge dpublish drun dckpt'
plan 7
cat >nth.pl <<'P'
# nth.pl PROGRAM TRIES: what went wrong, and counts as the last line
use strict; use warnings;
my ($prog, $tries) = @ARGV;
my @calls = qw(malloc mmap open read write sync rename unlink mkdir fork pipe);
my $line = 'dfetch -B t d | dcheck | dmerge | dpublish t';
my %fine = map { $_ => 1 } 64 .. 69, 71 .. 77;
# its watcher hears nothing any more, and ends the stages
$fine{128 + 15} = 1 if $prog eq "drun";
my ($runs, $bad, $fine) = (0, 0, 0);
sub slurp { open my $f, '<', $_[0] or return ''; local $/; <$f> // '' }
sub sh { system('sh', '-c', "{ $_[0]; } >out 2>err </dev/null"); $? }
sub bad { $bad++; print "# $prog $_[0]\n" }
sub versions { my @v = glob 't/timestamped/*'; scalar @v }
sub digest {
	my $v = slurp('t/latest-pointer.txt');
	slurp("t/timestamped/$v/manifest.json") =~
	    /"content_digest": *"(\w+)"/ ? $1 : 'none';
}
sub whole {
	sh('dpublish holds t/timestamped/$(cat t/latest-pointer.txt)') == 0;
}
sub again { sh('rm -rf t tmp/* cache ck.db*; cp -Rp t0 t; cp ck0.db ck.db') }
again();
sh("drun '$line'") == 0 or die slurp('err');
my ($old, $new) = do { my $n = digest(); again(); (digest(), $n) };
my $run = $prog eq 'dckpt' ? 'dckpt -c ck.db list; s=$?; dckpt -c ck.db ' .
    'export --prometheus=metrics && exit $s' :
    "drun '$line'";
for my $call (@calls) {
	# the first few, then ever wider steps
	for (my ($n, $k) = (1, 0);; $n += $tries == 0 ? 1 :
	    1 + int($n * 6 / $tries)) {
		last if $tries != 0 && $k++ == 3 * $tries;
		again();
		unlink 'hit';
		my $st = sh("export LD_PRELOAD=$ENV{GEN}/nth.so NTH_PROG=$prog " .
		    "NTH_CALL=$call NTH_N=$n NTH_HIT=\$PWD/hit; " .
		    "timeout -k 5 60 sh -c '" . ($run =~ s/'/'\\''/gr) . "'");
		last if !-e 'hit';
		$runs++;
		my ($err, $what) = (slurp('err'), "$call $n");
		my $s = $st >> 8;
		if ($st & 127 || ($s != 0 && !$fine{$s})) {
			bad("$what: status $st: $err");
		} elsif ($s != 0 && $err !~ /\S/) {
			bad("$what: exit $s without a word");
		}
		next if $prog eq 'dckpt';
		my $d = digest();
		bad("$what: exit $s, digest $d: $err")
		    if ($d ne $old && $d ne $new) || ($s == 0 && $d ne $new);
		bad("$what: what is published is not whole") if !whole();
		sh("drun '$line'") == 0 && digest() eq $new && whole() or
		    bad("$what: again: " . slurp('err'));
		my @left = (glob('tmp/*'), glob('t/staging/*'));
		bad("$what: left: @left") if @left || versions() != 2;
		$fine++ if $s == 0;
	}
}
print "$bad bad of $runs, $fine of which were done all the same\n";
P
mkdir d tmp0
gendelta() { "$GEN/gendelta" "$@"; }
gendelta --out d --count 2 --records 5 --dim 8 >/dev/null
cp -Rp "$DATA/samples/purged_hnsw_l2/db" d/purged
drun "dfetch d/delta-0000 | dcheck | dmerge | dpublish t0" >/dev/null
DCKPT_DB=$T/ck0.db drun "dfetch d/delta-0000 | dcheck | dmerge -o m" >/dev/null
rm -rf tmp0
: >"$T/one"
env LD_PRELOAD="$GEN/nth.so" NTH_PROG=cat NTH_CALL=open NTH_N=1 \
    NTH_HIT="$T/hit" cat one 2>/dev/null
ok "the preload can be loaded" test -e hit
for p in $PROGS; do
	perl nth.pl $p "${NTH:-3}" >$p.said 2>&1
	tail -1 $p.said | sed 's/^/# /'
	is "$(sed "s/ of [1-9].*/ of some/" $p.said | head -60)" "0 bad of some" \
	    "$p: whatever fails"
done
finish
