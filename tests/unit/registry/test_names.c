/* Ids and uris: what is let through, and the sentence for everything else. */
#include "base/error.h"
#include "registry/registry.h"
#include "registry/uri.h"

#include <limits.h>
#include <string.h>

typedef struct {
  const char *id;
  gsize size; /* 0: strlen */
  int code;   /* 0: allowed */
  const char *part;
} IdCase;

static const IdCase ID_CASES[] = {
  { "dlinear", 0, 0, NULL },
  { "ab", 0, 0, NULL },
  { "0-model_A", 0, 0, NULL },
  { "-x", 0, 0, NULL },
  { "arima2", 0, 0, NULL },
  { "0123456789012345678901234567890123456789012345678901234567890123", 0, 0, NULL },
  { "", 0, AIN_ERROR_INVALID, "is empty" },
  { "a", 0, AIN_ERROR_INVALID, "has 1 bytes; 2 to 64 are allowed" },
  { "01234567890123456789012345678901234567890123456789012345678901234", 0, AIN_ERROR_INVALID,
    "has 65 bytes" },
  { "_mine", 0, AIN_ERROR_INVALID, "starts with '_'" },
  { "../x", 0, AIN_ERROR_INVALID, "at place 1" },
  { "/etc", 0, AIN_ERROR_INVALID, "at place 1" },
  { "a/b", 0, AIN_ERROR_INVALID, "at place 2" },
  { "..", 0, AIN_ERROR_INVALID, "other than letters, digits" },
  { ".staging", 0, AIN_ERROR_INVALID, "at place 1" },
  { "a b", 0, AIN_ERROR_INVALID, "\"a b\"" },
  { "a\nb", 0, AIN_ERROR_INVALID, "\"a?b\"" },
  { "mod\xc3\xa9le", 0, AIN_ERROR_INVALID, "\"mod\xc3\xa9le\"" },
  { "x\xff\xfe", 0, AIN_ERROR_INVALID, "at place 2" },
  { "ab\0cd", 5, AIN_ERROR_INVALID, "at place 3" },
  { "weights", 0, AIN_ERROR_INVALID, "folder of the AINode itself" },
  { "Builtin", 0, AIN_ERROR_INVALID, "folder of the AINode itself" },
  { "user_defined", 0, AIN_ERROR_INVALID, "folder of the AINode itself" },
};

static void test_ids(void) {
  for (guint i = 0; i < G_N_ELEMENTS(ID_CASES); i++) {
    const IdCase *c = &ID_CASES[i];
    g_autoptr(GError) error = NULL;
    gboolean allowed = ain_registry_check_id(c->id, c->size != 0 ? c->size : strlen(c->id), &error);
    g_test_message("%s", error != NULL ? error->message : c->id);
    if (c->code == 0) {
      g_assert_no_error(error);
      g_assert_true(allowed);
    } else {
      g_assert_false(allowed);
      g_assert_error(error, AIN_ERROR, c->code);
      g_assert_nonnull(strstr(error->message, c->part));
      g_assert_true(g_utf8_validate(error->message, -1, NULL));
    }
  }
}

/* The built-ins of all releases; case does not make another name. */
static void test_builtin_ids(void) {
  static const char *const ids[] = {
    "arima",
    "ARIMA",
    "holtwinters",
    "exponential_smoothing",
    "naive_forecaster",
    "Stray",
    "stl_forecaster",
    "gaussian_hmm",
    "gmm_hmm",
    "timer_xl",
    "Sundial",
    "chronos2",
    "moirai2",
    "toto",
    "moment",
    "_Arima",
    "patchtst_fm",
    "_HoltWinters",
    "_ExponentialSmoothing",
    "_NaiveForecaster",
    "_stray",
    "_STLForecaster",
    "_GaussianHMM",
    "_GMMHMM",
  };
  for (guint i = 0; i < G_N_ELEMENTS(ids); i++) {
    g_autoptr(GError) error = NULL;
    g_assert_false(ain_registry_check_id(ids[i], strlen(ids[i]), &error));
    g_assert_error(error, AIN_ERROR, AIN_ERROR_MODEL_EXISTS);
    g_assert_nonnull(strstr(error->message, "built-in"));
    g_assert_nonnull(strstr(error->message, ids[i]));
  }
}

typedef struct {
  const char *uri;
  gsize size;          /* 0: strlen */
  int code;            /* 0: allowed */
  const char *literal; /* or a part of the message */
  const char *decoded;
} UriCase;

