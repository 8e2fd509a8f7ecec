/*
 * drun, the text of the pipeline: where it is to be split into stages.  A
 * lexer of sh(1) that knows enough to find the bars, and refuses the rest.
 * SPDX-License-Identifier: ISC
 */
#include "drun.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "hide.h"
#include "mem.h"
#include "banned.h"

#define SPLIT_DEPTH	64	/* quotes, braces, brackets in one another */

struct lex {
	const char	*s;
	size_t		 pos;
	char		 ctx[SPLIT_DEPTH];
	int		 depth;
	int		 cmd;	/* a reserved word is one here */
	int		 word;	/* inside a word */
	int		 redir;	/* straight after < or > */
	int		 some;	/* the stage has a token */
	int		 ended;	/* a newline came after it */
	size_t		 start;
};

static int
refuse(const char *what)
{
	msg_warn("pipeline: %s: want stages with | between them: wrap the "
	    "stage in { ...; }", what);
	return -1;
}

/* What this small lexer does not understand in braces either. */
static int
refuse_script(const char *what)
{
	msg_warn("pipeline: %s: not understood here: put the stage into a "
	    "script", what);
	return -1;
}

static char
top(const struct lex *l)
{
	return l->depth > 0 ? l->ctx[l->depth - 1] : '\0';
}

static int
push(struct lex *l, char c)
{
	if (l->depth == SPLIT_DEPTH) {
		msg_warn("pipeline: want at most %d quotes and brackets in "
		    "one another", SPLIT_DEPTH);
		return -1;
	}
	l->ctx[l->depth++] = c;
	return 0;
}

/* A word that ends here stands at pos: its length when it is w, else 0. */
static size_t
is_word(const struct lex *l, const char *w)
{
	size_t	n = strlen(w);
	int	c;

	if (strncmp(l->s + l->pos, w, n) != 0)
		return 0;
	c = (unsigned char)l->s[l->pos + n];
	return c == '\0' || strchr(" \t\n;|&()<>", c) != NULL ? n : 0;
}

/*
 * Reserved words change what a bracket or a bar means.  The bytes used, 0
 * for none here, -1.
 */
static int
lex_reserved(struct lex *l)
{
	static const char *const	go_on[] = { "if", "then", "else",
	    "elif", "while", "until", "do", "!" };
	size_t				i, n;

	if (top(l) == 'c' && (n = is_word(l, "in")) != 0) {
		l->cmd = 1;
		return (int)n;
	}
	if (!l->cmd)
		return 0;
	for (i = 0; i < sizeof(go_on) / sizeof(go_on[0]); i++)
		if ((n = is_word(l, go_on[i])) != 0)
			return (int)n;
	if ((n = is_word(l, "{")) != 0)
		return push(l, '{') == -1 ? -1 : (int)n;
	if ((n = is_word(l, "case")) != 0) {
		l->cmd = 0;
		return push(l, 'c') == -1 ? -1 : (int)n;
	}
	if ((top(l) == '{' && (n = is_word(l, "}")) != 0) ||
	    (top(l) == 'c' && (n = is_word(l, "esac")) != 0)) {
		l->depth--;
		return (int)n;
	}
	if (is_word(l, "}") != 0) {
		msg_warn("pipeline: a } that closes nothing");
		return -1;
	}
	return 0;
}

/* What counts within quotes and outside: the bytes used, 0 none, -1. */
static int
lex_quote(struct lex *l)
{
	const char	*p = l->s + l->pos, *q;
	char		 c = top(l);
	int		 dq = c == '"' || c == 'P';

	switch (*p) {
	case '\\':
		return p[1] != '\0' ? 2 : 1;
	case '\'':
		if (dq)
			return 0;
		q = strchr(p + 1, '\'');
		if (q == NULL) {
			msg_warn("pipeline: a ' that nothing closes");
			return -1;
		}
		return (int)(q - p) + 1;
	case '`':
		for (q = p + 1; *q != '\0' && *q != '`'; q++)
			if (*q == '\\' && q[1] != '\0')
				q++;
		if (*q == '\0') {
			msg_warn("pipeline: a ` that nothing closes");
			return -1;
		}
		return (int)(q - p) + 1;
	case '"':
		if (c == '"')
			l->depth--;
		else if (push(l, '"') == -1)
			return -1;
		return 1;
	case '$':
		if (p[1] == '{')
			return push(l, dq ? 'P' : 'p') == -1 ? -1 : 2;
		if (p[1] == '(' && p[2] == '(')
			return push(l, 'a') == -1 || push(l, 'a') == -1 ?
			    -1 : 3;
		if (p[1] == '(') {
			l->cmd = 1;
			l->word = 0;
			return push(l, '$') == -1 ? -1 : 2;
		}
		if (p[1] == '\'' && !dq)
			return refuse_script("$'");
		return 1;
	default:
		return 0;
	}
}

/* An operator of the shell: bytes used, 0 none, -1 refused. */
static int
lex_operator(struct lex *l, int *bar)
{
	const char	*p = l->s + l->pos;
	char		 c = top(l);

	switch (*p) {
	case '(':
		l->cmd = 1;
		return push(l, c == 'a' ? 'a' : '(') == -1 ? -1 : 1;
	case ')':
		if (c == '(' || c == '$' || c == 'a') {
			l->depth--;
			l->cmd = c == '(';
			l->word = c != '(';
		} else if (l->depth > 0) {
			l->cmd = 1; /* the end of a case pattern */
			l->word = 0;
		} else {
			msg_warn("pipeline: a ) that closes nothing");
			return -1;
		}
		return 1;
	case '<':
	case '>':
		if (*p == '<' && p[1] == '<' && c != 'a')
			return refuse_script("<<");
		l->redir = 1;
		return 1;
	case '&':
		if (l->depth == 0)
			return refuse(p[1] == '&' ? "&&" : "&");
		l->cmd = 1;
		return 1;
	case ';':
		if (l->depth == 0)
			return refuse(";");
		l->cmd = 1;
		return 1;
	case '|':
		if (l->depth == 0 && (p[1] == '|' || p[1] == '&'))
			return refuse(p[1] == '|' ? "||" : "|&");
		*bar = l->depth == 0;
		l->cmd = 1;
		return 1;
	default:
		return 0;
	}
}

