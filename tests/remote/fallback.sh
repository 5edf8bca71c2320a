#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Leaves that are bad on all mirrors: they come from the remote, only those, are checked, answered,
# and healed on the mirrors; without a remote that can help it is EIO, soon.
# SCENES: some of those at the end.
# shellcheck source=tests/remote/lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
require_fuse
require_program curl perl getfattr

LARGE=30000000

begin() { # option of the remote...
	start_faulty ${FAULTY_OPTION:+"$FAULTY_OPTION"}
	new_volume
	random_files "$MNT/d" 10 3000
	random_file "$MNT/large" "$LARGE"
	random_file "$MNT/middle" 200000
	ln "$MNT/d/f10" "$MNT/link"
	add_remote "$MNT" far "$@" || fail "remote add"
	wait_remote "$MNT" far
	umount_volume "$MNT"
	rm -rf "$WORK/good"
	mkdir "$WORK/good"
	cp -a "$A/d" "$A/large" "$A/middle" "$A/link" "$WORK/good"
}

end() {
	is_unmounted "$MNT" || umount_volume "$MNT"
	rm -rf "$A" "$B" "$WORK/good"
	end_faulty
}

# damage NAME OFFSET LENGTH: every bit, alike on both mirrors, with the times as they were.
damage() {
	local mirror stamp
	for mirror in "$A" "$B"; do
		stamp=$(stat -c %y "$mirror/$1")
		perl -e '
			my ($file, $at, $len) = @ARGV;
			open(my $f, "+<:raw", $file) or die "$file: $!\n";
			sysseek($f, $at, 0) && sysread($f, my $b, $len) == $len or die "$file: short\n";
			$b = ~$b;
			sysseek($f, $at, 0) && syswrite($f, $b) == $len or die "$file: $!\n";' \
			"$mirror/$1" "$2" "$3" || broken "damage $1"
		touch -d "$stamp" "$mirror/$1"
	done
}

mount_again() {
	mount_volume "$MNT" "$A" "$B" || fail "mount"
	expect_remote "$MNT" far state "${1:-idle}"
}

# healed NAME...: on both mirrors, byte for byte, and a scrub has nothing to say.
healed() {
	local name mirror
	for name; do
		cmp "$MNT/$name" "$WORK/good/$name" || fail "$name: a wrong byte is read"
	done
	# What was read is written back after the answer.
	for name; do
		for mirror in "$A" "$B"; do
			wait_until 10 cmp -s "$mirror/$name" "$WORK/good/$name" ||
				fail "$name is not healed on $mirror"
		done
	done
	mirrorctl scrub "$MNT" >"$WORK/scrub.out" 2>&1 ||
		{ cat "$WORK/scrub.out"; fail "the scrub finds something after that"; }
}

scene_small() {
	begin
	damage d/f3 100 50
	damage d/f4 0 3000
	damage d/f10 2999 1
	mount_again
	healed d/f3 d/f4 d/f10 link
	end
}

# Only what is needed is fetched.
scene_large() {
	local moved
	begin
	damage large 4096 1
	damage large 16000000 8192
	damage large $((LARGE - 1)) 1
	damage middle 100000 1
	mount_again
	control zero
	head -c 10000 "$MNT/large" | cmp -n 10000 - "$WORK/good/large" || fail "a wrong byte is read"
	moved=$(count_of bytes_out)
	say "one leaf of $LARGE bytes: $moved bytes moved, $(count_of requests) requests"
	[ "$moved" -le 400000 ] || fail "$moved bytes for one leaf"
	healed large middle
	moved=$(count_of bytes_out)
	say "all: $moved bytes moved, $(count_of requests) requests"
	[ "$moved" -le 2000000 ] || fail "$moved bytes for five leaves"
	end
}

# A scrub heals as a read does.
scene_scrub() {
	local status=0
	begin
	damage d/f1 0 10
	damage large 9000000 4096
	mount_again
	mirrorctl scrub "$MNT" >"$WORK/scrub.out" 2>&1 || status=$?
	[ "$status" -eq 1 ] || { cat "$WORK/scrub.out"; fail "scrub: status $status, not 1"; }
	healed d/f1 large
	end
}

# Each mirror has lost something else at another place, and one place both.
scene_mixed() {
	local at
	begin
	for ((at = 0; at < 20; at++)); do
		dd if=/dev/urandom of="$A/large" bs=4096 seek=$((at * 300)) count=2 conv=notrunc status=none
		dd if=/dev/urandom of="$B/large" bs=4096 seek=$((at * 300 + 1)) count=2 conv=notrunc status=none
	done
	mount_again
	healed large
	end
}

