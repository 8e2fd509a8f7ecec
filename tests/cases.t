#!/bin/sh
# cases.t: the cases of CASES.md that no other file shows, on disk; and that
# every test which CASES.md names is there.
. "$(dirname "$0")/lib.sh"
GEN=${GEN:-$SRC/build/gen}
PATH=$GEN:$PATH
plan 50

# gen DIR FIRST N [OPTION...]: a delta of N records, from the FIRST id on
gen() {
	out=$1 from=$2 many=$3
	shift 3
	gendelta --out "$out.d" --count 1 --start "$from" --records "$many" \
	    --dim 4 "$@" && mv "$out.d/delta-0000" "$out" && rmdir "$out.d"
}
pointer() { cat "$1/latest-pointer.txt"; }
# rows TARGET SQL: of the store that is current
rows() {
	sqlite3 -readonly "$1/timestamped/$(pointer "$1")/store.sqlite3" \
	    "$2" || date '+failed at %s.%N'	# and is like no other
}
count() { rows "$1" 'SELECT count(*) FROM records'; }
digest() {
	sed -n 's/.*"content_digest":"\([0-9a-f]*\)".*/\1/p' "$1/manifest.json"
}
# publish TARGET INPUT...: what the README says
publish() {
	drun "dfetch -B $1 $(shift; echo "$*") | dcheck | dmerge |
	    dpublish --json $1"
}
# chunk OUT INPUT...: an intermediate
chunk() { drun "dfetch $(shift; echo "$*") | dcheck | dmerge -o $1"; }
sums() {
	(cd "$1" && find . -type f ! -path './.intact/*' -exec sha256sum {} + |
	    sort)
}

# --- the list
perl - "$SRC/tests" >said <<'E2'
my ($dir) = @ARGV;
my ($last, %text) = (0);
open my $f, '<', "$dir/CASES.md" or die "CASES.md: $!";
while (<$f>) {
	next unless /^\| (\d+) \|/;
	print "$1 comes after $last\n" if $1 != $last + 1;
	$last = $1;
	my $named = 0;
	while (/`([\w.\/]+)`: "([^"]+)"/g) {
		my ($file, $what) = ($1, $2);
		$named++;
		if (!defined $text{$file}) {
			local $/;
			open my $g, '<', "$dir/$file" or
			    do { print "no file $file\n"; next };
			$text{$file} = <$g>;
			# texts go on over lines
			$text{$file} =~ s/"\s*\n\s*"//g if $file =~ /c$/;
			$text{$file} =~ s/\\\n//g;
		}
		# quoted, so in no comment; what is named is in one line
		grep { /["'][^\n]*\Q$what\E/ } split /\n/, $text{$file} or
		    print "$last: $file has no \"$what\"\n";
	}
	print "$last: no test\n" if $named == 0;
}
print "$last cases\n";
E2
is "$(cat said)" "83 cases" "every test that CASES.md names is there"

