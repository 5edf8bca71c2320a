# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Verbs of the tests that damage mirrors and look what became of it. Sourced
# after lib.sh by rot.sh, basic.sh, refuse.sh, degraded.sh and ids.sh. Nothing
# here knows more of the engine than docs/format.md and mirrorctl(8) say.

PATH=$top_builddir/tests/rot:$PATH

# new_volume DIR...: makes the directories and a volume of them.
new_volume() {
	mkdir -p "$@" || broken "mkdir $*"
	mirrorctl init "$@" >"$WORK/init.log" 2>&1 || {
		cat "$WORK/init.log" >&2
		fail "mirrorctl init $*"
	}
}

# json KEY.KEY...: the scalars of the JSON text on stdin that lie there, one a
# line; the key * stands for every element of an array. Fails on no JSON.
json() {
	perl -MJSON::PP -e '
		binmode(STDOUT, ":raw");
		my @at = (JSON::PP->new->utf8->allow_nonref->decode(join("", <STDIN>)));
		for my $key (split(/\./, $ARGV[0])) {
			@at = map { ref($_) eq "ARRAY" ? ($key eq "*" ? @$_ : $_->[$key])
				: ref($_) eq "HASH" ? $_->{$key} : undef } @at;
		}
		for (@at) { my $s = $_ // ""; utf8::encode($s); print "$s\n"; }' "$1"
}

# status MNT KEY...: one value of mirrorctl status --json.
status() {
	mirrorctl status --json "$1" | json "$2"
}

# mirror_field MNT MIRROR KEY: what the status says of one mirror.
mirror_field() {
	mirrorctl status --json "$1" >"$WORK/.status" || return
	paste <(json 'mirrors.*.path' <"$WORK/.status") \
		<(json "mirrors.*.$3" <"$WORK/.status") |
		awk -F'\t' -v p="$2" '$1 == p { print $2; found = 1 } END { exit !found }'
}

mirror_state() {
	mirror_field "$1" "$2" state
}

state_is() {
	[ "$(mirror_state "$1" "$2" 2>/dev/null)" = "$3" ]
}

# expect_state MNT MIRROR STATE [SECONDS]
expect_state() {
	wait_until "${4:-30}" state_is "$1" "$2" "$3" ||
		fail "state of $2 is '$(mirror_state "$1" "$2")', not '$3'"
}

# expect_status MNT KEY VALUE
expect_status() {
	local got
	got=$(status "$1" "$2") || fail "mirrorctl status --json $1"
	[ "$got" = "$3" ] || fail "status $2 is '$got', not '$3'"
}

# durable_state MIRROR OTHER: the state of OTHER that stands in the superblock
# of MIRROR. is_clean MIRROR: whether it was unmounted in order.
durable_state() {
	sbtool show "$1/.mirrorfs/volume" |
		awk -F'\t' -v p="$2" '$1 == "member" && $2 == p { print $3 }'
}

is_clean() {
	sbtool show "$1/.mirrorfs/volume" | grep -qx "clean$(printf '\t')1"
}

# scrub STATUS MNT [PATH]: expects the exit status; the JSON is in $WORK/scrub.
scrub() {
	local want=$1 got=0
	shift
	mirrorctl scrub --json "$@" >"$WORK/scrub" 2>"$WORK/scrub.err" || got=$?
	[ "$got" -eq "$want" ] && return
	cat "$WORK/scrub.err" >&2
	head -c 4000 "$WORK/scrub" >&2
	fail "scrub $*: status $got instead of $want"
}

# Bytes other than printable ASCII as \ooo, as in the events; line by line.
# Escapes that are there already stay.
escape_lines() {
	perl -pe 's/([^\x20-\x7e\n])/sprintf("\\%03o", ord($1))/ge'
}

# events MIRROR...: the event lines of these mirrors, older ones first.
events() {
	local mirror
	for mirror; do
		cat "$mirror/.mirrorfs/events.1" "$mirror/.mirrorfs/events" 2>/dev/null
	done
	return 0
}

# has_event PATH MIRROR...: whether one of them has an event of this (escaped) path.
has_event() {
	local path=$1
	shift
	events "$@" | cut -f 3 | escape_lines | grep -qxF -e "$path"
}

# Every name of a file with the first name of the same inode: which names are
# one file, whatever the inode numbers.
link_groups() {
	(
		cd "$1" || exit
		find . -path ./.mirrorfs -prune -o -type f -printf '%P\t%i\0' | tree_escape |
			sort | awk -F'\t' '{ if (!($2 in f)) f[$2] = $1; print $1 "\t" f[$2] }'
	)
}

links_equal() {
	link_groups "$1" >"$WORK/.links-a"
	link_groups "$2" >"$WORK/.links-b"
	diff "$WORK/.links-a" "$WORK/.links-b" >&2 || {
		say "hard links of $1 and $2 differ" >&2
		return 1
	}
}

# same_trees TREE...: all are equal to the first, hard links too.
same_trees() {
	local first=$1 other
	shift
	for other; do
		tree_equal "$first" "$other" || fail "$other differs from $first"
		links_equal "$first" "$other" || fail "$other differs from $first"
	done
}

# flip FILE OFFSET: another byte there, mtime kept, written through to the medium.
flip() {
	local old new
	old=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
	[ -n "$old" ] || broken "$1 has no byte $2"
	new=$(printf '\\%03o' $((old ^ 1)))
	touch -r "$1" "$WORK/.mtime"
	# shellcheck disable=SC2059 # an octal escape
	printf "$new" | dd of="$1" bs=1 seek="$2" conv=notrunc,fdatasync status=none ||
		broken "flip $1"
	touch -r "$WORK/.mtime" "$1"
}

# A directory with a little of everything.
small_tree() {
	mkdir -p "$1/dir/sub" "$1/empty"
	printf 'hello\n' >"$1/hello"
	: >"$1/dir/zero"
	head -c 5000 /dev/urandom >"$1/dir/small"
	head -c 300000 /dev/urandom >"$1/dir/sub/large"
	ln "$1/hello" "$1/dir/link"
	ln -s ../hello "$1/dir/symlink"
	mkfifo "$1/dir/fifo"
}

# same_files FILE...: all have the same bytes.
same_files() {
	local first=$1 other
	shift
	for other; do
		cmp -s "$first" "$other" || fail "$other differs from $first"
	done
}
