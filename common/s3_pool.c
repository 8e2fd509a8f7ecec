/*
 * s3_pool: jobs, their tries and their number.  It knows no key and no
 * byte of what is moved.
 * SPDX-License-Identifier: ISC
 */
#include "s3_pool.h"

#include <string.h>

#include "io.h"
#include "net.h"
#include "banned.h"

#define POOL_TICK_MS	1000U	/* of one wait, at most */

void
pool_init(struct s3_pool *p, struct s3 *s, struct retry *r,
    unsigned int ceiling)
{
	memset(p, 0, sizeof(*p));
	p->s = s;
	p->r = r;
	aimd_init(&p->a, ceiling);
}

static void
end_job(struct s3_job *j)
{
	struct s3_pool	*p = j->p;
	int		 sent = j->asked;

	if (sent)
		s3_cancel(p->s, j);
	if (j->prev != NULL)
		j->prev->next = j->next;
	else
		p->list = j->next;
	if (j->next != NULL)
		j->next->prev = j->prev;
	p->jobs--;
	j->ops->drop(j, sent);
}

static void
keep_error(struct s3_pool *p, const struct err *e)
{
	if (p->e.code == 0 && e->code != 0)
		p->e = *e;
}

/* What the answer says of how many to have under way. */
static void
adapt(struct s3_job *j, const struct s3_res *r, enum retry_what what)
{
	struct s3_pool	*p = j->p;
	double		 now = io_now();

	if (what == RETRY_BUSY || r->status == 503 || r->status == 429)
		aimd_slower(&p->a, now, j->begun);
	else if (what == RETRY_GOOD || what == RETRY_FINAL)
		aimd_good(&p->a, now, j->begun, j->small ? r->first : 0,
		    p->jobs >= aimd_limit(&p->a));
}

static void
on_answer(void *arg, const struct s3_res *r, const struct err *why)
{
	struct s3_job	*j = arg;
	struct s3_pool	*p = j->p;
	struct err	 e = { 0, "" };
	enum retry_what	 what = s3_judge(r, why);
	enum s3_next	 next;
	double		 wait = -1;

	j->asked = 0;
	adapt(j, r, what);
	if (p->r != NULL)
		wait = retry_tell(p->r, s3_host(p->s), &j->op, what,
		    r->retry_after, why != NULL ? why->text : NULL);
	j->due = wait > 0 ? io_now() + wait : 0;
	next = j->ops->answer(j, r, why, wait, &e);
	if (next == S3_ASK) {
		if (why != NULL)
			p->retries++;
		return;
	}
	keep_error(p, &e);
	end_job(j);
}

static int
ask(struct s3_job *j, struct err *e)
{
	struct s3_pool	*p = j->p;
	struct s3_req	 q;

	memset(&q, 0, sizeof(q));
	q.fd = -1;
	if (j->ops->ask(j, &q, e) == -1)
		return -1;
	if (p->r != NULL && retry_ask(p->r, s3_host(p->s), &j->op, e) == -1)
		return -1;
	j->begun = io_now();
	j->asked = 1;
	if (s3_start(p->s, &q, on_answer, j, e) == 0)
		return 0;
	j->asked = 0;
	if (p->r != NULL)
		(void)retry_tell(p->r, s3_host(p->s), &j->op, RETRY_NONE, -1,
		    NULL);
	return -1;
}

/* Those whose time has come; *next: when the others' will, or 0. */
static int
ask_due(struct s3_pool *p, double *next, struct err *e)
{
	struct s3_job	*j;
	double		 now = io_now();

	*next = 0;
	for (j = p->list; j != NULL; j = j->next) {
		if (j->asked)
			continue;
		if (j->due <= now) {
			if (ask(j, e) == -1)
				return -1;
		} else if (*next == 0 || j->due < *next)
			*next = j->due;
	}
	return 0;
}

static void
add(struct s3_pool *p, struct s3_job *j)
{
	j->p = p;
	j->prev = NULL;
	j->next = p->list;
	if (j->next != NULL)
		j->next->prev = j;
	p->list = j;
	p->jobs++;
}

int
pool_pause(struct s3_pool *p, double seconds, struct err *e)
{
	struct net	*n = s3_net(p->s);
	double		 end = io_now() + seconds, left;
	int		 rv;

	while ((left = end - io_now()) > 0) {
		if (io_signal() != 0)
			return err_set(e, MSG_TEMPFAIL, "interrupted");
		rv = net_wait(n, left * 1000 < POOL_TICK_MS ?
		    (unsigned int)(left * 1000) + 1 : POOL_TICK_MS, e);
		if (rv == -1 || p->e.code != 0)
			return -1;
		if (rv == 0)
			return retry_sleep(end - io_now(), e);
	}
	return 0;
}

/* Wait for an answer, or for the time of one that waits. */
static int
wait_some(struct s3_pool *p, double next, struct err *e)
{
	double	left = next > 0 ? next - io_now() : POOL_TICK_MS / 1000.0;
	int	rv;

	if (io_signal() != 0)
		return err_set(e, MSG_TEMPFAIL, "interrupted");
	if (left < 0)
		left = 0;
	if (left > POOL_TICK_MS / 1000.0)
		left = POOL_TICK_MS / 1000.0;
	rv = net_wait(s3_net(p->s), (unsigned int)(left * 1000) + 1, e);
	if (rv == 0 && next > 0 && p->e.code == 0 && (left = next -
	    io_now()) > 0)
		rv = retry_sleep(left, e);
	return rv == -1 ? -1 : 0;
}

int
pool_run(struct s3_pool *p, int (*more)(void *arg, struct s3_job **j,
    struct err *e), void *arg, struct err *e)
{
	struct s3_job	*j;
	struct err	 mine = { 0, "" };
	double		 next = 0;
	int		 any;

	for (;;) {
		any = 1;
		while (p->e.code == 0 && p->jobs < aimd_limit(&p->a) &&
		    (any = more(arg, &j, &mine)) == 1) {
			add(p, j);
			if (ask(j, &mine) == -1)
				break;
		}
		if (mine.code == 0 && p->e.code == 0 && any != -1)
			(void)ask_due(p, &next, &mine);
		if (mine.code != 0 || p->e.code != 0 || any == -1 ||
		    (any == 0 && p->jobs == 0))
			break;
		if (wait_some(p, next, &mine) == -1)
			break;
	}
	keep_error(p, &mine);
	if (p->e.code == 0)
		return 0;
	while (p->list != NULL)
		end_job(p->list);
	return err_set(e, p->e.code, "%s", p->e.text);
}
