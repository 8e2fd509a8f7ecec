#!/bin/sh
# busy.t: a real S3 server that answers 429 once, to each request in turn of
# a lease, its renewal and a pin, and to a gc, its plan and what it says of
# each version that it is about to remove: it is waited for and asked again,
# and all is done, once.  Of one that goes on with it: 75,
# after as many tries as anything has, and nothing is done.
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
N=13
plan $N
if ! s3_rgw; then
	skip $N "$why"
	s3_down
	finish
fi
export AWS_ENDPOINT_URL=$RGW
s3do make s3://bucket
A=s3://bucket/rag
names() { s3do list "$1/" | sed "s, ${1#s3://bucket/}/, ,;s/.* //"; }
versions() { names $A/timestamped | sed 's,/.*,,' | sort -u; }
gendelta --out g --count 5 --records 4 --dim 8 --seed 3 >/dev/null
merge() {
	drun "dfetch -B $A $1 | dcheck | dmerge | dpublish $A" >/dev/null
}
merge g/delta-0000
merge g/delta-0001
old=$(versions | head -1)
fault_up '' "$RGW"

# busy COMMAND...: with 429 at its first request, its second ...; what went
# wrong, and how many requests there were in $i
busy() {
	i=0
	while :; do
		i=$((i + 1))
		fault "* . $i not status 429"
		AWS_ENDPOINT_URL=$PROXY "$@" >o 2>e || echo "$i: $? $(cat e)"
		[ "$(asked ' 1 not ')" = 1 ] || break
		[ -z "$(names $A/staging)" ] || echo "$i: $(names $A/staging)"
		[ $i -lt 100 ] || break
	done
	[ $i -gt 8 ] || echo "only $i requests"
	fault
}
is "$(busy dpublish lease $A "$old" --for 1h --name me)" "" \
    "a lease, and the same again"
is "$(names $A/pins)" "$old.me/pin.json" "is made, once"
# the second one of a renewal replaces: nobody knows whether it did
odd=
for f in 'not status 503' 'done status 503' 'done reset'; do
	fault "PUT pin.json 2 $f"
	AWS_ENDPOINT_URL=$PROXY dpublish lease $A "$old" --for 2h --name me \
	    >o 2>e || odd="$odd $f: $? $(cat e)"
	[ "$(asked ' 1 (not|done) ')" = 1 ] || odd="$odd $f: not asked"
done
is "$odd" "" "a renewal of which nobody knows is looked at and made again"
dpublish unpin $A "$old.me"
is "$(busy dpublish pin $A "$old")" "" "a pin, and the same again"
dpublish unpin $A "$old"
fault 'PUT gc.json 1 not status 429 after=1' 'PUT . 1 not status 429' \
    'GET . 1 not status 429' 'HEAD . 1 not status 429' \
    'DELETE . 1 not status 429' 'POST . 1 not status 429'
begun=$(date +%s%N)
status 0 "gc, whose plan is not taken at once" \
    env AWS_ENDPOINT_URL="$PROXY" dpublish gc --keep-newer-than 0 $A
is "$(versions | wc -l) $(asked 'gc.json') $(asked ' 1 not ')" "1 2 1" \
    "removes what it should, once"
ok "and waits as it was asked to" test \
    $((($(date +%s%N) - begun) / 1000000)) -ge 1000
merge g/delta-0002
merge g/delta-0003
merge g/delta-0004
fault 'PUT owner 2- not status 503'
status 75 "gc, whose announcement is not taken" \
    env AWS_ENDPOINT_URL="$PROXY" dpublish gc --keep-newer-than 0 $A
is "$(versions | wc -l) $(asked 'PUT .*owner')" "4 9" \
    "removes nothing, and asks no more than others do"
# the claim, and of each version first one of which nobody knows
fault 'PUT owner 2 not status 503' 'PUT owner 4 done status 503' \
    'PUT owner 5 done reset'
status 0 "gc, whose announcements are not all answered" \
    env AWS_ENDPOINT_URL="$PROXY" dpublish gc --keep-newer-than 0 $A
is "$(versions | wc -l) $(asked ' [123] (not|done) ') $(asked 'PUT .*owner')" \
    "1 3 5" "removes them"
fault 'PUT pin.json * not status 429'
status 75 "a server that stays busy" \
    env AWS_ENDPOINT_URL="$PROXY" dpublish lease $A --for 1h --name me
is "$(names $A/pins)$(names $A/staging) $(asked 'pin.json')" " 8" \
    "is asked as often as any, and nothing is left"
s3_down
finish
