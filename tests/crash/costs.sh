#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What an operation costs: flushes of each mirror, counted by simulated disks,
# beside those of the same operation on a plain disk. What the crash protocol
# promises is asserted for ext4 and xfs; btrfs itself needs more, so there it
# is printed only. Then a tree is unpacked and left to come to rest.
#
# An operation is counted alone: nothing is sealed while the table is made, and
# the filesystems do not commit by themselves. But somebody on the machine may
# call sync(), and xfs writes its log now and then: a table that is not as
# promised is made once more, and the second one counts.
#
#	COSTS_FS="ext4 xfs btrfs"
#	COSTS_FILES=20000   small files of the tree
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/disk/lib.sh
. "$top_srcdir/tests/disk/lib.sh"
# shellcheck source=tests/crash/lib.sh
. "$top_srcdir/tests/crash/lib.sh"

require_root
require_fuse
require_program losetup getfattr tar xfs_io

FILES=${COSTS_FILES:-20000}
PLAIN=$WORK/p
A=$WORK/a/vol
B=$WORK/b/vol
MNT=$WORK/mnt

# --- counting -----------------------------------------------------------------

declare -A FLUSHES=()

# look: what each disk has done, reads apart, in $STATS, and flushes in $FLUSHES.
# Without a fork: it is most of what this test does.
look() {
	local line name writes flushes rest
	local -a lines
	STATS=
	mapfile -t lines <"$DISKS/stats"
	for line in "${lines[@]}"; do
		read -r name _ _ _ writes _ flushes rest <<<"$line"
		STATS+="$name $writes $flushes $rest "
		FLUSHES[$name]=$flushes
	done
}

# No write and no flush between two looks.
is_at_rest() {
	local before
	look
	before=$STATS
	sleep 0.02
	look
	[ "$STATS" = "$before" ]
}

wait_rest() {
	wait_until 20 is_at_rest || broken "the disks do not come to rest"
}

# count COMMAND: run in the directory $D; leaves COST_P, COST_A, COST_B.
count() {
	local p a b
	wait_rest
	p=${FLUSHES[p]} a=${FLUSHES[a]} b=${FLUSHES[b]}
	(cd "$D" && eval "$1") >"$WORK/out" 2>&1 || fail "status $?: $1: $(cat "$WORK/out")"
	wait_rest
	COST_P=$((FLUSHES[p] - p)) COST_A=$((FLUSHES[a] - a)) COST_B=$((FLUSHES[b] - b))
}

# --- the operations -----------------------------------------------------------

# All of it is at rest when the table begins.
prepare() {
	local name
	mkdir "$1/x" "$1/d" "$1/e" "$1/f" "$1/g" || fail "mkdir"
	xfs_io -f -c 'pwrite -b 1m 0 32m' "$1/x/hot" >"$WORK/out" || fail "pwrite"
	for name in append chmod cut small over source truncate written; do
		head -c 100000 /dev/urandom >"$1/x/$name" || fail "write"
		head -c 3000 "$1/x/$name" >"$1/x/$name.small" || fail "write"
	done
	touch "$1/d/there" "$1/e/there" "$1/f/there" "$1/g/there" || fail "touch"
}

# many N PROGRAM: "-c 'pwrite ...'" N times, in one region.
many() {
	local i
	for ((i = 0; i < $1; i++)); do
		printf "%s 'pwrite %d 4k' " -c $((i * 4096 * 7 % (3 << 20) / 4096 * 4096))
	done
}

