# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Verbs for the shell tests. A test starts with
#
#	. "$(dirname "$0")/../lib.sh"
#
# and then has: the built programs in PATH; $top_srcdir and $top_builddir
# (absolute); a private directory $WORK; and a trap that unmounts what the
# verbs mounted, detaches their loops, stops their daemons and removes $WORK,
# however the test ends. Needs bash. Exit status: 0 passed, 77 skipped, 99
# could not be run, anything else failed.
#
# Reports of a sanitized build, also of the daemons, fail the test that caused
# them. MIRRORFS_TEST_OPTS is added to the options of every mount_volume.
# KEEP_WORK=1 leaves $WORK for a look after a failure.

if [ -z "${BASH_VERSION:-}" ]; then
	echo "tests need bash" >&2
	exit 99
fi
set -u

if [ -z "${top_srcdir:-}" ]; then
	top_srcdir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
fi
if [ -z "${top_builddir:-}" ]; then
	for top_builddir in "$PWD" "$top_srcdir/build" "$top_srcdir" ""; do
		[ -n "$top_builddir" ] && [ -x "$top_builddir/mirrorfs" ] && break
	done
	if [ -z "$top_builddir" ]; then
		echo "no build found: run from a build directory or set top_builddir" >&2
		exit 99
	fi
fi
top_srcdir=$(cd "$top_srcdir" && pwd)
top_builddir=$(cd "$top_builddir" && pwd)
PATH=$top_builddir:$PATH:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL top_srcdir top_builddir
umask 022

TEST_NAME=$(basename "$0" .sh)
WORK=$(mktemp -d "${TMPDIR:-/tmp}/mirrorfs-$TEST_NAME.XXXXXX") || exit 99
SANITIZER_LOGS=$WORK.sanitizer
export ASAN_OPTIONS="log_path=$SANITIZER_LOGS/report:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:log_path=$SANITIZER_LOGS/report:${UBSAN_OPTIONS:-}"
export TSAN_OPTIONS="log_path=$SANITIZER_LOGS/report:${TSAN_OPTIONS:-}"
mkdir "$SANITIZER_LOGS" || exit 99

# What is to be undone, in the order it was done.
MOUNTS=()  # mount points, volumes and plain filesystems alike
LOOPS=()   # loop devices
DAEMONS=() # pids of mirrorfs processes
BEFORE_CLEANUP=() # functions to call when all is to be undone, first

# --- saying how it went ------------------------------------------------------

say() {
	printf '%s: %s\n' "$TEST_NAME" "$*"
}

skip() {
	say "skipped: $*"
	exit 77
}

fail() {
	say "FAILED: $*" >&2
	# What the volumes themselves have to say of it.
	tail -n 8 "$WORK"/*/.mirrorfs/events "$WORK"/*/*/.mirrorfs/events 2>/dev/null >&2
	exit 1
}

# The verbs could not do their part: no verdict on the programs.
broken() {
	say "broken test: $*" >&2
	exit 99
}

# expect STATUS COMMAND...: fails unless the command ends with this status.
expect() {
	local want=$1 got=0
	shift
	"$@" || got=$?
	[ "$got" -eq "$want" ] || fail "status $got instead of $want: $*"
}

# wait_until SECONDS COMMAND...: polls until the command succeeds. Returns 1
# when the time is over.
wait_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.02
	done
}

# --- what the machine offers -------------------------------------------------

require_root() {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
}

require_program() {
	local program
	for program in "$@"; do
		command -v "$program" >/dev/null || skip "needs the program $program"
	done
}

require_fuse() {
	[ -c /dev/fuse ] || skip "no /dev/fuse"
	# libfuse opens it itself before it asks fusermount3 to mount.
	( : <>/dev/fuse ) 2>/dev/null || skip "/dev/fuse is not open to this user"
	[ "$(id -u)" -eq 0 ] || require_program fusermount3
	[ -x "$top_builddir/mirrorfs" ] || broken "mirrorfs is not built in $top_builddir"
}

# --- mounts ------------------------------------------------------------------

