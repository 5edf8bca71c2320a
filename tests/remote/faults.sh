#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A volume with a remote at our faulty server, WebDAV and S3: whatever goes wrong
# there, everything gets there in the end, the state says what it is, nothing is asked
# for over and over again, and lies are noticed. FAULT_MODES: webdav, s3.
# SCENES: some of those at the end.
# shellcheck source=tests/remote/lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
require_fuse
require_program curl perl getfattr

# shellcheck disable=SC2034 # for add_remote
SETTLE=2

begin() { # options of the server
	start_faulty "$@"
	new_volume
	random_files "$MNT/base" 10 3000
	add_remote "$MNT" far --scrub=1T || fail "remote add"
	wait_remote "$MNT" far
}

# A directory that is there already: else a rule may hit a PUT that is only tried.
ready() {
	mkdir "$MNT/$1"
	wait_remote "$MNT" far
}

end() {
	no_faults
	restored_equal "$MNT"
	end_volume
	end_faulty
}

# --- statuses ----------------------------------------------------------------

# one_status STATE STATUS [MORE]: as long as the server says that, the remote is in
# this state and names the status; then everything goes on.
one_status() {
	local state=$1 status=$2 more=${3:-} dir=status-$2 error next
	fault "status&status=$status&count=0&method=PUT&match=/$dir/$more"
	random_files "$MNT/$dir" 4 2000
	expect_remote "$MNT" far state "$state" 20
	error=$(status_of "$MNT" far error)
	[[ $error == *"HTTP $status"* ]] || fail "the error does not name $status: $error"
	if [ -n "$more" ]; then
		next=$(status_of "$MNT" far next_try)
		[ "${next:-0}" -ge 10 ] || fail "Retry-After: 40, and the next try is in ${next:-0} s"
	fi
	! mirrorctl wait --remote=far --timeout=0 "$MNT" 2>/dev/null ||
		fail "wait says that all is there, with $status"
	no_faults
	# By itself where waiting helps and does not take long; else somebody says that it is
	# mended.
	[ "$state$more" = waiting ] || mirrorctl remote release "$MNT" far || fail "release"
	wait_remote "$MNT" far 60
	stored_equal "$dir"
	is_status "$MNT" far state idle || expect_remote "$MNT" far state idle 5
}

scene_statuses() {
	local status
	for status in 401 403; do
		one_status auth "$status"
	done
	for status in 413 405 501 301; do
		one_status misconfigured "$status"
	done
	for status in 404 408 409 423 425 500 502 504 507; do
		one_status waiting "$status"
	done
	for status in 429 503; do
		one_status waiting "$status" "&retry_after=40"
	done
}

# That there was trouble is not what is said until the end of a long upload.
scene_flows() {
	fault "status&status=503&count=0&method=PUT&match=/flows/"
	random_files "$MNT/flows" 40 100000
	expect_remote "$MNT" far state waiting 20
	no_faults
	fault "slow-read&rate=100000&count=0&method=PUT&match=/flows/"
	wait_until 20 is_status "$MNT" far state uploading || fail "it does not go on"
	[ "$(status_of "$MNT" far files)" -gt 0 ] || fail "it was not said before all was there"
	no_faults
	wait_remote "$MNT" far
	stored_equal flows
}

# All kinds of trouble, one after another, wherever it hits.
scene_mixed() {
	local rule skip=0
	control zero
	for rule in status=408 status=409 status=423 status=425 status=429 status=500 status=502 \
		status=503 status=504 status=507; do
		fault "status&$rule&count=2&skip=$((skip += 12))&match=/$PREFIX/"
	done
	for rule in reset "reset&bytes=1000&method=PUT" reset-after close garbage "truncate&method=GET"; do
		fault "$rule&count=2&skip=$((skip = (skip + 17) % 100))&match=/$PREFIX/"
	done
	random_files "$MNT/mixed/" 60 5000
	random_file "$MNT/mixed/large" 3000000
	mkdir "$MNT/mixed/sub" && random_files "$MNT/mixed/sub" 10 100
	wait_remote "$MNT" far 120
	say "$(count_of faults) of $(count_of requests) requests went wrong"
	no_faults
	settle_remote "$MNT" far
	stored_equal mixed
}

# --- never a hot loop --------------------------------------------------------

