/*
 * team: threads wait for work, take it by the step, and wait again.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE /* sched_getaffinity */
#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "mem.h"
#include "banned.h"

struct member {
	struct team	*t;
	pthread_t	 id;
	unsigned int	 number;
};

struct team {
	struct member	*m;		/* [0] is the caller */
	unsigned int	 n;
	pthread_mutex_t	 lock;
	pthread_cond_t	 work, done;
	unsigned long	 round;		/* of work, so far */
	unsigned int	 busy;		/* threads still at it */
	int		 end;
	/* the work */
	size_t		 items, step;
	_Atomic size_t	 next;
	void		(*fn)(void *, unsigned int, size_t);
	void		*arg;
};

static void
labour(struct team *t, unsigned int number)
{
	size_t	i, end;

	while ((i = atomic_fetch_add(&t->next, t->step)) < t->items) {
		end = t->items - i < t->step ? t->items : i + t->step;
		for (; i < end; i++)
			t->fn(t->arg, number, i);
	}
}

static void *
member_main(void *arg)
{
	struct member	*m = arg;
	struct team	*t = m->t;
	unsigned long	 seen = 0;

	(void)pthread_mutex_lock(&t->lock);
	for (;;) {
		while (t->round == seen && !t->end)
			(void)pthread_cond_wait(&t->work, &t->lock);
		if (t->end)
			break;
		seen = t->round;
		(void)pthread_mutex_unlock(&t->lock);
		labour(t, m->number);
		(void)pthread_mutex_lock(&t->lock);
		if (--t->busy == 0)
			(void)pthread_cond_signal(&t->done);
	}
	(void)pthread_mutex_unlock(&t->lock);
	return NULL;
}

struct team *
team_new(unsigned int n)
{
	struct team	*t = mem_zero(1, sizeof(*t));
	sigset_t	 all, old;

	if (n == 0)
		n = 1;
	t->m = mem_zero(n, sizeof(*t->m));
	(void)pthread_mutex_init(&t->lock, NULL);
	(void)pthread_cond_init(&t->work, NULL);
	(void)pthread_cond_init(&t->done, NULL);
	/* signals are the caller's; a fault is of the thread that makes it,
	   and one that is blocked would kill without asking its handler */
	(void)sigfillset(&all);
	(void)sigdelset(&all, SIGBUS);
	(void)sigdelset(&all, SIGSEGV);
	(void)sigdelset(&all, SIGFPE);
	(void)sigdelset(&all, SIGILL);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	for (t->n = 1; t->n < n; t->n++) {
		t->m[t->n].t = t;
		t->m[t->n].number = t->n;
		if (pthread_create(&t->m[t->n].id, NULL, member_main,
		    &t->m[t->n]) != 0)
			break;
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return t;
}

void
team_free(struct team *t)
{
	unsigned int	i;

	if (t == NULL)
		return;
	(void)pthread_mutex_lock(&t->lock);
	t->end = 1;
	(void)pthread_cond_broadcast(&t->work);
	(void)pthread_mutex_unlock(&t->lock);
	for (i = 1; i < t->n; i++)
		(void)pthread_join(t->m[i].id, NULL);
	(void)pthread_cond_destroy(&t->work);
	(void)pthread_cond_destroy(&t->done);
	(void)pthread_mutex_destroy(&t->lock);
	free(t->m);
	free(t);
}

unsigned int
team_size(const struct team *t)
{
	return t->n;
}

unsigned int
team_processors(void)
{
	cpu_set_t	set;
	long		n;

	if (sched_getaffinity(0, sizeof(set), &set) == 0 &&
	    CPU_COUNT(&set) > 0)
		return (unsigned int)CPU_COUNT(&set);
	n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : (unsigned int)n;
}

void
team_run(struct team *t, size_t n, size_t step,
    void (*fn)(void *arg, unsigned int thread, size_t i), void *arg)
{
	size_t	i;

	if (t->n == 1 || n <= step) {
		for (i = 0; i < n; i++)
			fn(arg, 0, i);
		return;
	}
	(void)pthread_mutex_lock(&t->lock);
	t->items = n;
	t->step = step;
	t->fn = fn;
	t->arg = arg;
	atomic_store(&t->next, 0);
	t->busy = t->n - 1;
	t->round++;
	(void)pthread_cond_broadcast(&t->work);
	(void)pthread_mutex_unlock(&t->lock);
	labour(t, 0);
	(void)pthread_mutex_lock(&t->lock);
	while (t->busy != 0)
		(void)pthread_cond_wait(&t->done, &t->lock);
	(void)pthread_mutex_unlock(&t->lock);
}
