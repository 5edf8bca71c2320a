#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Power cuts under sqlite: transactions on a volume of two mirrors on simulated
# disks, each written down outside with the number of the disks' last request
# once it was committed. After a cut at request K the volume recovers, the
# database must be whole, hold every transaction that was acknowledged by then
# and no half of another, and the mirrors must be equal.
#
# DELETE commits by removing its journal, and only synchronous=EXTRA syncs the
# directory after it; FULL does not promise the last transaction there. WAL
# runs with FULL.
#
#	SQLITE_CUTS=200    cuts in all
#	SQLITE_RUNS="delete,ext4,ext4 wal,ext4,ext4 wal,xfs,xfs"
#	SQLITE_TX=150      transactions of a run
#	SQLITE_JOBS=2      cuts at a time (btrfs: one)
#	CRASH_KEEP=DIR     keep the recording of a run with violations there
#	CRASH_RECORDING=DIR SQLITE_ONLY=K    one cut of a kept recording
#
# MIRRORFS_TEST_SEED replays transactions and choices; what the disks were asked
# for is only in a kept recording.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/disk/lib.sh
. "$top_srcdir/tests/disk/lib.sh"
# shellcheck source=tests/crash/lib.sh
. "$top_srcdir/tests/crash/lib.sh"

require_root
require_fuse
require_program losetup getfattr shuf sqlite3

SEED=${MIRRORFS_TEST_SEED:-$RANDOM}
RUNS=${SQLITE_RUNS:-delete,ext4,ext4 wal,ext4,ext4 wal,xfs,xfs}
TRANSACTIONS=${SQLITE_TX:-150}
ACK=$WORK/ack
say "MIRRORFS_TEST_SEED=$SEED"

# disk_size, find_requests, draw, mount_images, unmount_images, can_tear, mirrors_equal, cut_all;
# one_cut is below.
# shellcheck source=tests/crash/record.sh
. "$top_srcdir/tests/crash/record.sh"

# --- the recording ------------------------------------------------------------

pragmas() {
	local level=FULL
	[ "$1" != delete ] || level=EXTRA
	printf 'PRAGMA journal_mode=%s;\nPRAGMA synchronous=%s;\n' "$1" "$level"
	printf 'PRAGMA wal_autocheckpoint=40;\nPRAGMA cache_size=20;\n'
}

# The text of a row follows from its transaction and length; the last row of
# the log says what all of t was.
schema() {
	printf 'CREATE TABLE t (id INTEGER PRIMARY KEY, tx INTEGER, len INTEGER, pad TEXT);\n'
	printf 'CREATE INDEX by_tx ON t (tx, id);\n'
	printf 'CREATE TABLE log (n INTEGER PRIMARY KEY, rows INTEGER, sum INTEGER);\n'
	printf 'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 200)\n'
	printf "INSERT INTO t SELECT x, 0, 400, printf('%%0*d', 400, 0) FROM c;\n"
}

# Small transactions, each tenth a large one that spills from the cache; now
# and then one is rolled back, or all rests long enough to be sealed.
transactions() {
	awk -v n="$TRANSACTIONS" -v seed="$SEED" -v ack="$WORK/ack.sh" '
	function change(i,   id, len) {
		id = int(rand() * 250) + 1
		len = int(rand() * (rand() < 0.1 ? 9000 : 700)) + 10
		if (rand() < 0.15)
			printf "DELETE FROM t WHERE id = %d;\n", id
		else
			printf "REPLACE INTO t VALUES (%d, %d, %d, printf(\"%%0*d\", %d, %d));\n",
				id, i, len, len, i
	}
	BEGIN {
		srand(seed)
		for (i = 1; i <= n; i++) {
			k = i % 10 ? int(rand() * 4) + 1 : 60
			print "BEGIN;"
			for (j = 0; j < k; j++)
				change(i)
			if (i % 13 == 0) {
				print "ROLLBACK;\nBEGIN;"
				change(i)
			}
			printf "INSERT INTO log SELECT %d, count(*), total(tx * id) FROM t;\n", i
			printf "COMMIT;\n.system \"%s\" %d\n", ack, i
			if (i % 50 == 25)
				print ".system sleep 0.7"
		}
	}'
}

