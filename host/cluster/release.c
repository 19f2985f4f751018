#include "cluster/release.h"

#include <string.h>

#define DEFAULT_FAMILY AIN_FAMILY_E /* the deployment contract's release */

/* First release of each family. 2.0.9 falls to G: it has no public source, its status numbers are those of
 * both G and H, and what H adds (autoAdapt) is told from a request's bytes, never from this choice. Older
 * than 2.0.3, also 1.3, is A; newer than 2.0.10 is H, until a newer family is known. */
static const struct {
  guint major, minor, patch;
  AinFamily family;
  const char *name;
} releases[] = {
  { 0, 0, 0, AIN_FAMILY_A, "2.0.1 or 2.0.2" },
  { 2, 0, 3, AIN_FAMILY_C, "2.0.3" },
  { 2, 0, 4, AIN_FAMILY_D, "2.0.4" },
  { 2, 0, 5, AIN_FAMILY_E, "2.0.5" },
  { 2, 0, 6, AIN_FAMILY_F, "2.0.6 or 2.0.7" },
  { 2, 0, 8, AIN_FAMILY_G, "2.0.8 or 2.0.9" },
  { 2, 0, 10, AIN_FAMILY_H, "2.0.10 or later" },
};

void ain_release_evidence_clear(AinReleaseEvidence *evidence) {
  g_free(evidence->members);
  *evidence = (AinReleaseEvidence){ 0 };
}

/* "2.0.10" or "V2.0.5-SNAPSHOT"; a fourth number (2.0.8.2) is a patch of the third. */
static gboolean parse_version(const char *text, guint numbers[3]) {
  if (*text == 'v' || *text == 'V') {
    text++;
  }
  for (guint i = 0; i < 3; i++) {
    guint value = 0;
    const char *start = text;
    for (; g_ascii_isdigit(*text); text++) {
      value = MIN(value * 10 + (guint)(*text - '0'), 100000);
    }
    if (text == start || (i < 2 && *text++ != '.')) {
      return FALSE;
    }
    numbers[i] = value;
  }
  return *text == '\0' || strchr(".-_+ ", *text) != NULL;
}

static gint compare(const guint a[3], guint major, guint minor, guint patch) {
  gint64 first = ((gint64)a[0] << 40) + ((gint64)a[1] << 20) + a[2];
  gint64 second = ((gint64)major << 40) + ((gint64)minor << 20) + patch;
  return (first > second) - (first < second);
}

AinFamily ain_release_of_version(const char *version) {
  guint numbers[3];
  AinFamily family = 0;
  if (version == NULL || !parse_version(version, numbers)) {
    return 0;
  }
  for (guint i = 0; i < G_N_ELEMENTS(releases); i++) {
    if (compare(numbers, releases[i].major, releases[i].minor, releases[i].patch) >= 0) {
      family = releases[i].family;
    }
  }
  return family;
}

const char *ain_release_name(AinFamily family) {
  for (guint i = 0; i < G_N_ELEMENTS(releases); i++) {
    if (releases[i].family == family) {
      return releases[i].name;
    }
  }
  return "unknown";
}

void ain_release_add_frame(AinReleaseEvidence *evidence, AinFamilies seen) {
  seen &= AIN_FAMILY_ALL;
  if (seen == 0) {
    return;
  }
  AinFamilies both = evidence->frames == 0 ? seen : evidence->frames & seen;
  evidence->frames = both != 0 ? both : seen;
}

static AinFamily lowest(AinFamilies families) {
  return (AinFamily)(families & (0U - families));
}

/* A set that holds the default says nothing against it; otherwise the member next to the default. */
static AinFamily nearest_default(AinFamilies families) {
  if ((families & DEFAULT_FAMILY) != 0) {
    return DEFAULT_FAMILY;
  }
  AinFamilies newer = families & ~(AinFamilies)(DEFAULT_FAMILY * 2 - 1);
  if (newer != 0) {
    return lowest(newer);
  }
  return (AinFamily)(1U << (g_bit_storage(families) - 1));
}

AinFamily ain_release_choose(const AinReleaseEvidence *evidence, char **why) {
  const char *members = evidence->members != NULL && evidence->members[0] != '\0' ? evidence->members : NULL;
  AinFamily family = DEFAULT_FAMILY;
  g_autofree char *reason = NULL;
  if (evidence->fixed != 0) {
    family = evidence->fixed;
    reason = g_strdup("the configuration says so");
  } else if (evidence->versions != 0) {
    /* In a rolling upgrade the lowest: a newer member copies codes and texts it does not know to the user. */
    family = lowest(evidence->versions);
    reason = g_strdup_printf("showCluster lists %s%s", members != NULL ? members : "no names",
                             family == evidence->versions ? "" : ", and the lowest counts");
  } else if (evidence->frames != 0 && evidence->frames != AIN_FAMILY_ALL) {
    family = nearest_default(evidence->frames);
    reason = g_strdup_printf("the requests received have its form (showCluster: %s)",
                             members != NULL ? members : "no versions");
  } else {
    reason = g_strdup_printf("the default, as nothing tells more (showCluster: %s)",
                             members != NULL ? members : "no versions");
  }
  if (why != NULL) {
    *why = g_steal_pointer(&reason);
  }
  return family;
}
