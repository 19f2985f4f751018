/* Runs host/session alone and prints what happens, one "event key=value ..." line each, for the pytests.
 *
 *   session_probe --nodes HOST:PORT,... [options] SQL...
 * Each SQL is one query on the same session. With --threads N, N sessions do the same at once. */
#include "base/error.h"
#include "base/fd.h"
#include "base/loop.h"
#include "protocol/types.h"
#include "session/print.h"
#include "session/session.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *nodes_text = NULL;
static char *user = NULL;
static char *password = NULL;
static char *zone = NULL;
static char *database = NULL;
static gboolean table = FALSE;
static gboolean print_rows = FALSE;
static int wait_ms = 0;
static int connect_ms = 0;
static int reply_ms = 0;
static int deadline_ms = 0;
static int cancel_after_ms = -1;
static int pause_ms = 0;
static int max_rows = 0;
static int max_bytes = 0;
static int fetch_rows = 0;
static int page_bytes = 0;
static int stop_after = -1;
static int n_threads = 1;

static GOptionEntry entries[] = {
  { "nodes", 0, 0, G_OPTION_ARG_STRING, &nodes_text, "host:port,...", NULL },
  { "user", 0, 0, G_OPTION_ARG_STRING, &user, "", NULL },
  { "password", 0, 0, G_OPTION_ARG_STRING, &password, "", NULL },
  { "zone", 0, 0, G_OPTION_ARG_STRING, &zone, "", NULL },
  { "database", 0, 0, G_OPTION_ARG_STRING, &database, "", NULL },
  { "table", 0, 0, G_OPTION_ARG_NONE, &table, "the table dialect", NULL },
  { "print", 0, 0, G_OPTION_ARG_NONE, &print_rows, "print the rows as CSV on stderr", NULL },
  { "wait-ms", 0, 0, G_OPTION_ARG_INT, &wait_ms, "", NULL },
  { "connect-ms", 0, 0, G_OPTION_ARG_INT, &connect_ms, "", NULL },
  { "reply-ms", 0, 0, G_OPTION_ARG_INT, &reply_ms, "", NULL },
  { "deadline-ms", 0, 0, G_OPTION_ARG_INT, &deadline_ms, "of each query", NULL },
  { "cancel-after-ms", 0, 0, G_OPTION_ARG_INT, &cancel_after_ms, "", NULL },
  { "pause-ms", 0, 0, G_OPTION_ARG_INT, &pause_ms, "after each block", NULL },
  { "max-rows", 0, 0, G_OPTION_ARG_INT, &max_rows, "", NULL },
  { "max-bytes", 0, 0, G_OPTION_ARG_INT, &max_bytes, "", NULL },
  { "fetch-rows", 0, 0, G_OPTION_ARG_INT, &fetch_rows, "", NULL },
  { "page-bytes", 0, 0, G_OPTION_ARG_INT, &page_bytes, "", NULL },
  { "stop-after", 0, 0, G_OPTION_ARG_INT, &stop_after, "blocks, then the rows are freed", NULL },
  { "threads", 0, 0, G_OPTION_ARG_INT, &n_threads, "", NULL },
  G_OPTION_ENTRY_NULL,
};

typedef struct {
  char **statements;
  int cancel_fd;
  gint64 start;
} Probe;

static double elapsed_ms(const Probe *probe) {
  return (double)(ain_loop_now() - probe->start) / 1000;
}

static void print_error(const Probe *probe, const char *what, const GError *error) {
  printf("%s ms=%.1f code=%d message=%s\n", what, elapsed_ms(probe), error->code, error->message);
  fflush(stdout);
}

/* Position-dependent, so that rows lost, doubled or swapped show: sum of (row + 1) * value, modulo 2^64. */
static guint64 add_column(AinRows *rows, guint column, guint32 n, guint64 first, guint64 sum,
                          GError **error) {
  gsize size = ain_rows_value_size(ain_rows_column(rows, column)->type);
  g_autofree guint8 *values = g_malloc(MAX(n, 1) * size);
  g_autofree guint8 *nulls = g_malloc(MAX(n, 1));
  if (!ain_rows_read(rows, column, 0, n, values, nulls, error)) {
    return sum;
  }
  for (guint32 row = 0; row < n; row++) {
    guint64 value = 0;
    if (size == sizeof(AinSlice)) {
      AinSlice text = ((AinSlice *)values)[row];
      for (gsize i = 0; i < text.size; i++) {
        value = value * 31 + text.data[i];
      }
    } else {
      memcpy(&value, values + row * size, size);
    }
    sum += (first + row + 1) * (nulls[row] != 0 ? 1 : value);
  }
  return sum;
}

static gboolean read_rows(AinRows *rows, GError **error) {
  guint n_columns = ain_rows_n_columns(rows);
  g_autofree guint64 *sums = g_new0(guint64, n_columns);
  g_autoptr(GError) failed = NULL;
  guint64 total = 0;
  guint32 n;
  int blocks = 0;
  while (blocks != stop_after && ain_rows_next(rows, &n, &failed)) {
    for (guint i = 0; i < n_columns && failed == NULL; i++) {
      sums[i] = add_column(rows, i, n, total, sums[i], &failed);
    }
    total += n;
    blocks++;
    if (pause_ms > 0) {
      g_usleep((gulong)pause_ms * 1000);
    }
  }
  if (failed != NULL) {
    g_propagate_error(error, g_steal_pointer(&failed));
    return FALSE;
  }
  flockfile(stdout); /* a line of one thread is whole */
  printf("rows n=%" G_GUINT64_FORMAT " blocks=%d sums=", total, blocks);
  for (guint i = 0; i < n_columns; i++) {
    printf("%s%" G_GUINT64_FORMAT, i > 0 ? "," : "", sums[i]);
  }
  printf("\n");
  funlockfile(stdout);
  return TRUE;
}

