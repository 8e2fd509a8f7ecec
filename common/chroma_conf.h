/*
 * chroma_conf: what a ChromaDB database has to say of one collection:
 * uuids, configuration, schema, metadata, and the parameters of its index.
 * Taken over from the input where it has the form of a 1.x server, else
 * made.
 *
 * It reads and writes no file.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CHROMA_CONF_H
#define D_CHROMA_CONF_H

#include <stdint.h>

#include "item.h"
#include "msg.h"

#define CHROMA_UUID	37U	/* bytes of a uuid's text, NUL included */

struct chroma_conf {
	char		 uuid[CHROMA_UUID];	/* "": none that can be kept */
	char		 vector[CHROMA_UUID];	/* segments */
	char		 meta[CHROMA_UUID];
	char		*config;	/* config_json_str */
	char		*schema;	/* schema_str; NULL: none */
	char		*metadata;	/* canonical JSON object */
	uint32_t	 m, ef;		/* of the index; 0: not said */
};

/* From a collection of any store.  0, or -1 (65); clear it either way. */
int	chroma_conf_init(struct chroma_conf *o, const struct item_coll *c,
	    struct err *e);
void	chroma_conf_clear(struct chroma_conf *o);
/* A uuid that depends on name and n alone (version 8, RFC 9562). */
void	chroma_conf_derive(struct chroma_conf *o, const char *name,
	    unsigned int n);
/* The segments' uuids, which depend on the collection's. */
void	chroma_conf_segments(struct chroma_conf *o);
/* m and ef as the texts say; NULL is fine.  -1: no JSON. */
int	chroma_conf_params(struct chroma_conf *o);

#endif
