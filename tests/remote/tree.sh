#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A volume with a remote at real servers: a tree with all kinds of objects goes
# up, is changed in all kinds of ways, and after each step a restore from the remote alone is the
# same tree. REMOTE_SERVERS: which ones.
. "$(dirname "$0")/lib.sh"
require_fuse

# Everything a tree can have.
plant() {
	local dir=$1 i
	mkdir -p "$dir/docs/deep/er/down" "$dir/empty" "$dir/odd names"
	for i in 1 2 3 4 5 6 7 8 9 10; do
		head -c "$((i * 777))" /dev/urandom >"$dir/docs/file$i"
		echo "$i" >"$dir/docs/deep/er/down/small$i"
	done
	: >"$dir/docs/nothing"
	head -c 5000000 /dev/urandom >"$dir/large"
	truncate -s 20M "$dir/sparse"
	printf end | dd of="$dir/sparse" bs=1 seek=15000000 conv=notrunc status=none
	ln -s docs/file1 "$dir/link"
	ln -s /nowhere/at/all "$dir/dangling"
	ln "$dir/docs/file2" "$dir/second name"
	ln "$dir/docs/file2" "$dir/docs/deep/third"
	chmod 0640 "$dir/docs/file3"
	chmod 04755 "$dir/docs/file4"
	touch -d '2001-02-03 04:05:06.789012345' "$dir/docs/file5"
	touch -d '1999-12-31 23:59:59.5' "$dir/docs/deep"
	setfattr -n user.colour -v 0xff00fe "$dir/docs/file6"
	setfattr -n user.where -v here "$dir/docs"
	i=0
	for name in 'space at end ' 'per%cent' 'hash#' 'question?' 'plus+' 'quote"' "apos'" 'semi;colon' \
		'a&b' 'a:b' 'back\slash' $'new\nline' $'bell\a' $'caf\xc3\xa9' $'latin\xe9' '.hidden' \
		'.DAV' '~tilde' 'star*' '[x]' '<y>' '|' '-n' "$(printf 'n%.0s' {1..250})"; do
		i=$((i + 1))
		echo "$i" >"$dir/odd names/$name"
	done
	mkdir "$dir/odd names/"$'dir\xff' && echo inside >"$dir/odd names/"$'dir\xff'/file
	if [ "$(id -u)" -eq 0 ]; then
		mknod "$dir/fifo" p
		mknod "$dir/null" c 1 3
		chown 12:34 "$dir/docs/file7"
		setfacl -m u:12:r "$dir/docs/file8" 2>/dev/null
	fi
}

change() {
	local m=$1
	echo changed >>"$m/docs/file1"
	printf new | dd of="$m/large" bs=1 seek=3000000 conv=notrunc status=none
	rm "$m/docs/file9"
	mv "$m/docs/file10" "$m/empty/moved"
	mv "$m/docs/deep" "$m/deeper"
	echo x >"$m/deeper/er/down/added"
	chmod 0600 "$m/docs/file3"
	ln "$m/docs/file5" "$m/fifth"
	echo more >>"$m/second name"
	rm "$m/link" && mkdir "$m/link" && echo y >"$m/link/y"
	rm -r "$m/odd names/"$'dir\xff'
	truncate -s 100 "$m/sparse"
	truncate -s 3M "$m/docs/nothing"
	mv -T "$m/docs/file6" "$m/docs/file7"
	setfattr -x user.where "$m/docs"
}

exchange() {
	mv "$1/$2" "$1/.x" && mv "$1/$3" "$1/$2" && mv "$1/.x" "$1/$3"
}

one_server() {
	local mnt=$WORK/mnt a=$WORK/a b=$WORK/b before after
	start_server "$1"
	mkdir "$a" "$b"
	mirrorctl init "$a" "$b" >"$WORK/init.out" || fail "init"
	mount_volume "$mnt" "$a" "$b" || fail "mount"
	plant "$mnt"
	add_remote "$mnt" far || fail "remote add"
	wait_remote "$mnt" far
	restored_equal "$mnt"

	change "$mnt"
	wait_remote "$mnt" far
	restored_equal "$mnt"

	# Directories in a ring, one of them into another.
	mkdir "$mnt/r1" "$mnt/r2"
	echo 1 >"$mnt/r1/f" && echo 2 >"$mnt/r2/f"
	wait_remote "$mnt" far
	exchange "$mnt" r1 r2
	mv "$mnt/deeper" "$mnt/r1/in"
	wait_remote "$mnt" far
	restored_equal "$mnt"

	# Renaming a directory of some files sends none of them again.
	before=$(status_of "$mnt" far sent_bytes)
	mv "$mnt/odd names" "$mnt/odder names"
	mv "$mnt/large" "$mnt/larger"
	wait_remote "$mnt" far
	after=$(status_of "$mnt" far sent_bytes)
	[ "$((after - before))" -lt 1000000 ] || fail "a rename sent $((after - before)) bytes"
	restored_equal "$mnt"

	# Another mount knows the remote, and sends nothing that is there.
	remount_volume "$mnt" "$a" "$b"
	wait_remote "$mnt" far
	[ "$(status_of "$mnt" far sent_files)" -eq 0 ] || fail "sent again after a remount"
	echo late >"$mnt/late"
	wait_remote "$mnt" far
	restored_equal "$mnt"
	rm -r "$mnt/docs" "$mnt/r1"
	wait_remote "$mnt" far
	restored_equal "$mnt"

	! grep -r -a -q -F -e "$PASSWORD" "$a/.mirrorfs" || fail "a secret is on the mirror"
	mirrorctl remote list "$mnt" >"$WORK/list.out" || fail "remote list"
	mirrorctl status "$mnt" >>"$WORK/list.out"
	! grep -q -F -e "$PASSWORD" "$WORK/list.out" || fail "a secret is in the status"
	mirrorctl remote remove "$mnt" far || fail "remote remove"
	umount_volume "$mnt"
	stop_server
	rm -rf "$a" "$b" "$SERVER_DIR"
	say "$1: passed"
}

for server in ${REMOTE_SERVERS:-nginx apache lighttpd}; do
	one_server "$server"
done
