#!/bin/sh
# fetchfault.t: dfetch through a proxy that fails its requests, from a real
# S3 server, from the same as a plain web server, and from another web
# server: it brings what lies there, or says what is wrong; what is final is
# asked for once; and a run that is killed is gone on with.
#
# BIG=bytes is what the killed runs fetch (128 MB; MORE=1: 256 MB,
# FULL=1: 1 GB).
ON_DISK=1
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
EACH=43
N=$((3 * EACH + 11))
plan $N
if ! s3_rgw; then
	skip $N "$why"
	s3_down
	finish
fi
BIG=${BIG:-$([ "${FULL:-0}" = 1 ] && echo 1073741824 || few 134217728 268435456)}
SIZE=20000000

# bytes without end, the same for the same key
noise() {
	openssl enc -aes-128-ctr -nosalt -K "$1" \
	    -iv 00000000000000000000000000000000 </dev/zero 2>/dev/null
}
noise 01 | head -c $SIZE >f.tar
noise 02 | head -c $SIZE >other.tar
noise 03 | head -c 17 >small.jsonl
sha=$(sha256sum <f.tar | cut -d' ' -f1)
sha2=$(sha256sum <other.tar | cut -d' ' -f1)
AWS_ENDPOINT_URL=$RGW s3do make s3://bucket
export AWS_ENDPOINT_URL
cat >put.sh <<-X
	# a public object, in one piece, so that its ETag is its MD5
	put_rgw() {
		s3cmd -q -c /dev/null --no-ssl --host=${RGW#http://} \
		    --host-bucket=${RGW#http://} --access_key=testkey \
		    --secret_key=testsecret --disable-multipart --acl-public \
		    put "\$1" "s3://bucket/\$2"
	}
	# a file, replaced by rename, as a careful author does
	put_web() {
		cp "\$1" $T/web/root/.new &&
		    mv $T/web/root/.new "$T/web/root/\$2"
	}
X
. ./put.sh
place() { "put_$origin" "$@" || echo "# cannot place $2"; }

# fetch OPERAND...: with a cache of its own; "STATUS DIGEST" in $got
fetch() {
	rm -rf "$TMPDIR" cache
	mkdir "$TMPDIR"
	dfetch --json "$@" >out 2>err
	got="$? $(sed -n 's/.*"t":"delta".*"sha256":"\([0-9a-f]*\)".*/\1/p' \
	    out)"
}
gets() { asked "^GET [^ ]*$1 "; }
planned() { printf '%s/f.tar\tsha256=%s\n' "$url" "$1" >p; }

# good WHAT GETS: it came, in so many requests
good() { is "$got $(gets /f.tar)" "0 $sha $2" "$name: $1"; }
# bad STATUS GETS PATTERN WHAT: it did not, and the words are right
bad() {
	is "$got $(gets /f.tar)" "$1  $2" "$name: $4"
	like err "$3" "$name: in these words"
}

# silence, in all three at once, beside the rest
silent() {
	(
		fault_up "-silent-$name" "$server"
		case $name in
		s3) AWS_ENDPOINT_URL=$PROXY at=$path ;;
		*) at=$PROXY$path ;;
		esac
		fault 'GET /g\.tar 1 done stall 7000000'
		TMPDIR=$T/tmp-$name DCACHE=$T/cache-$name
		export TMPDIR DCACHE AWS_ENDPOINT_URL
		mkdir "$TMPDIR"
		dfetch --json "$at/g.tar" >"silent.$name" 2>&1
		echo "$? $(grep -o "$sha" "silent.$name") $(gets /g.tar)" \
		    "$(($(moved) < SIZE + 1000000))" >"silent.$name.is"
	) &
}

