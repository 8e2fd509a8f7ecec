#!/bin/sh
# scale.t: what contrib/scale.md and the manifests beside it say: one commit
# over many shards is one, a moment of all of them that stays readable; and
# the manifests for Kubernetes, Argo and Step Functions are well-formed,
# heed the exit statuses, and start commands that do the work.
. "$(dirname "$0")/lib.sh"
plan 50
GEN=${GEN:-$SRC/build/gen}
C=$SRC/contrib
PATH=$C:$SRC/examples:$GEN:$PATH
# a leak checker has nothing to say of what is killed
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export ASAN_OPTIONS

# shard K DIR: what lies below DIR into the target of shard K
shard() {
	drun "dfetch -B t/$1 $2 | dcheck | dmerge | dpublish t/$1" >/dev/null
}
# seen: the shards' stores, as a reader of the set finds them
seen() {
	V=$(cat set/latest-pointer.txt)
	jq -r 'select(.t == "commit") | "\(.target)/timestamped/\(.version)"' \
	    "set/timestamped/$V"/*.json
}
# rows: how many records the reader finds
rows() {
	for s in $(seen); do
		sqlite3 "$s/store.sqlite3" 'SELECT count(*) FROM records'
	done | awk '{ n += $1 } END { print n + 0 }'
}
# digest DIR: the content digest of the store there
digest() { jq -r .content_digest "$1"/manifest.json; }

# --- one commit over many shards
mkdir in
for k in 0 1 2; do
	gendelta --out "in/$k" --count 2 --records 10 --start $((k * 1000))
	shard shard-$k in/$k || echo "# shard $k"
done
status 0 "three shards in one commit" shards.sh set t/shard-0 t/shard-1 \
    t/shard-2
is "$(ls set/commits)" 1.json "it is one"
is "$(rows)" 60 "a reader of the set finds all of it"
drun "dfetch $(seen | tr '\n' ' ') | dcheck | dmerge -o all" >/dev/null
drun 'dfetch in/0 in/1 in/2 | dcheck | dmerge -o once' >/dev/null
is "$(digest all)" "$(digest once)" \
    "merged, they are what one pipeline makes of the same"
status 0 "the same again" shards.sh set t/shard-0 t/shard-1 t/shard-2
is "$(ls set/commits)" 1.json "is no commit"

# one shard goes on, another cannot: the set stays at its moment
before=$(seen)
gendelta --out more --records 5 --start 500
shard shard-0 more
mkdir bad
cp -R in/1/delta-0000 bad/d
truncate -s -4096 bad/d/chroma.sqlite3
shard shard-1 bad 2>err
is "$?" 65 "a shard whose delta is damaged fails"
is "$(seen)" "$before" "readers of the set see what they saw"
is "$(rows)" 60 "as many records"
status 0 "prune, of all that may go" dpublish prune --keep-newer-than 0 \
    t/shard-0
ok "what the set names is leased, and stays" \
    [ -e "$(seen | sed -n 1p)/store.sqlite3" ]
is "$(rows)" 60 "to be read"
status 0 "holds proves each" dpublish holds $(seen)
status 0 "the next commit" shards.sh set t/shard-0 t/shard-1 t/shard-2
is "$(ls set/commits | tr '\n' ' ')" "1.json 2.json " "is one"
is "$(rows)" 65 "with what is new"
is "$(seen | sed -n 2,3p)" "$(echo "$before" | sed -n 2,3p)" \
    "and what is not"

# what must not be published
now=$(seen)
status 65 "a shard is left out" shards.sh set t/shard-0 t/shard-1
like err 'has 2 files, version .* has 3' "that is said"
status 66 "a shard is not there" shards.sh set t/shard-0 t/shard-1 t/shard-3
like err 't/shard-3' "and named"
mkdir -p u
cp -R t/shard-2 u/shard-1
status 64 "two shards of one name" shards.sh set t/shard-0 t/shard-1 u/shard-1
status 64 "no shard" shards.sh set
victim=$(seen | sed -n 2p)/store.sqlite3
chmod u+w "$victim"
dd if="$victim" of="$T/was" bs=1 count=1 skip=40000 2>/dev/null
printf '\377' | dd of="$victim" bs=1 seek=40000 conv=notrunc 2>/dev/null
status 65 "a shard is damaged where it lies" env PROVE=1 \
    shards.sh set t/shard-0 t/shard-1 t/shard-2
like err 'shard-1.*store\.sqlite3' "it is named"
is "$(seen)" "$now" "nothing of that was published"
dd if="$T/was" of="$victim" bs=1 seek=40000 conv=notrunc 2>/dev/null
status 0 "and mended" env PROVE=1 shards.sh set t/shard-0 t/shard-1 t/shard-2
# another set is published between a look at the shards and the commit: by
# the first thing that asks for a lease after that
gendelta --out late --count 1 --records 5 --start 1500
mkdir slow
cat >slow/dpublish <<'S'
#!/bin/sh
if [ "$1" = lease ] && mkdir "$T/turn" 2>/dev/null; then
	(unset DSTAGE DRUN_ID DRUN_LAST SHARDS_SET; PATH=${PATH#*:}
	drun "dfetch -B t/shard-1 late | dcheck | dmerge |
	    dpublish t/shard-1" && shards.sh set t/shard-0 t/shard-1 t/shard-2
	) >"$T/other" 2>&1 || : >"$T/other.failed"
fi
exec "$REAL_DPUBLISH" "$@"
S
chmod +x slow/dpublish
REAL_DPUBLISH=$(command -v dpublish)
export T REAL_DPUBLISH
status 75 "a set that was overtaken is not published" env RETRY=0 \
    PATH="$T/slow:$PATH" shards.sh set t/shard-0 t/shard-1 t/shard-2
like err 'another set was published meanwhile' "that is said"
ok "(the other one was)" [ ! -e other.failed ]
is "$(ls set/commits | wc -l) $(rows)" "3 70" "and stays"
rmdir turn
rm -r late
gendelta --out late --count 1 --records 5 --start 2500 --time 1780000000
status 0 "it begins anew by itself" env PATH="$T/slow:$PATH" shards.sh set \
    t/shard-0 t/shard-1 t/shard-2
is "$(rows)" 75 "and has what the other had"
is "$(ls tmp)" "" "nothing is left in staging"

# --- the manifests
PERMANENT=$(dckpt classes | awk '$3 == "permanent" { print $1 }' | tr '\n' ' ')
PASSING="$(dckpt classes | awk '$3 == "transient" { print $1 }' |
    tr '\n' ' ')74"
export PERMANENT PASSING
is "$PERMANENT$PASSING" "64 65 66 70 77 73 75 74" "which statuses, from dckpt"
"$SRC/tests/real/manifests.sh" "$C"/kubernetes/*.yaml "$C"/argo/*.yaml \
    "$C"/stepfunctions/*.json >judged 2>err
got=$?
grep -v "^ok" judged | sed 's/^/# /'
if [ $got = 77 ]; then
	skip 15 "$(tail -n 1 err)"
	finish
fi
is "$got $(grep -c '^ok' judged)" "0 23" "each is held against its schema"
# a judge that lets anything pass would not say so of these
mutants() {
	file=$1; shift
	i=0
	for m; do
		i=$((i + 1))
		sed "$m" "$file" >"mutant/$i-${file##*/}"
		cmp -s "$file" "mutant/$i-${file##*/}" && echo "# same: $m"
	done
}
mkdir mutant
mutants "$C/kubernetes/chunks.yaml" 's/parallelism:/paralelism:/' \
    's/FailIndex/FailJob/' 's/restartPolicy: Never/restartPolicy: Ever/' \
    's/, 70, 77/, 70, 75, 77/' 's/name: scratch$/name: scrutch/'
