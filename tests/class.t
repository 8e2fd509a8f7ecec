#!/bin/sh
# class.t: there is one table of errors, and everything that speaks of exit
# statuses says what it says: DESIGN, the pages, the programs, the database.
. "$(dirname "$0")/lib.sh"
plan 14

dckpt classes --json >table
# status|name|class|means|advice, "other" for -1
perl -MJSON::PP -ne 'my $r = decode_json($_);
    print join("|", $r->{status} // "other", $r->{name} // "",
	$r->{class} // "", $r->{means}, $r->{advice}), "\n"' table >rows
is "$(wc -l <rows | tr -d ' ')" 11 "the table has a row for each status"
is "$(cut -d'|' -f1 rows | tr '\n' ' ')" \
    "0 64 65 66 70 73 74 75 76 77 other " "of sysexits, and one for the rest"
is "$(cut -d'|' -f1 rows | sort | uniq -d)" "" "each once"
is "$(awk -F'|' '$3 !~ /^(transient|permanent|unknown)$/ && $1 != 0' rows)" "" \
    "each error has a class"
is "$(awk -F'|' '$4 == "" || $5 == ""' rows)" "" "a meaning and an advice"
status 0 "as text" dckpt classes
is "$(sed 1d out | awk '{ print $1 }' | tr '\n' ' ')" \
    "0 64 65 66 70 73 74 75 76 77 other " "the same rows"

# --- DESIGN section 6, word by word
sed -n '/^## 6/,/^## 7/s/^| *\([0-9o][^|]*[^ |]\) *| *\([A-Z]*\) *| *\([a-z]*\) *| *\([^|]*[^ |]\) *| *\([^|]*[^ |]\) *|$/\1|\2|\3|\4|\5/p; /^## 6/,/^## 7/s/^| *\(0\) *| *| *| *\([^|]*[^ |]\) *| *\([^|]*[^ |]\) *|$/\1|||\2|\3/p' \
    "$SRC/DESIGN.md" >design
is "$(cat design)" "$(cat rows)" "DESIGN section 6 is the table"

# --- the enum that programs use
sed -n 's/^	MSG_\([A-Z]*\) = \([0-9]*\).*/\2 \1/p' "$SRC/common/msg.h" |
    sed 's/^0 OK/0 /' >enum
is "$(cat enum)" "$(sed '$d' rows | awk -F'|' '{ print $1 " " $2 }')" \
    "msg.h has its numbers and names"

# --- every page: its numbers, and of each what it is known by
for f in "$SRC"/man/*.1; do
	p=$(basename "$f")
	sed -n '/^\.Sh EXIT STATUS/,/^\.Sh EXAMPLES/p' "$f" |
	    awk '/^\.It/ { if (n != "") print n "|" t; n = $NF; t = ""; next }
		/^\.El/ { print n "|" t; exit }
		n != "" { t = t " " $0 }' >items
	got=$(cut -d'|' -f1 items | tr '\n' ' ')
	[ "$got" = "0 64 65 66 70 73 74 75 76 77 " ] ||
	    echo "$p: has $got"
	while IFS='|' read -r st want; do
		sed -n "s/^$st|//p" items | grep -Eqi -- "$want" ||
		    echo "$p: $st: want '$want', got$(sed -n "s/^$st|/ /p" items)"
	done <<EOF
0|all done|published
64|called wrongly
65|refused
66|something that must exist does not
70|a bug of ours, caught by an invariant
73|was there first|another publisher took the generation first
74|the machine failed: disk full, I/O error, no memory
75|again later
76|stream broke
77|permission denied
EOF
done >pages
is "$(cat pages)" "" "every EXIT STATUS section agrees with it"
sed -n '/^\.Bl -tag -width transient/,/^\.El/p' "$SRC/man/dckpt.1" |
    awk '/^\.It Cm/ { c = $3; next } c != "" { print c ": " $0 }' >classes
for c in transient permanent unknown; do
	awk -F'|' -v c=$c '$3 == c && $1 != "other" { print $1 }' rows |
	    while read -r st; do
		grep -q "^$c: .*$st" classes || echo "$st is not under $c"
	done
done >missing
is "$(cat missing) $(grep -Eo '[67][0-9]' classes | wc -l)" " 9" \
    "dckpt(1) names the statuses of each class"

# --- and what a program does with them
sh -c 'printf "%s\n" "$1" "$2" "$3"' sh \
    '{"t":"hello","v":1,"prog":"test","version":"0","run":"r"}' \
    '{"t":"refused","url":"/d/bad","verdict":"hot","reason":"x"}' \
    '{"t":"end","totals":{}}' >s
drun 'dckpt -c db --json-in --json <s >/dev/null'
for st in 64 65 66 70 73 74 75 76 77 1 137; do
	sqlite3 db "update unit set status = $st"
	got=$(dckpt -c db failed | sed -n 's/^    mend: //p')
	want=$(awk -F'|' -v n=$st '$1 == n { print $5; f = 1 }
	    $1 == "other" && !f { print $5 }' rows)
	[ -n "$want" ] && [ "$got" = "$want" ] ||
	    echo "$st: want $want, got $got"
done >advice
is "$(cat advice)" "" "dckpt's advice is the table's"
is "$(sqlite3 db "select class, code from attempt")" "permanent|hot" \
    "a refused input is of its status' class"
status 64 "classes takes no database's options" dckpt classes -y
finish
