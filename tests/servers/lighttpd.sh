#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# WebDAV on lighttpd (mod_webdav). See lib.sh.
#	SERVER_BODY_MAX    server.max-request-size, in KiB here, rounded up; unset: none
#	SERVER_AUTH        basic (default) or digest
#	LIGHTTPD_READONLY  webdav.is-readonly; disable
#	LIGHTTPD_EXTRA     further lines
. "$(dirname "$0")/lib.sh"

MODULES=/usr/lib/lighttpd

server_needs() {
	need_programs lighttpd
	[ -e "$MODULES/mod_webdav.so" ] || server_lacks "lighttpd has no mod_webdav"
	[ -e "$MODULES/mod_openssl.so" ] || server_lacks "lighttpd has no mod_openssl"
}

auth_lines() {
	local backend=htpasswd method=${SERVER_AUTH:-basic}
	if [ "$method" = digest ]; then
		backend=htdigest
		digest_password test >"$DIR/state/passwords"
	else
		basic_password >"$DIR/state/passwords"
	fi
	cat <<-CONF
		auth.backend = "$backend"
		auth.backend.$backend.userfile = "$DIR/state/passwords"
		auth.require = ( "" => ( "method" => "$method", "realm" => "test",
			"require" => "valid-user" ) )
	CONF
}

server_config() {
	mkdir -p "$DIR/state/uploads"
	cat >"$DIR/lighttpd.conf" <<-CONF
		server.modules = ( "mod_auth", "mod_authn_file", "mod_openssl", "mod_webdav" )
		server.document-root = "$DIR/files"
		server.upload-dirs = ( "$DIR/state/uploads" )
		server.errorlog = "$DIR/log/error.log"
		server.bind = "127.0.0.1"
		server.port = $PORT
		server.max-keep-alive-requests = 100000
		server.max-request-size = $(((${SERVER_BODY_MAX:-0} + 1023) / 1024))
		mimetype.assign = ( "" => "application/octet-stream" )
		webdav.activate = "enable"
		webdav.is-readonly = "${LIGHTTPD_READONLY:-disable}"
		webdav.sqlite-db-name = "$DIR/state/properties.db"
		$(auth_lines)
		\$SERVER["socket"] == "127.0.0.1:$TLS_PORT" {
			ssl.engine = "enable"
			ssl.pemfile = "$DIR/tls/both.pem"
		}
		${LIGHTTPD_EXTRA:-}
	CONF
}

server_spawn() {
	spawn lighttpd lighttpd -D -f "$DIR/lighttpd.conf"
}

server_main "$@"
