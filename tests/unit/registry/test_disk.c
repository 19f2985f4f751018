/* What disks do: restarts, folders of others, kills in the middle, full and read-only folders. */
#include "base/error.h"
#include "base/fd.h"
#include "fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534
#define CHILD_ROLE "--register-until-killed"

static void assert_list(Fixture *f, const char *expected) {
  g_autofree char *list = fixture_list(f);
  g_assert_cmpstr(list, ==, expected);
}

static void assert_files(Fixture *f, const char *expected) {
  g_autofree char *files = fixture_files(f);
  g_assert_cmpstr(files, ==, expected);
}

static void set_mtime(const char *path, gint64 seconds) {
  struct timespec times[2] = { { .tv_sec = seconds }, { .tv_sec = seconds } };
  g_assert_cmpint(utimensat(AT_FDCWD, path, times, 0), ==, 0);
}

/* A folder in models as the official node leaves it: without our manifest. */
static void foreign(Fixture *f, const char *name, const char *model, const char *config, gint64 seconds) {
  g_autofree char *below = g_build_filename("models", name, NULL);
  g_autofree char *uri = fixture_source(f, below, model, config);
  if (config != NULL) {
    g_autofree char *path = g_build_filename(f->models, name, "config.yaml", NULL);
    set_mtime(path, seconds);
  }
  set_mtime(uri + strlen("file://"), seconds);
}

/* --- restart ---------------------------------------------------------------------------------------------
 */

static void test_restart_keeps_facts(void) {
  Fixture f;
  fixture_init(&f);
  f.dtype = AIN_DTYPE_INT64;
  f.writes_input = TRUE;
  f.threads = 4;
  g_autofree char *odd = fixture_source(&f, "odd =\n\"name", "w", GOOD_CONFIG);
  g_autofree char *uri = fixture_source(&f, "source", "x", GOOD_CONFIG);
  g_autoptr(Outcome) first = fixture_wait(fixture_register(&f, "zz-first", odd));
  g_autoptr(Outcome) second = fixture_wait(fixture_register(&f, "aa-second", uri));
  g_assert_no_error(first->error);
  g_assert_no_error(second->error);
  fixture_close(&f);
  fixture_open(&f);
  assert_list(&f, "zz-first:active aa-second:active");
  g_autoptr(AinModel) model = fixture_lookup(&f, "zz-first", NULL);
  g_assert_cmpint(model->dtype, ==, AIN_DTYPE_INT64);
  g_assert_true(model->writes_input);
  g_assert_cmpuint(model->threads, ==, 4);
  g_assert_true(model->proven);
  g_assert_cmpuint(model->generation, ==, 1);
  g_assert_cmpstr(model->digest, ==, first->model->digest);
  g_assert_cmpstr(model->attributes, ==, "{'lr': 0.1}");
  g_autoptr(Outcome) repeat = fixture_wait(fixture_register(&f, "zz-first", odd));
  g_assert_true(repeat->model == model);
  g_autoptr(Outcome) third = fixture_wait(fixture_register(&f, "third", uri));
  g_assert_cmpuint(third->model->generation, ==, 3);
  g_assert_cmpuint(f.proofs, ==, 3);
  fixture_clear(&f);
}

/* Somebody swapped the weights by hand: what was proven no longer holds. */
static void test_touched_files_are_not_trusted(void) {
  Fixture f;
  fixture_init(&f);
  f.dtype = AIN_DTYPE_FLOAT64;
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  g_autoptr(Outcome) first = fixture_wait(fixture_register(&f, "swapped", uri));
  g_autoptr(Outcome) second = fixture_wait(fixture_register(&f, "spoilt", uri));
  g_assert_no_error(first->error);
  g_assert_no_error(second->error);
  fixture_close(&f);
  g_autofree char *file = fixture_path(&f, "models/swapped/model.pt");
  fixture_write(file, "other weights", 13);
  g_autofree char *manifest = fixture_path(&f, "models/spoilt/.ainode-model");
  fixture_write(manifest, "format=1\ndigest=zz\n", 19);
  fixture_open(&f);
  g_assert_true(fixture_logged(&f, "the files of model swapped changed since it was registered"));
  g_assert_true(fixture_logged(&f, ".ainode-model is not a file as this AINode writes it"));
  static const char *const ids[] = { "swapped", "spoilt" };
  for (int i = 0; i < 2; i++) {
    g_autoptr(AinModel) model = fixture_lookup(&f, ids[i], NULL);
    g_assert_nonnull(model);
    g_assert_false(model->proven);
    g_assert_cmpint(model->dtype, ==, AIN_DTYPE_FLOAT32);
    g_assert_true(model->writes_input);
    g_assert_null(model->digest);
  }
  fixture_clear(&f);
}

