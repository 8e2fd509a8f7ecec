/*
 * plain: which kind of place a prefix is.  All else is done by that kind.
 * SPDX-License-Identifier: ISC
 */
#include "plain.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "path.h"
#include "remote.h"
#include "banned.h"

struct plain {
	const struct plain_ops	*ops;
	void			*impl;
	char			*url;
	int			 s3;
};

struct plain *
plain_open(const char *url, const char *ckpt, struct err *e)
{
	struct plain	*p = mem_zero(1, sizeof(*p));
	char		*abs = NULL;
	size_t		 n;
	int		 r = -1;

	if (remote_is_s3(url)) {
		p->s3 = 1;
		p->url = mem_dup(url);
		for (n = strlen(url); n > 5 && p->url[n - 1] == '/'; n--)
			p->url[n - 1] = '\0';
		r = plain_s3_open(p->url, ckpt, &p->ops, &p->impl, e);
	} else if (!path_is_local(url))
		err_set(e, MSG_USAGE, "%s: want a directory or "
		    "s3://bucket/prefix%s", url, !remote_is_http(url) ? "" :
		    ": no copy on a WebDAV server is promised to appear whole"
		    " at once, nor has it a digest to be proved by: publish "
		    "versions there, without --in-place");
	else if ((abs = path_from_url(url, e)) != NULL) {
		p->url = path_to_url(abs);
		r = plain_local_open(abs, &p->ops, &p->impl, e);
	}
	free(abs);
	if (r == 0)
		return p;
	p->ops = NULL;
	plain_close(p);
	return NULL;
}

void
plain_close(struct plain *p)
{
	if (p == NULL)
		return;
	if (p->ops != NULL)
		p->ops->close(p->impl);
	free(p->url);
	free(p);
}

const char *
plain_url(const struct plain *p)
{
	return p->url;
}

int
plain_is_s3(const struct plain *p)
{
	return p->s3;
}

int
plain_look(struct plain *p, struct plain_key *v, size_t n, struct err *e)
{
	return p->ops->look(p->impl, v, n, e);
}

int
plain_copy(struct plain *p, const struct plain_key *v, size_t n,
    struct err *e)
{
	return p->ops->copy(p->impl, v, n, e);
}

int
plain_remove(struct plain *p, const struct plain_key *v, size_t n,
    struct err *e)
{
	return p->ops->remove(p->impl, v, n, e);
}

int
plain_list(struct plain *p, int (*f)(void *arg, const char *name,
    struct err *e), void *arg, struct err *e)
{
	return p->ops->list(p->impl, f, arg, e);
}

int
plain_has_tree(struct plain *p, const char *name, struct err *e)
{
	return p->ops->has_tree(p->impl, name, e);
}

int
plain_remove_tree(struct plain *p, const char *name, struct err *e)
{
	return p->ops->remove_tree(p->impl, name, e);
}
