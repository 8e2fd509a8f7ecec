#!/bin/sh
# build.t: what make installs, what it takes away again, what it packs; and
# that contrib/deps.sh costs nothing when nothing is missing.
. "$(dirname "$0")/lib.sh"
plan 17
# a copy, so that no make that runs here touches what others are testing
mkdir b
cp -Rp "$(dirname "$BIN")/bin" "$(dirname "$BIN")/common" \
    "$(dirname "$BIN")/libcommon.a" b/
B=$T/b
unset MAKEFLAGS MAKELEVEL
mk() { make -C "$SRC" B="$B" "$@"; }

status 0 "make install" mk install DESTDIR="$T/d" PREFIX=/opt/x
is "$(cd d && find opt/x/bin -type f -perm -755 | sort | tr '\n' ' ')" \
    "opt/x/bin/dcheck opt/x/bin/dckpt opt/x/bin/dfetch opt/x/bin/dmerge \
opt/x/bin/dpublish opt/x/bin/drun " "six programs"
is "$(cd d && find opt/x/share/man -type f | wc -l | tr -d ' ')" \
    "$(find "$SRC/man" -type f | wc -l | tr -d ' ')" "every man page"
is "$(cd d && find . -path '*man1/*' ! -name '*.1' -o \
    -path '*man5/*' ! -name '*.5' -o -path '*man7/*' ! -name '*.7')" "" \
    "each in its section"
for p in drun dfetch; do
	is "$("$T/d/opt/x/bin/$p" --version)" "$p 0.1.0" "installed $p runs"
done
I=$T/d/opt/x/bin
ok "drun finds the installed dpublish beside itself" \
    env PATH=/usr/bin:/bin "$I/drun" "$I/dfetch -B t $DATA/demo/delta-01 |
	$I/dcheck | $I/dmerge | $I/dpublish t"
ok "and it published" [ -e t/latest-pointer.txt ]
status 0 "make uninstall" mk uninstall DESTDIR="$T/d" PREFIX=/opt/x
is "$(find d -type f)" "" "takes away all of it"

# the tarball: twice the same bytes, whole, and without what was built
mkdir src
(cd "$SRC" && tar -cf - --exclude=./build --exclude=./.git .) |
    tar -xf - -C src
status 0 "make dist, outside of git" make -C src dist
mv src/intact-0.1.0.tar.gz one.tar.gz
find src -exec touch {} +
status 0 "and again" make -C src dist
ok "the same bytes" cmp one.tar.gz src/intact-0.1.0.tar.gz
tar -xzf one.tar.gz
ok "it has what the tree has" diff -r --exclude='*.tar.gz' src intact-0.1.0
is "$(find intact-0.1.0 \( -name '*.o' -o -name .git -o -name build \))" "" \
    "and nothing that was built"

# a PATH with an apt-get that must not be called
mkdir trap
printf '#!/bin/sh\necho called >>%s\nexit 1\n' "$T/called" >trap/apt-get
cp trap/apt-get trap/apt-cache
chmod +x trap/*
status 0 "deps.sh finds everything here" \
    env PATH="$T/trap:$PATH" "$SRC/contrib/deps.sh" build test
is "$(cat called err out 2>/dev/null)" "" "says nothing, calls no apt"
finish
