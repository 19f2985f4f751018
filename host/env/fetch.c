/* Running fetch.py: see fetch.h. */
#include "env/fetch.h"

#include "base/error.h"
#include "env/spawn.h"

#include <string.h>
#include <sys/wait.h>

#define SENTENCE_MAX 4000u
/* The program ends by itself in time; this is for one that hangs. */
#define GRACE_S 10
/* Its exit statuses. */
#define STATUS_REFUSED 1
#define STATUS_TOO_LARGE 2
#define STATUS_FAILED 3

/* The folder of the program has modules of other names (safetensors.py, ...): it is imported as a package. */
static const char RUN[] = "import sys; sys.path[0] = sys.argv[1]; from ainode import fetch; "
                          "sys.exit(fetch.main(sys.argv[2:]))";

/* The first line it printed, or the last one of its complaints. Owned. */
static char *sentence_of(const AinEnvCapture *capture) {
  g_autofree char *text =
      g_utf8_make_valid(capture->output->len > 0 ? capture->output->str : capture->errors->str, -1);
  g_strstrip(text);
  const char *line = text;
  if (capture->output->len == 0) {
    const char *last = strrchr(text, '\n');
    line = last != NULL ? last + 1 : text;
  }
  gsize length = strcspn(line, "\n");
  return length > 0 ? g_strndup(line, length) : g_strdup("its process ended without a word");
}

static gboolean judge(const AinEnvFetch *fetch, const AinEnvCapture *capture, GError **error) {
  if (capture->cancelled) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_CANCELLED, "fetching %s was cancelled", fetch->source);
    return FALSE;
  }
  if (capture->timed_out) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI,
                "%s was not fetched within %" G_GINT64_FORMAT " s (ain_model_fetch_timeout_s)", fetch->source,
                fetch->timeout_s);
    return FALSE;
  }
  int status = WIFEXITED(capture->status) ? WEXITSTATUS(capture->status) : -1;
  if (status == 0) {
    return TRUE;
  }
  g_autofree char *sentence = sentence_of(capture);
  gboolean said = status == STATUS_REFUSED || status == STATUS_TOO_LARGE || status == STATUS_FAILED;
  AinErrorCode code = status == STATUS_TOO_LARGE ? AIN_ERROR_TOO_LARGE
                      : said                     ? AIN_ERROR_INVALID_URI
                                                 : AIN_ERROR_ENVIRONMENT;
  g_set_error(error, AIN_ERROR, (int)code, "%s cannot be fetched: %s", fetch->source, sentence);
  return FALSE;
}

gboolean ain_env_fetch(const AinEnvFetch *fetch, GError **error) {
  g_autofree char *package = g_build_filename(fetch->lib_dir, "pyruntime", NULL);
  g_autofree char *most = g_strdup_printf("%" G_GUINT64_FORMAT, fetch->max_bytes);
  g_autofree char *seconds = g_strdup_printf("%" G_GINT64_FORMAT, fetch->timeout_s);
  char *argv[] = { (char *)fetch->python,
                   (char *)"-c",
                   (char *)RUN,
                   package,
                   (char *)(fetch->mode == AIN_ENV_FETCH_WEIGHTS ? "weights" : "folder"),
                   (char *)fetch->source,
                   (char *)fetch->directory,
                   most,
                   seconds,
                   (char *)(fetch->private_addresses ? "1" : "0"),
                   NULL };
  g_auto(GStrv) environment = ain_env_spawn_environment();
  g_auto(AinEnvCapture) capture = { 0 };
  gint64 limit = (fetch->timeout_s + GRACE_S) * G_USEC_PER_SEC;
  return ain_env_spawn_cancellable(argv, environment, limit, SENTENCE_MAX, fetch->cancelled, &capture, error)
         && judge(fetch, &capture, error);
}
