/*
 * dfetch: what the files about S3 share: what lists say of inputs, added up
 * as it goes by, and judged.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DFETCH_S3_H
#define D_DFETCH_S3_H

#include "dfetch.h"
#include "s3.h"

#define S3_URL_MAX	2048	/* bytes; a key has 1024 */

/* What lists say of one input, as it goes by. */
struct tally {
	uint64_t	 n, size;
	int64_t		 mtime;
	struct hash	*tags;
};
void	s3in_tally_init(struct tally *t);
void	s3in_tally_clear(struct tally *t);
/* name is that below the input. */
void	s3in_tally_add(struct tally *t, const char *name,
	    const struct s3_object *o);
/* Of a prefix; t is as new. */
void	s3in_tally_end(struct tally *t, struct fetch_info *info);
/* Of one object. */
void	s3in_object_info(struct fetch_info *info, const struct s3_object *o);

/* Objects of a list that are kept. */
struct files {
	struct fetch_file	*v;
	size_t			 n, cap;
};
void	s3in_files_add(struct files *f, const char *name,
	    const struct s3_object *o);
void	s3in_files_clear(struct files *f);

/* The empty object that stands for a directory in some tools' eyes. */
int	s3in_is_marker(const struct s3_object *o);
/* A URL that fits into a line of a plan, and of the terminal: 0, -1. */
int	s3in_writable(const char *url, struct err *e);
/* Can the objects of a prefix be the files of a directory?  0, -1. */
int	s3in_judge_names(const char *url, const struct fetch_seen *s,
	    struct err *e);
int	s3in_judge_info(const char *url, const struct fetch_info *info,
	    struct err *e);

/*
 * Looks up lines of a plan (dfetch_s3_look.c): fetch_src's see.  keep: 0
 * no files, 1 within FETCH_KEEP, 2 in any case.
 */
int	s3in_see(struct fetch_list *l, struct fetch_look *v, size_t n,
	    int keep, struct err *e);
/* fetch_src's open. */
int	s3in_open(struct fetch_list *l, const struct plan_line *line,
	    struct fetch_seen *s, struct err *e);

#endif
