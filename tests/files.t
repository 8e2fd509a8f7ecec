#!/bin/sh
# files.t: file sets: any files through dfetch --files, dcheck and dpublish,
# as versions of a target and as plain keys with a journal (--in-place), on
# disk and on a real S3 server; killed at every fourth step of the journal
# (MORE=1: each), failing at every sixth (MORE=1: third, FULL=1: each), and
# taken up again.
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
plan 134
# a leak checker waits for ever for its own helper when that is what dies; a
# preload stands before the sanitizer's own library, which may be so
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0
export ASAN_OPTIONS

# field NAME FILE...: the values of a key in JSON lines
field() { k=$1; shift; sed -n "s/.*\"$k\":\"\{0,1\}\([^\",}]*\).*/\1/p" "$@"; }
names() { sed -n 's/.*"t":"file","name":"\(.*\)","path".*/\1/p' "$@"; }
set_() { dfetch --files "$1" | dcheck | { shift; dpublish "$@"; }; }

# --- dfetch
mkdir -p 'tree/a b' tree/c/d/e/f/g/h tree/.git tree/c2
echo 1 >"tree/a b/x'y|z\$(id).csv"
echo 2 >tree/c/x.csv
echo 3 >tree/c2/x.csv
echo 4 >tree/c/d/e/f/g/h/seven
echo 5 >'tree/ü"q.txt'
: >tree/_SUCCESS
echo hidden >tree/.hidden
echo hidden >tree/.git/config
status 0 "a tree" dfetch --files -v --json tree
names out >got
cat >want <<'X'
_SUCCESS
a b/x'y|z$(id).csv
c/d/e/f/g/h/seven
c/x.csv
c2/x.csv
ü\"q.txt
X
sed 's/\\"/"/' want >plainly
is "$(cat got)" "$(cat want)" "each file by its path, sorted; none is lost"
is "$(field path out | sort | uniq | wc -l | tr -d ' ')" 6 \
    "the same base name in two directories stays apart"
like err 'tree/\.git: hidden, passed over' "hidden names are said"
like out '"planned":6,"fetched":6,"skipped":0,"bytes":10,"files":6' "totals"
like out "\"name\":\"_SUCCESS\".*\"size\":0," "an empty file is a file"
status 0 "a file, and a tree" dfetch --files --json tree/c2/x.csv 'tree/a b'
is "$(names out)" "x.csv
x'y|z\$(id).csv" "what is named by itself has its last component"
mkdir empty empty/.x
status 66 "an empty tree" dfetch --files empty
like err 'empty: an empty directory: want at least one file' "is said"
status 66 "one that is not there" dfetch --files nowhere
mkdir t2 t3
echo x >t2/_SUCCESS
echo x >t3/c
status 64 "two files of one name" dfetch --files tree t2
like err '_SUCCESS: .*/tree/_SUCCESS and .*/t2/_SUCCESS' "both are named"
status 64 "a file where another has a directory" dfetch --files tree t3
like err 'c: .*/t3/c and .*/tree/c/d/e/f/g/h/seven' "both are named"
status 64 "one file under two names" dfetch --files tree tree/c/x.csv
ln -s c/x.csv t3/link
status 65 "a link in a tree" dfetch --files t3
status 66 "a base that is not there" dfetch --files -b x tree
status 64 "no plan" dfetch --files -f x tree
# more records than a pipe holds: it cannot have ended before it is read
mkdir big
perl -e 'for (1 .. 400) { open my $f, ">", "big/" . "n" x 100 . $_; }'
dfetch --files --json big 2>err | {
	read -r line
	read -r line	# not before a first file has come
	echo new >big/new
	cat
} >out
like out '"status":75' "a tree that changes meanwhile is no set"
like err 'big: changed while it was read' "and is named"

# --- dcheck
: >seen
# shellcheck disable=SC2016 # the hook's own
hook='echo "$FILE_NAME" >>'$T'/seen; cmp -s "$1" "$DELTA_URL"'
dfetch --files tree | dcheck -x "$hook" --json >out 2>err
is "$(sort seen)" "$(sort plainly)" \
    "the hook is called once for each file, which is what it was"
is "$(grep -c '"verdict":"ok"' out)" 6 "all pass"
# shellcheck disable=SC2016
dfetch --files tree | dcheck -k -x 'test "$FILE_NAME" != c/x.csv' \
    --json >out 2>err
