/*
 * target_dav_odd: WebDAV servers that do not exclude, in each way that the
 * probe knows; and those that do not let it ask.
 * SPDX-License-Identifier: ISC
 */
#include <sys/stat.h>

#include "buf.h"
#include "script.h"
#include "tap.h"
#include "target.h"

#define OBJECT	"/object$"
#define RACE	"/race-"

static struct target	*t;
static struct err	 err;

static void
refused(int rv, int code, const char *words, const char *what)
{
	if (!tap_ok(rv == -1 && err.code == code &&
	    strstr(err.text, words) != NULL, "%s: %d", what, code)) {
		printf("# returned %d, code %d: %s\n", rv, err.code,
		    err.text);
		for (int i = 0; i < script->n_log && i < 30; i++)
			printf("# %s\n", script->log[i]);
	}
	memset(&err, 0, sizeof(err));
}

static void
fresh(void)
{
	struct target_opts	o;
	char			url[128];

	target_close(t);
	script_clear();
	memset(&err, 0, sizeof(err));
	memset(&o, 0, sizeof(o));
	(void)snprintf(url, sizeof(url), "%s/t", script_url);
	t = target_open(url, &o, &err);
	if (t == NULL)
		_exit(98);
}

static int
probe(void)
{
	return t->ops->probe(t->impl, "staging/r", NULL, NULL, &err);
}

/* A server that excludes, as far as the nth step. */
static void
well(int n)
{
	fresh();
	if (n >= 1)
		once("PUT", OBJECT, "201 Created", "ETag: \"1\"\r\n", "");
	if (n >= 2)
		once("PUT", OBJECT, "412 No", "", "");
	if (n >= 3)
		once("PUT", OBJECT, "412 No", "", "");
	if (n >= 2)
		once("GET", OBJECT, "200 OK", "ETag: \"1\"\r\n", "first");
	if (n >= 3)
		once("GET", OBJECT, "200 OK", "ETag: \"1\"\r\n", "first");
}

int
main(void)
{
	msg_init("target_dav_odd");
	tap_plan(11);
	script_start();
	(void)unsetenv("http_proxy");
	(void)unsetenv("DCKPT_DB");
	(void)unsetenv("DAV_USER");
	well(0);
	on("PUT", OBJECT, "501 No", "", "");
	refused(probe(), MSG_USAGE, "it takes no conditional writes",
	    "no conditions");
	well(0);
	on("PUT", OBJECT, "412 No", "", "");
	refused(probe(), MSG_USAGE, "a name that was free was taken",
	    "a free name is taken");
	well(0);
	on("PUT", OBJECT, "403 No", "", "");
	refused(probe(), MSG_NOPERM, "403", "no right");
	well(1);
	refused(probe(), MSG_USAGE, "it ignores If-None-Match",
	    "a second create");
	well(2);
	on("PUT", OBJECT, "204 Done", "", "");
	refused(probe(), MSG_USAGE, "it ignores If-Match",
	    "what has changed is replaced");
	tap_ok(asked("DELETE /t/staging/r/probe-") == 1,
	    "and nothing is left");
	well(2);
	on("PUT", OBJECT, "403 No", "", "");
	refused(probe(), MSG_NOPERM, "403", "no right to replace");
	well(3);
	on("PUT", OBJECT, "403 No", "", "");
	refused(probe(), MSG_NOPERM, "403", "nor what has not changed");
	well(3);
	on("PUT", OBJECT, "412 No", "", "");
	on("GET", OBJECT, "200 OK", "ETag: \"1\"\r\n", "first");
	on("HEAD", OBJECT, "200 OK", "ETag: \"1\"\r\n", "");
	refused(probe(), MSG_USAGE, "refuses to replace",
	    "what has not changed is not replaced");
	well(3);
	once("PUT", OBJECT, "204 Done", "ETag: \"2\"\r\n", "");
	once("PUT", OBJECT, "204 Done", "ETag: \"3\"\r\n", "");
	once("GET", OBJECT, "200 OK", "ETag: \"2\"\r\n", "third");
	on("GET", OBJECT, "200 OK", "ETag: \"2\"\r\n", "third");
	refused(probe(), MSG_USAGE, "old bytes after new ones",
	    "what was written is not read");
	fresh();
	on("PUT", OBJECT, "CUT", "", "");
	refused(probe(), MSG_TEMPFAIL, "", "no answer");
	target_close(t);
	http_stop(&web);
	return tap_done();
}