static gboolean sink(const char *text, gsize size, gpointer data, GError **error) {
  (void)error;
  return fwrite(text, 1, size, data) == size;
}

static gboolean handle_rows(AinSession *session, AinRows *rows, GError **error) {
  flockfile(stdout);
  printf("columns");
  for (guint i = 0; i < ain_rows_n_columns(rows); i++) {
    const AinRowsColumn *column = ain_rows_column(rows, i);
    printf(" %s=%d", column->name, (int)column->type);
  }
  printf("\n");
  funlockfile(stdout);
  if (!print_rows) {
    return read_rows(rows, error);
  }
  AinPrintOptions options = { .csv = TRUE, .ticks = ain_session_ticks_per_second(session) };
  guint64 printed;
  gboolean cut;
  return ain_rows_print(rows, &options, sink, stderr, &printed, &cut, error);
}

static void query(const Probe *probe, AinSession *session, const char *sql) {
  g_autoptr(GError) error = NULL;
  AinQueryLimits limits = { .deadline = deadline_ms > 0 ? ain_loop_now() + (gint64)deadline_ms * 1000 : 0,
                            .max_rows = (guint64)max_rows,
                            .max_bytes = (guint64)max_bytes,
                            .fetch_rows = (guint32)fetch_rows };
  g_autoptr(AinRows) rows = ain_session_query(session, sql, &limits, &error);
  if (rows == NULL || !handle_rows(session, rows, &error)) {
    print_error(probe, "failed", error);
    return;
  }
  g_clear_pointer(&rows, ain_rows_free);
  printf("done ms=%.1f address=%s\n", elapsed_ms(probe), ain_session_address(session));
  fflush(stdout);
}

static AinSessionOptions make_options(GArray *nodes, const Probe *probe) {
  return (AinSessionOptions){
    .node = g_array_index(nodes, AinEndpoint, 0),
    .more_nodes = &g_array_index(nodes, AinEndpoint, 1),
    .n_more_nodes = nodes->len - 1,
    .dialect = table ? AIN_DIALECT_TABLE : AIN_DIALECT_TREE,
    .database = database,
    .username = user != NULL ? user : "root",
    .password = password != NULL ? password : "root",
    .time_zone = zone != NULL ? zone : "UTC+8",
    .connect_us = (gint64)connect_ms * 1000,
    .reply_us = (gint64)reply_ms * 1000,
    .wait_us = (gint64)wait_ms * 1000,
    .max_page_bytes = (gsize)page_bytes,
    .cancel_fd = probe->cancel_fd,
  };
}

static void clear_endpoint(gpointer data) {
  g_free(((AinEndpoint *)data)->host);
}

static GArray *parse_nodes(void) {
  g_auto(GStrv) texts = g_strsplit(nodes_text != NULL ? nodes_text : "", ",", -1);
  GArray *nodes = g_array_new(FALSE, FALSE, sizeof(AinEndpoint));
  g_array_set_clear_func(nodes, clear_endpoint);
  for (char **text = texts; *text != NULL; text++) {
    const char *colon = strrchr(*text, ':');
    AinEndpoint node = { g_strndup(*text, (gsize)(colon - *text)), (guint16)strtoul(colon + 1, NULL, 10) };
    g_array_append_val(nodes, node);
  }
  return nodes;
}

static void *run_session(void *data) {
  const Probe *probe = data;
  g_autoptr(GError) error = NULL;
  g_autoptr(GArray) nodes = parse_nodes();
  AinSessionOptions options = make_options(nodes, probe);
  g_autoptr(AinSession) session = ain_session_open(&options, &error);
  if (session == NULL) {
    print_error(probe, "refused", error);
    return NULL;
  }
  printf("opened ms=%.1f address=%s ticks=%" G_GINT64_FORMAT "\n", elapsed_ms(probe),
         ain_session_address(session), ain_session_ticks_per_second(session));
  fflush(stdout);
  for (char **sql = probe->statements; *sql != NULL; sql++) {
    query(probe, session, *sql);
  }
  return NULL;
}

static void *cancel_later(void *data) {
  g_usleep((gulong)cancel_after_ms * 1000);
  ssize_t written = write(*(int *)data, "x", 1);
  g_assert(written == 1);
  return NULL;
}

int main(int argc, char **argv) {
  g_autoptr(GError) error = NULL;
  g_autoptr(GOptionContext) context = g_option_context_new("SQL...");
  g_option_context_add_main_entries(context, entries, NULL);
  if (!g_option_context_parse(context, &argc, &argv, &error)) {
    fprintf(stderr, "%s\n", error->message);
    return 2;
  }
  ain_protocol_register_types();
  int ends[2];
  g_assert(pipe(ends) == 0);
  Probe probe = { argv + 1, cancel_after_ms >= 0 ? ends[0] : -1, ain_loop_now() };
  pthread_t canceller;
  if (cancel_after_ms >= 0) {
    pthread_create(&canceller, NULL, cancel_later, &ends[1]);
  }
  g_autofree pthread_t *threads = g_new(pthread_t, (gsize)n_threads);
  for (int i = 0; i < n_threads; i++) {
    pthread_create(&threads[i], NULL, run_session, &probe);
  }
  for (int i = 0; i < n_threads; i++) {
    pthread_join(threads[i], NULL);
  }
  if (cancel_after_ms >= 0) {
    pthread_join(canceller, NULL);
  }
  printf("ended ms=%.1f\n", elapsed_ms(&probe));
  close(ends[0]);
  close(ends[1]);
  char **texts[] = { &nodes_text, &user, &password, &zone, &database };
  for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
    g_clear_pointer(texts[i], g_free);
  }
  return 0;
}
