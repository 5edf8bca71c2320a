# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Power cuts under a volume of one to three mirrors whose set of members need
# not stay the same. Sourced by members.sh after record.sh, whose jobs, draws
# and nested cuts it uses; the recording, the images and what is expected of
# them are its own, for any number of mirrors.
#
#	new_disks a=ext4 b=xfs      formatted, a volume of all of them
#	begin_load OPTIONS NAME...  served on these, under load, recorded
#	end_load                    the log is whole, nothing stays mounted
#
# In a cut, all of them for the mirrors NAMES in $JOB: read_states, serve_set,
# is_refused, verify_set, wait_in_sync, end_serving, equal_set.

NAMES=()
declare -A TYPE=()     # of each name's filesystem
declare -A SB_PLACE=() # where its superblock lies on its disk
declare -A EPOCH=()    # what the superblocks of the images say
declare -A OWN=()      # ... of the mirror itself
SERVING=()             # the mirrors last served
RETURNING=             # mirrors that missed something, separated by |
MNT_LIVE=$WORK/live

# --- the recording ------------------------------------------------------------

# offset of the first extent on the device
place_of() {
	filefrag -b4096 -v "$1" | awk -F '[ :.]+' '$2 == 0 { print $5 * 4096; exit }'
}

new_disks() {
	local spec name sizes=()
	rm -f "$DISK_STORE"/*.cur "$DISK_STORE"/*.base
	NAMES=() TYPE=()
	for spec; do
		name=${spec%=*}
		NAMES+=("$name")
		TYPE[$name]=${spec#*=}
		sizes+=("$name=$(disk_size "${spec#*=}")")
	done
	TYPE_A=${TYPE[a]} TYPE_B=${TYPE[b]}
	start_disks "${sizes[@]}"
	for name in "${NAMES[@]}"; do
		format_disk "$name" "${TYPE[$name]}"
		mkdir "$WORK/$name/vol" || broken "mkdir"
	done
	# shellcheck disable=SC2046 # paths
	mirrorctl init $(mirrors_in "$WORK" "${NAMES[@]}") >"$WORK/init" 2>&1 ||
		fail "init: $(cat "$WORK/init")"
}

# mirrors_in DIR NAME...: their paths (no blanks in them).
mirrors_in() {
	local dir=$1 name
	shift
	for name; do
		printf '%s ' "$dir/$name/vol"
	done
}

# begin_load OPTIONS NAME...: goes on until end_load.
begin_load() {
	local opts=$1 name writeback=()
	shift
	for name; do
		[ "$name" = "$BAD_DISK" ] || writeback+=(-w "$WORK/$name/vol")
	done
	# shellcheck disable=SC2046 # paths
	serve "$MNT_LIVE" "$CRASH_LIVE_OPTS${opts:+,$opts}" $(mirrors_in "$WORK" "$@") ||
		fail "the volume does not mount"
	start_load "$MNT_LIVE" "$OPLOG" -k -q "$DISKS/seq" "${writeback[@]}" -s "$SEED" -n 1000000
	LIVE_LOAD=$LOAD
	wait_until 30 is_sealed "$WORK/$1/vol" || say "note: not everything is sealed before the recording"
	: >"$WORK/planted.live"
	SB_PLACE=()
	for name; do
		sync -f "$WORK/$name"
		SB_PLACE[$name]=$(place_of "$WORK/$name/vol/.mirrorfs/volume")
		[ -n "${SB_PLACE[$name]}" ] || broken "where is the superblock of $name?"
	done
	disk_ctl record || fail "record"
	BEGAN=$(disk_seq)
	touch "$OPLOG.go"
}

# No fork.
seq_is() {
	local seq
	read -r seq <"$DISKS/seq" && [ "$seq" -ge "$1" ]
}

# run_requests N: the load goes on for so many.
run_requests() {
	wait_until 60 seq_is $(($(disk_seq) + $1)) || fail "the load does not go on: $(cat "$OPLOG.out")"
}

live_state_is() {
	mirrorctl status --json "$MNT_LIVE" 2>/dev/null |
		awk -v p="\"$WORK/$1/vol\"," '$1 == "\"path\":" { on = $2 == p }
			on && $1 == "\"state\":" { print $2 }' | grep -qE "\"($2)\""
}

end_load() {
	local name status=0
	disk_ctl stop || fail "stop"
	kill_serving "$MNT_LIVE"
	wait "$LIVE_LOAD" || status=$?
	[ "$status" -eq 0 ] || fail "the load fails: $(cat "$OPLOG.out")"
	stop_disks
	find_requests
	for name in "${!SB_PLACE[@]}"; do
		sb_writes "$name" >"$WORK/sb.$name"
	done
	say "$SCENE $(for name in "${NAMES[@]}"; do printf '%s ' "${TYPE[$name]}"; done)$(
		cat "$OPLOG.out"), requests $FIRST to $LAST, $SECONDS s"
}

# sb_writes NAME: numbers of the requests that wrote to its superblock.
sb_writes() {
	list_requests | awk -v name="$1" -v at="${SB_PLACE[$1]}" '
		$2 == name && $3 == "W" && $4 < at + 8192 && $4 + $5 > at { print $1 }'
}

# choose_around N WITHIN FROM: N cuts: first those at every request from 2 before
# to 6 behind each superblock write, in an order of the seed, as far as they are
# not more than WITHIN; the rest random ones at FROM or later.
choose_around() {
	{
		awk '{ for (i = -2; i <= 6; i++) print $1 + i }' "$WORK"/sb.* | sort -nu |
			awk -v f="$FIRST" -v l="$LAST" '$1 >= f && $1 <= l' |
			shuf --random-source=<(seed_bytes) | head -n "$2"
		choose_any "$1" "$3"
	} | awk '!seen[$1]++' | head -n "$1"
}

# choose_any N FROM: random ones, one of four about the end of an fsync. The log
# of the load goes on behind that of the disks.
choose_any() {
	choose_cuts "$1" random | awk -v f="$2" -v l="$LAST" '$1 >= f && $1 <= l'
	seq "$2" "$LAST" | shuf -n "$1" --random-source=<(seed_bytes)
}

# --- one cut ------------------------------------------------------------------

# The filesystem of a disk that failed or lied may be beyond what mount recovers:
# a superblock of ext4 that noted the error is torn. Then $HAVE_B is no.
mount_set() {
	local name
	for name in "${NAMES[@]}"; do
		mount_image "$JOB_CUTS/$name.img" "$JOB/$name" "${TYPE[$name]}" 2>"$JOB/mount.err" && continue
		[ "$name" != "$BAD_DISK" ] || { HAVE_B=no; continue; }
		wrong "cut $K: the filesystem of $name does not recover: $(cat "$JOB/mount.err")"
		return 1
	done
}

unmount_images() {
	local name
	for name in "${NAMES[@]}"; do
		! is_in_mountinfo "$JOB/$name" || unmount_image "$JOB/$name"
	done
}

# What the superblocks say: $EPOCH of each, and the state of itself in $OWN. Who
# missed something, if any did, is added to $RETURNING.
read_states() {
	local name newest=${NAMES[0]}
	for name in "${NAMES[@]}"; do
		sbtool show "$JOB/$name/vol/.mirrorfs/volume" >"$JOB/sb.$name" || broken "sbtool"
		EPOCH[$name]=$(awk '$1 == "epoch" { print $2 }' "$JOB/sb.$name")
		OWN[$name]=$(state_in "$name" "$name")
		[ "${EPOCH[$name]}" -le "${EPOCH[$newest]}" ] || newest=$name
	done
	[ "${EPOCH[$newest]}" -gt 1 ] || return 0
	for name in ${OUTSIDER:-} "${NAMES[@]}"; do
		[ "$name" != "${OUTSIDER:-}" ] && [ "${EPOCH[$name]}" -eq "${EPOCH[$newest]}" ] &&
			[ "$(state_in "$newest" "$name")" = in-sync ] && continue
		RETURNING=${RETURNING:+$RETURNING|}$name
	done
}

# state_in A B: of B as A's superblock has it.
state_in() {
	awk -F'\t' -v p="/$2/vol" '$1 == "member" &&
		substr($2, length($2) - length(p) + 1) == p { print $3 }' "$JOB/sb.$1"
}

# serve_set OPTIONS NAME...
serve_set() {
	local opts=$1
	shift
	SERVING=("$@")
	: >"$JOB/mnt.log"
	# shellcheck disable=SC2046 # paths
	serve "$JOB/mnt" "${CRASH_OPTS:+$CRASH_OPTS,}$opts" $(mirrors_in "$JOB" "$@")
}

# is_refused OPTIONS NAME...: with a reason, and not by a crash.
is_refused() {
	local opts=$1 before=$VIOLATIONS status=0
	shift
	if serve_set "$opts" "$@" 2>/dev/null; then
		return 1
	fi
	wait "$SERVED" || status=$?
	forget_daemon "$SERVED"
	VIOLATIONS=$before
	[ "$status" -lt 128 ] && [ -s "$JOB/mnt.log" ] ||
		wrong "cut $K ($WHAT): refusing $* it ends with $status"
	return 0
}

is_in_sync() {
	local n
	n=$(mirrorctl status --json "$JOB/mnt" 2>/dev/null | grep -c '"state": "in-sync"')
	[ "$n" -eq "$1" ]
}

# wait_in_sync N: so many mirrors, as long as a full compare may take.
wait_in_sync() {
	wait_until 60 is_in_sync "$1" ||
		wrong "cut $K ($WHAT): not $1 mirrors in sync after 60 s: $(tail -n 2 "$JOB/mnt.log")"
}

# What verify takes for trouble and is none where members come and go. Events are
# not synced: of those from before the cut the last may be zeros.
MEMBER_EVENTS='^VIOLATION failed: event: ([^ ]+\s(ejected|in-sync)\s| \(K)'

# What a mirror that returns has missed is replaced, with an event.
caught_up_events() {
	local field='[^ ]+\s'
	echo "^VIOLATION falserot: event: ${field}repaired\s$field$field[^ ]*/($1)/vol\s"
}

