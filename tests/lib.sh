# lib.sh: what every tests/*.t starts with.  TAP with a fixed plan; each
# script works in a directory of its own, kept and named when it fails.
# Use: . "$(dirname "$0")/lib.sh"; plan N, tests, finish.  Its own are n, bad
# and planned: a test that uses these names breaks its own count.
export LC_ALL=C TZ=UTC
set -u
SRC=$(cd "$(dirname "$0")/.." && pwd)
BIN=${BIN:-$SRC/build/bin}
UNIT=${UNIT:-$SRC/build/unit}
DATA=$SRC/tests/data
PATH=$BIN:$PATH
unset DSTAGE DRUN_ID DCKPT_DB DTRACE
# in memory, but what says ON_DISK=1 before this is read, for its files are
# large; TMPDIR is elsewhere, and FULL=1 on a disk
if [ "${TMPDIR:+no}${ON_DISK:-0}${FULL:-0}" = 00 ]; then
	TMPDIR=${MEMORY-$("$SRC/tests/memory.sh")}
fi
T=$(mktemp -d "${TMPDIR:-/tmp}/intact-t.XXXXXX") || exit 99
DCACHE=$T/cache TMPDIR=$T/tmp
mkdir -p "$TMPDIR"
export PATH DCACHE TMPDIR
cd "$T" || exit 99
n=0 bad=0 planned=0

# few CHECK CI: how many, or every how manieth: what `make check` samples, and
# what CI does, which says MORE=1 and has more time
few() { [ "${MORE:-0}${FULL:-0}" = 00 ] && echo "$1" || echo "$2"; }

plan() { planned=$1; echo "1..$1"; }

# ok 'what' command...: the command must succeed
ok() {
	what=$1; shift
	n=$((n + 1))
	if "$@" >"$T/.out" 2>&1; then
		echo "ok $n - $what"
	else
		echo "not ok $n - $what"
		sed 's/^/# /' "$T/.out" | head -20
		bad=$((bad + 1))
	fi
}

# is GOT WANT 'what'
is() {
	n=$((n + 1))
	if [ "x$1" = "x$2" ]; then
		echo "ok $n - $3"
	else
		echo "not ok $n - $3"
		printf '%s\n' "$1" | sed 's/^/# got  /' | head -20
		printf '%s\n' "$2" | sed 's/^/# want /' | head -20
		bad=$((bad + 1))
	fi
}

# status WANT 'what' command...: its exit status, exactly; stdout in
# $T/out, stderr in $T/err
status() {
	want=$1 what=$2; shift 2
	"$@" >"$T/out" 2>"$T/err" </dev/null
	got=$?
	is "$got" "$want" "$what"
	[ "$got" = "$want" ] || sed 's/^/# stderr: /' "$T/err" | head -10
}

# like FILE PATTERN 'what': an extended regular expression is in FILE
like() {
	n=$((n + 1))
	if grep -Eq -- "$2" "$1"; then
		echo "ok $n - $3"
	else
		echo "not ok $n - $3"
		echo "# no match for: $2"
		sed 's/^/# in: /' "$1" | head -10
		bad=$((bad + 1))
	fi
}

# skip COUNT 'reason': counted, so that CI can refuse it
skip() {
	i=0
	while [ $i -lt "$1" ]; do
		n=$((n + 1)) i=$((i + 1))
		echo "ok $n # SKIP $2"
	done
}

finish() {
	cd /
	if [ "$n" -ne "$planned" ]; then
		echo "# planned $planned tests, ran $n"
		bad=$((bad + 1))
	fi
	if [ "$bad" -eq 0 ]; then
		chmod -R u+rwx "$T" 2>/dev/null
		rm -rf "$T"
		exit 0
	fi
	echo "# left in $T"
	exit 1
}
