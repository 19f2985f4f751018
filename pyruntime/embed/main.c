/* ainode-runtime: enters the operator's interpreter with the module `_ainode` at hand. Links libc alone, so
 * that nothing the host links can meet what Python brings along.
 *
 *   ainode-runtime ROLE PARENT_PID PYTHON LIBPYTHON MODULE PYRUNTIME
 *
 * ROLE is "worker" or "prototype"; LIBPYTHON is a shared libpython to embed, or "-" to execute PYTHON itself,
 * which then loads MODULE (_ainode.abi3.so) from its file. Descriptors: runtime/abi.h. */
#include "runtime/abi.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Runs before anything of ours is importable: finds the module (built in, or in its file), then the package.
 */
static const char bootstrap[] = "import sys\n"
                                "role, module, path = sys.argv[1:4]\n"
                                "sys.path[:] = [path] + [p for p in sys.path if p not in ('', path)]\n"
                                "if '_ainode' not in sys.builtin_module_names:\n"
                                "    import importlib.util as u, importlib.machinery as m\n"
                                "    spec = u.spec_from_file_location('_ainode', module, "
                                "loader=m.ExtensionFileLoader('_ainode', module))\n"
                                "    sys.modules['_ainode'] = u.module_from_spec(spec)\n"
                                "    spec.loader.exec_module(sys.modules['_ainode'])\n"
                                "from ainode import boot\n"
                                "boot.main(role)\n";

static int fail(const char *what, const char *why) {
  fprintf(stderr, "ainode-runtime: %s: %s\n", what, why);
  return 1;
}

/* The host ends its children by ending; a host that ended before prctl() took effect is seen by getppid(). */
static int follow_parent(const char *parent) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
    return fail("prctl", strerror(errno));
  }
  if (getppid() != (pid_t)strtol(parent, NULL, 10)) {
    return fail("start", "the host is gone");
  }
  return 0;
}

/* Python would install a handler for SIGINT when any module imports `signal`; an ignored SIGINT it leaves
 * alone, so Ctrl-C on a terminal reaches the host only, which then drains. */
static void calm_signals(void) {
  struct sigaction ignore = { .sa_handler = SIG_IGN };
  sigaction(SIGINT, &ignore, NULL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

static void open_standard_descriptors(void) {
  int fd;
  do {
    fd = open("/dev/null", O_RDWR);
  } while (fd >= 0 && fd <= 2);
  if (fd > 2) {
    close(fd);
  }
}

typedef int (*BytesMain)(int argc, char **argv);
typedef int (*AppendInittab)(const char *name, void *(*init)(void));
typedef void *(*ModuleInit)(void);

static int embed(const char *library, const char *module, int argc, char **argv) {
  /* RTLD_GLOBAL: extension modules do not link libpython, they find its symbols in the global scope. */
  void *python = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
  if (python == NULL) {
    return fail("cannot load libpython", dlerror());
  }
  void *ours = dlopen(module, RTLD_NOW | RTLD_LOCAL);
  if (ours == NULL) {
    return fail("cannot load the module", dlerror());
  }
  /* dlsym() returns an object pointer; the union is the way POSIX leaves to make a function of it. */
  union {
    void *symbol;
    BytesMain main;
    AppendInittab append;
    ModuleInit init;
  } bytes_main = { dlsym(python, "Py_BytesMain") }, append = { dlsym(python, "PyImport_AppendInittab") },
    init = { dlsym(ours, "PyInit__ainode") };
  if (bytes_main.symbol == NULL || append.symbol == NULL || init.symbol == NULL) {
    return fail("not a usable libpython", library);
  }
  if (append.append("_ainode", init.init) != 0) {
    return fail("cannot register the module", library);
  }
  return bytes_main.main(argc, argv);
}

int main(int argc, char **argv) {
  open_standard_descriptors();
  if (argc != 7) {
    return fail("usage",
                "ainode-runtime ROLE PARENT_PID PYTHON LIBPYTHON MODULE PYRUNTIME (started by ainode)");
  }
  calm_signals();
  if (follow_parent(argv[2]) != 0) {
    return 1;
  }
  unsetenv("PYTHONHOME"); /* it would name the standard library of another interpreter */
  setenv("PYTHONUNBUFFERED", "1", 1);
  char *python_argv[] = { argv[3], "-c", (char *)bootstrap, argv[1], argv[5], argv[6], NULL };
  if (strcmp(argv[4], "-") != 0) {
    return embed(argv[4], argv[5], 6, python_argv);
  }
  execv(argv[3], python_argv);
  return fail(argv[3], strerror(errno));
}
