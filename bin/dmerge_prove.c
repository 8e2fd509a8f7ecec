/*
 * dmerge, the proof: a store is opened, with dcheck's own code, by a fresh
 * process that may do nothing else.  It changes nothing.
 * SPDX-License-Identifier: ISC
 */
#include "dmerge_run.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "db.h"
#include "hash.h"
#include "io.h"
#include "sandbox.h"
#include "banned.h"

#define PROOF_TMP "proof.tmp"	/* of staging: what SQLite spills there */

/* What the worker that opens a store has to say. */
struct proof {
	int		code;		/* 0, or a status */
	char		text[MSG_ERR_MAX];
	uint64_t	records, tombstones;
	unsigned char	content[HASH_LEN];
};

struct worker {
	pid_t		 pid;
	int		 fd;
	const char	*dir;		/* the store's, not ours */
};

/* Its own status for a store that is not what it should be: ours, theirs. */
static void
judge(const char *dir, enum store_format format, int flags,
    struct check_summary *s, struct err *e)
{
	struct check_verdict	v;

	memset(&v, 0, sizeof(v));
	if (check_store(dir, format, CHECK_ALLOW_EMPTY | flags, s, &v, e) !=
	    1)
		return;
	if ((flags & CHECK_OURS) != 0)
		err_set(e, MSG_SOFTWARE, "the merged store does not pass its "
		    "own check: %s: %s", check_code_name(v.code), v.reason);
	else
		err_set(e, MSG_DATAERR, "%s: %s", check_code_name(v.code),
		    v.reason);
}

static void
prove(const char *dir, enum store_format format, int flags, const char *tmp,
    struct proof *p)
{
	struct check_summary	s;
	struct err		e = { 0, "" };
	struct sandbox_path	 box[3];

	memset(&s, 0, sizeof(s));
	memset(p, 0, sizeof(*p));
	box[0].path = dir;
	box[0].write = 0;
	box[1].path = "/dev/urandom";
	box[1].write = 0;
	/* SQLite sorts there what it cannot hold */
	box[2].path = tmp;
	box[2].write = 1;
	db_set_tmpdir(tmp);
	if (sandbox_start(SANDBOX_WORKER, box, 3, &e) != -1)
		judge(dir, format, flags, &s, &e);
	p->code = e.code;
	(void)snprintf(p->text, sizeof(p->text), "%s", e.text);
	p->records = s.records;
	p->tombstones = s.tombstones;
	memcpy(p->content, s.content, HASH_LEN);
	check_summary_clear(&s);
}

static int
start(const struct merge *m, const char *dir, enum store_format format,
    int flags, struct worker *w, struct err *e)
{
	struct proof	 p;
	char		*tmp;
	int		 fd[2];

	if (pipe(fd) == -1)
		return err_sys(e, errno, "pipe");
	tmp = merge_path(m->f.stage.path, PROOF_TMP);
	w->dir = dir;
	w->fd = fd[0];
	w->pid = mkdir(tmp, 0700) == -1 && errno != EEXIST ? -1 : fork();
	if (w->pid == -1) {
		err_sys(e, errno, "%s, or fork", tmp);
		(void)close(fd[0]);
		(void)close(fd[1]);
		free(tmp);
		return -1;
	}
	if (w->pid == 0) {
		(void)close(fd[0]);
		prove(dir, format, flags, tmp, &p);
		_exit(io_write(fd[1], &p, sizeof(p)) == -1 ? MSG_IOERR : 0);
	}
	(void)close(fd[1]);
	free(tmp);
	return 0;
}

/* It ended without an answer; who has no memory has said so. */
static int
died(const struct worker *w, int st, struct err *e)
{
	if (WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL)
		return err_set(e, MSG_IOERR, "%s: the worker that checks it "
		    "was killed from outside, perhaps for want of memory",
		    w->dir);
	if (WIFEXITED(st) && WEXITSTATUS(st) == MSG_IOERR)
		return err_set(e, MSG_IOERR, "%s: the worker that checks it "
		    "had no memory, or its pipe broke", w->dir);
	return err_set(e, MSG_SOFTWARE, "%s: the worker that checks it died",
	    w->dir);
}

