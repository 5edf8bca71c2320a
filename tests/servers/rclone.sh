#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# "rclone serve webdav": a server that writes in place, so that half an upload shows.
# Two processes, one with TLS, over the same files. See lib.sh.
. "$(dirname "$0")/lib.sh"

server_needs() {
	need_programs rclone
}

server_config() {
	: >"$DIR/rclone.conf"
}

serve() {
	local name=$1 port=$2
	shift 2
	# Not on the command line, where everybody sees it.
	RCLONE_USER=$SERVER_USER RCLONE_PASS=$SERVER_PASSWORD \
		spawn "$name" rclone serve webdav "$DIR/files" --config "$DIR/rclone.conf" \
		--addr "127.0.0.1:$port" --cache-dir "$DIR/state/$name" --dir-cache-time 0s \
		--poll-interval 0 "$@"
}

server_spawn() {
	serve plain "$PORT"
	serve tls "$TLS_PORT" --cert "$DIR/tls/server.pem" --key "$DIR/tls/server.key"
}

server_main "$@"