# Mount points as the kernel writes them: blanks and the like in octal. Here and
# below nothing is forked: it is asked every few milliseconds.
is_mounted() {
	local escaped=${1//\\/\\134} line
	local -a lines fields
	escaped=${escaped// /\\040}
	escaped=${escaped//$'\t'/\\011}
	escaped=${escaped//$'\n'/\\012}
	mapfile -t lines </proc/self/mountinfo
	for line in "${lines[@]}"; do
		[[ $line == *" $escaped "* ]] || continue
		IFS=' ' read -ra fields <<<"$line"
		[ "${fields[4]}" != "$escaped" ] || return 0
	done
	return 1
}

is_unmounted() {
	! is_mounted "$1"
}

# make_fs NAME TYPE SIZE: a fresh ext4, xfs, btrfs or tmpfs at $WORK/NAME. SIZE
# as for truncate(1). Only mkfs knows the least size (xfs 300M, btrfs 110M).
make_fs() {
	local name=$1 type=$2 size=$3 dir=$WORK/$1 loop
	require_root
	mkdir -p "$dir" || broken "mkdir $dir"
	if [ "$type" = tmpfs ]; then
		mount -t tmpfs -o "size=$size,mode=0755" "$name" "$dir" || broken "mount tmpfs $dir"
		MOUNTS+=("$dir")
		return
	fi
	require_program "mkfs.$type" losetup
	[ -c /dev/loop-control ] || skip "no /dev/loop-control"
	truncate -s "$size" "$WORK/$name.img" || broken "truncate $WORK/$name.img"
	case $type in
	ext4) mkfs.ext4 -q -F "$WORK/$name.img" ;;
	xfs | btrfs) "mkfs.$type" -q -f "$WORK/$name.img" ;;
	*) broken "make_fs knows no $type" ;;
	esac || broken "mkfs.$type $size"
	loop=$(attach_loop "$WORK/$name.img") || skip "no free loop device"
	LOOPS+=("$loop")
	mount -t "$type" "$loop" "$dir" || skip "this kernel does not mount $type"
	MOUNTS+=("$dir")
}

# Prints the device. Two tests may ask for the same free one: try again.
attach_loop() {
	local try
	for try in 1 2 3 4 5 6 7 8 9 10; do
		losetup -f --show "$1" 2>/dev/null && return
		sleep "0.$try"
	done
	losetup -f --show "$1"
}

# Pids of the mirrorfs that serve this mount point (an argument of theirs).
daemons_of() {
	local dir comm arg
	local -a args
	for dir in /proc/[0-9]*; do
		comm=
		read -r comm <"$dir/comm"
		[ "$comm" = mirrorfs ] || continue
		args=()
		mapfile -d '' -t args <"$dir/cmdline"
		for arg in ${args[@]+"${args[@]}"}; do
			[ "$arg" != "$1" ] || echo "${dir#/proc/}"
		done
	done 2>/dev/null
	return 0
}

# All threads are: while the first is a zombie, another one may still be closing
# sockets and files.
is_dead() {
	local stat=
	local -a tasks
	# The state is behind the name, which may have blanks and brackets.
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null
	stat=${stat##*) }
	[ -n "$stat" ] || return 0
	tasks=("/proc/$1/task"/*)
	[ "${stat%% *}" = Z ] && [ "${#tasks[@]}" -le 1 ]
}

# source_of MIRROR...: the mirrors as one argument of mirrorfs.
source_of() {
	local mirror all=
	for mirror in "$@"; do
		mirror=${mirror//\\/\\\\}
		all=$all:${mirror//:/\\:}
	done
	printf '%s\n' "${all#:}"
}

# mount_volume [-o OPTIONS] MNT MIRROR...: in the daemonised mode. Creates MNT.
# Returns the status of mirrorfs; on success the daemon is in $DAEMON_PID.
mount_volume() {
	local opts=${MIRRORFS_TEST_OPTS:-} mnt status=0
	if [ "$1" = -o ]; then
		opts=$2${opts:+,$opts}
		shift 2
	fi
	mnt=$1
	shift
	mkdir -p "$mnt" || broken "mkdir $mnt"
	mirrorfs "$(source_of "$@")" "$mnt" ${opts:+-o "$opts"} || status=$?
	is_mounted "$mnt" && MOUNTS+=("$mnt")
	[ "$status" -eq 0 ] || return "$status"
	is_mounted "$mnt" || fail "mirrorfs says it mounted $mnt, the kernel does not"
	DAEMON_PID=$(daemons_of "$mnt" | tail -n 1)
	[ -n "$DAEMON_PID" ] || fail "no mirrorfs serves $mnt"
	DAEMONS+=("$DAEMON_PID")
}

unmount_fuse() {
	if [ "$(id -u)" -eq 0 ]; then
		umount "$1"
	else
		fusermount3 -u "$1"
	fi
}

# umount_volume MNT: returns when the daemon is gone too, so that the mirrors
# are free, or fails after a minute.
umount_volume() {
	local mnt=$1 pids pid
	pids=$(daemons_of "$mnt")
	wait_until 10 unmount_fuse "$mnt" 2>/dev/null || unmount_fuse "$mnt" ||
		fail "cannot unmount $mnt"
	for pid in $pids; do
		wait_until 60 is_dead "$pid" || fail "mirrorfs ($pid) outlives its mount $mnt"
	done
}

# remount_volume [-o OPTIONS] MNT MIRROR...: forgets every cache of the mount.
remount_volume() {
	local mnt=$1
	[ "$1" != -o ] || mnt=$3
	umount_volume "$mnt"
	mount_volume "$@" || fail "mounting $mnt again: status $?"
}

# Page cache, dentries and inodes of the whole machine, where they are clean. Only
# what is ours is synced: other tests count flushes, or have disks that hang.
drop_caches() {
	local mnt
	require_root
	for mnt in "$WORK" ${MOUNTS[@]+"${MOUNTS[@]}"}; do
		sync -f "$mnt"
	done
	echo 3 >/proc/sys/vm/drop_caches || skip "caches cannot be dropped here"
}

# --- comparing trees ---------------------------------------------------------

# tree_list DIR: one record a line (names escaped): metadata, then contents,
# then user xattrs. Leaves out .mirrorfs at the top and the record xattrs.
tree_list() {
	local fields='%P\t%y\t%m\t%U:%G\t%T@\t%l'
	(
		set -o pipefail
		cd "$1" || exit
		find . -path ./.mirrorfs -prune -o -type f -printf "$fields\t%s\0" \
			-o -printf "$fields\0" | tree_escape | sort || exit
		find . -path ./.mirrorfs -prune -o -type f -print0 |
			sort -z | xargs -0 -r sha256sum -z -- | tree_escape || exit
		find . -path ./.mirrorfs -prune -o \( -type b -o -type c \) -print0 |
			sort -z | xargs -0 -r stat --printf '%n device %t:%T\0' -- |
			tree_escape || exit
		find . -path ./.mirrorfs -prune -o \( -type f -o -type d \) -print0 |
			sort -z | xargs -0 -r getfattr -h -d -m '^user\.' -e hex -- 2>/dev/null |
			sed '/^user\.mfs[.=]/d' | tree_xattr_lines
	)
}

# Records end in NUL and may hold newlines.
tree_escape() {
	sed -z 's/\\/\\\\/g; s/\n/\\n/g' | tr '\0' '\n'
}

# getfattr prints "# file: NAME" and one line an attribute.
tree_xattr_lines() {
	awk '/^# file: / { name = substr($0, 9); next } NF { print name "\t" $0 }' | sort
}

# tree_equal A B: same names, types, contents, modes, owners, mtimes (ns), link
# targets, device numbers and user xattrs. Else prints what differs, returns 1.
tree_equal() {
	command -v getfattr >/dev/null || broken "tree_equal needs getfattr"
	tree_list "$1" >"$WORK/.tree-a" || { say "cannot read all of $1" >&2; return 1; }
	tree_list "$2" >"$WORK/.tree-b" || { say "cannot read all of $2" >&2; return 1; }
	cmp -s "$WORK/.tree-a" "$WORK/.tree-b" && return
	say "$1 (-) and $2 (+) differ:" >&2
	diff -U 0 "$WORK/.tree-a" "$WORK/.tree-b" | sed 1,2d | head -n 60 >&2
	return 1
}

# --- the end -----------------------------------------------------------------

stop_daemon() {
	is_dead "$1" && return
	[ "$(cat "/proc/$1/comm" 2>/dev/null)" = mirrorfs ] || return
	kill -TERM "$1" 2>/dev/null
	wait_until 20 is_dead "$1" && return
	say "mirrorfs ($1) ignores SIGTERM" >&2
	kill -KILL "$1" 2>/dev/null
}

cleanup_mounts() {
	local i mnt
	for ((i = ${#MOUNTS[@]} - 1; i >= 0; i--)); do
		mnt=${MOUNTS[i]}
		is_mounted "$mnt" || continue
		unmount_fuse "$mnt" 2>/dev/null && continue
		umount -l "$mnt" 2>/dev/null || fusermount3 -u -z "$mnt" 2>/dev/null
	done
}

# A child that is ended before it is another program has the traps still: what
# is to be undone is not its.
is_child() {
	[ "$BASHPID" != "$$" ]
}

cleanup() {
	local status=$? pid loop undo
	! is_child || return "$status"
	trap - EXIT INT TERM HUP
	set +e
	cd /
	for undo in ${BEFORE_CLEANUP[@]+"${BEFORE_CLEANUP[@]}"}; do
		"$undo"
	done
	# Volumes before the filesystems below them: the daemon holds those.
	for pid in ${DAEMONS[@]+"${DAEMONS[@]}"}; do
		stop_daemon "$pid"
	done
	cleanup_mounts
	for loop in ${LOOPS[@]+"${LOOPS[@]}"}; do
		losetup -d "$loop" 2>/dev/null
	done
	if [ -n "$(ls -A "$SANITIZER_LOGS")" ]; then
		cat "$SANITIZER_LOGS"/* >&2
		say "FAILED: the sanitizer has findings" >&2
		status=1
	fi
	if [ "${KEEP_WORK:-0}" = 1 ]; then
		say "left behind: $WORK"
	else
		rm -rf --one-file-system "$WORK"
	fi
	rm -rf "$SANITIZER_LOGS"
	exit "$status"
}

trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
