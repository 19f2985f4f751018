/* Which release the cluster speaks, from what is known of it. Pure; any thread. */
#pragma once
#include "rpc/call.h"

#include <glib.h>

typedef struct {
  AinFamily fixed;      /* from the key cluster_version; 0 for auto */
  AinFamilies versions; /* families of the members' version strings; 0: none understood */
  char *members;        /* those strings, for the log; owned; NULL for none */
  AinFamilies frames;   /* families that could have sent the frames seen; 0: none seen */
} AinReleaseEvidence;

void ain_release_evidence_clear(AinReleaseEvidence *evidence);

/* Family of a version string such as "2.0.1-beta" or "2.0.10"; 0 when it is none ("UNKNOWN"). */
AinFamily ain_release_of_version(const char *version);
const char *ain_release_name(AinFamily family); /* "2.0.5", "2.0.6 or 2.0.7", ...; static */

/* Takes in the families that could have sent a frame. Narrows what is known; when that leaves nothing (the
 * cluster was upgraded, or is mixed), the newest frame alone counts. */
void ain_release_add_frame(AinReleaseEvidence *evidence, AinFamilies seen);

/* The choice, and in *why (owned, may be NULL) its evidence as half a sentence. */
AinFamily ain_release_choose(const AinReleaseEvidence *evidence, char **why);
