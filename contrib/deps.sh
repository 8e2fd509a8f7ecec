#!/bin/sh
# deps.sh GROUP...: see that what intact needs is here; on Debian and its
# children install what is not (as root), or print the line that would.
# Groups: build (libraries), test (make check, make demo), lint (make lint),
# ci (clang with sanitizers), coverage (clang and llvm-cov, make coverage),
# analyze (gcc and clang-tidy, make analyze), real (node and npm, for real
# ChromaDB servers: 384 packages and half a minute, so that no other group
# brings them), s3
# (Ceph and Swift, 110 MB, for the tests before real object stores), dav
# (lighttpd, nginx, Apache, for those before web servers; Debian starts no
# service of these groups while this installs them), cluster (Slurm, GNU
# parallel, an ssh server and sshfs, 46 MB, for the tests of fan-out and of
# network file systems: no service of these is started either), units
# (systemd-analyze and promtool, for what contrib/ has for them), bench (curl
# and rclone, which tests/bench is held against).  Tests whose servers are
# not here skip, and say so.
# Silent and quick when nothing is missing.
# Tried on bare Debian 12 and 13 with gcc and make.
# SPDX-License-Identifier: ISC
set -eu
LC_ALL=C
export LC_ALL
CC=${CC:-cc}
PKG_CONFIG=${PKG_CONFIG:-pkg-config}

have() { command -v "$1" >/dev/null 2>&1; }
lib() { have "$PKG_CONFIG" && "$PKG_CONFIG" --exists "$1" 2>/dev/null; }
msgpack() { lib msgpack-c || lib msgpack; }
pymsgpack() { /usr/bin/python3 -c 'import msgpack' 2>/dev/null; }
swift() { [ -e "/usr/bin/swift-$1-server" ]; }
# where only root's PATH may lead
sbin() { have "$1" || [ -x "/usr/sbin/$1" ]; }
any() { ls "$@" 2>/dev/null | grep -q .; }
webdav() {
	any /usr/lib/lighttpd/mod_webdav.so /usr/lib/*/lighttpd/mod_webdav.so
}
dav_ext() { any /usr/lib/nginx/modules/*dav_ext*; }
# does this compiler link with its sanitizers?
sanitizers() {
	echo 'int main(void) { return 0; }' |
	    "$1" -fsanitize=address,undefined -x c -o /dev/null - 2>/dev/null
}
clang_rt() {
	echo "libclang-rt-$(clang -dumpversion | sed 's/\..*//')-dev"
}