is "$(field verdict out | sort | uniq -c | tr -s ' ')" " 1 hook
 5 ok" "one that the hook refuses"
like err 'tree/c/x.csv: hook: command exited with 1' "is named"
# shellcheck disable=SC2016
dfetch --files tree | dcheck -x false 2>/dev/null | dpublish F >out 2>err
is "$? $(ls F 2>&1 | grep -c commits)" "76 0" "and nothing is published"
dfetch --files --json tree | sed 's/\("name":"c.x.csv".*"sha256":"\)./\1x/
    s/"sha256":"x/"sha256":"0/' | dcheck --json-in --json >out 2>err
like err 'tree/c/x.csv: digest: ' "other bytes than were promised are refused"

# --- a target
status 0 "a set is published" drun \
    'dfetch --files tree | dcheck | dpublish --json F'
v=$(cat F/latest-pointer.txt)
is "$(cd "F/timestamped/$v" && find . -type f | sed 's,^\./,,' | sort)" \
    "$( (cat plainly; echo manifest.json) | sort)" \
    "as one version"
is "$(diff -r tree "F/timestamped/$v" | grep -v 'Only in tree.*: \.' |
    grep -v 'Only in F.*manifest.json')" "" "byte for byte"
# the digest of the tree, made by other means
(cd tree && find . -type f ! -path '*/.*' | sed 's,^\./,,' | sort |
    while IFS= read -r f; do
	printf '%s\0%s\0%s\n' "$f" "$(wc -c <"$f" | tr -d ' ')" \
	    "$(sha256sum <"$f" | cut -d' ' -f1)"
done | sha256sum | cut -d' ' -f1) >digest
is "$(field content_digest out)" "$(cat digest)" "content digest"
touch tree/c/x.csv
status 0 "the same bytes" drun \
    'dfetch --files tree | dcheck | dpublish --json F'
like out '"unchanged":true' "are no new version, whatever their time"
is "$(ls F/commits)" 1.json "nor a commit"
echo 2b >tree/c/x.csv
set_ tree --json F >out
like out '"generation":2,.*"inserted":0,"replaced":1,"deleted":0' \
    "another byte is"
rm tree/c2/x.csv
set_ tree F >out 2>err
is "$? $(ls F/commits | wc -l | tr -d ' ')" "65 2" "fewer files are refused"
like err 'the set has 5 files, version .* has 6: .*--allow-shrink 5' "with why"
set_ tree --allow-shrink 5 F >out 2>err
is "$?" 0 "unless it is said how many"
status 0 "rollback" dpublish rollback F
is "$(cat "F/timestamped/$(cat F/latest-pointer.txt)/c2/x.csv")" 3 \
    "brings all of the set back"
dpublish prune --keep-newer-than 0s F >/dev/null
is "$(ls F/timestamped | wc -l) $(ls F/timestamped | head -1)" \
    "2 $(cat F/latest-pointer.txt)" "prune keeps it, and the newest"
status 64 "it is no base" dfetch -b F tree
like err 'F: it holds files, no stores' "and says so"
mkdir t4
echo '{}' >t4/manifest.json
set_ t4 G >out 2>err
is "$?" 65 "a manifest.json of the set's own has no place there"
"$GEN/gendelta" --out deltas --count 1 --records 5 --dim 8 --seed 1
drun 'dfetch -B S deltas | dcheck | dmerge | dpublish S' >/dev/null
set_ tree S >out 2>err
is "$?" 64 "a target of stores takes no set"
dfetch deltas | dcheck | dmerge | dpublish F >out 2>err
is "$?" 64 "a target of sets takes no store"
dfetch --files tree | dcheck | dmerge >out 2>err
is "$?" 76 "and none is merged"
i=0 won=0 other=0
while [ $i -lt 5 ]; do
	i=$((i + 1))
	echo "$i" >tree/c/x.csv
	mkdir -p other
	echo "$i" >other/o
	drun 'dfetch --files tree | dcheck | dpublish R' >/dev/null 2>&1 &
	p=$!
	drun 'dfetch --files other | dcheck | dpublish --allow-shrink 1 R' \
	    >/dev/null 2>&1
	s1=$?
	wait $p
	s2=$?
	case $s1$s2 in
	00 | 073 | 730 | 065 | 650) won=$((won + 1)) ;;
	*) other=$((other + 1)); echo "# $s1 $s2" ;;
	esac
	v=$(cat R/latest-pointer.txt)
	(cd "R/timestamped/$v" && sed -n \
	    's/^{"name":"\(.*\)","size".*"sha256":"\([0-9a-f]*\)".*/\2  \1/p' \
	    manifest.json | sed 's/\\"/"/' | sha256sum -c --quiet) ||
	    other=$((other + 1))
