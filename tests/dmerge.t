#!/bin/sh
# dmerge.t: the join, what it refuses, and that it is the same bytes
# whatever the order.
. "$(dirname "$0")/lib.sh"
plan 108
GEN=${GEN:-$SRC/build/gen}

digest() {
	sed -n 's/.*"content_digest": *"\([0-9a-f]*\)".*/\1/p' \
	    "$1/manifest.json"
}
bytes() { (cd "$1" && cat manifest.json store.sqlite3 | cksum); }
rows() { sqlite3 -readonly "$1/store.sqlite3" "$2"; }
# merge OUT INPUT...: without drun
merge() {
	out=$1; shift
	(set -e; dfetch "$@" | dcheck | dmerge -o "$out" --json)
}
# a live staging that is not drun's, for streams made by hand
stage() {
	DSTAGE=$TMPDIR/intact.test
	mkdir -m 700 -p "$DSTAGE"
	: >"$DSTAGE/lock"
	export DSTAGE
}
unstage() { rm -rf "$DSTAGE"; unset DSTAGE; }

"$GEN/gendelta" --out d --count 6 --records 30 --dim 8 --overlap 10 --seed 3
"$GEN/gendelta" --out x --count 1 --records 5 --dim 8 --start 12 --seed 4 \
    --time 1770000000 --delete 'IMAGE#0#LINE#00003'

# --- happy
status 0 "six deltas" merge m0 d
is "$(rows m0 'SELECT count(*) FROM records')" 130 "overlaps are one record"
like "$T/out" '"t":"store".*"records":130,.*"superseded":50' "and are counted"
like "$T/out" '"intermediate_key":"/.*/m0"' "the report: key"
like "$T/out" '"embeddings_processed":180' "the report: embeddings"
like "$T/out" '"processing_time":[0-9.e-]+' "the report: time"
like "$T/out" '"t":"end".*"merged":6' "END with totals"
is "$(ls m0)" "manifest.json
store.sqlite3" "a store and its manifest"
is "$(ls -A "$TMPDIR"; ls -A . | grep '^\.intact')" "" "nothing else is left"
is "$(rows m0 "SELECT DISTINCT source FROM records WHERE
    id = 'IMAGE#0#LINE#00022'" | wc -l)" 1 "one source of a record"
before=$(bytes m0)
status 0 "run again: the same is there already" merge m0 d
is "$(bytes m0)" "$before" "and not touched"
status 73 "something else is there" merge m0 d/delta-0000
is "$(bytes m0)" "$before" "and not touched"
like "$T/err" '/m0: ' "it is named"
mkdir full
: >full/file
status 73 "a directory that is no store" merge full d
is "$(ls full)" file "stays as it is"

