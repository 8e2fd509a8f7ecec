/*
 * journal: what is written is read back, and nothing that is torn or made
 * up is taken for a journal.
 * SPDX-License-Identifier: ISC
 */
#include "journal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "tap.h"
#include "tmp.h"
#include "banned.h"

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void
fill(struct journal *j)
{
	struct journal_key	*k;

	memset(j, 0, sizeof(*j));
	j->generation = 7;
	j->prefix = mem_dup("s3://b/\"prod\"");
	k = journal_add(j, "a b/x'y|z\".csv");
	k->size = 3;
	memcpy(k->sha256, SHA, HASH_HEX);
	k = journal_add(j, "new");
	memcpy(k->sha256, SHA, HASH_HEX);
	k->was = 1;
	k->was_size = 9;
	k->was_etag = mem_dup("\"tag\"");
	k = journal_add(j, "gone");
	k->remove = k->was = 1;
	memcpy(k->was_sha256, SHA, HASH_HEX);
	k = journal_add(j, "same");
	k->was = 1;
	memcpy(k->sha256, SHA, HASH_HEX);
	memcpy(k->was_sha256, SHA, HASH_HEX);
}

static int
key_same(const struct journal_key *a, const struct journal_key *b)
{
	return strcmp(a->name, b->name) == 0 && a->remove == b->remove &&
	    a->size == b->size && strcmp(a->sha256, b->sha256) == 0 &&
	    a->was == b->was && a->was_size == b->was_size &&
	    strcmp(a->was_sha256, b->was_sha256) == 0 &&
	    (a->was_etag == NULL) == (b->was_etag == NULL) &&
	    (a->was_etag == NULL || strcmp(a->was_etag, b->was_etag) == 0);
}

static int
parses(const char *s, size_t n)
{
	struct journal	j;
	struct err	e = { 0, "" };
	int		r = journal_parse(&j, s, n, &e);

	if (r == 0)
		journal_clear(&j);
	else if (e.code != MSG_DATAERR || j.v != NULL)
		return -2;
	return r;
}

int
main(void)
{
	static const char *const	bad[] = {
		"", "[]", "{}", "{\"intact\":2,\"generation\":1,"
		    "\"prefix\":\"p\",\"keys\":[]}",
		"{\"intact\":1,\"generation\":-1,\"prefix\":\"p\","
		    "\"keys\":[]}",
		"{\"intact\":1,\"generation\":1,\"keys\":[]}",
		"{\"intact\":1,\"generation\":1,\"prefix\":\"p\",\"keys\":["
		    "{\"name\":\"../x\",\"size\":1,\"sha256\":\"" SHA
		    "\",\"was\":null}]}",
		"{\"intact\":1,\"generation\":1,\"prefix\":\"p\",\"keys\":["
		    "{\"name\":\"x\",\"size\":1,\"was\":null}]}",
		"{\"intact\":1,\"generation\":1,\"prefix\":\"p\",\"keys\":["
		    "{\"name\":\"x\",\"size\":1,\"sha256\":\"" SHA "\"}]}",
		"{\"intact\":1,\"generation\":1,\"prefix\":\"p\",\"keys\":["
		    "{\"name\":\"x\",\"delete\":true,\"was\":null}]}",
		"{\"intact\":1,\"generation\":1,\"prefix\":\"p\",\"keys\":["
		    "{\"name\":\"x\",\"delete\":true,\"was\":{}}]}",
		"{\"intact\":1,\"generation\":1,\"prefix\":\"p\",\"keys\":["
		    "1]}",
		"{\"intact\":1,\"generation\":1,\"prefix\":\"p\",\"keys\":[]"
		    "}x" };
	struct journal	j, got;
	struct err	e = { 0, "" };
	struct buf	b;
	unsigned char	d[HASH_LEN];
	char		dir[TMP_DIR];
	uint64_t	size = 0;
	size_t		i, cut = 0, refused = 0;
	int		fd, same;

	msg_init("journal");
	tap_plan(8);
	fill(&j);
	tap_ok(!journal_same(&j.v[0]) && !journal_same(&j.v[1]) &&
	    !journal_same(&j.v[2]) && journal_same(&j.v[3]),
	    "what is the same needs no move");
	buf_init(&b, JOURNAL_MAX);
	if (tmp_dir(dir, "journal") == -1 ||
	    (fd = open(dir, O_RDONLY | O_DIRECTORY)) == -1)
		return 1;
	tap_ok(journal_write(&j, fd, d, &size, &e) == 0, "written");
	tap_ok(io_slurp(fd, JOURNAL_NAME, &b, &e) == 0 && b.len == size,
	    "as long as it says");
	tap_ok(journal_write(&j, fd, d, &size, &e) == -1, "never written over");
	tap_ok(journal_parse(&got, buf_cstr(&b), b.len, &e) == 0 &&
	    got.generation == 7 && strcmp(got.prefix, j.prefix) == 0 &&
	    got.n == j.n, "read back");
	for (i = 0, same = 1; i < got.n && i < j.n; i++)
		same &= key_same(&got.v[i], &j.v[i]);
	tap_ok(same, "every key as it was");
	/* but for the last newline each byte counts */
	for (i = 0; i + 1 < b.len; i++)
		cut += parses(buf_cstr(&b), i) == -1;
	tap_ok(cut == b.len - 1, "cut anywhere, it is none");
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused += parses(bad[i], strlen(bad[i])) == -1;
	tap_ok(refused == sizeof(bad) / sizeof(bad[0]),
	    "nor is what is made up");
	journal_clear(&got);
	journal_clear(&j);
	buf_free(&b);
	(void)unlinkat(fd, JOURNAL_NAME, 0);
	(void)close(fd);
	(void)rmdir(dir);
	return tap_done();
}