static void test_leftovers_go(void) {
  Fixture f;
  fixture_init(&f);
  fixture_close(&f);
  g_autofree char *staged = fixture_path(&f, "models/.staging/dlinear.0badc0de/model.pt");
  g_autofree char *dropped = fixture_path(&f, "models/.staging/old.dropped.12345678/config.yaml");
  fixture_write(staged, "half", 4);
  fixture_write(dropped, "half", 4);
  fixture_open(&f);
  assert_files(&f, "");
  assert_list(&f, "");
  fixture_clear(&f);
}

/* --- folders of an official node -------------------------------------------------------------------------
 */

static void test_takes_over_folders(void) {
  Fixture f;
  fixture_init(&f);
  fixture_close(&f);
  foreign(&f, "younger", "w", GOOD_CONFIG, 2000);
  foreign(&f, "older", "w", GOOD_CONFIG, 1000);
  foreign(&f, "bb-same", "w", GOOD_CONFIG, 1500);
  foreign(&f, "aa-same", "w", GOOD_CONFIG, 1500);
  foreign(&f, "no-config", "w", NULL, 3000);
  foreign(&f, "empty", NULL, NULL, 4000);
  foreign(&f, "bad", "w", "configs: {input_shape: [1]}\n", 5000);
  foreign(&f, "weights", "w", GOOD_CONFIG, 1);
  foreign(&f, "builtin", "w", GOOD_CONFIG, 1);
  foreign(&f, "user_defined", "w", GOOD_CONFIG, 1);
  foreign(&f, ".hidden", "w", GOOD_CONFIG, 1);
  foreign(&f, "arima", "w", GOOD_CONFIG, 1);
  foreign(&f, "not an id", "w", GOOD_CONFIG, 1);
  foreign(&f, "__pycache__", NULL, NULL, 1);
  g_autofree char *file = fixture_path(&f, "models/__init__.py");
  fixture_write(file, "", 0);
  g_autofree char *before = fixture_files(&f);
  fixture_open(&f);
  assert_list(&f, "older:active aa-same:active bb-same:active younger:active no-config:failed empty:failed "
                  "bad:failed");
  assert_files(&f, before);
  g_assert_true(fixture_logged(&f, "no-config has no config.yaml"));
  g_assert_true(fixture_logged(&f, "empty has neither model.pt nor config.yaml"));
  g_assert_true(fixture_logged(&f, "bad/config.yaml, line 1: input_shape is [1]"));
  g_assert_true(fixture_logged(&f, "arima is ignored: the model id \"arima\" is the name of a built-in"));
  g_assert_true(fixture_logged(&f, "not an id is ignored"));
  g_assert_false(fixture_logged(&f, "__pycache__"));
  g_autoptr(GError) error = NULL;
  g_assert_null(fixture_lookup(&f, "bad", &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_MODEL_INVALID);
  g_assert_nonnull(strstr(error->message, "input_shape is [1]"));
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  g_autoptr(Outcome) taken = fixture_wait(fixture_register(&f, "bad", uri));
  g_assert_error(taken->error, AIN_ERROR, AIN_ERROR_MODEL_EXISTS);
  g_autoptr(Outcome) drop = fixture_wait(fixture_drop(&f, "bad"));
  g_assert_no_error(drop->error);
  g_autoptr(Outcome) good = fixture_wait(fixture_register(&f, "bad", uri));
  g_assert_no_error(good->error);
  fixture_clear(&f);
}

/* A model of the official node is usable as it was; a proof finds out the rest and is remembered. */
static void test_proof_of_a_taken_over_model(void) {
  Fixture f;
  fixture_init(&f);
  fixture_close(&f);
  foreign(&f, "mine", "w", GOOD_CONFIG, 1000);
  fixture_open(&f);
  g_autoptr(AinModel) before = fixture_lookup(&f, "mine", NULL);
  g_assert_false(before->proven);
  g_assert_cmpint(before->dtype, ==, AIN_DTYPE_FLOAT32);
  g_assert_true(before->writes_input);
  f.fail_code = AIN_ERROR_EXHAUSTED;
  g_autoptr(Outcome) failed = fixture_wait(fixture_prove(&f, "mine"));
  g_assert_error(failed->error, AIN_ERROR, AIN_ERROR_EXHAUSTED);
  f.fail_code = AIN_ERROR_TIMEOUT; /* to a caller, one that is too slow is one that cannot be used */
  g_autoptr(Outcome) slow = fixture_wait(fixture_prove(&f, "mine"));
  g_assert_error(slow->error, AIN_ERROR, AIN_ERROR_MODEL_INVALID);
  g_autoptr(AinModel) still = fixture_lookup(&f, "mine", NULL);
  g_assert_true(still == before);
  f.fail_code = 0;
  f.mode = PROVE_HELD;
  g_autoptr(Outcome) first = fixture_prove(&f, "mine");
  g_autoptr(Outcome) second = fixture_prove(&f, "mine");
  fixture_wait_proofs(&f, 3);
  fixture_release(&f);
  g_assert_no_error(fixture_wait(first)->error);
  g_assert_true(fixture_wait(second)->model == first->model);
  g_assert_true(first->model->proven);
  g_assert_false(first->model->writes_input);
  g_assert_cmpuint(first->model->generation, >, before->generation);
  g_assert_cmpuint(f.retired->len, ==, 1);
  g_assert_cmpstr(g_ptr_array_index(f.retired, 0), ==, "mine:1");
  g_autoptr(Outcome) again = fixture_wait(fixture_prove(&f, "mine"));
  g_assert_true(again->model == first->model);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  g_autoptr(Outcome) same = fixture_wait(fixture_register(&f, "mine", uri));
  g_assert_true(same->model == first->model);
  fixture_close(&f);
  fixture_open(&f);
  g_autoptr(AinModel) later = fixture_lookup(&f, "mine", NULL);
  g_assert_true(later->proven);
  g_assert_false(later->writes_input);
  g_assert_cmpuint(f.proofs, ==, 3);
  g_autoptr(Outcome) unknown = fixture_wait(fixture_prove(&f, "nobody"));
  g_assert_error(unknown->error, AIN_ERROR, AIN_ERROR_MODEL_NOT_FOUND);
  fixture_clear(&f);
}

/* Before any proof a repeat is told by the files themselves. */
static void test_repeat_of_an_unproven_model(void) {
  Fixture f;
  fixture_init(&f);
  fixture_close(&f);
  foreign(&f, "mine", "w", GOOD_CONFIG, 1000);
  fixture_open(&f);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  g_autofree char *other = fixture_source(&f, "other", "x", GOOD_CONFIG);
  g_autoptr(Outcome) same = fixture_wait(fixture_register(&f, "mine", uri));
  g_assert_no_error(same->error);
  g_autoptr(Outcome) different = fixture_wait(fixture_register(&f, "mine", other));
  g_assert_error(different->error, AIN_ERROR, AIN_ERROR_MODEL_EXISTS);
  g_assert_cmpuint(f.proofs, ==, 0);
  fixture_clear(&f);
}

static void test_drop_during_a_proof_in_place(void) {
  Fixture f;
  fixture_init(&f);
  fixture_close(&f);
  foreign(&f, "mine", "w", GOOD_CONFIG, 1000);
  fixture_open(&f);
  f.mode = PROVE_HELD;
  g_autoptr(Outcome) proof = fixture_prove(&f, "mine");
  fixture_wait_proofs(&f, 1);
  g_autoptr(Outcome) drop = fixture_wait(fixture_drop(&f, "mine"));
  g_assert_no_error(drop->error);
  g_assert_error(fixture_wait(proof)->error, AIN_ERROR, AIN_ERROR_CANCELLED);
  fixture_release(&f);
  assert_list(&f, "");
  assert_files(&f, "");
  fixture_clear(&f);
}

/* --- sources ---------------------------------------------------------------------------------------------
 */

static void test_sources_by_link_and_escape(void) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *uri = fixture_source(&f, "real", "w", GOOD_CONFIG);
  g_autofree char *links = fixture_path(&f, "links");
  g_assert_cmpint(mkdir(links, 0777), ==, 0);
  static const char *const names[] = { "model.pt", "config.yaml" };
  for (int i = 0; i < 2; i++) {
    g_autofree char *target = g_build_filename("..", "real", names[i], NULL);
    g_autofree char *link = g_build_filename(links, names[i], NULL);
    g_assert_cmpint(symlink(target, link), ==, 0);
  }
  g_autoptr(Outcome) linked = fixture_wait(fixture_register(&f, "linked", links));
  g_assert_no_error(linked->error);
  g_autofree char *copy = fixture_path(&f, "models/linked/model.pt");
  struct stat info;
  g_assert_cmpint(lstat(copy, &info), ==, 0);
  g_assert_true(S_ISREG(info.st_mode));
  g_autofree char *spaced = fixture_source(&f, "with space", "spaced", GOOD_CONFIG);
  g_autofree char *literal = fixture_source(&f, "with%20space", "literal", GOOD_CONFIG);
  g_autoptr(Outcome) first = fixture_wait(fixture_register(&f, "literal", literal));
  g_assert_no_error(first->error);
  g_autofree char *gone = fixture_path(&f, "with%20space");
  g_autoptr(GError) error = NULL;
  ain_file_remove_tree(gone, &error);
  g_assert_no_error(error);
  g_autoptr(Outcome) second = fixture_wait(fixture_register(&f, "decoded", literal));
  g_assert_no_error(second->error);
  g_autoptr(Outcome) third = fixture_wait(fixture_register(&f, "spaced", spaced));
  g_assert_cmpstr(third->model->digest, ==, second->model->digest);
  g_assert_cmpstr(first->model->digest, !=, second->model->digest);
  fixture_clear(&f);
}

