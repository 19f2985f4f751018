/* Small weights files for the tests of what is dropped in. */
#pragma once
#include <glib.h>

#define TIMER_CONFIG "{\"model_type\": \"timer\", \"hidden_size\": 2}"
#define SUNDIAL_CONFIG "{\"model_type\": \"sundial\", \"hidden_size\": 2}"
#define GOOD_HEADER                                                                                          \
  "{\"__metadata__\": {\"format\": \"pt\"}, \"a\": {\"dtype\": \"F32\", \"shape\": [2, 2], "                 \
  "\"data_offsets\": [0, 16]}, \"b\": {\"dtype\": \"BF16\", \"shape\": [4], \"data_offsets\": [16, 24]}}"
#define GOOD_DATA 24

/* A safetensors file: the header's length, the header, and so many zero bytes. */
GBytes *weights_file(const char *header, gsize data);

/* Writes directory/name in place, as cp does: the file keeps its inode when it is there. */
void weights_write(const char *directory, const char *name, const void *data, gsize size);
/* Both files; config NULL leaves config.json out, header NULL the other one. */
void weights_put(const char *directory, const char *config, const char *header, gsize data);
