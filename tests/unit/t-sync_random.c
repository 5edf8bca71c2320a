/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The uploader from end to end, at random: bursts of operations on few names, so
 * that they collide, with faults of the server and sessions that end cleanly or by
 * SIGKILL; then the remote must be what the volume is, and nothing else.
 *
 * A step is a burst, a wait and a comparison. A session is some steps in a child
 * process; the last burst of some never ends. What a step does is
 * chosen by the seed (MIRRORFS_TEST_SEED) and its number alone; SYNC_STEPS says how many.
 */
#include "replica/ops.h"

#include <sys/mman.h>

#include "tests/unit/sync_compare.h"
#include "tests/unit/sync_ops.h"

#define STEPS 10                 /* for each kind of server */

/* ---- faults ---- */

#define FAULT_VANISHES 1u

static const struct {
	const char *query;
	unsigned what;
} faults[] = {
	{ "fault=status&status=503", 0 },
	{ "fault=status&status=507&method=PUT", 0 },
	{ "fault=reset-after", 0 },
	{ "fault=reset-after&method=PUT", 0 },
	{ "fault=reset-after&method=MOVE", 0 },
	{ "fault=reset-after&method=DELETE", 0 },
	{ "fault=reset&method=PUT&bytes=100", 0 },
	{ "fault=reset&method=MOVE", 0 },
	{ "fault=hang&seconds=1", 0 },
	{ "fault=lose&method=PUT", 0 },
	{ "fault=half&method=PUT", 0 },
	{ "fault=truncate&method=GET", 0 },
	{ "fault=flip&method=GET", 0 },
	{ "fault=close", 0 },
	{ "fault=forget&seconds=1&method=PUT", FAULT_VANISHES },
};

/* Some rules for requests to come. Returns what they may do beyond the wait. */
static unsigned plan_faults(struct actor *a)
{
	unsigned what = 0, n = 1 + (unsigned)below(a, 3);
	char query[200];

	while (n--) {
		size_t i = (size_t)below(a, N_ELEMS(faults));

		snprintf(query, sizeof(query), "%s&skip=%u&count=%u", faults[i].query,
			 (unsigned)below(a, 40), 1 + (unsigned)below(a, 2));
		trace("%s", query);
		faulty_command(&a->w->f, query);
		what |= faults[i].what;
	}
	return what;
}

/* ---- sessions ---- */

struct plan {
	unsigned first, steps;       /* numbers of the steps */
	bool dies;                   /* after those steps it goes on until it is killed */
	bool add;                    /* the remote is new */
	bool after_kill;
	bool *faulted;               /* shared: requests have gone wrong, so things may be left over */
	uint64_t seed;
};

static bool env_on(const char *name)
{
	return getenv(name) && *getenv(name) != '0';
}

static void burst(struct actor *a)
{
	unsigned n = (unsigned)below(a, 10) ? 5 + (unsigned)below(a, 60) : 200;

	while (n--)
		act(a);
}

static void step(struct actor *a, const struct plan *p, unsigned no)
{
	unsigned what = 0;

	a->seed = p->seed + no * 0x100000001b3ULL;
	trace("---- step %u", no);
	if (chance(a, 35) && !env_on("SYNC_NO_FAULTS")) {
		what = plan_faults(a);
		*p->faulted = true;
	}
	burst(a);
	if (what & FAULT_VANISHES)
		world_settle(a->w);
	else
		world_wait(a->w);
	faulty_command(&a->w->f, "clear");
	world_compare(a->w, !p->after_kill && !*p->faulted);
}

static void begin(struct actor *a, const struct plan *p)
{
	struct bed *b = a->b;
	char error[REMOTE_SAY_MAX] = "";

	b->opt.background = p->seed >> (p->first % 60) & 1;
	b->opt.seal_ms = 40;
	bed_open(b);
	assert_int_equal(resync_start(b->v), 0);
	assert_int_equal(remotes_start(b->v), 0);
	if (p->add && remotes_add(b->v, &a->w->def, false, NULL, NULL, error) < 0)
		fail_msg("add: %s", error);
}

/* In a child. ready: a byte goes out when it may be killed. */
static void session(struct world *w, const struct plan *p, int ready)
{
	struct actor a = { .w = w, .b = w->b, .data = malloc(BIG + 8) };

	begin(&a, p);
	if (p->after_kill) {
		world_wait(w);
		world_compare(w, false);
	}
	for (unsigned i = 0; i < p->steps; i++)
		step(&a, p, p->first + i);
	if (p->dies) {
		a.seed = p->seed + p->first * 7919;
		assert_int_equal(write(ready, "", 1), 1);
		for (int i = 0; i < 10000; i++) {
			burst(&a);
			if (chance(&a, 60))
				world_wait(w);
		}
	}
	let_go(&a);
	assert_int_equal(bed_counter(w->b, CNT_EJECTED), 0);
	bed_close(w->b);
	free(a.data);
}

static void end_of_session(pid_t pid, const struct plan *p, int ready)
{
	uint64_t seed = p->seed + p->first;
	int status = 0;
	char byte;

	if (p->dies && read(ready, &byte, 1) == 1) {
		faulty_pause((int)(next_random(&seed) % 700));
		kill(pid, SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (p->dies && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return;
	if (status)
		fail_msg("the session of steps %u to %u ended with status %x: "
			 "MIRRORFS_TEST_SEED=%" PRIu64, p->first, p->first + p->steps, status, p->seed);
}

static void run_session(struct world *w, const struct plan *p)
{
	int ready[2];
	pid_t pid;

	trace("==== session %s", p->dies ? "that is killed" : "");
	pid = fork_session(ready);
	if (!pid) {
		session(w, p, ready[1]);
		_exit(0);
	}
	close(ready[1]);
	end_of_session(pid, p, ready[0]);
	close(ready[0]);
}

static void all_steps(bool s3, bool in_place)
{
	unsigned steps = getenv("SYNC_STEPS") ? (unsigned)atoi(getenv("SYNC_STEPS")) : STEPS;
	struct plan p = { .add = true, .seed = seed_of_run() };
	bool *faulted = mmap(NULL, sizeof(bool), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct world *w = world_new(s3, in_place);
	uint64_t seed = p.seed;

	assert_true(faulted != MAP_FAILED);
	p.faulted = faulted;
	while (p.first < steps) {
		p.steps = 1 + (unsigned)(next_random(&seed) % 5);
		if (p.steps > steps - p.first)
			p.steps = steps - p.first;
		p.dies = next_random(&seed) % 3 == 0 && !env_on("SYNC_NO_KILL");
		run_session(w, &p);
		/* Once killed, some things may be left over for good. */
		p.after_kill |= p.dies;
		p.first += p.steps;
		p.add = false;
	}
	munmap(faulted, sizeof(bool));
	world_free(w);
}

static void at_webdav(void **state)
{
	(void)state;
	all_steps(false, false);
}

static void at_webdav_in_place(void **state)
{
	(void)state;
	all_steps(false, true);
}

static void at_s3(void **state)
{
	(void)state;
	all_steps(true, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_webdav),
		cmocka_unit_test(at_s3),
		cmocka_unit_test(at_webdav_in_place),
	};
	const char *only = getenv("SYNC_TEST");

	if (only)
		cmocka_set_test_filter(only);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