/* Nothing that is not a plain file is opened: a FIFO would block, a device can act. */
static void test_special_files(void) {
  Fixture f;
  fixture_init(&f);
  for (int i = 0; i < 4; i++) {
    g_autofree char *name = g_strdup_printf("special%d", i);
    g_autofree char *uri = fixture_source(&f, name, NULL, i < 3 ? GOOD_CONFIG : NULL);
    const char *folder = uri + strlen("file://");
    g_autofree char *model = g_build_filename(folder, "model.pt", NULL);
    g_autofree char *config = g_build_filename(folder, "config.yaml", NULL);
    if (i == 0) {
      g_assert_cmpint(mkfifo(model, 0666), ==, 0);
    } else if (i == 1) {
      g_assert_cmpint(mkdir(model, 0777), ==, 0);
    } else if (i == 2) {
      g_assert_cmpint(symlink("/dev/zero", model), ==, 0);
    } else {
      fixture_write(model, "w", 1);
      g_assert_cmpint(mkfifo(config, 0666), ==, 0);
    }
    g_autoptr(Outcome) outcome = fixture_wait(fixture_register(&f, "special", uri));
    g_assert_error(outcome->error, AIN_ERROR, AIN_ERROR_INVALID_URI);
    g_assert_nonnull(strstr(outcome->error->message, "is not a regular file"));
    g_assert_nonnull(strstr(outcome->error->message, i < 3 ? "model.pt" : "config.yaml"));
  }
  g_autofree char *loop = fixture_source(&f, "loop", NULL, GOOD_CONFIG);
  g_autofree char *link = fixture_path(&f, "loop/model.pt");
  g_assert_cmpint(symlink("model.pt", link), ==, 0);
  g_autoptr(Outcome) outcome = fixture_wait(fixture_register(&f, "special", loop));
  g_assert_error(outcome->error, AIN_ERROR, AIN_ERROR_INVALID_URI);
  assert_files(&f, "");
  fixture_clear(&f);
}

