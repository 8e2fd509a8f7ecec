/*
 * dckpt, breakers: what they are, and closing them by hand.
 * SPDX-License-Identifier: ISC
 */
#include "dckpt.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "banned.h"

static void
put_json(struct buf *out, const char *host, const struct breaker *b,
    int64_t updated)
{
	char	t[DCKPT_STAMP];

	buf_addc(out, '{');
	json_put_kstr(out, "host", host);
	json_put_kstr(out, "state", ckpt_breaker_state(b->state));
	json_put_kint(out, "failures", (int64_t)b->failures);
	json_put_kstr(out, "recent", b->recent);
	if (b->opened != 0)
		json_put_kstr(out, "opened", dckpt_iso(b->opened, t));
	if (b->until != 0)
		json_put_kstr(out, "until", dckpt_iso(b->until, t));
	if (b->why[0] != '\0')
		json_put_kstr(out, "error", b->why);
	json_put_kstr(out, "updated", dckpt_iso(updated, t));
	buf_str(out, "}\n");
}

static void
put_text(struct dckpt *o, const char *host, const struct breaker *b)
{
	char	t[DCKPT_STAMP];

	buf_printf(&o->b, "%-9s %2u ", ckpt_breaker_state(b->state),
	    b->failures);
	dckpt_masked(&o->b, host);
	if (b->state == BREAKER_OPEN)
		buf_printf(&o->b, " for another %s",
		    dckpt_age(b->until - o->now, t));
	if (b->state == BREAKER_HALF_OPEN)
		buf_str(&o->b, " is being tried");
	if (b->why[0] != '\0') {
		buf_str(&o->b, ": ");
		dckpt_masked(&o->b, b->why);
	}
	buf_addc(&o->b, '\n');
}

/* Of this host, or NULL. */
struct show {
	struct dckpt	*o;
	const char	*host;
};

static int
on_breaker(const char *host, const struct breaker *b, int64_t updated,
    void *arg)
{
	struct show	*s = arg;

	if (s->host != NULL && strcmp(s->host, host) != 0)
		return 0;
	s->o->n++;
	if (s->o->o->json)
		put_json(&s->o->b, host, b, updated);
	else
		put_text(s->o, host, b);
	dckpt_put(s->o);
	return 0;
}

int
dckpt_breaker(struct dckpt *o, int *status)
{
	const struct ckpt_sel	*s = &o->o->sel;
	struct show		 show = { o, NULL };
	struct breaker		 b;
	uint64_t		 n = 0;

	(void)status;
	if (s->n_keys > 2 ||
	    (s->n_keys > 0 && strcmp(s->keys[0], "reset") != 0))
		return err_set(o->e, MSG_USAGE, "breaker: want nothing, "
		    "reset, or reset HOST");
	if (s->n_keys == 2)
		show.host = s->keys[1];
	/* a host mistyped is not one that was reset */
	if (show.host != NULL) {
		if (ckpt_breaker_get(o->c, show.host, &b, o->e) == 0)
			err_set(o->e, MSG_NOINPUT, "%s: no breaker is kept "
			    "for this host", show.host);
		if (o->e->code != 0)
			return -1;
	}
	if (s->n_keys == 0 || o->o->dry)
		return ckpt_breaker_each(o->c, on_breaker, &show, o->e);
	if (ckpt_breaker_clear(o->c, show.host, &n, o->e) == -1)
		return -1;
	if (o->o->json)
		(void)printf("{\"reset\":%" PRIu64 "}\n", n);
	else
		(void)printf("reset %" PRIu64 "\n", n);
	return 0;
}