# Operation; mirrors (=N exactly, <N at most, p+N at most so many more than the
# plain disk, - printed only); the same with -o strict; command. The first
# fdatasync on xfs carries that the record is open. A sync of a directory makes
# ext4 commit, and the note of the fsync before it is in the journal by then.
operations() {
	cat <<-END
		4 KiB overwritten, a new region|=1|<2|xfs_io -c 'pwrite 0 4k' x/hot
		200 overwrites of 4 KiB in it|=0|<200|xfs_io $(many 200) x/hot
		4 KiB overwritten, another region|=1|<2|xfs_io -c 'pwrite 12m 4k' x/hot
		overwritten in it, fdatasync|p+2|p+2|xfs_io -c 'pwrite 12m 4k' -c fdatasync x/hot
		overwritten again, fdatasync|<2|<2|xfs_io -c 'pwrite 12m 4k' -c fdatasync x/hot
		overwritten in it, fsync|p+1|p+2|xfs_io -c 'pwrite 12m 4k' -c fsync x/hot
		8 MiB overwritten from front to back|<3|-|xfs_io -c 'pwrite -b 64k 20m 8m' x/hot
		append to a file at rest|=0|=0|echo more >>x/append
		append, fdatasync|p+1|p+1|echo more >>x/append; sync -d x/append
		append, fsync|p+1|p+1|echo more >>x/append; sync x/append
		3 KB rewritten with O_TRUNC, at rest|=0|=0|head -c 3000 /dev/zero >x/written.small
		100 KB rewritten with O_TRUNC, at rest|=0|=0|head -c 100000 /dev/zero >x/written
		chmod of a file at rest|=0|=0|chmod 600 x/chmod
		cut off within a leaf, at rest|<1|<2|truncate -s 50001 x/truncate
		cut off between leaves, at rest|=0|=0|truncate -s 8192 x/cut
		first file made in a directory at rest|=1|=1|echo new >d/one
		second file made there|=0|=0|echo new >d/two
		made, fsync|p+1|p+1|echo new >d/three; sync d/three
		made, fsync, directory fsync|p+4|p+4|echo new >d/four; sync d/four; sync d
		first name removed from a directory at rest|=1|=1|rm e/there
		renamed in a directory at rest|=1|=1|mv f/there f/moved
		renamed again|=0|=0|mv f/moved f/again
		directory made in a directory at rest|=1|=1|mkdir g/one
		file made in that one|=0|=0|echo new >g/one/two
		made, renamed over another|-|-|echo new >d/five; mv d/five d/two
		made, fsync, renamed over another|-|-|echo new >d/six; sync d/six; mv d/six d/two
	END
}

