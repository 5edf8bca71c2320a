/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * load: writes to a volume from several threads and logs what was acknowledged.
 *
 *   load [-s SEED] [-t THREADS] [-n OPS] [-f SMALL] [-l LARGE] [-i IDLE]
 *        [-c CREATED] [-p PAUSE_MS] [-m MIX] [-q SEQFILE] [-w MIRROR]... [-g] [-k] DIR LOG
 *
 * Makes THREADS directories of SMALL files up to 64 KiB and LARGE ones of 1 to
 * 4 MiB, and IDLE ones that nobody touches again, and fsyncs them; with -g makes
 * LOG.ready then, and waits until LOG.go exists. Then each thread does OPS operations. MIX: names of operations, comma
 * separated, perhaps NAME=WEIGHT; the others are left out. Dirty pages of each
 * MIRROR are written at random times, as the kernel may. With -k the loss of
 * the volume (ENOTCONN) is the expected end. Exit status 1: an operation failed
 * that must not.
 */
#include "tests/crash/load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/exercise/common.h"

struct load load = {
	.seq = -1,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.ticket = 1,
	.n_small = 4,
	.n_large = 1,
	.n_idle = 2,
	.max_created = 12,
	.pause_ms = 400,
	.ops = 200,
};

static struct {
	uint64_t seed;
	unsigned threads;
	bool wait, may_die;
	const char *log;
	_Atomic int failed;
} opt = { .threads = 3 };

static struct worker *workers[MAX_THREADS];
static pthread_barrier_t prefilled, go;

static void usage(void)
{
	fputs("usage: load [-s SEED] [-t THREADS] [-n OPS] [-f SMALL] [-l LARGE] [-i IDLE]"
	      " [-c CREATED] [-p PAUSE_MS] [-m MIX] [-q SEQFILE] [-w MIRROR]... [-g] [-k]"
	      " DIR LOG\n", stderr);
	exit(EXERCISE_TROUBLE);
}

static void trouble(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(EXERCISE_TROUBLE);
}

static struct action *find_action(const char *name, size_t len)
{
	for (size_t i = 0; i < load_n_actions; i++)
		if (strncmp(load_actions[i].name, name, len) == 0 && !load_actions[i].name[len])
			return &load_actions[i];
	fprintf(stderr, "load: no operation %.*s\n", (int)len, name);
	exit(EXERCISE_TROUBLE);
}

/* The named operations keep their weights or get the given ones. */
static void set_mix(const char *mix)
{
	unsigned *weight = calloc(load_n_actions, sizeof(*weight));
	size_t len;

	if (!weight)
		trouble("memory");
	for (; *mix; mix += len + (mix[len] == ',')) {
		struct action *a;
		size_t name = strcspn(mix, "=,");

		len = strcspn(mix, ",");
		a = find_action(mix, name);
		weight[a - load_actions] = mix[name] == '=' ?
			(unsigned)strtoul(mix + name + 1, NULL, 10) : a->weight;
	}
	for (size_t i = 0; i < load_n_actions; i++)
		load_actions[i].weight = weight[i];
	free(weight);
}

/* Returns whether to go on. */
static bool judge(int r)
{
	if (r == 0)
		return true;
	atomic_store(&load.stop, true);
	if (opt.may_die && (r == -ENOTCONN || r == -ECONNABORTED))
		return false;
	fprintf(stderr, "load: an operation failed: %s\n", strerror(-r));
	atomic_store(&opt.failed, 1);
	return false;
}

static bool prefill_idle(struct worker *w)
{
	for (unsigned i = 0; i < load.n_idle; i++) {
		uint64_t size = 1 + rng_below(&w->rng, i % 2 ? 300000 : 65536);
		struct slot s = { .fd = -1 };
		int r;

		snprintf(s.name, sizeof(s.name), "w%d/i%u", w->index, i);
		r = load_prefill(w, &s, size);
		load_close(&s);
		if (!judge(r))
			return false;
	}
	return true;
}