# Some remotes, each with its own trouble that does not end.
scene_calm() {
	local name n faults=(
		"c401 status&status=401" "c413 status&status=413" "c503 status&status=503"
		"reset reset" "lose lose&method=PUT" "half half&method=PUT"
		"file status&status=503&method=PUT&match=/calm-file/calm"
	)
	for name in "${faults[@]}"; do
		n=${name%% *}
		mkdir -p "$STORED/calm-$n"
		mirrorctl remote add "$MNT" "$n" "$URL/calm-$n" --kind="$KIND" --settle=2 \
			--credentials="$WORK/credentials" || fail "add $n"
	done
	for name in "${faults[@]}"; do
		wait_remote "$MNT" "${name%% *}"
	done
	for name in "${faults[@]}"; do
		fault "${name#* }&match=/calm-${name%% *}/&count=0"
	done
	echo calm >"$MNT/calm"
	wait_until 20 count_above faults 30
	for name in "${faults[@]}"; do
		n=${name%% *}
		wait_until 20 is_trouble "$n" || fail "$n: state $(status_of "$MNT" "$n" state)"
	done
	n=$(requests_in 10)
	say "$n requests of ${#faults[@]} remotes in trouble within 10 s"
	[ "$n" -le $((${#faults[@]} * 20)) ] || fail "$n requests in 10 s"
	no_faults
	for name in "${faults[@]}"; do
		n=${name%% *}
		mirrorctl remote release "$MNT" "$n" || fail "release $n"
		wait_remote "$MNT" "$n"
		[ -e "$STORED/calm-$n/calm" ] || fail "$n: it is not there"
		mirrorctl remote remove "$MNT" "$n" || fail "remove $n"
	done
	rm -r "$STORED"/calm-*
}

is_trouble() {
	case $(status_of "$MNT" "$1" state) in
	waiting | auth | misconfigured) ;;
	*) return 1 ;;
	esac
}

# --- time --------------------------------------------------------------------

# Nobody here waits for a server that does not answer.
scene_hang() {
	local begun
	ready hang
	fault "hang&seconds=10&count=2&method=PUT&match=/hang/"
	fault "hang-after&seconds=10&count=1&skip=3&method=PUT&match=/hang/"
	fault "slow-read&rate=40000&count=2&skip=5&method=PUT&match=/hang/"
	random_files "$MNT/hang" 12 50000
	wait_until 20 count_above active 0 || fail "nothing is asked for"
	begun=${EPOCHREALTIME//[!0-9]/}
	random_files "$MNT/meanwhile" 50 100
	mirrorctl status "$MNT" >"$WORK/status"
	begun=$((${EPOCHREALTIME//[!0-9]/} - begun))
	[ "$begun" -lt 8000000 ] || fail "50 files took $begun us while the server hangs"
	wait_remote "$MNT" far 60
	stored_equal hang
	stored_equal meanwhile
}

# A scrub that the server holds up does not hold up what is to be sent.
scene_scrub() {
	fault "hang&method=GET&count=0&match=/base/"
	control zero
	remount_volume "$MNT" "$A" "$B"
	wait_until 20 count_above faults 0 || fail "the scrub does not begin"
	echo new >"$MNT/new"
	wait_until 20 cmp -s "$MNT/new" "$STORED/new" || fail "it waits for the scrub"
	no_faults
	remount_volume "$MNT" "$A" "$B"
	wait_remote "$MNT" far
}

# What the server sends is cut off, slow, too short, not HTTP: a restore comes through.
scene_reading() {
	random_files "$MNT/reading" 20 20000
	random_file "$MNT/reading/large" 5000000
	wait_remote "$MNT" far
	fault "truncate&method=GET&count=4&skip=2&match=/reading/"
	fault "short&method=GET&count=2&skip=5&match=/reading/"
	fault "slow&rate=300000&method=GET&count=3&skip=6&match=/reading/"
	fault "reset&method=GET&count=2&skip=8&match=/reading/"
	fault "status&status=503&method=GET&count=3&skip=9&match=/reading/"
	fault "hang&seconds=1&method=GET&count=2&skip=10&match=/reading/"
	fault "flip&method=GET&count=1&skip=12&match=/reading/"
	restored_equal "$MNT"
	no_faults
}

# A bit that is always wrong: said, and the file is not there; all others are.
scene_flip() {
	local status=0
	random_files "$MNT/flip" 5 9000
	random_file "$MNT/flip/large" 3000000
	wait_remote "$MNT" far
	fault "flip&method=GET&count=0&match=/flip/f3"
	fault "flip&method=GET&count=0&match=/flip/large"
	restore "$WORK/flipped" >"$WORK/restore.out" 2>&1 || status=$?
	no_faults
	[ "$status" -eq 1 ] || fail "restore of damaged objects: status $status"
	for name in flip/f3 flip/large; do
		grep -q "^$name: " "$WORK/restore.out" ||
			{ cat "$WORK/restore.out"; fail "the restore does not name $name"; }
		[ ! -e "$WORK/flipped/$name" ] || fail "$name: wrong content was restored"
	done
	for name in f1 f2 f4 f5; do
		cmp "$MNT/flip/$name" "$WORK/flipped/flip/$name" || fail "$name"
	done
	rm -rf "$WORK/flipped"
}

# --- lies --------------------------------------------------------------------

# "201 Created", and it is not so.
scene_lies() {
	ready lies
	fault "lose&method=PUT&count=3&match=/lies/"
	fault "half&method=PUT&count=3&skip=4&match=/lies/"
	fault "reset-after&method=PUT&count=2&skip=8&match=/lies/"
	random_files "$MNT/lies" 15 7000
	settle_remote "$MNT" far
	stored_equal lies
	no_faults
	# The same for what was there already. (Of the same size, only the scrub would see it.)
	fault "lose&method=PUT&count=2&match=/lies/"
	fault "half&method=PUT&count=2&skip=2&match=/lies/"
	random_files "$MNT/lies" 15 7100
	settle_remote "$MNT" far
	stored_equal lies
	no_faults
	restored_equal "$MNT"
}

# It was there, and after a while it is not.
scene_forgets() {
	local before
	before=$(status_of "$MNT" far mended)
	ready forgets
	fault "forget&seconds=1&method=PUT&count=4&match=/forgets/"
	random_files "$MNT/forgets" 6 3000
	wait_remote "$MNT" far
	wait_until 20 is_above "$MNT" far mended $((before + 3)) ||
		fail "4 objects vanished, $(status_of "$MNT" far mended) mended"
	settle_remote "$MNT" far
	stored_equal forgets
	no_faults
}

# Something of the size it should have: only the scrub sees it. A sweep begins with the
# mount.
scene_wrong() {
	local before
	ready wrong
	fault "wrong&method=PUT&count=2&match=/wrong/f"
	fault "wrong&method=PUT&count=1&match=/wrong/large"
	random_files "$MNT/wrong" 3 3000
	random_file "$MNT/wrong/large" 2000000
	settle_remote "$MNT" far
	no_faults
	remount_volume "$MNT" "$A" "$B"
	before=$(status_of "$MNT" far mended)
	wait_until 60 is_above "$MNT" far mended 2 ||
		fail "$((${before:-0})) to $(status_of "$MNT" far mended) of 3 wrong objects found"
	settle_remote "$MNT" far
	stored_equal wrong
}

# --- a server that writes in place -------------------------------------------

# Whatever is cut off: what has the name of the file is whole, the old or the new.
scene_in_place() {
	begin --in-place
	random_file "$MNT/large" 8000000
	wait_remote "$MNT" far
	cmp "$MNT/large" "$STORED/large" || fail "it was not stored"
	cp "$MNT/large" "$WORK/old"
	fault "reset&bytes=1000000&method=PUT&count=0"
	random_file "$MNT/large" 8000000
	expect_remote "$MNT" far state waiting 20
	cmp "$WORK/old" "$STORED/large" || fail "a torn object is the current one"
	mirrorctl cat "$URL" large --credentials="$WORK/credentials" |
		cmp - "$WORK/old" || fail "the remote does not have the old content"
	no_faults
	wait_remote "$MNT" far 60
	cmp "$MNT/large" "$STORED/large" || fail "the new one is not there"
	restored_equal "$MNT"
	end
}

modes() {
	local mode
	for mode in ${FAULT_MODES:-webdav s3}; do
		case $mode in
		webdav) begin ;;
		s3) begin --s3 ;;
		*) broken "no mode $mode" ;;
		esac
		say "$mode"
		run_scenes statuses flows mixed calm hang scrub reading flip lies forgets wrong
		end
	done
}

case ${SCENES:-} in
in_place) run_scenes ;;
*)
	modes
	[ -n "${SCENES:-}" ] || run_scenes in_place
	;;
esac
