#include "base/error.h"

#include <errno.h>

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

/* What has run out and what helps; NULL where errno says something else. */
static const char *remedy(int errno_value) {
  switch (errno_value) {
  case EAGAIN:
    return "the limit of processes is reached (ulimit -u, TasksMax= of the service, pids of the container); "
           "raise it or unload a model";
  case EMFILE:
    return "raise the limit of descriptors (ulimit -n, LimitNOFILE= of the service) or unload a model";
  case ENFILE:
    return "the whole machine has used up its descriptors (fs.file-max)";
  case ENOMEM:
  case ENOSPC:
    return "give the AINode more memory (of the machine, MemoryMax= of the service, the container), or "
           "unload a "
           "model";
  default:
    return NULL;
  }
}

void ain_error_set_os(GError **error, int errno_value, const char *format, ...) {
  if (error == NULL) {
    return;
  }
  va_list arguments;
  va_start(arguments, format);
  g_autofree char *text = g_strdup_vprintf(format, arguments);
  va_end(arguments);
  const char *help = remedy(errno_value);
  g_set_error(error, AIN_ERROR, help != NULL ? AIN_ERROR_EXHAUSTED : AIN_ERROR_INTERNAL, "%s: %s%s%s", text,
              g_strerror(errno_value), help != NULL ? "; " : "", help != NULL ? help : "");
}
