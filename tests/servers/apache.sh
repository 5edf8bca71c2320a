#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# WebDAV on Apache httpd (mod_dav_fs). See lib.sh.
#	SERVER_BODY_MAX  LimitRequestBody; unset: none
#	SERVER_AUTH      basic (default) or digest
#	APACHE_DAV       Dav; on
#	APACHE_EXTRA     lines of the directory
. "$(dirname "$0")/lib.sh"

MODULES=/usr/lib/apache2/modules

server_needs() {
	need_programs apache2 setpriv
	[ -e "$MODULES/mod_dav_fs.so" ] || server_lacks "apache2 has no mod_dav_fs"
}

load_modules() {
	local name
	for name in mpm_event authn_core authn_file authz_core authz_user auth_basic auth_digest \
		dav dav_fs dav_lock dir mime ssl socache_shmcb http2 setenvif; do
		echo "LoadModule ${name}_module $MODULES/mod_$name.so"
	done
}

auth_lines() {
	if [ "${SERVER_AUTH:-basic}" = digest ]; then
		digest_password test >"$DIR/state/passwords"
		printf '%s\n' "AuthType Digest" "AuthDigestProvider file"
	else
		basic_password >"$DIR/state/passwords"
		echo "AuthType Basic"
	fi
	printf '%s\n' "AuthName test" "AuthUserFile $DIR/state/passwords" "Require valid-user"
}

server_config() {
	local user=
	if [ "$(id -u)" -eq 0 ]; then
		# It does not serve as root.
		user=$'User www-data\nGroup www-data'
		reachable_for www-data
		chown -R www-data: "$DIR/files" "$DIR/state"
	fi
	{
		load_modules
		cat <<-CONF
			$user
			ServerRoot $DIR
			ServerName localhost
			PidFile $DIR/run/apache.master
			DefaultRuntimeDir $DIR/run
			ErrorLog $DIR/log/error.log
			LogLevel warn
			TypesConfig /dev/null
			Listen 127.0.0.1:$PORT
			Listen 127.0.0.1:$TLS_PORT
			Protocols h2 http/1.1
			MaxKeepAliveRequests 0
			KeepAliveTimeout 60
			StartServers 1
			ServerLimit 2
			ThreadsPerChild 25
			MaxRequestWorkers 50
			LimitRequestBody ${SERVER_BODY_MAX:-0}
			DocumentRoot $DIR/files
			DavLockDB $DIR/state/locks
			<Directory $DIR/files>
			Dav ${APACHE_DAV:-on}
			AllowOverride None
			$(auth_lines)
			${APACHE_EXTRA:-}
			</Directory>
			<VirtualHost 127.0.0.1:$TLS_PORT>
			SSLEngine on
			SSLCertificateFile $DIR/tls/server.pem
			SSLCertificateKeyFile $DIR/tls/server.key
			</VirtualHost>
		CONF
	} >"$DIR/apache.conf"
}

server_spawn() {
	spawn apache apache2 -f "$DIR/apache.conf" -DFOREGROUND
}

server_main "$@"
