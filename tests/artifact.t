#!/bin/sh
# artifact.t: dpublish -a to real S3 servers on loopback: created once and
# proved, never put over another, gone on with, and gone when it fails.
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
RGWS=56 SWIFTS=11 OFFLINE=3
plan $((RGWS + SWIFTS + OFFLINE))
down_all() {
	"$REAL/down.sh" "$T/swift"
	s3_down
}
trap down_all EXIT
unset DRUN_ID
D=$DATA/demo/delta-01
gendelta --out "$T/d" --records 40 --dim 8 >/dev/null
cp -r d other
gendelta --out "$T/other" --records 40 --dim 8 --seed 9 >/dev/null 2>&1 || {
	rm -rf other
	gendelta --out "$T/other" --records 40 --dim 8 --seed 9 >/dev/null
}
gendelta --out "$T/large" --records 9000 --dim 1536 >/dev/null
(cd d && tar cf ../d.tar .)
mkdir marked
cp d/chroma.sqlite3 marked/
echo z >marked/zz
at() { s3do list "$1" | wc -l; }

# --- without a server
AWS_ENDPOINT_URL=http://127.0.0.1:1
export AWS_ENDPOINT_URL
status 64 "a bucket is no name" dpublish -a s3://bucket d
status 64 "two for one name" dpublish -a s3://bucket/x d other
status 64 "neither a path nor S3" dpublish -a http://127.0.0.1:1/x d

