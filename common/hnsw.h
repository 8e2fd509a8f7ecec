/*
 * hnsw: the four files of a persisted HNSW index (chroma-hnswlib,
 * persistence version 1): header.bin, data_level0.bin, length.bin and
 * link_lists.bin.  It knows elements and labels, no ids and no database.
 *
 * Everything is read with pread as it is asked for; memory is one window
 * of at most HNSW_WINDOW bytes or one element, whatever the index holds.
 * A file that is shorter than the header says is no error here: what is
 * not there is simply not counted (a writer that was killed leaves that).
 * SPDX-License-Identifier: ISC
 */
#ifndef D_HNSW_H
#define D_HNSW_H

#include <stddef.h>
#include <stdint.h>

#include "msg.h"

#define HNSW_HEADER_LEN	100U		/* bytes of header.bin */
#define HNSW_WINDOW	65536U		/* bytes read at a time */
#define HNSW_LINKS_MAX	65535U		/* links of one element and level */
#define HNSW_LEVEL_MAX	255		/* levels above the lowest */
#define HNSW_N_MAX	4294967295U	/* elements */
#define HNSW_NORM_TOL	1e-3		/* of a normalised vector's length */
#define HNSW_TINY	1e-18		/* lengths whose square is no float32 */

#define HNSW_HEADER_FILE "header.bin"
#define HNSW_LEVEL0_FILE "data_level0.bin"
#define HNSW_LENGTH_FILE "length.bin"
#define HNSW_LINKS_FILE	"link_lists.bin"

/* header.bin in words; file order. */
struct hnsw_header {
	uint64_t	 offset_level0;
	uint64_t	 max_elements;
	uint64_t	 count;		/* elements, deleted ones included */
	uint64_t	 element_len;	/* bytes of one in data_level0.bin */
	uint64_t	 label_offset;
	uint64_t	 data_offset;
	int32_t		 max_level;	/* -1: empty */
	uint32_t	 enter;		/* element to start from */
	uint64_t	 max_m, max_m0, m;
	double		 mult;
	uint64_t	 ef_construction;
};

struct hnsw {
	struct hnsw_header	 head;
	uint32_t		 dim;
	int			 cosine;
	/* elements that can be read whole: at most head.count */
	uint64_t		 n;
	/* elements that the files hold, whatever the header says */
	uint64_t		 n_level0, n_length;
	char			*name;	/* of the directory, for messages */
	int			 level0_fd, length_fd, links_fd;
	/* private */
	unsigned char		*win;
	size_t			 win_cap;
	uint64_t		 win_off, win_len;
	uint64_t		 flag_of; /* element whose flag is known */
	unsigned char		 flag;
};

/* 100 bytes to words and back; decode: 0, or -1 with *why a literal. */
int	hnsw_header_decode(const unsigned char b[HNSW_HEADER_LEN],
	    uint32_t dim, struct hnsw_header *h, const char **why);

/*
 * Open the index in the directory name below dirfd.  shown is its name in
 * messages.  cosine: vectors are stored with length 1 and their lengths
 * beside them.  0; -1 with e->code 65 (bytes make no sense), 66 (a file is
 * not there), or what the machine did.  After -1 nothing is held.
 */
int	hnsw_open(struct hnsw *h, int dirfd, const char *name,
	    const char *shown, uint32_t dim, int cosine, struct err *e);
void	hnsw_close(struct hnsw *h);

/* Label and deleted mark of element i < h->n; fastest in order. */
int	hnsw_label(struct hnsw *h, uint64_t i, uint64_t *label, int *deleted,
	    struct err *e);
/*
 * The vector of element i < h->n as ChromaDB returns it: dim little-endian
 * float32, for cosine each times the length.
 */
int	hnsw_vector(struct hnsw *h, uint64_t i, void *out, struct err *e);

/*
 * Prove the graph and the vectors of every element that all files hold,
 * and set *whole to their number; links may point to any element that the
 * header counts.  Nothing is said of elements from *whole on.  0, or -1
 * (65 says what is wrong).
 */
int	hnsw_check(struct hnsw *h, uint64_t *whole, struct err *e);

/*
 * Prove the graph, not the vectors, of an index that hnsw_build made: no
 * file falls short of the header; element i has label i + 1; nobody stands
 * above the entry point's level; links of a level lead to elements that
 * are on it; along links of the lowest level the entry point reaches every
 * element that is not deleted, and every element the entry point, for a
 * search may begin at any.  *live is how many are not deleted.  (A graph
 * that a server wrote may well have unreachable elements.)
 * Memory: 5 bytes and two bits for each element.  0, or -1 as above.
 */
int	hnsw_check_graph(struct hnsw *h, uint64_t *live, struct err *e);

#endif
