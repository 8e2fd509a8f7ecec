#!/bin/sh
# flip.t: one byte is not what it was: one bit of it, or all of them.  In
# each kind of file that we read or write, and in the stream, that is either
# refused, by its name and with the right status, or it changes nothing: the
# same content comes out.  FLIPS=n bytes of each kind are tried (8); with
# FULL=1 every byte, but 2000 of a .tar, a version's store and the checkpoint
# database.  SEED=n.
. "$(dirname "$0")/lib.sh"
GEN=${GEN:-$SRC/build/gen}
FLIPS=${FLIPS:-8}
SEED=${SEED:-1}
FULL=${FULL:-}
export FLIPS SEED FULL T
plan 26

flip() {
	"$SRC/tests/crash/flip.pl" one "$1" "$2" "$3" >got 2>&1
	grep '^#' got
	is "$(grep -v '^#' got)" all "$4"
}
# many 'what' ARGUMENT...: some hundred flips a run
many() {
	what=$1
	shift
	"$SRC/tests/crash/flip.pl" many "$@" >got 2>&1
	grep '^#' got
	is "$(grep -v '^#' got)" all "$what"
}

"$GEN/gendelta" --out a --count 1 --records 3 --dim 4 --seed 1
"$GEN/gendelta" --out b --count 1 --records 3 --dim 4 --seed 2 --start 100
drun 'dfetch -B T a | dcheck --no-cache | dmerge | dpublish T' >/dev/null
drun 'dfetch b | dcheck --no-cache | dmerge -o part' >/dev/null
drun 'dfetch b | dcheck --no-cache | dmerge -F chroma -o ours' >/dev/null
tar -cf b.tar -C b/delta-0000 .
tar -czf b.tgz -C b/delta-0000 .

rest='dcheck --no-cache | dmerge --json'
# An input whose digest the plan knows, as dfetch -l writes it of archives;
# what is not as the plan says ends dfetch at once, so each has its own run.
sum() { sha256sum "$1" | cut -d' ' -f1; }
for f in b.tar b.tgz; do
	printf '%s\tsha256=%s\n' "$T/$f" "$(sum $f)" >$f.plan
	flip $f 65 "drun 'dfetch -f $f.plan | $rest'" \
	    "$f, of which the plan says the digest"
done
# The checksum of gzip says it, too; what is in a header of it is not looked at.
many "b.tgz, of which nothing is known" b.tgz b.tgz
# Without either nobody can know a document from another; but all is read.
# (Most of these bytes are those of the bare delta, too.)
some=$FLIPS
[ -z "$FULL" ] || some=2000
FULL='' FLIPS=$some many \
    "an archive of which nothing is known: never a crash, never silence" \
    -a b.tar b.tar
many "nor of a bare delta" -a b/delta-0000 b/delta-0000/chroma.sqlite3
# Nor of an index that holds the only copy of vectors.
hnsw=$DATA/samples/purged_hnsw_l2/db
for f in data_level0.bin header.bin index_metadata.pickle length.bin \
    link_lists.bin; do
	many "nor of an index's $f" -a "$hnsw" "$(echo "$hnsw"/*/$f)"
done

# Ours.
many "an intermediate" part part/store.sqlite3
many "the manifest of it" part part/manifest.json
many "the ledger of a chroma store" ours ours/ledger.sqlite3
many "its database" ours ours/chroma.sqlite3
many "its manifest" ours ours/manifest.json
for f in data_level0.bin header.bin index_metadata.pickle length.bin \
    link_lists.bin; do
	many "its index: $f" ours "$(echo ours/*/$f)"
done
base="drun 'dfetch -b T | $rest'"
v=$(cat T/latest-pointer.txt)
flip T/latest-pointer.txt "65 66" "$base" "the pointer"
flip T/commits/1.json "65 66" "$base" "a commit"
flip "T/timestamped/$v/manifest.json" "65 66" "$base" \
    "the manifest of a version"
flip "T/timestamped/$v/store.sqlite3" 65 "$base" "its store"

# What is known of units of work never decides what is published.
mkdir db
DCKPT_DB=$T/db/c drun 'dfetch b | dcheck --no-cache | dmerge -o again' \
    >/dev/null
sqlite3 db/c 'pragma journal_mode=delete' >/dev/null
rm -rf again
flip db/c "65 74 75" "rm -f db/c-*; DCKPT_DB=$T/db/c \
    drun 'dfetch b | $rest'" "the checkpoint database"

# A stream, between two stages.
run=20261121T000000.000000Z-00000001
DSTAGE=$TMPDIR/intact.$run
export DSTAGE
mkdir -m 700 "$DSTAGE"
: >"$DSTAGE/lock"
dfetch b | dcheck --no-cache >stream
cp -a "$DSTAGE" stage
flip stream "65 66 76" "rm -rf $DSTAGE; cp -a stage $DSTAGE;
    dmerge --json <stream" "a stream"
finish
