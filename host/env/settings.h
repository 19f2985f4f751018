/* conf/ainode-env.sh and its variables in the environment. Any thread. */
#pragma once
#include <glib.h>

typedef struct {
  char *interpreter; /* ain_interpreter_dir, or NULL. Owned */
  char *torch_index; /* ain_torch_index, or NULL. Owned */
  gboolean force_reinstall;
  gboolean install_offline;
} AinEnvSettings;
void ain_env_settings_clear(AinEnvSettings *settings);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AinEnvSettings, ain_env_settings_clear)

/* The file's assignments are read, never run: a file of the official AINode, which holds a whole program,
 * works as well. A variable of the environment wins over the file. Errors: INVALID, with file, line and what
 * is allowed. */
gboolean ain_env_settings_load(const char *home, AinEnvSettings *settings, GError **error);
