#!/usr/bin/perl
# interleave.pl PLACE SCENE N: several programs at work on one target, each
# stopped at named points of what it does to it (tests/crash/step.c), and
# led through them in every order; or in N of them, taken evenly from all
# (N 0: all).  PLACE is "local", or the address of an S3 server with the keys
# of tests/real/rgw.sh and a bucket "bucket".
#
# All orders are found by doing them: after each run the last choice that
# had another answer is made differently, until there is none left.  Whoever
# waits for a lock has no turn until it is free.  In each order, after each
# step, what readers see is whole and never goes back; in the end each
# program said what it did, none lost anything of another's, and the same
# commands again leave all in order.
#
# It prints what is wrong as comments, how many orders there were, and then
# "whole" or what kinds of wrong ones there were.  Needs STEP (the preload)
# and dpublish, genrun in PATH; works in ./SCENE.
# SPDX-License-Identifier: ISC
use strict;
use warnings;
use Cwd qw(getcwd);
use Digest::SHA qw(hmac_sha1_base64 sha256_hex);
use Fcntl qw(:flock F_SETFD);
use File::Path qw(make_path remove_tree);
use HTTP::Tiny;
use POSIX qw(strftime);
use Socket;

use constant WAIT => 300;	# s until one that neither stops nor ends hangs