# --- the same bytes in any order and grouping
status 0 "in reverse" merge rev $(ls -d d/* | sort -r)
is "$(bytes rev)" "$before" "the same bytes"
status 0 "each twice" merge twice d d $(ls -d d/* | sort -r)
is "$(bytes twice)" "$before" "the same bytes"
status 0 "a first part" merge p1 d/delta-0000 d/delta-0003
status 0 "a second part" merge p2 d/delta-0001 d/delta-0002
status 0 "the rest" merge p3 d/delta-0004 d/delta-0005
status 0 "the parts" merge parts p3 p1 p2
is "$(digest parts)" "$(digest m0)" "the same content digest"
is "$(rows parts 'SELECT count(*) FROM sources')" 6 "all sources are known"
is "$(rows parts 'SELECT collection, id, seq, hex(embedding) FROM records')" \
    "$(rows m0 'SELECT collection, id, seq, hex(embedding) FROM records')" \
    "the same rows"
status 0 "many parts at once, more than are read in place" sh -c '
	for i in 0 1 2 3 4 5; do
		for k in a b; do
			dfetch d/delta-000$i x | dcheck |
			    dmerge -o many-$i$k >/dev/null || exit
		done
	done
	dfetch many-* | dcheck | dmerge -o many --json'
status 0 "the same in one go" merge one d x
is "$(digest many)" "$(digest one)" "the same content digest"

# --- deletions
is "$(rows one "SELECT count(*) FROM records WHERE
    id = 'IMAGE#0#LINE#00004'")" "$(rows m0 "SELECT count(*) FROM records
    WHERE id = 'IMAGE#0#LINE#00004'")" "others stay"
is "$(rows one "SELECT count(*) FROM record WHERE embedding IS NULL")" 1 \
    "a tombstone is kept"
is "$(rows one "SELECT count(*) FROM records WHERE
    id = 'IMAGE#0#LINE#00003'")" 0 "the deleted record is gone"
status 0 "the deletion first" merge t1 x
status 0 "then what it deletes" merge t2 t1 d
is "$(digest t2)" "$(digest one)" "it stays deleted"

# --- coverage
(cd d && ls -d "$PWD"/*) >plan
status 0 "a plan that is covered" sh -c \
    'dfetch d | dcheck | dmerge -p plan -o c1'
status 0 "by intermediates" sh -c \
    'dfetch p1 p2 p3 | dcheck | dmerge -p plan -o c2'
status 66 "an intermediate is missing" sh -c \
    'dfetch p1 p3 | dcheck | dmerge -p plan -o c3'
like err 'd/delta-0001: planned' "its first delta is named"
like err 'd/delta-0002: planned' "and its second"
status 65 "one is not planned" sh -c \
    'dfetch d x | dcheck | dmerge -p plan -o c4'
like err 'x/delta-0000: merged, but not planned' "it is named"
is "$(ls -d c3 c4 2>/dev/null)" "" "nothing was placed"
: >empty
status 66 "an empty plan" sh -c 'dfetch d | dcheck | dmerge -p empty -o c5'

# --- the base holds the same bytes under other names
cp -Rp d moved
(cd moved && ls -d "$PWD"/*) >mplan
dfetch --json -B tb d | dcheck --json-in --json | dmerge --json-in |
    dpublish tb >/dev/null
status 0 "a part of what was moved" merge mp1 moved/delta-0000 \
    moved/delta-0001 moved/delta-0002
status 0 "and the rest" merge mp2 moved/delta-0003 moved/delta-0004 \
    moved/delta-0005
status 0 "cover their plan, though the base has the bytes" sh -c \
    'dfetch -b tb mp1 mp2 | dcheck | dmerge -p mplan -o c10'
status 0 "and so do the deltas themselves" sh -c \
    'dfetch -b tb moved | dcheck | dmerge -p mplan -o c11'

# --- disagreement
"$GEN/gendelta" --out d16 --count 1 --records 3 --dim 16 --seed 9
status 0 "of another dimension, alone" merge o16 d16
stage
dfetch d/delta-0000 | dcheck --json >s1
dfetch d16/delta-0000 | dcheck --json |
    sed -n '/"t":"delta"/p' >s2
(sed '/"t":"end"/d' s1; cat s2; echo '{"t":"end","totals":{}}') >s3
status 65 "two dimensions" sh -c 'dmerge --json-in -o c6 <s3'
like err 'd16/delta-0000: collection .*: dimension: want 8 .*, got 16' \
    "who, what, wanted, got"

# --- the stream
status 76 "not checked" sh -c 'dfetch d/delta-0000 | dmerge -o c7'
like err 'delta-0000: not checked: put dcheck before' "says what to do"
hello='{"t":"hello","v":1,"run":"r"}'
printf '%s\n{"t":"end","totals":{}}\n' "$hello" >s4
status 66 "hello and end only: nothing to merge" sh -c \
    'dmerge --json-in -o c8 <s4'
sed 's/"fetched":1/"fetched":2/' s1 >s5
status 76 "totals that do not add up" sh -c 'dmerge --json-in -o c9 <s5'
sed '/"t":"end"/d' s1 >s6
status 76 "no END" sh -c 'dmerge --json-in -o c9 <s6'
sed 's/"v":1/"v":9/' s1 >s7
status 76 "another version" sh -c 'dmerge --json-in -o c9 <s7'
sed 's/"records":\([0-9]*\)/"records":1\1/' s1 >s7
status 76 "another count" sh -c 'dmerge --json-in -o c9 <s7'
like err "delta-0000: want the 1[0-9]* records that its delta record" \
    "wanted and got"
sed 's/"format":"chroma"/"format":"none"/' s1 >s7
status 76 "a format that there is not" sh -c 'dmerge --json-in -o c9 <s7'
like err "delta record: format: want chroma, sqlite or batch" "by its name"
sed 's/^{"t":"end"/{"t":"note","x":[1,{"y":null}]}\n&/' s1 >s8
dmerge --json-in --json <s8 >o8
like o8 '^\{"t":"note","x":\[1,\{"y":null\}\]\}$' "unknown records pass"
p=$(sed -n 's/.*"t":"delta".*"path":"\([^"]*\)".*/\1/p' s1)
chmod -R u+w "$DSTAGE/$p"
sqlite3 "$DSTAGE/$p/chroma.sqlite3" 'UPDATE embeddings_queue
    SET vector = zeroblob(32) WHERE seq_id = 3'
status 65 "changed since it was checked" sh -c 'dmerge --json-in -o c9 <s1'
"$GEN/gendelta" --out large --records 1500 --dim 8 --seed 6
dfetch large | dcheck --json >s2
status 0 "a large one, read in place" sh -c 'dmerge --json-in -o l1 <s2'
p=$(sed -n 's/.*"t":"delta".*"path":"\([^"]*\)".*/\1/p' s2)
chmod -R u+w "$DSTAGE/$p"
sqlite3 "$DSTAGE/$p/chroma.sqlite3" 'UPDATE embeddings_queue
    SET vector = zeroblob(32) WHERE seq_id = 1499'
status 65 "changed since it was checked" sh -c 'dmerge --json-in -o c9 <s2'
is "$(ls -d c6 c7 c8 c9 2>/dev/null; ls -A . | grep '^\.intact')" "" \
    "nothing was placed, nothing is left"
unstage

# --- memory: 110 MB of records merged in 64 MB of data
"$GEN/gendelta" --out big --count 30 --records 600 --dim 1536 --seed 5
limit=65536
# a build with sanitizers needs more to start at all
(ulimit -d $limit && dmerge -V) >/dev/null 2>&1 || limit=unlimited
export limit
status 0 "more than memory" sh -c \
    'dfetch big | dcheck | (ulimit -d $limit; dmerge -o m64)'
is "$(rows m64 'SELECT count(*), sum(length(embedding)) FROM records')" \
    "18000|110592000" "all of it"
status 0 "and onto that" sh -c \
    'dfetch m64 big/delta-0000 | dcheck |
        (ulimit -d $limit; dmerge -o m65)'

# --- the rest
status 74 "a full stdout" sh -c \
    'dfetch d | dcheck | dmerge >/dev/full'
status 64 "a bad option" dmerge --nonsense
status 64 "an operand" dmerge x
status 66 "no such place" sh -c 'dfetch d | dcheck | dmerge -o no/such/dir'
like "$T/err" '^dmerge: -o no/such/dir: .*/no/such: No such file' "is named"
if mkdir /proc/intact 2>/dev/null || [ ! -d /proc/self ]; then
	skip 1 "no directory here in which nobody can make one"
else
	dfetch d | dcheck | dmerge -o /proc/x >out 2>err
	like err '^dmerge: -o /proc/x: no work directory in /proc, where.*: [^:]*; make that' \
	    "a place where nothing can be made: it, why, and what to do"
fi

# --- nothing new: the base is not read; its bytes are changed behind its
# back to see that, and who does read it finds out
run() { drun "dfetch -b t $1 ${4:-} | ${3:-} dcheck ${4:+--json-in} |
    dmerge ${2:-} | dpublish --json t"; }
cat >add <<'E'
#!/bin/sh
while read -r l; do
	case $l in
	*'"t":"end"'*)
		dfetch x --json | grep '"t":"delta"'
		l=$(echo "$l" | sed 's/"planned":6,"fetched":0/"planned":7,"fetched":1/') ;;
	esac
	printf '%s\n' "$l"
done
E
chmod +x add
drun 'dfetch -B t d | dcheck | dmerge | dpublish t' >out
f=$(ls t/timestamped/*/store.sqlite3)
cp -p "$f" was
chmod u+w "$f"
flip() { printf X | dd of="$f" bs=1 seek=5000 conv=notrunc 2>/dev/null; }
status 0 "nothing new" run d
like "$T/out" '"unchanged":true,"unread":true' "said to be unchanged and unread"
dfetch -l d >all.plan
status 0 "an input of six, and the plan of all" run d/delta-0003 '-p all.plan'
dfetch -l d x >more.plan
status 66 "a plan that names more" run d '-p more.plan'
flip
status 65 "somebody has written to the base: it is read" run d
like "$T/err" '/t: digest: store.sqlite3: ' "and refused"
touch -r was "$f"
status 0 "written to, and it does not show: it is not read" run d
status 65 "-o reads it" sh -c 'dfetch -b t d | dcheck | dmerge -o o1'
like "$T/err" '^dmerge: base /.*/t: version .*: store.sqlite3: sha256: want' \
    "and refuses it"
is "$(ls -d o1 2>/dev/null)" "" "nothing is placed"
status 65 "so does another format" run d '-F chroma'
status 65 "and an input that is new" run 'd x'
status 65 "or that a stage in between adds" run d '' './add |' --json
truncate -s -4096 "$f"
touch -r was "$f"
status 65 "not as long as it was: refused, unread" run d
cat was >"$f"
touch -r was "$f"
status 0 "as it was, -o" sh -c 'dfetch -b t d | dcheck | dmerge -o o1'
is "$(bytes o1)" "$(bytes "${f%/*}")" "a copy, to the byte"
is "$(ls t/commits)" 1.json "one commit"
status 0 "what a stage in between adds" run d '' './add |' --json
like "$T/out" '"generation":2.*"merged":1,"skipped":6' "is merged onto it"

# --- its files were not brought: who needs them says so
cat >leave <<'E'
#!/bin/sh
while read -r l; do
	case $l in
	*'"t":"base"'*)
		rm -f "$DSTAGE/base/store.sqlite3"
		l=$(echo "$l" | sed "s/\"unchanged\":true/${1:-&},\"left\":true/") ;;
	esac
	printf '%s\n' "$l"
done
E
chmod +x leave
status 0 "left where it was" run 'd x' '' './leave |' --json
like out '"generation":2.*"unchanged":true,"unread":true' "is handed on"
for i in '-o o9' '-F chroma' --rebuild; do
	status 76 "but not with $i" run 'd x' "$i" './leave |' --json
	like err '^dmerge: base .*/t: its files were not brought' "which says so"
done
status 76 "nor to what a stage adds" run d '' './leave | ./add |' --json
status 76 "nor as one that is new" run 'd x' '' \
    './leave \"a\":true |' --json
like err '^dcheck: base record: left: want an unchanged one' "which says so"
is "$(ls -d o9 2>/dev/null; ls t/commits | tr '\n' ' ')" "1.json 2.json " \
    "nothing is placed, or published"
finish
