/* Files of models from the network, fetched by pyruntime/ainode/fetch.py in a process of its own that ends
 * with the work: what parses answers of strangers is neither in the host nor in a worker. Blocking; any
 * thread. */
#pragma once
#include <glib.h>
#include <stdatomic.h>

typedef enum {
  AIN_ENV_FETCH_FOLDER,  /* source: the uri of a model; its files go into directory, which exists */
  AIN_ENV_FETCH_WEIGHTS, /* source: a repository; what directory lacks of its two files appears there, whole
                          */
} AinEnvFetchMode;

/* All borrowed. */
typedef struct {
  const char *python;  /* sys.executable */
  const char *lib_dir; /* holds pyruntime/ */
  AinEnvFetchMode mode;
  const char *source;
  const char *directory;
  guint64 max_bytes;
  gint64 timeout_s;
  gboolean private_addresses;   /* FALSE: http and https reach public addresses only */
  const atomic_bool *cancelled; /* ends it when set */
} AinEnvFetch;

/* Errors: INVALID_URI (not there, not allowed, broken off, too late), TOO_LARGE, CANCELLED, ENVIRONMENT. What
 * was fetched until then is left in directory (not with WEIGHTS). */
gboolean ain_env_fetch(const AinEnvFetch *fetch, GError **error);
