/*
 * dfetch_src: which kind of source a URL is of, and what all kinds need.
 * It reads nothing.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dfetch_batch.h"
#include "path.h"
#include "remote.h"
#include "target.h"
#include "banned.h"

const struct fetch_src *
fetch_src_of(const char *url, struct err *e)
{
	if (path_is_local(url))
		return &fetch_local;
	if (remote_is_s3(url))
		return &fetch_s3;
	if (remote_is_http(url))
		return &fetch_http;
	if (fetch_batch_is(url))
		return &fetch_batches;
	err_set(e, MSG_USAGE, "%s: want a path, file://, s3://, http://, "
	    "https:// or openai-batch:ID", url);
	return NULL;
}

unsigned int
fetch_marks_target(const char *name)
{
	static const char *const	marks[] = { TARGET_COMMITS,
		TARGET_POINTER, TARGET_VERSIONS };
	size_t				n = strcspn(name, "/");
	unsigned int			i;

	for (i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (strlen(marks[i]) == n && memcmp(name, marks[i], n) == 0)
			return 1U << i;
	return 0;
}

/* One of them may be an input's name, or lost. */
int
fetch_is_target(unsigned int marks)
{
	return (marks & (marks - 1)) != 0;
}

int
fetch_no_input(const char *url, struct err *e)
{
	return err_set(e, MSG_USAGE, "%s: a target, where versions are "
	    "published: want -b with it for its current snapshot as the base, "
	    "or a version below " TARGET_VERSIONS "/ as an input", url);
}

void
fetch_etag(char out[FETCH_ETAG_MAX], const char *etag)
{
	struct hash	*h;
	unsigned char	 d[HASH_LEN];
	char		 hex[HASH_HEX];
	size_t		 n = etag != NULL ? strlen(etag) : 0;

	if (n < FETCH_ETAG_MAX && path_utf8(etag != NULL ? etag : "", n)) {
		(void)snprintf(out, FETCH_ETAG_MAX, "%s",
		    etag != NULL ? etag : "");
		return;
	}
	h = hash_new();
	hash_add(h, etag, n);
	hash_final(h, d);
	hash_free(h);
	hash_hex(d, hex);
	(void)snprintf(out, FETCH_ETAG_MAX, "sha256-%s", hex);
}

void
fetch_name(char out[FETCH_NAME_MAX], const char *s)
{
	(void)snprintf(out, FETCH_NAME_MAX, "%s",
	    strlen(s) < FETCH_NAME_MAX && path_is_name(s) ? s : "input");
}

void
fetch_seen_free(struct fetch_seen *s)
{
	size_t	i;

	if (s == NULL)
		return;
	for (i = 0; i < s->n; i++)
		free(s->v[i].mem);
	free(s->v);
	free(s->from);
	free(s);
}

int
fetch_changed(const char *url, struct err *e)
{
	return err_set(e, MSG_TEMPFAIL, "%s: changed while it was read; its "
	    "writer is still at work: run again when it has ended, or with "
	    "--older-than", url);
}
