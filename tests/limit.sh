#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# limit.sh SECONDS COMMAND...: runs a test and ends it when it does not end by
# itself. Then it says so, shows where every process of the test is, daemons
# included, and exits with status 1. First comes TERM, to the whole process
# group, so that a script undoes its mounts in its trap (bash runs that only
# once the program it waits for is gone); GRACE seconds later KILL for all but
# the script, and after as long again for the script.
#
# MIRRORFS_TEST_LIMIT=SECONDS goes before the limit in the makefile, 0 is none.
# A stack is shown as far as this user may: by gdb if there is one, else the
# system call and, for root, the kernel's side.
set -u

limit=${MIRRORFS_TEST_LIMIT:-$1}
shift
readonly GRACE=60
# In the environment of all that the test starts, also of what left its group.
mark=MIRRORFS_TEST_RUN=$$.$RANDOM
pid=
caught=

processes() {
	local env
	for env in /proc/[0-9]*/environ; do
		grep -sqzFx -e "$mark" "$env" || continue
		env=${env%/environ}
		echo "${env#/proc/}"
	done
}

# $1: process
show_threads() {
	local task
	for task in "/proc/$1"/task/*; do
		{
			printf '  thread %s %s, ' "${task##*/}" "$(<"$task/comm")"
			sed -n 's/^State:[[:space:]]*/state /p' "$task/status"
			printf '    waits in %s, ' "$(<"$task/wchan")"
			printf 'syscall %s\n' "$(<"$task/syscall")"
			sed 's/^/    /' "$task/stack"
		} 2>/dev/null
	done
	if command -v gdb >/dev/null; then
		timeout -k 5 60 gdb -nx -batch -p "$1" -ex 'thread apply all bt 16' 2>/dev/null |
			grep -E '^(Thread|#)' | sed 's/^/  /'
	fi
}

show_all() {
	local p
	for p in $(processes); do
		printf 'process %s: %s\n' "$p" "$(tr '\0' ' ' <"/proc/$p/cmdline")"
		show_threads "$p"
	done 2>/dev/null
}

is_over() {
	! kill -0 "$pid" 2>/dev/null
}

# $1: seconds. Whether the test is over by then.
ends_within() {
	local end=$((SECONDS + $1))
	until is_over; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.1
	done
}

# All but process $1.
kill_processes() {
	local p
	for p in $(processes); do
		[ "$p" = "$1" ] || kill -KILL "$p"
	done
}

# Ends the test; the command's own status no longer matters.
end_all() {
	kill -TERM -- "-$pid"
	kill -CONT -- "-$pid"
	if ! ends_within "$GRACE"; then
		# A daemon that hangs holds up the trap, or what it waits for.
		echo "limit: no end $GRACE s after TERM: KILL for its programs"
		kill_processes "$pid"
		ends_within "$GRACE" || echo "limit: nor then: KILL; mounts may be left"
	fi
	kill -KILL -- "-$pid"
	kill_processes none
} 2>/dev/null

if [ "$limit" = 0 ]; then
	exec "$@"
fi
trap 'caught=129' HUP
trap 'caught=130' INT
trap 'caught=143' TERM

set -m # a process group for each
env "$mark" "$@" </dev/null &
pid=$!
sleep "$limit" &
timer=$!
set +m

status=0
wait -n -p ended "$pid" "$timer" || status=$?
if [ "${ended:-}" = "$pid" ]; then
	kill "$timer" 2>/dev/null
	exit "$status"
fi
if [ -n "$caught" ]; then
	end_all
	kill "$timer" 2>/dev/null
	exit "$caught"
fi
# A sleep that could not count is no verdict on the test.
[ "$status" -eq 0 ] || { end_all; echo "limit: cannot wait $limit s" >&2; exit 99; }
{
	echo "limit: FAILED: no end within $limit s: ${*##*/}"
	echo "limit: MIRRORFS_TEST_LIMIT=SECONDS raises it"
	show_all
	end_all
} >&2
exit 1
