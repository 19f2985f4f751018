/* One worker: its life, its channel and jobs. Of what it writes nothing is believed: result_check.c, and
 * here. */
#include "runtime/internal.h"

#include "base/error.h"
#include "base/fd.h"
#include "runtime/load_text.h"
#include "runtime/memory.h"
#include "runtime/result_check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What was forked greets in milliseconds. */
#define GREETING_US (G_GINT64_CONSTANT(5) * G_USEC_PER_SEC)
/* Who forked a process tells within milliseconds how it ended, unless that one hangs. */
#define REAPED_US (G_GINT64_CONSTANT(2) * G_USEC_PER_SEC)
#define LOAD_TIMEOUT_US (G_GINT64_CONSTANT(300) * G_USEC_PER_SEC)
#define SLOT_MIN_BYTES (G_GUINT64_CONSTANT(64) * 1024)
#define SLOT_MAX_BYTES (G_GUINT64_CONSTANT(64) * 1024 * 1024)
/* The host awaits by yielding the answers of models that usually take less than this, and not much longer
 * than they usually take; for others it sleeps. */
#define HOT_MAX_US 1000
#define HOT_MARGIN_US 100
/* How long a worker yields before it sleeps; the host's own wait is in base/loop.c. */
#define WORKER_SPIN_US 200

typedef enum { PHASE_STARTING, PHASE_LOADING, PHASE_READY, PHASE_ENDED } Phase;
typedef enum { SLOT_FILLING, SLOT_SUBMITTED, SLOT_DONE } SlotState;

struct AinSlot {
  AinWorker *worker; /* NULL once the worker is freed */
  guint index;
  SlotState state;
  guint32 sequence;   /* among the worker's jobs: it runs when so many results were taken */
  AinMemory *request; /* the worker's, or memory of this job alone */
  AinMemory *reply;   /* likewise; taken when the result is there */
  guint8 *data;
  AinJob job;
  AinJobDone done;
  gpointer done_data;
};

struct AinWorker {
  AinRuntime *runtime;
  AinWorkerSpec spec; /* strings owned */
  AinWorkerEvents events;
  gpointer data;
  Phase phase;
  AinMemory *request;
  AinMemory *reply;
  AinHostPage *host;
  const AinWorkerPage *page;
  guint32 slot_size;
  guint32 reply_slot_size;
  guint32 head;
  guint32 tail;
  AinSlot *slots[AIN_SLOTS]; /* taken ones */
  guint n_unanswered;
  gint64 waiting_since;    /* the running job was given, or the one before it answered */
  gint64 last_us;          /* how long the last answered job took */
  gint64 usual_us;         /* likewise, of late */
  AinSlot *asking;         /* its result waits for memory */
  guint64 needed;          /* so much */
  AinBudgetTicket *ticket; /* the start or that result waits for room in the budget */
  GPtrArray *retired;      /* AinMemory that the model has kept arrays of */
  pid_t pid;               /* 0 before birth */
  gboolean spawned;
  int pidfd;
  int control;
  int wake_fd; /* of the pipe that the worker sleeps on */
  int bell_fd; /* of the one by which it wakes us */
  AinLoopFd *bell_watch;
  AinLoopFd *pid_watch;
  AinLoopFd *control_watch;
  AinLoopTimer *timer;    /* load deadline, then the deferred end */
  AinLoopTimer *greeting; /* forked, and has not greeted yet */
  AinLoopTimer *unreaped; /* it has ended, and who forked it has not told how */
  AinProcessOutput *output;
  GError *end;
  int end_signal;
  gboolean kept_input;
  gboolean had_large;
  gboolean dead; /* the process has ended; its last results are being taken */
};

static void finish(AinWorker *worker);

/* --- ending --- */

static void hold(GPtrArray *memory, AinMemory *one) {
  if (one != NULL) {
    g_ptr_array_add(memory, ain_memory_ref(one));
  }
}

/* What the process may still map: it counts until the process is gone. */
static GPtrArray *held_memory(AinWorker *worker) {
  GPtrArray *memory = g_steal_pointer(&worker->retired);
  hold(memory, worker->request);
  hold(memory, worker->reply);
  for (guint i = 0; i < AIN_SLOTS; i++) {
    if (worker->slots[i] != NULL) {
      hold(memory, worker->slots[i]->request);
      hold(memory, worker->slots[i]->reply);
    }
  }
  return memory;
}

static void kill_process(AinWorker *worker) {
  ain_loop_unwatch(g_steal_pointer(&worker->pid_watch));
  ain_loop_timer_stop(g_steal_pointer(&worker->unreaped));
  if (worker->pidfd >= 0) {
    syscall(SYS_pidfd_send_signal, worker->pidfd, SIGKILL, NULL, 0);
    ain_runtime_reap_later(worker->runtime, worker->spawned ? worker->pid : 0, ain_fd_steal(&worker->pidfd),
                           held_memory(worker));
  }
  worker->pid = 0;
}

/* Sends it a message. TRUE also where it has just died or listens no more: that is made sure of, and its end,
 * which is told with the reason, decides about all that it was asked. */
static gboolean tell(AinWorker *worker, guint32 type, guint64 id, guint64 value, const char *text,
                     const int *fds, guint n_fds, GError **error) {
  g_autoptr(GError) unsent = NULL;
  if (ain_process_send(worker->control, type, id, value, text, fds, n_fds, &unsent)) {
    return TRUE;
  }
  gboolean gone = errno == EPIPE || errno == ECONNRESET;
  if (!gone || worker->pidfd < 0) {
    g_propagate_error(error, g_steal_pointer(&unsent));
    return FALSE;
  }
  syscall(SYS_pidfd_send_signal, worker->pidfd, SIGKILL, NULL, 0);
  return TRUE;
}

