#include "frames.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_FLOAT = 3, TYPE_DOUBLE = 4 };

static uint8_t *put32(uint8_t *at, uint32_t value) {
  value = htobe32(value);
  memcpy(at, &value, 4);
  return at + 4;
}

static uint8_t *put64(uint8_t *at, uint64_t value) {
  value = htobe64(value);
  memcpy(at, &value, 8);
  return at + 8;
}

static uint8_t *put_text(uint8_t *at, const char *text) {
  at = put32(at, (uint32_t)strlen(text));
  memcpy(at, text, strlen(text));
  return at + strlen(text);
}

static uint8_t *put_field(uint8_t *at, uint8_t type, uint16_t id) {
  *at++ = type;
  *at++ = (uint8_t)(id >> 8);
  *at++ = (uint8_t)id;
  return at;
}

static size_t data_size(const BenchShape *shape) {
  return shape->columns + (size_t)shape->rows * shape->columns * (shape->wide ? 8 : 4);
}

static uint8_t *put_block_head(uint8_t *at, const BenchShape *shape) {
  at = put32(at, shape->columns);
  memset(at, shape->wide ? TYPE_DOUBLE : TYPE_FLOAT, shape->columns);
  at = put32(at + shape->columns, shape->rows);
  *at++ = 2; /* the time column: 64 bits a row */
  memset(at, shape->wide ? 2 : 1, shape->columns);
  at += shape->columns;
  *at++ = 0; /* times have no nulls; all are 0 */
  return at + (size_t)shape->rows * 8;
}

uint8_t *bench_frame_new(const BenchShape *shape, size_t *size, size_t *data_at) {
  size_t block = 10 + 2 * (size_t)shape->columns + (size_t)shape->rows * 8 + data_size(shape);
  uint8_t *frame = calloc(1, 256 + strlen(shape->model) + block);
  if (frame == NULL) {
    abort();
  }
  uint8_t *at = put32(frame + 4, 0x80010001U);
  at = put_text(at, "inference");
  at = put32(at, 1);
  at = put_field(at, 12, 0xffff); /* the argument: field -1, a struct */
  at = put_field(at, 11, 1);
  at = put_text(at, shape->model);
  at = put_field(at, 11, 2);
  at = put32(at, (uint32_t)block);
  at = put_block_head(at, shape);
  *data_at = (size_t)(at - frame);
  at += data_size(shape) + 2; /* two stop bytes */
  *size = (size_t)(at - frame);
  put32(frame, (uint32_t)(*size - 4));
  return frame;
}

void bench_frame_fill(const BenchShape *shape, uint8_t *data, const float *base, const float *delta,
                      double k) {
  for (uint32_t c = 0; c < shape->columns; c++) {
    *data++ = 0; /* no nulls */
    for (uint32_t r = 0; r < shape->rows; r++) {
      size_t cell = (size_t)r * shape->columns + c;
      if (shape->wide) {
        double value = base[cell] + k * delta[cell];
        uint64_t bits;
        memcpy(&bits, &value, 8);
        data = put64(data, bits);
      } else {
        float value = base[cell] + (float)k * delta[cell];
        uint32_t bits;
        memcpy(&bits, &value, 4);
        data = put32(data, bits);
      }
    }
  }
}

static uint32_t get32(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return be32toh(value);
}

size_t bench_frame_size(const uint8_t *at) {
  return (size_t)get32(at) + 4;
}

static const uint8_t *take_value(const uint8_t *at, uint8_t type, double *value) {
  if (type == TYPE_FLOAT) {
    uint32_t bits = get32(at);
    float single;
    memcpy(&single, &bits, 4);
    *value = (double)single;
    return at + 4;
  }
  uint64_t bits = ((uint64_t)get32(at) << 32) | get32(at + 4);
  memcpy(value, &bits, 8);
  return at + 8;
}

static size_t block_values(const uint8_t *block, const uint8_t *end, double *out, size_t room) {
  uint32_t columns = get32(block);
  const uint8_t *types = block + 4;
  if (columns == 0 || columns > 64 || end - types < columns * 2 + 6) {
    return 0;
  }
  uint32_t rows = get32(types + columns);
  const uint8_t *value = types + columns + 4 + columns + 1 + 1 + (size_t)rows * 8;
  size_t n = 0;
  if ((size_t)rows * columns > room) {
    return 0;
  }
  for (uint32_t c = 0; c < columns; c++) {
    size_t width = types[c] == TYPE_FLOAT ? 4 : 8;
    if ((types[c] != TYPE_FLOAT && types[c] != TYPE_DOUBLE) || end - value < (ptrdiff_t)(1 + width * rows)
        || *value++ != 0) {
      return 0;
    }
    for (uint32_t r = 0; r < rows; r++) {
      value = take_value(value, types[c], &out[n++]);
    }
  }
  return n;
}

size_t bench_reply_values(const uint8_t *reply, size_t size, double *out, size_t room) {
  for (size_t at = 4; at + 20 < size; at++) { /* field 2, a list of strings; its first element */
    if (reply[at] == 15 && reply[at + 1] == 0 && reply[at + 2] == 2 && reply[at + 3] == 11
        && get32(reply + at + 4) == 1) {
      return block_values(reply + at + 12, reply + size, out, room);
    }
  }
  return 0;
}
