#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every kind of damage by itself, in each mirror, made good without a mount by
# `mirrorctl repair`: the first run finds and corrects all (status 1), names
# every damaged path, keeps the bad bytes; the second finds nothing; the mirrors
# are as before.
#
# MIRRORFS_TEST_SEED replays; MIRRORFS_ROT_KINDS=flip,zero limits the kinds;
# MIRRORFS_ROT_DAMAGES is the number of each (6).
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/rot/verbs.sh
. "$top_srcdir/tests/rot/verbs.sh"
# shellcheck source=tests/rot/tree.sh
. "$top_srcdir/tests/rot/tree.sh"

require_root
require_program getfattr setfattr perl rsync

SEED=${MIRRORFS_TEST_SEED:-$(od -An -tu4 -N 4 /dev/urandom | tr -d ' ')}
DAMAGES=${MIRRORFS_ROT_DAMAGES:-6}
KINDS=${MIRRORFS_ROT_KINDS:-$(rot -l)}
KINDS=${KINDS//,/ }
SRC=$WORK/source
A=$WORK/a
B=$WORK/b
FAILURES=0

say "MIRRORFS_TEST_SEED=$SEED"

wrong() {
	say "FAILED: $*" >&2
	FAILURES=$((FAILURES + 1))
}

# Both mirrors as they were, records, hashes and superblocks included.
restore() {
	rsync -aHAX --delete "$WORK/keep-a/" "$A/" && rsync -aHAX --delete "$WORK/keep-b/" "$B/" ||
		broken "rsync"
}

reported() {
	{
		json 'findings.*.path' <"$WORK/found" | escape_lines
		events "$A" "$B" | cut -f 3
	} | sort -u >"$WORK/reported"
	awk -F'\t' '
		FILENAME ~ /links$/ { group[$1] = $2; next }
		FILENAME ~ /reported$/ { seen[$0] = 1; seen_group[group[$0]] = 1; next }
		!($2 in seen) && !(group[$2] != "" && group[$2] in seen_group)
	' "$WORK/links" "$WORK/reported" "$WORK/planted" >"$WORK/missed"
	[ ! -s "$WORK/missed" ]
}

# one_kind KIND NAME: damages in mirror $WORK/NAME.
one_kind() {
	local what="$1 in $2" status=0
	restore
	rm -rf "$WORK/bad"
	mkdir "$WORK/bad"
	rot -s "$SEED" -n "$DAMAGES" -k "$1" -m "$WORK/planted" -b "$WORK/bad" "$WORK/$2" \
		2>/dev/null || broken "$what: nothing planted"
	mirrorctl repair --json "$A" "$B" >"$WORK/found" 2>"$WORK/err" || status=$?
	[ "$status" -eq 1 ] || wrong "$what: repair ends with $status: $(tail -n 3 "$WORK/err")"
	reported || wrong "$what: not reported: $(cat "$WORK/missed")"
	(same_trees "$SRC" "$A" "$B") 2>"$WORK/diff" || wrong "$what: $(cat "$WORK/diff")"
	rot -q "$WORK/bad" "$A/.mirrorfs/quarantine" "$B/.mirrorfs/quarantine" >"$WORK/kept" ||
		wrong "$what: $(cat "$WORK/kept")"
	status=0
	mirrorctl repair "$A" "$B" >"$WORK/out" 2>&1 || status=$?
	[ "$status" -eq 0 ] || wrong "$what: a second repair ends with $status: $(cat "$WORK/out")"
}

build_source
mkdir "$A" "$B"
cp -a "$SRC/." "$A/"
mirrorctl init --adopt "$A" "$B" >"$WORK/out" 2>&1 || fail "init --adopt: $(cat "$WORK/out")"
# the top directory got .mirrorfs: its time is another one
touch -r "$SRC" "$A" "$B"
mirrorctl repair "$A" "$B" >/dev/null 2>&1
touch -r "$A" "$SRC"
(same_trees "$SRC" "$A" "$B") || fail "the mirrors differ before any damage"
rm -f "$A"/.mirrorfs/events* "$B"/.mirrorfs/events*
cp -a "$A" "$WORK/keep-a"
cp -a "$B" "$WORK/keep-b"
link_groups "$SRC" >"$WORK/links"
for kind in $KINDS; do
	one_kind "$kind" a
	one_kind "$kind" b
done
[ "$FAILURES" -eq 0 ] || fail "$FAILURES checks"
