/*
 * vec: the kernels.  They know nothing of what the vectors mean.
 * SPDX-License-Identifier: ISC
 */
#include "vec.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define VEC_X86
#include <immintrin.h>
#endif

#include "banned.h"

/* a * b + c must stay two roundings, or the order would not be all */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

/* the plain loops are worth what the compiler makes of them */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

#define LANES 32	/* partial sums of a float distance */

static int32_t
plain_l2_i16(const int16_t *a, const int16_t *b, size_t n)
{
	int32_t	s = 0;
	size_t	i;

	for (i = 0; i < n; i++) {
		int16_t	d = (int16_t)(a[i] - b[i]);

		s += (int32_t)d * d;
	}
	return s;
}

static int32_t
plain_dot_i16(const int16_t *a, const int16_t *b, size_t n)
{
	int32_t	s = 0;
	size_t	i;

	for (i = 0; i < n; i++)
		s += (int32_t)a[i] * b[i];
	return s;
}

/*
 * Floats: element i goes to partial sum i % LANES; then the sums are folded
 * in halves.  Wider registers only do more lanes at a time.
 */
static inline float
fold(float *s)
{
	size_t	h, i;

	for (h = LANES / 2; h > 0; h /= 2)
		for (i = 0; i < h; i++)
			s[i] += s[i + h];
	return s[0];
}

static inline void
tail_l2(float *s, const unsigned char *a, const unsigned char *b, size_t n)
{
	float	x, y;
	size_t	i;

	for (i = 0; i < n; i++) {
		memcpy(&x, a + 4 * i, 4);
		memcpy(&y, b + 4 * i, 4);
		x -= y;
		y = x * x;
		s[i] += y;
	}
}

static inline void
tail_dot(float *s, const unsigned char *a, const unsigned char *b, size_t n)
{
	float	x, y;
	size_t	i;

	for (i = 0; i < n; i++) {
		memcpy(&x, a + 4 * i, 4);
		memcpy(&y, b + 4 * i, 4);
		x *= y;
		s[i] += x;
	}
}

static float
plain_l2_f32(const void *a, const void *b, size_t n)
{
	const unsigned char	*p = a, *q = b;
	float			 s[LANES] = { 0 };

	for (; n >= LANES; n -= LANES, p += 4 * LANES, q += 4 * LANES)
		tail_l2(s, p, q, LANES);
	tail_l2(s, p, q, n);
	return fold(s);
}

static float
plain_dot_f32(const void *a, const void *b, size_t n)
{
	const unsigned char	*p = a, *q = b;
	float			 s[LANES] = { 0 };

	for (; n >= LANES; n -= LANES, p += 4 * LANES, q += 4 * LANES)
		tail_dot(s, p, q, LANES);
	tail_dot(s, p, q, n);
	return fold(s);
}

static void
plain_code(const void *f, float scale, int16_t *out, size_t n)
{
	const unsigned char	*p = f;
	float			 x;
	size_t			 i;

	for (i = 0; i < n; i++) {
		memcpy(&x, p + 4 * i, 4);
		x = x * scale;
		x = x + (x < 0 ? -0.5F : 0.5F);
		out[i] = (int16_t)(int32_t)x;
	}
}

static const struct vec_ops plain_ops = {
	"plain", plain_l2_i16, plain_dot_i16, plain_l2_f32, plain_dot_f32,
	plain_code
};

#ifdef VEC_X86

#define AVX2	__attribute__((target("avx2")))
#define AVX512	__attribute__((target("avx512f,avx512bw")))

AVX2 static int32_t
sum8(__m256i v)
{
	__m128i	s = _mm_add_epi32(_mm256_castsi256_si128(v),
		    _mm256_extracti128_si256(v, 1));

	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
	return _mm_cvtsi128_si32(s);
}

AVX2 static int32_t
avx2_l2_i16(const int16_t *a, const int16_t *b, size_t n)
{
	__m256i	s = _mm256_setzero_si256(), t = s, x, y;
	size_t	i;

	for (i = 0; i < n; i += 32) {
		x = _mm256_sub_epi16(
		    _mm256_loadu_si256((const __m256i *)(a + i)),
		    _mm256_loadu_si256((const __m256i *)(b + i)));
		y = _mm256_sub_epi16(
		    _mm256_loadu_si256((const __m256i *)(a + i + 16)),
		    _mm256_loadu_si256((const __m256i *)(b + i + 16)));
		s = _mm256_add_epi32(s, _mm256_madd_epi16(x, x));
		t = _mm256_add_epi32(t, _mm256_madd_epi16(y, y));
	}
	return sum8(_mm256_add_epi32(s, t));
}

AVX2 static int32_t
avx2_dot_i16(const int16_t *a, const int16_t *b, size_t n)
{
	__m256i	s = _mm256_setzero_si256();
	size_t	i;

	for (i = 0; i < n; i += 16)
		s = _mm256_add_epi32(s, _mm256_madd_epi16(
		    _mm256_loadu_si256((const __m256i *)(a + i)),
		    _mm256_loadu_si256((const __m256i *)(b + i))));
	return sum8(s);
}