/* Larger than one chunk of the copy, and not a multiple of it. */
static void test_large_file_is_copied_whole(void) {
  Fixture f;
  fixture_init(&f);
  gsize size = (5U << 20) + 12345;
  g_autofree guint8 *data = g_malloc(size);
  for (gsize i = 0; i < size; i++) {
    data[i] = (guint8)(i * 2654435761U >> 13);
  }
  g_autofree char *uri = fixture_source(&f, "source", NULL, GOOD_CONFIG);
  g_autofree char *source = fixture_path(&f, "source/model.pt");
  fixture_write(source, data, size);
  g_autoptr(Outcome) outcome = fixture_wait(fixture_register(&f, "large", uri));
  g_assert_no_error(outcome->error);
  g_autofree char *copy = fixture_path(&f, "models/large/model.pt");
  g_autofree char *content = NULL;
  gsize length = 0;
  g_assert_true(g_file_get_contents(copy, &content, &length, NULL));
  g_assert_cmpuint(length, ==, size);
  g_assert_cmpint(memcmp(content, data, size), ==, 0);
  g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
  g_autofree char *head =
      g_strdup_printf("config.yaml %d\nmodel.pt\n%s", (int)strlen(GOOD_CONFIG), GOOD_CONFIG);
  g_checksum_update(checksum, (const guchar *)head, -1);
  g_checksum_update(checksum, data, (gssize)size);
  g_assert_cmpstr(outcome->model->digest, ==, g_checksum_get_string(checksum));
  fixture_clear(&f);
}

