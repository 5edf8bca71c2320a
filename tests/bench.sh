#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What mirroring costs: the same work on a plain directory, twice on two plain
# directories one after the other, and on a mount of two mirrors, all on the one
# filesystem below $TMPDIR. Prints the time on the plain directory and ratios;
# no verdict. `make bench` runs it, as root or as a user.
#
# The work comes in groups. In each round all groups run on each of the three in
# turn, beginning with another one each time, so that a slow minute of the
# machine hits all alike; what the sealing thread does in the background is paid
# by the mount's own next steps. Medians of BENCH_ROUNDS rounds (3); no new
# round begins after BENCH_SECONDS (110). BENCH_GROUPS chooses among the groups.
# MIRRORFS_TEST_OPTS is added to the mount options.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

require_fuse
require_program perl tar dd find

ROUNDS=${BENCH_ROUNDS:-3}
LIMIT=${BENCH_SECONDS:-110}
GROUPS_WANTED=${BENCH_GROUPS:-small stream tree random}
BIG=128     # MiB of the large file
SMALL=2000  # small files
A=$WORK/a
B=$WORK/b
MNT=$WORK/mnt
TIMES=$WORK/times # a line a measurement: step, target, microseconds
export HOME=$WORK GIT_CONFIG_NOSYSTEM=1

quietly() {
	"$@" >"$WORK/out" 2>&1 && return
	cat "$WORK/out" >&2
	broken "status $?: $*"
}

# --- the clock ---------------------------------------------------------------

