#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Real programs in the mount: tar, git, make and cc, sqlite3, rsync, fio, each
# judged by its own checks (diff, git fsck, integrity_check, verify). What a
# program left must also be right after a new mount, and the mirrors equal. A
# program the machine lacks is left out with a note.
# shellcheck source=tests/lib.sh
unset MAKEFLAGS MFLAGS MAKELEVEL # of the make that runs the tests
. "$(dirname "$0")/../lib.sh"

require_fuse
require_program tar getfattr

A=$WORK/a
B=$WORK/b
MNT=$WORK/mnt
SEED=${MIRRORFS_TEST_SEED:-$RANDOM}
export HOME=$WORK GIT_CONFIG_NOSYSTEM=1

# have PROGRAM...: or says why a part is left out
have() {
	local program
	for program in "$@"; do
		command -v "$program" >/dev/null && continue
		say "without $program: ${FUNCNAME[1]} is left out"
		return 1
	done
}

# quietly COMMAND...: shows its output only if it fails
quietly() {
	"$@" >"$WORK/out" 2>&1 || {
		cat "$WORK/out" >&2
		fail "status $?: $*"
	}
}

# A tree of sources: up to some 1500 real headers.
untar() {
	local dir
	mkdir "$WORK/headers" "$MNT/tree" || broken "mkdir"
	for dir in linux asm-generic sound rdma net arpa; do
		[ ! -d "/usr/include/$dir" ] || cp -RL "/usr/include/$dir" "$WORK/headers"
	done
	cp -L /usr/include/*.h "$WORK/headers" || broken "no headers in /usr/include"
	tar -C "$WORK/headers" -cf "$WORK/headers.tar" . || broken "tar"
	quietly tar -C "$MNT/tree" -xpf "$WORK/headers.tar"
	quietly diff -r "$WORK/headers" "$MNT/tree"
	quietly tar -C "$MNT/tree" -df "$WORK/headers.tar"
}

in_git() {
	git -c user.name=test -c user.email=test@localhost -c gc.auto=0 -C "$MNT/git" "$@"
}

git_check() {
	quietly in_git fsck --strict --full
	[ -z "$(in_git status --porcelain)" ] || fail "git status shows changes"
	quietly git -C "$MNT/clone" fsck --full
}

run_git() {
	have git || return 0
	quietly git init "$MNT/git"
	cp -R "$WORK/headers/linux" "$MNT/git/linux" || fail "cp into the repository"
	quietly in_git add -A
	quietly in_git commit -m one
	rm -r "$MNT/git/linux/netfilter" || fail "rm -r"
	find "$MNT/git" -name 'a*.h' -exec sed -i '$a /* more */' {} +
	quietly in_git add -A
	quietly in_git commit -m two
	quietly in_git repack -a -d
	quietly git clone --no-hardlinks "$MNT/git" "$MNT/clone"
	quietly git clone "$MNT/git" "$MNT/linked"
	quietly in_git checkout HEAD~1
	git_check
}

# Twenty modules that call each other in a row.
write_project() {
	local i
	for i in $(seq 20); do
		echo "int f$((i - 1))(void); int f$i(void) { return f$((i - 1))() + 1; }" >"f$i.c"
	done
	echo 'int f0(void) { return 0; }' >f0.c
	echo 'int f20(void); int main(void) { return f20() != 20; }' >main.c
	# shellcheck disable=SC2016 # these are for make
	printf 'OBJS = %s\nprog: $(OBJS)\n\t$(CC) -o $@ $(OBJS)\n' \
		"main.o $(seq -f 'f%g.o' -s ' ' 0 20)" >Makefile
}

build() {
	have make cc || return 0
	mkdir "$MNT/project" || fail "mkdir"
	cd "$MNT/project" || fail "cd"
	write_project
	quietly make -j2 CC=cc
	./prog || fail "the built program does not work"
	make -q CC=cc || fail "make wants to build again what is up to date"
	wait_until 5 touch_newer || fail "touch does not give a newer time"
	make CC=cc | grep -c -- '-c -o' | grep -qx 1 || fail "a touched file is not one compilation"
	cd "$WORK" || broken "cd"
}

touch_newer() {
	touch f7.c
	[ f7.c -nt prog ]
}

sqlite_rows() {
	seq "$1" "$2" | sed 's/.*/INSERT INTO t VALUES (&, hex(randomblob(200)));/'
}

