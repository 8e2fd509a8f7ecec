#!/bin/sh
# dcheck.t: verdicts, the workers that give them, and what they cannot do.
# shellcheck disable=SC2016,SC2086,SC2317,SC3045
. "$(dirname "$0")/lib.sh"
S=$DATA/samples
BAD='bad_collection_row_deleted collection
bad_created_at queue
bad_database_row_deleted collection
bad_fts_emptied metadata
bad_header_count_low index
bad_hnsw_dir_missing (index|vector)
bad_hnsw_wrong_dim index
bad_hot_journal_lost (corrupt|torn)
bad_invalid_utf8_id utf8
bad_killed_pickle_size0 index
bad_length_size0 index
bad_level0_trunc index
bad_link_lists_size0 index
bad_magic notadb
bad_max_seq_too_high seq
bad_metadata_emptied metadata
bad_migration_hash schema
bad_pickle_missing (index|vector)
bad_pickle_trunc index
bad_queue_emptied_max_kept seq
bad_queue_encoding queue
bad_queue_vector_len (vector|queue)
bad_records_lost (vector|count|metadata)
bad_size0 size
bad_trunc50 torn
bad_vector_segment_missing segment
bad_vectors_nowhere vector
bad_xml_error_body notadb
bad_zeroed_embeddings_leaf corrupt
bad_zeroed_fts_leaf (corrupt|metadata)
bad_zeroed_queue_leaf corrupt'
GOOD='clean_small hnsw_plus_queue killed_torn_hnsw legacy_py0424_synthetic
legacy_py063_synthetic metadata_types purged_hnsw_cosine purged_hnsw_l2
py1021_clean py1021_purged py135_clean py140_purged two_collections
updates_deletes dim384 dim1536'
plan $((236 + $(echo "$BAD" | wc -l) + $(echo $GOOD | wc -w)))

# check INPUT... [-- OPTION...]: through dfetch; records in $T/json
check() {
	in=
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		in="$in $1"
		shift
	done
	[ $# -eq 0 ] || shift
	dfetch $in >"$T/stream" || return 99
	dcheck --json "$@" <"$T/stream" >"$T/json"
}
# again OPTION...: the stream in $T/stream, once more
again() { dcheck --json "$@" <"$T/stream" >"$T/json"; }
# verdict 'what' CODE INPUT... [-- OPTION...]: refused with that code
verdict() {
	what=$1 code=$2
	shift 2
	status 65 "$what" check "$@"
	like "$T/json" "^\{\"t\":\"refused\".*\"verdict\":\"$code\"" \
	    "$what: $code"
}
# copy SAMPLE NAME: a writable copy
copy() {
	rm -rf "$2"
	cp -r "$S/$1/db" "$2" && chmod -R u+w "$2"
}
# stage: a staging directory as drun makes it, into DIR
stage() {
	DIR=$T/intact.20261120T120000.000000Z-0000000$1
	rm -rf "$DIR"
	mkdir -m 700 "$DIR" && : >"$DIR/lock"
}
sha() { sha256sum "$1" | cut -d' ' -f1; }
HELLO='{"t":"hello","v":1,"prog":"t","version":"0","run":"r"}'
END='{"t":"end","totals":{}}'
# delta PATH KIND SIZE SHA: a record
delta() {
	printf '{"t":"delta","url":"/%s","sha256":"%s","kind":"%s",' "$1" \
	    "$4" "$2"
	printf '"path":"%s","size":%s,"seq":1}\n' "$1" "$3"
}
# the pid of a worker of $1, once it has one
worker_of() {
	i=0
	while [ $i -lt 6000 ]; do
		w=$(ps -o pid= --ppid "$1" | head -1 | tr -d ' ')
		[ -z "$w" ] || { echo "$w"; return; }
		i=$((i + 1))
		perl -e 'select(undef, undef, undef, 0.01)'
	done
}

# --- the program
status 0 "--help" dcheck --help
like "$T/out" '^usage: dcheck' "help has the usage"
is "$(head -1 "$T/out" | grep -c drun)" 1 "help starts with examples"
status 0 "--version" dcheck --version
is "$(cat "$T/out")" "dcheck 0.1.0" "the version"
for o in --nonsense '-P 0' '-P 65' '-P x' '--timeout 0' '--timeout 1y' x; do
	status 64 "dcheck $o" dcheck $o
done
sed -n '/^\.Ss Verdicts/,/^\.El/s/^\.It Cm //p' "$SRC/man/dcheck.1" >codes.man
sed -n '/^} codes/,/^};/s/^	{ "\([a-z0-9]*\)".*/\1/p' \
    "$SRC/common/check.c" >codes.c
is "$(cat codes.man)" "$(cat codes.c)" "the page names every verdict"
is "$(wc -l <codes.c | tr -d ' ')" 31 "thirty-one of them"

# --- the stream
stage 1
feed() { printf '%s\n' "$@" | dcheck --json --json-in --stage "$DIR"; }
status 0 "nothing to check" feed "$HELLO" "$END"
status 76 "no END" feed "$HELLO"
status 76 "FAIL" feed "$HELLO" '{"t":"fail","reasons":["x"]}'
status 0 "what it does not know passes" feed "$HELLO" \
    '{"t":"odd","a":[1]}' "$END"
like "$T/out" '^\{"t":"odd","a":\[1\]\}$' "untouched"
status 76 "an unknown type in capitals does not" feed "$HELLO" \
    '{"t":"ODD"}' "$END"
status 76 "a path that leaves staging" feed "$HELLO" \
    "$(delta ../x file 1 "$(printf '%064d' 0)")" "$END"
status 66 "what is not in staging" feed "$HELLO" \
    "$(delta x file 1 "$(printf '%064d' 0)")" "$END"
ln -s /etc "$DIR/etc"
status 77 "a link in staging" feed "$HELLO" \
    "$(delta etc/passwd file 1 "$(sha /etc/passwd)")" "$END"
status 77 "a link in staging as input" feed "$HELLO" \
    "$(delta etc dir 1 "$(printf '%064d' 0)")" "$END"
status 76 "totals that do not add up" feed "$HELLO" \
    '{"t":"end","totals":{"fetched":1}}'
dfetch "$S/clean_small/db" >"$T/stream"
status 74 "/dev/full" sh -c 'dcheck <"$1" >/dev/full' sh "$T/stream"
mkfifo open
exec 9<>open	# an input that says hello, and then nothing for ever
printf '%s\n' "$HELLO" >&9
( timeout 120 dcheck --json --json-in --stage "$DIR" <open 2>err 9>&-
    echo $? >status ) | head -c 1 >/dev/null
exec 9>&-
is "$(cat status)" 76 "a reader that leaves ends it, input or not"

# --- verdicts on the samples
for s in $GOOD; do
	status 0 "$s is accepted" check "$S/$s/db"
done
echo "$BAD" | while read -r s code; do
	check "$S/$s/db" 2>err
	echo "$? $(sed -n "s/.*\"t\":\"refused\".*\"verdict\":\"\([a-z0-9]*\)\".*/\1/p" "$T/json")" >"verdict.$s"
