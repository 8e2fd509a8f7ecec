/*
 * pickle: the stack machine.  It has no instruction that runs anything.
 * SPDX-License-Identifier: ISC
 */
#include "pickle.h"

#include <sys/stat.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "banned.h"

#define WINDOW 65536	/* bytes read at a time */

enum kind {
	K_NONE,
	K_INT,		/* also booleans */
	K_STR,
	K_DICT,
	K_LIST,
	K_TUPLE,
	K_CLASS,	/* a name that is never looked up */
	K_OBJECT,	/* what a class would have made */
	K_MARK
};

/* Which of the six dictionaries a dictionary is. */
enum role {
	R_OTHER,
	R_ROOT,
	R_IDS,
	R_LABELS
};

struct value {
	enum kind	 kind;
	enum role	 role;	/* K_DICT */
	int64_t		 i;	/* K_INT */
	uint64_t	 off;	/* K_STR: where it lies in the file */
	uint32_t	 len;
	char		*s;	/* K_STR; owned */
};

struct memo {
	uint64_t	 off;	/* of a string; 0 when it is none */
	uint32_t	 len;
	uint32_t	 kind;
};

struct machine {
	int		 fd;
	const char	*name;
	struct pickle	*p;
	pickle_pair	*pair;
	void		*arg;
	struct err	*e;

	unsigned char	 win[WINDOW];
	uint64_t	 win_off, win_len, pos, size;

	struct value	*st;
	size_t		 n, cap;
	size_t		 live;	/* bytes of strings on the stack */
	struct memo	*memo;
	size_t		 n_memo, memo_cap;
	int		 protocol;
};

static int
bad(struct machine *m, const char *why)
{
	return err_set(m->e, MSG_DATAERR, "%s: pickle: %s at byte %llu",
	    m->name, why, (unsigned long long)m->pos);
}

/* n more bytes to dst, through the window. */
static int
take(struct machine *m, void *dst, size_t n)
{
	unsigned char	*d = dst;
	uint64_t	 at;
	ssize_t		 got;
	size_t		 k;

	if (n > m->size - m->pos)
		return bad(m, "ends early");
	while (n > 0) {
		at = m->pos - m->win_off;
		if (at >= m->win_len) {
			got = io_pread(m->fd, m->win, sizeof(m->win), m->pos);
			if (got == -1)
				return err_sys(m->e, errno, "%s", m->name);
			if (got == 0)
				return bad(m, "ends early");
			m->win_off = m->pos;
			m->win_len = (uint64_t)got;
			at = 0;
		}
		k = (size_t)(m->win_len - at);
		if (k > n)
			k = n;
		memcpy(d, m->win + at, k);
		d += k;
		n -= k;
		m->pos += k;
	}
	return 0;
}

/* A little-endian number of 1 to 8 bytes. */
static int
take_le(struct machine *m, size_t n, uint64_t *out)
{
	unsigned char	b[8] = { 0 };

	if (take(m, b, n) == -1)
		return -1;
	*out = buf_get_le64(b);
	return 0;
}

static struct value *
push(struct machine *m, enum kind kind)
{
	struct value	*v;

	if (m->n >= PICKLE_STACK_MAX) {
		bad(m, "stack too deep");
		return NULL;
	}
	m->st = mem_grow(m->st, &m->cap, m->n + 1, sizeof(*m->st));
	v = &m->st[m->n++];
	memset(v, 0, sizeof(*v));
	v->kind = kind;
	return v;
}

static void
drop(struct machine *m, size_t to)
{
	while (m->n > to) {
		m->n--;
		m->live -= m->st[m->n].len;
		free(m->st[m->n].s);
	}
}

static int
push_int(struct machine *m, int64_t i)
{
	struct value	*v = push(m, K_INT);

	if (v == NULL)
		return -1;
	v->i = i;
	return 0;
}

/* A string of len bytes at the current place, or (off != 0) at off. */
static int
push_str(struct machine *m, uint64_t len, uint64_t off)
{
	struct value	*v;
	ssize_t		 got;
	int		 rv = 0;

	if (len > PICKLE_STR_MAX)
		return bad(m, "string too long");
	if (off == 0 && len > m->size - m->pos)
		return bad(m, "string ends early");
	if (m->live + len > PICKLE_LIVE_MAX)
		return bad(m, "too many bytes on the stack");
	if ((v = push(m, K_STR)) == NULL)
		return -1;
	v->len = (uint32_t)len;
	v->s = mem_alloc((size_t)len + 1);
	m->live += (size_t)len;
	v->s[len] = '\0';
	v->off = off != 0 ? off : m->pos;
	if (off == 0)
		return take(m, v->s, (size_t)len);
	if (off >= m->win_off && off - m->win_off <= m->win_len &&
	    len <= m->win_len - (off - m->win_off)) {
		memcpy(v->s, m->win + (off - m->win_off), (size_t)len);
		return 0;
	}
	got = io_pread(m->fd, v->s, (size_t)len, off);
	if (got == -1)
		rv = err_sys(m->e, errno, "%s", m->name);
	else if ((uint64_t)got != len)
		rv = bad(m, "ends early");
	return rv;
}

