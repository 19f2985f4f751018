/* The loops behind kernels.h, included once per instruction set by a file that defines KERNELS_TABLE and
 * KERNELS_NAME and is compiled for that set. Plain C that the compiler turns into vector code; only `expand`
 * is written by hand, since no compiler finds it, and for AVX-512 what kernels_vbmi.h says. */
#include "tsblock/bits.h"
#include "tsblock/kernels.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

/* Elements in memory: any alignment, any previous type. */
#define UNALIGNED __attribute__((aligned(1), may_alias))
typedef guint8 UNALIGNED M_bool;
typedef gint32 UNALIGNED M_i32;
typedef gint64 UNALIGNED M_i64;
typedef gfloat UNALIGNED M_f32;
typedef gdouble UNALIGNED M_f64;
typedef guint32 UNALIGNED M_u32;
typedef guint64 UNALIGNED M_u64;
typedef M_u32 W_i32;
typedef M_u64 W_i64;
typedef M_u32 W_f32;
typedef M_u64 W_f64;

/* --- one value --- */

static inline gint32 load_i32(guint32 wire) {
  return (gint32)__builtin_bswap32(wire);
}
static inline gint64 load_i64(guint64 wire) {
  return (gint64)__builtin_bswap64(wire);
}
static inline gfloat load_f32(guint32 wire) {
  guint32 bits = __builtin_bswap32(wire);
  gfloat value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
static inline gdouble load_f64(guint64 wire) {
  guint64 bits = __builtin_bswap64(wire);
  gdouble value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
static inline guint32 store_i32(gint32 value) {
  return __builtin_bswap32((guint32)value);
}
static inline guint64 store_i64(gint64 value) {
  return __builtin_bswap64((guint64)value);
}
/* Java knows one NaN. */
static inline guint32 store_f32(gfloat value) {
  guint32 bits;
  memcpy(&bits, &value, sizeof bits);
  return __builtin_bswap32(value == value ? bits : 0x7fc00000U);
}
static inline guint64 store_f64(gdouble value) {
  guint64 bits;
  memcpy(&bits, &value, sizeof bits);
  return __builtin_bswap64(value == value ? bits : G_GUINT64_CONSTANT(0x7ff8000000000000));
}

/* Both bounds are exact in a double, and a float is one. Clamped before the cast, so that it vectorises. */
static inline gint32 saturate_i32(gdouble value) {
  gdouble clamped = value > -2147483648.0 ? value : -2147483648.0;
  clamped = clamped < 2147483647.0 ? clamped : 2147483647.0;
  return value == value ? (gint32)clamped : 0;
}
/* The upper bound of int64 is no double: compared with the power of two above it. */
static inline gint64 saturate_i64(gdouble value) {
  if (value >= -9223372036854775808.0 && value < 9223372036854775808.0) {
    return (gint64)value;
  }
  return value > 0 ? G_MAXINT64 : value < 0 ? G_MININT64 : 0;
}

#define INTEGER_bool(v) ((guint8)((v) != 0))
#define INTEGER_i32(v) ((gint32)(v))
#define INTEGER_i64(v) ((gint64)(v))
#define INTEGER_f32(v) ((gfloat)(v))
#define INTEGER_f64(v) ((gdouble)(v))
#define REAL_bool(v) ((guint8)((v) != 0)) /* a NaN is true, as in C */
#define REAL_i32(v) saturate_i32((gdouble)(v))
#define REAL_i64(v) saturate_i64((gdouble)(v))
#define REAL_f32(v) ((gfloat)(v))
#define REAL_f64(v) ((gdouble)(v))

#define FOR_EACH_DTYPE(X, ...)                                                                               \
  X(bool, __VA_ARGS__) X(i32, __VA_ARGS__) X(i64, __VA_ARGS__) X(f32, __VA_ARGS__) X(f64, __VA_ARGS__)

/* --- column values to elements --- */

#define DECODE(D, S, KIND)                                                                                   \
  static void decode_##S##_##D(void *restrict to, const guint8 *restrict values, guint64 first, gsize n) {   \
    M_##D *restrict out = to;                                                                                \
    const W_##S *restrict in = (const W_##S *)(const void *)values + first;                                  \
    for (gsize i = 0; i < n; i++) {                                                                          \
      out[i] = KIND##_##D(load_##S(in[i]));                                                                  \
    }                                                                                                        \
  }
FOR_EACH_DTYPE(DECODE, i32, INTEGER)
FOR_EACH_DTYPE(DECODE, i64, INTEGER)
FOR_EACH_DTYPE(DECODE, f32, REAL)
FOR_EACH_DTYPE(DECODE, f64, REAL)

/* Eight bits to eight bytes of 0 or 1, the first row in the lowest byte. */
static inline guint64 spread_byte(guint8 bits) {
  guint64 one_each =
      ((guint64)bits * G_GUINT64_CONSTANT(0x0101010101010101)) & G_GUINT64_CONSTANT(0x0102040810204080);
  return ((one_each + G_GUINT64_CONSTANT(0x7f7f7f7f7f7f7f7f)) >> 7) & G_GUINT64_CONSTANT(0x0101010101010101);
}

static void decode_bool_bool(void *restrict to, const guint8 *restrict values, guint64 first, gsize n) {
  guint8 *restrict out = to;
  gsize i = 0;
  for (; i < n && ((first + i) & 7) != 0; i++) {
    out[i] = (guint8)bits_get(values, first + i);
  }
  const guint8 *in = values + ((first + i) >> 3);
  for (; n - i >= 8; i += 8) {
    *(M_u64 *)(void *)(out + i) = spread_byte(*in++);
  }
  for (; i < n; i++) {
    out[i] = (guint8)bits_get(values, first + i);
  }
}

#define DECODE_BITS(D, ...)                                                                                  \
  static void decode_bool_##D(void *restrict to, const guint8 *restrict values, guint64 first, gsize n) {    \
    M_##D *restrict out = to;                                                                                \
    guint8 bytes[AIN_TS_CHUNK_ROWS];                                                                         \
    for (gsize done = 0; done < n;) {                                                                        \
      gsize part = MIN(n - done, sizeof bytes);                                                              \
      decode_bool_bool(bytes, values, first + done, part);                                                   \
      for (gsize i = 0; i < part; i++) {                                                                     \
        out[done + i] = INTEGER_##D(bytes[i]);                                                               \
      }                                                                                                      \
      done += part;                                                                                          \
    }                                                                                                        \
  }
