#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Mirrors that are missing, fail and come back. While one is out the others go
# on, and know durably that it is; when it returns it is made equal, and never
# the other way round. Adopting a tree that exists, too.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/rot/verbs.sh
. "$top_srcdir/tests/rot/verbs.sh"

require_root
require_fuse
require_program getfattr perl

MNT=$WORK/mnt

in_sync() {
	local mirror
	for mirror; do
		expect_state "$MNT" "$mirror" in-sync 60
	done
}

# Changes of every kind that a mirror can miss.
change_tree() {
	printf 'new\n' >"$MNT/new-$1" &&
		mkdir -p "$MNT/new-dir-$1/below" &&
		head -c 200000 /dev/urandom >"$MNT/new-dir-$1/below/large" &&
		printf 'x%s' "$1" >>"$MNT/dir/small" &&
		printf 'part' | dd of="$MNT/dir/sub/large" bs=1 seek=100000 conv=notrunc status=none &&
		chmod 600 "$MNT/hello" &&
		touch -d "2010-01-0$1 00:00:00.5" "$MNT/hello" &&
		mv "$MNT/empty" "$MNT/full-$1" && mkdir "$MNT/empty" &&
		rm "$MNT/dir/zero" && : >"$MNT/dir/zero" &&
		ln "$MNT/dir/small" "$MNT/linked-$1" &&
		ln -sfn "target-$1" "$MNT/dir/symlink" &&
		truncate -s 150000 "$MNT/new-dir-$1/below/large" &&
		sync -f "$MNT/hello"
}

# --- a mirror that is not there at mount --------------------------------------

missing() {
	local a=$WORK/m/a b=$WORK/m/b foreign
	new_volume "$a" "$b"
	mount_volume "$MNT" "$a" "$b" || fail "mount: status $?"
	HEALTHY=$(status "$MNT" health)
	small_tree "$MNT"
	mkdir "$MNT/doomed"
	printf 'old\n' >"$MNT/doomed/file"
	printf 'old\n' >"$MNT/doomed-file"
	umount_volume "$MNT"
	mv "$b" "$b.away"
	mirrorfs "$a:$b" "$MNT" 2>"$WORK/err" && fail "mounted without its mirror"
	grep -q degraded "$WORK/err" || fail "the refusal does not name degraded: $(cat "$WORK/err")"
	mount_volume -o degraded "$MNT" "$a" "$b" || fail "-o degraded: status $?"
	expect_status "$MNT" health degraded
	expect_state "$MNT" "$a" in-sync
	change_tree 1 || fail "a change fails in a degraded mount"
	rm -r "$MNT/doomed" "$MNT/doomed-file"
	mv "$MNT/dir/sub" "$MNT/moved"
	umount_volume "$MNT"
	[ ! -e "$b" ] || fail "an absent mirror was made"
	# somebody leaves a file in the absent mirror
	mv "$b.away" "$b"
	foreign=$b/not-ours
	printf 'foreign bytes here\n' >"$foreign"
	mount_volume "$MNT" "$a" "$b" || fail "mount of a mirror that returned: status $?"
	[ "$(cat "$MNT/new-1")" = new ] || fail "the stale mirror answers"
	in_sync "$a" "$b"
	[ -e "$MNT/doomed" ] && fail "a deleted directory came back"
	scrub 0 "$MNT"
	umount_volume "$MNT"
	same_trees "$a" "$b"
	[ ! -e "$foreign" ] && [ ! -e "$a/not-ours" ] || fail "a foreign file was let in"
	grep -rq 'foreign bytes here' "$a/.mirrorfs/quarantine" "$b/.mirrorfs/quarantine" ||
		fail "a foreign file was not kept"
}

# The one that stayed away must not be a source, not even alone, unasked.
stale_alone() {
	local a=$WORK/m/a b=$WORK/m/b
	mount_volume -o degraded "$MNT" "$a" || fail "-o degraded with one: status $?"
	printf 'only a\n' >"$MNT/only-a"
	umount_volume "$MNT"
	mount_volume "$MNT" "$b" "$a" || fail "mount: status $?"
	[ "$(cat "$MNT/only-a")" = 'only a' ] || fail "the older mirror won"
	in_sync "$a" "$b"
	umount_volume "$MNT"
	same_trees "$a" "$b"
}

