/* Which ids a model may have. Any thread. */
#pragma once
#include <glib.h>

/* The id of a built-in of any release, in any case. */
gboolean ain_registry_is_builtin_id(const char *id, gsize size);
/* 2 to 64 of [A-Za-z0-9_-], no leading '_'. Errors: INVALID. */
gboolean ain_registry_check_id_text(const char *id, gsize size, GError **error);
/* Folders of models_dir that belong to the node itself. */
gboolean ain_registry_is_reserved_name(const char *name, gsize size);
