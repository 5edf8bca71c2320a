#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# mirrorctl from the outside: usage mistakes, messages, exit statuses, the
# manual's tables, the completion; then, where FUSE is to be had, on a mount.
# Of remotes only what needs no server; tests/remote/ has the rest.
. "$(dirname "$0")/lib.sh"

[ -x "$top_builddir/mirrorctl" ] || broken "mirrorctl is not built in $top_builddir"

COMMANDS=(init status scrub repair "remote add" "remote remove" "remote probe" "remote list"
	"remote pause" "remote resume" "remote release" wait restore ls cat)
SECRET=Kuckucksuhr # stands in credentials and URLs, and nowhere in any output

# says STATUS PATTERN COMMAND...: the command ends with this status and prints
# exactly one line, on stderr, that matches the extended regular expression.
says() {
	local want=$1 pattern=$2 got=0
	shift 2
	"$@" >"$WORK/out" 2>"$WORK/err" || got=$?
	[ "$got" -eq "$want" ] || fail "status $got instead of $want: $* ($(cat "$WORK/err"))"
	[ ! -s "$WORK/out" ] || fail "something on stdout: $*: $(cat "$WORK/out")"
	[ "$(wc -l <"$WORK/err")" -eq 1 ] || fail "not one line: $*: $(cat "$WORK/err")"
	grep -qE -- "$pattern" "$WORK/err" || fail "no '$pattern' for $*: $(cat "$WORK/err")"
}

# prints PATTERN COMMAND...: status 0, nothing on stderr, a line that matches.
prints() {
	local pattern=$1
	shift
	"$@" >"$WORK/out" 2>"$WORK/err" || fail "status $?: $*: $(cat "$WORK/err")"
	[ ! -s "$WORK/err" ] || fail "something on stderr: $*: $(cat "$WORK/err")"
	grep -qE -- "$pattern" "$WORK/out" || fail "no '$pattern' for $*: $(cat "$WORK/out")"
}

# json_get FILE KEY...: the value there; objects and arrays as JSON.
json_get() {
	perl -MJSON::PP -e '
		open(my $f, "<", shift) or die;
		my $value = JSON::PP->new->utf8->allow_nonref->decode(join("", <$f>));
		for (@ARGV) { $value = ref($value) eq "ARRAY" ? $value->[$_] : $value->{$_} }
		$value = encode_json($value) if ref($value) =~ /^(ARRAY|HASH)$/;
		print $value // "null", "\n"' "$@"
}

# --- usage -------------------------------------------------------------------

usage_of_the_program() {
	says 2 'no command given \(see mirrorctl --help\)' mirrorctl
	says 2 "no command 'scrubb'" mirrorctl scrubb
	says 2 "no command '-x'" mirrorctl -x
	says 2 "no command ''" mirrorctl ''
	prints '^Usage: mirrorctl ' mirrorctl --help
	prints '^Usage: mirrorctl ' mirrorctl -h
	prints '^mirrorctl [0-9]' mirrorctl -V
	prints '^mirrorctl [0-9]' mirrorctl --version
	local command words
	for command in "${COMMANDS[@]}"; do
		read -ra words <<<"$command"
		prints "^Usage: mirrorctl $command( |\$)" mirrorctl "${words[@]}" --help
		prints "^Usage: mirrorctl $command( |\$)" mirrorctl "${words[@]}" -h
	done
	prints '^  remote release MNT NAME$' mirrorctl remote --help
	! grep -q 'scrub \[' "$WORK/out" || fail "remote --help tells of all commands"
	says 2 'remote: no command given \(see mirrorctl remote --help\)' mirrorctl remote
	says 2 "no command 'remote ad'" mirrorctl remote ad x
	says 2 "no command 'remot'" mirrorctl remot add x
}