done
while read -r s code; do
	like "verdict.$s" "^65 $code\$" "$s is refused: $code"
done <<-X
	$BAD
X
status 65 "no collection is empty" check "$S/no_collection/db"
like "$T/json" '"verdict":"(empty|collection)"' "and says so"
verdict "a collection without records" empty "$S/empty_collection/db"
like "$T/err" '^dcheck: .*/db: empty: .*; mend: .*--allow-empty' \
    "one line with reason and mend"
for s in no_collection empty_collection; do
	status 0 "$s with --allow-empty" check "$S/$s/db" -- --allow-empty
	like "$T/json" '"verdict":"ok".*"records":0,' "counts as nothing"
done

# --- many at once
records() { grep '"t":"delta"' "$T/json" | sed 's/"path":"[^"]*"//'; }
status 65 "dimensions that differ" check "$S/clean_small/db" "$S/dim384/db"
like "$T/err" 'db: base: collection .*dimension 384, but 8 in .*clean_small' \
    "both are named"
for i in 1 2 3 4 5; do copy clean_small same$i; done
same='same1 same2 same3 same4 same5'
check $same -- -P 1 --no-cache >out 2>&1
one=$(records)
is "$(echo "$one" | wc -l | tr -d ' ')" 5 "five deltas"
ok "they agree" grep -q '"checked":5,"refused":0' "$T/json"
for p in 2 5 64; do
	check $same -- -P $p --no-cache
	is "$(records)" "$one" "-P $p: the same records in the same order"
done
three="$S/bad_size0/db $S/clean_small/db $S/bad_trunc50/db $S/bad_magic/db"
status 65 "three bad ones with -k" check $three -- -k
is "$(grep -c '; mend: ' "$T/err")" 3 "three are named"
is "$(tail -1 "$T/json" | sed 's/.*"status":\([0-9]*\).*"n_reasons":\(.*\)}/\1 \2/')" \
    "65 3" "FAIL has them all"
