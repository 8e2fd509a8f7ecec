#!/usr/bin/perl
# mp.pl enc: JSON lines to msgpack; mp.pl dec: msgpack to JSON lines with
# sorted keys.  A second reading of the stream's format that shares no code
# with the programs, for tests/conform.sh.  dec exits 1 when the input ends
# inside a value; {"$bin":"hex"} is a bin, {"$raw":"hex"} those very bytes.
#
# mp.pl cuts FILE STEP STATUS COMMAND...: COMMAND is run on the first 0, STEP,
# 2 * STEP ... bytes of the stream in FILE.  Prints " BYTES(status N)" for
# each that ends well, makes an end, or has not this STATUS ('' any but 0).
# SPDX-License-Identifier: ISC
use strict;
use warnings;
use B ();
use JSON::PP ();

my $json = JSON::PP->new->canonical->allow_nonref->utf8;

sub head {
	my ($n, $fix, $max, @wide) = @_;

	return pack('C', $fix | $n) if $n < $max;
	for my $w (@wide) {
		my ($code, $fmt, $limit) = @$w;

		return pack("C$fmt", $code, $n) if $n <= $limit;
	}
	die "mp.pl: too long\n";
}

sub enc {
	my ($v) = @_;

	return "\xc0" if !defined $v;
	return $v ? "\xc3" : "\xc2" if JSON::PP::is_bool($v);
	if (ref $v eq 'HASH') {
		my @k = sort keys %$v;

		return pack('H*', $v->{'$raw'}) if exists $v->{'$raw'};
		if (exists $v->{'$bin'}) {
			my $b = pack('H*', $v->{'$bin'});

			return pack('CC', 0xc4, length $b) . $b;
		}
		# "t" first, as people write it
		@k = ((grep { $_ eq 't' } @k), (grep { $_ ne 't' } @k));
		return head(scalar @k, 0x80, 16, [ 0xde, 'n', 65535 ]) .
		    join('', map { enc_str($_) . enc($v->{$_}) } @k);
	}
	if (ref $v eq 'ARRAY') {
		return head(scalar @$v, 0x90, 16, [ 0xdc, 'n', 65535 ]) .
		    join('', map { enc($_) } @$v);
	}
	my $f = B::svref_2object(\$v)->FLAGS;

	return enc_str($v) if $f & B::SVf_POK;
	return pack('Cd>', 0xcb, $v) if $f & B::SVf_NOK;
	return pack('Cq>', 0xd3, $v) if $v < 0;
	return pack('C', $v) if $v < 128;
	return pack('CQ>', 0xcf, $v);
}

sub enc_str {
	my $s = shift;

	utf8::encode($s);
	return head(length $s, 0xa0, 32, [ 0xd9, 'C', 255 ],
	    [ 0xda, 'n', 65535 ], [ 0xdb, 'N', 4294967295 ]) . $s;
}

my ($in, $pos);

sub take {
	my $n = shift;

	die "cut\n" if $pos + $n > length $in;
	$pos += $n;
	return substr($in, $pos - $n, $n);
}

sub num { return unpack($_[0], take($_[1])) }

sub str {
	my $s = take(shift);

	utf8::decode($s) or die "not UTF-8\n";
	return $s;
}

sub map_of {
	my %h;

	for (1 .. shift) {
		my $k = dec();

		die "duplicate key\n" if exists $h{$k};
		$h{$k} = dec();
	}
	return \%h;
}

sub dec {
	my $c = num('C', 1);

	return $c if $c < 0x80;
	return map_of($c & 15) if $c < 0x90;
	return [ map { dec() } 1 .. ($c & 15) ] if $c < 0xa0;
	return str($c & 31) if $c < 0xc0;
	return undef if $c == 0xc0;
	return $c == 0xc3 ? JSON::PP::true : JSON::PP::false
	    if $c == 0xc2 || $c == 0xc3;
	return { '$bin' => unpack('H*', take(num('C', 1))) } if $c == 0xc4;
	return { '$bin' => unpack('H*', take(num('n', 2))) } if $c == 0xc5;
	return num('f>', 4) + 0.0 if $c == 0xca;
	return num('d>', 8) + 0.0 if $c == 0xcb;
	my %w = (0xcc => [ 'C', 1 ], 0xcd => [ 'n', 2 ], 0xce => [ 'N', 4 ],
	    0xcf => [ 'Q>', 8 ], 0xd0 => [ 'c', 1 ], 0xd1 => [ 's>', 2 ],
	    0xd2 => [ 'l>', 4 ], 0xd3 => [ 'q>', 8 ]);
	return num(@{ $w{$c} }) + 0 if $w{$c};
	return str(num('C', 1)) if $c == 0xd9;
	return str(num('n', 2)) if $c == 0xda;
	return str(num('N', 4)) if $c == 0xdb;
	return [ map { dec() } 1 .. num('n', 2) ] if $c == 0xdc;
	return [ map { dec() } 1 .. num('N', 4) ] if $c == 0xdd;
	return map_of(num('n', 2)) if $c == 0xde;
	return map_of(num('N', 4)) if $c == 0xdf;
	return $c - 256 if $c >= 0xe0;
	die sprintf("byte %02x\n", $c);
}

# All values up to the first that is none; then why it is none, or undef.
sub values_of {
	my @v;

	($in, $pos) = ($_[0], 0);
	while ($pos < length $in) {
		my $v = eval { dec() };

		return (\@v, "at byte $pos: $@") if $@;
		push @v, $v;
	}
	return (\@v, undef);
}

sub bytes_of {
	open my $f, '<:raw', $_[0] or die "mp.pl: $_[0]: $!\n";
	local $/;
	return scalar(<$f>) // '';
}

# What a command makes of these bytes: its status as a shell has it, and how
# many ends.
sub ends_of {
	my ($file, $text, @cmd) = @_;

	open my $f, '>:raw', "$file.cut" or die "mp.pl: $file.cut: $!\n";
	print $f $text;
	close $f or die "mp.pl: $file.cut: $!\n";
	my $pid = fork // die "mp.pl: fork: $!\n";
	if ($pid == 0) {
		open STDIN, '<', "$file.cut";
		open STDOUT, '>', "$file.out";
		open STDERR, '>', "$file.err";
		alarm 60;
		exec @cmd;
		exit 127;
	}
	waitpid $pid, 0;
	my $st = $? & 127 ? 128 + ($? & 127) : $? >> 8;
	my ($v) = values_of(bytes_of("$file.out"));

	return ($st, scalar grep { ref $_ eq 'HASH' &&
	    ($_->{t} // '') eq 'end' } @$v);
}

sub cuts {
	my ($file, $step, $want, @cmd) = @_;
	my $text = bytes_of($file);

	for (my $n = 0; $n < length $text; $n += $step) {
		my ($st, $ends) = ends_of($file, substr($text, 0, $n), @cmd);

		print " $n(status $st)" if $ends != 0 || $st == 0 ||
		    $want ne '' && $st != $want;
	}
}

binmode STDIN;
binmode STDOUT;
my $what = shift // '';
if ($what eq 'enc') {
	while (my $line = <STDIN>) {
		print enc($json->decode($line)) if $line =~ /\S/;
	}
} elsif ($what eq 'dec') {
	local $/;
	my ($v, $why) = values_of(<STDIN> // '');
	print $json->encode($_), "\n" for @$v;
	if (defined $why) {
		print STDERR "mp.pl: $why";
		exit 1;
	}
} elsif ($what eq 'cuts' && @ARGV > 3) {
	cuts(@ARGV);
} else {
	die "usage: mp.pl enc|dec|cuts file step status command ...\n";
}