# suite NAME ORIGIN SERVER PATH: EACH tests
suite() {
	name=$1 origin=$2 server=$3 path=$4
	place f.tar f.tar
	place f.tar g.tar
	place f.tar r.tar
	fault_up "-$name" "$server"
	case $name in
	s3) AWS_ENDPOINT_URL=$PROXY url=$path ;;
	*) url=$PROXY$path ;;
	esac
	silent
	fault
	fetch "$url/f.tar"
	good "from there" 1

	# --- what passes away
	for f in 'not reset' 'done reset' 'not empty' 'done empty' \
	    'not status 500' 'not status 429' 'done tear 5000000' \
	    'done cut 5000000' 'done tear 19999999' 'done length -1000' \
	    'done length 1000' 'done flip 12345678'; do
		fault "GET /f\\.tar 1 $f"
		case $f in
		*flip*) planned $sha ;;
		*) echo "$url/f.tar" >p ;;
		esac
		fetch -f p
		good "$f, once" 2
		case $f in
		*tear* | *cut*)
			# of a torn one what lay in buffers is lost
			is "$(($(moved) < SIZE + 4000000))" 1 \
			    "$name: what had come is not asked for again" ;;
		esac
	done
	for f in 503 429; do
		fault "GET /f\\.tar 1 not status $f after=1"
		s=$(date +%s)
		fetch "$url/f.tar"
		good "$f with Retry-After" 2
		is "$(($(date +%s) > s))" 1 "$name: waited for"
	done
	fault 'GET /f\.tar 1-3 not reset'
	fetch "$url/f.tar"
	good "reset three times" 4
	fault 'GET /f\.tar 1 done tear 9000000' 'GET /f\.tar 2 done cut 100000' \
	    'GET /f\.tar 3 not status 503'
	fetch "$url/f.tar"
	good "one thing after the other" 4

	# --- what does not
	fault 'GET /f\.tar * not reset'
	fetch "$url/f.tar"
	bad 75 5 'not asked: it failed too often' "reset for ever"
	fault 'GET /f\.tar * not status 503 after=3600'
	fetch "$url/f.tar"
	bad 75 1 'f\.tar.*503' "503, come back in an hour"
	fault 'GET /f\.tar * done flip 12345678'
	planned $sha
	fetch -f p
	bad 65 2 'f\.tar: (MD5|SHA-256): want' "a byte that is always wrong"
	planned $sha2
	fault
	fetch -f p
	bad 65 2 'f\.tar: SHA-256: want' "another file than was planned"
	fault 'GET /f\.tar * not redirect'
	fetch "$url/f.tar"
	n_gets=$(gets /f.tar)
	bad 65 "$n_gets" 'f\.tar' "a redirect in a circle"
	is "$((n_gets <= 6))" 1 "$name: is followed not for long ($n_gets)"
	# 404, of what has been listed just now: it has changed
	for f in '403 77' "404 $gone" '400 65' "410 $gone"; do
		fault "GET /f\\.tar * not status ${f% *}"
		fetch "$url/f.tar"
		bad "${f#* }" 1 'f\.tar' "${f% *}: one request"
	done

	# --- another object under the same name, between two tries
	printf '#!/bin/sh\n. %s/put.sh\nput_%s %s/other.tar r.tar\n' "$T" \
	    $origin "$T" >replace
	chmod +x replace
	fault 'GET /r\.tar 1 done tear 5000000' \
	    "GET /r\\.tar 2 done pass first=$T/replace"
	fetch "$url/r.tar"
	case $got in
	"0 $sha" | "0 $sha2" | "75 ") got=whole ;;
	esac
	is "$got $(asked ' 1 done tear') $(asked ' 2 done pass')" "whole 1 1" \
	    "$name: replaced before it is gone on with: the old, the new, or 75"
	fault 'GET /f\.tar 1 done tear 5000000' \
	    'GET /f\.tar 2 done header ETag "0123"'
	fetch "$url/f.tar"
	is "$(echo "$got" | sed "s/^0 $sha\$/right/; s/^75 \$/75/"), $(asked \
	    ' 2 done header')" "$mistagged, 1" \
	    "$name: an ETag that is another on the way"
}

# what S3 lists has one ETag: another one is another input
mistagged=75 gone=75
suite s3 rgw "$RGW" s3://bucket
mistagged=right gone=66
suite http rgw "$RGW" /bucket
if "$REAL/lighttpd.sh" "$T/web" 2>web.err; then
	suite web web "$(cat "$T/web/url")" ''
else
	skip $EACH "no lighttpd here (contrib/deps.sh dav): $(tail -1 web.err)"
fi

# --- silence: what had come stays, the rest is asked for
wait
for name in s3 http web; do
	if [ -e silent.$name.is ]; then
		is "$(cat silent.$name.is)" "0 $sha 2 1" \
		    "$name: silence in the middle, for half a minute"
	else
		skip 1 "no $name here"
	fi
done

# --- killed: the next run asks for what is missing
noise 04 | head -c "$BIG" >big.tar
sha=$(sha256sum <big.tar | cut -d' ' -f1)
most=$((BIG / 4 * 3))
await() {
	turns=0
	until [ "$(asked '^GET [^ ]*/big')" -ge 1 ]; do
		turns=$((turns + 1))
		[ $turns -lt 600 ] || { echo "# never asked"; return 1; }
		sleep 0.05
	done
	settled
}
killed() {
	name=$1 url=$3/big.tar FP=$T/proxy-$1
	[ "$name" != s3 ] || AWS_ENDPOINT_URL=$(cat "$FP/url")
	fault "GET /big\\.tar 1 done stall $most"
	rm -rf "$TMPDIR" cache
	mkdir "$TMPDIR"
	perl -e 'setpgrp; exec @ARGV' dfetch --json "$url" >out 2>&1 &
	run=$!
	await
	perl -e 'kill KILL => -shift' $run
	wait $run 2>/dev/null
	is "$?" 137 "$name: killed after $most bytes of $BIG"
	fault
	dfetch --json "$url" >out 2>err
	got="$? $(sed -n 's/.*"t":"delta".*"sha256":"\([0-9a-f]*\)".*/\1/p' \
	    out)"
	is "$got" "0 $sha" "$name: the same again brings it"
	# what lay in buffers, and behind the last mark, is lost
	is "$(($(moved) <= BIG - most + 16000000))" 1 \
	    "$name: and asked only for what was missing ($(moved))"
	is "$(find cache -type f -size +1000 | wc -l)" 0 \
	    "$name: nothing of it stays behind"
}
AWS_ENDPOINT_URL=$RGW s3do put s3://bucket/big.tar big.tar >/dev/null
killed s3 rgw s3://bucket
if [ -e silent.web.is ]; then
	ln big.tar "$T/web/root/big.tar"
	killed web web "$(cat "$T/proxy-web/url")"
else
	skip 4 "no lighttpd here"
fi
s3_down
finish
