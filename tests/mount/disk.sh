#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The simulated disks themselves (tests/disk): what a power cut leaves, that a
# cut made offline is the cut made live, and that errors, delays, hangs and
# lies are seen by the filesystem above. No volume is mounted here.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/disk/lib.sh
. "$top_srcdir/tests/disk/lib.sh"

require_root
require_program mkfs.ext4 filefrag losetup perl

SEED=${MIRRORFS_TEST_SEED:-$RANDOM}
say "MIRRORFS_TEST_SEED=$SEED"

# put NAME BLOCK COUNT CHARACTER: 4 KiB blocks of it, in one write, not flushed.
put() {
	head -c "$(($3 * 4096))" /dev/zero | tr '\0' "$4" |
		dd of="$DISKS/$1" bs="$(($3 * 4096))" seek="$2" oflag=seek_bytes count=1 \
			iflag=fullblock conv=notrunc status=none
}

flush() {
	sync "$DISKS/$1" # fsync(2) of the file
}

# blocks FILE FIRST COUNT: a line for each 4 KiB block: the character it is of,
# or the characters of its sectors, ? for a sector of several.
blocks() {
	perl -e '
		my ($path, $first, $count) = @ARGV;
		open(my $f, "<:raw", $path) or die "$path: $!\n";
		sysseek($f, 4096 * $first, 0);
		for (1 .. $count) {
			sysread($f, my $block, 4096) == 4096 or die "$path: short\n";
			$block =~ tr/\0/0/;
			my $all = join("", map { /^(.)\1*$/s ? $1 : "?" } unpack("(a512)*", $block));
			print $all =~ /^(.)\1*$/ ? $1 : $all, "\n";
		}' "$@"
}

# holds FILE BLOCK CHARACTER: the whole block is of it.
holds() {
	local got
	got=$(blocks "$1" "$2" 1) || broken "blocks $*"
	[ "$got" = "$3" ] || fail "block $2 of ${1#"$DISK_STORE"/} has $got instead of $3"
}

# fresh_cut K PCT TORN: images in $CUTS/now.
fresh_cut() {
	rm -rf "$CUTS/now"
	cut_disks "$CUTS/now" "$1" "$SEED" "$2" "$3" || fail "cut $*"
}

milliseconds() {
	local start
	start=$(date +%s%N)
	"$@" || fail "fails: $*"
	echo $((($(date +%s%N) - start) / 1000000))
}

is_done() {
	! kill -0 "$1" 2>/dev/null
}

# --- what a cut leaves --------------------------------------------------------

raw() {
	local k A=$CUTS/now/a.img B=$CUTS/now/b.img
	put a 0 1 x
	disk_ctl record || fail "record"
	put a 0 1 A    # k - 5
	put a 4096 1 B # k - 4
	flush a        # k - 3
	put a 8192 1 C # k - 2
	put a 4096 1 D # k - 1
	put b 0 1 E    # k
	k=$(disk_seq)
	fresh_cut "$k" 0 0
	holds "$A" 0 A
	holds "$A" 1 B
	holds "$A" 2 0
	holds "$B" 0 0
	fresh_cut "$k" 100 0
	holds "$A" 1 D
	holds "$A" 2 C
	holds "$B" 0 E
	cmp "$A" "$DISK_STORE/a.cur" || fail "all survives, and is not what was written"
	fresh_cut $((k - 6)) 100 0
	holds "$A" 0 x
	holds "$A" 1 0
	fresh_cut $((k - 4)) 0 0
	holds "$A" 0 x
	fresh_cut $((k - 3)) 100 0
	holds "$A" 1 B
	flush a # of one disk, not of the other
	fresh_cut end 0 0
	holds "$A" 1 D
	holds "$B" 0 0
	for k in $((k + 2)) $((k - 7)); do
		cut_disks "$CUTS/now" "$k" 1 0 0 2>"$WORK/err" && fail "a cut at $k, not in the log"
		grep -q "not request $k" "$WORK/err" || fail "no reason: $(cat "$WORK/err")"
	done
	expect 0 cut_disks "$CUTS/one" end 1 0 0 b
	[ "$(ls "$CUTS/one")" = b.img ] || fail "one disk asked for, not $(ls "$CUTS/one")"
}

# Zeros are not stored: what is under them goes all the same.
zeros() {
	local img=$CUTS/now/a.img
	put a 0 4 z
	disk_ctl record || fail "record"
	put a 4096 2 '\0'
	fresh_cut end 0 0
	[ "$(blocks "$img" 0 4 | tr -d '\n')" = zzzz ] || fail "unflushed zeros"
	flush a
	fresh_cut end 0 0
	[ "$(blocks "$img" 0 4 | tr -d '\n')" = z00z ] || fail "flushed zeros are lost"
	cmp "$img" "$DISK_STORE/a.cur" || fail "zeros are not what was written"
}

