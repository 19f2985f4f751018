/* What a session that only reads lets pass. */
#include "base/error.h"
#include "session/session.h"

#include <string.h>

static const char *const readers[] = {
  "select * from root.**",
  "  SELECT 1",
  "Show Timeseries",
  "((select 1))",
  "WITH a AS (SELECT 1) SELECT * FROM a",
  "explain select s from root.d",
  "EXPLAIN ANALYZE VERBOSE SELECT 1",
  "count devices",
  "describe t",
  "select intone, 'go into_it' from root.d",
};

static const char *const writers[] = {
  "",
  "   ",
  "insert into root.d(time) values (1)",
  "explain analyze insert into t values (1)",
  "EXPLAIN",
  "DROP DATABASE x",
  "delete from root.d.s",
  "selects",
  "/* select */ drop database x",
  "-- select\ndrop database x",
  "create view v as select 1",
  "set configuration a=b",
  "call inference(m, \"select\")",
  "; select 1",
};

static void test_readers(void) {
  for (gsize i = 0; i < G_N_ELEMENTS(readers); i++) {
    g_autoptr(GError) error = NULL;
    g_assert_true(ain_session_check_statement(readers[i], AIN_DIALECT_TREE, &error));
    g_assert_no_error(error);
    g_assert_true(ain_session_check_statement(readers[i], AIN_DIALECT_TABLE, NULL));
  }
}

static void test_writers(void) {
  for (gsize i = 0; i < G_N_ELEMENTS(writers); i++) {
    g_autoptr(GError) error = NULL;
    if (ain_session_check_statement(writers[i], AIN_DIALECT_TABLE, NULL)
        || ain_session_check_statement(writers[i], AIN_DIALECT_TREE, &error)) {
      g_error("'%s' is let through", writers[i]);
    }
    g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "only reads"));
  }
}

static void test_into(void) {
  static const char *const texts[] = {
    "select s into root.b(t) from root.a",
    "select s\tINTO\troot.b(t) from root.a",
    "select '/*' , s into root.b(t) from root.a --'",
    "explain analyze select s into root.b(t) from root.a",
    "with x select s into/**/root.b(t) from root.a",
  };
  for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
    g_autoptr(GError) error = NULL;
    g_assert_false(ain_session_check_statement(texts[i], AIN_DIALECT_TREE, &error));
    g_assert_nonnull(strstr(error->message, "INTO"));
  }
  g_assert_true(ain_session_check_statement("select 'into' from t", AIN_DIALECT_TABLE, NULL));
}

static void test_encoding(void) {
  g_assert_false(ain_session_check_statement("select '\xff'", AIN_DIALECT_TABLE, NULL));
  g_assert_true(ain_session_check_statement("select 'é'", AIN_DIALECT_TABLE, NULL));
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/session/statement/readers", test_readers);
  g_test_add_func("/session/statement/writers", test_writers);
  g_test_add_func("/session/statement/into", test_into);
  g_test_add_func("/session/statement/encoding", test_encoding);
  return g_test_run();
}
