#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Inode numbers: those of the volume, the same after a remount and whichever
# mirror answers. And SIGKILL of the daemon in the middle of writes: every
# acknowledged write is there afterwards, on both mirrors.
#
# MIRRORFS_KILL_ROUNDS: how many kills (default 4).
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/rot/verbs.sh
. "$top_srcdir/tests/rot/verbs.sh"

require_root
require_fuse
require_program getfattr perl

A=$WORK/a
B=$WORK/b
MNT=$WORK/mnt
KILLS=${MIRRORFS_KILL_ROUNDS:-4}

# Numbers as stat(2) gives them, and the names and numbers of readdir.
numbers() {
	(cd "$1" && find . -printf '%i %p\n' | sort -k 2)
	# shellcheck disable=SC2012 # the numbers of readdir are wanted
	(cd "$1" && ls -1iU many | sort -k 2)
}

expect_numbers() {
	numbers "$MNT" | diff "$WORK/numbers" - >&2 || fail "$1: inode numbers are others"
}

unique_numbers() {
	local twice
	twice=$(find "$MNT" ! -path '*/hello' ! -path '*/dir/link' -printf '%i\n' | sort | uniq -d)
	[ -z "$twice" ] || fail "inode numbers that stand for two files: $twice"
	[ "$(stat -c %i "$MNT/hello")" = "$(stat -c %i "$MNT/dir/link")" ] ||
		fail "two names of a file have two numbers"
}

stable_numbers() {
	local i
	small_tree "$MNT"
	mkdir "$MNT/many"
	for ((i = 0; i < 300; i++)); do
		printf '%s' "$i" >"$MNT/many/$i"
	done
	unique_numbers
	numbers "$MNT" >"$WORK/numbers"
	drop_caches
	expect_numbers "after dropping the caches"
	remount_volume "$MNT" "$A" "$B"
	expect_numbers "after a remount"
	remount_volume "$MNT" "$B" "$A"
	expect_numbers "mirrors in the other order"
	umount_volume "$MNT"
	mount_volume -o degraded "$MNT" "$A" || fail "-o degraded: status $?"
	expect_numbers "first mirror alone"
	umount_volume "$MNT"
	catch_up
	umount_volume "$MNT"
	mount_volume -o degraded "$MNT" "$B" || fail "-o degraded: status $?"
	expect_numbers "second mirror alone"
	umount_volume "$MNT"
	catch_up
	expect_numbers "both again"
}

catch_up() {
	mount_volume "$MNT" "$A" "$B" || fail "mount: status $?"
	expect_state "$MNT" "$A" in-sync 60
	expect_state "$MNT" "$B" in-sync 60
}

# New files never get a number that was in use.
fresh_numbers() {
	local i old
	old=$(sort -n "$WORK/numbers" | cut -d ' ' -f 1 | sort -u)
	for ((i = 0; i < 50; i++)); do
		: >"$MNT/many/fresh-$i"
	done
	comm -12 <(printf '%s\n' "$old" | sort) \
		<(find "$MNT/many" -name 'fresh-*' -printf '%i\n' | sort) | grep . >&2 &&
		fail "numbers were given twice"
	rm "$MNT"/many/fresh-*
}

# --- kill -9 -----------------------------------------------------------------

# writer DIR LOG: new files, appends, overwrites, renames, deletes; each line of
# the log is a fact that was acknowledged: "is NAME SUM", "gone NAME". Ends at
# the first error.
writer() {
	exec perl -MDigest::MD5=md5_hex -e '
		my ($dir, $log, $seed) = @ARGV;
		srand($seed);
		open(my $l, ">", $log) or die;
		$l->autoflush(1);
		my (%data, $n);
		sub put { my ($name, $flags, $off, $bytes) = @_;
			sysopen(my $f, "$dir/$name", $flags, 0644) or exit 0;
			sysseek($f, $off, 0);
			my $done = syswrite($f, $bytes);
			exit 0 unless defined($done) && $done == length($bytes) && close($f);
		}
		sub fact { print $l "is $_[0] ", md5_hex($data{$_[0]}), "\n"; }
		use Fcntl;
		while (1) {
			my @names = sort keys %data;
			my $name = $names[rand @names];
			my $bytes = join("", map { chr(rand(256)) } 1 .. 1 + rand(9000)) x (1 + rand(12));
			my $what = @names < 5 ? 0 : int(rand(5));
			if ($what == 0) {
				$name = "f" . $n++;
				print $l "try $name\n";
				put($name, O_WRONLY | O_CREAT | O_EXCL, 0, $bytes);
				$data{$name} = $bytes;
				fact($name);
			} elsif ($what == 1 || $what == 2) {
				my $off = $what == 1 ? length($data{$name}) : int(rand(length($data{$name})));
				print $l "try $name\n";
				put($name, O_WRONLY, $off, $bytes);
				substr($data{$name}, $off, length($bytes)) = $bytes;
				fact($name);
			} elsif ($what == 3) {
				my $to = "r" . $n++;
				print $l "try $name\ntry $to\n";
				rename("$dir/$name", "$dir/$to") or exit 0;
				$data{$to} = delete $data{$name};
				print $l "gone $name\n";
				fact($to);
			} else {
				print $l "try $name\n";
				unlink("$dir/$name") or exit 0;
				delete $data{$name};
				print $l "gone $name\n";
			}
		}' "$1" "$2" "$3"
}

