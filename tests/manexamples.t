#!/bin/sh
# manexamples.t: the EXAMPLES of every man page are run as they stand, those
# of a page one after the other in a fresh directory that holds:
#	deltas/	ten real deltas	target	holds the first five of them
#	plan	lists all ten	out/	empty	dev/	two plain files
#	tests/ and examples/ of the source; /srv/rag/lines is a copy of target
# An example is a literal display (.Bd -literal) and has to exit 0, or with
# the N of a comment before it: .\" status N
# One that cannot be run here says so, and why: .\" not run: REASON
. "$(dirname "$0")/lib.sh"

# example N of page F into FILE; its status is printed; 1 when there is none
example() {
	awk -v want="$2" -v out="$3" '
	    /^\.Sh / { on = ($0 == ".Sh EXAMPLES") }
	    !on { next }
	    /^\.\\" status / { status = $3 }
	    /^\.\\" not run: ./ { status = "not" }
	    /^\.Bd .*-literal/ { n++; lit = 1; next }
	    /^\.Ed/ { if (n == want) { print status == "" ? 0 : status
		found = 1; exit }
		lit = 0; status = ""; next }
	    lit && n == want {
		gsub(/\\&/, ""); gsub(/\\-/, "-"); gsub(/\\e/, "\\")
		gsub(/\\\(aq/, "\047"); gsub(/\\\(dq/, "\""); print > out }
	    END { exit found ? 0 : 1 }' "$1"
}
count() {
	i=0
	while example "$1" $((i + 1)) /dev/null >/dev/null; do
		i=$((i + 1))
	done
	echo $i
}
total=0 pages=0
for f in "$SRC"/man/*; do
	total=$((total + $(count "$f"))) pages=$((pages + 1))
done
plan $((total + pages + 1))

mkdir -p at/deltas at/out at/srv at/dev
echo one >at/dev/one
echo two >at/dev/two
m=10
for d in "$DATA"/demo/delta-*; do
	cp -R "$d" at/deltas/
	find "at/deltas/${d##*/}" -exec touch -d "2026-11-20 12:$m:00" {} +
	m=$((m + 1))
done
ln -s "$SRC/tests" "$SRC/examples" at/
cd at || exit 99
CONFORM_STEP=30	# conform.t is thorough
export CONFORM_STEP
dfetch -l deltas/ >plan
status 0 "five deltas are published, for the examples" \
    drun 'dfetch -B target deltas/delta-0[1-5] | dcheck | dmerge |
	dpublish target'
cp -Rp target srv/lines
cd "$T" || exit 99
mv at proto

for f in "$SRC"/man/*; do
	p=$(basename "$f") i=0 skipped=0
	rm -rf at
	cp -Rp proto at
	while true; do
		i=$((i + 1))
		rm -f block
		want=$(example "$f" $i block) || break
		what="$p: example $i: $(head -1 block)"
		if [ "$want" = not ]; then
			skipped=$((skipped + 1))
			ok "$what (is not run)" true
			continue
		fi
		sed -i "s|/srv/rag/lines|$T/at/srv/lines|g" block
		cd at || exit 99
		status "$want" "$what" sh -e "$T/block"
		cd "$T" || exit 99
	done
	ok "$p has examples that are run" [ $((i - 1 - skipped)) -gt 0 ]
done
finish
