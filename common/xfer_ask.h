/*
 * xfer_ask: one request for a download, and what its end means: it came,
 * again later, again at once, never.  Whether and when, retry says; what the
 * bytes are worth, xfer_take.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_XFER_ASK_H
#define D_XFER_ASK_H

struct job;

/*
 * Ask for j, which is busy and has a part.  When this returns, its request
 * is under way, it waits for another time, or it has ended and is gone.
 */
void	ask_job(struct job *j);
/* Without a word; what is in the cache stays for another time. */
void	ask_drop(struct job *j);

#endif