# Two writers at once, one transaction a row, beside a large transaction each.
sqlite_mode() {
	local db=$MNT/db.$1 writer i
	quietly sqlite3 "$db" "PRAGMA journal_mode=$1; CREATE TABLE t (id INTEGER, text TEXT);"
	for i in 1 2; do
		{
			printf '.timeout 30000\n'
			sqlite_rows "${i}000" "${i}049"
			printf 'BEGIN;\n'
			sqlite_rows "${i}0000" "${i}0999"
			printf 'COMMIT; DELETE FROM t WHERE id %% 7 = 0;\n'
		} | sqlite3 "$db" >"$WORK/sqlite.$i" 2>&1 &
		[ "$i" -ne 1 ] || writer=$!
	done
	wait "$!" || fail "sqlite writer: $(cat "$WORK/sqlite.2")"
	wait "$writer" || fail "sqlite writer: $(cat "$WORK/sqlite.1")"
	sqlite_check "$1"
}

sqlite_check() {
	local sum
	[ "$(sqlite3 "$MNT/db.$1" 'PRAGMA integrity_check;')" = ok ] ||
		fail "sqlite $1: integrity_check"
	sum=$({ seq 1000 1049; seq 2000 2049; seq 10000 10999; seq 20000 20999; } |
		awk '$1 % 7 { n++ } END { print n }')
	[ "$(sqlite3 "$MNT/db.$1" 'SELECT count(*) FROM t;')" = "$sum" ] ||
		fail "sqlite $1: not $sum rows"
}

run_sqlite() {
	have sqlite3 || return 0
	sqlite_mode delete
	sqlite_mode wal
	sqlite_mode truncate
}

# Hard links, symlinks, xattrs, ACLs, owners, a FIFO, old times, holes.
rsync_source() {
	local dir=$WORK/rsync
	mkdir -p "$dir/sub" || broken "mkdir"
	cp -RL /usr/include/asm-generic "$dir/sub" 2>/dev/null || mkdir "$dir/sub/asm-generic"
	echo one >"$dir/one"
	ln "$dir/one" "$dir/sub/uno"
	ln -s ../one "$dir/sub/link"
	mkfifo "$dir/fifo"
	truncate -s 3000000 "$dir/hole"
	setfattr -n user.colour -v blue "$dir/one" 2>/dev/null
	command -v setfacl >/dev/null && setfacl -m u:1000:rw "$dir/one" 2>/dev/null
	[ "$(id -u)" -ne 0 ] || chown 1000:1001 "$dir/hole" "$dir/sub/link" -h
	touch -d 1999-12-31 "$dir/hole"
	chmod 0750 "$dir/sub"
	chmod 04755 "$dir/one"
}

rsync_check() {
	local left
	left=$(rsync -aHAXni --checksum --delete "$WORK/rsync/" "$MNT/rsync/") || fail "rsync -n"
	[ -z "$left" ] || fail "rsync finds differences: $left"
	[ "$MNT/rsync/one" -ef "$MNT/rsync/sub/uno" ] || fail "the hard link is lost"
}

run_rsync() {
	have rsync || return 0
	rsync_source
	quietly rsync -aHAXS "$WORK/rsync/" "$MNT/rsync/"
	echo changed >>"$WORK/rsync/sub/uno"
	rm -r "$WORK/rsync/sub/asm-generic"
	quietly rsync -aHAX --inplace --delete "$WORK/rsync/" "$MNT/rsync/"
	rsync_check
}

# fio_verified NAME OPTIONS...: 8 MiB, written at random, every block verified
fio_verified() {
	local name=$1
	shift
	quietly fio --name="$name" --filename="$MNT/fio.$name" --size=8m --randseed="$SEED" \
		--verify=crc32c --verify_fatal=1 --do_verify=1 --minimal "$@"
}

run_fio() {
	have fio || return 0
	fio_verified mixed --rw=randrw --bsrange=1k-70k --bs_unaligned --ioengine=psync
	fio_verified small --rw=randwrite --bs=4k --ioengine=psync --fsync=64
	fio_verified mapped --rw=randwrite --bs=4k --ioengine=mmap
	fio_verified direct --rw=randwrite --bs=8k --direct=1 --ioengine=psync
}

after_remount() {
	umount_volume "$MNT"
	tree_equal "$A" "$B" || fail "the mirrors differ"
	mount_volume "$MNT" "$A" "$B" || fail "second mount: status $?"
	quietly diff -r "$WORK/headers" "$MNT/tree"
	if [ -d "$MNT/git" ]; then git_check; fi
	for mode in delete wal truncate; do
		if [ -f "$MNT/db.$mode" ]; then sqlite_check "$mode"; fi
	done
	if [ -d "$MNT/rsync" ]; then rsync_check; fi
	if [ -d "$MNT/project" ]; then
		"$MNT/project/prog" || fail "the built program does not work after a new mount"
	fi
}

mkdir "$A" "$B" || broken "mkdir"
expect 0 mirrorctl init "$A" "$B"
mount_volume "$MNT" "$A" "$B" || fail "mount: status $?"
for part in untar run_git build run_sqlite run_rsync run_fio after_remount; do
	"$part"
	say "$part: done after $SECONDS s"
done
umount_volume "$MNT"
rm -rf "$MNT"
