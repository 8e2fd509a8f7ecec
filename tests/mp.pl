#!/usr/bin/perl
# mp.pl enc: JSON lines to msgpack; mp.pl dec: msgpack to JSON lines with
# sorted keys.  A second reading of the stream's format that shares no code
# with the programs, for tests/conform.sh.  dec exits 1 when the input ends
# inside a value; {"$bin":"hex"} is a bin, {"$raw":"hex"} those very bytes.
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

binmode STDIN;
binmode STDOUT;
my $what = shift // '';
if ($what eq 'enc') {
	while (my $line = <STDIN>) {
		print enc($json->decode($line)) if $line =~ /\S/;
	}
} elsif ($what eq 'dec') {
	local $/;
	$in = <STDIN> // '';
	$pos = 0;
	while ($pos < length $in) {
		my $v = eval { dec() };

		if ($@) {
			print STDERR "mp.pl: at byte $pos: $@";
			exit 1;
		}
		print $json->encode($v), "\n";
	}
} else {
	die "usage: mp.pl enc|dec\n";
}
