/* Which models stay loaded: those that LOAD MODEL asked for, and of the others those used last, as far as the
 * processes' memory (ain_model_memory_bytes) and the shared memory of their slots reach. Whoever is unloaded
 * comes back with its next request. Loop thread. */
#pragma once
#include "schedule/lane.h"

typedef struct AinKeeper AinKeeper;

AinKeeper *ain_keeper_new(AinLaneContext *context);
void ain_keeper_free(AinKeeper *keeper); /* NULL is allowed */
/* A worker has loaded its model: measure soon. */
void ain_keeper_look(AinKeeper *keeper);