# verify_set [TOLERATED]: everything that is served. A regular expression of what
# else is let pass: now, and then it is not counted, or with $TOLERATED in all of
# the cut.
verify_set() {
	local status=0 tolerated="$MEMBER_EVENTS${TOLERATED:+|$TOLERATED}${1:+|$1}" n
	[ -z "$RETURNING" ] || tolerated="$tolerated|$(caught_up_events "$RETURNING")"
	cp "$WORK/planted.live" "$JOB/planted" || broken "cp"
	# shellcheck disable=SC2046 # words
	"$CRASH/verify" check -s "$SEED" -f "$JOB/planted" -x "$(scrub_set)" -j "$JOB/status" \
		$(events_of $(mirrors_in "$JOB" "${SERVING[@]}")) "$OPLOG" "$K" "$JOB/mnt" >"$JOB/found" ||
		status=$?
	[ -n "${1:-}" ] || grep '^counts' "$JOB/found" | sed -E 's/ failed [0-9]+//' >>"$JOB/counts"
	[ "$status" -le 1 ] || broken "verify: status $status"
	grep '^VIOLATION' "$JOB/found" | grep -vE "$tolerated" | drop_part_sizes >"$JOB/bad.found"
	n=$(wc -l <"$JOB/bad.found")
	[ "$n" -gt 0 ] || return 0
	head -n "${CRASH_LINES:-8}" "$JOB/bad.found" >&2
	wrong "cut $K ($WHAT): $n of them"
}

