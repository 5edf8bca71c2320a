#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# All sequences of one and two operations, each followed by an fsync of the
# file, of the directory, a sync or nothing, on mounted volumes, and power cuts
# after each step and between (ace.c says what is allowed afterwards). After
# each cut the volume is mounted, checked, unmounted, the mirrors are compared,
# it is mounted again and scrubbed.
#
#	ACE_KINDS   filesystems of the mirrors ("ext4,ext4 xfs,xfs ..."), each with all
#	            groups. Without it, all on ext4, and each group on one of xfs,
#	            btrfs and ext4 with xfs, another one with another seed
#	ACE_CUTS    cuts a group (2, the second of another kind each time). A group:
#	            all sequences with the same pair of syncs
#	ACE_ONLY    one sequence alone, e.g. rename-over:file,append:none/1
#	ACE_ALONE=1 each sequence in a run of its own; takes hours
#	ACE_ROUNDS  all of it so often, each with another seed (1)
#	ACE_GROUPS  only these groups ("none,none none,file"; all 16)
#	ACE_JOBS    parts at a time (2)
#	ACE_REST    seconds between the steps: the first is sealed when the second begins
#	ACE_SCRUB   mount again and scrub after every so many cuts (2)
#	ACE_PLAIN=1 the filesystems alone, no mirrorfs: a test of the test
#	MIRRORFS_TEST_SEED
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

require_root
require_fuse
require_program losetup setfattr

ACE=$top_builddir/tests/crash/ace
SEED=${MIRRORFS_TEST_SEED:-$RANDOM}
PLAIN=${ACE_PLAIN:-}
MNT=$WORK/mnt
RECOVERY_SECONDS=60
declare -A SIZE=([ext4]=160M [xfs]=320M [btrfs]=320M)
KINDS_ALL="ext4,ext4 xfs,xfs btrfs,btrfs ext4,xfs"
GROUPS_ALL="none,none none,file none,dir none,sync file,none file,file file,dir file,sync
	dir,none dir,file dir,dir dir,sync sync,none sync,file sync,dir sync,sync"

# --- one part: some groups on mirrors of one kind, a process of its own --------

# complain TEXT: found by the script, not by the judge.
complain() {
	echo "violation: $*"
}

mirror_dirs() {
	local name
	for name in "${NAMES[@]}"; do
		printf '%s\n' "$WORK/$name/m"
	done
}

# As mount_volume and umount_volume, but a daemon that ends badly is a finding.
mount_mirrors() {
	local opts=${MIRRORFS_TEST_OPTS:-}
	mkdir -p "$MNT"
	mirrorfs -f "$(source_of "${MIRRORS[@]}")" "$MNT" ${opts:+-o "$opts"} \
		2>"$WORK/mirrorfs.err" &
	DAEMON_PID=$!
	DAEMONS+=("$DAEMON_PID")
	MOUNTS+=("$MNT")
	wait_until 60 mount_decided || fail "mirrorfs neither mounts nor ends"
	is_mounted "$MNT" && return
	wait "$DAEMON_PID"
}

mount_decided() {
	is_mounted "$MNT" || is_dead "$DAEMON_PID"
}

umount_mirrors() {
	local status=0
	wait_until 10 umount "$MNT" 2>/dev/null || umount "$MNT" || fail "cannot unmount $MNT"
	wait_until 60 is_dead "$DAEMON_PID" || fail "mirrorfs ($DAEMON_PID) outlives its mount"
	wait "$DAEMON_PID" || status=$?
	[ "$status" -eq 0 ] ||
		complain "mirrorfs ends with status $status: $(tail -n 3 "$WORK/mirrorfs.err")"
	DAEMONS=()
}

mount_tree() {
	[ -n "$PLAIN" ] || mount_mirrors
}

umount_tree() {
	[ -n "$PLAIN" ] || umount_mirrors
}

