#include "app/query.h"

#include "app/commands.h"
#include "base/error.h"
#include "base/exit.h"
#include "base/loop.h"
#include "protocol/types.h"
#include "session/print.h"
#include "session/session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_TIMEOUT_S 60
#define DEFAULT_TABLE_ROWS 1000
#define CHECK_TIMEOUT_S 10

typedef struct {
  char *dialect;
  char *database;
  gboolean csv;
  gint max_rows; /* -1: not given */
  gint timeout_s;
} Wishes;

static const char description[] =
    "Asks the DataNode at ain_cluster_ingress_address and port, with the user and password that this node "
    "is\n"
    "configured with. It only reads. Without SQL it tells whether the DataNode accepts the login.\n"
    "Timestamps are printed in UTC.";

static int fail(const GError *error) {
  g_printerr("%s\n", error->message);
  return ain_app_exit_code(error);
}

static gboolean write_out(const char *text, gsize size, gpointer data, GError **error) {
  FILE *file = data;
  if (fwrite(text, 1, size, file) != size || fflush(file) != 0) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "the rows could not be written");
    return FALSE;
  }
  return TRUE;
}

static int check(const AinConfig *config, gint timeout_s) {
  g_autoptr(GError) error = NULL;
  g_autofree char *found = NULL;
  gint64 timeout_us = (gint64)(timeout_s > 0 ? timeout_s : CHECK_TIMEOUT_S) * G_USEC_PER_SEC;
  if (!ain_session_check(config, timeout_us, -1, &found, &error)) {
    return fail(error);
  }
  found[0] = g_ascii_toupper(found[0]);
  g_print("%s.\n", found);
  return AIN_EXIT_OK;
}

static int ask(const AinConfig *config, const Wishes *wishes, const char *sql) {
  g_autoptr(GError) error = NULL;
  AinSessionOptions options = ain_session_options(config);
  gint64 timeout_us =
      (gint64)(wishes->timeout_s > 0 ? wishes->timeout_s : DEFAULT_TIMEOUT_S) * G_USEC_PER_SEC;
  AinQueryLimits limits = { .deadline = ain_loop_now() + timeout_us };
  options.dialect = g_strcmp0(wishes->dialect, "table") == 0 ? AIN_DIALECT_TABLE : AIN_DIALECT_TREE;
  options.database = wishes->database;
  options.deadline = limits.deadline;
  options.reply_us = timeout_us;
  if (!ain_session_check_statement(sql, options.dialect, &error)) {
    (void)fail(error);
    return AIN_EXIT_USAGE;
  }
  g_autoptr(AinSession) session = ain_session_open(&options, &error);
  g_autoptr(AinRows) rows = session != NULL ? ain_session_query(session, sql, &limits, &error) : NULL;
  if (rows == NULL) {
    return fail(error);
  }
  guint64 max_rows = wishes->csv ? 0 : DEFAULT_TABLE_ROWS;
  AinPrintOptions print = { .csv = wishes->csv,
                            .ticks = ain_session_ticks_per_second(session),
                            .max_rows = wishes->max_rows >= 0 ? (guint64)wishes->max_rows : max_rows };
  guint64 printed = 0;
  gboolean cut = FALSE;
  if (!ain_rows_print(rows, &print, write_out, stdout, &printed, &cut, &error)) {
    return fail(error);
  }
  if (cut) {
    g_printerr("There are more rows; --max-rows 0 prints all.\n");
  } else if (!wishes->csv) {
    g_print("(%" G_GUINT64_FORMAT " row%s)\n", printed, printed == 1 ? "" : "s");
  }
  return AIN_EXIT_OK;
}

static int run(AinAppOptions *options, const Wishes *wishes, const char *sql) {
  gboolean known = wishes->dialect == NULL || strcmp(wishes->dialect, "tree") == 0
                   || strcmp(wishes->dialect, "table") == 0;
  if (!known || (wishes->database != NULL && g_strcmp0(wishes->dialect, "table") != 0)) {
    g_printerr("%s\n", known
                           ? "--database needs --dialect table: in the tree dialect a path names its database"
                           : "--dialect is tree or table; see --help");
    return AIN_EXIT_USAGE;
  }
  g_autoptr(GError) error = NULL;
  ain_app_find_home(options);
  g_autoptr(AinConfig) config =
      ain_config_load(options->home, options->config_file, (const char *const *)options->overrides, &error);
  if (config == NULL) {
    return fail(error);
  }
  ain_protocol_register_types();
  return sql == NULL ? check(config, wishes->timeout_s) : ask(config, wishes, sql);
}

int ain_app_query_command(AinAppOptions *options, int argc, char **argv) {
  Wishes wishes = { .max_rows = -1 };
  const GOptionEntry entries[] = {
    { "dialect", 0, 0, G_OPTION_ARG_STRING, &wishes.dialect, "tree (default) or table", "DIALECT" },
    { "database", 0, 0, G_OPTION_ARG_STRING, &wishes.database, "Database of unqualified table names",
      "NAME" },
    { "csv", 0, 0, G_OPTION_ARG_NONE, &wishes.csv, "Print CSV instead of a table", NULL },
    { "max-rows", 0, 0, G_OPTION_ARG_INT, &wishes.max_rows,
      "Print at most so many rows, 0 for all (default: 1000 in a table, all as CSV)", "N" },
    { "timeout", 0, 0, G_OPTION_ARG_INT, &wishes.timeout_s,
      "Seconds for all of it (default: 60, without SQL 10)", "S" },
    G_OPTION_ENTRY_NULL,
  };
  int code = AIN_EXIT_USAGE;
  if (ain_app_parse(options, entries, "[SQL]", description, 1, &argc, &argv)) {
    code = run(options, &wishes, argc == 2 ? argv[1] : NULL);
  }
  g_free(wishes.dialect);
  g_free(wishes.database);
  return code;
}