# Both were used without the other: no read-write mount may merge them.
diverged() {
	local a=$WORK/split/a b=$WORK/split/b
	new_volume "$a" "$b"
	mount_volume -o degraded "$MNT" "$a" || fail "-o degraded: status $?"
	printf a >"$MNT/file"
	umount_volume "$MNT"
	mount_volume -o degraded "$MNT" "$b" || fail "-o degraded: status $?"
	printf b >"$MNT/file"
	umount_volume "$MNT"
	mirrorfs "$a:$b" "$MNT" 2>"$WORK/err" && fail "two heads were mounted"
	grep -qiE 'split|diverge|both|apart|heads' "$WORK/err" ||
		fail "the refusal does not say why: $(cat "$WORK/err")"
	mirrorfs "$a:$b" "$MNT" -o degraded 2>"$WORK/err" && fail "two heads were mounted, degraded"
	[ "$(cat "$a/file" "$b/file")" = ab ] || fail "two heads were mixed"
}

# --- a mirror that fails while mounted ----------------------------------------

# fails_midway NAME STATE TYPE SIZE BREAK MEND: the mirror on a filesystem of its
# own at $WORK/NAME.
fails_midway() {
	local name=$1 state=$2 break=$5 mend=$6 a=$WORK/$1-good b=$WORK/$1/b
	make_fs "$name" "$3" "$4"
	new_volume "$a" "$b"
	mount_volume "$MNT" "$a" "$b" || fail "mount: status $?"
	small_tree "$MNT"
	sync -f "$MNT/hello"
	remount_volume "$MNT" "$a" "$b"
	$break "$WORK/$name" || broken "$break"
	printf 'survivor\n' >"$MNT/survivor" || fail "$name: a write fails with its mirror"
	change_tree 2 || fail "$name: changes fail with their mirror"
	expect_state "$MNT" "$b" "$state"
	[ -n "$(mirror_field "$MNT" "$b" reason)" ] || fail "$name: no reason"
	say "$name: $(mirror_state "$MNT" "$b"): $(mirror_field "$MNT" "$b" reason)"
	expect_status "$MNT" health degraded
	expect_status "$MNT" counters.ejected 1
	[ "$(durable_state "$a" "$b")" = "$state" ] ||
		fail "$name: the superblock of $a says '$(durable_state "$a" "$b")' of $b"
	killed_degraded "$a" "$b" "$name" "$mend"
}

kill_daemon() {
	kill -KILL "$DAEMON_PID"
	wait_until 10 is_dead "$DAEMON_PID" || fail "the daemon outlives SIGKILL"
	umount -l "$MNT" || fail "umount -l of a dead mount"
}

# Killed, mended, mounted: the stale one is caught up and was no source.
killed_degraded() {
	local a=$1 b=$2 name=$3 mend=$4
	kill_daemon
	$mend "$WORK/$name" || broken "$mend"
	# a full disk may still take the name
	[ ! -s "$b/survivor" ] || broken "$name: the mirror did not miss anything"
	mount_volume "$MNT" "$a" "$b" || fail "$name: mount after the kill: status $?"
	[ "$(cat "$MNT/survivor")" = survivor ] || fail "$name: an acknowledged write is lost"
	[ "$(tail -c 2 "$MNT/dir/small")" = x2 ] || fail "$name: the stale mirror answers"
	in_sync "$a" "$b"
	mirrorctl scrub "$MNT" >/dev/null 2>&1
	scrub 0 "$MNT"
	expect_status "$MNT" counters.uncorrected 0
	umount_volume "$MNT"
	same_trees "$a" "$b"
	[ "$(cat "$b/survivor")" = survivor ] || fail "$name: not caught up"
}

# What ext4 does by itself when it finds an error. A plain remount is refused:
# the journal of the mirror is open for writing.
make_read_only() {
	mount -o remount,abort "$1"
	! : >"$1/probe"
} 2>/dev/null

make_writable() {
	local device
	device=$(findmnt -no SOURCE "$1") && umount "$1" && mount "$device" "$1"
}

fill() {
	# what is left, less than a page included
	dd if=/dev/zero of="$1/ballast" bs=4096 status=none 2>/dev/null
	[ -s "$1/ballast" ]
}

make_space() {
	rm "$1/ballast"
}

