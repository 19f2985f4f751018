/* .ainode-model, the file we keep in the folder of a model that we proved: what a restart needs to know
 * without running it. A folder without one comes from an official AINode. Any thread. */
#pragma once
#include "tsblock/tsblock.h"

#include <glib.h>
#include <sys/stat.h>

#define AIN_MANIFEST_NAME ".ainode-model"

/* Tells whether a file was touched since the manifest was written. */
typedef struct {
  gint64 size;
  gint64 modified; /* nanoseconds */
} AinFileMark;
AinFileMark ain_file_mark(const struct stat *info);

typedef struct {
  char *digest;
  char *uri;
  AinDType dtype;
  guint max_batch;
  guint threads; /* 0 in a file that does not say */
  gboolean writes_input;
  guint64 generation;
  gint64 registered;  /* wall clock, microseconds */
  AinFileMark model;  /* all but the configuration */
  AinFileMark config; /* config.yaml or config.json */
} AinManifest;
void ain_manifest_clear(AinManifest *manifest);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AinManifest, ain_manifest_clear)

/* Atomic and synced. Errors: INTERNAL. */
gboolean ain_manifest_write(const AinManifest *manifest, const char *directory, GError **error);

/* FALSE without an error: there is none. Errors: INVALID (unreadable, or not what we write). */
gboolean ain_manifest_read(AinManifest *manifest, const char *directory, GError **error);