static void complete(AinWorker *worker, AinSlot *slot, const AinJobResult *result, const GError *error) {
  if (worker->asking == slot) { /* it asked for memory and did not wait for it */
    ain_budget_forget(g_steal_pointer(&worker->ticket));
    worker->asking = NULL;
  }
  slot->state = SLOT_DONE;
  worker->n_unanswered--;
  if (worker->n_unanswered == 0) {
    g_ptr_array_remove_fast(worker->runtime->busy, worker);
  }
  slot->done(slot, result, error, slot->done_data);
}

/* Whether the worker died before it looked at its oldest job. A worker may lie about that: its owner bounds
 * how often it dies without an answer. */
static gboolean died_before_job(const AinWorker *worker, const GError *error) {
  gboolean died = g_error_matches(error, AIN_ERROR, AIN_ERROR_WORKER_DIED)
                  || g_error_matches(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT);
  return died && worker->page != NULL && atomic_load(&worker->page->taken) == worker->tail;
}

/* Jobs run in the order of submission: only the oldest unanswered one can have begun. */
static void fail_jobs(AinWorker *worker, const GError *error) {
  g_autoptr(GError) not_begun = g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "%s", error->message);
  guint32 oldest = worker->tail;
  gboolean begun = !died_before_job(worker, error);
  for (guint i = 0; i < AIN_SLOTS; i++) {
    AinSlot *slot = worker->slots[i];
    if (slot != NULL && slot->state == SLOT_SUBMITTED) {
      complete(worker, slot, NULL, begun && slot->sequence == oldest ? error : not_begun);
    }
  }
}

static void finish(AinWorker *worker) {
  worker->timer = NULL;
  fail_jobs(worker, worker->end);
  worker->events.ended(worker, worker->end, worker->data); /* the owner frees the worker */
}

static void finish_due(gpointer data) {
  finish(data);
}

/* The end is told from the loop, never from inside a call of the owner. Takes error. */
static void end_with(AinWorker *worker, GError *error) {
  if (worker->phase == PHASE_ENDED) {
    g_error_free(error);
    return;
  }
  worker->phase = PHASE_ENDED;
  worker->end = error;
  ain_budget_forget(g_steal_pointer(&worker->ticket));
  kill_process(worker);
  ain_loop_unwatch(g_steal_pointer(&worker->control_watch));
  ain_loop_unwatch(g_steal_pointer(&worker->bell_watch));
  ain_loop_timer_stop(g_steal_pointer(&worker->greeting));
  ain_loop_timer_stop(g_steal_pointer(&worker->timer));
  worker->timer = ain_loop_timer(worker->runtime->loop, ain_loop_now(), finish_due, worker);
}

void ain_worker_kill(AinWorker *worker, const GError *error) {
  end_with(worker, g_error_copy(error));
}

static void misbehaved(AinWorker *worker, const char *what) {
  g_warning("worker of model %s: %s; it is replaced", worker->spec.name, what);
  end_with(worker, g_error_new(AIN_ERROR, AIN_ERROR_WORKER_DIED,
                               "the worker of model [%s] broke its protocol: %s", worker->spec.name, what));
}

void ain_worker_exceeded(AinWorker *worker, const char *what) {
  g_warning("worker of model %s: %s; it is ended", worker->spec.name, what);
  end_with(worker, g_error_new(AIN_ERROR, AIN_ERROR_WORKER_DIED,
                               "the process that ran model [%s] was ended: %s", worker->spec.name, what));
}

static const char *hint_of_signal(int number, gboolean ran_out) {
  switch (number) {
  case SIGKILL:
    return ran_out ? "; the kernel killed it because memory ran out"
                   : "; it was killed from outside, or by the kernel because memory ran out";
  case SIGSEGV:
  case SIGBUS:
    return "; the model or a library it uses accessed memory it must not";
  case SIGABRT:
    return "; the model or a library it uses called abort";
  default:
    return "";
  }
}

static void ended_by_itself(AinWorker *worker, int status) {
  g_autoptr(GString) text = g_string_new(NULL);
  g_string_printf(text, "the process that ran model [%s] ended ", worker->spec.name);
  if (WIFSIGNALED(status)) {
    worker->end_signal = WTERMSIG(status);
    gboolean ran_out = worker->end_signal == SIGKILL && ain_runtime_memory_ran_out(worker->runtime);
    g_string_append_printf(text, "by signal %d (%s)%s", worker->end_signal, g_strsignal(worker->end_signal),
                           hint_of_signal(worker->end_signal, ran_out));
  } else {
    g_string_append_printf(text, "with exit code %d", WEXITSTATUS(status));
  }
  const char *said = worker->output != NULL ? ain_process_output_tail(worker->output) : "";
  if (said[0] != '\0') {
    g_string_append_printf(text, "; its last output: %s", said);
  }
  end_with(worker, g_error_new(AIN_ERROR, AIN_ERROR_WORKER_DIED, "%s", text->str));
}

void ain_worker_reaped(AinWorker *worker, int wait_status) {
  worker->pid = 0;
  worker->dead = TRUE;
  /* Results it published before it died are good: take them first. */
  ain_worker_poll(worker);
  ended_by_itself(worker, wait_status);
}

static void never_reaped(gpointer data) {
  AinWorker *worker = data;
  worker->unreaped = NULL;
  worker->dead = TRUE;
  ain_worker_poll(worker);
  end_with(worker,
           g_error_new(AIN_ERROR, AIN_ERROR_WORKER_DIED,
                       "the process that ran model [%s] ended; how is not known, for the process that "
                       "forked it does not answer",
                       worker->spec.name));
}

