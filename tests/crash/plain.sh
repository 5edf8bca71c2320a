#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The oracle of the crash tests itself. Every fault it knows, planted in a plain
# directory, is found. The load on a plain ext4, xfs or btrfs, filesystems that
# are known to be right, has no violation after a cut; on a disk that
# acknowledges flushes and does not do them there are some.
#
#	CRASH_CUTS=40      cuts in all
#	CRASH_FS="ext4 xfs"
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/disk/lib.sh
. "$top_srcdir/tests/disk/lib.sh"
# shellcheck source=tests/crash/lib.sh
. "$top_srcdir/tests/crash/lib.sh" || broken "cannot be read"

require_root
require_program losetup perl shuf

SEED=${MIRRORFS_TEST_SEED:-$RANDOM}
TYPES=${CRASH_FS:-ext4 xfs}
EACH=$((${CRASH_CUTS:-40} / $(echo "$TYPES" | wc -w)))
say "MIRRORFS_TEST_SEED=$SEED"

# shellcheck source=tests/crash/record.sh
. "$top_srcdir/tests/crash/record.sh" || broken "cannot be read"

# --- planted faults -----------------------------------------------------------

# finds KIND [ARGUMENT...]: verify finds this, and nothing else.
finds() {
	local kind=$1 status=0 others
	shift
	"$CRASH/verify" check -k "$@" -e "$WORK/events" "$OPLOG" 0 "$WORK/tree" >"$WORK/found" || status=$?
	others=$(grep -v -e "^VIOLATION $kind: " -e ^counts "$WORK/found")
	[ -z "$others" ] || fail "with a fault of the kind $kind: $others"
	[ "$kind" = nothing ] && [ "$status" -eq 0 ] && return
	[ "$status" -eq 1 ] && grep -q "^VIOLATION $kind: " "$WORK/found" ||
		fail "a fault of the kind $kind is not found (status $status)"
}

# flip_byte FILE OFFSET
flip_byte() {
	perl -e 'open(my $f, "+<", $ARGV[0]) or die; seek($f, $ARGV[1], 0) or die;
		read($f, my $c, 1) or die; seek($f, $ARGV[1], 0); print $f chr(ord($c) ^ 1)' "$1" "$2" ||
		broken "flip"
}

# event ACTION PATH RANGE FOUND
event() {
	printf '2000-01-01T00:00:00+0000\t%s\t%s\t%s\t-\t%s\t-\n' "$@" >"$WORK/events"
}

planted() {
	local tree=$WORK/tree
	mkdir "$tree" || broken "mkdir"
	start_load "$tree" "$OPLOG" -s "$SEED" -t 1 -n 0
	touch "$OPLOG.go"
	wait "$LOAD" || fail "the load fails"
	: >"$WORK/events"
	finds nothing
	flip_byte "$tree/w0/l4" 5000
	finds foreign
	echo "f w0/l4 1 904 1 0 1" >"$WORK/planted"
	finds blessed -f "$WORK/planted"
	echo "f w0/i1 2 0 1 0 1" >"$WORK/planted.idle"
	flip_byte "$tree/w0/l4" 5000
	finds unseen -f "$WORK/planted.idle"
	flip_byte "$tree/w0/l4" 5000
	event unverified w0/l4 4096+4096 "copies differ"
	finds blessed -f "$WORK/planted" # flagged, but it was fsynced
	flip_byte "$tree/w0/l4" 5000
	finds undecided
	finds nothing -f "$WORK/planted"
	echo "f w0/l4 1 904 1 0 2" >"$WORK/planted.spared"
	finds undecided -f "$WORK/planted.spared" # another copy was as fsynced
	event lost w0/l4 4096+4096 "no copy matches its hash"
	finds falserot
	finds nothing -f "$WORK/planted"
	event repaired w0/l4 8192+4096 "hash mismatch"
	finds falserot -f "$WORK/planted"
	event "repair failed" w0/l4 - "missing"
	finds failed
	event repaired w0/l4 - "copies differ after an unclean end"
	finds nothing
	finds failed -x false
	cp "$tree/w0/l4" "$WORK/l4"
	dd if=/dev/zero of="$tree/w0/l4" bs=4096 count=1 seek=3 conv=notrunc status=none
	finds lost # zeros are from before the first write
	cp "$WORK/l4" "$tree/w0/l4"
	truncate -s -1 "$tree/w0/l4"
	finds lost
	cp "$WORK/l4" "$tree/w0/l4"
	mv "$tree/w0/l4" "$tree/w0/m4"
	finds names
	mv "$tree/w0/m4" "$tree/w0/l4"
	finds nothing
	cp -a "$tree" "$WORK/other"
	"$CRASH/verify" equal "$tree" "$WORK/other" || fail "a copy is not equal"
	for fault in "flip_byte $WORK/other/w0/l4 70000" "touch $WORK/other/w0/s1" \
		"chmod 600 $WORK/other/w0/s0" "rm $WORK/other/w0/s2" "mkdir $WORK/other/more"; do
		rm -rf "$WORK/other"
		cp -a "$tree" "$WORK/other"
		$fault
		expect 1 "$CRASH/verify" equal "$tree" "$WORK/other" >"$WORK/out"
	done
}

# --- cuts ---------------------------------------------------------------------

record_plain() {
	local load
	TYPE_A=$1
	rm -f "$DISK_STORE"/*.cur
	start_disks "a=$(disk_size "$1")"
	format_disk a "$1"
	start_load "$WORK/a" "$OPLOG" -q "$DISKS/seq" -s "$SEED" -n "$CRASH_OPS"
	load=$LOAD
	disk_ctl "lie a $2"
	disk_ctl record || fail "record"
	touch "$OPLOG.go"
	wait "$load" || fail "the load fails: $(cat "$OPLOG.out")"
	disk_ctl stop || fail "stop"
	stop_disks
	find_requests
}

# plain_cut K TYPE: status of verify.
plain_cut() {
	local status=0
	rm -rf "$CUTS/now"
	cut_disks "$CUTS/now" "$1" $((SEED + $1)) $(($1 % 101)) "$(can_tear && echo 50 || echo 0)" || broken "cut"
	mount_image "$CUTS/now/a.img" "$WORK/after" "$2" 2>/dev/null || {
		echo "VIOLATION: $2 does not recover" >"$WORK/found"
		return 1
	}
	"$CRASH/verify" check -P -s "$SEED" "$OPLOG" "$1" "$WORK/after" >"$WORK/found" || status=$?
	grep '^counts' "$WORK/found" >>"$WORK/counts"
	unmount_image "$WORK/after"
	[ "$status" -le 1 ] || broken "verify: status $status"
	return "$status"
}

honest() {
	local k
	record_plain "$1" 0
	for k in $(choose_cuts "$EACH" random); do
		plain_cut "$k" "$1" && continue
		grep '^VIOLATION' "$WORK/found" | head -n 20 >&2
		wrong "$1, cut $k"
	done
}

# What was acknowledged is not there.
lying() {
	local k found=0
	record_plain "$1" 1
	for k in $(choose_cuts 10 random); do
		plain_cut "$k" "$1" 2>/dev/null || found=$((found + 1))
	done
	[ "$found" -ge 3 ] || wrong "a lying disk under $1 shows in $found of 10 cuts only"
}

planted
for type in $TYPES; do
	command -v "mkfs.$type" >/dev/null || continue
	honest "$type"
done
say "violations $VIOLATIONS $(sum_counts "$WORK/counts")($SECONDS s)"
lying ext4
[ "$VIOLATIONS" -eq 0 ] || fail "$VIOLATIONS violations"
