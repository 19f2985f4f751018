/* Which ids a model may have: the rule that DataNodes apply to CREATE MODEL, checked again here because an id
 * becomes a folder. */
#include "registry/model_id.h"

#include "base/error.h"
#include "registry/registry.h"
#include "registry/text.h"

#include <string.h>

#define ID_MIN 2
#define ID_MAX 64

/* Built-ins of 2.0.5 and later, then their ids in 2.0.1 and 2.0.2. */
static const char *const BUILTIN_IDS[] = {
  "arima",
  "holtwinters",
  "exponential_smoothing",
  "naive_forecaster",
  "stl_forecaster",
  "gaussian_hmm",
  "gmm_hmm",
  "stray",
  "timer_xl",
  "sundial",
  "chronos2",
  "moirai2",
  "toto",
  "moment",
  "patchtst_fm",
  "_arima",
  "_holtwinters",
  "_exponentialsmoothing",
  "_naiveforecaster",
  "_stlforecaster",
  "_gaussianhmm",
  "_gmmhmm",
  "_stray",
};

static const char *const RESERVED_NAMES[] = { "weights", "builtin", "user_defined" };

static gboolean is_among(const char *const *names, guint n_names, const char *id, gsize size) {
  for (guint i = 0; i < n_names; i++) {
    if (strlen(names[i]) == size && g_ascii_strncasecmp(names[i], id, size) == 0) {
      return TRUE;
    }
  }
  return FALSE;
}

gboolean ain_registry_is_builtin_id(const char *id, gsize size) {
  return is_among(BUILTIN_IDS, G_N_ELEMENTS(BUILTIN_IDS), id, size);
}

gboolean ain_registry_is_reserved_name(const char *name, gsize size) {
  return is_among(RESERVED_NAMES, G_N_ELEMENTS(RESERVED_NAMES), name, size);
}

gboolean ain_registry_check_id_text(const char *id, gsize size, GError **error) {
  if (size == 0) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "the model id is empty; give it %d to %d characters",
                ID_MIN, ID_MAX);
    return FALSE;
  }
  g_autofree char *shown = ain_registry_show(id, (gssize)MIN(size, (gsize)ID_MAX * 2));
  if (size < ID_MIN || size > ID_MAX) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "the model id \"%s\" has %" G_GSIZE_FORMAT " bytes; %d to %d are allowed", shown, size,
                ID_MIN, ID_MAX);
    return FALSE;
  }
  for (gsize i = 0; i < size; i++) {
    if (!g_ascii_isalnum(id[i]) && id[i] != '_' && id[i] != '-') {
      g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                  "the model id \"%s\" has a character other than letters, digits, '_' and '-' at place "
                  "%" G_GSIZE_FORMAT,
                  shown, i + 1);
      return FALSE;
    }
  }
  if (id[0] == '_') {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "the model id \"%s\" starts with '_', which is kept for built-in models", shown);
    return FALSE;
  }
  return TRUE;
}

gboolean ain_registry_check_id(const char *id, gsize size, GError **error) {
  if (ain_registry_is_builtin_id(id, size)) {
    g_autofree char *shown = ain_registry_show(id, (gssize)size);
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_EXISTS,
                "the model id \"%s\" is the name of a built-in model; choose another", shown);
    return FALSE;
  }
  if (!ain_registry_check_id_text(id, size, error)) {
    return FALSE;
  }
  if (ain_registry_is_reserved_name(id, size)) {
    g_autofree char *shown = ain_registry_show(id, (gssize)size);
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "the model id \"%s\" is the name of a folder of the AINode itself; choose another", shown);
    return FALSE;
  }
  return TRUE;
}
