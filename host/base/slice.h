/* A borrowed run of bytes: never freed through this, valid as long as its owner says. */
#pragma once
#include <glib.h>
#include <string.h>

typedef struct {
  const guint8 *data;
  gsize size;
} AinSlice;

static inline gboolean ain_slice_equal(AinSlice slice, const char *text) {
  gsize size = strlen(text);
  return slice.size == size && memcmp(slice.data, text, size) == 0;
}

/* Owned NUL-terminated copy. */
static inline char *ain_slice_dup(AinSlice slice) {
  return g_strndup((const char *)slice.data, slice.size);
}