my ($place, $scene, $want) = @ARGV;
die "usage: interleave.pl place scene n\n"
    if ($scene // '') !~ /^\w+\z/ || ($want // '') !~ /^\d+\z/;
die "interleave.pl: STEP is not set\n" if ($ENV{STEP} // '') eq '';
my $S3 = $place eq 'local' ? undef : $place;
my $W = getcwd() . '/' . $scene . ($S3 ? '_s3' : '');
remove_tree($W);
make_path($W);
chdir $W or die "$W: $!\n";
my ($A, $T, $turn) = (undef, undef, 0);	# the target, how it is reached
my (%bad, @trace, %alive);
my %stopped;	# who came to a point of its own

sub slurp {
	open my $f, '<', $_[0] or return undef;
	local $/;
	return scalar(<$f>) // '';
}

sub spew {
	my ($path, $bytes) = @_;

	make_path($path =~ s,/[^/]*$,,r);
	open my $f, '>', $path or die "$path: $!\n";
	print $f $bytes;
	close $f or die "$path: $!\n";
}

sub complain {
	my ($what, @say) = @_;

	$bad{$what}++;
	print "# $scene: $what: @say [@trace]\n" =~ s/\n(?=.)/ /gr
	    if $bad{$what} <= 3;
}

END {
	local $?;
	kill 'KILL', $_ for keys %alive;
}

#
# The target's keys, wherever they lie.
#
my $http = HTTP::Tiny->new(timeout => 60);

sub ask {
	my ($method, $key, $query, $body) = @_;
	my $path = '/bucket' . ($key eq '' ? '' : "/$key");
	my $date = strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime);
	my $type = defined $body ? 'a/b' : '';
	my $sign = hmac_sha1_base64(
	    "$method\n\n$type\n\nx-amz-date:$date\n$path", 'testsecret');

	$sign .= '=' while length($sign) % 4;
	my $r = $http->request($method, $S3 . $path . $query, {
		headers => { 'x-amz-date' => $date,
		    'authorization' => "AWS testkey:$sign",
		    $type ? ('content-type' => $type) : () },
		defined $body ? (content => $body) : () });

	return undef if $r->{status} == 404;
	$r->{success} or die "$method $path$query: $r->{status} $r->{content}";
	return $r->{content} // '';
}

sub get { $S3 ? ask('GET', "$T/$_[0]", '') : slurp("$T/$_[0]") }

sub put {
	my ($key, $bytes) = @_;

	return ask('PUT', "$T/$key", '', $bytes) if $S3;
	spew("$T/$key", $bytes);
}

# All keys below one that ends in a slash, or of the whole target.
sub keys_below {
	my ($dir) = @_;
	my (@v, @todo);

	if ($S3) {
		my $x = ask('GET', '', "?prefix=$T/$dir&max-keys=1000");

		push @v, $1 while $x =~ m{<Key>\Q$T\E/([^<]*)</Key>}g;
		return @v;
	}
	@todo = ($dir =~ s,/$,,r);
	while (defined(my $d = shift @todo)) {
		my $path = $d eq '' ? $T : "$T/$d";

		opendir my $h, $path or next;
		for my $n (sort grep { !/^\.\.?$/ } readdir $h) {
			my $k = $d eq '' ? $n : "$d/$n";

			next if $k eq 'staging/.lock';
			if (-d "$T/$k") {
				push @todo, $k;
				# an empty one is there, too
				push @v, "$k/" if $k =~ m,^\w+/,;
			} else {
				push @v, $k;
			}
		}
	}
	return grep { my $k = $_; !/\/$/ || !grep { $_ ne $k &&
	    index($_, $k) == 0 } @v } @v;
}

#
# A new target for each order: what was published once, set down again.
#
my %first;	# its keys

sub fresh {
	my @old = $turn > 0 && $S3 ? keys_below('') : ();

	ask('DELETE', "$T/$_", '') for @old;
	$turn++;
	$T = $S3 ? "i/$scene$$/$turn" : "$W/A";
	$A = $S3 ? "s3://bucket/$T" : $T;
	remove_tree($T) if !$S3;
	for my $k (sort keys %first) {
		if ($S3) {
			put($k, $first{$k});
			next;
		}
		make_path("$T/$k" =~ s,/[^/]*$,,r);
		if ($k =~ /^timestamped/) {	# nobody writes to these
			link "$W/first/$k", "$T/$k" or die "$k: $!\n";
		} else {
			put($k, $first{$k});
		}
	}
}

# A command undisturbed: its status and what it said.
sub run {
	my ($in, @cmd) = @_;
	my $pid = fork // die "fork: $!\n";

	if ($pid == 0) {
		open STDIN, '<', $in;
		open STDOUT, '>', "$W/out";
		open STDERR, '>', "$W/err";
		exec @cmd or
		    POSIX::_exit(127);
	}
	waitpid $pid, 0;
	return ($? & 127 ? -($? & 127) : $? >> 8, slurp("$W/err"));
}

# What dfetch, dcheck and dmerge would hand to dpublish: onto the newest.
sub merge {
	my ($who, $source) = @_;

	remove_tree("$W/intact.$who");
	my ($st, $err) = run('/dev/null', 'genrun', $A, "intact.$who",
	    $source);
	$st == 0 or die "$scene: genrun $source: $st $err [@trace]\n";
	rename "$W/out", "$W/$who.json" or die;
}

sub publish {
	my ($who, $source) = @_;

	merge($who, $source);
	return run("$W/$who.json", 'dpublish', '--json-in', '--stage',
	    "intact.$who", $A);
}

# Versions of long ago, the last of them current until now.
sub make_first {
	my ($n) = @_;

	fresh();
	for my $i (1 .. $n) {
		my ($st, $err) = publish("first$i", "first$i");

		$st == 0 or die "$scene: first$i: $st $err\n";
	}
	for my $k (keys_below('')) {
		my $b = get($k);

		$b =~ s/"created":"[^"]*"/"created":"2020-01-01T00:00:00.000000Z"/
		    if $k =~ /^commits/;
		$first{$k} = $b;
		spew("$W/first/$k", $b);
		chmod 0444, "$W/first/$k";
	}
}

#
# What lies there.
#
my (%commit, $pointer, $newest, %seen_whole);

sub look_commits {
	my @names;

	if ($S3) {
		@names = keys_below('commits/');
	} elsif (opendir my $h, "$T/commits") {
		@names = map { "commits/$_" } grep { !/^\./ } readdir $h;
	}
	my %there = map { m,/(\d+)\.json$, ? ($1 => $_) :
	    (complain('name', $_), ()) } @names;
	for my $g (keys %commit) {
		complain('lost commit', $g) if !$there{$g};
	}
	for my $g (sort { $a <=> $b } keys %there) {
		next if $commit{$g} && $commit{$g}{checked};
		my $b = get($there{$g}) // '';
		my %c = $b =~ /"(version|run|manifest_sha256|parent)":"([^"]*)"/g;

		complain('commit', "$g: $b") if !$c{version} || !$c{run};
		complain('fork', "$g is not onto $commit{$g - 1}{version}")
		    if $g > 1 && ($c{parent} // '') ne $commit{$g - 1}{version};
		$c{checked} = 1;
		$commit{$g} = \%c;
		$newest = $g;
	}
}

