/* What the files of registry/ share. Loop thread, except stage.h, manifest.h and the parsers. */
#pragma once
#include "registry/registry.h"
#include "registry/stage.h"

#include <stdatomic.h>

#define AIN_REGISTRY_MAX_WAITING 256

/* --- models ----------------------------------------------------------------------------------------------
 */

AinModel *ain_model_new(const char *id, const char *directory);
AinModel *ain_model_copy(const AinModel *model, const char *directory, guint64 generation);

/* --- entries ---------------------------------------------------------------------------------------------
 */

/* Somebody who waits for a registration (or proof), or for a drop (uri NULL, dropped instead of done). */
typedef struct {
  char *uri;
  AinRegisterDone done;
  AinDropDone dropped;
  gpointer data;
} AinWaiter;

typedef struct AinJob AinJob;
typedef struct AinDropIn AinDropIn;

/* One id. At most one job that changes it is under way: job. */
typedef struct {
  char *id;
  AinCategory category;
  AinModelKind kind;
  AinModelState state;
  AinModel *model;   /* published, or NULL */
  char *uri;         /* where it came from, or NULL */
  char *place;       /* its folder when it is there; of users' models */
  char *reason;      /* FAILED, INACTIVE: why */
  gint64 registered; /* wall clock, microseconds */
  gboolean stamped;
  AinSourceStamp stamp; /* of the source when it was copied; when stamped. Weights: of what was last tried */
  AinJob *job;
  GPtrArray *repeats;  /* AinWaiter: registrations that wait for job or drop to end */
  GPtrArray *drops;    /* AinWaiter: drops that wait for job, or share the drop under way */
  GPtrArray *askers;   /* AinWaiter: requests that wait until it is loaded */
  guint tries;         /* weights: so often in a row they could not be tried, for no fault of theirs */
  gint64 try_again;    /* when they are tried again after that; 0: no need to */
  gint64 broken_since; /* weights: its folder is not whole, but may be again in a moment; 0: it is */
} AinEntry;

struct AinRegistry {
  AinLoop *loop;
  char *models_dir; /* absolute */
  char *staging_dir;
  AinProver prover;
  AinFetcher fetcher; /* its fetch is NULL when there is none */
  guint64 max_bytes;
  guint64 generation; /* the last one given */
  GPtrArray *entries; /* AinEntry, in listing order */
  GHashTable *by_id;  /* borrowed id -> borrowed AinEntry */
  GHashTable *jobs;   /* every AinJob not yet ended, queued ones too */
  GQueue queue;       /* AinJob that wait for one of AIN_REGISTRY_JOBS places */
  guint running;      /* places taken */
  guint waiting;      /* AinWaiter not yet answered */
  void (*retire)(AinModel *model, gpointer data);
  gpointer retire_data;
  AinWarm warm; /* or NULL */
  gpointer warm_data;
  AinDropIn *drop_in; /* NULL: weights are not looked for */
};

AinEntry *ain_registry_entry_new(const char *id, AinModelState state);
void ain_registry_entry_free(gpointer entry);
void ain_registry_add_entry(AinRegistry *registry, AinEntry *entry);
AinEntry *ain_registry_find(const AinRegistry *registry, const char *id);
void ain_registry_remove_entry(AinRegistry *registry, AinEntry *entry); /* frees it */
/* Behind the built-ins and fine-tuned models there are. */
void ain_registry_add_entry_first(AinRegistry *registry, AinEntry *entry);

/* Fills the registry from disk. */
gboolean ain_registry_scan(AinRegistry *registry, GError **error);

/* --- waiters ---------------------------------------------------------------------------------------------
 */

AinWaiter *ain_registry_wait(AinRegistry *registry, const char *uri, gpointer data);
gboolean ain_registry_check_room(const AinRegistry *registry, GError **error);
/* Each answers and frees the waiters; model or error is NULL. The callee may call back into the registry:
 * hold no entry across these. */
void ain_registry_answer(AinRegistry *registry, AinWaiter *waiter, AinModel *model, const GError *error);
void ain_registry_answer_all(AinRegistry *registry, GPtrArray *waiters, AinModel *model, const GError *error);
/* The same, but from the loop, later. Takes waiter and error. */
void ain_registry_answer_later(AinRegistry *registry, AinWaiter *waiter, AinModel *model, GError *error);
/* Answers those who asked for the model with it, or with what a look-up says, unless it is still LOADING. */
void ain_registry_answer_askers(AinRegistry *registry, AinEntry *entry);
/* Has the model made ready to serve; then done, perhaps from within. */
void ain_registry_warm(AinRegistry *registry, AinModel *model, void (*done)(gpointer data), gpointer data);
/* Answers each with a copy of error. */
void ain_registry_answer_all_later(AinRegistry *registry, GPtrArray *waiters, const GError *error);
/* Moves everything out, so that the array can be filled again while answering. Owned. */
GPtrArray *ain_registry_steal(GPtrArray **waiters);

/* --- jobs ------------------------------------------------------------------------------------------------
 */

typedef enum { AIN_JOB_REGISTER, AIN_JOB_PROVE, AIN_JOB_COMPARE, AIN_JOB_DROP } AinJobKind;

struct AinJob {
  AinRegistry *registry; /* NULL once the registry is freed */
  AinEntry *entry;       /* NULL once nobody wants the outcome */
  AinLoop *loop;
  AinJobKind kind;
  gboolean placed;     /* takes one of AIN_REGISTRY_JOBS places */
  gboolean proving;    /* the prover has it */
  gboolean committing; /* too late to cancel: the folder or manifest is being written */
  GPtrArray *waiters;  /* AinWaiter; a drop's wait in the entry */
  atomic_bool cancelled;
  /* A helper has these between offload and its done. */
  AinStage stage;
  GError *error;
  AinModel *fresh; /* in its place on disk, being warmed; then published */
  /* COMPARE: what is known of the model that is there, and the outcome. */
  char *known_digest;
  char *known_uri;
  gboolean stamped;
  AinSourceStamp known_stamp;
  gboolean same;
};

AinJob *ain_registry_job_new(AinRegistry *registry, AinEntry *entry, AinJobKind kind, const char *uri);
/* Starts it at once, or when one of AIN_REGISTRY_JOBS places is free. */
void ain_registry_job_queue(AinJob *job);
/* Frees it and lets the next one start. */
void ain_registry_job_end(AinJob *job);
/* The entry no longer wants the outcome: whoever waits gets a copy of error, later. Frees a job not yet
 * begun. */
void ain_registry_job_abandon(AinJob *job, const GError *error);
/* TRUE when the outcome is for nobody. */
gboolean ain_registry_job_unwanted(const AinJob *job);
/* First step of each kind, when the job has its place. */
void ain_registry_start_register(AinJob *job);
void ain_registry_start_prove(AinJob *job);
void ain_registry_start_compare(AinJob *job);

/* Begins or joins what a registration of id needs now. */
void ain_registry_dispatch(AinRegistry *registry, const char *id, AinWaiter *waiter);
void ain_registry_dispatch_all(AinRegistry *registry, const char *id, GPtrArray *waiters);
/* Begins the drop that entry->drops wait for, if any does. */
void ain_registry_start_drop(AinRegistry *registry, AinEntry *entry);
void ain_registry_retire(AinRegistry *registry, AinModel *model);

/* --- weights that are dropped in -------------------------------------------------------------------------
 */

AinDropIn *ain_drop_in_new(AinRegistry *registry, const char *const *directories);
void ain_drop_in_free(AinDropIn *drop_in); /* NULL is allowed */
