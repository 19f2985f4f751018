/* The models of this node. Disk is the truth: <models_dir>/<id>/{config.yaml,model.pt or model.pt2} and
 * <models_dir>/user_defined/<id>/{config.json, ...} for pipelines.
 *
 * Registration copies the source into <models_dir>/.staging, checks config.yaml, proves the model by loading
 * and running it once in a throw-away worker (the prover), and only then renames it in. Failure leaves
 * nothing. Loop thread, except where said. */
#pragma once
#include "base/loop.h"
#include "tsblock/tsblock.h"

#include <glib.h>
#include <stdatomic.h>

typedef enum { AIN_CATEGORY_BUILTIN, AIN_CATEGORY_FINE_TUNED, AIN_CATEGORY_USER } AinCategory;
typedef enum {
  AIN_STATE_INACTIVE,
  AIN_STATE_LOADING, /* registration under way: listed, not yet usable */
  AIN_STATE_ACTIVE,
  AIN_STATE_DROPPING,
  AIN_STATE_FAILED,
} AinModelState;

/* How the worker loads the model: the name goes to pyruntime/ainode/loaders.py. */
typedef enum {
  AIN_KIND_TORCHSCRIPT,
  AIN_KIND_STATISTICAL, /* fitted to every request anew; its id says which one */
  AIN_KIND_TIMER,
  AIN_KIND_SUNDIAL,
  AIN_KIND_PIPELINE, /* a class of the user's, named by config.json */
} AinModelKind;
const char *ain_model_kind_name(AinModelKind kind);

/* Immutable once published; reference counted with atomic counts, so any thread may hold one. */
typedef struct AinModel {
  gatomicrefcount references;
  char *id;
  AinCategory category;
  AinModelKind kind;
  char *directory;        /* absolute */
  guint64 generation;     /* grows with every registration: a worker serves one generation */
  gint32 input_shape[2];  /* rows, columns */
  gint32 output_shape[2]; /* rows, columns */
  guint8 *input_types;    /* AinTsType, input_shape[1] of them */
  guint8 *output_types;   /* AinTsType, output_shape[1] of them */
  char *type;             /* model_type of config.json, or NULL */
  AinDType dtype;         /* element type the model is run with; chosen by the prover */
  guint max_batch;        /* samples that may run together; 1 = never batch; set by the prover */
  guint threads;          /* of the framework; 0 = one. Set by the prover */
  gboolean writes_input;  /* the model writes into its input: give it a private copy */
  /* FALSE: taken over from an official AINode and never run by us. dtype is then float32 and writes_input
   * TRUE, as that node ran it, which is right without a proof; ain_registry_prove() finds out the rest. */
  gboolean proven;
  char *attributes; /* text of the attributes mapping as SHOW MODELS of 2.0.1 prints it; NULL for none */
  char *digest;     /* sha256 over its files, for idempotent repeats; NULL when not proven */
} AinModel;

/* Models that take any number of rows and columns and decide the shape of their answer: input_shape and
 * output_shape are 0, or what config.json says as a hint; there are no input_types and output_types. */
static inline gboolean ain_model_is_flexible(const AinModel *model) {
  return model->kind != AIN_KIND_TORCHSCRIPT;
}

AinModel *ain_model_ref(AinModel *model);
void ain_model_unref(AinModel *model);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinModel, ain_model_unref)

/* Loads and runs a staged model once, from model->directory. Sets model->dtype, model->max_batch,
 * model->threads and model->writes_input before done; calls done exactly once on the loop thread (perhaps
 * before prove() returns, perhaps after the registry is freed), error NULL on success (the callee does not
 * free it). At most AIN_REGISTRY_JOBS proofs run at once.
 */
#define AIN_REGISTRY_JOBS 2
typedef void (*AinProveDone)(const GError *error, gpointer data);
typedef struct {
  void (*prove)(gpointer prover, AinModel *model, AinProveDone done, gpointer data);
  /* Nobody wants to know any more: ends a proof that is under way, with an error and from within. Does
   * nothing where there is none; may be NULL. */
  void (*cancel)(gpointer prover, const AinModel *model);
  gpointer prover;
} AinProver;

typedef struct AinRegistry AinRegistry;

/* Reads models_dir (made when absent), removes leftovers of staging, takes over every sub-folder that holds a
 * valid model; an invalid one is listed FAILED with its reason logged and is never touched. Errors: INVALID
 * (directory unusable). */
AinRegistry *ain_registry_new(AinLoop *loop, const char *models_dir, AinProver prover, GError **error);
/* Before the loop is freed. Whoever still waits gets CANCELLED from within. NULL is allowed. */
void ain_registry_free(AinRegistry *registry);

/* Fetches the files of the model that an http://, https:// or repo:// uri names into directory, which exists
 * and is empty. Blocking, on helper threads; ends soon once *cancelled is set. Errors: those of
 * ain_registry_register(). */
typedef struct {
  gboolean (*fetch)(gpointer fetcher, const char *uri, const char *directory, const atomic_bool *cancelled,
                    GError **error);
  gpointer fetcher;
} AinFetcher;
/* Before anything is registered; without it such uris are UNSUPPORTED. fetcher must live as long as the loop.
 */
void ain_registry_set_fetcher(AinRegistry *registry, AinFetcher fetcher);

