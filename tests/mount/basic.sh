#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The first things one does with a volume: make it, mount it in every way there
# is, work in it, see that the mirrors carry plain files and that mirrorfs' own
# things stay hidden, damage a copy and see it healed, unmount.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/rot/verbs.sh
. "$top_srcdir/tests/rot/verbs.sh"

require_fuse
require_program getfattr setfattr perl findmnt

A=$WORK/a
B=$WORK/b
MNT=$WORK/mnt

# refuses COMMAND...: it must fail, and not by a signal.
refuses() {
	local status=0
	"$@" >"$WORK/out" 2>&1 || status=$?
	[ "$status" -ne 0 ] || fail "should not have worked: $*"
	[ "$status" -lt 126 ] || fail "status $status: $* ($(cat "$WORK/out"))"
}

work_in_tree() {
	small_tree "$MNT"
	mv "$MNT/dir/small" "$MNT/dir/renamed"
	mv "$MNT/dir/sub" "$MNT/moved"
	printf 'more\n' >>"$MNT/hello"
	[ "$(cat "$MNT/dir/link")" = "$(printf 'hello\nmore')" ] || fail "append to a linked file"
	mkdir "$MNT/gone"
	printf x >"$MNT/gone/x"
	rm "$MNT/gone/x" || fail "rm"
	rmdir "$MNT/gone" || fail "rmdir"
	[ ! -e "$MNT/gone" ] && [ ! -e "$A/gone" ] && [ ! -e "$B/gone" ] || fail "gone is there"
	[ "$(readlink "$MNT/dir/symlink")" = ../hello ] || fail "readlink"
	sync -f "$MNT/hello" || fail "sync"
}

trees_are_equal() {
	tree_equal "$MNT" "$A" 2>/dev/null && tree_equal "$MNT" "$B" 2>/dev/null
}

# Times of directories may settle a moment later.
plain_files() {
	wait_until 15 trees_are_equal
	same_trees "$MNT" "$A" "$B"
	[ "$(cat "$A/hello")" = "$(printf 'hello\nmore')" ] || fail "the mirror has no plain file"
}

hidden_directory() {
	find "$A" -maxdepth 1 -name .mirrorfs | grep -q . || fail "no .mirrorfs in the mirror"
	[ -z "$(find "$MNT" -name .mirrorfs)" ] || fail ".mirrorfs shows in the mount"
	refuses stat "$MNT/.mirrorfs"
	refuses cat "$MNT/.mirrorfs/volume"
	refuses ls "$MNT/.mirrorfs/"
	refuses mkdir "$MNT/.mirrorfs"
	refuses touch "$MNT/.mirrorfs"
	refuses mkfifo "$MNT/.mirrorfs"
	refuses ln -s x "$MNT/.mirrorfs"
	refuses ln "$MNT/hello" "$MNT/.mirrorfs"
	refuses mv -T "$MNT/hello" "$MNT/.mirrorfs"
	refuses mv -T "$MNT/empty" "$MNT/.mirrorfs"
	refuses perl -e 'rename($ARGV[0], $ARGV[1]) or exit 1' "$MNT/.mirrorfs" "$MNT/stolen"
	refuses rmdir "$MNT/.mirrorfs"
	refuses rm "$MNT/.mirrorfs"
	[ -s "$A/.mirrorfs/volume" ] && [ -s "$B/.mirrorfs/volume" ] || fail "superblock gone"
	[ -f "$MNT/hello" ] && [ -d "$MNT/empty" ] || fail "a refused rename moved its source"
}

hidden_record() {
	local name size
	setfattr -n user.mine -v 1 "$MNT/hello" || fail "setfattr"
	for name in user.mfs trusted.mfs; do
		refuses getfattr -n "$name" "$MNT/hello"
		refuses setfattr -n "$name" -v 0 "$MNT/hello"
		refuses setfattr -x "$name" "$MNT/hello"
		refuses setfattr -n "$name" -v 0 "$MNT/dir"
	done
	[ "$(getfattr --absolute-names -d -m - "$MNT/hello" | grep -c =)" -eq 1 ] ||
		fail "other xattrs than the user's: $(getfattr -d -m - "$MNT/hello")"
	[ "$(getfattr --absolute-names --only-values -n user.mine "$MNT/hello")" = 1 ] || fail "xattr"
	umount_volume "$MNT"
	size=$(getfattr --absolute-names --only-values -n user.mfs "$A/hello" | wc -c)
	[ "$size" -eq 68 ] || fail "a settled file's record has $size bytes"
	mount_volume "$MNT" "$A" "$B" || fail "mount: status $?"
}

