#!/bin/sh
# report.sh DIR INPUT, report.sh DIR TARGET NAME: all that somebody needs to
# see for himself what is wrong with one delta: an input by its URL, or by
# TARGET and its NAME there in quarantine (dpublish quarantine --list).
# DIR and DIR.tar.gz are made:
#
#	input/		the delta, byte by byte
#	verdict.json	why it was refused: now, and in quarantine
#	dcheck.txt	what dcheck -v says of it, and its exit status
#	machine.txt	versions, system, limits; of the environment the names
#	again.sh	the same check once more
#
# No values of the environment are in it, nor user and password of a URL,
# nor its query.  What the delta holds is in it: mind who gets it.
# SPDX-License-Identifier: ISC
set -eu
LC_ALL=C
export LC_ALL
[ $# -eq 2 ] || [ $# -eq 3 ] || {
	echo "usage: report.sh dir input | report.sh dir target name" >&2
	exit 64
}
DIR=$1 URL=$2
mkdir "$DIR" || exit 73
mkdir "$DIR/input"
: >"$DIR/verdict.json"
member() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p'; }
if [ $# -eq 3 ]; then
	dpublish quarantine --list --json "$2" >"$DIR/list"
	grep -F "\"name\":\"$3\"" "$DIR/list" >"$DIR/verdict.json" || {
		rm -r "$DIR"
		echo "report.sh: $2: $3: nothing of that name in quarantine" >&2
		exit 66
	}
	rm "$DIR/list"
	URL=$(member path <"$DIR/verdict.json")
	case $URL$(member kind <"$DIR/verdict.json") in
	s3:*dir) URL=$URL/ ;;
	esac
fi
URL=${URL%//}
st=0
dfetch -l --sha256 "$URL" >"$DIR/plan" || { st=$?; rm -r "$DIR"; exit $st; }
if [ "$(wc -l <"$DIR/plan")" -ne 1 ]; then
	rm -r "$DIR"
	echo "report.sh: $URL: want one input" >&2
	exit 64
fi

# the bytes, as dfetch brings them
dfetch --json -f "$DIR/plan" >"$DIR/stream"
STAGE=$(head -1 "$DIR/stream" | member stage)
trap 'rm -rf "$STAGE"' EXIT
grep '"t":"delta"' "$DIR/stream" >"$DIR/delta"
base=$(sed 's/	.*//;s,/*$,,;s,.*/,,' "$DIR/plan" | tr -c 'A-Za-z0-9._\n-' '_')
cp -R "$STAGE/$(member path <"$DIR/delta")" "$DIR/input/${base:-input}"
chmod -R u+w "$DIR/input"
rm "$DIR/stream" "$DIR/delta"

cat >"$DIR/again.sh" <<'S'
#!/bin/sh
# what dcheck says of the input here; 65: refused
cd "$(dirname "$0")" && dfetch input/* |
    dcheck -kv --no-cache --verdicts now.json --json
S
chmod +x "$DIR/again.sh"
st=0
"$DIR/again.sh" >"$DIR/dcheck.txt" 2>&1 || st=$?
echo "exit status $st" >>"$DIR/dcheck.txt"
[ ! -e "$DIR/now.json" ] || cat "$DIR/now.json" >>"$DIR/verdict.json"
rm -f "$DIR/now.json"
{
	for p in dfetch dcheck dmerge dpublish drun; do
		"$p" --version || :
	done
	ldd "$(command -v dcheck)" 2>/dev/null | sed 's/ (0x.*//' || :
	# opened when they are needed
	PATH=$PATH:/sbin ldconfig -p 2>/dev/null |
	    sed -n "s/^[[:blank:]]*\(lib\(archive\|curl\)[.]so[.].*\)/\1/p" || :
	uname -srm
	sed -n 's/^PRETTY_NAME=//p' /etc/os-release 2>/dev/null || :
	ulimit -a
	df -kP "${TMPDIR:-/tmp}" || :
	echo "environment, names alone:"
	env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' | sort
} >"$DIR/machine.txt" 2>&1
for f in plan verdict.json dcheck.txt; do
	sed 's,\([a-z]://\)[^/@" ]*@,\1,g;s,\(https*://[^?" ]*\)?[^" 	]*,\1,g' \
	    "$DIR/$f" >"$DIR/.new"
	mv "$DIR/.new" "$DIR/$f"
done
tar -czf "$DIR.tar.gz" "$DIR"
echo "$DIR.tar.gz: dcheck exits with $st"
