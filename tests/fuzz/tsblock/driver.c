/* Runs a libFuzzer harness without libFuzzer: every file of a folder, then seeded mutations of them.
 * Usage: driver MUTATIONS FOLDER */
#include <glib.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* On the heap and exactly sized, so that the address sanitizer sees one byte too far. */
static void run(const guint8 *data, gsize size) {
  guint8 *exact = g_malloc(MAX(size, 1));
  memcpy(exact, data, size);
  LLVMFuzzerTestOneInput(exact, size);
  g_free(exact);
}

static void mutate_once(GRand *random, GByteArray *input, GPtrArray *corpus) {
  static const guint32 odd[] = {
    0, 1, 2, 7, 0x7f, 0xff, 0x100, 0x7fffffff, 0x80000000, 0xffffffff, 0x10000000
  };
  guint at = (guint)g_rand_int_range(random, 0, (gint32)input->len + 1);
  GByteArray *other = g_ptr_array_index(corpus, g_rand_int_range(random, 0, (gint32)corpus->len));
  guint8 byte = (guint8)g_rand_int(random);
  guint32 word = GUINT32_TO_BE(odd[g_rand_int_range(random, 0, G_N_ELEMENTS(odd))]);
  switch (g_rand_int_range(random, 0, 7)) {
  case 0:
  case 1:
    if (at < input->len) {
      input->data[at] = g_rand_boolean(random) ? byte % 12 : byte;
    }
    break;
  case 2:
    if (at < input->len) {
      input->data[at] ^= (guint8)(1U << (byte & 7));
    }
    break;
  case 3:
    if (at + 4 <= input->len) {
      memcpy(input->data + at, &word, sizeof word);
    }
    break;
  case 4:
    g_byte_array_set_size(input, at);
    break;
  case 5:
    if (at < input->len) {
      g_byte_array_remove_range(input, at, MIN(byte % 9U, input->len - at));
    }
    break;
  default: /* the tail of another block */
    at = MIN(at, other->len);
    g_byte_array_append(input, other->data + at, MIN(other->len - at, 4096));
  }
}

static GPtrArray *load_corpus(const char *folder) {
  g_autoptr(GError) error = NULL;
  g_autoptr(GDir) dir = g_dir_open(folder, 0, &error);
  GPtrArray *corpus = g_ptr_array_new_with_free_func((GDestroyNotify)g_byte_array_unref);
  g_assert_no_error(error);
  for (const char *name = g_dir_read_name(dir); name != NULL; name = g_dir_read_name(dir)) {
    g_autofree char *path = g_build_filename(folder, name, NULL);
    char *content = NULL;
    gsize size = 0;
    if (g_str_has_suffix(name, ".bin") && g_file_get_contents(path, &content, &size, NULL)) {
      g_ptr_array_add(corpus, g_byte_array_new_take((guint8 *)content, size));
    }
  }
  return corpus;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s MUTATIONS FOLDER\n", argv[0]);
    return 2;
  }
  guint64 n = g_ascii_strtoull(argv[1], NULL, 10);
  g_autoptr(GPtrArray) corpus = load_corpus(argv[2]);
  g_autoptr(GRand) random = g_rand_new_with_seed(1);
  g_assert_cmpuint(corpus->len, >, 0);
  for (guint i = 0; i < corpus->len; i++) {
    GByteArray *input = g_ptr_array_index(corpus, i);
    run(input->data, input->len);
  }
  for (guint64 i = 0; i < n; i++) {
    GByteArray *original = g_ptr_array_index(corpus, (guint)(i % corpus->len));
    g_autoptr(GByteArray) input = g_byte_array_new();
    g_byte_array_append(input, original->data, original->len);
    for (gint left = g_rand_int_range(random, 1, 5); left > 0; left--) {
      mutate_once(random, input, corpus);
    }
    run(input->data, input->len);
  }
  printf("%u files and %" G_GUINT64_FORMAT " mutations\n", corpus->len, n);
  return 0;
}