static void forked_ended(guint32 events, gpointer data) {
  (void)events;
  AinWorker *worker = data;
  ain_loop_unwatch(g_steal_pointer(&worker->pid_watch));
  worker->unreaped = ain_loop_timer(worker->runtime->loop, ain_loop_now() + REAPED_US, never_reaped, worker);
}

void ain_worker_orphaned(AinWorker *worker, const GError *reason) {
  worker->pid = 0;
  end_with(worker, g_error_copy(reason));
}

static void spawned_ended(guint32 events, gpointer data) {
  (void)events;
  AinWorker *worker = data;
  int status = 0;
  waitpid(worker->pid, &status, 0);
  ain_orphans_sweep_soon(worker->runtime);
  ain_worker_reaped(worker, status);
}

static void load_overdue(gpointer data) {
  AinWorker *worker = data;
  int seconds = (int)(LOAD_TIMEOUT_US / G_USEC_PER_SEC);
  worker->timer = NULL;
  if (worker->ticket != NULL) {
    end_with(worker,
             g_error_new(AIN_ERROR, AIN_ERROR_BUSY,
                         "model [%s] waited %d s for shared memory: other loaded models have the part "
                         "of ain_shared_memory_bytes (%" G_GUINT64_FORMAT
                         ") that is for them; unload one or raise it",
                         worker->spec.name, seconds, ain_budget_bytes(worker->runtime->budget)));
    return;
  }
  g_autoptr(GError) error =
      g_error_new(AIN_ERROR, AIN_ERROR_TIMEOUT, "model [%s] did not finish loading within %d s",
                  worker->spec.name, seconds);
  if (worker->spec.template != NULL && worker->pidfd < 0) {
    ain_template_overdue(worker->spec.template, error);
  }
  end_with(worker, g_steal_pointer(&error));
}

/* --- control messages --- */

/* Whether the operator, not the model's author, has let this model out. */
static gboolean is_let_out(const AinWorker *worker) {
  gboolean listed = ain_load_is_listed(worker->runtime->config.sandbox_off, worker->spec.name);
  if (listed) {
    g_message("model %s runs without the sandbox (ain_worker_sandbox_off_models)", worker->spec.name);
  }
  return listed;
}

static void greeted(AinWorker *worker, const AinMessage *message) {
  ain_loop_timer_stop(g_steal_pointer(&worker->greeting));
  if (message->value != AIN_ABI_VERSION) {
    end_with(worker, g_error_new(AIN_ERROR, AIN_ERROR_INTERNAL,
                                 "ainode-runtime speaks channel version %" G_GUINT64_FORMAT
                                 ", the host version %u: lib/ holds files of different releases",
                                 message->value, AIN_ABI_VERSION));
    return;
  }
  g_autoptr(GError) error = NULL;
  gboolean shut_in = worker->runtime->config.sandbox && !is_let_out(worker);
  g_autofree char *text = ain_load_text(&worker->spec, worker->runtime->config.read_paths, shut_in);
  worker->phase = PHASE_LOADING;
  if (shut_in) {
    ain_bounds_watch(worker->runtime->bounds, worker);
  }
  if (!tell(worker, AIN_MESSAGE_LOAD, 0, 0, text, NULL, 0, &error)) {
    end_with(worker, g_steal_pointer(&error));
  }
}

static void loaded(AinWorker *worker, const char *findings) {
  ain_loop_timer_stop(g_steal_pointer(&worker->timer));
  worker->phase = PHASE_READY;
  if (worker->runtime->prototype != NULL) {
    ain_prototype_loaded(worker->runtime->prototype, worker);
  }
  if (worker->events.loaded != NULL) {
    worker->events.loaded(worker, findings, worker->data);
  }
}

static AinSlot *running_slot(AinWorker *worker, guint64 job) {
  for (guint i = 0; i < AIN_SLOTS; i++) {
    AinSlot *slot = worker->slots[i];
    if (slot != NULL && slot->job.id == job && ain_slot_is_running(slot)) {
      return slot;
    }
  }
  return NULL;
}

/* Room for the result of the job that asked; value 0 and a text when there can be none. */
static void answer_need(AinWorker *worker, const char *refusal) {
  g_autoptr(GError) error = NULL;
  const AinMemory *memory = worker->asking->reply;
  guint64 job = worker->asking->job.id;
  worker->asking = NULL;
  gboolean sent = memory != NULL
                      ? tell(worker, AIN_MESSAGE_ROOM, job, memory->size, "", &memory->fd, 1, &error)
                      : tell(worker, AIN_MESSAGE_ROOM, job, 0, refusal, NULL, 0, &error);
  if (!sent) {
    end_with(worker, g_steal_pointer(&error));
  }
}

static void make_result_memory(AinWorker *worker, guint64 size) {
  g_autoptr(GError) error = NULL;
  worker->asking->reply =
      ain_memory_new(worker->runtime->budget, AIN_BUDGET_RESULT, "ainode-large-result", size, 0, &error);
  worker->had_large = TRUE;
  answer_need(worker, error != NULL ? error->message : "");
}

static void result_room_there(gpointer data) {
  AinWorker *worker = data;
  worker->ticket = NULL;
  guint64 size = worker->needed;
  if (ain_budget_take(worker->runtime->budget, AIN_BUDGET_RESULT, size)) {
    make_result_memory(worker, size);
  }
}

