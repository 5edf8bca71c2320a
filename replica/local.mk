# SPDX-License-Identifier: GPL-2.0-or-later
# The engine. Nothing here knows FUSE.
noinst_LIBRARIES += %D%/libreplica.a
%C%_libreplica_a_SOURCES = \
	%D%/arena.c \
	%D%/arena.h \
	%D%/base/cleanup.h \
	%D%/base/exitcode.h \
	%D%/base/io.c \
	%D%/base/io.h \
	%D%/base/log.c \
	%D%/base/log.h \
	%D%/base/map.c \
	%D%/base/map.h \
	%D%/check.h \
	%D%/check_data.c \
	%D%/check_entry.c \
	%D%/check_names.c \
	%D%/choice.c \
	%D%/choice.h \
	%D%/creds.c \
	%D%/creds.h \
	%D%/ctlpath.c \
	%D%/ctlpath.h \
	%D%/dir.c \
	%D%/dir.h \
	%D%/dirfd.c \
	%D%/dirfd.h \
	%D%/event.c \
	%D%/event.h \
	%D%/fan.c \
	%D%/fan.h \
	%D%/file.c \
	%D%/file.h \
	%D%/file_read.c \
	%D%/file_write.c \
	%D%/hash.c \
	%D%/hash.h \
	%D%/hashfile.c \
	%D%/hashfile.h \
	%D%/identity.c \
	%D%/identity.h \
	%D%/init.c \
	%D%/init.h \
	%D%/leaves.c \
	%D%/object.c \
	%D%/object.h \
	%D%/op_attr.c \
	%D%/op_lookup.c \
	%D%/op_name.c \
	%D%/op_remove.c \
	%D%/ops.h \
	%D%/quarantine.c \
	%D%/quarantine.h \
	%D%/rebuild.c \
	%D%/record.c \
	%D%/record.h \
	%D%/resync.c \
	%D%/resync.h \
	%D%/scrub.c \
	%D%/scrub.h \
	%D%/seal.c \
	%D%/seal.h \
	%D%/spill.c \
	%D%/spill.h \
	%D%/superblock.c \
	%D%/superblock.h \
	%D%/tree.c \
	%D%/tree.h \
	%D%/verdict.c \
	%D%/verdict.h \
	%D%/volume.c \
	%D%/volume.h \
	%D%/volume_open.c \
	%D%/walk.h

REPLICA_LIBS = %D%/libreplica.a $(XXHASH_LIBS)