# --- files
gendelta --out thirteen --count 13 --records 2 --dim 4 --seed 6
for i in thirteen/*; do
	case $i in
	*-0005) ;;
	*) truncate -s 5000 "$i/chroma.sqlite3" ;;
	esac
done
status 65 "twelve of thirteen are bad" sh -c \
    'dfetch thirteen | dcheck -k --no-cache --json'
is "$(grep -c '^dcheck: .*thirteen/delta-00[0-9]*: .*mend: ' err)" 12 \
    "all twelve are named"
like err '^dcheck: 13 inputs: 1 ok, ' "and counted, beside the good one"
like out '"n_reasons":12' "and FAIL has them all"

mkdir -p "src/a/b/c/d/e/f/g" "src/x'y"
i=0
while [ $i -lt 97 ]; do
	echo "file $i" >"src/a/$i.csv"
	i=$((i + 1))
done
echo deep >src/a/b/c/d/e/f/g/deep
echo odd >"src/x'y/a b|c\$(id) ü+%.csv"
echo old >src/obsolete
# promote FROM TO
promote() {
	drun "dfetch --files $1 | dcheck |
	    dpublish --in-place --delete --json $2"
}
from=src bad_=''
for to in dev test stage qa prod; do
	promote $from $to >out 2>err || bad_="$bad_ $to:$(head -1 err)"
	from=$to
done
is "$bad_" "" "a hundred files through five places"
is "$(sums prod)" "$(sums src)" "with the same names and bytes"
is "$(sums prod | wc -l | tr -d ' ')" 100 "all hundred"
touch mark
status 0 "the last once more" promote qa prod
is "$(find prod -newer mark)" "" "changes nothing"
rm qa/obsolete
status 0 "a file fewer" promote qa prod
is "$(find prod -name obsolete) $(sums prod | wc -l | tr -d ' ')" " 99" \
    "what is obsolete goes"

# --- places
gen one 0 1
status 0 "a target below directories that are not there" publish \
    no/such/place one
is "$(count no/such/place)" 1 "they are made"
mv no/such/place moved
v=$(pointer moved)
status 0 "moved, the target is the same target" publish moved one
is "$(pointer moved) $(ls moved/commits)" "$v 1.json" "with nothing new"
cp -R moved copied
status 0 "and so is a copy" publish copied one
status 0 "and again, opened and moved back" sh -c \
    'mv moved no/such/place && dpublish log no/such/place'

# --- times of what was done
cp -Rp one dated
DCKPT_DB=$T/times.db publish timed dated >so 2>err
gen dated2 3 1 --seed 5
DCKPT_DB=$T/times.db publish timed dated2 >so 2>err
# field NAME FILE: its values
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$2"; }
dckpt -c times.db list --scope input --json >list
dckpt -c times.db stats --json | grep '"scope":"input"' >stats
is "$(field first stats) $(field last stats)" \
    "$(field created list | sort | head -1) $(field updated list | sort |
    tail -1)" "the first and last time of two runs"
ok "are two times" [ "$(field first stats)" != "$(field last stats)" ]

# --- small merges
gen two 1 1 --seed 2
gen three 2 1 --seed 3
tar -cf two.tar -C two .
publish snap one >so 2>err
status 0 "an archive and a directory onto one record" publish snap \
    two.tar three
is "$(count snap) $(grep -o '"merged":[0-9]*' out | sort -u)" \
    '3 "merged":2' "are three, two of them merged"
COLS='collection, id, hex(embedding), document, metadata, seq'
before=$(rows snap "SELECT $COLS FROM records" | cksum)
gen stranger 0 2 --collection other --seed 4
status 0 "a delta of another collection stays apart" publish snap stranger
is "$(rows snap "SELECT $COLS FROM records
    WHERE collection <> 'other'" | cksum)" "$before" "the first is as it was"
is "$(count snap)" 5 "and the other is there"

gen base 0 2 --time 1750000000
gen mixed 0 3 --seed 7 --time 1760000000
publish up base >so 2>err
was=$(rows up 'SELECT document FROM records ORDER BY id')
status 0 "two records updated and one new" publish up mixed
chunk alone mixed >so 2>err
is "$(rows up 'SELECT id, document, metadata FROM records')" \
    "$(sqlite3 -readonly alone/store.sqlite3 \
    'SELECT id, document, metadata FROM records')" \
    "are three, with the new documents"
is "$(echo "$was" | grep -c .) $(count up) $(rows up 'SELECT document FROM
    records ORDER BY id' | grep -cFx "$was")" "2 3 0" "and none of the old ones"

# --- deletions
gen dels 9 1 --delete 'IMAGE#9#LINE#99999' --time 1770000000
gen others 9 1 --collection other --delete 'IMAGE#0#LINE#00000' \
    --time 1770000000
publish del base >so 2>err
before=$(rows del "SELECT $COLS FROM records" | cksum)
status 0 "a deletion of what is not there, and in another collection" \
    publish del dels others
is "$(rows del "SELECT $COLS FROM records WHERE id <> 'IMAGE#0#LINE#00009'" |
    cksum) $(count del)" "$before 4" "nothing else is gone"

gen o1 0 1 --time 1740000000
gen o2 50 1 --time 1750000000 --delete 'IMAGE#0#LINE#00000' --seed 2
gen o3 0 1 --time 1760000000 --seed 3
cp -Rp o1 again
for order in 'o1 o2 o3' 'o1 o3 o2' 'o2 o1 o3' 'o2 o3 o1' 'o3 o1 o2' \
    'o3 o2 o1'; do
	rm -rf t
	for d in $order again; do
		publish t "$d" >so 2>err || echo "$order: $(head -1 err)"
	done
	echo "$(digest "t/timestamped/$(pointer t)") $(count t) $(rows t "SELECT
	    document FROM records WHERE id = 'IMAGE#0#LINE#00000'")"
done >orders
chunk newest o3 >so 2>err
is "$(sort -u orders | wc -l | tr -d ' ')" 1 \
    "deleted, made anew, and the old delta once more"
is "$(cut -d' ' -f2- orders | sort -u)" "2 $(sqlite3 -readonly \
    newest/store.sqlite3 'SELECT document FROM records')" \
    "is what came last, in any order"
rm -rf t
status 0 "deleted only" publish t o1 o2
status 0 "and the old delta once more" publish t again
is "$(count t)" 1 "stays deleted"

# --- chunks
gendelta --out ten --count 10 --records 3 --dim 4 --start 100 --seed 8
truncate -s 20000 ten/delta-0009/chroma.sqlite3
before=$(pointer up)
status 65 "ten deltas, the last is damaged" publish up ten
is "$(grep -c 'ten/delta-0009: ' err) $(pointer up) $(count up)" \
    "1 $before 3" "it is named, and nothing of the ten is there"
status 65 "the same as a chunk" chunk made ten
ok "is none" test ! -e made

gendelta --out many --count 25 --records 4 --overlap 1 --dim 4 --seed 9
dfetch -l many >all
for k in 1 10 11 20 25; do
	rm -rf g
	mkdir g
	head -$k all >g/plan
	split -l 10 g/plan g/c.
	for c in g/c.??; do
		drun "dfetch -f $c | dcheck | dmerge -o $c.d" >so 2>err
	done
	drun 'dfetch g/c.??.d | dcheck | dmerge -p g/plan -o g/end' >so 2>err
	drun 'dfetch -f g/plan | dcheck | dmerge -o g/one' >so 2>err
	[ -s g/one/manifest.json ] && [ "$(digest g/end)" = \
	    "$(digest g/one)" ] && [ "$(sqlite3 -readonly \
	    g/end/store.sqlite3 'SELECT count(*) FROM sources')" = $k ] &&
	    echo $k
done >groups 2>&1
is "$(tr '\n' ' ' <groups)" "1 10 11 20 25 " \
    "groups of ten of 1, 10, 11, 20 and 25"

# --- a lease of another machine, whose renewal fails
cat >s <<E2
{"t":"hello","v":1,"prog":"test","version":"0","run":"r"}
{"t":"delta","url":"/s/one","sha256":"$(printf '%064d' 1)","kind":"dir","path":"in/x","size":7,"seq":1,"mtime":5}
{"t":"end","totals":{}}
E2
drun "cat s | dckpt -c beat.db --json-in --json" >so 2>err
sql() { sqlite3 -cmd '.timeout 20000' beat.db "$1"; }
# until_ COMMAND...: at most a minute or two
until_() {
	i=0
	until "$@" >/dev/null 2>&1; do
		i=$((i + 1))
		[ $i -lt 600 ] || return 1
		sleep 0.1
	done
}
sql "update unit set place = 'elsewhere', host = 'elsewhere', lease = 1"
mkfifo hold
DCKPT_LEASE=10s dckpt -c beat.db beat "$(sql 'select run from unit')" \
    <hold >so 2>err & pid=$!
exec 9>hold
alive() { [ "$(sql 'select lease from unit')" -gt 1 ]; }
until_ alive
is "$? $(dckpt -c beat.db stale)" "0 " "a lease is kept up"
sql 'alter table unit rename to away'
ok "a renewal that fails ends it" until_ sh -c "! kill -0 $pid"
exec 9>&-
wait $pid
is "$?" 65 "its status is not 0"
like err '^dckpt: .*beat.db: ' "its reason is told"
sql 'alter table away rename to unit'
ok "and its lease runs out" until_ sh -c \
    'dckpt -c beat.db stale | grep -q "^/s/one$"'

# --- none is lost: 458 of 136, one of 167
gendelta --out real --count 458 --records 136 --dim 4 --seed 10
gen real/last 62288 167 --seed 11
for i in real/*; do
	sqlite3 -readonly "file:$i/chroma.sqlite3?immutable=1" \
	    'SELECT embedding_id FROM embeddings'
done | sort >want
dfetch -l real >real.plan
split -l 25 real.plan r.
for c in r.??; do
	drun "dfetch -f $c | dcheck | dmerge -o $c.d" >so 2>>err.r
done
status 0 "459 deltas of 62,455 records" drun 'dfetch -B big r.??.d |
    dcheck | dmerge -p real.plan | dpublish -p real.plan big'
rows big 'SELECT id FROM records' | sort >got
is "$(wc -l <want | tr -d ' ') $(sort -u want | wc -l | tr -d ' ')" \
    "62455 62455" "were as many different ids"
ok "are exactly these ids" cmp want got
is "$(rows big 'SELECT count(*) FROM sources')" 459 "of all the deltas"
is "$(ls -A "$TMPDIR")" "" "nothing is left in staging"
finish