# Of many unflushed writes PCT percent survive, whole or torn between sectors.
chance() {
	local i n img=$CUTS/now/a.img
	disk_ctl record || fail "record"
	perl -e 'open(my $f, "+<:raw", $ARGV[0]) or die; for (100 .. 299) {
		sysseek($f, 4096 * $_, 0); syswrite($f, "w" x 4096) == 4096 or die }' "$DISKS/a" ||
		fail "writing 200 blocks"
	fresh_cut end 50 0
	blocks "$img" 100 200 >"$WORK/blocks"
	n=$(grep -cx w "$WORK/blocks")
	[ "$n" -gt 60 ] && [ "$n" -lt 140 ] || fail "$n of 200 survive at 50 %"
	[ "$(grep -cx 0 "$WORK/blocks")" -eq $((200 - n)) ] || fail "torn at TORN 0"
	fresh_cut end 100 50
	blocks "$img" 100 200 >"$WORK/blocks"
	n=$(grep -cx '[0w]\{8\}' "$WORK/blocks")
	[ "$n" -gt 60 ] && [ "$n" -lt 140 ] || fail "$n of 200 torn at 50 %"
	! grep -q '?' "$WORK/blocks" || fail "torn within a sector"
	n=$(sort -u "$WORK/blocks" | wc -l)
	[ "$n" -gt 30 ] || fail "only $n ways to be torn"
	mv "$img" "$CUTS/first.img"
	fresh_cut end 100 50
	cmp "$img" "$CUTS/first.img" || fail "the same seed makes another image"
	SEED=$((SEED + 1)) fresh_cut end 100 50
	! cmp -s "$img" "$CUTS/first.img" || fail "another seed makes the same image"
	rm "$CUTS/first.img"
}

# A counter goes to disk a, flushed, then to b, flushed. At any one instant a is
# as far as b or one ahead; two instants would give themselves away.
one_instant() {
	local pid i k first last n=0
	disk_ctl record || fail "record"
	first=$(disk_seq)
	perl -MIO::Handle -e 'open(my $a, "+<:raw", $ARGV[0]) && open(my $b, "+<:raw", $ARGV[1]) or die;
		for (my $n = 1; ; $n++) { for my $f ($a, $b) {
			sysseek($f, 1 << 20, 0); syswrite($f, pack("Qx504", $n)) == 512 or die;
			$f->sync or die } }' "$DISKS/a" "$DISKS/b" &
	pid=$!
	for i in 1 2 3 4 5 6 7 8 9 10; do
		k=$(disk_seq)
		wait_until 20 seq_is_beyond $((k + 10)) || fail "the writer does not go on"
		disk_ctl snap "$CUTS/live" "$i" 50 0 || fail "snap while writing"
		check_counters "$CUTS/live"
	done
	kill "$pid"
	wait "$pid" 2>/dev/null
	last=$(disk_seq)
	RANDOM=$SEED
	for i in {1..30}; do
		fresh_cut $((first + RANDOM % (last - first + 1))) $((RANDOM % 101)) 0
		check_counters "$CUTS/now"
		[ "$COUNTER" -eq 0 ] || n=$((n + 1))
	done
	[ "$n" -gt 10 ] || fail "only $n of 30 cuts have counters in them"
}

seq_is_beyond() {
	[ "$(disk_seq)" -gt "$1" ]
}

check_counters() {
	local a b
	a=$(od -An -t u8 -j $((1 << 20)) -N 8 "$1/a.img")
	b=$(od -An -t u8 -j $((1 << 20)) -N 8 "$1/b.img")
	COUNTER=$((b))
	[ $((a)) -eq $((b)) ] || [ $((a)) -eq $((b + 1)) ] || fail "counters $a, $b: not one instant"
}

snap_is_cut() {
	local k i
	for i in {1..20}; do
		echo "$i" >"$WORK/a/snap.$i"
		[ $((i % 5)) -ne 0 ] || sync "$WORK/a/snap.$i"
	done
	sync -f "$WORK/a"
	put b 8192 4 s
	disk_ctl hang a 1 # so that no write of the filesystem comes between
	k=$(disk_seq)
	disk_ctl snap "$CUTS/snap" "$SEED" 50 50 || fail "snap"
	disk_ctl hang a 0
	put b 8192 4 t
	echo more >"$WORK/a/more"
	sync -f "$WORK/a"
	fresh_cut "$k" 50 50
	cmp "$CUTS/now/a.img" "$CUTS/snap/a.img" && cmp "$CUTS/now/b.img" "$CUTS/snap/b.img" ||
		fail "the cut at $k is not the snapshot taken at $k"
}

