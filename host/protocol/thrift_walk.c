#include "protocol/thrift_walk.h"

#include "base/error.h"

gboolean ain_thrift_walk_fail(const AinReader *reader, GError **error) {
  g_autofree char *text = ain_reader_failure(reader);
  g_set_error_literal(error, AIN_ERROR, reader->exceeded ? AIN_ERROR_TOO_LARGE : AIN_ERROR_MALFORMED, text);
  return FALSE;
}

/* A rule of the form is broken; the reader itself has found no fault. */
static gboolean misfit(const AinReader *reader, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);
static gboolean misfit(const AinReader *reader, GError **error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  g_autofree char *text = g_strdup_vprintf(format, arguments);
  va_end(arguments);
  g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED, "byte %" G_GSIZE_FORMAT ": %s", reader->at, text);
  return FALSE;
}

static gboolean check_value(AinReader *reader, const AinThriftShape *shape, GError **error);

static gboolean check_text(AinReader *reader, gboolean is_binary, GError **error) {
  AinSlice text;
  if (!ain_reader_string(reader, &text)) {
    return ain_thrift_walk_fail(reader, error);
  }
  /* The generated reader keeps texts NUL-terminated without a length. */
  return is_binary || memchr(text.data, 0, text.size) == NULL
         || misfit(reader, error, "a text with a NUL character");
}

static gboolean check_container(AinReader *reader, const AinThriftShape *shape, GError **error) {
  gboolean is_map = shape->type == AIN_THRIFT_MAP;
  guint32 count = 0;
  if (!(is_map ? ain_reader_map(reader, shape->key->type, shape->element->type, &count)
               : ain_reader_list(reader, shape->element->type, &count))) {
    return ain_thrift_walk_fail(reader, error);
  }
  for (guint32 i = 0; i < count; i++) {
    if ((is_map && !check_value(reader, shape->key, error)) || !check_value(reader, shape->element, error)) {
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean check_value(AinReader *reader, const AinThriftShape *shape, GError **error) {
  switch (shape->type) {
  case AIN_THRIFT_STRUCT:
    return ain_thrift_walk_struct(reader, shape->contents, error);
  case AIN_THRIFT_MAP:
  case AIN_THRIFT_SET:
  case AIN_THRIFT_LIST:
    return check_container(reader, shape, error);
  case AIN_THRIFT_STRING:
    return check_text(reader, shape->is_binary, error);
  default:
    return ain_reader_skip(reader, shape->type) || ain_thrift_walk_fail(reader, error);
  }
}

static gboolean check_field(AinReader *reader, const AinThriftStruct *expected, const AinField *field,
                            guint32 *seen, GError **error) {
  for (guint i = 0; i < expected->n_fields; i++) {
    const AinThriftField *known = &expected->fields[i];
    if (known->id != field->id) {
      continue;
    }
    if (field->type != known->shape->type) {
      return misfit(reader, error, "field %s of %s has type %u instead of %u", known->name, expected->name,
                    (guint)field->type, (guint)known->shape->type);
    }
    *seen |= 1U << i;
    return check_value(reader, known->shape, error);
  }
  return ain_reader_skip(reader, field->type) || ain_thrift_walk_fail(reader, error);
}

gboolean ain_thrift_walk_struct(AinReader *reader, const AinThriftStruct *expected, GError **error) {
  guint32 seen = 0;
  AinField field;
  if (!ain_reader_struct(reader, &field)) {
    return ain_thrift_walk_fail(reader, error);
  }
  while (ain_reader_next(reader, &field)) {
    if (!check_field(reader, expected, &field, &seen, error)) {
      return FALSE;
    }
  }
  if (!ain_reader_ok(reader)) {
    return ain_thrift_walk_fail(reader, error);
  }
  for (guint i = 0; i < expected->n_fields; i++) {
    if (expected->fields[i].required && (seen & 1U << i) == 0) {
      return misfit(reader, error, "field %s of %s is missing", expected->fields[i].name, expected->name);
    }
  }
  return TRUE;
}