done
is "$won $other" "5 0" "two at once: at least one wins, and is whole"

# --- unchanged, and nothing is read

# what is younger than two seconds may have changed again unseen
settle() {
	while find "$1" -type f -newerct '3 seconds ago' | grep -q .; do
		sleep 0.1
	done
}
# opened COMMAND...: n0 is "some" when a file of the set is opened, else 0;
# st the status
opened() {
	strace -qq -f -o log -e signal=none -e trace=openat,open \
	    "$@" >out 2>err
	st=$?
	n0=$(grep -q 'content-.*O_RDONLY' log && echo some || echo 0)
}
set_u() { drun "dfetch $* | dcheck | dpublish --json U" >out 2>err; }
mkdir -p u/sub
echo 1 >u/content-1
echo 2 >u/sub/content-2
: >u/content-empty
settle u
set_u --files -B U u
is "$? $(field generation out)" "0 1" "a first version, with a base if any"
: >u/.hidden
set_u --files -b U u
is "$? $(field unchanged out) $(field skipped out) $(ls U/commits)" \
    "0 true 3 1.json" "the same again, with a base: all is skipped"
if ! strace -f -o probe true 2>/dev/null; then
	skip 11 "strace cannot trace here"
else
	opened dfetch --files --json -B U u
	is "$n0 $st $(grep -c '"t":"skip".*"why":"unchanged"' out)" "0 0 3" \
	    "and not a byte of it is read"
	opened dfetch --files --json --cache '' -B U u
	is "$n0 $st $(names out | wc -l | tr -d ' ')" "some 0 3" \
	    "without a cache everything is"
	ok "an index is all there is in the cache" \
	    sh -c '[ "$(ls "$DCACHE/sets" | wc -l)" -eq 1 ]'
	idx=$(echo "$DCACHE"/sets/*)
	cp "$idx" whole
	for how in cut flip lie; do
		case $how in
		cut) head -c 200 whole >"$idx" ;;
		flip) perl -pe 'BEGIN { $/ = undef } substr($_, 70, 1) ^= "A"' \
		    whole >"$idx" ;;
		# whole, and wrong: another digest of a file
		lie) perl -MDigest::SHA=sha256 -e '$/ = undef; $_ = <>;
		    substr($_, -32) = ""; substr($_, 70, 1) ^= "A";
		    print $_, sha256($_)' whole >"$idx" ;;
		esac
		opened dfetch --files --json -B U u
		is "$n0 $st $(names out | wc -l | tr -d ' ')" "some 0 3" \
		    "an index that does $how is not believed"
	done
	opened dfetch --files --json -B U u
	is "$n0" 0 "and is made anew"
	# the same size, and the same time
	cp -p u/content-1 old
	echo 9 >u/content-1
	touch -r old u/content-1
	opened dfetch --files --json -B U u
	is "$n0 $(names out | wc -l | tr -d ' ')" "some 3" \
	    "one byte, under the old time: all is read"
	# listed just after a change: the next change might not show
	tries=0 n0=0
	while [ "$n0" = 0 ] && [ $tries -lt 20 ]; do
		tries=$((tries + 1))
		echo "$tries" >u/content-1
		set_u --files -B U u
		opened dfetch --files --json -B U u
	done
	is "$n0" some "what was young when it was listed is read again"
	settle u
	dfetch --files --json -B U u >/dev/null
	opened dfetch --files --json -B U u
	is "$n0" 0 "once"
	mv u/sub/content-2 u/sub/content-3
	opened dfetch --files --json -B U u
	is "$n0" some "another name of the same file: all is read"
fi
mv u/sub/content-3 u/sub/content-2 2>/dev/null
settle u
set_u --files -B U -c db u
set_u --files -B U -c db u
is "$(field skipped out) $(dckpt -c db list --json | grep -c '"completed"')" \
    "3 4" "checkpoints: completed"
dckpt -c db force "$T/u/content-1" >/dev/null
set_u --files -B U -c db u
is "$? $(field skipped out)" "0 0" "what is forced is read"
echo another >u/content-1
set_u --files -B U u
dpublish rollback U >/dev/null
set_u --files -B U u
is "$? $(field unchanged out) $(cat "U/timestamped/$(cat U/latest-pointer.txt)/content-1")" \
    "0  another" "after a rollback it is a new version again"

# --- a fence: what was current when it was fetched, or nothing
echo old >u/content-1
dfetch --files --json -b U u >slow
dfetch --files --json u >slow0
echo new >u/content-1
set_u --files -B U u
g=$(ls U/commits | wc -l)
dcheck --json-in <slow | dpublish U >out 2>err
is "$? $(ls U/commits | wc -l)" "73 $g" \
    "a slow run does not publish over a newer set, with a base"
like err "generation $g was taken by run .* since the base was fetched" "is told"
dcheck --json-in <slow0 | dpublish U >out 2>err
is "$? $(cat "U/timestamped/$(cat U/latest-pointer.txt)/content-1")" "0 old" \
    "without one, the last to end wins"
settle u
set_u --files -B U u
dfetch --files --json -b U u >slow
set_ other --allow-shrink 1 U >out 2>err
dcheck --json-in <slow | dpublish U >out 2>err
is "$? $(grep -c '"t":"skip"' slow)" "73 3" "nor is one unchanged that is no more"
dfetch --files --json -B none u >slow
set_ other none >out 2>err
dcheck --json-in <slow | dpublish none >out 2>err
is "$?" 73 "where there was nothing, and now is"
dfetch --files -b R u | dpublish U >out 2>err
is "$?" 64 "fetched for another target"
like err "the set was fetched for .*/R: use dfetch -b " "is told"
status 64 "a target of stores" dfetch --files -b S u
dfetch --files --json -B U u | grep -v '"parent"' | dpublish --json-in U \
    >out 2>err
is "$?" 0 "without the parent record there is no fence"
settle u
dfetch --files --json -B U u >/dev/null
dfetch --files --json -B U u | grep -v '"parent"' | dpublish --json-in U \
    >out 2>err
is "$?" 76 "and nothing can be skipped"
dfetch --files --json -B U u | grep -v '"name":"content-1"' |
    dpublish --json-in U >out 2>err
is "$?" 65 \
    "a skip that was lost on the way is missed"
dfetch --files --json -B U --cache '' u >s1
dfetch --files --json -B U u | grep '"name":"content-1"' |
    cat s1 - >s2
{ sed '$d' s1 | grep -v '"name":"content-1"'; grep '"name":"content-1"' s2 |
    grep '"t":"skip"'; sed -n '$p' s1; } | dpublish --json-in U >out 2>err
is "$?" 76 "and some of a set cannot be skipped"
dfetch --files --json -B U u |
    sed 's|\("t":"parent","target":"[^"]*/\)U".*|\1V","none":true}|' |
    dpublish --json-in V >out 2>err
is "$? $(grep -c "is not generation 0 of .*/V" err)" "76 1" \
    "nor a set of which nothing is there"

# --- plain keys: what the tests of both places share

# Two sets; each of their files differs or is the other's alone.
mkdir -p A/sub B/sub B/deep/er
for f in one sub/two three same; do echo "A $f" >A/$f; done
for f in one sub/two deep/er/new same; do echo "B $f" >B/$f; done
cp A/same B/same
sums() { (cd "$1" && find . -type f ! -path '*/.*' | sed 's,^\./,,' | sort |
	xargs sha256sum | sed 's/  / /'); }
sums A >A.sum
sums B >B.sum

# judge WANT STATE: A, B, or mixed; torn when a key is in neither state, or
# one was deleted before all others had come (WANT is what it becomes)
judge() {
	awk -v want="$1" '
	FILENAME == "A.sum" { a[$2] = $1; u[$2] = 1; next }
	FILENAME == "B.sum" { b[$2] = $1; u[$2] = 1; next }
	{ s[$2] = $1; u[$2] = 1 }
	END {
		for (n in u) {
			if (s[n] != a[n] && s[n] != b[n]) torn = n
			if (s[n] != a[n]) na = 1
			if (s[n] != b[n]) nb = 1
			w = want == "A" ? a[n] : b[n]
			if (w != "" && s[n] != w) late = n
			if (w == "" && s[n] == "") early = n
			if (w == "" && (a[n] != "" || b[n] != "") &&
			    s[n] == "") gone = n
		}
		if (torn != "") print "torn " torn
		else if (na && nb && gone != "" && late != "")
			print "torn: deleted " gone " before " late
		else print na ? nb ? "mixed" : "B" : "A"
	}' A.sum B.sum "$2"
}
complain() { bad_=$((bad_ + 1)); [ $bad_ -gt 5 ] || echo "# $*"; }

# run_ COMMAND...: its comments, and ok or bad in $r
run_() {
	if "$@" >each.out; then r=ok; else r=bad; fi
	grep '^#' each.out
}
put() { dfetch --files "$1" | dpublish --in-place --delete $P; }

# --- plain keys, on disk
P=$T/plain
state() { sums $P; }
greatest() { ls $P/.intact/commits | sed 's/\.json//' | sort -n | tail -1; }
journal() {
	[ -f $P/.intact/done/"$(greatest)".json ] && echo over || echo begun
}
litter() { ls -d $P/.intact/old $P/.intact/moving $P/.intact/staging/2* \
    2>/dev/null; [ "$(ls $P/.intact/timestamped | wc -l)" -eq 1 ] ||
    ls $P/.intact/timestamped; }

mkdir plain
echo foreign >plain/one
echo stray >plain/stray
echo hidden >plain/.hidden
dfetch --files A | dcheck | dpublish --in-place --delete -n --json $P >out
is "$? $(find plain | wc -l | tr -d ' ') $(field what out | sort | uniq -c |
    tr -s ' \n' ' ')" "0 4  3 add 1 delete 1 replace " \
    "a dry run says what, and changes nothing"
