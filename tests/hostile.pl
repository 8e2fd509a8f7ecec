#!/usr/bin/perl
# hostile.pl KIND DIR FROM: inputs that no honest producer makes, a file or
# directory each below DIR; prints for each its name and, behind a tab, a
# pattern of what must be said of it ("ok": it is harmless and accepted).
# KIND: archives, bombs, formats, headers, index, json,
# stream; FROM is a delta of
# ChromaDB that is whole.  Of SQL: hostile.sql.
# SPDX-License-Identifier: ISC
use strict;
use warnings;

my ($kind, $dir, $from) = @ARGV;

sub put {
	my ($name, $say, @bytes) = @_;

	open my $f, '>:raw', "$dir/$name" or die "$name: $!";
	print $f @bytes;
	close $f or die "$name: $!";
	print "$name\t$say\n";
}

# --- tar, header by header
sub tar_head {
	my ($name, $size, $type, %o) = @_;
	my $h = pack('a100 a8 a8 a8 a12 a12 A8 a1 a100 a6 a2 a32 a32 a8 a8 a155 x12',
	    $name, "0000644\0", "0000000\0", "0000000\0",
	    $o{size} // sprintf("%011o\0", $size), "00000000000\0", '',
	    $type, $o{link} // '', $o{magic} // "ustar\0", $o{ver} // '00', 'u',
	    'g', "0000000\0", "0000000\0", $o{prefix} // '');

	substr($h, 345, 155) = pack('a155', $o{tail}) if defined $o{tail};
	substr($h, 386, 109) = pack('a109', $o{sparse}) if defined $o{sparse};
	substr($h, 148, 8) = sprintf("%06o\0 ", unpack('%32C*', $h) +
	    ($o{sum} // 0));
	return $h;
}

sub pad { return $_[0] . "\0" x (-length($_[0]) % 512) }
sub end { return "\0" x 1024 }
sub file { return tar_head($_[0], length $_[1], '0') . pad($_[1]) }
sub pax {
	my ($k, $v, $type) = @_;
	my $n = length(" $k=$v\n");
	my $l = $n + 1;

	$l = $n + length $l while $l != $n + length $l;
	my $r = "$l $k=$v\n";
	return tar_head('./PaxHeaders/x', length $r, $type // 'x') . pad($r);
}

# --- zip, record by record; lies are options
sub zip {
	my ($files, %o) = @_;
	my ($body, $dir_, $n) = ($o{before} // '', '', 0);

	for my $f (@$files) {
		my ($name, $data, %f) = @$f;
		my $at = $f{at} // length $body;
		my $crc = $f{crc} // crc32($data);
		my $raw = $f{raw} // $data;
		my $lname = $f{lname} // $name;

		$body .= pack('VvvvvvVVVvv', 0x04034b50, 20, $f{flag} // 0,
		    $f{method} // 0, 0, 0x21, $crc, $f{csize} // length $raw,
		    $f{size} // length $data, length $lname,
		    length($f{extra} // '')) . $lname . ($f{extra} // '') .
		    $raw if !exists $f{at};
		$dir_ .= pack('VvvvvvvVVVvvvvvVV', 0x02014b50, 3 << 8 | 20, 20,
		    $f{flag} // 0, $f{method} // 0, 0, 0x21, $crc,
		    $f{csize} // length $raw, $f{dsize} // $f{size} //
		    length $data, length $name, length($f{extra} // ''), 0, 0,
		    0, $f{attr} // 0100644 << 16, $at) . $name .
		    ($f{extra} // '');
		$n++;
	}
	my $at = length $body;
	return $body . $dir_ . ($o{between} // '') .
	    pack('VvvvvVVv', 0x06054b50, 0, 0, $o{n} // $n, $o{n} // $n,
	    $o{dirsize} // length $dir_, $o{dirat} // $at,
	    length($o{comment} // '')) . ($o{comment} // '') .
	    ($o{after} // '');
}

my @crc = map { my $c = $_;
	$c = $c & 1 ? 0xedb88320 ^ $c >> 1 : $c >> 1 for 1 .. 8; $c } 0 .. 255;
my %known;
sub crc32 {
	return $known{$_[0]} //= do {
		my $c = 0xffffffff;

		$c = $crc[($c ^ $_) & 255] ^ $c >> 8 for unpack 'C*', $_[0];
		$c ^ 0xffffffff;
	};
}

sub slurp {
	open my $f, '<:raw', $_[0] or die "$_[0]: $!";
	local $/;
	return scalar <$f>;
}

# a store, so that what is refused is refused for what was done to it
sub store {
	my ($top, @f) = ($_[0] // '');

	for my $f (sort glob("$from/* $from/*/*")) {
		next if -d $f;
		push @f, [$top . substr($f, length($from) + 1), slurp($f)];
	}
	return @f;
}

sub tarred { return join '', map { file(@$_) } @_ }

sub archives {
	my $s = tarred(store());
	my $x = file('x', 'x');
	my $esc = "a\e]0;owned\a\e[2J";
	my $huge = "\x80" . "\0" x 3 . "\x7f" . "\xff" x 7;	# base 256
	my %unsafe = (
		up => file('../x', 'x'),
		up_up => file('a/../../x', 'x'),
		up_last => file('a/..', 'x'),
		absolute => file("$dir/../escaped", 'x'),
		slashes => file("//$dir/../escaped", 'x'),
		backslash => file('..\\x', 'x'),
		dot => file('.', 'x'),
		control => file($esc, 'x'),
		newline => file("a\nb", 'x'),
		bad_utf8 => file("a\xff\xfeb", 'x'),
		overlong => file("a\xc0\xae\xc0\xae/x", 'x'),
		symlink => tar_head('l', 0, '2', link => '/etc'),
		symlink_up => tar_head('l', 0, '2', link => '../..'),
		through => tar_head('l', 0, '2', link => "$dir/..") .
		    file('l/escaped', 'x'),
		hardlink => tar_head('chroma.sqlite3', 0, '1',
		    link => '/etc/passwd'),
		hardlink_in => file('a', 'a') . tar_head('b', 0, '1',
		    link => 'a'),
		hardlink_data => tar_head('h', 5, '1', link => '../x') .
		    pad('hello'),
		char_device => tar_head('d', 0, '3'),
		block_device => tar_head('d', 0, '4'),
		fifo => tar_head('f', 0, '6'),
		long_name => file('n' x 90, 'x') . pax('path', 'n' x 256) .
		    $x,
		long_path => pax('path', join('/', ('n' x 200) x 40)) . $x,
		pax_up => pax('path', '../../escaped') . $x,
		pax_link => pax('linkpath', '/etc/passwd') .
		    tar_head('l', 0, '2', link => 'x'),
		gnu_long => tar_head('././@LongLink', 14, 'L',
		    magic => 'ustar ', ver => " \0") . pad('../../escaped') .
		    $x,
		twice => file('a', 'a') . file('a', 'b'),
		file_dir => file('a', 'a') . tar_head('a/', 0, '5'),
		file_below => file('a', 'a') . file('a/b', 'b'),
	);
	put("$_.tar", 'unsafe|archive', $unsafe{$_}, $s, end())
	    for sort keys %unsafe;
	my %archive = (
		no_end => $s,
		cut => substr($s, 0, 100_000),
		more => $s . end() . $s . end(),
		behind => $s . end() . 'more',
		checksum => tar_head('x', 0, '0', sum => 1) . $s . end(),
		size_lie => tar_head('x', 0, '0', size => "77777777777\0") .
		    $s . end(),
		size_huge => tar_head('x', 0, '0', size => $huge) . $s . end(),
		size_negative => tar_head('x', 0, '0', size => "\xff" x 12) .
		    $s . end(),
		size_text => tar_head('x', 0, '0', size => 'nonsense') . $s .
		    end(),
		pax_size => pax('size', '9223372036854775807') . $x . $s .
		    end(),
		pax_length => tar_head('p', 512, 'x') .
		    pad('999999999999 path=x') . $x . $s . end(),
		pax_no_end => tar_head('p', 512, 'x') . ('9' x 512) . $x . $s .
		    end(),
		sparse_huge => tar_head('s', 512, 'S', magic => 'ustar ',
		    ver => " \0", sparse => "00000000000\0" . "00000001000\0" .
		    "\0" x 72 . "\0" . $huge) . pad('s' x 512) . $s . end(),
		sparse_order => tar_head('s', 512, 'S', magic => 'ustar ',
		    ver => " \0", sparse => "00000010000\0" . "00000000400\0" .
		    "00000000000\0" . "00000000400\0" . "\0" x 48 . "\0" .
		    "00000020000\0") . pad('s' x 512) . $s . end(),
		sparse_pax => pax('GNU.sparse.major', 1) .
		    pax('GNU.sparse.minor', 0) .
		    pax('GNU.sparse.realsize', '9223372036854775807') .
		    tar_head('s', 512, '0') . pad("1\n0\n512\n") . $s . end(),
		sparse_map => pax('GNU.sparse.size', 1 << 60) .
		    pax('GNU.sparse.numblocks', '4294967295') .
		    pax('GNU.sparse.map', '0,1,' x 5000) . $x . $s . end(),
		nothing => end(),
		only_dirs => tar_head('d/', 0, '5') . end(),
	);
	put("$_.tar", 'archive|limit|unsafe|format', $archive{$_})
	    for sort keys %archive;
	put('deep.tar', 'limit|unsafe', file(join('/', ('d') x 40), 'x') . $s .
	    end());
	put('deep_pax.tar', 'limit|unsafe', pax('path', 'd/' x 100000 . 'x') .
	    $x . $s . end());
	put('tar_in_tar.tar', 'format', file('a.tar', file('b.tar', $s . end()) .
	    end()) . end());
	put('zip_in_tar.tar', 'format', file('a.tar', file('b.zip',
	    zip([store()])) . end()) . end());
	put('two_tops.tar', 'format', tarred(store('a/')) .
	    tarred(store('b/')) . end());
	# names that are one name to other systems: here they are two
	put('pax_all.tar', 'ok', pax('path', '/escaped', 'g') . $s . end());
	put('case.tar', 'ok', file('CHROMA.SQLITE3', 'not this one') . $s .
	    end());
	put('normal_forms.tar', 'ok', file("e\xcc\x81", 'a') .
	    file("\xc3\xa9", 'b') . $s . end());

	my @s = store();
	my %zips = (
		up => zip([['../x', 'x'], @s]),
		absolute => zip([["$dir/../escaped", 'x'], @s]),
		symlink => zip([['l', '/etc', attr => 0120777 << 16], @s]),
		device => zip([['d', '', attr => 0020666 << 16], @s]),
		control => zip([["a\e[2Jb", 'x'], @s]),
		backslash => zip([['..\\x', 'x'], @s]),
		twice => zip([['a', 'a'], ['a', 'b'], @s]),
		two_names => zip([['a', 'x', lname => '../escaped'], @s]),
		crc => zip([['a', 'x', crc => 1], @s]),
		size => zip([['a', 'x', size => 4_000_000_000], @s]),
		size_dir => zip([['a', 'x', dsize => 4_000_000_000], @s]),
		csize => zip([['a', 'x', csize => 4_000_000_000], @s]),
		encrypted => zip([['a', 'x' x 20, flag => 1], @s]),
		method => zip([['a', 'x', method => 99], @s]),
		deflate => zip([['a', "\xff" x 50, method => 8], @s]),
		zip64 => zip([['a', 'x', size => 0xffffffff,
		    csize => 0xffffffff, extra => pack('vvQ<Q<', 1, 16,
		    1 << 63, 1 << 63)], @s]),
		zip64_short => zip([['a', 'x', size => 0xffffffff,
		    csize => 0xffffffff, extra => pack('vvV', 1, 60000, 1)],
		    @s]),
		count_less => zip(\@s, n => 1),
		count_more => zip(\@s, n => 60000),
		dir_outside => zip(\@s, dirat => 0xfffffff0),
		dir_size => zip(\@s, dirsize => 0xfffffff0),
		two_ends => zip(\@s, after => zip([['x', 'x']])),
		more => zip(\@s, after => 'more'),
		in_comment => zip([['x', 'x']], comment =>
		    pack('VvvvvVVv', 0x06054b50, 0, 0, 0, 0, 0, 0, 0)),
		zip64_end => zip([@s], n => 0xffff, between =>
		    pack('VQ<vvVVQ<Q<Q<Q<', 0x06064b50, 44, 45, 45, 0, 0,
		    1 << 62, 1 << 62, 1 << 62, 1 << 62) .
		    pack('VVQ<V', 0x07064b50, 0, 1 << 62, 1), dirat =>
		    0xffffffff, dirsize => 0xffffffff),
		overlap => zip([@s, map { ["o$_", $s[0][1], at => 0] }
		    1 .. 50]),
	);
	put("$_.zip", 'archive|limit|unsafe|format', $zips{$_})
	    for sort keys %zips;
}

# --- much from little
sub pipe_to {
	my ($name, $say, $cmd, $write) = @_;

	open my $f, '|-', "$cmd >'$dir/$name'" or die;
	binmode $f;
	$write->($f);
	close $f or die "$cmd: $?";
	print "$name\t$say\n";
}

sub bombs {
	my $mb = $ENV{FULL} ? 10240 : 256;
	my $zero = "\0" x (1 << 20);
	my $empty = tar_head('d/', 0, '5') x 2000;

	pipe_to('zeros.gz', 'limit|archive', 'gzip -1', sub {
		print { $_[0] } $zero for 1 .. $mb / 4 });
	pipe_to('zeros.zst', 'limit|archive', 'zstd -q -1', sub {
		print { $_[0] } $zero for 1 .. $mb });
	pipe_to('file.tar.zst', 'limit', 'zstd -q -1', sub {
		print { $_[0] } tar_head('store.sqlite3', $mb << 20, '0');
		print { $_[0] } $zero for 1 .. $mb;
		print { $_[0] } end() });
	pipe_to('entries.tar.zst', 'limit', 'zstd -q -1', sub {
		print { $_[0] } $empty for 1 .. 500; print { $_[0] } end() });
	pipe_to('files.tar.zst', 'limit', 'zstd -q -1', sub {
		print { $_[0] } tar_head("f$_", 0, '0') for 1 .. 12000;
		print { $_[0] } end() });
	# names and headers that are as large as files
	pipe_to('pax.tar.zst', 'limit|archive', 'zstd -q -1', sub {
		print { $_[0] } tar_head('p', $mb << 20, 'x');
		print { $_[0] } $zero for 1 .. $mb;
		print { $_[0] } file('x', 'x'), end() });
	pipe_to('longlink.tar.zst', 'limit|archive', 'zstd -q -1', sub {
		print { $_[0] } tar_head('././@LongLink', $mb << 20, 'L',
		    magic => 'ustar ', ver => " \0");
		print { $_[0] } $zero for 1 .. $mb;
		print { $_[0] } file('x', 'x'), end() });
	pipe_to('pax_many.tar.zst', 'limit|archive', 'zstd -q -1', sub {
		print { $_[0] } pax('comment', 'c' x 100) x 1000 for 1 .. 200;
		print { $_[0] } file('x', 'x'), end() });
	# holes are bytes, too
	put('holes.tar', 'limit', tar_head('s', 512, 'S', magic => 'ustar ',
	    ver => " \0", sparse => "00000000000\0" . "00000001000\0" .
	    "\0" x 72 . "\0" . sprintf('%011o ', 8_000_000_000)) .
	    pad('s' x 512) . end());
	# a compressor around another, and what is behind the first
	pipe_to('gz_gz.gz', 'archive', 'gzip -1 | gzip -1', sub {
		print { $_[0] } file('x', 'x'), end() });
	pipe_to('zst_gz.zst', 'archive', 'gzip -1 | zstd -q', sub {
		print { $_[0] } file('x', 'x'), end() });
	pipe_to('window.zst', 'archive|limit', 'zstd -q --ultra --long=31 -1',
	    sub { print { $_[0] } $zero for 1 .. 4;
		print { $_[0] } file('x', 'x'), end() });
}

# --- what libarchive would open, and nobody here wants
sub formats {
	put('cpio', 'format', sprintf('070701%08X%08X%08X%08X%08X%08X%08X%08X' .
	    '%08X%08X%08X%08X%08X', 1, 0100644, 0, 0, 1, 0, 1, 0, 0, 0, 0, 2, 0),
	    "x\0", "x\0\0\0", '0' x 600);
	put('odc', 'format', '070707', '0' x 70, "x\0x", '0' x 600);
	put('ar', 'format', "!<arch>\nx/              0           0     0     " .
	    "644     1         `\nx\n", 'x' x 600);
	put('7z', 'format', "7z\xbc\xaf\x27\x1c\0\4", "\0" x 600);
	put('rar', 'format', "Rar!\x1a\7\0", "\0" x 600);
	put('rar5', 'format', "Rar!\x1a\7\1\0", "\0" x 600);
	put('iso', 'format', "\0" x 32768, "\1CD001\1", "\0" x 4096);
	put('xar', 'format', 'xar!', "\0\34\0\1", "\0" x 600);
	put('mtree', 'format', "#mtree\n./x type=file contents=/etc/passwd\n" x
	    30);
	put('warc', 'format', "WARC/1.0\r\nWARC-Type: response\r\n" x 30);
	put('lha', 'format', "\x20\0-lh5-", "\0" x 600);
	put('cab', 'format', 'MSCF', "\0" x 600);
	put('xz', 'format', "\xfd7zXZ\0\0\4", "\0" x 600);
	put('bz2', 'format', 'BZh91AY&SY', "\0" x 600);
	put('lzop', 'format', "\x89LZO\0\r\n\x1a\n", "\0" x 600);
	put('lz4', 'format', "\4\"M\x18", "\0" x 600);
	put('compress', 'format', "\x1f\x9d\x90", "\0" x 600);
	put('uu', 'format', "begin 644 x\n", "M\n" x 300);
	put('rpm', 'format', "\xed\xab\xee\xdb\3\0", "\0" x 600);
	put('elf', 'format', "\x7fELF", "\0" x 600);
	put('script', 'format', "#!/bin/sh\ntouch $dir/../escaped\n");
	put('html', 'format', "<html>\e[2J</html>\n");
	put('nul', 'format', "\0" x 4096);
	put('empty_object', 'format|batch|json', '{}');
}

# --- a SQLite file whose header lies, and what lies beside it
sub copy {
	my ($name) = @_;

	system('cp', '-r', $from, "$dir/$name") == 0 or die;
	system('chmod', '-R', 'u+w', "$dir/$name") == 0 or die;
	return "$dir/$name";
}

sub patch {
	my ($file, $at, $bytes) = @_;

	open my $f, '+<:raw', $file or die "$file: $!";
	seek $f, $at, $at < 0 ? 2 : 0;
	print $f $bytes;
	close $f or die;
}

sub headers {
	my @lies = (
		page_0 => 16, pack('n', 0), page_3 => 16, pack('n', 3),
		page_odd => 16, pack('n', 4097),
		page_other => 16, pack('n', 512),
		page_64k => 16, pack('n', 1),
		write_format => 18, "\x09\x09", wal_mode => 18, "\2\2",
		reserved => 20, "\xff", fractions => 21, "\xff\xff\xff",
		pages_many => 28, pack('N', 0xffffffff),
		pages_few => 28, pack('N', 1),
		freelist => 32, pack('NN', 2, 0xffffffff),
		freelist_self => 32, pack('NN', 1, 1),
		schema_format => 44, pack('N', 255),
		encoding => 56, pack('N', 2), encoding_9 => 56, pack('N', 9),
		vacuum => 52, pack('N', 0xffffffff),
		version => 96, pack('N', 0xffffffff),
		root_kind => 100, "\x02", root_cells => 103, "\xff\xff",
		root_right => 108, pack('N', 1),
	);

	while (my ($name, $at, $bytes) = splice @lies, 0, 3) {
		my $d = copy($name);

		patch("$d/chroma.sqlite3", $at, $bytes);
		print "$name\tnotadb|corrupt|torn|hot|schema|ok\n";
	}
	# much larger than what it holds
	my $d = copy('sparse');
	truncate "$d/chroma.sqlite3", 1 << 28 or die;
	print "sparse\ttorn|corrupt\n";
	# a log of another database, and of none
	$d = copy('wal_other');
	open my $f, '>:raw', "$d/chroma.sqlite3-wal" or die;
	print $f pack('N8', 0x377f0682, 3007000, 4096, 0, 1, 2, 0, 0),
	    pack('N6', 1, 1, 1, 2, 0, 0), "\xff" x 4096;
	close $f;
	print "wal_other\thot\n";
	$d = copy('wal_dir');
	mkdir "$d/chroma.sqlite3-wal" or die;
	print "wal_dir\thot|unsafe|format\n";
	# a journal that names a file of the operator's as its master
	for my $name ('master', 'master_up') {
		my $m = $name eq 'master' ? "$dir/../canary" :
		    '../../canary';

		$d = copy($name);
		my $sum = unpack('%32C*', $m);
		open $f, '>:raw', "$d/chroma.sqlite3-journal" or die;
		print $f "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",
		    pack('N5', 0, 1, 2, 512, 4096), "\0" x 484,
		    pack('N', 0x40000000 / 4096 + 1), $m,
		    pack('NN', length $m, $sum),
		    "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7";
		close $f;
		print "$name\thot\n";
	}
}

# --- an index that says what it likes; FROM has its vectors there alone
sub index_ {
	my ($d, $f);
	my ($seg) = map { substr($_, length($from) + 1) } grep { -d }
	    glob("$from/*");
	for my $l (['max_elements', 20, "\xff" x 8],
	    ['count', 28, "\xff" x 7 . "\x7f"],
	    ['size_per', 36, "\xff" x 8], ['level', 60, "\xff" x 4],
	    ['all', 0, "\xff" x 100]) {
		$d = copy("hnsw_$l->[0]");
		patch("$d/$seg/header.bin", $l->[1], $l->[2]);
		print "hnsw_$l->[0]\tindex\n";
	}
	my %pickles = (
		os => "cos\nsystem\n(S'touch $dir/../escaped'\ntR.",
		global => "\x80\4\x8c\2os\x8c\6system\x93\x8c\4true\x85R.",
		deep => '(' x 1_000_000 . 'l' x 1_000_000 . '.',
		lists => ']' . ']a' x 1_000_000 . '.',
		memo => "\x80\2Nr\xff\xff\xff\xff.",
		memo_many => "\x80\4N" . "\x94" x 2_000_000 . '.',
		str => "\x80\4\x8d" . "\xff" x 8,
		str32 => "\x80\2X\xff\xff\xff\x7f" . 'x' x 100,
		long => "\x80\2\x8b\xff\xff\xff\x7f",
		frame => "\x80\4\x95" . "\xff" x 7 . "\x7f}.",
		twice => "\x80\4" . '0' x 1000 . '.',
		control => "\x80\2X\7\0\0\0\e[2J\a\r\n.",
	);
	for my $p (sort keys %pickles) {
		$d = copy("pickle_$p");
		open $f, '>:raw', "$d/$seg/index_metadata.pickle" or die;
		print $f $pickles{$p};
		close $f;
		print "pickle_$p\tindex\n";
	}
}

# --- batch results
sub answer {
	my ($id, $vec) = @_;

	return qq({"custom_id":$id,"response":{"body":{"data":[{"embedding":) .
	    qq($vec}]}}}\n);
}

sub json {
	my $good = answer('"a"', '[1,2]');
	my $n = 1_000_000;
	my %lines = (
		deep => $good . '[' x $n, deep_object => $good . '{"a":' x $n,
		deep_vector => answer('"a"', '[' x $n . ']' x $n),
		deep_unknown => qq({"custom_id":"a","more":) . '[' x $n,
		number => answer('"a"', '[1e400,2]'),
		digits => answer('"a"', '[' . '9' x $n . ',2]'),
		exponent => answer('"a"', '[1e' . '9' x 1000 . ',2]'),
		nan => answer('"a"', '[NaN,2]'),
		null => answer('"a"', '[null,2]'),
		text => answer('"a"', '["1",2]'),
		overflow => answer('"a"', '[1e39,2]'),
		no_dim => answer('"a"', '[]'),
		dims => $good . answer('"b"', '[1,2,3]'),
		lone => answer('"a\\ud800"', '[1,2]'),
		lone_low => answer('"\\udc00\\ud800"', '[1,2]'),
		utf8 => answer("\"\xff\xfe\"", '[1,2]'),
		overlong => answer("\"\xc0\x80\"", '[1,2]'),
		raw_control => answer("\"\e[2J\"", '[1,2]'),
		id_mb => answer('"' . 'i' x $n . '"', '[1,2]'),
		id_number => answer(7, '[1,2]'),
		twice => $good . $good,
		twice_other => $good . answer('"a"', '[1,3]'),
		key_twice => qq({"custom_id":"a","custom_id":"b","response":) .
		    qq({"body":{"data":[{"embedding":[1,2]}]}}}\n),
		behind => substr($good, 0, -1) . "x\n",
		cut => substr($good, 0, 40),
		error => qq({"custom_id":"a","error":{"message":") .
		    qq(\\u001b[2J\\u0007\\u009b31m"}}\n),
		long_line => qq({"custom_id":"a","x":") . 'x' x 34_000_000,
	);
	my %fine = (control => answer('"\\u001b]0;owned\\u0007\\n\\u009b"',
	    '[1,2]'), nul => answer('"a\\u0000b"', '[1,2]'));

	put("$_.jsonl", 'batch|format|limit|utf8|vector|duplicate',
	    $lines{$_}) for sort keys %lines;
	put("$_.jsonl", 'ok|batch|utf8', $fine{$_}) for sort keys %fine;
}

# --- the stream itself: none of these is one
sub stream {
	my $hello = "\x85\xa1t\xa5hello\xa1v\1\xa4prog\xa1t\xa7version\xa10" .
	    "\xa3run\xa1r";
	my $n = 1_000_000;
	my $t = "\xa1t\xa1x\xa1k";
	my %bad = (
		deep => "\x82$t" . "\x91" x $n, deep_map => "\x82$t" .
		    "\x81\xa1a" x $n,
		map32 => "\xdf\xff\xff\xff\xff\xa1t\xa1x",
		array32 => "\x82$t\xdd\xff\xff\xff\xff\1",
		str32 => "\x82$t\xdb\xff\xff\xff\xffx",
		bin32 => "\x82$t\xc6\xff\xff\xff\xffx",
		ext32 => "\x82$t\xc9\xff\xff\xff\xff\1x",
		str_long => "\x82$t\xdb" . pack('N', $n) . 'x' x $n,
		keys => "\xdf" . pack('N', 100_001) . "\xa1t\xa1x" .
		    join('', map { "\xce" . pack('N', $_) . "\1" } 1 .. 100_000),
		twice => "\x83$t\1\xa1k\2", t_twice => "\x82\xa1t\xa1x\xa1t\xa1y",
		key_number => "\x82\xa1t\xa1x\1\1", key_map => "\x82\xa1t\xa1x\x80\1",
		key_utf8 => "\x82\xa1t\xa1x\xa2\xff\xfe\1",
		str_utf8 => "\x82$t\xa2\xff\xfe", never => "\xc1",
		array => "\x91\1", no_t => "\x81\xa1k\1",
		t_number => "\x81\xa1t\1", capital => "\x81\xa1t\xa1X",
		control => "\x81\xa1t\xa5\e[2JX", zeros => "\0" x $n,
		text => "{\"t\":\"end\"}\n", hello_again => $hello,
	);

	for (sort keys %bad) {
		put($_, '76', $hello, $bad{$_});
		put("first_$_", '76', $bad{$_}) if $_ ne 'hello_again';
	}
	my $h = '{"t":"hello","v":1,"prog":"t","version":"0","run":"r"}' . "\n";
	my %json = (
		deep => '{"t":"x","k":' . '[' x $n, deep_map => '{"a":' x $n,
		number => '{"t":"x","k":1e400}', digits => '{"t":"x","k":' .
		    '9' x 100_000 . '}', lone => '{"t":"x","k":"\\ud800"}',
		nul => '{"t\\u0000":"x"}', twice => '{"t":"x","k":1,"k":2}',
		escaped_twice => '{"t":"x","\\u0074":"y"}',
		raw => "{\"t\":\"\e[2J\"}", utf8 => "{\"t\":\"\xff\"}",
		long => '{"t":"x","k":"' . 'x' x (2 * $n) . '"}',
		end => '{"t":"end"} {"t":"end"}', bom => "\xef\xbb\xbf{}",
	);
	put("$_.json", '76', $h, $json{$_}, "\n") for sort keys %json;
}

my %kinds = (archives => \&archives, bombs => \&bombs, formats => \&formats,
    headers => \&headers, index => \&index_, json => \&json, stream => \&stream);
($kinds{$kind} // die "hostile.pl: no $kind\n")->();
