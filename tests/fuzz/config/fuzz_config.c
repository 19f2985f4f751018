/* Any bytes as the properties file, the environment and the command line: an error or a whole configuration.
 */
#include "config/load.h"
#include "config/properties.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void drop_message(const char *domain, GLogLevelFlags level, const char *message, gpointer data) {
  (void)domain;
  (void)level;
  (void)data;
  g_assert_nonnull(message);
}

static void check(const AinConfig *config) {
  g_assert_cmpuint(config->n_seeds, >=, 1);
  g_assert_cmpuint(config->rpc_port, >=, 1);
  g_assert_nonnull(config->cluster_name);
  g_assert_true(g_path_is_absolute(config->system_dir));
  g_assert_true(g_path_is_absolute(config->models_dir));
  g_assert_true(g_path_is_absolute(config->builtin_models_dir));
  g_assert_true(g_path_is_absolute(config->logs_dir));
  g_assert_cmpint(config->max_frame_bytes, >=, 1048576);
  g_autofree char *printed = ain_config_print(config);
  g_assert_true(g_utf8_validate(printed, -1, NULL));
}

static void try_input(const AinConfigInput *input) {
  g_autoptr(GError) error = NULL;
  g_autoptr(AinConfig) config = ain_config_load_input(input, &error);
  g_assert_true((config == NULL) == (error != NULL));
  if (config != NULL) {
    check(config);
    return;
  }
  /* a message is one line of text, whatever came in */
  g_assert_true(g_utf8_validate(error->message, -1, NULL));
  g_assert_null(strpbrk(error->message, "\r\n\t\x1b"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static gboolean quiet;
  if (!quiet) {
    g_log_set_default_handler(drop_message, NULL);
    quiet = TRUE;
  }
  AinConfigInput file = { .home = "/nonexistent", .file = "f", .data = (const char *)data, .size = size };
  try_input(&file);
  g_autofree char *text = g_strndup((const char *)data, MIN(size, 65536));
  g_auto(GStrv) lines = g_strsplit(text, "\n", 64);
  AinConfigInput environment = { .home = "/nonexistent",
                                 .file = "f",
                                 .environment = (const char *const *)lines };
  try_input(&environment);
  AinConfigInput overrides = { .home = "/nonexistent", .file = "f", .overrides = (const char *const *)lines };
  try_input(&overrides);
  return 0;
}