usage_of_commands() {
	local dir=$WORK/plain
	mkdir -p "$dir"
	says 2 'init: no directories given \(see mirrorctl init --help\)' mirrorctl init
	says 2 'one directory is no mirror' mirrorctl init "$dir"
	says 2 '17 directories given, at most 16' mirrorctl init 1 2 3 4 5 6 7 8 9 a b c d e f g h
	says 2 "init: unknown option '-v'" mirrorctl init -v a b
	says 2 "unknown option '--jsonx'" mirrorctl status --jsonx /
	says 2 "option '--json' takes no value" mirrorctl status --json=yes /
	says 2 'status: no mount point given' mirrorctl status
	says 2 'one mount point at a time' mirrorctl status / /
	says 2 "unknown option '-n'" mirrorctl status -n /
	says 16 'scrub: no mount point given' mirrorctl scrub
	says 16 'too many arguments' mirrorctl scrub / a b
	says 16 "unknown option '-i'" mirrorctl scrub -i /
	says 16 '--progress is auto, always or never, not .sometimes.' \
		mirrorctl scrub --progress=sometimes /
	says 16 "option '--progress' needs a value" mirrorctl scrub --progress
	says 16 'repair: no mirror directories given' mirrorctl repair
	says 16 "unknown option '--adopt'" mirrorctl repair --adopt "$dir"
	says 16 "$dir: not a mirror of a volume" mirrorctl repair "$dir"
	says 16 "$dir: not a mirror of a volume" mirrorctl repair x "$dir"
}

usage_of_remote_commands() {
	local url=http://127.0.0.1:1/x name=12345678901234567890123456789012
	local add=(mirrorctl remote add "$WORK") verb
	says 2 'remote add: no mount point given' mirrorctl remote add
	says 2 'no name for the remote given' "${add[@]}"
	says 2 'no URL given' "${add[@]}" home
	says 2 'name: is empty' "${add[@]}" '' "$url"
	says 2 'name: only letters' "${add[@]}" 'a b' "$url"
	says 2 'name: longer than 32' "${add[@]}" "${name}3" "$url"
	says 2 "name: must not begin with '\.'" "${add[@]}" .home "$url"
	says 2 'url: must begin with http' "${add[@]}" home ftp://127.0.0.1/x
	says 2 'url 2: is the same as url 1' "${add[@]}" home "$url" "$url"
	says 2 '9 URLs given, a remote has at most 8' "${add[@]}" home 1 2 3 4 5 6 7 8 9
	says 2 "--kind is webdav or s3, not 'smb'" "${add[@]}" home "$url" --kind=smb
	says 2 'connections: from 1 to 8, not 9' "${add[@]}" home "$url" --connections=9
	says 2 "--connections is a whole number, not 'x'" "${add[@]}" home "$url" --connections=x
	says 2 "--settle is a whole number, not '-1'" "${add[@]}" home "$url" --settle=-1
	says 2 "--brake is a percentage.*, or off, not '101'" "${add[@]}" home "$url" --brake=101
	says 2 "--scrub is .*or off, not '1X'" "${add[@]}" home "$url" --scrub=1X
	says 2 "--up-limit is a number of bytes.*, not 'off'" "${add[@]}" home "$url" \
		--up-limit=off
	says 2 'up-limit: at least 1024' "${add[@]}" home "$url" --up-limit=5
	says 2 'region: is for --kind=s3' "${add[@]}" home "$url" --region=x
	says 2 'S3 needs a bucket' "${add[@]}" home http://127.0.0.1 --kind=s3 --credentials=x
	says 2 'S3 needs a file' "${add[@]}" home http://127.0.0.1/bucket --kind=s3
	says 2 "option '--ca' needs a value" "${add[@]}" home "$url" --ca
	says 2 "unknown option '--password'" "${add[@]}" home "$url" --password
	says 1 "$WORK: not on a mirrorfs mount" "${add[@]}" "$name" "$url" --brake=off --scrub=2g
	for verb in remove probe list pause resume release; do
		says 2 "remote $verb: no mount point given" mirrorctl remote "$verb"
		says 2 'too many arguments' mirrorctl remote "$verb" "$WORK" a b
		says 2 "'a b' cannot be the name" mirrorctl remote "$verb" "$WORK" 'a b'
		says 1 'not on a mirrorfs mount' mirrorctl remote "$verb" "$WORK" home
	done
	says 2 'no name of a remote given' mirrorctl remote remove "$WORK"
	says 2 'no name of a remote given' mirrorctl remote release "$WORK"
	says 1 'not on a mirrorfs mount' mirrorctl remote pause "$WORK"
	says 2 'wait: no mount point given' mirrorctl wait
	says 2 '--remote=NAME is missing' mirrorctl wait "$WORK"
	says 2 "--timeout is a whole number, not '1s'" mirrorctl wait --timeout=1s "$WORK"
	says 1 'not on a mirrorfs mount' mirrorctl wait --remote=home "$WORK"
}

