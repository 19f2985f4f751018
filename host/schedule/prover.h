/* Proves a model before it is registered: loads it in a worker of its own, runs it on random data there, and
 * once on data in a read-only slot, which finds models that write into their input. Loop thread. */
#pragma once
#include "registry/registry.h"
#include "schedule/lane.h"

typedef struct AinProofs AinProofs;

AinProofs *ain_proofs_new(AinLaneContext *context);
/* Proofs under way and later ones end with CANCELLED. */
void ain_proofs_close(AinProofs *proofs);
void ain_proofs_free(AinProofs *proofs); /* closes, too; NULL is allowed */
/* The registry's AinProver.prove; `prover` is the AinProofs. */
void ain_proofs_prove(gpointer prover, AinModel *model, AinProveDone done, gpointer data);
/* Its AinProver.cancel. Not from within an event of a worker. */
void ain_proofs_cancel(gpointer prover, const AinModel *model);
