/*
 * dpublish, refusals: the list of them that comes in, and the list of what
 * is to be sent again that goes out.  It touches no input and no target.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish_refusal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dpublish_move.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "plan.h"
#include "banned.h"

/* What is to be set aside. */

/* What is to be set aside. */

void
refusals_clear(struct refusals *l)
{
	size_t	i;

	for (i = 0; i < l->n; i++) {
		free(l->v[i].url);
		free(l->v[i].verdict);
		free(l->v[i].reason);
		free(l->v[i].mend);
	}
	free(l->v);
	memset(l, 0, sizeof(*l));
}

int
refusal_is_wanted(const struct dpub_opts *o, const char *code)
{
	size_t	i;

	for (i = 0; i < o->n_codes; i++)
		if (strcmp(o->codes[i], code) == 0)
			return 1;
	return o->n_codes == 0;
}

/* One line of the list; those that are good, or not asked for, are not
   taken. */
static int
take_line(struct refusals *l, const struct dpub_opts *o, const char *s,
    size_t len, size_t number, struct err *e)
{
	struct err	 f = { 0, "" };
	unsigned char	 d[HASH_LEN];
	struct refusal	*r;
	const char	*url, *code, *sha;
	struct rec	*m;
	int		 rv = -1;

	m = len == 0 || len > REFUSAL_LINE_MAX ? NULL :
	    rec_from_json(s, len, &f);
	if (m == NULL || !rec_get_str(m, "url", &url) || *url == '\0' ||
	    !rec_get_str(m, "verdict", &code) ||
	    (rec_has(m, "sha256") && (!rec_get_str(m, "sha256", &sha) ||
	    hash_unhex(sha, d) == -1))) {
		err_set(e, MSG_DATAERR, "--verdicts: %s: line %zu: want a "
		    "JSON object with url, sha256 and verdict", o->verdicts,
		    number);
		goto done;
	}
	rv = 0;
	if (strcmp(code, check_code_name(CHECK_OK)) == 0 ||
	    !refusal_is_wanted(o, code))
		goto done;
	l->v = mem_grow(l->v, &l->cap, l->n + 1, sizeof(*l->v));
	r = &l->v[l->n++];
	memset(r, 0, sizeof(*r));
	r->url = mem_dup(url);
	r->verdict = mem_dup(code);
	r->reason = rec_dup_str(m, "reason");
	r->mend = rec_dup_str(m, "mend");
	if (rec_get_str(m, "sha256", &sha))
		memcpy(r->sha256, sha, HASH_HEX);
done:
	rec_free(m);
	return rv;
}

static int
read_verdicts(struct refusals *l, const struct dpub_opts *o, struct err *e)
{
	struct err	 f = { 0, "" };
	struct buf	 b;
	const char	*s, *end, *nl;
	size_t		 number = 0;
	int		 rv = 0;

	buf_init(&b, REFUSAL_LIST_MAX);
	if (io_slurp(AT_FDCWD, o->verdicts, &b, &f) == -1)
		rv = err_set(e, f.code, "--verdicts: %s", f.text);
	s = (const char *)b.p;
	for (end = s + b.len; rv == 0 && s < end; s = nl + 1) {
		nl = memchr(s, '\n', (size_t)(end - s));
		if (nl == NULL)
			nl = end;
		rv = take_line(l, o, s, (size_t)(nl - s), ++number, e);
		if (nl == end)
			break;
	}
	buf_free(&b);
	return rv;
}

/* An operand: one of the list, or, without a list, a person's word. */
static int
take_operand(struct refusals *l, const struct dpub_opts *o, const char *arg,
    struct err *e)
{
	enum check_code	 code;
	struct refusal	*r;
	char		*url = plan_url(arg, NULL, e);
	size_t		 i;
	int		 found = 0;

	if (url == NULL)
		return -1;
	for (i = 0; o->verdicts != NULL && i < l->n; i++)
		if (strcmp(l->v[i].url, url) == 0)
			l->v[i].wanted = found = 1;
	if (o->verdicts != NULL) {
		if (!found)
			err_set(e, MSG_NOINPUT, "%s: no refusal of it in %s",
			    url, o->verdicts);
		free(url);
		return found ? 0 : -1;
	}
	l->v = mem_grow(l->v, &l->cap, l->n + 1, sizeof(*l->v));
	r = &l->v[l->n++];
	memset(r, 0, sizeof(*r));
	r->url = url;
	r->wanted = 1;
	r->verdict = mem_dup(o->n_codes > 0 ? o->codes[0] :
	    REFUSAL_OPERATOR);
	if (o->reason != NULL)
		r->reason = mem_dup(o->reason);
	code = check_code_parse(r->verdict);
	if (code != CHECK_N && code != CHECK_OK)
		r->mend = mem_dup(check_code_mend(code));
	return 0;
}

