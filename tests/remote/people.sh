#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A volume with a remote, and people: wrong passwords, certificates, URLs and settings; the
# brake; pause, wait, remove, adopt; mirrors emptied by hand. Secrets show nowhere.
# SCENES: some of those at the end.
# shellcheck source=tests/remote/lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
require_fuse
require_program curl perl getfattr openssl base64

# refused PATTERN COMMAND...: status 1, and the last line on stderr says why.
refused() {
	local pattern=$1 status=0
	shift
	"$@" >"$WORK/out" 2>"$WORK/err" || status=$?
	[ "$status" -eq 1 ] || { cat "$WORK/out" "$WORK/err"; fail "status $status, not 1: $*"; }
	grep -qiE "$pattern" "$WORK/err" || { cat "$WORK/err"; fail "it does not say \"$pattern\""; }
	[ "$(wc -l <"$WORK/err")" -eq 1 ] || { cat "$WORK/err"; fail "more than one line"; }
}

# no_remote: the volume has none, also after another mount.
no_remote() {
	[ "$(mirrorctl remote list --json "$MNT" | grep -c '"id"')" -eq 0 ] ||
		fail "what was refused is there"
}

expect_error() { # PATTERN
	local error
	error=$(status_of "$MNT" far error)
	[[ $error =~ $1 ]] || fail "the last error is \"$error\", nothing of \"$1\""
}

# --- credentials and certificates --------------------------------------------

scene_password() {
	start_server nginx
	new_volume
	write_credentials "$WORK/credentials" tester wrong
	refused 'HTTP 401.*credentials' add_remote "$MNT" far
	write_credentials "$WORK/credentials" "$USER" "$PASSWORD"
	chmod 0644 "$WORK/credentials"
	refused '0644.*0600' add_remote "$MNT" far
	chmod 0600 "$WORK/credentials"
	printf 'user = tester\npasword = x\n' >"$WORK/credentials"
	refused 'credentials file' add_remote "$MNT" far
	rm "$WORK/credentials"
	refused 'credentials.*No such file' add_remote "$MNT" far
	no_remote
	write_credentials "$WORK/credentials" "$USER" "$PASSWORD"
	add_remote "$MNT" far >"$WORK/out" || fail "remote add"
	wait_remote "$MNT" far

	# The password is changed at the server: nginx reads the file each time.
	printf 'tester:%s\n' "$(openssl passwd -apr1 'another one')" >"$SERVER_DIR/state/passwords"
	echo 1 >"$MNT/one"
	expect_remote "$MNT" far state auth
	expect_error 'HTTP 401'
	refused 'auth.*401' mirrorctl wait --remote=far --timeout=60 "$MNT"
	# By itself, when the file changes.
	write_credentials "$WORK/credentials" "$USER" 'another one'
	expect_remote "$MNT" far state idle 20
	wait_remote "$MNT" far
	cmp "$MNT/one" "$SERVER_DIR/files/one" || fail "it did not go on"

	# The file has gone when the volume is mounted; everything here works.
	umount_volume "$MNT"
	mv "$WORK/credentials" "$WORK/elsewhere"
	mount_volume "$MNT" "$A" "$B" || fail "mount without credentials"
	echo 2 >"$MNT/two" || fail "write without credentials"
	expect_remote "$MNT" far state auth
	expect_error 'credentials.*No such file'
	mv "$WORK/elsewhere" "$WORK/credentials"
	wait_until 20 test -e "$SERVER_DIR/files/two" || fail "it does not go on"
	# The server refuses, and somebody mends it there: only release can know.
	: >"$SERVER_DIR/state/passwords"
	echo 3 >"$MNT/three"
	expect_remote "$MNT" far state auth
	printf 'tester:%s\n' "$(openssl passwd -apr1 'another one')" >"$SERVER_DIR/state/passwords"
	mirrorctl remote release "$MNT" far || fail "release"
	wait_until 20 test -e "$SERVER_DIR/files/three" || fail "release does not help"
	PASSWORD='another one'
	write_credentials "$WORK/credentials" "$USER" "$PASSWORD"
	wait_remote "$MNT" far
	restored_equal "$MNT"
	end_volume
	stop_server
}