# A full mirror returns without being mounted anew, by a scrub.
returns_by_scrub() {
	local a=$WORK/again-good b=$WORK/again/b
	make_fs again tmpfs 12M
	new_volume "$a" "$b"
	mount_volume "$MNT" "$a" "$b" || fail "mount: status $?"
	small_tree "$MNT"
	fill "$WORK/again" || broken "fill"
	change_tree 3 || fail "a change fails with a full mirror"
	head -c 100000 /dev/urandom >"$MNT/more" || fail "a write fails with a full mirror"
	expect_state "$MNT" "$b" full
	make_space "$WORK/again"
	mirrorctl scrub "$MNT" >/dev/null 2>"$WORK/err"
	in_sync "$a" "$b"
	expect_status "$MNT" health "$HEALTHY"
	umount_volume "$MNT"
	same_trees "$a" "$b"
}

# --- adopting -----------------------------------------------------------------

adopt_tree() {
	local i
	small_tree "$1"
	for ((i = 0; i < 400; i++)); do
		mkdir -p "$1/many/$((i % 20))"
		head -c $((i * 211)) "$WORK/pool" >"$1/many/$((i % 20))/$i"
	done
	truncate -s 3M "$1/sparse"
	printf x | dd of="$1/sparse" bs=1 seek=2000000 conv=notrunc status=none
	setfattr -n user.mine -v 1 "$1/hello"
	chown -h 1000:1000 "$1/dir/symlink" "$1/hello"
	touch -h -d '2002-02-02 02:02:02.02' "$1/dir/symlink" "$1/dir"
}

adopt_dry() {
	local tree=$1 empty=$2
	tree_list "$tree" >"$WORK/dry-before"
	mirrorctl init --adopt -n "$tree" "$empty" >"$WORK/out" 2>&1 || {
		cat "$WORK/out" >&2
		fail "init --adopt -n"
	}
	[ -s "$WORK/out" ] || fail "the dry run says nothing"
	tree_list "$tree" | cmp - "$WORK/dry-before" || fail "the dry run changed the tree"
	[ ! -e "$tree/.mirrorfs" ] && [ -z "$(ls -A "$empty")" ] || fail "the dry run left something"
	[ -z "$(getfattr -R --absolute-names -m mirrorfs "$tree")" ] || fail "the dry run left records"
}

# has_names DIR COUNT PID: so many names below DIR, or the process is gone.
has_names() {
	[ "$(find "$1" 2>/dev/null | wc -l)" -ge "$2" ] || is_dead "$3"
}

# Stops it by SIGINT at some moments; what was begun is no volume to mount, and
# the same command ends it.
adopt_interrupted() {
	local tree=$1 empty=$2 try pid
	for try in 1 2 3; do
		mirrorctl init --adopt "$tree" "$empty" >"$WORK/out" 2>&1 &
		pid=$!
		wait_until 10 has_names "$empty" $((try * 60)) "$pid"
		kill -INT "$pid" 2>/dev/null
		if wait "$pid"; then
			say "init --adopt was done before interruption $try"
			return
		fi
		mirrorfs "$tree:$empty" "$MNT" 2>"$WORK/err" && fail "an unfinished adoption was mounted"
		grep -q adopt "$WORK/err" || fail "the refusal does not say adopt: $(cat "$WORK/err")"
	done
	mirrorctl init --adopt "$tree" "$empty" >"$WORK/out" 2>&1 || {
		cat "$WORK/out" >&2
		fail "init --adopt does not resume"
	}
}

adopting() {
	local tree=$WORK/adopt/tree empty=$WORK/adopt/empty
	mkdir -p "$tree" "$empty"
	head -c 100000 /dev/urandom >"$WORK/pool"
	adopt_tree "$tree"
	cp -a "$tree" "$WORK/adopt/copy"
	adopt_dry "$tree" "$empty"
	adopt_interrupted "$tree" "$empty"
	same_trees "$WORK/adopt/copy" "$tree" "$empty"
	mount_volume "$MNT" "$tree" "$empty" || fail "mount of an adopted tree: status $?"
	in_sync "$tree" "$empty"
	same_trees "$WORK/adopt/copy" "$MNT"
	scrub 0 "$MNT"
	umount_volume "$MNT"
	same_trees "$WORK/adopt/copy" "$tree" "$empty"
	flip "$tree/many/19/399" 50000
	flip "$empty/many/18/398" 50000
	mount_volume "$MNT" "$tree" "$empty" || fail "mount: status $?"
	same_trees "$WORK/adopt/copy" "$MNT"
	umount_volume "$MNT"
}

for step in missing stale_alone diverged \
	"fails_midway readonly stale ext4 64M make_read_only make_writable" \
	"fails_midway filled full tmpfs 12M fill make_space" returns_by_scrub adopting; do
	say "$step"
	$step
done
