#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Power cuts with a remote. A volume on simulated disks is worked in while it is
# sent; then the power fails at an instant before the end, so that the remote is
# ahead of the mirrors in part and behind in part. After the mount the remote gets to
# the state that the mirrors came back with.
#	REMOTE_CUTS=4   cuts
# shellcheck source=tests/remote/lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/disk/lib.sh
. "$top_srcdir/tests/disk/lib.sh"
# shellcheck source=tests/crash/lib.sh
. "$top_srcdir/tests/crash/lib.sh"
require_root
require_fuse
require_program losetup getfattr

SEED=${MIRRORFS_TEST_SEED:-$RANDOM}
say "MIRRORFS_TEST_SEED=$SEED"
RANDOM=$((SEED % 32768))
MNT=$WORK/live

# One change of some; all of it is known by the number.
change() {
	local d=$MNT/d$((RANDOM % 5)) f=f$((RANDOM % 12))
	mkdir -p "$d"
	case $((RANDOM % 8)) in
	0 | 1 | 2) head -c $((RANDOM * 4)) /dev/urandom >"$d/$f" ;;
	3) echo "$1" >>"$d/$f" ;;
	4) rm -f "$d/$f" ;;
	5) [ ! -e "$d/$f" ] || mv "$d/$f" "$MNT/d$((RANDOM % 5))/$f" ;;
	6) mv -T "$d" "$MNT/e$((RANDOM % 3))" ;;
	7) [ ! -e "$d/$f" ] || ln -f "$d/$f" "$d/link" ;;
	esac 2>/dev/null
	[ $((RANDOM % 6)) -ne 0 ] || sync -f "$MNT"
	[ $((RANDOM % 10)) -ne 0 ] || sleep 0.6
}

record() {
	local i
	start_faulty
	start_disks a=96M b=96M
	format_disk a ext4
	format_disk b ext4
	mkdir "$WORK/a/vol" "$WORK/b/vol" || broken "mkdir"
	mirrorctl init "$WORK/a/vol" "$WORK/b/vol" >"$WORK/init" 2>&1 || fail "init"
	serve "$MNT" "" "$WORK/a/vol" "$WORK/b/vol" || fail "no mount"
	mkdir "$MNT/d0" "$MNT/d1" "$MNT/d2" "$MNT/d3" "$MNT/d4"
	add_remote "$MNT" far --brake=off || fail "remote add"
	wait_remote "$MNT" far
	sync -f "$WORK/a" "$WORK/b"
	disk_ctl record || fail "record"
	FIRST=$(disk_seq)
	for ((i = 0; i < 250; i++)); do
		change "$i"
	done
	LAST=$(disk_seq)
	disk_ctl stop
	kill_serving "$MNT"
	stop_disks
	cp -a "$FAULTY_DIR" "$WORK/remote-then"
	say "requests $FIRST to $LAST"
}

one_cut() {
	local k=$1 a=$WORK/cut-a b=$WORK/cut-b mnt=$WORK/after
	find "$FAULTY_DIR" -mindepth 1 -delete
	cp -a "$WORK/remote-then/." "$FAULTY_DIR/"
	rm -rf "$CUTS/1"
	cut_disks "$CUTS/1" "$k" $((SEED + k)) $((RANDOM % 101)) 0 || broken "cut $k"
	mount_image "$CUTS/1/a.img" "$a" ext4 && mount_image "$CUTS/1/b.img" "$b" ext4 ||
		broken "the images of cut $k do not mount"
	serve "$mnt" "" "$a/vol" "$b/vol" || fail "cut $k: no mount"
	wait_recovered "$mnt" || fail "cut $k: no recovery"
	wait_remote "$mnt" far
	restored_equal "$mnt"
	end_serving "$mnt" || fail "cut $k: unmount"
	unmount_image "$a"
	unmount_image "$b"
	say "cut $k: equal"
}

record
for ((n = 0; n < ${REMOTE_CUTS:-4}; n++)); do
	one_cut $((FIRST + 1 + (RANDOM * 32768 + RANDOM) % (LAST - FIRST)))
done