DECODE_BITS(i32)
DECODE_BITS(i64)
DECODE_BITS(f32)
DECODE_BITS(f64)

/* --- elements to column values --- */

#define ENCODE(D, S, KIND)                                                                                   \
  static void encode_##S##_##D(guint8 *restrict to, const void *restrict from, gsize n) {                    \
    W_##D *restrict out = (W_##D *)(void *)to;                                                               \
    const M_##S *restrict in = from;                                                                         \
    for (gsize i = 0; i < n; i++) {                                                                          \
      out[i] = store_##D(KIND##_##D(in[i]));                                                                 \
    }                                                                                                        \
  }
#define ENCODE_FROM(S, KIND)                                                                                 \
  ENCODE(i32, S, KIND) ENCODE(i64, S, KIND) ENCODE(f32, S, KIND) ENCODE(f64, S, KIND)
ENCODE_FROM(bool, INTEGER)
ENCODE_FROM(i32, INTEGER)
ENCODE_FROM(i64, INTEGER)
ENCODE_FROM(f32, REAL)
ENCODE_FROM(f64, REAL)

/* Eight bytes of 0 or 1 to eight bits, the lowest byte first. */
static inline guint8 collect_byte(guint64 bytes) {
  return (guint8)((bytes * G_GUINT64_CONSTANT(0x8040201008040201)) >> 56);
}

#define ENCODE_BITS(S, ...)                                                                                  \
  static void encode_##S##_bool(guint8 *restrict to, const void *restrict from, gsize n) {                   \
    const M_##S *restrict in = from;                                                                         \
    guint8 bytes[AIN_TS_CHUNK_ROWS];                                                                         \
    for (gsize done = 0; done < n; done += sizeof bytes) {                                                   \
      gsize part = MIN(n - done, sizeof bytes);                                                              \
      memset(bytes + (part & ~(gsize)7), 0, part < sizeof bytes ? 8 : 0);                                    \
      for (gsize i = 0; i < part; i++) {                                                                     \
        bytes[i] = (guint8)(in[done + i] != 0);                                                              \
      }                                                                                                      \
      for (gsize i = 0; i < part; i += 8) {                                                                  \
        *to++ = collect_byte(*(const M_u64 *)(const void *)(bytes + i));                                     \
      }                                                                                                      \
    }                                                                                                        \
  }
