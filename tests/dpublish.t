#!/bin/sh
# dpublish.t: one target, everything that may happen to it.  The streams
# and stores come from tests/gen/genrun.c, a record for each source.
. "$(dirname "$0")/lib.sh"
GEN=${GEN:-$SRC/build/gen}
PATH=$GEN:$PATH
plan 252

runs=0
# gen ARGS...: a staging of its own in $ST and its stream in $ST.json;
# the options of genrun come first, then TARGET and the sources
gen() {
	runs=$((runs + 1)) ST=$T/intact.run$runs
	opts=
	while :; do
		case $1 in
		-[BSeuW]) opts="$opts $1"; shift ;;
		-?) opts="$opts $1 $2"; shift 2 ;;
		*) break ;;
		esac
	done
	tgt=$1; shift
	genrun $opts "$tgt" "$ST" "$@" >"$ST.json"
}
# pub ARGS...: publish what gen made
pub() { dpublish --json --json-in --stage "$ST" "$@" <"$ST.json"; }
# put TARGET SOURCES...: both, quietly
put() { gen "$@" && pub "$1" >/dev/null; }
# what readers can see, and versions that no commit names
tree() { (cd "$1" && find commits timestamped latest* -type f | sort |
	xargs sha256sum); }
stray() { for v in "$1"/timestamped/*; do v=${v##*/}
	grep -ls "\"version\":\"$v\"" "$1"/commits/* >/dev/null || echo "$v"
done; }
pointer() { cat "$1/latest-pointer.txt"; }
left() { find "$1/staging" -mindepth 1 ! -name .lock; }
versions() { ls "$1/timestamped" | wc -l | tr -d ' '; }
sources() { grep -o '/deltas/[^"]*' "$1/timestamped/$2/manifest.json" |
	sed 's,.*/,,' | sort | tr '\n' ' '; }

# --- happy
gen A a b c
status 0 "a first version" pub A
like out '"t":"published".*"generation":1.*"records":3' "published says so"
like out '"t":"end"' "and ends"
v1=$(pointer A)
is "$(wc -c <A/latest-pointer.txt)" 32 "the pointer is the bare version id"
ok "which sorts by time" expr "$v1" : \
    '[0-9]\{8\}T[0-9]\{6\}\.[0-9]\{6\}Z-[0-9a-f]\{8\}$'