# Lines of "what is missing, as people know it: packages, the first that
# exists"; one per thing that is not here.
missing() {
	for g; do
		case $g in
		build)
			have "$CC" || have cc || echo "a C compiler: gcc"
			have "$PKG_CONFIG" || echo "pkg-config: pkg-config"
			[ -e /usr/include/errno.h ] ||
			    echo "libc headers: libc6-dev"
			lib sqlite3 || echo "SQLite: libsqlite3-dev"
			lib libarchive || echo "libarchive: libarchive-dev"
			lib zlib || echo "zlib: zlib1g-dev"
			msgpack ||
			    echo "msgpack-c: libmsgpack-c-dev libmsgpack-dev"
			lib libcurl || echo "libcurl: libcurl4-openssl-dev"
			lib libcrypto || echo "libcrypto: libssl-dev"
			;;
		test)
			have prove || echo "prove: perl"
			have sqlite3 || echo "sqlite3: sqlite3"
			have mandoc || echo "mandoc: mandoc"
			have zstd || echo "zstd: zstd"
			have zip || echo "zip: zip"
			have jq || echo "jq: jq"
			have ps || echo "ps: procps"
			have strace || echo "strace: strace"
			pymsgpack || echo "msgpack for Python: python3-msgpack"
			;;
		lint)
			have cppcheck || echo "cppcheck: cppcheck"
			have shellcheck || echo "shellcheck: shellcheck"
			have mandoc || echo "mandoc: mandoc"
			have prove || echo "prove: perl"
			;;
		ci)
			# its runtime's name follows from its version
			if ! have clang; then
				echo "clang: clang"
			elif ! sanitizers clang; then
				echo "clang's sanitizers: $(clang_rt)"
			fi
			;;
		coverage)
			if ! have clang; then
				echo "clang: clang"
			elif ! sanitizers clang; then
				echo "clang's runtime: $(clang_rt)"
			fi
			have llvm-cov || echo "llvm-cov: llvm"
			;;
		analyze)
			have gcc || echo "gcc: gcc"
			have clang-tidy || echo "clang-tidy: clang-tidy"
			;;
		s3)
			have radosgw || echo "Ceph's gateway: radosgw"
			have ceph-mon || echo "Ceph's monitor: ceph-mon"
			have ceph-osd || echo "Ceph's OSD: ceph-osd"
			have ceph || echo "Ceph's commands: ceph-common"
			swift proxy || echo "Swift's proxy: swift-proxy"
			swift account ||
			    echo "Swift's accounts: swift-account"
			swift container ||
			    echo "Swift's containers: swift-container"
			swift object || echo "Swift's objects: swift-object"
			have s3cmd || echo "s3cmd: s3cmd"
			have openssl || echo "openssl: openssl"
			;;
		dav)
			sbin lighttpd || echo "lighttpd: lighttpd"
			webdav || echo "its WebDAV: lighttpd-mod-webdav"
			sbin nginx || echo "nginx: nginx-light nginx"
			dav_ext ||
			    echo "its PROPFIND: libnginx-mod-http-dav-ext"
			sbin apache2 || echo "Apache: apache2-bin"
			have openssl || echo "openssl: openssl"
			;;
		cluster)
			sbin slurmctld || echo "Slurm's controller: slurmctld"
			sbin slurmd || echo "Slurm's nodes: slurmd"
			have sbatch || echo "Slurm's commands: slurm-client"
			sbin munged || echo "munge: munge"
			have parallel || echo "GNU parallel: parallel"
			sbin sshd || echo "an ssh server: openssh-server"
			have sshfs || echo "sshfs: sshfs"
			any /usr/lib/openssh/sftp-server ||
			    echo "sftp-server: openssh-sftp-server"
			;;
		units)
			have systemd-analyze || echo "systemd-analyze: systemd"
			have promtool || echo "promtool: prometheus"
			;;
		bench)
			have curl || echo "curl: curl"
			have rclone || echo "rclone: rclone"
			;;
		real)
			have node || echo "node: nodejs"
			have npm || echo "npm: npm"
			;;
		*)
			echo "usage: deps.sh" \
			    "build|test|lint|ci|real|s3|dav|cluster|bench..." >&2
			exit 64
			;;
		esac
	done
}

# The first of the packages that apt knows.
pick() {
	for p; do
		if apt-cache show "$p" >/dev/null 2>&1; then
			echo "$p"
			return
		fi
	done
	echo "$1"
}

packages() {
	printf '%s\n' "$1" | sed 's/.*: //' | while read -r line; do
		# shellcheck disable=SC2086 # a list of words
		pick $line
	done | sort -u | tr '\n' ' '
}

list=$(missing "$@")
[ -n "$list" ] || exit 0
echo "deps.sh: missing:" >&2
printf '%s\n' "$list" | sed 's/^/  /; s/: .*//' >&2
if ! have apt-get; then
	echo "deps.sh: no apt-get here: install these by hand" >&2
	exit 69
fi
if [ "$(id -u)" != 0 ]; then
	echo "deps.sh: run this, then again what you ran:" >&2
	echo "  sudo apt-get install $(packages "$list")" >&2
	exit 77
fi
DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
# the tests start servers of their own: no package is to start one
policy=/usr/sbin/policy-rc.d
case " $* " in
*" s3 "* | *" dav "* | *" cluster "* | *" units "*)
	if [ ! -e $policy ]; then
		trap 'rm -f $policy' EXIT
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
	fi
	;;
esac
apt-get -qq -o DPkg::Lock::Timeout=300 update >&2
# a second round: some names follow from what the first installed
for round in 1 2; do
	# shellcheck disable=SC2046 # a list of words
	apt-get -qq -y -o DPkg::Lock::Timeout=300 \
	    install --no-install-recommends $(packages "$list") >&2 </dev/null
	list=$(missing "$@")
	[ -n "$list" ] || exit 0
done
echo "deps.sh: still missing after round $round:" >&2
printf '%s\n' "$list" | sed 's/^/  /' >&2
exit 69