int
refusals_choose(struct refusals *l, const struct dpub_opts *o, char **inputs,
    struct err *e)
{
	size_t	i;

	if (o->verdicts != NULL && read_verdicts(l, o, e) == -1)
		return -1;
	for (i = 0; inputs[i] != NULL; i++)
		if (take_operand(l, o, inputs[i], e) == -1)
			return -1;
	for (i = 0; inputs[0] == NULL && i < l->n; i++)
		l->v[i].wanted = 1;
	return 0;
}

/* What goes into the requeue list. */

/* What goes into the requeue list. */

/* custom_ids of the result file at path, as far as its lines have any. */
static void
add_ids(struct buf *b, const char *path)
{
	struct err	 f = { 0, "" };
	struct buf	 file;
	struct json	 j;
	struct json_val	 v;
	char		*s, *end, *nl;
	size_t		 n = 0;

	buf_init(&file, REFUSAL_RESULTS_MAX);
	if (io_slurp(AT_FDCWD, path, &file, &f) == -1 || file.len == 0 ||
	    file.p[0] != '{')
		goto done;
	s = (char *)file.p;
	for (end = s + file.len; s < end; s = nl + 1) {
		nl = memchr(s, '\n', (size_t)(end - s));
		if (nl == NULL)
			nl = end;
		memset(&j, 0, sizeof(j));
		if (json_find(&j, s, (size_t)(nl - s), &v, "custom_id",
		    NULL) == 1 && v.type == JSON_STR && v.len > 0) {
			if (n++ == 0) {
				json_put_key(b, "custom_ids");
				buf_addc(b, '[');
			} else
				buf_addc(b, ',');
			json_put_str(b, v.str, v.len);
		}
		json_clear(&j);
		if (nl == end)
			break;
	}
	if (n > 0)
		buf_addc(b, ']');
done:
	buf_free(&file);
}

void
refusal_line(struct buf *b, const char *name, const struct refusal *r,
    const struct move_thing *x)
{
	buf_addc(b, '{');
	json_put_kstr(b, "url", r->url);
	if (r->sha256[0] != '\0')
		json_put_kstr(b, "sha256", r->sha256);
	json_put_kstr(b, "verdict", r->verdict);
	if (name != NULL)
		json_put_kstr(b, "quarantine", name);
	if (x != NULL && !x->dir)
		add_ids(b, x->at);
	buf_str(b, "}\n");
}

static int
has_line(const struct buf *b, const char *s, size_t n)
{
	size_t	i;

	for (i = 0; i + n <= b->len; i++) {
		if (memcmp(b->p + i, s, n) == 0)
			return 1;
		while (i < b->len && b->p[i] != '\n')
			i++;
	}
	return 0;
}

int
refusal_requeue(const char *path, const struct buf *lines, struct err *e)
{
	const char	*s, *end, *nl, *base;
	struct err	 f = { 0, "" };
	struct buf	 b;
	char		*tmp = NULL, *dir = NULL;
	int		 fd = -1, rv = -1;

	buf_init(&b, REFUSAL_LIST_MAX);
	base = path_base(path);
	dir = base == path ? mem_dup(".") : mem_ndup(path,
	    (size_t)(base - path));
	tmp = mem_cat(".", base, ".new");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1) {
		err_sys(e, errno, "--requeue: %s", dir);
		goto done;
	}
	/* others may add to it at the same time */
	if (io_flock(fd, TARGET_LOCK_WAIT, &f) == -1) {
		err_set(e, f.code, "--requeue: %s: %s", dir, f.text);
		goto done;
	}
	if (io_slurp(fd, base, &b, &f) == -1 && f.code != MSG_NOINPUT) {
		err_set(e, f.code, "--requeue: %s", f.text);
		goto done;
	}
	if (b.len > 0 && b.p[b.len - 1] != '\n')
		buf_addc(&b, '\n');
	s = (const char *)lines->p;
	for (end = s + lines->len; s < end; s = nl + 1) {
		nl = memchr(s, '\n', (size_t)(end - s));
		if (nl == NULL)
			break;
		if (!has_line(&b, s, (size_t)(nl - s) + 1))
			buf_add(&b, s, (size_t)(nl - s) + 1);
	}
	if (b.over) {
		err_set(e, MSG_IOERR, "--requeue: %s: too long", path);
		goto done;
	}
	if (io_replace(fd, base, tmp, b.p, b.len, &f) == -1)
		err_set(e, f.code, "--requeue: %s: %s", dir, f.text);
	else
		rv = 0;
done:
	if (fd != -1)
		(void)close(fd);
	free(dir);
	free(tmp);
	buf_free(&b);
	return rv;
}
