#!/bin/sh
# fault.t: every crash point and every failing system call of a
# publication, one after the other: strace kills dpublish at its Nth write,
# fsync, link, rename ... or makes that call fail, for N = 1, 2, 3 until
# there is none left.  The target is always old or new, and whole; exit 0
# is never said of work undone; the same again ends with the same content
# and leaves nothing.
. "$(dirname "$0")/lib.sh"
# a leak checker traces the process itself, and cannot where strace does; a
# preload stands before the sanitizer's own library, which may be so
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0
export ASAN_OPTIONS
GEN=${GEN:-$SRC/build/gen}
# what a killed process wrote is there without fsync, too, and the disk need
# not be waited for; where calls of fsync are counted, it is
NOSYNC=$GEN/nosync.so
export GEN NOSYNC
plan 16

if ! strace -f -o probe -e trace=rename -e inject=rename:error=EIO \
    true >/dev/null 2>&1; then
	skip 16 "strace cannot trace here"
	finish
fi

cat >fault.pl <<'P'
# fault.pl SCENARIO FAULT CALL...: one line of counts: what was tried, and
# what went wrong of it; the details as comments.
use strict; use warnings; use Digest::SHA;
my ($scene, $fault, @calls) = @ARGV;
my ($run, %n) = ('20261121T000000.000000Z-00000001');
my $stage = "$ENV{TMPDIR}/intact.$run";
my $pipe = 'dfetch -B T b | dcheck | dmerge | dpublish T';
my %cmd = (
	commit => 'dpublish --commit', publish => 'dpublish T <stream',
	rollback => 'dpublish rollback T', place => 'dpublish -a art/ a/*');
# what the machine did is nobody's bug
my %ok = (0 => 1, ($fault eq 'EMFILE' ? 75 : 74) => 1);

sub slurp {
	open my $f, '<', $_[0] or return undef;
	local $/;
	return scalar <$f>;
}
sub sh { system('sh', '-c', "{ $_[0]; } >out 2>err </dev/null"); $? }
sub reset_all {
	my $from = $scene eq 'rollback' ? 'rolled' : $scene eq 'place' ?
	    'base' : $scene;
	sh("rm -rf T art .intact.* '$ENV{TMPDIR}'; cp -a $from T &&" .
	    "mkdir '$ENV{TMPDIR}'") == 0 or die;
	sh("cp -a stage.$scene '$stage'") == 0 or die if -d "stage.$scene";
}
# what a version holds, or what is wrong with it
sub version {
	my $d = "T/timestamped/$_[0]";
	my $m = slurp("$d/manifest.json") // return "$_[0] is gone";
	while ($m =~ /"name":"([^"]*)","size":\d+,"sha256":"([0-9a-f]*)"/g) {
		my ($name, $sha) = ($1, $2);
		my $b = slurp("$d/$name") // return "$d/$name is gone";
		Digest::SHA::sha256_hex($b) eq $sha or return "$d/$name torn";
	}
	$m =~ /"content_digest":"([0-9a-f]{64})"/ or return "$d: no digest";
	return $1;
}
# what readers and what publishers see, "" when it is in order
sub look {
	my ($p, $new, %named) = (slurp('T/latest-pointer.txt') // '', '');
	my @g = sort { $a <=> $b } map { m{(\d+)\.json$} ? $1 : 1e9 }
	    glob('T/commits/*');
	for (@g) {
		my $c = slurp("T/commits/$_.json") // '';
		$c =~ /^\{.*"version":"([^"]+)".*\}\n\z/ or
		    return ('', '', "commit $_ is torn");
		$named{$1} = 1;
		$new = $1;
	}
	my ($seen, $truth) = (version($p), version($new));
	my $bad = !$named{$p} ? "pointer '$p' names no commit" :
	    $seen !~ /^[0-9a-f]{64}\z/ ? $seen :
	    $truth !~ /^[0-9a-f]{64}\z/ ? $truth : '';
	return ($seen, $truth, $bad);
}
sub art {
	my $s = '';
	for my $d (glob 'a/*') {
		(my $to = $d) =~ s/^a/art/;
		my $got = -e $to ? system("diff -r $d $to >/dev/null") == 0 ?
		    'new' : 'torn' : 'old';
		return ('torn', 'torn', "$to differs") if $got eq 'torn';
		$s .= $got;
	}
	return ($s, $s, '');
}
sub state { $scene eq 'place' ? art() : look() }
sub again { $scene eq 'commit' || $scene eq 'publish' ? "drun '$pipe'" :
    $cmd{$scene} }
