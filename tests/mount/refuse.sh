#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What must not be mounted is not: one clear line says why, the status is not
# zero, and nothing is changed by the attempt, neither in the directories given
# nor anywhere else.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/rot/verbs.sh
. "$top_srcdir/tests/rot/verbs.sh"

require_root
require_fuse
require_program getfattr perl

A=$WORK/a
B=$WORK/b
MNT=$WORK/mnt

# All of a directory with .mirrorfs: names, contents, times, xattrs.
fingerprint() {
	(
		cd "$WORK" || exit
		find "$@" -printf '%p\t%y\t%m\t%U:%G\t%T@\t%l\n' | sort
		find "$@" -type f -exec sha256sum {} + | sort
		find "$@" \( -type f -o -type d \) -exec getfattr -h -d -m - -e hex {} + 2>/dev/null |
			sort
	)
}

# refused WHAT WORDS COMMAND...: the command fails with one line on stderr that
# has one of the WORDS (an extended regular expression) in it, mounts nothing
# and changes nothing in $WATCH.
refused() {
	local what=$1 words=$2 status=0 lines
	shift 2
	# shellcheck disable=SC2086 # a list of names
	fingerprint $WATCH >"$WORK/.before"
	"$@" >"$WORK/out" 2>"$WORK/err" || status=$?
	if is_mounted "$MNT"; then
		MOUNTS+=("$MNT")
		fail "$what: was mounted"
	fi
	[ "$status" -ne 0 ] || fail "$what: status 0"
	[ "$status" -lt 126 ] || fail "$what: status $status ($(cat "$WORK/err"))"
	# a warning of two mirrors on one filesystem is no part of the answer
	grep -viE 'warning|same filesystem|one filesystem' "$WORK/err" >"$WORK/err1"
	lines=$(wc -l <"$WORK/err1")
	[ "$lines" -eq 1 ] || fail "$what: $lines lines instead of one: $(cat "$WORK/err")"
	grep -qiE -e "$words" "$WORK/err1" ||
		fail "$what: the message does not say '$words': $(cat "$WORK/err1")"
	# shellcheck disable=SC2086
	fingerprint $WATCH >"$WORK/.after"
	diff "$WORK/.before" "$WORK/.after" >&2 || fail "$what: something was changed"
	say "$what: $(cat "$WORK/err1")"
}

bad_arguments() {
	WATCH="a b"
	refused "no mirror" 'mirror|source|usage' mirrorfs "" "$MNT"
	refused "no argument" 'mirror|source|usage' mirrorfs
	refused "no mount point" 'mount ?point|usage' mirrorfs "$A:$B"
	refused "mount point is missing" "nowhere" mirrorfs "$A:$B" "$WORK/nowhere"
	refused "mount point is a file" "director" mirrorfs "$A:$B" "$WORK/file"
	refused "unknown option" 'nonsense' mirrorfs "$A:$B" "$MNT" -o nonsense
	refused "option with a bad value" 'seal|value|number|unknown|option' \
		mirrorfs "$A:$B" "$MNT" -o max_nodes=lots
	refused "a mirror that is no directory" 'not a directory' mirrorfs "$A:$WORK/file" "$MNT"
	refused "a directory that is missing" "nowhere|no such" mirrorfs "$A:$WORK/nowhere" "$MNT"
	refused "unknown command" 'frobnicate|usage' mirrorctl frobnicate
	refused "init without directories" 'usage|director' mirrorctl init
}

bad_places() {
	WATCH="a b"
	refused "the same directory twice" 'same|twice' mirrorfs "$A:$A" "$MNT"
	ln -s "$A" "$WORK/link"
	refused "the same directory by a symlink" 'same|twice' mirrorfs "$A:$WORK/link" "$MNT"
	mkdir -p "$A/dir"
	refused "nested mirrors" 'inside|nested|within|below|contains' mirrorfs "$A:$A/dir" "$MNT"
	refused "nested mirrors, turned" 'inside|nested|within|below|contains' \
		mirrorfs "$A/dir:$A" "$MNT"
	refused "mount point inside a mirror" 'inside|lies in|within|below|contains' \
		mirrorfs "$A:$B" "$A/dir"
	refused "mount point is a mirror" 'inside|lies in|same|within|mirror' mirrorfs "$A:$B" "$A"
	refused "mirror inside the mount point" 'inside|lies in|within|below|contains' \
		mirrorfs "$A:$B" "$WORK"
	rmdir "$A/dir"
}

bad_init() {
	WATCH="a b full"
	mkdir -p "$WORK/full" "$WORK/new"
	printf x >"$WORK/full/file"
	refused "init of a directory in use" 'adopt|not empty' mirrorctl init "$WORK/full" "$WORK/new"
	refused "init of a mirror" 'already|volume|adopt|not empty|belongs' mirrorctl init "$A" "$WORK/new"
	refused "init of the same twice" 'same|twice' mirrorctl init "$WORK/new" "$WORK/new"
	refused "mount of a tree that is no mirror" 'adopt' mirrorfs "$WORK/full:$A" "$MNT"
	[ -z "$(ls -A "$WORK/new")" ] || fail "a refused init left something"
}

