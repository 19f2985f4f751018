#include "base/error.h"
#include "cluster/reply_check.h"
#include "session/internal.h"

/* A DataNode's blocks have 1,000 rows unless max_tsblock_line_number says otherwise. Runs and bitmaps let few
 * bytes stand for many rows, so what they may unfold to is bounded. */
#define MAX_BLOCK_ROWS (1U << 20)
#define MAX_BLOCK_CELLS (1U << 24)
#define MAX_EMPTY_PAGES 64
#define TIME_SOURCE (-1)

typedef struct {
  AinRowsColumn shown;
  char *name;
  gint32 source;    /* value column of a block, or TIME_SOURCE */
  AinSlice *stored; /* texts of the current block's stored rows; NULL: not looked for yet */
} Column;

struct AinRows {
  AinSession *session;
  char *sql;
  AinQueryLimits limits;
  gint64 query_id;
  gboolean more; /* pages on the DataNode */
  gboolean failed;
  guint empty_pages;
  GPtrArray *blocks; /* of the page */
  guint next_block;
  Column *columns;
  guint n_columns;
  guint n_sources; /* value columns that a block must have at least */
  AinTsBlock block;
  AinTsBlock view; /* the block's columns in the result's order; not to be cleared */
  guint64 rows_read;
  guint64 bytes_read;
};

/* --- columns */

static gboolean type_of_name(const char *name, AinTsType *type) {
  static const struct {
    const char *name;
    AinTsType type;
  } types[] = {
    { "BOOLEAN", AIN_TS_BOOLEAN },     { "INT32", AIN_TS_INT32 },   { "INT64", AIN_TS_INT64 },
    { "FLOAT", AIN_TS_FLOAT },         { "DOUBLE", AIN_TS_DOUBLE }, { "TEXT", AIN_TS_TEXT },
    { "TIMESTAMP", AIN_TS_TIMESTAMP }, { "DATE", AIN_TS_DATE },     { "BLOB", AIN_TS_BLOB },
    { "STRING", AIN_TS_STRING },       { "OBJECT", AIN_TS_BLOB },
  };
  for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
    if (strcmp(types[i].name, name) == 0) {
      *type = types[i].type;
      return TRUE;
    }
  }
  return FALSE;
}

static void add_column(AinRows *rows, const char *name, AinTsType type, gint32 source) {
  Column *column = &rows->columns[rows->n_columns++];
  column->name = g_strdup(name);
  column->shown = (AinRowsColumn){ column->name, type };
  column->source = source;
  rows->n_sources = MAX(rows->n_sources, (guint)(source + 1));
}

static gboolean check_header(const AinNodePage *page, guint *n_names, GError **error) {
  *n_names = page->names != NULL ? g_strv_length(page->names) : 0;
  guint n_types = page->types != NULL ? g_strv_length(page->types) : 0;
  if (*n_names == 0 && !page->has_times) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_UNSUPPORTED, "the statement has no columns to read");
    return FALSE;
  }
  if (*n_names > AIN_TSBLOCK_MAX_COLUMNS) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE, "the result has %u columns, at most %d are accepted",
                *n_names, AIN_TSBLOCK_MAX_COLUMNS);
    return FALSE;
  }
  if (n_types != *n_names || (page->sources != NULL && page->n_sources != *n_names)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED,
                "the result has %u column names, %u types and %u places of columns", *n_names, n_types,
                page->sources != NULL ? page->n_sources : *n_names);
    return FALSE;
  }
  return TRUE;
}

