/*
 * vec: distances of vectors, with the widest registers that the processor
 * has; chosen once, at run time.
 *
 * Every result is the same on every machine, to the bit: integers because
 * they are exact, floats because they are summed in one fixed order.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_VEC_H
#define D_VEC_H

#include <stddef.h>
#include <stdint.h>

#define VEC_STEP 32U	/* int16 vectors are padded to a multiple of it */

struct vec_ops {
	const char	*name;		/* "avx512" "avx2" "plain" */
	/*
	 * n is a multiple of VEC_STEP.  The caller sees to it that no
	 * difference leaves int16 and no sum int32.
	 */
	int32_t	(*l2_i16)(const int16_t *a, const int16_t *b, size_t n);
	int32_t	(*dot_i16)(const int16_t *a, const int16_t *b, size_t n);
	/* any n, any alignment */
	float	(*l2_f32)(const void *a, const void *b, size_t n);
	float	(*dot_f32)(const void *a, const void *b, size_t n);
	/* n floats times scale, rounded; the products fit int16 */
	void	(*code)(const void *f, float scale, int16_t *out, size_t n);
};

/* The best there is; only "plain" when plain is asked for. */
const struct vec_ops *vec_ops(int plain);

#endif
