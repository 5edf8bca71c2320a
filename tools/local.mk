# SPDX-License-Identifier: GPL-2.0-or-later
# The program mirrorctl, manual pages, completion, and the scripts of the
# house. All but main() is a library, so that unit tests can have it.
noinst_LIBRARIES += %D%/libctl.a
%C%_libctl_a_SOURCES = \
	%D%/client.c \
	%D%/client.h \
	%D%/cmd_init.c \
	%D%/cmd_ls.c \
	%D%/cmd_remote.c \
	%D%/cmd_repair.c \
	%D%/cmd_restore.c \
	%D%/cmd_scrub.c \
	%D%/cmd_status.c \
	%D%/cmd_wait.c \
	%D%/ctl.h \
	%D%/options.c \
	%D%/options.h \
	%D%/output.c \
	%D%/output.h \
	%D%/paths.c \
	%D%/paths.h \
	%D%/progress.c \
	%D%/progress.h \
	%D%/remote_arg.c \
	%D%/remote_arg.h \
	%D%/report.c \
	%D%/report.h \
	%D%/show_remote.c \
	%D%/show_remote.h \
	%D%/values.c \
	%D%/values.h

bin_PROGRAMS += mirrorctl
mirrorctl_SOURCES = %D%/ctl.c
mirrorctl_LDADD = %D%/libctl.a $(REPLICA_LIBS) $(JANSSON_LIBS)

dist_man_MANS += \
	%D%/man/mirrorctl.8 \
	%D%/man/mirrorfs.8

completiondir = $(datadir)/bash-completion/completions
dist_completion_DATA = %D%/completion/mirrorctl

EXTRA_DIST += \
	%D%/build \
	%D%/check \
	%D%/install-deps \
	%D%/quickstart
