#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The random tests, with larger numbers and a fresh seed each time, until the
# time is over: `make soak` in a build directory, as root. One line a round; a
# round is one run of one test. The first that fails ends it: its log, and the
# recordings of power cuts with violations, stay in $SOAK_DIR.
#
#	SOAK_MINUTES=60    no round begins after that
#	SOAK_DIR=soak      must not hold an earlier one's logs
#	SOAK_TESTS="content sequences alone sqlite kill killed remote exercise rot"
#	SOAK_SEED          what the seeds of the rounds are drawn from
set -u

top_srcdir=$(cd "${top_srcdir:-$(dirname "$0")/..}" && pwd) || exit 99
top_builddir=$(cd "${top_builddir:-.}" && pwd) || exit 99
export top_srcdir top_builddir
[ -x "$top_builddir/mirrorfs" ] || {
	echo "soak: mirrorfs is not built in $top_builddir" >&2
	exit 99
}

MINUTES=${SOAK_MINUTES:-60}
TESTS=${SOAK_TESTS:-content sequences alone sqlite kill killed remote exercise rot}
DIR=${SOAK_DIR:-soak}
RANDOM=${SOAK_SEED:=$(od -An -tu2 -N2 /dev/urandom | tr -d ' ')}
readonly LONGEST=3600 # seconds of one round, then it hangs
PAIRS=("ext4,ext4" "xfs,xfs" "btrfs,btrfs" "ext4,xfs" "ext4,btrfs" "xfs,btrfs")
declare -A RUNS=() SKIPPED=()
ROUND=0
RUNNING=

# pick WORD...: one of them in $PICKED (a subshell would have other numbers).
pick() {
	shift $((RANDOM % $#))
	PICKED=$1
}

# --- the tests: each sets SCRIPT, and VARS for its environment -----------------

set_content() {
	SCRIPT=crash/content.sh
	pick 100 200 400
	VARS=("CRASH_CUTS=400" "CRASH_FS=${PAIRS[TURN % ${#PAIRS[@]}]}" "CRASH_OPS=$PICKED")
}

set_sequences() {
	SCRIPT=crash/sequences.sh
	pick "${PAIRS[@]}"
	VARS=("ACE_KINDS=$PICKED" "ACE_CUTS=8")
}

# Two dozen sequences, each in a run of its own: all of them take hours.
set_alone() {
	local i group list all
	for ((i = 0; i < 24; i++)); do
		pick none file dir sync
		group=$PICKED
		pick none file dir sync
		group=$group,$PICKED
		mapfile -t all < <("$top_builddir/tests/crash/ace" list "$group" "$SEED")
		pick "${all[@]}"
		list+=("$PICKED")
	done
	SCRIPT=crash/sequences.sh
	pick "${PAIRS[@]}"
	VARS=("ACE_KINDS=$PICKED" "ACE_CUTS=8" "ACE_ONLY=${list[*]}")
}

set_sqlite() {
	SCRIPT=crash/sqlite.sh
	pick delete wal
	VARS=("SQLITE_CUTS=400" "SQLITE_RUNS=$PICKED,${PAIRS[TURN % ${#PAIRS[@]}]}")
}

set_kill() {
	SCRIPT=crash/kill.sh
	VARS=("KILLS=60")
}

set_killed() {
	SCRIPT=unit/t-kill_random
	VARS=("KILL_VOLUMES=60")
}

set_remote() {
	SCRIPT=unit/t-sync_random
	pick at_webdav at_webdav_in_place at_s3
	VARS=("SYNC_TEST=$PICKED" "SYNC_STEPS=30")
}

set_exercise() {
	SCRIPT=mount/exercise.sh
	VARS=("EXERCISE_SECONDS=20")
}

set_rot() {
	SCRIPT=mount/rot.sh
	VARS=("MIRRORFS_ROT_ROUNDS=30" "MIRRORFS_ROT_LARGE=$((TURN % 2))")
	[ $((TURN % 2)) -eq 1 ] || VARS=("${VARS[0]}")
}

# --- the rounds ---------------------------------------------------------------

# seconds since the beginning, as 1:02:03
clock() {
	printf '%d:%02d:%02d' $((SECONDS / 3600)) $((SECONDS / 60 % 60)) $((SECONDS % 60))
}

summary() {
	local test
	printf 'soak: %d rounds in %s, SOAK_SEED=%s:' "$ROUND" "$(clock)" "$SOAK_SEED"
	for test in $TESTS; do
		printf ' %s %d' "$test" "${RUNS[$test]:-0}"
		[ -z "${SKIPPED[$test]:-}" ] || printf ' (%d skipped)' "${SKIPPED[$test]}"
	done
	echo "; $1"
}

interrupted() {
	trap '' INT TERM HUP
	[ -z "$RUNNING" ] || { kill -TERM "$RUNNING" 2>/dev/null; wait "$RUNNING"; }
	summary "interrupted"
	exit 130
}

# one_round TEST
one_round() {
	local log status=0 start=$SECONDS last
	SEED=$((RANDOM * 32768 + RANDOM))
	TURN=${RUNS[$1]:-0}
	"set_$1"
	log=$DIR/$ROUND-$1.log
	RUN=("$top_builddir/tests/$SCRIPT")
	[ "${SCRIPT%.sh}" = "$SCRIPT" ] || RUN=(bash "$top_srcdir/tests/$SCRIPT")
	env "${VARS[@]}" MIRRORFS_TEST_SEED="$SEED" CRASH_KEEP="$DIR/recordings" MIRRORFS_TEST_LIMIT= \
		bash "$top_srcdir/tests/limit.sh" "$LONGEST" "${RUN[@]}" >"$log" 2>&1 &
	RUNNING=$!
	wait "$RUNNING" || status=$?
	RUNNING=
	last=$(grep -a "^$(basename "$SCRIPT" .sh): " "$log" | tail -n 1 | cut -c 1-150)
	RUNS[$1]=$((TURN + 1))
	case $status in
	0 | 77) ;;
	*)
		tail -n 40 "$log"
		echo "$(clock) round $ROUND $1 FAILED, status $status: $log"
		echo "again: env ${VARS[*]@Q} MIRRORFS_TEST_SEED=$SEED ${RUN[*]@Q}"
		summary "stopped at the first failure"
		exit 1
		;;
	esac
	[ "$status" -eq 0 ] || SKIPPED[$1]=$((${SKIPPED[$1]:-0} + 1))
	echo "$(clock) round $ROUND $1 ${VARS[*]:0:2} seed $SEED, $((SECONDS - start)) s; $last"
	rm -f "$log"
}

mkdir -p "$DIR" || exit 99
DIR=$(cd "$DIR" && pwd)
[ -z "$(ls -A "$DIR")" ] || {
	echo "soak: $DIR holds something already" >&2
	exit 99
}
for test in $TESTS; do
	[ "$(type -t "set_$test")" = function ] || {
		echo "soak: there is no test $test" >&2
		exit 99
	}
done
trap interrupted INT TERM HUP
echo "soak: SOAK_SEED=$SOAK_SEED, $MINUTES minutes, logs in $DIR"
while :; do
	for test in $TESTS; do
		[ "$SECONDS" -lt $((MINUTES * 60)) ] || break 2
		ROUND=$((ROUND + 1))
		one_round "$test"
	done
done
summary "no violation"
rmdir "$DIR/recordings" 2>/dev/null
rmdir "$DIR"
