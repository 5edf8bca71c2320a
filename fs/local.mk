# SPDX-License-Identifier: GPL-2.0-or-later
# The FUSE front end: the program mirrorfs. All but main() is a library, so
# that unit tests can have it.
noinst_LIBRARIES += %D%/libfront.a
%C%_libfront_a_SOURCES = \
	%D%/ctl.c \
	%D%/ctl.h \
	%D%/ctl_remote.c \
	%D%/ctl_status.c \
	%D%/h_attr.c \
	%D%/h_dir.c \
	%D%/h_file.c \
	%D%/h_name.c \
	%D%/mount.h \
	%D%/ops.c \
	%D%/opts.c \
	%D%/raw.c \
	%D%/session.c

FRONT_LIBS = %D%/libfront.a $(REPLICA_LIBS) $(FUSE_LIBS) $(JANSSON_LIBS)

bin_PROGRAMS += mirrorfs
mirrorfs_SOURCES = %D%/main.c
mirrorfs_LDADD = $(FRONT_LIBS)