/* The result of the running job does not fit into its slot. */
static void result_needs(AinWorker *worker, const AinMessage *message) {
  AinBudget *budget = worker->runtime->budget;
  ain_worker_poll(worker); /* it is at the job after those it has answered */
  if (worker->phase != PHASE_READY) {
    return;
  }
  worker->asking = worker->asking == NULL ? running_slot(worker, message->id) : NULL;
  if (worker->asking == NULL || worker->asking->reply != NULL || message->value == 0) {
    worker->asking = NULL;
    misbehaved(worker, "it asked for memory that no job of it needs");
    return;
  }
  if (message->value > ain_budget_most(budget, AIN_BUDGET_RESULT)) {
    g_autofree char *refusal =
        g_strdup_printf("its result has %" G_GUINT64_FORMAT " bytes, more than the %" G_GUINT64_FORMAT
                        " that one result may have of the shared memory of %" G_GUINT64_FORMAT
                        " bytes (ain_shared_memory_bytes)",
                        message->value, ain_budget_most(budget, AIN_BUDGET_RESULT), ain_budget_bytes(budget));
    answer_need(worker, refusal);
  } else if (ain_budget_take(budget, AIN_BUDGET_RESULT, message->value)) {
    make_result_memory(worker, message->value);
  } else {
    worker->needed = message->value;
    worker->ticket = ain_budget_wait(budget, AIN_BUDGET_RESULT, message->value, result_room_there, worker);
  }
}

static void handle_message(AinWorker *worker, const AinMessage *message, char *text, int fd) {
  g_autofree char *valid = g_utf8_make_valid(text, (gssize)message->text_size);
  ain_fd_close(&fd); /* a worker has nothing to pass */
  if (worker->spec.is_template != NULL && worker->phase == PHASE_READY
      && ain_template_message(worker->spec.is_template, message, valid)) {
    return;
  }
  if (message->type == AIN_MESSAGE_NEED && worker->phase == PHASE_READY) {
    result_needs(worker, message);
  } else if (message->type == AIN_MESSAGE_HELLO && worker->phase == PHASE_STARTING) {
    greeted(worker, message);
  } else if (message->type == AIN_MESSAGE_LOADED && worker->phase == PHASE_LOADING) {
    loaded(worker, valid);
  } else if (message->type == AIN_MESSAGE_FAILED && worker->phase == PHASE_LOADING) {
    end_with(worker, g_error_new(AIN_ERROR, AIN_ERROR_MODEL_INVALID, "%s", valid));
  } else {
    misbehaved(worker, "it sent a message that does not fit its state");
  }
}

/* FALSE when the worker may have been ended or there is nothing more to read. */
static gboolean receive_one(AinWorker *worker) {
  AinMessage message;
  char text[AIN_MESSAGE_TEXT_MAX + 1];
  int fd;
  switch (ain_process_receive(worker->control, &message, text, &fd)) {
  case AIN_RECEIVE_MESSAGE:
    handle_message(worker, &message, text, fd);
    return TRUE;
  case AIN_RECEIVE_GARBAGE:
    misbehaved(worker, "it sent bytes that are no message");
    return FALSE;
  case AIN_RECEIVE_GONE: /* its end, with the reason, comes through the pidfd or the prototype */
    ain_loop_unwatch(g_steal_pointer(&worker->control_watch));
    return FALSE;
  case AIN_RECEIVE_NOTHING:
    return FALSE;
  }
  return FALSE;
}

static void control_ready(guint32 events, gpointer data) {
  (void)events;
  receive_one(data); /* level-triggered: one message a round */
}

/* --- starting --- */

static guint32 slot_bytes(guint batch, const gint32 shape[2], guint64 most) {
  /* 8 bytes an element whatever the type: the proof may still change it. */
  guint64 bytes = (guint64)MAX(batch, 1U) * (guint64)shape[0] * (guint64)shape[1] * sizeof(double);
  bytes = CLAMP(bytes, SLOT_MIN_BYTES, MAX(most, SLOT_MIN_BYTES));
  return (guint32)((bytes + AIN_SLOT_ALIGN - 1) / AIN_SLOT_ALIGN * AIN_SLOT_ALIGN);
}

static gsize slots_size(guint32 slot_size) {
  return AIN_PAGE + (gsize)AIN_SLOTS * slot_size;
}

/* Larger requests than fit into a slot get memory of their own: with a small budget, earlier. */
static void choose_slot_sizes(AinWorker *worker) {
  guint64 most = ain_budget_most(worker->runtime->budget, AIN_BUDGET_SLOTS) / 2 - AIN_PAGE;
  most = MIN(most / AIN_SLOTS / AIN_SLOT_ALIGN * AIN_SLOT_ALIGN, SLOT_MAX_BYTES);
  worker->slot_size = slot_bytes(worker->spec.max_batch, worker->spec.input_shape, most);
  worker->reply_slot_size = slot_bytes(worker->spec.max_batch, worker->spec.output_shape, most);
}

/* Takes room for the slots of both directions; FALSE: there is none now. */
static gboolean take_slots(AinWorker *worker, guint64 *bytes) {
  choose_slot_sizes(worker);
  *bytes = slots_size(worker->slot_size) + slots_size(worker->reply_slot_size);
  return ain_budget_take(worker->runtime->budget, AIN_BUDGET_SLOTS, *bytes);
}

