#!/bin/sh
# sshd.sh DIR N: N "hosts" n1, n2 ... on loopback, each an sshd of its own,
# with a port, a key, a TMPDIR (DIR/n1.tmp) and a HOME that only it has, and
# our PATH.  Nothing outside of DIR is read or changed, but the directory that
# an sshd of root wants: what shells read at home may take its time, or a lock
# that a host which is killed never gives back.  DIR/config is for ssh -F,
# DIR/hosts for GNU parallel, two tasks a host; DIR/pids and DIR/n1.pid say who
# they are (for down.sh).
# Exits 69 where it is not installed.
# SPDX-License-Identifier: ISC
set -eu
dir=${1:?usage: sshd.sh DIR N}
n=${2:?usage: sshd.sh DIR N}
# it wants to be called by its whole name
sshd=$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v sshd) &&
    command -v ssh-keygen >/dev/null || {
	echo "sshd.sh: no sshd here" >&2
	exit 69
}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
chmod 700 "$dir"
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
for k in host client; do
	[ -e "$dir/$k" ] || ssh-keygen -q -t ed25519 -N '' -f "$dir/$k"
done
echo "loopback $(cut -d ' ' -f 1,2 "$dir/host.pub")" >"$dir/known"
: >"$dir/pids"
: >"$dir/hosts"
cat >"$dir/config" <<EOT
Host *
	HostName 127.0.0.1
	HostKeyAlias loopback
	UserKnownHostsFile "$dir/known"
	GlobalKnownHostsFile /dev/null
	StrictHostKeyChecking yes
	IdentityFile "$dir/client"
	IdentitiesOnly yes
	IdentityAgent none
	BatchMode yes
	ConnectTimeout 20
EOT
for i in $(seq "$n"); do
	port=$("$(dirname "$0")/ports.pl")
	mkdir -p "$dir/n$i.tmp" "$dir/n$i.home"
	cat >"$dir/n$i.conf" <<EOT
ListenAddress 127.0.0.1:$port
HostKey "$dir/host"
PidFile none
AuthorizedKeysFile "$dir/client.pub"
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
MaxStartups 100:30:200
MaxSessions 100
AllowTcpForwarding no
PrintMotd no
PrintLastLog no
SetEnv "TMPDIR=$dir/n$i.tmp" "DCACHE=$dir/n$i.cache" "PATH=$PATH" "HOME=$dir/n$i.home" NODE=n$i
EOT
	"$sshd" -D -f "$dir/n$i.conf" -E "$dir/n$i.log" </dev/null \
	    >>"$dir/n$i.log" 2>&1 &
	echo $! >"$dir/n$i.pid"
	echo $! >>"$dir/pids"
	printf 'Host n%d\n\tPort %d\n' "$i" "$port" >>"$dir/config"
	echo "2/n$i" >>"$dir/hosts"
done
for i in $(seq "$n"); do
	tries=0
	until ssh -F "$dir/config" "n$i" true </dev/null 2>"$dir/err"; do
		tries=$((tries + 1))
		if ! kill -0 "$(cat "$dir/n$i.pid")" 2>/dev/null ||
		    [ $tries -gt 200 ]; then
			echo "sshd.sh: n$i does not answer:" >&2
			tail -5 "$dir/err" "$dir/n$i.log" >&2
			"$(dirname "$0")/down.sh" "$dir"
			exit 75
		fi
		sleep 0.05
	done
done
