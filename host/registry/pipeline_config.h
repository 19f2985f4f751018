/* config.json of a model: what the host needs of it. The worker reads the file again. Any thread; no I/O. */
#pragma once
#include "registry/registry.h"
#include "registry/source.h"

#include <glib.h>

/* A model that is not published, from the files of source (config_bytes read): a pipeline when pipeline_cls
 * names one, else a large model when model_type is one of ours. shown: how messages call config.json. Errors:
 * INVALID_CONFIG, with what was found and what is allowed. */
AinModel *ain_pipeline_model_new(const char *id, const AinSource *source, const char *shown, GError **error);
