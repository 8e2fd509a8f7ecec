/*
 * dpublish, the entries of a quarantine: their names and their notes.  It
 * moves no input and judges none.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish_entry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "dpublish_move.h"
#include "mem.h"
#include "path.h"
#include "rec.h"
#include "banned.h"

void
entry_key(char out[TARGET_KEY_MAX], const char *name, const char *file)
{
	(void)snprintf(out, TARGET_KEY_MAX, TARGET_QUARANTINE "/%s%s%s",
	    name, file != NULL ? "/" : "", file != NULL ? file : "");
}

/* Entries. */

void
entry_clear(struct entry *n)
{
	free(n->name);
	free(n->url);
	free(n->file);
	free(n->verdict);
	free(n->reason);
	free(n->mend);
	free(n->run);
	memset(n, 0, sizeof(*n));
}

int
entry_parse(struct entry *n, const struct buf *b)
{
	struct err	 f = { 0, "" };
	unsigned char	 d[HASH_LEN];
	const char	*sha, *kind;
	size_t		 len = b->len;
	struct rec	*r;
	int		 rv = -1;

	while (len > 0 && b->p[len - 1] == '\n')
		len--;
	r = rec_from_json((const char *)b->p, len, &f);
	if (r == NULL)
		return -1;
	n->url = rec_dup_str(r, "url");
	n->file = rec_dup_str(r, "file");
	n->verdict = rec_dup_str(r, "verdict");
	n->reason = rec_dup_str(r, "reason");
	n->mend = rec_dup_str(r, "mend");
	n->run = rec_dup_str(r, "run");
	(void)rec_get_i64(r, "when_ns", &n->when);
	if (n->url != NULL && n->file != NULL && path_is_name(n->file) &&
	    n->verdict != NULL && rec_get_str(r, "sha256", &sha) &&
	    hash_unhex(sha, d) == 0 && rec_get_str(r, "kind", &kind)) {
		memcpy(n->sha256, sha, HASH_HEX);
		n->dir = strcmp(kind, "dir") == 0;
		rv = 0;
	}
	rec_free(r);
	return rv;
}

int
entry_get(struct target *t, const char *name, struct entry *n,
    struct err *e)
{
	struct buf	b;
	char		key[TARGET_KEY_MAX];
	int		r, moved;

	memset(n, 0, sizeof(*n));
	entry_key(key, name, ENTRY_VERDICT);
	buf_init(&b, ENTRY_NOTE_MAX);
	r = target_note_get(t, key, &b, e);
	if (r == 1 && entry_parse(n, &b) == -1)
		r = err_set(e, MSG_DATAERR, "%s/%s: not one of ours",
		    target_url(t), key);
	if (r == 1) {
		n->name = mem_dup(name);
		buf_reset(&b);
		entry_key(key, name, ENTRY_MOVED);
		moved = target_note_get(t, key, &b, e);
		n->moved = moved == 1;
		if (moved == -1)
			r = -1;
	}
	buf_free(&b);
	if (r != 1)
		entry_clear(n);
	return r;
}

char *
entry_place(const struct target *t, const struct entry *n)
{
	char	*dir = mem_cat(target_url(t), "/" TARGET_QUARANTINE "/",
		    n->name), *file = mem_cat(dir, "/", n->file), *s;

	s = mem_cat(file, n->dir && target_is_remote(t) ? "/" : "", "");
	free(dir);
	free(file);
	return s;
}