/* A new dictionary; what stands below it says which one it is. */
static int
push_dict(struct machine *m)
{
	static const struct {
		const char	*name;
		enum role	 role;
	} names[] = {
		{ "id_to_label", R_IDS },
		{ "label_to_id", R_LABELS },
	};
	const struct value	*below;
	struct value		*v;
	enum role		 role = R_OTHER;
	size_t			 i;

	below = m->n != 0 ? &m->st[m->n - 1] : NULL;
	if (below == NULL || (m->n == 1 && below->kind == K_OBJECT))
		role = R_ROOT;
	else if (below->kind == K_STR)
		for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (strlen(names[i].name) == below->len &&
			    memcmp(names[i].name, below->s, below->len) == 0)
				role = names[i].role;
	if ((v = push(m, K_DICT)) == NULL)
		return -1;
	v->role = role;
	return 0;
}

static int
memo_put(struct machine *m, uint64_t i)
{
	const struct value	*v;
	size_t			 old = m->n_memo;

	if (m->n == 0)
		return bad(m, "memo of nothing");
	/* numbers grow by one; a far one is a bomb */
	if (i > m->n_memo || i >= PICKLE_MEMO_MAX)
		return bad(m, "memo index out of order");
	v = &m->st[m->n - 1];
	if (i == m->n_memo) {
		m->memo = mem_grow(m->memo, &m->memo_cap, old + 1,
		    sizeof(*m->memo));
		m->n_memo++;
	}
	m->memo[i].kind = (uint32_t)v->kind;
	m->memo[i].off = v->off;
	m->memo[i].len = v->len;
	return 0;
}

static int
memo_get(struct machine *m, uint64_t i)
{
	if (i >= m->n_memo)
		return bad(m, "memo index never set");
	switch ((enum kind)m->memo[i].kind) {
	case K_STR:
		return push_str(m, m->memo[i].len, m->memo[i].off);
	case K_CLASS:
		return push(m, K_CLASS) == NULL ? -1 : 0;
	case K_TUPLE:
		return push(m, K_TUPLE) == NULL ? -1 : 0;
	case K_NONE:
	case K_INT:
	case K_DICT:
	case K_LIST:
	case K_OBJECT:
	case K_MARK:
		break;
	}
	return bad(m, "memo reference to something other than a string");
}

static int
key_is(const struct value *v, const char *s)
{
	return v->kind == K_STR && v->len == strlen(s) &&
	    memcmp(v->s, s, v->len) == 0;
}

/* key: value of the outermost dictionary. */
static int
root_pair(struct machine *m, const struct value *k, const struct value *v)
{
	struct pickle	*p = m->p;

	if (k->kind != K_STR)
		return bad(m, "key that is no string");
	if (key_is(k, "id_to_label") || key_is(k, "label_to_id")) {
		if (v->kind != K_DICT)
			return bad(m, "map that is no dictionary");
		if (v->role == R_IDS)
			p->has_ids = 1;
		else
			p->has_labels = 1;
		return 0;
	}
	if (v->kind != K_INT)
		return 0;
	if (key_is(k, "max_seq_id")) {
		p->has_max_seq_id = 1;
		p->max_seq_id = v->i;
	} else if (key_is(k, "total_elements_added")) {
		p->has_total = 1;
		p->total = v->i;
	} else if (key_is(k, "dimensionality")) {
		p->has_dim = 1;
		p->dim = v->i;
	}
	return 0;
}

static int
map_pair(struct machine *m, enum role role, const struct value *k,
    const struct value *v)
{
	const struct value	*id = role == R_IDS ? k : v;
	const struct value	*label = role == R_IDS ? v : k;

	if (id->kind != K_STR || label->kind != K_INT)
		return bad(m, "pair that is not an id and a label");
	if (label->i < 0)
		return bad(m, "negative label");
	if (role == R_IDS)
		m->p->n_ids++;
	else
		m->p->n_labels++;
	if (m->pair == NULL)
		return 0;
	return m->pair(m->arg, role == R_IDS ? PICKLE_ID_TO_LABEL :
	    PICKLE_LABEL_TO_ID, id->s, id->len, (uint64_t)label->i, m->e);
}