dfetch --files A | dcheck | dpublish --in-place --delete --max-delete 0 \
    $P >out 2>err
is "$? $(ls plain)" "65 one
stray" "--max-delete is heeded"
dfetch --files empty 2>/dev/null | dpublish --in-place --delete $P \
    >out 2>err
is "$? $(ls plain)" "76 one
stray" "an empty source deletes nothing"
dfetch --files A | dcheck -x false 2>/dev/null |
    dpublish --in-place --delete $P >out 2>err
is "$? $(ls plain)" "76 one
stray" "nor does one that a hook refuses"
drun 'dfetch --files A | dcheck | dpublish --in-place plain' >out 2>err
# shellcheck disable=SC2218 # the first of two, above
state >now
is "$? $(grep -v stray now)" "0 $(cat A.sum)" \
    "under drun: every key, and what is in no set stays"
touch mark
drun 'dfetch --files A | dcheck | dpublish --in-place --json plain' >out
is "$(field unchanged out) $(find plain -newer mark)" "true " \
    "the same again writes nothing"
rm -f plain/one
echo broken >broken
mv -f broken plain/three
drun 'dfetch --files A | dcheck | dpublish --in-place plain' >out 2>err
# shellcheck disable=SC2218 # the first of two, above
state >now
is "$? $(grep -v stray now)" "0 $(cat A.sum)" \
    "what was lost or changed meanwhile is put right"
