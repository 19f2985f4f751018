#include "wire.h"

#include <math.h>
#include <string.h>

static void append_byte(GByteArray *block, guint8 byte) {
  g_byte_array_append(block, &byte, 1);
}

static void append_i64(GByteArray *block, guint64 value) {
  for (gint shift = 56; shift >= 0; shift -= 8) {
    append_byte(block, (guint8)(value >> shift));
  }
}

void wire_append_i32(GByteArray *block, gint32 value) {
  for (gint shift = 24; shift >= 0; shift -= 8) {
    append_byte(block, (guint8)((guint32)value >> shift));
  }
}

guint8 wire_encoding(guint8 type) {
  switch (type) {
  case AIN_TS_BOOLEAN:
    return 0;
  case AIN_TS_INT32:
  case AIN_TS_FLOAT:
  case AIN_TS_DATE:
    return 1;
  case AIN_TS_INT64:
  case AIN_TS_DOUBLE:
  case AIN_TS_TIMESTAMP:
    return 2;
  default:
    return 3;
  }
}

static void append_bits(GByteArray *block, const Cell *cells, guint32 n, gboolean nulls) {
  for (guint32 row = 0; row < n; row += 8) {
    guint8 byte = 0;
    for (guint32 i = row; i < MIN(row + 8, n); i++) {
      gboolean bit = nulls ? cells[i].is_null : cells[i].integer != 0;
      byte = (guint8)(byte | (bit ? 0x80U >> (i - row) : 0));
    }
    append_byte(block, byte);
  }
}

static void append_text(GByteArray *block, const char *hex) {
  gsize n = strlen(hex) / 2;
  wire_append_i32(block, (gint32)n);
  for (gsize i = 0; i < n; i++) {
    append_byte(block,
                (guint8)(g_ascii_xdigit_value(hex[2 * i]) * 16 + g_ascii_xdigit_value(hex[2 * i + 1])));
  }
}

static void append_value(GByteArray *block, const Cell *cell, guint8 type) {
  gfloat narrow = (gfloat)cell->real;
  guint32 bits32;
  guint64 bits64;
  memcpy(&bits32, &narrow, 4);
  memcpy(&bits64, &cell->real, 8);
  switch (wire_encoding(type)) {
  case 1:
    wire_append_i32(block, type == AIN_TS_FLOAT ? (gint32)bits32 : (gint32)cell->integer);
    break;
  case 2:
    append_i64(block, type == AIN_TS_DOUBLE ? bits64 : (guint64)cell->integer);
    break;
  default:
    append_text(block, cell->hex != NULL ? cell->hex : "");
  }
}

static void append_array(GByteArray *block, guint8 type, const Cell *cells, guint32 n) {
  gboolean any = FALSE;
  for (guint32 i = 0; i < n; i++) {
    any |= cells[i].is_null;
  }
  append_byte(block, any ? 1 : 0);
  if (any) {
    append_bits(block, cells, n, TRUE);
  }
  if (wire_encoding(type) == 0) {
    append_bits(block, cells, n, FALSE);
    return;
  }
  for (guint32 i = 0; i < n; i++) {
    if (!cells[i].is_null) {
      append_value(block, &cells[i], type);
    }
  }
}

static void append_column(GByteArray *block, const WireColumn *column, guint32 n_rows) {
  switch (column->form) {
  case FORM_PLAIN:
    append_array(block, column->type, column->cells, n_rows);
    break;
  case FORM_RUN:
    append_byte(block, wire_encoding(column->type));
    append_array(block, column->type, column->cells, 1);
    break;
  case FORM_DICTIONARY:
    append_byte(block, wire_encoding(column->type));
    wire_append_i32(block, (gint32)column->n_entries);
    append_array(block, column->type, column->cells, column->n_entries);
    wire_append_i32(block, (gint32)n_rows);
    for (guint32 row = 0; row < n_rows; row++) {
      wire_append_i32(block, (gint32)column->ids[row]);
    }
    break;
  }
}

