#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A volume with a remote: the server is killed in mid-upload, mirrorfs is, the disk of
# the server fills up, it hangs when we unmount. KILLS: of mirrorfs. SCENES: some of
# those at the end. MIRRORFS_TEST_SEED replays the choices of moments.
# shellcheck source=tests/remote/lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
require_fuse
require_program curl perl getfattr

KILLS=${KILLS:-6}
SEED=${MIRRORFS_TEST_SEED:-$RANDOM}
RANDOM=$SEED
say "MIRRORFS_TEST_SEED=$SEED"

# A moment that is random is wanted, no state.
random_pause() { # ms, at most
	local ms
	printf -v ms '%04d' $((RANDOM % $1))
	sleep "${ms:0:1}.${ms:1}"
}

# --- the server --------------------------------------------------------------

# kill_server NAME TIMES [OPTION...]
kill_server() {
	local round caught=0
	start_server "$1"
	new_volume
	add_remote "$MNT" far --brake=off "${@:3}" || fail "remote add"
	wait_remote "$MNT" far
	for ((round = 1; round <= $2; round++)); do
		random_files "$MNT/small" 150 20000
		random_file "$MNT/large" 20000000
		# On a loaded machine it may be through between two looks.
		if wait_until 15 is_status "$MNT" far state uploading; then
			caught=$((caught + 1))
		fi
		random_pause 1500
		stop_server --kill
		# It may have been through by then.
		echo "$round" >"$MNT/word"
		expect_remote "$MNT" far state waiting
		[ -n "$(status_of "$MNT" far error)" ] || fail "no word of the reason"
		again_server
	done
	[ "$caught" -gt 0 ] || fail "never seen uploading"
	wait_remote "$MNT" far
	restored_equal "$MNT"
	end_volume
	stop_server
}

scene_nginx() {
	kill_server nginx 3 --up-limit=8M
}

scene_ceph() {
	if ! command -v radosgw >/dev/null || ! command -v ceph-osd >/dev/null; then
		say "without Ceph RGW: it is not installed"
		return
	fi
	kill_server ceph-rgw 1 --up-limit=8M
}

# --- mirrorfs ----------------------------------------------------------------

# Not much is sent again: the server counts bytes.
scene_daemon() {
	local total=40000000 round sent
	start_faulty
	new_volume
	add_remote "$MNT" far --up-limit=5M --brake=off || fail "remote add"
	wait_remote "$MNT" far
	random_files "$MNT/small" 400 100000
	control zero
	for ((round = 1; round <= KILLS; round++)); do
		# It may be through by now.
		wait_until 5 is_status "$MNT" far state uploading || break
		random_pause 2500
		kill_volume "$MNT"
		mount_volume "$MNT" "$A" "$B" || fail "mount after a kill"
	done
	wait_remote "$MNT" far
	sent=$(count_of bytes_in)
	say "$((round - 1)) kills: $sent bytes sent for $total, $(((sent - total) * 100 / total)) % more"
	# Each time a batch at most, that had no head yet, and what is said about files.
	[ $((sent - total)) -le $((total / 10 + KILLS * 9000000)) ] ||
		fail "$sent bytes were sent for $total: much of it again"
	restored_equal "$MNT"

	# Killed while things are changed, moved and removed.
	for ((round = 1; round <= KILLS; round++)); do
		random_files "$MNT/small" 20 100000
		mv "$MNT/small" "$MNT/moved$round" && mkdir "$MNT/small"
		[ "$round" -lt 2 ] || rm -r "$MNT/moved$((round - 1))"
		random_file "$MNT/large" 3000000
		random_pause 700
		kill_volume "$MNT"
		mount_volume "$MNT" "$A" "$B" || fail "mount after a kill"
	done
	wait_remote "$MNT" far
	restored_equal "$MNT"
	end_volume
	end_faulty
}

