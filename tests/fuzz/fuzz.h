/*
 * fuzz: what a parser of strangers' bytes is asked to survive.  Each target
 * takes any bytes and returns; it aborts when what it calls breaks a
 * promise of its header.  One program holds them all: under libFuzzer
 * (make fuzz) FUZZ names the target; built plainly it runs files.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_FUZZ_H
#define D_FUZZ_H

#include <stddef.h>

typedef void fuzz_target(const unsigned char *p, size_t n);

fuzz_target fuzz_stream, fuzz_record, fuzz_json, fuzz_plan, fuzz_xml,
    fuzz_s3list, fuzz_davlist, fuzz_manifest, fuzz_journal, fuzz_commit,
    fuzz_sign, fuzz_cred, fuzz_pickle, fuzz_hnsw, fuzz_archive, fuzz_batch,
    fuzz_join, fuzz_chroma, fuzz_sql, fuzz_store, fuzz_ledger;

/* A promise: the line is printed, and the input is kept by libFuzzer. */
#define FUZZ_MUST(x) ((x) ? (void)0 : fuzz_broken(#x, __FILE__, __LINE__))
_Noreturn void fuzz_broken(const char *what, const char *file, int line);

/* A directory of this process, empty at the start of each input. */
extern char	fuzz_dir[256];
extern int	fuzz_dirfd;
/* A file below it; directories above it are made. */
void	fuzz_put(const char *name, const void *p, size_t n);
/* "DIR/name", until the next call. */
const char *fuzz_path(const char *name);

/*
 * A part of the input: up to the next 0xff byte, which is passed over, or
 * all that is left.  *p is NULL behind the last.
 */
size_t	fuzz_part(const unsigned char **p, size_t *n,
	    const unsigned char **part);
/* The same as a string, which the caller frees. */
char	*fuzz_str(const unsigned char **p, size_t *n);

#endif
