/* A folder that holds a model, as CREATE MODEL names it or as it lies in its place: which convention it
 * follows, its files, their digest and their copy. Blocking: helper threads; no state.
 *
 * config.yaml with model.pt or model.pt2 (or both): these files alone. Else config.json, a pipeline: the
 * whole tree, except names that begin with '.', __pycache__ and *.pyc. Links are followed, but only to
 * regular files. */
#pragma once
#include "registry/stage.h"

#include <glib.h>

/* Limits of a pipeline's tree. */
#define AIN_SOURCE_MAX_FILES 2000U
#define AIN_SOURCE_MAX_DEPTH 8U

typedef struct {
  char *name; /* below the folder, with '/' */
  AinFileStamp stamp;
} AinSourceFile;

typedef struct {
  char *directory;
  gboolean pipeline;
  GPtrArray *files;   /* AinSourceFile *, sorted by name; the configuration is among them */
  const char *config; /* its name; static */
  guint64 size;       /* bytes of all files but the configuration */
  AinSourceStamp stamp;
  GBytes *config_bytes; /* its content, as read once */
} AinSource;
void ain_source_clear(AinSource *source);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AinSource, ain_source_clear)

/* Looks at a folder; reads no file but the configuration, and that not before ain_source_read_config().
 * *source needs a clear in any case. Errors: INVALID_URI, TOO_LARGE (too many files, too deep). */
gboolean ain_source_open(AinSource *source, const char *directory, GError **error);

/* Fills config_bytes. Errors: INVALID_URI, TOO_LARGE, INTERNAL. */
gboolean ain_source_read_config(AinSource *source, GError **error);

/* Whether a file of that name is among them. */
gboolean ain_source_has(const AinSource *source, const char *name);

/* Owned digest (sha256) of names and contents. to: folder that gets a synced copy of every file, or NULL. The
 * configuration comes from config_bytes. Errors: CANCELLED, INVALID_URI (it changed meanwhile), INTERNAL. */
char *ain_source_digest(const AinSource *source, const char *to, const AinStage *stage, GError **error);