/* The room is taken. */
static gboolean create_memory(AinWorker *worker, GError **error) {
  AinBudget *budget = worker->runtime->budget;
  worker->request = ain_memory_new(budget, AIN_BUDGET_SLOTS, "ainode-request", slots_size(worker->slot_size),
                                   AIN_MEMORY_SEALED | AIN_MEMORY_PREFAULT, error);
  if (worker->request == NULL) {
    ain_budget_give(budget, AIN_BUDGET_SLOTS, slots_size(worker->reply_slot_size));
    return FALSE;
  }
  worker->reply = ain_memory_new(budget, AIN_BUDGET_SLOTS, "ainode-reply",
                                 slots_size(worker->reply_slot_size), AIN_MEMORY_PREFAULT, error);
  if (worker->reply == NULL) {
    return FALSE;
  }
  worker->host = (AinHostPage *)worker->request->start;
  worker->host->magic = AIN_ABI_MAGIC;
  worker->host->version = AIN_ABI_VERSION;
  worker->host->slot_size = worker->slot_size;
  worker->host->spin_us = WORKER_SPIN_US;
  AinWorkerPage *page = (AinWorkerPage *)worker->reply->start;
  page->magic = AIN_ABI_MAGIC;
  page->version = AIN_ABI_VERSION;
  page->slot_size = worker->reply_slot_size;
  worker->page = page;
  return TRUE;
}

/* Results are found by polling: all that counts is that we are awake. */
static void bell_rang(guint32 events, gpointer data) {
  (void)events;
  AinWorker *worker = data;
  char bytes[4096];
  ssize_t got = read(worker->bell_fd, bytes, sizeof bytes); /* non-blocking */
  if (got == 0) {                                           /* it has closed its end, perhaps by ending */
    ain_loop_unwatch(g_steal_pointer(&worker->bell_watch));
  }
}

/* The pipes by which the two wake one another. */
static gboolean create_bells(AinWorker *worker, AinProcessFds *fds, GError **error) {
  int to_worker[2] = { -1, -1 };
  int to_host[2] = { -1, -1 };
  gboolean made =
      pipe2(to_worker, O_CLOEXEC | O_NONBLOCK) == 0 && pipe2(to_host, O_CLOEXEC | O_NONBLOCK) == 0;
  if (!made) {
    ain_error_set_os(error, errno, "cannot create the channel of a worker");
  }
  fds->fds[AIN_FD_WAKE_WORKER - AIN_FD_CONTROL] = to_worker[0];
  worker->wake_fd = to_worker[1];
  worker->bell_fd = to_host[0];
  fds->fds[AIN_FD_WAKE_HOST - AIN_FD_CONTROL] = to_host[1];
  return made;
}

static gboolean create_channel(AinWorker *worker, AinProcessFds *fds, GError **error) {
  g_autofree char *name = g_strdup_printf("model %s", worker->spec.name);
  if (!ain_process_control_pair(&worker->control, &fds->fds[0], error)) {
    return FALSE;
  }
  if (!create_bells(worker, fds, error)) {
    return FALSE;
  }
  /* A template has no slots: it never uses the descriptors that stand in for them. */
  fds->fds[1] = dup(worker->request != NULL ? worker->request->fd : worker->wake_fd);
  fds->fds[2] = dup(worker->reply != NULL ? worker->reply->fd : worker->wake_fd);
  if (fds->fds[1] < 0 || fds->fds[2] < 0) {
    ain_error_set_os(error, errno, "cannot create the channel of a worker");
    return FALSE;
  }
  worker->output = ain_process_output_new(worker->runtime->loop, name, &fds->fds[AIN_PROCESS_FDS - 1], error);
  if (worker->output == NULL) {
    return FALSE;
  }
  worker->control_watch =
      ain_loop_watch(worker->runtime->loop, worker->control, EPOLLIN, control_ready, worker);
  worker->bell_watch = ain_loop_watch(worker->runtime->loop, worker->bell_fd, EPOLLIN, bell_rang, worker);
  return TRUE;
}

static void drop_channel(AinWorker *worker) {
  ain_loop_unwatch(g_steal_pointer(&worker->control_watch));
  ain_loop_unwatch(g_steal_pointer(&worker->bell_watch));
  ain_fd_close(&worker->control);
  ain_fd_close(&worker->wake_fd);
  ain_fd_close(&worker->bell_fd);
  ain_process_output_free(g_steal_pointer(&worker->output));
}

static gboolean spawn(AinWorker *worker, GError **error) {
  g_auto(AinProcessFds) fds = AIN_PROCESS_FDS_INIT;
  if (!create_channel(worker, &fds, error)) {
    return FALSE;
  }
  worker->spawned = TRUE;
  worker->pid = ain_process_spawn(&worker->runtime->config, "worker", &fds, &worker->pidfd, error);
  if (worker->pid < 0) {
    worker->pid = 0;
    return FALSE;
  }
  ain_orphans_note(worker->runtime, worker->pid, TRUE);
  worker->pid_watch = ain_loop_watch(worker->runtime->loop, worker->pidfd, EPOLLIN, spawned_ended, worker);
  return TRUE;
}

static gboolean fork_from_prototype(AinWorker *worker, GError **error) {
  g_auto(AinProcessFds) fds = AIN_PROCESS_FDS_INIT;
  return create_channel(worker, &fds, error)
         && ain_prototype_fork(ain_runtime_prototype(worker->runtime), worker, worker->runtime->next_id++,
                               &fds, error);
}

static gboolean fork_from_template(AinWorker *worker, GError **error) {
  g_auto(AinProcessFds) fds = AIN_PROCESS_FDS_INIT;
  if (!create_channel(worker, &fds, error)) {
    return FALSE;
  }
  ain_template_fork(worker->spec.template, worker, &worker->spec, &fds);
  return TRUE;
}

gboolean ain_worker_pass_fork(AinWorker *process, guint64 request, const AinProcessFds *fds, GError **error) {
  return tell(process, AIN_MESSAGE_FORK, request, 0, "", fds->fds, AIN_PROCESS_FDS, error);
}

