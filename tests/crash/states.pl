#!/usr/bin/perl
# states.pl SCENE N [SEED]: what a power cut may leave of a run, and whether
# that is the old state or the new one, whole.  SCENE is run once under
# tests/crash/record.c, its log is played back event by event, and of the
# states that the disk may be in after each of them N distinct ones are made
# and looked at: by hand, by the programs, and by running SCENE again, which
# must end as it would have ended.
#
# The model is the weak reading of POSIX, not what ext4 does:
#  - what was written to a file and not fsynced since may be there, or not,
#    in any part, by blocks of 512 or 4096 bytes; the file may already have
#    its later size, and zeros where nothing came;
#  - an entry of a directory (of a create, link, rename, unlink, mkdir) that
#    was not followed by fsync of that directory may be there or not, each
#    name for itself; what happens to one name happens in order.  The two
#    names of a rename are two names: both may be there, or none.  Fsync of
#    a file says nothing of its names.
#    Of a directory that moves to another one the old name goes only after
#    the new one is durable: no file system in use loses it, and what has no
#    links cannot be moved otherwise.
# What was fsynced stays.  A file's first name in its directory is no
# exception.  Modes are kept with the file.
#
# It prints what is wrong as comments, then one line: "N states ..." or what
# kinds of bad ones there were.  Needs RECORD (the preload), IN (inputs a, b,
# trees s, t), a directory to work in, the programs in PATH.
# SPDX-License-Identifier: ISC
use strict;
use warnings;
use Cwd qw(getcwd);
use Digest::MD5 qw(md5);
use Digest::SHA;
use File::Path qw(remove_tree);

use constant INPUT_MAX => 16 << 20;	# bytes that are copied of IN
use constant LOG_MAX => 64 << 20;	# bytes of a record, mostly a hole

my ($scene, $want, $seed) = @ARGV;
$seed //= 1;
die "usage: states.pl scene n [seed]\n"
    if ($scene // '') !~ /^\w+\z/ || ($want // '') !~ /^\d+\z/;
for (qw(IN RECORD)) {
	die "states.pl: $_ is not set\n" if ($ENV{$_} // '') eq '';
}
for (qw(a b s t)) {
	die "states.pl: $ENV{IN}/$_: want a directory\n"
	    if !-d "$ENV{IN}/$_";
}
my $W = getcwd() . "/$scene";
my %aside = map { $_ => 1 } qw(tmp cache);	# not what is published
my ($tried, %bad) = (0);

sub slurp {
	open my $f, '<', $_[0] or return undef;
	local $/;
	return scalar(<$f>) // '';
}

sub complain {
	my ($what, @say) = @_;

	$bad{$what}++;
	print "# $scene: $what: @say" =~ s/\n/ /gr, "\n" if $bad{$what} <= 5;
}

# Run a command of the shell in $W, and wait for all that it started: its
# status, and what it said.
sub sh {
	my ($cmd, %env) = @_;
	my ($err, $pid, $st) = ('');

	pipe my $r, my $w or die "pipe: $!";
	$pid = fork // die "fork: $!";
	if ($pid == 0) {
		%ENV = (%ENV, %env);
		chdir $W or die;
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', '/dev/null';
		open STDERR, '>&', $w;
		exec 'sh', '-c', $cmd;
		exit 127;
	}
	close $w;
	local $SIG{ALRM} = sub {
		complain('hangs', $cmd);
		exit 1;
	};
	alarm 300;
	while (sysread $r, $err, 65536, length $err) {
	}
	waitpid $pid, 0;
	$st = $?;
	alarm 0;
	return wantarray ? ($st, $err) : $st;
}

sub must {
	my ($cmd, %env) = @_;

	my ($st, $err) = sh($cmd, %env);

	$st == 0 or die "$scene: $cmd: $st: $err";
}

#
# What is there, as a reader sees it: a name for it, and what is wrong.
#

# What a version holds, or what is wrong with it.
sub whole {
	my ($d) = @_;
	my $m = slurp("$d/manifest.json") // return "$d: no manifest";

	while ($m =~ /"name":"([^"]*)","size":\d+,"sha256":"([0-9a-f]*)"/g) {
		my ($name, $sha) = ($1, $2);
		my $b = slurp("$d/$name") // return "$d/$name is gone";

		Digest::SHA::sha256_hex($b) eq $sha or
		    return "$d/$name is torn";
	}
	$m =~ /"content_digest":"([0-9a-f]{64})"/ or return "$d: no digest";
	return $1;
}

