# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What the start scripts of real servers share. Each is a program:
#
#	NAME.sh start DIR [--keep]   a fresh server in DIR (--keep: with the data and
#	                             the ports it had); returns when it answers
#	NAME.sh stop DIR [--kill]    ends it: TERM and, if need be, KILL; --kill: KILL at once
#	NAME.sh status DIR           0 if all its processes run
#
# DIR/env has URL, TLS_URL, CA, USER, PASSWORD as lines of shell. DIR/files are the
# documents, DIR/log the logs, DIR/run the pids. It runs on 127.0.0.1, on ports it
# finds itself, as whoever starts it; nothing outside DIR is touched, and only
# processes whose pids are in DIR/run are ended. Exit status 77: not installed.
#
# A script sources this, defines server_needs, server_config, server_spawn, and ends
# with: server_main "$@". All options are variables of the environment; each script
# names its own. For all:
#	SERVER_USER, SERVER_PASSWORD   tester, "secret word"
#	SERVER_BODY_MAX                bytes a body may have (nginx, Apache, lighttpd)

set -u
PATH=$PATH:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL

PROGRAM=$(basename "$0" .sh)
SERVER_USER=${SERVER_USER:-tester}
SERVER_PASSWORD=${SERVER_PASSWORD:-secret word}
DIR=
PORT=
TLS_PORT=

server_die() {
	printf '%s: %s\n' "$PROGRAM" "$*" >&2
	exit 1
}

server_lacks() {
	printf '%s: skipped: %s\n' "$PROGRAM" "$*"
	exit 77
}

need_programs() {
	local program
	for program in openssl curl "$@"; do
		command -v "$program" >/dev/null || server_lacks "needs the program $program"
	done
}

# --- processes ---------------------------------------------------------------

# spawn NAME COMMAND...: in the background, in a session of its own. The command must
# stay in the foreground; its pid is in DIR/run/NAME.pid.
spawn() {
	local name=$1
	shift
	(cd "$DIR" && exec setsid "$@") >>"$DIR/log/$name.out" 2>&1 </dev/null &
	echo $! >"$DIR/run/$name.pid"
}