# What is wrong with a version, '' nothing, 'gone' when any of it is.
sub look_version {
	my ($g) = @_;
	my $dir = "timestamped/$commit{$g}{version}";
	my $m = get("$dir/manifest.json") // return 'gone';

	sha256_hex($m) eq $commit{$g}{manifest_sha256} or
	    return "$dir: another manifest";
	while ($m =~ /"name":"([^"]*)","size":(\d+),"sha256":"([^"]*)"/g) {
		my ($name, $size, $sha) = ($1, $2, $3);
		my $b = get("$dir/$name") // return 'gone';

		sha256_hex($b) eq $sha && length($b) == $size or
		    return "$dir/$name: torn";
	}
	return '';
}

sub generation_of {
	my ($version) = @_;

	for my $g (sort { $b <=> $a } keys %commit) {
		return $g if $commit{$g}{version} eq $version;
	}
	return 0;
}

# After each step: readers find a whole version, and never an older one.
sub watch {
	my $p = get('latest-pointer.txt') // '';

	look_commits();
	my $g = generation_of($p);
	return complain('pointer', "names '$p'") if $g == 0;
	complain('pointer', "from $pointer back to $g") if $g < $pointer;
	if ($g != $pointer || !$seen_whole{$g}) {
		my $w = look_version($g);

		complain('torn', "the current one, $g: $w") if $w ne '';
		$seen_whole{$g} = 1;
	} else {
		complain('torn', "the current one, $g, is gone")
		    if !defined get("timestamped/$p/manifest.json");
	}
	$pointer = $g;
}

#
# Those who take the steps: a list of parts, each a sub, which is one step,
# or a command, which is as many as it has points.
#
my @actors;

sub lock_is_free {
	return 1 if $S3 || !open my $f, '<', "$T/staging/.lock";
	return flock $f, LOCK_EX | LOCK_NB;
}

# May it take a step now?
sub may {
	my ($a) = @_;

	return 0 if $a->{part} >= @{$a->{parts}};
	return 1 if !$a->{sock} || $a->{event} !~ /^flock|^blocked/;
	return lock_is_free();
}

# Until it stops or ends.
sub wait_for {
	my ($a) = @_;
	my ($sock, $line) = ($a->{sock}, '');

	local $SIG{ALRM} = sub {
		complain('hangs', $a->{name});
		die "$scene: $a->{name} hangs [@trace]\n";
	};
	alarm WAIT;
	until ($line =~ /\n/) {
		my $n = sysread $sock, $line, 8192, length $line;
		next if !defined $n && $!{EINTR};
		last if !$n;
	}
	alarm 0;
	if ($line =~ /^(\S+) (.*)\n/) {
		$a->{event} = $1 eq 'blocked' ? 'blocked' : $2;
		$a->{at} = $1;
		$stopped{$a->{name}} = 1 if $1 ne 'blocked';
		return;
	}
	waitpid $a->{pid}, 0;
	delete $alive{$a->{pid}};
	close $sock;
	$a->{sock} = undef;
	$a->{status} = $? & 127 ? -($? & 127) : $? >> 8;
	$a->{err} = slurp("$W/$a->{name}.err");
	$a->{out} = slurp("$W/$a->{name}.out");
	$a->{part}++;
	$a->{at} = "=$a->{status}";
}

