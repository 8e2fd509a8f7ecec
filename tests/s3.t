#!/bin/sh
# s3.t: the S3 client against real servers on loopback: Ceph's gateway, and
# OpenStack Swift, which has no conditional writes; an independent client
# reads what it wrote; certificates.
. "$(dirname "$0")/lib.sh"
EACH=43
plan $((2 * EACH + 8))
GEN=${GEN:-$SRC/build/gen}
REAL=$SRC/tests/real
PATH=$GEN:$PATH
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_CA_BUNDLE AWS_REGION \
    AWS_DEFAULT_REGION AWS_ENDPOINT_URL_S3 http_proxy https_proxy all_proxy
export AWS_ACCESS_KEY_ID=testkey AWS_SECRET_ACCESS_KEY=testsecret \
    AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/nonexistent \
    AWS_SHARED_CREDENTIALS_FILE=/nonexistent

# whatever happens, what was started here ends here
down() {
	"$REAL/down.sh" "$T/rgw" && "$REAL/down.sh" "$T/swift"
	if [ -n "${tls:-}" ]; then
		kill "$tls" 2>/dev/null
		wait "$tls" 2>/dev/null
	fi
	tls=
}
trap down EXIT

head -c 100000 /dev/urandom >a
head -c 11000000 /dev/urandom >big
: >none
long=$(printf '%01000d' 0)
nl='new
line'

# key KEY 'what': there and back
key() {
	if s3do put "s3://bucket/k/$1" a >o 2>&1 &&
	    s3do get "s3://bucket/k/$1" got >>o 2>&1 &&
	    s3do head "s3://bucket/k/$1" >>o 2>&1; then
		ok "$2" cmp a got
	else
		is "$(cat o)" "" "$2"
	fi
}

