/* Looks at a folder that may hold the weights of a large model. Blocking: helper threads; no state. */
#pragma once
#include "registry/registry.h"
#include "registry/stage.h"

#include <glib.h>

#define AIN_WEIGHTS_FILE "model.safetensors"
#define AIN_WEIGHTS_CONFIG "config.json"

typedef enum {
  AIN_WEIGHTS_ABSENT,     /* neither file; not of a model */
  AIN_WEIGHTS_FOREIGN,    /* a config.json of something else */
  AIN_WEIGHTS_INCOMPLETE, /* a file is missing or still being written */
  AIN_WEIGHTS_BROKEN,     /* both are there, but not what they should be */
  AIN_WEIGHTS_WHOLE,
} AinWeightsState;

typedef struct {
  char *id;        /* name of the folder */
  char *directory; /* absolute */
  AinWeightsState state;
  AinModelKind kind; /* when config.json was read: INCOMPLETE may not know it (has_kind) */
  gboolean has_kind;
  gboolean missing;     /* a file is not there at all */
  gboolean unsettled;   /* no event may tell when it is whole: look again soon */
  char *reason;         /* unless WHOLE: a sentence that names the path */
  AinSourceStamp stamp; /* config and model: the weights; when WHOLE */
} AinWeights;

/* What events told of a file while it was watched. */
typedef enum {
  AIN_SEEN_NOTHING,
  AIN_SEEN_CHANGED, /* and not closed since */
  AIN_SEEN_CLOSED,  /* by a writer, or renamed in */
} AinFileSeen;

typedef struct {
  AinFileSeen config;
  AinFileSeen model;
} AinWeightsSeen;

/* seen matters where the kernel does not tell whether a file has a writer: then one that was not seen to be
 * closed must have been at rest for a while. Never NULL. */
AinWeights *ain_weights_look(const char *directory, AinWeightsSeen seen);
void ain_weights_free(AinWeights *weights);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinWeights, ain_weights_free)

/* Checks the header of a safetensors file of `size` bytes: its JSON text of header_size bytes, which begins
 * at byte 8. Every tensor must lie in the data, and the last must end where the file ends. Errors:
 * MODEL_INVALID, without the path. */
gboolean ain_weights_check_header(const char *header, gsize header_size, guint64 size, GError **error);

gboolean ain_file_stamps_equal(const AinSourceStamp *a, const AinSourceStamp *b);