other_ca() { # FILE
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 10 \
		-subj "/CN=another CA" -keyout "$WORK/other.key" -out "$1" 2>"$WORK/openssl.out" ||
		broken "openssl"
}

scene_certificate() {
	local good
	start_server nginx
	new_volume
	good=$CA CA=$WORK/used.pem
	other_ca "$CA"
	refused 'certificate' add_remote "$MNT" far
	echo "no certificate at all" >"$CA"
	refused 'certificate|CA' add_remote "$MNT" far
	rm "$CA"
	refused 'No such file' add_remote "$MNT" far
	CA='' refused 'certificate' mirrorctl remote add "$MNT" far "$TLS_URL" \
		--credentials="$WORK/credentials"
	no_remote
	cp "$good" "$CA"
	add_remote "$MNT" far || fail "remote add"
	wait_remote "$MNT" far
	other_ca "$CA"
	remount_volume "$MNT" "$A" "$B"
	echo 1 >"$MNT/one"
	expect_remote "$MNT" far state auth
	expect_error certificate
	cp "$good" "$CA"
	wait_until 20 test -e "$SERVER_DIR/files/one" || fail "the right CA does not help"
	wait_remote "$MNT" far
	CA=$good
	end_volume
	stop_server
}

scene_skew() {
	start_faulty --s3
	new_volume
	fault "skew&seconds=7200&count=0"
	# A server that minds: once, then our requests have its time.
	fault "status&status=403&count=1&text=<Error><Code>RequestTimeTooSkewed</Code></Error>"
	add_remote "$MNT" far >"$WORK/out" 2>&1 || { cat "$WORK/out"; fail "remote add"; }
	grep -q "clock is 7[12][0-9]* s ahead" "$WORK/out" || { cat "$WORK/out"; fail "no word of it"; }
	echo 1 >"$MNT/one"
	wait_remote "$MNT" far
	no_faults
	fault "skew&seconds=-7200&count=0"
	fault "status&status=403&method=PUT&count=0&text=<Error><Code>RequestTimeTooSkewed</Code></Error>"
	echo 2 >"$MNT/two"
	expect_remote "$MNT" far state auth
	expect_error clock
	no_faults
	mirrorctl remote release "$MNT" far
	wait_remote "$MNT" far
	restored_equal "$MNT"
	end_volume
	end_faulty
}

# --- what is no store --------------------------------------------------------

scene_wrong_servers() {
	new_volume
	# It serves files, and has no WebDAV.
	NGINX_METHODS=off NGINX_EXT='' start_server nginx
	refused 'dav_methods' add_remote "$MNT" far
	stop_server
	SERVER_BODY_MAX=1048576 start_server nginx
	refused 'client_max_body_size' add_remote "$MNT" far
	# Something that is not ours is there already.
	stop_server
	start_server nginx
	mkdir "$SERVER_DIR/files/.mirrorfs" && echo "something else" >"$SERVER_DIR/files/.mirrorfs/format"
	refused 'something else|not .*mirrorfs|format' add_remote "$MNT" far
	rm -r "$SERVER_DIR/files/.mirrorfs"
	stop_server
	refused 'refused|connect' add_remote "$MNT" far
	start_faulty --s3
	refused 'bucket' mirrorctl remote add "$MNT" far "$FAULTY_AT/none/at/all" \
		--credentials="$WORK/credentials" --kind=s3
	end_faulty
	start_faulty
	fault "garbage&count=0"
	refused 'far|http' add_remote "$MNT" far
	no_faults
	fault "redirect&count=0&location=http://127.0.0.1:1/"
	refused 'redirect' add_remote "$MNT" far
	no_faults
	expect 2 mirrorctl remote add "$MNT" far "ftp://127.0.0.1/" 2>"$WORK/err"
	expect 2 mirrorctl remote add "$MNT" far "http://tester:Hugo77@127.0.0.1/" 2>"$WORK/err"
	! grep -q Hugo77 "$WORK/err" || fail "the password of a URL is repeated"
	no_remote
	end_volume
	end_faulty
}