static const UriCase URI_CASES[] = {
  { "file:///srv/m", 0, 0, "/srv/m", NULL },
  { "file:///srv/m/", 0, 0, "/srv/m/", NULL },
  { "FILE:///srv/m", 0, 0, "/srv/m", NULL },
  { "file:/srv/m", 0, 0, "/srv/m", NULL },
  { "file://localhost/srv/m", 0, 0, "/srv/m", NULL },
  { "file://LocalHost/srv/m", 0, 0, "/srv/m", NULL },
  { "/srv/m", 0, 0, "/srv/m", NULL },
  { "/srv/a:b", 0, 0, "/srv/a:b", NULL },
  { "file:///srv/my model", 0, 0, "/srv/my model", NULL },
  { "file:///srv/my%20model", 0, 0, "/srv/my%20model", "/srv/my model" },
  { "file:///srv/%e6%A8%a1", 0, 0, "/srv/%e6%A8%a1", "/srv/\xe6\xa8\xa1" },
  { "file:///srv/100%", 0, 0, "/srv/100%", NULL },
  { "file:///srv/100%zz%2", 0, 0, "/srv/100%zz%2", NULL },
  { "file:///srv/%2e%2e/x", 0, 0, "/srv/%2e%2e/x", "/srv/../x" },
  { "file://~/m", 0, 0, "/home/tester/m", NULL },
  { "~/m", 0, 0, "/home/tester/m", NULL },
  { "file://~", 0, 0, "/home/tester", NULL },
  { "", 0, AIN_ERROR_INVALID_URI, "is empty; write file:///", NULL },
  { "file://", 0, AIN_ERROR_INVALID_URI, "relative path", NULL },
  { "file:", 0, AIN_ERROR_INVALID_URI, "relative path", NULL },
  { "models/x", 0, AIN_ERROR_INVALID_URI, "\"models/x\" is a relative path; write file:///", NULL },
  { "./x", 0, AIN_ERROR_INVALID_URI, "is a relative path", NULL },
  { "file://models/x", 0, AIN_ERROR_INVALID_URI, "relative path or another machine", NULL },
  { "file://other.host/x", 0, AIN_ERROR_INVALID_URI, "another machine", NULL },
  { "file://localhostile/x", 0, AIN_ERROR_INVALID_URI, "another machine", NULL },
  { "file:models/x", 0, AIN_ERROR_INVALID_URI, "relative path", NULL },
  { "file://~root/x", 0, AIN_ERROR_INVALID_URI, "only ~/ is understood", NULL },
  { "http://h/x", 0, AIN_ERROR_UNSUPPORTED, "download model.pt and config.yaml into a folder", NULL },
  { "HTTPS://h/x", 0, AIN_ERROR_UNSUPPORTED, "register that folder as file:///", NULL },
  { "repo://owner/name", 0, AIN_ERROR_UNSUPPORTED, "repo://owner/name", NULL },
  { "s3://bucket/x", 0, AIN_ERROR_INVALID_URI, "scheme \"s3\", which is not known", NULL },
  { "file:///srv/\0/x", 14, AIN_ERROR_INVALID_URI, "contains a NUL byte", NULL },
  { "file:///srv/%00/x", 0, AIN_ERROR_INVALID_URI, "NUL byte (%00)", NULL },
  { "bad\nthing\xff", 0, AIN_ERROR_INVALID_URI, "bad?thing", NULL },
};

static void check_uri(const UriCase *c) {
  g_autoptr(GError) error = NULL;
  g_autofree char *literal = NULL;
  g_autofree char *decoded = NULL;
  gsize size = c->size != 0 ? c->size : strlen(c->uri);
  gboolean good = ain_registry_parse_uri(c->uri, size, &literal, &decoded, &error);
  g_test_message("%s", error != NULL ? error->message : literal);
  /* What has to be fetched first is no folder, but may be asked for. */
  gboolean remote = c->code == AIN_ERROR_UNSUPPORTED;
  g_assert_cmpint(remote, ==, ain_registry_uri_is_remote(c->uri));
  g_assert_cmpint(good || remote, ==, ain_registry_check_uri(c->uri, size, NULL));
  if (c->code == 0) {
    g_assert_no_error(error);
    g_assert_cmpstr(literal, ==, c->literal);
    g_assert_cmpstr(decoded, ==, c->decoded);
  } else {
    g_assert_false(good);
    g_assert_error(error, AIN_ERROR, c->code);
    g_assert_nonnull(strstr(error->message, c->literal));
    g_assert_true(g_utf8_validate(error->message, -1, NULL));
    g_assert_null(literal);
  }
}

static void test_remote_uris(void) {
  g_autofree char *name = g_strnfill(PATH_MAX + 100, 'x');
  g_autofree char *huge = g_strconcat("http://h/", name, NULL);
  const char *refused[] = { "http://h/a b", "https://h/\n", "http://h/\xc3\xa4", "repo://\x7f", huge };
  for (guint i = 0; i < G_N_ELEMENTS(refused); i++) {
    g_autoptr(GError) error = NULL;
    g_assert_false(ain_registry_check_uri(refused[i], strlen(refused[i]), &error));
    g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI);
  }
  g_assert_true(ain_registry_check_uri("http://[::1]:80/a%20b", strlen("http://[::1]:80/a%20b"), NULL));
  g_assert_false(ain_registry_uri_is_remote("file:///http://h/"));
}

static void test_uris(void) {
  for (guint i = 0; i < G_N_ELEMENTS(URI_CASES); i++) {
    check_uri(&URI_CASES[i]);
  }
}

static void test_long_uris(void) {
  g_autofree char *name = g_strnfill(PATH_MAX, 'x');
  g_autofree char *long_path = g_strconcat("file:///", name, NULL);
  UriCase path_case = { long_path, 0, AIN_ERROR_INVALID_URI, "longer than the 4096 bytes", NULL };
  check_uri(&path_case);
  g_autofree char *huge = g_strnfill(1 << 20, '/');
  UriCase huge_case = { huge, 0, AIN_ERROR_INVALID_URI, "the uri has 1048576 bytes", NULL };
  check_uri(&huge_case);
}

int main(int argc, char **argv) {
  g_setenv("HOME", "/home/tester", TRUE);
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/registry/ids", test_ids);
  g_test_add_func("/registry/builtin-ids", test_builtin_ids);
  g_test_add_func("/registry/uris", test_uris);
  g_test_add_func("/registry/remote_uris", test_remote_uris);
  g_test_add_func("/registry/long-uris", test_long_uris);
  return g_test_run();
}
