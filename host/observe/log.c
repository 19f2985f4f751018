/* The log: one writer for all threads, one line a message. */
#include "base/error.h"
#include "base/fd.h"
#include "observe/log_format.h"
#include "observe/observe.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Each file takes its own level and the graver ones, as the official node's files do. */
typedef struct {
  const char *name;
  GLogLevelFlags levels;
} LogFile;

#define ERRORS (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL)
#define WARNINGS (ERRORS | G_LOG_LEVEL_WARNING)
#define INFOS (WARNINGS | G_LOG_LEVEL_MESSAGE | G_LOG_LEVEL_INFO)

static const LogFile FILES[] = {
  { "log_ainode_all.log", INFOS | G_LOG_LEVEL_DEBUG },
  { "log_ainode_info.log", INFOS },
  { "log_ainode_warning.log", WARNINGS },
  { "log_ainode_error.log", ERRORS },
};

static struct {
  pthread_mutex_t lock; /* pthread's: any thread writes, and the thread sanitizer sees it */
  char *directory;      /* NULL: stderr alone */
  int fds[G_N_ELEMENTS(FILES)];
  atomic_bool debug;
  atomic_bool silent; /* stderr gets nothing */
  gboolean installed; /* GLib takes a writer once per process */
} state = { .lock = PTHREAD_MUTEX_INITIALIZER, .fds = { -1, -1, -1, -1 } };

static const char *level_name(GLogLevelFlags level) {
  if ((level & ERRORS) != 0) {
    return "ERROR";
  }
  if ((level & G_LOG_LEVEL_WARNING) != 0) {
    return "WARNING";
  }
  return (level & G_LOG_LEVEL_DEBUG) != 0 ? "DEBUG" : "INFO";
}

static gboolean is_plain(gunichar c) {
  gboolean control = c < 0x20 || (c >= 0x7F && c < 0xA0);
  gboolean line_or_direction = (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0x200E
                               || c == 0x200F || c == 0x061C || c == 0xFEFF;
  return !control && !line_or_direction;
}

static void append_escaped(GString *out, gunichar c) {
  switch (c) {
  case '\n':
    g_string_append(out, "\\n");
    break;
  case '\r':
    g_string_append(out, "\\r");
    break;
  case '\t':
    g_string_append(out, "\\t");
    break;
  default:
    g_string_append_printf(out, c < 0x80 ? "\\x%02x" : "\\u%04x", c);
  }
}

static void append_text(GString *out, const char *text, gsize size) {
  const char *end = text + size;
  while (text < end) {
    gunichar c = g_utf8_get_char_validated(text, end - text);
    if (c == (gunichar)-1 || c == (gunichar)-2) {
      g_string_append_printf(out, "\\x%02x", (guchar)*text);
      text++;
      continue;
    }
    /* A NUL reads as a character whose length GLib gives as 1. */
    gsize length = (gsize)(g_utf8_next_char(text) - text);
    if (is_plain(c)) {
      g_string_append_len(out, text, (gssize)length);
    } else {
      append_escaped(out, c);
    }
    text += length;
  }
}

void ain_log_format(GString *out, gint64 time_us, GLogLevelFlags level, long pid, long thread,
                    const char *text, gsize size) {
  time_t seconds = (time_t)(time_us / G_USEC_PER_SEC);
  struct tm local;
  char stamp[32] = "";
  if (localtime_r(&seconds, &local) != NULL) {
    (void)strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", &local);
  }
  g_string_append_printf(out, "%s,%03d %s [%ld:%ld] ", stamp, (int)(time_us / 1000 % 1000), level_name(level),
                         pid, thread);
  append_text(out, text, MIN(size, AIN_LOG_MAX_MESSAGE));
  if (size > AIN_LOG_MAX_MESSAGE) {
    g_string_append_printf(out, "... (%" G_GSIZE_FORMAT " more bytes)", size - AIN_LOG_MAX_MESSAGE);
  }
  g_string_append_c(out, '\n');
}

/* One write per line where the kernel allows, so that lines of several processes do not mix. A full disk must
 * not stop the node: what cannot be written is lost, and stderr has it too. */
static void write_line(int fd, const char *data, gsize size) {
  while (size > 0) {
    ssize_t count = write(fd, data, size);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count <= 0) {
      return;
    }
    data += count;
    size -= (gsize)count;
  }
}

