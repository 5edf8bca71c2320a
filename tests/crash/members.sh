#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Power cuts around changes of the set of members: what was acknowledged is
# there with every combination of mirrors that is accepted, a mirror that missed
# something is never a source, and afterwards all mirrors are equal. Scenes:
#
#	fails     a disk fails writes or syncs in mid-load: its mirror is ejected
#	returns   a mirror was full, is caught up and admitted, all under load
#	three     three mirrors; one may be missing at the next mount, and return
#	degraded  one mirror only; the other returns after the cut
#	lies      the disk of one acknowledges flushes and does not do them
#	damaged   a journal is deleted or garbage, or a superblock slot is torn
#
#	MEMBERS_CUTS=120   cuts in all
#	MEMBERS_SCENES="fails returns ..."  without it all but `returns` and `lies`,
#	           which still show a violation in some hundred cuts
#	MEMBERS_FS="ext4,xfs ..."  filesystems of each scene (one pair, by the seed)
#	MEMBERS_FAULT=N    which fault in `fails` (by the seed)
#	CRASH_JOBS=2       cuts at a time
#	CRASH_KEEP=DIR     keep recordings with violations there
#	CRASH_RECORDING=DIR CRASH_ONLY=K   cuts of a kept recording
#
# MIRRORFS_TEST_SEED replays choices and content, a kept recording the cut.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/disk/lib.sh
. "$top_srcdir/tests/disk/lib.sh"
# shellcheck source=tests/crash/lib.sh
. "$top_srcdir/tests/crash/lib.sh" || broken "cannot be read"

require_root
require_fuse
require_program losetup getfattr shuf filefrag fallocate mkfs.ext4 mkfs.xfs

SEED=${MIRRORFS_TEST_SEED:-$RANDOM}
SCENES=${MEMBERS_SCENES:-fails three degraded damaged}
CUTS_WANTED=${MEMBERS_CUTS:-120}
PAIRS=("ext4,ext4" "ext4,xfs" "xfs,ext4" "xfs,xfs")
FAULTS=("eio b s 0 1T" "eio b w 0 1T" "eio b w 0 1T 20 30" "err b * 0 1T 30")
SCENE='' BAD_DISK='' OUTSIDER=''
NESTED_PERCENT=0
PATH=$top_builddir/tests/rot:$PATH
say "MIRRORFS_TEST_SEED=$SEED"

# shellcheck source=tests/crash/record.sh
. "$top_srcdir/tests/crash/record.sh" || broken "cannot be read"
# shellcheck source=tests/crash/set.sh
. "$top_srcdir/tests/crash/set.sh" || broken "cannot be read"

# --- what any cut of two is held against --------------------------------------

# alone NAME...: of a volume that has more, which must be asked for.
alone() {
	WHAT="$WHAT, $* alone"
	is_refused "" "$@" || {
		wrong "cut $K ($WHAT): mounted without the others, unasked"
		return 1
	}
	serve_set degraded "$@" || return
	draw 2
	[ "$DRAWN" -eq 0 ] || wait_recovered "$JOB/mnt" || return
	verify_set
	wait_recovered "$JOB/mnt" && end_serving "$JOB/mnt" || return
	count alone
}

# b missed something, and a superblock says so. Somebody may insist on b; then
# the two are never one again, and a has everything.
insist_on_b() {
	WHAT="$WHAT, b alone, older"
	is_refused "" b || {
		wrong "cut $K ($WHAT): mounted without a, unasked"
		return 1
	}
	if is_refused degraded b; then
		count refused
		serve_all
		return
	fi
	verify_set '^VIOLATION (lost|names|foreign|undecided): '
	end_serving "$JOB/mnt" || return
	count insisted
	if is_refused "" a b && is_refused degraded a b; then
		alone a
	else
		wrong "cut $K ($WHAT): what diverged is one again"
	fi
}

# a was in sync all the time, b not.
check_pair() {
	if [ "$HAVE_B" = no ]; then
		count unmountable
		alone a
		return
	fi
	read_states
	draw 6
	case $DRAWN in
	0 | 1)
		WHAT="$WHAT, both"
		serve_all
		;;
	2) alone a && serve_all ;;
	*)
		if [ "${EPOCH[b]}" -ge "${EPOCH[a]}" ] && [ "${OWN[b]}" = in-sync ]; then
			alone b && serve_all
		else
			insist_on_b
		fi
		;;
	esac
}

