/* config.yaml of a user model. Any thread; no I/O. */
#pragma once
#include <glib.h>

/* Limits of the file. */
#define AIN_CONFIG_MAX_BYTES (1U << 20)
#define AIN_CONFIG_MAX_ATTRIBUTES (16U << 10) /* bytes of their text; longer is cut */
#define AIN_CONFIG_MAX_ELEMENTS (1U << 28)    /* rows x columns of an input or output */

typedef struct {
  gint32 input_shape[2];  /* rows, columns */
  gint32 output_shape[2]; /* rows, columns */
  guint8 *input_types;    /* AinTsType, input_shape[1] of them */
  guint8 *output_types;   /* AinTsType, output_shape[1] of them */
  char *attributes;       /* Python text of the attributes, or NULL */
  GPtrArray *warnings;    /* of char *: what is odd but allowed */
} AinModelConfig;

/* Reads size bytes of data; name is how messages call the file. Errors: INVALID_CONFIG, TOO_LARGE, with
 * file, line, key, what was found and what is allowed. After a failure *config needs no clear. */
gboolean ain_model_config_parse(AinModelConfig *config, const char *name, const void *data, gsize size,
                                GError **error);
void ain_model_config_clear(AinModelConfig *config);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AinModelConfig, ain_model_config_clear)