is "$(grep -c '"verdict":"ok"' "$T/json")" 1 "the good one passed"
status 65 "three bad ones without -k" check $three
is "$(grep -c '; mend: ' "$T/err")" 1 "the first is named"
is "$(grep -c '"t":"end"' "$T/json")" 0 "there is no END"
mkdir 'odd name'
cp -r "$S/bad_size0/db" 'odd name/a;b'
dfetch 'odd name/a;b' | dcheck --json >json 2>err
like err 'odd name/a;b: size: ' "names are said as they are"

check $three -- -k -c ckpt.db 2>err
is "$(sqlite3 ckpt.db 'SELECT count(*), min(code), max(code) FROM unit')" \
    "3|notadb|torn" "the checkpoint database has the refused, by their verdicts"

# --- hot
h=$S/killed_hot_journal_real/db
verdict "a hot journal" hot "$h"
like "$T/err" 'mend: .*dcheck --recover-hot$' "and what mends it"
cp -r "$h" hot.before
dfetch "$h" >"$T/stream"
dcheck --json --recover-hot -x 'test ! -e "$1/chroma.sqlite3-journal" &&
    cp -r "$1" recovered' <"$T/stream" >"$T/json" 2>err
is $? 0 "--recover-hot accepts what is there"
like "$T/json" '"path":"check\..*"records":800,.*"recovered":true' \
    "from a private copy"
is "$(sqlite3 -readonly recovered/chroma.sqlite3 'PRAGMA quick_check')" ok \
    "which is whole"
ok "the input is as it was" diff -r hot.before "$h"
status 0 "a main file torn by its killed writer" check \
    "$S/killed_hot_journal_torn_main/db" -- --recover-hot
mkdir tars
tar -cf tars/hot.tar -C "$h" .
verdict "a hot journal in an archive" hot tars/hot.tar
status 0 "recovered from an archive" check tars/hot.tar -- --recover-hot
like "$T/json" '"recovered":true' "and said to be"

# --- archives
c=$S/clean_small/db
tar -cf tars/a.tar -C "$c" .
gzip -c tars/a.tar >tars/a.tar.gz
zstd -q -o tars/a.tar.zst tars/a.tar
( cd "$c" && zip -q -r "$T/tars/a.zip" . )
tar -cf tars/top.tar -C "$S/clean_small" db
for a in a.tar a.tar.gz a.tar.zst a.zip top.tar; do
	status 0 "$a" check tars/$a
	like "$T/json" '"kind":"dir","path":"check\..*"records":40,' \
	    "$a: unpacked, and counted"
done
for _ in 1 2; do
	check tars/top.tar -- -v 2>err
done
like err 'verdict from the cache' "an archive's verdict is remembered"
like "$T/json" '"kind":"dir","path":"check\..*"records":40,' \
    "and it is unpacked all the same"
head -c 100000 tars/a.tar >tars/cut.tar
head -c 20000 tars/a.tar.gz >tars/cut.tar.gz
verdict "a tar cut short" archive tars/cut.tar
verdict "a tar.gz cut short" archive tars/cut.tar.gz
# all of it can be read, and only its checksum says that it is not what it was
size=$(wc -c <tars/a.tar.gz)
perl -e '$/ = undef; $_ = <STDIN>; substr($_, -8, 1) ^= "\1"; print' \
    <tars/a.tar.gz >tars/sum.tar.gz
ok "the same bytes, but for one" test "$size" -eq "$(wc -c <tars/sum.tar.gz)"
verdict "a tar.gz that is not its checksum's" archive tars/sum.tar.gz
head -c 50000 tars/a.tar | gzip -c >tars/members.tar.gz
tail -c +50001 tars/a.tar | gzip -c >>tars/members.tar.gz
status 0 "a tar.gz of two members" check tars/members.tar.gz
dd if=tars/members.tar.gz of=tars/tape.tar.gz bs=10240 conv=sync 2>err
status 0 "a tar.gz in whole blocks, as tapes want it" check tars/tape.tar.gz
echo tail >tars/tail
cat tars/a.tar.gz tars/tail >tars/more.tar.gz
verdict "a tar.gz with bytes behind it" archive tars/more.tar.gz
tar -cf tars/two.tar -C "$S/clean_small" db -C "$S" README.md
verdict "an archive of two things" format tars/two.tar
tar -cf tars/nest.tar -C tars a.tar
verdict "an archive in an archive" format tars/nest.tar
ln -s /etc/passwd link
tar -cf tars/link.tar link
verdict "an archive with a link" unsafe tars/link.tar
tar -cPf tars/up.tar ../"$(basename "$T")"/tars/top.tar -C "$c" .
verdict "an archive with .." unsafe tars/up.tar
like "$T/err" 'tars/up.tar: unsafe: .*: a name that may leave its directory' \
    "is refused for that"