# --- a mirror fails -----------------------------------------------------------

record_fails() {
	local fault=${FAULTS[${MEMBERS_FAULT:-$((SEED / 4 % ${#FAULTS[@]}))}]}
	NESTED_PERCENT=10 OUTSIDER=b BAD_DISK=b
	new_disks "a=$1" "b=$2"
	begin_load "" a b
	run_requests 150
	disk_ctl "$fault" || fail "fault"
	wait_until 60 live_state_is b 'stale|full' || fail "b fails ($fault) and stays"
	say "$SCENE: $fault"
	run_requests 150
	disk_ctl clear b
	run_requests 50
	end_load
	choose_around "$3" $(($3 * 2 / 3)) "$FIRST" >"$WORK/chosen"
}

check_fails() {
	check_pair
}

# --- a mirror comes back ------------------------------------------------------

fill_disk() {
	local step
	for step in 16M 1M 64K 4K; do
		while fallocate -l "$step" "$1/ballast.$((N_BALLAST++))" 2>/dev/null; do :; done
	done
}

# It is full for a while: nothing but that ejects a mirror whose disk is sound.
record_returns() {
	local from
	NESTED_PERCENT=10 OUTSIDER=b
	N_BALLAST=0
	new_disks "a=$1" "b=$2"
	begin_load "" a b
	fill_disk "$WORK/b"
	wait_until 60 live_state_is b full || fail "b is full and stays"
	run_requests 200
	rm "$WORK"/b/ballast.*
	sync -f "$WORK/b"
	from=$(disk_seq)
	wait_until 60 is_caught_up || fail "b does not return: $(tail -n 3 "$MNT_LIVE.log")"
	run_requests 300
	end_load
	{
		choose_around $(($3 * 3 / 4)) $(($3 / 2)) "$from"
		choose_any $((($3 + 3) / 4)) "$(tail -n 1 "$WORK/sb.b")" | head -n $((($3 + 3) / 4))
	} >"$WORK/chosen"
}

is_caught_up() {
	mirrorctl scrub -q "$MNT_LIVE" >/dev/null 2>&1
	live_state_is b in-sync
}

# What filled the disk may still be there after the cut.
check_returns() {
	draw 2
	if [ -e "$JOB/b/ballast.0" ] && [ "$DRAWN" -eq 0 ]; then
		WHAT="$WHAT, still full"
		count full
		serve_set "" a b || return
		draw 2
		[ "$DRAWN" -eq 0 ] || wait_recovered "$JOB/mnt" || return
		read_states
		TOLERATED='^VIOLATION failed: event: [^ ]+\s(postponed|repair failed)\s'
		verify_set '^VIOLATION failed: the command'
		wait_recovered "$JOB/mnt" && end_serving "$JOB/mnt" || return
	fi
	rm -f "$JOB"/b/ballast.*
	check_pair
}

# --- three --------------------------------------------------------------------

record_three() {
	new_disks a=ext4 b=ext4 c=xfs
	begin_load "" a b c
	run_requests 400
	end_load
	choose_any "$3" "$FIRST" | head -n "$3" >"$WORK/chosen"
}

check_three() {
	local rest=() name out
	draw 4
	if [ "$DRAWN" -eq 3 ]; then
		WHAT="$WHAT, all"
		serve_all
		return
	fi
	out=${NAMES[DRAWN]}
	for name in "${NAMES[@]}"; do
		[ "$name" = "$out" ] || rest+=("$name")
	done
	draw 3
	[ "$DRAWN" -ne 0 ] || rest=("${rest[0]}")
	alone "${rest[@]}" && serve_all
}

# --- one ----------------------------------------------------------------------

record_degraded() {
	OUTSIDER=b
	new_disks "a=$1" "b=$2"
	begin_load degraded a
	run_requests 400
	end_load
	choose_any "$3" "$FIRST" | head -n "$3" >"$WORK/chosen"
}

check_degraded() {
	draw 3
	case $DRAWN in
	0)
		WHAT="$WHAT, both"
		serve_all
		;;
	1) alone a && serve_all ;;
	2)
		read_states
		insist_on_b
		;;
	esac
}

# --- a disk that lies ---------------------------------------------------------

record_lies() {
	local from
	BAD_DISK=b
	new_disks "a=$1" "b=$2"
	begin_load "" a b
	run_requests 100
	disk_ctl lie b 1 || fail "lie"
	from=$(disk_seq)
	run_requests 400
	end_load
	choose_around "$3" 0 "$from" >"$WORK/chosen"
}

# What the liar lost is damage like any other, found and repaired. Of a leaf in
# flight and torn on both disks its copy may be taken, flagged. A name whose removal it lost
# may come back.
check_lies() {
	TOLERATED='^VIOLATION (falserot: event: [^ ]+\srepaired\s|foreign: .*; flagged |names: .*: is there, and may not be )'
	draw 3
	if [ "$HAVE_B" = no ]; then
		count unmountable
		alone a
	elif [ "$DRAWN" -eq 0 ]; then
		alone a && serve_all
	else
		WHAT="$WHAT, both"
		serve_all
	fi
}

# --- damage to what mirrorfs itself keeps -------------------------------------

record_damaged() {
	new_disks "a=$1" "b=$2"
	begin_load "" a b
	run_requests 400
	end_load
	choose_any "$3" "$FIRST" | head -n "$3" >"$WORK/chosen"
}

# garbage FILE OFFSET LENGTH: in place.
garbage() {
	seed_bytes | head -c "$3" | dd of="$1" bs=64K seek="$2" oflag=seek_bytes conv=notrunc status=none ||
		broken "garbage"
}

damage_journal() {
	local file=$JOB/$1/vol/.mirrorfs/journal size
	size=$(stat -c %s "$file") || broken "no journal"
	draw 4
	case $DRAWN in
	0) rm "$file" ;;
	1) garbage "$file" 0 4096 ;;
	2) garbage "$file" 0 "$size" ;;
	3) truncate -s $((size / 2)) "$file" ;;
	esac
	WHAT="$WHAT, journal of $1 damaged ($DRAWN)"
}

