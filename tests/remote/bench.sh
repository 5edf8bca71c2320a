#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What remotes cost, as ratios; no verdict. First the rates to one nginx, beside
# those of `rclone copy` to the same server in the same run; as that pauses 10 ms between
# any two requests (its WebDAV pacer), also beside bare PUTs by curl, 8 at a time. Then
# the latency of local operations with a remote that is dead (nobody listens; or it
# hangs), beside no remote: three volumes, in turns, BENCH_ROUNDS rounds (5), as the
# machine is never the same twice.
#	BENCH_FILES (10000), BENCH_MIB (1024), BENCH_OPS (1500)
# SCENES: some of those at the end.
# shellcheck source=tests/remote/lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
require_fuse
require_program curl perl

ROUNDS=${BENCH_ROUNDS:-5}
FILES=${BENCH_FILES:-10000}
MIB=${BENCH_MIB:-1024}
OPS=${BENCH_OPS:-1500}

# --- rates -------------------------------------------------------------------

now() {
	echo "${EPOCHREALTIME//[!0-9]/}"
}

many_files() { # DIR
	perl -e '
		open(my $r, "<:raw", "/dev/urandom") or die;
		for my $i (1..$ARGV[1]) {
			my $d = "$ARGV[0]/d" . int($i / 100);
			-d $d or mkdir $d or die "$d: $!\n";
			read($r, my $b, 4096);
			open(my $f, ">:raw", "$d/f$i") or die "$!\n";
			syswrite($f, $b) == 4096 or die "$!\n";
			close $f or die "$!\n";
		}' "$1" "$FILES" || broken "write"
}

# by_rclone DIR: microseconds.
by_rclone() {
	local begun
	curl -fsS -u "$USER:$PASSWORD" -X MKCOL "${URL}rclone-$1/" -o "$WORK/answer"
	begun=$(now)
	rclone copy "$MNT/$1" ":webdav:rclone-$1" --config="$WORK/rclone.conf" \
		--webdav-url="$URL" --webdav-user="$USER" --webdav-vendor=other \
		--webdav-pass="$(rclone obscure "$PASSWORD")" --transfers=8 --checkers=8 \
		>"$WORK/rclone.out" 2>&1 || broken "rclone: $(tail -n 2 "$WORK/rclone.out")"
	echo $(($(now) - begun))
}

# by_curl DIR: bare PUTs, nothing is looked at afterwards.
by_curl() {
	local begun file at="${URL}curl-$1/"
	{
		printf 'user = "%s:%s"\n' "$USER" "$PASSWORD"
		find "$MNT/$1" -type f | while read -r file; do
			printf 'upload-file = "%s"\nurl = "%s"\n' "$file" "$at${file##*/}"
		done
	} >"$WORK/curl.conf"
	mkdir "$SERVER_DIR/files/curl-$1"
	begun=$(now)
	curl -fsS -Z --parallel-max 8 -H Expect: -K "$WORK/curl.conf" >"$WORK/curl.out" 2>&1 ||
		broken "curl: $(tail -n 2 "$WORK/curl.out")"
	echo $(($(now) - begun))
}

# by_remote DIR: a volume of its own would be fairer to nobody: the remote takes all of it.
by_remote() {
	local begun
	begun=$(now)
	mirrorctl remote add "$MNT" "$1" "${URL}remote-$1/" --credentials="$WORK/credentials" \
		--scrub=off >"$WORK/out" || fail "remote add"
	wait_remote "$MNT" "$1" 3000
	begun=$(($(now) - begun))
	mirrorctl remote remove "$MNT" "$1" || fail "remove"
	echo "$begun"
}

one_rate() { # WHAT, DIR
	local ours theirs bare
	mkdir "$SERVER_DIR/files/remote-$2"
	# Both from the page cache.
	cat "$MNT/$2"/* "$MNT/$2"/*/* >/dev/null 2>&1
	ours=$(by_remote "$2") || exit
	theirs=$(by_rclone "$2") || exit
	bare=$(by_curl "$2") || exit
	perl -e 'printf "%s: %.1f s; rclone copy %.1f s, ratio %.2f; bare PUTs %.1f s, ratio %.2f\n",
		$ARGV[0], map { ($_ / 1e6, $_ == $ARGV[1] ? () : $ARGV[1] / $_) } @ARGV[1..3]' \
		"$1" "$ours" "$theirs" "$bare"
}

scene_rates() {
	command -v rclone >/dev/null || { say "without the rates: rclone is not installed"; return; }
	start_server nginx
	: >"$WORK/rclone.conf"
	new_volume
	mkdir "$MNT/small"
	many_files "$MNT/small"
	sync -f "$MNT"
	one_rate "$FILES files of 4 KiB" small
	rm -r "$MNT/small"
	mkdir "$MNT/large"
	random_file "$MNT/large/file" $((MIB << 20))
	one_rate "one file of $MIB MiB" large
	end_volume
	stop_server
	rm -rf "$SERVER_DIR"
}