is "$(ls A/timestamped/"$v1")" "manifest.json
store.sqlite3" "the version holds manifest and store"
is "$(sha256sum <A/timestamped/"$v1"/manifest.json | cut -d' ' -f1)" \
    "$(sed 's/.*"manifest_sha256":"\([^"]*\)".*/\1/' A/commits/1.json)" \
    "the commit has the manifest's digest"
is "$(find A/timestamped -type f -perm -u+w)" "" "published files are read-only"
is "$(left A)" "" "nothing is left in staging"
is "$(sources A "$v1")" "a b c " "its sources"

was=$(cd "A/timestamped/$v1" && cksum ./*)
gen A d
status 0 "a second version onto the first" pub A
v2=$(pointer A)
is "$(sources A "$v2")" "a b c d " "holds the first one's sources and its own"
like A/commits/2.json "\"parent\":\"$v1\"" "its commit names the parent"
is "$(cd "A/timestamped/$v1" && cksum ./*)" "$was" \
    "the version before is untouched"
like out '"delta":1' "one record more"

# --- run twice, unchanged
before=$(tree A)
status 73 "the same stream again: somebody (we) took the generation" pub A
like err 'generation 2 was taken by run run2 with version' "and it says who"
is "$(tree A)" "$before" "nothing changed"
gen -u A
status 0 "nothing but a base" pub A
like out '"unchanged":true' "is unchanged"
is "$(tree A)" "$before" "and changes nothing"
gen -u -k b A
status 0 "a base and a skip" pub A
like out '"skipped":1.*"unchanged":true' "is unchanged too"

# --- streams that break
for cut in 1 2 3 4; do
	gen A e
	head -n "$cut" "$ST.json" >x && mv x "$ST.json"
	status 76 "a stream of $cut lines without END" pub A
done
gen -e A e
status 76 "everything but END" pub A
like out '"t":"fail"' "is passed on as FAIL"
gen A e
{ head -n 1 "$ST.json"; tail -n 1 "$ST.json"; } >x && mv x "$ST.json"
status 65 "hello and end only" pub A
like err 'no store record' "has nothing to publish"
gen -W A e
status 76 "a stream of another version" pub A
gen A e
{ sed '$d' "$ST.json"; echo '{"t":"fail","status":65,"reasons":["x: y"]}'; } \
    >x && mv x "$ST.json"
status 76 "FAIL instead of END" pub A
gen A e
sed 's/^{"t":"store"/{"t":"STORE"/' "$ST.json" >x && mv x "$ST.json"
status 76 "an unknown type in capitals" pub A
gen A e
: >"$ST.json"
status 76 "an empty stream" pub A
is "$(tree A)" "$before" "nothing of all this changed the target"
is "$(left A)" "" "or was left in staging"
gen -S A e
status 0 "an unknown type in lower case" pub A
like out '"t":"later"' "passes through"
before=$(tree A)

# --- called wrongly
status 64 "a bad option" dpublish --nope A
status 64 "no target" dpublish
status 64 "two targets" dpublish A B
status 64 "an option of another verb" dpublish log --keep 3 A
status 64 "log without a target" dpublish log
status 64 "prune without an age" dpublish prune A
status 64 "a bad age" dpublish prune --keep-newer-than soon A
status 64 "a bad number" dpublish --allow-shrink -3 A
status 64 "a plan on stdin" dpublish -p - A
status 64 "nothing is published there" pub ftp://host/x
head -n 1 "$ST.json" >hello
status 64 "no staging" sh -c "dpublish --json-in A <hello"

# --- conservation, by name
gen -D lost A f
status 65 "a delta that was given and not merged" pub A
like err '/deltas/lost .*it was given and is not in the store' "is named"
gen -X stray A f
status 65 "a source that was not given" pub A
like err '/deltas/stray .*was not given' "is named"
gen -K b A f g
status 65 "a source of the base that is gone" pub A
like err '/deltas/b .*the base holds it and the store does not' "is named"
gen -k nowhere A f
status 65 "a skip that the base does not hold" pub A
like err '/deltas/nowhere .*the base does not hold it' "is named"
printf '/deltas/f\n/deltas/f\n/deltas/a\n' >plan
gen A f
status 0 "a plan that is covered, one line twice" pub -p plan A
printf '/deltas/f\n/deltas/g\n' >plan
gen -k f A
status 65 "a plan's line too many" pub -p plan A
like err '/deltas/g: the plan plan names it' "is named"
gen A g h
status 65 "a source outside of the plan" pub -p plan A
like err '/deltas/h: it is in the store and not in the plan' "is named"
gen A g
sed '/"t":"store"/s/"content_digest":"./"content_digest":"x/' \
    "$ST.json" >x && mv x "$ST.json"
status 76 "a store record that is malformed" pub A
gen A g
printf x >>"$ST/store/store.sqlite3"
status 65 "a store that is not its manifest's" pub A
like err 'store.sqlite3: size: want' "is named"
gen A g
printf x | dd of="$ST/store/store.sqlite3" bs=1 seek=9000 conv=notrunc \
    2>/dev/null
status 65 "a byte that flipped" pub A
like err 'store.sqlite3: sha256: want' "is found where it lies"
is "$(left A)" "" "and nothing is left of it"

# --- what the checkpoint database is told
gen K a b
status 0 "publish with -c" pub -c ck.db K
is "$(dckpt list -c ck.db 2>/dev/null | awk '{ print $1, $2 }' | sort |
    uniq -c | tr -s ' ' | tr '\n' ,)" \
    " 2 completed input, 1 completed operation," "notes inputs and operation"
gen -D lost K c
status 65 "one that is refused" env DCKPT_DB=ck.db sh -c \
    "dpublish --json-in --stage $ST K <$ST.json"
like err 'lost' "by name"
ok "is noted as failed" sh -c \
    "dckpt list -c ck.db | grep -q '^failed *operation.*publish .*/K'"

# --- the parent
gen -B A g
status 64 "no base, and the target has a version" pub A
like err 'use dfetch -b' "says what to do"
gen A g
status 66 "merged onto a version, and the target is not there" pub B
ok "nor is it made" test ! -e B
mkdir B
status 64 "merged onto another target's version" pub B
is "$(ls B)" "" "nothing comes to lie there"
gen -g 99 A g
status 66 "a base that the target lost" pub A

# --- law 8
recs=$(sed 's/.*"records":\([0-9]*\).*/\1/' "A/commits/$(ls A/commits | sort -n | tail -1)")
gen -s 2 A g
status 65 "fewer records than before" pub A
like err "has $((recs - 1)) records, version .* has $recs" "are counted"
gen -s 2 A g
status 65 "the wrong number named" pub --allow-shrink 1 A
gen -s 2 -d 1 A g
status 0 "as many fewer as deletions were given" pub A
gen -s 3 A h
status 0 "the number named" pub --allow-shrink \
    "$(sed -n '/"t":"store"/s/.*"records":\([0-9]*\).*/\1/p' "$ST.json")" A
gen -B E x
status 0 "a target of its own" pub E
gen -s 1 -B F x
status 65 "a store without records" pub F
like err 'no live record' "is refused"
ok "and commits nothing" test ! -e F/commits/1.json
gen -s 1 -B F x
status 0 "but for --allow-empty" pub --allow-empty F

# --- pointer and commits
cur=$(pointer A)
printf '%s' "$v1" >A/latest-pointer.txt
gen -u A
status 0 "a stale pointer" pub A
is "$(pointer A)" "$cur" "is mended by a run that finds nothing new"
rm A/latest-pointer.txt
gen A i
status 0 "a deleted pointer is not an empty target" pub A
cur=$(pointer A)
like "A/timestamped/$cur/manifest.json" '/deltas/a"' "everything is still in"
echo garbage >A/latest-pointer.txt
status 0 "log with a garbled pointer" dpublish log A
like err 'names garbage' "says so"
put A j
printf '%s\n' "$(pointer A)" >A/latest-pointer.txt
gen -u A
pub A >/dev/null
is "$(wc -c <A/latest-pointer.txt)" 32 "a newline in the pointer is mended"

cp -R A G
mv "G/timestamped/$(pointer G)" gone
gen A k
sed "s,$T/A,$T/G," "$ST.json" >x && mv x "$ST.json"
status 66 "the newest commit names a version that is gone" pub G
like err 'names version .* is gone' "is said"
status 0 "which rollback mends" dpublish rollback G
status 0 "and then it can be published onto" sh -c \
    "genrun G $T/intact.g k >g.json && dpublish --json-in --stage $T/intact.g G <g.json"
cp -R A G2
rm -r G2/commits
gen A k
status 66 "commits that vanished" pub G2
like err 'commits were lost' "are not an empty target"
rm G2/latest-pointer.txt
gen A k
status 66 "nor without the pointer" pub G2
status 66 "nor for log" dpublish log G2
cp -R A G3
last=$(ls G3/commits | sort -n | tail -1)
rm "G3/commits/$last"
gen -u A
status 66 "a newest commit that vanished, the pointer knows" pub G3
like err 'which no commit names' "is said"
status 66 "nor is anything rolled back over it" dpublish rollback G3
cp -R A G4
echo '{"format":1' >"G4/commits/$last"
gen A k
status 65 "a torn commit" pub G4
status 66 "a target that is not there, for log" dpublish log nowhere
mkdir void
status 66 "an empty one, for log" dpublish log void
touch file
gen A k
status 66 "a target below a file" pub file/x
echo '{"format":1}' >"G4/commits/$last.bak"
status 65 "a stranger among the commits" dpublish log G4

# --- log
status 0 "log" dpublish log A
is "$(head -1 out | cut -c1)" "*" "stars the current version"
is "$(wc -l <out | tr -d ' ')" "$(ls A/commits | wc -l | tr -d ' ')" \
    "a line for each commit"
status 0 "log --json" dpublish log --json A
like out '"current":true' "knows the current one"
is "$(sed -n 1p out | grep -c "$(pointer A)")" 1 "newest first"

# --- rollback
gen R a; pub R >/dev/null; r1=$(pointer R)
put R b; r2=$(pointer R)
put R c; r3=$(pointer R)
status 0 "rollback" dpublish rollback R
is "$(pointer R)" "$r2" "to the version before"
status 0 "again" dpublish rollback R
is "$(pointer R)" "$r1" "to the one before that"
status 66 "the first has none before it" dpublish rollback R
status 0 "to a named version" dpublish rollback R "$r3"
is "$(pointer R)" "$r3" "it is current"
like R/commits/6.json '"kind":"rollback"' "by a commit"
status 0 "to where it is" dpublish rollback R "$r3"
like out 'already at' "is nothing"
is "$(ls R/commits | wc -l | tr -d ' ')" 6 "and no commit"
status 64 "to no version" dpublish rollback R yesterday
status 66 "to one that was never there" dpublish rollback R \
    20200101T000000.000000Z-00000000
chmod u+w "R/timestamped/$r1/store.sqlite3"
printf x | dd of="R/timestamped/$r1/store.sqlite3" bs=1 seek=9000 \
    conv=notrunc 2>/dev/null
status 65 "to one that is damaged" dpublish rollback R "$r1"
like err 'store.sqlite3: sha256' "says what is wrong"
is "$(pointer R)" "$r3" "and stays"
dpublish rollback R "$r2" >/dev/null
put R d
is "$(sources R "$(pointer R)")" "a b d " "a rollback is what is merged onto"

# --- prune
status 0 "prune keeps what is young" dpublish prune --keep-newer-than 1h R
is "$(versions R)" 4 "all four"
status 0 "prune --dry-run" dpublish prune -n --keep-newer-than 0 R
is "$(wc -l <out | tr -d ' ') $(versions R)" "3 4" "names three, removes none"
status 0 "prune --keep" dpublish prune --keep 2 --keep-newer-than 0 R
is "$(versions R)" 2 "keeps the two newest"
dpublish rollback R "$r3" >/dev/null
status 0 "prune after a rollback" dpublish prune --keep-newer-than 0 R
is "$(versions R)" 2 "keeps the current version though it is the oldest"
status 66 "a pruned version is not rolled back to" dpublish rollback R "$r2"
dpublish log R >log
is "$(grep -c gone log)" 5 "log shows commits whose version is gone"

mv R/commits/2.json R/commits/3.json .
status 0 "log where commits are missing" dpublish log R
like err '2 to 3 are missing' "says which"
mv 2.json 3.json R/commits

# --- probe
status 0 "probe" dpublish probe A
like out 'second is refused' "proves exclusion"
is "$(left A)" "" "and leaves nothing"

# --- versions sort although the clock went backwards
put C a
cv=$(pointer C)
for f in C/commits/1.json C/latest-pointer.txt; do
	sed "s/$cv/29${cv#20}/g" "$f" >x && cat x >"$f"
done
mv "C/timestamped/$cv" "C/timestamped/29${cv#20}"
put C b
ok "a version after one from the future" \
    test "$(printf '%s\n' "29${cv#20}" "$(pointer C)" | sort | tail -1)" = \
    "$(pointer C)"

# --- the machine
before=$(tree A)
gen A m
status 74 "stdout is full" sh -c \
    "dpublish --json-in --stage $ST A <$ST.json >/dev/full"
is "$(tree A)" "$before" "and nothing was published"
gen A m
status 74 "the disk is full" sh -c "trap '' XFSZ; exec >/dev/null; \
    ulimit -f 0; exec dpublish --json-in --stage $ST A <$ST.json"
is "$(tree A)$(left A)" "$before" "and nothing of it is left"
gen A m
ln "$ST/store/store.sqlite3" other
if cp --reflink=always other other2 2>/dev/null; then
	skip 1 "this file system shares blocks: a copy takes no space"
else
	status 74 "the disk is full in the middle of the copy" sh -c \
	    "trap '' XFSZ; exec >/dev/null; ulimit -f 16; \
	    exec dpublish --json-in --stage $ST A <$ST.json"
fi
is "$(tree A)$(left A)" "$before" "and nothing of it is left"
gen A m
status 75 "no descriptors" sh -c "exec <$ST.json; ulimit -n 9; \
    exec dpublish --json-in --stage $ST A"
is "$(tree A)$(left A)" "$before" "and nothing of it is left"
status 0 "which the next run does" pub A
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	chmod 755 "$T"
	mkdir ro && chmod 755 ro
	status 77 "a target that may not be written" setpriv --reuid 65534 \
	    --clear-groups "$(command -v dpublish)" probe "$T/ro"
elif [ "$(id -u)" != 0 ]; then
	mkdir ro && chmod 555 ro
	status 77 "a target that may not be written" dpublish probe ro
else
	skip 1 "root writes everywhere and setpriv is not there"
fi

# --- under drun: prepare, then commit or discard
before=$(tree A)
gen A n
status 0 "prepare" env DRUN_ID=x DSTAGE="$ST" \
    sh -c "dpublish --json --json-in A <$ST.json"
like out '"t":"prepared"' "is said"
is "$(cd A && ls commits | wc -l | tr -d ' ')" \
    "$(echo "$before" | grep -c commits/)" "and not published"
ST0=$ST
exec 9<"$ST0/lock"
flock -s 9	# what drun does: the run lives
gen -u A
status 0 "another run meanwhile" pub A
is "$(left A | grep -c '/owner$')" 1 "does not sweep what was prepared"
status 0 "commit" env DRUN_ID=x DSTAGE="$ST0" dpublish --commit
like out '"t":"published".*"parent"' "says published, in the form asked for"
like out '"t":"end"' "and ends"
is "$(sources A "$(pointer A)" | grep -c 'n ')" 1 "and it is"
is "$(left A)" "" "nothing is left"
rm -r "$ST0/tickets"
status 0 "no ticket" env DRUN_ID=x DSTAGE="$ST0" dpublish --commit
is "$(cat out)" "" "is nothing to do"

gen A p
env DRUN_ID=x DSTAGE="$ST" sh -c "dpublish --json --json-in A <$ST.json" >out
ST1=$ST
exec 8<"$ST1/lock"
flock -s 8
put A q
status 73 "a prepared version that comes too late" \
    env DRUN_ID=x DSTAGE="$ST1" dpublish --commit
like out '"t":"fail"' "fails"
is "$(stray A)$(left A)" "" "and leaves nothing"
exec 8<&-
before=$(tree A)

gen A p
env DRUN_ID=x DSTAGE="$ST" sh -c "dpublish --json --json-in A <$ST.json" >out
status 0 "discard" env DSTAGE="$ST" dpublish --discard
is "$(tree A)$(left A)" "$before" "removes what was prepared"
gen A p
env DRUN_ID=x DSTAGE="$ST" sh -c "dpublish --json --json-in A <$ST.json" >out
gen -u A
pub A >out
is "$(tree A)$(left A)" "$before" "a run that died after it is swept"
gen -u A
status 0 "prepare nothing" env DRUN_ID=x DSTAGE="$ST" \
    sh -c "dpublish --json --json-in A <$ST.json"
rm A/latest-pointer.txt
status 0 "commit nothing" env DRUN_ID=x DSTAGE="$ST" dpublish --commit
like out '"unchanged":true' "is unchanged"
is "$(tree A)" "$before" "and mends the pointer"
gen -u A
env DRUN_ID=x DSTAGE="$ST" sh -c "dpublish --json --json-in A <$ST.json" >out
# no byte may be written to any file
status 0 "commit nothing where there is no room" env DRUN_ID=x DSTAGE="$ST" \
    sh -c 'ulimit -f 0; exec dpublish --commit >/dev/null'
status 0 "nor is any needed without drun" env ST="$ST" \
    sh -c 'ulimit -f 0; exec dpublish --json --json-in --stage "$ST" A \
    <"$ST.json" >/dev/null'
is "$(tree A)$(left A)" "$before" "nothing is written"

# two targets, and another was faster at the second
two() {
	gen A s; STA=$ST
	env DRUN_ID=x DSTAGE="$ST" sh -c "dpublish --json --json-in A <$ST.json"
	gen D t
	env DRUN_ID=x DSTAGE="$ST" sh -c "dpublish --json --json-in D <$ST.json"
	for t in "$ST"/tickets/*; do
		cp "$t" "$STA/tickets/z.json"
	done
	exec 8<"$STA/lock" 9<"$ST/lock"
	flock -s 8
	flock -s 9
}
put D s
two >/dev/null
put D u
other=$(pointer D)
status 73 "the second target is lost before the commit" \
    env DRUN_ID=x DSTAGE="$STA" dpublish --commit
like err 'D: generation 2 was taken .*nothing of this run is published' \
    "and that is said"
is "$(tree A)" "$before" "then the first is not published either"
is "$(left A)$(stray A)$(left D)$(stray D)" "" "and nothing is left"
is "$(pointer D)" "$other" "of either"
two >/dev/null
rm -r D/staging/*
status 66 "the second target fails in the commit" \
    env DRUN_ID=x DSTAGE="$STA" dpublish --commit
like err "A: generation [0-9]* is published all the same, and stays" \
    "what is published then is said"
is "$(sources A "$(pointer A)" | grep -c ' s ')" 1 "and it is"
is "$(left A)$(stray A)" "" "nothing is left there"
exec 8<&- 9<&-
status 64 "commit without a staging" dpublish --commit

# --- -a
D=$DATA/demo/delta-01
status 0 "an artefact" dpublish --json -a in/ "$D"
like out '"t":"artifact"' "is placed"
ok "whole" diff -r "$D" in/delta-01
status 0 "and once more" dpublish --json -a in/ "$D"
status 73 "another one of that name" dpublish -a in/delta-01 \
    "$DATA/demo/delta-02"
ok "does not replace it" diff -r "$D" in/delta-01
status 65 "a damaged one" dpublish -a in/ "$DATA/samples/bad_trunc50/db"
status 65 "what is no store" dpublish -a in/ "$SRC/LICENSE"
status 66 "what is not there" dpublish -a in/ nowhere
status 64 "two for one name" dpublish -a in/x "$D" "$DATA/demo/delta-02"
gen -B Z s t
status 0 "a store from the stream" sh -c \
    "dpublish --json-in --stage $ST -a in/chunk <$ST.json"
ok "is placed under the name" test -f in/chunk/manifest.json
is "$(ls -A in | tr '\n' ' ')" "chunk delta-01 " "no try is left over"
gen -B Z u
status 0 "prepared under drun" env DRUN_ID=x DSTAGE="$ST" \
    sh -c "dpublish --json --json-in -a in/c2 <$ST.json"
ok "it is not there yet" test ! -e in/c2
status 0 "committed" env DSTAGE="$ST" dpublish --commit
ok "it is" test -f in/c2/store.sqlite3

# --- a signal, and kill -9 at any moment
before=$(tree A)
mkfifo pipe
gen A r
dpublish --json-in --stage "$ST" A <pipe >out 2>err &
pid=$!
exec 7>pipe
sed '$d' "$ST.json" >&7
kill -TERM $pid
exec 7>&-
{ wait $pid; st=$?; } 2>/dev/null
is $st 143 "TERM: dies of it"
is "$(tree A)$(left A)" "$before" "and leaves nothing"

# --- a ChromaDB directory, whose files lie one directory deeper
S=$DATA/samples
status 0 "a ChromaDB version" drun \
    "dfetch -B CH '$S/two_collections/db' | dcheck | dmerge -F chroma |
    dpublish --json CH"
like out '"generation":1.*"format":"chroma","records":64,"tombstones":1,' \
    "published says so"
v=CH/timestamped/$(pointer CH)
is "$(find "$v" -type f | sed 's,.*/,,' | sort | uniq -c | tr -s ' \n' ' ')" \
    " 1 chroma.sqlite3 2 data_level0.bin 2 header.bin 2 index_metadata.pickle\
 1 ledger.sqlite3 2 length.bin 2 link_lists.bin 1 manifest.json " \
    "all files are there"
is "$(find "$v" -type f -perm -u+w)" "" "and read-only"
is "$(left CH)" "" "nothing is left in staging"
status 0 "it is brought as a base" \
    sh -c "dfetch -b CH | dcheck --json --no-cache"
like out '"t":"base".*"format":"chroma","records":64.*"verdict":"ok"' \
    "and proved"
status 0 "nothing new: unchanged" drun "dfetch -b CH \
    '$S/two_collections/db' | dcheck | dmerge | dpublish --json CH"
like out '"unchanged":true' "is said"
status 0 "dpublish -a places one" sh -c \
    'dpublish --json -a "$PWD/art/one" "$1"' - "$v"
ok "whole" diff -r "$v" art/one
status 0 "which is skipped as an input" \
    sh -c 'dfetch -b CH "$PWD/art/one" | dcheck --json'
like out '"t":"skip".*"why":"sources"' "for its sources"
f=$(find "$v" -name length.bin | head -1)
cp "$f" whole && chmod u+w "$f"
printf 'X' | dd of="$f" bs=1 seek=5 conv=notrunc 2>dd.err
status 65 "a byte of a file down there" \
    sh -c "dfetch -b CH | dcheck --json --no-cache"
like err "manifest: $(basename "$(dirname "$f")")/length.bin: sha256" \
    "is found and named"
status 65 "and dpublish -a does not place it" sh -c \
    'dpublish --json -a "$PWD/art/two" "$1"' - "$v"
is "$(ls art)" one "at all"
cp whole "$f" && chmod a-w "$f"
status 0 "a second version onto it" drun "dfetch -b CH \
    '$S/py1021_clean/db' | dcheck | dmerge | dpublish --json CH"
like out '"generation":2.*"format":"chroma"' "is of the same form"
status 0 "the first one is pruned" \
    dpublish prune --keep 1 --keep-newer-than 0 CH
is "$(ls CH/timestamped)" "$(pointer CH)" "with its directories"

lost='' i=0 killed=0
while [ $i -lt 60 ]; do
	i=$((i + 1)) old=$(pointer A)
	gen A "kill$i"
	timeout -s KILL "0.0$(printf %02d $((i % 30)))" dpublish --json-in \
	    --stage "$ST" A <"$ST.json" >out 2>err
	[ $? -eq 137 ] && killed=$((killed + 1))
	new=$(pointer A)
	if [ "$new" != "$old" ]; then
		case $(sources A "$new") in
		*"kill$i "*) ;;
		*) lost="$lost $i:lost" ;;
		esac
	fi
	dpublish log A >/dev/null 2>&1 || lost="$lost $i:log"
	gen A "kill$i"
	case $(sources A "$(pointer A)") in
	*"kill$i "*) gen -u A ;;
	esac
	pub A >out 2>err || lost="$lost $i:rerun-$?"
	case $(sources A "$(pointer A)") in
	*"kill$i "*) ;;
	*) lost="$lost $i:missing" ;;
	esac