sub start {
	my ($a, $points, $in, @cmd) = @_;

	socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC or
	    die "socketpair: $!\n";
	my $pid = fork // die "fork: $!\n";
	if ($pid == 0) {
		fcntl $theirs, F_SETFD, 0;
		$ENV{STEP_FD} = fileno $theirs;
		$ENV{STEP_AT} = $points;
		$ENV{LD_PRELOAD} = join ' ', $ENV{STEP},
		    grep { defined && $_ ne '' } $ENV{LD_PRELOAD};
		open STDIN, '<', $in;
		open STDOUT, '>', "$W/$a->{name}.out";
		open STDERR, '>', "$W/$a->{name}.err";
		exec @cmd or
		    POSIX::_exit(127);
	}
	close $theirs;
	$alive{$pid} = 1;
	@{$a}{qw(pid sock)} = ($pid, $ours);
}

sub step {
	my ($a) = @_;
	my $part = $a->{parts}[$a->{part}];

	if ($a->{sock}) {
		syswrite $a->{sock}, 'g';
		wait_for($a);
	} elsif (ref $part eq 'CODE') {
		$a->{at} = $part->($a);
		$a->{part}++;
	} else {
		start($a, $part->{points}, $part->{in} // '/dev/null',
		    map { $_ eq 'TARGET' ? $A : ref ? $_->($a) : $_ }
		    @{$part->{cmd}});
		wait_for($a);
	}
	push @trace, "$a->{name}:$a->{at}";
}

# One order: choose says which of those that may goes next.
sub order {
	my ($make, $choose) = @_;

	@trace = ();
	%commit = %seen_whole = ();
	($pointer, $newest) = (0, 0);
	fresh();
	@actors = $make->();
	$_->{part} = 0 for @actors;
	watch();
	for (;;) {
		my @may = grep { may($actors[$_]) } 0 .. $#actors;

		if (!@may) {
			last if !grep { $_->{part} < @{$_->{parts}} } @actors;
			complain('deadlock', '');
			die "$scene: all wait [@trace]\n";
		}
		step($actors[$choose->(\@may)]);
		watch();
	}
}

# Every order, or n of them and those that are always tried (each a string
# of who goes next; who cannot is passed over): how many, how many distinct.
sub explore {
	my ($make, $check, $n, @always) = @_;
	my (@path, @width, %distinct, $runs);
	my $one = sub {
		order($make, $_[0]);
		$distinct{"@trace"} = 1;
		$check->();
		$runs++;
	};

	if ($n > 0) {
		# the i-th of n points in [0, 1) is an order: at each choice
		# those who may share what is left by the steps they have left
		my $long = steps_alone($make);

		for my $i (0 .. $n - 1) {
			my $u = ($i + 0.5) / $n;

			$one->(sub { share($_[0], $long, \$u) });
		}
		for (@always) {
			my @next = split //;

			$one->(sub {
				while (defined(my $i = shift @next)) {
					return $i if grep { $_ == $i } @{$_[0]};
				}
				return $_[0][0];
			});
		}
		return ($runs, scalar keys %distinct);
	}
	for (;;) {
		my $depth = 0;

		$one->(sub {
			my ($may) = @_;

			if ($depth == @path) {
				push @path, 0;
				push @width, "@$may";
			} elsif ($width[$depth] ne "@$may") {
				complain('not the same', "$depth: @$may");
				die "$scene: an order cannot be repeated\n";
			}
			return $may->[$path[$depth++]];
		});
		while (@path && $path[-1] + 1 == split ' ', $width[-1]) {
			pop @path;
			pop @width;
		}
		last if !@path;
		$path[-1]++;
	}
	return ($runs, scalar keys %distinct);
}

# How many steps each has when they go one after the other.
sub steps_alone {
	my ($make) = @_;
	my %n;

	order($make, sub { $n{$_[0][0]}++; $_[0][0] });
	return \%n;
}

sub share {
	my ($may, $long, $u) = @_;
	my (%left, $sum);

	for my $i (@$may) {
		my $gone = grep { /^\Q$actors[$i]{name}\E:/ } @trace;

		$left{$i} = $long->{$i} > $gone ? $long->{$i} - $gone : 1;
		$sum += $left{$i};
	}
	for my $i (@$may) {
		my $part = $left{$i} / $sum;

		if ($$u < $part || $i == $may->[-1]) {
			$$u /= $part;
			return $i;
		}
		$$u -= $part;
	}
}