# timed STEP COMMAND...: on every directory of the target in hand. A command
# that measured itself leaves its microseconds in $TOOK.
timed() {
	local step=$1 sum=0 start stop DIR
	shift
	for DIR in "${DIRS[@]}"; do
		TOOK=
		start=${EPOCHREALTIME//[!0-9]/}
		"$@" || broken "$TARGET: $step"
		stop=${EPOCHREALTIME//[!0-9]/}
		sum=$((sum + ${TOOK:-$((stop - start))}))
	done
	printf '%s\t%s\t%s\n' "$step" "$TARGET" "$sum" >>"$TIMES"
}

# For every directory of the target, unmeasured.
each() {
	local DIR
	for DIR in "${DIRS[@]}"; do
		"$@" || broken "$TARGET: $*"
	done
}

# Reading twice is no work of a mirror: "twice" has no part in it.
reads() {
	[ "$TARGET" = twice ] || timed "$@"
}

# --- caches ------------------------------------------------------------------

drop_file() {
	[ ! -f "$1" ] || dd if="$1" iflag=nocache count=0 status=none
}

# Nothing of the target is in memory: neither in the daemon nor below it. A
# user cannot drop dentries and inodes, only pages.
cold() {
	sync -f "$WORK"
	[ "$TARGET" != mount ] || remount_volume "$MNT" "$A" "$B" 2>"$WORK/log"
	if [ "$(id -u)" -eq 0 ] && echo 3 2>/dev/null >/proc/sys/vm/drop_caches; then
		return
	fi
	for dir in "$A" "$B" "$WORK"/plain "$WORK"/twice1 "$WORK"/twice2; do
		drop_file "$dir/big"
	done
}

# --- streams -----------------------------------------------------------------

copy_in() { # BLOCKSIZE COUNT [conv=...]
	dd if="$WORK/random" of="$DIR/big" bs="$1" count="$2" status=none ${3:+"$3"}
}

copy_out() {
	dd if="$DIR/big" of=/dev/null bs="$1" status=none
}

remove_big() {
	rm "$DIR/big"
}

group_stream() {
	timed "write, 1 MiB" copy_in 1M "$BIG"
	sync -f "$WORK"
	timed "overwrite, 1 MiB" copy_in 1M "$BIG" conv=notrunc
	each remove_big
	timed "write, 128 KiB" copy_in 128K $((BIG * 8))
	each remove_big
	timed "write and fsync, 1 MiB" copy_in 1M "$BIG" conv=fsync
	cold
	reads "read, cold, 1 MiB" copy_out 1M
	reads "read, warm, 1 MiB" copy_out 1M
	cold
	reads "read, cold, 128 KiB" copy_out 128K
	reads "read, warm, 128 KiB" copy_out 128K
}

# --- single blocks -----------------------------------------------------------

# fio RW MiB OPTIONS...: its own measure, without its start.
fio_run() {
	local rw=$1 size=$2 field=9
	shift 2
	[[ $rw == *read ]] || field=50
	fio --name=bench --filename="$DIR/big" --rw="$rw" --bs=4k --size=${BIG}m --io_size="$size" \
		--ioengine=psync --randseed=1 --invalidate=0 --output-format=terse \
		--terse-version=3 "$@" >"$WORK/fio" 2>&1 || { cat "$WORK/fio" >&2; return 1; }
	TOOK=$(awk -F';' -v f="$field" '$1 == 3 { print $f * 1000 }' "$WORK/fio")
	rm -f "$WORK"/local-bench*
}

# COUNT BYTES SYNC: appends to a file.
append() {
	perl -MIO::Handle -e 'my ($file, $n, $len, $sync) = @ARGV;
		open(my $f, ">>", $file) or die "$file: $!\n";
		for (1..$n) {
			syswrite($f, "x" x $len) == $len or die "$file: $!\n";
			!$sync or $f->sync or die "$file: $!\n";
		}
		close $f or die' "$DIR/log" "$@"
}

group_random() {
	each copy_in 1M "$BIG" conv=fsync
	cold
	if command -v fio >/dev/null; then
		reads "random read, cold, 4 KiB" fio_run randread 8m
		timed "random write, 4 KiB" fio_run randwrite 32m
		timed "random write and fdatasync" fio_run randwrite 800k --fdatasync=1
	fi
	timed "append, 4 KiB" append 8000 4096 0
	timed "append, 100 bytes" append 8000 100 0
	timed "append and fsync" append 200 4096 1
}

# --- small files -------------------------------------------------------------

# One process for all of it: the start of programs is not what is measured.
on_small() {
	perl -e 'my ($what, $dir, $n) = @ARGV;
		my %do = (
			create => sub { open(my $f, ">", $_[0]) or return 0;
					print $f "y" x 1024; close $f },
			stat => sub { lstat $_[0] },
			read => sub { open(my $f, "<", $_[0]) or return 0; local $/;
				      length(<$f>) == 1024 },
			chmod => sub { chmod 0600, $_[0] },
			rename => sub { rename $_[0], "$_[0].new" },
			unlink => sub { unlink "$_[0].new" },
			list => sub { opendir(my $d, $dir) or return 0; my @l = readdir $d;
				      @l == $n + 2 },
		);
		for (0..($what eq "list" ? 0 : $n - 1)) {
			$do{$what}->("$dir/file$_") or die "$what $dir/file$_: $!\n";
		}' "$1" "$DIR/small" "$SMALL"
}

group_small() {
	pass_deletions
	each mkdir_small
	timed "create 1 KiB files" on_small create
	reads "stat, warm" on_small stat
	reads "read 1 KiB files, warm" on_small read
	cold
	reads "list, cold" on_small list
	reads "stat, cold" on_small stat
	reads "read 1 KiB files, cold" on_small read
	reads "list, warm" on_small list
	timed "chmod" on_small chmod
	timed "rename" on_small rename
	timed "unlink" on_small unlink
}

mkdir_small() {
	mkdir "$DIR/small"
}

# --- trees -------------------------------------------------------------------

unpack() { tar -C "$DIR" -xf "$WORK/tree.tar"; }
walk() { find "$DIR/tree" -size +1000000k; }
remove_tree() { rm -rf "$DIR/tree"; }
clone() { git clone -q --no-hardlinks --no-local "$WORK/repo" "$DIR/clone"; }
git_status() { git -C "$DIR/clone" status --porcelain >"$WORK/status"; }
remove_clone() { rm -rf "$DIR/clone"; }

group_tree() {
	pass_deletions
	timed "untar" unpack
	reads "find -size, warm" walk
	cold
	reads "find -size, cold" walk
	timed "rm -rf" remove_tree
	command -v git >/dev/null || return 0
	timed "git clone" clone
	reads "git status, warm" git_status
	cold
	reads "git status, cold" git_status
	timed "rm -rf of the clone" remove_clone
}

# --- the whole ---------------------------------------------------------------

# Up to some 1500 real headers, packed, and as a repository.
make_sources() {
	local dir
	mkdir -p "$WORK/tree/tree" "$WORK/plain" "$WORK/twice1" "$WORK/twice2" "$A" "$B"
	dd if=/dev/urandom of="$WORK/random" bs=1M count="$BIG" status=none || broken "dd"
	for dir in linux asm-generic sound rdma net arpa; do
		[ ! -d "/usr/include/$dir" ] || cp -RL "/usr/include/$dir" "$WORK/tree/tree"
	done
	cp -L /usr/include/*.h "$WORK/tree/tree" || broken "no headers in /usr/include"
	quietly tar -C "$WORK/tree" -cf "$WORK/tree.tar" tree
	command -v git >/dev/null || return 0
	quietly git init -q "$WORK/repo"
	cp -R "$WORK/tree/tree" "$WORK/repo"
	quietly git -C "$WORK/repo" add .
	quietly git -C "$WORK/repo" -c user.name=bench -c user.email=bench@localhost commit -qm all
}

clean_dir() {
	find "$DIR" -mindepth 1 -maxdepth 1 ! -name .mirrorfs -exec rm -rf {} +
}

# ext4 passes over inodes freed in the last five seconds one by one: who creates
# files now would pay for those that another target removed.
pass_deletions() {
	local left=$((${DELETED:-0} + 6 - SECONDS))
	[ "$left" -le 0 ] || [ "${DELETED:-0}" -eq 0 ] || sleep "$left"
}

# run_group GROUP TARGET
run_group() {
	TARGET=$2
	case $TARGET in
	plain) DIRS=("$WORK/plain") ;;
	twice) DIRS=("$WORK/twice1" "$WORK/twice2") ;;
	mount) DIRS=("$MNT") ;;
	esac
	"group_$1"
	each clean_dir
	[[ $1 != small && $1 != tree ]] || DELETED=$SECONDS
	[ "$TARGET" != mount ] || remount_volume "$MNT" "$A" "$B" 2>"$WORK/log"
	sync -f "$WORK"
}

run_rounds() {
	local round=0 group k all=(plain twice mount)
	while [ "$round" -lt "$ROUNDS" ] && { [ "$round" -eq 0 ] || [ "$SECONDS" -lt "$LIMIT" ]; }; do
		for k in 0 1 2; do
			for group in $GROUPS_WANTED; do
				run_group "$group" "${all[(k + round) % 3]}"
			done
		done
		round=$((round + 1))
		say "round $round of $ROUNDS: $SECONDS s" >&2
	done
}

report() {
	awk -F'\t' '
		function median(key,   n, i, k, t, v) {
			n = count[key]
			for (i = 1; i <= n; i++)
				v[i] = time[key, i]
			for (i = 2; i <= n; i++)
				for (k = i; k > 1 && v[k - 1] > v[k]; k--) {
					t = v[k]; v[k] = v[k - 1]; v[k - 1] = t
				}
			return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
		}
		function ratio(a, b) {
			return count[a] && count[b] ? sprintf("%.2f", median(a) / median(b)) : "-"
		}
		!($1 in seen) { seen[$1] = 1; order[++steps] = $1 }
		{ key = $1 SUBSEP $2; time[key, ++count[key]] = $3 > 0 ? $3 : 1 }
		END {
			printf "%-30s %10s %12s %12s %12s\n", "", "plain", "twice", "mount", "mount"
			printf "%-30s %10s %12s %12s %12s\n", "", "ms", "/ plain", "/ plain", "/ twice"
			for (i = 1; i <= steps; i++) {
				p = order[i] SUBSEP "plain"
				t = order[i] SUBSEP "twice"
				m = order[i] SUBSEP "mount"
				printf "%-30s %10.1f %12s %12s %12s\n", order[i], median(p) / 1000,
					ratio(t, p), ratio(m, p), ratio(m, t)
			}
		}' "$TIMES"
}

make_sources
sync -f "$WORK"
mirrorctl init "$A" "$B" >"$WORK/log" 2>&1 || { cat "$WORK/log" >&2; broken "init"; }
mount_volume "$MNT" "$A" "$B" 2>"$WORK/log" || { cat "$WORK/log" >&2; broken "mount"; }
run_rounds
report
say "load $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) processors: with others at work the mount looks" \
	"slower than it is" >&2
