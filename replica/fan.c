/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pool of helper threads, grown on demand up to FAN_THREADS and shared by
 * all volumes of the process. With every helper busy the caller does the
 * work itself, so nothing ever waits for a free helper.
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
	struct job *next;
};

static struct {
	pthread_mutex_t lock;   /* all below */
	pthread_cond_t work;
	struct job *head;
	pthread_t thread[FAN_THREADS];
	int threads, idle, queued;
	bool stop;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER };

static void *helper(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&pool.lock);
	for (;;) {
		struct job *j;

		pool.idle++;
		while (!pool.head && !pool.stop)
			pthread_cond_wait(&pool.work, &pool.lock);
		pool.idle--;
		j = pool.head;
		if (!j)
			break;
		pool.head = j->next;
		pool.queued--;
		pthread_mutex_unlock(&pool.lock);
		*j->result = j->fn(j->m, j->arg);
		sem_post(j->done);
		pthread_mutex_lock(&pool.lock);
	}
	pthread_mutex_unlock(&pool.lock);
	return NULL;
}

/* Whether a helper took it. */
static bool submit(struct job *j)
{
	bool taken = false;

	pthread_mutex_lock(&pool.lock);
	if (pool.queued >= pool.idle && pool.threads < FAN_THREADS && !pool.stop &&
	    pthread_create(&pool.thread[pool.threads], NULL, helper, NULL) == 0) {
		pool.threads++;
		taken = true;
	}
	if (taken || pool.queued < pool.idle) {
		j->next = pool.head;
		pool.head = j;
		pool.queued++;
		taken = true;
		pthread_cond_signal(&pool.work);
	}
	pthread_mutex_unlock(&pool.lock);
	return taken;
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
		job[sent] = (struct job){ fn, arg, m, &result[m], &done, NULL };
		if (submit(&job[sent]))
			sent++;
		else
			result[m] = fn(m, arg);
	}
	if (first >= 0)
		result[first] = fn(first, arg);
	while (sent--)
		while (sem_wait(&done) < 0)
			;
	sem_destroy(&done);
}

void fan_stop(void)
{
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
	int n;

	pthread_mutex_lock(&one);
	pthread_mutex_lock(&pool.lock);
	pool.stop = true; /* no helper is added meanwhile */
	n = pool.threads;
	pthread_cond_broadcast(&pool.work);
	pthread_mutex_unlock(&pool.lock);
	for (int i = 0; i < n; i++)
		pthread_join(pool.thread[i], NULL);
	pthread_mutex_lock(&pool.lock);
	pool.threads = 0;
	pool.stop = false;
	pthread_mutex_unlock(&pool.lock);
	pthread_mutex_unlock(&one);
}