# The volume as it is before every run: prepared, sealed, closed.
prepare_part() {
	local i count=270 specs=()
	if [ -n "${ACE_ONLY:-}${ACE_ALONE:-}" ]; then
		count=1
	fi
	for i in "${!NAMES[@]}"; do
		specs+=("${NAMES[i]}=${SIZE[${TYPES[i]}]}")
	done
	start_disks "${specs[@]}"
	disk_ctl stop || broken "stop recording"
	for i in "${!NAMES[@]}"; do
		format_disk "${NAMES[i]}" "${TYPES[i]}"
		mkdir "$WORK/${NAMES[i]}/m" || broken "mkdir"
	done
	[ -n "$PLAIN" ] || mirrorctl init -q "${MIRRORS[@]}" || fail "init"
	mount_tree || fail "mounting the volume: status $?"
	"$ACE" prepare "$MNT" "$count" || fail "prepare"
	umount_tree
	stop_disks
	mkdir "$WORK/prepared"
	for i in "${NAMES[@]}"; do
		cp --sparse=always "$DISK_STORE/$i.cur" "$WORK/prepared/" || broken "cp $i"
	done
	SPECS=("${specs[@]}")
}

# run_group GROUP SEED: leaves the request log and $WORK/ack.
run_group() {
	local name systems=()
	cp --sparse=always "$WORK"/prepared/*.cur "$DISK_STORE/" || broken "cp"
	start_disks "${SPECS[@]}"
	for name in "${NAMES[@]}"; do
		mount_disk "$name"
		systems+=("$WORK/$name")
	done
	mount_tree || fail "mounting the prepared volume: status $?"
	ACE_REST=${ACE_REST:-} "$ACE" run "$MNT" "$DISKS/seq" "$WORK/ack" "$1" "$2" \
		"${systems[@]}" || true
	umount_tree
	stop_disks
}

# The control socket comes a moment after the mount. Until then it may be that of
# a volume whose device number has come again: of another part.
has_status() {
	STATUS=$(mirrorctl status --json "$MNT" 2>"$WORK/status.err") &&
		[[ $STATUS == *"${WORK##*/}/mnt\""* ]]
}

