#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# S3 on a Ceph of one node: monitor, OSD, gateway. See lib.sh. DIR/env also has KIND
# and REGION; URL and TLS_URL end in a bucket; USER is the access key.
#
# Why it is as it is: without authentication between the daemons the gateway still
# asks for a secure monitor ("ms mon client mode"); a gateway needs no manager; one
# placement group a pool is enough; and most of the seconds of a first start were the
# monitor's, which waits for one before each change of its maps ("paxos").
. "$(dirname "$0")/lib.sh"

BUCKET='test'

server_needs() {
	need_programs ceph-mon ceph-osd ceph monmaptool radosgw radosgw-admin
}

# The cluster has ports of its own, which stay as long as its data.
new_cluster() {
	rm -rf "${DIR:?}/state"
	mkdir -p "$DIR/state/osd" "$DIR/state/rgw"
	MON_PORT=$(free_port)
	FSID=$(cat /proc/sys/kernel/random/uuid)
	: >"$DIR/state/keyring"
}

server_config() {
	export CEPH_CONF=$DIR/ceph.conf CEPH_ARGS="-c $DIR/ceph.conf"
	if [ -s "$DIR/state/made" ]; then
		read -r MON_PORT FSID <"$DIR/state/made"
	else
		new_cluster
	fi
	write_config
	[ -s "$DIR/state/made" ] || make_monitor
}

write_config() {
	local tls="ssl_certificate=$DIR/tls/server.pem ssl_private_key=$DIR/tls/server.key"
	cat >"$DIR/ceph.conf" <<-CONF
		[global]
		fsid = $FSID
		mon host = [v2:127.0.0.1:$MON_PORT]
		public addr = 127.0.0.1
		cluster addr = 127.0.0.1
		ms bind ipv6 = false
		ms bind msgr1 = false
		ms bind port min = 20000
		ms bind port max = 32000
		auth cluster required = none
		auth service required = none
		auth client required = none
		ms mon client mode = crc
		pid file =
		admin socket = $DIR/run/\$type.\$id.asok
		run dir = $DIR/run
		crash dir = $DIR/log
		log file = $DIR/log/\$type.\$id.log
		keyring = $DIR/state/keyring
		osd pool default size = 1
		osd pool default min size = 1
		osd pool default pg num = 1
		osd pool default pgp num = 1
		osd pool default pg autoscale mode = off
		osd crush chooseleaf type = 0
		mon allow pool size one = true
		mon max pg per osd = 2000
		mon warn on pool no redundancy = false
		[mon]
		mon data = $DIR/state/mon
		paxos propose interval = 0.05
		paxos min wait = 0.01
		mon data avail warn = 2
		mon data avail crit = 1
		mon osd full ratio = 0.97
		mon osd nearfull ratio = 0.95
		mon osd backfillfull ratio = 0.96
		mon cluster log file = $DIR/log/cluster.log
		[osd]
		osd data = $DIR/state/osd
		osd objectstore = bluestore
		osd max object name len = 2048
		osd max object namespace len = 256
		bluestore block create = true
		bluestore block size = 21474836480
		bluestore cache autotune = false
		bluestore cache size = 134217728
		bluestore fsck on mount = false
		bluestore fsck on umount = false
		osd memory target = 939524096
		osd op num shards = 2
		osd op num threads per shard = 1
		osd class load list = *
		[client.rgw]
		rgw data = $DIR/state/rgw
		rgw thread pool size = 64
		rgw enable usage log = false
		rgw enable ops log = false
		rgw override bucket index max shards = 1
		rgw dynamic resharding = false
		rgw gc obj min wait = 5
		rgw frontends = beast endpoint=127.0.0.1:$PORT ssl_endpoint=127.0.0.1:$TLS_PORT $tls
	CONF
}

# not_made WHAT LOG
not_made() {
	tail -n 5 "$2" >&2
	end_all KILL
	server_die "$1 could not be made"
}

# try SECONDS WHAT COMMAND...
try() {
	local seconds=$1 what=$2 log=$DIR/log/make.out
	shift 2
	timeout "$seconds" "$@" >>"$log" 2>&1 || not_made "$what" "$log"
}

make_monitor() {
	try 30 "the map" monmaptool --create --fsid "$FSID" \
		--addv a "[v2:127.0.0.1:$MON_PORT]" --clobber "$DIR/state/monmap"
	try 30 "the monitor" ceph-mon -i a --mkfs --monmap "$DIR/state/monmap"
}

# Its data are made while the monitor comes up, which takes as long.
make_osd() {
	local uuid making
	uuid=$(cat /proc/sys/kernel/random/uuid)
	ceph-osd -i 0 --mkfs --osd-uuid "$uuid" --monmap "$DIR/state/monmap" \
		>"$DIR/log/mkfs.out" 2>&1 &
	making=$!
	try 60 "the OSD" ceph osd new "$uuid"
	wait "$making" || not_made "data of the OSD" "$DIR/log/mkfs.out"
}

# It takes longer than others do.
be_patient() {
	local tries=1200
	until answers; do
		all_run && [ $((tries -= 1)) -gt 0 ] || return
		sleep 0.05
	done
}

# Named so that the gateway is the first to be ended, the monitor the last.
server_spawn() {
	local made=$DIR/state/made
	spawn 3-mon ceph-mon -i a -f
	[ -s "$made" ] || make_osd
	spawn 2-osd ceph-osd -i 0 -f
	# Waits for the OSD by itself.
	if [ ! -s "$made" ]; then
		try 60 "the user" radosgw-admin -n client.rgw user create --uid=tester \
			--display-name=tester --access-key="$SERVER_USER" \
			--secret-key="$SERVER_PASSWORD"
		echo "$MON_PORT $FSID" >"$made"
	fi
	spawn 1-rgw radosgw -n client.rgw -f
	be_patient
}

# To make a bucket that there is already is no error.
make_bucket() {
	curl -fsS --aws-sigv4 aws:amz:us-east-1:s3 --user "$SERVER_USER:$SERVER_PASSWORD" \
		-H "x-amz-content-sha256: UNSIGNED-PAYLOAD" -o "$DIR/log/answer" \
		-X PUT "http://127.0.0.1:$PORT/$BUCKET" || server_die "no bucket"
}

write_env() {
	make_bucket
	printf '%s=%q\n' KIND s3 URL "http://127.0.0.1:$PORT/$BUCKET" \
		TLS_URL "https://127.0.0.1:$TLS_PORT/$BUCKET" CA "$DIR/tls/ca.pem" \
		USER "$SERVER_USER" PASSWORD "$SERVER_PASSWORD" REGION us-east-1 >"$DIR/env"
}

server_main "$@"
