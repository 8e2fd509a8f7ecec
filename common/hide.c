/*
 * hide: a scan for what is known to be a secret.  It is no parser of shells
 * or of URLs: where it cannot know the end of a secret it hides more.
 * SPDX-License-Identifier: ISC
 */
#include "hide.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "buf.h"
#include "json.h"
#include "mem.h"
#include "banned.h"

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))

/* Is one of the parts of q, which those bytes part, what lets in? */
static int
is_signed(const char *q, const char *parts, const char *names_end)
{
	static const char *const	names[] = { "x-amz-signature",
		"x-amz-security-token", "x-goog-signature", "signature",
		"sig", "token", "access_token", "awsaccesskeyid" };
	size_t				i, n;

	for (; *q != '\0'; q += strcspn(q, parts), q += *q != '\0') {
		n = strcspn(q, names_end);
		for (i = 0; i < COUNT(names); i++)
			if (strlen(names[i]) == n &&
			    strncasecmp(q, names[i], n) == 0)
				return 1;
	}
	return 0;
}

int
hide_is_signed(const char *q)
{
	return is_signed(q, "&;", "=&;");
}

/* Bytes until one of stop; backslashes before a quote belong to it. */
static size_t
span(const char *s, const char *stop)
{
	size_t	n = strcspn(s, stop);

	while (n > 0 && s[n - 1] == '\\' && s[n] == '"')
		n--;
	return n;
}

/*
 * The query of a URL, when it is signed: hidden, and how long it was.  Else
 * nothing up to *clean begins another that is.
 */
static size_t
take_query(struct buf *b, const char *s, const char **clean)
{
	size_t	n = span(s, " \t\r\n'\"`<>|)");
	char	*q = mem_ndup(s, n), *from, *to;

	*clean = s + n;
	/* an & behind a backslash is one all the same */
	for (from = to = q; *from != '\0'; from++)
		if (*from != '\\')
			*to++ = *from;
	*to = '\0';
	if (!is_signed(q, "&;?", "=&;?"))
		n = 0;
	else
		buf_str(b, HIDE_MARK);
	free(q);
	return n;
}

/* Behind "://": the user's name and password, if there are some. */
static size_t
take_user(struct buf *b, const char *s)
{
	size_t		 n = strcspn(s, " \t\r\n'\"`<>|()/?#\\"), at;
	const char	*colon;

	for (at = n; at > 0 && s[at - 1] != '@'; at--)
		continue;
	colon = memchr(s, ':', at);
	if (at <= 1 || (s[0] == '$' && (colon == NULL || colon[1] == '$' ||
	    colon + 2 == s + at)))
		return 0; /* both are variables' */
	buf_str(b, HIDE_MARK);
	return at - 1;
}

/* Ends the name before '=' as names of secrets do? */
static int
is_secret(const char *name, size_t n)
{
	static const char *const	ends[] = { "_KEY", "_TOKEN",
		"_SECRET", "PASSWORD", "PASSWD" };
	size_t				i, k;

	for (i = 0; i < n; i++)
		if (!isupper((unsigned char)name[i]) && name[i] != '_' &&
		    !isdigit((unsigned char)name[i]))
			return 0;
	for (i = 0; i < COUNT(ends); i++) {
		k = strlen(ends[i]);
		if (n >= k && strncmp(name + n - k, ends[i], k) == 0)
			return 1;
	}
	return 0;
}

/*
 * A value, quoted or not, that is no variable's: hidden, how long it was.
 * In single quotes a $ is no variable's.
 */
static size_t
take_value(struct buf *b, const char *s)
{
	size_t	from, n;
	char	quote;

	from = strspn(s, "\\");
	quote = s[from];
	if (quote == '\'' || quote == '"')
		from++;
	else if (from > 0)
		return 0;
	if ((s[from] == '$' && quote != '\'') ||
	    strncmp(s + from, HIDE_MARK, strlen(HIDE_MARK)) == 0)
		return 0;
	n = span(s + from, quote == '\'' ? "'" : quote == '"' ? "\"" :
	    " \t\r\n'\"`<>|;)");
	if (n == 0)
		return 0;
	buf_add(b, s, from);
	buf_str(b, HIDE_MARK);
	return from + n;
}

