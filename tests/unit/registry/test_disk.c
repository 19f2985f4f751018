/* What disks do: restarts, other people's folders, kills in the middle, full and read-only folders. */
#include "fixture.h"
int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  return g_test_run();
}