GByteArray *wire_block(const WireColumn *columns, guint n_columns, guint32 n_rows) {
  GByteArray *block = g_byte_array_new();
  wire_append_i32(block, (gint32)n_columns);
  for (guint i = 0; i < n_columns; i++) {
    append_byte(block, columns[i].type);
  }
  wire_append_i32(block, (gint32)n_rows);
  append_byte(block, 2);
  for (guint i = 0; i < n_columns; i++) {
    guint8 forms[] = { wire_encoding(columns[i].type), 4, 5 };
    append_byte(block, forms[columns[i].form]);
  }
  append_byte(block, 0);
  for (guint32 row = 0; row < n_rows; row++) {
    append_i64(block, row);
  }
  for (guint i = 0; i < n_columns; i++) {
    append_column(block, &columns[i], n_rows);
  }
  return block;
}

const Cell *wire_cell(const WireColumn *column, guint32 row) {
  switch (column->form) {
  case FORM_RUN:
    return &column->cells[0];
  case FORM_DICTIONARY:
    return &column->cells[column->ids[row]];
  default:
    return &column->cells[row];
  }
}

static gint64 clamp(gdouble value, gint64 min, gint64 max) {
  if (isnan(value)) {
    return 0;
  }
  if (value >= (gdouble)max) {
    return max; /* also for INT64, whose bound rounds up */
  }
  return value <= (gdouble)min ? min : (gint64)value;
}

guint64 wire_element(const Cell *cell, guint8 type, AinDType dtype) {
  gboolean real = type == AIN_TS_FLOAT || type == AIN_TS_DOUBLE;
  gdouble number = type == AIN_TS_FLOAT ? (gdouble)(gfloat)cell->real : cell->real;
  gdouble wide = real ? number : (gdouble)cell->integer;
  gfloat narrow = real ? (gfloat)number : (gfloat)cell->integer;
  guint64 element = 0;
  switch (dtype) {
  case AIN_DTYPE_BOOL:
    return real ? number != 0 : cell->integer != 0;
  case AIN_DTYPE_INT32:
    return (guint32)(real ? clamp(number, G_MININT32, G_MAXINT32) : cell->integer);
  case AIN_DTYPE_INT64:
    return (guint64)(real ? clamp(number, G_MININT64, G_MAXINT64) : cell->integer);
  case AIN_DTYPE_FLOAT32:
    memcpy(&element, &narrow, sizeof narrow);
    return element;
  default:
    memcpy(&element, &wide, sizeof wide);
    return element;
  }
}

void wire_assert_element(const void *at, AinDType dtype, guint64 expected) {
  guint64 found = 0;
  memcpy(&found, at, ain_dtype_size(dtype));
  if (dtype == AIN_DTYPE_FLOAT32) {
    gfloat a;
    gfloat b;
    memcpy(&a, &found, sizeof a);
    memcpy(&b, &expected, sizeof b);
    g_assert_true(isnan(a) == isnan(b));
    g_assert_true(isnan(a) || found == expected);
  } else if (dtype == AIN_DTYPE_FLOAT64) {
    gdouble a;
    gdouble b;
    memcpy(&a, &found, sizeof a);
    memcpy(&b, &expected, sizeof b);
    g_assert_true(isnan(a) == isnan(b));
    g_assert_true(isnan(a) || found == expected);
  } else {
    g_assert_cmphex(found, ==, expected);
  }
}

guint64 wire_random(guint64 *state) {
  *state += G_GUINT64_CONSTANT(0x9e3779b97f4a7c15);
  guint64 z = *state;
  z = (z ^ (z >> 30)) * G_GUINT64_CONSTANT(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * G_GUINT64_CONSTANT(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

Cell *wire_random_cells(guint64 *state, guint8 type, guint32 n, guint null_percent) {
  static const gdouble odd[] = { NAN,   INFINITY, -INFINITY, -0.0,         0.5,
                                 1e300, -1e300,   1e-300,    2147483647.5, -9223372036854775808.0 };
  Cell *cells = g_new0(Cell, n);
  for (guint32 i = 0; i < n; i++) {
    guint64 value = wire_random(state);
    cells[i].is_null = wire_random(state) % 100 < null_percent;
    gdouble number = (gdouble)(gint64)value / 1e12;
    cells[i].real = value % 11 == 0 ? odd[(value >> 8) % G_N_ELEMENTS(odd)] : number;
    cells[i].integer = type == AIN_TS_BOOLEAN     ? (gint64)(value & 1)
                       : wire_encoding(type) == 1 ? (gint32)value
                                                  : (gint64)value;
  }
  return cells;
}

guint8 *wire_exact(const guint8 *data, gsize size) {
  guint8 *copy = g_malloc(MAX(size, 1));
  memcpy(copy, data, size);
  return copy;
}
