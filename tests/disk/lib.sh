# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Verbs for simulated disks (disk.c): power cuts, errors, hangs, delays, lies.
# Sourced after tests/lib.sh, whose trap it extends: however the test ends the
# disks are healthy again before anything is unmounted, so that nothing hangs.
#
#	start_disks a=64M b=64M     $DISKS/a, $DISKS/b, $DISKS/ctl
#	format_disk a ext4          mounted at $WORK/a, device ${DISK_LOOPS[a]}
#	disk_ctl record             from here on it is known what was written when
#	...                         the workload; disk_seq, disk_ctl mark TEXT
#	cut_disks "$CUTS/1" K SEED PCT TORN [NAME...]
#	mount_image "$CUTS/1/a.img" "$WORK/after" ext4
#	unmount_image "$WORK/after"
#
# Least sizes: ext4 64M, xfs 300M, btrfs 110M. Each kernel request is logged
# from start_disks on; `disk_ctl stop` where only faults are wanted.
#
# All of it lies on a tmpfs of its own at $DISK_STORE (sparse; the log takes
# what is written, `record` starts it anew). $CUTS is a place for images on it.

DISKS=$WORK/disks
DISK_STORE=$WORK/disks.store
CUTS=$DISK_STORE/cuts
declare -A DISK_LOOPS=() # loop device of each formatted disk
declare -A DISK_TYPES=()

# start_disks NAME=SIZE...: again after stop_disks, the disks keep their bytes.
start_disks() {
	require_root
	[ -c /dev/fuse ] || skip "no /dev/fuse"
	require_program losetup
	[ -c /dev/loop-control ] || skip "no /dev/loop-control"
	mkdir -p "$DISKS" "$DISK_STORE" || broken "mkdir $DISKS"
	if ! is_mounted "$DISK_STORE"; then
		mount -t tmpfs -o mode=0700,size=75% disks "$DISK_STORE" || broken "mount tmpfs $DISK_STORE"
		MOUNTS+=("$DISK_STORE")
		mkdir "$CUTS"
	fi
	# shellcheck disable=SC2154 # top_builddir is of tests/lib.sh
	"$top_builddir/tests/disk/disk" "$DISK_STORE" "$DISKS" "$@" || broken "disk $*"
	MOUNTS+=("$DISKS")
	disk_seq >/dev/null || broken "the disks do not answer"
}

# Unmounts the filesystems on the disks and ends the disks.
stop_disks() {
	local name pid
	disk_ctl 'clear *'
	for name in "${!DISK_LOOPS[@]}"; do
		is_mounted "$WORK/$name" && unmount_disk "$name"
		detach_disk "$name"
	done
	pid=$(cat "$DISK_STORE/pid") || broken "no pid of the disks"
	wait_until 10 umount "$DISKS" 2>/dev/null || broken "cannot unmount $DISKS"
	wait_until 20 is_dead "$pid" || broken "the disks ($pid) outlive their mount"
}

# The device may be another test's at once: the trap must not know it any more.
detach_disk() {
	local i loop=${DISK_LOOPS[$1]}
	for i in "${!LOOPS[@]}"; do
		[ "${LOOPS[i]}" != "$loop" ] || unset "LOOPS[i]"
	done
	losetup -d "$loop" || broken "losetup -d $loop"
	unset "DISK_LOOPS[$1]"
}

# disk_ctl LINE: one command, see control.h.
disk_ctl() {
	printf '%s\n' "$*" 2>/dev/null >"$DISKS/ctl" && return
	say "disks refuse: $*: $(tail -n 1 "$DISK_STORE/messages")" >&2
	return 1
}

# Number of the last completed write or flush.
disk_seq() {
	cat "$DISKS/seq"
}

# disk_stat NAME reads|writes|flushes|written|failed
disk_stat() {
	awk -v name="$1" -v key="$2" '
		$1 == name { for (i = 2; i < NF; i += 2) if ($i == key) { print $(i + 1); found = 1 } }
		END { exit !found }' "$DISKS/stats" || broken "disk_stat $*"
}