( cd "$T" && mkdir bomb && truncate -s 300000000 bomb/store.sqlite3 &&
    tar -czf tars/bomb.tar.gz bomb && rm -rf bomb )
verdict "a bomb" limit tars/bomb.tar.gz
printf 'nonsense\n' >nonsense
verdict "a file of no format" format nonsense
cp "$c/chroma.sqlite3" alone.sqlite3
verdict "a chroma.sqlite3 alone" format alone.sqlite3
like "$T/err" 'whole directory' "and what is wrong with it"

dfetch tars/a.tar | dcheck | dcheck --json >json 2>err
is $? 0 "what was checked can be checked again"
like json '"sha256":"'"$(sha tars/a.tar)"'","kind":"dir","path":"check' \
    "and still names its input"

# --- manifest
copy clean_small m
check m
digest=$(sed -n 's/.*"content_digest":"\([0-9a-f]*\)".*/\1/p' "$T/json")
# manifest DIR RECORDS: lists what is there
manifest() {
	rm -f "$1/manifest.json"
	{
		printf '{"intact":1,"format":"chroma","content_digest":"%s",' \
		    "$digest"
		printf '"records":%s,"tombstones":0,"sources":[],"files":[' "$2"
		(cd "$1" && find . -type f | sed 's/^..//' | LC_ALL=C sort |
		    while read -r f; do
			printf '%s{"name":"%s","size":%s,"sha256":"%s"}' \
			    "$sep" "$f" "$(wc -c <"$f" | tr -d ' ')" \
			    "$(sha "$f")"
			sep=,
		done)
		printf ']}\n'
	} >manifest.new
	mv manifest.new "$1/manifest.json"
}
sep=
manifest m 40
status 0 "a manifest that describes its store" check m
cp m/manifest.json good.json
: >m/extra
verdict "a file that is not in it" manifest m
rm m/extra
rm -f m/*/length.bin
verdict "a file that is in it only" missing m
copy bad_vector_bitflip m
status 0 "a flipped bit in a vector is not seen" check m
cp good.json m/manifest.json
verdict "but with a manifest it is" digest m
like "$T/err" 'chroma.sqlite3: sha256: want' "and the file is named"
copy clean_small m
manifest m 41
verdict "a count that is not the manifest's" manifest m
echo '{"name":"my app"}' >m/manifest.json
verdict "a manifest that is not ours" manifest m
echo '{' >m/manifest.json
verdict "a manifest that is nothing" manifest m
rm m/manifest.json
echo hi >m/NOTES
status 0 "other foreign files do no harm" check m
printf '%s\trecords=41\n' "$c" >plan
dfetch -f plan >"$T/stream"
status 65 "a count that is not the plan's" again
like "$T/err" ': count: want 41 records, got 40' "count"

# --- -x
dfetch "$c" >"$T/stream"
status 0 "-x true" again -x \
    'test -f "$1/chroma.sqlite3" && echo "hook $DELTA_URL"'
like "$T/err" "^hook .*clean_small/db" "path and URL; prints to stderr"
dfetch "$c" >"$T/stream"
status 65 "-x exit 3" again -x 'exit 3'
like "$T/err" ': hook: command exited with 3' "its status is told"
dfetch "$c" >"$T/stream"
status 65 "-x that hangs" again --timeout 10 -x \
    'echo $$ >hung; sleep 300'
like "$T/err" ': timeout: command' "is stopped"
ok "and leaves no process" \
    sh -c 'test -s hung && ! kill -0 "$(cat hung)" 2>/dev/null'
dfetch "$c" >"$T/stream"
dcheck -x 'sleep 300 & echo $! >left' <"$T/stream" >out
ok "nor does one that it left behind" \
    sh -c 'test -s left && { ! kill -0 "$(cat left)" 2>/dev/null ||
    ps -o stat= -p "$(cat left)" | grep -q Z; }'

# --- cache
rm -rf "$DCACHE"
check "$c" -- -v 2>err
ok "first it is parsed" sh -c '! grep -q "from the cache" err'
check "$c" -- -v 2>err
like err 'verdict from the cache' "then it is remembered"
like "$T/json" '"verdict":"ok","format":"chroma".*"records":40,' "the same"
check "$c" -- -v --no-cache 2>err
ok "not with --no-cache" sh -c '! grep -q "from the cache" err'
check "$S/bad_trunc50/db" 2>err
check "$S/bad_trunc50/db" -- -v 2>err
like err 'verdict from the cache' "refusals are, too"
like err ': torn: ' "the same"
check "$c" -- -v --allow-empty 2>err
ok "other options are other verdicts" sh -c '! grep -q "from the cache" err'
rm -rf "$DCACHE"
check "$c" 2>err
v=$(ls "$DCACHE/verdicts")
is "$(echo "$v" | wc -w | tr -d ' ')" 1 "one verdict"
sed 's/"records":40/"records":41/' "$DCACHE/verdicts/$v" >forged
cat forged >"$DCACHE/verdicts/$v"
check "$c" -- -v 2>err
ok "a damaged one is not believed" sh -c '! grep -q "from the cache" err'
chmod 666 "$DCACHE/verdicts/$v"
check "$c" -- -v 2>err
ok "nor one that others may write" sh -c '! grep -q "from the cache" err'
chmod 600 "$DCACHE/verdicts/$v"
: >"$DCACHE/verdicts/$v"
check "$c" -- -v 2>err
is $? 0 "an empty one does no harm"
# what nobody used for a month goes, once a day; $odd is no verdict, $v is used
w=$DCACHE/verdicts odd=$DCACHE/verdicts/README
old=$w/$(sha err) left=$w/.new.1.0
age() { : >"$old" && : >"$left" && touch -d '31 days ago' "$@"; }
age "$old" "$left" "$w/$v" && : >"$odd" && touch -d '31 days ago' "$odd"
check "$S/bad_trunc50/db" 2>err
ok "swept today: nothing goes" test -e "$old" -a -e "$left" -a -e "$w/$v"
check "$c" -- -v 2>err
like err 'verdict from the cache' "an old one is believed"
touch -d '2 days ago' "$w/.swept"
check "$S/bad_magic/db" 2>err
ok "swept again: what is old goes" test ! -e "$old" -a ! -e "$left"
ok "what was used since stays, and what is none of ours" \
    test -e "$w/$v" -a -e "$odd"
age "$old" "$left" && touch -d '2 days ago' "$w/.swept"
for i in bad_zeroed_queue_leaf bad_invalid_utf8_id; do
	dfetch "$S/$i/db" >"$i.in" || :
done
dcheck <bad_zeroed_queue_leaf.in >one 2>err &
dcheck <bad_invalid_utf8_id.in >two 2>err2
wait $!
is $? 65 "two sweep at once"
ok "and agree" test ! -e "$old" -a ! -e "$left" -a -e "$w/$v"
stage 2
copy clean_small "$DIR/in"
sum=$(dfetch -l --sha256 "$DIR/in" | sed 's/.*sha256=\([0-9a-f]*\).*/\1/')
size=$(dfetch -l "$DIR/in" | sed 's/.*size=\([0-9]*\).*/\1/')
set -- "$HELLO" "$(delta in dir "$size" "$sum")" "$END"
status 0 "a record by hand" feed "$@"
printf x | dd of="$DIR/in/chroma.sqlite3" bs=1 seek=70000 conv=notrunc 2>err
status 65 "bytes that are not the promised ones" feed "$@"
like "$T/err" ': digest: sha256: want ' "digest, whatever is remembered"
: >"$DIR/in/more"
echo more >"$DIR/in/more"
status 65 "more bytes than promised" feed "$@"
like "$T/err" ': size: want ' "size"

