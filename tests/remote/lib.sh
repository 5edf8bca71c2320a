# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Verbs for tests of remotes on a mounted volume: servers, remotes, restoring.
# A test sources this; it brings tests/lib.sh along.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

SERVERS_DIR=$top_srcdir/tests/servers
FAULTY=$top_builddir/tests/http/faulty
STARTED=()  # "SCRIPT DIR" of servers to be ended
FAULTIES=() # pids of servers of faults

end_servers() {
	local one
	for one in ${STARTED[@]+"${STARTED[@]}"}; do
		bash "$SERVERS_DIR/${one%% *}.sh" stop "${one#* }" >/dev/null 2>&1
	done
	for one in ${FAULTIES[@]+"${FAULTIES[@]}"}; do
		[ "$(cat "/proc/$one/comm" 2>/dev/null)" != faulty ] || kill -KILL "$one"
	done
}
BEFORE_CLEANUP+=(end_servers)

# start_server NAME [--keep]: nginx, apache, lighttpd, rclone, ceph-rgw, swift. Then
# $URL $USER $PASSWORD and, where it speaks TLS, $TLS_URL $CA; $SERVER_DIR; $KIND.
start_server() {
	local status=0
	SERVER=$1
	SERVER_DIR=$WORK/server-$1
	mkdir -p "$SERVER_DIR"
	chmod o+x "$WORK"
	STARTED+=("$1 $SERVER_DIR")
	bash "$SERVERS_DIR/$1.sh" start "$SERVER_DIR" "${@:2}" >"$WORK/server.out" 2>&1 || status=$?
	[ "$status" -ne 77 ] || skip "$(sed -n 's/.*skipped: //p' "$WORK/server.out")"
	[ "$status" -eq 0 ] || broken "$1 does not start: $(tail -n 3 "$WORK/server.out")"
	KIND=webdav TLS_URL='' CA=''
	# shellcheck source=/dev/null
	. "$SERVER_DIR/env"
	write_credentials "$WORK/credentials" "$USER" "$PASSWORD"
}

# stop_server [--kill]: the one started last.
stop_server() {
	bash "$SERVERS_DIR/$SERVER.sh" stop "$SERVER_DIR" "$@" || broken "$SERVER does not stop"
}

again_server() {
	bash "$SERVERS_DIR/$SERVER.sh" start "$SERVER_DIR" --keep >"$WORK/server.out" 2>&1 ||
		broken "$SERVER does not start again: $(tail -n 3 "$WORK/server.out")"
}

# start_faulty [--s3] [--in-place]: the server of faults; what it holds for $URL is in $STORED.
start_faulty() {
	FAULTY_DIR=$WORK/faulty
	mkdir -p "$FAULTY_DIR"
	rm -f "$WORK/faulty.port"
	"$FAULTY" "$FAULTY_DIR" "$WORK/faulty.port" "$@" >"$WORK/faulty.out" 2>&1 &
	FAULTY_PID=$!
	FAULTIES+=("$FAULTY_PID")
	wait_until 10 test -s "$WORK/faulty.port" || broken "faulty does not start"
	FAULTY_AT=http://127.0.0.1:$(cat "$WORK/faulty.port")
	KIND=webdav CA='' TLS_URL='' PREFIX=dav
	case " $* " in *" --s3 "*) KIND=s3 PREFIX=bucket ;; esac
	URL=$FAULTY_AT/$PREFIX STORED=$FAULTY_DIR/$PREFIX
	mkdir -p "$STORED"
	write_credentials "$WORK/credentials" tester "secret word"
}

# write_credentials FILE USER PASSWORD
write_credentials() {
	(
		umask 077
		if [ "${KIND:-webdav}" = s3 ]; then
			printf 'access-key = %s\nsecret-key = %s\n' "$2" "$3"
		else
			printf 'user = %s\npassword = %s\n' "$2" "$3"
		fi >"$1"
	)
}

# add_remote MNT NAME [OPTION...]: of the server started last, by TLS where it can.
add_remote() {
	local mnt=$1 name=$2
	shift 2
	mirrorctl remote add "$mnt" "$name" "${TLS_URL:-$URL}" --kind="$KIND" \
		--credentials="$WORK/credentials" ${CA:+--ca="$CA"} --settle="${SETTLE:-2}" "$@"
}

# wait_remote MNT NAME [SECONDS]
wait_remote() {
	mirrorctl wait --remote="$2" --timeout="${3:-120}" "$1" ||
		{ mirrorctl status "$1"; fail "remote $2 does not get there"; }
}

# restore DIR: a new mirror from the remote of the server started last.
restore() {
	mkdir -p "$1"
	mirrorctl restore "${TLS_URL:-$URL}" "$1" --kind="$KIND" \
		--credentials="$WORK/credentials" ${CA:+--ca="$CA"}
}

# restored_equal MNT: a restore from the remote is the same tree, and a volume without a fault.
restored_equal() {
	local dir=$WORK/restored-$RANDOM mnt=$WORK/mnt-restored pid=${DAEMON_PID:-}
	restore "$dir" || fail "restore"
	mount_volume "$mnt" "$dir" || fail "what was restored does not mount"
	tree_equal "$1" "$mnt" || fail "what was restored differs"
	mirrorctl scrub "$mnt" >"$WORK/scrub.out" 2>&1 || fail "scrub: $(cat "$WORK/scrub.out")"
	umount_volume "$mnt"
	DAEMON_PID=$pid # of the volume that the test is about
	rm -rf "$dir"
}

