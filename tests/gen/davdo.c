/*
 * davdo: the calls of a WebDAV target from a shell, for tests alone.
 *
 *	davdo [-l LOCK] VERB http://host/path [KEY [ARG ...]]
 *
 * probe KEY		each step that it proves, a line each
 * list KEY		names, sorted
 * get KEY		the object, "absent" on stderr and 1
 * has KEY		1 or 0
 * age KEY		seconds, or -1 when it is not there
 * create KEY TEXT	"created" or "taken", and "unsure"
 * replace KEY TEXT	gets it first; "replaced" or "changed"
 * stale KEY A B	gets it, has another replace it by A, and then
 *			replaces it by B
 * claim KEY TEXT	"claimed" or "taken"
 * remove KEY		a tree
 * put KEY DIR		the files below DIR, with a manifest.json made there
 * verify KEY DIR	against that
 * fetch KEY DIR NEW	what DIR's manifest lists, into the new directory
 * SPDX-License-Identifier: ISC
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "hash.h"
#include "io.h"
#include "manifest.h"
#include "mem.h"
#include "target.h"
#include "banned.h"

#define MAX_ARGS 8

static const struct target_ops	*ops;
static void			*impl;
static struct target_opts	 opts;
static const char		*url;
static struct err		 e;

static void
die(void)
{
	(void)fflush(stdout);
	msg_err(&e);
	exit(e.code != 0 ? e.code : MSG_SOFTWARE);
}

static void
say(const char *what, void *arg)
{
	(void)arg;
	(void)printf("%s\n", what);
}

static int
cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int
on_name(const char *name, void *arg)
{
	target_names_add(arg, name);
	return 0;
}

static void
list(const char *key)
{
	struct target_names	w = { NULL, 0, 0 };
	size_t			i;

	if (ops->list(impl, key, on_name, &w, &e) == -1)
		die();
	if (w.n > 1)
		qsort(w.v, w.n, sizeof(*w.v), cmp);
	for (i = 0; i < w.n; i++)
		(void)printf("%s\n", w.v[i]);
	target_names_clear(&w);
}

/* What is there, into b: 1, 0. */
static int
look(const char *key, struct buf *b)
{
	int	r;

	buf_init(b, 1 << 20);
	r = ops->get(impl, key, b, &e);
	if (r == -1)
		die();
	return r;
}

static void
replace(const char *key, const char *other, const char *text)
{
	struct buf	b;
	void		*second;
	int		r, unsure = 0;

	(void)look(key, &b);
	buf_free(&b);
	if (other != NULL) {
		if (target_dav_open(url, &opts, &ops, &second, &e) == -1 ||
		    ops->replace(second, "c", key, other, strlen(other),
		    &unsure, &e) != 0)
			die();
		ops->close(second);
	}
	r = ops->replace(impl, "c", key, text, strlen(text), &unsure,
	    &e);
	if (r == -1)
		die();
	(void)printf("%s\n", r == 1 ? "changed" : "replaced");
}

/* The directory, and its manifest, made where there is none. */
static int
open_dir(const char *dir, struct manifest *m, unsigned char d[HASH_LEN])
{
	struct hash_tree	*t = hash_tree_new();
	const unsigned char	*fd;
	const char		*name;
	unsigned char		 all[HASH_LEN];
	uint64_t		 sz;
	size_t			 i;
	int			 dirfd;

	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	memset(m, 0, sizeof(*m));
	if (dirfd == -1) {
		err_set(&e, MSG_NOINPUT, "%s: cannot be opened", dir);
		die();
	}
	if (faccessat(dirfd, MANIFEST_NAME, F_OK, 0) == -1) {
		if (hash_dir(AT_FDCWD, dir, all, &sz, t, &e) == -1)
			die();
		hash_tree_final(t, all, &sz);
		for (i = 0; i < hash_tree_count(t); i++) {
			name = hash_tree_get(t, i, &sz, &fd);
			manifest_add_file(m, name, sz, fd);
		}
		m->format = mem_dup("sqlite");
		hash_hex(all, m->content_digest);
		if (manifest_write(m, dirfd, d, &e) == -1)
			die();
		manifest_clear(m);
	}
	if (manifest_read(m, dirfd, d, &e) == -1)
		die();
	hash_tree_free(t);
	return dirfd;
}