# --- workers that do not come back
stage 3
truncate -s 200G "$DIR/huge"
copy clean_small "$DIR/in"
big=$(delta huge file 214748364800 "$sum")
two() { printf '%s\n' "$HELLO" "$big" "$(delta in dir "$size" "$sum")" "$END"; }
two >lines
hangs() {
	dcheck --json --json-in --stage "$DIR" -k --timeout 15 <lines
}
status 65 "a worker that hangs" hangs
like "$T/err" '/huge: timeout: ' "timeout"
like "$T/out" '"url":"/in".*"verdict":"ok"' "the others have their verdict"
is "$(ls -d "$DIR"/check.* 2>/dev/null)" "" "nothing is left in staging"
# dies SIGNAL: the worker on the huge file dies of it
dies() {
	dcheck --json --json-in --stage "$DIR" -k -P 1 <lines >out 2>err &
	kill -"$1" "$(worker_of $!)"
	wait $!
}
status 65 "a worker that crashes" dies ABRT
like err '/huge: crash: worker died of signal 6' "crash"
like out '"url":"/in".*"verdict":"ok"' "the others have their verdict"
status 74 "a worker killed from outside" dies KILL
like err '/huge: not checked: worker killed' "says nothing of the input"
dcheck --json --json-in --stage "$DIR" <lines >out 2>err &
w=$(worker_of $!)
kill -TERM $!
wait $! 2>/dev/null
is $? 143 "TERM: it dies of it"
ok "its worker too" sh -c '[ -n "$1" ] && ! kill -0 "$1" 2>/dev/null' sh "$w"
is "$(ls -d "$DIR"/check.* 2>/dev/null)" "" "nothing is left in staging"
dcheck --json --json-in --stage "$DIR" <lines >out 2>err &
w=$(worker_of $!)
kill -KILL $!
wait $! 2>/dev/null
i=0
while kill -0 "$w" 2>/dev/null && [ $i -lt 6000 ]; do
	i=$((i + 1))
	perl -e 'select(undef, undef, undef, 0.01)'
