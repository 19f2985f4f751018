/* One request of a peer and the way to answer it: what rpc hands to the rest of the host.
 *
 * A call is reference counted; the request's slices borrow from the frame, which lives as long as the call.
 * Each call is answered exactly once by one ain_call_reply_*(), which works on a closed connection too (the
 * bytes are dropped). Replies on one connection leave in the order of the requests. All functions except
 * ref/unref and the getters: loop thread only. */
#pragma once
#include "base/slice.h"

#include <glib.h>

typedef enum {
  AIN_METHOD_UNKNOWN =
      0, /* never handed out: answered by rpc itself with TApplicationException UNKNOWN_METHOD */
  AIN_METHOD_HEARTBEAT,
  AIN_METHOD_STOP,
  AIN_METHOD_REGISTER_MODEL,
  AIN_METHOD_DELETE_MODEL,
  AIN_METHOD_SHOW_MODELS,
  AIN_METHOD_SHOW_LOADED_MODELS,
  AIN_METHOD_SHOW_DEVICES,
  AIN_METHOD_LOAD_MODEL,
  AIN_METHOD_UNLOAD_MODEL,
  AIN_METHOD_INFERENCE,
  AIN_METHOD_FORECAST,
  AIN_METHOD_CLASSIFY,
  AIN_METHOD_CREATE_TRAINING,
  AIN_METHOD_CREATE_TUNING,
  AIN_METHOD_COUNT,
} AinMethod;

/* Families of releases by their AINode IDL (shared/reference wire/README.md); a set of them as a bit mask. */
typedef enum {
  AIN_FAMILY_A = 1 << 0, /* 2.0.1-beta, 2.0.2 */
  AIN_FAMILY_C = 1 << 1, /* 2.0.3 */
  AIN_FAMILY_D = 1 << 2, /* 2.0.4 */
  AIN_FAMILY_E = 1 << 3, /* 2.0.5 */
  AIN_FAMILY_F = 1 << 4, /* 2.0.6, 2.0.7 */
  AIN_FAMILY_G = 1 << 5, /* 2.0.8 */
  AIN_FAMILY_H = 1 << 6, /* 2.0.10 and later */
  AIN_FAMILY_ALL = (1 << 7) - 1,
} AinFamily;
typedef guint AinFamilies;

typedef struct {
  AinSlice key;
  AinSlice value;
} AinPair;

typedef struct {
  AinMethod method;
  AinFamilies families; /* the families whose callers could have sent these bytes; never 0 */
  AinSlice model_id;    /* every method about one model; size 0 and data NULL when the field was absent */
  /* HEARTBEAT */
  gint64 heartbeat_timestamp;
  gboolean need_sampling_load;
  /* REGISTER_MODEL: already put the right way round (clash R3); uri may be anything */
  AinSlice uri;
  /* SHOW_LOADED_MODELS, LOAD_MODEL, UNLOAD_MODEL */
  const AinSlice *devices;
  guint n_devices;
  /* INFERENCE, FORECAST, CLASSIFY */
  AinSlice dataset;       /* a TsBlock, not yet looked at */
  const AinPair *options; /* inferenceAttributes or options, in wire order */
  guint n_options;
  const guint
      *column_order; /* families A, C: for each model column the index of the block's column; else NULL */
  guint n_column_order;
  gboolean has_window; /* WINDOW count(interval, step); values as sent, not yet checked */
  gint32 window_interval;
  gint32 window_step;
  gint32 output_length;    /* FORECAST; as sent */
  gboolean has_covariates; /* FORECAST: historyCovs or futureCovs, SQL queries that are not read further */
} AinRequest;

typedef struct AinCall AinCall;

const AinRequest *ain_call_request(const AinCall *call); /* borrowed */
AinCall *ain_call_ref(AinCall *call);
void ain_call_unref(AinCall *call); /* NULL is allowed; any thread */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinCall, ain_call_unref)

/* The caller's family: what the bytes say, and the cluster's release where they leave it open. */
AinFamily ain_call_family(const AinCall *call);

/* TRUE once the peer's connection is gone. Any thread. */
gboolean ain_call_is_abandoned(const AinCall *call);
/* func runs on the loop thread when the connection goes before the reply; NULL func removes it. One at a
 * time. */
void ain_call_on_abandon(AinCall *call, void (*func)(AinCall *call, gpointer data), gpointer data);
/* ain_loop_now() when the last byte of the frame was read. */
gint64 ain_call_arrival(const AinCall *call);

/* Whether `again` may be `earlier` sent once more by a client that gave up waiting, going by the connections:
 * again is the first request on its own, and nothing was asked on that of earlier since, which comes from the
 * same host. DataNodes of 2.0.8 and later leave the old connection open, so that nothing else tells. */
gboolean ain_call_may_repeat(const AinCall *again, const AinCall *earlier);
/* The first request on its connection. */
gboolean ain_call_is_first(const AinCall *call);

/* What the status numbers are chosen by; set once by main, changed when the cluster's release is learnt. */
typedef struct AinRpcServer AinRpcServer;

/* --- answers; each builds the response struct of the call's method and family --- */

/* Any method: an error. The code is mapped for the release (rpc/status.h), the message is error->message. */
void ain_call_reply_error(AinCall *call, const GError *error);

/* STOP, DELETE_MODEL, LOAD_MODEL, UNLOAD_MODEL, CREATE_*: TSStatus 200. message may be NULL. */
void ain_call_reply_ok(AinCall *call, const char *message);

typedef struct {
  double cpu_percent;
  double memory_percent;
  double disk_percent;
  double free_disk_gib;
} AinLoadSample;
/* status is exactly "Running", "Unknown", "Removing" or "ReadOnly"; reason and sample may be NULL. */
void ain_call_reply_heartbeat(AinCall *call, const char *status, const char *reason,
                              const AinLoadSample *sample);

typedef struct {
  gint32 input_shape[2];     /* rows, columns */
  gint32 output_shape[2];    /* rows, columns */
  const guint8 *input_types; /* AinTsType, input_shape[1] of them */
  const guint8 *output_types;
  const char *attributes; /* NULL for none */
} AinModelConfigs;
/* REGISTER_MODEL success; configs is needed by families A..F and must not be NULL. */
void ain_call_reply_registered(AinCall *call, const AinModelConfigs *configs);

typedef struct {
  const char *id;
  const char *type;
  const char *category;
  const char *state;
} AinModelRow; /* texts already spelled for the release */
void ain_call_reply_models(AinCall *call, const AinModelRow *rows, guint n_rows);

typedef struct {
  const char *device; /* "cpu", "0", ... */
  const char *model_id;
  gint32 instances;
} AinLoadedRow; /* rows of one device stand together */
void ain_call_reply_loaded_models(AinCall *call, const AinLoadedRow *rows, guint n_rows);

typedef struct {
  const char *id;   /* "cpu", "0", ... */
  const char *type; /* "cpu", "cuda" */
} AinDeviceRow;
void ain_call_reply_devices(AinCall *call, const AinDeviceRow *rows, guint n_rows);

/* INFERENCE, FORECAST, CLASSIFY success: n_blocks TsBlocks of known sizes, written by fill straight into the
 * reply's buffer (at least one block; families D..F take the first for FORECAST). */
typedef void (*AinBlockFill)(guint index, guint8 *dst, gsize size, gpointer data);
void ain_call_reply_blocks(AinCall *call, guint n_blocks, const gsize *sizes, AinBlockFill fill,
                           gpointer data);
