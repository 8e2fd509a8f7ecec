/*
 * gz: zlib's inflate over members, one after the other.  The library is
 * opened when it is needed (late.h); libarchive needs it as well.
 * SPDX-License-Identifier: ISC
 */
#include "gz.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "late.h"
#include "mem.h"
#include "banned.h"

#ifndef GZ_LIBRARY
#define GZ_LIBRARY "libz.so.1"
#endif
#define GZ_OUT		((size_t)64 * 1024)
#define GZ_WINDOW	(16 + 15)	/* gzip, and no other form of it */

struct gz {
	z_stream	 z;
	int		 within;	/* a member */
	int		 full;		/* out was: more may come of nothing */
	int		 members;	/* that were begun */
	int		 padded;	/* zeros came behind one */
	unsigned char	*out;
};

#define FUNCTIONS(X)							\
X(int, inflateInit2_, (z_stream *z, int bits, const char *version,	\
    int size), (z, bits, version, size))				\
X(int, inflate, (z_stream *z, int flush), (z, flush))			\
X(int, inflateReset, (z_stream *z), (z))				\
X(int, inflateEnd, (z_stream *z), (z))

FUNCTIONS(LATE_FN)

int
gz_load(struct err *e)
{
	static const struct late	v[] = { FUNCTIONS(LATE_AT) };
	static int			done;

	return late_load(&done, GZ_LIBRARY, v, sizeof(v) / sizeof(v[0]), e);
}

struct gz *
gz_new(void)
{
	struct gz	*g = mem_zero(1, sizeof(*g));

	if (inflateInit2(&g->z, GZ_WINDOW) != Z_OK) {
		free(g);
		return NULL;
	}
	g->out = mem_alloc(GZ_OUT);
	return g;
}

void
gz_free(struct gz *g)
{
	if (g == NULL)
		return;
	(void)inflateEnd(&g->z);
	free(g->out);
	free(g);
}

/*
 * What whole blocks are written by fills the last one up with zeros, as tar
 * does on a tape: they are no data, and nothing comes behind them.  Does a
 * member begin here?
 */
static int
begins(struct gz *g)
{
	while (g->members > 0 && g->z.avail_in > 0 && *g->z.next_in == 0) {
		g->z.next_in++;
		g->z.avail_in--;
		g->padded = 1;
	}
	return g->z.avail_in > 0;
}

long
gz_next(struct gz *g, const unsigned char *p, size_t *n, const void **out,
    const char **why)
{
	int	r = Z_OK;

	/* it does not write there; zlib's own name for that is a macro */
	memcpy(&g->z.next_in, &p, sizeof(p));
	g->z.avail_in = (uInt)*n;
	g->z.next_out = g->out;
	g->z.avail_out = (uInt)GZ_OUT;
	while (r == Z_OK && g->z.avail_out > 0 &&
	    (g->z.avail_in > 0 || g->full)) {
		g->full = 0;
		if (!g->within) {
			if (!begins(g))
				break;
			r = g->padded ? Z_DATA_ERROR : inflateReset(&g->z);
			if (r != Z_OK)
				break;
			g->within = 1;
			g->members += g->members < 2;
		}
		r = inflate(&g->z, Z_NO_FLUSH);
		if (r == Z_STREAM_END) {
			g->within = 0;
			r = Z_OK;
		}
	}
	*n = g->z.avail_in;
	*out = g->out;
	g->full = g->within && g->z.avail_out == 0;
	/* nothing more came of what there is */
	if (r == Z_OK || r == Z_BUF_ERROR)
		return (long)(GZ_OUT - g->z.avail_out);
	if (r == Z_MEM_ERROR)
		*why = NULL;
	else if (g->padded || (g->members > 1 && g->z.total_out == 0))
		*why = "bytes after the end of the compressed data";
	else
		*why = g->z.msg != NULL ? g->z.msg : "damaged";
	return -1;
}

int
gz_at_end(const struct gz *g)
{
	return !g->within;
}