is_recovering() {
	[[ $STATUS =~ \"recovering\":\ *true ]]
}

is_recovered() {
	has_status && ! is_recovering
}

# check_events WHEN: what recovery has to tell, other than consequences of the cut.
check_events() {
	local dir
	for dir in "${MIRRORS[@]}"; do
		[ -e "$dir/.mirrorfs/events" ] || continue
		awk -F '\t' -v when="$1" '$2 !~ /^(settled|adopted|unverified)$/ && n++ < 10 {
			print "violation: event " when ": " $0 }' "$dir/.mirrorfs/events"
	done | sort -u
}

# A second mount finds nothing to do.
check_again() {
	local status=0
	mount_mirrors || { complain "does not mount again: status $?"; return; }
	wait_until 20 has_status || complain "no status: $(cat "$WORK/status.err")"
	! is_recovering || complain "recovers after a clean end"
	mirrorctl scrub --json "$MNT" >"$WORK/scrub" 2>&1 || status=$?
	[ "$status" -eq 0 ] ||
		complain "scrub: status $status: $(head -c 600 "$WORK/scrub")"
	umount_mirrors
}

check_volume() {
	mount_mirrors ||
		{ complain "does not mount: status $?: $(tail -n 3 "$WORK/mirrorfs.err")"; return; }
	wait_until "$RECOVERY_SECONDS" is_recovered ||
		complain "recovery does not end: $(cat "$WORK/status.err")"
	"$ACE" check "$MNT" "$WORK/ack" "$1"
	[[ $STATUS =~ \"state\":\ *\"in-sync\" ]] || complain "no mirror in sync"
	[[ ! $STATUS =~ \"state\":\ *\"(stale|absent|missing) ]] ||
		complain "a mirror was ejected"
	umount_mirrors
	"$ACE" equal "${MIRRORS[@]}"
	check_events "of the recovery"
	[ $((CHECKS++ % ${ACE_SCRUB:-2})) -ne 0 ] || check_again
}

# cut_and_mount K SEED PERCENT TORN: all disks, mounted where they were.
cut_and_mount() {
	local i
	rm -rf "$CUTS/now"
	cut_disks "$CUTS/now" "$@" || broken "cut $*"
	for i in "${!NAMES[@]}"; do
		mount_image "$CUTS/now/${NAMES[i]}.img" "$WORK/${NAMES[i]}" "${TYPES[i]}" \
			2>"$WORK/mount.err" || return
	done
}

unmount_all() {
	local i
	for i in "${NAMES[@]}"; do
		! is_mounted "$WORK/$i" || unmount_image "$WORK/$i"
	done
}

# check_cut GROUP K SEED PERCENT TORN
# A journal block torn into sectors of 512 bytes makes ext4 refuse to mount: no
# fault of ours; the same cut again with whole requests.
check_cut() {
	if ! cut_and_mount "${@:2}"; then
		say "${TYPES[*]}, cut ${*:2}: $(tail -n 1 "$WORK/mount.err")"
		unmount_all
		set -- "${@:1:4}" 0
		cut_and_mount "${@:2}" ||
			fail "${TYPES[*]}, cut ${*:2}: $(tail -n 2 "$WORK/mount.err")"
	fi
	if [ -n "$PLAIN" ]; then
		"$ACE" check "$MNT" "$WORK/ack" "$2" plain
	else
		check_volume "$2"
	fi >"$WORK/found"
	unmount_all
	echo 1 >>"$COUNT.cuts"
	[ -s "$WORK/found" ] || return 0
	grep -c '^violation' "$WORK/found" >>"$COUNT.violations"
	say "seed $RUN_SEED, ${TYPES[*]}, group $1, cut ${*:2}:"
	sed -n "s|^|    |; 1,${ACE_LINES:-40}p" "$WORK/found"
}

# one_run GROUP SEED
one_run() {
	local cut
	RUN_SEED=$2
	run_group "$1" "$2"
	grep -c '^sequence' "$WORK/ack" >>"$COUNT.sequences"
	! grep '^failed' "$WORK/ack" >>"$COUNT.violations.steps" || echo 1 >>"$COUNT.violations"
	"$ACE" cuts "$WORK/ack" "${ACE_CUTS:-2}" $(($2 * 61 + RUNS++)) >"$WORK/plan" ||
		broken "cuts"
	while read -r cut; do
		# shellcheck disable=SC2086
		check_cut "$1" $cut
	done <"$WORK/plan"
}

# part KIND SLOT OF SEED: every OFth group from SLOT on, then one more time what
# is never synced, but sealed between the steps.
part() {
	local group n=0
	IFS=, read -ra TYPES <<<"$1"
	NAMES=(a b c d)
	NAMES=("${NAMES[@]:0:${#TYPES[@]}}")
	RUNS=$PART
	CHECKS=0
	mapfile -t MIRRORS < <(mirror_dirs)
	[ -z "$PLAIN" ] || MNT=${MIRRORS[0]}
	prepare_part
	for group in $PART_GROUPS; do
		[ $((n++ % $3)) -eq "$2" ] || continue
		if [ -n "${ACE_ALONE:-}" ] && [ -z "${ACE_ONLY:-}" ]; then
			while read -r group; do
				one_run "$group" "$4"
			done < <("$ACE" list "$group" "$4")
		else
			one_run "$group" "$4"
		fi
	done
	[ -n "${ACE_ONLY:-}${ACE_ALONE:-}${ACE_GROUPS:-}${ACE_REST:-}" ] || [ "$2" -ne 0 ] ||
		ACE_REST=3 one_run none,none "$4"
}

# part NUMBER COUNTFILES KIND SLOT OF SEED, the groups in $PART_GROUPS
if [ "${1:-}" = part ]; then
	# shellcheck source=tests/disk/lib.sh
	. "$top_srcdir/tests/disk/lib.sh"
	PART=$2
	COUNT=$3
	part "${@:4}"
	exit 0
fi

# --- the judge can say no --------------------------------------------------------

# judge VERDICT SEQUENCE COMMAND: what the command does to the outcome.
judge() {
	local status=0
	rm -rf "$WORK/judge"
	mkdir "$WORK/judge"
	"$ACE" prepare "$WORK/judge" 1 || broken "prepare"
	ACE_REST='' "$ACE" run "$WORK/judge" - "$WORK/ack" "$2" 1 || broken "run $2"
	(cd "$WORK/judge/w/0000" && eval "$3") || broken "$3"
	"$ACE" check "$WORK/judge" "$WORK/ack" all >"$WORK/found" || status=$?
	[ "$status" -eq "$1" ] ||
		fail "judge: status $status instead of $1: $2, then $3: $(cat "$WORK/found")"
}

judge_names() {
	judge 0 create:file/0 true
	judge 1 create:file/0 'rm C1'
	judge 0 create:none/0 'rm C1'
	judge 1 create:file/2 'rm D/C1'
	judge 1 create:none/0 'touch ../../x'
	judge 1 rename:none/0 'ln R1 A'
	judge 1 rename:none/0 'rm R1'
	judge 0 rename:none/0 'mv R1 A'
	judge 1 rename:dir/0 'mv R1 A'
	judge 1 rename:file/2 'mv R1 D'
	judge 1 rename-over:none/0 'rm B'
	judge 1 rename-over:none/0 'truncate -s 0 B'
	judge 1 exchange:none/0 'mv A B'
	judge 1 exchange:none/1 'cp B A2; rm A; mv A2 A'
	judge 0 exchange:none/0 'mv A x; mv B A; mv x B'
	judge 1 exchange:file/0 'mv A x; mv B A; mv x B'
	judge 1 link:none/0 'cp -p --remove-destination H L1; setfattr -n user.ace -v old L1'
	judge 1 unlink:sync/1 'cp A B'
	judge 1 mkdir:none/0 'touch M1/x'
	judge 1 mkdir:file/0 'rmdir M1'
	judge 1 mkdir:none/0 'rmdir M1; touch M1'
	judge 0 rmdir:none/0 'mkdir E'
	judge 1 rmdir:dir/0 'mkdir E'
	judge 1 symlink:none/0 'ln -sfn other S1'
	judge 1 mkdir:none,create:file/0 'rm M1/C2'
	judge 1 mkdir:none,create:dir/0 'rm -r M1'
	judge 0 symlink:none,mkdir:file/0 'rm S1'
	judge 1 symlink:none,mkdir:dir/0 'rm S1'
	judge 1 rename:none,rename:none/0 'ln R2 A'
	judge 1 create:none,rename-over:none/0 'truncate -s 0 B'
}

judge_objects() {
	local byte='printf X | dd bs=1 seek=4000 conv=notrunc status=none'
	judge 1 overwrite:file/0 'truncate -s 5 A'
	judge 1 overwrite:none/0 "$byte of=A"
	judge 1 chmod:none/1 "$byte of=B"
	judge 1 overwrite:file/0 'dd if=/dev/zero of=A bs=4096 count=1 conv=notrunc status=none'
	judge 0 create:none/0 'truncate -s 0 C1'
	judge 1 create:file/0 'truncate -s 0 C1'
	judge 0 append:none/0 'truncate -s 11288 A'
	judge 1 append:file/0 'truncate -s 11288 A'
	judge 1 append:none,append:none/0 'truncate -s 11289 A'
	judge 0 setxattr:none/0 'setfattr -n user.ace -v old A'
	judge 1 setxattr:none/0 'setfattr -x user.ace A'
	judge 1 setxattr:file/0 'setfattr -n user.ace -v old A'
	judge 0 chmod:none/0 'chmod 644 A'
	judge 1 chmod:file/0 'chmod 644 A'
	judge 1 chmod:none/0 'chmod 777 A'
	judge 1 chmod:sync/2 'chmod 755 D'
	judge 1 mkdir:none,chmod:file/0 'chmod 755 M1'
}

same_time() {
	touch -r "$WORK/judge/w/0000/$1" "$1"
}

# mirrors STATUS COMMAND: of two equal trees, and the command done to one.
mirrors() {
	local status=0
	rm -rf "$WORK/judge2"
	cp -a "$WORK/judge" "$WORK/judge2" || broken "cp"
	(cd "$WORK/judge2/w/0000" && eval "$2") || broken "$2"
	"$ACE" equal "$WORK/judge" "$WORK/judge2" >"$WORK/found" || status=$?
	[ "$status" -eq "$1" ] || fail "equal: status $status instead of $1 after $2"
}

judge_mirrors() {
	judge 0 symlink:none/0 true
	mirrors 0 true
	mirrors 1 'rm A'
	mirrors 1 'mkdir G/x'
	mirrors 1 'chmod 600 D/f'
	mirrors 1 'touch -d @1 B'
	mirrors 1 'setfattr -x user.ace D'
	# the rest with all times as they were
	mirrors 1 'printf X | dd of=B bs=1 seek=9 conv=notrunc status=none; same_time B'
	mirrors 1 'rm S1; ln -s x S1; same_time .'
}

# --- all of it --------------------------------------------------------------------

PARTS=()

stop_parts() {
	local status=$? pid
	! is_child || return "$status"
	trap '' INT TERM HUP
	for pid in ${PARTS[@]+"${PARTS[@]}"}; do
		kill -TERM "$pid" 2>/dev/null && wait "$pid"
	done
	(exit "$status")
	cleanup
}
trap stop_parts EXIT

sum() {
	cat "$WORK"/count.*."$1" 2>/dev/null | awk '{ n += $1 } END { print n + 0 }'
}

# Starts a part when there is a free place. Its output is in its file.
start_part() {
	while [ "$(jobs -rp | wc -l)" -ge "${ACE_JOBS:-2}" ]; do
		wait -n 2>/dev/null
	done
	TMPDIR=$WORK "$BASH" "$0" part "$PART" "$WORK/count.$PART" "$@" >"$WORK/out.$PART" 2>&1 &
	PARTS+=($!)
	PART=$((PART + 1))
}

# start_kind NUMBER KIND SEED
start_kind() {
	local slot slots=2 group n=0
	export PART_GROUPS=${ACE_ONLY:-${ACE_GROUPS:-$GROUPS_ALL}}
	[ -z "${ACE_ONLY:-}" ] || slots=1
	if [ -z "${ACE_KINDS:-}${ACE_ONLY:-}${ACE_GROUPS:-}" ] && [ "$1" -gt 0 ]; then
		slots=1
		PART_GROUPS=
		for group in $GROUPS_ALL; do
			[ $(((n++ + $1 + $3) % 3)) -ne 0 ] || PART_GROUPS+="$group "
		done
	fi
	for ((slot = 0; slot < slots; slot++)); do
		start_part "$2" "$slot" "$slots" "$3"
	done
}

wait_parts() {
	local i status bad=0
	for i in "${!PARTS[@]}"; do
		status=0
		wait "${PARTS[i]}" || status=$?
		[ "$status" -ne 77 ] || { tail -n 1 "$WORK/out.$i"; continue; }
		[ ! -s "$WORK/out.$i" ] || cat "$WORK/out.$i"
		[ "$status" -eq 0 ] || { say "part $i ends with status $status"; bad=$status; }
	done
	PARTS=()
	return "$bad"
}

judge_names
judge_objects
judge_mirrors
say "MIRRORFS_TEST_SEED=$SEED"
start=$(date +%s)
PART=0
for ((round = 0; round < ${ACE_ROUNDS:-1}; round++)); do
	n=0
	for kind in ${ACE_KINDS:-$KINDS_ALL}; do
		start_kind $((n++)) "$kind" $((SEED + round))
	done
done
status=0
wait_parts || status=$?
echo 0 >"$WORK/count.x.cuts"
[ "$(sum cuts)" -gt 0 ] || [ "$status" -ne 0 ] || skip "none of the filesystems can be mounted here"
awk '{ print }' "$WORK"/count.*.violations.steps 2>/dev/null
say "$(sum sequences) sequences, $(sum cuts) cuts, $(sum violations) violations," \
	"$(($(date +%s) - start)) s"
[ "$(sum violations)" -eq 0 ] || exit 1
exit "$status"
