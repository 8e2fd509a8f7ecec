#!/bin/sh
# ops.t: health and cleanup on disk: verdicts and ages of inputs,
# quarantine and back, pins, leases, what gc removes and what not, and a
# snapshot made anew from its sources.  Killed at every fourth call (MORE=1:
# each); FULL=1: every call that is killed is made to fail, too.
# shellcheck disable=SC2016,SC2086
. "$(dirname "$0")/lib.sh"
GEN=${GEN:-$SRC/build/gen}
PATH=$GEN:$PATH
plan 132
S=$DATA/samples

# sample SAMPLE NAME: a writable copy
sample() {
	rm -rf "$2"
	cp -r "$S/$1/db" "$2" && chmod -R u+w "$2"
}
mkdir d
sample clean_small d/good
sample bad_trunc50 d/torn
sample bad_magic d/alien
find d/good -exec touch -d '3 days ago' {} +

# --- the health check of a whole store of deltas
check() { dfetch "$@" | dcheck -k --verdicts v --json; }
status 65 "a health check of all" check d/
like err '^dcheck: 3 inputs: 1 ok, 1 notadb, 1 torn$' \
    "says at the end how many of each"
is "$(sed 's/.*"url":"[^"]*\/\([a-z]*\)".*"verdict":"\([a-z]*\)".*/\1 \2/' v)" \
    "alien notadb
good ok
torn torn" "the list has every verdict"
is "$(grep -c '"sha256":"[0-9a-f]\{64\}","kind":"dir","size":[0-9]*,"mtime":[0-9]*,"verdict"' v)" \
    3 "with digest, size and time"
is "$(grep -c '"reason":".*","mend":"' v)" 2 "with reason and mend"
cp v before
dfetch d/ --json >stream
status 65 "a stream that breaks" sh -c \
    'head -3 stream | dcheck -k --json --json-in --verdicts v'
ok "leaves the list that was there" cmp v before
is "$(echo v.new*)" "v.new*" "and nothing else"
mkdir taken
status 64 "no directory is a list" sh -c \
    'dfetch d/ | dcheck --verdicts taken --json'
is "$(dfetch -l --older-than 1d d/ | cut -f1)" "$T/d/good" \
    "--older-than lists what is older"
is "$(dfetch -l --newer-than 1d d/ | cut -f1)" "$T/d/alien
$T/d/torn" "--newer-than what is not"
status 0 "nothing of that age" check --older-than 4d d/
status 64 "a web page has no age" dfetch -l --newer-than 1d \
    http://127.0.0.1:1/x

# --- set aside, and back
merge() { drun "dfetch -B T $1 | dcheck | dmerge | dpublish T" >/dev/null; }
gendelta --out a --count 2 --records 4 --dim 8 --seed 1
merge a
printf '%s\n' '{"custom_id":"r 1","response":{"status_code":500}}' \
    'half a li' '{"custom_id":"r2","error":{}}' >d/batch.jsonl
dfetch d/ | dcheck -k --verdicts v --json >/dev/null 2>&1
# whole DIR: all of its bytes and names
whole() { (cd "$1" 2>/dev/null && find . -type f -exec sha256sum {} + |
    sort | sha256sum); }
torn=$(whole d/torn) alien=$(whole d/alien)
status 0 "what would be set aside" dpublish quarantine -n T --verdicts v \
    --requeue again
is "$(sed 's,'"$T"',,g;s/-[0-9a-f]\{16\}/-N/' out)" \
    "would move /d/alien to /T/quarantine/alien-N/alien (notadb)
would move /d/batch.jsonl to /T/quarantine/batch.jsonl-N/batch.jsonl (batch)
would move /d/torn to /T/quarantine/torn-N/torn (torn)" "is said"
is "$(ls d T; ls again 2>/dev/null)" "T:
commits
latest-pointer.txt
staging
timestamped

d:
alien
batch.jsonl
good
torn" "and nothing is done"
status 0 "one verdict alone" dpublish quarantine T --verdicts v \
    --verdict torn --requeue again
is "$(ls d)" "alien
batch.jsonl
good" "leaves the others"
q=$(ls T/quarantine)
is "$(whole "T/quarantine/$q/torn")" "$torn" "it lies there whole"
like "T/quarantine/$q/verdict.json" '"url":"'"$T"'/d/torn","sha256":"[0-9a-f]{64}","kind":"dir","size":[0-9]+,"file":"torn","verdict":"torn","reason":".+","mend":".+","when":"20' \
    "with its verdict"
is "$(sed 's/"sha256":"[0-9a-f]*",//' again)" \
    '{"url":"'"$T"'/d/torn","verdict":"torn","quarantine":"'"$q"'"}' \
    "and is listed to be sent again"
sample bad_size0 d/late
status 66 "an operand that the list does not refuse" \
    dpublish quarantine T --verdicts v d/good
status 0 "one of the list" dpublish quarantine T --verdicts v \
    --requeue again d/alien
status 0 "all of the list" dpublish quarantine T --verdicts v \
    --requeue again
is "$(ls d)" "good
late" "those it refuses are gone from there"
is "$(grep -c . again)" 3 "no line comes twice"
like again '"verdict":"batch","quarantine":"batch[^"]*","custom_ids":\["r 1","r2"\]' \
    "a result file's custom_ids are listed"
cp again before
status 0 "once more" dpublish quarantine T --verdicts v --requeue again
is "$(grep -c '^kept ' out)" 3 "nothing is left to be done"
ok "nor listed" cmp again before
status 0 "a person's word" dpublish quarantine T --reason 'looks odd' d/late
status 0 "the list" dpublish quarantine --list T
is "$(sed 's/-[0-9a-f]\{16\} .*//;s/^20[^ ]*Z //' out)" \
    " notadb     moved   alien
 batch      moved   batch.jsonl
 operator   moved   late
 torn       moved   torn" "says all of them"
status 0 "those of two verdicts" dpublish quarantine --list --json T \
    --verdict torn --verdict operator
is "$(sed 's/.*"verdict":"\([a-z]*\)".*/\1/' out)" "operator
torn" "alone"
like out '"verdict":"operator","reason":"looks odd",.*"moved":true' \
    "with the reason"
dpublish quarantine --list T --older-than 1h >old
dpublish quarantine --list T --newer-than 1h >new
is "$(grep -c . old) $(grep -c . new)" "0 4" "those of an age"
status 64 "a verdict that there is not" dpublish quarantine --list T \
    --verdict nonsense
status 66 "an input that is not there" dpublish quarantine T d/none
status 64 "what is the target's own" dpublish quarantine T T/timestamped
status 64 "nothing at all" dpublish quarantine T
echo '{"url":1}' >odd
status 65 "a list that is none" dpublish quarantine T --verdicts odd
mkdir d/torn
status 73 "back, where something is" dpublish unquarantine T "$q"
like err 'd/torn: .*something else is there, and is not written over' \
    "is refused"
rmdir d/torn
status 0 "what would come back" dpublish unquarantine -n T "$q"
ok "stays" test ! -e d/torn -a -e "T/quarantine/$q/torn"
status 0 "back" dpublish unquarantine T "$q"
is "$(whole d/torn)" "$torn" "whole"
ok "and gone from there" test ! -e "T/quarantine/$q"
status 66 "once more" dpublish unquarantine T "$q"
status 64 "no name" dpublish unquarantine T ../d
# sent again, the same, and another
status 0 "set aside again" dpublish quarantine T --verdicts v
cp -r "T/quarantine/$q/torn" d/torn
status 0 "the same bytes sent again" dpublish quarantine T --verdicts v
ok "go, too" test ! -e d/torn
sample clean_small d/torn
status 0 "better ones" dpublish quarantine T --verdicts v
ok "stay" test -e d/torn/chroma.sqlite3
mv d/torn d/mended
sample bad_magic d/torn
dpublish unquarantine T "$(basename T/quarantine/alien*)" >/dev/null
echo >>d/alien/chroma.sqlite3
status 65 "one that has changed since" dpublish quarantine T --verdicts v
like err 'd/alien: sha256: .*it has changed since it was checked' "is named"
ok "and stays" test -e d/alien
is "$(find d T/quarantine T/staging -name '.*' | grep -v lock)" "" \
    "nothing hidden is left"

# between file systems
far=
for d in /dev/shm /var/tmp /tmp; do
	[ -n "$far" ] || [ ! -w $d ] ||
	    [ "$(stat -c %d $d)" = "$(stat -c %d "$T")" ] ||
	    far=$(mktemp -d $d/intact-t.XXXXXX)
done
if [ -n "$far" ]; then
	trap 'rm -rf "$far"' EXIT
	sample bad_trunc50 "$far/far"
	printf 'not a store' >"$far/file.tar"
	was=$(whole "$far/far")
	status 0 "from another file system" dpublish quarantine T \
	    "$far/far" "$far/file.tar"
	is "$(whole T/quarantine/far-*/far) $(cat \
	    T/quarantine/file.tar-*/file.tar)" "$was not a store" \
	    "they are copied"
	is "$(ls -A "$far")" "" "and leave nothing"
	dpublish unquarantine T "$(basename T/quarantine/far-*)" \
	    "$(basename T/quarantine/file.tar-*)" >/dev/null
	is "$(whole "$far/far") $(cat "$far/file.tar")" \
	    "$was not a store" "and come back"
else
	skip 4 "no second file system to write to"
fi

# --- pins, leases, and what goes
rm -rf T a
for i in 1 2 3 4; do
	gendelta --out "a$i" --count 1 --records 4 --dim 8 --seed "$i" \
	    --start "${i}00"
	merge "a$i"
done
# shellcheck disable=SC2046
set -- $(ls T/timestamped)
v1=$1 v2=$2 v3=$3 v4=$4
left() { (cd T && find staging pins ! -type d) | tr '\n' ' '; }
status 0 "a pin" dpublish pin T "$v1" --reason "the report of May"
status 0 "a lease" dpublish lease T "$v2" --for 1h --name reader-1
status 0 "one of the current version" dpublish lease T --for 1h --json
like out '"t":"lease".*"version":"'"$v4"'","name":"'"$v4"'\.20' "says its name"
name=$(sed 's/.*"name":"\([^"]*\)".*/\1/' out)
status 0 "what is kept" dpublish pin --list T
is "$(sed 's/ 3[56][0-9]* s left/ S/' out | grep -v "$v4")" \
    "$v1  pin  the report of May
$v2.reader-1  lease, S" "is listed"
status 66 "no such version" dpublish pin T 20260101T000000.000000Z-00000000
status 64 "no version" dpublish pin T nonsense
status 64 "a lease without end" dpublish lease T
status 64 "a name that is none" dpublish lease T --for 1m --name a/b
status 0 "what would go" dpublish gc -n T --keep-newer-than 0
is "$(cat out)" "would remove $T/T/timestamped/$v3" "is what nobody holds"
status 0 "gc" dpublish gc T --keep-newer-than 0 --json
is "$(sed 's/.*"t":"\([a-z]*\)".*"version":"\([^"]*\)".*"why":"\([^"]*\)".*/\1 \2 \3/' out)" \
    "kept $v4 current
pruned $v3 old
kept $v2 leased
kept $v1 pinned" "says what goes, and why the rest stays"
is "$(ls T/timestamped | tr '\n' ' ')" "$v1 $v2 $v4 " "and it is gone"
dpublish unpin T "$v2.reader-1" "$name"
status 66 "a lease that was given back" dpublish unpin T "$name"
dpublish lease T "$v2" --for 1s --name short >/dev/null
touch -d '1 hour ago' "T/pins/$v2.short/pin.json"
status 0 "prune goes by them, too" dpublish prune T --keep-newer-than 0
is "$(ls T/timestamped | tr '\n' ' ')" "$v1 $v4 " \
    "a lease that is over keeps nothing"
ok "one that is just over may go on" test -e "T/pins/$v2.short"
touch -d '3 days ago' "T/pins/$v2.short/pin.json"
dpublish unpin T "$v1"
# an orphan: old, young, newer than the current one
o=20250101T000000.000000Z-00000000
cp -r "T/timestamped/$v4" "T/timestamped/$o"
cp -r "T/timestamped/$v4" T/timestamped/29990101T000000.000000Z-00000000
status 0 "versions that no commit names" dpublish gc T --keep-newer-than 0
is "$(ls T/timestamped | tr '\n' ' ')" \
    "$o $v4 29990101T000000.000000Z-00000000 " "stay while they are young"
find "T/timestamped/$o" T/timestamped/2999* -exec touch -d '9 days ago' {} +
dpublish prune T --keep-newer-than 0 >/dev/null
ok "prune leaves them" test -e "T/timestamped/$o"
mv T/commits/2.json gap
dpublish gc T --keep-newer-than 0 >/dev/null 2>&1
ok "gc, too, while commits are missing" test -e "T/timestamped/$o"
mv gap T/commits/2.json
status 0 "gc of an old one" dpublish gc T --keep-newer-than 0
like out "^removed .*/$o \(no commit names it\)$" "says that it goes"
is "$(ls T/timestamped | tr '\n' ' ')" \
    "$v4 29990101T000000.000000Z-00000000 " \
    "one that is newer than all commits stays"
is "$(left)" "staging/.lock " "nothing else is left"

# --- made anew from its sources
digest() { sed -n 's/.*"content_digest": *"\([0-9a-f]*\)".*/\1/p' "$1/manifest.json"; }
EX=$SRC/examples
for f in sqlite chroma; do
	for i in 1 2; do
		drun "dfetch -B R.$f a$i $DATA/samples/updates_deletes/db |
		    dcheck | dmerge -F $f | dpublish R.$f" >/dev/null 2>&1
	done
	status 0 "a $f snapshot made anew" dpublish rebuild "R.$f" "new.$f"
	is "$(digest "new.$f")" \
	    "$(digest "R.$f/timestamped/$(cat "R.$f/latest-pointer.txt")")" \
	    "has the same content"
done
old=$(ls R.sqlite/timestamped | head -1)
status 0 "an old one" dpublish rebuild R.sqlite new.old "$old"
is "$(digest new.old)" "$(digest "R.sqlite/timestamped/$old")" \
    "has its own"
status 0 "and once more" dpublish rebuild --json R.sqlite new.old "$old"
like out '"t":"rebuilt".*"sources":2' "is as good"
status 73 "another one of that name" dpublish rebuild R.sqlite new.old
is "$(digest new.old)" "$(digest "R.sqlite/timestamped/$old")" "it stays"
status 65 "--expect, and another content" drun "dfetch a1 | dcheck |
    dmerge --expect $(printf %064d 1) -o unexpected"
like err 'content digest: want 0{63}1, got [0-9a-f]{64}$' "says both"
ok "nothing is made" test ! -e unexpected
status 64 "--expect what is no digest" dmerge --expect 1
drun "dfetch --files a1 | dcheck | dpublish fileset" >/dev/null 2>&1
status 64 "a file set has no deltas" dpublish rebuild fileset new.files
status 0 "the sources of a version" dpublish sources R.sqlite "$old"
is "$(grep -c '	seq=[0-9]*	size=[0-9]*	sha256=[0-9a-f]\{64\}$' out)" 2 \
    "are a plan"
mkdir moved
mv a1/delta-0000 moved
status 66 "a source that is gone" dpublish rebuild R.sqlite new.gone
like err 'a1/delta-0000: ' "is named"
mv a2/delta-0000 moved/two
status 66 "two of them" dpublish rebuild R.sqlite new.gone
is "$(grep -c 'delta-0000: No such' err)" 2 "are both named"
ok "and nothing is made" test ! -e new.gone
mv moved/delta-0000 a1
sample clean_small a2/delta-0000
status 65 "other bytes in its place" dpublish rebuild R.sqlite new.gone
rm -r a2/delta-0000
mv moved/two a2/delta-0000

# --- a report of a bad one
status 0 "a report" env SOME_SECRET=hunter2 "$EX/report.sh" rep d/torn
is "$(whole rep/input/torn)" "$(whole d/torn)" "has the bytes"
like rep/dcheck.txt '^exit status 65$' "what dcheck says"
like rep/machine.txt '^dcheck 0' "and of what version"
ok "and no secret" sh -c '! grep -r hunter2 rep && grep SOME_SECRET \
    rep/machine.txt'
status 65 "again" rep/again.sh
dpublish quarantine R.sqlite d/torn >/dev/null
status 0 "a report of one in quarantine" "$EX/report.sh" rep2 R.sqlite \
    "$(ls R.sqlite/quarantine)"
is "$(sed 's/.*"verdict":"\([a-z]*\)".*/\1/' rep2/verdict.json)" "operator
notadb" "has both verdicts"
ok "in one file" sh -c 'tar -tzf rep2.tar.gz | grep chroma.sqlite3'
status 66 "nothing of that name" "$EX/report.sh" rep3 R.sqlite none
status 73 "a report that is there" "$EX/report.sh" rep d/torn

# --- killed at every step of it, one after the other
cat >kill.pl <<'P'
# kill.pl SCENE CALL...: the command of the scene is killed at the Nth of
# each call (HOW=error=ENOSPC: that call fails); what is there then must be one of what is allowed, and the same
# command again ends as if nothing had been.  One line of counts.
use strict; use warnings; use Digest::SHA;
my ($scene, @calls) = @ARGV;
my $far = $ENV{FAR} // '';
my %cmd = (
	aside => 'dpublish quarantine K/T --verdicts kv --requeue K/again',
	word => 'dpublish quarantine K/T K/d/torn K/d/file.tar',
	back => 'dpublish unquarantine K/T $NAMES',
	far => "dpublish quarantine K/T $far/torn $far/file.tar",
	farback => 'dpublish unquarantine K/T $NAMES',
	gc => 'dpublish gc K/T --keep-newer-than 0',
	lease => 'dpublish lease K/T --for 1h --name me');
my $how = $ENV{HOW} // 'signal=KILL';
my $dir = $scene =~ /^far/ ? $far : 'K/d';
my %n;
sub sh { system('sh', '-c', "{ $_[0]; } >out 2>err </dev/null"); $? }
sub slurp { open my $f, '<', $_[0] or return ''; local $/; <$f> }
sub tree {	# all files below, and their bytes
	my ($at) = @_;
	return undef if !-e $at;
	return Digest::SHA->new(256)->addfile($at)->hexdigest if -f $at;
	my ($s, @todo) = ('', '');
	while (defined(my $rel = shift @todo)) {
		opendir my $dir, "$at$rel" or next;
		for (sort grep { !/^\.\.?$/ } readdir $dir) {
			my $p = "$rel/$_";
			push @todo, $p if -d "$at$p";
			$s .= "$p " . Digest::SHA->new(256)->
			    addfile("$at$p")->hexdigest . "\n" if -f "$at$p";
		}
	}
	return $s;
}
sub reset_all {
	sh("rm -rf K && cp -a K.$scene K") == 0 or die slurp('err');
	sh("rm -rf $far/* $far/.[!.]*; cp -a F.$scene/. $far/") == 0 or die
	    if $scene =~ /^far/;
}
reset_all();
my %want = %{ {
    map { my ($b) = m{([^/]+)$}; ($b, tree($_)) }
    glob("$dir/torn $dir/file.tar K/T/quarantine/*/torn " .
    "K/T/quarantine/*/file.tar") } };
delete $want{$_} for grep { !defined $want{$_} } keys %want;
my %versions = map { ($_, tree($_)) } glob 'K/T/timestamped/*';
# what is wrong now, "" nothing
sub wrong {
	if ($scene eq 'gc' || $scene eq 'lease') {
		for (sort keys %versions) {
			my $t = tree($_);
			return "$_ is torn" if defined $t &&
			    $t ne $versions{$_};
			return "$_ is gone" if !defined $t && m{-keep|$ENV{KEEP}};
		}
		return '';
	}
	for my $b (sort keys %want) {
		my ($from, @to) = ("$dir/$b", glob "K/T/quarantine/*/$b");
		my $a = tree($from);
		my $z = @to ? tree($to[0]) : undef;
		return "$b is in neither" if !defined $a && !defined $z;
		# what lies under a name that is looked at is whole
		return "$b is torn" if defined $a && $a ne $want{$b} ||
		    defined $z && $z ne $want{$b};
	}
	return '';
}
sub final { # everything, but for ids and times
	my $s = `find K $dir ! -type d 2>/dev/null | sort -u`;
	$s =~ s{/staging/\.lock\n}{/\n}g;
	return $s . join '', sort split /^/, slurp('K/again');
}
sh($cmd{$scene}) == 0 or die slurp('err');
my $end = final();
my $tried = 0;
for my $call (@calls) {
	my $quick = $call eq 'fsync' ? '' : "-E LD_PRELOAD=$ENV{NOSYNC} ";
	for (my $i = 1; $i <= 300; $i += $ENV{BY}) {
		reset_all();
		unlink 'log';
		my $st = sh("exec strace -qq -f -o log -e signal=none " .
		    "$quick-e trace=$call -e inject=$call:$how:when=$i " .
		    $cmd{$scene});
		last if slurp('log') !~ ($how =~ /KILL/ ? qr{= \?$}m :
		    qr{INJECTED});
		$tried++;
		my $w = wrong();
		# done is said of nothing that is not; a claim that stays is
		# told, and the next run collects it
		(my $said = final()) =~ s{^K/T/staging/2.*\n}{}mg;
		$w = 'said done' if $w eq '' && $st == 0 && $said ne $end;
		if ($w ne '') {
			$n{torn}++;
			print "# $call $i: $w\n";
		}
		$st = sh("export LD_PRELOAD=$ENV{NOSYNC}; $cmd{$scene}");
		# 66: it is back
		$st = 0 if $scene =~ /back/ && $st >> 8 == 66;
		my $now = final();
		if ($st != 0 || $now ne $end) {
			$n{again}++;
			print map { "# $_\n" } "$call $i: again: $st",
			    split(/\n/, slurp('err')), 'got', split(/\n/, $now),
			    'want', split(/\n/, $end) if $n{again} < 3;
		}
	}
}
print "# $scene: killed $tried times\n";
print $tried * $ENV{BY} > 10 ? 'tried' : "only $tried tried",
    map({ " $_ $n{$_}" } sort keys %n), "\n";
P
# kills SCENE 'what'
kills() {
	NAMES=$(ls "K.$1/T/quarantine" 2>/dev/null | tr '\n' ' ')
	export NAMES
	perl kill.pl "$1" mkdir mkdirat write copy_file_range fsync linkat \
	    link rename renameat renameat2 unlink unlinkat rmdir >kout 2>&1
	# and, instead, told that the disk is full
	[ "${FULL:-0}" != 1 ] || HOW=error=ENOSPC perl kill.pl "$1" mkdir \
	    mkdirat write copy_file_range fsync linkat link rename renameat \
	    renameat2 unlink unlinkat rmdir 2>&1 | sed '/^tried$/d' >>kout
	sed -n '/^#/p' kout
	is "$(sed '/^#/d' kout)" tried "$2"
}
if ! strace -f -o probe -e trace=rename -e inject=rename:error=EIO \
    true >/dev/null 2>&1; then
	skip 7 "strace cannot trace here"
	finish
fi
# a leak checker traces the process itself, and cannot where strace does; a
# preload stands before the sanitizer's own library, which may be so
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0
# what a killed process wrote is there without fsync, too, and the disk need
# not be waited for; where calls of fsync are counted, it is
NOSYNC=$GEN/nosync.so
BY=$(few 4 1)
export ASAN_OPTIONS NOSYNC BY
rm -rf K && mkdir K && gendelta --out b --count 1 --records 4 --dim 8 --seed 9
drun 'dfetch -B K/T b | dcheck | dmerge | dpublish K/T' >/dev/null
mkdir K/d
cp -r d/mended K/d/good
sample bad_trunc50 K/d/torn
printf 'not a store' >K/d/file.tar
dfetch K/d/ 2>/dev/null | dcheck -k --verdicts kv --json >/dev/null 2>&1
cp -a K K.aside
cp -a K K.word
cp -a K K.lease
cp -a K K.far
dpublish quarantine K/T K/d/torn K/d/file.tar >/dev/null
cp -a K K.back
export KEEP=none
kills aside "set aside: killed anywhere"
kills word "at a person's word: killed anywhere"
kills back "and back: killed anywhere"
kills lease "a lease: killed anywhere"
if [ -n "$far" ]; then
	rm -rf "${far:?}"/*
	export FAR=$far
	mkdir F.far
	cp -r K.far/d/torn K.far/d/file.tar F.far
	cp -a F.far/. "$far"
	rm -rf K && cp -a K.far K
	dpublish quarantine K/T "$far/torn" "$far/file.tar" >/dev/null
	cp -a K K.farback
	mkdir F.farback
	kills far "between file systems: killed anywhere"
	kills farback "and back: killed anywhere"
else
	skip 2 "no second file system to write to"
fi
rm -rf K && mkdir K
for i in 1 2 3 4; do
	drun "dfetch -B K/T a$i | dcheck | dmerge | dpublish K/T" >/dev/null
done
KEEP=$(ls K/T/timestamped | sed -n 2p)
dpublish pin K/T "$KEEP" >/dev/null
KEEP="$KEEP|$(cat K/T/latest-pointer.txt)"
cp -a K K.gc
kills gc "gc: killed anywhere"
finish
