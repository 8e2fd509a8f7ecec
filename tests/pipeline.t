#!/bin/sh
# pipeline.t: all programs together, as they are meant to be used: what must
# never half happen, one content digest whatever the way, conservation,
# absent things, and a machine that fails.
. "$(dirname "$0")/lib.sh"
plan 112
GEN=${GEN:-$SRC/build/gen}
S=$DATA/samples
DEMO=$DATA/demo

# one_liner TARGET INPUTS [DCHECK-OPTIONS]
one_liner() { drun "dfetch -B $1 $2 | dcheck ${3:-} | dmerge | dpublish $1"; }
# digest DIR: content digest of the store there
digest() {
	sed -n 's/.*"content_digest": *"\([0-9a-f]*\)".*/\1/p' \
	    "$1/manifest.json"
}
pointer() { cat "$1/latest-pointer.txt" 2>/dev/null; }
published() { digest "$1/timestamped/$(pointer "$1")"; }
# what lies in the staging area, and in a target's
# (a target keeps one empty lock file there)
staged() { ls -A "$TMPDIR"; find "$1/staging" -mindepth 1 ! -name .lock 2>/dev/null; }
# all of a target's names and bytes
picture() { (cd "$1" && find . -type f -exec cksum {} + | sort) 2>&1; }
rows() { sqlite3 -readonly "$1" "SELECT count(*) FROM records"; }
rows_of() { rows "$1/timestamped/$(pointer "$1")/store.sqlite3"; }

# ten real deltas, a minute apart
ten() {
	rm -rf "$1"
	mkdir "$1"
	m=10
	for d in "$DEMO"/delta-*; do
		cp -R "$d" "$1/"
		find "$1/${d##*/}" -exec touch -d "2026-11-20 12:$m:00" {} +
		m=$((m + 1))
	done
}

# --- the one-liner on real deltas
ten deltas
status 0 "ten real deltas are published" one_liner lines deltas
is "$(rows_of lines)" 296 "300 ids, 4 of them deleted"
is "$(staged lines)" "" "nothing is left in staging"
is "$(pointer lines)" "$(ls lines/timestamped)" "the pointer names the version"
is "$(ls lines/commits)" 1.json "one commit"
before=$(picture lines)
status 0 "again: nothing to do" one_liner lines deltas
is "$(picture lines)" "$before" "not a byte of the target has changed"
base_digest=$(published lines)
base_ptr=$(pointer lines)

# --- what drun says: one stream, whoever is last
drun 'dfetch -B solo deltas | dcheck | dmerge | dpublish --json solo' >out
is "$(sed 's/.*"t":"\([a-z]*\)".*/\1/' out | tr '\n' ' ')" \
    "hello published end " "a publication: the commit's stream and no other"
drun 'dfetch deltas | dcheck | dmerge --json -o solo-part' >out
is "$(grep -c '"t":"end"' out)" 1 "an intermediate: dmerge's own, and no other"
drun 'dfetch -B solo deltas | dcheck | dmerge | dpublish solo' |
    { dcheck --json --stage "$T/none" 2>err; echo $? >st; } >out
like err 'none: ' "and our own reader gets as far as its own staging"

# --- chunk 40: ten deltas, the tenth bad in three ways
bad_ten() {
	ten "$1"
	rm -rf "$1/delta-10"
	case $2 in
	truncated)
		cp -R "$DEMO/delta-10" "$1/"
		truncate -s 100000 "$1/delta-10/chroma.sqlite3"
		;;
	hot)
		cp -R "$S/killed_hot_journal_torn_main/db" "$1/delta-10"
		;;
	zeroed)
		cp -R "$DEMO/delta-10" "$1/"
		dd if=/dev/zero of="$1/delta-10/chroma.sqlite3" bs=4096 \
		    seek=24 count=8 conv=notrunc 2>/dev/null
		;;
	esac
}
for how in truncated hot zeroed; do
	bad_ten "chunk40-$how" $how
	status 65 "tenth $how: 65" one_liner fresh "chunk40-$how"
	like err "chunk40-$how/delta-10" "tenth $how: it is named"
	is "$(grep -c 'delta-0[1-9]' err)" 0 "tenth $how: no other is"
	is "$(pointer fresh)$(ls -A fresh/commits 2>/dev/null)" "" \
	    "tenth $how: nothing is published"
	is "$(staged fresh)" "" "tenth $how: staging is gone"
