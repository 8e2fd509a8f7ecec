/*
 * s3tree: the calls of s3_send.h from a shell, for tests alone.
 *
 *	s3tree [-n] [-f NAME] [-l NAME] [-P N] [-r RUN]
 *	    VERB s3://bucket/prefix/ [DIR]
 *
 * send URL DIR		all files of DIR below the prefix, -l NAME the last
 *			(else the last by name); -n: create only; -f: a byte
 *			of that file flips between being listed and sent.
 *			"OBJECTS BYTES sent, OBJECTS BYTES kept, N MB", the
 *			peak of its memory; "created KEY" before
 * prove URL DIR	what lies there is what is in DIR
 * rmtree URL [FIRST]	remove all of it
 * SPDX-License-Identifier: ISC
 */
#include <sys/resource.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hash.h"
#include "io.h"
#include "mem.h"
#include "remote.h"
#include "s3.h"
#include "s3_send.h"
#include "banned.h"

static const char	*flip, *last;

static void
die(const struct err *e)
{
	(void)fflush(stdout);
	msg_err(e);
	exit(e->code != 0 ? e->code : MSG_SOFTWARE);
}

/* The files of a directory, as they are now. */
static struct s3_file *
files(int dir, const char *prefix, struct hash_tree *t, size_t *n)
{
	unsigned char		 d[HASH_LEN];
	const unsigned char	*one;
	struct err		 e = { 0, "" };
	struct s3_file		*v, swap;
	uint64_t		 size;
	size_t			 i, sz;
	char			*key;

	if (hash_dir(dir, ".", d, &size, t, &e) == -1)
		die(&e);
	hash_tree_final(t, d, &size);
	*n = hash_tree_count(t);
	v = mem_zero(*n + 1, sizeof(*v));
	for (i = 0; i < *n; i++) {
		v[i].name = hash_tree_get(t, i, &v[i].size, &one);
		hash_hex(one, v[i].sha256);
		sz = strlen(prefix) + strlen(v[i].name) + 1;
		key = mem_alloc(sz);
		(void)snprintf(key, sz, "%s%s", prefix, v[i].name);
		v[i].key = key;
	}
	for (i = 0; last != NULL && i < *n; i++)
		if (strcmp(v[i].name, last) == 0) {
			swap = v[i];
			v[i] = v[*n - 1];
			v[*n - 1] = swap;
		}
	return v;
}

static void
flip_byte(int dir, const char *name)
{
	char	c;
	int	fd = openat(dir, name, O_RDWR);

	if (fd == -1 || pread(fd, &c, 1, 0) != 1)
		exit(MSG_NOINPUT);
	c ^= 1;
	if (pwrite(fd, &c, 1, 0) != 1)
		exit(MSG_IOERR);
	(void)close(fd);
}

static void
on_created(void *arg, const char *key)
{
	(void)arg;
	(void)printf("created %s\n", key);
}

static void
print_sent(const struct s3_sent *s)
{
	struct rusage	u;

	(void)getrusage(RUSAGE_SELF, &u);
	(void)printf("%llu %llu sent, %llu %llu kept, %ld MB\n",
	    (unsigned long long)s->objects, (unsigned long long)s->bytes,
	    (unsigned long long)s->kept, (unsigned long long)s->kept_bytes,
	    u.ru_maxrss / 1024);
}

int
main(int argc, char **argv)
{
	struct s3_send_opts	 o;
	struct err		 e = { 0, "" };
	struct hash_tree	*t = hash_tree_new();
	struct s3_sent		 sent;
	struct s3_file		*v = NULL;
	struct remote		*r;
	struct retry		*retry;
	struct s3		*s3;
	const char		*verb;
	char			*bucket = NULL, *key = NULL;
	size_t			 n = 0, i;
	int			 c, dir = -1, rv = -1;

	msg_init("s3tree");
	io_catch_signals();
	memset(&o, 0, sizeof(o));
	o.created = on_created;
	while ((c = getopt(argc, argv, "nf:l:P:r:")) != -1)
		switch (c) {
		case 'n':
			o.create = 1;
			break;
		case 'f':
			flip = optarg;
			break;
		case 'l':
			last = optarg;
			break;
		case 'P':
			o.parallel = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'r':
			o.run = optarg;
			break;
		default:
			return MSG_USAGE;
		}
	argc -= optind;
	argv += optind;
	if (argc < 2 || s3_url(argv[1], &bucket, &key, &e) == -1)
		return MSG_USAGE;
	verb = argv[0];
	r = remote_new(NULL);
	if ((s3 = remote_s3(r, &e)) == NULL ||
	    (retry = remote_retry(r, &e)) == NULL)
		die(&e);
	if (argc > 2 && strcmp(verb, "rmtree") != 0) {
		dir = open(argv[2], O_RDONLY | O_DIRECTORY);
		if (dir == -1)
			return MSG_NOINPUT;
		v = files(dir, key, t, &n);
		if (flip != NULL)
			flip_byte(dir, flip);
	}
	if (strcmp(verb, "send") == 0) {
		rv = s3_send(s3, retry, bucket, key, dir, v, n, &o, &sent,
		    &e);
		if (flip != NULL)
			flip_byte(dir, flip);
		print_sent(&sent);
	} else if (strcmp(verb, "prove") == 0)
		rv = s3_prove(s3, retry, bucket, v, n, o.parallel, &e);
	else if (strcmp(verb, "rmtree") == 0)
		rv = s3_remove_tree(s3, bucket, key, argc > 2 ? argv[2] :
		    NULL, &e);
	else
		return MSG_USAGE;
	if (rv == -1)
		die(&e);
	remote_free(r);
	for (i = 0; i < n; i++)
		free((void *)(size_t)v[i].key);
	free(v);
	hash_tree_free(t);
	free(bucket);
	free(key);
	if (dir != -1)
		(void)close(dir);
	return fflush(stdout) == EOF ? MSG_IOERR : 0;
}
