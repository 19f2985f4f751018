/* The file work of a registration. Blocking: helper threads, or before the loop runs. Nothing here knows the
 * registry; a caller hands over an AinStage and leaves it alone until the call is back. */
#pragma once
#include "registry/manifest.h"
#include "registry/registry.h"

#include <glib.h>
#include <stdatomic.h>

#define AIN_MODEL_FILE "model.pt"
#define AIN_EXPORT_FILE "model.pt2"
#define AIN_CONFIG_FILE "config.yaml"
#define AIN_PIPELINE_CONFIG "config.json"
/* Folder of models_dir where official AINodes of 2.0.8 and later keep the models of users; pipelines go
 * there. */
#define AIN_PIPELINES_FOLDER "user_defined"
#define AIN_STAGING_NAME ".staging"

/* Which file this is and whether it was touched: equal stamps mean equal content. */
typedef struct {
  guint64 device;
  guint64 inode;
  gint64 size;
  gint64 modified; /* nanoseconds */
  gint64 changed;  /* nanoseconds */
} AinFileStamp;
typedef struct {
  AinFileStamp config;
  AinFileStamp model;
} AinSourceStamp;

typedef struct {
  /* in */
  char *id;
  char *uri; /* NULL for a model that is already in its place */
  char *models_dir;
  char *staging_dir;
  guint64 max_bytes;
  gint64 registered; /* wall clock, microseconds */
  const atomic_bool *cancelled;
  AinFetcher fetcher; /* its fetch may be NULL */
  char *fetched;      /* own: folder of the fetched files while they are needed */
  char *place;        /* where the model lies, or will: in, unless it is copied; else out */
  /* out */
  AinModel *model;     /* not published; its directory is the staged one */
  char *directory;     /* staged folder as long as there is one */
  GPtrArray *warnings; /* of char * */
  AinSourceStamp stamp;
} AinStage;
void ain_stage_discard(AinStage *stage); /* removes the staged folder, if any, and staging_dir when empty */
void ain_stage_clear(AinStage *stage);   /* removes a staged folder that is still there */

/* Copies the source that uri names into a fresh folder below staging_dir, checked, synced and with its
 * digest. On failure nothing is left. Errors: those of ain_registry_register(), CANCELLED. */
gboolean ain_stage_copy(AinStage *stage, GError **error);

/* Writes the manifest and renames the staged folder to its place. Errors: MODEL_EXISTS, INTERNAL. */
gboolean ain_stage_commit(AinStage *stage, GError **error);

/* For a model that is in its place: computes the digest and writes the manifest. Errors: INTERNAL,
 * INVALID_URI.
 */
gboolean ain_stage_commit_in_place(AinStage *stage, GError **error);

/* Whether the source has the content of the model in its place. known_digest, known_stamp, known_uri: of
 * that model, NULL for not known. A source that cannot be read counts as the same when the uri is. Errors:
 * CANCELLED, INTERNAL. */
gboolean ain_stage_compare(AinStage *stage, const char *known_digest, const char *known_uri,
                           const AinSourceStamp *known_stamp, gboolean *same, GError **error);

/* Reads the model in directory without its manifest. Errors: INVALID_URI (a file is missing), INVALID_CONFIG,
 * MODEL_INVALID. */
AinModel *ain_stage_load(const char *id, const char *directory, GPtrArray *warnings, AinSourceStamp *stamp,
                         GError **error);

/* Moves the model's folder out of sight and removes it. Errors: DROP_FAILED: it is still whole and in its
 * place.
 */
gboolean ain_stage_remove(AinStage *stage, GError **error);