drun 'dfetch --files A | dcheck | dpublish --in-place --delete \
    --max-delete 50% plain' >out
is "$(state) $(cat plain/.hidden)" "$(cat A.sum) hidden" \
    "--delete: what is in no set goes, what is hidden stays"
drun 'dfetch --files plain | dcheck | dpublish --in-place copy' >out
is "$(sums copy)" "$(cat A.sum)" "promotion is the same command"

settle A
put_a() { drun "dfetch --files -B plain A | dcheck |
    dpublish --json --in-place plain" >out 2>err; }
put_a
dfetch --files --json -B plain A >slow
is "$(grep -c '"t":"skip"' slow) $(names slow | wc -l | tr -d ' ')" "4 0" \
    "with a base: all is skipped"
put_a
is "$? $(field unchanged out)" "0 true" "and nothing is written"
rm -f plain/one plain/three
echo foreign >plain/three
put_a
# shellcheck disable=SC2218 # the first of two, above
state >now
is "$? $(grep -v stray now)" "0 $(cat A.sum)" \
    "what was lost or changed meanwhile comes from the version"
dcheck --json-in <slow | dpublish --in-place plain >out 2>err
is "$?" 73 "a slow run does not publish over a newer set"

# traced CALL N HOW COMMAND...: its Nth CALL is killed, or fails
traced() {
	c=$1 i=$2 h=$3
	shift 3
	strace -qq -f -o log -e signal=none -e trace="$c" \
	    -e inject="$c:$h:when=$i" "$@"
}
KILLS=$(few 4 1)
# of the errors, which end the same way, fewer
BY=$([ "${FULL:-0}" = 1 ] && echo 1 || few 6 3)
# inplace HOW VERB...: tests/inplace.pl
inplace() { P=$P NOSYNC=$GEN/nosync.so perl "$SRC/tests/inplace.pl" "$@"; }
CALLS="write fsync linkat renameat unlinkat mkdirat"
if ! strace -f -o probe -e trace=rename -e inject=rename:error=EIO true \
    2>/dev/null; then
	skip 10 "strace cannot trace here"
else
	put A >/dev/null
	# shellcheck disable=SC2086 # a list of words
	run_ inplace on each signal=KILL $KILLS $CALLS
	is $r ok "killed at a step: old or new, and the next run ends it"
	# shellcheck disable=SC2086
	run_ inplace on each error=EIO "$BY" $CALLS
	is $r ok "a step fails: the same"
	run_ inplace on each error=ENOSPC $(few 4 "$BY") write fsync linkat mkdirat
	is $r ok "on a full disk: the same"
	run_ inplace back each signal=KILL "$KILLS" linkat renameat unlinkat mkdirat
	is $r ok "killed at a step, and taken back: what it was"
	# half way, from A: then the rollback is killed at each step
	put A >/dev/null
	n3=0
	until [ "$(journal)" = begun ] && [ "$(state >now; judge B now)" = mixed ] ||
	    [ $n3 -gt 40 ]; do
		n3=$((n3 + 1))
		put A >/dev/null 2>&1
		dfetch --files B | traced renameat $n3 signal=KILL \
		    dpublish --in-place --delete $P >/dev/null 2>&1
	done
	is "$(journal) $(state >now; judge B now)" "begun mixed" \
	    "a run that died half way: a reader of the journal knows"
	cp -a $P half
	dfetch --files A | dpublish --in-place -n $P >out 2>err
	is "$? $(grep -c 'not finished' err) $(journal)" "0 1 begun" \
	    "a dry run says so, and leaves it"
	# shellcheck disable=SC2086
	run_ inplace on undo signal=KILL $KILLS $CALLS
	is $r ok "a rollback killed at a step ends in it, too"
	rm -rf $P
	cp -a half $P
	chmod u+w $P/same
	echo foreign >f
	mv -f f $P/same
	put B >out 2>err
	is "$?" 65 "half way, and somebody else wrote a key: it is refused"
	like err 'plain/same: neither what it was nor what it becomes' \
	    "by name"
	dpublish --in-place --rollback $P >out 2>err
	is "$? $(cat $P/same) $(grep -v same A.sum | sha256sum)" \
	    "0 foreign $(state | grep -v same | sha256sum)" \
	    "a rollback leaves it, and takes back the rest"
fi
rm -rf $P
i=0 bad_=0
put A >/dev/null
while [ $i -lt 6 ]; do
	i=$((i + 1))
	to=A
	(put A >out.A 2>&1; echo $? >st.A) &
	put B >out.B 2>&1
	echo $? >st.B
	wait
	case $(cat st.A)$(cat st.B) in
	00 | 073 | 730 | 075 | 750) ;;
	*) complain "$(cat st.A) $(cat st.B) $(cat out.A out.B)" ;;
	esac
	state >now
	got=$(judge A now)
	[ "$(journal)$got" = overA ] || [ "$(journal)$got" = overB ] ||
	    complain "$(journal) $got"