mutants "$C/argo/fanout.yaml" 's/template: plan/template: plam/' \
    's/ 74, / /' 's/workflow.parameters.parts/workflow.parameters.part/' \
    's/depends: plan/depends: plam/'
mutants "$C/stepfunctions/fanout.asl.json" 's/"75"/"65"/' \
    's/"Next": "Reduce"/"Next": "Reducer"/'
"$SRC/tests/real/manifests.sh" mutant/* >judged 2>&1
is "$? $(sed -n 's/^not ok - \([^:]*\):.*/\1/p' judged | sort -u |
    tr '\n' ' ')" "1 $(cd mutant && echo *) " "each mistake is found"

# what they would start is started here, in the places they name
mkdir stubs
cat >stubs/aws <<'S'
#!/bin/sh
[ "$1 $2" = "s3 cp" ] && cp "$3" "$T/copied"
S
chmod +x stubs/aws
PATH=$T/stubs:$PATH TARGET=$T/lines INPUT=$T/demo PARTS=$T/parts
BUCKET=b LINES_EACH=4
mkdir demo
cp -Rp "$DATA"/demo/delta-* demo/
export T TARGET INPUT PARTS BUCKET LINES_EACH PATH
drun 'dfetch demo | dcheck | dmerge -o single' >/dev/null 2>&1
one=$(digest single)
SHOW=1 "$SRC/tests/real/manifests.sh" "$C"/kubernetes/*.yaml \
    "$C"/argo/*.yaml "$C"/stepfunctions/*.json >shown
# start ENGINE STEP [INDEX [NAME]]
start() {
	jq -r --arg e "$1" --arg s "$2" 'select(.name == $s and
	    (.file | test($e))) | .words[2]' shown |
	    sed "s|/fanout|$T/work|g; s|{{inputs.parameters.index}}|${3:-}|g" >step
	JOB_COMPLETION_INDEX=$((${3:-1} - 1)) NAME=${4:-} sh -ec "$(cat step)"
}
for e in '^(plan|chunks|reduce)' '^fanout.yaml' '^fanout.asl'; do
	rm -rf work parts lines
	mkdir work parts
	status 0 "$e: the plan" start "$e" plan
	i=0
	while read -r name; do
		i=$((i + 1))
		start "$e" chunk $i "$name" 2>>err || echo "# chunk $i"
	done <work/level.1
	is "$(ls parts | wc -l)" 3 "three chunks"
	start "$e" reduce >/dev/null 2>>err
	is "$(digest lines/timestamped/*)" "$one" \
	    "the content digest of one pipeline"
	start "$e" plan && start "$e" reduce
	is "$? $(ls lines/commits)" "0 1.json" "again: nothing to do"
done
is "$(sort copied)" '{"name":"none"}' "Step Functions: nothing to map over"
finish