# S3 has no directories to be moved: what is in one gets there in many commits, and none of
# them may be the last one, however often we end or are ended between. The files are copied there.
scene_anew() {
	local round i at=top sent
	start_faulty --s3
	new_volume
	mkdir "$MNT/top"
	for ((i = 0; i < 12; i++)); do
		random_files "$MNT/top/d$i" 120 15000
		mkdir -p "$MNT/top/d$i/deep/er"
		seq 60 | (cd "$MNT/top/d$i/deep/er" && xargs -I{} ln -s "to/{}" "link{}")
	done
	add_remote "$MNT" far --brake=off || fail "remote add"
	wait_remote "$MNT" far
	control zero
	for ((round = 1; round <= 4; round++)); do
		mv "$MNT/$at" "$MNT/at$round"
		at=at$round
		echo "$round" >"$MNT/$at/d$((round % 12))/word"
		wait_until 10 is_status "$MNT" far state uploading || say "round $round: too fast"
		random_pause 800
		case $((round % 2)) in
		0) kill_volume "$MNT" ;;
		1) umount_volume "$MNT" ;;
		esac
		mount_volume "$MNT" "$A" "$B" || fail "mount"
		wait_remote "$MNT" far
		restored_equal "$MNT"
	done
	sent=$(count_of bytes_in)
	say "$sent bytes sent for four moves of 21600000"
	[ "$sent" -le 20000000 ] || fail "files were sent again"
	end_volume
	end_faulty
}

# --- no room -----------------------------------------------------------------

scene_full() {
	local error
	if [ "$(id -u)" -ne 0 ]; then
		say "without the full disk: needs root"
		return
	fi
	make_fs server-nginx tmpfs 24m
	start_server nginx
	new_volume
	random_files "$MNT/before" 10 10000
	add_remote "$MNT" far || fail "remote add"
	wait_remote "$MNT" far
	cp -r "$MNT/before" "$WORK/before"
	random_file "$MNT/big" 40000000
	expect_remote "$MNT" far state waiting 30
	error=$(status_of "$MNT" far error)
	say "no room: $error"
	[[ $error == *"HTTP 5"* && $error == *big* ]] || fail "not a clear error: $error"
	random_files "$MNT/meanwhile" 20 1000
	diff -r "$WORK/before" "$SERVER_DIR/files/before" || fail "what was there was harmed"
	mount -o remount,size=200m "$SERVER_DIR" || broken "remount"
	wait_remote "$MNT" far 60
	restored_equal "$MNT"
	end_volume
	stop_server
	rm -rf "$WORK/before"
}

# --- unmounting --------------------------------------------------------------

# However the server hangs, an unmount does not.
scene_unmount() {
	local rule
	start_faulty
	new_volume
	add_remote "$MNT" far --brake=off || fail "remote add"
	wait_remote "$MNT" far
	for rule in hang hang\&method=PUT "slow-read&rate=1000" "slow&rate=20" \
		"hang-after&method=PUT" "status&status=503&retry_after=600"; do
		control zero
		fault "$rule&count=0&match=/$PREFIX/"
		random_files "$MNT/files" 20 20000
		wait_until 20 count_above faults 0 || fail "$rule: nothing is asked for"
		unmount_soon "$rule"
		# It hangs from the beginning of a mount on.
		control zero
		mount_volume "$MNT" "$A" "$B" || fail "mount"
		echo "$rule" >"$MNT/word" || fail "write"
		unmount_soon "$rule"
		no_faults
		mount_volume "$MNT" "$A" "$B" || fail "mount"
	done
	wait_remote "$MNT" far 60
	restored_equal "$MNT"
	end_volume
	end_faulty
}

unmount_soon() {
	local begun=${EPOCHREALTIME//[!0-9]/}
	umount_volume "$MNT"
	begun=$(((${EPOCHREALTIME//[!0-9]/} - begun) / 1000))
	[ "$begun" -le 15000 ] || fail "the unmount took $begun ms with $1"
	[ "$begun" -le 2000 ] || say "the unmount took $begun ms with $1"
}

run_scenes nginx ceph daemon anew full unmount