static gboolean take_columns(AinRows *rows, const AinNodePage *page, GError **error) {
  guint n_names;
  if (!check_header(page, &n_names, error)) {
    return FALSE;
  }
  rows->columns = g_new0(Column, n_names + 1);
  if (page->has_times) {
    add_column(rows, "Time", AIN_TS_TIMESTAMP, TIME_SOURCE);
  }
  for (guint i = 0; i < n_names; i++) {
    AinTsType type = AIN_TS_UNKNOWN;
    gint32 source = page->sources != NULL ? page->sources[i] : (gint32)i;
    if (!type_of_name(page->types[i], &type)) {
      g_autofree char *name = ain_reply_printable(page->types[i], strlen(page->types[i]));
      g_set_error(error, AIN_ERROR, AIN_ERROR_UNSUPPORTED,
                  "column %u has type \"%s\", which is not known here", i + 1, name);
      return FALSE;
    }
    if (source < TIME_SOURCE || source >= AIN_TSBLOCK_MAX_COLUMNS) {
      g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED, "column %u is said to be column %d of a block",
                  i + 1, source);
      return FALSE;
    }
    add_column(rows, page->names[i], type, source);
  }
  return TRUE;
}

/* --- pages */

static gboolean take_page(AinRows *rows, AinNodePage *page, GError **error) {
  if (page->is_legacy) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_UNSUPPORTED,
                        "the DataNode answers with rows in the form of releases before 1.0");
    return FALSE;
  }
  if (page->more && page->query_id < 0) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_MALFORMED,
                        "the DataNode has more rows but gave the query no id");
    return FALSE;
  }
  g_clear_pointer(&rows->blocks, g_ptr_array_unref);
  rows->blocks = g_steal_pointer(&page->blocks);
  rows->next_block = 0;
  rows->query_id = page->query_id;
  rows->more = page->has_result && page->more;
  return TRUE;
}

AinRows *ain_rows_new(AinSession *session, const char *sql, const AinQueryLimits *limits, AinNodePage *page,
                      GError **error) {
  AinRows *rows = g_new0(AinRows, 1);
  rows->query_id = -1;
  if (limits != NULL) {
    rows->limits = *limits;
  }
  rows->block.columns = rows->block.inline_columns;
  if (!take_page(rows, page, error) || !take_columns(rows, page, error)) {
    ain_rows_free(rows);
    return NULL;
  }
  rows->view.columns = g_new0(AinTsColumn, rows->n_columns);
  rows->view.n_columns = rows->n_columns;
  rows->sql = g_strdup(sql);
  rows->session = session;
  return rows;
}

static void forget_block(AinRows *rows) {
  ain_tsblock_clear(&rows->block);
  rows->view.n_rows = 0;
  for (guint i = 0; i < rows->n_columns; i++) {
    g_clear_pointer(&rows->columns[i].stored, g_free);
  }
}

void ain_rows_detach(AinRows *rows) {
  rows->session = NULL;
}

void ain_rows_free(AinRows *rows) {
  if (rows == NULL) {
    return;
  }
  if (rows->session != NULL) {
    ain_session_end_query(rows->session, rows->more && !rows->failed ? rows->query_id : -1);
  }
  forget_block(rows);
  for (guint i = 0; i < rows->n_columns; i++) {
    g_free(rows->columns[i].name);
  }
  g_clear_pointer(&rows->blocks, g_ptr_array_unref);
  g_free(rows->columns);
  g_free(rows->view.columns);
  g_free(rows->sql);
  g_free(rows);
}

/* --- blocks */

/* The physical types that a block may carry a logical one as. */
static gboolean carries(const AinTsColumn *column, AinTsType type) {
  switch (type) {
  case AIN_TS_BOOLEAN:
  case AIN_TS_INT32:
  case AIN_TS_FLOAT:
  case AIN_TS_DOUBLE:
    return column->type == type;
  case AIN_TS_DATE:
    return column->type == AIN_TS_INT32 || column->type == AIN_TS_DATE;
  case AIN_TS_INT64:
  case AIN_TS_TIMESTAMP:
    return column->type == AIN_TS_INT64 || column->type == AIN_TS_TIMESTAMP;
  default:
    return column->type == AIN_TS_TEXT || column->type == AIN_TS_STRING || column->type == AIN_TS_BLOB;
  }
}

