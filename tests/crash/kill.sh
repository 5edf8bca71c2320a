#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The daemon is killed at random moments under load, mounted again, and every
# write that was acknowledged must be there, exactly: the page cache of the
# mirrors survives. Nothing may be called rotten or unverified, and the mirrors
# must be equal.
#
# KILLS=10 rounds. MIRRORFS_TEST_SEED replays what is written, not when.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/crash/lib.sh
. "$top_srcdir/tests/crash/lib.sh" || broken "cannot be read"

require_fuse
require_program getfattr

SEED=${MIRRORFS_TEST_SEED:-$RANDOM}
KILLS=${KILLS:-10}
A=$WORK/a
B=$WORK/b
MNT=$WORK/mnt
LOG=$WORK/log
RANDOM=$SEED
say "MIRRORFS_TEST_SEED=$SEED"

# milliseconds BELOW: sleeps so long, at random.
random_pause() {
	local ms
	printf -v ms '%04d' $((RANDOM % $1))
	sleep "${ms:0:1}.${ms:1}"
}

# What verify says of the volume after the kill.
check_acknowledged() {
	local status=0
	# shellcheck disable=SC2046 # words
	"$CRASH/verify" check -k -s "$SEED" -x "mirrorctl scrub -q '$MNT' >'$WORK/scrub' 2>&1; [ \$? -le 1 ]" \
		$(events_of "$A" "$B") "$LOG" 0 "$MNT" >"$WORK/found" || status=$?
	grep '^counts' "$WORK/found" >>"$WORK/counts"
	[ "$status" -eq 0 ] && return
	[ "$status" -eq 1 ] || broken "verify: status $status"
	grep '^VIOLATION' "$WORK/found" | head -n 20 >&2
	wrong "round $1: $(grep -c '^VIOLATION' "$WORK/found") of them"
}

check_flags() {
	local n
	n=$(awk '$1 == "counts" { for (i = 2; i < NF; i += 2) if ($i == "unverified") n += $(i + 1) }
		END { print n + 0 }' "$WORK/found")
	[ "$n" -eq 0 ] || wrong "round $1: $n leaves are flagged unverified"
}

one_kill() {
	rm -rf "$A" "$B"
	mkdir "$A" "$B" || broken "mkdir"
	mirrorctl init "$A" "$B" >"$WORK/init" 2>&1 || fail "init: $(cat "$WORK/init")"
	serve "$MNT" seal_ms=300 "$A" "$B" || return
	start_load "$MNT" "$LOG" -k -s $((SEED + $1)) -n 1000000 -p 300 -t 3 -c 20 ||
		return
	touch "$LOG.go"
	random_pause 1200
	kill_serving "$MNT"
	wait "$LOAD" || wrong "round $1: the load fails: $(cat "$LOG.out")"
	serve "$MNT" seal_ms=300 "$A" "$B" || return
	[ $((RANDOM % 2)) -eq 0 ] || wait_recovered "$MNT"
	check_acknowledged "$1"
	check_flags "$1"
	wait_recovered "$MNT"
	end_serving "$MNT"
	tree_equal "$A" "$B" || wrong "round $1: the mirrors differ"
}

for ((round = 1; round <= KILLS; round++)); do
	one_kill "$round"
done
say "kills $KILLS violations $VIOLATIONS $(sum_counts "$WORK/counts")($SECONDS s)"
[ "$VIOLATIONS" -eq 0 ] || fail "$VIOLATIONS violations"
