/* What AVX-512 with VBMI and VBMI2 does by hand: rows out of packed values with one instruction, and values
 * written as whole aligned lines wherever the column begins. Included by kernels_template.h in the one file
 * that is compiled for such processors. */
#pragma once

/* The bits of a word in the opposite order: masks count from the lowest, null bits from the highest. */
static inline guint64 reverse_bits(guint64 word) {
  word = (word >> 1 & G_GUINT64_CONSTANT(0x5555555555555555))
         | (word & G_GUINT64_CONSTANT(0x5555555555555555)) << 1;
  word = (word >> 2 & G_GUINT64_CONSTANT(0x3333333333333333))
         | (word & G_GUINT64_CONSTANT(0x3333333333333333)) << 2;
  word = (word >> 4 & G_GUINT64_CONSTANT(0x0f0f0f0f0f0f0f0f))
         | (word & G_GUINT64_CONSTANT(0x0f0f0f0f0f0f0f0f)) << 4;
  return __builtin_bswap64(word);
}

/* --- rows out of packed values: BYTES an element, LANES of them a vector --- */

#define EXPAND(BYTES, T, LANES, MASK, SET, EXPAND_INTO)                                                      \
  static void expand_##BYTES(void *restrict to, const void *restrict packed, const guint64 *nulls, gsize n,  \
                             guint64 fill) {                                                                 \
    T *restrict out = to;                                                                                    \
    const T *restrict in = packed;                                                                           \
    const __m512i fills = SET;                                                                               \
    gsize used = 0;                                                                                          \
    gsize i = 0;                                                                                             \
    while (i + 64 <= n) {                                                                                    \
      guint64 valid = ~reverse_bits(nulls[i >> 6]);                                                          \
      for (guint k = 0; k < 64; k += LANES, i += LANES) {                                                    \
        MASK mask = (MASK)(valid >> k);                                                                      \
        _mm512_storeu_si512(out + i, EXPAND_INTO(fills, mask, _mm512_loadu_si512(in + used)));               \
        used += (gsize)__builtin_popcountll(mask);                                                           \
      }                                                                                                      \
    }                                                                                                        \
    EXPAND_ROWS(T, out, in, used, nulls, i, n, fill)                                                         \
  }
EXPAND(8, M_u64, 8, __mmask8, _mm512_set1_epi64((gint64)fill), _mm512_mask_expand_epi64)
EXPAND(4, M_u32, 16, __mmask16, _mm512_set1_epi32((gint32)(guint32)fill), _mm512_mask_expand_epi32)

/* --- values as whole lines --- */

static inline __m512i swap_64(__m512d values) {
  const __m512i order =
      _mm512_broadcast_i32x4(_mm_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8));
  const __m512i nan = _mm512_set1_epi64(G_GINT64_CONSTANT(0x7ff8000000000000));
  __mmask8 is_nan = _mm512_cmp_pd_mask(values, values, _CMP_UNORD_Q);
  return _mm512_shuffle_epi8(_mm512_mask_mov_epi64(_mm512_castpd_si512(values), is_nan, nan), order);
}
static inline __m512i swap_32(__m512 values) {
  const __m512i order =
      _mm512_broadcast_i32x4(_mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12));
  const __m512i nan = _mm512_set1_epi32(0x7fc00000);
  __mmask16 is_nan = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
  return _mm512_shuffle_epi8(_mm512_mask_mov_epi32(_mm512_castps_si512(values), is_nan, nan), order);
}

/* 64 bytes of column values. */
static inline __m512i line_f64_f64(const gdouble *from) {
  return swap_64(_mm512_loadu_pd(from));
}
static inline __m512i line_f32_f64(const gfloat *from) {
  return swap_64(_mm512_cvtps_pd(_mm256_loadu_ps(from)));
}
static inline __m512i line_f32_f32(const gfloat *from) {
  return swap_32(_mm512_loadu_ps(from));
}
static inline __m512i line_f64_f32(const gdouble *from) {
  __m512 low = _mm512_castps256_ps512(_mm512_cvtpd_ps(_mm512_loadu_pd(from)));
  return swap_32(_mm512_insertf32x8(low, _mm512_cvtpd_ps(_mm512_loadu_pd(from + 8)), 1));
}

/* Lines of the column and vectors of values lie apart by the column's misalignment: each line is put together
 * from two neighbours. Columns that no cache holds are written past it. */
#define ENCODE_LINES(S, D, T, PER_LINE)                                                                      \
  static void lines_##S##_##D(guint8 *restrict to, const void *restrict from, gsize n) {                     \
    const T *restrict in = from;                                                                             \
    const gsize lead = -(guintptr)to & 63;                                                                   \
    if (n < 4 * (gsize)PER_LINE) {                                                                           \
      encode_##S##_##D(to, from, n);                                                                         \
      return;                                                                                                \
    }                                                                                                        \
    const gboolean stream = n / PER_LINE >= AIN_TS_STREAM_BYTES / 64;                                        \
    const __m512i index = _mm512_add_epi8(_mm512_loadu_si512(byte_numbers), _mm512_set1_epi8((gint8)lead));  \
    __m512i last = line_##S##_##D(in);                                                                       \
    _mm512_mask_storeu_epi8(to, ((__mmask64)1 << lead) - 1, last);                                           \
    guint8 *line = to + lead;                                                                                \
    gsize i = PER_LINE;                                                                                      \
    for (; n - i >= PER_LINE; i += PER_LINE, line += 64) {                                                   \
      __m512i next = line_##S##_##D(in + i);                                                                 \
      __m512i whole = _mm512_permutex2var_epi8(last, index, next);                                           \
      if (stream) {                                                                                          \
        _mm512_stream_si512((__m512i *)(void *)line, whole);                                                 \
      } else {                                                                                               \
        _mm512_store_si512((__m512i *)(void *)line, whole);                                                  \
      }                                                                                                      \
      last = next;                                                                                           \
    }                                                                                                        \
    if (stream) {                                                                                            \
      _mm_sfence();                                                                                          \
    }                                                                                                        \
    /* What is left of the last vector, then the values behind it. */                                        \
    _mm512_mask_storeu_epi8(line, ~(__mmask64)0 >> lead, _mm512_permutex2var_epi8(last, index, last));       \
    encode_##S##_##D(to + 64 / PER_LINE * i, in + i, n - i);                                                 \
  }

static const guint8 byte_numbers[64] = {
  0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
  22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
  44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63,
};
ENCODE_LINES(f64, f64, gdouble, 8)
ENCODE_LINES(f32, f64, gfloat, 8)
ENCODE_LINES(f32, f32, gfloat, 16)
ENCODE_LINES(f64, f32, gdouble, 16)
