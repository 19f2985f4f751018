/* Any bytes as the header of a safetensors file: accepted, or refused with a sentence. */
#include "base/error.h"
#include "registry/weights.h"

#include <string.h>

#define DATA_BYTES 24

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
  g_autoptr(GError) error = NULL;
  gboolean good = ain_weights_check_header((const char *)data, size, 8 + size + DATA_BYTES, &error);
  g_assert_true(good == (error == NULL));
  if (error != NULL) {
    g_assert_cmpint(error->code, ==, AIN_ERROR_MODEL_INVALID);
    g_assert_true(g_utf8_validate(error->message, -1, NULL));
    g_assert_cmpuint(strlen(error->message), <, 2000);
  }
  return 0;
}