static void find_message(const GLogField *fields, gsize n_fields, const char **text, gsize *size) {
  *text = "";
  *size = 0;
  for (gsize i = 0; i < n_fields; i++) {
    if (g_str_equal(fields[i].key, "MESSAGE") && fields[i].value != NULL) {
      *text = fields[i].value;
      *size = fields[i].length < 0 ? strlen(*text) : (gsize)fields[i].length;
      return;
    }
  }
}

static GLogWriterOutput write_log(GLogLevelFlags level, const GLogField *fields, gsize n_fields,
                                  gpointer data) {
  (void)data;
  if ((level & G_LOG_LEVEL_DEBUG) != 0 && !atomic_load(&state.debug)) {
    return G_LOG_WRITER_HANDLED;
  }
  int saved = errno; /* whoever logs may look at errno next */
  const char *text;
  gsize size;
  find_message(fields, n_fields, &text, &size);
  g_autoptr(GString) line = g_string_sized_new(MIN(size, AIN_LOG_MAX_MESSAGE) + 80);
  ain_log_format(line, g_get_real_time(), level, (long)getpid(), (long)gettid(), text, size);
  pthread_mutex_lock(&state.lock);
  if (!atomic_load(&state.silent)) {
    write_line(STDERR_FILENO, line->str, line->len);
  }
  for (gsize i = 0; i < G_N_ELEMENTS(FILES); i++) {
    if (state.fds[i] >= 0 && (FILES[i].levels & level) != 0) {
      write_line(state.fds[i], line->str, line->len);
    }
  }
  pthread_mutex_unlock(&state.lock);
  errno = saved;
  return G_LOG_WRITER_HANDLED;
}

static int open_file(const char *directory, const char *name, GError **error) {
  g_autofree char *path = g_build_filename(directory, name, NULL);
  ain_fd int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
  if (fd < 0) {
    ain_error_set_errno(error, AIN_ERROR_INVALID, errno, "cannot open the log file %s for writing", path);
    return -1;
  }
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "the log file %s is not a regular file; move it away",
                path);
    return -1;
  }
  return ain_fd_steal(&fd);
}

static void close_all(int *fds) {
  for (gsize i = 0; i < G_N_ELEMENTS(FILES); i++) {
    ain_fd_close(&fds[i]);
  }
}

static gboolean open_all(const char *directory, int *fds, GError **error) {
  if (g_mkdir_with_parents(directory, 0755) != 0) {
    ain_error_set_errno(error, AIN_ERROR_INVALID, errno, "cannot create the log directory %s", directory);
    return FALSE;
  }
  for (gsize i = 0; i < G_N_ELEMENTS(FILES); i++) {
    fds[i] = open_file(directory, FILES[i].name, error);
    if (fds[i] < 0) {
      close_all(fds);
      return FALSE;
    }
  }
  return TRUE;
}

/* fds: taken over; what was open is closed. */
static void install(int *fds, const char *directory) {
  pthread_mutex_lock(&state.lock);
  int old[G_N_ELEMENTS(FILES)];
  memcpy(old, state.fds, sizeof old);
  memcpy(state.fds, fds, sizeof old);
  if (directory != state.directory) {
    g_free(state.directory);
    state.directory = g_strdup(directory);
  }
  pthread_mutex_unlock(&state.lock);
  close_all(old);
}

gboolean ain_observe_log_open(const char *logs_dir, gboolean debug, GError **error) {
  int fds[G_N_ELEMENTS(FILES)] = { -1, -1, -1, -1 };
  if (logs_dir != NULL && !open_all(logs_dir, fds, error)) {
    return FALSE;
  }
  tzset(); /* localtime_r need not */
  atomic_store(&state.debug, debug != FALSE);
  install(fds, logs_dir);
  if (!state.installed) {
    g_log_set_writer_func(write_log, NULL, NULL);
    state.installed = TRUE;
  }
  return TRUE;
}

void ain_observe_log_reopen(void) {
  int fds[G_N_ELEMENTS(FILES)] = { -1, -1, -1, -1 };
  g_autoptr(GError) error = NULL;
  if (state.directory == NULL) {
    return;
  }
  if (!open_all(state.directory, fds, &error)) {
    g_warning("the log goes on in its old files: %s", error->message);
    return;
  }
  install(fds, state.directory);
}

void ain_observe_log_to_stderr(gboolean on) {
  atomic_store(&state.silent, on == FALSE);
}

void ain_observe_log_close(void) {
  int fds[G_N_ELEMENTS(FILES)] = { -1, -1, -1, -1 };
  install(fds, NULL);
}