#
# Who they are.
#
my $LOCK = 'flock .*/staging/\.lock$';
my $LIST = 'GET /bucket\?delimiter.*&prefix=.*%2F';
my %points = $S3 ? (
	publish => <<"X",
-manifest 1 PUT .*/timestamped/.*/manifest\\.json\$
+look 1 ${LIST}commits%2F\$
commit 1 PUT .*/commits/[0-9]+\\.json\$
pointer 1 PUT .*/latest-pointer\\.txt\$
X
	publish_few => <<"X",
commit 1 PUT .*/commits/[0-9]+\\.json\$
X
	gc => <<"X",
announce 2 PUT .*/staging/[^/]*/owner\$
+wanted 1 ${LIST}staging%2F\$
+newest 1 ${LIST}commits%2F\$
+held 1 ${LIST}pins%2F\$
remove 1 DELETE .*/timestamped/.*/manifest\\.json\$
X
	gc_few => <<"X",
plan 1 PUT .*/gc\\.json\$
remove 1 DELETE .*/timestamped/.*/manifest\\.json\$
X
	lease => <<"X",
pin 1 PUT .*/pin\\.json\$
+look 1 ${LIST}staging%2F\$
X
	lease_few => <<"X",
pin 1 PUT .*/pin\\.json\$
X
	rollback => <<"X",
claim 1 PUT .*/staging/[^/]*/owner\$
+look 1 ${LIST}staging%2F\$
commit 1 PUT .*/commits/[0-9]+\\.json\$
pointer 1 PUT .*/latest-pointer\\.txt\$
X
) : (
	publish => <<"X",
version 1 renameat .*/timestamped/[^/]*\$
+ready 1 $LOCK
commit 1 linkat .*/commits/.*\\.json\$
+after 1 $LOCK
pointer 1 renameat .*/latest-pointer\\.txt\$
+last 1 $LOCK
X
	publish_few => <<"X",
-version 1 renameat .*/timestamped/[^/]*\$
+ready 1 $LOCK
X
	gc => <<"X",
lock 0 $LOCK
remove 1 renameat .*/staging/[^/]*/data\$
X
	gc_few => <<"X",
plan 1 linkat .*/gc\\.json\$
remove 1 renameat .*/staging/[^/]*/data\$
X
	lease => <<"X",
lock 0 $LOCK
pin 1 linkat .*/pin\\.json\$
X
	lease_few => <<"X",
pin 1 linkat .*/pin\\.json\$
X
	rollback => <<"X",
lock 0 $LOCK
commit 1 linkat .*/commits/.*\\.json\$
X
);

sub publisher {
	my ($who, $points) = @_;

	return { name => $who, parts => [ sub {
		merge($who, "delta-$who");
		$_[0]{onto} = $newest;
		return 'base';
	}, {
		points => $points{$points}, in => "$W/$who.json",
		cmd => [ 'dpublish', '--json-in', '--stage', "intact.$who",
		    'TARGET' ],
	} ] };
}

# Who is told 0 has the generation after its base, who is told 73 has not;
# nobody is told anything else.  Who lost does it again.
sub check_publisher {
	my ($a) = @_;
	my ($st, $g) = ($a->{status}, $a->{onto} + 1);
	my $run = $commit{$g} ? $commit{$g}{run} : 'nobody';

	if ($st == 0) {
		complain('false success', "$a->{name}: $g is $run\'s")
		    if $run ne $a->{name};
	} elsif ($st == 73) {
		complain('false loss', "$a->{name}: $g is $run\'s")
		    if $run eq $a->{name} || $run eq 'nobody';
		# it names the newest of them
		complain('words', "$a->{name}: $a->{err}") if $a->{err} !~
		    /generation (\d+) was taken by run (\S+) with version/ ||
		    $1 < $g || !$commit{$1} || $commit{$1}{run} ne $2;
		my ($again, $err) = publish($a->{name}, "delta-$a->{name}");
		complain('again', "$a->{name}: $again $err") if $again != 0;
		watch();
	} else {
		complain('status', "$a->{name}: $st $a->{err}");
	}
}

