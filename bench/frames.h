/* The one request a load generator sends and the answer it gets: `inference` of family E in Thrift's binary
 * protocol, one TsBlock each way. Plain C, written apart from the node's own code so that it can disagree
 * with it. */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct {
  const char *model;
  uint32_t rows;
  uint32_t columns;
  int wide; /* DOUBLE columns instead of FLOAT */
} BenchShape;

/* Owned frame with its length in front; *data_at is the place of the first column. */
uint8_t *bench_frame_new(const BenchShape *shape, size_t *size, size_t *data_at);
/* Writes base + k * delta; both are [rows][columns]. */
void bench_frame_fill(const BenchShape *shape, uint8_t *data, const float *base, const float *delta,
                      double k);
/* Size of the frame that starts here, length included; at needs 4 bytes. */
size_t bench_frame_size(const uint8_t *at);
/* The values of the first result block, column after column. Only what an AINode writes is understood: FLOAT
 * or DOUBLE columns without nulls. Returns how many there are, 0 for an error or more than room. */
size_t bench_reply_values(const uint8_t *reply, size_t size, double *out, size_t room);