/* Its answer, unless what was done meanwhile failed, and *e has it. */
static int
finish(const struct merge *m, struct worker *w, int failed, struct proof *p,
    struct err *e)
{
	struct err	gone = { 0, "" };
	ssize_t		n = 0;
	int		saved, st;

	if (failed || io_await(w->fd) == -1)
		(void)kill(w->pid, SIGKILL);
	else
		n = io_read(w->fd, p, sizeof(*p));
	saved = errno;
	(void)close(w->fd);
	while (waitpid(w->pid, &st, 0) == -1 && errno == EINTR)
		;
	(void)io_rmtree(m->f.stage.dirfd, PROOF_TMP, &gone);
	if (failed)
		return -1;
	if (io_signal() != 0)
		return err_set(e, MSG_PROTOCOL, "stopped by a signal");
	if (n == -1)
		return err_sys(e, saved, "%s: the answer of the worker that "
		    "checks it", w->dir);
	if (n != (ssize_t)sizeof(*p))
		return died(w, st, e);
	return p->code == 0 ? 0 : err_set(e, p->code, "%s", p->text);
}

/* The store's files, into the manifest; *bytes is their sum. */
static int
list_files(const struct merge *m, struct manifest *man, uint64_t *bytes,
    struct err *e)
{
	struct hash_tree	*t = hash_tree_new();
	unsigned char		 all[HASH_LEN];
	const unsigned char	*d;
	const char		*name;
	uint64_t		 size;
	size_t			 i;
	int			 rv;

	rv = hash_dir(AT_FDCWD, m->store, all, bytes, t, e);
	for (i = 0; rv == 0 && i < hash_tree_count(t); i++) {
		name = hash_tree_get(t, i, &size, &d);
		manifest_add_file(man, name, size, d);
	}
	hash_tree_free(t);
	return rv;
}

int
merge_verify(struct merge *m, struct manifest *man,
    const struct join_counts *c, uint64_t *bytes, struct err *e)
{
	struct worker	w;
	struct proof	p;
	char		hex[HASH_HEX];
	int		r;

	if (start(m, m->store, m->format, CHECK_OURS, &w, e) == -1)
		return -1;
	r = list_files(m, man, bytes, e);
	if (finish(m, &w, r == -1, &p, e) == -1)
		return -1;
	hash_hex(p.content, hex);
	if (strcmp(hex, man->content_digest) != 0 || p.records != c->live ||
	    p.tombstones != c->tombstones)
		return err_set(e, MSG_SOFTWARE, "%s: written %llu records "
		    "with digest %s, read back %llu with %s", m->store,
		    (unsigned long long)c->live, man->content_digest,
		    (unsigned long long)p.records, hex);
	return 0;
}

/* What dcheck would have said of the base, in its place. */
static int
prove_base(const struct merge *m, const char *dir, struct err *e)
{
	struct err	 f = { 0, "" };
	struct worker	 w;
	struct proof	 p;
	char		 hex[HASH_HEX];
	int		 fd, r;

	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "base: %s", dir);
	r = start(m, dir, store_format_parse(m->base.format), 0, &w, &f);
	if (r == 0) {
		r = manifest_verify(&m->base_m, fd, 1, &f);
		r = finish(m, &w, r == -1, &p, &f);
	}
	(void)close(fd);
	if (r == -1)
		return err_set(e, f.code, "base %s: version %s: %s",
		    m->base.target, m->base.version, f.text);
	hash_hex(p.content, hex);
	if (strcmp(hex, m->base.content_digest) != 0 ||
	    p.records != m->base.records)
		return err_set(e, MSG_DATAERR, "base %s: version %s: want "
		    "%llu records with digest %s, got %llu with %s",
		    m->base.target, m->base.version,
		    (unsigned long long)m->base.records,
		    m->base.content_digest, (unsigned long long)p.records,
		    hex);
	return 0;
}

int
merge_prove_base(struct merge *m, struct err *e)
{
	char	*dir;
	int	 rv = 0;

	if (!m->unread)
		return 0;
	if (m->base.left)
		return err_set(e, MSG_PROTOCOL, "base %s: its files were not "
		    "brought, as nothing was to come to it: want all records "
		    "of one run of dfetch", m->base.target);
	dir = merge_path(m->f.stage.path, m->base.path);
	rv = prove_base(m, dir, e);
	free(dir);
	if (rv == 0)
		m->unread = 0;
	return rv;
}
