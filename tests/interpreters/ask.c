/* Prints the whole answer of the probe for tests/interpreters: ask BOOTSTRAP PYTHON [CACHE] */
#include "env/env.h"

#include <stdio.h>

static void row(const char *name, const char *value) {
  if (value != NULL) {
    g_autofree char *escaped = g_strescape(value, NULL);
    printf("%s=%s\n", name, escaped);
  }
}

int main(int argc, char **argv) {
  if (argc < 3 || argc > 4) {
    fprintf(stderr, "ask BOOTSTRAP PYTHON [CACHE]\n");
    return 2;
  }
  g_autoptr(GError) error = NULL;
  gboolean cached = FALSE;
  gint64 begin = g_get_monotonic_time();
  g_autoptr(AinInterpreter) python =
      ain_env_probe(argv[2], argv[1], argc == 4 ? argv[3] : NULL, &cached, &error);
  gint64 took = g_get_monotonic_time() - begin;
  if (python == NULL) {
    fprintf(stderr, "%s\n", error->message);
    return 4;
  }
  row("asked", python->asked);
  row("executable", python->executable);
  row("version", python->version);
  row("implementation", python->implementation);
  row("prefix", python->prefix);
  row("base_prefix", python->base_prefix);
  row("libpython", python->libpython);
  row("numpy", python->numpy);
  row("torch", python->torch);
  row("yaml", python->yaml);
  row("pip", python->pip);
  printf("hexversion=%u\nfree_threaded=%d\nvenv=%d\nensurepip=%d\nssl=%d\nexternally_managed=%d\n",
         python->version_hex, python->free_threaded, python->has_venv, python->has_ensurepip, python->has_ssl,
         python->externally_managed);
  for (char **path = python->paths; *path != NULL; path++) {
    row("path", *path);
  }
  g_autoptr(GPtrArray) problems = ain_env_problems(python);
  for (guint i = 0; i < problems->len; i++) {
    row("problem", g_ptr_array_index(problems, i));
  }
  printf("cached=%d\nmicroseconds=%" G_GINT64_FORMAT "\n", cached, took);
  return 0;
}
