#!/bin/sh
# s3target.t: publishing to real S3 servers on loopback: Ceph's gateway, and
# OpenStack Swift, which cannot exclude and is refused without --lock.
# Streams and stores come from tests/gen/genrun.c.
. "$(dirname "$0")/lib.sh"
EACH=63
plan $((2 * EACH + 6))
GEN=${GEN:-$SRC/build/gen}
REAL=$SRC/tests/real
PATH=$GEN:$PATH
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_CA_BUNDLE AWS_REGION \
    AWS_DEFAULT_REGION AWS_ENDPOINT_URL_S3 http_proxy https_proxy all_proxy
export AWS_ACCESS_KEY_ID=testkey AWS_SECRET_ACCESS_KEY=testsecret \
    AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/nonexistent \
    AWS_SHARED_CREDENTIALS_FILE=/nonexistent

down() {
	for s in proxy rgw swift; do
		[ ! -d "$T/$s" ] || "$REAL/down.sh" "$T/$s"
	done
}
trap down EXIT

runs=0
gen() {
	runs=$((runs + 1)) ST=$T/intact.run$runs opts=
	while :; do
		case $1 in
		-[BSeuW]) opts="$opts $1"; shift ;;
		-?) opts="$opts $1 $2"; shift 2 ;;
		*) break ;;
		esac
	done
	tgt=$1; shift
	# shellcheck disable=SC2086 # words
	genrun $opts "$tgt" "$ST" "$@" >"$ST.json"
}
pub() { dpublish --json --json-in --stage "$ST" $L "$@" <"$ST.json"; }
put() { gen "$@" && pub "$1" >/dev/null; }
# names of objects below a target, without version and run ids
keys() { s3do list "$1/" | sed "s/^[0-9]* \"[^\"]*\" //" |
	sed 's/[0-9]\{8\}T[0-9]\{6\}\.[0-9]*Z-[0-9a-f]*/ID/g'; }
pointer() { s3do get "$1/latest-pointer.txt" p >/dev/null && cat p; }
left() { s3do list "$1/staging/"; s3do uploads "$1/"; }
versions() { s3do list "$1/timestamped/" | sed 's,.*/timestamped/,,;s,/.*,,' |
	sort -u | wc -l | tr -d ' '; }
commits() { s3do list "$1/commits/" | wc -l | tr -d ' '; }
PLACE="$(cat /proc/sys/kernel/random/boot_id) $(readlink /proc/self/ns/pid) \
$(readlink /proc/self/ns/mnt)"
# owner TARGET CLAIM JSON: as a run of another machine would leave it
owner() { printf '%s\n' "$3" >owner; s3do put "$1/staging/$2/owner" owner \
    >/dev/null; }

