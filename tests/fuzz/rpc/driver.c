/* Runs the fuzzer's entry without libFuzzer: over the given files, and over pieces and changes of them that
 * are the same in every run. */
#include "fuzz_request.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#define ROUNDS 2000

/* A copy that ends with its allocation, so that a sanitizer sees every byte read too far. */
static void run(const guint8 *data, gsize size) {
  g_autofree guint8 *copy = g_memdup2(data, size);
  LLVMFuzzerTestOneInput(copy, size);
}

static void change(GRand *random, guint8 *data, gsize size) {
  guint changes = (guint)g_rand_int_range(random, 1, 6);
  for (guint i = 0; i < changes; i++) {
    gsize at = (gsize)g_rand_int_range(random, 4, (gint32)size);
    switch (g_rand_int_range(random, 0, 3)) {
    case 0:
      data[at] = (guint8)g_rand_int_range(random, 0, 256);
      break;
    case 1:
      data[at] = (guint8)(data[at] ^ 1U << g_rand_int_range(random, 0, 8));
      break;
    default: {
      /* a piece of the frame over another place of it */
      gsize from = (gsize)g_rand_int_range(random, 4, (gint32)size);
      gsize piece = (gsize)g_rand_int_range(random, 1, 9);
      memmove(data + at, data + from, MIN(piece, size - MAX(at, from)));
    }
    }
  }
}

int main(int argc, char **argv) {
  guint n_inputs = 0;
  for (int i = 1; i < argc; i++) {
    g_autofree char *content = NULL;
    gsize size = 0;
    if (!g_file_get_contents(argv[i], &content, &size, NULL) || size <= 4) {
      fprintf(stderr, "cannot read %s\n", argv[i]);
      return 1;
    }
    run((const guint8 *)content, size);
    GRand *random = g_rand_new_with_seed((guint32)i);
    for (guint round = 0; round < ROUNDS; round++) {
      g_autofree guint8 *changed = g_memdup2(content, size);
      change(random, changed, size);
      run(changed, round % 4 == 0 ? (gsize)g_rand_int_range(random, 0, (gint32)size) : size);
    }
    g_rand_free(random);
    n_inputs += 1 + ROUNDS;
  }
  printf("%u inputs\n", n_inputs);
  return n_inputs > 0 ? 0 : 1;
}
