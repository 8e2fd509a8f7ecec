#!/bin/sh
# rgw.sh DIR: a real Ceph object gateway on loopback, its objects in memory:
# one monitor, one OSD, one gateway, no authentication between them.
# DIR/url says where it listens, DIR/pids who it is (for down.sh).  Keys:
# testkey, testsecret.  Exits 69 where the packages are not here.
# SPDX-License-Identifier: ISC
set -eu
dir=${1:?usage: rgw.sh DIR}
for p in ceph-mon ceph-osd radosgw ceph radosgw-admin monmaptool; do
	command -v "$p" >/dev/null || { echo "rgw.sh: no $p here" >&2; exit 69; }
done
rm -rf "$dir/mon" "$dir/osd" "$dir/url"
mkdir -p "$dir/crash" "$dir/rgw" "$dir/mon" "$dir/osd"
dir=$(cd "$dir" && pwd)
: >"$dir/pids"
# it has nothing to keep, and takes 6 seconds to go in peace
echo KILL >"$dir/by"

# shellcheck disable=SC2046 # two numbers
set -- $("$(dirname "$0")/ports.pl" 2)
mon=$1 port=$2
uuid() { cat /proc/sys/kernel/random/uuid; }

cat >"$dir/ceph.conf" <<EOF
[global]
fsid = $(uuid)
mon host = [v2:127.0.0.1:$mon/0]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
# no cephx: then the messenger cannot be in "secure" mode either, which the
# gateway would wait for without end
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = false
ms bind msgr1 = false
ms bind ipv6 = false
ms mon client mode = crc
ms mon service mode = crc
ms mon cluster mode = crc
ms client mode = crc
ms service mode = crc
ms cluster mode = crc
keyring = /dev/null
pid file =
run dir = $dir
crash dir = $dir/crash
admin socket = $dir/\$name.\$pid.asok
log file = $dir/\$name.log
mon cluster log file = $dir/cluster.log
log to stderr = false
log to syslog = false
# one copy of everything, in one group of each pool, at once
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon max pg per osd = 2000
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail warn = 1
mon data avail crit = 1
paxos propose interval = 0.05
osd objectstore = memstore
memstore device bytes = 4294967296
osd class load list = *
osd class default list = *
[mon]
mon data = $dir/mon/a
[osd]
osd data = $dir/osd
[client.rgw]
rgw data = $dir/rgw
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw enable apis = s3, admin
rgw dns name = localhost
rgw thread pool size = 32
rgw max concurrent requests = ${RGW_MAXREQ:-1024}
rgw run sync thread = false
rgw enable usage log = false
rgw enable ops log = false
rgw rados pool pg num min = 1
rgw override bucket index max shards = 1
rgw dynamic resharding = false
# what is deleted does not stay in memory for hours
rgw gc obj min wait = 20
rgw gc processor period = 20
EOF

conf=$dir/ceph.conf log=$dir/log
give_up() {
	echo "rgw.sh: $1; the end of its log:" >&2
	tail -20 "$log" >&2
	"$(dirname "$0")/down.sh" "$dir"
	exit 75
}
daemon() {
	"$@" >>"$log" 2>&1 </dev/null &
	echo $! >>"$dir/pids"
}
monmaptool --create --clobber --addv a "[v2:127.0.0.1:$mon]" \
    --fsid "$(sed -n 's/^fsid = //p' "$conf")" "$dir/monmap" >"$log"
ceph-mon -c "$conf" -i a --mkfs --monmap "$dir/monmap" >>"$log" 2>&1
daemon ceph-mon -c "$conf" -i a -f
id=$(uuid)
timeout 60 ceph -c "$conf" --connect-timeout 50 osd new "$id" >>"$log" 2>&1 ||
    give_up "no OSD"
ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$id" >>"$log" 2>&1
daemon ceph-osd -c "$conf" -i 0 -f
daemon radosgw -c "$conf" -n client.rgw -f
gateway=$!
timeout 60 radosgw-admin -c "$conf" -n client.rgw user create --uid tester \
    --display-name tester --access-key testkey --secret testsecret \
    >>"$log" 2>&1 || give_up "no user"
# it answers
n=0
until perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(
    PeerAddr => "127.0.0.1:$ARGV[0]", Timeout => 2) or exit 1;
    print $s "GET / HTTP/1.0\r\n\r\n"; exit !defined <$s>' "$port"; do
	n=$((n + 1))
	kill -0 "$gateway" 2>/dev/null || give_up "it died"
	[ $n -lt 600 ] || give_up "no answer"
	sleep 0.05
done
echo "http://127.0.0.1:$port" >"$dir/url"
