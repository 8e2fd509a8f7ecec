#!/usr/bin/perl
# expected.pl STORE.sqlite3 EXPECTED.json: does the records view hold what a
# real ChromaDB said it held: ids, float32 bits, documents, metadata with
# their types?  Prints each difference; exits 1 when there is one.
# Vectors of cosine spaces that come back scaled are compared within 4e-7.
# SPDX-License-Identifier: ISC
use strict;
use warnings;
use B ();
use JSON::PP ();

my ($store, $expected) = @ARGV;
my $json = JSON::PP->new->allow_nonref->utf8;
my $bad = 0;

sub complain {
	print "@_\n" if $bad++ < 20;
}

sub slurp {
	local $/;
	open my $f, '<:raw', shift or die "$!\n";
	return scalar <$f>;
}

# a value as text that tells types apart
sub canon {
	my ($v) = @_;

	return 'null' if !defined $v;
	return $v ? 'true' : 'false' if JSON::PP::is_bool($v);
	return '[' . join(',', map { canon($_) } @$v) . ']'
	    if ref $v eq 'ARRAY';
	return '{' . join(',', map { "$_:" . canon($v->{$_}) } sort keys %$v) .
	    '}' if ref $v eq 'HASH';
	return "string $v" if B::svref_2object(\$v)->FLAGS & B::SVf_POK;
	# an API that speaks JSON does not tell 1 from 1.0
	return sprintf('number %.17g', $v);
}

sub vectors_differ {
	my ($got, $want) = @_;
	my $bits = pack('f<*', @$want);
	my @got = unpack('f<*', $got);

	return 0 if $got eq $bits;
	return 1 if @got != @$want;
	for my $i (0 .. $#got) {
		my $d = abs($got[$i] - $want->[$i]);

		return 1 if $d > 4e-7 * abs($want->[$i]);
	}
	return 'close';
}

my $sql = 'SELECT hex(collection), hex(id), hex(embedding), ' .
    "CASE WHEN document IS NULL THEN 'none' ELSE hex(document) END, " .
    'hex(metadata) FROM records';
my (%got, $close);
open my $p, '-|', 'sqlite3', '-readonly', $store, $sql or die "sqlite3: $!\n";
while (<$p>) {
	chomp;
	my ($coll, $id, $vec, $doc, $meta) = split /\|/, $_, -1;

	$got{pack 'H*', $coll}{pack 'H*', $id} = {
		vec => pack('H*', $vec),
		doc => $doc eq 'none' ? undef : pack('H*', $doc),
		meta => $json->decode(pack 'H*', $meta),
	};
}
close $p or die "sqlite3 failed on $store\n";

my $n = 0;
for my $c (@{ $json->decode(slurp($expected))->{collections} }) {
	my $have = delete $got{$c->{name}} // {};

	for my $r (@{ $c->{records} }) {
		my $id = $r->{id};

		utf8::encode($id);
		my $g = delete $have->{$id};
		my $doc = $r->{document};

		$n++;
		if (!$g) {
			complain("$c->{name}: $id: not there");
			next;
		}
		utf8::encode($doc) if defined $doc;
		complain("$id: document: want ", $doc // 'none', ', got ',
		    $g->{doc} // 'none')
		    if ($doc // "\0none") ne ($g->{doc} // "\0none");
		# the API keeps a record's uri apart from its metadata
		delete $g->{meta}{'chroma:uri'};
		my ($w, $m) = (canon($r->{metadata} // {}), canon($g->{meta}));
		complain("$id: metadata: want $w, got $m") if $w ne $m;
		my $d = vectors_differ($g->{vec}, $r->{vector});
		complain("$id: vector differs") if $d eq '1';
		$close++ if $d eq 'close';
	}
	complain("$c->{name}: $_: not expected") for sort keys %$have;
}
complain("$_: collection is not expected") for sort keys %got;
printf "%d records%s\n", $n, $close ? ", $close within 4e-7" : '';
exit($bad ? 1 : 0);