static void free_memory(gpointer memory) {
  ain_memory_unref(memory);
}

/* A lock may have been held when it was forked, or somebody has stopped it. */
static void greeting_overdue(gpointer data) {
  AinWorker *worker = data;
  worker->greeting = NULL;
  g_message("model %s: the process forked for it (pid %d) does not answer; another one is started instead",
            worker->spec.name, (int)worker->pid);
  ain_runtime_forget(worker->runtime, worker);
  if (worker->spec.template != NULL) {
    ain_template_forget(worker->spec.template, worker);
  }
  kill_process(worker);
  worker->retired = g_ptr_array_new_with_free_func(free_memory);
  ain_worker_unborn(worker, NULL);
}

void ain_worker_born(AinWorker *worker, pid_t pid, int pidfd) {
  worker->pid = pid;
  worker->pidfd = pidfd;
  if (worker->phase == PHASE_ENDED) {
    kill_process(worker);
    return;
  }
  worker->pid_watch = ain_loop_watch(worker->runtime->loop, pidfd, EPOLLIN, forked_ended, worker);
  if (worker->phase == PHASE_STARTING) { /* its greeting may have overtaken the news of its birth */
    worker->greeting =
        ain_loop_timer(worker->runtime->loop, ain_loop_now() + GREETING_US, greeting_overdue, worker);
  }
}

void ain_worker_unborn(AinWorker *worker, const GError *reason) {
  g_autoptr(GError) error = NULL;
  if (worker->phase == PHASE_ENDED) {
    return;
  }
  if (reason != NULL) {
    end_with(worker, g_error_copy(reason));
    return;
  }
  drop_channel(worker);
  worker->phase = PHASE_STARTING;
  gboolean templated = worker->spec.template != NULL;
  worker->spec.template = NULL;
  if (!(templated ? fork_from_prototype(worker, &error) : spawn(worker, &error))) {
    end_with(worker, g_steal_pointer(&error));
  }
}

static void start_process(AinWorker *worker) {
  g_autoptr(GError) error = NULL;
  gboolean started;
  if (worker->spec.template != NULL && !ain_template_declines(worker->spec.template)) {
    started = fork_from_template(worker, &error);
  } else if (worker->runtime->prototype != NULL) {
    started = fork_from_prototype(worker, &error);
  } else {
    started = spawn(worker, &error);
  }
  if (!started) {
    end_with(worker, g_steal_pointer(&error));
  }
}

static void start_when_room(gpointer data) {
  AinWorker *worker = data;
  guint64 bytes;
  g_autoptr(GError) error = NULL;
  worker->ticket = NULL;
  if (worker->spec.is_template != NULL) {
    start_process(worker);
    return;
  }
  if (take_slots(worker, &bytes)) {
    if (create_memory(worker, &error)) {
      start_process(worker);
    } else {
      end_with(worker, g_steal_pointer(&error));
    }
    return;
  }
  worker->ticket = ain_budget_wait(worker->runtime->budget, AIN_BUDGET_SLOTS, bytes, start_when_room, worker);
}

AinWorker *ain_worker_start(AinRuntime *runtime, const AinWorkerSpec *spec, const AinWorkerEvents *events,
                            gpointer data) {
  AinWorker *worker = g_new0(AinWorker, 1);
  worker->runtime = runtime;
  worker->spec = *spec;
  worker->spec.name = g_strdup(spec->name);
  worker->spec.kind = g_strdup(spec->kind);
  worker->spec.directory = g_strdup(spec->directory);
  worker->spec.device = g_strdup(spec->device != NULL ? spec->device : "cpu");
  worker->events = *events;
  worker->data = data;
  worker->pidfd = worker->control = worker->wake_fd = worker->bell_fd = -1;
  worker->retired = g_ptr_array_new_with_free_func(free_memory);
  worker->timer = ain_loop_timer(runtime->loop, ain_loop_now() + LOAD_TIMEOUT_US, load_overdue, worker);
  (void)ain_runtime_memory_ran_out(runtime); /* what is counted from now on is this one's, perhaps */
  start_when_room(worker);
  return worker;
}

void ain_worker_free(AinWorker *worker) {
  if (worker == NULL) {
    return;
  }
  worker->phase = PHASE_ENDED;
  ain_loop_timer_stop(worker->timer);
  ain_loop_timer_stop(worker->greeting);
  ain_budget_forget(worker->ticket);
  kill_process(worker);
  ain_bounds_forget(worker->runtime->bounds, worker);
  ain_runtime_forget(worker->runtime, worker);
  if (worker->spec.template != NULL) {
    ain_template_forget(worker->spec.template, worker);
  }
  g_autoptr(GError) cancelled =
      g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "model [%s] was unloaded while it ran", worker->spec.name);
  fail_jobs(worker, worker->end != NULL ? worker->end : cancelled);
  for (guint i = 0; i < AIN_SLOTS; i++) {
    if (worker->slots[i] != NULL) {
      worker->slots[i]->worker = NULL;
    }
  }
  drop_channel(worker);
  ain_memory_unref(worker->request);
  ain_memory_unref(worker->reply);
  g_clear_pointer(&worker->retired, g_ptr_array_unref);
  g_clear_error(&worker->end);
  g_free((char *)worker->spec.name);
  g_free((char *)worker->spec.kind);
  g_free((char *)worker->spec.directory);
  g_free((char *)worker->spec.device);
  g_free(worker);
}

gboolean ain_slot_is_running(const AinSlot *slot) {
  return slot->state == SLOT_SUBMITTED && slot->worker != NULL && slot->sequence == slot->worker->tail;
}

