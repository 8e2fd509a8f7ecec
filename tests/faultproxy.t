#!/bin/sh
# faultproxy.t: the proxy that the fault tests stand on, before a real S3
# server: what it lets pass, what it breaks and how, what it says it did.
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
N=47
plan $N
if ! s3_rgw; then
	skip $N "$why"
	s3_down
	finish
fi
fault_up '' "$RGW"
head -c 3000000 /dev/urandom >a
head -c 1000 /dev/urandom >b
# straight to the server, and through the proxy
real() { AWS_ENDPOINT_URL=$RGW s3do "$@"; }
thru() { AWS_ENDPOINT_URL=$PROXY s3do "$@"; }
# last: what became of the last request
last() { settled; sed -n 's/^end [0-9]* //p' "$FP/log" | tail -1; }

# --- what passes
fault
status 0 "a bucket" thru make s3://bucket
status 0 "an object passes" thru put s3://bucket/a a
is "$(last)" "200 200 3000000 0" "which is told"
thru get s3://bucket/a got >/dev/null
ok "and comes back" cmp a got
is "$(last)" "200 200 0 3000000" "told too"
is "$(asked) $(asked '^GET /bucket/a 0 done pass$')" "3 1" "requests are counted"
thru -P 2 mput 's3://bucket/m+ %' a 5M >/dev/null &&
    real get 's3://bucket/m+ %' got >/dev/null
ok "an upload in parts, an odd key" cmp a got
is "$(thru list s3://bucket/ | cut -d' ' -f1,3)" "3000000 a
3000000 m%2B%20%25" "a list"

# --- whose turn it is
fault 'GET /bucket/a 2 not status 403' 'GET /bucket/ 3- not status 404'
for i in 1 2 3 4; do
	thru -x get s3://bucket/a got 2>/dev/null
done >out
is "$(cat out)" "200 3000000
403 AccessDenied REFUSED
404 NoSuchKey REFUSED
404 NoSuchKey REFUSED" "the first rule whose turn it is, each counting all"
is "$(asked ' 0 done pass$') $(asked ' 1 not ') $(asked ' 2 not ')" "1 1 2" \
    "counted by rule"
fault '* . 1 not status 403'
thru get s3://bucket/a got >/dev/null 2>&1
fault '* . 1 not status 403'
status 77 "rules that are given anew count anew" thru get s3://bucket/a got

# --- before and after, of a write: what is told, and what is there
# write WHERE ACTION WANT: WANT is what s3do -x says
i=0
write() {
	i=$((i + 1))
	fault "PUT /bucket/w$i 1 $1 $2"
	# -n: a conditional write is never sent again
	said=$(thru -x -n put "s3://bucket/w$i" b 2>err)
	there=$(real list "s3://bucket/w$i" | wc -l)
	is "$said $there $(asked)" "$3 $([ "$1" = 'done' ] && echo 1 || echo 0) 1" \
	    "$2, $([ "$1" = 'done' ] && echo applied || echo not)"
}
for w in not 'done'; do
	write $w reset "0 - UNKNOWN"
	write $w empty "0 - UNKNOWN"
	write $w 'status 500' "500 InternalError UNKNOWN"
	write $w 'status 503' "503 SlowDown UNKNOWN"
	write $w 'status 409' "409 ConditionalRequestConflict TAKEN"
	write $w 'status 412' "412 PreconditionFailed TAKEN"
	write $w 'status 404 NoSuchUpload' "404 NoSuchUpload REFUSED"
	write $w error "200 InternalError UNKNOWN"
done

# --- answers that are broken
fault 'GET /bucket/a 1 done flip 2999999'
thru get s3://bucket/a got >/dev/null
is "$(cmp -l a got | wc -l) $(cmp -l a got | awk '{ print $1 }')" "1 3000000" \
    "one bit of the last byte"
for c in cut tear; do
	fault "GET /bucket/a 1 done $c 70000"
	status 75 "$c short" thru get s3://bucket/a got
	is "$(last)" "200 200 0 70000" "after so many bytes"