static bool prefill(struct worker *w)
{
	unsigned i, n = load.n_small + load.n_large;
	char dir[16];

	snprintf(dir, sizeof(dir), "w%d", w->index);
	if (mkdirat(load.root, dir, 0755))
		trouble(dir);
	for (i = 0; i < n; i++) {
		struct slot *s = &w->slot[i];
		uint64_t size = 1 + rng_below(&w->rng, 65536);

		*s = (struct slot){ .fd = -1, .large = i >= load.n_small };
		snprintf(s->name, sizeof(s->name), "%s/%c%u", dir, s->large ? 'l' : 's', i);
		if (s->large)
			size += (uint64_t)1 << (20 + ((unsigned)w->index + i) % 3);
		if (!judge(load_prefill(w, s, size)))
			return false;
		load_close(s);
		w->n_slots++;
	}
	return prefill_idle(w) && judge(load_sync_dir(w));
}

static void *work(void *arg)
{
	struct worker *w = arg;
	bool good = prefill(w);
	unsigned i;

	pthread_barrier_wait(&prefilled);
	pthread_barrier_wait(&go);
	for (; good && w->done < load.ops && !atomic_load(&load.stop); w->done++)
		good = judge(load_run_random(w));
	for (i = 0; i < w->n_slots; i++)
		load_close(&w->slot[i]);
	return NULL;
}

static void touch(const char *suffix)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s.%s", opt.log, suffix);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		trouble(path);
	close(fd);
}

static void wait_for_go(void)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s.go", opt.log);
	touch("ready");
	for (int i = 0; access(path, F_OK); i++) {
		if (i > 60000)
			trouble("nobody says go");
		usleep(5000);
	}
}

static void run_workers(void)
{
	struct worker self = { .index = -1 };
	unsigned i;

	pthread_barrier_init(&prefilled, NULL, opt.threads + 1);
	pthread_barrier_init(&go, NULL, opt.threads + 1);
	for (i = 0; i < opt.threads; i++) {
		struct worker *w = workers[i] = calloc(1, sizeof(*w));

		if (!w)
			trouble("memory");
		w->index = (int)i;
		w->rng = opt.seed * MAX_THREADS + i;
		if ((errno = pthread_create(&w->thread, NULL, work, w)))
			trouble("thread");
	}
	pthread_barrier_wait(&prefilled);
	judge(load_sync_all(&self));
	if (opt.wait)
		wait_for_go();
	if ((errno = writeback_start(opt.seed)))
		trouble("thread");
	pthread_barrier_wait(&go);
	for (i = 0; i < opt.threads; i++)
		pthread_join(workers[i]->thread, NULL);
	writeback_stop();
}

static unsigned number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || end == text || n > 1u << 30)
		usage();
	return (unsigned)n;
}

static void parse(int argc, char **argv)
{
	int c;

	opt.seed = seed_default();
	while ((c = getopt(argc, argv, "s:t:n:f:l:i:c:p:m:q:w:gk")) != -1) {
		switch (c) {
		case 's': opt.seed = strtoull(optarg, NULL, 0); break;
		case 't': opt.threads = number(optarg); break;
		case 'n': load.ops = number(optarg); break;
		case 'f': load.n_small = number(optarg); break;
		case 'l': load.n_large = number(optarg); break;
		case 'i': load.n_idle = number(optarg); break;
		case 'c': load.max_created = number(optarg); break;
		case 'p': load.pause_ms = number(optarg); break;
		case 'm': set_mix(optarg); break;
		case 'w': writeback_add(optarg); break;
		case 'g': opt.wait = true; break;
		case 'k': opt.may_die = true; break;
		case 'q':
			load.seq = open(optarg, O_RDONLY | O_CLOEXEC);
			if (load.seq < 0)
				trouble(optarg);
			break;
		default: usage();
		}
	}
	if (optind + 2 != argc || !opt.threads || opt.threads > MAX_THREADS ||
	    !(load.n_small + load.n_large) ||
	    load.n_small + load.n_large + load.max_created > MAX_SLOTS)
		usage();
	opt.log = argv[optind + 1];
}

int main(int argc, char **argv)
{
	unsigned long done = 0;

	parse(argc, argv);
	load.root = open(argv[optind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (load.root < 0)
		trouble(argv[optind]);
	load.log = fopen(opt.log, "we");
	if (!load.log)
		trouble(opt.log);
	run_workers();
	if (fclose(load.log))
		trouble(opt.log);
	for (unsigned i = 0; i < opt.threads; i++) {
		done += workers[i]->done;
		free(workers[i]);
	}
	printf("operations %lu\n", done);
	return atomic_load(&opt.failed);
}
