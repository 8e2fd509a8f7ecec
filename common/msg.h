/*
 * msg: the program's name, its words on stderr, the exit statuses, and the
 * error that functions hand upwards.  The only writer of stderr.
 *
 * Every line is "prog: object: what went wrong", control bytes masked.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_MSG_H
#define D_MSG_H

#include <stdarg.h>
#include <stddef.h>

#define MSG_VERSION "0.1.0"

/* DESIGN section 6; the numbers are sysexits'. */
enum msg_status {
	MSG_OK = 0,
	MSG_USAGE = 64,		/* called wrongly */
	MSG_DATAERR = 65,	/* an input was refused */
	MSG_NOINPUT = 66,	/* something that must exist does not */
	MSG_SOFTWARE = 70,	/* a bug of ours */
	MSG_CANTCREAT = 73,	/* another publisher was first */
	MSG_IOERR = 74,		/* the machine failed */
	MSG_TEMPFAIL = 75,	/* try again later */
	MSG_PROTOCOL = 76,	/* the input stream broke */
	MSG_NOPERM = 77		/* permission or credentials */
};

/* Is running it again of use? */
enum msg_class {
	MSG_CLASS_NONE,		/* no error */
	MSG_CLASS_TRANSIENT,	/* it may be enough */
	MSG_CLASS_PERMANENT,	/* it ends the same until something is
				   mended */
	MSG_CLASS_UNKNOWN	/* somebody must look first */
};
#define MSG_CLASS_N (MSG_CLASS_UNKNOWN + 1)

/*
 * The one table of what can go wrong.  Messages, retries, checkpoints,
 * metrics and dckpt's advice are made from it, DESIGN section 6 and the
 * EXIT STATUS sections of the pages are held against it (tests/class.t).
 */
struct msg_fault {
	int		 status;	/* -1: any other, signals too */
	int		 rank;		/* msg_worse: the greater wins */
	enum msg_class	 class;
	const char	*name;		/* "" for 0 and -1 */
	const char	*means;
	const char	*advice;	/* what to do */
};
#define MSG_FAULT_N 11
/* Never NULL: a status that is not in the table is the last row's. */
const struct msg_fault *msg_fault_of(int status);
/* Row i, below MSG_FAULT_N. */
const struct msg_fault *msg_fault_row(unsigned int i);
/* "transient"; "" for none. */
const char *msg_class_name(enum msg_class c);

#define MSG_ERR_MAX 512 /* bytes of err.text */

/* code is an enum msg_status; 0 means no error yet. */
struct err {
	int	code;
	char	text[MSG_ERR_MAX];
};

#if defined(__GNUC__)
#define MSG_PRINTF(a, b) __attribute__((format(printf, a, b)))
#define MSG_NORETURN __attribute__((noreturn))
#else
#define MSG_PRINTF(a, b)
#define MSG_NORETURN
#endif

/*
 * Call first in main.  Keeps name (a literal); ignores SIGPIPE and SIGXFSZ,
 * as writes say the same; sees to it that no file that is opened later
 * becomes stdin, stdout or stderr.
 */
void		 msg_init(const char *name);
const char	*msg_prog(void);
/* -v given: msg_info prints. */
void		 msg_set_verbose(int on);
/*
 * --log: "text", as above, or "json", an object a line: time, program,
 * pid, level (error, warning, info), text; object where the text names
 * one; run and stage where they are known; status and code of an error
 * that has them.  0, or -1: it is neither.  Without the option msg_init
 * takes DLOG, and dies (64) of one that is neither.
 */
int		 msg_set_log(const char *format);
/* The same, after saying what was wanted. */
int		 msg_log_option(const char *arg);
/* The run that lines are of; DRUN_ID is taken by msg_init. */
void		 msg_set_run(const char *run);

void	msg_warn(const char *fmt, ...) MSG_PRINTF(1, 2);
/* What the program will exit with, or would if this were all. */
void	msg_error(int status, const char *fmt, ...) MSG_PRINTF(2, 3);
void	msg_info(const char *fmt, ...) MSG_PRINTF(1, 2);
/* No error, and printed without -v too. */
void	msg_note(const char *fmt, ...) MSG_PRINTF(1, 2);
void	msg_die(int status, const char *fmt, ...)
	    MSG_PRINTF(2, 3) MSG_NORETURN;
/*
 * In place: what a terminal obeys, or what turns the text around, becomes
 * '?': C0, DEL, C1 and the direction marks of Unicode, in UTF-8.
 */
void	msg_mask(char *s, size_t len);
/* Prints e->text as one line. */
void	msg_err(const struct err *e);
/* The graver of two statuses, in the order of STYLE section 5. */
int	msg_worse(int a, int b);
/* "DATAERR" and so on; "" for 0; SOFTWARE for what is in no table. */
const char *msg_status_name(int status);

/*
 * Fill *e unless it already holds an error (the first one is kept).
 * Always return -1, so that "return err_set(...)" reads well.
 * err_sys takes the saved errno, picks the status from it and appends
 * strerror.
 */
int	err_set(struct err *e, int code, const char *fmt, ...)
	    MSG_PRINTF(3, 4);
int	err_sys(struct err *e, int errnum, const char *fmt, ...)
	    MSG_PRINTF(3, 4);
/* The status that DESIGN section 6 gives an errno. */
int	err_status(int errnum);

#endif