# The content digest that readers see, and what is wrong with the target.
sub target {
	my ($t) = @_;
	my ($p, $new) = (slurp("$t/latest-pointer.txt"), '');
	my (%named, $seen, $truth);

	my @g = sort { $a <=> $b } map { m{/(\d+)\.json$} ? $1 : () }
	    glob("$t/commits/*");
	return ('none', '', '') if !defined $p && !@g;
	for (@g) {
		my $c = slurp("$t/commits/$_.json") // '';

		$c =~ /^\{.*"version":"([^"]+)".*\}\n\z/ or
		    return ('', '', "commit $_ is torn");
		$named{$new = $1} = 1;
	}
	$truth = whole("$t/timestamped/$new");
	return ('', '', "the newest commit: $truth")
	    if $truth !~ /^[0-9a-f]{64}\z/;
	# the first pointer comes after the first commit
	return ('none', $truth, '') if !defined $p && @g == 1;
	return ('', '', 'no pointer') if !defined $p;
	$p =~ s/\s+\z//;
	return ('', '', "the pointer's '$p' has no commit") if !$named{$p};
	$seen = whole("$t/timestamped/$p");
	return ('', '', "the pointer: $seen") if $seen !~ /^[0-9a-f]{64}\z/;
	return ($seen, $truth, '');
}

