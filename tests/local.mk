# SPDX-License-Identifier: GPL-2.0-or-later
# Unit programs (cmocka, one group each), helper programs of the scripts, and
# the scripts. `make` builds none of it, `make check` builds and runs all.
TEST_EXTENSIONS = .sh
# A test that does not end fails, after so many seconds.
LOG_COMPILER = $(BASH_PROGRAM) '$(abs_top_srcdir)/tests/limit.sh' 300
SH_LOG_COMPILER = $(BASH_PROGRAM) '$(abs_top_srcdir)/tests/limit.sh' 900 $(BASH_PROGRAM)
AM_TESTS_ENVIRONMENT = \
	top_srcdir='$(abs_top_srcdir)'; \
	top_builddir='$(abs_top_builddir)'; \
	export top_srcdir top_builddir; \
	TSAN_OPTIONS="suppressions=$$top_srcdir/tests/tsan.supp:$$TSAN_OPTIONS"; \
	UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:$$UBSAN_OPTIONS"; \
	MALLOC_PERTURB_=$$(( $$$$ % 255 + 1 )); \
	export TSAN_OPTIONS UBSAN_OPTIONS MALLOC_PERTURB_;

LDADD = tools/libctl.a $(FRONT_LIBS) $(CMOCKA_LIBS)

unit_programs = \
	%D%/unit/t-arena \
	%D%/unit/t-check_data \
	%D%/unit/t-check_entry \
	%D%/unit/t-choice \
	%D%/unit/t-client \
	%D%/unit/t-creds \
	%D%/unit/t-ctlpath \
	%D%/unit/t-dirfd \
	%D%/unit/t-event \
	%D%/unit/t-fan \
	%D%/unit/t-faulty \
	%D%/unit/t-file \
	%D%/unit/t-hash \
	%D%/unit/t-hashfile \
	%D%/unit/t-http \
	%D%/unit/t-http_auth \
	%D%/unit/t-http_many \
	%D%/unit/t-identity \
	%D%/unit/t-init \
	%D%/unit/t-intent \
	%D%/unit/t-io \
	%D%/unit/t-journal \
	%D%/unit/t-journal_open \
	%D%/unit/t-kill_random \
	%D%/unit/t-layout \
	%D%/unit/t-layout_random \
	%D%/unit/t-leaves \
	%D%/unit/t-ledger \
	%D%/unit/t-ledger_disk \
	%D%/unit/t-ledger_random \
	%D%/unit/t-log \
	%D%/unit/t-manifest \
	%D%/unit/t-manifest_objects \
	%D%/unit/t-map \
	%D%/unit/t-object \
	%D%/unit/t-object_name \
	%D%/unit/t-ops \
	%D%/unit/t-output \
	%D%/unit/t-quarantine \
	%D%/unit/t-record \
	%D%/unit/t-recover \
	%D%/unit/t-recover_cases \
	%D%/unit/t-recovery \
	%D%/unit/t-recovery_names \
	%D%/unit/t-recovery_random \
	%D%/unit/t-remote_def \
	%D%/unit/t-remote_parts \
	%D%/unit/t-remote_secret \
	%D%/unit/t-restore \
	%D%/unit/t-resync \
	%D%/unit/t-scrub \
	%D%/unit/t-seal \
	%D%/unit/t-sigv4 \
	%D%/unit/t-spill \
	%D%/unit/t-store \
	%D%/unit/t-store_probe \
	%D%/unit/t-store_s3 \
	%D%/unit/t-store_s3_answers \
	%D%/unit/t-store_s3_names \
	%D%/unit/t-store_words \
	%D%/unit/t-stress \
	%D%/unit/t-superblock \
	%D%/unit/t-sync_moves \
	%D%/unit/t-tree \
	%D%/unit/t-verdict \
	%D%/unit/t-volume_open


# By hand, and for hours: it finds what nobody thought of, still.
long_programs = %D%/unit/t-sync_random

if HAVE_CMOCKA
check_PROGRAMS += $(unit_programs) $(long_programs)
TESTS += $(unit_programs)
endif

# Tools of the scripts, no tests of their own.
check_PROGRAMS += \
	%D%/crash/ace \
	%D%/crash/load \
	%D%/crash/verify \
	%D%/disk/cut \
	%D%/disk/disk \
	%D%/exercise/features \
	%D%/exercise/io \
	%D%/exercise/names \
	%D%/http/faulty \
	%D%/rot/rot \
	%D%/rot/sbtool

%C%_crash_ace_SOURCES = \
	%D%/crash/ace.c \
	%D%/crash/ace.h \
	%D%/crash/ace_check.c \
	%D%/crash/ace_equal.c \
	%D%/crash/ace_found.c \
	%D%/crash/ace_found.h \
	%D%/crash/ace_log.c \
	%D%/crash/ace_model.c \
	%D%/crash/ace_run.c \
	%D%/crash/ace_text.c
%C%_crash_load_SOURCES = \
	%D%/crash/load.c \
	%D%/crash/load.h \
	%D%/crash/load_ops.c \
	%D%/crash/oplog.c \
	%D%/crash/oplog.h \
	%D%/crash/writeback.c
%C%_crash_verify_SOURCES = \
	%D%/crash/check.c \
	%D%/crash/equal.c \
	%D%/crash/events.c \
	%D%/crash/events.h \
	%D%/crash/oplog.c \
	%D%/crash/oplog.h \
	%D%/crash/oracle.c \
	%D%/crash/oracle.h \
	%D%/crash/plant.c \
	%D%/crash/verify.c \
	%D%/crash/verify.h
