#!/bin/sh
# chroma-read.sh: random histories against real ChromaDB servers; what the
# server answers must be what `dfetch | dcheck | dmerge` make of its
# directory (chroma-read.mjs).  Run by `make check-chroma`.
#
# The servers are the packages that ChromaDB publishes for node; they are
# unpacked below B/chroma and started from there, on loopback.  What cannot
# be had is skipped, loudly; SKIP=fail makes that an error.
#
# B=build       where the programs are       ROUNDS=42   histories
# SEED=1        of the first history         JOBS=2      at a time
# VERSIONS="1.0.1 1.1.1 1.3.4"   of the binding, the oldest first
# SPDX-License-Identifier: ISC
set -eu
LC_ALL=C TZ=UTC
export LC_ALL TZ
here=$(cd "$(dirname "$0")" && pwd)
B=$(cd "${B:-build}" && pwd)
VERSIONS=${VERSIONS:-1.0.1 1.1.1 1.3.4}
dir=$B/chroma
mkdir -p "$dir"

skip() {
	echo "SKIP chroma-read: $*" >&2
	[ "${SKIP:-}" != fail ] || exit 1
}
leave() {
	skip "$@"
	exit 0
}

for prog in dfetch dcheck dmerge; do
	[ -x "$B/bin/$prog" ] || {
		echo "chroma-read: $B/bin/$prog is not there: run make" >&2
		exit 66
	}
done
for prog in node npm sqlite3; do
	command -v $prog >/dev/null || leave "no $prog here"
done
case $(uname -sm) in
"Linux x86_64") kind=linux-x64-gnu ;;
"Linux aarch64") kind=linux-arm64-gnu ;;
*) leave "no server for $(uname -sm)" ;;
esac

# one binding, unpacked whole or not at all
binding() {
	[ ! -d "$dir/$1" ] || return 0
	tmp=$(mktemp -d "$dir/get.XXXXXX")
	if (cd "$tmp" && npm pack --silent \
	    "chromadb-js-bindings-$kind@$1" && tar xzf ./*.tgz) \
	    >"$dir/npm.log" 2>&1 && mv "$tmp/package" "$dir/$1"; then
		rm -rf "$tmp"
		return 0
	fi
	rm -rf "$tmp"
	return 1
}

# Is the libc at least that of the bindings after 1.0.3?
libc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/.* //')
new_libc() {
	[ "$(printf '%s\n2.39\n' "${libc:-0}" | sort -V | head -n 1)" = 2.39 ]
}
# Debian before 13: three libraries of 13 are unpacked below $dir, not
# installed, from where this machine gets its packages; node runs on them.
borrow_libc() {
	[ ! -x "$dir/node" ] || return 0
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
	    return 1
	apt=$dir/apt
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" \
	    "$apt/tree"
	# shellcheck disable=SC2016 # apt expands it
	uri=$(apt-get indextargets --format '$(REPO_URI)' \
	    'Created-By: Packages' | grep -v security | head -n 1)
	[ -n "$uri" ] || return 1
	keys=/usr/share/keyrings/debian-archive-keyring.gpg
	echo "deb [signed-by=$keys] $uri trixie main" >"$apt/sources"
	set -- -o "Dir::Etc::sourcelist=$apt/sources" \
	    -o Dir::Etc::sourceparts=- -o "Dir::State::Lists=$apt/lists" \
	    -o "Dir::Cache=$apt/cache"
	(cd "$apt" && apt-get "$@" update &&
	    apt-get "$@" download libc6 libstdc++6 libgcc-s1) \
	    >"$dir/apt.log" 2>&1 || return 1
	for deb in "$apt"/*.deb; do
		dpkg-deb -x "$deb" "$apt/tree" || return 1
	done
	lib=$(dirname "$(find "$apt/tree/usr/lib" -name libc.so.6)")
	ld=$(find "$apt/tree" -name 'ld-linux-*.so.*' | head -n 1)
	[ -n "$ld" ] || return 1
	more=/usr/lib/$(basename "$lib")
	cat >"$dir/node.tmp" <<-END
	#!/bin/sh
	exec "$ld" --library-path "$lib:$more" "$(command -v node)" "\$@"
	END
	chmod +x "$dir/node.tmp"
	mv "$dir/node.tmp" "$dir/node"
}
if new_libc; then
	printf '#!/bin/sh\nexec node "$@"\n' >"$dir/node"
	chmod +x "$dir/node"
fi

have=
for v in $VERSIONS; do
	if ! binding "$v"; then
		skip "binding $v is not to be had: $dir/npm.log"
	elif case $v in 1.0.[0-3]) false ;; *) ! borrow_libc ;; esac; then
		skip "binding $v wants libc 2.39, here is ${libc:-none}" \
		    "and no other is to be had: $dir/apt.log"
	else
		have="$have $v"
	fi
done
[ -n "$have" ] || leave "no server at all"
# shellcheck disable=SC2086 # a list of words
exec node "$here/chroma-read.mjs" "$B" "${SEED:-1}" "${ROUNDS:-42}" \
    "${JOBS:-2}" $have
