/* The checked reading of a TsBlock: every length is compared with what is left before anything is used. */
#include "tsblock/bits.h"
#include "tsblock/kernels.h"

#include "base/error.h"

enum {
  ENCODING_BYTE_ARRAY,
  ENCODING_INT32_ARRAY,
  ENCODING_INT64_ARRAY,
  ENCODING_BINARY_ARRAY,
  ENCODING_RLE,
  ENCODING_DICTIONARY
};

/* What is being read, for the sentences: the header, the time column or a value column. */
#define AT_HEADER (-2)
#define AT_TIME (-1)

typedef struct {
  const guint8 *data;
  gsize size;
  gsize at;
  gint column; /* AT_HEADER, AT_TIME or the index of a value column */
  guint32 n_columns;
  guint8 type; /* declared type of that column */
  GError **error;
} Reader;

static char *describe_place(const Reader *reader) {
  switch (reader->column) {
  case AT_HEADER:
    return g_strdup("header");
  case AT_TIME:
    return g_strdup("time column");
  default:
    return g_strdup_printf("value column %d of %u (%s)", reader->column + 1, reader->n_columns,
                           ain_tsblock_type_name(reader->type));
  }
}

/* Always FALSE. `at`: offset of the byte to name. */
static gboolean G_GNUC_PRINTF(4, 5)
    refuse(const Reader *reader, AinErrorCode code, gsize at, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  g_autofree char *text = g_strdup_vprintf(format, arguments);
  va_end(arguments);
  g_autofree char *place = describe_place(reader);
  g_set_error(reader->error, AIN_ERROR, (int)code, "TsBlock, %s, byte %" G_GSIZE_FORMAT ": %s", place, at,
              text);
  return FALSE;
}

/* The next bytes, or NULL with the error set. */
static const guint8 *take(Reader *reader, guint64 size, const char *field) {
  gsize left = reader->size - reader->at;
  if (size > left) {
    refuse(reader, AIN_ERROR_MALFORMED, reader->at,
           "the block ends in the %s, %" G_GUINT64_FORMAT " bytes are needed and %" G_GSIZE_FORMAT
           " are left",
           field, size, left);
    return NULL;
  }
  const guint8 *bytes = reader->data + reader->at;
  reader->at += (gsize)size;
  return bytes;
}

static gint32 read_i32(const guint8 *from) {
  guint32 wire;
  memcpy(&wire, from, sizeof wire);
  return (gint32)__builtin_bswap32(wire);
}

/* An int32 between 0 and max. */
static gboolean take_count(Reader *reader, guint32 max, const char *field, guint32 *out) {
  gsize at = reader->at;
  const guint8 *bytes = take(reader, sizeof(gint32), field);
  if (bytes == NULL) {
    return FALSE;
  }
  gint32 value = read_i32(bytes);
  if (value < 0) {
    return refuse(reader, AIN_ERROR_MALFORMED, at, "the %s is negative (%d)", field, value);
  }
  if ((guint32)value > max) {
    return refuse(reader, AIN_ERROR_TOO_LARGE, at, "the %s is %d, at most %u is accepted", field, value, max);
  }
  *out = (guint32)value;
  return TRUE;
}

/* The flag and, where it says so, the bitmap of the null rows. */
static gboolean take_nulls(Reader *reader, AinTsColumn *column) {
  gsize at = reader->at;
  const guint8 *flag = take(reader, 1, "null flag");
  if (flag == NULL) {
    return FALSE;
  }
  if (*flag > 1) {
    return refuse(reader, AIN_ERROR_MALFORMED, at, "the null flag is %u, not 0 or 1", *flag);
  }
  if (*flag == 0) {
    return TRUE;
  }
  guint32 rows = column->stored_rows;
  const guint8 *bits = take(reader, ((guint64)rows + 7) / 8, "null bitmap");
  if (bits == NULL) {
    return FALSE;
  }
  guint64 nulls = ain_tsblock_kernels()->count_bits(bits, rows / 8);
  for (guint64 row = rows & ~7U; row < rows; row++) {
    nulls += bits_get(bits, row) ? 1 : 0;
  }
  column->n_nulls = (guint32)nulls;
  column->nulls = nulls > 0 ? bits : NULL;
  return TRUE;
}

