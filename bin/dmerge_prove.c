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

/* What the worker that opens the finished store has to say. */
struct proof {
	int		code;		/* 0, or a status */
	char		text[MSG_ERR_MAX];
	uint64_t	records, tombstones;
	unsigned char	content[HASH_LEN];
};

static void
prove(const char *dir, enum store_format format, const char *tmp,
    struct proof *p)
{
	struct check_summary	s;
	struct check_verdict	v;
	struct err		e = { 0, "" };
	struct sandbox_path	 box[3];
	int			 r;

	memset(&s, 0, sizeof(s));
	memset(&v, 0, sizeof(v));
	memset(p, 0, sizeof(*p));
	box[0].path = dir;
	box[0].write = 0;
	box[1].path = "/dev/urandom";
	box[1].write = 0;
	/* SQLite sorts there what it cannot hold */
	box[2].path = tmp;
	box[2].write = 1;
	db_set_tmpdir(tmp);
	if (sandbox_start(SANDBOX_WORKER, box, 3, &e) != -1) {
		r = check_store(dir, format, CHECK_ALLOW_EMPTY | CHECK_OURS,
		    &s, &v, &e);
		if (r == 1)
			err_set(&e, MSG_SOFTWARE, "the merged store does not "
			    "pass its own check: %s: %s",
			    check_code_name(v.code), v.reason);
	}
	p->code = e.code;
	(void)snprintf(p->text, sizeof(p->text), "%s", e.text);
	p->records = s.records;
	p->tombstones = s.tombstones;
	memcpy(p->content, s.content, HASH_LEN);
	check_summary_clear(&s);
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

/*
 * Open the finished store in a process that knows nothing of how it was
 * made, and compare; its files are digested meanwhile.
 */
int
merge_verify(struct merge *m, struct manifest *man, const struct join_counts *c,
    uint64_t *bytes, struct err *e)
{
	struct proof	p;
	struct err	gone = { 0, "" };
	char		hex[HASH_HEX], *tmp;
	pid_t		pid;
	int		fd[2], st, listed;
	ssize_t		n;

	if (pipe(fd) == -1)
		return err_sys(e, errno, "pipe");
	tmp = merge_path(m->f.stage.path, PROOF_TMP);
	pid = mkdir(tmp, 0700) == -1 && errno != EEXIST ? -1 : fork();
	if (pid == -1) {
		err_sys(e, errno, "%s, or fork", tmp);
		(void)close(fd[0]);
		(void)close(fd[1]);
		free(tmp);
		return -1;
	}
	if (pid == 0) {
		(void)close(fd[0]);
		prove(m->store, m->format, tmp, &p);
		_exit(io_write(fd[1], &p, sizeof(p)) == -1);
	}
	(void)close(fd[1]);
	listed = list_files(m, man, bytes, e);
	n = listed == 0 ? io_read(fd[0], &p, sizeof(p)) : 0;
	(void)close(fd[0]);
	if (n != (ssize_t)sizeof(p))
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, &st, 0) == -1 && errno == EINTR)
		;
	free(tmp);
	(void)io_rmtree(m->f.stage.dirfd, PROOF_TMP, &gone);
	if (listed == -1)
		return -1;
	if (io_signal() != 0)
		return err_set(e, MSG_PROTOCOL, "stopped by a signal");
	if (n != (ssize_t)sizeof(p))
		return err_set(e, MSG_SOFTWARE,
		    "%s: the worker that checks it died", m->store);
	if (p.code != 0)
		return err_set(e, p.code, "%s", p.text);
	hash_hex(p.content, hex);
	if (strcmp(hex, man->content_digest) != 0 || p.records != c->live ||
	    p.tombstones != c->tombstones)
		return err_set(e, MSG_SOFTWARE, "%s: written %llu records "
		    "with digest %s, read back %llu with %s", m->store,
		    (unsigned long long)c->live, man->content_digest,
		    (unsigned long long)p.records, hex);
	return 0;
}
