/* How a configuration is put together from its sources. Private to host/config and its tests. */
#pragma once
#include "config/table.h"

/* Where a value came from; AinConfig.origins has one for each row of the table. */
struct AinOrigin {
  char *spelled; /* the name it was given under */
  char *text;
  char *source; /* "default", "/path/file:12", "environment AIN_RPC_PORT", "command line" */
};

typedef struct {
  const char *home;               /* absolute */
  const char *file;               /* what messages call the file */
  const char *data;               /* its text; NULL: no file */
  gsize size;                     /* of data */
  const char *const *environment; /* "NAME=value", NULL-terminated, or NULL */
  const char *const *overrides;   /* "key=value", NULL-terminated, or NULL */
} AinConfigInput;

/* As ain_config_load, from texts: no file, environment or working directory is read, but for the two data
 * directories' existence. Errors: INVALID, TOO_LARGE. */
AinConfig *ain_config_load_input(const AinConfigInput *input, GError **error);
