#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The black-box exercisers on volumes over every kind of filesystem: pairs of
# ext4, xfs, btrfs and tmpfs, one mixed pair and a triple. Each volume is
# worked on by io and names at once and then by features; afterwards its
# mirrors must be equal, and after a new mount contents, names and inode
# numbers must be what they were. Without root: one pair in $TMPDIR only.
#
# MIRRORFS_TEST_SEED replays the random choices; EXERCISE_SECONDS (default 4)
# is how long io and names work on each volume; EXERCISE_VOLUMES, a list such
# as "ext4 ext4+xfs", does only those.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

require_fuse
require_program getfattr

BIN=$top_builddir/tests/exercise
SEED=${MIRRORFS_TEST_SEED:-$((RANDOM * 32768 + RANDOM))}
LIMIT=${EXERCISE_SECONDS:-4}
MNT=$WORK/mnt
FAULTS=0

# What FUSE cannot have or the underlying filesystem may lack.
MAY_LACK=" fallocate_collapse fallocate_insert rename_whiteout btime atime_on_read file_handles \
o_direct_mmap long_symlink dir_nlink "

# A fault is noted; the other volumes are still tried.
fault() {
	say "FAULT: $*" >&2
	FAULTS=$((FAULTS + 1))
}

# fs_size TYPE: enough for the exercisers, not less than mkfs wants
fs_size() {
	case $1 in
	xfs) echo 400M ;;
	*) echo 300M ;;
	esac
}

# make_mirrors TYPE...: filesystems with a mirror each; sets MIRRORS and PLAIN,
# the directory that serves as a model. "here" is whatever $WORK stands on.
make_mirrors() {
	local type n=0 base
	MIRRORS=()
	for type in "$@"; do
		n=$((n + 1))
		if [ "$type" = here ]; then
			base=$WORK/$VOLUME.$n
			mkdir "$base" || broken "mkdir $base"
		else
			make_fs "$VOLUME.$n" "$type" "$(fs_size "$type")"
			base=$WORK/$VOLUME.$n
		fi
		mkdir "$base/mirror" || broken "mkdir $base/mirror"
		MIRRORS+=("$base/mirror")
		[ "$n" -ne 1 ] || PLAIN=$base/plain
	done
	mkdir "$PLAIN" || broken "mkdir $PLAIN"
}

mount_options() {
	[ "$(id -u)" -ne 0 ] || echo allow_other
}

mount_all() {
	mount_volume -o "$(mount_options)" "$MNT" "${MIRRORS[@]}"
}

# A mix refuses what its weakest member refuses: xfs has no symlinks over 1023.
# xfs alone moves the mtime of what is exchanged.
excluded_ops() {
	case $VOLUME in
	*+*) echo symlink_long,exchange ;;
	*) echo none ;;
	esac
}

# Both at the same time: their directories have nothing in common.
run_io_and_names() {
	local io names
	mkdir "$MNT/io" "$MNT/names" || { fault "$VOLUME: mkdir"; return; }
	"$BIN/io" -s "$SEED" -n 1000000 -t "$LIMIT" "$MNT/io" >"$WORK/io.log" 2>&1 &
	io=$!
	"$BIN/names" -s "$SEED" -n 1000000 -t "$LIMIT" -x "$(excluded_ops)" \
		"$MNT/names" "$PLAIN" >"$WORK/names.log" 2>&1 &
	names=$!
	wait "$io" || fault "$VOLUME: io -s $SEED: status $?"
	wait "$names" || fault "$VOLUME: names -s $SEED -x $(excluded_ops): status $?"
	cat "$WORK/io.log" "$WORK/names.log"
}

may_lack() {
	case $MAY_LACK in
	*" $1 "*) return 0 ;;
	esac
	# tmpfs has no FALLOC_FL_ZERO_RANGE
	[ "$1" = fallocate_zero ] && case $VOLUME in *tmpfs*) return 0 ;; esac
	[ "$(id -u)" -ne 0 ] && case $2 in "needs root") return 0 ;; esac
	return 1
}

# The directory of 20,000 entries once is enough.
run_features() {
	local verdict name reason entries=2000
	[ "$VOLUME" != "$FIRST" ] || entries=20000
	mkdir "$MNT/features" || { fault "$VOLUME: mkdir"; return; }
	"$BIN/features" -d "$entries" "$MNT/features" >"$WORK/features.log" 2>&1
	while read -r verdict name reason; do
		case $verdict in
		ok) ;;
		unsup) may_lack "$name" "$reason" || fault "$VOLUME: $name unsupported: $reason" ;;
		*) fault "$VOLUME: features $name: $verdict $reason" ;;
		esac
	done <"$WORK/features.log"
	grep -q "^ok dir_nlink\|^unsup dir_nlink\|^FAIL dir_nlink" "$WORK/features.log" ||
		fault "$VOLUME: features ended early"
	say "$VOLUME: features: $(grep -c ^ok "$WORK/features.log") ok"
}

# Only root can read what the exerciser left without rights.
make_readable() {
	[ "$(id -u)" -eq 0 ] || chmod -R u+rwX "$MNT/names" "$PLAIN"
}

inode_numbers() {
	find "$MNT" -printf '%P %i %n\0' | LC_ALL=C sort -z
}

contents() {
	find "$MNT/io" -type f -exec sha256sum {} + | sort
}

mirrors_equal() {
	local mirror
	for mirror in "${MIRRORS[@]:1}"; do
		tree_equal "${MIRRORS[0]}" "$mirror" >"$WORK/tree.log" 2>&1 ||
			fault "$VOLUME: mirrors differ: $(cat "$WORK/tree.log")"
	done
}

survives_remount() {
	inode_numbers >"$WORK/inodes.before"
	contents >"$WORK/contents.before"
	umount_volume "$MNT"
	mirrors_equal
	mount_all || fail "$VOLUME: second mount: status $?"
	inode_numbers >"$WORK/inodes.after"
	contents >"$WORK/contents.after"
	cmp "$WORK/inodes.before" "$WORK/inodes.after" ||
		fault "$VOLUME: inode numbers changed over a mount"
	cmp "$WORK/contents.before" "$WORK/contents.after" ||
		fault "$VOLUME: contents changed over a mount"
	"$BIN/names" -c "$MNT/names" "$PLAIN" || fault "$VOLUME: names -c after a new mount"
}

# One volume from nothing to nothing. The name says the types: ext4+xfs is a
# pair of these, one type alone a pair of it.
run_volume() {
	local types
	VOLUME=$1
	IFS=+ read -ra types <<<"$VOLUME"
	[ "${#types[@]}" -gt 1 ] || types+=("${types[0]}")
	make_mirrors "${types[@]}"
	expect 0 mirrorctl init "${MIRRORS[@]}"
	mount_all || fail "$VOLUME: mount: status $?"
	run_io_and_names
	run_features
	make_readable
	survives_remount
	umount_volume "$MNT"
	say "$VOLUME: done after $SECONDS s"
}

for program in io names features; do
	[ -x "$BIN/$program" ] || broken "$program is not built in $BIN"
done
VOLUMES="ext4 xfs btrfs tmpfs ext4+xfs ext4+tmpfs+xfs"
[ "$(id -u)" -eq 0 ] || VOLUMES=here
VOLUMES=${EXERCISE_VOLUMES:-$VOLUMES}
FIRST=${VOLUMES%% *}
say "seed $SEED"
for volume in $VOLUMES; do
	run_volume "$volume"
done
[ "$FAULTS" -eq 0 ] || fail "$FAULTS faults, seed $SEED"
