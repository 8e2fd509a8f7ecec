/*
 * fuzz: files that strangers made: pickles, indexes, archives, results.
 * SPDX-License-Identifier: ISC
 */
#include "fuzz.h"

#include <sys/stat.h>

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arc.h"
#include "batch.h"
#include "batch_join.h"
#include "buf.h"
#include "check.h"
#include "hash.h"
#include "hnsw.h"
#include "io.h"
#include "path.h"
#include "pickle.h"
#include "banned.h"

#define HNSW_DIM	2048	/* of the vectors in a fuzzed index, at most */
#define ARC_FUZZ_BYTES	((uint64_t)1 << 20)

static int
one_pair(void *arg, enum pickle_map map, const char *id, size_t len,
    uint64_t label, struct err *e)
{
	uint64_t	*n = arg;

	(void)id;
	(void)len;
	(void)label;
	(void)e;
	n[map == PICKLE_ID_TO_LABEL]++;
	return 0;
}

void
fuzz_pickle(const unsigned char *p, size_t n)
{
	struct pickle	k;
	struct err	e = { 0, "" };
	uint64_t	seen[2] = { 0, 0 };
	int		fd;

	fuzz_put("pickle", p, n);
	fd = open(fuzz_path("pickle"), O_RDONLY | O_CLOEXEC);
	FUZZ_MUST(fd != -1);
	if (pickle_read(fd, "pickle", &k, one_pair, seen, &e) == 0)
		FUZZ_MUST(seen[1] == k.n_ids && seen[0] == k.n_labels);
	else
		FUZZ_MUST(e.code == MSG_DATAERR);
	(void)close(fd);
}

static size_t
min(size_t a, uint64_t b)
{
	return b < a ? (size_t)b : a;
}

/*
 * header.bin (100 bytes), then the levels, the lengths and the links, as
 * long as the header says as far as there is something.
 */
void
fuzz_hnsw(const unsigned char *p, size_t n)
{
	static const char *const names[] = { "i/data_level0.bin",
		"i/length.bin", "i/link_lists.bin" };
	struct hnsw		 h;
	struct err		 e = { 0, "" };
	float			 vec[HNSW_DIM];
	uint64_t		 whole = 0, live, label, i, dim = 8;
	size_t			 at, len[3], k, left;
	int			 deleted;

	at = n < HNSW_HEADER_LEN ? n : HNSW_HEADER_LEN;
	fuzz_put("i/header.bin", p, at);
	memset(len, 0, sizeof(len));
	if (n > HNSW_HEADER_LEN) {
		dim = (buf_get_le64(p + 36) - buf_get_le64(p + 44)) / 4 %
		    (HNSW_DIM + 1);
		i = buf_get_le64(p + 12) % 4096;
		left = n - at;
		len[0] = min(left, i * (buf_get_le64(p + 28) % 65536));
		len[1] = min(left - len[0], 4 * i);
		len[2] = left - len[0] - len[1];
	}
	for (k = 0; k < 3; at += len[k++])
		fuzz_put(names[k], p + at, len[k]);
	if (hnsw_open(&h, fuzz_dirfd, "i", "i", (uint32_t)dim, n & 1,
	    &e) == -1) {
		FUZZ_MUST(e.code == MSG_DATAERR || e.code == MSG_NOINPUT);
		return;
	}
	for (i = 0; i < h.n && i < 64; i++)
		if (hnsw_label(&h, i, &label, &deleted, &e) == -1 ||
		    hnsw_vector(&h, i, vec, &e) == -1)
			break;
	e.code = 0;
	if (hnsw_check(&h, &whole, &e) == 0)
		FUZZ_MUST(whole <= h.head.count);
	else
		FUZZ_MUST(e.code == MSG_DATAERR);
	e.code = 0;
	if (hnsw_check_graph(&h, &live, &e) == 0)
		FUZZ_MUST(live <= h.head.count);
	hnsw_close(&h);
}

void
fuzz_archive(const unsigned char *p, size_t n)
{
	struct arc_limits	 lim = { 100, ARC_FUZZ_BYTES, 0, 0 };
	struct check_verdict	 v;
	struct hash_tree	*t = hash_tree_new();
	struct err		 e = { 0, "" };
	unsigned char		 d[HASH_LEN];
	const unsigned char	*each;
	struct stat		 st;
	uint64_t		 size, sum;
	size_t			 i;
	int			 fd, r;

	memset(&v, 0, sizeof(v));
	fuzz_put("a", p, n);
	FUZZ_MUST(mkdirat(fuzz_dirfd, "out", 0700) == 0);
	fd = openat(fuzz_dirfd, "out", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_MUST(fd != -1);
	r = arc_unpack(fuzz_path("a"), fd, &lim, t, &v, &e);
	FUZZ_MUST(r == 0 || (r == 1 && v.code != CHECK_OK) ||
	    (r == -1 && e.code != 0));
	/* nothing but what it says lies there, and only below */
	hash_tree_final(t, d, &sum);
	FUZZ_MUST(r != 0 || sum <= ARC_FUZZ_BYTES);
	for (i = 0; r == 0 && i < hash_tree_count(t); i++) {
		const char *name = hash_tree_get(t, i, &size, &each);

		FUZZ_MUST(path_is_safe(name));
		FUZZ_MUST(fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode) && (uint64_t)st.st_size == size);
	}
	hash_tree_free(t);
	(void)close(fd);
}

void
fuzz_batch(const unsigned char *p, size_t n)
{
	enum batch_fault	 fault = BATCH_FINE;
	struct batch		*b;
	struct item		 it;
	struct err		 e = { 0, "" };
	uint64_t		 seen = 0;
	int			 r;

	fuzz_put("b.jsonl", p, n);
	b = batch_load(fuzz_path("b.jsonl"), &fault, &e);
	if (b == NULL) {
		FUZZ_MUST(fault != BATCH_FINE && e.code == MSG_DATAERR);
		return;
	}
	while ((r = batch_next(b, &it, &e)) == 1)
		seen++;
	FUZZ_MUST(r == 0 && seen == batch_records(b));
	batch_free(b);
}

void
fuzz_join(const unsigned char *p, size_t n)
{
	static const char *const names[] = { "requests", "output", "errors" };
	struct batch_join	 j;
	struct batch_joined	 r;
	struct err		 e = { 0, "" };
	const unsigned char	*part;
	char			 path[5][512];
	size_t			 k, len;

	for (k = 0; k < 5; k++)
		(void)snprintf(path[k], sizeof(path[k]), "%s/%s", fuzz_dir,
		    k < 3 ? names[k] : k == 3 ? "out" : "requeue");
	for (k = 0; k < 3; k++) {
		len = fuzz_part(&p, &n, &part);
		fuzz_put(names[k], part, len);
	}
	memset(&j, 0, sizeof(j));
	j.requests = path[0];
	j.output = path[1];
	j.errors = path[2];
	j.out = path[3];
	j.requeue = path[4];
	if (batch_join(&j, &r, &e) == 0)
		FUZZ_MUST(r.requested == r.ok + r.failed + r.missing);
	else
		FUZZ_MUST(e.code != 0);
}
