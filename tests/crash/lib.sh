# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Verbs of the crash tests: a volume served in the foreground, so that its
# process is known and can be killed, and the load and verify programs. Sourced
# after tests/lib.sh (and tests/disk/lib.sh where disks are cut).
#
#	serve MNT OPTIONS MIRROR...   the daemon is $SERVED
#	wait_recovered MNT            "recovering" of the status is not true
#	end_serving MNT               an orderly unmount; fails unless it ends with 0
#	kill_serving MNT              SIGKILL, and the mount is gone
#
# Verbs return 1 where a test of many cuts goes on after a violation: `wrong`
# prints it and counts.

CRASH=$top_builddir/tests/crash
VIOLATIONS=0

wrong() {
	say "VIOLATION $*" >&2
	VIOLATIONS=$((VIOLATIONS + 1))
	return 1
}

# No fork: asked every few milliseconds.
is_in_mountinfo() {
	[[ $(</proc/self/mountinfo) == *" $1 "* ]]
}

# serve MNT OPTIONS MIRROR...: what it says goes to MNT.log.
serve() {
	local mnt=$1 opts=$2 i
	shift 2
	opts=${opts:+$opts,}${MIRRORFS_TEST_OPTS:-}
	mkdir -p "$mnt" || broken "mkdir $mnt"
	mirrorfs "$(source_of "$@")" "$mnt" -f ${opts:+-o "${opts%,}"} >>"$mnt.log" 2>&1 &
	SERVED=$!
	DAEMONS+=("$SERVED")
	for ((i = 0; i < 3000; i++)); do
		if is_in_mountinfo "$mnt"; then
			MOUNTS+=("$mnt")
			wait_until 20 mirrorctl status "$mnt" >/dev/null 2>&1 && return 0
			wrong "the volume does not answer: $(tail -n 3 "$mnt.log")"
			return 1
		fi
		kill -0 "$SERVED" 2>/dev/null || break
		sleep 0.005
	done
	wrong "the volume does not mount: $(tail -n 3 "$mnt.log")"
}

forget_mount() {
	local i
	for i in "${!MOUNTS[@]}"; do
		[ "${MOUNTS[i]}" != "$1" ] || unset "MOUNTS[i]"
	done
	MOUNTS=(${MOUNTS[@]+"${MOUNTS[@]}"})
}

forget_daemon() {
	local i
	for i in "${!DAEMONS[@]}"; do
		[ "${DAEMONS[i]}" != "$1" ] || unset "DAEMONS[i]"
	done
	DAEMONS=(${DAEMONS[@]+"${DAEMONS[@]}"})
}

# Detaches, and forgets: the number may be another test's soon.
end_loop() {
	local i
	losetup -d "$1" || broken "losetup -d $1"
	for i in "${!LOOPS[@]}"; do
		[ "${LOOPS[i]}" != "$1" ] || unset "LOOPS[i]"
	done
	LOOPS=(${LOOPS[@]+"${LOOPS[@]}"})
}

# The answer may be another volume's that had the same device number and ends.
is_recovered() {
	local text
	text=$(mirrorctl status --json "$1" 2>/dev/null) && [[ $text == *"${1##*/mirrorfs-}\""* ]] &&
		[[ ! $text =~ \"recovering\":\ *true ]]
}

wait_recovered() {
	wait_until 30 is_recovered "$1" || wrong "the recovery does not end within 30 s"
}

end_serving() {
	local status=0
	umount "$1" 2>/dev/null || wait_until 10 umount "$1" || wrong "cannot unmount the volume"
	wait_until 120 is_dead "$SERVED" || kill -KILL "$SERVED"
	wait "$SERVED" || status=$?
	forget_mount "$1"
	forget_daemon "$SERVED"
	[ "$status" -eq 0 ] || wrong "mirrorfs ends with $status: $(tail -n 3 "$1.log")"
}

kill_serving() {
	kill -KILL "$SERVED"
	wait "$SERVED" 2>/dev/null
	umount "$1" 2>/dev/null || wait_until 10 umount -l "$1" || broken "umount $1"
	forget_mount "$1"
	forget_daemon "$SERVED"
}

# start_load DIR LOG OPTION...: made and synced what it works on when it returns.
start_load() {
	local dir=$1 log=$2
	shift 2
	rm -f "$log" "$log.ready" "$log.go"
	"$CRASH/load" -g "$@" "$dir" "$log" >"$log.out" 2>&1 &
	LOAD=$!
	wait_until 60 load_is_ready "$log" || fail "the load does not start: $(cat "$log.out")"
	[ -e "$log.ready" ] || fail "the load fails: $(cat "$log.out")"
}

load_is_ready() {
	[ -e "$1.ready" ] || ! kill -0 "$LOAD" 2>/dev/null
}

# A record on a mirror that says OPEN: the second byte is odd.
has_open_record() {
	getfattr -R -h -d -m '^user\.mfs$' -e hex "$1" 2>/dev/null |
		grep -q '^user.mfs=0x01.[13579bdf]'
}

is_sealed() {
	! has_open_record "$1"
}

events_of() {
	local mirror
	for mirror; do
		printf -- '-e %s/.mirrorfs/events -e %s/.mirrorfs/events.1 ' "$mirror" "$mirror"
	done
}

# sum_counts FILE...: the lines "counts NAME N NAME N ..." added up.
sum_counts() {
	cat "$@" /dev/null | awk '
		$1 == "counts" { for (i = 2; i < NF; i += 2) {
			if (!($i in n)) order[++k] = $i
			n[$i] += $(i + 1) } }
		END { for (i = 1; i <= k; i++) printf "%s %d ", order[i], n[order[i]] }'
}