/* The values from at on are pairs for the dictionary below them. */
static int
set_items(struct machine *m, size_t dict, size_t at)
{
	const struct value	*k, *v;
	size_t			 i;
	int			 rv = 0;

	if (m->st[dict].kind != K_DICT)
		return bad(m, "items for something other than a dictionary");
	if ((m->n - at) % 2 != 0)
		return bad(m, "key without value");
	for (i = at; i + 1 < m->n && rv == 0; i += 2) {
		k = &m->st[i];
		v = &m->st[i + 1];
		if (k->kind == K_MARK || v->kind == K_MARK)
			return bad(m, "mark among items");
		switch (m->st[dict].role) {
		case R_ROOT:
			rv = root_pair(m, k, v);
			break;
		case R_IDS:
		case R_LABELS:
			rv = map_pair(m, m->st[dict].role, k, v);
			break;
		case R_OTHER:
			break;
		}
	}
	return rv;
}

/* Index of the topmost mark, or -1. */
static long
find_mark(const struct machine *m)
{
	size_t	i;

	for (i = m->n; i-- > 0;)
		if (m->st[i].kind == K_MARK)
			return (long)i;
	return -1;
}

static int
need(struct machine *m, size_t n)
{
	size_t	i;

	if (m->n < n)
		return bad(m, "stack too short");
	for (i = m->n - n; i < m->n; i++)
		if (m->st[i].kind == K_MARK)
			return bad(m, "mark in the way");
	return 0;
}

/* The top n values become one of kind. */
static int
fold(struct machine *m, size_t n, enum kind kind)
{
	if (need(m, n) == -1)
		return -1;
	drop(m, m->n - n);
	return push(m, kind) == NULL ? -1 : 0;
}

static int
skip_line(struct machine *m)
{
	unsigned char	c;
	unsigned int	i;

	for (i = 0; i < 256; i++) {
		if (take(m, &c, 1) == -1)
			return -1;
		if (c == '\n')
			return 0;
	}
	return bad(m, "name too long");
}

static int
long1(struct machine *m)
{
	unsigned char	b[8];
	uint64_t	n, u;

	if (take_le(m, 1, &n) == -1)
		return -1;
	if (n > 8)
		return bad(m, "number beyond 64 bits");
	memset(b, 0, sizeof(b));
	if (take(m, b, (size_t)n) == -1)
		return -1;
	if (n != 0 && (b[n - 1] & 0x80) != 0)
		memset(b + n, 0xff, sizeof(b) - (size_t)n);
	u = buf_get_le64(b);
	return push_int(m, u <= INT64_MAX ? (int64_t)u :
	    -(int64_t)(UINT64_MAX - u) - 1);
}

static int
marked(struct machine *m, int op)
{
	long	at = find_mark(m);

	if (at == -1)
		return bad(m, "no mark");
	if (op == 't') {
		drop(m, (size_t)at);
		return push(m, K_TUPLE) == NULL ? -1 : 0;
	}
	if (at == 0)
		return bad(m, "items for nothing");
	if (set_items(m, (size_t)at - 1, (size_t)at + 1) == -1)
		return -1;
	drop(m, (size_t)at);
	return 0;
}

static int
set_item(struct machine *m)
{
	if (m->n < 3)
		return bad(m, "stack too short");
	if (set_items(m, m->n - 3, m->n - 2) == -1)
		return -1;
	drop(m, m->n - 2);
	return 0;
}

/* The state of an object, of which nothing is wanted. */
static int
build(struct machine *m)
{
	if (need(m, 2) == -1)
		return -1;
	if (m->st[m->n - 2].kind != K_OBJECT)
		return bad(m, "state for something without state");
	drop(m, m->n - 1);
	return 0;
}

