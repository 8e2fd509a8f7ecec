/*
 * remote: see remote.h.
 * SPDX-License-Identifier: ISC
 */
#include "remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "ckpt.h"
#include "cred.h"
#include "mem.h"
#include "net.h"
#include "retry.h"
#include "s3.h"
#include "banned.h"

struct remote {
	char			*ckpt_path;
	struct ckpt		*ckpt;
	struct net		*net;
	struct retry		*retry;
	struct s3		*s3;
	struct cred_conf	 conf;
	int			 has_conf;
	unsigned int		 share;	/* of how many processes; 0 alone */
};

struct remote *
remote_new(const char *ckpt)
{
	struct remote	*r = mem_zero(1, sizeof(*r));

	if (ckpt != NULL)
		r->ckpt_path = mem_dup(ckpt);
	return r;
}

void
remote_share(struct remote *r, unsigned int n)
{
	r->share = n;
}

void
remote_free(struct remote *r)
{
	if (r == NULL)
		return;
	s3_free(r->s3);
	retry_free(r->retry);
	net_free(r->net);
	ckpt_close(r->ckpt);
	if (r->has_conf)
		cred_conf_clear(&r->conf);
	free(r->ckpt_path);
	free(r);
}

static int
load_conf(struct remote *r, struct err *e)
{
	if (r->has_conf)
		return 0;
	if (cred_conf_load(&r->conf, NULL, e) == -1)
		return -1;
	r->has_conf = 1;
	return 0;
}

struct net *
remote_net(struct remote *r, struct err *e)
{
	struct net_opts	o;

	if (r->net != NULL)
		return r->net;
	if (load_conf(r, e) == -1)
		return NULL;
	memset(&o, 0, sizeof(o));
	o.connections = REMOTE_CONNECTIONS;
	o.ca_file = r->conf.ca_bundle;
	o.agent = "intact/" MSG_VERSION;
	r->net = net_new(&o, e);
	return r->net;
}

struct retry *
remote_retry(struct remote *r, struct err *e)
{
	if (r->retry != NULL)
		return r->retry;
	r->ckpt = ckpt_open(r->ckpt_path, CKPT_CREATE, e);
	/* NULL without an error: nobody named one */
	if (r->ckpt == NULL && e->code != 0)
		return NULL;
	r->retry = retry_new(r->ckpt, r->share > 1 ?
	    (RETRY_BUDGET + r->share - 1) / r->share : 0);
	return r->retry;
}

struct s3 *
remote_s3(struct remote *r, struct err *e)
{
	if (r->s3 != NULL)
		return r->s3;
	if (remote_net(r, e) == NULL || remote_retry(r, e) == NULL)
		return NULL;
	r->s3 = s3_new(r->net, &r->conf, 1, r->retry, e);
	return r->s3;
}

int
remote_is_s3(const char *url)
{
	return strncmp(url, "s3://", 5) == 0;
}

int
remote_is_http(const char *url)
{
	return strncmp(url, "http://", 7) == 0 ||
	    strncmp(url, "https://", 8) == 0;
}

char *
remote_cache_dir(const char *option)
{
	const char	*dir = option, *tail = "";
	struct buf	 b;
	char		*s;

	if (dir == NULL)
		dir = getenv("DCACHE");
	if (dir == NULL) {
		dir = getenv("XDG_CACHE_HOME");
		tail = "/intact";
		/* a relative one is to be passed over, says its standard */
		if (dir == NULL || dir[0] != '/') {
			dir = getenv("HOME");
			tail = "/.cache/intact";
		}
	}
	if (dir == NULL || dir[0] == '\0')
		return NULL;
	buf_init(&b, 8192);
	buf_printf(&b, "%s%s", dir, tail);
	s = b.over ? NULL : mem_dup(buf_cstr(&b));
	buf_free(&b);
	return s;
}
