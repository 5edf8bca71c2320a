#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Whether the crash tests would notice: each part of the crash protocol is left
# out in turn (mount option ablate=PART, compiled in only by configure
# --enable-ablations), and the cuts must show violations. The same load with
# the whole protocol, and half of the cuts, must show none.
#
#	CRASH_CUTS=30      cuts of each
#	CRASH_PARTS="barrier checkpoint verify seal commit"
#
# What leaf hashes break that are there before their data: the old bytes, whole
# on one mirror, have no hash any more, so a bit that rots in the other copy
# cannot be told from a write.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/crash/lib.sh
. "$top_srcdir/tests/crash/lib.sh" || broken "cannot be read"

require_root
require_fuse

SEED=${MIRRORFS_TEST_SEED:-$RANDOM}
PARTS=${CRASH_PARTS:-barrier checkpoint verify seal commit}
export MIRRORFS_TEST_SEED=$SEED CRASH_FS=${CRASH_FS:-ext4,ext4} CRASH_CUTS=${CRASH_CUTS:-30}
export CRASH_STOP=1 CRASH_LINES=2 CRASH_NESTED=0
say "MIRRORFS_TEST_SEED=$SEED"

# What makes each part matter: what is done to the volume, how, what is damaged,
# where the power is cut. The quotes keep the shells' checkers calm.
declare -A MIX=(
	[barrier]="overwrite=6,pause=8,rest=1"
	[checkpoint]="overwrite=16,multi=1,rest=3"
	[verify]="partial=20,overwrite=4,fsync=4"
	[seal]="create=6,rewrite=10,append=10,replace=6,rest=4"
	[commit]="overwrite=20,multi=6,fsync=20"
)
declare -A LOAD=(
	[barrier]="-f 6 -l 1 -i 0 -p 300"
	[checkpoint]="-t 1 -f 0 -l 2 -i 0 -c 0 -p 500"
	[verify]="-f 5 -l 0 -c 0 -i 0"
	[seal]="-c 50 -p 400"
)
declare -A OPS=([barrier]=200 [checkpoint]=60 [seal]=120)
declare -A FLIPS=([checkpoint]=100)
declare -A SPARED=([checkpoint]=1)
declare -A SURVIVE=([checkpoint]=55-90)
declare -A MODE=([checkpoint]=pause)
declare -A LIVE_FLIPS=([verify]=40)
declare -A STALES=([commit]=100)

# cuts_of PART ABLATE: the exit status of content.sh.
cuts_of() {
	local part=$1 opt=${2:+,ablate=$2}
	CRASH_MIX=${MIX[$part]} CRASH_LOAD=${LOAD[$part]:-} CRASH_OPS=${OPS[$part]:-200} \
		CRASH_FLIPS=${FLIPS[$part]:-0} CRASH_SPARED=${SPARED[$part]:-0} \
		CRASH_MODE=${MODE[$part]:-random} CRASH_SURVIVE=${SURVIVE[$part]:-0-100} \
		CRASH_LIVE_FLIPS=${LIVE_FLIPS[$part]:-0} CRASH_STALES=${STALES[$part]:-0} \
		CRASH_LIVE_OPTS=seal_ms=200$opt CRASH_OPTS=${opt#,} \
		bash "$top_srcdir/tests/crash/content.sh" >"$WORK/out" 2>&1
}

probe() {
	mkdir "$WORK/a" "$WORK/b" "$WORK/mnt" || broken "mkdir"
	mirrorctl init "$WORK/a" "$WORK/b" >/dev/null 2>&1 || fail "init"
	if mount_volume -o ablate=barrier "$WORK/mnt" "$WORK/a" "$WORK/b" 2>"$WORK/probe"; then
		umount_volume "$WORK/mnt"
		return
	fi
	! grep -q "unknown mount option" "$WORK/probe" || skip "needs configure --enable-ablations"
	fail "$(cat "$WORK/probe")"
}

one_part() {
	local status=0
	CRASH_CUTS=$((CRASH_CUTS / 2)) cuts_of "$1" "" || status=$?
	[ "$status" -eq 0 ] || wrong "$1: with the whole protocol status $status: $(tail -n 6 "$WORK/out")"
	status=0
	cuts_of "$1" "$1" || status=$?
	grep '^content: violations' "$WORK/out"
	[ "$status" -eq 1 ] && grep -q '^VIOLATION' "$WORK/out" ||
		wrong "$1: left out, and nobody notices (status $status): $(tail -n 3 "$WORK/out")"
	say "without $1: $(grep -c '^VIOLATION' "$WORK/out") shown, e.g. $(grep -m 1 '^VIOLATION' "$WORK/out")"
}

probe
for part in $PARTS; do
	one_part "$part"
done
[ "$VIOLATIONS" -eq 0 ] || fail "$VIOLATIONS parts"
