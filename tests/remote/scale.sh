#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Large numbers, with REMOTE_LONG=1: 100,000 small files to nginx; a sparse file of 4 GiB
# with a thousand random writes; 200,000 files made and removed while the remote is dead. Memory
# and what is noted stay bounded. SCALE_SHARE: percent of all that (100). SCENES: some
# of those at the end.
# shellcheck source=tests/remote/lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
[ "${REMOTE_LONG:-0}" = 1 ] || skip "takes long: REMOTE_LONG=1 runs it"
require_fuse
require_program curl perl getfattr

SHARE=${SCALE_SHARE:-100}
MEMORY_MOST=${MEMORY_MOST:-600000} # KiB

# memory KEY: of the daemon, KiB.
memory() {
	awk -v k="$1:" '$1 == k { print $2 }' "/proc/$DAEMON_PID/status"
}

# bounded WHAT
bounded() {
	local most
	most=$(memory VmHWM)
	say "$1: at most $((most / 1024)) MiB of memory, now $(($(memory VmRSS) / 1024))"
	[ "$most" -le "$MEMORY_MOST" ] || fail "$1: mirrorfs took $most KiB"
}

# many_files DIR DIRS EACH BYTES
many_files() {
	perl -e '
		my ($dir, $dirs, $each, $len) = @ARGV;
		mkdir $dir;
		for my $d (1..$dirs) {
			mkdir "$dir/d$d" or die "$!\n";
			for my $i (1..$each) {
				open(my $f, ">:raw", "$dir/d$d/f$i") or die "$!\n";
				syswrite($f, pack("NN", $d, $i) x ($len / 8)) == $len or die "$!\n";
				close $f or die "$!\n";
			}
		}' "$@" || broken "cannot write to $1"
}

restored_bounded() {
	local begun=$SECONDS
	restored_equal "$MNT"
	say "restored, compared and scrubbed in $((SECONDS - begun)) s"
}

scene_many() {
	local begun=$SECONDS dirs=$((1000 * SHARE / 100))
	start_server nginx
	new_volume
	many_files "$MNT/many" "$dirs" 100 1024
	say "$((dirs * 100)) files in $((SECONDS - begun)) s"
	bounded "before"
	begun=$SECONDS
	add_remote "$MNT" far || fail "remote add"
	wait_remote "$MNT" far 3000
	begun=$((SECONDS - begun))
	say "$((dirs * 100)) files sent in $begun s, $((dirs * 100 / (begun + 1))) a second"
	bounded "sent"
	begun=$SECONDS
	echo 1 >"$MNT/many/d1/one"
	wait_remote "$MNT" far
	say "one more: $((SECONDS - begun)) s"
	begun=$SECONDS
	remount_volume "$MNT" "$A" "$B"
	mv "$MNT/many" "$MNT/moved"
	wait_remote "$MNT" far 600
	say "all of it renamed: $((SECONDS - begun)) s, sent $(status_of "$MNT" far sent_bytes) bytes"
	restored_bounded
	bounded "restored"
	end_volume
	stop_server
	rm -rf "$SERVER_DIR"
}

scene_sparse() {
	local size=$((4096 * SHARE / 100)) round
	start_server nginx
	new_volume
	truncate -s "${size}M" "$MNT/sparse"
	add_remote "$MNT" far || fail "remote add"
	for round in 1 2 3; do
		perl -e '
			my ($file, $size, $seed) = @ARGV;
			srand($seed);
			open(my $f, "+<:raw", $file) or die "$!\n";
			for (1..1000) {
				sysseek($f, 4096 * int(rand($size * 256)), 0) or die "$!\n";
				syswrite($f, pack("N", int(rand(2 ** 32))) x 1024) == 4096 or die "$!\n";
			}
			close $f or die "$!\n"' "$MNT/sparse" "$size" "$round" || broken "write"
		wait_remote "$MNT" far 1200
		say "round $round: sent $(status_of "$MNT" far sent_bytes) bytes in all"
	done
	bounded "sparse"
	restored_bounded
	[ "$(du -k "$A/sparse" | cut -f 1)" -le 100000 ] || say "the mirror has no holes any more"
	end_volume
	stop_server
	rm -rf "$SERVER_DIR"
}

scene_dead() {
	local dirs=$((200 * SHARE / 100)) i begun=$SECONDS size
	start_faulty
	new_volume
	add_remote "$MNT" far || fail "remote add"
	wait_remote "$MNT" far
	kill_faulty
	bounded "before"
	for ((i = 1; i <= dirs; i++)); do
		many_files "$MNT/dead" 10 100 96
		[ $((i % 20)) -ne 0 ] || mv "$MNT/dead" "$MNT/kept$i"
		rm -rf "$MNT/dead"
	done
	say "$((dirs * 1000)) files made and removed in $((SECONDS - begun)) s"
	bounded "dead"
	mirrorctl status "$MNT"
	umount_volume "$MNT"
	size=$(du -sk "$A/.mirrorfs/remote" | cut -f 1)
	say "noted on a mirror: $size KiB"
	[ "$size" -le 20000 ] || fail "$size KiB are noted for a dead remote"
	rm -rf "$A" "$B"
}

run_scenes many sparse dead