done
is "$(picture lines)" "$before" "the published target never noticed"
rm -rf intermediate
status 65 "an intermediate is refused the same way" \
    drun 'dfetch chunk40-zeroed | dcheck | dmerge -o intermediate'
is "$(ls -Ad intermediate .intact* 2>/dev/null)" "" "and does not appear"

ten three
truncate -s 4096 three/delta-02/chroma.sqlite3
cp "$S/bad_xml_error_body/db/chroma.sqlite3" three/delta-05/
cp -R "$S/bad_pickle_missing/db" three/delta-11
status 65 "three bad ones with -k: 65" one_liner fresh three -k
is "$(grep -oE 'three/delta-[0-9]+' err | sort -u | tr '\n' ' ')" \
    "three/delta-02 three/delta-05 three/delta-11 " "three names in one run"
is "$(pointer fresh)$(staged fresh)" "" "and nothing published or left"

# --- one content digest (generated deltas that overlap, one deletes)
"$GEN/gendelta" --out many --count 25 --records 20 --overlap 5 --dim 8
"$GEN/gendelta" --out many/delta-9999 --records 3 --start 900 \
    --time 1770000000 --delete 'IMAGE#0#LINE#00010' \
    --delete 'IMAGE#0#LINE#00020'
ok "26 generated deltas are listed as a plan" \
    sh -c 'dfetch -l many >plan && [ "$(wc -l <plan)" = 26 ]'
status 0 "one pipeline" \
    drun 'dfetch -f plan | dcheck | dmerge -p plan -o one'
DIGEST=$(digest one)
is "${#DIGEST}" 64 "it has a content digest"
# 24 * 15 + 20 distinct ids, two of them deleted, three more
is "$(rows one/store.sqlite3)" 381 "and the records that it must have"

# chunked N PLAN OUT: chunks of N lines, four pipelines at a time
chunked() {
	rm -rf chunks "$3"
	mkdir chunks
	split -l "$1" "$2" chunks/c.
	find chunks -name 'c.*' | sort | xargs -P 4 -I@ \
	    drun 'dfetch -f @ | dcheck | dmerge -p @ -o @.d' || return
	drun "dfetch chunks/*.d | dcheck | dmerge -p $2 -o $3"
}
for each in 1 2 7 25; do
	status 0 "chunks of $each through xargs -P 4" chunked $each plan res
	is "$(digest res)" "$DIGEST" "chunks of $each: the same content digest"
done
tac plan >reversed
status 0 "in reversed order" \
    drun 'dfetch -f reversed | dcheck | dmerge -o res.r'
is "$(digest res.r)" "$DIGEST" "reversed: the same content digest"
for seed in 1 2 3; do
	awk -v s=$seed 'BEGIN { srand(s) } { print rand() "\t" $0 }' plan |
	    sort -n | cut -f 2- >shuffled
	drun "dfetch -f shuffled | dcheck | dmerge -o res.s$seed" >so 2>err
	is "$(digest res.s$seed)" "$DIGEST" "shuffled ($seed): the same"
done
cp -Rp many again
status 0 "every delta twice, under another name" \
    drun 'dfetch many again | dcheck | dmerge -o res.t'
is "$(digest res.t)" "$DIGEST" "twice: the same content digest"
status 0 "every line of the plan twice" \
    sh -c 'cat plan plan | drun "dfetch - | dcheck | dmerge -p plan -o res.l"'
is "$(digest res.l)" "$DIGEST" "lines twice: the same content digest"
head -13 plan >first
tail -13 plan >second
for order in 'first second' 'second first'; do
	rm -rf two
	for p in $order; do
		drun "dfetch -B two -f $p | dcheck | dmerge | dpublish two" \
		    >so 2>err || sed 's/^/# /' err
	done
	is "$(published two)" "$DIGEST" "onto a base in two steps, $order"
done
is "$(rows_of two)" 381 "and the same records"
ok "the same bytes for the same inputs" \
    cmp one/store.sqlite3 res.r/store.sqlite3

# a deletion before and after what it deletes from, as ChromaDB leaves it
ten d7
rm -rf d7/delta-0[134568]* d7/delta-09 d7/delta-10
for order in 'delta-02 delta-07' 'delta-07 delta-02'; do
	rm -rf del
	for d in $order; do
		drun "dfetch -B del d7/$d | dcheck | dmerge | dpublish del" \
		    >so 2>err || sed 's/^/# /' err
	done
	is "$(rows_of del)" 56 "deletions hold in the order $order"