# Every key that scripts may rely on.
status_keys() {
	local key
	mirrorctl status "$MNT" >"$WORK/out" || fail "mirrorctl status"
	grep -qF "$A" "$WORK/out" || fail "status does not name $A"
	mirrorctl status --json "$MNT" >"$WORK/json" || fail "mirrorctl status --json"
	for key in health mirrors.0.path mirrors.0.state mirrors.1.path mirrors.1.state \
		counters.leaves_bad counters.leaves_repaired counters.files_repaired \
		counters.unverified counters.uncorrected counters.foreign \
		counters.quarantined counters.ejected; do
		[ -n "$(json "$key" <"$WORK/json")" ] || fail "status --json has no $key"
	done
	perl -MJSON::PP -e 'for (@{decode_json(join("", <STDIN>))->{mirrors}}) {
		exit 1 unless exists $_->{reason} }' <"$WORK/json" || fail "no mirrors[].reason"
	expect_state "$MNT" "$A" in-sync
	expect_state "$MNT" "$B" in-sync
	refuses mirrorctl status "$WORK"
}

# The kernel's view, and that of the one who asks for it by name.
names_and_options() {
	local help
	[ "$(findmnt -n -o FSTYPE "$MNT")" = fuse.mirrorfs ] || fail "type $(findmnt -n "$MNT")"
	findmnt -n -o SOURCE "$MNT" | grep -qF "$A" || fail "source $(findmnt -n "$MNT")"
	remount_volume -o fsname=mytree "$MNT" "$A" "$B"
	[ "$(findmnt -n -o SOURCE "$MNT")" = mytree ] || fail "fsname $(findmnt -n "$MNT")"
	mirrorfs -V | grep -q '[0-9]\.[0-9]' || fail "-V"
	mirrorfs -h >"$WORK/out" || fail "-h: status $?"
	for help in degraded ro -f -d; do
		grep -qwF -e "$help" "$WORK/out" || fail "-h does not tell of $help"
	done
	mirrorctl -h >/dev/null || mirrorctl --help >/dev/null || fail "mirrorctl -h"
}

read_only() {
	remount_volume -o ro "$MNT" "$A" "$B"
	refuses touch "$MNT/new"
	refuses rm "$MNT/hello"
	[ "$(head -n 1 "$MNT/hello")" = hello ] || fail "read in a read-only mount"
	umount_volume "$MNT"
	[ ! -e "$A/new" ] || fail "a read-only mount wrote"
	mount_volume "$MNT" "$A" "$B" || fail "mount: status $?"
}

# Flips leaves on both sides: which copy is read is the volume's business.
heal_while_mounted() {
	local moved=moved/large
	[ "$(id -u)" -eq 0 ] || return 0
	cp "$MNT/$moved" "$WORK/good"
	sync -f "$MNT"
	remount_volume "$MNT" "$A" "$B"
	flip "$A/$moved" 20000
	flip "$B/$moved" 200000
	drop_caches
	cmp "$WORK/good" "$MNT/$moved" || fail "wrong bytes, or none, of a damaged file"
	[ "$(status "$MNT" counters.leaves_bad)" -ge 1 ] || fail "leaves_bad"
	[ "$(status "$MNT" counters.leaves_repaired)" -ge 1 ] || fail "leaves_repaired"
	[ "$(status "$MNT" counters.quarantined)" -ge 1 ] || fail "quarantined"
	has_event "$moved" "$A" "$B" || fail "no event of $moved"
	cmp -s "$WORK/good" "$A/$moved" || cmp -s "$WORK/good" "$B/$moved" || fail "nothing was healed"
	scrub 1 "$MNT"
	same_files "$WORK/good" "$A/$moved" "$B/$moved"
	scrub 0 "$MNT"
}

heal_deleted() {
	[ "$(id -u)" -eq 0 ] || return 0
	printf one >"$MNT/dir/one"
	printf two >"$MNT/dir/two"
	remount_volume "$MNT" "$A" "$B"
	rm "$A/dir/one" "$B/dir/two"
	drop_caches
	[ "$(cat "$MNT/dir/one" "$MNT/dir/two")" = onetwo ] || fail "a deleted copy"
	find "$MNT/dir" >/dev/null
	wait_until 10 test -e "$A/dir/one" -a -e "$B/dir/two" || fail "deleted copies stay away"
	has_event dir/one "$A" "$B" || fail "no event of dir/one"
	scrub 0 "$MNT"
	same_trees "$MNT" "$A" "$B"
}

# A clean end leaves nothing to recover: the next mount knows it.
ends_cleanly() {
	local pid=$DAEMON_PID
	printf 'late\n' >"$MNT/late"
	kill -TERM "$pid"
	wait_until 20 is_dead "$pid" || fail "SIGTERM does not end mirrorfs"
	is_unmounted "$MNT" || fail "SIGTERM leaves the mount"
	is_clean "$A" && is_clean "$B" || fail "SIGTERM leaves unclean superblocks"
	same_trees "$A" "$B"
	[ "$(cat "$A/late")" = late ] || fail "the last write is not on the mirror"
	mount_volume "$MNT" "$A" "$B" || fail "mount after SIGTERM: status $?"
	is_clean "$A" && fail "a mounted volume is marked clean"
	expect_status "$MNT" counters.leaves_bad 0
	scrub 0 "$MNT"
	umount_volume "$MNT"
	is_clean "$A" && is_clean "$B" || fail "umount leaves unclean superblocks"
}