write_ack_program() {
	# shellcheck disable=SC2016 # for that program
	printf '#!/bin/sh\nread -r seq <"%s/seq" && echo "$1 $seq" >>"%s"\n' "$DISKS" "$ACK" >"$WORK/ack.sh"
	chmod +x "$WORK/ack.sh"
}

# record_sqlite MODE TYPE_A TYPE_B
record_sqlite() {
	local mnt=$WORK/live
	MODE=$1 TYPE_A=$2 TYPE_B=$3
	rm -f "$DISK_STORE"/*.cur "$ACK"
	: >"$ACK"
	start_disks "a=$(disk_size "$2")" "b=$(disk_size "$3")"
	format_disk a "$2"
	format_disk b "$3"
	mkdir "$WORK/a/vol" "$WORK/b/vol" || broken "mkdir"
	mirrorctl init "$WORK/a/vol" "$WORK/b/vol" >"$WORK/init" 2>&1 || fail "init: $(cat "$WORK/init")"
	serve "$mnt" "$CRASH_LIVE_OPTS" "$WORK/a/vol" "$WORK/b/vol" || fail "the volume does not mount"
	write_ack_program
	{ pragmas "$1"; schema; } | sqlite3 -bail "$mnt/db" >"$WORK/out" 2>&1 || fail "sqlite: $(cat "$WORK/out")"
	wait_until 30 is_sealed "$WORK/a/vol" || say "note: not everything is sealed before the recording"
	sync -f "$WORK/a" "$WORK/b"
	disk_ctl record || fail "record"
	{ pragmas "$1"; transactions; } | sqlite3 -bail "$mnt/db" >"$WORK/out" 2>&1 ||
		fail "sqlite: $(cat "$WORK/out")"
	disk_ctl stop || fail "stop"
	kill_serving "$mnt"
	stop_disks
	find_requests
	[ "$(wc -l <"$ACK")" -eq "$TRANSACTIONS" ] || fail "$(wc -l <"$ACK") transactions were written down"
	say "$1 $2+$3: $TRANSACTIONS transactions, requests $FIRST to $LAST, after $SECONDS s"
}

# --- one cut ------------------------------------------------------------------

# Four lines: ok; whether the log has no gaps; how many transactions; and how
# many rows are not as the last of them left them.
questions() {
	cat <<-END
		PRAGMA integrity_check;
		SELECT count(*) = coalesce(max(n), 0) FROM log;
		SELECT count(*) FROM log;
		SELECT (SELECT count(*) FROM t WHERE pad <> printf('%0*d', len, tx))
			+ coalesce((SELECT rows <> (SELECT count(*) FROM t)
				OR sum <> (SELECT total(tx * id) FROM t)
				FROM log ORDER BY n DESC LIMIT 1), 0);
	END
}

check_database() {
	local answer acked
	acked=$(awk -v k="$K" '$2 <= k { n = $1 } END { print n + 0 }' "$ACK")
	questions | sqlite3 "$JOB/mnt/db" >"$JOB/answer" 2>&1
	mapfile -t answer <"$JOB/answer"
	if [ "${#answer[@]}" -ne 4 ] || [ "${answer[0]}" != ok ]; then
		wrong "cut $K ($WHAT): $(head -c 300 "$JOB/answer")"
	elif [ "${answer[1]}" != 1 ] || [ "${answer[3]}" != 0 ]; then
		wrong "cut $K ($WHAT): half of a transaction: ${answer[*]}"
	elif [ "${answer[2]}" -lt "$acked" ]; then
		wrong "cut $K ($WHAT): ${answer[2]} transactions of $acked"
	fi
}

# Nothing was damaged, so nothing may be called so. What was not synced when the
# power went may be flagged as not proved.
check_alarms() {
	local line
	line=$(cat "$JOB"/[ab]/vol/.mirrorfs/events* 2>/dev/null |
		awk -F '\t' '$2 != "unverified" && $2 != "settled"')
	[ -z "$line" ] || wrong "cut $K ($WHAT): an alarm: $(head -n 2 <<<"$line")"
}

one_cut() {
	local percent
	K=$1
	RANDOM=$(((SEED * 31 + K) % 32768))
	draw 101
	percent=$DRAWN
	draw 3
	TORN=$((DRAWN * 40))
	can_tear || TORN=0
	WHAT="$MODE, $percent % survive, $TORN % torn"
	rm -rf "$JOB_CUTS"
	cut_disks "$JOB_CUTS" "$K" $((SEED + K)) "$percent" "$TORN" || broken "cut $K"
	mount_images "$JOB_CUTS" && recover_and_check
	[ ! -e "/proc/${SERVED:-none}" ] || kill_serving "$JOB/mnt"
	unmount_images
	echo "counts cuts 1" >>"$JOB/counts"
}

recover_and_check() {
	serve "$JOB/mnt" "$CRASH_OPTS" "$JOB/a/vol" "$JOB/b/vol" || return
	wait_recovered "$JOB/mnt" || return
	check_database
	check_alarms
	end_serving "$JOB/mnt" || return
	mirrors_equal
}

# --- many ---------------------------------------------------------------------

# Three of four anywhere, one of four at an acknowledgement.
choose() {
	{
		awk '{ print $2; print $2 - 1 }' "$ACK" | shuf -n $((($1 + 3) / 4)) --random-source=<(seed_bytes)
		seq "$FIRST" "$LAST" | shuf --random-source=<(seed_bytes)
	} | awk -v f="$FIRST" '$1 >= f && !seen[$1]++' | head -n "$1"
}

keep_recording() {
	local dir=$CRASH_KEEP/sqlite-$MODE-$TYPE_A-$TYPE_B-$SEED
	mkdir -p "$dir" && cp --sparse=always "$DISK_STORE"/*.base "$DISK_STORE"/log* "$ACK" "$dir" &&
		echo "SEED=$SEED MODE=$MODE TYPE_A=$TYPE_A TYPE_B=$TYPE_B" >"$dir/what" &&
		say "the recording is kept: CRASH_RECORDING=$dir SQLITE_ONLY=K" && return
	say "the recording cannot be kept in $dir" >&2
}

replay() {
	mkdir -p "$DISK_STORE"
	mount -t tmpfs -o mode=0700,size=75% disks "$DISK_STORE" || broken "mount tmpfs"
	MOUNTS+=("$DISK_STORE")
	mkdir -p "$CUTS"
	cp --sparse=always "$CRASH_RECORDING"/*.base "$CRASH_RECORDING"/log* "$DISK_STORE" ||
		broken "no recording in $CRASH_RECORDING"
	cp "$CRASH_RECORDING/ack" "$ACK" || broken "no acknowledgements in $CRASH_RECORDING"
	# shellcheck source=/dev/null
	. "$CRASH_RECORDING/what"
	tr , "\n" <<<"$SQLITE_ONLY" >"$WORK/chosen"
	cut_all 1 <"$WORK/chosen"
}

# one_run MODE,TYPE_A,TYPE_B CUTS
one_run() {
	local mode type_a type_b jobs=${SQLITE_JOBS:-2} before=$VIOLATIONS
	IFS=, read -r mode type_a type_b <<<"$1"
	command -v "mkfs.$type_a" "mkfs.$type_b" >/dev/null || {
		say "without mkfs: $1 is left out"
		return
	}
	[ "${1/btrfs/}" = "$1" ] || jobs=1
	record_sqlite "$mode" "$type_a" "$type_b"
	choose "$2" >"$WORK/chosen"
	cut_all "$jobs" <"$WORK/chosen"
	[ "$VIOLATIONS" -eq "$before" ] || [ -z "${CRASH_KEEP:-}" ] || keep_recording
}

if [ -n "${SQLITE_ONLY:-}" ]; then
	[ -n "${CRASH_RECORDING:-}" ] || broken "SQLITE_ONLY needs CRASH_RECORDING"
	replay
else
	n=$(wc -w <<<"$RUNS")
	for run in $RUNS; do
		one_run "$run" $(((${SQLITE_CUTS:-200} + n - 1) / n))
	done
fi
say "violations $VIOLATIONS $(sum_counts "$WORK"/job*/counts)($SECONDS s)"
[ "$VIOLATIONS" -eq 0 ] || fail "$VIOLATIONS violations"
