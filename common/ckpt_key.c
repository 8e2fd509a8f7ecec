/*
 * ckpt_key: keys to and from the form that is kept.  It looks at names
 * only: links are not followed and nothing need be there.
 * SPDX-License-Identifier: ISC
 */
#include "ckpt_key.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "path.h"
#include "banned.h"

static const char publish[] = "publish ";

/* Bytes of the key before its path; -1: there is no path in it. */
static int
path_at(enum ckpt_scope scope, const char *key)
{
	switch (scope) {
	case CKPT_INPUT:
	case CKPT_CHUNK:
		return 0;
	case CKPT_OPERATION:
		return strncmp(key, publish, sizeof(publish) - 1) == 0 ?
		    (int)sizeof(publish) - 1 : -1;
	case CKPT_PIPELINE:
		break;
	}
	return -1;
}

/* The first at bytes of key, then a, then b. */
static char *
join(const char *key, int at, const char *a, const char *b)
{
	size_t	n = (size_t)at, na = strlen(a), nb = strlen(b);
	char	*s = mem_alloc(n + na + nb + 1);

	memcpy(s, key, n);
	memcpy(s + n, a, na);
	memcpy(s + n + na, b, nb + 1);
	return s;
}

char *
ckpt_key_dir(const char *path, struct err *e)
{
	char	*s = path_from_url(path, e), *slash;

	if (s == NULL)
		return NULL;
	slash = strrchr(s, '/');
	slash[slash == s] = '\0';
	return s;
}

char *
ckpt_key_in(const char *root, enum ckpt_scope scope, const char *key)
{
	struct err	 e = { 0, "" };
	size_t		 n = strlen(root);
	char		*abs, *url, *s;
	int		 at = path_at(scope, key);

	if (at == -1 || !path_is_local(key + at))
		return mem_dup(key);
	abs = path_from_url(key + at, &e);
	if (abs == NULL)
		return mem_dup(key); /* no path after all */
	if (n == 1) /* "/" */
		n = 0;
	if (strncmp(abs, root, n) == 0 && (abs[n] == '/' || abs[n] == '\0')) {
		s = join(key, at, "./", abs[n] == '/' ? abs + n + 1 : "");
		free(abs);
		if (path_utf8(s, strlen(s)))
			return s;
		free(s);
		return mem_dup(key); /* file:// with %XX, absolute */
	}
	url = path_to_url(abs);
	s = join(key, at, "", url);
	free(abs);
	free(url);
	return s;
}

char *
ckpt_key_out(const char *root, enum ckpt_scope scope, const char *kept)
{
	int	 at = path_at(scope, kept);
	char	*abs, *url, *s;

	if (at == -1 || strncmp(kept + at, "./", 2) != 0)
		return mem_dup(kept);
	if (kept[at + 2] == '\0')
		abs = mem_dup(root);
	else
		abs = join(root, (int)strlen(root), root[1] == '\0' ? "" :
		    "/", kept + at + 2);
	url = path_to_url(abs);
	s = join(kept, at, "", url);
	free(abs);
	free(url);
	return s;
}
