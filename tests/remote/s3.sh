#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The S3 dialect at real servers: what every store promises (t-store, with TLS where
# there is TLS) and what only S3 has (t-store_s3, t-store_s3_names). At Ceph RGW; with
# REMOTE_ALL=1 also at Swift.
. "$(dirname "$0")/lib.sh"

UNIT=$top_builddir/tests/unit

# at URL CA PROGRAM
at() {
	local log=$WORK/$3.out
	STORE_KIND=$KIND STORE_URL=$1 STORE_CA=$2 STORE_USER=$USER STORE_PASSWORD=$PASSWORD \
		STORE_REGION=$REGION "$UNIT/$3" >"$log" 2>&1 || {
		cat "$log"
		fail "$3 at $SERVER"
	}
	say "$3 at $SERVER: $(grep -c ' OK \]' "$log") passed"
}

test_server() {
	local begun=$SECONDS
	start_server "$1"
	say "$SERVER is up after $((SECONDS - begun)) s"
	at "${TLS_URL:-$URL}" "$CA" t-store
	at "$URL" "" t-store_s3
	at "$URL" "" t-store_s3_names
	stop_server --kill
}

[ -x "$UNIT/t-store_s3" ] || broken "no $UNIT/t-store_s3"
test_server ceph-rgw
[ "${REMOTE_ALL:-0}" != 1 ] || test_server swift
