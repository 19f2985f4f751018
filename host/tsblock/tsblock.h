/* TsBlock, the column format of every data payload (its bytes: tests/unit/tsblock/wire.c).
 *
 * Reading is two steps: ain_tsblock_parse() checks every length once and keeps borrowed slices of the input;
 * ain_tsblock_to_tensor() then does the one pass: byte order, widening or narrowing, nulls, dictionary and
 * run lengths, interleaving. Writing is one pass too. No function allocates in proportion to rows. Any
 * thread; a parsed block may be read by several threads at once. */
#pragma once
#include <glib.h>

/* Type bytes of the format. */
typedef enum {
  AIN_TS_BOOLEAN = 0,
  AIN_TS_INT32 = 1,
  AIN_TS_INT64 = 2,
  AIN_TS_FLOAT = 3,
  AIN_TS_DOUBLE = 4,
  AIN_TS_TEXT = 5,
  AIN_TS_VECTOR = 6,
  AIN_TS_UNKNOWN = 7,
  AIN_TS_TIMESTAMP = 8,
  AIN_TS_DATE = 9,
  AIN_TS_BLOB = 10,
  AIN_TS_STRING = 11,
} AinTsType;

/* Element types of a tensor, native byte order. The numbers travel to the worker: do not renumber. */
typedef enum {
  AIN_DTYPE_BOOL = 0,
  AIN_DTYPE_INT32 = 1,
  AIN_DTYPE_INT64 = 2,
  AIN_DTYPE_FLOAT32 = 3,
  AIN_DTYPE_FLOAT64 = 4,
} AinDType;
#define AIN_DTYPE_COUNT 5
gsize ain_dtype_size(AinDType dtype);       /* bytes of one element */
const char *ain_dtype_name(AinDType dtype); /* "float32", ...; static */

/* What a null becomes. Integer and bool tensors know no NaN: INTERPOLATE gives the nearest earlier value
 * there. */
typedef enum {
  AIN_NULLS_ZERO,        /* 0, as DataNodes themselves do for CALL INFERENCE */
  AIN_NULLS_ERROR,       /* INVALID, naming column and row */
  AIN_NULLS_INTERPOLATE, /* linear between neighbours, ends repeated; an all-null column is an error */
  AIN_NULLS_NAN,         /* NaN; for float tensors only */
} AinNullPolicy;

typedef struct {
  guint8 type;          /* AinTsType as declared in the header */
  guint8 encoding;      /* 0..3 of the innermost data */
  gboolean constant;    /* run length: one stored row stands for all */
  gboolean dictionary;  /* ids select stored rows */
  guint32 stored_rows;  /* rows present in nulls/values: n_rows, 1, or the dictionary's size */
  const guint8 *nulls;  /* bitmap of stored_rows bits, MSB first, or NULL; borrowed */
  guint32 n_nulls;      /* among the stored rows */
  const guint8 *values; /* borrowed */
  gsize values_size;
  const guint8 *ids; /* n_rows big-endian int32, each checked; borrowed; NULL unless dictionary */
} AinTsColumn;

#define AIN_TSBLOCK_INLINE_COLUMNS 8
typedef struct {
  guint32 n_columns; /* value columns */
  guint32 n_rows;
  AinTsColumn time;
  AinTsColumn *columns; /* points to inline_columns or to memory of its own */
  AinTsColumn inline_columns[AIN_TSBLOCK_INLINE_COLUMNS];
} AinTsBlock;

/* Limits of a block from outside. */
#define AIN_TSBLOCK_MAX_COLUMNS 4096
#define AIN_TSBLOCK_MAX_ROWS (1U << 28)

/* Fills *block with slices of data (borrowed; data must outlive the block). Every byte must be accounted for:
 * trailing bytes are an error. Errors: MALFORMED, TOO_LARGE; each names the field and the byte offset.
 * After a failure *block needs no clear. The struct must not be copied by assignment. */
gboolean ain_tsblock_parse(AinTsBlock *block, const guint8 *data, gsize size, GError **error);
void ain_tsblock_clear(AinTsBlock *block); /* frees what parse allocated; the struct is the caller's */
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AinTsBlock, ain_tsblock_clear)

/* Writes rows [first_row, first_row + n_rows) of the value columns into dst as a C-contiguous array
 * [n_rows][n_columns] of dtype. order: n_order indexes of value columns in tensor order, or NULL for all in
 * block order (n_order is then not looked at). dst must hold n_rows * n_order * ain_dtype_size(dtype) bytes
 * and be aligned to 4 bytes. Conversions are C casts; float to integer saturates and NaN becomes 0 (in a bool
 * tensor 1, as in C). INTERPOLATE looks at the whole column, so a row does not depend on the range asked for.
 * TEXT-like columns: INVALID. Errors: INVALID (range, order, type, null policy), all found before dst is
 * touched. n_rows may be large for few bytes of input (run lengths): bound n_rows * n_order before you
 * allocate dst. */
gboolean ain_tsblock_to_tensor(const AinTsBlock *block, const guint *order, guint n_order, guint32 first_row,
                               guint32 n_rows, AinDType dtype, AinNullPolicy nulls, void *dst,
                               GError **error);

/* Size in bytes of a result block: time column of zeros (plain INT64), n_columns plain columns without nulls.
 * Returns 0 when the size would overflow or a type is not BOOLEAN, INT32, INT64, FLOAT or DOUBLE. */
gsize ain_tsblock_encoded_size(const guint8 *types, guint n_columns, guint32 n_rows);

/* Writes that block: element (row, column) of the source is at src + row * row_stride + column *
 * column_stride (bytes, may be negative or zero). dst must hold ain_tsblock_encoded_size() bytes. NaN of
 * FLOAT and DOUBLE are canonicalised as Java does. */
void ain_tsblock_from_tensor(guint8 *dst, const guint8 *types, guint n_columns, guint32 n_rows,
                             AinDType src_dtype, const void *src, gssize row_stride, gssize column_stride);