done 2>/dev/null
ok "the killing finds it alive ($killed of 60)" test "$killed" -gt 4
is "$lost" "" "killed at 60 moments: old or new, whole, and the rerun does it"
gen -u A
pub A >out
is "$(left A)" "" "nothing is left in staging"
is "$(stray A)" "" "nor a version that no commit names"
# --- what a stranger tries
status 64 "a slash forgotten is no local target" dpublish log s3:/b/x
like err 'two slashes' "and says so"
put Z a && put Z b
status 64 "a target is no input of its own" dfetch -b Z Z
like err 'Z: a target, where versions are published: want -b' "and says so"
echo Z/commits >own
status 64 "nor is what it is made of" dfetch -b Z -f own
like err 'part of the target' "and says so"
head -c 9000 /dev/zero | tr '\0' x >Z/latest-pointer.txt
gen -u Z
status 0 "a pointer of nine thousand bytes" pub Z
is "$(pointer Z)" "$(sed 's/.*"version":"\([^"]*\)".*/\1/' Z/commits/2.json)" \
    "is mended"
sed 's/"generation":2/"generation":9223372036854775807/' \
    Z/commits/2.json >Z/commits/9223372036854775807.json
status 65 "a generation that nothing can follow" \
    timeout 20 dpublish log Z
mv Z/commits/9223372036854775807.json Z/commits/900000000000.json
sed -i 's/"generation":[0-9]*/"generation":900000000000/' \
    Z/commits/900000000000.json
status 0 "a gap, however wide, is no walk" timeout 20 dpublish log Z
finish
