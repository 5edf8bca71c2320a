#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The house rules that a script can check: the directions of the includes, and
# the sizes of functions and files. Reads the sources as they stand in
# $top_srcdir. `layers.sh DIR` looks at another tree; the test runs it on trees
# of its own, each breaking one rule, to see that it can fail.
set -u

MAX_FUNCTION=100
MAX_FILE=700

self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
top=${1:-${top_srcdir:-$(dirname "$self")/..}}
cd "$top" || exit 99
findings=0

complain() {
	echo "layers: $*" >&2
	findings=$((findings + 1))
}

sources() {
	find fs replica tools tests -name '*.[ch]' 2>/dev/null | LC_ALL=C sort
}

# Every include as "FILE TARGET", the target with its <> or "".
includes() {
	sources | while read -r file; do
		sed -n "s,^[[:space:]]*#[[:space:]]*include[[:space:]]*\([<\"][^>\"]*[>\"]\).*,$file \1,p" \
			"$file"
	done
}

# allowed FILE TARGET: the table of the layers.
allowed() {
	case $2 in
	'<fuse'* | '<linux/fuse.h>') [[ $1 == fs/* || $1 == tests/* ]] ;;
	'<xxhash.h>' | '<xxh'*) [[ $1 == replica/hash.c ]] ;;
	'<curl/'*) [[ $1 == replica/remote/http*.[ch] ]] ;;
	'<jansson.h>') [[ $1 != replica/base/* ]] ;;
	'"replica/base/'*) true ;;
	'"replica/'*) [[ $1 != replica/base/* ]] ;;
	'"fs/'*) [[ $1 == fs/* || $1 == tests/* ]] ;;
	'"tools/'*) [[ $1 == tools/* || $1 == tests/* ]] ;;
	'"tests/'*) [[ $1 == tests/* ]] ;;
	'"config.h"') true ;;
	'"'*/*) return 1 ;;
	'"'*) [[ $1 == tests/* ]] ;; # programs of several files beside each other
	*) true ;;
	esac
}

check_directions() {
	local file target
	while read -r file target; do
		allowed "$file" "$target" || complain "$file must not include $target"
	done < <(includes)
}

check_own_header_first() {
	local file own first
	while read -r file; do
		own=${file%.c}.h
		[[ $file == *.c && -f $own ]] || continue
		first=$(first_include "$file")
		[[ $first == "\"$own\"" ]] && continue
		[[ $file == tests/* && $first == "\"${own##*/}\"" ]] && continue
		complain "$file includes $first before \"$own\""
	done < <(sources)
}

# config.h may stand before it.
first_include() {
	sed -n '/^#[[:space:]]*include[[:space:]]*"config.h"/d;s,^#[[:space:]]*include[[:space:]]*\([<"][^>"]*[>"]\).*,\1,p;T;q' "$1"
}

# A function body stands between a "{" and a "}" in the first column.
check_sizes() {
	local file lines
	while read -r file; do
		lines=$(wc -l <"$file")
		[ "$lines" -le "$MAX_FILE" ] || complain "$file has $lines lines (at most $MAX_FILE)"
		while read -r line; do
			complain "$line"
		done < <(awk -v file="$file" -v max="$MAX_FUNCTION" '
			/^[a-zA-Z_].*\(/ { name = $0; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name) }
			/^{/ { start = NR }
			/^}/ && start {
				if (NR - start - 1 > max)
					print file ": " name "() has " NR - start - 1 " lines (at most " max ")"
				start = 0
			}' "$file")
	done < <(sources)
}

if [ $# -eq 0 ]; then
	[ -n "$(sources)" ] || { echo "layers: no sources in $top" >&2; exit 99; }
fi
check_directions
check_own_header_first
check_sizes
if [ "$findings" -gt 0 ]; then
	exit 1
fi
[ $# -eq 0 ] || exit 0

# --- proof that each rule can fail -------------------------------------------

trial=$(mktemp -d "${TMPDIR:-/tmp}/layers.XXXXXX") || exit 99
trap 'rm -rf "$trial"' EXIT

# must STATUS FILE LINE...: a tree with this one file, and its verdict.
must() {
	local want=$1 file=$2 got=0
	shift 2
	rm -rf "${trial:?}"/*
	mkdir -p "$trial/fs" "$trial/replica/base" "$trial/tools" "$trial/tests"
	echo '#include <stdio.h>' >"$trial/fs/own.h"
	printf '%s\n' "$@" >"$trial/$file"
	"$BASH" "$self" "$trial" 2>/dev/null || got=$?
	[ "$got" -eq "$want" ] && return
	echo "layers: status $got instead of $want for $file with: $1 ..." >&2
	exit 1
}

body() {
	echo 'static int f(void)'
	echo '{'
	yes '	g();' | head -n "$1"
	echo '}'
}

must 0 fs/a.c '#include <fuse_lowlevel.h>' '#include "replica/hash.h"'
must 1 replica/a.c '#include <fuse_lowlevel.h>'
must 1 tools/a.c '#include <linux/fuse.h>'
must 0 replica/hash.c '#include <xxhash.h>' '#  include <xxh_x86dispatch.h>'
must 1 replica/record.c '#include <xxhash.h>'
must 1 fs/a.c '#  include <xxh_x86dispatch.h>'
must 1 replica/a.c '#include <curl/curl.h>'
must 1 replica/a.c '#include "fs/own.h"'
must 1 tools/a.c '#include "fs/own.h"'
must 1 fs/a.c '#include "tools/json.h"'
must 1 replica/base/a.c '#include "replica/hash.h"'
must 1 replica/base/a.c '#include <jansson.h>'
must 0 replica/base/a.c '#include "replica/base/io.h"'
must 1 replica/a.c '#include "tests/unit/t.h"'
must 0 tests/a.c '#include "fs/own.h"' '#include "tools/json.h"'
must 1 fs/a.c '#include "own.h"'
must 0 tests/a.c '#include "own.h"'
must 1 fs/own.c '#include <stdio.h>' '#include "fs/own.h"'
must 0 fs/own.c '#include "config.h"' '#include "fs/own.h"'
must 0 fs/own.c '#include "fs/own.h"' '#include <stdio.h>'
must 0 fs/a.c "$(body 100)"
must 1 fs/a.c "$(body 101)"
must 0 fs/a.c "$(yes '/**/' | head -n 700)"
must 1 fs/a.c "$(yes '/**/' | head -n 701)"
