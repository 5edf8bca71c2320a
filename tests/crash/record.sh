# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Power cuts under a volume of two mirrors on simulated disks: recording a load,
# and one cut of it with all that is checked. Sourced by content.sh and
# ablation.sh after tests/lib.sh, tests/disk/lib.sh and lib.sh here.
#
# Everything about a cut is drawn from the seed and the number of the request,
# so the same recording, seed and number do the same again.
#
# From the environment: CRASH_OPS operations of each of 3 threads (200),
# CRASH_MIX for load -m, CRASH_LOAD further options of it, CRASH_LIVE_OPTS
# and CRASH_OPTS mount options of the recorded and of the recovering volume,
# CRASH_FLIPS, CRASH_NESTED, CRASH_STALES: per cent of the cuts that get them,
# CRASH_SPARED=1 flips leaves in flight that the other mirror has as they were,
# CRASH_SURVIVE=0-100: so many per cent of what was not flushed survive,
# CRASH_LIVE_FLIPS: so many bits are flipped in mirror a before the recording.

CRASH_OPS=${CRASH_OPS:-200}
CRASH_FLIPS=${CRASH_FLIPS:-70}
CRASH_NESTED=${CRASH_NESTED:-6}
CRASH_STALES=${CRASH_STALES:-6}
CRASH_LIVE_OPTS=${CRASH_LIVE_OPTS:-seal_ms=300}
CRASH_OPTS=${CRASH_OPTS:-}
CRASH_LIVE_FLIPS=${CRASH_LIVE_FLIPS:-0}
CRASH_SPARED=${CRASH_SPARED:-0}
CRASH_SURVIVE=${CRASH_SURVIVE:-0-100}
OPLOG=$WORK/oplog

disk_size() {
	case $1 in
	ext4) echo 96M ;; # a mirror that is mended holds what was replaced, too
	xfs) echo 300M ;;
	btrfs) echo 110M ;;
	*) broken "no disk size for $1" ;;
	esac
}

# --- the recording ------------------------------------------------------------

# Bits of sealed leaves, below the mounted volume, one a leaf.
flip_live() {
	local i
	for ((i = 0; i < CRASH_LIVE_FLIPS; i++)); do
		"$CRASH/verify" flip -s $((SEED + i)) -f "$WORK/planted.live" "$OPLOG" 1000000000 "$WORK/a/vol" \
			>"$WORK/planted.one" || broken "verify flip"
		sed 's/ 1 \([^ ]*\)$/ 0 \1/' "$WORK/planted.one" >>"$WORK/planted.live" # may be written to
	done
}

# find_requests: first and last of the log. The disks' own number goes on when
# they no longer record.
find_requests() {
	read -r FIRST LAST < <(list_requests | awk 'NR == 1 { n = $1 - 1 } END { print n, $1 }')
}

