/* Bitmaps of the TsBlock format: most significant bit first, bit 7 of byte 0 is row 0. Private to this
 * folder. */
#pragma once
#include <glib.h>
#include <string.h>

_Static_assert(G_BYTE_ORDER == G_LITTLE_ENDIAN, "the conversions swap bytes: hosts are little-endian");

static inline gboolean bits_get(const guint8 *bits, guint64 row) {
  return ((bits[row >> 3] >> (7 - (row & 7))) & 1) != 0;
}

/* The n (1..64) bits from row on, left-aligned, with zeros behind; reads no byte past the one that holds row
 * + n - 1. */
static inline guint64 bits_window(const guint8 *bits, guint64 row, guint n) {
  const guint8 *from = bits + (row >> 3);
  guint shift = (guint)(row & 7);
  guint bytes = (shift + n + 7) / 8; /* at most 9 */
  guint64 word = 0;
  memcpy(&word, from, MIN(bytes, 8));
  word = __builtin_bswap64(word) << shift;
  if (bytes > 8) {
    word |= (guint64)from[8] >> (8 - shift);
  }
  return n == 64 ? word : word & ~(G_MAXUINT64 >> n);
}
