/* config.yaml as hostile bytes: what is accepted keeps every promise of model_config.h, what is refused is
 * told in one line of valid text. */
#include "registry/model_config.h"
#include "tsblock/tsblock.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static void check_shape(const gint32 *shape, const guint8 *types) {
  g_assert_cmpint(shape[0], >=, 1);
  g_assert_cmpint(shape[1], >=, 1);
  g_assert_cmpint(shape[0], <=, AIN_TSBLOCK_MAX_ROWS);
  g_assert_cmpint(shape[1], <=, AIN_TSBLOCK_MAX_COLUMNS);
  g_assert_cmpint((gint64)shape[0] * shape[1], <=, AIN_CONFIG_MAX_ELEMENTS);
  for (gint32 i = 0; i < shape[1]; i++) {
    g_assert_cmpint(types[i], <=, AIN_TS_TEXT);
  }
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
  g_autoptr(GError) error = NULL;
  g_auto(AinModelConfig) config;
  if (!ain_model_config_parse(&config, "config.yaml", data, size, &error)) {
    g_assert_nonnull(error);
    g_assert_true(g_str_has_prefix(error->message, "config.yaml"));
    g_assert_true(g_utf8_validate(error->message, -1, NULL));
    g_assert_null(strchr(error->message, '\n'));
    g_assert_cmpuint(strlen(error->message), <, 2048);
    return 0;
  }
  g_assert_null(error);
  check_shape(config.input_shape, config.input_types);
  check_shape(config.output_shape, config.output_types);
  if (config.attributes != NULL) {
    g_assert_true(g_utf8_validate(config.attributes, -1, NULL));
    g_assert_cmpuint(strlen(config.attributes), <=, AIN_CONFIG_MAX_ATTRIBUTES + 512);
  }
  for (guint i = 0; i < config.warnings->len; i++) {
    g_assert_true(g_utf8_validate(g_ptr_array_index(config.warnings, i), -1, NULL));
  }
  return 0;
}