sub collector {
	my ($verb, $age, $points) = @_;

	return { name => $verb, parts => [ {
		points => $points{$points},
		cmd => [ 'dpublish', $verb, '--keep-newer-than', $age,
		    'TARGET' ],
	} ] };
}

# A slow one: finds out what is current (or was told so long ago), takes a
# lease or does not, opens it later, and reads on later still.
sub reader {
	my ($g, $points) = @_;
	my @lease = defined $points ? ({
		points => $points{$points},
		cmd => [ 'dpublish', 'lease', '--for', '1h', '--name', 'r',
		    'TARGET', sub { $commit{$_[0]{g}}{version} } ],
	}) : ();

	return { name => 'reader', g => $g, parts => [
		$g ? () : sub { $_[0]{g} = $pointer; 'resolve' },
		@lease,
		sub { read_open($_[0]); 'open' },
		sub { read_rest($_[0]); 'read' },
	] };
}

sub read_open {
	my ($a) = @_;
	my $c = $commit{$a->{g}};

	return if $a->{status};		# the lease was refused: it is not read
	$a->{manifest} = get("timestamped/$c->{version}/manifest.json");
	return if !defined $a->{manifest};
	complain('torn read', "$a->{g}: manifest")
	    if sha256_hex($a->{manifest}) ne $c->{manifest_sha256};
}

sub read_rest {
	my ($a) = @_;

	return if $a->{status};
	my $w = defined $a->{manifest} ? look_version($a->{g}) : 'gone';
	complain('torn read', "$a->{g}: $w") if $w !~ /^(?:gone)?\z/;
	$a->{whole} = $w eq '';
}

# With a lease, or while versions are kept by age, all is whole.  Who was
# refused a lease asks again for what is current now.  The lease that is
# held in the end.
sub check_lease {
	my ($a) = @_;

	$a->{status} //= 0;
	if ($a->{status} == 0) {
		complain('leased and lost', "generation $a->{g}")
		    if !$a->{whole};
		return $a->{g};
	}
	complain('status', "lease: $a->{status} $a->{err}")
	    if $a->{status} != 75 && $a->{status} != 66;
	my ($st, $err) = run('/dev/null', 'dpublish', 'lease', '--for', '1h',
	    '--name', 'r', $A);
	complain('again', "lease: $st $err") if $st != 0;
	return $newest;
}

sub check_gc {
	my ($a, @fine) = @_;

	complain('status', "$a->{name}: $a->{status} $a->{err}")
	    if !grep { $a->{status} == $_ } 0, @fine;
	my ($st, $err) = run('/dev/null', map { $_ eq 'TARGET' ? $A : $_ }
	    @{$a->{parts}[0]{cmd}});
	complain('again', "$a->{name}: $st $err") if $st != 0;
}

sub uniq { my %h = map { $_ => 1 } @_; sort { $a <=> $b } keys %h }

# A publisher, someone who removes what is old, and a reader, in this order.
sub check_three {
	my ($stay, @leased) = @_;

	check_publisher($actors[0]);
	check_gc($actors[1]);
	check_all([ uniq(@$stay, @leased) ], [ qw(first1 first2 delta-a) ],
	    map { "$commit{$_}{version}.r" } @leased);
}

