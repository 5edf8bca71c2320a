#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Power cuts under load, content: a volume of two mirrors on simulated disks is
# written to while every request of the disks is recorded; then for many
# requests the disks are made as a cut after it would have left them, mounted,
# recovered, and everything is held against what had been acknowledged: nothing
# fsynced is lost, nothing is rotten that was not made so, no damaged byte is
# returned, the mirrors are equal, and a second mount finds nothing.
#
#	CRASH_CUTS=150     cuts in all
#	CRASH_FS="ext4,ext4 xfs,xfs ext4,xfs"
#	CRASH_MODE=random  fsync: within fsyncs; every: all requests within fsyncs;
#	                   pause: while nothing is asked of the volume
#	CRASH_JOBS=2       cuts at a time (btrfs: one, its copies share an id)
#	CRASH_KEEP=DIR     keep the recording of a pair with violations there
#	CRASH_RECORDING=DIR CRASH_ONLY=K   one cut of a kept recording
#	CRASH_STOP=10      a job ends after so many violations
#
# MIRRORFS_TEST_SEED replays choices and content; what the disks were asked for
# is only in a kept recording. record.sh has more variables.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/disk/lib.sh
. "$top_srcdir/tests/disk/lib.sh"
# shellcheck source=tests/crash/lib.sh
. "$top_srcdir/tests/crash/lib.sh" || broken "cannot be read"

require_root
require_fuse
require_program losetup getfattr shuf

SEED=${MIRRORFS_TEST_SEED:-$RANDOM}
CUTS_WANTED=${CRASH_CUTS:-150}
PAIRS=${CRASH_FS:-ext4,ext4 xfs,xfs ext4,xfs}
say "MIRRORFS_TEST_SEED=$SEED"

# shellcheck source=tests/crash/record.sh
. "$top_srcdir/tests/crash/record.sh" || broken "cannot be read"

keep_recording() {
	local dir=$CRASH_KEEP/$TYPE_A-$TYPE_B-$SEED
	mkdir -p "$dir" && cp --sparse=always "$DISK_STORE"/*.base "$DISK_STORE"/log* "$OPLOG" "$WORK/planted.live" \
		"$dir" &&
		echo "SEED=$SEED TYPE_A=$TYPE_A TYPE_B=$TYPE_B" >"$dir/what" &&
		say "the recording is kept: CRASH_RECORDING=$dir CRASH_ONLY=K" && return
	say "the recording cannot be kept in $dir" >&2
}

replay() {
	mkdir -p "$DISK_STORE" "$CUTS"
	mount -t tmpfs -o mode=0700,size=75% disks "$DISK_STORE" || broken "mount tmpfs"
	MOUNTS+=("$DISK_STORE")
	mkdir -p "$CUTS"
	cp --sparse=always "$CRASH_RECORDING"/*.base "$CRASH_RECORDING"/log* "$DISK_STORE" &&
		cp "$CRASH_RECORDING/oplog" "$CRASH_RECORDING/planted.live" "$WORK" || broken "no recording in $CRASH_RECORDING"
	# shellcheck source=/dev/null
	. "$CRASH_RECORDING/what"
	CRASH_LINES=${CRASH_LINES:-100}
	cut_all 1 < <(echo "$CRASH_ONLY" | tr , '\n')
}

one_pair() {
	local jobs=${CRASH_JOBS:-2} before=$VIOLATIONS
	record_load "${1%,*}" "${1#*,}"
	[ "${1/btrfs/}" = "$1" ] || jobs=1
	choose_cuts "$2" "${CRASH_MODE:-random}" >"$WORK/chosen"
	cut_all "$jobs" <"$WORK/chosen"
	[ "$VIOLATIONS" -eq "$before" ] || [ -z "${CRASH_KEEP:-}" ] || keep_recording
}

if [ -n "${CRASH_ONLY:-}" ]; then
	replay
else
	for pair in $PAIRS; do
		command -v "mkfs.${pair%,*}" "mkfs.${pair#*,}" >/dev/null || {
			say "without mkfs: $pair is left out"
			continue
		}
		# shellcheck disable=SC2086 # counts the words
		one_pair "$pair" $((CUTS_WANTED / $(set -- $PAIRS; echo $#)))
	done
fi
say "violations $VIOLATIONS $(sum_counts "$WORK"/job*/counts)($SECONDS s)"
grep -q 'cuts 1' "$WORK"/job*/counts || broken "no cut was made"
[ "$VIOLATIONS" -eq 0 ] || fail "$VIOLATIONS violations"