done
is "$(sqlite3 -readonly "del/timestamped/$(pointer del)/store.sqlite3" \
    "SELECT count(*) FROM records WHERE id LIKE 'IMAGE#001#LINE#0003_'")" 6 \
    "four of delta-02's records are gone"

# --- conservation
head -25 plan >less
status 66 "a delta missing from the run" \
    drun 'dfetch -f less | dcheck | dmerge -p plan -o res.c'
like err 'delta-9999' "it is named"
is "$(ls -d res.c 2>/dev/null)" "" "and nothing is made"
chunked 7 plan res >so 2>err
status 66 "an intermediate left out" drun \
    'dfetch chunks/c.aa.d chunks/c.ab.d chunks/c.ad.d | dcheck |
     dmerge -p plan -o res.c'
like err 'many/delta-00(0[7-9]|1)' "what it held is named"
{ cat plan; echo "$T/many/delta-7777"; } >plan.more
status 66 "a plan line too many" drun \
    'dfetch -f plan | dcheck | dmerge -p plan.more -o res.c'
like err 'delta-7777' "it is named"
ok "an input that the plan does not know is refused" sh -c '
    ! drun "dfetch -f plan | dcheck | dmerge -p less -o res.c" 2>err &&
    grep -q delta-9999 err && [ ! -e res.c ]'

# --- absent is an error
status 66 "a missing directory" one_liner fresh no-such
like err 'no-such' "it is named"
mkdir empty
status 66 "an empty directory" one_liner fresh empty
ten zero
: >zero/delta-03/chroma.sqlite3
status 65 "a file of zero bytes" one_liner fresh zero
like err 'zero/delta-03' "it is named"
is "$(pointer fresh)$(staged fresh)" "" "nothing came of any of them"
status 66 "-b and a target that is not there" \
    drun "dfetch -b nowhere deltas | dcheck | dmerge | dpublish nowhere"
is "$(ls -d nowhere 2>/dev/null)" "" "it is not made"

# the newest commit names a version that is gone
cp -R lines gone
mv "gone/timestamped/$base_ptr" aside
status 66 "a target whose version is gone" one_liner gone many/delta-0001
is "$(ls gone/commits)" 1.json "no commit is added"
# the pointer is gone, or stale: repaired, never an empty target
cp -R lines bare
rm bare/latest-pointer.txt
status 0 "a target without its pointer" one_liner bare deltas
is "$(pointer bare) $(ls bare/commits)" "$base_ptr 1.json" \
    "the pointer is back, and nothing was published over it"
"$GEN/gendelta" --out extra --records 5 --dim 16 --space cosine --start 5000
cp -R lines stale
status 0 "one more version" one_liner stale extra
new_ptr=$(pointer stale)
printf %s "$base_ptr" >stale/latest-pointer.txt
status 0 "a stale pointer" one_liner stale extra
is "$(pointer stale)" "$new_ptr" "it is put right"
is "$(rows_of stale)" 301 "old records and new"
rm -rf lost
mkdir lost lost/timestamped
cp -R "lines/timestamped/$base_ptr" lost/timestamped/
printf %s "$base_ptr" >lost/latest-pointer.txt
status 66 "versions and a pointer but no commit is no empty target" \
    one_liner lost deltas
# the base vanishes between fetch and publish
cp -R lines van
ok "a base that vanished under the run" sh -c '
    ! drun "dfetch -b van extra | { cat; rm -rf van; } | dcheck | dmerge |
	dpublish van" 2>err && [ ! -e van/latest-pointer.txt ]'

# --- a machine that fails, a stage that lies
cp -R lines keep
keep=$(picture keep)
status 1 "a foreign stage that exits 1 after END" drun \
    'dfetch -b keep extra | dcheck | { cat; exit 1; } | dmerge | dpublish keep'
is "$(picture keep)" "$keep" "nothing was committed"
status 1 "and one that does so last" drun \
    'dfetch -b keep extra | dcheck | dmerge | dpublish keep | { cat; exit 1; }'
is "$(picture keep)" "$keep" "nothing was committed either"
status 74 "no room on stdout" \
    sh -c 'dfetch --json deltas >/dev/full'
