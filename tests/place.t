#!/bin/sh
# place.t: a run in another container, of the same host name: its staging is
# not seen from here, and what it has prepared is not taken for litter.
. "$(dirname "$0")/lib.sh"
plan 11
mkdir apart out
# apart COMMAND: where $T/apart is another file system
apart() {
	unshare -m --propagation private sh -c '
	    mount -t tmpfs tmpfs "$1/apart" && TMPDIR=$1/apart && export TMPDIR &&
	    exec sh -c "$2"' sh "$T" "$1"
}
if ! apart 'test -d "$TMPDIR"' 2>why; then
	skip 11 "no mount name spaces here: $(cat why)"
	finish
fi
"$GEN/gendelta" --out deltas --count 2 --records 5 --dim 8 --seed 1
drun 'dfetch -B S deltas/*0 | dcheck | dmerge | dpublish S' >first 2>&1
is "$(ls S/commits 2>&1)" 1.json "a version"
one=$(ls -d deltas/* | head -1)
two=$(ls -d deltas/* | tail -1)
cat >hold <<'X'
#!/bin/sh
# the stages before it have prepared when all has come
cat
: >ready
until [ -e go ]; do sleep 0.05; done
X
chmod +x hold
# while COMMAND OTHER: OTHER runs while COMMAND is held before its commit
while_() {
	rm -f ready go
	apart "drun '$1 | ./hold'" >out1 2>err1 &
	pid=$!
	until [ -e ready ] || ! kill -0 $pid 2>/dev/null; do sleep 0.05; done
	eval "$2" >out2 2>err2
	st2=$?
	: >go
	wait $pid
	st1=$?
	[ $st1 -eq 0 ] || sed 's/^/# /' err1
}
while_ "dfetch $one | dcheck | dmerge -o out/one" \
    'ls -A out >before; drun "dfetch $two | dcheck | dmerge -o out/two"'
is "$(grep -c "^\.intact\." before) $st2" "1 0" \
    "it has a work directory, and another run comes by"
is "$st1 $(cd out && echo *)" "0 one two" "dmerge -o: both are placed"
is "$(ls -A out | grep -c '^\.')" 0 "and nothing is left"
while_ "dfetch -b S $two | dcheck | dmerge | dpublish S" \
    'ls S/staging >before; dpublish gc --keep-newer-than 0s S'
is "$(grep -c . before) $st2" "1 0" "it has a claim, and gc comes by"
is "$st1 $(ls S/commits | wc -l | tr -d ' ')" "0 2" "the version is committed"
while_ "dfetch $one | dcheck | dmerge | dpublish -a $T/parts/" \
    'ls -A parts >before; drun "dfetch $two | dcheck | dmerge |
    dpublish -a $T/parts/"'
is "$st1 $st2 $(ls parts | wc -l | tr -d ' ')" "0 0 2" "artefacts, too"

# what has died here is seen, there or not
rm -rf out/*
"$GEN/gendelta" --out d2 --count 1 --records 5 --dim 8 --seed 2
{
	drun "dfetch d2 | dcheck | dmerge -o out/four | ./hold" >/dev/null 2>&1 &
	echo $! >pid
}
rm -f ready go
until [ -e ready ]; do sleep 0.05; done
work=$(ls -A out | grep '^\.' | head -1)
kill -9 "$(cat pid)"
: >go
# a run is dead when nobody holds its staging any more
until flock -n -x "$TMPDIR"/intact.*/lock true; do sleep 0.05; done
drun "dfetch $one | dcheck | dmerge -o out/five" >/dev/null
is "${work:+there, }$(ls -A out | grep -c '^\.')" "there, 0" \
    "a dead run of this place is swept"
mkdir "out/$work"
printf '{"run":"x","host":"%s","place":"elsewhere","stage":"/none"}\n' \
    "$(uname -n)" >"out/$work/owner"
drun "dfetch $one | dcheck | dmerge -o out/six" >/dev/null
is "$(ls -A out | grep '^\.')" "$work" "one of another place stays"
touch -d '8 days ago' "out/$work/owner" "out/$work"
drun "dfetch $one | dcheck | dmerge -o out/seven" >/dev/null
is "$(ls -A out | grep -c '^\.')" 0 "for a week"

# on a disk of this machine alone (a tmpfs), another boot's claim is over
cat >claims <<'X'
cp -a S apart/S
for boot in elsewhere 00000000-0000-4000-8000-000000000000; do
	mkdir -p "apart/S/staging/of-$boot"
	printf '{"run":"x","created_ns":%s,"host":"%s","place":"%s pid mnt",%s}\n' \
	    "$(date +%s%N)" "$(uname -n)" "$boot" '"staging":"/none"' \
	    >"apart/S/staging/of-$boot/owner"
done
dpublish gc --keep-newer-than 1d apart/S >removed && ls apart/S/staging
X
is "$(apart '. ./claims')" of-elsewhere "a claim of another boot goes at once"
finish