AVX2 static float
avx2_f32(const unsigned char *p, const unsigned char *q, size_t n, int l2)
{
	__m256	v[4], x;
	float	s[LANES];
	int	k;

	for (k = 0; k < 4; k++)
		v[k] = _mm256_setzero_ps();
	for (; n >= LANES; n -= LANES, p += 4 * LANES, q += 4 * LANES)
		for (k = 0; k < 4; k++) {
			const __m256	a = _mm256_loadu_ps(
					    (const float *)(const void *)
					    (p + 32 * k));
			const __m256	b = _mm256_loadu_ps(
					    (const float *)(const void *)
					    (q + 32 * k));

			if (l2) {
				x = _mm256_sub_ps(a, b);
				x = _mm256_mul_ps(x, x);
			} else
				x = _mm256_mul_ps(a, b);
			v[k] = _mm256_add_ps(v[k], x);
		}
	if (n == 0) {
		/* what fold does, eight at a time */
		v[0] = _mm256_add_ps(_mm256_add_ps(v[0], v[2]),
		    _mm256_add_ps(v[1], v[3]));
		_mm256_storeu_ps(s, v[0]);
		for (k = 0; k < 4; k++)
			s[k] += s[k + 4];
		s[0] += s[2];
		s[1] += s[3];
		return s[0] + s[1];
	}
	for (k = 0; k < 4; k++)
		_mm256_storeu_ps(s + 8 * k, v[k]);
	if (l2)
		tail_l2(s, p, q, n);
	else
		tail_dot(s, p, q, n);
	return fold(s);
}

AVX2 static float
avx2_l2_f32(const void *a, const void *b, size_t n)
{
	return avx2_f32(a, b, n, 1);
}

AVX2 static float
avx2_dot_f32(const void *a, const void *b, size_t n)
{
	return avx2_f32(a, b, n, 0);
}

/* Eight floats as integers, rounded half away from zero. */
AVX2 static __m256i
whole8(const unsigned char *p, __m256 scale)
{
	const __m256	sign = _mm256_set1_ps(-0.0F), half =
			    _mm256_set1_ps(0.5F), zero = _mm256_setzero_ps();
	__m256		x, below;

	x = _mm256_mul_ps(_mm256_loadu_ps((const float *)(const void *)p),
	    scale);
	below = _mm256_and_ps(_mm256_cmp_ps(x, zero, _CMP_LT_OQ), sign);
	return _mm256_cvttps_epi32(_mm256_add_ps(x, _mm256_or_ps(half,
	    below)));
}

AVX2 static void
avx2_code(const void *f, float scale, int16_t *out, size_t n)
{
	const unsigned char	*p = f;
	const __m256		 s = _mm256_set1_ps(scale);
	size_t			 i;

	for (i = 0; i + 16 <= n; i += 16)
		_mm256_storeu_si256((__m256i *)(void *)(out + i),
		    _mm256_permute4x64_epi64(_mm256_packs_epi32(
		    whole8(p + 4 * i, s), whole8(p + 4 * i + 32, s)), 0xd8));
	plain_code(p + 4 * i, scale, out + i, n - i);
}

AVX512 static int32_t
avx512_l2_i16(const int16_t *a, const int16_t *b, size_t n)
{
	__m512i	s = _mm512_setzero_si512(), x;
	size_t	i;

	for (i = 0; i < n; i += 32) {
		x = _mm512_sub_epi16(_mm512_loadu_si512(a + i),
		    _mm512_loadu_si512(b + i));
		s = _mm512_add_epi32(s, _mm512_madd_epi16(x, x));
	}
	return _mm512_reduce_add_epi32(s);
}

AVX512 static int32_t
avx512_dot_i16(const int16_t *a, const int16_t *b, size_t n)
{
	__m512i	s = _mm512_setzero_si512();
	size_t	i;

	for (i = 0; i < n; i += 32)
		s = _mm512_add_epi32(s, _mm512_madd_epi16(
		    _mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i)));
	return _mm512_reduce_add_epi32(s);
}

static const struct vec_ops avx2_ops = {
	"avx2", avx2_l2_i16, avx2_dot_i16, avx2_l2_f32, avx2_dot_f32,
	avx2_code
};
/* floats are for the odd case: 256 bits will do */
static const struct vec_ops avx512_ops = {
	"avx512", avx512_l2_i16, avx512_dot_i16, avx2_l2_f32,
	avx2_dot_f32, avx2_code
};

#endif

const struct vec_ops *
vec_ops(int plain)
{
#ifdef VEC_X86
	if (!plain) {
		__builtin_cpu_init();
		if (__builtin_cpu_supports("avx512bw"))
			return &avx512_ops;
		if (__builtin_cpu_supports("avx2"))
			return &avx2_ops;
	}
#else
	(void)plain;
#endif
	return &plain_ops;
}