# --- below a filesystem -------------------------------------------------------

# after_cut NAME TYPE PCT COMMAND...: with the recovered image at $WORK/after.
after_cut() {
	local name=$1 type=$2 status=0
	fresh_cut end "$3" $((50 - $3 / 2))
	shift 3
	mount_image "$CUTS/now/$name.img" "$WORK/after" "$type" || fail "$type does not recover"
	"$@" || status=$?
	unmount_image "$WORK/after"
	return "$status"
}

# What was fsynced before a mark is there after a cut behind that mark.
synced_stays() {
	local i k upto
	disk_ctl record
	for i in {1..12}; do
		head -c 10000 /dev/urandom >"$WORK/a/file.$i"
		head -c 100 /dev/urandom >"$WORK/a/unsynced.$i"
		sync "$WORK/a/file.$i" && sync "$WORK/a" || fail "sync"
		disk_ctl mark "done $i" || fail "mark"
	done
	list_requests >"$WORK/list"
	for i in {1..6}; do
		k=$(awk '{ print $1 }' "$WORK/list" | uniq | shuf -n 1 --random-source="$WORK/list")
		sed -i "/^$k /d" "$WORK/list"
		upto=$(list_requests | awk -v k="$k" '$1 <= k && /M done/ { n = $5 } END { print n + 0 }')
		rm -rf "$CUTS/now"
		cut_disks "$CUTS/now" "$k" "$SEED" $((i % 2 * 50)) 50 || fail "cut"
		mount_image "$CUTS/now/a.img" "$WORK/after" ext4 || fail "mount after a cut at $k"
		while [ "$upto" -gt 0 ]; do
			cmp "$WORK/a/file.$upto" "$WORK/after/file.$upto" || fail "cut at $k: lost"
			upto=$((upto - 1))
		done
		unmount_image "$WORK/after"
	done
}

lie() {
	disk_ctl record
	echo honest >"$WORK/a/honest"
	sync "$WORK/a/honest" && sync "$WORK/a" || fail "sync"
	disk_ctl lie a 1
	echo lost >"$WORK/a/lied"
	sync "$WORK/a/lied" && sync "$WORK/a" || fail "sync on a lying disk"
	after_cut a ext4 0 test -e "$WORK/after/lied" && fail "the lying disk kept the file"
	after_cut a ext4 0 test -s "$WORK/after/honest" || fail "lost: a file synced before the lie"
	after_cut a ext4 100 test -s "$WORK/after/lied" || fail "at 100 % it is there"
	disk_ctl lie a 0
	sync -f "$WORK/a"
	after_cut a ext4 0 test -e "$WORK/after/lied" || fail "an honest flush does not count"
}

# position FILE: offset and length on the device of its first extent.
position() {
	filefrag -b4096 -v "$1" | awk -F '[ :.]+' '$2 == 0 { print $5 * 4096, $7 * 4096 }'
}

overwrite() {
	dd if=/dev/urandom of="$WORK/a/victim" bs=64K count=1 conv=notrunc,fdatasync status=none
}

eio() {
	local where failed reads
	overwrite && sync -f "$WORK/a" || fail "write"
	where=$(position "$WORK/a/victim")
	failed=$(disk_stat a failed)
	# shellcheck disable=SC2086 # two numbers
	disk_ctl eio a w $where || fail "eio"
	overwrite 2>"$WORK/err" && fail "fdatasync succeeds on a failing disk"
	grep -q 'Input/output error' "$WORK/err" || fail "not EIO: $(cat "$WORK/err")"
	[ "$(disk_stat a failed)" -gt "$failed" ] || fail "no failed request counted"
	echo other >"$WORK/a/other"
	sync "$WORK/a/other" || fail "the error is not only where it was ordered"
	disk_ctl clear a
	overwrite || fail "EIO after clear"
	sync -f "$WORK/a" 2>/dev/null # says once more that there was an error
	# A write that failed was not applied; others errors; the n-th request only.
	put b 0 1 o
	disk_ctl err b w 0 4K 28 1 1 || fail "err"
	put b 0 1 p || fail "the first of SKIP 1 fails"
	put b 0 1 q 2>"$WORK/err" && fail "the second of SKIP 1 succeeds"
	grep -q 'No space left' "$WORK/err" || fail "not ENOSPC: $(cat "$WORK/err")"
	holds "$DISK_STORE/b.cur" 0 p
	put b 0 1 r || fail "fails more than COUNT 1 times"
	reads=$(disk_stat b reads)
	perl -e 'open(my $f, "<", $ARGV[0]) or die; for (1, 2) {
		sysseek($f, 0, 0); sysread($f, my $x, 512) == 512 or die }' "$DISKS/b" || fail "read"
	[ "$(disk_stat b reads)" -eq $((reads + 2)) ] || fail "something caches the disk"
	disk_ctl eio b r 4K 4K
	holds "$DISKS/b" 0 r
	dd if="$DISKS/b" bs=4096 skip=1 count=1 status=none >"$WORK/out" 2>&1 && fail "no EIO of a read"
	disk_ctl eio b s 0 1
	flush b 2>/dev/null && fail "no EIO of a flush"
	disk_ctl clear b
	flush b || fail "EIO of a flush after clear"
}