static void
version(const char *verb, const char *key, const char *dir,
    const char *into)
{
	struct manifest	m;
	unsigned char	d[HASH_LEN];
	int		dirfd = open_dir(dir, &m, d), fd = -1, r;

	if (strcmp(verb, "put") == 0)
		r = ops->put(impl, key, dirfd, &m, d, 0, &e);
	else if (strcmp(verb, "verify") == 0)
		r = ops->verify(impl, key, &m, &e);
	else {
		if (mkdir(into, 0777) == -1 || (fd = open(into, O_RDONLY |
		    O_DIRECTORY | O_CLOEXEC)) == -1)
			exit(MSG_IOERR);
		r = ops->fetch(impl, key, fd, &m, &e);
		(void)close(fd);
	}
	manifest_clear(&m);
	(void)close(dirfd);
	if (r == -1)
		die();
}

static void
create(const char *verb, const char *key, const char *text)
{
	int	unsure = 0, held, r;

	if (strcmp(verb, "claim") == 0) {
		r = ops->claim(impl, key, text, strlen(text), &held, &e);
		if (r != -1)
			(void)printf("%s\n", r == 1 ? "taken" : "claimed");
	} else {
		r = ops->create(impl, "c", key, text, strlen(text), &unsure,
		    &e);
		if (r != -1)
			(void)printf("%s\n", r == 1 ? "taken" : "created");
		if (unsure)
			(void)printf("unsure\n");
	}
	if (r == -1)
		die();
}

static void
small(const char *verb, const char *key)
{
	struct buf	b;
	int64_t		age = -1;
	int		r = 0;

	if (strcmp(verb, "get") == 0) {
		r = look(key, &b);
		if (r == 1)
			(void)io_write(STDOUT_FILENO, b.p, b.len);
		buf_free(&b);
		if (r == 0) {
			msg_warn("absent");
			exit(1);
		}
	} else if (strcmp(verb, "has") == 0) {
		r = ops->has(impl, key, &e);
		if (r != -1)
			(void)printf("%d\n", r);
	} else if (strcmp(verb, "age") == 0) {
		r = ops->age(impl, key, &age, &e);
		if (r != -1)
			(void)printf("%lld\n", (long long)age);
	} else if (strcmp(verb, "remove") == 0)
		r = ops->remove(impl, key, &e);
	else if (strcmp(verb, "list") == 0)
		list(key);
	else if (strcmp(verb, "probe") == 0)
		r = ops->probe(impl, key, say, NULL, &e);
	else
		exit(MSG_USAGE);
	if (r == -1)
		die();
}

int
main(int argc, char **argv)
{
	const char	*a[MAX_ARGS] = { NULL };
	int		 c, i;

	msg_init("davdo");
	io_catch_signals();
	while ((c = getopt(argc, argv, "l:")) != -1) {
		if (c != 'l')
			return MSG_USAGE;
		opts.lock = optarg;
	}
	for (i = 0; i < MAX_ARGS && optind + i < argc; i++)
		a[i] = argv[optind + i];
	if (a[1] == NULL)
		return MSG_USAGE;
	url = a[1];
	if (target_dav_open(url, &opts, &ops, &impl, &e) == -1)
		die();
	if (a[4] != NULL && strcmp(a[0], "stale") == 0)
		replace(a[2], a[3], a[4]);
	else if (a[3] != NULL && strcmp(a[0], "replace") == 0)
		replace(a[2], NULL, a[3]);
	else if (a[3] != NULL && (strcmp(a[0], "create") == 0 ||
	    strcmp(a[0], "claim") == 0))
		create(a[0], a[2], a[3]);
	else if (a[3] != NULL)
		version(a[0], a[2], a[3], a[4]);
	else
		small(a[0], a[2] != NULL ? a[2] : "");
	ops->close(impl);
	return 0;
}