static gboolean take_strings(Reader *reader, AinTsColumn *column) {
  column->values = reader->data + reader->at;
  gsize start = reader->at;
  for (guint32 left = column->stored_rows - column->n_nulls; left > 0; left--) {
    guint32 length = 0;
    if (!take_count(reader, G_MAXINT32, "length of a text value", &length)
        || take(reader, length, "text value") == NULL) {
      return FALSE;
    }
  }
  column->values_size = reader->at - start;
  return TRUE;
}

/* A column of encoding 0 to 3 with column->stored_rows rows. */
static gboolean take_array(Reader *reader, AinTsColumn *column) {
  if (!take_nulls(reader, column)) {
    return FALSE;
  }
  guint64 present = column->stored_rows - column->n_nulls;
  guint64 size;
  switch (column->encoding) {
  case ENCODING_BYTE_ARRAY:
    size = ((guint64)column->stored_rows + 7) / 8; /* here null rows keep their bit */
    break;
  case ENCODING_INT32_ARRAY:
    size = present * 4;
    break;
  case ENCODING_INT64_ARRAY:
    size = present * 8;
    break;
  default:
    return take_strings(reader, column);
  }
  column->values_size = (gsize)size;
  column->values = take(reader, size, "values");
  return column->values != NULL;
}

/* A reader that is more tolerant than the server's: logical types beside the physical ones it writes. */
static gboolean pair_is_known(guint8 encoding, guint8 type) {
  static const guint16 types_of[] = {
    [ENCODING_BYTE_ARRAY] = 1U << AIN_TS_BOOLEAN,
    [ENCODING_INT32_ARRAY] = 1U << AIN_TS_INT32 | 1U << AIN_TS_FLOAT | 1U << AIN_TS_DATE,
    [ENCODING_INT64_ARRAY] = 1U << AIN_TS_INT64 | 1U << AIN_TS_DOUBLE | 1U << AIN_TS_TIMESTAMP,
    [ENCODING_BINARY_ARRAY] = 1U << AIN_TS_TEXT | 1U << AIN_TS_BLOB | 1U << AIN_TS_STRING,
  };
  return encoding < G_N_ELEMENTS(types_of) && type < 16 && ((types_of[encoding] >> type) & 1) != 0;
}

static gboolean check_pair(const Reader *reader, guint8 encoding, gsize at) {
  if (encoding > ENCODING_DICTIONARY) {
    return refuse(reader, AIN_ERROR_MALFORMED, at, "the encoding is %u, only 0 to 5 are known", encoding);
  }
  if (!pair_is_known(encoding, reader->type)) {
    return refuse(reader, AIN_ERROR_MALFORMED, at, "the encoding %u cannot carry type %u (%s)", encoding,
                  reader->type, ain_tsblock_type_name(reader->type));
  }
  return TRUE;
}

static gboolean take_inner_encoding(Reader *reader, const char *outer, guint8 *out) {
  gsize at = reader->at;
  const guint8 *byte = take(reader, 1, "inner encoding");
  if (byte == NULL) {
    return FALSE;
  }
  if (*byte == ENCODING_RLE || *byte == ENCODING_DICTIONARY) {
    return refuse(reader, AIN_ERROR_MALFORMED, at, "a %s column may not hold encoding %u again", outer,
                  *byte);
  }
  *out = *byte;
  return check_pair(reader, *byte, at);
}

static gboolean take_ids(Reader *reader, AinTsColumn *column, guint32 n_rows) {
  gsize at = reader->at;
  guint32 n_ids = 0;
  if (!take_count(reader, G_MAXINT32, "number of dictionary ids", &n_ids)) {
    return FALSE;
  }
  if (n_ids != n_rows) {
    return refuse(reader, AIN_ERROR_MALFORMED, at,
                  "the number of dictionary ids is %u, the block has %u rows", n_ids, n_rows);
  }
  at = reader->at;
  column->ids = take(reader, (guint64)n_ids * 4, "dictionary ids");
  if (column->ids == NULL) {
    return FALSE;
  }
  for (guint32 row = 0; row < n_ids; row++) {
    gint32 id = read_i32(column->ids + 4 * (gsize)row);
    if (id < 0 || (guint32)id >= column->stored_rows) {
      return refuse(reader, AIN_ERROR_MALFORMED, at + 4 * (gsize)row,
                    "the dictionary id of row %u is %d, the dictionary has %u entries", row + 1, id,
                    column->stored_rows);
    }
  }
  return TRUE;
}

