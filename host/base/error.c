#include "base/error.h"

GQuark ain_error_quark(void) {
  return g_quark_from_static_string("ain-error-quark");
}

void ain_error_set_errno(GError **error, AinErrorCode code, int errno_value, const char *format, ...) {
  if (error == NULL) {
    return;
  }
  va_list arguments;
  va_start(arguments, format);
  g_autofree char *text = g_strdup_vprintf(format, arguments);
  va_end(arguments);
  g_set_error(error, AIN_ERROR, (int)code, "%s: %s", text, g_strerror(errno_value));
}