# A zombie is dead, too: who started it may never wait for it.
pid_runs() {
	local stat
	read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
	stat=${stat##*) }
	[ "${stat%% *}" != Z ]
}

# All processes of the sessions in DIR/run: KILL does not let a master end its workers.
session_pids() {
	local pid=$1 dir stat
	echo "$pid"
	for dir in /proc/[0-9]*; do
		read -r stat 2>/dev/null <"$dir/stat" || continue
		# state, parent, group, session
		read -r _ _ _ stat _ <<<"${stat##*) }"
		[ "$stat" != "$pid" ] || [ "${dir#/proc/}" = "$pid" ] || echo "${dir#/proc/}"
	done
}

any_runs() {
	local pid
	for pid; do
		pid_runs "$pid" && return 0
	done
	return 1
}

wait_ended() {
	local tenths=$1
	shift
	while any_runs "$@"; do
		[ $((tenths -= 1)) -ge 0 ] || return 1
		sleep 0.1
	done
}

# end_process PIDFILE SIGNAL
end_process() {
	local pid pids
	pid=$(cat "$1")
	rm -f "$1"
	# The number may be another's by now: ours runs in its own session, below DIR.
	[ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$DIR" ] || return 0
	mapfile -t pids < <(session_pids "$pid")
	if [ "$2" = TERM ]; then
		kill -TERM "$pid" 2>/dev/null
		wait_ended 100 "${pids[@]}" && return
	fi
	kill -KILL "${pids[@]}" 2>/dev/null
	wait_ended 100 "${pids[@]}"
}

end_all() {
	local file
	for file in "$DIR"/run/*.pid; do
		[ ! -e "$file" ] || end_process "$file" "$1"
	done
}

all_run() {
	local file found=1
	for file in "$DIR"/run/*.pid; do
		[ -e "$file" ] || break
		pid_runs "$(cat "$file")" || return 1
		found=0
	done
	return "$found"
}

# --- ports and certificates --------------------------------------------------

port_free() {
	! (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

free_port() {
	local port
	while :; do
		port=$((20000 + RANDOM % 12000))
		port_free "$port" && break
	done
	echo "$port"
}

# DIR/tls: a private CA (ca.pem) and a certificate of it for localhost and 127.0.0.1.
make_certificates() {
	local tls=$DIR/tls ec=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
	[ ! -s "$tls/both.pem" ] || return 0
	mkdir -p "$tls" || return
	{
		openssl req -x509 "${ec[@]}" -days 3650 -subj "/CN=mirrorfs test CA" \
			-addext basicConstraints=critical,CA:TRUE \
			-keyout "$tls/ca.key" -out "$tls/ca.pem" &&
		openssl req -new "${ec[@]}" -subj /CN=localhost \
			-keyout "$tls/server.key" -out "$tls/server.csr" &&
		printf '%s\n' subjectAltName=DNS:localhost,IP:127.0.0.1 \
			basicConstraints=CA:FALSE >"$tls/extensions" &&
		openssl x509 -req -in "$tls/server.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" \
			-CAcreateserial -days 3650 -extfile "$tls/extensions" -out "$tls/server.pem"
	} 2>"$DIR/log/tls.out" || server_die "certificates: $(tail -n 1 "$DIR/log/tls.out")"
	cat "$tls/server.key" "$tls/server.pem" >"$tls/both.pem"
	chmod 0600 "$tls"/*.key "$tls/both.pem"
}

# "user:hash" for Basic, as all three servers read it.
basic_password() {
	printf '%s:%s\n' "$SERVER_USER" "$(openssl passwd -apr1 "$SERVER_PASSWORD")"
}

# digest_password REALM
digest_password() {
	local md5
	md5=$(printf '%s' "$SERVER_USER:$1:$SERVER_PASSWORD" | md5sum)
	printf '%s:%s:%s\n' "$SERVER_USER" "$1" "${md5%% *}"
}

# reachable_for USER: a server that gives root up must still get into DIR.
reachable_for() {
	chmod o+x "$DIR" "$(dirname "$DIR")" 2>/dev/null
	setpriv --reuid="$1" --regid="$1" --clear-groups test -x "$DIR/files" ||
		server_lacks "$1 cannot get into $DIR"
}

# --- verbs -------------------------------------------------------------------

# Any answer of HTTP will do, on both ports.
answers() {
	curl -s --max-time 5 -o "$DIR/log/answer" "http://127.0.0.1:$PORT/" || return
	[ -z "$TLS_PORT" ] ||
		curl -s --max-time 5 --cacert "$DIR/tls/ca.pem" -o "$DIR/log/answer" \
			"https://127.0.0.1:$TLS_PORT/"
}

come_up() {
	local tries=300
	until answers; do
		all_run || return 1
		[ $((tries -= 1)) -gt 0 ] || return 1
		sleep 0.05
	done
	# Not the answer of another that has our port.
	all_run
}

write_env() {
	local tls=${TLS_PORT:+https://127.0.0.1:$TLS_PORT/}
	printf '%s=%q\n' URL "http://127.0.0.1:$PORT/" TLS_URL "$tls" CA "$DIR/tls/ca.pem" \
		USER "$SERVER_USER" PASSWORD "$SERVER_PASSWORD" >"$DIR/env"
}

# Another may take a port between our look and the server's: then with others.
server_start() {
	local keep=$1 tries=5
	end_all KILL
	# What a killed one says of itself is not so any more.
	rm -f "$DIR"/run/*.master
	[ "$keep" = 1 ] || rm -rf "${DIR:?}/files" "$DIR/state" "$DIR/ports" "$DIR/log"
	mkdir -p "$DIR/files" "$DIR/state" "$DIR/log" || exit 1
	make_certificates
	while [ $((tries -= 1)) -ge 0 ]; do
		if [ -s "$DIR/ports" ]; then
			read -r PORT TLS_PORT <"$DIR/ports"
		else
			PORT=$(free_port)
			TLS_PORT=$(free_port)
		fi
		[ "$PORT" != "$TLS_PORT" ] || continue
		server_config
		server_spawn
		if come_up; then
			echo "$PORT $TLS_PORT" >"$DIR/ports"
			write_env
			return
		fi
		end_all KILL
		rm -f "$DIR"/run/*.master
	done
	tail -n 20 "$DIR"/log/* >&2
	server_die "does not come up"
}

server_main() {
	local verb=${1:-} option=${3:-}
	[ $# -ge 2 ] || server_die "usage: start DIR [--keep] | stop DIR [--kill] | status DIR"
	mkdir -p "$2/run" && DIR=$(cd "$2" && pwd -P) || exit 1
	case $verb$option in
	start | start--keep)
		server_needs
		server_start "$([ -z "$option" ] || echo 1)"
		;;
	stop) end_all TERM ;;
	stop--kill) end_all KILL ;;
	status) all_run ;;
	*) server_die "unknown: $verb $option" ;;
	esac
}