on_rgw() {
	export AWS_ENDPOINT_URL=$RGW
	U=s3://bucket
	status 66 "no bucket" dpublish -a s3://none/p/ d
	s3do make $U
	status 0 "a delta" dpublish --json -a $U/in/ d
	like out '"t":"artifact".*"path":"s3://bucket/in/d","sha256":"[0-9a-f]{64}"' \
	    "is told"
	is "$(s3do list $U/ | sed 's/.* //')" \
	    "$(cd d && find . -type f | sed 's|^\./|in/d/|' | sort)" \
	    "its files are there, and nothing else"
	s3do get $U/in/d/chroma.sqlite3 got >/dev/null
	ok "as they are here" cmp got d/chroma.sqlite3
	status 0 "and once more" dpublish --json -a $U/in/ d
	like out '"t":"end"' "is as good"
	status 73 "another of that name" dpublish -a $U/in/d other
	like err 's3://bucket/in/d/chroma.sqlite3: something else' "named"
	s3do get $U/in/d/chroma.sqlite3 got >/dev/null
	ok "the first stays" cmp got d/chroma.sqlite3
	s3do put $U/in/d/more d.tar >/dev/null
	status 73 "something is there that is not in it" \
	    dpublish -a $U/in/ d
	like err 's3://bucket/in/d/more: something else' "named"
	status 65 "a damaged one" dpublish -a $U/bad/ \
	    "$DATA/samples/bad_trunc50/db"
	status 65 "what is no store" dpublish -a $U/bad/ "$SRC/LICENSE"
	status 66 "what is not there" dpublish -a $U/bad/ nowhere
	is "$(at $U/bad/)" 0 "nothing of them is there"
	status 0 "an archive" dpublish -a $U/tar/ d.tar
	s3do get $U/tar/d.tar got >/dev/null
	ok "is one object" cmp got d.tar
	status 0 "the same under another name" dpublish -a $U/tar/other.tar \
	    d.tar
	status 0 "brought back and opened" dpublish --verify=full \
	    -a $U/full/ d
	status 0 "an archive, too" dpublish --verify full -a $U/full/ d.tar

	# the file that makes it a store is the last
	fault_up art "$RGW"
	export AWS_ENDPOINT_URL=$PROXY
	fault 'PUT mark/marked/chroma 1- not status 403'
	status 77 "what makes it a store is refused" \
	    dpublish -a $U/mark/ marked
	is "$(at $U/mark/)" 0 "the rest is taken back"
	fault
	status 0 "then it comes" dpublish -a $U/mark/ marked
	is "$(grep -E '^ask [0-9]* PUT .*mark/marked' "$FP/log" | tail -1 |
	    sed 's/.*marked.//;s/ .*//')" chroma.sqlite3 "as the last"
	s3tree rmtree $U/mark/
	fault 'PUT mark/marked/zz 1 done reset' \
	    'PUT mark/marked/chroma 1 done status 500'
	status 0 "answers that are lost" dpublish -a $U/mark/ marked
	is "$(asked 'PUT .*mark/marked/(zz|chroma)')" 2 \
	    "nothing is sent twice"
	s3tree rmtree $U/mark/
	fault 'GET mark/marked/chroma 1- done flip 5'
	status 65 "what is read back is not what was sent" \
	    dpublish -a $U/mark/ marked
	is "$(at $U/mark/) $(asked 'PUT .*mark/marked/chroma')" "0 3" \
	    "three tries, and it is gone"
	fault 'GET mark/marked/chroma 1- not status 503'
	status 75 "what cannot be read back" dpublish -a $U/mark/ marked
	like err 'it is there, but not proved: run this again' "is not claimed"
	is "$(at $U/mark/)" 2 "but stays: others may count on it"
	fault
	status 0 "the rerun" dpublish -a $U/mark/ marked
	is "$(asked 'PUT .*mark/marked/')" 0 "sends nothing"
	s3tree rmtree $U/mark/
	fault 'PUT mark/marked/chroma 1- not hang'
	dpublish -a $U/mark/ marked >/dev/null 2>&1 &
	p=$!
	i=0
	until grep -q 'PUT .*chroma' "$FP/log" || [ $i -ge 600 ]; do
		i=$((i + 1))
		sleep 0.05
	done
	kill -TERM $p
	wait $p
	is "$?" 143 "TERM in the middle"
	is "$(s3do list $U/mark/ | sed 's/.* //')" mark/marked/zz \
	    "what makes it a store is not there"
	fault
	status 0 "and the rerun goes on" dpublish -a $U/mark/ marked
	s3tree rmtree $U/mark/
	fault 'PUT mark/marked/chroma 1- not status 403'
	mkdir half
	cp marked/zz half/
	s3tree send $U/mark/marked/ half >/dev/null
	status 77 "one that fails over half of it" dpublish -a $U/mark/ marked
	is "$(at $U/mark/)" 1 "what another put there stays"
	fault
	export AWS_ENDPOINT_URL=$RGW

	# in parts, killed
	fault 'PUT partNumber=2& 1 not hang'
	AWS_ENDPOINT_URL=$PROXY dpublish -a $U/large/ large >/dev/null 2>&1 &
	p=$!
	i=0
	until [ "$(asked ' 1 not ')" = 1 ] &&
	    [ -n "$(s3do parts $U/large/large/chroma.sqlite3)" ] ||
	    [ $i -ge 600 ]; do
		i=$((i + 1))
		sleep 0.05
	done
	kill -9 $p
	wait $p 2>/dev/null
	fault
	s3do parts $U/large/large/chroma.sqlite3 >parts
	ok "killed in the middle of its parts" test -s parts
	is "$(s3do list $U/large/large/chroma.sqlite3)" "" "it is not there"
	export AWS_ENDPOINT_URL=$PROXY
	status 0 "the rerun" dpublish -a $U/large/ large
	missing=$(($(($(wc -c <large/chroma.sqlite3) + 16777215)) / 16777216 - \
	    $(wc -l <parts)))
	sent=$(asked 'PUT .*partNumber')
	ok "puts no more than the parts that were missing" \
	    test "$sent" -le "$missing"
	is "$(s3do uploads $U/)" "" "no upload is left"
	export AWS_ENDPOINT_URL=$RGW
	status 0 "it is whole" s3tree prove $U/large/large/ large

	# two at once
	i=0
	: >won
	while [ $i -lt 10 ]; do
		i=$((i + 1))
		dpublish -a $U/two/$i d >/dev/null 2>&1 &
		p=$!
		dpublish -a $U/two/$i other >/dev/null 2>&1
		r=$?
		wait $p
		q=$? w=neither
		rm -f got
		s3do get $U/two/$i/chroma.sqlite3 got >/dev/null 2>&1
		! cmp -s got d/chroma.sqlite3 || w=d
		! cmp -s got other/chroma.sqlite3 || w=other
		echo "$q $r $w" >>won
	done
	is "$(sort -u won | grep -Evc '^(0 73 d|73 0 other)$')" 0 \
	    "of two at once, with different bytes, one wins"
	i=0
	while [ $i -lt 10 ]; do
		i=$((i + 1))
		dpublish -a $U/three/$i d.tar >/dev/null 2>&1 &
		p=$!
		dpublish -a $U/three/$i d.tar >/dev/null 2>&1
		r=$?
		wait $p
		echo "$? $r" >>same
	done
	is "$(sort -u same)" "0 0" "with the same, both"
	is "$(at $U/.intact.probe/) $(s3do list $U/ | grep -c probe)" "0 0" \
	    "no probe is left"

	# under drun
	status 9 "drun, whose last stage fails" \
	    drun "dfetch $PWD/d | dcheck | dpublish -a $U/run/ | sh -c 'cat >/dev/null; exit 9'"
	is "$(at $U/run/)" 0 "nothing is there"
	status 0 "drun" drun "dfetch $PWD/d | dcheck | dpublish -a $U/run/"
	is "$(at $U/run/d/)" "$(find d -type f | wc -l)" "it is there"
	status 73 "drun, another of that name" \
	    drun "dfetch $PWD/other | dcheck | dpublish -a $U/run/d"
	# changed between the check and the commit
	status 65 "what changes before the commit" drun \
	    "dpublish -a $U/late/ $PWD/marked | sh -c 'cat; echo y >marked/zz'"
	is "$(at $U/late/)" 0 "is not put there"
	echo z >marked/zz
	export AWS_ENDPOINT_URL=http://127.0.0.1:1
	status 75 "nobody there" dpublish -a $U/x/ d
}

