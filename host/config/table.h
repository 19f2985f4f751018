/* The one table of configuration keys and what the rest of this folder asks about a row. Everything here is
 * constant data: any thread. Private to host/config and its tests. */
#pragma once
#include "config/config.h"

#include <glib.h>

typedef enum {
  AIN_VALUE_TEXT,      /* min..max bytes */
  AIN_VALUE_INTEGER,   /* min..max */
  AIN_VALUE_PORT,      /* 1..65535 */
  AIN_VALUE_BOOLEAN,   /* 0 or 1 */
  AIN_VALUE_DECIMAL,   /* min..max */
  AIN_VALUE_HOST,      /* name or numeric address */
  AIN_VALUE_SEEDS,     /* host:port, ... */
  AIN_VALUE_PATH,      /* relative to the installation directory; min 0: may be empty */
  AIN_VALUE_RELEASE,   /* auto or 2.0.x */
  AIN_VALUE_TIME_ZONE, /* UTC+8, Asia/Shanghai, +08:00 */
  AIN_VALUE_CHOICE,    /* one of the words in choices */
  AIN_VALUE_SIZE_MAP,  /* {'name': bytes, ...} */
} AinValueType;

typedef enum {
  AIN_SECTION_CLUSTER,
  AIN_SECTION_SERVICE,
  AIN_SECTION_DATA,
  AIN_SECTION_DIRECTORIES,
  AIN_SECTION_INFERENCE,
  AIN_SECTION_COMPATIBILITY,
  AIN_SECTION_COUNT,
} AinSection;
const char *ain_section_title(AinSection section);

typedef enum {
  AIN_KEY_SHIPPED = 1 << 0,     /* stands uncommented in the shipped file: the keys of the manual */
  AIN_KEY_SECRET = 1 << 1,      /* never printed */
  AIN_KEY_ZERO_IS_OFF = 1 << 2, /* 0 is allowed beside min..max */
} AinKeyFlags;

#define AIN_KEY_NO_FIELD ((gsize)-1)

typedef struct {
  const char *name;
  const char *alias; /* the same setting's name in another release, or NULL */
  AinValueType type;
  guint flags;
  AinSection section;
  const char *choices; /* of a CHOICE: words separated by '|' */
  const char *initial; /* the default, as it would be written */
  gint64 min;
  gint64 max;
  const char *unit;  /* or NULL */
  const char *since; /* the first release of AINode that knew the key, or "this project" */
  const char *doc;   /* one sentence or two */
  gsize offset;      /* of the field in AinConfig; AIN_KEY_NO_FIELD: accepted without effect */
} AinKey;

extern const AinKey ain_keys[];
extern const guint ain_n_keys;

/* By name or alias; NULL for none. */
const AinKey *ain_key_find(const char *name);
static inline guint ain_key_index(const AinKey *key) {
  return (guint)(key - ain_keys);
}
/* The known name or alias with the smallest edit distance, which goes to *distance. Never NULL. Static. */
const char *ain_key_nearest(const char *name, guint *distance);
/* The environment variable of a name or alias. Owned. */
char *ain_key_environment(const char *name);