/* Most bytes of one model, its configuration apart, from now on; 16 GiB at first. */
void ain_registry_set_max_bytes(AinRegistry *registry, guint64 max_bytes);

/* Ids that may be registered: 2 to 64 of [A-Za-z0-9_-], no leading '_', no name of a folder of ours. Errors:
 * INVALID; MODEL_EXISTS for the name of a built-in of any release, in any case. Any thread. */
gboolean ain_registry_check_id(const char *id, gsize size, GError **error);

/* Whether uri can name a source at all (ain_registry_register() checks it too, but takes a C string: a caller
 * with bytes from outside asks here first). Errors: INVALID_URI, UNSUPPORTED. Any thread. */
gboolean ain_registry_check_uri(const char *uri, gsize size, GError **error);

/* done gets the published model (borrowed) or an error; data is the caller's. It is never called from within
 * this call. A repeat of the same id with the same content (while staging, or done) is the same success;
 * other content: MODEL_EXISTS. When the source of a finished registration is gone, the same uri is taken for
 * the same content. A registration waits for a drop of its id that is under way. Errors: INVALID,
 * INVALID_URI, UNSUPPORTED, INVALID_CONFIG, MODEL_EXISTS, MODEL_INVALID, TOO_LARGE, BUSY (hundreds of
 * requests wait), CANCELLED (dropped meanwhile, or the node stops), INTERNAL, and what the prover says. */
typedef void (*AinRegisterDone)(AinModel *model, const GError *error, gpointer data);
void ain_registry_register(AinRegistry *registry, const char *id, const char *uri, AinRegisterDone done,
                           gpointer data);

/* Proves a model that is not: done gets the model to use from now on (borrowed; the old one is retired), or
 * the prover's error, and then the model stays as it was. Calls for one model share one proof. Of a proven
 * model: that model. Never calls done from within. Errors: also those of lookup, CANCELLED. */
void ain_registry_prove(AinRegistry *registry, const char *id, AinRegisterDone done, gpointer data);

/* Marks the model dropping, has it retired, then removes it from disk. A registration under way is cancelled;
 * a drop under way is joined; a FAILED entry goes with its folder. done is never called from within.
 * Errors in done: INVALID, MODEL_NOT_FOUND, MODEL_BUILTIN, DROP_FAILED (the model is then as before),
 * CANCELLED (the node stops). */
typedef void (*AinDropDone)(const GError *error, gpointer data);
void ain_registry_drop(AinRegistry *registry, const char *id, AinDropDone done, gpointer data);

/* Told on the loop thread when a model stops being servable (dropped or replaced), before its files go: the
 * scheduler ends its workers here. */
void ain_registry_on_retire(AinRegistry *registry, void (*func)(AinModel *model, gpointer data),
                            gpointer data);

/* Asked on the loop thread before a model becomes servable: the scheduler loads it where its predecessor is
 * loaded, so that the two change places without a pause. func calls done(done_data) exactly once, now or
 * later, also when the registry is gone. */
typedef void (*AinWarm)(AinModel *model, void (*done)(gpointer done_data), gpointer done_data, gpointer data);
void ain_registry_on_publish(AinRegistry *registry, AinWarm func, gpointer data);

/* For a request that looked up a model which is still being registered or loaded: done gets it when it is
 * there, or the reason why it does not come, as ain_registry_lookup() would say it. Never from within this
 * call. FALSE: nothing is under way for that id, or too many wait; the error of the look-up stands. */
gboolean ain_registry_await(AinRegistry *registry, const char *id, gsize size, AinRegisterDone done,
                            gpointer data);

/* Adds the statistical models, always active, and timer_xl and sundial, which are so while their weights are
 * there. Once, before anything is looked up. */
void ain_registry_add_builtins(AinRegistry *registry);

/* Looks for weights in <directory>/<id>/{config.json,model.safetensors} of each directory, now and whenever
 * something changes there: whole ones are loaded once in a throw-away worker and then served (timer_xl,
 * sundial, and every other id as a FINE-TUNED model), removed or broken ones are not served any more.
 * directories ends with NULL; the first is made when it is absent, the earlier one wins. At most once. */
void ain_registry_watch_weights(AinRegistry *registry, const char *const *directories);

/* Owned reference, or NULL with MODEL_NOT_FOUND, or BUSY when the id is still being registered, or
 * MODEL_INVALID with the reason for a FAILED entry, or INVALID with the reason for one without weights. The
 * ids of built-ins in 2.0.1 to 2.0.4 (_arima, ...) name the same models, in any case. */
AinModel *ain_registry_lookup(AinRegistry *registry, const char *id, gsize size, GError **error);

/* All entries in listing order (built-ins, then as registered); func returns FALSE to stop. model may be NULL
 * for an entry that is still loading or failed. func must not change the registry. */
typedef gboolean (*AinRegistryVisit)(const char *id, AinCategory category, AinModelState state,
                                     const AinModel *model, gpointer data);
/* ModelType as SHOW MODELS of the release prints it; later: 2.0.8 and newer. Borrowed until the registry
 * changes. */
const char *ain_registry_type_of(AinRegistry *registry, const char *id, gboolean later);
void ain_registry_visit(AinRegistry *registry, AinRegistryVisit func, gpointer data);