void
entry_file(char out[ENTRY_FILE_MAX], const char *url)
{
	size_t		 len = strlen(url), i, n;
	const char	*s = url;

	while (len > 0 && url[len - 1] == '/')
		len--;
	for (i = 0; i < len; i++)
		if (url[i] == '/')
			s = url + i + 1;
	n = len - (size_t)(s - url);
	if (n > ENTRY_BASE_MAX) {	/* its end says what it is */
		s += n - ENTRY_BASE_MAX;
		n = ENTRY_BASE_MAX;
	}
	for (i = 0; i < n; i++)
		out[i] = strchr("abcdefghijklmnopqrstuvwxyz"
		    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", s[i]) !=
		    NULL ? s[i] : '_';
	out[n] = '\0';
	if (n == 0 || out[0] == '.' || strcmp(out, ENTRY_VERDICT) == 0 ||
	    strcmp(out, ENTRY_MOVED) == 0 || strcmp(out, ENTRY_REQUEUE) == 0)
		(void)snprintf(out, ENTRY_FILE_MAX, "input");
}

void
entry_name(char out[ENTRY_NAME_MAX], const char *url, const char *sha256)
{
	unsigned char	 d[HASH_LEN];
	char		 file[ENTRY_FILE_MAX], hex[HASH_HEX];
	struct hash	*h = hash_new();

	hash_add(h, url, strlen(url) + 1);
	hash_add(h, sha256, strlen(sha256));
	hash_final(h, d);
	hash_free(h);
	hash_hex(d, hex);
	entry_file(file, url);
	(void)snprintf(out, ENTRY_NAME_MAX, "%s-%.16s", file, hex);
}

int
entry_of_url(struct target *t, const char *url, struct entry *n,
    struct err *e)
{
	struct target_names	w;
	struct err		f;
	size_t			i;
	int			found = 0;

	memset(n, 0, sizeof(*n));
	if (target_list(t, TARGET_QUARANTINE, &w, e) == -1)
		return -1;
	for (i = 0; i < w.n && !found; i++) {
		memset(&f, 0, sizeof(f));
		if (entry_get(t, w.v[i], n, &f) != 1)
			continue;
		found = n->moved && strcmp(n->url, url) == 0;
		if (!found)
			entry_clear(n);
	}
	target_names_clear(&w);
	return found;
}

/*
 * On disk an entry goes at once; elsewhere its verdict before its end mark,
 * so that what is left of it is never taken for one that was begun.
 */
int
entry_drop(struct target *t, const struct entry *n, struct err *e)
{
	char	key[TARGET_KEY_MAX], to[TARGET_KEY_MAX];
	char	*url, *gone;
	int	rv;

	entry_key(key, n->name, NULL);
	if (target_is_remote(t)) {
		entry_key(to, n->name, ENTRY_VERDICT);
		if (target_note_unlink(t, to, e) == -1)
			return -1;
		return target_note_drop(t, key, e);
	}
	/* hidden names are nobody's entries */
	(void)snprintf(to, sizeof(to), TARGET_QUARANTINE "/.%.200s", n->name);
	url = mem_cat(target_url(t), "/", key);
	gone = mem_cat(target_url(t), "/", to);
	rv = target_note_drop(t, to, e);
	if (rv == 0)
		rv = move_rename(url, gone, e);
	if (rv == 0)
		rv = target_note_drop(t, to, e);
	free(url);
	free(gone);
	return rv;
}

/* Is there nothing there but what is left of an entry that was dropped? */
static int
is_rest(const struct target_names *w)
{
	size_t	i;

	for (i = 0; i < w->n; i++)
		if (strcmp(w->v[i], ENTRY_MOVED) != 0 &&
		    strcmp(w->v[i], ENTRY_REQUEUE) != 0)
			return 0;
	return w->n > 0;
}

int
entry_drop_rest(struct target *t, const char *name, int dry, struct err *e)
{
	struct target_names	w;
	char			key[TARGET_KEY_MAX], hidden[TARGET_KEY_MAX];
	int			rest;

	entry_key(key, name, NULL);
	(void)snprintf(hidden, sizeof(hidden), TARGET_QUARANTINE "/.%.200s",
	    name);
	if (target_list(t, key, &w, e) == -1)
		return -1;
	rest = is_rest(&w);
	target_names_clear(&w);
	if (!dry && ((rest &&
	    target_note_drop(t, key, e) == -1) ||
	    (!target_is_remote(t) &&
	    target_note_drop(t, hidden, e) == -1)))
		return -1;
	return rest ? 0 : err_set(e, MSG_NOINPUT, "%s/%s: nothing of that "
	    "name was set aside (see dpublish quarantine --list)",
	    target_url(t), key);
}
