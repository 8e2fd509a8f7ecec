#!/bin/sh
# flip.t: one byte is not what it was: one bit of it, or all of them.  In
# each kind of file that we read or write, and in the stream, that is either
# refused, by its name and with the right status, or it changes nothing: the
# same content comes out.  FLIPS=n bytes of each kind are tried (8); with
# FULL=1 every byte of the small ones, and 2000 of the large ones.  SEED=n.
. "$(dirname "$0")/lib.sh"
GEN=${GEN:-$SRC/build/gen}
FLIPS=${FLIPS:-8}
SEED=${SEED:-1}
FULL=${FULL:-0}
export FLIPS SEED FULL
plan 15

cat >flip.pl <<'P'
# flip.pl FILE STATUSES COMMAND: flip bytes of FILE, run COMMAND for each,
# which prints what matters; its status without a change is 0.
use strict; use warnings;
my ($file, $may, $cmd) = @ARGV;
my (%n, @at);
my %ok = map { $_ => 1 } split ' ', $may;

sub slurp {
	open my $f, '<', $_[0] or return '';
	local $/;
	return scalar(<$f>) // '';
}
sub run {
	my $st = system 'sh', '-c', "{ $cmd; } >flip.out 2>flip.err </dev/null";
	my @d = slurp('flip.out') =~ /"content_digest":"([0-9a-f]+)"/g;

	return ($st, @d ? $d[-1] : 'none', slurp('flip.err'));
}
my $text = slurp($file);
my ($st, $want, $err) = run();
die "$file: $st: $err" if $st != 0 || $want eq 'none';
srand $ENV{SEED};
my $most = $ENV{FULL} ? length $text <= 8192 ? length $text : 2000 :
    $ENV{FLIPS};
if ($most >= length $text) {
	@at = 0 .. length($text) - 1;
} else {
	# the first bytes say what it is
	@at = (0, map { int rand length $text } 2 .. $most);
}
chmod 0644, $file;
for my $at (@at) {
	for my $with (1 << int rand 8, 0xff) {
		my $t = $text;

		substr($t, $at, 1) = chr(ord(substr $t, $at, 1) ^ $with);
		open my $f, '+<', $file or die;
		print $f $t;
		close $f;
		($st, my $got, $err) = run();
		my $is = ($st & 127) != 0 ? 'died' : $st == 0 ?
		    $got eq $want ? 'harmless' : 'passed' :
		    !$ok{$st >> 8} ? 'status' : $err eq '' ? 'silent' :
		    'refused';
		$n{$is}++;
		print "# $file: byte $at ^ $with: $is: $st: ",
		    $err =~ s/\n/ /gr, "\n"
		    if $is !~ /^(?:refused|harmless)$/ && $n{$is} <= 5;
		open $f, '+<', $file or die;
		print $f $text;
		close $f;
	}
}
my $good = ($n{refused} // 0) + ($n{harmless} // 0);
my $all = 0;
$all += $_ for values %n;
printf "# %s: %d flips: %s; %.4g %% refused or harmless\n", $file, $all,
    join(', ', map { "$n{$_} $_" } sort keys %n), 100 * $good / $all;
print $good == $all ? 'all' : 'not all', "\n";
P
flip() {
	perl flip.pl "$1" "$2" "$3" >got 2>&1
	grep '^#' got
	is "$(grep -v '^#' got)" all "$4"
}

"$GEN/gendelta" --out a --count 1 --records 3 --dim 4 --seed 1
"$GEN/gendelta" --out b --count 1 --records 3 --dim 4 --seed 2 --start 100
drun 'dfetch -B T a | dcheck --no-cache | dmerge | dpublish T' >/dev/null
drun 'dfetch b | dcheck --no-cache | dmerge -o part' >/dev/null
drun 'dfetch b | dcheck --no-cache | dmerge -F chroma -o ours' >/dev/null
tar -cf b.tar -C b/delta-0000 .
tar -czf b.tgz -C b/delta-0000 .

rest='dcheck --no-cache | dmerge --json'
# An input whose digest the plan knows, as dfetch -l writes it of archives.
sum() { sha256sum "$1" | cut -d' ' -f1; }
for f in b.tar b.tgz; do
	printf '%s\tsha256=%s\n' "$T/$f" "$(sum $f)" >$f.plan
	flip $f 65 "drun 'dfetch -f $f.plan | $rest'" \
	    "$f, of which the plan says the digest"
done
# The checksum of gzip says it, too; what is in a header of it is not looked at.
flip b.tgz 65 "drun 'dfetch b.tgz | $rest'" \
    "b.tgz, of which nothing is known"
# Without either nobody can know a document from another; but all is read.
any() {
	perl flip.pl "$1" "65 66" "$2" >got 2>&1
	grep '^# .*flips:' got
	is "$(grep -c '^# .*flips:' got) $(grep -cE ': (died|status|silent):' \
	    got)" "1 0" "$3"
}
any b.tar "drun 'dfetch b.tar | $rest'" \
    "an archive of which nothing is known: never a crash, never silence"
any b/delta-0000/chroma.sqlite3 "drun 'dfetch b | $rest'" \
    "nor of a bare delta"

# Ours.
part="drun 'dfetch part | $rest'"
flip part/store.sqlite3 65 "$part" "an intermediate"
flip part/manifest.json "65 66" "$part" "its manifest"
ours="drun 'dfetch ours | $rest'"
flip ours/ledger.sqlite3 65 "$ours" "the ledger of a chroma store"
flip ours/chroma.sqlite3 65 "$ours" "its database"
base="drun 'dfetch -b T | $rest'"
v=$(cat T/latest-pointer.txt)
flip T/latest-pointer.txt "65 66" "$base" "the pointer"
flip T/commits/1.json "65 66" "$base" "a commit"
flip "T/timestamped/$v/manifest.json" "65 66" "$base" \
    "the manifest of a version"
flip "T/timestamped/$v/store.sqlite3" 65 "$base" "its store"

# What is known of units of work never decides what is published.
mkdir db
DCKPT_DB=$T/db/c drun 'dfetch b | dcheck --no-cache | dmerge -o again' \
    >/dev/null
sqlite3 db/c 'pragma journal_mode=delete' >/dev/null
rm -rf again
flip db/c "65 74 75" "rm -f db/c-*; DCKPT_DB=$T/db/c \
    drun 'dfetch b | $rest'" "the checkpoint database"

# A stream, between two stages.
run=20261121T000000.000000Z-00000001
DSTAGE=$TMPDIR/intact.$run
export DSTAGE
mkdir -m 700 "$DSTAGE"
: >"$DSTAGE/lock"
dfetch b | dcheck --no-cache >stream
cp -a "$DSTAGE" stage
flip stream "65 66 76" "rm -rf $DSTAGE; cp -a stage $DSTAGE;
    dmerge --json <stream" "a stream"
finish