done
ok "KILL: its worker does not outlive it" \
    sh -c '[ -n "$1" ] && ! kill -0 "$1" 2>/dev/null' sh "$w"

# --- the machine
stage 4
copy clean_small "$DIR/in"
two | grep -v huge >lines
how=
for fds in 4 5 6 7 8 9 10 11 12 13 14 16 20; do
	( ulimit -n $fds; exec dcheck --json --json-in --no-cache \
	    --stage "$DIR" ) <lines >out 2>>fds.err
	how="$how $?"
done
is "$(echo $how | tr ' ' '\n' | grep -c -v -e '^0$' -e '^7[45]$')" 0 \
    "no descriptors is never a verdict:$how"
ok "and sometimes 75" sh -c "echo '$how' | grep -q 75"
like fds.err 'Too many open files' "and says so"
tar -cf "$DIR/in.tar" -C "$c" .
{
	printf '%s\n' "$HELLO"
	delta in.tar file "$(wc -c <"$DIR/in.tar" | tr -d ' ')" \
	    "$(sha "$DIR/in.tar")"
	printf '%s\n' "$END"
} >lines
( ulimit -f 16; exec dcheck --json --json-in --no-cache --stage "$DIR" ) \
    <lines >/dev/null 2>err
is $? 74 "no room for what is unpacked is no verdict"
like err 'not checked: .*File too large' "and says so"
ok "-v says how workers are confined" \
    sh -c 'dcheck -v --json --json-in --stage "$1" <"$2" 2>&1 |
    grep -Eq "^dcheck: sandbox: (files( and (tcp|sockets))?|sockets|none)$"' sh \
    "$DIR" lines

# --- hostile schemas: tables that are something else
# hostile NAME: SQL on stdin is done to a copy of a clean delta
hostile() {
	copy clean_small "$1"
	# newer shells are defensive unless told
	sqlite3 "$1/chroma.sqlite3" '.dbconfig defensive off' \
	    'PRAGMA writable_schema=ON' '.read /dev/stdin' >/dev/null
}
hostile view_bomb <<'X'
ALTER TABLE embeddings RENAME TO e2;
CREATE VIEW embeddings AS WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL
    SELECT id + 1 FROM c) SELECT id, (SELECT segment_id FROM e2) segment_id,
    'x' || id AS embedding_id, id AS seq_id, '2026-01-01' AS created_at FROM c;
X
hostile queue_view <<'X'
ALTER TABLE embeddings_queue RENAME TO q2;
CREATE VIEW embeddings_queue AS SELECT * FROM q2 ORDER BY randomblob(1000000);
X
hostile collections_view <<'X'
ALTER TABLE collections RENAME TO c2;
CREATE VIEW collections AS WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL
    SELECT i + 1 FROM c) SELECT c2.* FROM c2, c;
X
hostile generated <<'X'
UPDATE sqlite_schema SET sql = 'CREATE TABLE max_seq_id(segment_id TEXT
    PRIMARY KEY, seq_id INTEGER AS (length(hex(zeroblob(400000000)))))'
    WHERE name = 'max_seq_id';
X
hostile trigger <<'X'
CREATE TRIGGER t AFTER INSERT ON embedding_metadata BEGIN
    DELETE FROM embeddings; END;
X
hostile fts_view <<'X'
DROP TABLE embedding_fulltext_search;
CREATE VIEW embedding_fulltext_search AS WITH RECURSIVE c(i) AS (SELECT 1
    UNION ALL SELECT i + 1 FROM c) SELECT i AS string_value FROM c;