%C%_disk_cut_SOURCES = \
	%D%/disk/cut.c \
	%D%/disk/image.c \
	%D%/disk/image.h \
	%D%/disk/trace.c \
	%D%/disk/trace.h
%C%_disk_disk_SOURCES = \
	%D%/disk/control.c \
	%D%/disk/control.h \
	%D%/disk/disk.c \
	%D%/disk/image.c \
	%D%/disk/image.h \
	%D%/disk/machine.c \
	%D%/disk/machine.h \
	%D%/disk/trace.c \
	%D%/disk/trace.h
%C%_exercise_features_SOURCES = \
	%D%/exercise/common.h \
	%D%/exercise/features.c \
	%D%/exercise/features.h \
	%D%/exercise/features_data.c \
	%D%/exercise/features_dir.c \
	%D%/exercise/features_meta.c \
	%D%/exercise/features_rights.c
%C%_exercise_io_SOURCES = \
	%D%/exercise/common.h \
	%D%/exercise/io.c \
	%D%/exercise/io.h \
	%D%/exercise/io_ops.c
%C%_exercise_names_SOURCES = \
	%D%/exercise/common.h \
	%D%/exercise/names.c \
	%D%/exercise/names.h \
	%D%/exercise/names_compare.c \
	%D%/exercise/names_ops.c \
	%D%/exercise/names_pick.c
%C%_http_faulty_SOURCES = \
	%D%/http/auth.c \
	%D%/http/dav.c \
	%D%/http/fault.c \
	%D%/http/faulty.c \
	%D%/http/faulty.h \
	%D%/http/files.c \
	%D%/http/s3.c \
	%D%/http/s3_list.c \
	%D%/http/spawn.h \
	%D%/http/stats.c \
	%D%/http/text.c \
	%D%/http/wire.c
%C%_rot_rot_SOURCES = \
	%D%/rot/damage.c \
	%D%/rot/damage.h \
	%D%/rot/rot.c
%C%_rot_sbtool_SOURCES = \
	%D%/rot/sbtool.c

noinst_HEADERS = \
	%D%/unit/compare.h \
	%D%/unit/fakestore.h \
	%D%/unit/journal.h \
	%D%/unit/layoutjudge.h \
	%D%/unit/layoutmodel.h \
	%D%/unit/layoutscene.h \
	%D%/unit/ledger.h \
	%D%/unit/ledger_model.h \
	%D%/unit/manifest.h \
	%D%/unit/names.h \
	%D%/unit/player.h \
	%D%/unit/recover.h \
	%D%/unit/restore.h \
	%D%/unit/store.h \
	%D%/unit/store_s3.h \
	%D%/unit/sync.h \
	%D%/unit/sync_compare.h \
	%D%/unit/sync_ops.h \
	%D%/unit/tmpdir.h \
	%D%/unit/volume.h

# The longest first: what comes last runs alone.
script_tests = \
	%D%/crash/sequences.sh \
	%D%/crash/ablation.sh \
	%D%/crash/content.sh \
	%D%/crash/members.sh \
	%D%/crash/sqlite.sh \
	%D%/crash/costs.sh \
	%D%/remote/people.sh \
	%D%/remote/faults.sh \
	%D%/remote/kill.sh \
	%D%/remote/cut.sh \
	%D%/remote/tree.sh \
	%D%/remote/s3.sh \
	%D%/remote/servers.sh \
	%D%/remote/fallback.sh \
	%D%/remote/scale.sh \
	%D%/mount/exercise.sh \
	%D%/mount/rot.sh \
	%D%/crash/plain.sh \
	%D%/crash/kill.sh \
	%D%/mount/degraded.sh \
	%D%/mount/disk.sh \
	%D%/mount/programs.sh \
	%D%/suites/pjdfstest.sh \
	%D%/mount/basic.sh \
	%D%/mount/ids.sh \
	%D%/mount/refuse.sh \
	%D%/layers.sh \
	%D%/cli.sh

dist_check_SCRIPTS += $(script_tests)
TESTS += $(script_tests)
EXTRA_DIST += \
	%D%/bench.sh \
	%D%/crash/lib.sh \
	%D%/crash/record.sh \
	%D%/crash/set.sh \
	%D%/disk/lib.sh \
	%D%/lib.sh \
	%D%/limit.sh \
	%D%/remote/bench.sh \
	%D%/remote/lib.sh \
	%D%/rot/kinds.sh \
	%D%/rot/tree.sh \
	%D%/rot/verbs.sh \
	%D%/servers/apache.sh \
	%D%/servers/ceph-rgw.sh \
	%D%/servers/lib.sh \
	%D%/servers/lighttpd.sh \
	%D%/servers/nginx.sh \
	%D%/servers/rclone.sh \
	%D%/servers/swift.sh \
	%D%/soak.sh \
	%D%/tsan.supp

# Ratios, no verdict; about three minutes.
bench: mirrorfs mirrorctl
	top_srcdir='$(abs_top_srcdir)' top_builddir='$(abs_top_builddir)' \
		$(BASH_PROGRAM) '$(abs_top_srcdir)/%D%/bench.sh'

# The random tests for an hour (SOAK_MINUTES), as root.
soak: mirrorfs mirrorctl $(check_PROGRAMS)
	top_srcdir='$(abs_top_srcdir)' top_builddir='$(abs_top_builddir)' \
		$(BASH_PROGRAM) '$(abs_top_srcdir)/%D%/soak.sh'

.PHONY: bench soak
