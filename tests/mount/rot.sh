#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Rot campaign: random damages of every kind below a mount, on settled trees.
# Never a wrong byte is read, all is repaired where one copy is good, every
# damage is reported, the quarantine holds the bad bytes; and where no copy is
# good: an error for that leaf only, and nothing is overwritten.
#
# MIRRORFS_TEST_SEED replays a run; MIRRORFS_ROT_ROUNDS and MIRRORFS_ROT_DAMAGES
# (per round) make it longer; MIRRORFS_ROT_LARGE=1 adds a file of 100 MiB.
# MIRRORFS_ROT_KINDS limits the kinds (see `rot -l`), MIRRORFS_ROT_FIRST starts
# with a later round.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/rot/verbs.sh
. "$top_srcdir/tests/rot/verbs.sh"
# shellcheck source=tests/rot/tree.sh
. "$top_srcdir/tests/rot/tree.sh"

require_root
require_fuse
require_program getfattr setfattr perl

SEED=${MIRRORFS_TEST_SEED:-$(od -An -tu4 -N 4 /dev/urandom | tr -d ' ')}
ROUNDS=${MIRRORFS_ROT_ROUNDS:-8}
DAMAGES=${MIRRORFS_ROT_DAMAGES:-40}
FIRST=${MIRRORFS_ROT_FIRST:-1}
KINDS=${MIRRORFS_ROT_KINDS:-}
SRC=$WORK/source
A=$WORK/a
B=$WORK/b
MNT=$WORK/mnt

say "MIRRORFS_TEST_SEED=$SEED, $ROUNDS rounds of $DAMAGES damages"

# --- a round -----------------------------------------------------------------

# plant MIRROR NAME [MANIFEST]: leaves out what that manifest names.
plant() {
	mkdir -p "$ROUND/bad-$2"
	rot -s "$SEED$NUMBER" -n "$DAMAGES" -m "$ROUND/$2" -b "$ROUND/bad-$2" \
		${KINDS:+-k "$KINDS"} ${3:+-x "$3"} "$1" || broken "rot $1"
}

plant_round() {
	case $1 in
	a) plant "$A" a ;;
	b) plant "$B" b ;;
	both)
		plant "$A" a
		plant "$B" b "$ROUND/a"
		;;
	esac
}

read_all() {
	tree_equal "$SRC" "$MNT" || fail "wrong data through the mount in round $NUMBER"
	links_equal "$SRC" "$MNT" || fail "wrong links through the mount in round $NUMBER"
}

# What the scrub and the events name, one escaped path a line.
reported() {
	json 'findings.*.path' <"$ROUND/scrub" | escape_lines
	events "$A" "$B" | cut -f 3 | escape_lines
}

# Every path of the manifests was reported, under this or another of its names.
check_reported() {
	reported | sed 's,^\./,,; s,^/,,' | sort -u >"$ROUND/reported"
	cat "$ROUND"/[ab] >"$ROUND/planted"
	link_groups "$SRC" >"$ROUND/links"
	awk -F'\t' '
		FILENAME ~ /links$/ { group[$1] = $2; next }
		FILENAME ~ /reported$/ { seen[$0] = 1; seen_group[group[$0]] = 1; next }
		!($2 in seen) && !(group[$2] != "" && group[$2] in seen_group)
	' "$ROUND/links" "$ROUND/reported" "$ROUND/planted" >"$ROUND/missed"
	[ -s "$ROUND/missed" ] || return 0
	cat "$ROUND/missed" >&2
	fail "round $NUMBER: planted and not reported, see above"
}

# The bad bytes are among what came into the quarantines since the round began.
check_quarantine() {
	local item bad new=()
	while IFS= read -r -d '' item; do
		new+=("$item")
	done < <(find "$A/.mirrorfs/quarantine" "$B/.mirrorfs/quarantine" -mindepth 1 \
		-maxdepth 1 -cnewer "$ROUND/stamp" ! -name index -print0)
	for bad in "$ROUND"/bad-*; do
		[ -n "$(ls "$bad")" ] || continue
		[ "${#new[@]}" -gt 0 ] || fail "round $NUMBER: nothing came into the quarantine"
		rot -q "$bad" "${new[@]}" >"$ROUND/kept" || {
			cat "$ROUND/kept" >&2
			sed -n 's/: not in .*//p' "$ROUND/kept" | while read -r item; do
				awk -F'\t' -v n="$item" '$6 == n' "$ROUND/${bad##*/bad-}" >&2
			done
			fail "round $NUMBER: bad bytes are not in the quarantine"
		}
	done
}

check_scrub() {
	local status=0
	mirrorctl scrub --json "$MNT" >"$ROUND/scrub" 2>"$ROUND/scrub.err" || status=$?
	if [ "$status" -ne 1 ]; then
		cat "$ROUND/scrub.err" >&2
		head -c 3000 "$ROUND/scrub" >&2
		fail "round $NUMBER: scrub after damages: status $status instead of 1"
	fi
	scrub 0 "$MNT"
	expect_status "$MNT" counters.uncorrected 0
}

# One of: damages while unmounted or mounted, read or scrub first.
round() {
	local where=$1 when=$2 order=$3
	say "round $NUMBER: mirror $where, $when, $order first"
	ROUND=$WORK/round-$NUMBER
	mkdir "$ROUND"
	rm -f "$A"/.mirrorfs/events* "$B"/.mirrorfs/events*
	: >"$ROUND/stamp"
	[ "$when" = mounted ] || plant_round "$where"
	mount_volume "$MNT" "$A" "$B" || fail "round $NUMBER: mount: status $?"
	if [ "$when" = mounted ]; then
		plant_round "$where"
		drop_caches
	fi
	[ "$order" = scrub ] || read_all
	check_scrub
	read_all
	umount_volume "$MNT"
	check_reported
	same_trees "$SRC" "$A" "$B"
	check_quarantine
	cat "$ROUND/planted" >>"$WORK/all-planted"
	rm -rf "$ROUND"
}