# status_of MNT NAME KEY: one value of the remote's status.
status_of() {
	mirrorctl status --json "$1" | perl -MJSON::PP -e '
		local $/;
		for (@{decode_json(<STDIN>)->{remotes}}) {
			print $_->{$ARGV[1]} // "", "\n" if $_->{name} eq $ARGV[0];
		}' "$2" "$3"
}

# is_status MNT NAME KEY VALUE
is_status() {
	[ "$(status_of "$1" "$2" "$3")" = "$4" ]
}

# --- the server of faults ----------------------------------------------------

kill_faulty() {
	kill -TERM "$FAULTY_PID"
	wait "$FAULTY_PID"
}

end_faulty() {
	kill_faulty
	rm -rf "$FAULTY_DIR"
}

control() {
	local said
	said=$(curl -sS --max-time 10 -X POST "$FAULTY_AT/.faulty?$1" 2>&1)
	[ "$said" = ok ] || broken "faulty says to $1: $said"
}

# fault NAME[&KEY=VALUE...]: a rule, see tests/http/faulty.h. Paths begin with /$PREFIX/.
fault() {
	control "fault=$1"
}

no_faults() {
	control clear
}

# count_of NAME: of the counters. requests_in SECONDS: how many come meanwhile.
count_of() {
	curl -sS --max-time 10 "$FAULTY_AT/.faulty" | awk -v n="$1" '$1 == n { print $2 }'
}

count_above() {
	[ "$(count_of "$1")" -gt "$2" ]
}

# The time is what is measured, no state is waited for.
requests_in() {
	control zero
	sleep "$1"
	count_of requests
}

# --- volumes and states ------------------------------------------------------

A=$WORK/a
B=$WORK/b
MNT=$WORK/mnt

# volume_at MNT DIR...
volume_at() {
	local mnt=$1
	shift
	mkdir -p "$@"
	mirrorctl init "$@" >"$WORK/init.out" 2>&1 || fail "init: $(cat "$WORK/init.out")"
	mount_volume "$mnt" "$@" || fail "mount"
}

new_volume() {
	volume_at "$MNT" "$A" "$B"
}

end_volume() {
	umount_volume "$MNT"
	rm -rf "$A" "$B"
}

# kill_volume MNT: the daemon does not get to say a word.
kill_volume() {
	local pid
	pid=$(daemons_of "$1" | tail -n 1)
	kill -KILL "$pid" || broken "no daemon to kill"
	wait_until 20 is_dead "$pid" || broken "it survives a KILL"
	umount -l "$1" 2>/dev/null || fusermount3 -u -z "$1"
	wait_until 10 is_unmounted "$1" || broken "$1 stays mounted"
}

# expect_remote MNT NAME KEY VALUE [SECONDS]
expect_remote() {
	wait_until "${5:-30}" is_status "$1" "$2" "$3" "$4" || {
		mirrorctl status "$1" >&2
		fail "$3 of remote $2 is '$(status_of "$1" "$2" "$3")', not '$4'"
	}
}

# is_above MNT NAME KEY VALUE
is_above() {
	[ "$(status_of "$1" "$2" "$3")" -gt "$4" ]
}

# settle_remote MNT NAME: everything is there, and was looked at again when it was due.
settle_remote() {
	local try
	for try in 1 2 3 4 5 6; do
		wait_remote "$1" "$2" 60
		expect_remote "$1" "$2" unsettled 0 30
		is_status "$1" "$2" lag 0 && return
		is_status "$1" "$2" lag 0.0 && return
	done
	mirrorctl status "$1" >&2
	fail "remote $2 does not come to rest ($try tries)"
}

# random_file FILE BYTES, random_files DIR COUNT BYTES: new ones, or overwritten.
random_file() {
	head -c "$2" /dev/urandom | dd of="$1" bs=1M conv=notrunc iflag=fullblock status=none ||
		broken "write $1"
}

random_files() {
	perl -e '
		my ($dir, $n, $len) = @ARGV;
		mkdir $dir;
		open(my $r, "<:raw", "/dev/urandom") or die;
		for my $i (1..$n) {
			read($r, my $b, $len) == $len or die;
			open(my $f, -e "$dir/f$i" ? "+<:raw" : ">:raw", "$dir/f$i") or die "f$i: $!\n";
			(syswrite($f, $b) // -1) == $len or die "f$i: $!\n";
			close $f or die "f$i: $!\n";
		}' "$@" || broken "cannot write to $1"
}

# stored_equal NAME: the objects below it are the files of the mount, byte for byte.
stored_equal() {
	diff -r -q "$MNT/$1" "$STORED/$1" >"$WORK/diff" 2>&1 || {
		head -n 5 "$WORK/diff" >&2
		fail "what the server has of $1 is not what is here"
	}
}

# run_scenes DEFAULT...: those that are named in $SCENES, or all.
run_scenes() {
	local scene begun
	for scene in ${SCENES:-"$@"}; do
		begun=$SECONDS
		"scene_$scene"
		say "$scene: passed ($((SECONDS - begun)) s)"
	done
}
