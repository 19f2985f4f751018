/* system.properties: the official format, and every way it can be broken. */
#include "ain-version.h"
#include "base/error.h"
#include "base/fd.h"
#include "cluster/identity.h"

#include <glib/gstdio.h>
#include <sys/stat.h>

typedef struct {
  char *directory;
  char *file;
  AinConfig config;
  AinEndpoint seeds[2];
} Fixture;

static void set_up(Fixture *fixture, gconstpointer data) {
  (void)data;
  g_autoptr(GError) error = NULL;
  fixture->directory = g_dir_make_tmp("ain-identity-XXXXXX", &error);
  g_assert_no_error(error);
  fixture->file = g_build_filename(fixture->directory, "system.properties", NULL);
  fixture->seeds[0] = (AinEndpoint){ "127.0.0.1", 10710 };
  fixture->seeds[1] = (AinEndpoint){ "::1", 10711 };
  fixture->config = (AinConfig){ .cluster_name = "defaultCluster",
                                 .seeds = fixture->seeds,
                                 .n_seeds = 1,
                                 .rpc_address = "127.0.0.1",
                                 .rpc_port = 10810,
                                 .system_dir = fixture->directory };
}

static void tear_down(Fixture *fixture, gconstpointer data) {
  (void)data;
  g_assert_true(ain_file_remove_tree(fixture->directory, NULL));
  g_free(fixture->directory);
  g_free(fixture->file);
}

static AinIdentity *load_text(const Fixture *fixture, const char *text, gssize size, GError **error) {
  g_assert_true(g_file_set_contents(fixture->file, text, size, NULL));
  return ain_identity_load(fixture->directory, error);
}

static void test_round_trip(Fixture *fixture, gconstpointer data) {
  (void)data;
  g_autoptr(GError) error = NULL;
  g_assert_true(ain_identity_prepare(fixture->directory, &error));
  g_assert_true(ain_identity_store(&fixture->config, 4, &error));
  g_assert_no_error(error);
  g_autofree char *text = NULL;
  g_assert_true(g_file_get_contents(fixture->file, &text, NULL, NULL));
  g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
  g_assert_true(g_regex_match_simple("^#[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}$",
                                     lines[0], 0, 0));
  const char *expected = "ainode_id=4\ncluster_name=defaultCluster\niotdb_version=" AIN_VERSION
                         "\ncommit_id=" AIN_BUILD_INFO "\nain_rpc_address=127.0.0.1\nain_rpc_port=10810\n"
                         "config_node_list=TEndPoint(ip='127.0.0.1', port=10710)\n";
  g_assert_cmpstr(strchr(text, '\n') + 1, ==, expected);

  g_autoptr(AinIdentity) identity = ain_identity_load(fixture->directory, &error);
  g_assert_no_error(error);
  g_assert_cmpint(identity->node_id, ==, 4);
  g_assert_cmpstr(identity->path, ==, fixture->file);
  g_assert_false(ain_identity_is_stale(identity, &fixture->config));
  struct stat info;
  g_assert_cmpint(stat(fixture->file, &info), ==, 0);
  g_assert_cmpint(info.st_mode & 0777, ==, 0644 & ~0022);
}

static void test_several_seeds_and_line_breaks(Fixture *fixture, gconstpointer data) {
  (void)data;
  g_autofree char *text = NULL;
  fixture->config.n_seeds = 2;
  fixture->config.cluster_name = "a\nainode_id=9";
  g_assert_true(ain_identity_store(&fixture->config, 4, NULL));
  g_assert_true(g_file_get_contents(fixture->file, &text, NULL, NULL));
  g_assert_nonnull(strstr(
      text, "config_node_list=[TEndPoint(ip='127.0.0.1', port=10710), TEndPoint(ip='::1', port=10711)]\n"));
  g_autoptr(AinIdentity) identity = ain_identity_load(fixture->directory, NULL);
  g_assert_cmpint(identity->node_id, ==, 4);
}

static void test_absent(Fixture *fixture, gconstpointer data) {
  (void)data;
  g_autoptr(GError) error = NULL;
  g_autoptr(AinIdentity) identity = ain_identity_load(fixture->directory, &error);
  g_assert_no_error(error);
  g_assert_cmpint(identity->node_id, ==, -1);
  g_autofree char *deeper = g_build_filename(fixture->directory, "not", "there", NULL);
  g_autoptr(AinIdentity) none = ain_identity_load(deeper, &error);
  g_assert_no_error(error);
  g_assert_cmpint(none->node_id, ==, -1);
}

static void test_tolerant(Fixture *fixture, gconstpointer data) {
  (void)data;
  static const char *const texts[] = {
    "ainode_id=12",
    "ainode_id=12\r\ncluster_name=x\r\n",
    "\n\n  # comment\n! comment\n  ainode_id = 12 \nunknown=1\nno separator\n=\n:\n",
    "ainode_id:12\n",
    "cluster_name=\xff\xfe\nainode_id=12\n",
    "ainode_id=12\nainode_id=12\n",
  };
  for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
    g_autoptr(GError) error = NULL;
    g_autoptr(AinIdentity) identity = load_text(fixture, texts[i], -1, &error);
    g_assert_no_error(error);
    g_assert_cmpint(identity->node_id, ==, 12);
  }
}

