/* The tests' own idea of the TsBlock format: a writer for any block and the plainest possible conversion of
 * one value. Shares no code with what it checks. */
#pragma once
#include "tsblock/tsblock.h"

#include <string.h>

/* One row of one column. */
typedef struct {
  gboolean is_null;
  gint64 integer;  /* BOOLEAN, INT32, INT64, DATE, TIMESTAMP */
  gdouble real;    /* FLOAT, DOUBLE */
  const char *hex; /* the text family */
} Cell;

typedef enum { FORM_PLAIN, FORM_RUN, FORM_DICTIONARY } Form;

typedef struct {
  guint8 type;
  Form form;
  const Cell *cells;  /* every row; of FORM_RUN only the first counts; of FORM_DICTIONARY the entries */
  guint32 n_entries;  /* FORM_DICTIONARY */
  const guint32 *ids; /* FORM_DICTIONARY: every row's entry */
} WireColumn;

/* A block with times 0, 1, 2, ...; free with g_byte_array_unref(). */
GByteArray *wire_block(const WireColumn *columns, guint n_columns, guint32 n_rows);
const Cell *wire_cell(const WireColumn *column, guint32 row);
void wire_append_i32(GByteArray *block, gint32 value);
guint8 wire_encoding(guint8 type);

/* What a value that is not null becomes. */
guint64 wire_element(const Cell *cell, guint8 type, AinDType dtype);
/* Compares the element at `at` with the expected one; all NaN are equal. */
void wire_assert_element(const void *at, AinDType dtype, guint64 expected);

/* g_assert_cmpmem() with sizes beyond int. */
static inline void wire_assert_bytes(const void *a, gsize a_size, const void *b, gsize b_size) {
  g_assert_cmpuint(a_size, ==, b_size);
  g_assert_true(a_size == 0 || memcmp(a, b, a_size) == 0);
}

/* Deterministic numbers. */
guint64 wire_random(guint64 *state);
/* n cells of one type, null_percent of them null. Free with g_free(). */
Cell *wire_random_cells(guint64 *state, guint8 type, guint32 n, guint null_percent);

/* An exactly sized copy on the heap, so that the address sanitizer sees one byte too far. */
guint8 *wire_exact(const guint8 *data, gsize size);