sub left {
	my @v = glob("$ENV{TMPDIR}/* T/staging/* .intact.* art/.intact.*");
	my %named = map { (slurp($_) // '') =~ /"version":"([^"]+)"/ ?
	    ($1, 1) : () } glob('T/commits/*');
	push @v, grep { !$named{s/.*\///r} } glob('T/timestamped/*');
	return "@v";
}
sub complain {
	my ($what, @say) = @_;
	$n{$what}++;
	print "# $what: @say" =~ s/\n/ /gr, "\n" if $n{$what} <= 5;
}

$ENV{DSTAGE} = $stage if -d "stage.$scene";
$ENV{DRUN_ID} = $run if $scene eq 'commit';
my %env = %ENV;
reset_all();
my @old = state();
sh($cmd{$scene}) == 0 or die slurp('err');
my @new = state();
die "$scene: @new" if $new[2] ne '' || $old[0] eq $new[0];
my ($tried, $how) = (0, $fault eq 'KILL' ? 'signal=KILL' :
    "error=$fault");
# stops at those calls alone, where it knows how; then it injects no signals
my $strace = 'strace -qq -f -o log -e signal=none';
$strace .= ' --seccomp-bpf' if $fault ne 'KILL' &&
    sh("$strace --seccomp-bpf true") == 0;
for my $call (@calls) {
	my $quick = $call =~ /^(?:fsync|openat)$/ ? '' :
	    "-E LD_PRELOAD=$ENV{NOSYNC} ";
	for (my $i = 1; $i <= 500; $i++) {
		my $at = "$fault at $call $i";
		%ENV = %env;
		reset_all();
		unlink 'log';
		my $st = sh("exec $strace $quick" .
		    "-e trace=$call -e inject=$call:$how:when=$i " .
		    $cmd{$scene});
		my $log = slurp('log') // '';
		last if $fault eq 'KILL' ? $log !~ m{= \?$}m :
		    $log !~ /INJECTED/;
		$tried++;
		my $err = slurp('err') // '';
		my @now = state();
		complain('torn', $at, $now[2]) if $now[2] ne '' ||
		    $now[0] ne $old[0] && $now[0] ne $new[0] &&
		    $scene ne 'place';
		complain('status', $at, $st, $err) if $fault ne 'KILL' &&
		    (($st & 127) != 0 || !$ok{$st >> 8});
		complain('silent', $at) if $fault ne 'KILL' && $st != 0 &&
		    $err eq '';
		complain('undone', $at) if $st == 0 &&
		    "@now" ne "@new";
		# the tickets of one who was killed can be taken up again
		if ($scene eq 'commit' && $fault eq 'KILL') {
			sh($cmd{commit}); # 66 when it had come to its end
			@now = state();
			complain('retry', $at, "@now", slurp('err'))
			    if "@now" ne "@new";
		}
		delete @ENV{qw(DSTAGE DRUN_ID)};
		$ENV{LD_PRELOAD} = $ENV{NOSYNC};
		# where nothing happened, nothing is to be mended
		next if $fault ne 'KILL' && "@now" eq "@old" &&
		    left() =~ m{^(?:\Q$stage\E)?$};
		# a rollback that was committed is one step further already
		next if $scene eq 'rollback' && $now[1] eq $new[1];
		$st = sh(again());
		@now = state();
		complain('again', $at, $st, "@now", slurp('err'))
		    if $st != 0 || "@now" ne "@new";
		my $left = left();
		complain('left', $at, $left) if $left ne '';
	}
}
print "# $scene: $tried times $fault\n";
print $tried > 10 ? 'tried' : "only $tried tried",
    map({ " $_ $n{$_}" } sort keys %n), "\n";
P

cat >order.pl <<'P'
# order.pl ROOT LOG: what of ROOT was not yet durable when it had to be:
# all but the uploads in progress when a commit is created, the commits
# when the pointer moves, everything at the end.  The log is strace -y's.
use strict; use warnings;
my ($root, $log) = @ARGV;
my (%file, %dir);	# not durable: bytes, entries
my ($commits, $moved) = (0, 0);
my $q = qr/"([^"]*)"/;
my $at = qr/(?:AT_FDCWD(?:<[^>]*>)?|\d+<([^>]*)>)/;

sub path {
	my ($dir, $name) = @_;
	my $p = $name =~ m{^/} ? $name : "$dir/$name";
	1 while $p =~ s{/\./}{/} || $p =~ s{/[^/]+/\.\./}{/};
	return $p;
}
sub entry { $dir{$1}{$2} = 1 if $_[0] =~ m{^(.*)/([^/]+)$}; }
sub dirty {
	my ($when, $only) = @_;
	my @d = keys %file;
	for my $d (keys %dir) {
		push @d, map { "$d/$_" } keys %{ $dir{$d} };
	}
	for (sort grep { m{^\Q$root\E(/|$)} && !m{/staging/|/\.intact\.} } @d) {
		print "$when: $_\n" if !defined $only || m{$only};
	}
}
open my $f, '<', $log or die;
while (<$f>) {
	s/^\d+\s+//;
	next if !/ = (?:0|[1-9]\d*)(?:<[^>]*>)?$/;
	if (/^mkdir\($q/) {
		entry($1);
	} elsif (/^mkdirat\($at, $q/) {
		entry(path($1, $2));
	} elsif (/^openat\($at, $q, [A-Z_|]*O_CREAT/) {
		entry(path($1, $2));
	} elsif (/^(?:write|pwrite64|fchmod)\(\d+<([^>]*)>/ ||
	    /^ioctl\(\d+<([^>]*)>, [^)]*FICLONE/ ||
	    /^copy_file_range\(.*, NULL, \d+<([^>]*)>/) {
		$file{$1} = 1;
	} elsif (/^(?:fsync|fdatasync)\(\d+<([^>]*)>/) {
		delete $file{$1};
		delete $dir{$1};
	} elsif (/^linkat\($at, $q, $at, $q/) {
		my ($from, $to) = (path($1, $2), path($3, $4));
		if ($to =~ m{/commits/\d+\.json$}) {
			$commits++;
			print "the commit's own bytes\n" if $file{$from};
			dirty('at the commit');
		} else {
			# whoever wrote those bytes, they must be synced
			$file{$to} = 1;
		}
		entry($to);
	} elsif (/^rename(?:at2?)?\((?:$at, )?$q, (?:$at, )?$q/) {
		my ($from, $to) = (path($1, $2), path($3, $4));
		if ($to =~ m{/latest-pointer\.txt$}) {
			$moved++;
			print "the pointer's own bytes\n" if $file{$from};
			dirty('at the pointer', '/commits/');
		}
		for my $h (\%file, \%dir) {
			for my $old (keys %$h) {
				(my $k = $old) =~ s{^\Q$from\E(?=/|$)}{$to} or
				    next;
				$h->{$k} = delete $h->{$old};
			}
		}
		entry($from);
		entry($to);
	}
}
dirty('at the end');
print "$commits commit, $moved pointer\n";
P

"$GEN/gendelta" --out a --count 2 --records 4 --dim 8 --seed 1
"$GEN/gendelta" --out b --count 2 --records 4 --dim 8 --seed 2 --start 100
drun 'dfetch -B T a | dcheck | dmerge | dpublish T' >/dev/null
cp -a T base

# What a crash of the machine could undo: the order of what is synced.
calls=openat,mkdir,mkdirat,write,pwrite64,copy_file_range,ioctl,fchmod
calls=$calls,fsync,fdatasync,linkat,rename,renameat,renameat2
trace() { strace -qq -f -y -o order -e signal=none -e "trace=$calls" "$@"; }
run=20261121T000000.000000Z-00000001
DSTAGE=$TMPDIR/intact.$run
export DSTAGE
mkdir new
mkdir -m 700 "$DSTAGE"
: >"$DSTAGE/lock"
dfetch a | dcheck | dmerge | trace dpublish new/x/T >/dev/null
is "$(perl order.pl "$T/new" order)" "1 commit, 1 pointer" \
    "all is synced before the commit, the commit before the pointer"
unset DSTAGE
trace dpublish -a new/y/art/ a/* >/dev/null
is "$? $(ls new/y/art | wc -l) $(perl order.pl "$T/new" order)" \
    "0 2 0 commit, 0 pointer" \
    "an artefact and the directories above it are synced"
trace -E LD_PRELOAD="$NOSYNC" dpublish -a new/z/art/ a/* >/dev/null
is "$? $(ls new/z/art | wc -l) $(perl order.pl "$T/new" order |
    sed -n 's/^at the end: //p' | sort -u)" "0 2 $(find "$T/new/z" | sort)" \
    "where nothing is synced, all of it is missed"
rm -rf "$TMPDIR"
mkdir "$TMPDIR"

# A run stopped just before dpublish, one stopped just before the commit.
run=20261121T000000.000000Z-00000001
DSTAGE=$TMPDIR/intact.$run
export DSTAGE
mkdir -m 700 "$DSTAGE"
: >"$DSTAGE/lock"
dfetch -B T b | dcheck | dmerge >stream
cp -a "$DSTAGE" stage.publish
cp -a T publish
DRUN_ID=$run dpublish T <stream >/dev/null
cp -a "$DSTAGE" stage.commit
cp -a T commit
unset DSTAGE
rm -rf T "$TMPDIR"
mkdir "$TMPDIR"
cp -a base T
drun 'dfetch -B T b | dcheck | dmerge | dpublish T' >/dev/null
cp -a T rolled
ok "a run stopped at each stage" test -d stage.commit/tickets -a \
    -f rolled/commits/2.json

# SQLite calls a file malformed that the disk does not give back: what the
# machine did is no verdict, and least of all a remembered one.
reads() {
	i=0 wrong=0
	while [ $i -lt 100 ]; do
		i=$((i + 1))
		rm -f log
		drun "dfetch $1 | strace -qq -f -o log -e signal=none \
		    -e trace=pread64 -e inject=pread64:error=EIO:when=$i \
		    dcheck --no-cache | cat >/dev/null" >err 2>&1
		st=$?
		grep -q INJECTED log || break
		case $st in
		74 | 75) ;;
		127) grep -q 'shared lib' err || wrong=$((wrong + 1)) ;;
		*) wrong=$((wrong + 1)); echo "# read $i: $st: $(cat err)" ;;
		esac
	done
	echo "# $1: $i reads"
	[ $i -gt 10 ] && [ $wrong -eq 0 ]
}
dfetch b | dcheck | dmerge -o store >/dev/null
ok "no read that fails is a verdict on a delta" reads "$T/b/delta-0000"
ok "nor on a store" reads "$T/store"

FEW="write fsync linkat renameat unlinkat"
ALL="$FEW mkdirat"
fault() {
	# shellcheck disable=SC2086 # a list of words
	perl fault.pl "$1" "$2" $4 >got
	grep '^#' got
	is "$(grep -v '^#' got)" tried "$3"
}
fault commit KILL "the commit, killed at each step" "$ALL"
fault commit EIO "the commit, each step fails" "$ALL"
fault publish KILL "dpublish alone, killed at each step" "$ALL"
fault publish EIO "dpublish alone, each step fails" "$ALL"
fault publish ENOSPC "on a full disk" "write fsync linkat mkdirat"
fault publish EMFILE "out of descriptors, wherever" openat
fault rollback KILL "a rollback, killed at each step" "$FEW"
fault rollback EIO "a rollback, each step fails" "$FEW"
fault place KILL "an artefact, killed at each step" "$FEW renameat2"
fault place EIO "an artefact, each step fails" "$FEW renameat2"
finish
