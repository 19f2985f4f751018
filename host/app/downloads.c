/* Fetching for the registry and for weights: see downloads.h. */
#include "app/downloads.h"

#include "base/error.h"
#include "env/fetch.h"

#include <stdatomic.h>

/* Where the published weights of the built-in models are. */
static const struct {
  const char *id;
  const char *repository;
} WEIGHTS[] = { { "timer_xl", "thuml/timer-base-84m" }, { "sundial", "thuml/sundial-base-128m" } };
static const char *const FILES[] = { "config.json", "model.safetensors" };

struct AinDownloads {
  AinLoop *loop;
  const AinConfig *config;
  const char *python;
  char *lib_dir;
  atomic_bool cancelled;
};

typedef struct {
  AinDownloads *downloads;
  const char *id;
  const char *repository;
  char *directory;
} Order;

static gboolean fetch(const AinDownloads *downloads, AinEnvFetchMode mode, const char *source,
                      const char *directory, const atomic_bool *cancelled, GError **error) {
  const AinEnvFetch request = {
    .python = downloads->python,
    .lib_dir = downloads->lib_dir,
    .mode = mode,
    .source = source,
    .directory = directory,
    .max_bytes = (guint64)downloads->config->model_fetch_max_bytes,
    .timeout_s = downloads->config->model_fetch_timeout_s,
    .private_addresses = downloads->config->model_fetch_private_addresses,
    .cancelled = cancelled,
  };
  return ain_env_fetch(&request, error);
}

static gboolean fetch_source(gpointer fetcher, const char *uri, const char *directory,
                             const atomic_bool *cancelled, GError **error) {
  return fetch(fetcher, AIN_ENV_FETCH_FOLDER, uri, directory, cancelled, error);
}

AinFetcher ain_downloads_fetcher(AinDownloads *downloads) {
  return (AinFetcher){ .fetch = fetch_source, .fetcher = downloads };
}

/* --- weights
 * ------------------------------------------------------------------------------------------------------- */

static gboolean has_files(const char *root, const char *id) {
  for (guint i = 0; i < G_N_ELEMENTS(FILES); i++) {
    g_autofree char *path = g_build_filename(root, id, FILES[i], NULL);
    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean is_missing(const char *id, const char *const *directories) {
  for (const char *const *root = directories; *root != NULL; root++) {
    if (has_files(*root, id)) {
      return FALSE;
    }
  }
  return TRUE;
}

static void order_free(gpointer data) {
  Order *order = data;
  g_free(order->directory);
  g_free(order);
}

/* Helper thread; the log may be written to from any. */
static void fetch_orders(gpointer data) {
  const GPtrArray *orders = data;
  for (guint i = 0; i < orders->len; i++) {
    const Order *order = g_ptr_array_index(orders, i);
    g_autoptr(GError) error = NULL;
    g_message("the weights of %s are fetched from the repository %s of the hub", order->id,
              order->repository);
    if (fetch(order->downloads, AIN_ENV_FETCH_WEIGHTS, order->repository, order->directory,
              &order->downloads->cancelled, &error)) {
      g_message("the weights of %s are in %s", order->id, order->directory);
    } else if (g_error_matches(error, AIN_ERROR, AIN_ERROR_CANCELLED)) {
      return;
    } else {
      g_warning("the weights of %s were not fetched: %s; the next start tries again, or put them into %s",
                order->id, error->message, order->directory);
    }
  }
}

static void orders_done(gpointer data) {
  g_ptr_array_unref(data);
}

void ain_downloads_weights(AinDownloads *downloads, const char *const *directories) {
  g_autoptr(GPtrArray) orders = g_ptr_array_new_with_free_func(order_free);
  for (guint i = 0; i < G_N_ELEMENTS(WEIGHTS); i++) {
    if (is_missing(WEIGHTS[i].id, directories)) {
      Order *order = g_new0(Order, 1);
      order->downloads = downloads;
      order->id = WEIGHTS[i].id;
      order->repository = WEIGHTS[i].repository;
      order->directory = g_build_filename(directories[0], order->id, NULL);
      g_ptr_array_add(orders, order);
    }
  }
  if (orders->len == 0) {
    return;
  }
  if (downloads->config->weights_download) {
    ain_loop_offload(downloads->loop, fetch_orders, orders_done, g_steal_pointer(&orders));
  } else {
    g_message(
        "missing weights of large models are not fetched; ain_weights_download=1 has the next start fetch "
        "them from the hub");
  }
}

/* --- life
 * ----------------------------------------------------------------------------------------------------------
 */

AinDownloads *ain_downloads_new(AinLoop *loop, const AinConfig *config, const char *python) {
  AinDownloads *downloads = g_new0(AinDownloads, 1);
  downloads->loop = loop;
  downloads->config = config;
  downloads->python = python;
  downloads->lib_dir = g_build_filename(config->home, "lib", NULL);
  atomic_init(&downloads->cancelled, FALSE);
  return downloads;
}

void ain_downloads_cancel(AinDownloads *downloads) {
  if (downloads != NULL) {
    atomic_store(&downloads->cancelled, TRUE);
  }
}

void ain_downloads_free(AinDownloads *downloads) {
  if (downloads != NULL) {
    g_free(downloads->lib_dir);
    g_free(downloads);
  }
}
