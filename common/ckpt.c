/*
 * ckpt: the words of checkpoints.  It opens nothing; what does is in
 * ckpt_open (the file), ckpt_db (statements), ckpt_unit (changes), ckpt_ask
 * (questions), ckpt_run and ckpt_breaker.
 * SPDX-License-Identifier: ISC
 */
#include "ckpt.h"

#include <string.h>

#include "banned.h"

static const char *const scope_names[CKPT_SCOPE_N] = { "pipeline", "chunk",
	"input", "operation" };
static const char *const state_names[CKPT_STATE_N] = { "pending",
	"in_progress", "completed", "failed" };
static const char *const breaker_names[BREAKER_STATE_N] = { "closed",
	"open", "half_open" };

const char *
ckpt_scope_name(enum ckpt_scope s)
{
	return scope_names[s];
}

const char *
ckpt_state_name(enum ckpt_state s)
{
	return state_names[s];
}

const char *
ckpt_class_name(enum ckpt_class c)
{
	return msg_class_name((enum msg_class)c);
}

/* The index of s among the n names, or -1. */
static int
name_index(const char *const *v, int n, const char *s)
{
	int	i;

	for (i = 0; s != NULL && i < n; i++)
		if (strcmp(v[i], s) == 0)
			return i;
	return -1;
}

int
ckpt_scope_parse(const char *s, enum ckpt_scope *out)
{
	int	i = name_index(scope_names, CKPT_SCOPE_N, s);

	if (i == -1)
		return -1;
	*out = (enum ckpt_scope)i;
	return 0;
}

int
ckpt_state_parse(const char *s, enum ckpt_state *out)
{
	int	i = name_index(state_names, CKPT_STATE_N, s);

	if (i == -1)
		return -1;
	*out = (enum ckpt_state)i;
	return 0;
}

int
ckpt_class_parse(const char *s, enum ckpt_class *out)
{
	int	i;

	for (i = CKPT_NONE + 1; s != NULL && i < CKPT_CLASS_N; i++)
		if (strcmp(ckpt_class_name((enum ckpt_class)i), s) == 0) {
			*out = (enum ckpt_class)i;
			return 0;
		}
	return -1;
}

enum ckpt_class
ckpt_class_of(int status)
{
	return (enum ckpt_class)msg_fault_of(status)->class;
}

const char *
ckpt_breaker_state(enum breaker_state s)
{
	return breaker_names[s];
}

int
ckpt_breaker_parse(const char *s, enum breaker_state *out)
{
	int	i = name_index(breaker_names, BREAKER_STATE_N, s);

	if (i == -1)
		return -1;
	*out = (enum breaker_state)i;
	return 0;
}