static gboolean bind_columns(AinRows *rows, GError **error) {
  guint64 cells = 0;
  for (guint i = 0; i < rows->n_columns; i++) {
    const Column *column = &rows->columns[i];
    const AinTsColumn *from =
        column->source == TIME_SOURCE ? &rows->block.time : &rows->block.columns[column->source];
    if (!carries(from, column->shown.type)) {
      g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED,
                  "column %u of the result is announced as type %d and comes as type %d", i + 1,
                  (int)column->shown.type, (int)from->type);
      return FALSE;
    }
    cells += MAX(rows->block.n_rows, from->stored_rows);
    rows->view.columns[i] = *from;
  }
  if (rows->block.n_rows > MAX_BLOCK_ROWS || cells > MAX_BLOCK_CELLS) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
                "a block of the result has %u rows and %" G_GUINT64_FORMAT
                " values, at most %u and %u are accepted",
                rows->block.n_rows, cells, MAX_BLOCK_ROWS, MAX_BLOCK_CELLS);
    return FALSE;
  }
  rows->view.n_rows = rows->block.n_rows;
  return TRUE;
}

static gboolean check_limits(AinRows *rows, gsize size, GError **error) {
  rows->rows_read += rows->block.n_rows;
  rows->bytes_read += size;
  if (rows->limits.max_rows > 0 && rows->rows_read > rows->limits.max_rows) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
                "the result has more than %" G_GUINT64_FORMAT " rows; narrow the query",
                rows->limits.max_rows);
    return FALSE;
  }
  if (rows->limits.max_bytes > 0 && rows->bytes_read > rows->limits.max_bytes) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
                "the result has more than %" G_GUINT64_FORMAT " bytes; narrow the query",
                rows->limits.max_bytes);
    return FALSE;
  }
  return TRUE;
}

static gboolean open_block(AinRows *rows, const GByteArray *bytes, GError **error) {
  forget_block(rows);
  if (!ain_tsblock_parse(&rows->block, bytes->data, bytes->len, error)) {
    return FALSE;
  }
  if (rows->block.n_columns < rows->n_sources) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED,
                "a block of the result has %u columns, the result needs %u", rows->block.n_columns,
                rows->n_sources);
    return FALSE;
  }
  return bind_columns(rows, error) && check_limits(rows, bytes->len, error);
}

static gboolean next_page(AinRows *rows, GError **error) {
  g_auto(AinNodePage) page = { 0 };
  if (rows->session == NULL) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_INVALID, "the session of these rows is closed");
    return FALSE;
  }
  if (!ain_session_fetch(rows->session, rows->sql, &rows->limits, rows->query_id, &page, error)
      || !take_page(rows, &page, error)) {
    return FALSE;
  }
  rows->empty_pages = rows->blocks == NULL || rows->blocks->len == 0 ? rows->empty_pages + 1 : 0;
  if (rows->more && rows->empty_pages > MAX_EMPTY_PAGES) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED, "the DataNode sent %d pages without a row",
                MAX_EMPTY_PAGES);
    return FALSE;
  }
  return TRUE;
}

static gboolean advance(AinRows *rows, guint32 *n_rows, GError **error) {
  for (;;) {
    guint n_blocks = rows->blocks != NULL ? rows->blocks->len : 0;
    while (rows->next_block < n_blocks) {
      if (!open_block(rows, g_ptr_array_index(rows->blocks, rows->next_block++), error)) {
        return FALSE;
      }
      if (rows->block.n_rows > 0) {
        *n_rows = rows->block.n_rows;
        return TRUE;
      }
    }
    forget_block(rows);
    if (!rows->more) {
      *n_rows = 0;
      return TRUE;
    }
    if (!next_page(rows, error)) {
      return FALSE;
    }
  }
}

gboolean ain_rows_next(AinRows *rows, guint32 *n_rows, GError **error) {
  *n_rows = 0;
  if (rows->failed) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_INVALID, "these rows have failed before");
    return FALSE;
  }
  if (!advance(rows, n_rows, error)) {
    rows->failed = TRUE;
    forget_block(rows);
    g_prefix_error(error, "after %" G_GUINT64_FORMAT " rows: ", rows->rows_read);
    return FALSE;
  }
  return *n_rows > 0;
}