# record_load TYPE_A TYPE_B: leaves the log of the disks in $DISK_STORE, that of
# the load in $OPLOG; nothing stays mounted.
record_load() {
	local mnt=$WORK/live load
	rm -f "$DISK_STORE"/*.cur
	TYPE_A=$1 TYPE_B=$2
	start_disks "a=$(disk_size "$1")" "b=$(disk_size "$2")"
	format_disk a "$1"
	format_disk b "$2"
	mkdir "$WORK/a/vol" "$WORK/b/vol" || broken "mkdir"
	mirrorctl init "$WORK/a/vol" "$WORK/b/vol" >"$WORK/init" 2>&1 || fail "init: $(cat "$WORK/init")"
	serve "$mnt" "$CRASH_LIVE_OPTS" "$WORK/a/vol" "$WORK/b/vol" || fail "the volume does not mount"
	# shellcheck disable=SC2086 # words
	start_load "$mnt" "$OPLOG" -q "$DISKS/seq" -w "$WORK/a/vol" -w "$WORK/b/vol" \
		-s "$SEED" -n "$CRASH_OPS" \
		${CRASH_MIX:+-m "$CRASH_MIX"} ${CRASH_LOAD:-}
	load=$LOAD
	wait_until 30 is_sealed "$WORK/a/vol" || say "note: not everything is sealed before the recording"
	: >"$WORK/planted.live"
	flip_live
	sync -f "$WORK/a" "$WORK/b"
	disk_ctl record || fail "record"
	touch "$OPLOG.go"
	wait "$load" || fail "the load fails: $(cat "$OPLOG.out")"
	disk_ctl stop || fail "stop"
	kill_serving "$mnt"
	stop_disks
	find_requests
	say "$1+$2: $(cat "$OPLOG.out"), requests $FIRST to $LAST, $SECONDS s"
}

# choose_cuts N MODE: numbers of requests, one a line.
choose_cuts() {
	case $2 in
	random) # three of four in the whole recording, one of four about the end of an fsync
		{
			"$CRASH/verify" syncs "$OPLOG" | awk -v f="$FIRST" '$2 > f { print $2 - 1; print $2 }' |
				shuf -n $((($1 + 3) / 4)) --random-source=<(seed_bytes)
			seq "$FIRST" "$LAST" | shuf --random-source=<(seed_bytes)
		} | awk '!seen[$1]++' | head -n "$1"
		;;
	fsync) # some of those within fsyncs
		choose_cuts 0 every | shuf -n "$1" --random-source=<(seed_bytes)
		;;
	pause) # some of those of the sealing when nothing is asked: towards the end of its first sync
		{
			list_requests
			echo pauses
			"$CRASH/verify" pauses "$OPLOG"
		} | awk -v f="$FIRST" '
			$1 == "pauses" { pauses = 1; next }
			!pauses { if ($3 == "F") disk[$1] = $2; next }
			$1 > f {
				for (first = $1; first < $2 && !(first in disk); first++)
					;
				for (last = first; last < $2 && (!(last in disk) || disk[last] == disk[first]); last++)
					;
				for (k = first - 5 > $1 ? first - 5 : $1; k < last; k++) print k }' |
			shuf -n "$1" --random-source=<(seed_bytes)
		;;
	every) # each request from the beginning of an fsync to behind its end
		"$CRASH/verify" syncs "$OPLOG" |
			awk -v f="$FIRST" -v l="$LAST" '$2 > f {
				for (k = $1 > f ? $1 : f; k <= $2 + 1 && k <= l; k++) print k }' |
			sort -nu
		;;
	*) broken "CRASH_MODE is random, fsync, pause or every" ;;
	esac
}

seed_bytes() {
	openssl enc -aes-128-ctr -pass "pass:$SEED" -nosalt -md md5 -in /dev/zero 2>/dev/null ||
		yes "$SEED"
}

# --- one cut ------------------------------------------------------------------

# draw N: a number below N in $DRAWN. A generator of the cut's own.
draw() {
	DRAWN=$((RANDOM % $1))
}

# A torn superblock of btrfs (4 KiB) is the end of the filesystem itself.
can_tear() {
	[ "$TYPE_A" != btrfs ] && [ "${TYPE_B:-}" != btrfs ]
}

mount_images() {
	mount_image "$1/a.img" "$JOB/a" "$TYPE_A" && mount_image "$1/b.img" "$JOB/b" "$TYPE_B" ||
		wrong "cut $K: the filesystem of an image does not recover"
}

unmount_images() {
	local name
	for name in a b; do
		! is_in_mountinfo "$JOB/$name" || unmount_image "$JOB/$name"
	done
}

# A crash while the last one is recovered from: the images in $1 become disks,
# the volume is mounted on them, killed, and the images cut anew.
crash_again() {
	local store=$1/again disks=$JOB/again loop_a loop_b last=0 i status=0
	mkdir -p "$store" "$disks"
	mv "$1/a.img" "$store/a.cur" && mv "$1/b.img" "$store/b.cur" || broken "mv"
	"$top_builddir/tests/disk/disk" "$store" "$disks" "a=$(disk_size "$TYPE_A")" \
		"b=$(disk_size "$TYPE_B")" || broken "disk"
	MOUNTS+=("$disks")
	loop_a=$(attach_loop "$disks/a") && loop_b=$(attach_loop "$disks/b") || broken "losetup"
	LOOPS+=("$loop_a" "$loop_b")
	mount_loop "$loop_a" "$JOB/a" "$TYPE_A" && mount_loop "$loop_b" "$JOB/b" "$TYPE_B" || status=1
	if [ "$status" -eq 0 ] && serve "$JOB/mnt" "$CRASH_OPTS" "$JOB/a/vol" "$JOB/b/vol"; then
		draw 4
		case $DRAWN in
		0) ;;
		1) sleep 0.05 ;;
		2) cat "$JOB/mnt"/*/* >/dev/null 2>&1 ;;
		3) wait_recovered "$JOB/mnt" ;;
		esac
		printf 'stop\n' >"$disks/ctl"
		kill_serving "$JOB/mnt"
	else
		status=1
	fi
	unmount_images
	end_loop "$loop_a"
	end_loop "$loop_b"
	umount "$disks" 2>/dev/null || umount -l "$disks" || broken "umount $disks"
	forget_mount "$disks"
	[ "$status" -eq 0 ] || return
	last=$("$top_builddir/tests/disk/cut" "$store" --list | awk 'END { print $1 + 0 }')
	draw 32768
	i=$((DRAWN * (last + 1) / 32768))
	draw 101
	"$top_builddir/tests/disk/cut" "$store" "$1" "$i" $((SEED + K + i)) "$DRAWN" "$TORN" || broken "cut"
	rm -rf "$store"
	WHAT="$WHAT, again at $i of $last"
}

