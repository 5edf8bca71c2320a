/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pool of helper threads, grown on demand up to FAN_THREADS and shared by
 * all volumes of the process. With every helper busy the caller does the
 * work itself, so nothing ever waits for a free helper.
 *
 * A free helper is on the list pool.free and waits on a semaphore of its own;
 * a job is handed to one certain helper, taken off the list before. There is
 * no condition variable on purpose: those of glibc before 2.41 can lose a
 * wake-up with more than two waiters. A helper is back on the list before the
 * caller learns that its job is done, so that calls one after the other never
 * find their own helper busy.
 */
#include "replica/fan.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>

#define FAN_THREADS 16

struct job {
	int (*fn)(int m, void *arg);
	void *arg;
	int m;
	int *result;
	sem_t *done;
};

struct helper {
	pthread_t thread;
	sem_t go;           /* posted once for each job, and to end it */
	struct job *job;    /* NULL with go: end. Set before go is posted */
	struct helper *next_free;
};

static struct {
	pthread_mutex_t lock; /* all below but what go hands over; takes no other */
	struct helper helper[FAN_THREADS];
	struct helper *free;
	int threads;
	bool stop;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem) < 0)
		; /* a signal */
}

static void hand_over(struct helper *h, struct job *j)
{
	h->job = j;
	sem_post(&h->go);
}

/* False: the pool stops, and nobody will give this helper another job. */
static bool set_free(struct helper *h)
{
	bool goes_on;

	pthread_mutex_lock(&pool.lock);
	goes_on = !pool.stop;
	if (goes_on) {
		h->next_free = pool.free;
		pool.free = h;
	}
	pthread_mutex_unlock(&pool.lock);
	return goes_on;
}

static void *helper_main(void *arg)
{
	struct helper *h = arg;
	bool goes_on = true;

	while (goes_on) {
		struct job *j;

		wait_for(&h->go);
		j = h->job;
		if (!j)
			break;
		*j->result = j->fn(j->m, j->arg);
		/* h may have the next job from here on; j is the caller's again
		 * with the post. */
		goes_on = set_free(h);
		sem_post(j->done);
	}
	return NULL;
}

/* One more helper, already taken; NULL when there can be none. Locked. */
static struct helper *grow(void)
{
	struct helper *h = &pool.helper[pool.threads];

	if (pool.threads == FAN_THREADS || pool.stop)
		return NULL;
	sem_init(&h->go, 0, 0);
	if (pthread_create(&h->thread, NULL, helper_main, h) != 0) {
		sem_destroy(&h->go);
		return NULL;
	}
	pool.threads++;
	return h;
}

/* Whether a helper took it. */
static bool submit(struct job *j)
{
	struct helper *h;

	pthread_mutex_lock(&pool.lock);
	h = pool.free;
	if (h)
		pool.free = h->next_free;
	else
		h = grow();
	pthread_mutex_unlock(&pool.lock);
	if (h)
		hand_over(h, j);
	return h;
}

void fan_run(uint32_t mask, int (*fn)(int m, void *arg), void *arg, int *result)
{
	struct job job[32];
	int first = -1, sent = 0;
	sem_t done;

	sem_init(&done, 0, 0);
	for (int m = 0; m < 32; m++) {
		if (!(mask & 1u << m))
			continue;
		if (first < 0) {
			first = m;
			continue;
		}
		job[sent] = (struct job){ fn, arg, m, &result[m], &done };
		if (submit(&job[sent]))
			sent++;
		else
			result[m] = fn(m, arg);
	}
	if (first >= 0)
		result[first] = fn(first, arg);
	while (sent--)
		wait_for(&done);
	sem_destroy(&done);
}

void fan_stop(void)
{
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
	struct helper *idle;
	int n;

	pthread_mutex_lock(&one);
	pthread_mutex_lock(&pool.lock);
	pool.stop = true; /* none is added, none becomes free meanwhile */
	n = pool.threads;
	idle = pool.free;
	pool.free = NULL;
	pthread_mutex_unlock(&pool.lock);
	while (idle) {
		struct helper *next = idle->next_free;

		hand_over(idle, NULL);
		idle = next;
	}
	for (int i = 0; i < n; i++) {
		pthread_join(pool.helper[i].thread, NULL);
		sem_destroy(&pool.helper[i].go);
	}
	pthread_mutex_lock(&pool.lock);
	pool.threads = 0;
	pool.stop = false;
	pthread_mutex_unlock(&pool.lock);
	pthread_mutex_unlock(&one);
}