# A file that grows has each size at a page on the way, on xfs; where there is no
# other copy that is its size.
drop_part_sizes() {
	awk '/^VIOLATION lost: .*: size [0-9]+, the floor/ {
		match($0, /: size [0-9]+/); size = substr($0, RSTART + 7, RLENGTH - 7) + 0
		match($0, /\) is [0-9]+/); low = substr($0, RSTART + 5, RLENGTH - 5) + 0
		match($0, /\) [0-9]+ \(K/); high = substr($0, RSTART + 2, RLENGTH - 5) + 0
		if (size % 4096 == 0 && low < size && size < high) next
	} { print }'
}

# 4: a copy that was only on a mirror left out.
scrub_set() {
	echo "mirrorctl scrub -q '$JOB/mnt' >'$JOB/scrub' 2>&1; s=\$?
		mirrorctl status --json '$JOB/mnt' >'$JOB/status'; [ \$s -le $SCRUB_ALLOWED ]"
}

# Where EIO is an answer, copies that it was the answer for stay as they are, untouched.
drop_lost() {
	[[ ${TOLERATED:-} == *eio* ]] || { cat "$JOB/unequal"; return; }
	awk 'NR == FNR { if ($2 == "eio:") lost["./" $3 ":"] = 1; next }
		!($3 in lost && $4 ~ /^content/)' "$JOB/found" "$JOB/unequal"
}