usage_of_restore() {
	local url=http://127.0.0.1:1/x
	says 2 'restore: no remote given' mirrorctl restore
	says 2 'no directory for the new mirror' mirrorctl restore "$url"
	says 2 'too many arguments' mirrorctl restore "$url" a b c
	says 2 "'\.\.' is not taken" mirrorctl restore "$url" "$WORK/new" a/../b
	says 2 'nofile: neither a URL nor a file with a definition' mirrorctl restore nofile new
	says 2 'ls: no remote given' mirrorctl ls
	says 2 "$WORK: neither a URL nor a file" mirrorctl ls "$WORK"
	says 2 'too many arguments' mirrorctl ls "$url" a b
	says 2 'cat: no path given' mirrorctl cat "$url"
	says 2 'S3 needs a file' mirrorctl cat --kind=s3 http://127.0.0.1/bucket x
	echo "$SECRET" >"$WORK/secret" # a credentials file in the wrong place
	says 1 "$WORK/secret: not the definition of a remote" mirrorctl ls "$WORK/secret"
	! grep -q "$SECRET" "$WORK/err" || fail "the message repeats what is in the file"
	echo '{"version": 1, "name": 7}' >"$WORK/definition"
	says 1 "$WORK/definition: not the definition of a remote: " mirrorctl ls \
		"$WORK/definition"
}

# What is wrong with a file is said before anything is sent, by mirrorctl
# itself, and never with what is in it.
bad_files() {
	local url=http://127.0.0.1:1/x command cred=$WORK/credentials
	printf 'user = me\npassword = %s\n' "$SECRET" >"$cred"
	chmod 644 "$cred"
	for command in "remote add $WORK home $url" "restore $url $WORK/new" "ls $url" \
		"cat $url x"; do
		read -ra command <<<"$command"
		says 1 "$cred: has mode 0644" mirrorctl "${command[@]}" --credentials="$cred"
		says 1 "/no/such: No such file" mirrorctl "${command[@]}" --credentials=/no/such
		says 1 "/no/such: No such file" mirrorctl "${command[@]}" --ca=/no/such
		says 1 "$PWD/no/such: No such file" mirrorctl "${command[@]}" --ca=no/such
		says 2 'a name of a file is empty' mirrorctl "${command[@]}" --ca=
	done
	chmod 600 "$cred"
	expect 1 mirrorctl remote add "$WORK" home http://nas.invalid/x --credentials="$cred" \
		2>"$WORK/err"
	grep -q 'warning: http:// without TLS' "$WORK/err" || fail "no warning of clear text"
	printf '%s\n' "$SECRET" >>"$cred"
	says 1 "$cred: line 3: not \"key = value\"" mirrorctl ls "$url" --credentials="$cred"
	! grep -q "$SECRET" "$WORK/err" || fail "the message repeats what is in the file"
	printf 'access-key = me\nsecret-key = %s\n' "$SECRET" >"$cred"
	says 1 'is for S3, this remote is WebDAV' mirrorctl ls "$url" --credentials="$cred"
	says 2 'credentials .*do not belong' mirrorctl remote add "$WORK" home \
		"https://me:$SECRET@127.0.0.1/x"
	! grep -q "$SECRET" "$WORK/err" || fail "the message repeats the URL"
	says 2 'credentials .*do not belong' mirrorctl ls "https://me:$SECRET@127.0.0.1/x"
	! grep -q "$SECRET" "$WORK/err" || fail "the message repeats the URL"
}

messages_without_a_mount() {
	says 1 "$WORK: not on a mirrorfs mount" mirrorctl status "$WORK"
	says 8 "$WORK: not on a mirrorfs mount" mirrorctl scrub "$WORK"
	says 1 '/no/such: No such file or directory' mirrorctl status --json /no/such
	says 1 'unprintable\?name: No such file' mirrorctl status $'unprintable\nname'
	if [ -w /dev/full ]; then
		expect 1 mirrorctl --help >/dev/full 2>/dev/null
		expect 8 mirrorctl scrub --help >/dev/full 2>/dev/null
	fi
}

