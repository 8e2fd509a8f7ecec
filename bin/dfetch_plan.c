/*
 * dfetch_plan: which inputs there are: files of lines, what operands stand
 * for, and whether all of it is there.  It copies nothing.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch_run.h"

#include <sys/stat.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "remote.h"
#include "banned.h"

/* seen[] reaches as far as the plan. */
static void
grow_seen(struct fetch *x)
{
	x->seen = mem_grow(x->seen, &x->cap_seen, x->plan.n,
	    sizeof(struct fetch_seen *));
	for (; x->n_seen < x->plan.n; x->n_seen++)
		x->seen[x->n_seen] = NULL;
}

/* Is an operand's input of an age that is asked for?  1, 0, -1. */
static int
is_of_age(const struct fetch *x, const char *url,
    const struct fetch_seen *seen, struct err *e)
{
	const struct fetch_src	*s = fetch_src_of(url, e);
	struct fetch_info	 info;
	int64_t			 age;

	if (!x->o.has_newer && !x->o.has_older)
		return 1;
	if (s == NULL)
		return -1;
	if (seen != NULL)
		info = seen->info;
	else if (s->remote)
		return err_set(e, MSG_USAGE, "%s: --newer-than, --older-than:"
		    " its age is not known before it is fetched", url);
	else if (s->look(url, &info, e) == -1)
		return -1;
	age = (io_wall_ns() - info.mtime) / 1000000000;
	if (age < 0)
		age = 0;
	if ((x->o.has_newer && (uint64_t)age >= x->o.newer) ||
	    (x->o.has_older && (uint64_t)age < x->o.older)) {
		msg_info("%s: passed over: %lld seconds old", url,
		    (long long)age);
		return 0;
	}
	return 1;
}

/* An operand's input; takes seen. */
int
fetch_add_url(void *arg, const char *url, struct fetch_seen *seen,
    struct err *e)
{
	struct fetch		*x = arg;
	struct plan_line	*l;
	char			*id;
	int			 rv;

	rv = is_of_age(x, url, seen, e);
	if (rv != 1) {
		fetch_seen_free(seen);
		return rv;
	}
	id = plan_url(url, NULL, e);
	rv = id != NULL ? 0 : -1;
	/* whatever else a plan says of it, it is the same input */
	if (rv == 0 && plan_find(&x->plan, id) == NULL)
		rv = plan_add_line(&x->plan, url, "operand", 0, e);
	l = rv == 0 ? plan_find(&x->plan, id) : NULL;
	if (l != NULL && seen != NULL) {
		grow_seen(x);
		fetch_seen_free(x->seen[l - x->plan.v]);
		x->seen[l - x->plan.v] = seen;
		seen = NULL;
	}
	fetch_seen_free(seen);
	free(id);
	return rv;
}

int
fetch_add_plan(struct fetch *x, const char *name, struct err *e)
{
	if (strcmp(name, "-") == 0 && isatty(STDIN_FILENO))
		return err_set(e, MSG_USAGE, "stdin is a terminal: want a "
		    "plan, as in: dfetch -l DIR | dfetch -");
	return plan_read(&x->plan, name, e);
}

static int
add_operand(struct fetch *x, const char *url, struct err *e)
{
	const struct fetch_src	*s;

	if (strcmp(url, "-") == 0)
		return fetch_add_plan(x, url, e);
	s = fetch_src_of(url, e);
	if (s == NULL || s->check(url, e) == -1)
		return -1;
	if (s->remote && x->list.remote == NULL)
		x->list.remote = remote_new(x->o.ckpt);
	x->list.add = fetch_add_url;
	x->list.arg = x;
	return s->list(&x->list, url, e);
}

/* One file takes the requests of one batch. */
static int
check_batches(struct fetch *x, size_t n, struct err *e)
{
	struct stat	st;

	if (n < 2 || x->o.batch.requeue == NULL ||
	    (stat(x->o.batch.requeue, &st) == 0 && S_ISDIR(st.st_mode)))
		return 0;
	return err_set(e, MSG_USAGE, "--requeue: %s: more than one batch: "
	    "want a directory that exists", x->o.batch.requeue);
}

int
fetch_add_operands(struct fetch *x, char **v, int n)
{
	const struct fetch_src	*s;
	struct err		 e;
	size_t			 k, batches = 0;
	int			 i, rv = 0;

	if (x->o.files)
		rv = fetch_add_files(x, v);
	for (i = 0; !x->o.files && i < n && io_signal() == 0; i++) {
		memset(&e, 0, sizeof(e));
		if (add_operand(x, v[i], &e) == -1) {
			fetch_fail(x, &e);
			rv = -1;
		}
	}
	grow_seen(x);
	for (k = 0; k < x->plan.n; k++) {
		memset(&e, 0, sizeof(e));
		s = fetch_src_of(x->plan.v[k].url, &e);
		if (s == NULL || s->check(x->plan.v[k].url, &e) == -1) {
			fetch_fail(x, &e);
			rv = -1;
			continue;
		}
		x->n_remote += s->remote != 0;
		batches += s == &fetch_batches;
	}
	memset(&e, 0, sizeof(e));
	if (check_batches(x, batches, &e) == -1) {
		fetch_fail(x, &e);
		rv = -1;
	}
	return rv;
}