done
fault 'GET /bucket/a 1 done length -10'
status 0 "a Content-Length that is short" thru get s3://bucket/a got
is "$(wc -c <got | tr -d ' ')" 2999990 "is what the client believes"
fault 'GET /bucket/a 1 done header ETag "0"'
thru head s3://bucket/a >/dev/null
is "$(thru -r bytes=0-9 get s3://bucket/a got) $(asked ' header ')" "206 10 1" \
    "a header of another value"
fault 'GET /bucket/b * not redirect'
status 65 "a redirect to itself" thru get s3://bucket/b got
fault 'GET /bucket/a 1 done slow 6000000'
status 0 "slowly" thru get s3://bucket/a got

fault 'GET /bucket/a 1 done stall 70000' 'PUT /bucket/hang 1 done hang'
# silent COMMAND...: through the proxy, ended when it has said what it says
silent() {
	env AWS_ENDPOINT_URL="$PROXY" s3do "$@" >/dev/null 2>&1 &
	p=$! k=0
	until grep -q '^ask ' "$FP/log" && "$1_came" || [ $k -ge 600 ]; do
		sleep 0.05
		k=$((k + 1))
	done
	kill -9 $p
	wait $p 2>/dev/null
}
rm -f got
get_came() { [ "$(wc -c <got 2>/dev/null)" = 70000 ]; }
put_came() { [ -n "$(real list s3://bucket/hang)" ]; }
silent get s3://bucket/a got
is "$? $(wc -c <got | tr -d ' ') $(last)" "137 70000 200 200 0 70000" \
    "silence after so many bytes"
silent put s3://bucket/hang b
is "$? $(last) $(real list s3://bucket/hang | wc -l)" "137 200 - 1000 0 1" \
    "and from the beginning, of what was applied"
fault 'HEAD /bucket/a 1 not status 503 after=1'
s=$(date +%s)
status 0 "503 with Retry-After" thru head s3://bucket/a
is "$(asked) $(($(date +%s) > s))" "2 1" "is waited for, and asked again"

# --- by lot, and late
fault 'HEAD /bucket/[ab] 20% not status 403' 'HEAD /bucket/a 30% done pass' \
    'HEAD /bucket/a 50% done delay 0.01'
i=0
while [ $i -lt 200 ]; do
	i=$((i + 1))
	echo /bucket/a
done | perl -MIO::Socket::INET -e '
    my $s = IO::Socket::INET->new($ARGV[0]) or die;
    while (<STDIN>) {
	chomp;
	print $s "HEAD $_ HTTP/1.1\r\nHost: x\r\n\r\n";
	while (defined(my $l = <$s>)) { last if $l eq "\r\n" }
    }' "${PROXY#http://}"
set -- "$(asked ' 1 not ')" "$(asked ' 2 ')" "$(asked ' 3 done delay ')"
is $(($1 + $2 + $3)) 200 "shares add up"
echo "# $1 $2 $3 of 200"
ok "and are shares" test "$1" -gt 20 -a "$1" -lt 60 -a "$2" -gt 35 -a \
    "$2" -lt 85 -a "$3" -gt 70 -a "$3" -lt 130
fault 'HEAD /bucket/a * done delay 2'
s=$(date +%s)
for i in 1 2 3 4; do
	thru head s3://bucket/a >/dev/null
done
ok "late, each by its lot" test $(($(date +%s) - s)) -ge 1
is "$(asked)" 4 "and nothing else"

# --- somebody else's commands in between
cat >hook <<-X
	#!/bin/sh
	AWS_ENDPOINT_URL=$RGW s3do head s3://bucket/h >>$T/hooked 2>/dev/null ||
	    echo "\$* nothing" >>$T/hooked
	[ -e $T/hook.ok ]
X
chmod +x hook
: >hook.ok
fault "PUT /bucket/h 1 done empty first=$T/hook then=$T/hook"
thru -n put s3://bucket/h b >/dev/null 2>&1
is "$(cut -d' ' -f1-3 hooked)" "PUT /bucket/h nothing
$(real head s3://bucket/h)" "a command runs before, and one between write and answer"
rm hook.ok
fault "HEAD /bucket/h 1 done pass then=$T/hook"
thru head s3://bucket/h >/dev/null
ok "one that fails is told" grep -q '^hook [0-9]* 1$' "$FP/log"
s3_down
finish