on_swift() {
	export AWS_ENDPOINT_URL=$1
	U=s3://bucket
	s3do make $U
	status 64 "Swift: refused" dpublish -a $U/in/ d
	like err 'does not exclude: it has no conditional writes' "and why"
	is "$(at $U/)" 0 "nothing is there"
	status 64 "Swift: refused under drun, before the commit" \
	    drun "dfetch $PWD/d | dcheck | dpublish -a $U/in/"
	status 0 "Swift: with a lock" dpublish --lock lock -a $U/in/ d
	s3do get $U/in/d/chroma.sqlite3 got >/dev/null
	ok "Swift: it is there" cmp got d/chroma.sqlite3
	status 0 "Swift: again" dpublish --lock lock -a $U/in/ d
	status 73 "Swift: not over another" dpublish --lock lock -a $U/in/d \
	    other
	status 0 "Swift: under drun" \
	    drun "dfetch $PWD/d | dcheck | dpublish --lock lock -a $U/run/"
	is "$(at $U/run/d/)" "$(find d -type f | wc -l)" "Swift: all of it"
	status 0 "Swift: in parts" dpublish --lock lock -a $U/in/ large
}

if s3_rgw; then
	on_rgw
else
	skip $RGWS "$why"
fi
if "$REAL/swift.sh" "$T/swift" 2>"$T/swift.err"; then
	on_swift "$(cat "$T/swift/url")"
else
	skip $SWIFTS "no swift here (contrib/deps.sh s3): $(tail -1 "$T/swift.err")"
fi
trap - EXIT
down_all
finish