equal_set() {
	local name
	for name in "${NAMES[@]:1}"; do
		"$CRASH/verify" equal "$JOB/${NAMES[0]}/vol" "$JOB/$name/vol" >"$JOB/unequal" && continue
		drop_lost >"$JOB/unequal.left"
		[ -s "$JOB/unequal.left" ] || continue
		head -n 4 "$JOB/unequal.left" >&2
		wrong "cut $K ($WHAT): ${NAMES[0]} and $name differ"
		return 1
	done
}

# serve_all: all mirrors, verified while it recovers or resyncs or
# after; then all in sync and equal.
serve_all() {
	read_states
	serve_set "" "${NAMES[@]}" || return
	draw 3
	[ "$DRAWN" -ne 0 ] || wait_in_sync "${#NAMES[@]}" || return
	verify_set
	wait_recovered "$JOB/mnt" && wait_in_sync "${#NAMES[@]}" || return
	end_serving "$JOB/mnt" || return
	equal_set || return
	count together
}

# count NAME: into the summary.
count() {
	echo "counts $1 1" >>"$JOB/counts"
}

# one_cut K: called by the jobs of record.sh, instead of the one there. The
# scene's own part is the function check_$SCENE.
one_cut() {
	local percent start=$SECONDS before=$VIOLATIONS
	K=$1 HAVE_B=yes RETURNING='' TOLERATED='' SCRUB_ALLOWED=1
	RANDOM=$(((SEED * 31 + K) % 32768))
	draw 101
	percent=$DRAWN
	draw 3
	TORN=$((DRAWN * 40))
	WHAT="$SCENE, $percent % survive, $TORN % torn"
	rm -rf "$JOB_CUTS"
	cut_disks "$JOB_CUTS" "$K" $((SEED + K)) "$percent" "$TORN" || broken "cut $K"
	draw 100
	[ "$DRAWN" -ge "$NESTED_PERCENT" ] || nested_cut
	if mount_set; then
		"check_$SCENE"
	fi
	[ ! -e "/proc/${SERVED:-none}" ] || kill_serving "$JOB/mnt"
	unmount_images
	[ "$VIOLATIONS" -eq "$before" ] || echo "$K" >>"$JOB/bad"
	[ $((SECONDS - start)) -lt 10 ] || say "note: cut $K ($WHAT) took $((SECONDS - start)) s"
	count cuts
}

# Both mirrors are served, the daemon killed, the images cut anew.
nested_cut() {
	crash_again "$JOB_CUTS" || return 0
	count nested
}

# --- keeping ------------------------------------------------------------------

what_was_recorded() {
	local name
	for name in SEED SCENE TYPE_A TYPE_B FIRST LAST OUTSIDER BAD_DISK NESTED_PERCENT; do
		printf '%s=%q\n' "$name" "${!name}"
	done
	declare -p NAMES TYPE | sed 's/^declare -\(.\) /declare -g\1 /'
}

keep_recording() {
	local dir=$CRASH_KEEP/$SCENE-$TYPE_A-$TYPE_B-$SEED
	mkdir -p "$dir" && cp --sparse=always "$DISK_STORE"/*.base "$DISK_STORE"/log* "$OPLOG" \
		"$WORK/planted.live" "$WORK"/sb.* "$dir" && what_was_recorded >"$dir/what" &&
		say "the recording is kept: CRASH_RECORDING=$dir" \
			"CRASH_ONLY=$(sort -nu "$WORK"/job*/bad | paste -sd ,)" &&
		return
	say "the recording cannot be kept in $dir" >&2
}

replay() {
	mkdir -p "$DISK_STORE"
	mount -t tmpfs -o mode=0700,size=75% disks "$DISK_STORE" || broken "mount tmpfs"
	MOUNTS+=("$DISK_STORE")
	mkdir -p "$CUTS"
	cp --sparse=always "$CRASH_RECORDING"/*.base "$CRASH_RECORDING"/log* "$DISK_STORE" &&
		cp "$CRASH_RECORDING"/{oplog,planted.live,sb.*} "$WORK" ||
		broken "no recording in $CRASH_RECORDING"
	# shellcheck source=/dev/null
	. "$CRASH_RECORDING/what"
	CRASH_LINES=${CRASH_LINES:-100}
	cut_all 1 < <(echo "$CRASH_ONLY" | tr , '\n')
}
