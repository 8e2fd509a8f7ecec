/*
 * dmerge, the place: a work directory in staging or beside -o DIR, and from
 * there to where the store belongs.  It looks into no store.
 * SPDX-License-Identifier: ISC
 */
#include "dmerge_run.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "path.h"
#include "ticket.h"
#include "banned.h"

#define BUILT	"built"		/* below the work directory of -o */

char *
merge_path(const char *a, const char *b)
{
	struct buf	 s;
	char		*rv;

	buf_init(&s, 16384);
	buf_printf(&s, "%s/%s", a, b);
	rv = mem_dup(buf_cstr(&s));
	buf_free(&s);
	return rv;
}

/* The work directory beside -o DIR; what dead runs left there goes. */
static int
make_work(struct merge *m, char **name, struct err *e)
{
	struct err	f = { 0, "" };

	if (stage_work_collect(m->parentfd, &f) == 0 &&
	    stage_work_make(&m->f.stage, m->parentfd, name, &f) == 0)
		return 0;
	return err_set(e, f.code, "-o %s: no work directory in %s, where it "
	    "is built: %s; make that one writable or name another DIR",
	    m->o.out, m->parent, f.text);
}

/* Where the store is built: beside -o DIR, else in staging. */
int
merge_prepare(struct merge *m, struct err *e)
{
	char	*name = NULL, *slash;
	int	 n;
	char	 store[32];

	if (m->o.out == NULL) {
		for (n = 1; n <= 100; n++) {
			(void)snprintf(store, sizeof(store), "store.%d", n);
			if (mkdirat(m->f.stage.dirfd, store, 0777) == 0) {
				m->store = merge_path(m->f.stage.path, store);
				return 0;
			}
			if (errno != EEXIST)
				break;
		}
		return err_sys(e, errno, "%s/%s", m->f.stage.path, store);
	}
	m->out = path_from_url(m->o.out, e);
	if (m->out == NULL)
		return -1;
	if (strcmp(m->out, "/") == 0)
		return err_set(e, MSG_USAGE, "-o /: want a new directory");
	m->parent = mem_dup(m->out);
	slash = strrchr(m->parent, '/');
	*(slash == m->parent ? slash + 1 : slash) = '\0';
	m->parentfd = open(m->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (m->parentfd == -1)
		return err_sys(e, errno, "-o %s: %s", m->o.out, m->parent);
	if (make_work(m, &name, e) == -1)
		return -1;
	m->work = merge_path(m->parent, name);
	free(name);
	m->store = merge_path(m->work, BUILT);
	if (mkdir(m->store, 0777) == -1)
		return err_sys(e, errno, "%s", m->store);
	return 0;
}

static int
copy_file(const char *from, const char *to, struct err *e)
{
	uint64_t	size;
	int		in, out, rv = -1;

	in = open(from, O_RDONLY | O_CLOEXEC);
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (in == -1 || out == -1)
		err_sys(e, errno, "%s", in == -1 ? from : to);
	else
		rv = io_copy(in, out, to, NULL, &size, e);
	if (in != -1)
		(void)close(in);
	if (out != -1 && io_close(&out, to, e) == -1)
		rv = -1;
	return rv;
}

/* The directory that the file name lies in, below to. */
static int
make_above(const char *to, const char *name, struct err *e)
{
	const char	*slash = strrchr(name, '/');
	char		*dir, *path;
	int		 rv;

	if (slash == NULL)
		return 0;
	dir = mem_ndup(name, (size_t)(slash - name));
	path = merge_path(to, dir);
	rv = io_mkdirs(path, e);
	free(dir);
	free(path);
	return rv;
}

/*
 * Every file of man from the directory from into to: by link where that
 * can be, or, to be changed there, as copies and without the manifest.
 */
int
merge_copy(const char *from, const struct manifest *man, const char *to,
    int to_change, struct err *e)
{
	const char	*name;
	char		*a, *b;
	size_t		 i, n = man->n_files + !to_change;
	int		 rv = 0;

	for (i = 0; rv == 0 && i < n; i++) {
		name = i < man->n_files ? man->files[i].name : MANIFEST_NAME;
		if (make_above(to, name, e) == -1)
			return -1;
		a = merge_path(from, name);
		b = merge_path(to, name);
		if (to_change || link(a, b) == -1)
			rv = copy_file(a, b, e);
		free(a);
		free(b);
	}
	return rv;
}

/* A store directory in staging that holds what lies at m->store. */
int
merge_into_staging(struct merge *m, const struct manifest *man, char **rel,
    struct err *e)
{
	char	store[32], *path;
	int	n, rv;

	*rel = NULL;
	if (m->out == NULL) {
		*rel = mem_dup(path_base(m->store));
		return 0;
	}
	for (n = 1;; n++) {
		(void)snprintf(store, sizeof(store), "store.%d", n);
		if (mkdirat(m->f.stage.dirfd, store, 0777) == 0)
			break;
		if (errno != EEXIST || n >= 100)
			return err_sys(e, errno, "%s/%s", m->f.stage.path,
			    store);
	}
	path = merge_path(m->f.stage.path, store);
	rv = merge_copy(m->store, man, path, 0, e);
	free(path);
	*rel = mem_dup(store);
	return rv;
}

int
merge_place(struct merge *m, struct err *e)
{
	enum stream_mode	mode;

	if (m->out == NULL)
		return 0;
	mode = m->o.f.json ? STREAM_JSON :
	    isatty(STDOUT_FILENO) ? STREAM_TEXT : STREAM_MSGPACK;
	if (ticket_place(&m->f.stage, mode, m->work, m->store, m->out, e) ==
	    -1)
		return -1;
	free(m->work);
	m->work = NULL; /* placed, or the ticket's from now on */
	return 0;
}