guint ain_worker_free_slots(const AinWorker *worker) {
  guint count = 0;
  for (guint i = 0; worker->phase == PHASE_READY && !worker->dead && i < AIN_SLOTS; i++) {
    count += worker->slots[i] == NULL;
  }
  return count;
}

guint64 ain_worker_room(const AinWorker *worker) {
  return MAX(worker->slot_size, ain_budget_left(worker->runtime->budget, AIN_BUDGET_REQUEST));
}

pid_t ain_worker_pid(const AinWorker *worker) {
  return worker->pid;
}

gsize ain_worker_shared_bytes(const AinWorker *worker) {
  return worker->request != NULL ? worker->request->size + worker->reply->size : 0;
}

gboolean ain_worker_had_large(const AinWorker *worker) {
  return worker->had_large;
}

gboolean ain_worker_kept_input(const AinWorker *worker) {
  return worker->kept_input;
}

int ain_worker_end_signal(const AinWorker *worker) {
  return worker->end_signal;
}

/* --- jobs --- */

static guint free_index(const AinWorker *worker) {
  guint index = 0;
  while (worker->slots[index] != NULL) {
    index++;
  }
  return index;
}

/* The job's memory: the worker's slot when array and options fit, else memory of its own. */
static gboolean place_job(AinWorker *worker, AinSlot *slot, gsize needed, GError **error) {
  if (needed <= worker->slot_size) {
    slot->request = ain_memory_ref(worker->request);
    slot->data = worker->request->start + AIN_PAGE + (gsize)slot->index * worker->slot_size;
    slot->job.region = slot->index;
    return TRUE;
  }
  AinBudget *budget = worker->runtime->budget;
  if (!ain_budget_take(budget, AIN_BUDGET_REQUEST, needed)) {
    gboolean never = needed > ain_budget_most(budget, AIN_BUDGET_REQUEST);
    g_set_error(error, AIN_ERROR, never ? AIN_ERROR_TOO_LARGE : AIN_ERROR_BUSY,
                "a request of model [%s] needs %" G_GSIZE_FORMAT
                " bytes of shared memory, of the %" G_GUINT64_FORMAT
                " of ain_shared_memory_bytes one may have %" G_GUINT64_FORMAT "%s",
                worker->spec.name, needed, ain_budget_bytes(budget),
                ain_budget_most(budget, AIN_BUDGET_REQUEST), never ? "" : " and others have it now");
    return FALSE;
  }
  slot->request = ain_memory_new(budget, AIN_BUDGET_REQUEST, "ainode-large-request", needed,
                                 AIN_MEMORY_SEALED | AIN_MEMORY_PREFAULT, error);
  if (slot->request == NULL) {
    return FALSE;
  }
  slot->data = slot->request->start;
  slot->job.region = AIN_REGION_PASSED;
  worker->had_large = TRUE;
  return TRUE;
}

AinSlot *ain_slot_take(AinWorker *worker, const AinJobShape *shape, GError **error) {
  g_return_val_if_fail(ain_worker_free_slots(worker) > 0, NULL);
  gsize options_size = shape->options != NULL ? strlen(shape->options) : 0;
  gsize array_size = (gsize)shape->batch * shape->rows * shape->columns * ain_dtype_size(shape->dtype);
  AinSlot *slot = g_new0(AinSlot, 1);
  slot->index = free_index(worker);
  slot->job = (AinJob){
    .id = worker->runtime->next_id++,
    .dtype = shape->dtype,
    .batch = shape->batch,
    .rows = shape->rows,
    .columns = shape->columns,
    .flags = shape->copy_input ? AIN_JOB_COPY_INPUT : 0,
    .slot = slot->index,
    .size = array_size,
    .options_offset = array_size,
    .options_size = (guint32)options_size,
    .output_length = shape->output_length,
  };
  if (!place_job(worker, slot, array_size + options_size, error)) {
    g_free(slot);
    return NULL;
  }
  if (options_size > 0) {
    memcpy(slot->data + array_size, shape->options, options_size);
  }
  slot->worker = worker;
  worker->slots[slot->index] = slot;
  return slot;
}

gpointer ain_slot_data(AinSlot *slot) {
  return slot->data;
}

static void wake_worker(AinWorker *worker) {
  /* Sequentially consistent with the worker's flag-then-look: one of us sees the other. */
  if (atomic_load(&worker->page->worker_sleeps) != 0) {
    ssize_t written = write(worker->wake_fd, "", 1); /* non-blocking: a full pipe wakes as well */
    (void)written;
  }
}

void ain_slot_submit(AinSlot *slot, AinJobDone done, gpointer data) {
  slot->done = done;
  slot->done_data = data;
  AinWorker *worker = slot->worker;
  g_autoptr(GError) error = NULL;
  gboolean alive = worker != NULL && worker->phase == PHASE_READY && !worker->dead;
  if (alive && slot->job.region == AIN_REGION_PASSED) {
    alive = tell(worker, AIN_MESSAGE_REGION, slot->job.id, slot->request->size, "", &slot->request->fd, 1,
                 &error);
  }
  if (!alive) {
    if (error == NULL) {
      error =
          worker != NULL && worker->end != NULL
              ? g_error_copy(worker->end)
              : g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "the model was unloaded before the request ran");
    }
    slot->state = SLOT_DONE;
    done(slot, NULL, error, data);
    return;
  }
  slot->state = SLOT_SUBMITTED;
  slot->sequence = worker->head;
  if (worker->n_unanswered++ == 0) {
    g_ptr_array_add(worker->runtime->busy, worker);
    worker->waiting_since = ain_loop_now();
  }
  worker->host->jobs[worker->head % AIN_RING] = slot->job;
  worker->head++;
  atomic_store(&worker->host->head, worker->head);
  wake_worker(worker);
}