delay() {
	local ms
	disk_ctl delay a w 400
	ms=$(milliseconds put a 16000000 1 d)
	[ "$ms" -ge 400 ] || fail "a delayed write takes $ms ms"
	disk_ctl delay a '*' 600000
	put a 16000000 1 e &
	ms=$(milliseconds put b 0 1 d)
	[ "$ms" -lt 5000 ] || fail "a write to the other disk takes $ms ms"
	disk_ctl clear a
	wait_until 10 is_done $! || fail "delayed after clear"
	wait $! || fail "a delayed write failed"
}

hang() {
	local pid
	overwrite || fail "write"
	disk_ctl hang a 1
	overwrite &
	pid=$!
	(put b 0 1 h && flush b) || fail "the other disk hangs too"
	[ -n "$(disk_seq)" ] && [ -n "$(cat "$DISKS/stats")" ] || fail "no answer while one hangs"
	! wait_until 1 is_done "$pid" || fail "a sync on a hanging disk returns"
	disk_ctl hang a 0
	wait_until 20 is_done "$pid" || fail "hangs on"
	wait "$pid" || fail "a sync failed after the disk came back"
}

# counted WRITES FLUSHES KIB COMMAND...: what ten runs of it cost on disk a. The
# journal may be written at the same time: three tries.
counted() {
	local want="$1 $2 $3" got i try
	shift 3
	for try in 1 2 3; do
		sync -f "$WORK/a"
		set -- "$(disk_stat a writes)" "$(disk_stat a flushes)" "$(disk_stat a written)" "$@"
		for i in {1..10}; do
			"${@:4}" || fail "$4"
		done
		got="$(($(disk_stat a writes) - $1)) $(($(disk_stat a flushes) - $2))"
		got="$got $((($(disk_stat a written) - $3) / 1024))"
		shift 3
		[ "$got" != "$want" ] || return 0
	done
	fail "ten times $1: writes, flushes, KiB $got instead of $want"
}

commands() {
	local line
	for line in nonsense 'hang a' 'hang a 2' 'hang c 1' 'eio a x 0 1' 'eio a w 0 -1' 'lie a 0 0' \
		'snap relative 1 0 0' "snap $CUTS/x 1 101 0" 'record now' 'err a w 0 1 0'; do
		disk_ctl "$line" 2>/dev/null && fail "accepted: $line"
	done
	grep -q 'nonsense.*Invalid' "$DISK_STORE/messages" || fail "no message of a bad command"
	disk_ctl stop || fail "stop"
	disk_ctl snap "$CUTS/x" 1 0 0 2>/dev/null && fail "a snapshot without a recording"
	disk_ctl record || fail "record after stop"
	dd if=/dev/zero of="$DISKS/b" bs=100 count=1 conv=notrunc status=none 2>/dev/null &&
		fail "part of a sector is written"
	truncate -s 1M "$DISKS/b" 2>/dev/null && fail "a disk is made smaller"
	return 0
}

# Disks that end and start again have what was written; on all filesystems.
again() {
	local type name
	for type in xfs btrfs; do
		[ "$type" != btrfs ] || ! command -v mkfs.btrfs >/dev/null || format_disk b btrfs
		[ "$type" != xfs ] || ! command -v mkfs.xfs >/dev/null || format_disk x xfs
	done
	disk_ctl record
	for name in "${!DISK_LOOPS[@]}"; do
		echo kept >"$WORK/$name/kept"
		sync "$WORK/$name/kept" "$WORK/$name" || fail "sync"
		after_cut "$name" "${DISK_TYPES[$name]}" 50 test -s "$WORK/after/kept" ||
			fail "${DISK_TYPES[$name]} lost a synced file"
	done
	stop_disks
	start_disks a=64M b=110M x=300M
	mount_disk a
	[ "$(cat "$WORK/a/kept")" = kept ] || fail "lost at the restart of the disks"
}

start_disks a=64M b=110M x=300M
raw
zeros
chance
one_instant
format_disk a ext4
snap_is_cut
synced_stays
lie
eio
delay
hang
counted 10 10 640 overwrite
commands
again
exit 0