suite() {
	name=$1 L=$2
	if ! "$REAL/$name.sh" "$T/$name" 2>"$T/$name.err"; then
		skip $EACH "no $name here (contrib/deps.sh s3): $(tail -1 "$T/$name.err")"
		return
	fi
	AWS_ENDPOINT_URL=$(cat "$T/$name/url")
	export AWS_ENDPOINT_URL
	s3do make s3://bucket >/dev/null
	A=s3://bucket/rag/lines

	if [ "$name" = swift ]; then
		L=
		status 64 "$name: the probe refuses it" dpublish probe $A
		like err 'does not exclude: it has no conditional writes' \
		    "$name: with the reason"
		gen $A a
		status 64 "$name: so does a publication" pub $A
		is "$(keys $A)" "" "$name: which leaves nothing"
		L=$2
		status 0 "$name: with a lock" dpublish probe $L $A
	else
		status 0 "$name: the probe" dpublish probe $A
		is "$(grep -c '^ok exclusive create' out)" 3 \
		    "$name: proves three things"
		status 64 "$name: a verb needs a target" dpublish probe
		is "$(keys $A)" "" "$name: and leaves nothing"
		status 0 "$name: a lock may be asked for all the same" \
		    dpublish probe --lock "$T/lock" $A
	fi

	status 66 "$name: nothing was published yet" dpublish log $A
	gen $A a b c
	status 0 "$name: a first version" pub $A
	like out '"t":"published".*"generation":1.*"records":3' \
	    "$name: says so"
	v1=$(pointer $A)
	is "$(keys $A)" "rag/lines/commits/1.json
rag/lines/latest-pointer.txt
rag/lines/timestamped/ID/manifest.json
rag/lines/timestamped/ID/store.sqlite3" "$name: what lies there"
	is "$(printf %s "$v1" | wc -c)" 32 \
	    "$name: the pointer is the bare version id"
	s3do get "$A/timestamped/$v1/manifest.json" m >/dev/null
	s3do get "$A/commits/1.json" c >/dev/null
	is "$(sha256sum <m | cut -d' ' -f1)" \
	    "$(sed 's/.*"manifest_sha256":"\([^"]*\)".*/\1/' c)" \
	    "$name: the commit has the manifest's digest"

	gen $A d
	status 0 "$name: a second version onto the first" pub $A
	if command -v s3cmd >/dev/null; then
		hp=${AWS_ENDPOINT_URL#http://}
		s3cmd -c /dev/null --no-ssl --host="$hp" --host-bucket="$hp" \
		    --access_key=testkey --secret_key=testsecret --force \
		    get "$A/timestamped/$(pointer $A)/store.sqlite3" \
		    other >o 2>&1
		is "$(sha256sum <other | cut -d' ' -f1)" \
		    "$(sha256sum <"$ST"/store/store.sqlite3 | cut -d' ' -f1)" \
		    "$name: s3cmd reads the same"
	else
		skip 1 "no s3cmd here"
	fi
	gen -u $A
	status 0 "$name: nothing new" pub $A
	like out '"unchanged":true' "$name: says so"
	is "$(commits $A)" 2 "$name: and commits nothing"
	status 64 "$name: a target is no prefix of inputs" dfetch -l $A
	like err "^dfetch: $A/: a target, .*want -b" "$name: and it is said"
	gen $A e
	status 0 "$name: proved by bringing it back" pub --verify=full $A
	status 64 "$name: there is no other way of proof" pub --verify=some $A
	status 0 "$name: its history" dpublish log $A
	is "$(grep -c ' present ' out)" 3 "$name: of three"
	gen -B $A z
	status 64 "$name: without the base nothing is published" pub $A
	gen -g 2 $A z
	ok "$name: nor with one that is no more" sh -c \
	    'dpublish --json-in --stage "$1" $2 "$3" <"$1.json"; [ $? = 73 ]' \
	    - "$ST" "$L" $A
	is "$(left $A)" "" "$name: nothing is left"

	# the pointer
	printf 'nonsense' >p; s3do put $A/latest-pointer.txt p >/dev/null
	gen -u $A
	status 0 "$name: a pointer that says nonsense" pub $A
	ok "$name: is mended" test "$(pointer $A)" = \
	    "$(s3do get $A/commits/3.json c >/dev/null &&
	    sed 's/.*"version":"\([^"]*\)".*/\1/' c)"
	s3do del $A/latest-pointer.txt >/dev/null
	gen -u $A
	status 0 "$name: one that is gone" pub $A
	ok "$name: comes back" test -n "$(pointer $A)"

	# rollback and prune
	status 0 "$name: back to the first" dpublish rollback $L $A "$v1"
	is "$(pointer $A)" "$v1" "$name: the pointer says so"
	is "$(commits $A)" 4 "$name: by a commit"
	status 66 "$name: not to one that never was" dpublish rollback $L $A \
	    20200101T000000.000000Z-00000000
	gen $A f g
	status 0 "$name: on from there" pub $A
	status 0 "$name: what would go" dpublish prune -n $L \
	    --keep-newer-than 0 $A
	is "$(grep -c '^would remove' out) $(versions $A)" "3 4" \
	    "$name: is told and stays"
	status 0 "$name: prune" dpublish prune $L --keep 2 \
	    --keep-newer-than 0 $A
	is "$(grep -c '^removed' out) $(versions $A) $(commits $A)" "2 2 5" \
	    "$name: removes all but two, and no commit"
	status 66 "$name: no way back to what was pruned" \
	    dpublish rollback $L $A "$v1"
	is "$(left $A)" "" "$name: nothing is left"

	# claims of others: what is current or kept is never removed
	cur=$(pointer $A)
	old=$(s3do list $A/timestamped/ | sed 's,.*/timestamped/,,;s,/.*,,' |
	    sort -u | head -1)
	owner $A far "{\"host\":\"elsewhere\",\"run\":\"far\",\"keeps\":\"$old\"}"
	status 75 "$name: what another is about to commit is not pruned" \
	    dpublish prune $L --keep 1 --keep-newer-than 0 $A
	is "$(versions $A)" 2 "$name: and stays"
	owner $A far "{\"host\":\"elsewhere\",\"run\":\"far\",\"removes\":\"$old\"}"
	status 75 "$name: what another removes is not committed" \
	    dpublish rollback $L $A "$old"
	is "$(pointer $A)" "$cur" "$name: and not current"
	dpublish prune -n $L --keep-newer-than 0 $A >o 2>&1
	is "$(grep -c staging o)" 0 "$name: a young claim of another stays"
	s3do del $A/staging/far/owner >/dev/null
	# one of this machine, dead, that says what is not so
	owner $A near "{\"host\":\"$(uname -n)\",\"run\":\"near\",\"pid\":\
999999999,\"place\":\"$PLACE\",\"version\":\"$cur\",\"generation\":1}"
	status 0 "$name: a false claim of the current version" \
	    dpublish prune $L --keep 2 --keep-newer-than 0 $A
	is "$(keys $A | grep -c near) $(s3do list "$A/timestamped/$cur/" |
	    grep -c manifest)" "0 1" "$name: goes, and the version stays"
	# strangers' claims: they stop nobody
	head -c 200000 /dev/zero | tr '\0' '{' >huge
	s3do put $A/staging/big/owner huge >/dev/null
	owner $A junk 'no JSON'
	status 0 "$name: claims that are none of ours stop nobody" \
	    dpublish prune $L --keep 2 --keep-newer-than 0 $A
	is "$(keys $A | grep -c 'staging/big\|staging/junk')" 2 \
	    "$name: and are left to age"
	for i in big junk; do s3do del $A/staging/$i/owner >/dev/null; done

	# a version that is gone, or not what was committed
	s3do get "$A/timestamped/$cur/manifest.json" m >/dev/null
	printf '{}' >m2
	s3do put "$A/timestamped/$cur/manifest.json" m2 >/dev/null
	status 65 "$name: a manifest that is not the one committed" \
	    dpublish prune $L --keep-newer-than 0 $A
	s3do del "$A/timestamped/$cur/manifest.json" >/dev/null
	status 66 "$name: a version that is gone" \
	    dpublish prune $L --keep-newer-than 0 $A
	s3do put "$A/timestamped/$cur/manifest.json" m >/dev/null
	status 0 "$name: and is there again" \
	    dpublish prune -n $L --keep-newer-than 0 $A
	s3do del $A/commits/5.json >/dev/null
	gen -u $A 2>/dev/null
	status 66 "$name: a pointer that no commit explains" \
	    dpublish prune $L --keep-newer-than 0 $A

	# one byte of what was uploaded
	B="s3://bucket/o dd+ü%41'q"
	gen "$B" a
	status 0 "$name: a prefix of odd characters" pub "$B"
	bv=$(pointer "$B")
	is "$(keys "$B" | wc -l)" 4 "$name: holds what it should"
	gen "$B" b
	status 0 "$name: twice" pub "$B"
	s3do get "$B/timestamped/$bv/store.sqlite3" s >/dev/null
	printf X | dd of=s bs=1 seek=5000 conv=notrunc 2>/dev/null
	s3do put "$B/timestamped/$bv/store.sqlite3" s >/dev/null
	status 65 "$name: no way back to a version with a flipped byte" \
	    dpublish rollback $L "$B" "$bv"
	like err 'store.sqlite3' "$name: which is named"
	s3do del "$B/timestamped/$bv/store.sqlite3" >/dev/null
	status 66 "$name: nor to one without a file" \
	    dpublish rollback $L "$B" "$bv"

	# whose it is not
	gen s3://bucket/x a
	AWS_SECRET_ACCESS_KEY=other5ecret status 77 "$name: a wrong secret" \
	    pub s3://bucket/x
	ok "$name: which is not told" sh -c '! grep -q other5ecret err'
	ST=$T/intact.run$runs
	status 66 "$name: no such bucket" pub s3://buckett/x
	is "$(keys s3://bucket/x)" "" "$name: nothing came of it"
}

suite rgw ''
suite swift "--lock $T/lock"

# kill -9 in the middle of an upload in parts
if [ -s "$T/rgw/url" ]; then
	AWS_ENDPOINT_URL=$(cat "$T/rgw/url") L=
	K=s3://bucket/kill
	gendelta --out big --count 1 --records 20000 --dim 1024 >/dev/null
	"$REAL/faultproxy.sh" "$T/proxy" "${AWS_ENDPOINT_URL#http://}" ||
	    exit 99
	echo 'PUT partNumber=2& 1 not hang' >"$T/proxy/rules"
	run="dfetch big | dcheck | dmerge | dpublish $K"
	AWS_ENDPOINT_URL=$(cat "$T/proxy/url") drun "$run" >/dev/null 2>&1 &
	pid=$!
	i=0
	until grep -q ' hang$' "$T/proxy/log" || [ $i -ge 2400 ]; do
		i=$((i + 1))
		sleep 0.05
	done
	# all of its stages, whose group is the watcher's, before anybody can
	# tell them to end
	kill -9 "-$(ps -o pgid= --ppid $pid | head -n 1 | tr -d ' ')" $pid
	wait $pid 2>/dev/null
	was=$(s3do list $K/staging/ | sed 's,.*/staging/,,;s,/.*,,')
	ok "a run that was killed leaves its claim" test -n "$was"
	is "$(commits $K)" 0 "and no commit"
	status 0 "the next one" drun "dfetch big | dcheck | dmerge |
	    dpublish -v $K"
	like err 'going on with version' "goes on with its upload"
	is "$(commits $K) $(versions $K) $(left $K)" "1 1 " \
	    "and leaves one version and nothing else"
	status 0 "which is whole" dpublish rollback $K "$(pointer $K)"
else
	skip 6 "no Ceph gateway here (contrib/deps.sh s3)"
fi
trap - EXIT
down
finish
