/*
 * spare: which base, should nothing come to it, those behind dfetch hand on
 * as it is: its files need not be brought from elsewhere then.
 *
 * It is a permission, told through the staging of a run whose pipeline is
 * dfetch, dcheck, dmerge and dpublish, and nothing else (drun says so:
 * DRUN_PLAIN).  What was not said is not given.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_SPARE_H
#define D_SPARE_H

#define SPARE_WAIT_S	10	/* for those that have not spoken yet */

#define SPARE_ANY	"any"	/* of whatever format */
#define SPARE_NO	"no"	/* its files are wanted */

/*
 * What this program can spare: SPARE_ANY, a format, or SPARE_NO.  For dmerge
 * and dpublish, once they know their options and before they read; where
 * there is nobody to tell it does nothing, and trouble with it is no error.
 */
void	spare_tell(const char *what);
/* For dfetch: is there anybody to ask? */
int	spare_told(void);
/*
 * May the files of a base of this format stay where they lie?  stagefd: the
 * run's staging.  Waits until both have spoken.  1, 0.
 */
int	spare_base(int stagefd, const char *format);

#endif