/* `encoding_at`: where the header gave the encoding. */
static gboolean take_column(Reader *reader, AinTsColumn *column, guint8 encoding, gsize encoding_at,
                            guint32 n_rows) {
  *column = (AinTsColumn){ .type = reader->type, .encoding = encoding, .stored_rows = n_rows };
  switch (encoding) {
  case ENCODING_RLE:
    column->constant = TRUE;
    column->stored_rows = 1;
    return take_inner_encoding(reader, "run-length", &column->encoding) && take_array(reader, column);
  case ENCODING_DICTIONARY:
    column->dictionary = TRUE;
    return take_inner_encoding(reader, "dictionary", &column->encoding)
           && take_count(reader, AIN_TSBLOCK_MAX_ROWS, "dictionary size", &column->stored_rows)
           && take_array(reader, column) && take_ids(reader, column, n_rows);
  default:
    return check_pair(reader, encoding, encoding_at) && take_array(reader, column);
  }
}

/* Where the header's lists lie. */
typedef struct {
  const guint8 *types;
  const guint8 *encodings;
} Lists;

static gboolean take_header(Reader *reader, guint32 *n_rows, Lists *lists) {
  if (!take_count(reader, AIN_TSBLOCK_MAX_COLUMNS, "number of value columns", &reader->n_columns)) {
    return FALSE;
  }
  lists->types = take(reader, reader->n_columns, "list of types");
  if (lists->types == NULL || !take_count(reader, AIN_TSBLOCK_MAX_ROWS, "number of rows", n_rows)) {
    return FALSE;
  }
  lists->encodings = take(reader, (guint64)reader->n_columns + 1, "list of encodings");
  return lists->encodings != NULL;
}

static gboolean take_columns(Reader *reader, AinTsBlock *block, const Lists *lists) {
  gsize encodings_at = (gsize)(lists->encodings - reader->data);
  reader->column = AT_TIME;
  reader->type = AIN_TS_INT64;
  if (!take_column(reader, &block->time, lists->encodings[0], encodings_at, block->n_rows)) {
    return FALSE;
  }
  for (guint i = 0; i < block->n_columns; i++) {
    reader->column = (gint)i;
    reader->type = lists->types[i];
    if (!take_column(reader, &block->columns[i], lists->encodings[i + 1], encodings_at + i + 1,
                     block->n_rows)) {
      return FALSE;
    }
  }
  return TRUE;
}

gboolean ain_tsblock_parse(AinTsBlock *block, const guint8 *data, gsize size, GError **error) {
  Reader reader = { .data = data, .size = size, .column = AT_HEADER, .error = error };
  Lists lists;
  block->columns = block->inline_columns;
  block->n_columns = 0;
  if (!take_header(&reader, &block->n_rows, &lists)) {
    return FALSE;
  }
  block->n_columns = reader.n_columns;
  if (block->n_columns > AIN_TSBLOCK_INLINE_COLUMNS) {
    block->columns = g_new(AinTsColumn, block->n_columns); /* as many as the input has bytes of types */
  }
  if (!take_columns(&reader, block, &lists)) {
    ain_tsblock_clear(block);
    return FALSE;
  }
  if (reader.at != size) {
    ain_tsblock_clear(block);
    g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED,
                "TsBlock, end, byte %" G_GSIZE_FORMAT ": %" G_GSIZE_FORMAT
                " trailing bytes, none are allowed",
                reader.at, size - reader.at);
    return FALSE;
  }
  return TRUE;
}

void ain_tsblock_clear(AinTsBlock *block) {
  if (block->columns != block->inline_columns) {
    g_free(block->columns);
  }
  block->columns = block->inline_columns;
  block->n_columns = 0;
}
