/* The runner and the reports; the checks themselves are tested on broken machines by tests/doctor. */
#include "doctor/check.h"
#include "doctor/doctor.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

static const AinDoctorRequest request = { .home = "/opt/ain" };

static void find_three(AinLook *look) {
  ain_look_ok(look, "%d is fine", 1);
  ain_look_warn(look, "do this", "%s", "odd\n\033[31mthing");
  ain_look_error(look, NULL, "it is broken");
  look->found.cluster_name = g_strdup("c");
}

/* Hangs until the test ends it, as a dead file system would. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void hang(AinLook *look) {
  pthread_mutex_lock(&gate);
  pthread_mutex_unlock(&gate);
  ain_look_ok(look, "too late");
  look->found.cluster_name = g_strdup("late");
}

static void finding_clear(gpointer data) {
  AinFinding *finding = data;
  g_free(finding->evidence);
  g_free(finding->mend);
  g_free(finding);
}

static GPtrArray *run(void (*look)(AinLook *look), gint64 limit_us, AinFacts *facts, gboolean *ended) {
  /* As those of the table: there for as long as the thread of one that hangs. */
  static AinCheck checks[8];
  static guint n_checks = 0;
  AinCheck *check = &checks[n_checks++];
  g_assert_cmpuint(n_checks, <=, G_N_ELEMENTS(checks));
  *check = (AinCheck){ "group", "name", look, limit_us, TRUE, AIN_EXIT_ENVIRONMENT };
  GPtrArray *findings = g_ptr_array_new_with_free_func(finding_clear);
  *ended = ain_doctor_run_check(check, &request, facts, findings);
  return findings;
}

static void test_findings(void) {
  AinFacts facts = { 0 };
  gboolean ended = FALSE;
  g_autoptr(GPtrArray) findings = run(find_three, G_USEC_PER_SEC, &facts, &ended);
  g_assert_true(ended);
  g_assert_cmpuint(findings->len, ==, 3);
  const AinFinding *first = g_ptr_array_index(findings, 0);
  const AinFinding *second = g_ptr_array_index(findings, 1);
  g_assert_cmpstr(first->evidence, ==, "1 is fine");
  g_assert_cmpstr(second->evidence, ==, "odd  [31mthing"); /* nothing that moves a terminal's cursor */
  g_assert_cmpstr(second->mend, ==, "do this");
  g_assert_cmpstr(facts.cluster_name, ==, "c");
  g_assert_cmpint(ain_doctor_exit_code(findings), ==, AIN_EXIT_ENVIRONMENT);
  g_ptr_array_remove_index(findings, 2);
  g_assert_cmpint(ain_doctor_exit_code(findings), ==, AIN_EXIT_WARNINGS);
  g_ptr_array_remove_index(findings, 1);
  g_assert_cmpint(ain_doctor_exit_code(findings), ==, AIN_EXIT_OK);
  ain_facts_clear(&facts);
}

static void test_hanging_check(void) {
  AinFacts facts = { 0 };
  gboolean ended = TRUE;
  pthread_mutex_lock(&gate);
  gint64 begin = g_get_monotonic_time();
  g_autoptr(GPtrArray) findings = run(hang, 50 * 1000, &facts, &ended);
  g_assert_cmpint(g_get_monotonic_time() - begin, >=, 50 * 1000);
  g_assert_false(ended);
  g_assert_cmpuint(findings->len, ==, 1);
  const AinFinding *finding = g_ptr_array_index(findings, 0);
  g_assert_cmpint(finding->verdict, ==, AIN_VERDICT_UNCHECKED);
  g_assert_nonnull(strstr(finding->evidence, "did not end within 0.05 s"));
  pthread_mutex_unlock(&gate);
  g_usleep(50 * 1000); /* it ends now, into memory of its own */
  g_assert_cmpuint(findings->len, ==, 1);
  g_assert_null(facts.cluster_name);
}

static void test_text(void) {
  AinFacts facts = { 0 };
  gboolean ended = FALSE;
  g_autoptr(GPtrArray) findings = run(find_three, G_USEC_PER_SEC, &facts, &ended);
  AinFinding *first = g_ptr_array_index(findings, 0);
  g_free(first->evidence);
  first->evidence = g_strnfill(70, 'x');
  char *longer = g_strconcat(first->evidence, " and more words that have to go on the next line", NULL);
  g_free(first->evidence);
  first->evidence = longer;
  g_autofree char *plain = ain_doctor_text(&request, findings, FALSE);
  g_autofree char *coloured = ain_doctor_text(&request, findings, TRUE);
  g_assert_null(strchr(plain, '\033'));
  g_assert_nonnull(strstr(coloured, "\033[31mERROR"));
  g_assert_nonnull(strstr(plain, "\n  ERROR       name            it is broken\n"));
  g_assert_nonnull(strstr(plain, "to mend: do this\n"));
  g_assert_nonnull(strstr(plain, "3 checked, 1 errors, 1 warnings, 0 not checked: not fit (exit code 4)"));
  g_auto(GStrv) lines = g_strsplit(plain, "\n", -1);
  for (char **line = lines; *line != NULL; line++) {
    g_assert_cmpuint(strlen(*line), <=, 100);
  }
  g_autofree char *complaints = ain_doctor_complaints(findings, "it is broken");
  g_assert_null(complaints); /* said already, and warnings are no reason */
  g_autofree char *error = ain_doctor_complaints(findings, "something else");
  g_assert_nonnull(strstr(error, "it is broken"));
  g_assert_null(strstr(error, "odd"));
  ain_facts_clear(&facts);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/doctor/findings", test_findings);
  g_test_add_func("/doctor/hanging-check", test_hanging_check);
  g_test_add_func("/doctor/text", test_text);
  return g_test_run();
}
