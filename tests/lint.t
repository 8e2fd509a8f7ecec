#!/bin/sh
# lint.t: the house rules that a machine can check (STYLE.md): who includes
# whom, what may be called where, usage() against SYNOPSIS, how files look.
. "$(dirname "$0")/lib.sh"
PROGS='dfetch dcheck dmerge dpublish dckpt drun'
plan $((21 + 4 * $(echo "$PROGS" | wc -w)))
cd "$SRC" || exit 99

# nothing FILE 'what': the file of complaints is empty
nothing() {
	is "$(cat "$1")" "" "$2"
}
# text files of ours, a line each
ours() {
	find . -path ./build -prune -o -path ./.git -prune -o \
	    -path ./tests/data/samples -prune -o \
	    -path './tests/data/demo/delta-*' -prune -o \
	    -path './tests/data/fuzz*' -prune -o -name '*.tar.gz' -o \
	    -type f "$@" -print | sort
}
src() { ours -name '*.[ch]'; }

# --- walls
mods=$(awk '/^MODS =/ { on = 1; sub(/^MODS =/, "") }
    on { line = $0; more = sub(/\\$/, "", line); printf "%s ", line }
    on && !more { exit }' Makefile | tr '\t' ' ')

for m in $mods; do
	[ -e "common/$m.c" ] || echo "$m: in MODS, no common/$m.c"
done >"$T/mods"
for f in common/*.c; do
	m=$(basename "$f" .c)
	case " $mods " in
	*" $m "*) ;;
	*) echo "$f: not in MODS" ;;
	esac
done >>"$T/mods"
nothing "$T/mods" "MODS names every module of common, and no other"

# A module includes only modules before it.  store.h and check.h are also
# what the formats below them implement: those may see that interface, and
# arc refuses in check's words.  io digests while it copies.  A part X_y sees
# X.h, the interface that it helps to implement, wherever X.c stands.
for f in common/*.[ch]; do
	sed -n 's/^#include "\([a-z0-9_]*\)\.h".*/\1/p' "$f" |
	while read -r inc; do
		echo "$(basename "${f%.[ch]}") $inc $f"
	done
done | awk -v mods="$mods" '
    BEGIN { n = split(mods, v, " "); for (i = 1; i <= n; i++) at[v[i]] = i }
    $2 == "banned" || $1 == $2 { next }
    $1 == "io" && $2 == "hash" || $1 ~ /^arc/ && $2 == "check" { next }
    $2 == "store" && $1 ~ /^(chroma|batch|dstore)/ { next }
    ($2 == "check" || $2 == "store") && $1 == "check" { next }
    ($2 == "check" || $2 == "store") && $1 ~ /_check$/ { next }
    index($1, $2 "_") == 1 { next }
    !($2 in at) { print $3 ": includes " $2 ".h, not in MODS"; next }
    ($1 in at) && at[$2] >= at[$1] {
	print $3 ": includes " $2 ".h, which stands above it" }' >"$T/walls"
nothing "$T/walls" "modules include only modules before them in MODS"

for h in common/*.h tests/unit/*.h; do
	[ "$h" != common/banned.h ] || continue
	${CC:-cc} -std=c11 -pedantic -D_POSIX_C_SOURCE=200809L -Icommon \
	    -Wall -Wextra -Werror -Wno-unused-function -fsyntax-only \
	    -x c "$h" 2>&1 | head -3
done >"$T/headers"
nothing "$T/headers" "every header compiles on its own"

for f in common/*.h; do
	g=D_$(basename "$f" .h | tr '[:lower:]' '[:upper:]')_H
	grep -q "^#ifndef $g\$" "$f" || echo "$f: no guard $g"
	grep '^#include <' "$f" | grep -E 'sqlite3|archive|msgpack|curl|openssl'
done >"$T/guards"
nothing "$T/guards" "headers have their guard and include no library's"

for f in common/*.c; do
	h=$(basename "$f" .c).h
	# dstore_check.c and its kind implement part of another's header
	case $f in
	*_check.c) h='[a-z0-9_]*\.h' ;;
	esac
	[ -e "common/$(basename "$f" .c).h" ] || h='[a-z0-9_]*\.h'
	grep '^#include' "$f" | head -1 | grep -q "^#include \"$h\"" ||
	    echo "$f: own header is not included first"
done >"$T/first"
nothing "$T/first" "every module includes its own header first"

for f in common/*.c bin/*.c tests/gen/*.c; do
	grep '^#include' "$f" | tail -1 | grep -q '"banned.h"' ||
	    echo "$f: banned.h is not included last"
done >"$T/banned"
nothing "$T/banned" "every .c but unit tests includes banned.h last"

# banned.h bans what STYLE says
sed -n '/^- Banned at compile time/,/^$/p' STYLE.md | tr '\n' ' ' |
    sed 's/.*last): //; s/\..*//' | tr -s ' ' '\n' | sort >"$T/want"
sed -n 's/^#define \([a-z0-9_]*\).*banned_.*/\1/p' common/banned.h |
    sort >"$T/got"
is "$(cat "$T/got")" "$(cat "$T/want")" "banned.h is the list of STYLE.md"

grep -nE '(^|[^_[:alnum:]>.])(malloc|calloc|realloc|reallocarray|strdup|strndup|alloca)\(' \
    common/*.c bin/*.c | grep -v '^common/mem\.c:' >"$T/alloc"
nothing "$T/alloc" "memory comes from mem alone"

{
	grep -nE '(^|[^_[:alnum:]])(exit|_exit|abort)\(' common/*.c |
	    grep -vE '^common/(mem|msg)\.c:'
	grep -nE '(^|[^_[:alnum:]])(printf|puts|perror|putchar)\(' common/*.c
	grep -nE '(stderr|STDERR_FILENO)' common/*.c |
	    grep -vE '^common/(msg|stream)\.c:'
} | grep -vE '_exit\(.*/\* (child|signal)' >"$T/exits"
nothing "$T/exits" "common returns: it neither prints nor exits"

src | xargs grep -oE '#include <(msgpack|archive|curl)' |
    grep -vE '^./(common/(rec.c.*msgpack|arc(_[a-z]+)?.c.*archive|net(_[a-z]+)?.c.*curl)|tests/)' \
    >"$T/doors"
nothing "$T/doors" "msgpack, libarchive and curl have one door each"

# --- every variable that is looked at, there or by a function of that name
{
	grep -ohE '(getenv|[^a-z_]env)\("[A-Za-z_0-9]+"' bin/*.c common/*.c
	grep -ohE '"(AWS|DAV|DCKPT|DRUN|OPENAI|XDG)_[A-Z0-9_]+"' bin/*.c \
	    common/*.c
} | sed 's/.*"\(.*\)"/\1/' | sort -u | while read -r v; do
	sed -n '/^\.Sh ENVIRONMENT/,/^\.Sh FILES/p' man/intact.7 |
	    grep -qw -- "$v" || echo "$v: not in intact(7)"
done >"$T/env"
nothing "$T/env" "intact(7) has every variable of the environment"

# --- looks
ours ! -name '*.png' | while read -r f; do
	grep -nE '[ 	]+$' "$f" | head -3 | sed "s|^|$f: |"
done >"$T/space"
nothing "$T/space" "no trailing whitespace"

for f in $(src); do
	expand "$f" | awk -v f="$f" 'length($0) > 80 {
	    print f ":" NR ": " length($0) " columns" }'
	grep -nE '^ {8}' "$f" | head -3 | sed "s|^|$f: spaces for a tab: |"
	grep -nE '(^|[;{})[:space:]])//' "$f" | head -3 | sed "s|^|$f: // comment: |"
done >"$T/cols"
nothing "$T/cols" "80 columns, tabs, no // comments"

for f in $(src); do
	head -30 "$f" | grep -q 'SPDX-License-Identifier: ISC' || echo "$f"
	[ "$(head -c 2 "$f")" = '/*' ] || echo "$f: does not open with what it is"
done >"$T/spdx"
nothing "$T/spdx" "every source file says what it is and its licence"

src | xargs grep -nE 'XXX' | grep -vE 'XXX[: ]+[[:alnum:]]+ +[[:alnum:]]+|X{6}' \
    >"$T/xxx"
nothing "$T/xxx" "every XXX says what is wrong"

find tests -name '*.t' ! -perm -u+x >"$T/modes"
find tests contrib examples .ci \( -name '*.sh' -o -name '*.pl' \
    -o -name run \) ! -name lib.sh ! -perm -u+x >>"$T/modes"
nothing "$T/modes" "scripts can be executed"

for f in tests/*.t; do
	head -1 "$f" | grep -q '^#!/bin/sh$' || echo "$f: not #!/bin/sh"
	grep -q '^\. .*lib\.sh' "$f" || echo "$f: does not source lib.sh"
	grep -qE '^[[:space:]]*plan ' "$f" || echo "$f: no plan"
	grep -q '^finish' "$f" || echo "$f: no finish"
done >"$T/tests"
nothing "$T/tests" "every test is sh, with lib.sh, a plan and a finish"

# --- pages
for f in man/*; do
	awk -v f="$f" '
	    BEGIN { n = split("NAME SYNOPSIS DESCRIPTION ENVIRONMENT FILES " \
		"EXIT_STATUS EXAMPLES DIAGNOSTICS SEE_ALSO STANDARDS " \
		"AUTHORS CAVEATS", v, " ")
		for (i = 1; i <= n; i++) at[v[i]] = i }
	    /^\.Sh / { s = $0; sub(/^\.Sh /, "", s); gsub(/ /, "_", s)
		seen[s] = 1
		if (!(s in at)) next
		if (at[s] < last) print f ": " s " is out of order"
		last = at[s] }
	    END { if (!seen["NAME"] || !seen["DESCRIPTION"])
		print f ": NAME and DESCRIPTION are wanted"
		if (f ~ /\.1$/ && !(seen["EXAMPLES"] && seen["EXIT_STATUS"] &&
		    seen["SYNOPSIS"]))
		print f ": SYNOPSIS, EXIT STATUS and EXAMPLES are wanted" }' "$f"
done >"$T/order"
nothing "$T/order" "man pages have their sections, in the house's order"

mandoc -T lint -W warning man/* >"$T/mandoc" 2>&1
nothing "$T/mandoc" "mandoc finds nothing to warn of"
for f in man/*; do
	mandoc -T ascii "$f" | sed 's/.\x08//g' | awk -v f="$f" '
	    length($0) > 80 { print f ": " $0 }'
done >"$T/wide"
nothing "$T/wide" "a page fits a terminal of 80 columns"

# every status of DESIGN section 6, in every program's page
want="0 $(sed -n '/^## 6/,/^## 7/s/^| \([0-9][0-9]\) |.*/\1/p' DESIGN.md |
    tr '\n' ' ')"
for f in man/*.1; do
	got=$(sed -n '/^\.Sh EXIT STATUS/,/^\.Sh EXAMPLES/p' "$f" |
	    sed -n 's/^\.It [^0-9]*\([0-9]*\).*/\1/p' | tr '\n' ' ')
	[ "$got" = "$want" ] || echo "$f: got $got, want $want"
done >"$T/table"
nothing "$T/table" "EXIT STATUS sections agree with DESIGN section 6"

# words TEXT: one space between words
words() { tr -s ' \n\t' '   ' | sed 's/^ //; s/ $//'; }
for p in $PROGS; do
	"$p" --no-such-option >"$T/o" 2>"$T/e" </dev/null
	is "$? $(wc -c <"$T/o")" "64 0" "$p: a mistake is 64, nothing on stdout"
	usage=$(sed -n '/usage: /,$p' "$T/e" | sed 's/^.*usage: //' | words)
	syn=$(mandoc -T ascii -O width=1000 "man/$p.1" | sed 's/.\x08//g' |
	    sed -n '/^SYNOPSIS/,/^DESCRIPTION/p' | sed '1d;$d' | words)
	is "$usage" "$syn" "$p: usage is the page's SYNOPSIS"
	{ "$p" --help && "$p" -h; } >"$T/o" 2>"$T/e" </dev/null
	is "$? $(wc -c <"$T/e") $(grep -c 'usage: ' "$T/o")" "0 0 2" \
	    "$p: -h and --help, on stdout, 0"
	is "$("$p" --version)$("$p" -V)" "$p 0.1.0$p 0.1.0" "$p: --version and -V"
done
finish