sub left_target {
	my ($t) = @_;
	my %named = map { (slurp($_) // '') =~ /"version":"([^"]+)"/ ?
	    ($1 => 1) : () } glob("$t/commits/*");

	return (glob("$t/staging/*"),
	    grep { !$named{s/.*\///r} } glob("$t/timestamped/*"));
}

sub look_target {
	my ($seen, $truth, $bad) = target("$W/T");

	return ("$seen $truth", $bad);
}

# A directory: its files' digests, or 'none'.
sub tree {
	my ($d, $skip) = @_;
	my (%h, @todo);

	@todo = ('');
	while (defined(my $rel = shift @todo)) {
		opendir my $dir, "$d/$rel" or next;
		for my $n (sort readdir $dir) {
			my $p = $rel eq '' ? $n : "$rel/$n";

			next if $n eq '.' || $n eq '..' ||
			    defined $skip && $p =~ $skip;
			if (-d "$d/$p") {
				push @todo, $p;
			} else {
				$h{$p} = Digest::SHA::sha256_hex(
				    slurp("$d/$p") // '');
			}
		}
	}
	return \%h;
}

sub same {
	my ($a, $b) = @_;

	return 0 if keys %$a != keys %$b;
	for (keys %$a) {
		return 0 if ($b->{$_} // '') ne $a->{$_};
	}
	return 1;
}

my %first;	# trees, as they were before
my $S;		# the scene

# Plain keys: each is what it was or what it becomes.
sub look_keys {
	my $h = tree("$W/P", qr/^\./);
	my ($s, $t) = ($first{old} //= tree("$W/in/s", $S->{skip}),
	    $first{new} //= tree("$W/in/t", $S->{skip}));
	my %all = (%$s, %$t);

	for (sort keys %all) {
		my $is = $h->{$_} // '';

		return ('', "P/$_ is neither old nor new")
		    if $is ne ($s->{$_} // '') && $is ne ($t->{$_} // '');
	}
	for (keys %$h) {
		return ('', "P/$_ is a stranger") if !$all{$_};
	}
	return (same($h, $s) ? 'old' : same($h, $t) ? 'new' : 'between', '');
}

sub left_keys {
	return (left_target("$W/P/.intact"), glob("$W/P/.intact/old"),
	    grep { !m{/\.(?:\.?|intact)$} } glob("$W/P/.*"));
}

sub look_place {
	my $s = '';

	for my $n (qw(delta-0000 delta-0001)) {
		my $from = $first{$n} //= tree("$W/in/a/$n");

		if (!-e "$W/art/$n") {
			$s .= ' none';
			next;
		}
		return ('', "art/$n is not what was placed")
		    if !same($from, tree("$W/art/$n"));
		$s .= ' whole';
	}
	return ($s, '');
}

sub look_merge {
	return ('none', '') if !-e "$W/out/x/y";
	my $d = whole("$W/out/x/y");

	return ($d, $d =~ /^[0-9a-f]{64}\z/ ? '' : $d);
}

# An input is where it was or set aside, whole.
sub look_aside {
	my $from = $first{aside} //= tree("$W/in/a/delta-0000");
	my ($there, @set) = (-e "$W/in/a/delta-0000",
	    grep { -e } glob("$W/T/quarantine/*/*"));
	my $n = 0;

	if ($there && same($from, tree("$W/in/a/delta-0000"))) {
		$n = 'there';
	}
	for (@set) {
		$n = $n ? 'both' : 'aside' if -d && same($from, tree($_));
	}
	return ($n, $n ? '' : 'the input is nowhere whole');
}

sub look_gc {
	my ($s, $bad) = look_target();

	return ($s, $bad) if $bad ne '';
	my $pinned = whole("$W/T/timestamped/$first{pinned}");

	return ('', "pinned: $pinned") if $pinned !~ /^[0-9a-f]{64}\z/;
	return ("$s " . scalar(() = glob("$W/T/timestamped/*")), '');
}

# The database tells; what it says is of no interest to the target.
sub look_ckpt {
	my ($q, $to) = ('', "$W.tmp/db");

	return look_target() if !-s "$W/db/c.sqlite3";
	# a copy: whoever opens it recovers it
	mkdir "$W.tmp";
	remove_tree($to);
	copy_tree("$W/db", $to);
	$q = `sqlite3 $to/c.sqlite3 'PRAGMA integrity_check;
	    SELECT count(*) > 0 FROM unit' 2>&1`;
	return ('', "database: $q") if $q !~ /^ok\n[01]\n\z/;
	return look_target();
}

#
# Scenes: what is there before, what is done, what is seen.
#

my $into = 'dcheck --no-cache | dmerge | dpublish T';
my $base = "drun 'dfetch -B T in/a | $into'";
my $more = "drun 'dfetch -B T in/b | $into'";
my $back = 'dpublish rollback T';
my $set = 'dfetch --files in/%s | dcheck --no-cache | dpublish --in-place ' .
    '--delete P';
my %next = (before => $base, run => $more, look => \&look_target,
    left => sub { left_target("$W/T") },
    opens => 'dpublish log T && dfetch -b T');
my %keys = (before => sprintf("drun '$set'", 's'),
    run => sprintf("drun '$set'", 't'), look => \&look_keys,
    left => \&left_keys, mid => qr/^between$/);
my %gc = (%next, look => \&look_gc, mid => qr/^(\w+) \1 \d+$/,
    before => "$base && $more && dpublish pin T >/dev/null" .
    " && $back && $more" x 3);
# what everybody writes first; must be found out
my %naive = (before => 'mkdir P && cp in/s/1 P', look => \&look_keys,
    skip => qr/^[^1]/, left => sub { },
    run => 'cp in/t/1 P/.1 && mv P/.1 P/1');
my %ckpt = (%next, before => "mkdir db && $base",
    env => { DCKPT_DB => "$W/db/c.sqlite3" }, look => \&look_ckpt);
my %scene = (
	naive => \%naive,
	first => { %next, before => ':', run => $base,
	    opens => 'dpublish log T; case $? in 0 | 66) ;; *) exit 1; esac' },
	next => \%next,
	# ChromaDB's own files
	chroma => { %next, run => $more =~ s/dmerge/dmerge -F chroma/r },
	# without drun: no tickets, another staging
	alone => { %next, run => $more =~ s/^drun '(.*)'$/$1/r },
	rollback => { %next, before => "$base && $more && $back",
	    run => "$back \$(ls T/timestamped | tail -1)" },
	gc => { %gc, run => 'dpublish gc --keep-newer-than 0s T' },
	prune => { %gc, run => 'dpublish prune --keep-newer-than 0s T' },
	quarantine => { %next, look => \&look_aside, mid => qr/^both$/,
	    left => sub { }, run => 'dpublish quarantine --verdict hot ' .
	    'T in/a/delta-0000' },
	merge => { before => 'mkdir -p out/x', look => \&look_merge,
	    run => "drun 'dfetch in/a in/b | dcheck --no-cache | " .
	    "dmerge -o out/x/y'",
	    left => sub { glob("$W/out/.intact.* $W/out/x/.intact.*") },
	    opens => 'test ! -e out/x/y || dfetch out/x/y | dcheck' },
	place => { before => ':', run => 'dpublish -a art/ in/a/*',
	    look => \&look_place, mid => qr/whole/,
	    left => sub { glob("$W/art/.intact.* $W/.intact.*") } },
	inplace => \%keys,
	# a run that was killed is taken back
	inback => { %keys, halfway => $keys{run}, run => 'dpublish ' .
	    '--in-place --rollback P' },
	ckpt => \%ckpt,
);
# killed, and run again before the power goes
$S = $scene =~ /^killed_(\w+)$/ && $scene{$1} ?
    { %{ $scene{$1} }, kills => 2 } : $scene{$scene} or
    die "states.pl: no scene $scene\n";
$ENV{TMPDIR} = "$W/tmp";
$ENV{DCACHE} = "$W/cache";
$ENV{$_} = $S->{env}{$_} for keys %{ $S->{env} // {} };

#
# The disk.  A file is what is durable, what was done to it since, and what
# that makes of it; a directory is names with what is durable, and what
# became of each since, in order.
#

my (%ino, $root, $ids);

sub new_file {
	my ($mode, $text) = @_;

	return { id => ++$ids, base => $text, bmode => $mode, cur => $text,
	    mode => $mode, ops => [], ver => 0 };
}

sub new_dir {
	return { id => ++$ids, dir => 1, mode => $_[0], base => {},
	    ops => {} };
}

# What lies in a directory now: [name, number, mode, time, bytes or a list].
sub snapshot {
	my ($path) = @_;
	my @v;

	opendir my $dir, $path or die "$path: $!";
	for my $n (sort readdir $dir) {
		next if $n eq '.' || $n eq '..';
		my @st = lstat "$path/$n";

		push @v, [$n, $st[1], $st[2] & 07777, $st[9],
		    -d _ ? snapshot("$path/$n") : slurp("$path/$n")];
	}
	return \@v;
}

# A disk on which all of that is durable.
sub disk {
	my ($ino, $mode, $v) = @_;
	my $d = $ino{$ino} = new_dir($mode);

	for (@$v) {
		my ($n, $i, $m, $t, $x) = @$_;

		if (ref $x) {
			$d->{base}{$n} = disk($i, $m, $x);
			next;
		}
		$ino{$i} //= { %{ new_file($m, $x) }, mtime => $t };
		$d->{base}{$n} = $ino{$i};
	}
	return $d;
}

sub name_becomes {
	my ($dir, $name, $o) = @_;
	my $d = $ino{$dir} or return;

	push @{ $d->{ops}{$name} }, $o;
}

sub settle {
	my ($o) = @_;

	if ($o->{dir}) {
		for my $n (keys %{ $o->{ops} }) {
			my $x = $o->{ops}{$n}[-1];

			$x ? ($o->{base}{$n} = $x) : delete $o->{base}{$n};
		}
		$o->{ops} = {};
		name_becomes(@$_, 0) for splice @{ $o->{after} //= [] };
		return;
	}
	($o->{base}, $o->{bmode}) = ($o->{cur}, $o->{mode});
	$o->{ops} = [];
	$o->{ver}++;
}

# One operation on a file's bytes: [offset, bytes], [undef, size] or
# [undef, undef, mode].
sub change {
	my ($text, $op) = @_;
	my ($off, $x) = @$op;

	if (!defined $off) {
		return if !defined $x;
		$$text = length $$text > $x ? substr($$text, 0, $x) :
		    $$text . "\0" x ($x - length $$text);
		return;
	}
	$$text .= "\0" x ($off + length($x) - length $$text)
	    if length $$text < $off + length $x;
	substr $$text, $off, length $x, $x;
}

sub do_op {
	my ($o, @op) = @_;

	push @{ $o->{ops} }, \@op;
	change(\$o->{cur}, \@op);
	$o->{mode} = $op[2] if defined $op[2];
}

# What of an event concerns us; false when nothing does.
sub apply {
	my ($e) = @_;
	my ($op, $mode, $ino, $dir, $dir2, $off, $n, $a, $b, $data) = @$e;
	my $o = $ino{$ino};

	if ($op eq 'c' || $op eq 'd') {
		$o = $ino{$ino} = $op eq 'd' ? new_dir($mode & 07777) :
		    new_file($mode & 07777, '');
		name_becomes($dir, $a, $o);
	} elsif ($op eq 'l') {
		name_becomes($dir, $a, $o) if $o;
	} elsif ($op eq 'u') {
		name_becomes($dir, $a, 0);
	} elsif ($op eq 'r') {
		if ($o && $o->{dir} && $dir != $dir2 && $ino{$dir2}) {
			push @{ $ino{$dir2}{after} }, [$dir, $a];
		} else {
			name_becomes($dir, $a, 0);
		}
		name_becomes($dir2, $b, $o) if $o;
	} elsif ($op eq 's') {
		settle($_) for values %ino;
	} elsif (!$o) {
		return;
	} elsif ($op eq 'w') {
		do_op($o, $off, $data);
	} elsif ($op eq 't') {
		do_op($o, undef, $n);
	} elsif ($op eq 'm') {
		do_op($o, undef, undef, $mode & 07777);
	} elsif ($op eq 'f') {
		settle($o);
	}
}

sub read_log {
	my ($log, $head, $at, @v) = ('', '', 4096);

	# what it holds is said in its head: the rest is a hole
	open my $f, '<', "$W.log" or die;
	read $f, $head, 16;
	seek $f, $at, 0;
	read $f, $log, unpack('x8 Q', $head) - $at;
	substr $log, 0, 0, "\0" x $at;

	while ($at + 64 <= length $log) {
		my ($size, $op, $pid, $mode, $ino, $dir, $dir2, $off, $n, $l1,
		    $l2, $len) = unpack 'L a x3 L L Q Q Q Q Q S S L',
		    substr $log, $at, 64;

		last if $size == 0;
		push @v, [$op, $mode, $ino, $dir, $dir2, $off, $n,
		    substr($log, $at + 64, $l1),
		    substr($log, $at + 64 + $l1, $l2),
		    substr($log, $at + 64 + $l1 + $l2, $len)];
		$at += $size;
	}
	unlink "$W.log";
	return @v;
}

#
# States.  How a state is chosen is a word: all, none, names (entries but
# no bytes), zero (and their sizes), torn:SEED (entries, parts of the bytes),
# rand:SEED (anything), drop:UNIT (all but that), only:UNIT.  A unit is what
# can be there or not: d<id>/<name>=<how many of its changes>, or f<id>.
#

# The bytes and mode of a file of which some is there.
sub part {
	my ($o) = @_;
	my $n = @{ $o->{ops} };
	my $upto = int rand($n + 1);	# whose size it has
	my $block = rand() < 0.5 ? 512 : 4096;
	my ($size, $mode) = ($o->{base}, $o->{bmode});
	my (%till, $text);

	for my $i (0 .. $upto - 1) {
		change(\$size, $o->{ops}[$i]);
		$mode = $o->{ops}[$i][2] if defined $o->{ops}[$i][2];
	}
	$text = $o->{base};
	# each block as it was after some of them, later ones not before
	for my $i (0 .. $n - 1) {
		my ($off, $x) = @{ $o->{ops}[$i] };

		if (!defined $off) {
			# what is cut off is gone for those that follow
			substr($text, $x) = "\0" x (length($text) - $x)
			    if defined $x && $x < length $text &&
			    rand() < 0.5;
			next;
		}
		my $end = $off + length $x;

		for (my $b = int($off / $block); $b * $block < $end; $b++) {
			my $from = $b * $block < $off ? $off : $b * $block;
			my $to = ($b + 1) * $block < $end ?
			    ($b + 1) * $block : $end;

			$till{$b} //= int rand($n + 1);
			next if $i >= $till{$b};
			change(\$text, [$from, substr($x, $from - $off,
			    $to - $from)]);
		}
	}
	change(\$text, [undef, length $size]);
	return [$text, $mode];
}

sub grown {
	my ($o) = @_;
	my $text = $o->{base};

	change(\$text, [undef, length $o->{cur}]);
	return [$text, $o->{mode}];
}

# How many of the changes of a name are there; what of a file is.
sub choice {
	my ($how) = @_;
	my ($kind, $arg) = split /:/, $how, 2;

	srand $seed * 1_000_003 + $arg if $kind eq 'rand' || $kind eq 'torn';
	my $none = sub { [$_[0]{base}, $_[0]{bmode}] };
	my $all = sub { [$_[0]{cur}, $_[0]{mode}] };
	my $any = sub {
		my $k = int rand 4;

		$k == 0 ? $none->($_[0]) : $k == 1 ? $all->($_[0]) :
		    $k == 2 ? grown($_[0]) : part($_[0]);
	};

	return (sub { 0 }, $none) if $kind eq 'none';
	return (sub { $_[2] }, $all) if $kind eq 'all';
	return (sub { $_[2] }, $none) if $kind eq 'names';
	return (sub { $_[2] }, \&grown) if $kind eq 'zero';
	return (sub { $_[2] }, \&part) if $kind eq 'torn';
	return (sub { int rand($_[2] + 1) }, $any) if $kind eq 'rand';
	my ($unit, $k) = $arg =~ /^(.*?)(?:=(\d+))?\z/;

	return (sub { "d$_[0]{id}/$_[1]" eq $unit ? $k : $_[2] },
	    sub { "f$_[0]{id}" eq $unit ? $none->($_[0]) : $all->($_[0]) })
	    if $kind eq 'drop';
	return (sub { "d$_[0]{id}/$_[1]" eq $unit ? $k : 0 },
	    sub { "f$_[0]{id}" eq $unit ? $all->($_[0]) : $none->($_[0]) });
}

# The tree of a state: names, each a hash or [text, mode, file].
sub build {
	my ($d, $names, $file, $memo, $skip) = @_;
	my %t;

	my %n = map { $_ => 1 } keys %{ $d->{base} }, keys %{ $d->{ops} };
	for my $n (sort keys %n) {
		next if $skip && $aside{$n};
		my $ops = $d->{ops}{$n} // [];
		my $k = @$ops ? $names->($d, $n, scalar @$ops) : 0;
		my $o = $k > 0 ? $ops->[$k - 1] : $d->{base}{$n};

		next if !$o;
		if ($o->{dir}) {
			$t{$n} = build($o, $names, $file, $memo);
			$t{$n}{''} = $o->{mode};
		} else {
			my $p = $memo->{$o->{id}} //= @{ $o->{ops} } ?
			    $file->($o) : [$o->{cur}, $o->{mode}];

			$t{$n} = [@$p, $o];
		}
	}
	return \%t;
}

my %sum;	# digests of what files are when they are not torn

sub text_sum {
	my ($text, $o) = @_;

	for my $was (qw(cur base)) {
		next if length $text != length $o->{$was} ||
		    \$text != \$o->{$was} && $text ne $o->{$was};
		my $key = "$o->{id} $o->{ver} $was " . @{ $o->{ops} };

		return $sum{$key} //= md5($text);
	}
	return md5($text);
}

sub tree_sum {
	my ($t) = @_;

	return md5(join "\0", map { my $x = $t->{$_};
	    ($_, ref $x eq 'HASH' ? 'd' . tree_sum($x) :
	    sprintf('%o ', $x->[1]) . text_sum($x->[0], $x->[2])) }
	    grep { $_ ne '' } sort keys %$t);
}

# What of what is published is not durable.
sub units {
	my ($d, $seen, $skip) = @_;
	my @u;

	return if $seen->{$d->{id}}++;
	if (!$d->{dir}) {
		push @u, "f$d->{id}" if @{ $d->{ops} };
		return @u;
	}
	my %n = map { $_ => 1 } keys %{ $d->{base} }, keys %{ $d->{ops} };
	for my $n (sort keys %n) {
		next if $skip && $aside{$n};
		my $ops = $d->{ops}{$n} // [];

		push @u, map { "d$d->{id}/$n=$_" } 0 .. @$ops if @$ops;
		push @u, map { units($_, $seen) } grep { $_ }
		    $d->{base}{$n}, @$ops;
	}
	return @u;
}

my $out = time - 2 * 86400;	# the power was gone for two days

sub put_tree {
	my ($path, $t, $made) = @_;

	mkdir $path or die "$path: $!";
	chmod $t->{''}, $path if defined $t->{''};
	for my $n (grep { $_ ne '' } sort keys %$t) {
		my $x = $t->{$n};

		if (ref $x eq 'HASH') {
			put_tree("$path/$n", $x, $made);
			next;
		}
		my ($text, $mode, $o) = @$x;
		my $was = $made->{$o->{id}};

		if (defined $was) {
			link $was, "$path/$n" or die "$path/$n: $!";
			next;
		}
		open my $f, '>', "$path/$n" or die "$path/$n: $!";
		syswrite $f, $text if length $text;
		chmod $mode, $f;
		close $f or die;
		my $time = defined $o->{mtime} && $o->{ver} == 0 &&
		    !@{ $o->{ops} } ? $o->{mtime} : $out;

		utime $time, $time, "$path/$n";
		$made->{$o->{id}} = "$path/$n";
	}
	utime $out, $out, $path;
}

#
# What is done with them.
#

my @quick = (LD_PRELOAD => $ENV{RECORD}, CRASH_NOSYNC => 1);
my ($old, $new, $bad);
my @first;	# what a record begins with

sub bytes_below {
	my ($d) = @_;
	my $n = 0;

	opendir my $dir, $d or die "$d: $!";
	for (grep { !/^\.\.?$/ } readdir $dir) {
		die "$d/$_: neither file nor directory\n"
		    if -l "$d/$_" || !-f _ && !-d _;
		$n += -d _ ? bytes_below("$d/$_") : -s _;
		die "$d: too large to be copied\n" if $n > INPUT_MAX;
	}
	return $n;
}

# Only a small tree of files, and only to a name that is free.
sub copy_tree {
	my ($from, $to) = @_;

	bytes_below($from);
	die "$to: it is there\n" if -e $to;
	system('cp', '-a', '--', $from, $to) == 0 or die "$from: no copy\n";
}

# Record a run from $W.before; with kill, one that is killed at that event
# and then run again.  One whose record lacks an event, as who was to write
# it was killed by another (drun, when it has waited enough), is done anew.
sub record {
	my ($kill) = @_;
	my @env = (LD_PRELOAD => $ENV{RECORD}, CRASH_LOG => "$W.log");
	my ($f, $head);

	for (1 .. 20) {
		remove_tree($W, "$W.log");
		copy_tree("$W.before", $W);
		open $f, '>', "$W.log" or die;
		truncate $f, LOG_MAX or die;
		close $f;
		%sum = ();
		@first = ((lstat $W)[1], 0755, snapshot($W));
		sh($S->{run}, @env, CRASH_KILL => $kill) if $kill;
		must($S->{run}, @env);
		open $f, '<', "$W.log" or die;
		read $f, $head, 48;
		return read_log() if !unpack 'x40 Q', $head;
	}
	die "$scene: killed at $kill: no whole record of it\n";
}

# A run that is killed when some of it can be seen, and not all.
sub stop_halfway {
	my ($cmd) = @_;
	my @env = (LD_PRELOAD => $ENV{RECORD}, CRASH_LOG => "$W.log");

	copy_tree($W, "$W.before");
	for (my $n = 20; $n < 1000; $n += 5) {
		remove_tree($W);
		copy_tree("$W.before", $W);
		open my $f, '>', "$W.log" or die;
		truncate $f, LOG_MAX or die;
		sh($cmd, @env, CRASH_KILL => $n);
		last if ($S->{look}->())[0] eq 'between';
	}
	remove_tree("$W.before", "$W.log");
	($S->{look}->())[0] eq 'between' or die "$scene: not halfway\n";
}

# All of what was seen, played back, must be what there is.
sub prove_record {
	my $t = build($root, choice('all'), {}, 1);
	my $is = tree($W, qr/^(?:tmp|cache)$/);
	my ($h, @todo) = ({}, ['', $t]);

	while (my $x = shift @todo) {
		my ($at, $d) = @$x;

		for my $n (grep { $_ ne '' } keys %$d) {
			if (ref $d->{$n} eq 'HASH') {
				push @todo, ["$at$n/", $d->{$n}];
			} else {
				$h->{"$at$n"} = Digest::SHA::sha256_hex(
				    $d->{$n}[0]);
			}
		}
	}
	return if same($h, $is);
	complain('record', map { ($h->{$_} // '') eq ($is->{$_} // '') ? () :
	    !defined $h->{$_} ? "$_ was not seen" :
	    !defined $is->{$_} ? "$_ is not there" : "$_ differs" }
	    sort keys %{ { %$h, %$is } });
}

sub again_from_start {
	(%ino, $ids) = ();
	$root = disk(@first);
}

# Every state that is worth a look, as [event, how].
sub candidates {
	my ($log, $random) = @_;
	my (@c, %seen, $n);

	for my $i (0 .. @$log) {
		apply($log->[$i - 1]) if $i > 0;
		my %now;
		my @u = units($root, \%now, 1);

		if ($i > 0 && $i < @$log) {
			my $e = $log->[$i - 1];

			next if !grep { $_ && $now{$_->{id}} }
			    @ino{@$e[2 .. 4]};
		}
		push @c, map { [$i, $_] } qw(none all names zero),
		    map({ ("drop:$_", "only:$_") } @u);
		next if !@u;
		push @c, map({ [$i, 'rand:' . ++$n] } 1 .. $random),
		    map({ [$i, 'torn:' . ++$n] } 1 .. $random / 2);
	}
	return @c;
}

sub look_at {
	my ($log, $i, $how, $t) = @_;
	my $at = "after $i of " . @$log . ", $how";
	my ($is, $b, $st, $err, @left);

	$tried++;
	($is, $b) = $S->{look}->();
	complain('torn', $at, $b) if $b ne '';
	complain('other', $at, "'$is', want '$old', '$new'") if $b eq '' &&
	    $is ne $old && $is ne $new && $is !~ $S->{mid};
	# what was said to be done is done
	complain('lost', $at, $is) if $i == @$log && $is ne $new;
	if (defined $S->{opens}) {
		($st, $err) = sh($S->{opens}, @quick, TMPDIR => "$W.tmp");
		complain('opens', $at, $st, $err) if $st != 0;
	}
	($st, $err) = sh($S->{run}, @quick);
	complain('again', $at, $st, $err) if $st != 0;
	($is, $b) = $S->{look}->();
	complain('end', $at, $is, $b) if $is ne $new || $b ne '';
	@left = grep { -e } $S->{left}->(), glob("$W/tmp/*");
	complain('left', $at, "@left") if @left;
}

# Make the state in $W and look at it.
sub try_state {
	my ($log, $i, $how, $sum) = @_;
	my $t = build($root, choice($how), {}, 0);

	remove_tree($W, "$W.tmp");
	mkdir "$W.tmp";
	# half of the disks are not those that TMPDIR lies on
	if (unpack('C', $sum) & 1) {
		delete @$t{keys %aside};
	}
	put_tree($W, $t, {});
	mkdir "$W/$_" for keys %aside;
	look_at($log, $i, $how, $t);
}

sub play {
	my ($log, $do, @c) = @_;
	my $at = 0;

	again_from_start();
	for my $c (@c) {
		apply($log->[$at++]) while $at < $c->[0];
		$do->($c);
	}
}

sub by_event { sort { $a->[0] <=> $b->[0] || $a->[1] cmp $b->[1] } @_ }

sub shuffled {
	my @v = @_;

	srand $seed;
	for my $i (reverse 1 .. $#v) {
		my $k = int rand($i + 1);

		@v[$i, $k] = @v[$k, $i];
	}
	return @v;
}

# N distinct states of one log, as far as there are so many: those at its
# end, where all is claimed to be done, are always among them.
sub states {
	my ($log, $n) = @_;
	my (%seen, @pick);
	my $random = 2 + int(4 * $n / @$log);

	for (my $had = -1; $had < @pick && @pick < $n; $random *= 4) {
		$had = @pick;
		again_from_start();
		my @c = shuffled(candidates($log, $random));

		@c = ((grep { $_->[0] == @$log } @c),
		    grep { $_->[0] != @$log } @c);
		while (@c && @pick < $n) {
			play($log, sub {
				my ($i, $how) = @{ $_[0] };
				my $sum = tree_sum(build($root, choice($how),
				    {}, 1));

				push @pick, [$i, $how, $sum]
				    if @pick < $n && !$seen{$sum}++;
			}, by_event(splice @c, 0, 2 * $n));
		}
	}
	play($log, sub { try_state($log, @{ $_[0] }) }, by_event(@pick));
}

sub main {
	my ($events, $kills) = (0, $S->{kills} // 0);

	$kills = int($want / 25) if $kills && $want / 25 > $kills;
	my (@log, @at);

	remove_tree(map { "$W$_" } '', qw(.before .tmp .log));
	mkdir $_ or die "$_: $!" for $W, "$W/tmp", "$W/cache", "$W/in";
	copy_tree("$ENV{IN}/$_", "$W/in/$_") for qw(a b s t);
	must($S->{before}, @quick);
	stop_halfway($S->{halfway}) if defined $S->{halfway};
	remove_tree("$W/tmp", "$W/cache");
	mkdir "$W/$_" for keys %aside;
	$first{pinned} = (map { s/.*\///r } glob "$W/T/pins/*")[0];
	($old, $bad) = $S->{look}->();
	die "$scene: before: $bad" if $bad ne '';
	copy_tree($W, "$W.before");
	@log = record(0);
	($new, $bad) = $S->{look}->();
	die "$scene: after: $bad" if $bad ne '' || $new eq $old;
	if (!$S->{mid}) {
		my @was = split ' ', $old;
		my @is = split ' ', $new;

		# the commit is the truth, the pointer follows
		$S->{mid} = @is == 2 ? qr/^$was[0] $is[1]$/ : qr/^$/;
	}
	play(\@log, sub { }, [scalar(@log), 'all']);
	prove_record();
	$kills = $#log if $kills > $#log;
	@at = $kills ? map { int(@log * $_ / ($kills + 1)) } 1 .. $kills : (0);
	for my $kill (@at) {
		my @l = $kill ? record($kill) : @log;

		$events += @l;
		states(\@l, int(($want + $kills) / ($kills || 1)));
	}
	print "# $scene: $tried distinct states of $events events\n";
	print %bad ? join(' ', map { "$bad{$_} $_" } sort keys %bad) :
	    $tried == 0 ? 'nothing tried' : 'whole', "\n";
	remove_tree(map { "$W$_" } '', qw(.before .tmp .log)) if !%bad;
}

main();
