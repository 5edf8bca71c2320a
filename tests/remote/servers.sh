#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The WebDAV dialect at real servers: t-store and t-store_probe at each, plain and with TLS and a private
# CA, and with Digest; then servers that are set up wrongly, where the attach probe must
# refuse and name the setting. REMOTE_ALL=1: also rclone, which writes in place.
. "$(dirname "$0")/lib.sh"

UNIT=$top_builddir/tests/unit
LACKING=()

# start NAME: 1 if it is not installed. Options are in the environment.
start() {
	local dir=$WORK/server-$1 status=0
	SERVER=$1 SERVER_DIR=$dir # of stop_server
	mkdir -p "$dir"
	chmod o+x "$WORK"
	STARTED+=("$1 $dir")
	bash "$SERVERS_DIR/$1.sh" start "$dir" >"$WORK/server.out" 2>&1 || status=$?
	if [ "$status" -eq 77 ]; then
		say "$(cat "$WORK/server.out")"
		LACKING+=("$1")
		return 1
	fi
	[ "$status" -eq 0 ] || broken "$1 does not start: $(tail -n 3 "$WORK/server.out")"
	# shellcheck source=/dev/null
	. "$dir/env"
}

# at PROGRAM URL [VARIABLE=VALUE...]: what it prints is in $WORK/store.out.
at() {
	local program=$1 url=$2
	shift 2
	env STORE_URL="$url" STORE_USER="$USER" STORE_PASSWORD="$PASSWORD" STORE_CA="$CA" "$@" \
		"$UNIT/$program" >"$WORK/store.out" 2>&1
}

# test_at WHAT URL [VARIABLE=VALUE...]
test_at() {
	local what=$1 program
	shift
	for program in t-store t-store_probe; do
		at "$program" "$@" || { cat "$WORK/store.out"; fail "$program at $what"; }
		say "$program at $what: $(grep -c ' OK \]' "$WORK/store.out") passed"
	done
	grep -E '^    (ok|WARN)' "$WORK/store.out"
}

# both NAME [VARIABLE=VALUE...]: without and with TLS.
both() {
	start "$1" || return 0
	test_at "$1" "$URL" "${@:2}"
	test_at "$1 with TLS" "$TLS_URL" "${@:2}"
	stop_server --kill
}

# digest NAME
digest() {
	SERVER_AUTH=digest start "$1" || return 0
	test_at "$1 with Digest" "$URL" STORE_AUTH=digest
	stop_server --kill
}

# refused NAME PATTERN VARIABLE=VALUE: the probe says no, in a line of this pattern.
refused() {
	local name=$1 pattern=$2
	export "${3?}"
	start "$name" || { unset "${3%%=*}"; return 0; }
	unset "${3%%=*}"
	! at t-store_probe "$URL" STORE_PROBE=1 || fail "$name with $3: the probe finds nothing wrong"
	grep -qE "^    FAIL .*$pattern" "$WORK/store.out" ||
		{ cat "$WORK/store.out"; fail "$name with $3: the probe does not say \"$pattern\""; }
	say "$name with $3: $(sed -n 's/^    FAIL //p' "$WORK/store.out")"
	stop_server --kill
}

# warned NAME PATTERN VARIABLE=VALUE: the probe takes it, and says this.
warned() {
	local name=$1 pattern=$2
	export "${3?}"
	start "$name" || { unset "${3%%=*}"; return 0; }
	unset "${3%%=*}"
	at t-store_probe "$URL" STORE_PROBE=1 || { cat "$WORK/store.out"; fail "$name with $3: refused"; }
	grep -qE "^    WARN .*$pattern" "$WORK/store.out" ||
		{ cat "$WORK/store.out"; fail "$name with $3: no warning of \"$pattern\""; }
	say "$name with $3: $(grep -E "$pattern" "$WORK/store.out")"
	stop_server --kill
}

both nginx
both apache
both lighttpd
digest apache
digest lighttpd

refused nginx client_max_body_size SERVER_BODY_MAX=1048576
refused nginx dav_methods "NGINX_METHODS=PUT DELETE"
refused nginx dav_methods "NGINX_METHODS=off"
refused nginx dav_ext_methods NGINX_EXT=
refused apache LimitRequestBody SERVER_BODY_MAX=1048576
refused apache "Dav On" APACHE_DAV=off
refused lighttpd max-request-size SERVER_BODY_MAX=1048576
refused lighttpd is-readonly LIGHTTPD_READONLY=enable
warned apache "above 1024 MiB .*LimitRequestBody" SERVER_BODY_MAX=1073741824
warned nginx "above 4096 MiB .*client_max_body_size" SERVER_BODY_MAX=4294967296

if [ "${REMOTE_ALL:-0}" = 1 ]; then
	both rclone STORE_IN_PLACE=1
fi
[ "${#LACKING[@]}" -eq 0 ] || skip "not installed: ${LACKING[*]}"