one_is_missing() {
	WATCH="a b b.away"
	mv "$B" "$WORK/b.away"
	mkdir "$B"
	refused "an empty directory in place of a mirror" 'degraded' mirrorfs "$A:$B" "$MNT"
	rmdir "$B"
	WATCH="a b.away"
	refused "one mirror missing" 'degraded|no such' mirrorfs "$A:$B" "$MNT"
	refused "one mirror not given" 'degraded' mirrorfs "$A" "$MNT"
	mkdir "$B"
	# with the option it works, and the empty directory stays empty
	mount_volume -o degraded "$MNT" "$A" "$B" || fail "-o degraded: status $?"
	[ "$(cat "$MNT/hello")" = hello ] || fail "degraded: read"
	find "$MNT" >/dev/null
	mirrorctl scrub "$MNT" >/dev/null
	umount_volume "$MNT"
	[ -z "$(ls -A "$B")" ] || fail "something was written into an absent mirror"
	[ "$(cat "$A/hello")" = hello ] || fail "an absent mirror deleted something"
	rmdir "$B"
	mv "$WORK/b.away" "$B"
	catch_up
}

# Mounts until both are in sync, so that the next refusal has one reason only.
catch_up() {
	mount_volume "$MNT" "$A" "$B" || fail "mount: status $?"
	expect_state "$MNT" "$A" in-sync
	expect_state "$MNT" "$B" in-sync
	umount_volume "$MNT"
	same_trees "$A" "$B"
}

wrong_volume() {
	WATCH="a b other"
	new_volume "$WORK/other/a" "$WORK/other/b"
	refused "a mirror of another volume" 'volume|foreign' mirrorfs "$A:$WORK/other/b" "$MNT"
	refused "two halves" 'volume|foreign|degraded' mirrorfs "$WORK/other/a:$B" "$MNT"
	cp -a "$B" "$WORK/clone"
	WATCH="a b clone"
	refused "a copy beside the original" 'clone|copy|copied|same mirror' \
		mirrorfs "$A:$B:$WORK/clone" "$MNT"
	refused "a copy in place of the original" 'clone|copy|copied' \
		mirrorfs "$A:$WORK/clone" "$MNT"
	rm -rf "$WORK/clone"
}

second_mount() {
	mkdir "$WORK/mnt2"
	mount_volume "$WORK/mnt2" "$A" "$B" || fail "mount: status $?"
	WATCH="b/.mirrorfs"
	refused "a second mount" 'in use|locked|mounted|another' mirrorfs "$A:$B" "$MNT"
	refused "a second mount of one mirror" 'in use|locked|mounted|another' \
		mirrorfs "$B" "$MNT" -o degraded
	refused "repair of a mounted volume" 'in use|locked|mounted|another' \
		mirrorctl repair "$A" "$B"
	[ "$(cat "$WORK/mnt2/hello")" = hello ] || fail "the first mount suffered"
	umount_volume "$WORK/mnt2"
}

# zap FILE SLOT: garbage into one slot of a superblock.
zap() {
	head -c 4096 /dev/urandom |
		dd of="$1" bs=4096 seek="$2" count=1 conv=notrunc iflag=fullblock status=none
}

bad_superblock() {
	local keep=$WORK/keep slot
	cp -a "$B/.mirrorfs/volume" "$keep"
	WATCH="a b"
	zap "$B/.mirrorfs/volume" 0
	zap "$B/.mirrorfs/volume" 1
	refused "garbage in the superblock" 'superblock|damaged|valid' mirrorfs "$A:$B" "$MNT"
	: >"$B/.mirrorfs/volume"
	refused "an empty superblock" 'superblock|damaged|valid|degraded' mirrorfs "$A:$B" "$MNT"
	cp -a "$keep" "$B/.mirrorfs/volume"
	for slot in 0 1; do
		zap "$B/.mirrorfs/volume" $slot
		mount_volume "$MNT" "$A" "$B" || fail "slot $slot damaged: mount status $?"
		expect_state "$MNT" "$B" in-sync
		[ "$(cat "$MNT/hello")" = hello ] || fail "slot $slot damaged: read"
		umount_volume "$MNT"
	done
	catch_up
}

# Both slots are of the future, with good checksums.
future_version() {
	local keep=$WORK/keep what
	for what in version feature; do
		cp -a "$B/.mirrorfs/volume" "$keep"
		sbtool "$what" "$B/.mirrorfs/volume" || broken "sbtool"
		WATCH="a b"
		refused "a $what of the future" 'version|feature|newer|format' \
			mirrorfs "$A:$B" "$MNT"
		refused "a $what of the future, alone" 'version|feature|newer|format' \
			mirrorfs "$B" "$MNT" -o degraded
		cp -a "$keep" "$B/.mirrorfs/volume"
	done
	catch_up
}

mkdir "$MNT"
printf x >"$WORK/file"
new_volume "$A" "$B"
mount_volume "$MNT" "$A" "$B" || fail "mount: status $?"
small_tree "$MNT"
umount_volume "$MNT"
rm -f "$WORK/.mtime"
for step in bad_arguments bad_places bad_init one_is_missing wrong_volume second_mount \
	bad_superblock future_version; do
	$step
done
