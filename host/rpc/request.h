/* Decodes one request in place: method names, the fields of every family of releases, and which families
 * could have sent them (clashes R1..R5 of protocol/ainode.thrift). Private to rpc and its tests; any thread.
 */
#pragma once
#include "protocol/reader.h"
#include "rpc/call.h"

#define AIN_REQUEST_INLINE 8

/* Limits of what a request may carry; beyond them it is answered with TOO_LARGE. */
#define AIN_REQUEST_MAX_ID 1024
#define AIN_REQUEST_MAX_URI 65536
#define AIN_REQUEST_MAX_DEVICE 256
#define AIN_REQUEST_MAX_KEY 1024
#define AIN_REQUEST_MAX_VALUE 65536
#define AIN_REQUEST_MAX_OPTIONS 1024
#define AIN_REQUEST_MAX_DEVICES 1024
#define AIN_REQUEST_MAX_COLUMNS 4096

/* A request and the room for its short lists; longer lists are allocated. Must not move: request points into
 * it. */
typedef struct {
  AinRequest request;
  AinPair pairs[AIN_REQUEST_INLINE];
  AinSlice devices[AIN_REQUEST_INLINE];
  guint order[AIN_REQUEST_INLINE];
  AinPair *more_pairs; /* owned, as the next two; NULL while the inline room is enough */
  AinSlice *more_devices;
  guint *more_order;
} AinRequestStore;

/* UNKNOWN for a name that no release calls. */
AinMethod ain_rpc_method_of(AinSlice name);
const char *ain_rpc_method_name(AinMethod method); /* static; "" for UNKNOWN */
AinFamilies ain_rpc_method_families(AinMethod method);

/* Reads the arguments of `method` up to the end of the message. release decides where the bytes do not (R3).
 * On failure store->request.method and .families are still good for building an answer. Errors: MALFORMED,
 * TOO_LARGE. store needs ain_rpc_request_clear() in any case. */
gboolean ain_rpc_decode(AinReader *reader, AinMethod method, AinFamily release, AinRequestStore *store,
                        GError **error);
void ain_rpc_request_clear(AinRequestStore *store);