# --- latency -----------------------------------------------------------------

# latencies DIR FILE ROUND: appends lines "operation microseconds" to FILE.
latencies() {
	perl -MTime::HiRes=clock_gettime,CLOCK_MONOTONIC -e '
		my ($dir, $out, $round, $n) = @ARGV;
		my $data = "x" x 4096;
		my @took;
		mkdir "$dir/r$round" or die "$!\n";
		for my $i (1..$n) {
			my $t = clock_gettime(CLOCK_MONOTONIC);
			open(my $f, ">:raw", "$dir/r$round/f$i") or die "$!\n";
			syswrite($f, $data) == 4096 or die "$!\n";
			close $f or die "$!\n";
			push @took, "create " . (clock_gettime(CLOCK_MONOTONIC) - $t) * 1e6;
		}
		open(my $f, "+<:raw", "$dir/big") or die "$!\n";
		my $blocks = (-s $f) / 4096;
		for my $i (1..$n) {
			my $at = 4096 * int(rand($blocks));
			my $t = clock_gettime(CLOCK_MONOTONIC);
			sysseek($f, $at, 0);
			syswrite($f, $data) == 4096 or die "$!\n";
			push @took, "overwrite " . (clock_gettime(CLOCK_MONOTONIC) - $t) * 1e6;
		}
		close $f;
		open(my $o, ">>", $out) or die;
		print $o "$_\n" for @took;' "$1" "$2" "$3" "$OPS" || broken "latencies in $1"
}

# percentiles OPERATION FILE: median, p99 and p999.
percentiles() {
	awk -v o="$1" '$1 == o { print $2 }' "$2" | sort -n |
		awk '{ v[NR] = $1 } END { print v[int(NR / 2) + 1], v[int(NR * .99) + 1], v[int(NR * .999) + 1] }'
}

volume_of() { # KIND
	volume_at "$WORK/mnt-$1" "$WORK/$1-a" "$WORK/$1-b"
	random_file "$WORK/mnt-$1/big" 33554432
}

scene_latency() {
	local kind round operation kinds=(none refused hanging)
	start_faulty
	mkdir "$STORED/refused" "$STORED/hanging"
	for kind in "${kinds[@]}"; do
		volume_of "$kind"
		[ "$kind" != none ] || continue
		mirrorctl remote add "$WORK/mnt-$kind" far "$URL/$kind" --credentials="$WORK/credentials" \
			>"$WORK/out" || fail "remote add"
		wait_remote "$WORK/mnt-$kind" far
	done
	# One URL of the two leads to nobody from now on: its volume is mounted with another.
	mirrorctl remote remove "$WORK/mnt-refused" far || fail "remove"
	refused_port "$WORK/mnt-refused"
	fault "hang&count=0&match=/hanging/"
	for ((round = 1; round <= ROUNDS; round++)); do
		for kind in "${kinds[@]}"; do
			latencies "$WORK/mnt-$kind" "$WORK/took-$kind" "$round"
		done
		kinds=("${kinds[@]:1}" "${kinds[0]}")
	done
	for operation in create overwrite; do
		for kind in none refused hanging; do
			echo "$kind $(percentiles "$operation" "$WORK/took-$kind")"
		done | awk -v o="$operation" '
			$1 == "none" { m = $2; p = $3; q = $4 }
			{ printf "%s 4 KiB, %s: median %.0f us (%.2f), p99 %.0f us (%.2f), p99.9 %.0f us (%.2f)\n",
				o, $1 == "none" ? "no remote" : "remote " $1, $2, $2 / m, $3, $3 / p, $4, $4 / q }'
	done
	for kind in refused hanging; do
		say "$kind: state $(status_of "$WORK/mnt-$kind" far state)"
	done
	no_faults
	for kind in none refused hanging; do
		umount_volume "$WORK/mnt-$kind"
		rm -rf "$WORK/$kind-a" "$WORK/$kind-b"
	done
	end_faulty
}

# A remote at a server of its own, which ends.
refused_port() {
	local pid=$FAULTY_PID at=$FAULTY_AT url=$URL dir=$FAULTY_DIR stored=$STORED
	start_faulty
	mirrorctl remote add "$1" far "$URL/refused" --adopt --credentials="$WORK/credentials" \
		>"$WORK/out" || fail "remote add"
	wait_remote "$1" far
	kill_faulty
	FAULTY_PID=$pid FAULTY_AT=$at URL=$url FAULTY_DIR=$dir STORED=$stored
}

run_scenes latency rates
