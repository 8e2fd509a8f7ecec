#!/bin/sh
# send.t: many files to real S3 servers on loopback: what is sent, what is
# kept, what a killed upload leaves and its rerun moves, what is proved, and
# what becomes of answers that are lost on the way.
ON_DISK=1
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
# BIG=bytes is the largest object (100 MB; MORE=1: 250 MB, FULL=1: 500 MB).
BIG=${BIG:-$([ "${FULL:-0}" = 1 ] && echo 500000000 || few 100000000 250000000)}
# in parts, of which more than three must be left when it is killed
LARGE=$(few 120000000 200000000)
EACH=33
plan $((2 * EACH + 17 + 29))
down_all() {
	"$REAL/down.sh" "$T/swift"
	s3_down
}
trap down_all EXIT
uname=$(printf '\303\274n\303\257')
nl='new
line'

mkdir -p odd/sub
: >odd/empty
: >odd/sub/none
for k in 'sp ace' 'pl+us' "$uname" "\"quo'tes\`" '100%25 %' '&<>;=?#[]@' \
    "$nl" "sub/$(printf '%0200d' 0)"; do
	echo "$k" >"odd/$k"
done
mkdir s10 large many mid
head -c 10000000 /dev/urandom >s10/f
head -c "$LARGE" /dev/urandom >large/f
head -c 100000 /dev/urandom >mid/a
head -c 100000 /dev/urandom >mid/b
cp mid/b mid/marker

# moved: what the last run printed, without its memory
moved_of() { sed -n 's/, [0-9]* MB$//p' out; }
mb() { sed -n 's/.*, \([0-9]*\) MB$/\1/p' out; }
at() { s3do list "$1" | wc -l; }

