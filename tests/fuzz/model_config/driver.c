/* Runs the harness without libFuzzer: driver N FOLDER feeds every file of FOLDER, then N seeded mutations of
 * them. Allocates each input exactly, so that a sanitizer sees a read beyond it. */
#include <glib.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static void feed(const guint8 *data, gsize size) {
  guint8 *exact = malloc(MAX(size, 1));
  if (size > 0) {
    memcpy(exact, data, size);
  }
  LLVMFuzzerTestOneInput(exact, size);
  free(exact);
}

/* Snippets that mean something in YAML. */
static const char *const WORDS[] = {
  "configs:",
  "input_shape: ",
  "[",
  "]",
  "{",
  "}",
  ", ",
  ": ",
  "\n",
  "\n  ",
  "- ",
  "&a ",
  "*a",
  "!!str ",
  "<<: ",
  "?",
  "'",
  "\"",
  "\\",
  "|",
  ">",
  "%",
  "---\n",
  "#",
  "~",
  "0x",
  "1:30",
  ".inf",
  "1.5e+10",
  "-",
  "99999999999999999999",
  "true",
  "\t",
  "\xff",
  "\xef\xbb\xbf",
  "\xe2\x80\xa8",
  "2001-12-14",
};

static void mutate(GByteArray *input, GRand *rand, const GPtrArray *corpus) {
  guint at = (guint)g_rand_int_range(rand, 0, (gint32)input->len + 1);
  guint left = input->len - at;
  guint count = left == 0 ? 0 : (guint)g_rand_int_range(rand, 0, (gint32)MIN(left, 40) + 1);
  switch (g_rand_int_range(rand, 0, 4)) {
  case 0: /* one byte */
    if (left > 0) {
      input->data[at] = (guint8)g_rand_int_range(rand, 0, 256);
    }
    break;
  case 1: /* a piece goes */
    if (count > 0) {
      g_byte_array_remove_range(input, at, count);
    }
    break;
  case 2: { /* a word comes in */
    const char *word = WORDS[g_rand_int_range(rand, 0, G_N_ELEMENTS(WORDS))];
    g_autofree guint8 *tail = g_memdup2(input->data + at, left);
    g_byte_array_set_size(input, at);
    g_byte_array_append(input, (const guint8 *)word, (guint)strlen(word));
    g_byte_array_append(input, tail, left);
    break;
  }
  default: { /* the end of another file */
    const GByteArray *other = g_ptr_array_index(corpus, g_rand_int_range(rand, 0, (gint32)corpus->len));
    guint from = (guint)g_rand_int_range(rand, 0, (gint32)other->len + 1);
    g_byte_array_set_size(input, at);
    g_byte_array_append(input, other->data + from, other->len - from);
    break;
  }
  }
}

static GPtrArray *read_folder(const char *folder) {
  GPtrArray *corpus = g_ptr_array_new_with_free_func((GDestroyNotify)g_byte_array_unref);
  g_autoptr(GDir) directory = g_dir_open(folder, 0, NULL);
  g_assert_nonnull(directory);
  const char *name = NULL;
  while ((name = g_dir_read_name(directory)) != NULL) {
    g_autofree char *path = g_build_filename(folder, name, NULL);
    char *content = NULL;
    gsize size = 0;
    g_assert_true(g_file_get_contents(path, &content, &size, NULL));
    g_ptr_array_add(corpus, g_byte_array_new_take((guint8 *)content, size));
  }
  return corpus;
}

int main(int argc, char **argv) {
  g_assert_cmpint(argc, ==, 3);
  guint64 rounds = g_ascii_strtoull(argv[1], NULL, 10);
  g_autoptr(GPtrArray) corpus = read_folder(argv[2]);
  g_assert_cmpuint(corpus->len, >=, 10);
  for (guint i = 0; i < corpus->len; i++) {
    const GByteArray *file = g_ptr_array_index(corpus, i);
    feed(file->data, file->len);
  }
  g_autoptr(GRand) rand = g_rand_new_with_seed(1122);
  for (guint64 round = 0; round < rounds; round++) {
    const GByteArray *file = g_ptr_array_index(corpus, g_rand_int_range(rand, 0, (gint32)corpus->len));
    GByteArray *input = g_byte_array_new();
    g_byte_array_append(input, file->data, file->len);
    for (gint32 changes = g_rand_int_range(rand, 1, 8); changes > 0; changes--) {
      mutate(input, rand, corpus);
    }
    feed(input->data, input->len);
    g_byte_array_unref(input);
  }
  g_print("%u files and %" G_GUINT64_FORMAT " mutations\n", corpus->len, rounds);
  return 0;
}