static void test_name_in_the_way(void) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  g_autofree char *place = fixture_path(&f, "models/dlinear");
  g_assert_cmpint(mkdir(place, 0777), ==, 0); /* after the start: not in any list */
  g_autoptr(Outcome) outcome = fixture_wait(fixture_register(&f, "dlinear", uri));
  g_assert_error(outcome->error, AIN_ERROR, AIN_ERROR_MODEL_EXISTS);
  g_assert_nonnull(strstr(outcome->error->message, "models/dlinear is in the way"));
  assert_files(&f, "dlinear");
  assert_list(&f, "");
  fixture_clear(&f);
}

/* --- full and read-only ----------------------------------------------------------------------------------
 */

static void register_too_much(Fixture *f, const char *reason) {
  g_autofree char *model = g_strnfill(3 << 20, 'w');
  g_autofree char *uri = fixture_source(f, "source", NULL, GOOD_CONFIG);
  g_autofree char *file = fixture_path(f, "source/model.pt");
  g_assert_true(g_file_test(file, G_FILE_TEST_EXISTS));
  g_autoptr(Outcome) outcome = fixture_wait(fixture_register(f, "large", uri));
  g_test_message("%s", outcome->error != NULL ? outcome->error->message : "no error");
  g_assert_error(outcome->error, AIN_ERROR, AIN_ERROR_INTERNAL);
  g_assert_nonnull(strstr(outcome->error->message, "model.pt (3145728 bytes)"));
  g_assert_nonnull(strstr(outcome->error->message, reason));
  assert_files(f, "");
  assert_list(f, "");
}

static void write_large_source(Fixture *f) {
  g_autofree char *file = fixture_path(f, "source/model.pt");
  g_autofree char *model = g_strnfill(3 << 20, 'w');
  fixture_write(file, model, 3 << 20);
}

static void test_file_size_limit(void) {
  Fixture f;
  fixture_init(&f);
  write_large_source(&f);
  struct rlimit before;
  g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
  struct rlimit small = { .rlim_cur = 2 << 20, .rlim_max = before.rlim_max };
  g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &small), ==, 0);
  register_too_much(&f, "File too large");
  g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &before), ==, 0);
  g_autofree char *uri = fixture_path(&f, "source");
  g_autoptr(Outcome) outcome = fixture_wait(fixture_register(&f, "large", uri));
  g_assert_no_error(outcome->error);
  fixture_clear(&f);
}

/* A real full disk where this process may mount one (in a namespace of its own), else the other way to run
 * out of room: either way the write in the middle of the copy fails. */