# --- the brake ---------------------------------------------------------------

# count_stored DIR
count_stored() {
	find "$STORED/$1" -type f 2>/dev/null | wc -l
}

begin() {
	start_faulty
	new_volume
	random_files "$MNT/d" 300 500
	add_remote "$MNT" far "$@" || fail "remote add"
	wait_remote "$MNT" far
}

end() {
	wait_remote "$MNT" far
	restored_equal "$MNT"
	end_volume
	end_faulty
}

# Held, new files go on, over another mount too, until it is released.
held_and_released() { # CHANGES, at least
	expect_remote "$MNT" far state held
	wait_until 60 is_above "$MNT" far held_changes $(($1 - 1)) ||
		fail "held changes: $(status_of "$MNT" far held_changes), not $1"
	mirrorctl status "$MNT" | grep -q 'remote release' || fail "the status does not say what to do"
	refused held mirrorctl wait --remote=far --timeout=30 "$MNT"
	echo 1 >"$MNT/new"
	wait_until 30 cmp -s "$MNT/new" "$STORED/new" || fail "new files do not go on"
	mkdir "$MNT/newdir" && echo 2 >"$MNT/newdir/x"
	wait_until 30 cmp -s "$MNT/newdir/x" "$STORED/newdir/x" || fail "new directories do not go on"
	remount_volume "$MNT" "$A" "$B"
	echo 3 >"$MNT/newer"
	wait_until 30 cmp -s "$MNT/newer" "$STORED/newer" || fail "new files, after a remount"
	expect_remote "$MNT" far state held
	is_status "$MNT" far deleted 0 || fail "$(status_of "$MNT" far deleted) were deleted"
}

scene_brake_delete() {
	begin
	rm -r "$MNT/d"
	held_and_released 300
	[ "$(count_stored d)" -eq 300 ] || fail "$(count_stored d) of 300 are left"
	mirrorctl remote release "$MNT" far || fail "release"
	wait_remote "$MNT" far
	[ "$(count_stored d)" -eq 0 ] || fail "$(count_stored d) are left after the release"
	end
}

# Some at a time, within the hour.
scene_brake_slowly() {
	local i
	begin
	for i in 1 2 3 4 5 6; do
		rm "$MNT/d/f$i"[0-9]
		mirrorctl wait --remote=far --timeout=20 "$MNT" 2>/dev/null || break
	done
	for i in 1 2; do
		rm "$MNT/d/f$i"[0-9][0-9]
		mirrorctl wait --remote=far --timeout=20 "$MNT" 2>/dev/null || break
	done
	expect_remote "$MNT" far state held
	i=$(count_stored d)
	[ "$i" -ge 180 ] || fail "only $i of 300 are left"
	mirrorctl remote release "$MNT" far || fail "release"
	end
}

# scene_brake_overwrite, _encrypt, _encrypt_new: as extortionists do. All of it is seen at
# once, or some would pass before there are too many.
at_once() {
	mirrorctl remote pause "$MNT" far || fail "pause"
	expect_remote "$MNT" far state paused
	"$@"
	mirrorctl remote resume "$MNT" far || fail "resume"
}

scene_brake_overwrite() {
	begin
	cp -r "$MNT/d" "$WORK/d"
	at_once random_files "$MNT/d" 300 500
	held_and_released 250
	diff -rq "$WORK/d" "$STORED/d" >"$WORK/diff" || fail "$(wc -l <"$WORK/diff") were overwritten"
	rm -r "$WORK/d"
	mirrorctl remote release "$MNT" far || fail "release"
	end
}