mount_loop() {
	local opts=noatime
	[ "$3" != xfs ] || opts=$opts,nouuid
	mkdir -p "$2"
	mount -t "$3" -o "$opts" "$1" "$2" || return
	MOUNTS+=("$2")
}

# plant: a flipped bit, an old version, or nothing; in $JOB/planted.
plant() {
	local m=a other=b
	cp "$WORK/planted.live" "$JOB/planted" || broken "cp"
	draw 100
	if [ "$NESTED" -gt 0 ]; then
		return 0
	elif [ "$DRAWN" -lt "$CRASH_STALES" ]; then
		"$CRASH/verify" stale -s $((SEED + K)) "$OPLOG" "$K" "$JOB/a/vol" "$JOB/b/vol" >>"$JOB/planted" ||
			broken "verify stale"
	elif [ "$DRAWN" -lt $((CRASH_STALES + CRASH_FLIPS)) ]; then
		draw 4
		[ $((DRAWN & 1)) -eq 0 ] || m=b other=a
		[ $((DRAWN & 2)) -eq 0 ] || set -- -c
		[ "$CRASH_SPARED" -eq 0 ] || set -- -o
		"$CRASH/verify" flip "$@" -s $((SEED + K)) -f "$JOB/planted" "$OPLOG" "$K" "$JOB/$m/vol" \
			"$JOB/$other/vol" >"$JOB/planted.one" ||
			broken "verify flip"
		cat "$JOB/planted.one" >>"$JOB/planted"
	fi
	[ ! -s "$JOB/planted" ] || WHAT="$WHAT, planted $(cut -d ' ' -f 1-3 "$JOB/planted" | tail -n 1)"
}

has_stale() {
	grep -q ^s "$JOB/planted"
}

# The scrub that verify runs after it has read everything.
scrub_command() {
	local allowed=1
	! has_stale || allowed=5
	echo "mirrorctl scrub -q '$JOB/mnt' >'$JOB/scrub' 2>&1; s=\$?
		mirrorctl status --json '$JOB/mnt' >'$JOB/status'; [ \$s -le $allowed ]"
}

verify_volume() {
	local status=0
	# shellcheck disable=SC2046 # words
	"$CRASH/verify" check -s "$SEED" -f "$JOB/planted" -x "$(scrub_command)" -j "$JOB/status" \
		$(events_of "$JOB/a/vol" "$JOB/b/vol") "$OPLOG" "$K" "$JOB/mnt" >"$JOB/found" || status=$?
	grep '^counts' "$JOB/found" >>"$JOB/counts"
	[ "$status" -eq 0 ] && return
	[ "$status" -eq 1 ] || broken "verify: status $status"
	grep '^VIOLATION' "$JOB/found" | head -n "${CRASH_LINES:-8}" >&2
	wrong "cut $K ($WHAT): $(grep -c '^VIOLATION' "$JOB/found") of them"
}

mirrors_equal() {
	"$CRASH/verify" equal "$JOB/a/vol" "$JOB/b/vol" >"$JOB/unequal" && return
	head -n 4 "$JOB/unequal" >&2
	echo "counts unequal $(wc -l <"$JOB/unequal")" >>"$JOB/counts"
	wrong "cut $K ($WHAT): the mirrors differ"
}