static void disk_full_child(void) {
  Fixture f;
  fixture_init(&f);
  fixture_close(&f);
  g_autoptr(GError) error = NULL;
  ain_file_make_directory(f.models, &error);
  g_assert_no_error(error);
  gboolean mounted = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0
                     && mount("tmpfs", f.models, "tmpfs", 0, "size=2m") == 0;
  write_large_source(&f);
  if (!mounted) {
    struct rlimit small = { .rlim_cur = 2 << 20, .rlim_max = 2 << 20 };
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &small), ==, 0);
  }
  fixture_open(&f);
  register_too_much(&f, mounted ? "No space left on device" : "File too large");
  g_autofree char *uri = fixture_source(&f, "small", "w", GOOD_CONFIG);
  g_autoptr(Outcome) fits = fixture_wait(fixture_register(&f, "small", uri));
  g_assert_no_error(fits->error);
  g_assert_true(!mounted || umount2(f.models, MNT_DETACH) == 0);
  fixture_clear(&f);
}

static void test_disk_full(void) {
  if (g_test_subprocess()) {
    disk_full_child();
    return;
  }
  g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
  g_test_trap_assert_passed();
}

/* Root may write anywhere, so it becomes somebody else meanwhile. */
static void become(uid_t user) {
  g_assert_cmpint(seteuid(user), ==, 0);
  g_assert_cmpint(prctl(PR_SET_DUMPABLE, 1), ==, 0); /* the leak checker needs it at exit */
}

static void read_only_child(void) {
  Fixture f;
  uid_t user = geteuid();
  fixture_init(&f);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  g_autoptr(Outcome) first = fixture_wait(fixture_register(&f, "there", uri));
  fixture_close(&f);
  g_assert_cmpint(chmod(f.root, 0755), ==, 0);
  g_assert_cmpint(chmod(f.models, 0555), ==, 0);
  if (user == 0) {
    become(NOBODY);
  }
  fixture_open(&f);
  assert_list(&f, "there:active");
  g_autoptr(Outcome) more = fixture_wait(fixture_register(&f, "more", uri));
  g_assert_error(more->error, AIN_ERROR, AIN_ERROR_INTERNAL);
  g_assert_nonnull(strstr(more->error->message, "cannot write into its models folder"));
  g_assert_nonnull(strstr(more->error->message, "Permission denied"));
  g_autoptr(AinModel) before = fixture_lookup(&f, "there", NULL);
  g_autoptr(Outcome) drop = fixture_wait(fixture_drop(&f, "there"));
  g_assert_error(drop->error, AIN_ERROR, AIN_ERROR_DROP_FAILED);
  assert_list(&f, "there:active");
  g_autoptr(AinModel) after = fixture_lookup(&f, "there", NULL);
  g_assert_cmpuint(after->generation, >, before->generation);
  g_assert_cmpuint(f.retired->len, ==, 1);
  if (user == 0) {
    become(0);
  }
  g_assert_cmpint(chmod(f.models, 0755), ==, 0);
  fixture_clear(&f);
}

static void test_read_only_folder(void) {
  if (g_test_subprocess()) {
    read_only_child();
    return;
  }
  g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
  g_test_trap_assert_passed();
}

static void test_unusable_folder(void) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *file = fixture_path(&f, "file");
  fixture_write(file, "x", 1);
  static const char *const names[] = { "file", "file/below" };
  for (int i = 0; i < 2; i++) {
    g_autofree char *path = fixture_path(&f, names[i]);
    g_autoptr(GError) error = NULL;
    g_assert_null(ain_registry_new(f.loop, path, (AinProver){ NULL, NULL, NULL }, &error));
    g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, path));
  }
  fixture_clear(&f);
}

/* --- kill ------------------------------------------------------------------------------------------------
 */

static void prove_at_once(gpointer prover, AinModel *model, AinProveDone done, gpointer data) {
  (void)prover;
  model->writes_input = FALSE;
  done(NULL, data);
}

typedef struct {
  AinRegistry *registry;
  const char *uri;
} Child;

static void child_dropped(const GError *error, gpointer data);

static void child_registered(AinModel *model, const GError *error, gpointer data) {
  Child *child = data;
  (void)model;
  (void)error;
  ain_registry_drop(child->registry, "dlinear", child_dropped, child);
}

static void child_dropped(const GError *error, gpointer data) {
  Child *child = data;
  (void)error;
  ain_registry_register(child->registry, "dlinear", child->uri, child_registered, child);
}