done
is $bad_ 0 "two at once: one set or the other, whole"
status 64 "a journal is no target to roll back" dpublish rollback $P/.intact

# --- plain keys, in S3
N3=32
if ! s3_rgw; then
	skip $N3 "$why"
	s3_down
	finish
fi
fault_up '' "$RGW"
export AWS_ENDPOINT_URL=$RGW
s3do make s3://bucket
P=s3://bucket/plain
state() {
	dfetch --files --json $P/ 2>/dev/null | sed -n \
	    's/.*"name":"\(.*\)","path".*"sha256":"\([0-9a-f]*\)".*/\2 \1/p'
}
below() { s3do list "$P/.intact/${1-}" | sed 's/.*\.intact\///'; }
greatest() { below commits/ | sed 's,.*/,,;s/\.json//' | sort -n | tail -1; }
journal() {
	[ -n "$(below "done/$(greatest).json")" ] && echo over || echo begun
}
versions() { below timestamped/ | cut -d/ -f2 | sort -u; }
litter() {
	below old/
	below staging/
	s3do uploads $P/
	[ "$(versions | wc -l)" -eq 1 ] || versions
}
cat >killer <<X
#!/bin/sh
kill -9 "\$(cat $T/pid)"
X
chmod +x killer
# victim COMMAND...: through the proxy, its pid where the killer looks
victim() {
	# shellcheck disable=SC2016 # the inner shell's
	AWS_ENDPOINT_URL=$PROXY sh -c 'echo $$ >pid; exec "$@"' sh "$@"
}

