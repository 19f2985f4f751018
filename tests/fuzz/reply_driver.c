/* Runs a fuzz target of replies without libFuzzer: over every kind of reply, and `rounds` seeded changes of
 * them. driver ROUNDS          (ctest) driver --seeds FOLDER  (writes a corpus for libFuzzer) */
#include "reply_driver.h"

#include "protocol/types.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED 20250901

/* As the target takes it: the byte that names call and protocol, then the frame. */
static GByteArray *new_seed(guint index) {
  guint8 head = 0;
  g_autoptr(GByteArray) frame = fuzz_reply_new(index, &head);
  GByteArray *seed = g_byte_array_append(g_byte_array_new(), &head, 1);
  return g_byte_array_append(seed, frame->data, frame->len);
}

static guint8 telling_byte(GRand *random) {
  static const guint8 values[] = { 0x00, 0x01, 0x02, 0x03, 0x08, 0x0b, 0x0c, 0x0d, 0x0f, 0x7f, 0x80, 0xff };
  return g_rand_boolean(random) ? values[g_rand_int_range(random, 0, G_N_ELEMENTS(values))]
                                : (guint8)g_rand_int_range(random, 0, 256);
}

/* Changes, inserts, removes or doubles a few bytes. */
static void change(GByteArray *bytes, GRand *random) {
  for (gint32 count = g_rand_int_range(random, 1, 5); count > 0 && bytes->len > 2; count--) {
    guint at = (guint)g_rand_int_range(random, 1, (gint32)bytes->len);
    guint wanted = (guint)g_rand_int_range(random, 1, 40);
    guint length = MIN(wanted, bytes->len - at);
    switch (g_rand_int_range(random, 0, 6)) {
    case 0:
      g_byte_array_remove_range(bytes, at, length);
      break;
    case 1: {
      g_autofree guint8 *tail = g_memdup2(bytes->data + at, bytes->len - at);
      guint tail_size = bytes->len - at;
      g_byte_array_set_size(bytes, at + length);
      g_byte_array_append(bytes, tail, tail_size);
      break;
    }
    default:
      bytes->data[at] = telling_byte(random);
    }
  }
}

static int write_seeds(const char *folder) {
  for (guint i = 0; i < fuzz_n_replies; i++) {
    g_autofree char *path = g_strdup_printf("%s/reply_%02u", folder, i);
    g_autoptr(GByteArray) seed = new_seed(i);
    g_autoptr(GError) error = NULL;
    if (!g_file_set_contents(path, (const char *)seed->data, (gssize)seed->len, &error)) {
      fprintf(stderr, "%s\n", error->message);
      return 1;
    }
  }
  return 0;
}

int main(int argc, char **argv) {
  ain_protocol_register_types();
  if (argc == 3 && strcmp(argv[1], "--seeds") == 0) {
    return write_seeds(argv[2]);
  }
  guint64 rounds = argc > 1 ? g_ascii_strtoull(argv[1], NULL, 10) : 10000;
  g_autoptr(GRand) random = g_rand_new_with_seed(SEED);
  g_autoptr(GPtrArray) seeds = g_ptr_array_new_with_free_func((GDestroyNotify)g_byte_array_unref);
  for (guint i = 0; i < fuzz_n_replies; i++) {
    g_ptr_array_add(seeds, new_seed(i));
  }
  for (guint64 i = 0; i < rounds; i++) {
    const GByteArray *seed = g_ptr_array_index(seeds, i % fuzz_n_replies);
    g_autoptr(GByteArray) bytes = g_byte_array_append(g_byte_array_new(), seed->data, seed->len);
    if (i >= fuzz_n_replies) {
      change(bytes, random);
    }
    /* an exact copy, so that a sanitizer sees a read past its end */
    g_autofree guint8 *exact = g_memdup2(bytes->data, bytes->len);
    (void)LLVMFuzzerTestOneInput(exact, bytes->len);
  }
  printf("%" G_GUINT64_FORMAT " replies\n", rounds);
  return 0;
}
