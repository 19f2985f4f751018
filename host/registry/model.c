/* AinModel: reference counting and copies. */
#include "registry/internal.h"

const char *ain_model_kind_name(AinModelKind kind) {
  switch (kind) {
  case AIN_KIND_TORCHSCRIPT:
    return "torchscript";
  case AIN_KIND_STATISTICAL:
    return "statistical";
  case AIN_KIND_TIMER:
    return "timer";
  case AIN_KIND_SUNDIAL:
    return "sundial";
  case AIN_KIND_PIPELINE:
    return "pipeline";
  }
  g_return_val_if_reached(NULL);
}

AinModel *ain_model_new(const char *id, const char *directory) {
  AinModel *model = g_new0(AinModel, 1);
  g_atomic_ref_count_init(&model->references);
  model->id = g_strdup(id);
  model->category = AIN_CATEGORY_USER;
  model->kind = AIN_KIND_TORCHSCRIPT;
  model->directory = g_strdup(directory);
  model->dtype = AIN_DTYPE_FLOAT32;
  model->max_batch = 1;
  model->writes_input = TRUE;
  return model;
}

AinModel *ain_model_copy(const AinModel *model, const char *directory, guint64 generation) {
  AinModel *copy = ain_model_new(model->id, directory);
  copy->category = model->category;
  copy->kind = model->kind;
  copy->generation = generation;
  for (int i = 0; i < 2; i++) {
    copy->input_shape[i] = model->input_shape[i];
    copy->output_shape[i] = model->output_shape[i];
  }
  copy->input_types = g_memdup2(model->input_types, (gsize)model->input_shape[1]);
  copy->output_types = g_memdup2(model->output_types, (gsize)model->output_shape[1]);
  copy->type = g_strdup(model->type);
  copy->threads = model->threads;
  copy->dtype = model->dtype;
  copy->max_batch = model->max_batch;
  copy->threads = model->threads;
  copy->writes_input = model->writes_input;
  copy->proven = model->proven;
  copy->attributes = g_strdup(model->attributes);
  copy->digest = g_strdup(model->digest);
  return copy;
}

AinModel *ain_model_ref(AinModel *model) {
  g_atomic_ref_count_inc(&model->references);
  return model;
}

void ain_model_unref(AinModel *model) {
  if (model == NULL || !g_atomic_ref_count_dec(&model->references)) {
    return;
  }
  g_free(model->id);
  g_free(model->directory);
  g_free(model->input_types);
  g_free(model->output_types);
  g_free(model->type);
  g_free(model->attributes);
  g_free(model->digest);
  g_free(model);
}