# --- what is written about it ------------------------------------------------

# The numbers of replica/base/exitcode.h stand in the manual's tables, and no others.
manual_has_the_statuses() {
	local header=$top_srcdir/replica/base/exitcode.h page=$top_srcdir/tools/man/mirrorctl.8
	local kind section
	for kind in CTL:'all but scrub and repair' FSCK:'scrub, repair'; do
		section=${kind#*:}
		sed -n "s/^\tEXIT_${kind%%:*}_[A-Z]* = \([0-9]*\),/\1/p" "$header" >"$WORK/header"
		awk -v s=".SS $section" '/^\.S[SH]/ { on = ($0 == s) }
			on && /^[0-9]+\|/ { sub(/\|.*/, ""); print }' "$page" >"$WORK/page"
		[ -s "$WORK/header" ] || broken "no EXIT_${kind%%:*}_ in $header"
		cmp -s "$WORK/header" "$WORK/page" ||
			fail "exit statuses of $section: $(paste "$WORK/header" "$WORK/page")"
	done
}

# complete_line WORD...: what bash would offer for the last word.
complete_line() {
	bash -c '
		. "$1"; shift
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_mirrorctl
		printf "%s\n" "${COMPREPLY[@]}"' bash \
		"$top_srcdir/tools/completion/mirrorctl" "$@"
}

# Every long option of --help is in the manual and in the completion.
options_are_written_down() {
	local command option words page=$top_srcdir/tools/man/mirrorctl.8 offered
	for command in "${COMMANDS[@]}"; do
		read -ra words <<<"$command"
		offered=$(complete_line mirrorctl "${words[@]}" --)
		grep -q "^\.SS $command " "$page" || fail "manual lacks $command"
		for option in $(mirrorctl "${words[@]}" --help | grep -oE '^  .{0,4}--[a-z-]+' |
			grep -oE -- '--.*'); do
			grep -qxE -- "$option=?" <<<"$offered" ||
				fail "completion of $command lacks $option"
			grep -q -- "${option//-/\\\\-}" "$page" || fail "manual lacks $option"
		done
	done
}

completion_completes() {
	[ "$(complete_line mirrorctl sc)" = scrub ] || fail "completion of sc"
	[ "$(complete_line mirrorctl remote rel)" = release ] || fail "completion of rel"
	[ "$(complete_line mirrorctl remote add --no)" = --no-fallback ] ||
		fail "completion of --no"
	[ "$(complete_line mirrorctl remote add --kind = s)" = s3 ] || fail "completion of s"
	[ "$(complete_line mirrorctl repair --it)" = --itemize-changes ] ||
		fail "completion of --it"
	[ "$(complete_line mirrorctl scrub --progress = al)" = always ] || fail "completion of al"
	[ "$(complete_line mirrorctl scrub --progress = | wc -l)" = 3 ] || fail "completion of ="
	mkdir -p "$WORK/complete/me"
	[ "$(complete_line mirrorctl init "$WORK/complete/")" = "$WORK/complete/me" ] ||
		fail "completion of directories"
	: >"$WORK/complete/ca.pem"
	[ "$(complete_line mirrorctl restore --ca = "$WORK/complete/c")" = \
		"$WORK/complete/ca.pem" ] || fail "completion of a file"
}

# --- on mirrors --------------------------------------------------------------

init_and_repair() {
	local a=$WORK/a b=$WORK/b
	mkdir -p "$a" "$b" "$WORK/full/x"
	says 1 "$WORK/none: No such file" mirrorctl init "$a" "$WORK/none"
	says 1 'full: .*--adopt' mirrorctl init -q "$a" "$WORK/full"
	expect 0 mirrorctl init -n "$a" "$b" >/dev/null 2>&1
	[ -z "$(ls -A "$a")$(ls -A "$b")" ] || fail "init -n wrote something"
	mirrorctl init "$a" "$b" >"$WORK/out" 2>"$WORK/err" || fail "init: $(cat "$WORK/err")"
	grep -qE '^volume [0-9a-f-]{36} of 2 mirrors$' "$WORK/out" || fail "init printed no volume"
	says 1 "already a mirror" mirrorctl init -q "$a" "$b"
	prints 'nothing found$' mirrorctl repair "$a" "$b"
	prints 'nothing found$' mirrorctl repair -n -v -i "$a" "$b"
	says 16 'neither a mirror nor a path' mirrorctl repair /etc "$a" "$b"
	says 16 "'\.\.' is not taken" mirrorctl repair x/../y "$a" "$b"
	says 16 'belongs to mirrorfs' mirrorctl repair .mirrorfs/journal "$a" "$b"
	says 16 'belongs to mirrorfs' mirrorctl repair "$a/.mirrorfs" "$a" "$b"
	expect 8 mirrorctl repair no/such "$a" "$b" >/dev/null 2>"$WORK/err"
	grep -q 'no/such' "$WORK/err" || fail "repair does not name the path that is missing"
	expect 0 mirrorctl repair --json "$a" "$b" >"$WORK/out"
	[ "$(json_get "$WORK/out" findings)" = '[]' ] || fail "findings on a fresh volume"
}

# One bad byte in a file of b: found dry, repaired, gone; in letters, in JSON.
repair_heals() {
	local a=$WORK/a b=$WORK/b mnt=$WORK/mnt
	mount_volume "$mnt" "$a" "$b" || fail "mount: status $?"
	mkdir "$mnt/sub"
	head -c 300000 /dev/urandom >"$mnt/sub/file"
	printf 'small' >"$mnt/$(printf 'b\\\374d')"
	expect 8 mirrorctl repair "$a" "$b" 2>"$WORK/err" # mounted: refused
	[ "$(wc -l <"$WORK/err")" -eq 1 ] || fail "repair of a mounted volume: $(cat "$WORK/err")"
	umount_volume "$mnt"
	damage "$b/sub/file"
	expect 0 mirrorctl repair 'b\'$'\374''d' "$a" "$b" >/dev/null
	expect 4 mirrorctl repair -n -i "$a" "$b" >"$WORK/out"
	grep -qE '^>fc[.a-z]{8} sub/file$' "$WORK/out" || fail "itemised: $(cat "$WORK/out")"
	expect 4 mirrorctl repair -n --json "$b/sub" "$a" "$b" >"$WORK/out"
	[ "$(json_get "$WORK/out" findings 0 path)" = sub/file ] || fail "JSON: $(cat "$WORK/out")"
	[ "$(json_get "$WORK/out" findings 0 off)" = 8192 ] || fail "JSON: $(cat "$WORK/out")"
	expect 1 mirrorctl repair -v "$a" "$b" >"$WORK/out"
	grep -qE "^sub/file: bytes 8192-12287 on $b: .*from $a\$" "$WORK/out" ||
		fail "verbose: $(cat "$WORK/out")"
	cmp "$a/sub/file" "$b/sub/file" || fail "not repaired"
	expect 0 mirrorctl repair "$a" "$b" >/dev/null
}

# Changes one byte in the third leaf, as rot does: nothing else is touched.
damage() {
	local byte
	touch -r "$1" "$WORK/times"
	byte=$(od -An -tu1 -j 9000 -N 1 "$1")
	printf "\\$(printf %o $(((byte + 1) % 256)))" |
		dd of="$1" bs=1 seek=9000 conv=notrunc status=none
	touch -r "$WORK/times" "$1"
}

# --- on a mount --------------------------------------------------------------

status_and_scrub() {
	local a=$WORK/a b=$WORK/b mnt=$WORK/mnt
	mount_volume "$mnt" "$a" "$b" || fail "mount: status $?"
	prints '^health: ok$' mirrorctl status "$mnt"
	[ "$(head -n 1 "$WORK/out")" = 'health: ok' ] || fail "health does not come first"
	prints "^$b +in-sync " mirrorctl status "$mnt/sub/file"
	expect 0 mirrorctl status --json "$mnt" >"$WORK/out"
	[ "$(json_get "$WORK/out" health)" = ok ] || fail "health in JSON"
	[ "$(json_get "$WORK/out" mirrors 1 state)" = in-sync ] || fail "state in JSON"
	[ "$(json_get "$WORK/out" mirrors 0 path)" = "$a" ] || fail "path in JSON"
	[ "$(json_get "$WORK/out" mountpoint)" = "$mnt" ] || fail "mountpoint in JSON"
	local counter
	for counter in leaves_bad leaves_repaired files_repaired unverified uncorrected foreign \
		quarantined ejected; do
		[ "$(json_get "$WORK/out" counters "$counter")" = 0 ] || fail "counter $counter"
	done
	prints 'nothing found$' mirrorctl scrub "$mnt"
	damage "$b/sub/file"
	expect 1 mirrorctl scrub --json "$mnt" sub >"$WORK/out"
	[ "$(json_get "$WORK/out" corrected)" = 1 ] || fail "scrub: $(cat "$WORK/out")"
	[ "$(json_get "$WORK/out" findings 0 member)" = "$b" ] || fail "scrub: $(cat "$WORK/out")"
	prints 'nothing found$' mirrorctl scrub "$mnt/sub"
	prints '^leaves_repaired: 1$' mirrorctl status "$mnt"
	expect 8 mirrorctl scrub "$mnt" no/such >/dev/null 2>"$WORK/err"
	says 16 "'\.\.' is not taken" mirrorctl scrub "$mnt" sub/../x
	says 16 'does not lie in the mount' mirrorctl scrub "$mnt" /etc
	expect 0 mirrorctl scrub --progress=always "$mnt" >/dev/null 2>"$WORK/err"
	[ -s "$WORK/err" ] || fail "no progress with --progress=always"
	expect 0 mirrorctl scrub -q "$mnt" >"$WORK/out" 2>&1
	[ ! -s "$WORK/out" ] || fail "scrub -q prints $(cat "$WORK/out")"
}

# Nothing listens at port 1, so the probe refuses; nothing is left of the attempt.
remotes_on_a_mount() {
	local a=$WORK/a mnt=$WORK/mnt cred=$WORK/credentials
	expect 0 mirrorctl status --json "$mnt" >"$WORK/out"
	[ "$(json_get "$WORK/out" remotes)" = '[]' ] || fail "remotes in JSON"
	prints '^REMOTE ' mirrorctl remote list "$mnt"
	[ "$(wc -l <"$WORK/out")" -eq 1 ] || fail "remotes that nobody made"
	expect 0 mirrorctl remote pause "$mnt"
	says 1 "$mnt: no remote of this name" mirrorctl remote list "$mnt" home
	local verb
	for verb in remove probe pause resume release; do
		says 1 "$mnt: .*" mirrorctl remote "$verb" "$mnt" home
	done
	says 1 "$mnt: .*" mirrorctl wait --remote=home --timeout=5 "$mnt/sub"
	printf 'user = me\npassword = %s\n' "$SECRET" >"$cred"
	chmod 600 "$cred"
	expect 1 mirrorctl remote add "$mnt" home http://127.0.0.1:1/x --credentials="$cred" \
		>"$WORK/out" 2>"$WORK/err"
	[ "$(wc -l <"$WORK/err")" -eq 1 ] || fail "not one line: $(cat "$WORK/err")"
	! grep -q "$SECRET" "$WORK/out" "$WORK/err" || fail "the password is in the output"
	[ -z "$(ls "$a/.mirrorfs/remote" 2>/dev/null)" ] || fail "a definition was left"
	expect 0 mirrorctl status --json "$mnt" >"$WORK/out"
	[ "$(json_get "$WORK/out" remotes)" = '[]' ] || fail "the remote is there all the same"
	! grep -rq "$SECRET" "$a/.mirrorfs" || fail "the password is on a mirror"
}

# The process dies: no hanging, one line.
daemon_gone() {
	local mnt=$WORK/mnt
	kill -KILL "$DAEMON_PID"
	wait_until 10 is_dead "$DAEMON_PID" || fail "mirrorfs survives SIGKILL"
	# which of the two depends on what the kernel still knows of the root
	says 1 "no daemon|$mnt: the mirrorfs process of this mount is gone" mirrorctl status "$mnt"
	says 8 'no daemon|is gone' mirrorctl scrub "$mnt"
}

usage_of_the_program
usage_of_commands
usage_of_remote_commands
usage_of_restore
bad_files
messages_without_a_mount
manual_has_the_statuses
options_are_written_down
completion_completes
require_program perl
init_and_repair
require_fuse
repair_heals
status_and_scrub
remotes_on_a_mount
daemon_gone
say "passed"
