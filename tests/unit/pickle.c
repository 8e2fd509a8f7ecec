/*
 * pickle: real pickles of both ages, every truncation of them, damage at
 * random places, and what no pickle of ChromaDB holds.
 * SPDX-License-Identifier: ISC
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "pickle.h"
#include "tap.h"

#define FLIPS 20000

struct seen {
	uint64_t	ids, labels, sum[2];
};

static char		data[1024];
static int		fd;		/* a scratch file */
static uint64_t		rng = 88172645463325252U;

static uint64_t
next(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static int
pair(void *arg, enum pickle_map map, const char *id, size_t len,
    uint64_t label, struct err *e)
{
	struct seen	*s = arg;
	size_t		 i;
	uint64_t	 h = label * 31;

	(void)e;
	for (i = 0; i < len; i++)
		h = h * 131 + (unsigned char)id[i];
	if (map == PICKLE_ID_TO_LABEL)
		s->ids++;
	else
		s->labels++;
	s->sum[map] += h;
	return 0;
}

/* Read n bytes at p as a pickle. */
static int
try(const void *p, size_t n, struct pickle *out, struct seen *s,
    struct err *e)
{
	memset(e, 0, sizeof(*e));
	memset(s, 0, sizeof(*s));
	if (ftruncate(fd, 0) == -1 || pwrite(fd, p, n, 0) != (ssize_t)n)
		return -2;
	return pickle_read(fd, "test", out, pair, s, e);
}

static int
load(const char *sample, struct buf *b)
{
	struct dirent	*d;
	struct err	 e;
	char		 name[2048], file[4096];
	DIR		*dir;
	int		 rv = -1;

	memset(&e, 0, sizeof(e));
	buf_reset(b);
	(void)snprintf(name, sizeof(name), "%s/samples/%s/db", data, sample);
	if ((dir = opendir(name)) == NULL)
		return -1;
	while (rv == -1 && (d = readdir(dir)) != NULL) {
		(void)snprintf(file, sizeof(file),
		    "%s/%s/index_metadata.pickle", name, d->d_name);
		if (d->d_name[0] != '.' && access(file, R_OK) == 0)
			rv = io_slurp(AT_FDCWD, file, b, &e);
	}
	(void)closedir(dir);
	return rv;
}

static void
test_real(const char *sample, uint64_t n, int64_t total, int64_t max_seq)
{
	struct pickle	p;
	struct seen	s;
	struct err	e;
	struct buf	b;
	unsigned char	keep;
	size_t		i, k, wrong = 0;
	int		r;

	buf_init(&b, 1 << 20);
	r = load(sample, &b) == 0 ? try(b.p, b.len, &p, &s, &e) : -2;
	tap_ok(r == 0 && p.n_ids == n && s.ids == n && s.labels == n &&
	    s.sum[0] == s.sum[1] && p.has_ids && p.has_labels &&
	    p.has_total && p.total == total &&
	    p.has_max_seq_id == (max_seq != 0) &&
	    (max_seq == 0 || p.max_seq_id == max_seq),
	    "%s: %u ids and as many labels", sample, (unsigned int)n);
	for (i = 0; i < b.len; i++)
		if (try(b.p, i, &p, &s, &e) != -1 || e.code != MSG_DATAERR)
			wrong++;
	tap_ok(b.len != 0 && wrong == 0,
	    "%s: cut at each of %zu bytes: refused", sample, b.len);
	for (i = 0; i < FLIPS && b.len != 0; i++) {
		k = (size_t)(next() % b.len);
		keep = b.p[k];
		b.p[k] = (unsigned char)next();
		r = try(b.p, b.len, &p, &s, &e);
		if (r != 0 && (r != -1 || e.code != MSG_DATAERR))
			wrong++;
		b.p[k] = keep;
	}
	tap_ok(wrong == 0, "%s: %d bytes overwritten: read or refused",
	    sample, FLIPS);
	buf_free(&b);
}

static void
refuse(const char *what, const void *p, size_t n)
{
	struct pickle	out;
	struct seen	s;
	struct err	e;
	int		r = try(p, n, &out, &s, &e);

	if (!tap_ok(r == -1 && e.code == MSG_DATAERR, "%s: refused", what))
		printf("# r %d, %s\n", r, e.text);
}

/* No opcode outside the list gets anywhere. */
static void
test_opcodes(void)
{
	static const unsigned char	known[] = "\x80\x95}])(N\x88\x89KMJ"
	    "\x8aX\x8c\x8d\x94qrhjsut\x85\x86\x87" "c\x93\x81Rb.";
	struct pickle	p;
	struct seen	s;
	struct err	e;
	unsigned char	b[4] = { 0x80, 3, 0, '.' };
	int		i, wrong = 0;

	for (i = 0; i < 256; i++) {
		if (memchr(known, i, sizeof(known) - 1) != NULL)
			continue;
		b[2] = (unsigned char)i;
		if (try(b, sizeof(b), &p, &s, &e) != -1 ||
		    strstr(e.text, "refused opcode") == NULL)
			wrong++;
	}
	tap_ok(wrong == 0, "every opcode outside the list is refused");
}

static void
test_bombs(void)
{
	unsigned char	*b = malloc(1 << 20);
	size_t		 i, n = 0;

	refuse("string of 4 GiB declared", "\x80\3X\xff\xff\xff\xff", 7);
	refuse("string of 2^63 declared",
	    "\x80\4\x8d\xff\xff\xff\xff\xff\xff\xff\x7f", 11);
	refuse("memo index 4294967295", "\x80\3Nr\xff\xff\xff\xff}.", 10);
	refuse("memo that was never set", "\x80\3h\7.", 5);
	refuse("frame longer than the file",
	    "\x80\4\x95\xff\xff\xff\xff\xff\xff\xff\xff}.", 13);
	refuse("number of 255 bytes", "\x80\4\x8a\xff}.", 6);
	refuse("protocol 9", "\x80\x09}.", 4);
	refuse("bytes after the end", "\x80\3}.}", 5);
	refuse("no dictionary", "\x80\3N.", 4);
	refuse("reference to a dictionary", "\x80\4}\x94h\0.", 7);
	refuse("nothing", "", 0);
	/* marks without end; then a string that is doubled by reference */
	memset(b, '(', 1 << 20);
	memcpy(b, "\x80\3", 2);
	refuse("a million marks", b, 1 << 20);
	memcpy(b, "\x80\4\x8d\x00\xff\x00\x00\x00\x00\x00\x00", 11);
	memset(b + 11, 'x', 0xff00);
	n = 11 + 0xff00;
	b[n++] = 0x94;
	for (i = 0; i < 100000; i++) {
		b[n++] = 'h';
		b[n++] = 0;
	}
	refuse("65 KB a hundred thousand times", b, n);
	free(b);
}

/* Labels as wide as numbers get, both ways in. */
static void
test_numbers(void)
{
	static const char	big[] = "\x80\3}(X\x0b\0\0\0id_to_label}("
	    "X\1\0\0\0a\x8a\5\0\0\0\0\1X\1\0\0\0bM\1\2uu.";
	static const char	neg[] = "\x80\3}(X\x0b\0\0\0id_to_label}"
	    "X\1\0\0\0aJ\xff\xff\xff\xffsu.";
	struct pickle	p;
	struct seen	s;
	struct err	e;

	tap_ok(try(big, sizeof(big) - 1, &p, &s, &e) == 0 && s.ids == 2 &&
	    s.sum[0] == (4294967296U * 31 * 131 + 'a') +
	    (513U * 31 * 131 + 'b'), "labels 2^32 and 513");
	refuse("negative label", neg, sizeof(neg) - 1);
}

/* Pairs that test_write makes: ids of every length, now and then. */
struct maker {
	uint64_t	n, first, skip;	/* skip: pairs less the second time */
	size_t		long_id;	/* bytes of every tenth id */
	int		walks;
	uint64_t	sum;
};

static int
make(void *arg, struct pickle_out *o, struct err *e)
{
	struct maker	*k = arg;
	uint64_t	 i, h, end = k->n;
	char		*id = malloc(PICKLE_STR_MAX + 2);
	size_t		 len, j;
	int		 r = id == NULL ? -1 : 0;

	k->sum = 0;
	if (k->walks++ > 0)
		end -= k->skip;
	for (i = 0; r == 0 && i < end; i++) {
		len = (size_t)snprintf(id, 64, "id-%llu-\303\251",
		    (unsigned long long)i);
		if (i % 10 == 0 && k->long_id > len) {
			memset(id + len, 'x', k->long_id - len);
			len = k->long_id;
		}
		h = (k->first + i) * 31;
		for (j = 0; j < len; j++)
			h = h * 131 + (unsigned char)id[j];
		k->sum += h;
		r = pickle_add(o, id, len, k->first + i, e);
	}
	free(id);
	return r;
}

/* Written, and read again; the status of writing. */
static int
round_trip(struct maker k, uint64_t total, int *same)
{
	struct pickle	p;
	struct seen	s;
	struct err	e;

	memset(&e, 0, sizeof(e));
	memset(&s, 0, sizeof(s));
	if (ftruncate(fd, 0) == -1 || lseek(fd, 0, SEEK_SET) == -1)
		return -2;
	*same = 0;
	if (pickle_write(fd, "test", total, make, &k, &e) == -1)
		return e.code;
	*same = pickle_read(fd, "test", &p, pair, &s, &e) == 0 &&
	    p.total == (int64_t)total && !p.has_dim && !p.has_max_seq_id &&
	    p.has_ids && p.has_labels && p.n_ids == k.n &&
	    p.n_labels == k.n && s.sum[0] == k.sum && s.sum[1] == k.sum;
	if (!*same)
		printf("# %s\n", e.text);
	return 0;
}

static void
test_write(void)
{
	static const uint64_t	n[] = { 0, 1, 999, 1000, 1001, 2500 };
	struct maker		k;
	unsigned char		head[8] = { 0 };
	size_t			i, good = 0;
	int			same;

	memset(&k, 0, sizeof(k));
	for (i = 0; i < 6; i++) {
		k.n = n[i];
		k.first = 7;
		if (round_trip(k, 7 + n[i], &same) == 0 && same)
			good++;
	}
	tap_ok(good == 6, "what is written is read: 0 to 2500 pairs");
	tap_ok(pread(fd, head, 4, 0) == 4 &&
	    memcmp(head, "\x80\3}(", 4) == 0, "protocol 3");
	k.long_id = PICKLE_STR_MAX;
	tap_ok(round_trip(k, 10000, &same) == 0 && same, "16 MB of ids");
	k.long_id++;
	tap_ok(round_trip(k, 10000, &same) == MSG_DATAERR, "id too long");
	k.long_id = 0;
	k.n = 2;
	k.first = PICKLE_LABEL_MAX - 1;
	tap_ok(round_trip(k, PICKLE_LABEL_MAX, &same) == 0 && same,
	    "the greatest label");
	k.n = 3;
	tap_ok(round_trip(k, PICKLE_LABEL_MAX, &same) == MSG_DATAERR,
	    "a label beyond it");
	k.first = 1;
	tap_ok(round_trip(k, (uint64_t)PICKLE_LABEL_MAX + 1, &same) ==
	    MSG_DATAERR, "a total beyond it");
	k.skip = 1;
	tap_ok(round_trip(k, 3, &same) == MSG_SOFTWARE,
	    "two walks that differ are a bug");
}

int
main(int argc, char **argv)
{
	const char	*dir = getenv("DATA");
	char		 name[] = "/tmp/intact-pickle.XXXXXX";

	msg_init("pickle");
	if (argc > 1)
		dir = argv[1];
	(void)snprintf(data, sizeof(data), "%s",
	    dir != NULL ? dir : "tests/data");
	if ((fd = mkstemp(name)) == -1)
		return 99;
	(void)unlink(name);
	tap_plan(36);
	test_real("purged_hnsw_l2", 89, 92, 0);
	test_real("dim384", 30, 30, 0);
	test_real("legacy_py0424_synthetic", 40, 40, 40);
	test_real("legacy_py063_synthetic", 40, 40, 0);
	test_opcodes();
	test_bombs();
	test_numbers();
	test_write();
	return tap_done();
}