FOR_EACH_DTYPE(ENCODE_BITS)

/* --- rows out of packed values --- */

#define EXPAND_ROWS(T, out, in, used, nulls, i, n, fill)                                                     \
  for (; (i) < (n); (i)++) {                                                                                 \
    guint64 is_null = ((nulls)[(i) >> 6] >> (63 - ((i)&63))) & 1;                                            \
    (out)[i] = is_null ? (T)(fill) : (in)[used];                                                             \
    (used) += 1 - is_null;                                                                                   \
  }

#ifdef __AVX512VBMI2__
#include "tsblock/kernels_vbmi.h"
#elif defined __AVX2__
/* For four rows (n0 n1 n2 n3, 1 = null): which packed element each takes, as pairs of 32-bit lanes, and how
 * many they take together. */
#define STEP_0(n) (1 - (n))
#define PAIR(k) 2 * (k), 2 * (k) + 1
#define TAKE(a, b, c, d)                                                                                     \
  PAIR(0), PAIR(STEP_0(a)), PAIR(STEP_0(a) + STEP_0(b)), PAIR(STEP_0(a) + STEP_0(b) + STEP_0(c))
#define TAKE_2(a, b)                                                                                         \
  { TAKE(a, b, 0, 0) }, { TAKE(a, b, 0, 1) }, { TAKE(a, b, 1, 0) }, {                                        \
    TAKE(a, b, 1, 1)                                                                                         \
  }
static const gint32 take[16][8]
    __attribute__((aligned(32))) = { TAKE_2(0, 0), TAKE_2(0, 1), TAKE_2(1, 0), TAKE_2(1, 1) };
static const guint8 taken[16] = { 4, 3, 3, 2, 3, 2, 2, 1, 3, 2, 2, 1, 2, 1, 1, 0 };

static void expand_8(void *restrict to, const void *restrict packed, const guint64 *nulls, gsize n,
                     guint64 fill) {
  M_u64 *restrict out = to;
  const M_u64 *restrict in = packed;
  const __m256i fills = _mm256_set1_epi64x((gint64)fill);
  const __m256i lanes = _mm256_setr_epi64x(60, 61, 62, 63);
  gsize used = 0;
  gsize i = 0;
  for (; i + 4 <= n; i += 4) {
    guint four = (guint)(nulls[i >> 6] >> (60 - (i & 63))) & 15;
    __m256i values = _mm256_loadu_si256((const __m256i *)(const void *)(in + used));
    values =
        _mm256_permutevar8x32_epi32(values, _mm256_load_si256((const __m256i *)(const void *)take[four]));
    /* Each lane's null bit to its sign. */
    __m256i is_null = _mm256_sllv_epi64(_mm256_set1_epi64x((gint64)((guint64)four)), lanes);
    values = _mm256_castpd_si256(_mm256_blendv_pd(_mm256_castsi256_pd(values), _mm256_castsi256_pd(fills),
                                                  _mm256_castsi256_pd(is_null)));
    _mm256_storeu_si256((__m256i *)(void *)(out + i), values);
    used += taken[four];
  }
  EXPAND_ROWS(guint64, out, in, used, nulls, i, n, fill)
}
#else
static void expand_8(void *restrict to, const void *restrict packed, const guint64 *nulls, gsize n,
                     guint64 fill) {
  M_u64 *restrict out = to;
  const M_u64 *restrict in = packed;
  gsize used = 0;
  gsize i = 0;
  EXPAND_ROWS(guint64, out, in, used, nulls, i, n, fill)
}
#endif

