/* Any bytes as a TsBlock. What parses is converted, and has to keep these promises: a range read in two parts
 * is the range read at once, columns read alone are the columns read together, and what is written from the
 * tensor reads back as the tensor. */
#include "base/error.h"
#include "tsblock/tsblock.h"

#include <stdint.h>
#include <string.h>

#define MOST_ROWS 700
#define MOST_COLUMNS 19

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* How this input is converted; drawn from its bytes, so that a crash repeats. */
typedef struct {
  guint32 first_row;
  guint32 n_rows;
  guint32 split;
  guint order[MOST_COLUMNS];
  guint n_order;
  AinDType dtype;
  AinNullPolicy policy;
} Choice;

static guint32 draw(guint64 *state, guint32 below) {
  *state = *state * G_GUINT64_CONSTANT(6364136223846793005) + G_GUINT64_CONSTANT(1442695040888963407);
  return below == 0 ? 0 : (guint32)(*state >> 33) % below;
}

static void choose(Choice *choice, const AinTsBlock *block, const guint8 *data, gsize size) {
  guint64 state = G_GUINT64_CONSTANT(0xcbf29ce484222325);
  for (gsize i = 0; i < size; i++) {
    state = (state ^ data[i]) * G_GUINT64_CONSTANT(0x100000001b3);
  }
  choice->first_row = draw(&state, block->n_rows);
  choice->n_rows = MIN(draw(&state, MOST_ROWS + 1), block->n_rows - choice->first_row);
  if (block->n_rows <= MOST_ROWS && draw(&state, 2) == 0) {
    choice->first_row = 0;
    choice->n_rows = block->n_rows;
  }
  choice->split = draw(&state, choice->n_rows + 1);
  choice->n_order = block->n_columns == 0 ? 0 : draw(&state, MOST_COLUMNS + 1);
  for (guint i = 0; i < choice->n_order; i++) {
    choice->order[i] = draw(&state, block->n_columns);
  }
  choice->dtype = (AinDType)draw(&state, AIN_DTYPE_COUNT);
  choice->policy = (AinNullPolicy)draw(&state, 4);
}

static gboolean convert(const AinTsBlock *block, const Choice *choice, const guint *order, guint n_order,
                        guint32 first, guint32 n, void *dst) {
  g_autoptr(GError) error = NULL;
  gboolean ok =
      ain_tsblock_to_tensor(block, order, n_order, first, n, choice->dtype, choice->policy, dst, &error);
  g_assert_true(ok == (error == NULL));
  g_assert_true(ok || g_error_matches(error, AIN_ERROR, AIN_ERROR_INVALID));
  return ok;
}

static void check_split(const AinTsBlock *block, const Choice *choice, const guint8 *whole) {
  gsize row_bytes = choice->n_order * ain_dtype_size(choice->dtype);
  gsize size = choice->n_rows * row_bytes;
  g_autofree guint8 *parts = g_malloc(size + 1);
  g_assert_true(
      convert(block, choice, choice->order, choice->n_order, choice->first_row, choice->split, parts));
  g_assert_true(convert(block, choice, choice->order, choice->n_order, choice->first_row + choice->split,
                        choice->n_rows - choice->split, parts + choice->split * row_bytes));
  g_assert_true(memcmp(whole, parts, size) == 0);
}

static void check_columns(const AinTsBlock *block, const Choice *choice, const guint8 *whole) {
  gsize size = ain_dtype_size(choice->dtype);
  guint8 *column = g_malloc(choice->n_rows * size + 1);
  for (guint i = 0; i < choice->n_order; i++) {
    g_assert_true(convert(block, choice, &choice->order[i], 1, choice->first_row, choice->n_rows, column));
    for (guint32 row = 0; row < choice->n_rows; row++) {
      g_assert_true(memcmp(column + row * size, whole + (row * choice->n_order + i) * size, size) == 0);
    }
  }
  g_free(column);
}

/* NaN may change their bits: read again, both must be written alike. */
static void check_round_trip(const Choice *choice, const guint8 *tensor) {
  static const guint8 column_types[AIN_DTYPE_COUNT] = { AIN_TS_BOOLEAN, AIN_TS_INT32, AIN_TS_INT64,
                                                        AIN_TS_FLOAT, AIN_TS_DOUBLE };
  gssize size = (gssize)ain_dtype_size(choice->dtype);
  guint8 types[MOST_COLUMNS];
  memset(types, column_types[choice->dtype], sizeof types);
  gsize block_size = ain_tsblock_encoded_size(types, choice->n_order, choice->n_rows);
  g_autofree guint8 *first = g_malloc(block_size);
  g_autofree guint8 *second = g_malloc(block_size);
  g_autofree guint8 *again = g_malloc((gsize)choice->n_rows * choice->n_order * (gsize)size + 1);
  g_auto(AinTsBlock) block = { 0 };
  ain_tsblock_from_tensor(first, types, choice->n_order, choice->n_rows, choice->dtype, tensor,
                          size * (gssize)choice->n_order, size);
  g_assert_true(ain_tsblock_parse(&block, first, block_size, NULL));
  g_assert_true(
      ain_tsblock_to_tensor(&block, NULL, 0, 0, choice->n_rows, choice->dtype, AIN_NULLS_ERROR, again, NULL));
  ain_tsblock_from_tensor(second, types, choice->n_order, choice->n_rows, choice->dtype, again,
                          size * (gssize)choice->n_order, size);
  g_assert_true(memcmp(first, second, block_size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  g_autoptr(GError) error = NULL;
  g_auto(AinTsBlock) block = { 0 };
  if (!ain_tsblock_parse(&block, data, size, &error)) {
    g_assert_true(g_error_matches(error, AIN_ERROR, AIN_ERROR_MALFORMED)
                  || g_error_matches(error, AIN_ERROR, AIN_ERROR_TOO_LARGE));
    g_assert_true(strlen(error->message) > 20);
    return 0;
  }
  Choice choice;
  choose(&choice, &block, data, size);
  gsize tensor_size = (gsize)choice.n_rows * choice.n_order * ain_dtype_size(choice.dtype);
  g_autofree guint8 *tensor = g_malloc(tensor_size + 1);
  if (convert(&block, &choice, choice.order, choice.n_order, choice.first_row, choice.n_rows, tensor)) {
    check_split(&block, &choice, tensor);
    check_columns(&block, &choice, tensor);
    check_round_trip(&choice, tensor);
  }
  return 0;
}
