#!/bin/sh
# conform.t: our own pass-through stages, and one that is not ours, keep the
# rules of the stream; and a stage that breaks them is found out.  Cut at every
# third byte (MORE=1: each).
. "$(dirname "$0")/lib.sh"
plan 6

# what the script is for: stages that get it wrong, which takes a while
cat >"$T/bad-cat" <<'X'
#!/bin/sh
# passes bytes on: does not notice a cut, nor what follows the end
exec cat
X
cat >"$T/bad-end" <<'X'
#!/usr/bin/perl
# makes an end out of every end of file
binmode STDIN; binmode STDOUT;
undef $/;
my $s = <STDIN> // '';
print $s;
print "\x82\xa1t\xa3end\xa6totals\x80" if $s !~ /\xa1t\xa3end/;
X
cat >"$T/bad-known" <<'X'
#!/usr/bin/perl
# drops what it does not know
binmode STDIN; binmode STDOUT;
undef $/;
my $s = <STDIN> // '';
$s =~ s/\x84?.\xa1t\xa9x-unknown.*?(?=.\xa1t)//sg;
print $s;
exit($s =~ /\xa1t\xa3end/ ? 0 : 76);
X
chmod +x "$T"/bad-*
for liar in bad-cat bad-end bad-known; do
	CONFORM_STEP=$(few 3 1) "$SRC/tests/conform.sh" "$T/$liar" \
	    >"$T/$liar.tap" 2>&1 &
done

# conform STAGE...: its failures, or nothing
conform() {
	"$SRC/tests/conform.sh" "$@" >"$T/tap" 2>&1
	got=$?
	grep -v '^ok' "$T/tap"
	return $got
}
CONFORM_STATUS=76 CONFORM_STEP=$(few 3 1)
export CONFORM_STATUS CONFORM_STEP
ok "dcheck keeps the rules" conform dcheck
ok "dckpt keeps the rules, as a stage" conform dckpt -c "$T/ckpt.db"
unset CONFORM_STATUS
# Python takes its time to start
CONFORM_STEP=$([ "${FULL:-0}" = 1 ] && echo 1 || few 9 3)
ok "a stage in Python, with its own msgpack" \
    conform "$SRC/examples/foreign.py"

# found LIAR WHAT: it is said to fail that
wait
found() {
	ok "$1 is found out" grep -q "^not ok [0-9]* - $2" "$T/$1.tap"
}
found bad-cat 'a byte after end$'
found bad-end 'cut at any of [0-9]* bytes'
found bad-known 'an unknown lower-case type passes untouched$'
finish