/* 1 at STOP, 0 to go on, -1. */
static int
step(struct machine *m)
{
	unsigned char	op;
	uint64_t	u;

	if (take(m, &op, 1) == -1)
		return -1;
	switch (op) {
	case 0x80: /* PROTO */
		if (take_le(m, 1, &u) == -1)
			return -1;
		if (m->pos != 2 || u < 2 || u > 5)
			return bad(m, "unknown protocol");
		m->protocol = (int)u;
		return 0;
	case 0x95: /* FRAME */
		if (take_le(m, 8, &u) == -1)
			return -1;
		return u > m->size - m->pos ?
		    bad(m, "frame longer than the file") : 0;
	case '}':
		return push_dict(m);
	case ']':
		return push(m, K_LIST) == NULL ? -1 : 0;
	case ')':
		return push(m, K_TUPLE) == NULL ? -1 : 0;
	case '(':
		return push(m, K_MARK) == NULL ? -1 : 0;
	case 'N':
		return push(m, K_NONE) == NULL ? -1 : 0;
	case 0x88: /* NEWTRUE */
		return push_int(m, 1);
	case 0x89: /* NEWFALSE */
		return push_int(m, 0);
	case 'K': /* BININT1 */
		return take_le(m, 1, &u) == -1 ? -1 :
		    push_int(m, (int64_t)u);
	case 'M': /* BININT2 */
		return take_le(m, 2, &u) == -1 ? -1 :
		    push_int(m, (int64_t)u);
	case 'J': /* BININT */
		if (take_le(m, 4, &u) == -1)
			return -1;
		return push_int(m, u <= INT32_MAX ? (int64_t)u :
		    (int64_t)u - ((int64_t)1 << 32));
	case 0x8a: /* LONG1 */
		return long1(m);
	case 'X': /* BINUNICODE */
		return take_le(m, 4, &u) == -1 ? -1 : push_str(m, u, 0);
	case 0x8c: /* SHORT_BINUNICODE */
		return take_le(m, 1, &u) == -1 ? -1 : push_str(m, u, 0);
	case 0x8d: /* BINUNICODE8 */
		return take_le(m, 8, &u) == -1 ? -1 : push_str(m, u, 0);
	case 0x94: /* MEMOIZE */
		return memo_put(m, m->n_memo);
	case 'q': /* BINPUT */
		return take_le(m, 1, &u) == -1 ? -1 : memo_put(m, u);
	case 'r': /* LONG_BINPUT */
		return take_le(m, 4, &u) == -1 ? -1 : memo_put(m, u);
	case 'h': /* BINGET */
		return take_le(m, 1, &u) == -1 ? -1 : memo_get(m, u);
	case 'j': /* LONG_BINGET */
		return take_le(m, 4, &u) == -1 ? -1 : memo_get(m, u);
	case 's': /* SETITEM */
		return set_item(m);
	case 'u': /* SETITEMS */
	case 't': /* TUPLE */
		return marked(m, op);
	case 0x85: /* TUPLE1 */
		return fold(m, 1, K_TUPLE);
	case 0x86: /* TUPLE2 */
		return fold(m, 2, K_TUPLE);
	case 0x87: /* TUPLE3 */
		return fold(m, 3, K_TUPLE);
	case 'c': /* GLOBAL */
		if (skip_line(m) == -1 || skip_line(m) == -1)
			return -1;
		return push(m, K_CLASS) == NULL ? -1 : 0;
	case 0x93: /* STACK_GLOBAL */
		return fold(m, 2, K_CLASS);
	case 0x81: /* NEWOBJ */
	case 'R': /* REDUCE */
		return fold(m, 2, K_OBJECT);
	case 'b': /* BUILD */
		return build(m);
	case '.': /* STOP */
		return 1;
	default:
		m->pos--;
		return bad(m, "refused opcode");
	}
}

int
pickle_read(int fd, const char *name, struct pickle *p, pickle_pair *pair,
    void *arg, struct err *e)
{
	struct machine	*m = mem_zero(1, sizeof(*m));
	struct stat	 st;
	int		 r = -1;

	memset(p, 0, sizeof(*p));
	m->fd = fd;
	m->name = name;
	m->p = p;
	m->pair = pair;
	m->arg = arg;
	m->e = e;
	if (fstat(fd, &st) == -1) {
		err_sys(e, errno, "%s", name);
		goto done;
	}
	m->size = (uint64_t)st.st_size;
	if (m->size == 0) {
		err_set(e, MSG_DATAERR, "%s: pickle: 0 bytes", name);
		goto done;
	}
	if (m->size > PICKLE_FILE_MAX) {
		err_set(e, MSG_DATAERR, "%s: pickle: larger than %llu bytes",
		    name, (unsigned long long)PICKLE_FILE_MAX);
		goto done;
	}
	do
		r = step(m);
	while (r == 0);
	if (r == -1)
		goto done;
	r = -1;
	if (m->n != 1 || (m->st[0].kind != K_DICT &&
	    m->st[0].kind != K_OBJECT)) {
		bad(m, "no dictionary at its end");
		goto done;
	}
	if (m->pos != m->size) {
		bad(m, "bytes after its end");
		goto done;
	}
	r = 0;
done:
	drop(m, 0);
	free(m->st);
	free(m->memo);
	free(m);
	return r;
}

/* Writing ---------------------------------------------------------- */

#define BATCH_BYTES (PICKLE_LIVE_MAX / 2)	/* of strings in a batch */