no_daemon() {
	[ -z "$(daemons_of "$1")" ]
}

# mounted_by COMMAND...: runs it where the programs are installed, as far as it
# can see; what is in the mount and what the kernel says of it is in $WORK/out.
# mount(8) looks for programs in standard places only, whatever PATH says. The
# copies of what other tests have mounted are given up: they could not end.
mounted_by() {
	# shellcheck disable=SC2016 # for the inner shell
	unshare -m --propagation private bash -c '
		mnt=$1
		shift
		awk -v own="${mnt%/*}/" \
			"\$5 ~ /\/mirrorfs-/ && index(\$5, own) != 1 { print \$5 }" \
			/proc/self/mountinfo | xargs -r umount -l 2>/dev/null
		mount --bind "$top_builddir" /usr/local/bin || exit
		"$@" || exit
		head -n 1 "$mnt/hello"
		findmnt -n -o FSTYPE,OPTIONS "$mnt"
		umount "$mnt"' - "$MNT" "$@" >"$WORK/out" || fail "status $?: $*"
	wait_until 60 no_daemon "$MNT" || fail "mirrorfs outlives its mount: $*"
	[ "$(head -n 1 "$WORK/out")" = hello ] || fail "read: $*"
	grep -q '^fuse.mirrorfs ' "$WORK/out" || fail "type: $*: $(cat "$WORK/out")"
}

mount_by_type() {
	[ "$(id -u)" -eq 0 ] || return 0
	if ! command -v mount.fuse3 >/dev/null || ! unshare -m true; then
		say "mount -t not tried: no mount.fuse3 or no private mounts"
		return 0
	fi
	mounted_by mount -t fuse.mirrorfs "$A:$B" "$MNT"
	printf '%s %s fuse.mirrorfs noatime,nosuid,nodev 0 0\n' "$A:$B" "$MNT" >"$WORK/fstab"
	mounted_by mount -T "$WORK/fstab" "$MNT"
	grep -q nosuid "$WORK/out" || fail "fstab options are lost: $(cat "$WORK/out")"
	ln -sf "$top_builddir/mirrorfs" "$WORK/mount.mirrorfs"
	mounted_by "$WORK/mount.mirrorfs" "$A:$B" "$MNT" -o rw,noatime
}

foreground() {
	local pid
	mirrorfs -f "$A:$B" "$MNT" 2>"$WORK/out" &
	pid=$!
	DAEMONS+=("$pid")
	MOUNTS+=("$MNT")
	wait_until 10 is_mounted "$MNT" || fail "-f does not mount"
	[ "$(head -n 1 "$MNT/hello")" = hello ] || fail "-f: read"
	kill -INT "$pid"
	wait_until 20 is_dead "$pid" || fail "SIGINT does not end mirrorfs -f"
	expect 0 wait "$pid"
	is_unmounted "$MNT" || fail "SIGINT leaves the mount"
}

size_of() {
	df -B1 --output=size,avail "$1" | tail -n 1
}

smallest_counts() {
	[ "$(id -u)" -eq 0 ] || return 0
	make_fs small tmpfs 8M
	make_fs large tmpfs 32M
	new_volume "$WORK/large/v" "$WORK/small/v"
	mount_volume "$WORK/mnt2" "$WORK/large/v" "$WORK/small/v" || fail "mount: status $?"
	[ "$(size_of "$WORK/mnt2")" = "$(size_of "$WORK/small")" ] ||
		fail "statfs is not the minimum: $(size_of "$WORK/mnt2")"
	umount_volume "$WORK/mnt2"
}

# The same as nobody, by fusermount3. Runs this script again.
as_ordinary_user() {
	[ "$(id -u)" -eq 0 ] || return 0
	if ! command -v fusermount3 >/dev/null || ! command -v setpriv >/dev/null; then
		say "not tried as an ordinary user: no fusermount3 or setpriv"
		return 0
	fi
	if ! setpriv --reuid=65534 --regid=65534 --clear-groups \
		sh -c "test -x '$top_builddir/mirrorfs' && test -r '$top_srcdir/tests/lib.sh'"; then
		say "not tried as an ordinary user: nobody cannot reach the build"
		return 0
	fi
	local status=0
	chmod 0711 "$WORK"
	mkdir "$WORK/nobody"
	chown 65534:65534 "$WORK/nobody"
	TMPDIR=$WORK/nobody setpriv --reuid=65534 --regid=65534 --clear-groups \
		bash "$0" || status=$?
	[ "$status" -eq 0 ] || [ "$status" -eq 77 ] || fail "as an ordinary user: status $status"
}

new_volume "$A" "$B"
mount_volume "$MNT" "$A" "$B" || fail "mount: status $?"
for step in work_in_tree plain_files hidden_directory hidden_record status_keys \
	names_and_options read_only heal_while_mounted heal_deleted ends_cleanly \
	mount_by_type foreground smallest_counts as_ordinary_user; do
	say "$step"
	$step
done