#ifdef __AVX512VBMI2__ /* as above */
#elif defined __AVX2__
static void expand_4(void *restrict to, const void *restrict packed, const guint64 *nulls, gsize n,
                     guint64 fill) {
  const guint64 ones = G_GUINT64_CONSTANT(0x0101010101010101);
  M_u32 *restrict out = to;
  const M_u32 *restrict in = packed;
  const __m256i fills = _mm256_set1_epi32((gint32)(guint32)fill);
  gsize used = 0;
  gsize i = 0;
  for (; i + 8 <= n; i += 8) {
    guint8 eight = (guint8)(nulls[i >> 6] >> (56 - (i & 63)));
    guint64 is_null = spread_byte(eight);
    /* The sum of the valid rows before it is what each row takes. */
    guint64 lane = ((is_null ^ ones) * ones) << 8;
    __m256i lanes = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((gint64)lane));
    __m256i mask = _mm256_slli_epi32(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((gint64)is_null)), 31);
    __m256i values = _mm256_loadu_si256((const __m256i *)(const void *)(in + used));
    values = _mm256_permutevar8x32_epi32(values, lanes);
    values = _mm256_castps_si256(
        _mm256_blendv_ps(_mm256_castsi256_ps(values), _mm256_castsi256_ps(fills), _mm256_castsi256_ps(mask)));
    _mm256_storeu_si256((__m256i *)(void *)(out + i), values);
    used += 8U - (gsize)__builtin_popcount(eight);
  }
  EXPAND_ROWS(guint32, out, in, used, nulls, i, n, fill)
}
#else
static void expand_4(void *restrict to, const void *restrict packed, const guint64 *nulls, gsize n,
                     guint64 fill) {
  M_u32 *restrict out = to;
  const M_u32 *restrict in = packed;
  gsize used = 0;
  gsize i = 0;
  EXPAND_ROWS(guint32, out, in, used, nulls, i, n, fill)
}
#endif

static void expand_1(void *restrict to, const void *restrict packed, const guint64 *nulls, gsize n,
                     guint64 fill) {
  guint8 *restrict out = to;
  const guint8 *restrict in = packed;
  gsize used = 0;
  gsize i = 0;
  EXPAND_ROWS(guint8, out, in, used, nulls, i, n, fill)
}

/* --- columns to rows and back --- */

#define COPY_STRIDED(BYTES, T)                                                                               \
  static inline void copy_strided_##BYTES(guint8 *restrict to, gssize to_step, const guint8 *restrict from,  \
                                          gssize from_step, gsize n) {                                       \
    for (gsize i = 0; i < n; i++, to += to_step, from += from_step) {                                        \
      *(T *)(void *)to = *(const T *)(const void *)from;                                                     \
    }                                                                                                        \
  }
COPY_STRIDED(1, M_bool)
COPY_STRIDED(4, M_u32)
COPY_STRIDED(8, M_u64)

/* Squares of elements that fill one vector a line: input lines lie from_line apart, output lines to_line; the
 * next square is from_next and to_next further. */
#ifdef __SSE2__
#define SQUARE_4 4
static inline void transpose_4(guint8 *restrict to, gssize to_line, gssize to_next,
                               const guint8 *restrict from, gssize from_line, gssize from_next, gsize n) {
  for (; n > 0; n--, to += to_next, from += from_next) {
    __m128 a = _mm_loadu_ps((const gfloat *)(const void *)from);
    __m128 b = _mm_loadu_ps((const gfloat *)(const void *)(from + from_line));
    __m128 c = _mm_loadu_ps((const gfloat *)(const void *)(from + 2 * from_line));
    __m128 d = _mm_loadu_ps((const gfloat *)(const void *)(from + 3 * from_line));
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps((gfloat *)(void *)to, a);
    _mm_storeu_ps((gfloat *)(void *)(to + to_line), b);
    _mm_storeu_ps((gfloat *)(void *)(to + 2 * to_line), c);
    _mm_storeu_ps((gfloat *)(void *)(to + 3 * to_line), d);
  }
}