static void test_escapes(Fixture *fixture, gconstpointer data) {
  (void)data;
  g_autoptr(AinIdentity) identity = load_text(
      fixture, "ainode_id=1\ncluster_name=my\\:clu\\=ster\nain_rpc_address=fe80\\:\\:1\n", -1, NULL);
  g_assert_cmpstr(identity->cluster_name, ==, "my:clu=ster");
  g_assert_cmpstr(identity->rpc_address, ==, "fe80::1");
  fixture->config.cluster_name = "back\\slash\\:x";
  g_assert_true(ain_identity_store(&fixture->config, 1, NULL));
  g_autoptr(AinIdentity) again = ain_identity_load(fixture->directory, NULL);
  g_assert_false(ain_identity_is_stale(again, &fixture->config));
}

static void test_hostile(Fixture *fixture, gconstpointer data) {
  (void)data;
  g_autofree char *large = g_strnfill(70000, 'x');
  const struct {
    const char *text;
    gssize size;
    const char *says;
  } cases[] = {
    { "", 0, "no ainode_id" },
    { "#\ncluster_name=x\n", -1, "no ainode_id" },
    { "ainode_id", -1, "no ainode_id" },
    { "ainode_id=", -1, "\"\"" },
    { "ainode_id=x1", -1, "\"x1\"" },
    { "ainode_id=1x", -1, "\"1x\"" },
    { "ainode_id=-1", -1, "\"-1\"" },
    { "ainode_id=2147483648", -1, "not a node id" },
    { "ainode_id=99999999999999999999999", -1, "not a node id" },
    { "ainode_id=1\nainode_id=2\n", -1, "as 1 and 2" },
    { "ainode_id=1\0", 12, "binary" },
    { large, -1, "70000 bytes" },
  };
  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    g_autoptr(GError) error = NULL;
    g_assert_null(load_text(fixture, cases[i].text, cases[i].size, &error));
    g_assert_error(error, AIN_ERROR, AIN_ERROR_INTERNAL);
    g_assert_nonnull(strstr(error->message, cases[i].says));
    g_assert_nonnull(strstr(error->message, fixture->file));
  }
}

static void test_not_a_file(Fixture *fixture, gconstpointer data) {
  (void)data;
  g_autoptr(GError) error = NULL;
  g_assert_cmpint(mkfifo(fixture->file, 0600), ==, 0);
  g_assert_null(ain_identity_load(fixture->directory, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INTERNAL);
  g_assert_nonnull(strstr(error->message, "not a regular file"));
}

static void test_every_prefix(Fixture *fixture, gconstpointer data) {
  (void)data;
  const char *text = "#2025-09-01 10:11:12.131415\nainode_id=27\ncluster_name=c\\=\\:\n";
  for (gsize size = 0; size <= strlen(text); size++) {
    g_autoptr(AinIdentity) identity = load_text(fixture, text, (gssize)size, NULL);
    if (identity != NULL) {
      g_assert_true(identity->node_id == 2 || identity->node_id == 27);
    }
  }
}

static void test_notes(Fixture *fixture, gconstpointer data) {
  (void)data;
  g_autoptr(AinIdentity) identity = load_text(fixture,
                                              "ainode_id=1\ncluster_name=other\nain_rpc_address=10.0.0.1\n"
                                              "ain_rpc_port=10810\n",
                                              -1, NULL);
  g_autoptr(GPtrArray) notes = ain_identity_notes(identity, &fixture->config);
  g_assert_cmpuint(notes->len, ==, 2);
  g_assert_nonnull(strstr(g_ptr_array_index(notes, 0), "\"other\""));
  g_assert_nonnull(strstr(g_ptr_array_index(notes, 1), "10.0.0.1:10810 to 127.0.0.1:10810"));
  g_assert_true(ain_identity_is_stale(identity, &fixture->config));
  g_autoptr(AinIdentity) silent = load_text(fixture, "ainode_id=1\n", -1, NULL);
  g_autoptr(GPtrArray) none = ain_identity_notes(silent, &fixture->config);
  g_assert_cmpuint(none->len, ==, 0);
}

static void test_prepare_fails(Fixture *fixture, gconstpointer data) {
  (void)data;
  g_autoptr(GError) error = NULL;
  g_assert_true(g_file_set_contents(fixture->file, "", 0, NULL));
  g_assert_false(ain_identity_prepare(fixture->file, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INTERNAL);
  g_assert_nonnull(strstr(error->message, "ain_system_dir"));
}

#define ADD(name, test) g_test_add("/cluster/identity/" name, Fixture, NULL, set_up, test, tear_down)

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  ADD("round-trip", test_round_trip);
  ADD("seeds", test_several_seeds_and_line_breaks);
  ADD("absent", test_absent);
  ADD("tolerant", test_tolerant);
  ADD("escapes", test_escapes);
  ADD("hostile", test_hostile);
  ADD("not-a-file", test_not_a_file);
  ADD("prefixes", test_every_prefix);
  ADD("notes", test_notes);
  ADD("prepare", test_prepare_fails);
  return g_test_run();
}
