#!/bin/sh
# s3race.t: two and three publishers at once on one target in a real S3
# server, in turns.  Each merges a delta of its own onto the same version;
# one wins, the others are told 73, leave nothing, and do it again, all at
# once.  No delta may be lost.  ROUNDS=n does n of them (10; MORE=1: 60,
# FULL=1: 200).
# Then a prune that finds the claim of a dead run, while another takes that
# run's upload up and publishes it: at every other request of the prune
# (MORE=1: each).
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/real/s3lib.sh"
N=11
plan $N
if ! s3_rgw; then
	skip $N "$why"
	s3_down
	finish
fi
[ "${FULL:-0}" != 1 ] || ROUNDS=${ROUNDS:-200}
ROUNDS=${ROUNDS:-$(few 10 60)}
export AWS_ENDPOINT_URL=$RGW
s3do make s3://bucket
A=s3://bucket/a/target

# gen WHO SOURCE: what WHO publishes next, in a staging of its own
gen() {
	rm -rf "intact.$1"
	genrun $A "intact.$1" "$2" >"$1.json" 2>"$1.err" || echo "gen: $2"
}
# at_once WHO...: all of them; statuses in WHO.status
at_once() {
	for w; do
		{
			dpublish --json-in --stage "intact.$w" $A \
			    <"$w.json" >"$w.out" 2>"$w.err"
			echo $? >"$w.status"
		} &
	done
	wait
}
gen a first
at_once a
is "$(cat a.status)" 0 "a first version"

r=0 odd='' words='' passes=0
echo first >want
while [ $r -lt "$ROUNDS" ]; do
	r=$((r + 1))
	set -- a b
	[ $((r % 2)) -eq 0 ] || set -- a b c
	for w; do echo "$w$r" >>want; done
	while [ $# -gt 0 ]; do
		passes=$((passes + 1))
		for w; do gen "$w" "$w$r"; done
		at_once "$@"
		got=$(for w; do cat "$w.status"; done | sort -n | tr '\n' ' ')
		all=$*
		shift $#
		for w in $all; do
			[ "$(cat "$w.status")" -eq 73 ] || continue
			set -- "$@" "$w"
			grep -q 'generation [0-9]* was taken by run' \
			    "$w.err" || words="$words $w$r"
		done
		case $got in
		'0 ' | '0 73 ' | '0 73 73 ') ;;
		*)	odd="$odd $r: $got"
			cat a.err b.err c.err | sed 's/^/# /'
			# do not go round in circles
			set -- ;;
		esac
	done
done
is "$odd" "" "in each pass of $ROUNDS rounds one wins, the others are told 73"
is "$words" "" "and who it was that won"
echo "# $passes passes"
"$REAL/s3look.py" "$RGW" $A >look 2>&1
is "$(sed -n 's/^source //p' look | sort)" "$(sort want)" "no delta was lost"
is "$(grep -c '^commit' look)" "$(wc -l <want)" \
    "one commit for each that was told it is published"
is "$(grep '^pointer' look)" "pointer $(wc -l <want)" \
    "the pointer names the last"
is "$(grep -Ev '^(commit|pointer|source)' look)" "" \
    "every version is whole, and nothing else is left"
is "$(s3do uploads s3://bucket/)" "" "not even half an upload"
status 0 "the last version is what it was published as" dpublish rollback $A \
    "$(dpublish log $A | sed -n '1s/.*\([0-9]\{8\}T[0-9.]*Z-[0-9a-f]*\).*/\1/p')"

# the heir: dead leaves a claim, heir is the same content
fault_up '' "$RGW"
cat >hook <<SH
#!/bin/sh
cd "$T" && AWS_ENDPOINT_URL=$RGW && export AWS_ENDPOINT_URL
dpublish -v --json-in --stage intact.heir \$(cat at) <heir.json \\
    >/dev/null 2>heir.err
echo \$? >ran
SH
chmod +x hook
k=1 odd='' heirs=0 by=$(few 2 1)
while :; do
	A=s3://bucket/heir/$k
	echo $A >"at"
	gen a first
	at_once a
	gen dead second
	gen heir second
	DRUN_ID=dead dpublish --json-in --stage intact.dead $A <dead.json \
	    >/dev/null 2>dead.err
	rm -rf intact.dead ran
	fault "* . $k done pass then=$T/hook"
	AWS_ENDPOINT_URL=$PROXY dpublish prune --keep-newer-than 1d $A \
	    >prune.out 2>&1
	[ -s ran ] && [ $k -lt 200 ] || break
	! grep -q 'going on with version' heir.err || heirs=$((heirs + 1))
	dpublish log $A >log
	case $(cat ran)$(head -1 log) in
	'0*'*' 2 '*' present '*) ;;
	*)	odd="$odd $k"
		cat heir.err prune.out log | sed 's/^/# /' ;;
	esac
	k=$((k + by))
done
is "$odd" "" "what an heir publishes while a prune looks stays"
echo "# $k requests, $heirs heirs"
ok "and it was one" test $heirs -gt 4

s3_down
finish
