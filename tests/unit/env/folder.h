/* A temporary folder for one test, and files in it. */
#pragma once
#include "base/fd.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

static inline char *folder_new(void) {
  g_autoptr(GError) error = NULL;
  char *folder = g_dir_make_tmp("ain env XXXXXX", &error); /* with a space */
  g_assert_no_error(error);
  return folder;
}

static inline void folder_free(char *folder) {
  g_autoptr(GError) error = NULL;
  g_assert_true(ain_file_remove_tree(folder, &error));
  g_free(folder);
}

/* The file's path, for the caller to free; folders are made. */
static inline char *folder_file(const char *folder, const char *name, const char *text, int mode) {
  g_autoptr(GError) error = NULL;
  char *path = g_build_filename(folder, name, NULL);
  g_autofree char *parent = g_path_get_dirname(path);
  g_assert_cmpint(g_mkdir_with_parents(parent, 0777), ==, 0);
  g_file_set_contents(path, text, -1, &error);
  g_assert_no_error(error);
  g_assert_cmpint(g_chmod(path, mode), ==, 0);
  return path;
}

/* A program that is taken for an interpreter: $3 is the probe's word, as in `PYTHON -c PROBE WORD`. */
static inline char *folder_program(const char *folder, const char *name, const char *body) {
  g_autofree char *text = g_strconcat("#!/bin/sh\nword=$3\n", body, "\n", NULL);
  return folder_file(folder, name, text, 0755);
}

/* A body that answers like probe.py; overrides come last and win. executable: must be absolute. */
static inline char *folder_answer(const char *executable, const char *overrides) {
  return g_strdup_printf("cat <<EOF\n"
                         "noise before\n\nAIN-PROBE-BEGIN $word\n"
                         "executable=%s\nversion=3.11.7\nhexversion=030b07f0\nimplementation=cpython\n"
                         "free_threaded=0\nprefix=/p\nbase_prefix=/b\nvenv=1\nensurepip=1\nssl=1\n"
                         "externally_managed=0\n%s"
                         "AIN-PROBE-END $word\nEOF\n",
                         executable, overrides);
}
