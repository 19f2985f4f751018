/* What is refused, and with which sentence; limits; forms the server never sends but the format has. */
#include "base/error.h"
#include "wire.h"

#include <string.h>

typedef struct {
  const char *hex; /* spaces are skipped */
  AinErrorCode code;
  const char *message; /* all of it */
} Refused;

static const Refused refused[] = {
  { "", AIN_ERROR_MALFORMED,
    "TsBlock, header, byte 0: the block ends in the number of value columns, 4 bytes are needed and 0 are "
    "left" },
  { "ffffffff", AIN_ERROR_MALFORMED,
    "TsBlock, header, byte 0: the number of value columns is negative (-1)" },
  { "00001001", AIN_ERROR_TOO_LARGE,
    "TsBlock, header, byte 0: the number of value columns is 4097, at most 4096 is accepted" },
  { "00000002 04", AIN_ERROR_MALFORMED,
    "TsBlock, header, byte 4: the block ends in the list of types, 2 bytes are needed and 1 are left" },
  { "00000001 04 80000000", AIN_ERROR_MALFORMED,
    "TsBlock, header, byte 5: the number of rows is negative (-2147483648)" },
  { "00000001 04 10000001", AIN_ERROR_TOO_LARGE,
    "TsBlock, header, byte 5: the number of rows is 268435457, at most 268435456 is accepted" },
  { "00000001 04 00000001 02", AIN_ERROR_MALFORMED,
    "TsBlock, header, byte 9: the block ends in the list of encodings, 2 bytes are needed and 1 are left" },
  { "00000000 00000001 06 00", AIN_ERROR_MALFORMED,
    "TsBlock, time column, byte 8: the encoding is 6, only 0 to 5 are known" },
  { "00000000 00000001 01 00", AIN_ERROR_MALFORMED,
    "TsBlock, time column, byte 8: the encoding 1 cannot carry type 2 (INT64)" },
  { "00000000 00000001 02", AIN_ERROR_MALFORMED,
    "TsBlock, time column, byte 9: the block ends in the null flag, 1 bytes are needed and 0 are left" },
  { "00000000 00000001 02 02", AIN_ERROR_MALFORMED,
    "TsBlock, time column, byte 9: the null flag is 2, not 0 or 1" },
  { "00000000 10000000 02 00 00000000", AIN_ERROR_MALFORMED,
    "TsBlock, time column, byte 10: the block ends in the values, 2147483648 bytes are needed and 4 are "
    "left" },
  { "00000001 0c 00000000 02 02 00", AIN_ERROR_MALFORMED,
    "TsBlock, value column 1 of 1 (an unknown type), byte 10: the encoding 2 cannot carry type 12 (an "
    "unknown type)" },
  { "00000001 06 00000000 02 04 00 02", AIN_ERROR_MALFORMED,
    "TsBlock, value column 1 of 1 (VECTOR), byte 12: the encoding 2 cannot carry type 6 (VECTOR)" },
  { "00000002 04 00 00000000 02 02 01 00 00", AIN_ERROR_MALFORMED,
    "TsBlock, value column 2 of 2 (BOOLEAN), byte 12: the encoding 1 cannot carry type 0 (BOOLEAN)" },
  { "00000001 01 00000009 04 01 02 00 0000000000000000 01 00", AIN_ERROR_MALFORMED,
    "TsBlock, value column 1 of 1 (INT32), byte 22: the block ends in the null bitmap, 2 bytes are needed "
    "and 1 are left" },
  { "00000001 01 00000009 04 01 02 00 0000000000000000 01 ff00 000000", AIN_ERROR_MALFORMED,
    "TsBlock, value column 1 of 1 (INT32), byte 24: the block ends in the values, 4 bytes are needed and 3 "
    "are left" },
  { "00000001 04 00000001 04 04 02 00 0000000000000000 04", AIN_ERROR_MALFORMED,
    "TsBlock, value column 1 of 1 (DOUBLE), byte 21: a run-length column may not hold encoding 4 again" },
  { "00000001 04 00000001 04 05 02 00 0000000000000000 04", AIN_ERROR_MALFORMED,
    "TsBlock, value column 1 of 1 (DOUBLE), byte 21: a dictionary column may not hold encoding 4 again" },
  { "00000001 04 00000001 04 04 02 00 0000000000000000 05", AIN_ERROR_MALFORMED,
    "TsBlock, value column 1 of 1 (DOUBLE), byte 21: a run-length column may not hold encoding 5 again" },
  { "00000001 01 00000001 04 05 02 00 0000000000000000 01 ffffffff", AIN_ERROR_MALFORMED,
    "TsBlock, value column 1 of 1 (INT32), byte 22: the dictionary size is negative (-1)" },
  { "00000001 01 00000001 04 05 02 00 0000000000000000 01 10000001", AIN_ERROR_TOO_LARGE,
    "TsBlock, value column 1 of 1 (INT32), byte 22: the dictionary size is 268435457, at most 268435456 is "
    "accepted" },
  { "00000001 01 00000002 04 05 02 00 0000000000000000 01 00000001 00 00000007 00000001 00000000",
    AIN_ERROR_MALFORMED,
    "TsBlock, value column 1 of 1 (INT32), byte 31: the number of dictionary ids is 1, the block has 2 "
    "rows" },
  { "00000001 01 00000002 04 05 02 00 0000000000000000 01 00000001 00 00000007 00000002 00000000 00000001",
    AIN_ERROR_MALFORMED,
    "TsBlock, value column 1 of 1 (INT32), byte 39: the dictionary id of row 2 is 1, the dictionary has 1 "
    "entries" },
  { "00000001 01 00000001 04 05 02 00 0000000000000000 01 00000001 00 00000007 00000001 ffffffff",
    AIN_ERROR_MALFORMED,
    "TsBlock, value column 1 of 1 (INT32), byte 35: the dictionary id of row 1 is -1, the dictionary has 1 "
    "entries" },
  { "00000001 05 00000001 04 03 02 00 0000000000000000 00 ffffffff", AIN_ERROR_MALFORMED,
    "TsBlock, value column 1 of 1 (TEXT), byte 22: the length of a text value is negative (-1)" },
  { "00000001 05 00000001 04 03 02 00 0000000000000000 00 00000002 61", AIN_ERROR_MALFORMED,
    "TsBlock, value column 1 of 1 (TEXT), byte 26: the block ends in the text value, 2 bytes are needed and "
    "1 are left" },
  { "00000000 00000000 02 00 00", AIN_ERROR_MALFORMED,
    "TsBlock, end, byte 10: 1 trailing bytes, none are allowed" },
};