# format_disk NAME TYPE: an empty ext4, xfs or btrfs at $WORK/NAME. Nothing is
# left to be initialised in the background.
format_disk() {
	local name=$1 type=$2 loop
	require_program "mkfs.$type"
	loop=$(attach_loop "$DISKS/$name") || skip "no free loop device"
	LOOPS+=("$loop")
	DISK_LOOPS[$name]=$loop
	DISK_TYPES[$name]=$type
	case $type in
	ext4) mkfs.ext4 -q -F -b 4096 -I 256 \
		-E lazy_itable_init=0,lazy_journal_init=0,nodiscard "$loop" ;;
	xfs) mkfs.xfs -q -f -K "$loop" ;;
	btrfs) mkfs.btrfs -q -f -K "$loop" >/dev/null ;;
	*) broken "format_disk knows no $type" ;;
	esac || broken "mkfs.$type on disk $name"
	mount_disk "$name"
}

# mount_disk NAME [OPTIONS]: again, after unmount_disk.
mount_disk() {
	local dir=$WORK/$1 loop=${DISK_LOOPS[$1]:-}
	mkdir -p "$dir" || broken "mkdir $dir"
	if [ -z "$loop" ]; then
		loop=$(attach_loop "$DISKS/$1") || skip "no free loop device"
		LOOPS+=("$loop")
		DISK_LOOPS[$1]=$loop
	fi
	if ! mount -t "${DISK_TYPES[$1]}" -o "noatime${2:+,$2}" "$loop" "$dir"; then
		grep -qw "${DISK_TYPES[$1]}" /proc/filesystems ||
			skip "this kernel does not mount ${DISK_TYPES[$1]}"
		fail "mount disk $1 (${DISK_TYPES[$1]})"
	fi
	MOUNTS+=("$dir")
}

unmount_disk() {
	wait_until 10 umount "$WORK/$1" 2>/dev/null || umount "$WORK/$1" || broken "umount $WORK/$1"
}

# cut_disks OUTDIR K SEED PCT TORN [NAME...]: images of all (or these) disks as
# after a power cut that followed request K ("end": the last): $OUTDIR/NAME.img.
cut_disks() {
	"$top_builddir/tests/disk/cut" "$DISK_STORE" "$@"
}

# The requests on record: number, disk, W|Z(eros)|F(lush)|L(ie), offset, length.
list_requests() {
	"$top_builddir/tests/disk/cut" "$DISK_STORE" --list
}

# mount_image IMG DIR TYPE [OPTIONS]: recovers, as after a reboot. The loop
# device goes with the mount. Returns the status of mount.
mount_image() {
	local opts=loop,noatime${4:+,$4}
	[ "$3" != xfs ] || opts=$opts,nouuid
	mkdir -p "$2" || broken "mkdir $2"
	mount -t "$3" -o "$opts" "$1" "$2" || return
	MOUNTS+=("$2")
}

unmount_image() {
	local i
	umount "$1" 2>/dev/null || wait_until 10 umount "$1" 2>/dev/null || broken "umount $1"
	for i in "${!MOUNTS[@]}"; do
		[ "${MOUNTS[i]}" != "$1" ] || unset "MOUNTS[i]"
	done
	MOUNTS=(${MOUNTS[@]+"${MOUNTS[@]}"})
}

# --- the end -----------------------------------------------------------------

cleanup_disks() {
	local status=$?
	! is_child || return "$status"
	trap '' INT TERM HUP
	# Disks that do not answer are ended; what is mounted on them sees errors.
	if is_mounted "$DISKS" && ! timeout 10 sh -c 'echo "clear *" >"$1"' sh "$DISKS/ctl"; then
		kill -KILL "$(cat "$DISK_STORE/pid")"
	fi
	[ "$status" -eq 0 ] || tail -n 5 "$DISK_STORE/messages" 2>/dev/null >&2
	(exit "$status")
	cleanup
}

trap cleanup_disks EXIT