# judged COST RULE PLAIN
judged() {
	case $2 in
	=*) [ "$1" -eq "${2#=}" ] ;;
	\<*) [ "$1" -le "${2#<}" ] ;;
	p+*) [ "$1" -le $(($3 + ${2#p+})) ] ;;
	*) true ;;
	esac
}

# --- the table ----------------------------------------------------------------

declare -A COST=()

# A volume with everything at rest, and known to the caches.
make_volume() {
	rm -rf "$A" "$B"
	mkdir "$A" "$B" || broken "mkdir"
	mirrorctl init "$A" "$B" >"$WORK/init" 2>&1 || fail "init: $(cat "$WORK/init")"
	serve "$MNT" seal_ms=3600000 "$A" "$B" || fail "the volume does not mount"
	prepare "$MNT"
	end_serving "$MNT" || fail "the volume does not end well"
	is_sealed "$A" || fail "something is not sealed by the unmount"
	sync -f "$WORK/a" "$WORK/b"
	serve "$MNT" "seal_ms=3600000${1:+,$1}" "$A" "$B" || fail "the volume does not mount"
	find "$MNT" -type f -exec tail -c 1 {} + >"$WORK/out" || fail "find"
}

# costs NAME: of all operations, in $D.
costs() {
	local label normal strict command
	while IFS='|' read -r label normal strict command; do
		count "$command"
		COST[$1,$label]="$COST_P $COST_A $COST_B"
	done < <(operations)
}

# print_table TYPE: how many are not as promised is in $BAD.
print_table() {
	local label normal strict command p a b sa sb verdict
	BAD=0
	printf '%s: flushes on %s: %s\n' "$TEST_NAME" "$1" "plain, mirrors; strict mirrors"
	while IFS='|' read -r label normal strict command; do
		read -r p _ <<<"${COST[plain,$label]}"
		read -r _ a b <<<"${COST[normal,$label]}"
		read -r _ sa sb <<<"${COST[strict,$label]}"
		verdict=
		judged "$a" "$normal" "$p" && judged "$b" "$normal" "$p" || verdict="NOT $normal"
		judged "$sa" "$strict" "$p" && judged "$sb" "$strict" "$p" || verdict="$verdict NOT strict $strict"
		[ "$1" != btrfs ] || verdict=
		[ -z "$verdict" ] || BAD=$((BAD + 1))
		printf '  %-44s %3d  %3d %3d  %3d %3d  %s\n' "$label" "$p" "$a" "$b" "$sa" "$sb" "$verdict"
	done < <(operations)
}

# Journal and data of both mirrors at once: with flushes that take MS it ends
# after two of them (one after the other on one device), not after four.
parallel() {
	local ms=1000 start end
	disk_ctl "delay a s $ms" || broken "delay"
	disk_ctl "delay b s $ms" || broken "delay"
	xfs_io -c 'pwrite 0 4k' "$MNT/x/hot" >"$WORK/out" || fail "pwrite"
	start=${EPOCHREALTIME/./}
	xfs_io -c fdatasync "$MNT/x/hot" || fail "fdatasync"
	end=${EPOCHREALTIME/./}
	disk_ctl 'clear *'
	say "fdatasync with flushes of $ms ms: $(((end - start) / 1000)) ms"
	[ $(((end - start) / 1000)) -ge "$ms" ] || broken "the disks are not slow"
	[ $(((end - start) / 1000)) -lt $((3 * ms)) ] || wrong "the flushes of an fdatasync are not parallel"
}

# --- unpacking ----------------------------------------------------------------

# Up to 6 KB each, a hundred a directory.
make_tar() {
	local i dir
	RANDOM=1
	mkdir "$DISK_STORE/tree" || broken "mkdir"
	for ((i = 0; i < FILES; i++)); do
		dir=$DISK_STORE/tree/$((i / 100))
		[ $((i % 100)) -ne 0 ] || mkdir "$dir" || broken "mkdir"
		printf '%0*d' $((RANDOM % 6000)) "$i" >"$dir/$i" || broken "write"
	done
	tar -C "$DISK_STORE" -cf "$DISK_STORE/tree.tar" tree || broken "tar"
	rm -rf "$DISK_STORE/tree"
}

# unpack DIR: until it is all sealed and synced. The plain one has no records.
unpack() {
	D=$1
	count "tar -xf '$DISK_STORE/tree.tar' && sync -f . && wait_until 60 is_sealed '$A'"
}

untar() {
	local limit=$((FILES / 5))
	make_tar
	unpack "$PLAIN"
	local plain=$COST_P
	serve "$MNT" '' "$A" "$B" || fail "the volume does not mount"
	unpack "$MNT"
	say "$FILES files unpacked, sealed: plain $plain, mirrors $COST_A $COST_B flushes," \
		"$(awk -v a="$COST_A" -v n="$FILES" 'BEGIN { printf "%.4f", a / n }') a file"
	if [ "$COST_A" -ge "$limit" ] || [ "$COST_B" -ge "$limit" ]; then
		wrong "0.2 flushes a file and more"
	fi
	finish
}

# --- all ----------------------------------------------------------------------

finish() {
	end_serving "$MNT" || fail "the volume does not end well"
	tree_equal "$A" "$B" || fail "the mirrors differ"
}

# Nothing is committed but by what asks for it.
mount_quiet() {
	unmount_disk "$1"
	case ${DISK_TYPES[$1]} in
	ext4 | btrfs) mount_disk "$1" commit=300 ;;
	*) mount_disk "$1" ;;
	esac
}

fresh_disks() {
	local name
	rm -f "$DISK_STORE"/*.cur
	start_disks p=512M a=512M b=512M
	disk_ctl stop || broken "stop"
	for name in p a b; do
		format_disk "$name" "$1"
		mount_quiet "$name"
	done
	D=$PLAIN
	prepare "$D"
	sync -f "$D"
}

# make_table TYPE: disks and the volume stay mounted.
make_table() {
	fresh_disks "$1"
	costs plain
	D=$MNT
	make_volume strict
	costs strict
	finish
	make_volume
	costs normal
	print_table "$1"
}

one_type() {
	make_table "$1"
	if [ "$BAD" -gt 0 ]; then
		say "$1: $BAD costs are not as promised: once more"
		finish
		stop_disks
		make_table "$1"
		VIOLATIONS=$((VIOLATIONS + BAD))
	fi
	[ "$1" != ext4 ] || parallel
	finish
	[ "$1" != ext4 ] || untar
	stop_disks
}

for type in ${COSTS_FS:-ext4 xfs btrfs}; do
	command -v "mkfs.$type" >/dev/null || {
		say "without mkfs.$type: left out"
		continue
	}
	one_type "$type"
	say "$type: after $SECONDS s"
done
[ "$VIOLATIONS" -eq 0 ] || fail "$VIOLATIONS costs are not as promised"
