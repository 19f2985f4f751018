#include "rpc/status.h"

#include "base/error.h"

typedef enum { NUMBERS_A_TO_E, NUMBERS_F, NUMBERS_G_H, N_NUMBERINGS } Numbering;

typedef struct {
  gint32 number[N_NUMBERINGS];
} Row;

#define INTERNAL_ROW                                                                                         \
  {                                                                                                          \
    { 1510, 1510, 1599 }                                                                                     \
  } /* AI_NODE_INTERNAL_ERROR */
#define CREATE_ROW                                                                                           \
  {                                                                                                          \
    { 1500, 1500, 1505 }                                                                                     \
  } /* CREATE_MODEL_ERROR */
#define DROP_ROW                                                                                             \
  {                                                                                                          \
    { 1501, 1501, 1507 }                                                                                     \
  } /* DROP_MODEL_ERROR */
#define EXISTS_ROW                                                                                           \
  {                                                                                                          \
    { 1502, 1502, 1503 }                                                                                     \
  } /* MODEL_EXIST(ED)_ERROR */

static const Row rows[] = {
  [AIN_ERROR_INTERNAL] = INTERNAL_ROW,
  [AIN_ERROR_INVALID] = INTERNAL_ROW,
  [AIN_ERROR_MALFORMED] = INTERNAL_ROW,
  [AIN_ERROR_TOO_LARGE] = INTERNAL_ROW,
  [AIN_ERROR_MODEL_NOT_FOUND] = { { 1505, 1505, 1504 } },
  [AIN_ERROR_MODEL_EXISTS] = EXISTS_ROW,
  [AIN_ERROR_MODEL_BUILTIN] = { { 1501, 1501, 1506 } },
  [AIN_ERROR_MODEL_INVALID] = CREATE_ROW,
  [AIN_ERROR_INVALID_URI] = { { 1511, 1511, 1505 } },
  [AIN_ERROR_INVALID_CONFIG] = { { 1512, 1512, 1505 } },
  [AIN_ERROR_DROP_FAILED] = DROP_ROW,
  /* A..E know no devices, and 1507 is nothing there. */
  [AIN_ERROR_DEVICE] = { { 1510, 1507, 1508 } },
  [AIN_ERROR_BUSY] = INTERNAL_ROW,
  [AIN_ERROR_TIMEOUT] = INTERNAL_ROW,
  [AIN_ERROR_CANCELLED] = INTERNAL_ROW,
  [AIN_ERROR_WORKER_DIED] = INTERNAL_ROW,
  [AIN_ERROR_MODEL_FAILED] = INTERNAL_ROW,
  [AIN_ERROR_UNSUPPORTED] = INTERNAL_ROW,
  [AIN_ERROR_REJECTED] = INTERNAL_ROW,
  [AIN_ERROR_UNREACHABLE] = INTERNAL_ROW,
  [AIN_ERROR_ENVIRONMENT] = INTERNAL_ROW,
  [AIN_ERROR_EXHAUSTED] = INTERNAL_ROW,
};

typedef struct {
  AinMethod method;
  AinErrorCode code;
  Row row;
} Exception;

/* Where a method's callers have a number of their own. */
static const Exception exceptions[] = {
  { AIN_METHOD_REGISTER_MODEL, AIN_ERROR_INVALID, CREATE_ROW },
  { AIN_METHOD_REGISTER_MODEL, AIN_ERROR_MODEL_BUILTIN, EXISTS_ROW },
  { AIN_METHOD_DELETE_MODEL, AIN_ERROR_INVALID, DROP_ROW },
  { AIN_METHOD_LOAD_MODEL, AIN_ERROR_INVALID, { { 1510, 1510, 1509 } } },   /* LOAD_MODEL_ERROR */
  { AIN_METHOD_UNLOAD_MODEL, AIN_ERROR_INVALID, { { 1510, 1510, 1510 } } }, /* UNLOAD_MODEL_ERROR */
};

static Numbering numbering_of(AinFamily family) {
  if (family >= AIN_FAMILY_G) {
    return NUMBERS_G_H;
  }
  return family == AIN_FAMILY_F ? NUMBERS_F : NUMBERS_A_TO_E;
}

gint32 ain_rpc_status(const GError *error, AinFamily family, AinMethod method) {
  gint code = AIN_ERROR_INTERNAL;
  if (error != NULL && error->domain == AIN_ERROR && error->code >= AIN_ERROR_INTERNAL
      && error->code < (gint)G_N_ELEMENTS(rows)) {
    code = error->code;
  }
  for (guint i = 0; i < G_N_ELEMENTS(exceptions); i++) {
    if (exceptions[i].method == method && (gint)exceptions[i].code == code) {
      return exceptions[i].row.number[numbering_of(family)];
    }
  }
  return rows[code].number[numbering_of(family)];
}

AinFamily ain_rpc_family(AinFamilies families, AinFamily release) {
  if ((families & (AinFamilies)release) != 0 || (families & AIN_FAMILY_ALL) == 0) {
    return release;
  }
  return (AinFamily)(1U << (g_bit_storage(families & AIN_FAMILY_ALL) - 1));
}