X
for h in view_bomb queue_view collections_view fts_view generated; do
	verdict "hostile $h" '(schema|corrupt|segment)' $h -- --timeout 20
done
check trigger -- --timeout 20 2>err
got=$?
ok "a trigger is refused or never runs" sh -c "[ $got = 65 ] ||
    grep -q '\"records\":40,' json"

# --- stores of ours
ok "a store of ours is made" sh -c \
    'dfetch "$1" | dcheck | dmerge -F sqlite -o mine >made' sh "$c"
status 0 "a store of ours is accepted" check mine
cp -r mine cracked
chmod -R u+w cracked
at=$(($(wc -c <cracked/store.sqlite3) / 2))
printf '\377\377\377\377' |
    dd of=cracked/store.sqlite3 bs=1 seek=$at conv=notrunc 2>err
verdict "one with other bytes is not" digest cracked
rm -rf alone && mkdir alone
cp mine/store.sqlite3 alone/store.sqlite3
status 0 "its file alone is a store" check alone/store.sqlite3
stage 5
cp -r mine "$DIR/base" && chmod -R u+w "$DIR/base"
content=$(sed -n 's/^"content_digest":"\([0-9a-f]*\)".*/\1/p' mine/manifest.json)
# base RECORDS: a base record
base() {
	printf '{"t":"base","target":"/t","version":"v","generation":1,'
	printf '"path":"base","sha256":"%s","format":"sqlite","records":%s,' \
	    "$(sha "$DIR/base/manifest.json")" "$1"
	printf '"content_digest":"%s"}\n' "$content"
}
status 0 "a base" feed "$HELLO" "$(base 40)" "$END"
like "$T/out" '"t":"base".*"verdict":"ok"' "is proved"
status 0 "a base, again" feed "$HELLO" "$(base 40)" "$END"
status 65 "a base with fewer records than it should" feed "$HELLO" \
    "$(base 41)" "$END"
like "$T/err" '^dcheck: /t: count: want 41 records, got 40' "count"
cp -r "$S/dim384/db" "$DIR/in"
status 65 "a delta of another dimension" feed "$HELLO" "$(base 40)" \
    "$(delta in dir "$(dfetch -l "$DIR/in" | sed 's/.*size=\([0-9]*\).*/\1/')" \
    "$(dfetch -l --sha256 "$DIR/in" | sed 's/.*sha256=\([0-9a-f]*\).*/\1/')")" \
    "$END"
like "$T/err" '^dcheck: /in: base: .*dimension 384, but 8 in /t' \
    "both are named"
cp cracked/store.sqlite3 "$DIR/base/"
status 65 "a base with other bytes, whatever is remembered" feed "$HELLO" \
    "$(base 40)" "$END"
like "$T/err" '^dcheck: /t: digest: store.sqlite3: ' "digest"
mkdir -p other && cp mine/manifest.json other/
cp "$c/chroma.sqlite3" other/chroma.sqlite3
verdict "a manifest of another store" '(manifest|missing)' other

# --- ChromaDB directories of ours: a ledger speaks of files as they were
for f in sqlite chroma; do
	drun "dfetch '$S/two_collections/db' | dcheck | dmerge -F $f -o as-$f" \
	    >made 2>&1
done
# renew NAME: a writable copy of the one of ours
renew() {
	chmod -R u+w "$1" 2>/dev/null
	rm -rf "$1"
	cp -r as-chroma "$1" && chmod -R u+w "$1"
}
# remanifest DIR FILE: the manifest, as if FILE had always been that
remanifest() {
	perl -pi -e "s/(\"name\":\"\Q$2\E\",\"size\":)\\d+(,\"sha256\":\")\\w+/\${1}$(
	    wc -c <"$1/$2" | tr -d ' ')\${2}$(sha "$1/$2")/" "$1/manifest.json"
}
content_of() { sed -n 's/^"content_digest":"\([0-9a-f]*\)".*/\1/p' "$1/manifest.json"; }
status 0 "a ChromaDB directory of ours is accepted" check as-chroma
like "$T/json" '"format":"chroma".*"records":64,"tombstones":1,' \
    "with its records and its tombstone"
is "$(content_of as-chroma)" "$(content_of as-sqlite)" \
    "its content digest is that of the other format"
files=$(cd as-chroma && find . -type f ! -name manifest.json | sed 's,^\./,,')
is "$(echo "$files" | wc -l | tr -d ' ') $(echo "$files" | grep -c /)" "12 10" \
    "two files, and five for each collection"
