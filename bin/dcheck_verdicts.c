/*
 * dcheck: verdicts counted, and kept as JSON lines for whoever acts on
 * them (dpublish quarantine).  It judges no input.
 * SPDX-License-Identifier: ISC
 */
#include "dcheck.h"

#include <sys/stat.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "rec_kind.h"
#include "banned.h"

struct verdicts {
	char		*path, *aside;	/* NULL: only counted */
	FILE		*f;
	uint64_t	 n, unchecked;
	uint64_t	 of[CHECK_N];	/* by enum check_code */
};

static char *
aside_name(const char *path)
{
	size_t	 n = strlen(path) + 32;
	char	*s = mem_alloc(n);

	(void)snprintf(s, n, "%s.new.%ld", path, (long)getpid());
	return s;
}

struct verdicts *
verdicts_new(const char *path, struct err *e)
{
	struct verdicts	*v = mem_zero(1, sizeof(*v));
	struct stat	 st;

	if (path == NULL)
		return v;
	if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		err_set(e, MSG_USAGE, "--verdicts: %s: it is there and no "
		    "regular file: want the name of a file", path);
		goto fail;
	}
	v->path = mem_dup(path);
	v->aside = aside_name(path);
	v->f = fopen(v->aside, "wx");
	if (v->f == NULL) {
		err_sys(e, errno, "--verdicts: %s", v->aside);
		goto fail;
	}
	return v;
fail:
	verdicts_free(v);
	return NULL;
}

void
verdicts_free(struct verdicts *v)
{
	if (v == NULL)
		return;
	if (v->f != NULL) {
		(void)fclose(v->f);
		(void)unlink(v->aside);
	}
	free(v->path);
	free(v->aside);
	free(v);
}

void
verdicts_add(struct verdicts *v, const struct rec_delta *d,
    const struct answer *a, const char *mend)
{
	struct rec	*r;
	struct buf	 b;

	v->n++;
	if (a->kind == ANSWER_MACHINE) {
		v->unchecked++;	/* nothing is known of it */
		return;
	}
	v->of[a->kind == ANSWER_OK ? CHECK_OK : a->v.code]++;
	if (v->f == NULL)
		return;
	r = rec_map();
	rec_set_str(r, "url", d->url);
	rec_set_str(r, "sha256", d->sha256);
	rec_set_str(r, "kind", d->kind);
	rec_set_u64(r, "size", d->size);
	rec_set_i64(r, "mtime", d->mtime);
	if (a->kind == ANSWER_OK) {
		rec_set_str(r, "verdict", check_code_name(CHECK_OK));
		rec_set_u64(r, "records", a->records);
	} else {
		rec_set_str(r, "verdict", check_code_name(a->v.code));
		rec_set_str(r, "reason", a->v.reason);
		rec_set_str(r, "mend", mend);
	}
	buf_init(&b, 8 * REC_MAX);
	rec_to_json(r, &b);
	buf_addc(&b, '\n');
	(void)fwrite(b.p, 1, b.len, v->f); /* ferror says it at the end */
	buf_free(&b);
	rec_free(r);
}

void
verdicts_say(const struct verdicts *v)
{
	struct buf	b;
	int		i;

	/* files of a set are no inputs of this kind */
	if (v->n == 0)
		return;
	buf_init(&b, 4096);
	for (i = 0; i < CHECK_N; i++)
		if (v->of[i] != 0)
			buf_printf(&b, "%s%llu %s", b.len != 0 ? ", " : "",
			    (unsigned long long)v->of[i],
			    check_code_name((enum check_code)i));
	if (v->unchecked != 0)
		buf_printf(&b, "%s%llu not checked", b.len != 0 ? ", " : "",
		    (unsigned long long)v->unchecked);
	msg_note("%llu inputs%s%s", (unsigned long long)v->n,
	    b.len != 0 ? ": " : "", buf_cstr(&b));
	buf_free(&b);
}

int
verdicts_place(struct verdicts *v, struct err *e)
{
	int	bad, saved;

	if (v->f == NULL)
		return 0;
	bad = fflush(v->f) == EOF || ferror(v->f) || fsync(fileno(v->f)) ==
	    -1;
	saved = errno;
	if (fclose(v->f) == EOF && !bad) {
		bad = 1;
		saved = errno;
	}
	v->f = NULL;
	if (!bad && rename(v->aside, v->path) == 0)
		return io_fsync_parent(v->path, e);
	if (!bad)
		saved = errno;
	(void)unlink(v->aside);
	return err_sys(e, saved, "--verdicts: %s", v->path);
}