# The last fact of every name, but not of those that were being changed.
check_facts() {
	perl -MDigest::MD5=md5_hex -e '
		my ($dir, $log) = @ARGV;
		open(my $l, "<", $log) or die;
		my (%is, $bad, $n);
		while (<$l>) {
			my ($what, $name, $sum) = split;
			delete $is{$name};
			$is{$name} = $sum if $what eq "is";
			$is{$name} = "" if $what eq "gone";
		}
		for my $name (sort keys %is) {
			$n++;
			my $got = "";
			if (open(my $f, "<", "$dir/$name")) {
				local $/;
				$got = md5_hex(scalar <$f>);
			} elsif (!$!{ENOENT}) {
				$got = "$!";
			}
			next if $got eq $is{$name};
			print STDERR "$name: ", $got || "missing", ", acknowledged ",
				$is{$name} || "gone", "\n";
			$bad++;
		}
		print "$n facts hold\n" unless $bad;
		exit($bad ? 1 : 0);' "$1" "$2"
}

has_lines() {
	[ "$(2>/dev/null wc -l <"$1" || echo 0)" -ge "$2" ]
}

kill_while_writing() {
	local round=$1 pid pids=() dir
	for dir in 1 2; do
		mkdir -p "$MNT/kill-$round/$dir"
		writer "$MNT/kill-$round/$dir" "$WORK/log-$round-$dir" "$round$dir" 2>/dev/null &
		pids+=($!)
	done
	wait_until 30 has_lines "$WORK/log-$round-1" $((300 + round * 77)) ||
		fail "the writer does not get on"
	kill -KILL "$DAEMON_PID"
	wait_until 10 is_dead "$DAEMON_PID" || fail "the daemon outlives SIGKILL"
	for pid in "${pids[@]}"; do
		wait_until 10 is_dead "$pid" || kill "$pid"
		wait "$pid"
	done
	fusermount3 -uz "$MNT" || fail "fusermount3 -uz of a dead mount"
	mount_volume "$MNT" "$A" "$B" || fail "mount after SIGKILL: status $?"
	for dir in 1 2; do
		check_facts "$MNT/kill-$round/$dir" "$WORK/log-$round-$dir" ||
			fail "kill $round: acknowledged changes are lost"
	done
}

after_kill() {
	local got=0
	mirrorctl scrub --json "$MNT" >"$WORK/scrub" 2>"$WORK/err" || got=$?
	[ $((got & ~1)) -eq 0 ] || fail "scrub after SIGKILL: status $got: $(head -c 2000 "$WORK/scrub")"
	scrub 0 "$MNT"
	expect_status "$MNT" counters.uncorrected 0
	expect_state "$MNT" "$A" in-sync
	expect_state "$MNT" "$B" in-sync
	umount_volume "$MNT"
	same_trees "$A" "$B"
	mount_volume "$MNT" "$A" "$B" || fail "mount: status $?"
}

kills() {
	local round
	for ((round = 1; round <= KILLS; round++)); do
		kill_while_writing "$round"
		after_kill
		check_facts "$MNT/kill-$round/1" "$WORK/log-$round-1" || fail "lost by the scrub"
	done
}

new_volume "$A" "$B"
mount_volume "$MNT" "$A" "$B" || fail "mount: status $?"
stable_numbers
fresh_numbers
kills
umount_volume "$MNT"