/*
 * A header's value, but a variable's, perhaps behind the name of a scheme:
 * hidden up to its end, how long it was.
 */
static size_t
take_header(struct buf *b, const char *s, int quote)
{
	size_t	n;

	for (n = 0; isalnum((unsigned char)s[n]) || s[n] == '-'; n++)
		continue;
	n += strspn(s + n, " ");
	n += strspn(s + n, "\\");
	if (s[n] == '$' && quote != '\'' && (n == 0 || s[n - 1] == ' ' ||
	    s[n - 1] == '\\'))
		return 0;
	n = span(s, "\r\n'\"`");
	if (n == 0)
		return 0;
	buf_str(b, HIDE_MARK);
	return n;
}

/*
 * At the beginning of a word, behind that quote or 0: bytes that were taken,
 * hidden where need be.
 */
static size_t
take_word(struct buf *b, const char *s, int quote)
{
	static const char *const	headers[] = { "Authorization:",
		"Api-Key:", "Auth-Token:" };
	size_t				i, n;

	for (i = 0; i < COUNT(headers); i++) {
		n = strlen(headers[i]);
		if (strncasecmp(s, headers[i], n) != 0)
			continue;
		n += strspn(s + n, " ");
		buf_add(b, s, n);
		return n + take_header(b, s + n, quote);
	}
	for (n = 0; isalnum((unsigned char)s[n]) || s[n] == '_'; n++)
		continue;
	buf_add(b, s, n);
	if (s[n] == '=' && is_secret(s, n)) {
		buf_addc(b, '=');
		n++;
		n += take_value(b, s + n);
	} else if (strncmp(s + n, "://", 3) == 0) {
		buf_str(b, "://");
		n += 3;
		n += take_user(b, s + n);
	}
	return n;
}

char *
hide_text(const char *text)
{
	struct buf	 b;
	const char	*s = text, *clean = text;
	size_t		 n;
	char		*rv;
	int		 quote = 0;

	/* each byte becomes at most a mark */
	buf_init(&b, strlen(text) * strlen(HIDE_MARK) + 1);
	while (*s != '\0') {
		if (isalnum((unsigned char)*s) || *s == '_')
			n = take_word(&b, s, quote);
		else {
			buf_addc(&b, *s);
			n = 1;
			if (*s == '\'' || *s == '"')
				quote = *s;
			else if (isspace((unsigned char)*s))
				quote = 0;
			else if (*s == '?' && s >= clean)
				n += take_query(&b, s + 1, &clean);
		}
		s += n;
	}
	rv = mem_dup(buf_cstr(&b));
	buf_free(&b);
	return rv;
}

/* The literal at s, as long as n: 0, or -1 when it is none. */
static int
hide_literal(struct buf *b, const char *s, size_t n)
{
	struct json_val	v;
	struct json	j;
	char		*was, *is;
	int		 rv = -1;

	json_init(&j, s, n);
	if (json_next(&j, &v) == JSON_STR &&
	    memchr(v.str, '\0', v.len) == NULL) {
		was = mem_ndup(v.str, v.len);
		is = hide_text(was);
		if (strcmp(was, is) == 0)
			buf_add(b, s, n);
		else
			json_put_str(b, is, strlen(is));
		free(was);
		free(is);
		rv = 0;
	}
	json_clear(&j);
	return rv;
}

char *
hide_json(const char *json)
{
	struct buf	 b;
	const char	*s;
	size_t		 n;
	char		*rv;
	int		 ok = json_valid(json, strlen(json));

	buf_init(&b, strlen(json) * strlen(HIDE_MARK) + 1);
	for (s = json; ok && *s != '\0'; s += n) {
		n = strcspn(s, "\"");
		buf_add(&b, s, n);
		s += n;
		if (*s == '\0')
			break;
		for (n = 1; s[n] != '"'; n++)
			n += s[n] == '\\';
		n++;
		ok = hide_literal(&b, s, n) == 0;
	}
	rv = mem_dup(ok ? buf_cstr(&b) : "\"" HIDE_MARK "\"");
	buf_free(&b);
	return rv;
}

int
hide_is_in(const char *text)
{
	return strstr(text, HIDE_MARK) != NULL;
}