# suite NAME URL SMALL: so many small ones
suite() {
	name=$1 k=$3
	AWS_ENDPOINT_URL=$2
	export AWS_ENDPOINT_URL
	rm -rf small
	mkdir small
	i=0
	while [ $i -lt "$k" ]; do
		echo $i >small/$i
		i=$((i + 1))
	done
	all=$(cat small/* | wc -c)
	U=s3://bucket
	status 66 "$name: no bucket" s3tree send s3://none/x/ mid
	s3do make $U

	status 0 "$name: odd names and empty files" s3tree send $U/odd/ odd
	is "$(moved_of)" "10 $(cat odd/* odd/sub/* 2>/dev/null | wc -c) sent, 0 0 kept" \
	    "$name: all of them are sent"
	status 0 "$name: and proved" s3tree prove $U/odd/ odd
	s3do get "$U/odd/sp ace" got >/dev/null
	ok "$name: one of them, read by itself" cmp got 'odd/sp ace'
	status 0 "$name: again" s3tree send $U/odd/ odd
	is "$(moved_of)" "0 0 sent, 10 $(cat odd/* odd/sub/* 2>/dev/null | wc -c) kept" \
	    "$name: nothing is sent twice"

	status 0 "$name: $k small ones" s3tree send $U/small/ small
	is "$(moved_of)" "$k $all sent, 0 0 kept" "$name: all of them"
	is "$(at $U/small/)" "$k" "$name: are there"
	echo x >small/50
	status 0 "$name: one was changed" s3tree send $U/small/ small
	is "$(moved_of)" "1 2 sent, $((k - 1)) $((all - 3)) kept" \
	    "$name: it alone is sent"
	echo 50 >small/50
	status 65 "$name: a proof of what changed" \
	    s3tree prove $U/small/ small
	like err 's3://bucket/small/50: .*size: want 3, got 2' \
	    "$name: names it"

	# the last one is last
	status 0 "$name: a marker" s3tree -l marker send $U/mid/ mid
	is "$(grep created out | tail -1)" "created mid/marker" \
	    "$name: comes when all others are there"
	status 0 "$name: a byte there is flipped" sh -c '
	    cp mid/a a; printf X | dd of=a bs=1 seek=50000 conv=notrunc \
	    2>/dev/null; cmp -s mid/a a && exit 9; s3do put s3://bucket/mid/a a'
	status 65 "$name: the proof finds it" s3tree prove $U/mid/ mid
	like err 's3://bucket/mid/a: what lies there is not' "$name: by name"
	status 66 "$name: what is gone" sh -c \
	    's3do del s3://bucket/mid/a && s3tree prove s3://bucket/mid/ mid'
	status 65 "$name: a file that is not what was said" \
	    s3tree -f a send $U/flip/ mid
	like err '^s3tree: a: SHA-256: want .* the file is not what' \
	    "$name: is named"
	is "$(s3do list $U/flip/a)" "" "$name: and is not there"

	# in parts, killed at the fourth, gone on with
	fault_up "-$name" "$2"
	fault 'PUT partNumber=4 1 not hang'
	AWS_ENDPOINT_URL=$PROXY s3tree -P 1 send $U/big/ large >/dev/null 2>&1 &
	p=$! i=0
	until [ "$(asked ' 1 not ')" = 1 ] || [ $i -ge 600 ]; do
		i=$((i + 1))
		sleep 0.05
	done
	kill -9 $p
	wait $p 2>/dev/null
	had=$(s3do parts $U/big/f | awk '{ n += $2 } END { print n + 0 }')
	ok "$name: killed in the middle of $LARGE bytes" test "$had" -ge 50000000 \
	    -a "$had" -lt "$LARGE"
	status 0 "$name: the rerun" s3tree send $U/big/ large
	is "$(moved_of)" "1 $((LARGE - had)) sent, 0 $had kept" \
	    "$name: moves only what is missing"
	is "$(s3do uploads $U/)" "" "$name: and leaves no upload"
	status 0 "$name: all of it is there" s3tree prove $U/big/ large
	status 65 "$name: parts of a file that changed" \
	    s3tree -f f send $U/flip/ large
	is "$(s3do list $U/flip/f; s3do uploads $U/)" "" \
	    "$name: neither object nor upload is left"

	status 0 "$name: a tree is removed" s3tree rmtree $U/small/ small/7
	is "$(at $U/small/) $(at $U/odd/)" "0 10" "$name: that and no more"
	AWS_SECRET_ACCESS_KEY=wrong status 77 "$name: wrong keys" \
	    s3tree send $U/x/ mid
}

if s3_rgw; then
	suite rgw "$RGW" 1000

	# --- only where nothing is
	U=s3://bucket/c
	status 0 "create" s3tree -n send $U/ mid
	status 0 "create, the same again" s3tree -n send $U/ mid
	is "$(moved_of)" "0 0 sent, 3 300000 kept" "is kept"
	cp -r mid other
	printf X | dd of=other/b bs=1 seek=50000 conv=notrunc 2>/dev/null
	status 73 "create over something else of that size" \
	    s3tree -n send $U/ other
	like err 's3://bucket/c/b: something else is there' "names it"
	echo longer >>other/b
	status 73 "create over something else" s3tree -n send $U/ other
	s3do get $U/b got >/dev/null
	ok "which is as it was" cmp got mid/b
	s3do put s3://bucket/p/f mid/a >/dev/null
	status 73 "create, in parts, over something else" \
	    s3tree -n send s3://bucket/p/ large
	is "$(s3do uploads s3://bucket/)" "" "leaves no upload"
	s3do del s3://bucket/p/f
	status 0 "create, in parts" s3tree -n send s3://bucket/p/ large
	s3do del s3://bucket/p/f
	# an upload that was begun for another file with the same beginning
	mkdir s40
	head -c 40000000 large/f >s40/f
	s3do -P 1 -k 1 mput s3://bucket/same/f large/f 16M >/dev/null 2>&1
	status 0 "a part that another file has, too" \
	    s3tree -n send s3://bucket/same/ s40
	is "$(moved_of)" "1 63222784 sent, 0 0 kept" "is sent again"
	s3tree send s3://bucket/same/ s40 >out
	is "$(moved_of)" "0 0 sent, 1 40000000 kept" \
	    "as the object has its own digest"
	is "$(s3do uploads s3://bucket/same/)" "" "and no upload is left"
	head -c "$BIG" /dev/urandom >many/f
	s3tree send s3://bucket/s10/ s10 >out
	small=$(mb)
	s3tree send s3://bucket/many/ many >out
	ok "memory for $BIG bytes is that for 10 MB (${small} and $(mb) MB)" \
	    test "$(mb)" -le $((small + 64))
	status 0 "$BIG bytes are proved" s3tree prove s3://bucket/many/ many
	s3tree rmtree s3://bucket/many/
	rm -f many/f
	head -c 2200 s10/f >parts
	s3do -P 16 -k 1090 mput s3://bucket/parts parts 2 >/dev/null 2>&1
	have=$(s3do parts s3://bucket/parts | wc -l)
	ok "more parts than a server lists at once" test "$have" -ge 1090
	s3do abort s3://bucket/parts

	# --- answers that do not come
	mkdir s80
	head -c 80000000 large/f >s80/f
	fault_up send "$RGW"
	export AWS_ENDPOINT_URL=$PROXY
	U=s3://bucket/f
	fault 'PUT f/b 1 done reset'
	status 0 "a PUT whose answer is lost, where nothing was" \
	    s3tree -n send $U/ mid
	is "$(moved_of) $(grep -c created out)" "3 300000 sent, 0 0 kept 3" \
	    "is known for ours"
	is "$(asked '^PUT .*f/b')" 1 "and was not sent again"
	s3tree rmtree $U/
	fault 'PUT f/b 1 not reset'
	status 0 "a PUT that was lost" s3tree -n send $U/ mid
	is "$(asked '^PUT .*f/b')" 2 "is sent again"
	fault 'PUT f/a 1 done status 503'
	s3tree rmtree $U/
	status 0 "503, and done" s3tree send $U/ mid
	status 0 "is what was meant" s3tree prove $U/ mid
	s3tree rmtree $U/
	fault 'PUT partNumber=2 1 not status 503 after=1' \
	    'PUT partNumber=3 1 done reset' \
	    'POST uploadId 1 done reset'
	status 0 "parts, and a complete, whose answers are lost" \
	    s3tree send $U/ s80
	is "$(asked '^POST .*uploadId')" 1 "it is not completed twice"
	status 0 "it is whole" s3tree prove $U/ s80
	s3tree rmtree $U/
	s3tree rmtree $U/
	fault 'POST uploads 1 done reset' 'PUT partNumber=4 1 not error NoSuchUpload'
	status 0 "an upload that nobody knows the id of" s3tree send $U/ s80
	is "$(s3do uploads s3://bucket/)" "" "is taken away"
	s3tree rmtree $U/
	fault 'PUT partNumber=4 1 not status 404 NoSuchUpload' \
	    'POST uploadId 1 not status 400 InvalidPart'
	status 0 "an upload that is lost, and one that is not taken" \
	    s3tree send $U/ s80
	status 0 "are begun anew" s3tree prove $U/ s80
	is "$(s3do uploads s3://bucket/)" "" "and leave nothing"
	is "$(asked '^POST .*uploads')" 3 "once each"
	s3tree rmtree $U/
	fault 'POST uploadId 1 not status 500'
	status 0 "a complete that was not done" s3tree -n send $U/ s80
	is "$(asked '^POST .*uploadId')" 2 "is done again"
	s3tree rmtree $U/
	fault '* f/a 1- not status 403'
	status 77 "403" s3tree send $U/ mid
	is "$(asked 'f/a ')" 1 "is asked for once"
	s3tree send $U/odd/ odd >/dev/null
	fault 'POST [?]delete * not status 501 NotImplemented'
	status 0 "a server that removes no batches" s3tree rmtree $U/
	is "$(at $U/) $(asked '^DELETE .*f/odd/') $(asked '^POST')" "0 10 1" \
	    "is asked for one after the other"
	fault '* f/ 1-3 not status 503 after=1'
	s3tree rmtree $U/
	fault 'PUT f/ 2-4 not status 503'
	status 0 "503 to several" s3tree send $U/ small
	is "$(moved_of)" "1000 3890 sent, 0 0 kept" "and all arrive"
	s3tree rmtree $U/
	fault 'PUT f/ 3- not reset'
	status 75 "resets without end" s3tree send $U/ small
	ok "end soon" test "$(asked '^PUT')" -lt 100
	fault
	s3tree send $U/ mid >/dev/null
	fault 'GET f/b 1 done cut 5000' 'GET f/marker 1- done flip 9'
	status 65 "a byte that flips on the way back" s3tree prove $U/ mid
	like err 'f/marker: what lies there' "is no proof"
	fault 'GET f/b 1 done cut 5000' 'GET f/marker 1 done flip 9'
	status 0 "what comes otherwise once is read again" s3tree prove $U/ mid
	unset AWS_ENDPOINT_URL
else
	skip $((EACH + 17 + 29)) "$why"
fi
if "$REAL/swift.sh" "$T/swift" 2>"$T/swift.err"; then
	suite swift "$(cat "$T/swift/url")" 120
else
	skip $EACH "no swift here (contrib/deps.sh s3): $(tail -1 "$T/swift.err")"
fi
trap - EXIT
down_all
finish
