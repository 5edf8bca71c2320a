#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# WebDAV on nginx, with PROPFIND from its dav-ext module. See lib.sh.
#	SERVER_BODY_MAX  client_max_body_size; unset: none
#	NGINX_METHODS    dav_methods; PUT DELETE MKCOL COPY MOVE
#	NGINX_EXT        dav_ext_methods; PROPFIND OPTIONS; empty: the line is left out
#	NGINX_EXTRA      lines of the location
. "$(dirname "$0")/lib.sh"

MODULE=/usr/lib/nginx/modules/ngx_http_dav_ext_module.so

server_needs() {
	need_programs nginx
	[ -e "$MODULE" ] || server_lacks "nginx has no dav-ext module"
}

server_config() {
	local ext=${NGINX_EXT-PROPFIND OPTIONS} user=
	[ "$(id -u)" -ne 0 ] || user="user root;"
	basic_password >"$DIR/state/passwords"
	cat >"$DIR/nginx.conf" <<-CONF
		load_module $MODULE;
		$user
		daemon off;
		worker_processes 1;
		pid $DIR/run/nginx.master;
		error_log $DIR/log/error.log warn;
		events { worker_connections 512; }
		http {
			access_log off;
			server_tokens off;
			client_body_temp_path $DIR/state/body;
			proxy_temp_path $DIR/state/proxy;
			fastcgi_temp_path $DIR/state/fastcgi;
			uwsgi_temp_path $DIR/state/uwsgi;
			scgi_temp_path $DIR/state/scgi;
			client_max_body_size ${SERVER_BODY_MAX:-0};
			keepalive_requests 100000;
			server {
				listen 127.0.0.1:$PORT;
				listen 127.0.0.1:$TLS_PORT ssl http2;
				ssl_certificate $DIR/tls/server.pem;
				ssl_certificate_key $DIR/tls/server.key;
				root $DIR/files;
				location / {
					auth_basic test;
					auth_basic_user_file $DIR/state/passwords;
					dav_methods ${NGINX_METHODS:-PUT DELETE MKCOL COPY MOVE};
					${ext:+dav_ext_methods $ext;}
					dav_access user:rw;
					${NGINX_EXTRA:-}
				}
			}
		}
	CONF
}

server_spawn() {
	spawn nginx nginx -e "$DIR/log/error.log" -p "$DIR" -c "$DIR/nginx.conf"
}

server_main "$@"