echo foreign >foreign
s3do put $P/one foreign >/dev/null
echo stray >stray
s3do put $P/stray stray >/dev/null
s3do put $P/.hidden stray >/dev/null
dfetch --files A | dpublish --in-place --delete -n --json $P >out
is "$? $(below | wc -l | tr -d ' ') $(field what out | sort | uniq -c |
    tr -s ' \n' ' ')" "0 0  3 add 1 delete 1 replace " \
    "S3: a dry run says what, and changes nothing"
drun "dfetch --files A | dcheck | dpublish --in-place $P" >out 2>err
is "$? $(state | grep -v stray | sort -k2)" "0 $(sort -k2 A.sum)" \
    "S3: under drun: every key, and what is in no set stays"
fault
dfetch --files A | victim dpublish --in-place --json $P >out
is "$(field unchanged out) $(asked '^(PUT|POST|DELETE)')" "true 0" \
    "S3: the same again writes nothing"
drun "dfetch --files A | dcheck | dpublish --in-place --delete $P" >out
is "$(state | sort -k2) $(s3do list $P/.hidden | wc -l | tr -d ' ')" \
    "$(sort -k2 A.sum) 1" \
    "S3: --delete: what is in no set goes, what is hidden stays"
s3do put $P/one stray >/dev/null
s3do del $P/three >/dev/null
put A >/dev/null
is "$(state | sort -k2)" "$(sort -k2 A.sum)" \
    "S3: what was lost or changed meanwhile is put right"
drun "dfetch --files $P/ | dcheck | dpublish --in-place s3://bucket/prod" \
    >out 2>err
is "$? $(P=s3://bucket/prod && state | sort -k2)" "0 $(sort -k2 A.sum)" \
    "S3: promotion is the same command"
status 0 "S3: a set as a version" drun \
    "dfetch --files $P/ | dcheck | dpublish --json s3://bucket/F"
is "$(field content_digest out)" "$(dfetch --files A | dpublish --json L |
    field content_digest)" "S3: of the same content digest as here"
rmdir tree/c2
drun 'dfetch --files tree | dcheck | dpublish --in-place s3://bucket/names' \
    >out 2>err
drun 'dfetch --files s3://bucket/names/ | dcheck | dpublish --in-place back' \
    >>out 2>>err
is "$? $(diff -r tree back | grep -v 'Only in tree.*: \.' |
    grep -v 'Only in back: .intact')" "0 " "S3: any name, there and back"
s3do put s3://bucket/odd/a stray >/dev/null
s3do put s3://bucket/odd/a/b stray >/dev/null
status 64 "S3: a key that is a directory of another's" \
    dfetch --files s3://bucket/odd/
status 66 "S3: an empty prefix" dfetch --files s3://bucket/none/