#define SQUARE_8 2
static inline void transpose_8(guint8 *restrict to, gssize to_line, gssize to_next,
                               const guint8 *restrict from, gssize from_line, gssize from_next, gsize n) {
  for (; n > 0; n--, to += to_next, from += from_next) {
    __m128d a = _mm_loadu_pd((const gdouble *)(const void *)from);
    __m128d b = _mm_loadu_pd((const gdouble *)(const void *)(from + from_line));
    _mm_storeu_pd((gdouble *)(void *)to, _mm_unpacklo_pd(a, b));
    _mm_storeu_pd((gdouble *)(void *)(to + to_line), _mm_unpackhi_pd(a, b));
  }
}
#else /* squares of one element: the strided copy does all */
#define SQUARE_4 1
#define SQUARE_8 1
#define transpose_4(to, to_line, to_next, from, from_line, from_next, n) ((void)0)
#define transpose_8(to, to_line, to_next, from, from_line, from_next, n) ((void)0)
#endif
#define SQUARE_1 1
#define transpose_1(to, to_line, to_next, from, from_line, from_next, n) ((void)0)

/* Two columns side by side: the compiler does better than squares. */
#define PAIR_COLUMNS(BYTES, T)                                                                               \
  static void interleave_pair_##BYTES(guint8 *restrict to, const guint8 *restrict columns,                   \
                                      gsize column_bytes, gsize n) {                                         \
    T *restrict rows = (T *)(void *)to;                                                                      \
    const T *restrict a = (const T *)(const void *)columns;                                                  \
    const T *restrict b = (const T *)(const void *)(columns + column_bytes);                                 \
    for (gsize i = 0; i < n; i++) {                                                                          \
      rows[2 * i] = a[i];                                                                                    \
      rows[2 * i + 1] = b[i];                                                                                \
    }                                                                                                        \
  }                                                                                                          \
  static void deinterleave_pair_##BYTES(guint8 *restrict columns, gsize column_bytes,                        \
                                        const guint8 *restrict from, gsize n) {                              \
    const T *restrict rows = (const T *)(const void *)from;                                                  \
    T *restrict a = (T *)(void *)columns;                                                                    \
    T *restrict b = (T *)(void *)(columns + column_bytes);                                                   \
    for (gsize i = 0; i < n; i++) {                                                                          \
      a[i] = rows[2 * i];                                                                                    \
      b[i] = rows[2 * i + 1];                                                                                \
    }                                                                                                        \
  }
PAIR_COLUMNS(1, M_bool)
PAIR_COLUMNS(4, M_u32)
PAIR_COLUMNS(8, M_u64)

/* Whole squares first, then the rows below them and the columns beside them. `rows` and `row`: the
 * interleaved side and its line distance; `columns` and `column`: the other. */
#define INTERLEAVE(BYTES)                                                                                    \
  static void interleave_##BYTES(guint8 *restrict rows, gsize row_bytes, const guint8 *restrict columns,     \
                                 gsize column_bytes, guint n_columns, gsize n) {                             \
    const gssize size = BYTES;                                                                               \
    const gssize square = SQUARE_##BYTES;                                                                    \
    const gssize row = (gssize)row_bytes;                                                                    \
    const gssize column = (gssize)column_bytes;                                                              \
    const gssize done = square > 1 ? (gssize)n / square * square : 0;                                        \
    gssize c = 0;                                                                                            \
    if (n_columns == 2 && row == 2 * size) {                                                                 \
      interleave_pair_##BYTES(rows, columns, column_bytes, n);                                               \
      return;                                                                                                \
    }                                                                                                        \
    for (; done > 0 && c + square <= (gssize)n_columns; c += square) {                                       \
      transpose_##BYTES(rows + c * size, row, square * row, columns + c * column, column, square * size,     \
                        (gsize)(done / square));                                                             \
      for (gssize k = c; k < c + square; k++) {                                                              \
        copy_strided_##BYTES(rows + k * size + done * row, row, columns + k * column + done * size, size,    \
                             n - (gsize)done);                                                               \
      }                                                                                                      \
    }                                                                                                        \
    for (; c < (gssize)n_columns; c++) {                                                                     \
      copy_strided_##BYTES(rows + c * size, row, columns + c * column, size, n);                             \
    }                                                                                                        \
  }
INTERLEAVE(1)
INTERLEAVE(4)
INTERLEAVE(8)