/* Take text[start, end) as a stage, trimmed; -1 when it is none. */
static int
add_stage(struct run *r, const struct lex *l, size_t end)
{
	size_t	start = l->start;
	char	*s;

	if (!l->some) {
		msg_warn("stage %d is empty: want PROGRAM | PROGRAM ...",
		    r->n + 1);
		return -1;
	}
	if (r->n == DRUN_STAGES) {
		msg_warn("pipeline: want at most %d stages", DRUN_STAGES);
		return -1;
	}
	while (isspace((unsigned char)l->s[start]))
		start++;
	while (end > start && isspace((unsigned char)l->s[end - 1]) &&
	    (end - 1 == start || l->s[end - 2] != '\\'))
		end--;
	r->p[r->n].text = l->s + start;
	r->p[r->n].len = end - start;
	s = mem_ndup(l->s + start, end - start);
	r->p[r->n].shown = hide_text(s);
	free(s);
	r->n++;
	return 0;
}

/* Blanks, newlines, comments: bytes used, 0 none, -1. */
static int
lex_blank(struct lex *l)
{
	const char	*p = l->s + l->pos;

	if (*p == '#' && !l->word)
		return (int)strcspn(p, "\n");
	if (*p == '\\' && p[1] == '\n')
		return 2;
	if (*p != ' ' && *p != '\t' && *p != '\n')
		return 0;
	l->word = l->redir = 0;
	if (*p == '\n') {
		if (l->depth > 0)
			l->cmd = 1;
		else if (l->some)
			l->ended = 1;
	}
	return 1;
}

/* One token, or part of one, of shell text outside double quotes. */
static int
lex_token(struct lex *l, int *bar)
{
	int	used, redir = l->redir;

	used = lex_blank(l);
	if (used != 0)
		return used;
	if (l->depth == 0 && l->ended)
		return refuse("newline");
	if (!l->word && (used = lex_reserved(l)) != 0) {
		l->some = 1;
		return used;
	}
	l->redir = 0;
	if (redir && strchr("&|<>", l->s[l->pos]) != NULL) {
		l->redir = l->s[l->pos] == '<' || l->s[l->pos] == '>';
		return 1;
	}
	used = lex_operator(l, bar);
	if (used != 0) {
		if (!*bar)
			l->some = 1;
		/* $( leaves a word open, an operator ends it */
		if (l->s[l->pos] != ')')
			l->word = 0;
		return used;
	}
	l->some = 1;
	used = lex_quote(l);
	if (used == -1)
		return -1;
	if (used != 2 || l->s[l->pos] != '$' || l->s[l->pos + 1] != '(') {
		l->word = 1;
		l->cmd = 0;
	}
	return used != 0 ? used : 1;
}

/* One token inside "..." or ${...}. */
static int
lex_inside(struct lex *l)
{
	int	used;

	if (l->s[l->pos] == '}' && top(l) != '"') {
		l->depth--;
		l->word = 1;
		return 1;
	}
	used = lex_quote(l);
	return used != 0 ? used : 1;
}

/* Fill r->p from the operand; 0, or -1 after saying why (64). */
int
drun_split(struct run *r, const char *text)
{
	struct lex	l;
	int		used, bar;
	char		c;

	memset(&l, 0, sizeof(l));
	l.s = text;
	l.cmd = 1;
	while (text[l.pos] != '\0') {
		bar = 0;
		c = top(&l);
		if (c == '"' || c == 'p' || c == 'P')
			used = lex_inside(&l);
		else
			used = lex_token(&l, &bar);
		if (used == -1)
			return -1;
		if (bar) {
			if (add_stage(r, &l, l.pos) == -1)
				return -1;
			l.some = l.word = l.redir = 0;
			l.start = l.pos + 1;
		}
		l.pos += (size_t)used;
	}
	if (l.depth > 0) {
		c = top(&l);
		msg_warn("pipeline: a %s that nothing closes",
		    c == '"' ? "\"" : c == '{' ? "{" : c == 'c' ? "case" :
		    c == 'p' || c == 'P' ? "${" : "(");
		return -1;
	}
	return add_stage(r, &l, l.pos);
}

/* Is a stage prog, with operands, and does it start nothing else? */
static int
is_simple(const struct stage_proc *p, const char *prog)
{
	size_t	i, n = 0, at = 0;

	while (n < p->len && strchr(" \t", p->text[n]) == NULL)
		n++;
	for (i = 0; i < n; i++)
		if (p->text[i] == '/')
			at = i + 1;
	if (n - at != strlen(prog) ||
	    strncmp(p->text + at, prog, n - at) != 0)
		return 0;
	/* the split has refused all else that is no part of one command */
	for (i = 0; i < p->len; i++)
		if (p->text[i] == '`' || p->text[i] == '(')
			return 0;
	return 1;
}

int
drun_plain(const struct run *r)
{
	static const char *const	four[] = { "dfetch", "dcheck",
	    "dmerge", "dpublish" };
	int				i;

	if (r->n != 4)
		return 0;
	for (i = 0; i < r->n; i++)
		if (!is_simple(&r->p[i], four[i]))
			return 0;
	return 1;
}
