#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# pjdfstest.sh DIR_OF_PJDFSTEST: the POSIX suite pjdfstest, built beforehand
# outside this tree, on a mounted volume of two mirrors on ext4. In `make
# check` the directory comes from the environment variable PJDFSTEST. What
# prove says in detail goes to stdout; any failed assertion fails the test.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

suite=${1:-${PJDFSTEST:-}}
[ -n "$suite" ] || skip "no pjdfstest given (argument or PJDFSTEST)"
suite=$(cd "$suite" && pwd) || broken "no directory $suite"
[ -x "$suite/pjdfstest" ] || broken "$suite/pjdfstest is not built (autoreconf, configure, make)"
require_root
require_fuse
require_program prove openssl

make_fs a ext4 1G
make_fs b ext4 1G
expect 0 mirrorctl init "$WORK/a" "$WORK/b"
mount_volume -o allow_other "$WORK/mnt" "$WORK/a" "$WORK/b" || fail "mount: status $?"
# The suite becomes other users and has to reach the mount.
chmod 0755 "$WORK" "$WORK/mnt"

cd "$WORK/mnt" || broken "cd $WORK/mnt"
prove -r "$suite/tests" || fail "pjdfstest has failures"
cd / || broken "cd /"

umount_volume "$WORK/mnt"
tree_equal "$WORK/a" "$WORK/b" || fail "the mirrors differ after pjdfstest"