# suite NAME EXCLUDES BATCH: EACH tests; EXCLUDES is what the probe must
# say, BATCH how many objects are to be deleted (one by one, by Swift)
suite() {
	name=$1
	if ! "$REAL/$name.sh" "$T/$name" 2>"$T/$name.err"; then
		skip $EACH "no $name here (contrib/deps.sh s3): $(tail -1 "$T/$name.err")"
		return
	fi
	AWS_ENDPOINT_URL=$(cat "$T/$name/url")
	export AWS_ENDPOINT_URL

	status 0 "$name: a bucket" s3do make s3://bucket
	key plain "$name: an object"
	key 'sp ace' "$name: a key with a space"
	key 'pl+us' "$name: plus"
	key "$(printf '\303\274n\303\257 \346\227\245')" "$name: unicode"
	key "\"quo'tes\`" "$name: quotes"
	key '100%25 %' "$name: percent"
	key '//x//y/' "$name: slashes"
	key './a/../b' "$name: dots"
	key '&<>;=?#[]@!$*(),:\|^{}~' "$name: what means something elsewhere"
	key "$nl" "$name: a newline"
	key "$long" "$name: 1000 bytes"
	s3do list s3://bucket/k/ >out
	is "$(sed 's/^[0-9]* "[0-9a-f]*" //' out)" \
	    "$(printf '%s\n' k/%22quo%27tes%60 \
	    k/%26%3C%3E%3B%3D%3F%23%5B%5D%40%21%24%2A%28%29%2C%3A%5C%7C%5E%7B%7D~ \
	    k/./a/../b k///x//y/ "k/$long" k/100%2525%20%25 k/new%0Aline \
	    k/pl%2Bus k/plain k/sp%20ace k/%C3%BCn%C3%AF%20%E6%97%A5)" \
	    "$name: all of them in a list, in order"
	is "$(cut -d' ' -f1 out | sort -u)" 100000 "$name: with their size"
	s3do put s3://bucket/empty none >/dev/null
	is "$(s3do head s3://bucket/empty | cut -d' ' -f1,2)" "200 0" \
	    "$name: an object of no bytes"

	# independent eyes
	if command -v s3cmd >/dev/null; then
		hp=${AWS_ENDPOINT_URL#http://}
		s3cmd -c /dev/null --no-ssl --host="$hp" --host-bucket="$hp" \
		    --access_key=testkey --secret_key=testsecret --force \
		    get 's3://bucket/k/sp ace' other >o 2>&1
		ok "$name: s3cmd reads the same" cmp a other
	else
		skip 1 "no s3cmd here"
	fi

	# the bucket before the host's name, where the profile says so
	printf '[default]\ns3 =\n  addressing_style = virtual\n' >virtual
	named=http://localhost:${AWS_ENDPOINT_URL##*:}
	rm -f got
	AWS_ENDPOINT_URL=$named AWS_CONFIG_FILE=$T/virtual \
	    s3do put 's3://bucket/v/sp ace+%41' a >o 2>&1
	AWS_ENDPOINT_URL=$named AWS_CONFIG_FILE=$T/virtual \
	    strace -f -e trace=sendto -s 400 -o tr \
	    s3do get 's3://bucket/v/sp ace+%41' got >>o 2>&1
	ok "$name: virtual-host style, there and back" cmp a got
	like tr 'GET /v/sp%20ace%2B%2541 .*Host: bucket\.localhost:' \
	    "$name: the bucket is in the host"
	s3do del 's3://bucket/v/sp ace+%41' >/dev/null

	# errors
	status 66 "$name: no such key" s3do -x get s3://bucket/nope got
	is "$(cat out)" "404 NoSuchKey REFUSED" "$name: said so"
	status 66 "$name: no such bucket" s3do list s3://buckett/
	AWS_SECRET_ACCESS_KEY=other5ecret status 77 "$name: a wrong secret" \
	    s3do get s3://bucket/k/plain got
	ok "$name: which is not told" sh -c '! grep -q other5ecret err'
	status 0 "$name: deleting what is not there" s3do del s3://bucket/nope

	# parts of objects
	s3do -r bytes=10-19 get s3://bucket/k/plain got >out
	is "$(cat out) $(cksum <got)" \
	    "206 10 $(tail -c +11 a | head -c 10 | cksum)" "$name: a range"
	tag=$(s3do head s3://bucket/k/plain | cut -d' ' -f3)
	is "$(s3do -r bytes=10- -i "$tag" get s3://bucket/k/plain got)" \
	    "206 99990" "$name: the rest, of the same object"
	status 73 "$name: not of another" s3do -r bytes=10- \
	    -i '"00000000000000000000000000000000"' get \
	    s3://bucket/k/plain got
	status 65 "$name: nor from behind its end" \
	    s3do -r bytes=100000- get s3://bucket/k/plain got

	# lists of more than a page
	is "$(s3do fill s3://bucket/page/ 1100)" 1100 "$name: 1100 objects"
	s3do list s3://bucket/page/ >out
	is "$(wc -l <out) $(sort -u out | wc -l)" "1100 1100" \
	    "$name: a list of more than a page"
	# shellcheck disable=SC2046 # keys without spaces
	status 0 "$name: a batch is deleted" \
	    s3do del s3://bucket $(sed 's/.* //' out | head -n "$3")
	is "$(s3do list s3://bucket/page/ | wc -l)" "$((1100 - $3))" \
	    "$name: all of it"
	s3do put s3://bucket/page/x a >/dev/null
	is "$(s3do list s3://bucket/ / | sort)" \
	    "$(s3do list s3://bucket/empty)
prefix k/
prefix page/" "$name: up to a delimiter"

	# multipart, killed and gone on with
	s3do -P 1 -k 2 mput 's3://bucket/m+ big' big 5M >/dev/null 2>&1
	is "$(s3do uploads s3://bucket/m)" "dated m%2B%20big" \
	    "$name: a multipart upload that was killed"
	is "$(s3do parts 's3://bucket/m+ big' | cut -d' ' -f1,2)" "1 5242880
2 5242880" "$name: two parts of it lie there"
	is "$(s3do mput 's3://bucket/m+ big' big 5M)" \
	    "3 parts, 2 were there" "$name: the rest is brought"
	s3do get 's3://bucket/m+ big' got >/dev/null
	ok "$name: the object is whole" cmp big got
	s3do -P 1 -k 1 mput s3://bucket/m2 big 5M >/dev/null 2>&1
	s3do abort s3://bucket/m2
	is "$(s3do uploads s3://bucket/)" "" "$name: one is aborted"

	# conditional writes
	is "$(s3do probe s3://bucket/p/) $(s3do list s3://bucket/p/)" "$2 " \
	    "$name: the probe says $2, and leaves nothing"
	if [ "$2" = EXCLUDES ]; then
		is "$(s3do race s3://bucket/race 16)" \
		    "1 won, 15 told, 0 other" "$name: of 16 at once one wins"
		status 73 "$name: the next one is told" \
		    s3do -x -n put s3://bucket/race a
		is "$(cat out)" "412 PreconditionFailed TAKEN" "$name: how"
		status 0 "$name: If-Match, the same" s3do -i "$tag" put \
		    s3://bucket/k/plain big
	else
		is "$(s3do race s3://bucket/race 16)" \
		    "0 won, 0 told, 16 other" "$name: of 16 at once none wins"
		status 65 "$name: one alone neither" \
		    s3do -x -n put s3://bucket/race a
		is "$(cat out)" "501 NotImplemented REFUSED" "$name: why"
		is "$(s3do list s3://bucket/race)" "" "$name: nothing is there"
	fi
	"$REAL/down.sh" "$T/$name"
}

suite rgw EXCLUDES 1100
suite swift LACKS 100

# --- nobody there, and nobody who may be trusted
AWS_ENDPOINT_URL=http://127.0.0.1:1 AWS_MAX_ATTEMPTS=1 \
    status 75 "nobody there" s3do -n put s3://bucket/k a
like err '127\.0\.0\.1:1' "named"
export DCKPT_DB=$T/breaker.db AWS_ENDPOINT_URL=http://127.0.0.1:1
s3do head s3://bucket/k 2>/dev/null
status 75 "an open breaker" s3do get s3://bucket/k got
like err 'not asked: it failed too often' "is seen by the next process"
unset DCKPT_DB
if command -v openssl >/dev/null &&
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
    -keyout key.pem -out ca.pem -days 2 -subj /CN=127.0.0.1 \
    -addext subjectAltName=IP:127.0.0.1 2>/dev/null; then
	mkdir bucket
	cp a bucket/a
	port=$("$SRC/tests/real/ports.pl")
	openssl s_server -accept "127.0.0.1:$port" -cert ca.pem -key key.pem \
	    -WWW -quiet >/dev/null 2>&1 </dev/null &
	tls=$!
	export AWS_ENDPOINT_URL=https://127.0.0.1:$port AWS_CA_BUNDLE=$T/ca.pem
	i=0
	until s3do -a get s3://bucket/a got >o 2>&1 || [ $i -ge 600 ]; do
		i=$((i + 1))
		sleep 0.05
	done
	ok "over TLS, with its certificate" cmp a got
	unset AWS_CA_BUNDLE
	status 77 "a certificate that nobody vouches for" \
	    s3do -a get s3://bucket/a got
	AWS_CA_BUNDLE=$T/ca.pem AWS_ENDPOINT_URL=https://localhost:$port \
	    status 77 "a certificate for another host" \
	    s3do -a get s3://bucket/a got
	AWS_CA_BUNDLE=$T/nope.pem status 64 "a CA file that is not there" \
	    s3do -a get s3://bucket/a got
else
	skip 4 "no openssl here"
fi
trap - EXIT
down
finish
