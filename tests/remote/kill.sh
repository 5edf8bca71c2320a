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
	local round
	start_server "$1"
	new_volume
	add_remote "$MNT" far "${@:3}" || fail "remote add"
	wait_remote "$MNT" far
	for ((round = 1; round <= $2; round++)); do
		random_files "$MNT/small" 150 20000
		random_file "$MNT/large" 20000000
		expect_remote "$MNT" far state uploading
		random_pause 1500
		stop_server --kill
		# It may have been through by then.
		echo "$round" >"$MNT/word"
		expect_remote "$MNT" far state waiting
		[ -n "$(status_of "$MNT" far error)" ] || fail "no word of the reason"
		again_server
	done
	wait_remote "$MNT" far
	restored_equal "$MNT"
	end_volume
	stop_server
}

scene_nginx() {
	kill_server nginx 3 --up-limit=12M
}

scene_ceph() {
	if ! command -v radosgw >/dev/null || ! command -v ceph-osd >/dev/null; then
		say "without Ceph RGW: it is not installed"
		return
	fi
	kill_server ceph-rgw 1 --up-limit=12M
}

# --- mirrorfs ----------------------------------------------------------------

# What was complete when it was killed is not sent again: the server counts bytes.
scene_daemon() {
	local total=0 round sent
	start_faulty
	new_volume
	add_remote "$MNT" far --up-limit=6M || fail "remote add"
	wait_remote "$MNT" far
	random_file "$MNT/large" 3000000
	random_files "$MNT/small" 200 100000
	total=$((3000000 + 200 * 100000))
	control zero
	for ((round = 1; round <= KILLS; round++)); do
		expect_remote "$MNT" far state uploading 10
		random_pause 900
		kill_volume "$MNT"
		mount_volume "$MNT" "$A" "$B" || fail "mount after a kill"
	done
	wait_remote "$MNT" far
	sent=$(count_of bytes_in)
	say "$KILLS kills: $sent bytes sent for $total, $(((sent - total) * 100 / total)) % more"
	# Eight uploads under way each time, one of them may be the large one.
	[ $((sent - total)) -le $((total / 10 + KILLS * (3000000 + 8 * 100000))) ] ||
		fail "$sent bytes were sent for $total: complete objects again"
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
	release_held
	wait_remote "$MNT" far
	restored_equal "$MNT"
	end_volume
	end_faulty
}

# All that was removed may be too much for the brake, which is not the matter here.
release_held() {
	mirrorctl wait --remote=far --timeout=60 "$MNT" 2>/dev/null && return
	is_status "$MNT" far state held || return 0
	mirrorctl remote release "$MNT" far || fail "release"
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
	local rule begun
	start_faulty
	new_volume
	add_remote "$MNT" far || fail "remote add"
	wait_remote "$MNT" far
	for rule in "hang&count=0" "hang&method=PUT&count=0" "slow-read&rate=1000&count=0" \
		"slow&rate=20&count=0" "hang-after&count=0&method=PUT" "status&status=503&retry_after=600&count=0"; do
		control zero
		fault "$rule&match=/$PREFIX/"
		random_files "$MNT/files" 20 20000
		wait_until 20 count_above faults 0 || fail "$rule: nothing is asked for"
		begun=$SECONDS
		umount_volume "$MNT"
		begun=$((SECONDS - begun))
		[ "$begun" -le 15 ] || fail "the unmount took $begun s with $rule"
		[ "$begun" -le 3 ] || say "the unmount took $begun s with $rule"
		# The server still hangs when it is mounted again.
		mount_volume "$MNT" "$A" "$B" || fail "mount"
		echo "$rule" >"$MNT/word" || fail "write"
		begun=$SECONDS
		remount_volume "$MNT" "$A" "$B"
		[ $((SECONDS - begun)) -le 15 ] || fail "an unmount took $((SECONDS - begun)) s with $rule"
		no_faults
	done
	wait_remote "$MNT" far 60
	restored_equal "$MNT"
	end_volume
	end_faulty
}

run_scenes nginx ceph daemon full unmount