/* --- values */

guint ain_rows_n_columns(const AinRows *rows) {
  return rows->n_columns;
}

const AinRowsColumn *ain_rows_column(const AinRows *rows, guint column) {
  return &rows->columns[column].shown;
}

static gboolean dtype_of(AinTsType type, AinDType *dtype) {
  switch (type) {
  case AIN_TS_BOOLEAN:
    *dtype = AIN_DTYPE_BOOL;
    return TRUE;
  case AIN_TS_INT32:
  case AIN_TS_DATE:
    *dtype = AIN_DTYPE_INT32;
    return TRUE;
  case AIN_TS_INT64:
  case AIN_TS_TIMESTAMP:
    *dtype = AIN_DTYPE_INT64;
    return TRUE;
  case AIN_TS_FLOAT:
    *dtype = AIN_DTYPE_FLOAT32;
    return TRUE;
  case AIN_TS_DOUBLE:
    *dtype = AIN_DTYPE_FLOAT64;
    return TRUE;
  default:
    return FALSE;
  }
}

gsize ain_rows_value_size(AinTsType type) {
  AinDType dtype;
  return dtype_of(type, &dtype) ? ain_dtype_size(dtype) : sizeof(AinSlice);
}

static guint32 read_be32(const guint8 *from) {
  return (guint32)from[0] << 24 | (guint32)from[1] << 16 | (guint32)from[2] << 8 | from[3];
}

/* The stored row that a row of the block shows. */
static guint32 stored_row(const AinTsColumn *column, guint32 row) {
  if (column->constant) {
    return 0;
  }
  return column->dictionary ? read_be32(column->ids + (gsize)row * 4) : row;
}

static guint8 is_null(const AinTsColumn *column, guint32 stored) {
  guint bit = column->nulls == NULL ? 0 : (guint)column->nulls[stored / 8] >> (7 - stored % 8);
  return (guint8)(bit & 1);
}

/* Where each stored text lies: their lengths stand before them, so they are found one after the other. */
static AinSlice *find_texts(const AinTsColumn *column) {
  AinSlice *texts = g_new0(AinSlice, MAX(column->stored_rows, 1));
  const guint8 *at = column->values;
  for (guint32 row = 0; row < column->stored_rows; row++) {
    if (is_null(column, row) == 0) {
      guint32 size = read_be32(at);
      texts[row] = (AinSlice){ at + 4, size };
      at += 4 + (gsize)size;
    }
  }
  return texts;
}

gboolean ain_rows_read(AinRows *rows, guint column, guint32 first, guint32 n, void *values, guint8 *nulls,
                       GError **error) {
  AinDType dtype;
  if (column >= rows->n_columns || first > rows->view.n_rows || n > rows->view.n_rows - first) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "rows %u to %u of column %u were asked of a block of %u rows and %u columns", first,
                first + n, column, rows->view.n_rows, rows->n_columns);
    return FALSE;
  }
  const AinTsColumn *from = &rows->view.columns[column];
  for (guint32 i = 0; nulls != NULL && i < n; i++) {
    nulls[i] = is_null(from, stored_row(from, first + i));
  }
  Column *to = &rows->columns[column];
  if (dtype_of(to->shown.type, &dtype)) {
    return ain_tsblock_to_tensor(&rows->view, &column, 1, first, n, dtype, AIN_NULLS_ZERO, values, error);
  }
  if (to->stored == NULL) {
    to->stored = find_texts(from);
  }
  for (guint32 i = 0; i < n; i++) {
    ((AinSlice *)values)[i] = to->stored[stored_row(from, first + i)];
  }
  return TRUE;
}

gboolean ain_rows_to_tensor(const AinRows *rows, const guint *columns, guint n_columns, guint32 first,
                            guint32 n, AinDType dtype, AinNullPolicy nulls, void *dst, GError **error) {
  return ain_tsblock_to_tensor(&rows->view, columns, n_columns, first, n, dtype, nulls, dst, error);
}