static guint8 *unhex(const char *hex, gsize *size) {
  guint8 *bytes = g_malloc(strlen(hex) / 2 + 1);
  *size = 0;
  for (const char *at = hex; *at != '\0'; at++) {
    if (*at != ' ') {
      bytes[(*size)++] = (guint8)(g_ascii_xdigit_value(at[0]) * 16 + g_ascii_xdigit_value(at[1]));
      at++;
    }
  }
  return bytes;
}

static void test_refused(void) {
  for (guint i = 0; i < G_N_ELEMENTS(refused); i++) {
    gsize size;
    g_autofree guint8 *bytes = unhex(refused[i].hex, &size);
    g_autofree guint8 *exact = wire_exact(bytes, size);
    g_autoptr(GError) error = NULL;
    AinTsBlock block;
    g_assert_false(ain_tsblock_parse(&block, exact, size, &error));
    g_assert_cmpstr(error->message, ==, refused[i].message);
    g_assert_error(error, AIN_ERROR, (gint)refused[i].code);
    g_assert_false(ain_tsblock_parse(&block, exact, size, NULL));
  }
}

/* Every declared type with every encoding, plain, as a run and in a dictionary. */
static void test_pairs(void) {
  for (guint8 type = 0; type < 14; type++) {
    for (guint8 encoding = 0; encoding < 7; encoding++) {
      gboolean known = type <= AIN_TS_STRING && type != AIN_TS_VECTOR && type != AIN_TS_UNKNOWN
                       && encoding <= 3 && wire_encoding(type) == encoding;
      const guint8 plain[] = { 0, 0, 0, 1, type, 0, 0, 0, 0, 2, encoding, 0, 0 };
      const guint8 run[] = { 0, 0, 0, 1, type, 0, 0, 0, 0, 2, 4, 0, encoding, 1, 0x80, 0 };
      const guint8 dictionary[] = {
        0, 0, 0, 1, type, 0, 0, 0, 0, 2, 5, 0, encoding, 0, 0, 0, 0, 0, 0, 0, 0, 0
      };
      gsize run_size = sizeof run - (encoding == 0 ? 0 : 1); /* bits are kept for null rows */
      AinTsBlock block;
      g_assert_true(ain_tsblock_parse(&block, plain, sizeof plain, NULL) == known);
      g_assert_true(ain_tsblock_parse(&block, run, run_size, NULL) == known);
      g_assert_true(ain_tsblock_parse(&block, dictionary, sizeof dictionary, NULL) == known);
    }
  }
}

