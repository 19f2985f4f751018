/* What the options of a request become: rows asked for, and JSON for the worker. */
#include "base/error.h"
#include "registry/builtin.h"
#include "rpc/internal.h"
#include "schedule/options.h"

#include <string.h>

#define MAX_PAIRS 4

typedef struct {
  AinFamily family;
  AinMethod method;
  AinModelKind kind;
  gint32 output_length; /* of FORECAST */
  const char *options[2 * MAX_PAIRS];
  gint32 length;    /* expected; -1: refused */
  const char *text; /* expected JSON, or a part of the message */
} Case;

#define INFER AIN_METHOD_INFERENCE
#define FORECAST AIN_METHOD_FORECAST
#define SK AIN_KIND_STATISTICAL
#define LT AIN_KIND_TIMER
#define PL AIN_KIND_PIPELINE
#define FAMILY(letter) "\"ainode_family\": \"" letter "\"}"

static const Case CASES[] = {
  { AIN_FAMILY_A, INFER, SK, 0, { NULL }, 0, "{" FAMILY("A") },
  { AIN_FAMILY_C, INFER, SK, 0, { NULL }, 0, "{" FAMILY("C") },
  { AIN_FAMILY_E, INFER, SK, 0, { "predict_length", "7" }, 7, "{" FAMILY("E") },
  { AIN_FAMILY_H, INFER, SK, 0, { "outputLength", "48" }, 48, "{" FAMILY("H") },
  { AIN_FAMILY_H, INFER, SK, 0, { "output_length", " 48 " }, 48, "{" FAMILY("H") },
  { AIN_FAMILY_E,
    INFER,
    SK,
    0,
    { "order", "(1,\"2\",\n0)", "k", "" },
    0,
    "{\"order\": \"(1,\\\"2\\\",\\u000a0)\", \"k\": \"\", " FAMILY("E") },
  { AIN_FAMILY_E, INFER, SK, 0, { "acceleration", "true", "ainode_family", "Z" }, 0, "{" FAMILY("E") },
  { AIN_FAMILY_E,
    FORECAST,
    LT,
    96,
    { "predict_length", "9", "seed", "3" },
    96,
    "{\"seed\": \"3\", " FAMILY("E") },
  { AIN_FAMILY_H, FORECAST, PL, 30, { "nulls", "error" }, 30, "{" FAMILY("H") },
  { AIN_FAMILY_H,
    AIN_METHOD_CLASSIFY,
    PL,
    0,
    { "k", "v" },
    0,
    "{\"k\": \"v\", \"ainode_task\": \"classify\", " FAMILY("H") },
  { AIN_FAMILY_H, INFER, PL, 0, { "ainode_task", "classify" }, 0, "{" FAMILY("H") },
  { AIN_FAMILY_E, INFER, SK, 0, { "predict_length", "5000" }, 5000, "{" FAMILY("E") },
  { AIN_FAMILY_F, INFER, SK, 0, { "predict_length", "5000" }, 5000, "{" FAMILY("F") },
  { AIN_FAMILY_E,
    INFER,
    SK,
    0,
    { "predict_length", "5001" },
    -1,
    "Attribute predict_length expect value between 1 and 5000, got 5001 instead." },
  { AIN_FAMILY_F,
    INFER,
    LT,
    0,
    { "predict_length", "2881" },
    -1,
    "Attribute predict_length expect value between 1 and 2880, got 2881 instead." },
  { AIN_FAMILY_H,
    INFER,
    SK,
    0,
    { "outputLength", "2881" },
    -1,
    "Attribute output_length expect value between 1 and 2880, got 2881 instead." },
  { AIN_FAMILY_H,
    FORECAST,
    SK,
    2881,
    { NULL },
    -1,
    "Attribute output_length expect value between 1 and 2880, got 2881 instead." },
  { AIN_FAMILY_E, FORECAST, SK, 0, { NULL }, -1, "got 0 instead." },
  { AIN_FAMILY_E, FORECAST, SK, -3, { NULL }, -1, "got -3 instead." },
  { AIN_FAMILY_E, INFER, SK, 0, { "predict_length", "0" }, -1, "got 0 instead." },
  { AIN_FAMILY_E, INFER, SK, 0, { "predict_length", "ten" }, -1, "got ten instead." },
  { AIN_FAMILY_E, INFER, SK, 0, { "predict_length", "" }, -1, "got  instead." },
  { AIN_FAMILY_E, INFER, SK, 0, { "predict_length", "99999999999999999999999" }, -1, "instead." },
  { AIN_FAMILY_E, INFER, SK, 0, { "predict_length", "\xff\xfe" }, -1, "instead." },
};

