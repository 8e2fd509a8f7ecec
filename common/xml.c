/*
 * xml: a pull parser that refuses what it does not need to know.
 * SPDX-License-Identifier: ISC
 */
#include "xml.h"

#include <string.h>

#include "path.h"
#include "banned.h"

static const struct {
	const char	*name;
	char		 c;
} entities[] = { { "lt", '<' }, { "gt", '>' }, { "amp", '&' },
	{ "quot", '"' }, { "apos", '\'' } };

void
xml_init(struct xml *x, const void *p, size_t n)
{
	memset(x, 0, sizeof(*x));
	x->p = p;
	x->end = x->p + n;
	buf_init(&x->text, XML_TEXT_MAX);
	if (!path_utf8(p, n))
		x->why = "not UTF-8";
	/* a byte order mark */
	else if (n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
		x->p += 3;
}

void
xml_clear(struct xml *x)
{
	buf_free(&x->text);
}

static enum xml_type
bad(struct xml *x, const char *why)
{
	x->why = why;
	return XML_BAD;
}

static int
is_space(int c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Just behind the next s, or NULL. */
static const unsigned char *
behind(const struct xml *x, const unsigned char *p, const char *s)
{
	size_t	n = strlen(s);

	for (; (size_t)(x->end - p) >= n; p++)
		if (memcmp(p, s, n) == 0)
			return p + n;
	return NULL;
}

static int
starts(const struct xml *x, const char *s)
{
	size_t	n = strlen(s);

	return (size_t)(x->end - x->p) >= n && memcmp(x->p, s, n) == 0;
}

static void
put_utf8(struct buf *b, unsigned long c)
{
	if (c < 0x80)
		buf_addc(b, (int)c);
	else if (c < 0x800) {
		buf_addc(b, (int)(0xc0 | c >> 6));
		buf_addc(b, (int)(0x80 | (c & 0x3f)));
	} else if (c < 0x10000) {
		buf_addc(b, (int)(0xe0 | c >> 12));
		buf_addc(b, (int)(0x80 | (c >> 6 & 0x3f)));
		buf_addc(b, (int)(0x80 | (c & 0x3f)));
	} else {
		buf_addc(b, (int)(0xf0 | c >> 18));
		buf_addc(b, (int)(0x80 | (c >> 12 & 0x3f)));
		buf_addc(b, (int)(0x80 | (c >> 6 & 0x3f)));
		buf_addc(b, (int)(0x80 | (c & 0x3f)));
	}
}

/* The number of &#N; or &#xN; from p to semi, or 0. */
static unsigned long
char_ref(const unsigned char *p, const unsigned char *semi)
{
	unsigned long	c = 0;
	int		base = 10, d;

	if (p < semi && *p == 'x') {
		base = 16;
		p++;
	}
	if (p == semi)
		return 0;
	for (; p < semi && c <= 0x10ffff; p++) {
		d = *p >= '0' && *p <= '9' ? *p - '0' :
		    *p >= 'a' && *p <= 'f' ? *p - 'a' + 10 :
		    *p >= 'A' && *p <= 'F' ? *p - 'A' + 10 : 99;
		if (d >= base)
			return 0;
		c = c * (unsigned long)base + (unsigned long)d;
	}
	return c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : c;
}

/* At '&': 0, or -1. */
static int
reference(struct xml *x)
{
	const unsigned char	*semi;
	size_t			 i, n, left = (size_t)(x->end - x->p);
	unsigned long		 c;

	semi = memchr(x->p, ';', left < 12 ? left : 12);
	if (semi == NULL)
		return -1;
	n = (size_t)(semi - x->p) - 1;
	if (n > 1 && x->p[1] == '#') {
		c = char_ref(x->p + 2, semi);
		if (c == 0)
			return -1;
		put_utf8(&x->text, c);
		x->p = semi + 1;
		return 0;
	}
	for (i = 0; i < sizeof(entities) / sizeof(entities[0]); i++)
		if (strlen(entities[i].name) == n &&
		    memcmp(entities[i].name, x->p + 1, n) == 0) {
			buf_addc(&x->text, entities[i].c);
			x->p = semi + 1;
			return 0;
		}
	return -1;
}

/* Text up to the next tag: 0, or -1 and why. */
static int
text(struct xml *x)
{
	const unsigned char	*p;

	while (x->p < x->end && *x->p != '<') {
		if (x->depth == 0) {
			if (!is_space(*x->p)) {
				x->why = "text outside of the top element";
				return -1;
			}
			x->p++;
			continue;
		}
		if (*x->p == '&') {
			if (reference(x) == -1) {
				x->why = "an entity that is none of ours";
				return -1;
			}
			continue;
		}
		for (p = x->p; p < x->end && *p != '<' && *p != '&' &&
		    *p != '\0'; p++)
			continue;
		if (p < x->end && *p == '\0') {
			x->why = "a NUL";
			return -1;
		}
		buf_add(&x->text, x->p, (size_t)(p - x->p));
		x->p = p;
	}
	if (x->text.over) {
		x->why = "an element with too much text";
		return -1;
	}
	return 0;
}

/* A name from x->p on into raw and, without prefix, name. */
static int
get_name(struct xml *x, char *raw, char *name)
{
	const unsigned char	*p = x->p;
	const char		*colon;
	size_t			 n;

	for (; p < x->end && !is_space(*p) && strchr("/>=<\"'&", *p) == NULL;
	    p++)
		continue;
	n = (size_t)(p - x->p);
	if (n == 0 || n > XML_NAME_MAX || memchr(x->p, '\0', n) != NULL)
		return -1;
	memcpy(raw, x->p, n);
	raw[n] = '\0';
	colon = strrchr(raw, ':');
	if (name != NULL)
		memcpy(name, colon != NULL ? colon + 1 : raw,
		    strlen(colon != NULL ? colon + 1 : raw) + 1);
	x->p = p;
	return 0;
}

static void
spaces(struct xml *x)
{
	while (x->p < x->end && is_space(*x->p))
		x->p++;
}

/* The attributes of a tag, passed over: 0, or -1. */
static int
attributes(struct xml *x)
{
	char			 raw[XML_NAME_MAX + 1];
	const unsigned char	*p;

	for (;;) {
		spaces(x);
		if (x->p == x->end)
			return -1;
		if (*x->p == '>' || *x->p == '/')
			return 0;
		if (get_name(x, raw, NULL) == -1)
			return -1;
		spaces(x);
		if (x->p == x->end || *x->p++ != '=')
			return -1;
		spaces(x);
		if (x->p == x->end || (*x->p != '"' && *x->p != '\''))
			return -1;
		p = memchr(x->p + 1, *x->p, (size_t)(x->end - x->p) - 1);
		if (p == NULL || memchr(x->p, '<', (size_t)(p - x->p)) != NULL)
			return -1;
		x->p = p + 1;
	}
}

static enum xml_type
open_tag(struct xml *x)
{
	x->p++;
	if (x->depth == XML_DEPTH)
		return bad(x, "too deep");
	if (x->depth == 0 && x->done)
		return bad(x, "more than one top element");
	if (get_name(x, x->raw[x->depth], x->names[x->depth]) == -1 ||
	    attributes(x) == -1)
		return bad(x, "a malformed tag");
	if (*x->p == '/') {
		x->empty = 1;
		x->p++;
	}
	if (x->p == x->end || *x->p++ != '>')
		return bad(x, "a malformed tag");
	x->mark[x->depth] = x->text.len;
	x->name = x->names[x->depth++];
	return XML_OPEN;
}

/* The innermost element has ended. */
static enum xml_type
close_tag(struct xml *x)
{
	x->depth--;
	x->name = x->names[x->depth];
	(void)buf_cstr(&x->text);
	x->str = (const char *)x->text.p + x->mark[x->depth];
	x->len = x->text.len - x->mark[x->depth];
	/* the bytes stay until something is added */
	x->text.len = x->mark[x->depth];
	if (x->depth == 0)
		x->done = 1;
	return XML_CLOSE;
}

static enum xml_type
end_tag(struct xml *x)
{
	char	raw[XML_NAME_MAX + 1];

	x->p += 2;
	if (x->depth == 0 || get_name(x, raw, NULL) == -1 ||
	    strcmp(raw, x->raw[x->depth - 1]) != 0)
		return bad(x, "an end that nothing began");
	spaces(x);
	if (x->p == x->end || *x->p++ != '>')
		return bad(x, "a malformed tag");
	return close_tag(x);
}

/* Comments, instructions, CDATA: 1 one was passed over, 0 none, -1. */
static int
other(struct xml *x)
{
	const unsigned char	*p;

	if (starts(x, "<!--"))
		p = behind(x, x->p + 4, "-->");
	else if (starts(x, "<?"))
		p = behind(x, x->p + 2, "?>");
	else if (starts(x, "<![CDATA[") && x->depth > 0) {
		p = behind(x, x->p + 9, "]]>");
		if (p != NULL && memchr(x->p, '\0', (size_t)(p - x->p)) ==
		    NULL)
			buf_add(&x->text, x->p + 9,
			    (size_t)(p - x->p) - 12);
	} else if (starts(x, "<!"))
		p = NULL; /* a DTD */
	else
		return 0;
	if (p == NULL) {
		x->why = "a DTD, or a comment without end";
		return -1;
	}
	x->p = p;
	return 1;
}

enum xml_type
xml_next(struct xml *x)
{
	int	r;

	if (x->why != NULL)
		return XML_BAD;
	if (x->empty) {
		x->empty = 0;
		return close_tag(x);
	}
	do {
		if (text(x) == -1)
			return XML_BAD;
		if (x->p == x->end)
			return x->done && x->depth == 0 ? XML_EOF :
			    bad(x, "cut short");
		r = other(x);
		if (r == -1)
			return XML_BAD;
	} while (r == 1);
	return starts(x, "</") ? end_tag(x) : open_tag(x);
}

int
xml_put(struct buf *b, const char *s)
{
	unsigned char	c;

	if (!path_utf8(s, strlen(s)))
		return -1;
	for (; (c = (unsigned char)*s) != '\0'; s++)
		switch (c) {
		case '<':
			buf_str(b, "&lt;");
			break;
		case '>':
			buf_str(b, "&gt;");
			break;
		case '&':
			buf_str(b, "&amp;");
			break;
		case '\t':
		case '\n':
		case '\r':
			buf_printf(b, "&#%d;", c);
			break;
		default:
			if (c < 0x20)
				return -1;
			buf_addc(b, c);
			break;
		}
	return 0;
}
