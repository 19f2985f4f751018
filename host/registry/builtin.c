#include "registry/builtin.h"

#include "registry/internal.h"

#include <string.h>

/* Requests of large models with the same shape and options are computed together, so many at most. */
#define LARGE_MODEL_BATCH 16

static const AinBuiltin builtins[] = {
  { "arima", "_arima", AIN_KIND_STATISTICAL, "Arima" },
  { "holtwinters", "_holtwinters", AIN_KIND_STATISTICAL, "HoltWinters" },
  { "exponential_smoothing", "_exponentialsmoothing", AIN_KIND_STATISTICAL, "ExponentialSmoothing" },
  { "naive_forecaster", "_naiveforecaster", AIN_KIND_STATISTICAL, "NaiveForecaster" },
  { "stl_forecaster", "_stlforecaster", AIN_KIND_STATISTICAL, "StlForecaster" },
  { "gaussian_hmm", "_gaussianhmm", AIN_KIND_STATISTICAL, "GaussianHmm" },
  { "gmm_hmm", "_gmmhmm", AIN_KIND_STATISTICAL, "GmmHmm" },
  { "stray", "_stray", AIN_KIND_STATISTICAL, "Stray" },
  { "timer_xl", "_timerxl", AIN_KIND_TIMER, "Timer-XL" },
  { "sundial", "_sundial", AIN_KIND_SUNDIAL, "Timer-Sundial" },
};

guint ain_builtin_count(void) {
  return G_N_ELEMENTS(builtins);
}

const AinBuiltin *ain_builtin_at(guint index) {
  return &builtins[index];
}

const AinBuiltin *ain_builtin_find(const char *id) {
  for (guint i = 0; i < G_N_ELEMENTS(builtins); i++) {
    if (strcmp(builtins[i].id, id) == 0) {
      return &builtins[i];
    }
  }
  return NULL;
}

const char *ain_builtin_canonical(const char *id) {
  for (guint i = 0; id[0] == '_' && i < G_N_ELEMENTS(builtins); i++) {
    if (g_ascii_strcasecmp(builtins[i].old_id, id) == 0) {
      return builtins[i].id;
    }
  }
  return id;
}

const char *ain_builtin_type(const char *id, AinModelKind kind, gboolean later) {
  const AinBuiltin *builtin = ain_builtin_find(id);
  switch (kind) {
  case AIN_KIND_TORCHSCRIPT:
  case AIN_KIND_PIPELINE:
    return ""; /* as the official node shows user models */
  case AIN_KIND_STATISTICAL:
    return later || builtin == NULL ? "sktime" : builtin->type;
  case AIN_KIND_TIMER:
    return later ? "timer" : "Timer-XL";
  case AIN_KIND_SUNDIAL:
    return later ? "sundial" : "Timer-Sundial";
  }
  g_return_val_if_reached("");
}

gboolean ain_builtin_kind_of(const char *model_type, AinModelKind *kind) {
  if (strcmp(model_type, "timer") == 0) {
    *kind = AIN_KIND_TIMER;
    return TRUE;
  }
  if (strcmp(model_type, "sundial") == 0) {
    *kind = AIN_KIND_SUNDIAL;
    return TRUE;
  }
  return FALSE;
}

AinModel *ain_builtin_model_new(const char *id, AinModelKind kind, const char *directory,
                                AinCategory category) {
  AinModel *model = ain_model_new(id, directory);
  model->category = category;
  model->kind = kind;
  model->dtype = AIN_DTYPE_FLOAT64;
  model->max_batch = kind == AIN_KIND_STATISTICAL ? 1 : LARGE_MODEL_BATCH;
  model->writes_input = FALSE;
  model->proven = TRUE;
  return model;
}
