/*
 * msg: words on stderr and the table of statuses.
 * It never writes to stdout and, but for msg_die, never exits.
 * SPDX-License-Identifier: ISC
 */
#include "msg.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/resource.h>

#include "banned.h"

#define MSG_LINE_MAX 2048
#define MSG_JSON_MAX (MSG_LINE_MAX * 6 + 1024)	/* every byte as \u00xx */
#define MSG_RUN_MAX 64

enum level {
	LEVEL_ERROR,
	LEVEL_WARNING,
	LEVEL_INFO
};

static const char	*prog = "intact";
static int		 verbose;
static int		 json;
static char		 run[MSG_RUN_MAX];

/*
 * A descriptor 0, 1 or 2 that is closed would be given to the next file
 * that is opened, and what is meant for stdout written into it.  It gets
 * one that can only be used the wrong way round, and so still fails.
 */
static void
standard_fds(void)
{
	int	fd, got;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) != -1 || errno != EBADF)
			continue;
		got = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY :
		    fd == STDOUT_FILENO ? O_RDONLY : O_RDWR);
		if (got == -1)
			got = open("/", O_RDONLY);
		if (got != fd)
			_exit(MSG_IOERR);
	}
}

/* With keys in the environment a core would be a copy of them. */
static void
no_core(void)
{
	static const char *const	keys[] = { "AWS_SECRET_ACCESS_KEY",
		"AWS_SESSION_TOKEN", "OPENAI_API_KEY", "DAV_PASSWORD" };
	struct rlimit			rl = { 0, 0 };
	size_t				i;

	for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (getenv(keys[i]) != NULL) {
			(void)setrlimit(RLIMIT_CORE, &rl);
			return;
		}
}

void
msg_init(const char *name)
{
	const char	*s;

	prog = name;
	standard_fds();
	no_core();
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	msg_set_run(getenv("DRUN_ID"));
	s = getenv("DLOG");
	if (s != NULL && *s != '\0' && msg_set_log(s) == -1)
		msg_die(MSG_USAGE, "DLOG: want text or json, got %s", s);
}

const char *
msg_prog(void)
{
	return prog;
}

void
msg_set_verbose(int on)
{
	verbose = on;
}

int
msg_set_log(const char *format)
{
	if (strcmp(format, "text") != 0 && strcmp(format, "json") != 0)
		return -1;
	json = *format == 'j';
	return 0;
}

int
msg_log_option(const char *arg)
{
	if (msg_set_log(arg) == 0)
		return 0;
	msg_error(MSG_USAGE, "--log: %s: want text or json", arg);
	return -1;
}

void
msg_set_run(const char *id)
{
	(void)snprintf(run, sizeof(run), "%s", id != NULL ? id : "");
}

/*
 * JSON, of which json.c knows more, but stands above: one object in a
 * buffer that is large enough for any line.
 */

struct object {
	char	b[MSG_JSON_MAX];
	size_t	len;
};

static void MSG_PRINTF(2, 3)
put(struct object *o, const char *fmt, ...)
{
	va_list	ap;
	size_t	left = sizeof(o->b) - o->len;
	int	n;

	va_start(ap, fmt);
	n = vsnprintf(o->b + o->len, left, fmt, ap);
	va_end(ap);
	if (n > 0)
		o->len += (size_t)n < left ? (size_t)n : left - 1;
}

