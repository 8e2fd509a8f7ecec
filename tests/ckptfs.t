#!/bin/sh
# ckptfs.t: the checkpoint database on a network file system: a real mount,
# by sshfs and an sftp-server that is its child.  Nothing leaves this machine.
. "$(dirname "$0")/lib.sh"
plan 16
server=
down() {
	[ -z "$server" ] || { fusermount3 -u "$T/mnt"; wait "$server"; }
	server=
}
trap down EXIT
sftp=
for f in /usr/lib/openssh/sftp-server /usr/lib/ssh/sftp-server \
    /usr/libexec/openssh/sftp-server /usr/libexec/sftp-server; do
	[ ! -x "$f" ] || sftp=$f
done
why=
command -v sshfs >/dev/null && command -v fusermount3 >/dev/null ||
    why="no sshfs here"
[ -n "$sftp" ] || why="no sftp-server here"
[ -w /dev/fuse ] || why="/dev/fuse may not be used here"
mkdir there mnt in
if [ -z "$why" ]; then
	printf '#!/bin/sh\nexec %s\n' "$sftp" >ssh
	chmod +x ssh
	# its child sees no pipe of ours
	sshfs -f -o ssh_command="$T/ssh" "here:$T/there" "$T/mnt" \
	    >mount.log 2>&1 </dev/null &
	server=$!
	until grep -q " $T/mnt fuse.sshfs " /proc/mounts ||
	    ! kill -0 $server 2>/dev/null; do sleep 0.05; done
	grep -q " $T/mnt fuse.sshfs " /proc/mounts || {
		server= why="sshfs: $(cat mount.log)"
	}
fi
if [ -n "$why" ]; then
	skip 16 "$why"
	finish
fi
for i in 1 2 3 4 5 6 7 8; do echo $i >in/$i; done

status 64 "a database on a network file system" \
    dfetch --files --json -c mnt/db in
like err '^dfetch: mnt/db: on FUSE: a write-ahead log wants memory that all its processes share' \
    "is refused with the reason"
like err 'put it on a local disk, or set DCKPT_JOURNAL=delete' \
    "and with what to do"
is "$(ls -A there)" "" "nothing is made"
status 64 "DCKPT_JOURNAL=wal" \
    env DCKPT_JOURNAL=wal dfetch --files --json -c mnt/db in
DCKPT_DB=$T/mnt/db drun true >out 2>err
is "$? $(grep -c 'mnt/db: on FUSE' err) $(ls -A there)" "0 1 " \
    "drun warns of it, and makes none either"
dckpt -c "$T/mnt/db" list >out 2>err
is "$? $(grep -c 'mnt/db: on FUSE' err) $(ls -A there)" "64 1 " \
    "dckpt makes none either"
status 0 "DCKPT_JOURNAL=delete" \
    env DCKPT_JOURNAL=delete dfetch --files --json -c mnt/db in
is "$(ls -A there)" db "it is there, without a log"
is "$(dckpt -c mnt/db list --json | grep -c '"key"')" 8 \
    "without the option it opens as it was made"
i=0
while [ $i -lt 8 ]; do
	i=$((i + 1))
	mkdir "in$i"
	echo "$i" >"in$i/a"
	echo "$i" >"in$i/b"
	{
		dfetch --files --json -c mnt/db "in$i" >"out$i" 2>"err$i"
		echo $? >"st$i"
	} &
	pids="${pids-} $!"
done
# shellcheck disable=SC2086 # a list
wait $pids
is "$(cat st?) $(cat err?)" "$(printf '0\n%.0s' 1 2 3 4 5 6 7 8) " \
    "eight at once, and none fails"
is "$(dckpt -c mnt/db list --json | grep -c '"key"')" 24 "nothing is lost"
is "$(sqlite3 there/db 'PRAGMA integrity_check')" ok "nor damaged"

# one that was made in WAL mode on a disk
dfetch --files --json -c db in >/dev/null
dckpt -c db list >/dev/null
sqlite3 db 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
cp db there/db2
status 64 "one that was made on a disk, and moved there" \
    dckpt -c mnt/db2 list
like err 'mnt/db2: on FUSE' "is refused, too"
status 0 "and made over by the option" \
    env DCKPT_JOURNAL=delete dckpt -c mnt/db2 list
down
finish