void ain_slot_release(AinSlot *slot) {
  if (slot == NULL) {
    return;
  }
  g_assert(slot->state != SLOT_SUBMITTED);
  if (slot->worker != NULL) {
    slot->worker->slots[slot->index] = NULL;
  }
  ain_memory_unref(slot->request);
  ain_memory_unref(slot->reply);
  g_free(slot);
}

/* --- results --- */

static AinSlot *find_submitted(AinWorker *worker, guint64 id) {
  for (guint i = 0; i < AIN_SLOTS; i++) {
    AinSlot *slot = worker->slots[i];
    if (slot != NULL && slot->state == SLOT_SUBMITTED && slot->job.id == id) {
      return slot;
    }
  }
  return NULL;
}

/* Finds the result's bytes; NULL when what the worker says cannot be. */
static const guint8 *result_bytes(AinWorker *worker, AinSlot *slot, const AinResult *result) {
  if (result->region == AIN_REGION_PASSED) {
    gboolean fits = slot->reply != NULL && result->size <= slot->reply->size;
    return fits ? slot->reply->start : NULL;
  }
  if (result->region != slot->index || result->size > worker->reply_slot_size) {
    return NULL;
  }
  ain_memory_unref(slot->reply); /* it asked for more and then had an error to tell instead */
  slot->reply = ain_memory_ref(worker->reply);
  return worker->reply->start + AIN_PAGE + (gsize)slot->index * worker->reply_slot_size;
}

static void complete_error(AinWorker *worker, AinSlot *slot, const guint8 *bytes, gsize size) {
  gsize length = MIN(size, AIN_MESSAGE_TEXT_MAX);
  g_autofree char *copy = g_memdup2(bytes, length); /* the worker may still change it */
  g_autofree char *text = copy != NULL ? g_utf8_make_valid(copy, (gssize)length) : g_strdup("");
  g_autoptr(GError) error =
      g_error_new(AIN_ERROR, AIN_ERROR_MODEL_FAILED, "model [%s]: %s", worker->spec.name, text);
  complete(worker, slot, NULL, error);
}

/* The model has kept the request's array: memory that was made for it counts as long as the process lives. */
static void retire(AinWorker *worker, AinSlot *slot) {
  if (slot->request != worker->request) {
    g_ptr_array_add(worker->retired, ain_memory_ref(slot->request));
  }
}

static gboolean take_result(AinWorker *worker, const AinResult *result) {
  AinSlot *slot = find_submitted(worker, result->id);
  if (slot == NULL) {
    misbehaved(worker, "it answered a job it was not given");
    return FALSE;
  }
  const guint8 *bytes = result_bytes(worker, slot, result);
  if (bytes == NULL && !(result->status == AIN_RESULT_OK && result->size == 0)) {
    misbehaved(worker, "its result lies outside its memory");
    return FALSE;
  }
  if ((result->flags & AIN_RESULT_KEPT_INPUT) != 0) {
    worker->kept_input = TRUE;
    retire(worker, slot);
  }
  if (result->status != AIN_RESULT_OK) {
    complete_error(worker, slot, bytes, result->size);
    return TRUE;
  }
  if (!ain_result_fits(&slot->job, result)) {
    misbehaved(worker, "the shape of its result does not fit its size");
    return FALSE;
  }
  AinJobResult answer = {
    .dtype = (AinDType)result->dtype,
    .batch = result->batch,
    .rows = result->rows,
    .columns = result->columns,
    .data = bytes,
    .copied_bytes = MIN(result->copied_bytes, slot->job.size),
    .input_offset = result->input_offset,
    .model_ns = ain_result_span(result, worker->last_us * 1000), /* no longer than it was here */
  };
  complete(worker, slot, &answer, NULL);
  return TRUE;
}

/* A running average over about four jobs. */
static void note_duration(AinWorker *worker) {
  gint64 now = ain_loop_now();
  worker->last_us = now - worker->waiting_since;
  worker->usual_us += (worker->last_us - worker->usual_us) / 4;
  worker->waiting_since = now;
}

gboolean ain_worker_hot(const AinWorker *worker) {
  return worker->usual_us < HOT_MAX_US
         && ain_loop_now() - worker->waiting_since < 2 * worker->usual_us + HOT_MARGIN_US;
}

gboolean ain_worker_poll(AinWorker *worker) {
  gboolean did = FALSE;
  /* `complete` may make the owner submit the next job, but never frees the worker from inside a job's done.
   */
  while (worker->phase == PHASE_READY && worker->n_unanswered > 0) {
    guint32 tail = atomic_load_explicit(&worker->page->tail, memory_order_acquire);
    if (tail == worker->tail) {
      break;
    }
    if (tail - worker->tail > worker->n_unanswered) {
      misbehaved(worker, "it claims more answers than it was given jobs");
      return TRUE;
    }
    AinResult result =
        worker->page->results[worker->tail % AIN_RING]; /* a copy: the worker may scribble on it */
    atomic_signal_fence(memory_order_seq_cst);          /* and the compiler must not read it again */
    worker->tail++;
    did = TRUE;
    note_duration(worker);
    if (!take_result(worker, &result)) {
      worker->tail--; /* it is this job that ended the worker */
      break;
    }
  }
  return did;
}

gboolean ain_worker_arm(AinWorker *worker) {
  atomic_store(&worker->host->host_sleeps, 1);
  return atomic_load(&worker->page->tail) != worker->tail;
}

void ain_worker_disarm(AinWorker *worker) {
  atomic_store(&worker->host->host_sleeps, 0);
}
