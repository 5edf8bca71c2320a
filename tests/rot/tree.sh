# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# build_source makes the tree that the rot tests damage, in $SRC, its bytes
# drawn by $SEED: every size at which something changes, sparse files, odd
# names, links, a full directory, attributes. MIRRORFS_ROT_LARGE=1 adds 100 MiB.

# slice FILE OFFSET LENGTH: bytes of the pool.
slice() {
	tail -c +$(($2 + 1)) "$WORK/pool" | head -c "$3" >"$1" || broken "write $1"
}

build_sizes() {
	local dir size n=0
	for dir in one two three four; do
		mkdir -p "$SRC/sizes/$dir"
		for size in 0 1 4095 4096 4097 65535 65536 65537 200000 1048576; do
			n=$((n + 1))
			slice "$SRC/sizes/$dir/$size" $((n * 3001)) "$size"
		done
	done
	slice "$SRC/sizes/10M" 0 10485760
	[ -z "${MIRRORFS_ROT_LARGE:-}" ] && return
	for n in 1 2 3 4 5 6 7 8 9 10; do
		cat "$WORK/pool"
	done | head -c 104857600 >"$SRC/sizes/100M"
}

build_names() {
	local dir=$SRC/names
	mkdir -p "$dir/$(printf 'd\377\376')"
	printf 'odd\n' >"$dir/$(printf 'new\nline')"
	printf 'odd\n' >"$dir/$(printf 'tab\tand\\back')"
	printf 'odd\n' >"$dir/$(printf 'not-utf8-\377\300')"
	printf 'odd\n' >"$dir/$(printf 'utf8-\303\251')"
	printf 'odd\n' >"$dir/$(printf 'd\377\376')/ blank "
	printf 'odd\n' >"$dir/-rf"
	printf 'odd\n' >"$dir/a:b*\\101"
	printf 'odd\n' >"$dir/$(printf '%0255d' 7)"
}

build_sparse() {
	mkdir "$SRC/sparse"
	truncate -s 1M "$SRC/sparse/hole"
	truncate -s 4M "$SRC/sparse/islands"
	dd if="$WORK/pool" of="$SRC/sparse/islands" bs=4096 count=3 seek=100 \
		conv=notrunc status=none
	dd if="$WORK/pool" of="$SRC/sparse/islands" bs=4096 count=70 seek=700 \
		conv=notrunc status=none
	cp "$SRC/sizes/one/65537" "$SRC/sparse/tail"
	truncate -s 700000 "$SRC/sparse/tail"
}

build_links() {
	mkdir -p "$SRC/links/below"
	ln "$SRC/sizes/one/4096" "$SRC/links/small"
	ln "$SRC/sizes/one/4096" "$SRC/links/below/small-too"
	ln "$SRC/sizes/two/200000" "$SRC/links/large"
	ln -s small "$SRC/links/relative"
	ln -s /nowhere/at/all "$SRC/links/dangling"
	ln -s "$(printf 'x%.0s' $(seq 300))" "$SRC/links/long"
	ln -s "$(printf 'odd\n\377')" "$SRC/links/odd"
	ln -s below "$SRC/links/dir"
	mkfifo "$SRC/links/fifo"
}

build_many() {
	local i
	mkdir -p "$SRC/many" "$SRC/deep/1/2/3/4/5"
	for ((i = 0; i < 300; i++)); do
		slice "$SRC/many/file-$i" $((i * 911)) $((i * 37 % 9000))
	done
	for i in 1 1/2 1/2/3 1/2/3/4 1/2/3/4/5; do
		slice "$SRC/deep/$i/file" 77777 5000
	done
	mkdir -p "$SRC/deep/empty"
}

build_attributes() {
	local i
	for ((i = 0; i < 300; i += 10)); do
		setfattr -n user.color -v "blue $i" "$SRC/many/file-$i" || broken "setfattr"
		setfattr -n user.bytes -v 0x00ff00 "$SRC/many/file-$i"
	done
	setfattr -n user.color -v red "$SRC/many" "$SRC/sizes/10M" "$SRC/sizes/three/65537"
	chmod 2750 "$SRC/deep/1"
	chmod 4755 "$SRC/many/file-7"
	chown 1000:1000 "$SRC/many/file-9" "$SRC/deep/1/2"
	find "$SRC" -name 'file-*[13]' -exec touch -d '2001-02-03 04:05:06.789012345' {} +
}

build_source() {
	mkdir "$SRC"
	perl -e 'srand($ARGV[0]); print pack("L", int(rand(4294967296))) for 1 .. 2700000' \
		"$SEED" >"$WORK/pool"
	build_sizes
	build_names
	build_sparse
	build_links
	build_many
	build_attributes
}