# out of descriptors, at every number of them: 75, and never a verdict
st=$TMPDIR/intact.20261120T120000.000000Z-c0f0c0f0
mkdir -m 700 "$st"
: >"$st/lock"
dfetch --stage "$st" deltas >s.fetched
dcheck --stage "$st" <s.fetched >s.checked
dmerge --stage "$st" <s.checked >s.merged 2>err
starve() {
	from=$1 seen='' odd=''
	shift
	for lim in 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 20 24 32; do
		rm -rf made
		sh -c 'ulimit -n "$1"; shift; exec "$@"' - $lim "$@" \
		    <"$from" >so 2>err
		case $? in
		0) seen="${seen}0" ;;
		75) seen="${seen}7" ;;
		*) odd="$odd $lim: $(tail -1 err)" ;;
		esac
	done
	# 75 up to some number, success from there on
	echo "$seen" | grep -Eq '^7+0+$' || odd="$odd ($seen)"
	is "$odd" "" "out of descriptors: $1 says 75 until it has enough"
}
starve /dev/null dfetch --stage "$st" deltas
starve s.fetched dcheck --stage "$st" --no-cache
starve s.checked dmerge --stage "$st" -o made
starve s.merged dpublish --stage "$st" made
rm -rf "$st" made
# every file ends at 100 KiB, as on a full disk
status 74 "no room in staging" sh -c 'ulimit -f 200
    drun "dfetch -b keep extra | dcheck | dmerge | dpublish keep"'
is "$(picture keep)" "$keep" "nothing half visible"
is "$(staged keep)" "" "nothing left behind"
# as someone who may not write there
chmod 755 "$T"
mkdir -m 777 them
cp -R "$BIN" them/bin
chmod -R go+rX .
as_them() {
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid=65534 --regid=65534 --clear-groups \
		    env TMPDIR="$T/them" DCACHE="$T/them/c" \
		    PATH="$T/them/bin:$PATH" "$@"
	else
		chmod -R a-w keep
		TMPDIR=$T/them "$@"
	fi
}
status 77 "a target that may not be written" as_them \
    drun 'dfetch -b keep extra | dcheck | dmerge | dpublish keep'
is "$(picture keep)" "$keep" "it is as it was"
mkdir -m 555 locked
status 77 "a staging area that may not be written" as_them \
    env TMPDIR="$T/locked" drun 'dfetch deltas | dcheck >/dev/null'
is "$base_digest" "$(published lines)" "and the first target stands"

# --- a stage that gives up while those before it are at work, without drun
rm -rf "$TMPDIR"
mkdir "$TMPDIR"
i=0
while [ $i -lt 20 ]; do
	sh -c 'dfetch deltas | dpublish none' 2>>early >/dev/null
	i=$((i + 1))
done
is "$(sort -u early)" "dpublish: stream: no store record, nothing to \
publish: want dmerge before dpublish" "one says why, nobody stumbles over it"
is "$(ls -A "$TMPDIR")" "" "and the last one out tidies up"

# --- the first cause is said, and nothing after it
# three CMD: it, and two stages behind it, without drun; their lines
three() {
	: >said
	sh -c "$1" 2>>said | { dcheck; echo $? >st.1; } 2>>said |
	    { dmerge -o none; echo $? >st.2; } 2>>said >/dev/null
	cat said
}
is "$(three 'TMPDIR=/nonexistent dfetch deltas')" "dfetch: /nonexistent: no \
place for staging (TMPDIR, drun --stage-parent): No such file or directory" "no staging: one line"
is "$(cat st.1 st.2)" "76
76" "and those behind it have failed, too"
is "$(three :)" "dcheck: stream: empty: want a hello record" \
    "nothing came: who sees it says so"
is "$(cat st.1 st.2)" "76
76" "once"

# --- places that are reached through a symbolic link
mkdir there
ln -s there via
status 0 "a target behind a link" \
    drun 'dfetch -B via/lines deltas | dcheck | dmerge | dpublish via/lines'
is "$(published via/lines)" "$(published lines)" "holds the same"
status 0 "an intermediate behind a link" \
    drun 'dfetch deltas | dcheck | dmerge -o via/out'
status 0 "staging behind a link" env TMPDIR="$T/via" \
    drun 'dfetch deltas | dcheck | dmerge | dpublish direct'
status 0 "the target behind a link as the base" \
    drun 'dfetch -b via/lines extra | dcheck | dmerge | dpublish via/lines'
finish
