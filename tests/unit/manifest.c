/*
 * manifest: what is written is read back; what would be too large to be
 * read is not written, and whoever meets that is told what to do.
 * SPDX-License-Identifier: ISC
 */
#include "manifest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "hash.h"
#include "mem.h"
#include "tap.h"
#include "banned.h"

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define URL_LEN	((size_t)1 << 20)	/* bytes */

static char	*url;			/* of every source */

/* n sources of URL_LEN bytes, which all share one url. */
static void
fill(struct manifest *m, size_t n)
{
	struct item_source	s;
	size_t			i;

	memset(m, 0, sizeof(*m));
	m->format = mem_dup("sqlite");
	memcpy(m->content_digest, SHA, HASH_HEX);
	for (i = 0; i < n; i++) {
		memset(&s, 0, sizeof(s));
		(void)snprintf(s.sha256, sizeof(s.sha256), "%064zx", i);
		s.url = url;
		manifest_add_source(m, &s);
	}
}

static void
clear(struct manifest *m)
{
	size_t	i;

	for (i = 0; i < m->n_sources; i++)
		m->sources[i].url = NULL;
	manifest_clear(m);
}

int
main(void)
{
	struct manifest	m, back;
	struct err	e = { 0, "" };
	unsigned char	d[HASH_LEN], got[HASH_LEN];
	char		dir[] = "manifest.XXXXXX";
	struct stat	st;
	int		fd;

	tap_plan(5);
	if (mkdtemp(dir) == NULL ||
	    (fd = open(dir, O_RDONLY | O_DIRECTORY)) == -1)
		return 99;
	url = mem_alloc(URL_LEN + 1);
	memset(url, 'u', URL_LEN);
	url[URL_LEN] = '\0';

	fill(&m, 3);
	manifest_add_file(&m, "store.sqlite3", 7, (const unsigned char *)SHA);
	tap_ok(manifest_write(&m, fd, d, &e) == 0 &&
	    manifest_read(&back, fd, got, &e) == 0 && e.code == 0,
	    "one is written and read");
	tap_ok(memcmp(d, got, HASH_LEN) == 0 && back.n_sources == 3 &&
	    back.n_files == 1 && back.files[0].size == 7 &&
	    strcmp(back.sources[2].url, url) == 0, "and is the same");
	manifest_clear(&back);
	clear(&m);
	(void)unlinkat(fd, MANIFEST_NAME, 0);

	fill(&m, MANIFEST_MAX / URL_LEN);
	tap_ok(manifest_write(&m, fd, d, &e) == -1 && e.code == MSG_DATAERR,
	    "one that would be too large is 65");
	tap_is(e.text, "manifest.json: larger than 268435456 bytes: 256 "
	    "sources and 0 files are more than one target can remember: "
	    "publish further inputs to another one, fewer and larger",
	    "which names the limit, and says what to do");
	tap_ok(fstatat(fd, MANIFEST_NAME, &st, 0) == 0 &&
	    (size_t)st.st_size < MANIFEST_MAX,
	    "what there is of it is smaller");
	clear(&m);
	(void)unlinkat(fd, MANIFEST_NAME, 0);
	(void)close(fd);
	(void)rmdir(dir);
	free(url);
	return tap_done();
}
