/*
 * cred: whose keys sign, and where S3 is: the environment, the files of
 * ~/.aws, container and instance metadata, in the order that AWS's own
 * tools take.  Keys with an end are fetched anew before it.
 *
 * Keys are never printed, never in an error's text, and are wiped when
 * they are dropped; a process that holds any leaves no core dump.
 * What is not done, and said so: assumed roles, SSO, credential_process,
 * web identity.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CRED_H
#define D_CRED_H

#include <stdint.h>

#include "msg.h"
#include "sign.h"

#define CRED_EARLY_S	300	/* fetched anew this long before their end */
#define CRED_AGAIN_S	60	/* and, where that failed, not sooner again */
#define CRED_META_S	2	/* seconds that a metadata service gets */
#define CRED_FILE_MAX	((size_t)1 << 20)
#define CRED_REGION	"us-east-1"	/* where none is said */

/* What is said of S3 itself. Strings are owned, NULL: not said. */
struct cred_conf {
	char	*profile;	/* "default" at least */
	char	*region;	/* CRED_REGION at least */
	char	*endpoint;	/* URL; NULL: AWS */
	char	*ca_bundle;	/* file */
	char	*style;		/* "path" "virtual" "auto" */
	int	 explicit;	/* the profile was an option */
};

/*
 * AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION, AWS_DEFAULT_REGION,
 * AWS_CA_BUNDLE, AWS_PROFILE, else the profile in AWS_CONFIG_FILE.
 * profile: an option's, or NULL.  66: a profile that is named and nowhere;
 * 77, 74: a file that cannot be read.
 */
int	cred_conf_load(struct cred_conf *c, const char *profile,
	    struct err *e);
void	cred_conf_clear(struct cred_conf *c);

struct cred;

/* Copies what it needs.  Nothing is read or fetched yet. */
struct cred *cred_new(const struct cred_conf *c);
void	cred_free(struct cred *c);	/* wipes; NULL is fine */
/*
 * The keys, valid until the next call.  It may wait for a metadata service.
 * -1: 77 there are none, or they are not of a kind known here; 75 the
 * service did not answer.
 */
int	cred_get(struct cred *c, struct sign_keys *k, struct err *e);
/* The server says that these are over: the next cred_get gets others.
 * 0 when that may help, -1 when they come from where nothing changes. */
int	cred_expired(struct cred *c);
/* No core dumps from here on. cred_new calls it. */
void	cred_guard(void);

#endif