# no_answer NAME SECONDS: EIO, soon, nothing of the file is harmed, and all else is read.
no_answer() {
	local begun=$SECONDS
	! cat "$MNT/$1" >"$WORK/read" 2>"$WORK/err" || fail "$1: read, and is damaged on all mirrors"
	grep -q "Input/output error" "$WORK/err" || { cat "$WORK/err"; fail "$1: not EIO"; }
	begun=$((SECONDS - begun))
	[ "$begun" -le "$2" ] || fail "$1: EIO after $begun s"
	say "EIO after $begun s"
	cmp "$MNT/d/f1" "$WORK/good/d/f1" || fail "another file is not read"
}

scene_off() {
	begin --no-fallback
	damage d/f3 100 50
	damage large 5000000 1
	mount_again
	control zero
	no_answer d/f3 10
	no_answer large 10
	! mirrorctl scrub "$MNT" >"$WORK/scrub.out" 2>&1 || fail "the scrub finds nothing"
	[ "$(count_of GET)" -eq 0 ] || fail "$(count_of GET) GETs with --no-fallback"
	# The option can be changed, and then it is healed.
	mirrorctl remote remove "$MNT" far || fail "remove"
	add_remote "$MNT" far --adopt || fail "adopt"
	wait_remote "$MNT" far
	healed d/f3 large
	end
}

scene_dead() {
	begin
	damage d/f3 100 50
	damage d/f5 100 50
	damage large 5000000 1
	damage middle 5000 1
	# It answers, and not what helps.
	mount_again
	fault "status&status=503&count=0&method=GET"
	no_answer d/f3 25
	no_answer large 25
	no_faults
	umount_volume "$MNT"
	# It does not answer.
	mount_again
	fault "hang&count=0"
	no_answer d/f5 30
	# It is known by now.
	no_answer middle 12
	no_faults
	umount_volume "$MNT"
	mount_again
	fault "flip&method=GET&count=0&match=/large"
	fault "truncate&method=GET&count=0&match=/middle"
	no_answer large 25
	no_answer middle 25
	no_faults
	umount_volume "$MNT"
	# Now it does.
	mount_again
	healed d/f3 d/f5 large middle
	umount_volume "$MNT"
	# Nobody listens.
	damage d/f3 100 50
	kill_faulty
	mount_volume "$MNT" "$A" "$B" || fail "mount"
	no_answer d/f3 20
	umount_volume "$MNT"
	rm -rf "$A" "$B" "$WORK/good" "$FAULTY_DIR"
}

# The remote is behind: its old content is not taken for the new.
scene_behind() {
	begin
	mount_again
	mirrorctl remote pause "$MNT" far || fail "pause"
	expect_remote "$MNT" far state paused
	random_file "$MNT/d/f3" 3000
	printf new | dd of="$MNT/large" bs=1 seek=6000000 conv=notrunc status=none
	umount_volume "$MNT"
	damage d/f3 100 50
	damage large 6000000 1
	damage large 7000000 1
	mount_again paused
	mirrorctl remote resume "$MNT" far || fail "resume"
	# What is lost here cannot be sent; it stays as it is there.
	! cat "$MNT/d/f3" >"$WORK/read" 2>&1 || fail "an old state was read as the new one"
	head -c 5000000 "$MNT/large" | cmp -n 5000000 - "$WORK/good/large" || fail "a wrong byte"
	! dd if="$MNT/large" bs=4096 skip=$((6000000 / 4096)) count=1 status=none \
		>"$WORK/read" 2>&1 || fail "an old leaf was read as the new one"
	dd if="$MNT/large" bs=4096 skip=$((7000000 / 4096)) count=1 status=none |
		cmp - <(dd if="$WORK/good/large" bs=4096 skip=$((7000000 / 4096)) count=1 status=none) ||
		fail "a leaf that is the same there was not healed"
	cmp "$STORED/d/f3" "$WORK/good/d/f3" || fail "the good old content there was replaced"
	end
}

# Files and names that are gone here without anybody having removed them.
scene_gone() {
	local mirror
	begin
	for mirror in "$A" "$B"; do
		truncate -s 10000000 "$mirror/large"
		: >"$mirror/d/f7"
	done
	mount_again
	if cat "$MNT/large" "$MNT/d/f7" >"$WORK/read" 2>&1; then
		cat "$WORK/good/large" "$WORK/good/d/f7" | cmp - "$WORK/read" || fail "a wrong byte"
		healed large d/f7
	else
		say "what was truncated is not healed"
	fi
	end
}

scene_s3() {
	FAULTY_OPTION=--s3
	scene_small
	scene_large
	FAULTY_OPTION=
}

run_scenes small large scrub mixed off dead behind gone s3
