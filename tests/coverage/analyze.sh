#!/bin/sh
# analyze.sh: gcc's -fanalyzer and clang-tidy over common/ and bin/: both are
# to find nothing.  About 2 and 9 minutes of processor time, too much for CI,
# which has cppcheck (make lint).  JOBS (2) files at once.
# SPDX-License-Identifier: ISC
set -u
cd "$(dirname "$0")/../.." || exit 1
# POSIX alone, as the Makefile's STD
std='-std=c11 -D_POSIX_C_SOURCE=200809L -Icommon'

# What clang-tidy is not asked for: "check why".
not='
bugprone-easily-swappable-parameters two numbers side by side are everyday C
bugprone-implicit-widening-of-multiplication-result constants and small counts
bugprone-misplaced-widening-cast casts for printf, of what cannot overflow
bugprone-narrowing-conversions buf_addc takes an int, as putc does
bugprone-sizeof-expression arrays of pointers have elements of such a size
bugprone-branch-clone branches that do the same for two reasons, each told
bugprone-not-null-terminated-result one copy takes the NUL of its last part
bugprone-reserved-identifier _GNU_SOURCE is what libc asks for
cert-dcl37-c the same
cert-dcl51-cpp the same
bugprone-suspicious-memory-comparison a copy against itself, padding and all
cert-exp42-c the same
cert-flp37-c the same
cert-err34-c sscanf of two hex digits that we wrote cannot overflow
clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling Annex K
clang-analyzer-core.CallAndMessage blind to what another file sets or returns
clang-analyzer-core.NonNullParamChecker the same
clang-analyzer-core.NullDereference the same
clang-analyzer-core.UndefinedBinaryOperatorResult the same
clang-analyzer-core.uninitialized.Branch the same
clang-analyzer-core.StackAddressEscape of structs that go with their function
clang-analyzer-unix.Malloc blind to lists whose elements unlink themselves
'
checks='-*,bugprone-*,clang-analyzer-*,cert-*'
checks=$checks$(printf '%s\n' "$not" | sed -n 's/^\([^ ]*\) .*/,-\1/p' |
    tr -d '\n')

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # lists of words
{
	printf '%s\n' common/*.c bin/*.c | xargs -P "${JOBS:-2}" -I '{}' \
	    ${GCC:-gcc} $std -Wall -Wextra -O1 -fanalyzer -c -o /dev/null '{}'
	printf '%s\n' common/*.c bin/*.c | xargs -P "${JOBS:-2}" -I '{}' \
	    clang-tidy --quiet --checks="$checks" '{}' -- $std
} 2>&1 | grep -vE '^[0-9]+ warnings? generated' | tee "$log"
n=$(grep -cE ': (warning|error): ' "$log")
echo "$n findings"
[ "$n" = 0 ]