# All is in order: these versions, by generation, and these sources in the
# newest; nothing else is left but the leases that are named.
sub check_all {
	my ($stay, $sources, @leases) = @_;
	my %there;

	watch();
	for my $g (@$stay) {
		return complain('no commit', $g) if !$commit{$g};
		$there{$commit{$g}{version}} = $g;
	}
	complain('pointer', "$pointer of $newest") if $pointer != $newest;
	for my $g (@$stay) {
		my $w = look_version($g);

		complain('lost version', "$g: $w") if $w ne '';
	}
	for my $k (keys_below('')) {
		next if $k =~ /^(?:commits\/|latest-pointer\.txt$)/ ||
		    ($k =~ m,^timestamped/([^/]*)/, && $there{$1}) ||
		    ($k =~ m,^pins/([^/]*)/pin\.json$, &&
		    grep { $_ eq $1 } @leases);
		complain('left', $k);
	}
	my $m = get("timestamped/$commit{$newest}{version}/manifest.json");
	my $got = join ' ', sort(($m // '') =~ m,"/deltas/([^"]*)",g);
	my $all = join ' ', sort @$sources;
	complain('LOST UPDATE', "have $got, want $all") if $got ne $all;
}

my %scene = (
	two => {
		first => 1,
		make => sub { map { publisher($_, 'publish') } qw(a b) },
		check => sub {
			check_publisher($_) for @actors;
			check_all([ 1 .. 3 ], [ qw(first1 delta-a delta-b) ]);
		},
	},
	three => {
		first => 1,
		make => sub { map { publisher($_, 'publish_few') } qw(a b c) },
		check => sub {
			check_publisher($_) for @actors;
			check_all([ 1 .. 4 ], [ qw(first1 delta-a delta-b
			    delta-c) ]);
		},
	},
	# one removes a version that another wants to read
	lease => {
		first => 2,
		# leased after all was planned, before it is announced
		always => [ '0111100000011', '000111110000011' ],
		make => sub {
			(collector('gc', 0, 'gc'), reader(1, 'lease'));
		},
		check => sub {
			my $g = check_lease($actors[1]);

			check_gc($actors[0]);
			check_all([ uniq(2, $g) ], [ qw(first1 first2) ],
			    "$commit{$g}{version}.r");
		},
	},
	# or to make the current one again
	rollback => {
		first => 2,
		# in a store of objects: gone between two looks of the one who
		# commits it; committed between two looks of who removes it
		always => [ '00011000000011111', '1110011110000000' ],
		make => sub {
			(collector('gc', 0, 'gc'), { name => 'rollback',
			    parts => [ { points => $points{rollback}, cmd => [
			    'dpublish', 'rollback', 'TARGET',
			    sub { $commit{1}{version} } ] } ] });
		},
		check => sub {
			my $st = $actors[1]{status};

			complain('status', "rollback: $st $actors[1]{err}")
			    if $st != 0 && $st != 75 && $st != 66;
			complain('rollback', "$st, and $newest commits")
			    if ($st == 0) != ($newest == 3);
			check_gc($actors[0], 75);
			# (of the newest by name one is always kept)
			check_all([ 2, $newest ], $newest == 3 ? [ "first1" ] :
			    [ qw(first1 first2) ]);
		},
	},
	reader => {
		first => 2,
		always => [ '20000122111122' ],
		make => sub {
			(publisher('a', 'publish_few'),
			    collector('gc', 0, 'gc_few'),
			    reader(0, 'lease_few'));
		},
		check => sub { check_three([ 3 ], check_lease($actors[2])) },
	},
	# without a lease, but for an hour
	aged => {
		first => 2,
		make => sub {
			(publisher('a', 'publish_few'),
			    collector('prune', '1h', 'gc_few'), reader(0));
		},
		check => sub {
			check_lease($actors[2]);
			check_three([ 2, 3 ]);
		},
	},
	# with nothing at all it is there or gone, and never anything else
	bare => {
		first => 2,
		make => sub {
			(publisher('a', 'publish_few'),
			    collector('prune', 0, 'gc_few'), reader(0));
		},
		check => sub { check_three([ 3 ]) },
	},
);

my $s = $scene{$scene} // die "interleave.pl: no scene $scene\n";
make_first($s->{first});
my ($runs, $distinct) = explore($s->{make}, $s->{check}, $want,
    @{$s->{always} // []});
if ($S3) {
	ask('DELETE', "$T/$_", '') for keys_below('');
}
# who is never stopped has but one order
for my $a (@actors) {
	complain('never stopped', $a->{name}) if !$stopped{$a->{name}} &&
	    grep { ref eq 'HASH' } @{$a->{parts}};
}
print "# $scene: $runs orders, $distinct distinct\n";
print join(' ', map { "$bad{$_} $_" } sort keys %bad) || 'whole', "\n";
