/* What depends on the disk: home, the file, data/ainode or data/AINode, directories that cannot be used. */
#include "base/error.h"
#include "base/fd.h"
#include "config/config.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
  char *home;
} Fixture;

static void set_up(Fixture *f, gconstpointer data) {
  (void)data;
  g_autoptr(GError) error = NULL;
  g_autofree char *made = g_dir_make_tmp("ain config XXXXXX", &error); /* with spaces */
  g_assert_no_error(error);
  f->home = g_steal_pointer(&made);
}

static void tear_down(Fixture *f, gconstpointer data) {
  (void)data;
  g_autoptr(GError) error = NULL;
  g_assert_true(ain_file_remove_tree(f->home, &error));
  g_unsetenv("IOTDB_AINODE_HOME");
  g_free(f->home);
}

static char *below(const Fixture *f, const char *path) {
  return g_build_filename(f->home, path, NULL);
}

static void make(const Fixture *f, const char *path) {
  g_autofree char *full = below(f, path);
  g_assert_cmpint(g_mkdir_with_parents(full, 0755), ==, 0);
}

static void put(const Fixture *f, const char *path, const char *text) {
  g_autofree char *full = below(f, path);
  g_autofree char *folder = g_path_get_dirname(full);
  g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
  g_assert_true(g_file_set_contents(full, text, -1, NULL));
}

static void assert_below(const Fixture *f, const char *got, const char *path) {
  g_autofree char *full = below(f, path);
  g_assert_cmpstr(got, ==, full);
}

static void assert_has(const char *message, const char *part) {
  if (strstr(message, part) == NULL) {
    g_test_message("missing part: %s", part);
    g_assert_cmpstr(message, ==, part);
  }
}

static AinConfig *load(const char *home, const char *file) {
  g_autoptr(GError) error = NULL;
  AinConfig *config = ain_config_load(home, file, NULL, &error);
  g_assert_no_error(error);
  return config;
}

static void test_file_of_home(Fixture *f, gconstpointer data) {
  (void)data;
  put(f, "conf/iotdb-ainode.properties", "cluster_name=fromFile\n");
  g_autoptr(AinConfig) given = load(f->home, NULL);
  g_assert_cmpstr(given->cluster_name, ==, "fromFile");
  assert_below(f, given->config_file, "conf/iotdb-ainode.properties");
  g_setenv("IOTDB_AINODE_HOME", f->home, TRUE);
  g_autoptr(AinConfig) variable = load(NULL, NULL);
  g_assert_cmpstr(variable->home, ==, f->home);
  g_assert_cmpstr(variable->cluster_name, ==, "fromFile");
  put(f, "empty", "");
  g_autofree char *empty = below(f, "empty");
  g_autoptr(AinConfig) other = load(f->home, empty);
  g_assert_cmpstr(other->cluster_name, ==, "defaultCluster");
}