# Nothing is left to be found.
second_mount() {
	local status=0
	serve "$JOB/mnt" "$CRASH_OPTS" "$JOB/a/vol" "$JOB/b/vol" || return
	is_recovered "$JOB/mnt" || wrong "cut $K ($WHAT): recovers again after an orderly end"
	mirrorctl scrub "$JOB/mnt" >"$JOB/scrub" 2>&1 || status=$?
	[ "$status" -eq 0 ] || {
		tail -n 4 "$JOB/scrub" >&2
		wrong "cut $K ($WHAT): a scrub after the second mount ends with $status"
	}
	end_serving "$JOB/mnt"
}

# one_cut K: in a job's directory $JOB, images in $JOB_CUTS.
one_cut() {
	local i percent start=$SECONDS
	K=$1
	RANDOM=$(((SEED * 31 + K) % 32768))
	draw $((${CRASH_SURVIVE#*-} - ${CRASH_SURVIVE%-*} + 1))
	percent=$((${CRASH_SURVIVE%-*} + DRAWN))
	draw 3
	TORN=$((DRAWN * 40))
	can_tear || TORN=0
	WHAT="$percent % survive, $TORN % torn"
	rm -rf "$JOB_CUTS"
	cut_disks "$JOB_CUTS" "$K" $((SEED + K)) "$percent" "$TORN" || broken "cut $K"
	draw 100
	NESTED=0
	[ "$DRAWN" -ge "$CRASH_NESTED" ] || NESTED=$((1 + DRAWN % 3))
	for ((i = 0; i < NESTED; i++)); do
		crash_again "$JOB_CUTS" || return 0
	done
	mount_images "$JOB_CUTS" && plant && recover_and_check
	[ ! -e "/proc/${SERVED:-none}" ] || kill_serving "$JOB/mnt"
	unmount_images
	[ $((SECONDS - start)) -lt 5 ] || say "note: cut $K ($WHAT) took $((SECONDS - start)) s"
	echo "counts cuts 1 nested $((NESTED > 0))" >>"$JOB/counts"
}

recover_and_check() {
	serve "$JOB/mnt" "$CRASH_OPTS" "$JOB/a/vol" "$JOB/b/vol" || return
	draw 2 # half of them are read while the recovery is at work
	[ "$DRAWN" -eq 0 ] || wait_recovered "$JOB/mnt" || return
	verify_volume
	wait_recovered "$JOB/mnt" || return
	end_serving "$JOB/mnt" || return
	! has_stale || return 0 # what is lost stays as it is, and unequal
	mirrors_equal
	draw 3
	[ "$DRAWN" -ne 0 ] || second_mount
}

# --- many ---------------------------------------------------------------------

# In a subshell of its own: what it mounts it unmounts.
run_job() {
	local k
	JOB=$WORK/job$1
	JOB_CUTS=$CUTS/job$1
	MOUNTS=() DAEMONS=() LOOPS=() VIOLATIONS=0
	mkdir -p "$JOB"
	trap job_cleanup EXIT
	trap 'exit 143' TERM
	while read -r k; do
		one_cut "$k"
		echo "$VIOLATIONS" >"$JOB/violations"
		[ "$VIOLATIONS" -lt "${CRASH_STOP:-10}" ] || break
	done
}

job_cleanup() {
	local pid loop
	trap '' TERM INT
	for pid in ${DAEMONS[@]+"${DAEMONS[@]}"}; do
		kill -KILL "$pid" 2>/dev/null
	done
	cleanup_mounts
	for loop in ${LOOPS[@]+"${LOOPS[@]}"}; do
		losetup -d "$loop" 2>/dev/null
	done
}

# cut_all JOBS <numbers: adds to $VIOLATIONS.
cut_all() {
	local j pids=()
	cat >"$WORK/numbers"
	rm -f "$WORK"/job*/violations
	for ((j = 0; j < $1; j++)); do
		awk -v j="$j" -v n="$1" 'NR % n == j' "$WORK/numbers" >"$WORK/numbers.$j"
		(run_job "$j" <"$WORK/numbers.$j") &
		pids+=($!)
	done
	# shellcheck disable=SC2064 # these pids
	trap "kill -TERM ${pids[*]} 2>/dev/null; wait; exit 143" INT TERM HUP
	for j in "${pids[@]}"; do
		wait "$j" || broken "a job of cuts ended early"
	done
	for j in "$WORK"/job*/violations; do
		VIOLATIONS=$((VIOLATIONS + $(cat "$j")))
	done
}