/* Bytes of the character at s, which ends at end; 0: it is no UTF-8. */
static size_t
utf8(const unsigned char *s, const unsigned char *end)
{
	size_t	i, n;

	n = *s < 0x80 ? 1 : *s < 0xc2 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 :
	    *s < 0xf5 ? 4 : 0;
	if (n == 0 || (size_t)(end - s) < n)
		return 0;
	for (i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
	    (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static void
put_text(struct object *o, const char *key, const char *text, size_t len)
{
	const unsigned char	*s = (const unsigned char *)text;
	const unsigned char	*end = s + len;
	size_t			 n;

	put(o, "%s\"%s\":\"", o->len > 1 ? "," : "", key);
	for (; s < end; s += n > 0 ? n : 1) {
		n = utf8(s, end);
		if (n == 0)
			put(o, "\\ufffd");
		else if (*s < 0x20 || *s == 0x7f)
			put(o, "\\u%04x", (unsigned int)*s);
		else if (*s == 0xc2 && s[1] < 0xa0)
			put(o, "\\u%04x", (unsigned int)s[1]);
		else
			put(o, "%s%.*s", *s == '"' || *s == '\\' ? "\\" : "",
			    (int)n, (const char *)s);
	}
	put(o, "\"");
}

static void
put_str(struct object *o, const char *key, const char *s)
{
	put_text(o, key, s, strlen(s));
}

static void
put_time(struct object *o)
{
	struct timespec	ts;
	struct tm	tm;

	if (clock_gettime(CLOCK_REALTIME, &ts) == -1 ||
	    gmtime_r(&ts.tv_sec, &tm) == NULL)
		return;
	put(o, "\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\"",
	    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
	    tm.tm_min, tm.tm_sec, (int)(ts.tv_nsec / 1000000));
}

/* The line's object is what stands before its first ": ". */
static void
line_json(enum level level, int status, const char *text)
{
	static const char *const levels[] = { "error", "warning", "info" };
	const struct msg_fault	*f = msg_fault_of(status);
	const char		*colon, *stage = getenv("DRUN_STAGE");
	struct object		 o;

	if (strncmp(text, "warning: ", 9) == 0) {
		level = LEVEL_WARNING;
		text += 9;
	}
	o.len = 0;
	put(&o, "{");
	put_time(&o);
	put_str(&o, "program", prog);
	put(&o, ",\"pid\":%ld", (long)getpid());
	put_str(&o, "level", levels[level]);
	if (run[0] != '\0')
		put_str(&o, "run", run);
	if (stage != NULL && strspn(stage, "0123456789") == strlen(stage) &&
	    *stage > '0')
		put(&o, ",\"stage\":%.4s", stage);
	colon = strstr(text, ": ");
	if (colon != NULL && colon > text)
		put_text(&o, "object", text, (size_t)(colon - text));
	put_str(&o, "text", text);
	if (status != 0) {
		put_str(&o, "code", f->name);
		put_str(&o, "class", msg_class_name(f->class));
		put(&o, ",\"status\":%d", status);
	}
	put(&o, "}\n");
	if (write(STDERR_FILENO, o.b, o.len) == -1)
		return; /* nowhere left to say it */
}

void
msg_mask(char *s, size_t len)
{
	unsigned char	*p = (unsigned char *)s;
	size_t		 i, n;

	for (i = 0; i < len; i += n) {
		n = 1;
		if (p[i] == 0xc2 && len - i > 1 && p[i + 1] >= 0x80 &&
		    p[i + 1] < 0xa0)
			n = 2;
		else if (p[i] == 0xe2 && len - i > 2 && ((p[i + 1] == 0x80 &&
		    p[i + 2] >= 0xaa && p[i + 2] <= 0xae) || (p[i + 1] ==
		    0x81 && p[i + 2] >= 0xa6 && p[i + 2] <= 0xa9)))
			n = 3;
		else if (p[i] >= 0x20 && p[i] != 0x7f)
			continue;
		memset(p + i, '?', n);
	}
}

static void
line_text(const char *text)
{
	char	 b[MSG_LINE_MAX];
	size_t	 len;
	int	 n;

	n = snprintf(b, sizeof(b) - 1, "%s: %s", prog, text);
	len = n < 0 ? 0 : (size_t)n;
	if (len > sizeof(b) - 2)
		len = sizeof(b) - 2;
	msg_mask(b, len);
	b[len++] = '\n';
	if (write(STDERR_FILENO, b, len) == -1)
		return; /* nowhere left to say it */
}

/* One write, so that lines of processes that share stderr stay whole. */
static void MSG_PRINTF(3, 0)
line(enum level level, int status, const char *fmt, va_list ap)
{
	char	b[MSG_LINE_MAX];

	if (vsnprintf(b, sizeof(b), fmt, ap) < 0)
		b[0] = '\0';
	if (json)
		line_json(level, status, b);
	else
		line_text(b);
}

void
msg_warn(const char *fmt, ...)
{
	va_list	ap;

	va_start(ap, fmt);
	line(LEVEL_ERROR, 0, fmt, ap);
	va_end(ap);
}

void
msg_error(int status, const char *fmt, ...)
{
	va_list	ap;

	va_start(ap, fmt);
	line(LEVEL_ERROR, status, fmt, ap);
	va_end(ap);
}

void
msg_info(const char *fmt, ...)
{
	va_list	ap;

	if (!verbose)
		return;
	va_start(ap, fmt);
	line(LEVEL_INFO, 0, fmt, ap);
	va_end(ap);
}

void
msg_note(const char *fmt, ...)
{
	va_list	ap;

	va_start(ap, fmt);
	line(LEVEL_INFO, 0, fmt, ap);
	va_end(ap);
}

void
msg_die(int status, const char *fmt, ...)
{
	va_list	ap;

	va_start(ap, fmt);
	line(LEVEL_ERROR, status, fmt, ap);
	va_end(ap);
	exit(status);
}

void
msg_err(const struct err *e)
{
	msg_error(e->code, "%s", e->text);
}

static const struct msg_fault faults[MSG_FAULT_N] = {
	{ MSG_OK, 0, MSG_CLASS_NONE, "",
	    "all done, END seen and written, output flushed", "nothing" },
	{ MSG_USAGE, 5, MSG_CLASS_PERMANENT, "USAGE",
	    "called wrongly: option, operand, configuration",
	    "mend the call or the configuration" },
	{ MSG_DATAERR, 2, MSG_CLASS_PERMANENT, "DATAERR",
	    "inputs were refused; each is named on stderr with the reason; "
	    "nothing was published",
	    "mend or quarantine them (dcheck says how), run again" },
	{ MSG_NOINPUT, 3, MSG_CLASS_PERMANENT, "NOINPUT",
	    "something that must exist does not: an input, the base, an "
	    "intermediate of the plan",
	    "find out why it is not there and bring it back" },
	{ MSG_SOFTWARE, 6, MSG_CLASS_PERMANENT, "SOFTWARE",
	    "a bug of ours, caught by an invariant", "report it as a bug" },
	{ MSG_CANTCREAT, 4, MSG_CLASS_TRANSIENT, "CANTCREAT",
	    "another publisher took the generation first",
	    "run again from dfetch" },
	{ MSG_IOERR, 5, MSG_CLASS_UNKNOWN, "IOERR",
	    "the machine failed: disk full, I/O error, no memory",
	    "mend the machine" },
	{ MSG_TEMPFAIL, 4, MSG_CLASS_TRANSIENT, "TEMPFAIL",
	    "network, throttling, open breaker, lock held, out of "
	    "descriptors, not ready yet", "run again later" },
	{ MSG_PROTOCOL, 1, MSG_CLASS_UNKNOWN, "PROTOCOL",
	    "the input stream broke: no END, FAIL, malformed, totals that "
	    "do not add up", "look at what failed upstream" },
	{ MSG_NOPERM, 5, MSG_CLASS_PERMANENT, "NOPERM",
	    "credentials missing or rejected, permission denied",
	    "mend permissions or credentials" },
	{ -1, 6, MSG_CLASS_UNKNOWN, "",
	    "a signal, or a status of a program that is none of ours",
	    "look at the program that failed" }
};

const struct msg_fault *
msg_fault_of(int status)
{
	size_t	i;

	for (i = 0; i < MSG_FAULT_N - 1; i++)
		if (faults[i].status == status)
			break;
	return &faults[i];
}

const struct msg_fault *
msg_fault_row(unsigned int i)
{
	return &faults[i];
}

const char *
msg_class_name(enum msg_class c)
{
	static const char *const	names[MSG_CLASS_N] = { "",
	    "transient", "permanent", "unknown" };

	return names[c];
}

int
msg_worse(int a, int b)
{
	return msg_fault_of(b)->rank > msg_fault_of(a)->rank ? b : a;
}

const char *
msg_status_name(int s)
{
	const struct msg_fault	*f = msg_fault_of(s);

	return f->status == -1 ? "SOFTWARE" : f->name;
}

int
err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list	ap;

	if (e->code != 0)
		return -1;
	e->code = code;
	va_start(ap, fmt);
	(void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return -1;
}

int
err_status(int errnum)
{
	switch (errnum) {
	case EACCES:
	case EPERM:
	case EROFS:
		return MSG_NOPERM;
	case ENOENT:
	case ENOTDIR:
		return MSG_NOINPUT;
	case EMFILE:
	case ENFILE:
	case EAGAIN:
	case EBUSY:
		return MSG_TEMPFAIL;
	default:
		return MSG_IOERR;
	}
}

int
err_sys(struct err *e, int errnum, const char *fmt, ...)
{
	va_list	ap;
	size_t	len;

	if (e->code != 0)
		return -1;
	e->code = err_status(errnum);
	va_start(ap, fmt);
	(void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	len = strlen(e->text);
	(void)snprintf(e->text + len, sizeof(e->text) - len, ": %s",
	    strerror(errnum));
	return -1;
}
