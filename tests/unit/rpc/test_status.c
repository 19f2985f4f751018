/* The status numbers of every release, and which family an answer is made for. */
#include "rpc/status.h"

#include "base/error.h"

typedef struct {
  AinErrorCode code;
  AinMethod method;
  gint32 a_to_e;
  gint32 f;
  gint32 g_h;
} Expected;

static const Expected expected[] = {
  { AIN_ERROR_INTERNAL, AIN_METHOD_INFERENCE, 1510, 1510, 1599 },
  { AIN_ERROR_INVALID, AIN_METHOD_INFERENCE, 1510, 1510, 1599 },
  { AIN_ERROR_MALFORMED, AIN_METHOD_FORECAST, 1510, 1510, 1599 },
  { AIN_ERROR_MALFORMED, AIN_METHOD_REGISTER_MODEL, 1510, 1510, 1599 },
  { AIN_ERROR_TOO_LARGE, AIN_METHOD_FORECAST, 1510, 1510, 1599 },
  { AIN_ERROR_MODEL_NOT_FOUND, AIN_METHOD_INFERENCE, 1505, 1505, 1504 },
  { AIN_ERROR_MODEL_EXISTS, AIN_METHOD_REGISTER_MODEL, 1502, 1502, 1503 },
  { AIN_ERROR_MODEL_BUILTIN, AIN_METHOD_DELETE_MODEL, 1501, 1501, 1506 },
  { AIN_ERROR_MODEL_BUILTIN, AIN_METHOD_REGISTER_MODEL, 1502, 1502, 1503 },
  { AIN_ERROR_MODEL_INVALID, AIN_METHOD_REGISTER_MODEL, 1500, 1500, 1505 },
  { AIN_ERROR_INVALID, AIN_METHOD_REGISTER_MODEL, 1500, 1500, 1505 },
  { AIN_ERROR_INVALID_URI, AIN_METHOD_REGISTER_MODEL, 1511, 1511, 1505 },
  { AIN_ERROR_INVALID_CONFIG, AIN_METHOD_REGISTER_MODEL, 1512, 1512, 1505 },
  { AIN_ERROR_DROP_FAILED, AIN_METHOD_DELETE_MODEL, 1501, 1501, 1507 },
  { AIN_ERROR_INVALID, AIN_METHOD_DELETE_MODEL, 1501, 1501, 1507 },
  { AIN_ERROR_DEVICE, AIN_METHOD_LOAD_MODEL, 1510, 1507, 1508 },
  { AIN_ERROR_INVALID, AIN_METHOD_LOAD_MODEL, 1510, 1510, 1509 },
  { AIN_ERROR_INVALID, AIN_METHOD_UNLOAD_MODEL, 1510, 1510, 1510 },
  { AIN_ERROR_BUSY, AIN_METHOD_INFERENCE, 1510, 1510, 1599 },
  { AIN_ERROR_TIMEOUT, AIN_METHOD_INFERENCE, 1510, 1510, 1599 },
  { AIN_ERROR_CANCELLED, AIN_METHOD_INFERENCE, 1510, 1510, 1599 },
  { AIN_ERROR_WORKER_DIED, AIN_METHOD_INFERENCE, 1510, 1510, 1599 },
  { AIN_ERROR_MODEL_FAILED, AIN_METHOD_INFERENCE, 1510, 1510, 1599 },
  { AIN_ERROR_UNSUPPORTED, AIN_METHOD_CREATE_TRAINING, 1510, 1510, 1599 },
  { AIN_ERROR_REJECTED, AIN_METHOD_UNKNOWN, 1510, 1510, 1599 },
  { AIN_ERROR_UNREACHABLE, AIN_METHOD_UNKNOWN, 1510, 1510, 1599 },
  { AIN_ERROR_ENVIRONMENT, AIN_METHOD_INFERENCE, 1510, 1510, 1599 },
};

static void test_numbers(void) {
  for (gsize i = 0; i < G_N_ELEMENTS(expected); i++) {
    const Expected *e = &expected[i];
    g_autoptr(GError) error = g_error_new_literal(AIN_ERROR, (gint)e->code, "x");
    static const AinFamily old[] = { AIN_FAMILY_A, AIN_FAMILY_C, AIN_FAMILY_D, AIN_FAMILY_E };
    for (gsize k = 0; k < G_N_ELEMENTS(old); k++) {
      g_assert_cmpint(ain_rpc_status(error, old[k], e->method), ==, e->a_to_e);
    }
    g_assert_cmpint(ain_rpc_status(error, AIN_FAMILY_F, e->method), ==, e->f);
    g_assert_cmpint(ain_rpc_status(error, AIN_FAMILY_G, e->method), ==, e->g_h);
    g_assert_cmpint(ain_rpc_status(error, AIN_FAMILY_H, e->method), ==, e->g_h);
  }
}

static void test_every_code_has_a_number(void) {
  for (gint code = AIN_ERROR_INTERNAL; code <= AIN_ERROR_ENVIRONMENT; code++) {
    gboolean found = FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(expected); i++) {
      found |= (gint)expected[i].code == code;
    }
    g_assert_true(found);
    g_autoptr(GError) error = g_error_new_literal(AIN_ERROR, code, "x");
    for (guint family = AIN_FAMILY_A; family <= AIN_FAMILY_H; family <<= 1) {
      gint32 number = ain_rpc_status(error, (AinFamily)family, AIN_METHOD_UNKNOWN);
      g_assert_cmpint(number, >=, 1500);
      g_assert_cmpint(number, <, 1600);
    }
  }
}

static void test_foreign_errors_are_internal(void) {
  g_autoptr(GError) error = g_error_new_literal(G_FILE_ERROR, 3, "x");
  g_assert_cmpint(ain_rpc_status(error, AIN_FAMILY_H, AIN_METHOD_INFERENCE), ==, 1599);
  g_assert_cmpint(ain_rpc_status(NULL, AIN_FAMILY_A, AIN_METHOD_INFERENCE), ==, 1510);
  g_autoptr(GError) beyond = g_error_new_literal(AIN_ERROR, 4711, "x");
  g_assert_cmpint(ain_rpc_status(beyond, AIN_FAMILY_A, AIN_METHOD_INFERENCE), ==, 1510);
}

static void test_family_of_an_answer(void) {
  g_assert_cmpint(ain_rpc_family(AIN_FAMILY_ALL, AIN_FAMILY_C), ==, AIN_FAMILY_C);
  g_assert_cmpint(ain_rpc_family(AIN_FAMILY_D | AIN_FAMILY_E, AIN_FAMILY_H), ==, AIN_FAMILY_E);
  g_assert_cmpint(ain_rpc_family(AIN_FAMILY_G, AIN_FAMILY_A), ==, AIN_FAMILY_G);
  g_assert_cmpint(ain_rpc_family(0, AIN_FAMILY_F), ==, AIN_FAMILY_F);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/rpc/status/numbers", test_numbers);
  g_test_add_func("/rpc/status/complete", test_every_code_has_a_number);
  g_test_add_func("/rpc/status/foreign", test_foreign_errors_are_internal);
  g_test_add_func("/rpc/status/family", test_family_of_an_answer);
  return g_test_run();
}
