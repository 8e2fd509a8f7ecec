# servers.sh: ChromaDB servers for the tests, sourced: the packages that it
# publishes for node, unpacked below $dir and started from there, on
# loopback.  What cannot be had is skipped, loudly; SKIP=fail makes that an
# error.  It starts nothing: server.mjs does.
#
# Uses: B=build, where the programs are; CHROMA=DIR, where the servers are,
# else those of the tree's own build, else B/chroma; VERSIONS.
# Gives: have, the versions that run here.
# SPDX-License-Identifier: ISC
LC_ALL=C TZ=UTC
export LC_ALL TZ
me=$(basename "$0" .sh)
here=$(cd "$(dirname "$0")" && pwd)
VERSIONS=${VERSIONS:-1.0.1 1.1.1 1.3.4}

skip() {
	echo "SKIP $me: $*" >&2
	[ "${SKIP:-}" != fail ] || exit 1
}
leave() {
	skip "$@"
	exit 0
}

B=$(cd "${B:-build}" && pwd) || exit 66
for prog in dfetch dcheck dmerge dpublish drun; do
	[ -x "$B/bin/$prog" ] || {
		echo "$me: $B/bin/$prog is not there: run make" >&2
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
tree=$(cd "$(dirname "$0")/../.." && pwd)/build/chroma
[ -n "${CHROMA:-}" ] || if [ -d "$tree" ]; then
	CHROMA=$tree
else
	CHROMA=$B/chroma
fi
export CHROMA
dir=$CHROMA
mkdir -p "$dir"

# one binding, unpacked whole or not at all
binding() {
	[ ! -d "$dir/$1" ] || return 0
	tmp=$(mktemp -d "$dir/get.XXXXXX")
	if (cd "$tmp" && npm pack --silent --fetch-retries=1 \
	    --fetch-retry-mintimeout=1000 --fetch-timeout=60000 \
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
	    -o "Dir::Cache=$apt/cache" -o Acquire::http::Timeout=30 \
	    -o Acquire::Retries=1
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
