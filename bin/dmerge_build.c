/*
 * dmerge, the store: the base as it is, or the join of all that came, and
 * the record that describes it.
 * SPDX-License-Identifier: ISC
 */
#include "dmerge_run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dstore.h"
#include "hash.h"
#include "io.h"
#include "mem.h"
#include "spare.h"
#include "team.h"
#include "banned.h"

static int
emit(struct merge *m, const struct rec_store *s, uint64_t processed)
{
	struct rec	*r = rec_new("store");
	int		 rv;

	rec_store_put(r, s);
	rec_set_str(r, "intermediate_key", m->out != NULL ? m->out : "");
	rec_set_u64(r, "embeddings_processed", processed);
	rec_set_f64(r, "processing_time", io_now() - m->started);
	rv = filter_put(&m->f, r);
	rec_free(r);
	return rv;
}

static void
totals(struct merge *m, const struct rec_store *s)
{
	filter_count(&m->f, "records", s->records);
	filter_count(&m->f, "tombstones", s->tombstones);
	filter_count(&m->f, "superseded", s->superseded);
}

/* Nothing comes to the base, and it is in the form that is wanted. */
int
merge_as_it_is(const struct merge *m)
{
	return m->inputs == 0 && !m->o.rebuild &&
	    store_format_parse(m->base.format) == m->format;
}

const char *
merge_spares(const struct opts *o)
{
	if (o->out != NULL || o->rebuild)
		return SPARE_NO;
	return o->format != STORE_NONE ? store_format_name(o->format) :
	    SPARE_ANY;
}

/* --expect */
static int
expected(const struct merge *m, const char *digest, struct err *e)
{
	if (m->o.expect == NULL || strcmp(m->o.expect, digest) == 0)
		return 0;
	return err_set(e, MSG_DATAERR, "content digest: want %s, got %s",
	    m->o.expect, digest);
}

/* Nothing but a base and skips: the base itself is the answer. */
int
merge_hand_on(struct merge *m, struct err *e)
{
	struct rec_store	s;
	size_t			i;
	char			*from;
	int			rv;

	memset(&s, 0, sizeof(s));
	s.path = m->base.path;
	s.format = m->base.format;
	s.sha256 = m->base.sha256;
	s.content_digest = m->base.content_digest;
	s.records = m->base_m.records;
	s.tombstones = m->base_m.tombstones;
	s.unchanged = 1;
	if (expected(m, s.content_digest, e) == -1)
		return -1;
	for (i = 0; i < m->base_m.n_files; i++)
		s.bytes += m->base_m.files[i].size;
	if (m->out != NULL) {
		if (merge_prove_base(m, e) == -1)
			return -1;
		from = merge_path(m->f.stage.path, m->base.path);
		rv = merge_copy(from, &m->base_m, m->store, 0, e);
		free(from);
		if (rv == -1)
			return -1;
	}
	if (merge_place(m, e) == -1)
		return -1;
	totals(m, &s);
	return emit(m, &s, 0);
}

/* The join, into the directory m->store. */
static int
write_store(struct merge *m, struct manifest *man, struct join_counts *c,
    struct err *e)
{
	struct join_out	 o;
	char		*path = NULL, *from;
	int		 rv = 0;

	o.format = m->format;
	o.onto = m->onto;
	o.threads = m->o.threads != 0 ? m->o.threads : team_processors();
	o.path = m->store;
	if (m->format == STORE_SQLITE)
		o.path = path = merge_path(m->store, DSTORE_FILE);
	if (m->onto) {
		from = merge_path(m->f.stage.path, m->base.path);
		rv = merge_copy(from, &m->base_m, m->store, 1, e);
		free(from);
	}
	if (rv == 0)
		rv = join_write(m->j, &o, man, c, e);
	free(path);
	return rv;
}

int
merge_build(struct merge *m, struct err *e)
{
	struct rec_store	 s;
	struct join_counts	 c;
	struct manifest		 man;
	unsigned char		 d[HASH_LEN];
	char			 hex[HASH_HEX], *rel = NULL;
	int			 fd = -1, rv = -1;

	memset(&man, 0, sizeof(man));
	memset(&s, 0, sizeof(s));
	if (write_store(m, &man, &c, e) == -1)
		goto done;
	if (c.index.linked != 0)
		msg_info("index: %llu elements linked, %.2f s cpu",
		    (unsigned long long)c.index.linked, c.index.cpu);
	if (m->has_base) {
		man.parent = mem_dup(m->base.version);
		memcpy(man.parent_digest, m->base.content_digest, HASH_HEX);
		if (c.base_live != m->base.records) {
			err_set(e, MSG_DATAERR, "base %s: want %llu records, "
			    "got %llu", m->base.target,
			    (unsigned long long)m->base.records,
			    (unsigned long long)c.base_live);
			goto done;
		}
	}
	if (merge_verify(m, &man, &c, &s.bytes, e) == -1 ||
	    expected(m, man.content_digest, e) == -1)
		goto done;
	fd = open(m->store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1) {
		err_sys(e, errno, "%s", m->store);
		goto done;
	}
	if (manifest_write(&man, fd, d, e) == -1)
		goto done;
	hash_hex(d, hex);
	if (merge_into_staging(m, &man, &rel, e) == -1 ||
	    merge_place(m, e) == -1)
		goto done;
	s.path = rel;
	s.format = man.format;
	s.sha256 = hex;
	s.content_digest = man.content_digest;
	s.records = c.live;
	s.tombstones = c.tombstones;
	s.superseded = c.superseded;
	s.inserted = c.inserted;
	s.replaced = c.replaced;
	s.deleted = c.deleted;
	s.merged = m->inputs;
	totals(m, &s);
	rv = emit(m, &s, c.from_inputs);
done:
	if (fd != -1)
		(void)close(fd);
	free(rel);
	manifest_clear(&man);
	return rv;
}
