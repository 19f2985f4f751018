/* Runs the fuzz target over every file of a folder and over repeatable mutations of each. */
#include <glib.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUTATIONS 300
#define SEED 20260101

static const char *const TOKENS[] = { "=",
                                      "\\",
                                      "\\u",
                                      "\\ud83d",
                                      "\"",
                                      "\n",
                                      "\r\n",
                                      ",",
                                      ":",
                                      "[",
                                      "]",
                                      "-",
                                      "#",
                                      "\xFF",
                                      "\xEF\xBB\xBF",
                                      "ain_rpc_port",
                                      "ain_seed_config_node=",
                                      "99999999999999999999",
                                      "%",
                                      "." };

static void mutate(GByteArray *bytes, GRand *random) {
  guint at = bytes->len > 0 ? g_rand_int(random) % bytes->len : 0;
  const char *token = TOKENS[g_rand_int(random) % G_N_ELEMENTS(TOKENS)];
  switch (g_rand_int(random) % 4) {
  case 0:
    if (bytes->len > 0) {
      bytes->data[at] = (guint8)g_rand_int(random);
    }
    break;
  case 1:
    g_byte_array_set_size(bytes, at);
    break;
  case 2:
    if (bytes->len > 0) {
      g_byte_array_remove_range(bytes, at, 1 + g_rand_int(random) % (bytes->len - at));
    }
    break;
  default: {
    guint old = bytes->len;
    guint size = (guint)strlen(token);
    g_byte_array_append(bytes, (const guint8 *)token, size);
    memmove(bytes->data + at + size, bytes->data + at, old - at);
    memcpy(bytes->data + at, token, size);
  }
  }
}

static void run_mutations(const char *content, gsize size, GRand *random) {
  for (guint i = 0; i < MUTATIONS; i++) {
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_byte_array_append(bytes, (const guint8 *)content, (guint)size);
    for (guint n = 1 + g_rand_int(random) % 4; n > 0; n--) {
      mutate(bytes, random);
    }
    /* a block of its own size: a sanitizer sees one byte too far */
    g_autofree guint8 *exact = g_malloc(MAX(bytes->len, 1));
    if (bytes->len > 0) {
      memcpy(exact, bytes->data, bytes->len);
    }
    LLVMFuzzerTestOneInput(exact, bytes->len);
  }
}

int main(int argc, char **argv) {
  g_autoptr(GError) error = NULL;
  g_autoptr(GDir) folder = argc > 1 ? g_dir_open(argv[1], 0, &error) : NULL;
  if (folder == NULL) {
    g_printerr("usage: %s CORPUS-FOLDER\n", argv[0]);
    return 2;
  }
  g_autoptr(GRand) random = g_rand_new_with_seed(SEED);
  guint files = 0;
  for (const char *name = g_dir_read_name(folder); name != NULL; name = g_dir_read_name(folder)) {
    g_autofree char *path = g_build_filename(argv[1], name, NULL);
    g_autofree char *content = NULL;
    gsize size = 0;
    if (!g_file_get_contents(path, &content, &size, &error)) {
      g_printerr("%s\n", error->message);
      return 2;
    }
    LLVMFuzzerTestOneInput((const uint8_t *)content, size);
    run_mutations(content, size, random);
    files++;
  }
  g_print("%u files, %u inputs\n", files, files * (MUTATIONS + 1));
  return files > 0 ? 0 : 2;
}
