#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# S3 on OpenStack Swift: one node, one copy, without TLS. See lib.sh. DIR/env also has
# KIND and REGION; URL ends in a bucket; USER is the access key, which at Swift holds
# a colon. DIR must be on a filesystem with user xattrs.
#
# Why it is as it is: S3 wants memcached even without Keystone; and after an error the
# proxy leaves a device alone for a minute, which on one device is all there is
# ("error_suppression_interval").
SERVER_USER=${SERVER_USER:-test:tester}
SERVER_PASSWORD=${SERVER_PASSWORD:-secretword}
. "$(dirname "$0")/lib.sh"

BUCKET='test'
KINDS=(account container object)

server_needs() {
	need_programs swift-proxy-server swift-account-server swift-container-server \
		swift-object-server swift-ring-builder memcached
}

# Swift's servers go to / by themselves, so one is known by its configuration.
end_process() { # pidfile signal
	local pid pids
	pid=$(cat "$1")
	rm -f "$1"
	[ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$DIR" ] ||
		grep -qsaF "$DIR/state/" "/proc/$pid/cmdline" || return 0
	mapfile -t pids < <(session_pids "$pid")
	if [ "$2" = TERM ]; then
		kill -TERM "$pid" 2>/dev/null
		wait_ended 100 "${pids[@]}" && return
	fi
	kill -KILL "${pids[@]}" 2>/dev/null
	wait_ended 100 "${pids[@]}"
}

# One ring a kind; ports are in the rings, so they are kept with the data.
make_ring() { # kind port
	(
		cd "$DIR/state" &&
			swift-ring-builder "$1.builder" create 4 1 1 &&
			swift-ring-builder "$1.builder" add "r1z1-127.0.0.1:$2/d1" 1 &&
			swift-ring-builder "$1.builder" rebalance
	) >>"$DIR/log/ring.out" 2>&1 || server_die "ring: $(tail -n 1 "$DIR/log/ring.out")"
}

new_cluster() {
	local kind port
	rm -rf "${DIR:?}/state"
	mkdir -p "$DIR/state/dev/d1" "$DIR/state/cache"
	cat >"$DIR/state/swift.conf" <<-CONF
		[swift-hash]
		swift_hash_path_suffix = tests
		swift_hash_path_prefix = tests
		[storage-policy:0]
		name = p0
		default = yes
	CONF
	: >"$DIR/state/inner-ports"
	for kind in "${KINDS[@]}"; do
		port=$(free_port)
		make_ring "$kind" "$port"
		echo "$kind $port" >>"$DIR/state/inner-ports"
	done
	echo "memcached $(free_port)" >>"$DIR/state/inner-ports"
}

server_config() {
	local kind port
	TLS_PORT=
	[ -s "$DIR/state/inner-ports" ] || new_cluster
	while read -r kind port; do
		[ "$kind" = memcached ] && write_proxy "$port"
		[ "$kind" = memcached ] || write_server "$kind" "$port"
	done <"$DIR/state/inner-ports"
}

write_server() { # kind port
	cat >"$DIR/state/$1.conf" <<-CONF
		[DEFAULT]
		bind_ip = 127.0.0.1
		bind_port = $2
		user = $(id -un)
		swift_dir = $DIR/state
		devices = $DIR/state/dev
		mount_check = false
		workers = 0
		log_name = $1
		log_level = WARNING
		log_address = $DIR/log/none
		fallocate_reserve = 0
		recon_cache_path = $DIR/state/cache
		[pipeline:main]
		pipeline = $1-server
		[app:$1-server]
		use = egg:swift#$1
	CONF
}

write_proxy() { # port of memcached
	local pipeline="catch_errors gatekeeper healthcheck cache listing_formats s3api tempauth"
	pipeline+=" copy slo dlo"
	cat >"$DIR/state/proxy.conf" <<-CONF
		[DEFAULT]
		bind_ip = 127.0.0.1
		bind_port = $PORT
		user = $(id -un)
		swift_dir = $DIR/state
		workers = 0
		log_name = proxy
		log_level = WARNING
		log_address = $DIR/log/none
		[pipeline:main]
		pipeline = $pipeline proxy-server
		[app:proxy-server]
		use = egg:swift#proxy
		account_autocreate = true
		error_suppression_interval = 1
		node_timeout = 30
		[filter:tempauth]
		use = egg:swift#tempauth
		user_${SERVER_USER/:/_} = $SERVER_PASSWORD .admin
		[filter:s3api]
		use = egg:swift#s3api
		s3_acl = false
		location = us-east-1
		force_swift_request_proxy_log = false
		min_segment_size = 5242880
		[filter:cache]
		use = egg:swift#memcache
		memcache_servers = 127.0.0.1:$1
		[filter:catch_errors]
		use = egg:swift#catch_errors
		[filter:gatekeeper]
		use = egg:swift#gatekeeper
		[filter:healthcheck]
		use = egg:swift#healthcheck
		[filter:listing_formats]
		use = egg:swift#listing_formats
		[filter:copy]
		use = egg:swift#copy
		[filter:slo]
		use = egg:swift#slo
		[filter:dlo]
		use = egg:swift#dlo
	CONF
}

# It takes longer than others do.
be_patient() {
	local tries=1200
	until answers; do
		all_run && [ $((tries -= 1)) -gt 0 ] || return
		sleep 0.05
	done
}

server_spawn() {
	local kind port
	while read -r kind port; do
		if [ "$kind" = memcached ]; then
			spawn memcached memcached -l 127.0.0.1 -p "$port" -U 0 -m 16 -u "$(id -un)"
		else
			spawn "$kind" "swift-$kind-server" -v "$DIR/state/$kind.conf"
		fi
	done <"$DIR/state/inner-ports"
	spawn proxy swift-proxy-server -v "$DIR/state/proxy.conf"
	be_patient
}

# All of its servers: a proxy without them says 503.
answers() {
	local port
	while read -r _ port; do
		! port_free "$port" || return
	done <"$DIR/state/inner-ports"
	curl -fs --max-time 5 -o "$DIR/log/answer" "http://127.0.0.1:$PORT/healthcheck"
}

# By Swift's own protocol, where a bucket is a container: curl would split the access
# key at its colon.
make_bucket() {
	local token url=http://127.0.0.1:$PORT
	token=$(curl -fsS -D- -o "$DIR/log/answer" -H "X-Storage-User: $SERVER_USER" \
		-H "X-Storage-Pass: $SERVER_PASSWORD" "$url/auth/v1.0" |
		tr -d '\r' | sed -n 's/^X-Auth-Token: //p')
	curl -fsS -X PUT -H "X-Auth-Token: $token" -o "$DIR/log/answer" \
		"$url/v1/AUTH_${SERVER_USER%%:*}/$BUCKET" || server_die "no bucket"
}

write_env() {
	make_bucket
	printf '%s=%q\n' KIND s3 URL "http://127.0.0.1:$PORT/$BUCKET" TLS_URL '' CA '' \
		USER "$SERVER_USER" PASSWORD "$SERVER_PASSWORD" REGION us-east-1 >"$DIR/env"
}

server_main "$@"