static void set_up(const Case *c, AinCall *call, AinPair *pairs) {
  guint n = 0;
  while (n < MAX_PAIRS && c->options[2 * (gsize)n] != NULL) {
    const char *key = c->options[2 * (gsize)n];
    const char *value = c->options[2 * (gsize)n + 1];
    pairs[n] = (AinPair){ { (const guint8 *)key, strlen(key) }, { (const guint8 *)value, strlen(value) } };
    n++;
  }
  call->store.request = (AinRequest){
    .method = c->method,
    .families = c->family,
    .output_length = c->output_length,
    .options = pairs,
    .n_options = n,
  };
}

static void test_options(void) {
  for (guint i = 0; i < G_N_ELEMENTS(CASES); i++) {
    const Case *c = &CASES[i];
    g_autoptr(AinModel) model = ain_builtin_model_new("any", c->kind, "/", AIN_CATEGORY_BUILTIN);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    g_autofree AinCall *call = g_new0(AinCall, 1);
    AinPair pairs[MAX_PAIRS];
    gint32 length = -1;
    set_up(c, call, pairs);
    gboolean good = ain_options_read(model, call, &length, &text, &error);
    g_test_message("%u: %s", i, good ? text : error->message);
    g_assert_cmpint(good, ==, c->length >= 0);
    if (good) {
      g_assert_cmpint(length, ==, c->length);
      g_assert_cmpstr(text, ==, c->text);
    } else {
      g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
      g_assert_nonnull(strstr(error->message, c->text));
      g_assert_true(g_utf8_validate(error->message, -1, NULL));
    }
  }
}

typedef struct {
  const char *value; /* NULL: the option is not given */
  AinNullPolicy policy;
  gboolean good;
} NullCase;

static void test_nulls(void) {
  static const NullCase cases[] = {
    { NULL, AIN_NULLS_NAN, TRUE }, /* stays as it was */
    { "zero", AIN_NULLS_ZERO, TRUE },   { "Interpolate", AIN_NULLS_INTERPOLATE, TRUE },
    { "error", AIN_NULLS_ERROR, TRUE }, { "nan", AIN_NULLS_NAN, FALSE },
    { "", AIN_NULLS_NAN, FALSE },       { "\xff", AIN_NULLS_NAN, FALSE },
  };
  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    const Case c = {
      AIN_FAMILY_E, INFER, SK, 0, { "k", "1", cases[i].value != NULL ? "NULLS" : NULL, cases[i].value }, 0,
      NULL
    };
    g_autofree AinCall *call = g_new0(AinCall, 1);
    g_autoptr(GError) error = NULL;
    AinPair pairs[MAX_PAIRS];
    AinNullPolicy policy = AIN_NULLS_NAN;
    set_up(&c, call, pairs);
    g_assert_cmpint(ain_options_nulls(&call->store.request, &policy, &error), ==, cases[i].good);
    g_assert_cmpint(policy, ==, cases[i].policy);
    g_assert_cmpint(error != NULL, ==, !cases[i].good);
    g_assert_true(error == NULL || g_utf8_validate(error->message, -1, NULL));
  }
}

static void test_acceleration(void) {
  static const struct {
    const char *key;
    const char *value;
    gboolean wanted;
  } cases[] = {
    { "acceleration", "true", TRUE }, { "ACCELERATION", "True", TRUE }, { "acceleration", "false", FALSE },
    { "acceleration", "", FALSE },    { "accelerate", "true", FALSE },
  };
  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    AinPair pair = { { (const guint8 *)cases[i].key, strlen(cases[i].key) },
                     { (const guint8 *)cases[i].value, strlen(cases[i].value) } };
    AinRequest request = { .options = &pair, .n_options = 1 };
    g_assert_cmpint(ain_options_accelerate(&request), ==, cases[i].wanted);
  }
  AinRequest none = { .n_options = 0 };
  g_assert_false(ain_options_accelerate(&none));
}

static void test_too_many_bytes(void) {
  g_autoptr(AinModel) model = ain_builtin_model_new("any", SK, "/", AIN_CATEGORY_BUILTIN);
  g_autoptr(GError) error = NULL;
  g_autofree char *text = NULL;
  g_autofree char *value = g_strnfill(40000, 'x');
  const Case c = { AIN_FAMILY_E, INFER, SK, 0, { "a", value, "b", value }, -1, NULL };
  g_autofree AinCall *call = g_new0(AinCall, 1);
  AinPair pairs[MAX_PAIRS];
  gint32 length;
  set_up(&c, call, pairs);
  g_assert_false(ain_options_read(model, call, &length, &text, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE);
  g_assert_null(text);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/options/cases", test_options);
  g_test_add_func("/schedule/options/nulls", test_nulls);
  g_test_add_func("/options/acceleration", test_acceleration);
  g_test_add_func("/options/too-many-bytes", test_too_many_bytes);
  return g_test_run();
}