static void test_many_columns(void) {
  static WireColumn columns[AIN_TSBLOCK_MAX_COLUMNS];
  const Cell cells[2] = { { .integer = 5 }, { .integer = 6 } };
  for (guint n = AIN_TSBLOCK_INLINE_COLUMNS - 1; n <= AIN_TSBLOCK_MAX_COLUMNS;
       n = n < 20 ? n + 1 : AIN_TSBLOCK_MAX_COLUMNS * (n / 20)) {
    for (guint i = 0; i < n; i++) {
      columns[i] = (WireColumn){ .type = AIN_TS_INT32, .cells = cells };
    }
    g_autoptr(GByteArray) bytes = wire_block(columns, n, 2);
    g_auto(AinTsBlock) block = { 0 };
    g_autoptr(GError) error = NULL;
    g_assert_true(ain_tsblock_parse(&block, bytes->data, bytes->len, &error));
    g_assert_no_error(error);
    g_assert_true((block.columns == block.inline_columns) == (n <= AIN_TSBLOCK_INLINE_COLUMNS));
    /* A failure behind the allocation must not leak. */
    AinTsBlock cut;
    g_assert_false(ain_tsblock_parse(&cut, bytes->data, bytes->len - 1, NULL));
  }
}

static void test_a_run_of_the_most_rows(void) {
  g_autoptr(GByteArray) bytes = g_byte_array_new();
  const guint8 head[] = { 0, 0, 0, 1, AIN_TS_DOUBLE };
  const guint8 columns[] = { 4, 4, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0x40, 0x45, 0, 0, 0, 0, 0, 0 };
  g_byte_array_append(bytes, head, sizeof head);
  wire_append_i32(bytes, (gint32)AIN_TSBLOCK_MAX_ROWS);
  g_byte_array_append(bytes, columns, sizeof columns);
  g_auto(AinTsBlock) block = { 0 };
  g_assert_true(ain_tsblock_parse(&block, bytes->data, bytes->len, NULL));
  g_assert_cmpuint(block.n_rows, ==, AIN_TSBLOCK_MAX_ROWS);
  gdouble tail[1000];
  g_assert_true(ain_tsblock_to_tensor(&block, NULL, 0, AIN_TSBLOCK_MAX_ROWS - 1000, 1000, AIN_DTYPE_FLOAT64,
                                      AIN_NULLS_ERROR, tail, NULL));
  for (guint i = 0; i < 1000; i++) {
    g_assert_cmpfloat(tail[i], ==, 42.0);
  }
}

/* Bits behind the last row mean nothing, in any bitmap. */
static void test_padding_bits(void) {
  const guint8 bytes[] = { 0, 0, 0, 1, AIN_TS_BOOLEAN, 0,   0, 0, 3, 4, 0, 2, 0, 0, 0, 0, 0, 0,
                           0, 0, 0, 1, 0x3f,           0x9f };
  g_auto(AinTsBlock) block = { 0 };
  g_assert_true(ain_tsblock_parse(&block, bytes, sizeof bytes, NULL));
  g_assert_cmpuint(block.columns[0].n_nulls, ==, 1); /* 0 0 1 */
  guint8 values[3];
  g_assert_true(
      ain_tsblock_to_tensor(&block, NULL, 0, 0, 3, AIN_DTYPE_BOOL, AIN_NULLS_INTERPOLATE, values, NULL));
  wire_assert_bytes(values, 3, ((const guint8[]){ 1, 0, 0 }), 3);
  const guint8 none[] = { 0, 0, 0, 1, AIN_TS_BOOLEAN, 0,   0, 0, 3, 4, 0, 2, 0, 0, 0, 0, 0, 0,
                          0, 0, 0, 1, 0x1f,           0x9f };
  g_auto(AinTsBlock) full = { 0 };
  g_assert_true(ain_tsblock_parse(&full, none, sizeof none, NULL));
  g_assert_null(full.columns[0].nulls);
}

static void test_clear_twice(void) {
  AinTsBlock block = { 0 };
  const guint8 empty[] = { 0, 0, 0, 0, 0, 0, 0, 0, 2, 0 };
  ain_tsblock_clear(&block);
  g_assert_true(ain_tsblock_parse(&block, empty, sizeof empty, NULL));
  ain_tsblock_clear(&block);
  ain_tsblock_clear(&block);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/tsblock/parse/refused", test_refused);
  g_test_add_func("/tsblock/parse/pairs", test_pairs);
  g_test_add_func("/tsblock/parse/many-columns", test_many_columns);
  g_test_add_func("/tsblock/parse/longest-run", test_a_run_of_the_most_rows);
  g_test_add_func("/tsblock/parse/padding", test_padding_bits);
  g_test_add_func("/tsblock/parse/clear", test_clear_twice);
  return g_test_run();
}