# Overwritten and renamed.
encrypt() {
	local i
	random_files "$MNT/d" 300 500
	for i in "$MNT"/d/*; do
		mv "$i" "$i.locked"
	done
}

scene_brake_encrypt() {
	begin
	cp -r "$MNT/d" "$WORK/d"
	at_once encrypt
	held_and_released 250
	diff -rq "$WORK/d" "$STORED/d" | grep -v "^Only in $STORED" >"$WORK/diff"
	[ ! -s "$WORK/diff" ] || fail "$(wc -l <"$WORK/diff") were lost"
	rm -r "$WORK/d"
	mirrorctl remote release "$MNT" far || fail "release"
	end
}

# Written anew, and the old ones removed.
encrypt_new() {
	local i
	for i in "$MNT"/d/*; do
		tr "\000-\377" "\001-\377\000" <"$i" >"$i.locked" && rm "$i"
	done
}

scene_brake_encrypt_new() {
	begin
	at_once encrypt_new
	held_and_released 250
	[ "$(find "$STORED/d" -name 'f*[0-9]' | wc -l)" -eq 300 ] || fail "they were deleted"
	mirrorctl remote release "$MNT" far || fail "release"
	end
}

# A renamed directory destroys nothing; nor does what one may, or who does not want it.
scene_brake_not() {
	begin
	mv "$MNT/d" "$MNT/e"
	wait_remote "$MNT" far
	rm "$MNT"/e/f1?
	wait_remote "$MNT" far
	is_status "$MNT" far deleted 10 || fail "deleted: $(status_of "$MNT" far deleted), not 10"
	mirrorctl remote remove "$MNT" far || fail "remove"
	add_remote "$MNT" far --adopt --brake=off || fail "add again"
	wait_remote "$MNT" far
	rm -r "$MNT/e"
	wait_remote "$MNT" far
	[ ! -e "$STORED/e" ] || fail "not deleted with --brake=off"
	end
}

# --- pause, wait -------------------------------------------------------------

scene_pause() {
	local puts
	begin
	mirrorctl remote pause "$MNT" far || fail "pause"
	expect_remote "$MNT" far state paused
	control zero
	echo 1 >"$MNT/one"
	refused paused mirrorctl wait --remote=far --timeout=30 "$MNT"
	remount_volume "$MNT" "$A" "$B"
	expect_remote "$MNT" far state paused
	puts=$(requests_in 3)
	[ "$puts" -eq 0 ] || fail "$puts requests while paused"
	mirrorctl remote resume "$MNT" far || fail "resume"
	wait_remote "$MNT" far
	cmp "$MNT/one" "$STORED/one" || fail "it is not there after a resume"

	# In mid-upload.
	fault "hang&count=0&method=PUT&match=/slow"
	random_file "$MNT/slow" 5000000
	wait_until 20 count_above active 0 || fail "it does not begin"
	mirrorctl remote pause "$MNT" far || fail "pause"
	expect_remote "$MNT" far state paused 10
	wait_until 10 is_quiet || fail "the upload goes on"
	no_faults
	mirrorctl remote resume "$MNT" || fail "resume all"
	end
}

is_quiet() {
	[ "$(count_of active)" -eq 0 ]
}

scene_wait() {
	local begun
	begin
	mkdir "$MNT/good" "$MNT/bad"
	wait_remote "$MNT" far
	fault "status&status=503&count=0&match=/bad/"
	echo 1 >"$MNT/bad/file"
	begun=$SECONDS
	refused 'in time' mirrorctl wait --remote=far --timeout=2 "$MNT"
	[ $((SECONDS - begun)) -le 12 ] || fail "the time-out of 2 s took $((SECONDS - begun)) s"
	refused 'in time' mirrorctl wait --remote=far --timeout=1 "$MNT/bad"
	mirrorctl wait --remote=far --timeout=5 "$MNT/good" || fail "nothing of it is to be sent"
	refused 'no remote' mirrorctl wait --remote=near "$MNT"
	expect 2 mirrorctl wait "$MNT" 2>/dev/null
	no_faults
	mirrorctl wait --remote=far --timeout=30 "$MNT/bad" || fail "wait for a path"
	cmp "$MNT/bad/file" "$STORED/bad/file" || fail "wait came back too early"
	echo 2 >"$MNT/bad/file"
	mirrorctl wait --remote=far --timeout=30 "$MNT/bad/file" || fail "wait for a file"
	cmp "$MNT/bad/file" "$STORED/bad/file" || fail "wait came back too early for a file"
	end
}

# --- end points --------------------------------------------------------------

# Two ways to one store; the first dies, comes back, both are dead, the second comes back.
scene_endpoints() {
	local first first_pid used
	start_faulty
	first=$URL first_pid=$FAULTY_PID
	new_volume
	start_faulty
	mirrorctl remote add "$MNT" far "$first" "$URL" --settle=2 \
		--credentials="$WORK/credentials" || fail "remote add"
	random_files "$MNT/one" 20 1000
	wait_remote "$MNT" far
	is_status "$MNT" far url "$first" || fail "not the first end point is used"
	kill -TERM "$first_pid"
	wait "$first_pid"
	random_files "$MNT/two" 20 1000
	wait_remote "$MNT" far 30
	used=$(status_of "$MNT" far url)
	[ "$used" = "$URL" ] || fail "$used is used, not $URL"
	restored_equal "$MNT"
	remount_volume "$MNT" "$A" "$B"
	random_files "$MNT/three" 20 1000
	wait_remote "$MNT" far 30
	stored_equal three
	mirrorctl remote remove "$MNT" far || fail "remove"
	rm -rf "${STORED:?}"
	mkdir "$STORED"
	# The first is dead from the beginning.
	mirrorctl remote add "$MNT" far "$first" "$URL" --settle=2 \
		--credentials="$WORK/credentials" || fail "remote add with the first one dead"
	end
}

# --- whose place it is -------------------------------------------------------

scene_whose() {
	local sent
	begin
	refused 'already' add_remote "$MNT" far
	refused 'been there before.*--adopt' add_remote "$MNT" near
	volume_at "$WORK/mnt2" "$WORK/c" "$WORK/d"
	refused 'another volume|volume' add_remote "$WORK/mnt2" far
	refused 'another volume|volume' add_remote "$WORK/mnt2" far --adopt
	umount_volume "$WORK/mnt2"
	rm -rf "$WORK/c" "$WORK/d"

	# Removing it here leaves it as it is there.
	(cd "$STORED" && find . | sort) >"$WORK/before"
	mirrorctl remote remove "$MNT" far || fail "remove"
	no_remote
	(cd "$STORED" && find . | sort) | cmp -s - "$WORK/before" || fail "the remote has changed"
	rm -r "$MNT/d"
	random_files "$MNT/e" 20 1000
	[ "$(count_stored d)" -eq 300 ] || fail "removed, and it deletes"
	[ ! -e "$STORED/e" ] || fail "removed, and it sends"
	remount_volume "$MNT" "$A" "$B"
	no_remote
	[ -z "$(find "$A/.mirrorfs/remote" "$B/.mirrorfs/remote" -mindepth 1 2>/dev/null)" ] ||
		fail "something of it is left on the mirrors"
	mkdir "$MNT/d"
	control zero
	add_remote "$MNT" far --adopt --brake=off || fail "adopt"
	wait_remote "$MNT" far
	[ "$(count_stored d)" -eq 0 ] || fail "adopted, and $(count_stored d) of 300 are left"

	# Taken up again with nothing changed: nothing is sent.
	random_files "$MNT/f" 20 100000
	wait_remote "$MNT" far
	mirrorctl remote remove "$MNT" far || fail "remove"
	control zero
	add_remote "$MNT" far --adopt || fail "adopt"
	wait_remote "$MNT" far
	is_status "$MNT" far sent_files 0 || fail "sent again: $(status_of "$MNT" far sent_files)"
	sent=$(count_of bytes_in)
	# The attach probe sends a large body; so much is not ours.
	say "adopted with $sent bytes"
	end
}

# A restored copy of the volume takes the remote up, and the first one still lives: the
# one that comes second notices, stops, and destroys nothing.
scene_conflict() {
	local other=$WORK/mnt-other
	begin
	restore "$WORK/r" >"$WORK/out" || fail "restore"
	mount_volume "$other" "$WORK/r" || fail "mount of the restored one"
	add_remote "$other" far --adopt >"$WORK/out" || fail "adopt"
	random_files "$other/theirs" 5 100
	wait_remote "$other" far
	random_files "$MNT/ours" 5 100
	rm "$MNT"/d/f1?
	expect_remote "$MNT" far state conflict
	expect_error 'somebody else writes'
	refused conflict mirrorctl wait --remote=far --timeout=30 "$MNT"
	remount_volume "$MNT" "$A" "$B"
	expect_remote "$MNT" far state conflict
	[ ! -e "$STORED/ours" ] || fail "it wrote there"
	random_files "$other/more" 5 100
	wait_remote "$other" far
	[ "$(count_stored d)" -eq 300 ] || fail "$(count_stored d) of 300 are left"
	umount_volume "$MNT"
	restored_equal "$other"
	umount_volume "$other"
	rm -rf "$A" "$B" "$WORK/r"
	end_faulty
}

# --- mirrors that are empty --------------------------------------------------

# intact WHAT: 300 files are at the remote, and nothing was deleted.
intact() {
	echo "$1" >"$MNT/word" || fail "$1: cannot write"
	wait_until 30 cmp -s "$MNT/word" "$STORED/word" || {
		mirrorctl status "$MNT"
		fail "$1: new files do not go on"
	}
	[ "$(count_stored d)" -eq 300 ] || fail "$1: $(count_stored d) of 300 are left"
	is_status "$MNT" far deleted 0 || fail "$1: $(status_of "$MNT" far deleted) deleted"
}

empty_by_hand() { # MIRROR
	find "$1" -mindepth 1 -maxdepth 1 ! -name .mirrorfs -exec rm -r {} +
}

scene_empty() {
	begin --brake=off
	umount_volume "$MNT"
	empty_by_hand "$A"
	mount_volume "$MNT" "$A" "$B" || fail "mount"
	intact "one mirror emptied"
	umount_volume "$MNT"

	rm -rf "$B"
	mkdir "$B"
	if mount_volume -o degraded "$MNT" "$A" "$B" 2>"$WORK/err"; then
		intact "one mirror is an empty directory"
		umount_volume "$MNT"
	fi
	if mount_volume -o degraded "$MNT" "$A" 2>"$WORK/err"; then
		intact "one mirror is missing"
		umount_volume "$MNT"
	fi

	rm -rf "$A" "$B"
	end_faulty
}

# Everything is gone here. That is not what anybody did through the mount.
scene_all_empty() {
	begin --brake=off
	umount_volume "$MNT"
	empty_by_hand "$A"
	empty_by_hand "$B"
	mount_volume "$MNT" "$A" "$B" || fail "mount"
	ls -R "$MNT" >"$WORK/ls" 2>&1
	intact "both mirrors emptied"
	mirrorctl scrub "$MNT" >"$WORK/scrub.out" 2>&1
	intact "both mirrors emptied, and scrubbed"
	end_volume
	end_faulty
}

scene_read_only() {
	local n
	begin
	echo 1 >"$MNT/late"
	umount_volume "$MNT"
	mount_volume -o ro "$MNT" "$A" "$B" || fail "mount read-only"
	expect_remote "$MNT" far state stopped
	refused 'read-only' add_remote "$MNT" near
	refused 'stopped' mirrorctl wait --remote=far --timeout=10 "$MNT"
	n=$(requests_in 2)
	[ "$n" -eq 0 ] || fail "$n requests of a read-only mount"
	remount_volume "$MNT" "$A" "$B"
	wait_remote "$MNT" far
	cmp "$MNT/late" "$STORED/late" || fail "what was written before is not there"
	end
}

# --- secrets -----------------------------------------------------------------

# None of the ways in which a secret may be written is in the files.
no_secret() { # WHAT FILE...
	local what=$1 form
	shift
	for form in "$SECRET" "$(printf %s "$SECRET" | base64)" "$(printf %s "$SECRET" | xxd -p)" \
		"$(printf 'tester:%s' "$SECRET" | base64)"; do
		! grep -r -a -l -F -e "$form" "$@" 2>/dev/null || fail "the secret is in $what"
	done
}

show_all() {
	local dir
	for dir in "/proc/$1" /proc/[0-9]*; do
		tr '\0' '\n' <"$dir/cmdline"
	done >"$WORK/shown-ps" 2>/dev/null
	tr '\0' '\n' <"/proc/$1/environ" >"$WORK/shown-environ" 2>/dev/null
	{
		mirrorctl status "$MNT"
		mirrorctl status --json "$MNT"
		mirrorctl remote list "$MNT"
		mirrorctl remote list --json "$MNT"
		mirrorctl remote probe "$MNT"
	} >"$WORK/shown-words" 2>&1
}

# secrets_of KIND OPTION...: of the server.
secrets_of() {
	local pid
	SECRET='Zw1schen+den:Zeilen/7'
	start_faulty "$@"
	write_credentials "$WORK/credentials" tester "$SECRET"
	mkdir -p "$A" "$B" "$MNT"
	mirrorctl init "$A" "$B" >"$WORK/init.out" || fail "init"
	mirrorfs -d "$(source_of "$A" "$B")" "$MNT" >"$WORK/shown-log" 2>&1 &
	pid=$!
	DAEMONS+=("$pid")
	wait_until 10 is_mounted "$MNT" || fail "mount"
	MOUNTS+=("$MNT")
	add_remote "$MNT" far >"$WORK/shown-add" 2>&1 || { cat "$WORK/shown-add"; fail "remote add"; }
	random_files "$MNT/d" 10 1000
	wait_remote "$MNT" far
	show_all "$pid"
	# A server that says it aloud.
	for form in "$SECRET" "$(printf 'tester:%s' "$SECRET" | base64)"; do
		fault "status&status=401&count=0&match=/d/&text=$(printf 'you said %s, no' "$form" |
			perl -pe 's/([^A-Za-z0-9])/sprintf("%%%02X", ord $1)/ge')"
	done
	echo 1 >"$MNT/d/more"
	expect_remote "$MNT" far state auth
	no_secret "what was said" "$WORK"/shown-*
	show_all "$pid"
	no_faults
	mirrorctl restore "$URL" "$WORK/r" --kind="$KIND" --credentials="$WORK/credentials" \
		>"$WORK/shown-restore" 2>&1
	no_secret "what is shown" "$WORK"/shown-*
	umount_volume "$MNT"
	no_secret "a mirror" "$A" "$B" "$WORK/r"
	[ "$KIND" = webdav ] || no_secret "what the server has" "$STORED"
	rm -rf "$A" "$B" "$WORK/r" "$WORK"/shown-*
	end_faulty
}

scene_secrets() {
	require_program xxd
	secrets_of
	secrets_of --s3
}

run_scenes password certificate skew wrong_servers brake_delete brake_slowly brake_overwrite \
	brake_encrypt brake_encrypt_new brake_not pause wait endpoints whose conflict empty all_empty \
	read_only secrets