#define DEINTERLEAVE(BYTES)                                                                                  \
  static void deinterleave_##BYTES(guint8 *restrict columns, gsize column_bytes,                             \
                                   const guint8 *restrict rows, gssize row, guint n_columns, gsize n) {      \
    const gssize size = BYTES;                                                                               \
    const gssize square = SQUARE_##BYTES;                                                                    \
    const gssize column = (gssize)column_bytes;                                                              \
    const gssize done = square > 1 ? (gssize)n / square * square : 0;                                        \
    gssize c = 0;                                                                                            \
    if (n_columns == 2 && row == 2 * size) {                                                                 \
      deinterleave_pair_##BYTES(columns, column_bytes, rows, n);                                             \
      return;                                                                                                \
    }                                                                                                        \
    for (; done > 0 && c + square <= (gssize)n_columns; c += square) {                                       \
      transpose_##BYTES(columns + c * column, column, square * size, rows + c * size, row, square * row,     \
                        (gsize)(done / square));                                                             \
      for (gssize k = c; k < c + square; k++) {                                                              \
        copy_strided_##BYTES(columns + k * column + done * size, size, rows + k * size + done * row, row,    \
                             n - (gsize)done);                                                               \
      }                                                                                                      \
    }                                                                                                        \
    for (; c < (gssize)n_columns; c++) {                                                                     \
      copy_strided_##BYTES(columns + c * column, size, rows + c * size, row, n);                             \
    }                                                                                                        \
  }
DEINTERLEAVE(1)
DEINTERLEAVE(4)
DEINTERLEAVE(8)

/* --- past the caches --- */

#ifdef __SSE2__
static void stream_zeros(guint8 *to, gsize n) {
  gsize head = MIN(n, -(guintptr)to & 63); /* whole cache lines only: mixed ones cost more than they save */
  memset(to, 0, head);
  gsize i = head;
  for (; n - i >= 64; i += 64) {
    for (gsize k = i; k < i + 64; k += 16) {
      _mm_stream_si128((__m128i *)(void *)(to + k), _mm_setzero_si128());
    }
  }
  _mm_sfence();
  memset(to + i, 0, n - i);
}
#else
static void stream_zeros(guint8 *to, gsize n) {
  memset(to, 0, n);
}
#endif

static guint64 count_bits(const guint8 *bits, gsize n_bytes) {
  guint64 count = 0;
  gsize i = 0;
  for (; n_bytes - i >= 8; i += 8) {
    count += (guint64)__builtin_popcountll(*(const M_u64 *)(const void *)(bits + i));
  }
  for (; i < n_bytes; i++) {
    count += (guint64)__builtin_popcount(bits[i]);
  }
  return count;
}

#define DECODE_ROW(S)                                                                                        \
  { decode_##S##_bool, decode_##S##_i32, decode_##S##_i64, decode_##S##_f32, decode_##S##_f64 }
#ifdef __AVX512VBMI2__
#define ENCODE_REALS(S) lines_##S##_f32, lines_##S##_f64
#else
#define ENCODE_REALS(S) encode_##S##_f32, encode_##S##_f64
#endif
#define ENCODE_ROW(S)                                                                                        \
  { encode_##S##_bool, encode_##S##_i32, encode_##S##_i64, encode_##S##_f32, encode_##S##_f64 }
#define ENCODE_REAL_ROW(S)                                                                                   \
  { encode_##S##_bool, encode_##S##_i32, encode_##S##_i64, ENCODE_REALS(S) }
const AinTsKernels KERNELS_TABLE = {
  .name = KERNELS_NAME,
  .decode = { DECODE_ROW(bool), DECODE_ROW(i32), DECODE_ROW(i64), DECODE_ROW(f32), DECODE_ROW(f64) },
  .encode = { ENCODE_ROW(bool), ENCODE_ROW(i32), ENCODE_ROW(i64), ENCODE_REAL_ROW(f32),
              ENCODE_REAL_ROW(f64) },
  .expand = { expand_1, NULL, expand_4, expand_8 },
  .interleave = { interleave_1, NULL, interleave_4, interleave_8 },
  .deinterleave = { deinterleave_1, NULL, deinterleave_4, deinterleave_8 },
  .stream_zeros = stream_zeros,
  .count_bits = count_bits,
};