# --- with a base, nothing is asked for
s3do put s3://bucket/u/content-1 stray >/dev/null
s3do put s3://bucket/u/a/content-2 foreign >/dev/null
i=0
for to in s3://bucket/U $T/UL "--in-place s3://bucket/UP"; do
	at=${to##* }
	for again in '' true; do
		fault
		AWS_ENDPOINT_URL=$PROXY drun "dfetch --files -B $at \
		    s3://bucket/u/ | dcheck | dpublish --json $to" >out 2>err
		st=$?
		is "$st $(field unchanged out) $(asked \
		    '^GET /bucket/u/(a/)?content-')" \
		    "0 $again $([ -n "$again" ] && echo 0 || echo 2)" \
		    "S3: onto $(basename "$at")${again:+ again}"
	done
done
s3do put s3://bucket/u/content-1 foreign >/dev/null
fault
AWS_ENDPOINT_URL=$PROXY dfetch --files --json -B s3://bucket/U \
    s3://bucket/u/ >slow
is "$(names slow | wc -l | tr -d ' ') $(asked '^GET /bucket/u/(a/)?content-')" \
    "2 2" "S3: another object: all is fetched"
s3do put s3://bucket/u/content-1 stray >/dev/null
s3do put s3://bucket/u/new stray >/dev/null
drun 'dfetch --files -B s3://bucket/U s3://bucket/u/ | dcheck |
    dpublish s3://bucket/U' >out 2>err
dcheck --json-in <slow | dpublish s3://bucket/U >out 2>err
is "$?" 73 "S3: a slow run does not publish over a newer set"

# --- under a lock of the operator's
perl -MFcntl=:flock -e 'open my $f, ">>", "lock" or die;
    flock $f, LOCK_EX or die; open my $h, ">", "held"; close $h; sleep' &
h=$!
until [ -e held ]; do sleep 0.02; done
dfetch --files A | dpublish --in-place --json --lock "$T/lock" \
    s3://bucket/locked >out 2>err &
p=$!
until [ "$(ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c " $T/lock$")" -ge 2 ] ||
    ! kill -0 $p 2>/dev/null; do sleep 0.02; done
n0=$(s3do list s3://bucket/locked/ | grep -vc '/\.intact/')
kill $h
wait $h 2>/dev/null
wait $p
is "$? $n0 $(s3do list s3://bucket/locked/ | grep -vc '/\.intact/')" "0 0 4" \
    "S3: --in-place --lock: while another has it no key is moved, then all"
is "$(field unchanged out)$(field generation out)" 1 "S3: as generation 1"

# the third of the moves is refused
fault 'PUT /plain/(one|sub|deep|same|three) 3 not status 403 AccessDenied'
dfetch --files B | victim dpublish --in-place --delete $P >out 2>err
st=$?
state >now
is "$st $(judge B now) $(journal) $(grep -c three now)" "77 mixed begun 1" \
    "S3: a move that fails: told, half way, and nothing is deleted"
like err 'AccessDenied.*is begun: the next dpublish --in-place finishes it' \
    "S3: with what to do"
fault
put B >out 2>err
state >now
is "$? $(judge B now) $(journal) $(litter)" "0 B over " \
    "S3: the next run finishes it"
put A >/dev/null
fault 'PUT /plain/(one|sub|deep|same|three) 2 not status 503 SlowDown'
dfetch --files B | victim dpublish --in-place --delete $P >out 2>err
is "$? $(state >now; judge B now)" "0 B" \
    "S3: one that is put off is tried again"

# the publication of the other set, killed at requests
export FP PROXY KILLER="$T/killer"
for m in PUT DELETE POST; do
	run_ inplace on requests "$([ $m = PUT ] && echo "$KILLS" || echo 1)" $m
	is $r ok "S3: killed at a $m: old or new, and the next run ends it"
done
run_ inplace back requests "$KILLS" PUT
is $r ok "S3: killed at a PUT, and taken back: what it was"

# what another tool put there has no digest with it: it comes back, too
put A >/dev/null
s3do put $P/one foreign >/dev/null
fault "PUT /plain/(one|sub|deep|same|three) 3 done pass then=$T/killer"
dfetch --files B | victim dpublish --in-place --delete $P >out 2>err
fault
is "$(journal)" begun "S3: half way, over a foreign object"
dpublish --in-place --rollback --json $P >out 2>err
is "$? $(s3do get $P/one got >/dev/null && cat got) $(litter)" \
    "0 $(cat foreign) " "S3: the rollback brings it back"
i=0 bad_=0
put A >/dev/null
while [ $i -lt 4 ]; do
	i=$((i + 1))
	(put A >out.A 2>&1; echo $? >st.A) &
	put B >out.B 2>&1
	echo $? >st.B
	wait
	case $(cat st.A)$(cat st.B) in
	00 | 073 | 730 | 075 | 750) ;;
	*) complain "$(cat st.A) $(cat st.B) $(cat out.A out.B)" ;;
	esac
	state >now
	got=$(judge A now)
	[ "$(journal)$got" = overA ] || [ "$(journal)$got" = overB ] ||
	    complain "$(journal) $got"
done
is $bad_ 0 "S3: two at once: one set or the other, whole"
s3_down
finish