static void test_file_absent(Fixture *f, gconstpointer data) {
  (void)data;
  g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*/conf/iotdb-ainode.properties does not exist*");
  g_autoptr(AinConfig) config = load(f->home, NULL);
  g_test_assert_expected_messages();
  g_assert_cmpuint(config->rpc_port, ==, 10810);
  g_autoptr(GError) error = NULL;
  g_autofree char *named = below(f, "named.properties");
  g_assert_null(ain_config_load(f->home, named, NULL, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
  assert_has(error->message, named);
}

static void test_file_unusable(Fixture *f, gconstpointer data) {
  (void)data;
  make(f, "conf/iotdb-ainode.properties");
  g_autoptr(GError) error = NULL;
  g_assert_null(ain_config_load(f->home, NULL, NULL, &error));
  assert_has(error->message, "conf/iotdb-ainode.properties is not a regular file");
  g_clear_error(&error);
  g_autofree char *big = g_strnfill(1024 * 1024 + 1, '#');
  put(f, "big", big);
  g_autofree char *path = below(f, "big");
  g_assert_null(ain_config_load(f->home, path, NULL, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE);
  assert_has(error->message, "1048577 bytes, more than the 1048576 allowed");
}

/* The test program lies in <build>/tests/unit/config/: home is the folder above its own. */
static void test_home_of_the_executable(void) {
  g_autofree char *executable = g_file_read_link("/proc/self/exe", NULL);
  g_autofree char *folder = g_path_get_dirname(executable);
  g_autofree char *expected = g_path_get_dirname(folder);
  g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not exist*");
  g_autoptr(AinConfig) config = load(NULL, NULL);
  g_test_assert_expected_messages();
  g_assert_cmpstr(config->home, ==, expected);
}

static void test_home_is_no_directory(void) {
  g_setenv("IOTDB_AINODE_HOME", "/nonexistent/home", TRUE);
  g_autoptr(GError) error = NULL;
  g_assert_null(ain_config_load(NULL, NULL, NULL, &error));
  g_unsetenv("IOTDB_AINODE_HOME");
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
  assert_has(error->message, "\"/nonexistent/home\"");
  assert_has(error->message, "environment IOTDB_AINODE_HOME");
}

typedef struct {
  const char *folders[2];
  const char *text;
  const char *system_dir; /* NULL: refused */
  const char *models_dir;
} DataRule;

static const DataRule DATA_RULES[] = {
  { { NULL }, "", "data/ainode/system", "data/ainode/models" },
  { { "data/ainode" }, "", "data/ainode/system", "data/ainode/models" },
  { { "data/AINode" }, "", "data/AINode/system", "data/AINode/models" },
  { { "data/AINode", "data/ainode" }, "", NULL, NULL },
  /* as the shipped file gives them: still the defaults */
  { { "data/AINode" },
    "ain_system_dir=data/ainode/system\nain_models_dir=data/ainode/models\n",
    "data/AINode/system",
    "data/AINode/models" },
  { { "data/AINode", "data/ainode" },
    "ain_system_dir=data/ainode/system\nain_models_dir=data/ainode/models\n",
    NULL,
    NULL },
  /* as the manual prints them: said, so done */
  { { "data/AINode", "data/ainode" },
    "ain_system_dir=data/AINode/system\nain_models_dir=data/AINode/models\n",
    "data/AINode/system",
    "data/AINode/models" },
  { { "data/ainode" },
    "ain_system_dir=data/AINode/system\nain_models_dir=data/AINode/models\n",
    "data/AINode/system",
    "data/AINode/models" },
  /* one said, one left */
  { { "data/AINode" }, "ain_system_dir=s\n", "s", "data/AINode/models" },
  { { "data/AINode", "data/ainode" }, "ain_system_dir=s\n", NULL, NULL },
  { { "data/AINode", "data/ainode" }, "ain_system_dir=s\nain_models_dir=m\n", "s", "m" },
};

static void check_data_rule(const DataRule *rule) {
  Fixture f;
  set_up(&f, NULL);
  for (guint i = 0; i < G_N_ELEMENTS(rule->folders) && rule->folders[i] != NULL; i++) {
    make(&f, rule->folders[i]);
  }
  put(&f, "conf/iotdb-ainode.properties", rule->text);
  g_autoptr(GError) error = NULL;
  g_autoptr(AinConfig) config = ain_config_load(f.home, NULL, NULL, &error);
  if (rule->system_dir == NULL) {
    g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
    g_autofree char *real = below(&f, "data/ainode");
    g_autofree char *manual = below(&f, "data/AINode");
    assert_has(error->message, real);
    assert_has(error->message, manual);
    assert_has(error->message, "ain_system_dir and ain_models_dir");
  } else {
    g_assert_no_error(error);
    assert_below(&f, config->system_dir, rule->system_dir);
    assert_below(&f, config->models_dir, rule->models_dir);
    g_autofree char *weights = g_build_filename(rule->models_dir, "weights", NULL);
    assert_below(&f, config->builtin_models_dir, weights);
  }
  tear_down(&f, NULL);
}

static void test_data_rules(void) {
  for (guint i = 0; i < G_N_ELEMENTS(DATA_RULES); i++) {
    check_data_rule(&DATA_RULES[i]);
  }
}

/* One folder under two names, as a link or on a file system without case, is no contradiction. */
static void test_data_same_folder(Fixture *f, gconstpointer data) {
  (void)data;
  make(f, "data/ainode");
  g_autofree char *link = below(f, "data/AINode");
  g_assert_cmpint(symlink("ainode", link), ==, 0);
  put(f, "conf/iotdb-ainode.properties", "");
  g_autoptr(AinConfig) config = load(f->home, NULL);
  assert_below(f, config->system_dir, "data/ainode/system");
}

static void test_prepare(Fixture *f, gconstpointer data) {
  (void)data;
  put(f, "conf/iotdb-ainode.properties", "");
  g_autoptr(AinConfig) config = load(f->home, NULL);
  g_autoptr(GError) error = NULL;
  mode_t old = umask(0);
  g_assert_true(ain_config_prepare_directories(config, &error));
  g_assert_no_error(error);
  g_assert_true(ain_config_prepare_directories(config, &error)); /* again: they exist */
  umask(old);
  const char *const paths[] = { config->system_dir, config->models_dir, config->logs_dir };
  for (guint i = 0; i < G_N_ELEMENTS(paths); i++) {
    struct stat info;
    g_assert_cmpint(stat(paths[i], &info), ==, 0);
    g_assert_cmpuint(info.st_mode & 0777, ==, 0755);
    g_autoptr(GDir) dir = g_dir_open(paths[i], 0, NULL);
    g_assert_null(g_dir_read_name(dir)); /* the test file is gone */
  }
}

typedef struct {
  const char *text;
  const char *parts[4];
} Unusable;

/* /proc cannot be written by anybody, so this holds for root too. */
static const Unusable UNUSABLE[] = {
  { "\nain_system_dir=conf/iotdb-ainode.properties\n",
    { "conf/iotdb-ainode.properties:2: ain_system_dir = \"", "cannot be created: Not a directory",
      "allowed: a directory that this user" } },
  { "ain_models_dir=/proc/ainode/models\n",
    { ":1: ain_models_dir = \"/proc/ainode/models\" cannot be created" } },
  { "ain_logs_dir=/proc\n", { ":1: ain_logs_dir = \"/proc\" is not writable: " } },
};

static void test_unusable(void) {
  for (guint i = 0; i < G_N_ELEMENTS(UNUSABLE); i++) {
    Fixture f;
    set_up(&f, NULL);
    put(&f, "conf/iotdb-ainode.properties", UNUSABLE[i].text);
    g_autoptr(AinConfig) config = load(f.home, NULL);
    g_autoptr(GError) error = NULL;
    g_assert_false(ain_config_prepare_directories(config, &error));
    g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
    for (guint j = 0; j < G_N_ELEMENTS(UNUSABLE[i].parts) && UNUSABLE[i].parts[j] != NULL; j++) {
      assert_has(error->message, UNUSABLE[i].parts[j]);
    }
    tear_down(&f, NULL);
  }
}

#define ADD(name, func) g_test_add(name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_unsetenv("IOTDB_AINODE_HOME");
  ADD("/directories/file-of-home", test_file_of_home);
  ADD("/directories/file-absent", test_file_absent);
  ADD("/directories/file-unusable", test_file_unusable);
  g_test_add_func("/directories/home-of-the-executable", test_home_of_the_executable);
  g_test_add_func("/directories/home-is-no-directory", test_home_is_no_directory);
  g_test_add_func("/directories/data-rules", test_data_rules);
  ADD("/directories/data-same-folder", test_data_same_folder);
  ADD("/directories/prepare", test_prepare);
  g_test_add_func("/directories/unusable", test_unusable);
  return g_test_run();
}