struct pickle_out {
	int		 fd;
	const char	*name;
	enum pickle_map	 map;
	struct buf	 b;
	uint64_t	 n[2];		/* pairs of each walk */
	unsigned int	 batch;		/* pairs since the mark */
	size_t		 bytes;		/* of their strings */
};

static int
out_flush(struct pickle_out *o, struct err *e)
{
	if (io_write(o->fd, o->b.p, o->b.len) == -1)
		return err_sys(e, errno, "%s", o->name);
	buf_reset(&o->b);
	return 0;
}

static void
out_le32(struct pickle_out *o, uint32_t v)
{
	buf_addc(&o->b, (int)(v & 0xff));
	buf_addc(&o->b, (int)(v >> 8 & 0xff));
	buf_addc(&o->b, (int)(v >> 16 & 0xff));
	buf_addc(&o->b, (int)(v >> 24));
}

static void
out_str(struct pickle_out *o, const char *s, size_t len)
{
	buf_addc(&o->b, 'X');
	out_le32(o, (uint32_t)len);
	buf_add(&o->b, s, len);
}

static void
out_int(struct pickle_out *o, uint64_t v)
{
	buf_addc(&o->b, 'J');
	out_le32(o, (uint32_t)v);
}

int
pickle_add(struct pickle_out *o, const char *id, size_t len, uint64_t label,
    struct err *e)
{
	if (label > PICKLE_LABEL_MAX)
		return err_set(e, MSG_DATAERR, "%s: label %llu: an index of "
		    "ChromaDB ends at %u: build it anew", o->name,
		    (unsigned long long)label, PICKLE_LABEL_MAX);
	if (len > PICKLE_STR_MAX)
		return err_set(e, MSG_DATAERR, "%s: an id of %zu bytes",
		    o->name, len);
	if (o->batch == PICKLE_BATCH || o->bytes + len > BATCH_BYTES) {
		buf_addc(&o->b, 'u');
		o->batch = 0;
		o->bytes = 0;
	}
	if (o->batch++ == 0)
		buf_addc(&o->b, '(');
	o->bytes += len;
	if (o->map == PICKLE_ID_TO_LABEL)
		out_str(o, id, len);
	out_int(o, label);
	if (o->map == PICKLE_LABEL_TO_ID)
		out_str(o, id, len);
	o->n[o->map]++;
	return o->b.len < WINDOW ? 0 : out_flush(o, e);
}

static int
out_map(struct pickle_out *o, const char *key, enum pickle_map map,
    pickle_walk *walk, void *arg, struct err *e)
{
	o->map = map;
	o->batch = 0;
	o->bytes = 0;
	out_str(o, key, strlen(key));
	buf_addc(&o->b, '}');
	if (walk(arg, o, e) == -1)
		return -1;
	if (o->batch > 0)
		buf_addc(&o->b, 'u');
	return 0;
}

int
pickle_write(int fd, const char *name, uint64_t total, pickle_walk *walk,
    void *arg, struct err *e)
{
	static const char	head[] = "\200\3}(";
	struct pickle_out	o;
	int			rv = -1;

	memset(&o, 0, sizeof(o));
	o.fd = fd;
	o.name = name;
	if (total > PICKLE_LABEL_MAX)
		return err_set(e, MSG_DATAERR, "%s: label %llu: an index of "
		    "ChromaDB ends at %u: build it anew", name,
		    (unsigned long long)total, PICKLE_LABEL_MAX);
	buf_init(&o.b, WINDOW + PICKLE_STR_MAX + 1024);
	buf_add(&o.b, head, sizeof(head) - 1);
	out_str(&o, "dimensionality", 14);
	buf_addc(&o.b, 'N');
	out_str(&o, "total_elements_added", 20);
	out_int(&o, total);
	out_str(&o, "max_seq_id", 10);
	buf_addc(&o.b, 'N');
	if (out_map(&o, "id_to_label", PICKLE_ID_TO_LABEL, walk, arg, e) ==
	    -1 || out_map(&o, "label_to_id", PICKLE_LABEL_TO_ID, walk, arg,
	    e) == -1)
		goto done;
	if (o.n[0] != o.n[1] || o.b.over) {
		err_set(e, MSG_SOFTWARE, "%s: %llu pairs, then %llu", name,
		    (unsigned long long)o.n[0], (unsigned long long)o.n[1]);
		goto done;
	}
	out_str(&o, "id_to_seq_id", 12);
	buf_str(&o.b, "}u.");
	rv = out_flush(&o, e);
done:
	buf_free(&o.b);
	return rv;
}
