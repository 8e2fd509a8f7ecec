/*
 * path: judging foreign names.  It touches no file system, but for the
 * working directory's name.
 * SPDX-License-Identifier: ISC
 */
#include "path.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"
#include "num.h"
#include "banned.h"

#define PATH_ABS_MAX 8192

int
path_utf8(const void *p, size_t n)
{
	const unsigned char	*s = p;
	size_t			 i = 0, k, need;
	unsigned int		 c, min;

	while (i < n) {
		c = s[i++];
		if (c < 0x80)
			continue;
		if (c >= 0xc2 && c <= 0xdf) {
			need = 1;
			c &= 0x1f;
			min = 0x80;
		} else if (c >= 0xe0 && c <= 0xef) {
			need = 2;
			c &= 0x0f;
			min = 0x800;
		} else if (c >= 0xf0 && c <= 0xf4) {
			need = 3;
			c &= 0x07;
			min = 0x10000;
		} else
			return 0;
		if (n - i < need)
			return 0;
		for (k = 0; k < need; k++, i++) {
			if ((s[i] & 0xc0) != 0x80)
				return 0;
			c = c << 6 | (s[i] & 0x3fU);
		}
		if (c < min || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
			return 0;
	}
	return 1;
}

static int
component_ok(const char *s, size_t n)
{
	size_t	i;

	if (n == 0 || (n == 1 && s[0] == '.') ||
	    (n == 2 && s[0] == '.' && s[1] == '.'))
		return 0;
	for (i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f ||
		    s[i] == '\\')
			return 0;
	return 1;
}

int
path_is_safe(const char *s)
{
	size_t		 len = strlen(s);
	const char	*slash;

	if (len == 0 || len > PATH_REL_MAX || !path_utf8(s, len))
		return 0;
	for (;;) {
		slash = strchr(s, '/');
		if (slash == NULL)
			return component_ok(s, strlen(s));
		if (!component_ok(s, (size_t)(slash - s)))
			return 0;
		s = slash + 1;
	}
}

int
path_is_name(const char *s)
{
	return strchr(s, '/') == NULL && path_is_safe(s);
}

int
path_is_local(const char *url)
{
	const char	*colon = strstr(url, "://");
	const char	*p;

	if (strncmp(url, "file://", 7) == 0)
		return 1;
	if (colon == NULL || colon == url)
		return strncmp(url, "openai-batch:", 13) != 0;
	for (p = url; p < colon; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
		    (*p >= '0' && *p <= '9') || strchr("+.-", *p) != NULL))
			return 1;
	return 0;
}

const char *
path_base(const char *s)
{
	const char	*p = strrchr(s, '/');

	return p == NULL ? s : p + 1;
}

/* The path part of a file:// URL, %XX undone, into b. */
static int
unescape(const char *url, struct buf *b, struct err *e)
{
	const char	*s = url + 7;
	int		 c;

	if (strncmp(s, "localhost/", 10) == 0)
		s += 9;
	if (*s != '/')
		return err_set(e, MSG_USAGE,
		    "%s: want file:///absolute/path", url);
	for (; *s != '\0'; s++) {
		if (*s != '%') {
			buf_addc(b, *s);
			continue;
		}
		c = num_hex2(s + 1);
		if (c <= 0)
			return err_set(e, MSG_USAGE,
			    "%s: bad %% escape in URL", url);
		buf_addc(b, c);
		s += 2;
	}
	return 0;
}

char *
path_from_url(const char *url, struct err *e)
{
	struct buf	 raw, out;
	char		*cwd, *s, *slash, *rv = NULL;
	size_t		 n;

	buf_init(&raw, PATH_ABS_MAX);
	buf_init(&out, PATH_ABS_MAX);
	if (*url == '\0') {
		err_set(e, MSG_USAGE, "empty path");
		goto done;
	}
	if (!path_is_local(url)) {
		err_set(e, MSG_USAGE, "%.200s: want a path of this machine "
		    "here, got a URL: dfetch brings what is elsewhere, "
		    "dpublish puts it there", url);
		goto done;
	}
	if (strncmp(url, "s3:", 3) == 0 || strncmp(url, "http:/", 6) == 0 ||
	    strncmp(url, "https:/", 7) == 0) {
		err_set(e, MSG_USAGE, "%.200s: want s3:// or https:// with "
		    "two slashes, or, for a file of that name, ./%.200s",
		    url, url);
		goto done;
	}
	if (strncmp(url, "file://", 7) == 0) {
		if (unescape(url, &raw, e) == -1)
			goto done;
	} else {
		if (*url != '/') {
			cwd = getcwd(NULL, 0);
			if (cwd == NULL) {
				err_sys(e, errno, "working directory");
				goto done;
			}
			buf_str(&raw, cwd);
			buf_addc(&raw, '/');
			free(cwd);
		}
		buf_str(&raw, url);
	}
	if (raw.over) {
		err_set(e, MSG_USAGE, "%.200s: path longer than %d bytes",
		    url, PATH_ABS_MAX);
		goto done;
	}
	/* component by component; ".." takes the last one off */
	for (s = buf_cstr(&raw); *s != '\0'; s = slash) {
		while (*s == '/')
			s++;
		slash = s + strcspn(s, "/");
		n = (size_t)(slash - s);
		if (n == 0 || (n == 1 && s[0] == '.'))
			continue;
		if (n == 2 && s[0] == '.' && s[1] == '.') {
			while (out.len > 0 && out.p[--out.len] != '/')
				;
			continue;
		}
		buf_addc(&out, '/');
		buf_add(&out, s, n);
	}
	if (out.len == 0)
		buf_addc(&out, '/');
	rv = mem_dup(buf_cstr(&out));
done:
	buf_free(&raw);
	buf_free(&out);
	return rv;
}

char *
path_to_url(const char *abs)
{
	struct buf	 b;
	const char	*s;
	char		*rv;
	int		 plain = path_utf8(abs, strlen(abs));

	for (s = abs; plain && *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			plain = 0;
	if (plain)
		return mem_dup(abs);
	buf_init(&b, 4 * PATH_ABS_MAX);
	buf_str(&b, "file://");
	for (s = abs; *s != '\0'; s++) {
		if ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
		    (*s >= '0' && *s <= '9') || strchr("/._-~", *s) != NULL)
			buf_addc(&b, *s);
		else
			buf_printf(&b, "%%%02X", (unsigned char)*s);
	}
	rv = mem_dup(buf_cstr(&b));
	buf_free(&b);
	return rv;
}
