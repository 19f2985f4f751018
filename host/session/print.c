#include "session/print.h"

#include "base/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 1024U /* rows that are laid out together */

typedef struct {
  AinRows *rows;
  const AinPrintOptions *options;
  guint n_columns;
  guint *widths; /* in characters */
  guint64 printed;
} Printer;

/* --- values */

static void append_time(GString *out, gint64 value, gint64 ticks) {
  gint64 seconds = value / ticks;
  gint64 rest = value % ticks;
  if (rest < 0) {
    rest += ticks;
    seconds--;
  }
  g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(seconds);
  if (time == NULL) { /* before the year 1 or after 9999 */
    g_string_append_printf(out, "%" G_GINT64_FORMAT, value);
    return;
  }
  int digits = ticks == 1000 ? 3 : ticks == 1000000 ? 6 : 9;
  g_string_append_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%0*" G_GINT64_FORMAT "Z",
                         g_date_time_get_year(time), g_date_time_get_month(time),
                         g_date_time_get_day_of_month(time), g_date_time_get_hour(time),
                         g_date_time_get_minute(time), g_date_time_get_second(time), digits, rest);
}

/* The shortest text that reads back as the same number. */
static void append_number(GString *out, double value, gboolean is_float) {
  char text[G_ASCII_DTOSTR_BUF_SIZE];
  if (!isfinite(value)) {
    g_string_append(out, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
    return;
  }
  for (int digits = is_float ? 6 : 15; digits <= 17; digits++) {
    char format[8];
    (void)g_snprintf(format, sizeof format, "%%.%dg", digits);
    g_ascii_formatd(text, sizeof text, format, value);
    double back = g_ascii_strtod(text, NULL);
    if (is_float ? (float)back == (float)value : back == value) {
      break;
    }
  }
  g_string_append(out, text);
}

static void append_hex(GString *out, AinSlice bytes) {
  g_string_append(out, "0x");
  for (gsize i = 0; i < bytes.size; i++) {
    g_string_append_printf(out, "%02x", bytes.data[i]);
  }
}

static void append_value(GString *out, AinTsType type, const void *values, guint32 row, gint64 ticks) {
  switch (type) {
  case AIN_TS_BOOLEAN:
    g_string_append(out, ((const guint8 *)values)[row] != 0 ? "true" : "false");
    return;
  case AIN_TS_INT32:
    g_string_append_printf(out, "%" G_GINT32_FORMAT, ((const gint32 *)values)[row]);
    return;
  case AIN_TS_DATE: {
    gint32 date = ((const gint32 *)values)[row];
    g_string_append_printf(out, "%04d-%02d-%02d", date / 10000, abs(date / 100 % 100), abs(date % 100));
    return;
  }
  case AIN_TS_INT64:
    g_string_append_printf(out, "%" G_GINT64_FORMAT, ((const gint64 *)values)[row]);
    return;
  case AIN_TS_TIMESTAMP:
    append_time(out, ((const gint64 *)values)[row], ticks);
    return;
  case AIN_TS_FLOAT:
    append_number(out, (double)((const float *)values)[row], TRUE);
    return;
  case AIN_TS_DOUBLE:
    append_number(out, ((const double *)values)[row], FALSE);
    return;
  case AIN_TS_BLOB:
    append_hex(out, ((const AinSlice *)values)[row]);
    return;
  default: {
    AinSlice text = ((const AinSlice *)values)[row];
    g_string_append_len(out, (const char *)text.data, (gssize)text.size);
  }
  }
}

static gboolean is_text(AinTsType type) {
  return type == AIN_TS_TEXT || type == AIN_TS_STRING;
}

/* --- CSV */

static void append_csv(GString *out, const char *text, gsize size, gboolean quote) {
  for (gsize i = 0; i < size && !quote; i++) {
    quote = strchr("\",\r\n", text[i]) != NULL; /* a NUL too */
  }
  if (!quote) {
    g_string_append_len(out, text, (gssize)size);
    return;
  }
  g_string_append_c(out, '"');
  for (gsize i = 0; i < size; i++) {
    if (text[i] == '"') {
      g_string_append_c(out, '"');
    }
    g_string_append_c(out, text[i]);
  }
  g_string_append_c(out, '"');
}

static void csv_header(const Printer *printer, GString *out) {
  for (guint i = 0; i < printer->n_columns; i++) {
    const char *name = ain_rows_column(printer->rows, i)->name;
    g_string_append(out, i > 0 ? "," : "");
    append_csv(out, name, strlen(name), FALSE);
  }
  g_string_append(out, "\r\n");
}

static void csv_rows(const Printer *printer, GPtrArray *cells, guint32 n, GString *out) {
  for (guint32 row = 0; row < n; row++) {
    for (guint i = 0; i < printer->n_columns; i++) {
      const GString *cell = g_ptr_array_index(cells, (gsize)row * printer->n_columns + i);
      g_string_append(out, i > 0 ? "," : "");
      if (cell != NULL) {
        append_csv(out, cell->str, cell->len, cell->len == 0);
      }
    }
    g_string_append(out, "\r\n");
  }
}

/* --- tables */

/* Printable, valid UTF-8 on one line. */
static char *shown(const char *text, gsize size) {
  g_autofree char *valid = g_utf8_make_valid(text, (gssize)size);
  GString *out = g_string_new(NULL);
  for (const char *at = valid; *at != '\0'; at = g_utf8_next_char(at)) {
    gunichar character = g_utf8_get_char(at);
    if (character == '\n' || character == '\t') {
      g_string_append(out, character == '\n' ? "\\n" : "\\t");
    } else if (g_unichar_isprint(character)) {
      g_string_append_unichar(out, character);
    } else {
      g_string_append_printf(out, "\\u%04x", character);
    }
  }
  return g_string_free(out, FALSE);
}

static char *shown_cell(const GString *cell) {
  return cell != NULL ? shown(cell->str, cell->len) : g_strdup("null");
}

static guint width_of(const char *text) {
  return (guint)g_utf8_strlen(text, -1);
}

static void measure(Printer *printer, GPtrArray *cells, guint32 n) {
  printer->widths = g_new(guint, printer->n_columns);
  for (guint i = 0; i < printer->n_columns; i++) {
    const char *name = ain_rows_column(printer->rows, i)->name;
    g_autofree char *head = shown(name, strlen(name));
    printer->widths[i] = width_of(head);
    for (guint32 row = 0; row < n; row++) {
      g_autofree char *text = shown_cell(g_ptr_array_index(cells, (gsize)row * printer->n_columns + i));
      printer->widths[i] = MAX(printer->widths[i], width_of(text));
    }
  }
}

static void pad(GString *out, guint count, char with) {
  for (; count > 0; count--) {
    g_string_append_c(out, with);
  }
}

static void put_cell(const Printer *printer, guint column, const char *text, gboolean to_the_right,
                     GString *out) {
  guint width = width_of(text);
  guint missing = printer->widths[column] > width ? printer->widths[column] - width : 0;
  gboolean last = column + 1 == printer->n_columns;
  g_string_append(out, column > 0 ? " | " : "");
  pad(out, to_the_right ? missing : 0, ' ');
  g_string_append(out, text);
  pad(out, to_the_right || last ? 0 : missing, ' ');
  g_string_append(out, last ? "\n" : "");
}

static void table_header(const Printer *printer, GString *out) {
  for (guint i = 0; i < printer->n_columns; i++) {
    const char *name = ain_rows_column(printer->rows, i)->name;
    g_autofree char *text = shown(name, strlen(name));
    put_cell(printer, i, text, FALSE, out);
  }
  for (guint i = 0; i < printer->n_columns; i++) {
    g_string_append(out, i > 0 ? "-+-" : "");
    pad(out, printer->widths[i], '-');
  }
  g_string_append_c(out, '\n');
}

static void table_rows(Printer *printer, GPtrArray *cells, guint32 n, GString *out) {
  for (guint32 row = 0; row < n; row++) {
    for (guint i = 0; i < printer->n_columns; i++) {
      AinTsType type = ain_rows_column(printer->rows, i)->type;
      g_autofree char *text = shown_cell(g_ptr_array_index(cells, (gsize)row * printer->n_columns + i));
      put_cell(printer, i, text, !is_text(type) && type != AIN_TS_BLOB, out);
    }
  }
}

/* --- both */

static void free_cell(gpointer cell) {
  if (cell != NULL) {
    g_string_free(cell, TRUE);
  }
}

/* Rows [first, first + n) as texts, row by row; NULL stands for null. */
static GPtrArray *read_cells(const Printer *printer, guint32 first, guint32 n, GError **error) {
  g_autoptr(GPtrArray) cells = g_ptr_array_new_with_free_func(free_cell);
  g_autofree AinSlice *values = g_new(AinSlice, n); /* as large as any element is */
  g_autofree guint8 *nulls = g_new(guint8, n);
  g_ptr_array_set_size(cells, (gint)(n * printer->n_columns));
  for (guint i = 0; i < printer->n_columns; i++) {
    if (!ain_rows_read(printer->rows, i, first, n, values, nulls, error)) {
      return NULL;
    }
    for (guint32 row = 0; row < n; row++) {
      if (nulls[row] == 0) {
        GString *cell = g_string_new(NULL);
        append_value(cell, ain_rows_column(printer->rows, i)->type, values, row, printer->options->ticks);
        g_ptr_array_index(cells, (gsize)row * printer->n_columns + i) = cell;
      }
    }
  }
  return g_steal_pointer(&cells);
}

static gboolean put_rows(Printer *printer, guint32 first, guint32 n, AinPrintSink sink, gpointer data,
                         GError **error) {
  g_autoptr(GString) out = g_string_new(NULL);
  g_autoptr(GPtrArray) cells = read_cells(printer, first, n, error);
  if (cells == NULL) {
    return FALSE;
  }
  gboolean is_first = printer->widths == NULL;
  if (is_first) {
    measure(printer, cells, n);
  }
  if (printer->options->csv) {
    if (is_first) {
      csv_header(printer, out);
    }
    csv_rows(printer, cells, n, out);
  } else {
    if (is_first) {
      table_header(printer, out);
    }
    table_rows(printer, cells, n, out);
  }
  printer->printed += n;
  return sink(out->str, out->len, data, error);
}

static gboolean put_all(Printer *printer, AinPrintSink sink, gpointer data, gboolean *cut, GError **error) {
  guint64 max_rows = printer->options->max_rows > 0 ? printer->options->max_rows : G_MAXUINT64;
  guint32 chunk = MAX(CHUNK * 16 / MAX(printer->n_columns, 16), 1);
  g_autoptr(GError) failed = NULL;
  guint32 n_rows;
  while (!*cut && ain_rows_next(printer->rows, &n_rows, &failed)) {
    guint32 wanted = (guint32)MIN(n_rows, max_rows - printer->printed);
    *cut = wanted < n_rows;
    for (guint32 first = 0; first < wanted; first += chunk) {
      if (!put_rows(printer, first, MIN(chunk, wanted - first), sink, data, error)) {
        return FALSE;
      }
    }
  }
  if (failed != NULL) {
    g_propagate_error(error, g_steal_pointer(&failed));
    return FALSE;
  }
  /* Without rows there is a header all the same. */
  return printer->widths != NULL || put_rows(printer, 0, 0, sink, data, error);
}

gboolean ain_rows_print(AinRows *rows, const AinPrintOptions *options, AinPrintSink sink, gpointer data,
                        guint64 *printed, gboolean *cut, GError **error) {
  Printer printer = { .rows = rows, .options = options, .n_columns = ain_rows_n_columns(rows) };
  *cut = FALSE;
  gboolean ok = put_all(&printer, sink, data, cut, error);
  *printed = printer.printed;
  g_free(printer.widths);
  return ok;
}