# Some sectors of one of the two slots.
tear_slot() {
	local slot
	draw 2
	slot=$DRAWN
	draw 7
	garbage "$JOB/$1/vol/.mirrorfs/volume" $((slot * 4096 + DRAWN * 512)) 512
	WHAT="$WHAT, slot $slot of $1 torn"
}

# On one mirror nothing is lost. With both journals gone it is not known what was
# in flight, and EIO is an answer there: the volume is there, and what rested, and
# every leaf that is readable, is right.
check_damaged() {
	local m=a
	draw 2
	[ "$DRAWN" -eq 0 ] || m=b
	draw 6
	case $DRAWN in
	0 | 1 | 2)
		damage_journal "$m"
		serve_all
		;;
	3)
		tear_slot "$m"
		serve_all
		;;
	*)
		damage_journal a
		damage_journal b
		# shellcheck disable=SC2034 # of set.sh
		SCRUB_ALLOWED=5 TOLERATED='^VIOLATION (eio|undecided|falserot): .*w[0-9]+/[^i]'
		serve_all
		;;
	esac
}

# --- all ----------------------------------------------------------------------

# one_scene NAME PAIR CUTS
one_scene() {
	local before=$VIOLATIONS
	SCENE=$1 NESTED_PERCENT=0 BAD_DISK='' OUTSIDER=''
	rm -f "$WORK"/sb.* "$WORK"/job*/bad
	"record_$1" "${2%,*}" "${2#*,}" "$3"
	cut_all "${CRASH_JOBS:-2}" <"$WORK/chosen"
	[ "$VIOLATIONS" -eq "$before" ] || [ -z "${CRASH_KEEP:-}" ] || keep_recording
}

if [ -n "${CRASH_ONLY:-}" ]; then
	replay
else
	i=0
	for scene in $SCENES; do
		for pair in ${MEMBERS_FS:-${PAIRS[$(((SEED + i++) % 4))]}}; do
			# shellcheck disable=SC2086 # counts the words
			one_scene "$scene" "$pair" $((CUTS_WANTED / $(set -- $SCENES; echo $#)))
		done
	done
fi
say "violations $VIOLATIONS $(sum_counts "$WORK"/job*/counts)($SECONDS s)"
grep -q 'cuts 1' "$WORK"/job*/counts || broken "no cut was made"
[ "$VIOLATIONS" -eq 0 ] || fail "$VIOLATIONS violations"