/* Look at the lines of one kind of source that no list told of. */
static int
see_kind(struct fetch *x, const struct fetch_src *kind)
{
	struct fetch_look	*v = NULL;
	struct err		 e;
	size_t			 i, n = 0, cap = 0;
	int			 rv = 0, r;

	for (i = 0; i < x->plan.n; i++) {
		memset(&e, 0, sizeof(e));
		if (x->seen[i] != NULL ||
		    fetch_src_of(x->plan.v[i].url, &e) != kind)
			continue;
		v = mem_grow(v, &cap, n + 1, sizeof(*v));
		memset(&v[n], 0, sizeof(v[n]));
		v[n].line = &x->plan.v[i];
		v[n++].n = i;
	}
	if (n == 0)
		return 0;
	if (x->list.remote == NULL)
		x->list.remote = remote_new(x->o.ckpt);
	memset(&e, 0, sizeof(e));
	r = kind->see(&x->list, v, n, &e);
	for (i = 0; i < n; i++) {
		x->seen[v[i].n] = v[i].seen;
		if (v[i].e.code == 0)
			continue;
		fetch_lose(x, v[i].n, &v[i].e);
		rv = -1;
	}
	if (r == -1) {
		fetch_fail(x, &e);
		rv = -1;
	}
	free(v);
	return rv;
}

int
fetch_see_remote(struct fetch *x)
{
	static const struct fetch_src *const	kinds[] = { &fetch_s3,
		&fetch_http, &fetch_batches };
	size_t					i;
	int					rv = 0;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]) &&
	    io_signal() == 0; i++)
		if (see_kind(x, kinds[i]) == -1)
			rv = -1;
	return rv;
}

int
fetch_all_there(struct fetch *x)
{
	const struct fetch_src	*s;
	struct err		 e;
	size_t			 i;
	int			 rv = 0;

	for (i = 0; i < x->plan.n && io_signal() == 0; i++) {
		memset(&e, 0, sizeof(e));
		s = fetch_src_of(x->plan.v[i].url, &e);
		if (s == NULL || s->remote ||
		    s->exists(x->plan.v[i].url, &e) == 0)
			continue;
		if (fetch_lose(x, i, &e) == -1)
			return -1;
		rv = -1;
	}
	return fetch_see_remote(x) == -1 ? -1 : rv;
}

void
fetch_unlink(struct fetch *x)
{
	remote_free(x->list.remote);
	x->list.remote = NULL;
}

/* 0, or -1: what was fetched of the line is not what lies there. */
static int
as_fetched(const struct fetched *d, const struct fetch_look *k,
    struct err *e)
{
	if (k->seen != NULL && k->seen->info.size == d->info.size &&
	    strcmp(k->seen->info.etag, d->info.etag) == 0)
		return 0;
	if (k->e.code != 0 && k->e.code != MSG_NOINPUT) {
		*e = k->e;
		return -1;
	}
	return fetch_changed(k->line->url, e);
}

void
fetch_still_there(struct fetch *x)
{
	const struct fetched	*d;
	struct fetch_look	*v = NULL;
	struct err		 e = { 0, "" };
	size_t			 i, n = 0, cap = 0;
	int			 r;

	for (i = 0; i < x->plan.n; i++) {
		d = &x->done[i];
		if (x->seen[i] == NULL || !d->info.dir ||
		    d->what == FETCH_FAILED || d->what == FETCH_UNCHANGED)
			continue;
		v = mem_grow(v, &cap, n + 1, sizeof(*v));
		memset(&v[n], 0, sizeof(v[n]));
		v[n].line = &x->plan.v[i];
		v[n++].n = i;
	}
	if (n == 0)
		return;
	if (x->list.remote == NULL)
		x->list.remote = remote_new(x->o.ckpt);
	r = fetch_s3_again(&x->list, v, n, &e);
	if (r == -1)
		fetch_fail(x, &e);
	for (i = 0; i < n; i++) {
		memset(&e, 0, sizeof(e));
		if (r == 0 &&
		    as_fetched(&x->done[v[i].n], &v[i], &e) == -1)
			(void)fetch_lose(x, v[i].n, &e);
		fetch_seen_free(v[i].seen);
	}
	free(v);
	fetch_unlink(x);
}

void
fetch_print_plan(const struct fetch *x)
{
	const struct plan_line	*l;
	const struct fetched	*d;
	size_t			 i;

	for (i = 0; i < x->plan.n; i++) {
		l = &x->plan.v[i];
		d = &x->done[i];
		if (d->what != FETCH_DONE)
			continue;
		(void)printf("%s\tseq=%lld", l->url,
		    (long long)(l->has_seq ? l->seq : d->info.mtime));
		if (!d->info.unsized)
			(void)printf("\tsize=%llu",
			    (unsigned long long)d->info.size);
		if (d->sha256[0] != '\0' || l->sha256[0] != '\0')
			(void)printf("\tsha256=%s", d->sha256[0] != '\0' ?
			    d->sha256 : l->sha256);
		if (l->has_records)
			(void)printf("\trecords=%llu",
			    (unsigned long long)l->records);
		if (putchar('\n') == EOF)
			return;
	}
}