echo "$files" | while read -r f; do
	renew flipped
	at=$(($(wc -c <"flipped/$f") / 2))
	b=$(dd if="flipped/$f" bs=1 skip=$at count=1 2>dd.err | od -An -tu1 |
	    tr -d ' ')
	printf "$(printf '\\%03o' $((b ^ 1)))" |
	    dd of="flipped/$f" bs=1 seek=$at conv=notrunc 2>dd.err
	check flipped 2>err
	[ $? -eq 65 ] && grep -q '"verdict":"manifest"' "$T/json" &&
	    grep -q " $f: sha256: want" err || echo "$f: $(cat err)"
done >passed
is "$(cat passed)" "" "one flipped byte in any of them is found and named"
for f in "$(echo "$files" | grep /header)" ledger.sqlite3; do
	f=$(echo "$f" | head -1)
	renew flipped
	rm "flipped/$f"
	verdict "without $(basename "$f")" missing flipped
done
renew flipped
: >flipped/more
verdict "a file too many" manifest flipped
renew flipped
rm flipped/manifest.json
verdict "no manifest" manifest flipped
like "$T/err" 'ledger.sqlite3, but no manifest.json' "and it is said"

# what a server does when it starts
renew used
sqlite3 used/chroma.sqlite3 'INSERT INTO acquire_write(lock_status) VALUES(1)'
verdict "a server has opened it" manifest used
like "$T/err" 'remove manifest.json and ledger.sqlite3 to merge it as a plain' \
    "and the way out is told"
rm used/manifest.json used/ledger.sqlite3
status 0 "without them it is a delta like any other" check used
like "$T/json" '"format":"chroma".*"records":64,"tombstones":0,' \
    "that knows of no tombstones"

# under a manifest made anew
renew altered
sqlite3 altered/ledger.sqlite3 \
    "DELETE FROM record WHERE id = (SELECT min(id) FROM record
    WHERE label IS NOT NULL)"
remanifest altered ledger.sqlite3
verdict "a row of the ledger missing" ledger altered
renew altered
sqlite3 altered/ledger.sqlite3 "UPDATE record SET label = NULL, fix = NULL
    WHERE id = (SELECT min(id) FROM record WHERE label IS NOT NULL)"
remanifest altered ledger.sqlite3
verdict "a tombstone whose record is still there" ledger altered
renew altered
sqlite3 altered/chroma.sqlite3 "DELETE FROM embedding_fulltext_search WHERE
    rowid = (SELECT min(rowid) FROM embedding_fulltext_search)"
remanifest altered chroma.sqlite3
verdict "a full-text row missing" metadata altered
renew altered
sqlite3 altered/chroma.sqlite3 "UPDATE embedding_metadata SET int_value =
    int_value + 1 WHERE int_value IS NOT NULL"
remanifest altered chroma.sqlite3
verdict "other metadata" digest altered
tar czf ours.tar.gz as-chroma
status 0 "an archive of it" check ours.tar.gz
like "$T/json" '"records":64,"tombstones":1,' "is the same store"
stage 6
cp -r as-chroma "$DIR/base" && chmod -R u+w "$DIR/base"
content=$(content_of as-chroma)
status 0 "a base of that form" feed "$HELLO" \
    "$(base 64 | sed 's/"sqlite"/"chroma"/')" "$END"
like "$T/out" '"t":"base".*"verdict":"ok"' "is proved"
renew altered
rm -rf "$DIR/base"
cp -r altered "$DIR/base"
sqlite3 "$DIR/base/ledger.sqlite3" "UPDATE record SET seq = seq + 1"
status 65 "one with another ledger" feed "$HELLO" \
    "$(base 64 | sed 's/"sqlite"/"chroma"/')" "$END"
like "$T/err" '^dcheck: /t: manifest: ledger.sqlite3: ' "is not"

# --- a snapshot that was damaged once and mended is not refused for ever
drun "dfetch -B snap '$c' | dcheck | dmerge | dpublish snap" >out 2>&1
store=$(echo snap/timestamped/*/store.sqlite3)
cp "$store" good
chmod u+w "$store"
printf X | dd of="$store" bs=1 seek=90000 conv=notrunc 2>dd.err
status 65 "a damaged base" sh -c 'dfetch -b snap | dcheck --json'
like "$T/err" ': digest: store.sqlite3: .*; mend: bring .*dpublish rollback' \
    "digest, and how it comes back"
cp good "$store"
status 0 "mended" sh -c 'dfetch -b snap | dcheck --json'
like "$T/out" '"t":"base".*"verdict":"ok"' "it is good again"
finish