rounds() {
	local plans=("a unmounted read" "b unmounted scrub" "both unmounted read"
		"a mounted read" "b unmounted read" "both unmounted scrub"
		"b mounted read" "a unmounted scrub" "a mounted scrub")
	local n=${#plans[@]}
	for ((NUMBER = FIRST; NUMBER < FIRST + ROUNDS; NUMBER++)); do
		# shellcheck disable=SC2086 # three words
		round ${plans[(NUMBER - 1) % n]}
	done
	say "damages by kind: $(cut -f 1 "$WORK/all-planted" | sort | uniq -c |
		awk '{ printf "%s=%s ", $2, $1 }')"
}

# --- the same leaf bad on both -----------------------------------------------

LEAF=700

# read_leaf FILE NUMBER: one leaf, by a read of its own.
read_leaf() {
	dd if="$1" bs=4096 skip="$2" count=1 status=none
}

lose_leaf() {
	flip "$A/sizes/10M" $((LEAF * 4096 + 17))
	flip "$B/sizes/10M" $((LEAF * 4096 + 18))
	flip "$A/sizes/three/4097" 4096
	flip "$B/sizes/three/4097" 0
	mkdir "$WORK/before"
	cp -a "$A/sizes/10M" "$WORK/before/a-10M"
	cp -a "$B/sizes/10M" "$WORK/before/b-10M"
	cp -a "$A/sizes/three/4097" "$WORK/before/a-4097"
	cp -a "$B/sizes/three/4097" "$WORK/before/b-4097"
}

nothing_overwritten() {
	same_files "$WORK/before/a-10M" "$A/sizes/10M"
	same_files "$WORK/before/b-10M" "$B/sizes/10M"
	same_files "$WORK/before/a-4097" "$A/sizes/three/4097"
	same_files "$WORK/before/b-4097" "$B/sizes/three/4097"
}

expect_eio() {
	"$@" >/dev/null 2>"$WORK/eio" && fail "no error: $*"
	grep -q 'Input/output error' "$WORK/eio" || fail "not EIO: $* ($(cat "$WORK/eio"))"
}

read_around_lost() {
	local all=2560
	expect_eio read_leaf "$MNT/sizes/10M" $LEAF
	dd if="$MNT/sizes/10M" bs=4096 count=$LEAF status=none |
		cmp - <(head -c $((LEAF * 4096)) "$SRC/sizes/10M") ||
		fail "leaves before the lost one"
	dd if="$MNT/sizes/10M" bs=4096 skip=$((LEAF + 1)) count=$((all - LEAF - 1)) status=none |
		cmp - <(tail -c +$(((LEAF + 1) * 4096 + 1)) "$SRC/sizes/10M") ||
		fail "leaves after the lost one"
	expect_eio read_leaf "$MNT/sizes/10M" $LEAF
	expect_eio cat "$MNT/sizes/three/4097"
}

# A whole new leaf or file needs nothing of the lost one.
rewrite_lost() {
	read_leaf "$SRC/sizes/10M" $LEAF |
		dd of="$MNT/sizes/10M" bs=4096 seek=$LEAF conv=notrunc status=none iflag=fullblock ||
		fail "the lost leaf cannot be written anew"
	cat "$SRC/sizes/three/4097" >"$MNT/sizes/three/4097" ||
		fail "the lost file cannot be written anew"
	touch -r "$SRC/sizes/10M" "$MNT/sizes/10M"
	touch -r "$SRC/sizes/three/4097" "$MNT/sizes/three/4097"
}

lost_everywhere() {
	say "the same leaf bad on both mirrors"
	lose_leaf
	mount_volume "$MNT" "$A" "$B" || fail "mount: status $?"
	read_around_lost
	scrub 4 "$MNT"
	[ "$(status "$MNT" counters.uncorrected)" -gt 0 ] || fail "uncorrected is not counted"
	nothing_overwritten
	# one byte into the lost leaf would bless the rot around it
	expect_eio dd if=/dev/zero of="$MNT/sizes/10M" bs=1 count=1 conv=notrunc,fsync \
		seek=$((LEAF * 4096 + 5)) status=none
	remount_volume "$MNT" "$A" "$B"
	read_around_lost
	nothing_overwritten
	(cd "$SRC" && find . -type f ! -path ./sizes/10M ! -path ./sizes/three/4097 -print0) |
		(cd "$SRC" && xargs -0 -I{} cmp {} "$MNT"/{}) || fail "other files are not as they were"
	rewrite_lost
	remount_volume "$MNT" "$A" "$B"
	scrub 0 "$MNT"
	umount_volume "$MNT"
	same_trees "$SRC" "$A" "$B"
}

# The checks see what they are to see: a planter whose damage stays would fail.
check_the_checks() {
	cp -a "$SRC" "$WORK/copy"
	rot -s 1 -n 1 -k flip -m "$WORK/one" "$WORK/copy" || broken "rot"
	tree_equal "$SRC" "$WORK/copy" 2>/dev/null && broken "tree_equal sees no flipped bit"
	rm -rf "$WORK/copy"
}

build_source
check_the_checks
new_volume "$A" "$B"
mount_volume "$MNT" "$A" "$B" || fail "mount: status $?"
cp -a "$SRC/." "$MNT/" || fail "cannot copy the tree in"
umount_volume "$MNT"
same_trees "$SRC" "$A" "$B"
rounds
lost_everywhere
