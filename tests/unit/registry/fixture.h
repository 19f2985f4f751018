/* A registry on a loop of its own thread, driven step by step from the test's thread, with a prover that does
 * as it is told. */
#pragma once
#include "base/loop.h"
#include "registry/registry.h"

#include <pthread.h>

typedef enum {
  PROVE_AT_ONCE, /* answers before prove() returns */
  PROVE_SOON,    /* answers from the loop */
  PROVE_HELD,    /* answers when fixture_release() is called */
} ProveMode;

/* Not in the fixture: an outcome may be looked at after it. */
extern pthread_mutex_t fixture_lock;
extern pthread_cond_t fixture_changed;

typedef struct Held {
  AinModel *model;
  AinProveDone done;
  gpointer data;
} Held;

typedef struct {
  char *root; /* temporary folder of the test */
  char *models;
  AinLoop *loop;
  AinRegistry *registry;
  pthread_t thread;
  /* the prover; under fixture_lock */
  ProveMode mode;
  int fail_code; /* 0: proofs succeed */
  AinDType dtype;
  gboolean writes_input;
  guint threads; /* likewise */
  guint proofs;
  guint running;
  guint most_running;
  GQueue held;
  /* under fixture_lock */
  GString *log;
  GPtrArray *retired; /* "id:generation" */
} Fixture;

/* What came of one call. */
typedef struct {
  Fixture *fixture;
  guint calls;
  AinModel *model;
  GError *error;
} Outcome;
void outcome_free(Outcome *outcome);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Outcome, outcome_free)

/* Fresh folder; models_dir is root/models. */
void fixture_init(Fixture *f);
void fixture_clear(Fixture *f);
/* The same folder with a new registry, as after a restart. */
void fixture_open(Fixture *f);
void fixture_close(Fixture *f);

/* Writes root/name/{model.pt,config.yaml}; returns its file uri. NULL leaves a file out. */
char *fixture_source(Fixture *f, const char *name, const char *model, const char *config);
#define GOOD_CONFIG "configs:\n  input_shape: [96, 2]\n  output_shape: [24, 1]\nattributes: {lr: 0.1}\n"
char *fixture_path(const Fixture *f, const char *name); /* below root */
void fixture_write(const char *path, const void *data, gsize size);

/* Runs func on the loop thread and waits for it. */
void fixture_call(Fixture *f, AinLoopFunc func, gpointer data);

Outcome *fixture_register(Fixture *f, const char *id, const char *uri); /* starts it */
Outcome *fixture_drop(Fixture *f, const char *id);
Outcome *fixture_prove(Fixture *f, const char *id);
Outcome *fixture_wait(Outcome *outcome); /* until it is called; the same pointer */
gboolean fixture_is_done(Outcome *outcome);

/* Waits until n proofs were begun. */
void fixture_wait_proofs(Fixture *f, guint n);
/* Lets the oldest held proof end. */
void fixture_release(Fixture *f);

AinModel *fixture_lookup(Fixture *f, const char *id, GError **error);
char *fixture_list(Fixture *f); /* "id:state id:state" */
/* Names in root/models and in its .staging, sorted. */
char *fixture_files(Fixture *f);
gboolean fixture_logged(Fixture *f, const char *part);
void fixture_clear_log(Fixture *f);
