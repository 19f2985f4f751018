/* Version strings to families, and the choice among kinds of evidence. */
#include "cluster/release.h"

static void test_versions(void) {
  static const struct {
    const char *version;
    guint family;
  } cases[] = {
    { "1.3.3", AIN_FAMILY_A },
    { "2.0.1-beta", AIN_FAMILY_A },
    { "2.0.1", AIN_FAMILY_A },
    { "2.0.2", AIN_FAMILY_A },
    { "2.0.2.1", AIN_FAMILY_A },
    { "2.0.3", AIN_FAMILY_C },
    { "2.0.4", AIN_FAMILY_D },
    { "2.0.5", AIN_FAMILY_E },
    { "V2.0.5", AIN_FAMILY_E },
    { "2.0.6-SNAPSHOT", AIN_FAMILY_F },
    { "2.0.7", AIN_FAMILY_F },
    { "2.0.8", AIN_FAMILY_G },
    { "2.0.8.2", AIN_FAMILY_G },
    { "2.0.9", AIN_FAMILY_G },
    { "2.0.9.1", AIN_FAMILY_G },
    { "2.0.10", AIN_FAMILY_H },
    { "2.0.11", AIN_FAMILY_H },
    { "2.1.0", AIN_FAMILY_H },
    { "2.10.0", AIN_FAMILY_H },
    { "3.0.0", AIN_FAMILY_H },
    { "99999999999.0.0", AIN_FAMILY_H },
    { "UNKNOWN", 0 },
    { "", 0 },
    { "2", 0 },
    { "2.0", 0 },
    { "2.0.", 0 },
    { "2..5", 0 },
    { "2.0.5x", 0 },
    { "-2.0.5", 0 },
    { " 2.0.5", 0 },
    { "abc", 0 },
    { NULL, 0 },
  };
  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    if ((guint)ain_release_of_version(cases[i].version) != cases[i].family) {
      g_error("%s is taken for family %u", cases[i].version, (guint)ain_release_of_version(cases[i].version));
    }
  }
}

static AinFamily choose(AinFamily fixed, AinFamilies versions, AinFamilies frames) {
  AinReleaseEvidence evidence = { fixed, versions, NULL, frames };
  g_autofree char *why = NULL;
  AinFamily family = ain_release_choose(&evidence, &why);
  g_assert_nonnull(why);
  g_assert_cmpint(family, ==, ain_release_choose(&evidence, NULL));
  return family;
}

static void test_choice(void) {
  g_assert_cmpint(choose(0, 0, 0), ==, AIN_FAMILY_E);
  g_assert_cmpint(choose(AIN_FAMILY_H, AIN_FAMILY_A, AIN_FAMILY_C), ==, AIN_FAMILY_H);
  g_assert_cmpint(choose(0, AIN_FAMILY_F | AIN_FAMILY_H, AIN_FAMILY_H), ==, AIN_FAMILY_F);
  g_assert_cmpint(choose(0, 0, AIN_FAMILY_ALL), ==, AIN_FAMILY_E);
  g_assert_cmpint(choose(0, 0, AIN_FAMILY_H), ==, AIN_FAMILY_H);
  g_assert_cmpint(choose(0, 0, AIN_FAMILY_D | AIN_FAMILY_E | AIN_FAMILY_F), ==, AIN_FAMILY_E);
  g_assert_cmpint(choose(0, 0, AIN_FAMILY_A | AIN_FAMILY_C), ==, AIN_FAMILY_C);
  g_assert_cmpint(choose(0, 0, AIN_FAMILY_A | AIN_FAMILY_G | AIN_FAMILY_H), ==, AIN_FAMILY_G);
}

static void test_frames(void) {
  AinReleaseEvidence evidence = { 0 };
  ain_release_add_frame(&evidence, 0);
  g_assert_cmpuint(evidence.frames, ==, 0);
  ain_release_add_frame(&evidence, AIN_FAMILY_ALL);
  ain_release_add_frame(&evidence, AIN_FAMILY_G | AIN_FAMILY_H);
  ain_release_add_frame(&evidence, AIN_FAMILY_F | AIN_FAMILY_G);
  g_assert_cmpuint(evidence.frames, ==, AIN_FAMILY_G);
  ain_release_add_frame(&evidence, AIN_FAMILY_ALL);
  g_assert_cmpuint(evidence.frames, ==, AIN_FAMILY_G);
  ain_release_add_frame(&evidence, AIN_FAMILY_H); /* upgraded */
  g_assert_cmpuint(evidence.frames, ==, AIN_FAMILY_H);
  ain_release_add_frame(&evidence, 1U << 20);
  g_assert_cmpuint(evidence.frames, ==, AIN_FAMILY_H);
}

static void test_names(void) {
  g_assert_cmpstr(ain_release_name(AIN_FAMILY_E), ==, "2.0.5");
  g_assert_cmpstr(ain_release_name((AinFamily)0), ==, "unknown");
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/cluster/release/versions", test_versions);
  g_test_add_func("/cluster/release/choice", test_choice);
  g_test_add_func("/cluster/release/frames", test_frames);
  g_test_add_func("/cluster/release/names", test_names);
  return g_test_run();
}