/* Registers and drops one model until it is killed. */
static int run_child(const char *models, const char *uri) {
  g_assert_cmpint(prctl(PR_SET_PDEATHSIG, SIGKILL), ==, 0);
  AinLoop *loop = ain_loop_new(2, NULL);
  Child child = { .uri = uri };
  child.registry = ain_registry_new(loop, models, (AinProver){ prove_at_once, NULL, NULL }, NULL);
  child_dropped(NULL, &child);
  g_assert_cmpint(write(STDOUT_FILENO, "r", 1), ==, 1);
  ain_loop_run(loop);
  return 1;
}

static void kill_after(const char *models, const char *uri, guint microseconds) {
  int ready[2];
  g_assert_cmpint(pipe(ready), ==, 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ready[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  char *arguments[] = { "test", CHILD_ROLE, (char *)models, (char *)uri, NULL };
  pid_t pid = 0;
  g_assert_cmpint(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, arguments, environ), ==, 0);
  posix_spawn_file_actions_destroy(&actions);
  close(ready[1]);
  char byte = 0;
  g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
  close(ready[0]);
  g_usleep(microseconds);
  g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
  int status = 0;
  g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
  g_assert_true(WIFSIGNALED(status));
}

/* Whenever it happens: after the next start the model is whole, with its manifest, or not there at all. */
static void test_kill_at_any_time(void) {
  Fixture f;
  fixture_init(&f);
  write_large_source(&f);
  g_autofree char *uri = fixture_source(&f, "source", NULL, GOOD_CONFIG);
  g_autoptr(Outcome) reference = fixture_wait(fixture_register(&f, "reference", uri));
  g_assert_no_error(reference->error);
  for (guint round = 0; round < 24; round++) {
    fixture_close(&f);
    kill_after(f.models, uri, round * 2741 % 25000);
    fixture_open(&f);
    g_autofree char *list = fixture_list(&f);
    g_autofree char *files = fixture_files(&f);
    if (strcmp(list, "reference:active") == 0) {
      g_assert_cmpstr(files, ==, "reference");
      continue;
    }
    g_assert_cmpstr(list, ==, "reference:active dlinear:active");
    g_assert_cmpstr(files, ==, "dlinear reference");
    g_autoptr(AinModel) model = fixture_lookup(&f, "dlinear", NULL);
    g_assert_true(model->proven);
    g_assert_cmpstr(model->digest, ==, reference->model->digest);
    g_autofree char *copy = fixture_path(&f, "models/dlinear/model.pt");
    struct stat info;
    g_assert_cmpint(stat(copy, &info), ==, 0);
    g_assert_cmpint(info.st_size, ==, 3 << 20);
  }
  fixture_clear(&f);
}

int main(int argc, char **argv) {
  if (argc == 4 && strcmp(argv[1], CHILD_ROLE) == 0) {
    return run_child(argv[2], argv[3]);
  }
  signal(SIGXFSZ, SIG_IGN); /* as the host does: a write over a limit is an error like others */
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/disk/restart-keeps-facts", test_restart_keeps_facts);
  g_test_add_func("/disk/touched-files", test_touched_files_are_not_trusted);
  g_test_add_func("/disk/leftovers-go", test_leftovers_go);
  g_test_add_func("/disk/takes-over-folders", test_takes_over_folders);
  g_test_add_func("/disk/proof-of-a-taken-over-model", test_proof_of_a_taken_over_model);
  g_test_add_func("/disk/repeat-of-an-unproven-model", test_repeat_of_an_unproven_model);
  g_test_add_func("/disk/drop-during-a-proof-in-place", test_drop_during_a_proof_in_place);
  g_test_add_func("/disk/links-and-escapes", test_sources_by_link_and_escape);
  g_test_add_func("/disk/special-files", test_special_files);
  g_test_add_func("/disk/large-file", test_large_file_is_copied_whole);
  g_test_add_func("/disk/name-in-the-way", test_name_in_the_way);
  g_test_add_func("/disk/file-size-limit", test_file_size_limit);
  g_test_add_func("/disk/full", test_disk_full);
  g_test_add_func("/disk/read-only-folder", test_read_only_folder);
  g_test_add_func("/disk/unusable-folder", test_unusable_folder);
  g_test_add_func("/disk/kill-at-any-time", test_kill_at_any_time);
  return g_test_run();
}
