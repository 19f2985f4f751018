/* The module `_ainode`: what Python sees of the host. One file of the stable ABI, used both embedded
 * (PyImport_AppendInittab) and loaded by an interpreter that has no shared libpython.
 *
 * receive(), send(): control messages. open_channel(), serve(handler): the job loop. Single threaded: called
 * from the main thread of a worker only. Arrays given to the handler are views of the host's memory; the
 * view's base is a capsule whose destructor tells when the model has let go of it. */
#include "python_system.h"

#include "channel.h"
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_PASSED 4 /* at most AIN_SLOTS are ever under way */

typedef struct {
  uint64_t job;
  uint8_t *start;
  size_t size;
} PassedRegion;

/* One worker process is one channel: the state is the process's. */
static struct {
  AinChannel channel;
  bool open;
  PassedRegion passed[MAX_PASSED];
  long live_views;
  PyThreadState *released;
} state;

static const int numpy_types[] = { NPY_BOOL, NPY_INT32, NPY_INT64, NPY_FLOAT32, NPY_FLOAT64 };
#define N_DTYPES ((uint32_t)(sizeof numpy_types / sizeof numpy_types[0]))

static int dtype_of_array(PyArrayObject *array) {
  int type = PyArray_TYPE(array);
  if (type == NPY_LONGLONG) {
    return 2;
  }
  for (uint32_t i = 0; i < N_DTYPES; i++) {
    if (numpy_types[i] == type && PyArray_ISNOTSWAPPED(array)) {
      return (int)i;
    }
  }
  return -1;
}

/* --- control messages --- */

static PyObject *py_send(PyObject *self, PyObject *args) {
  (void)self;
  unsigned int type;
  unsigned long long id;
  unsigned long long value;
  const char *text;
  Py_ssize_t size;
  int fd = -1;
  if (!PyArg_ParseTuple(args, "IKKs#|i", &type, &id, &value, &text, &size, &fd)) {
    return NULL;
  }
  if (!ain_control_send(type, id, value, text, (size_t)size, fd)) {
    return PyErr_SetFromErrno(PyExc_OSError);
  }
  Py_RETURN_NONE;
}

static PyObject *py_receive(PyObject *self, PyObject *args) {
  (void)self;
  (void)args;
  AinMessage message;
  char text[AIN_MESSAGE_TEXT_MAX + 1];
  int fd;
  bool alive;
  Py_BEGIN_ALLOW_THREADS;
  alive = ain_control_receive(&message, text, &fd);
  Py_END_ALLOW_THREADS;
  if (!alive) {
    Py_RETURN_NONE; /* the host is gone */
  }
  return Py_BuildValue("IKKs#i", message.type, (unsigned long long)message.id,
                       (unsigned long long)message.value, text, (Py_ssize_t)message.text_size, fd);
}

/* --- memory passed for one job --- */

static bool remember_region(uint64_t job, uint64_t size, int fd) {
  struct stat info;
  bool kept = false;
  if (fd >= 0 && fstat(fd, &info) == 0 && (uint64_t)info.st_size >= size && size > 0) {
    uint8_t *start = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    for (int i = 0; start != MAP_FAILED && i < MAX_PASSED && !kept; i++) {
      if (state.passed[i].start == NULL) {
        state.passed[i] = (PassedRegion){ .job = job, .start = start, .size = size };
        kept = true;
      }
    }
    if (start != MAP_FAILED && !kept) {
      munmap(start, size);
    }
  }
  if (fd >= 0) {
    close(fd);
  }
  return kept;
}

static PassedRegion *find_region(uint64_t job) {
  for (int i = 0; i < MAX_PASSED; i++) {
    if (state.passed[i].start != NULL && state.passed[i].job == job) {
      return &state.passed[i];
    }
  }
  return NULL;
}

static void forget_region(uint64_t job, bool unmap) {
  PassedRegion *region = find_region(job);
  if (region != NULL) {
    if (unmap) {
      munmap(region->start, region->size);
    }
    region->start = NULL; /* a kept one stays mapped for its holder; the host replaces this worker */
  }
}

/* Reads control messages until the job's region is there. */
static PassedRegion *await_region(uint64_t job) {
  PassedRegion *region;
  while ((region = find_region(job)) == NULL) {
    AinMessage message;
    char text[AIN_MESSAGE_TEXT_MAX + 1];
    int fd;
    if (!ain_control_receive(&message, text, &fd)) {
      return NULL;
    }
    if (message.type != AIN_MESSAGE_REGION || !remember_region(message.id, message.value, fd)) {
      return NULL;
    }
  }
  return region;
}

/* --- one job --- */

static void view_released(PyObject *capsule) {
  (void)capsule;
  state.live_views--;
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static const uint8_t *job_data(const AinJob *job) {
  if (job->region == AIN_REGION_PASSED) {
    PassedRegion *region = await_region(job->id);
    return region == NULL ? NULL : region->start;
  }
  return ain_channel_request_slot(&state.channel, job->region);
}

/* New reference: the job's array as the model sees it. */
static PyObject *job_array(const AinJob *job, const uint8_t *data, AinResult *result) {
  npy_intp shape[3] = { (npy_intp)job->batch, (npy_intp)job->rows, (npy_intp)job->columns };
  PyObject *array = PyArray_New(&PyArray_Type, 3, shape, numpy_types[job->dtype], NULL, (void *)data, 0,
                                NPY_ARRAY_CARRAY_RO, NULL);
  if (array == NULL) {
    return NULL;
  }
  PyObject *owner = PyCapsule_New((void *)data, "ainode.slot", view_released);
  if (owner == NULL) {
    Py_DECREF(array);
    return NULL;
  }
  state.live_views++;
  if (PyArray_SetBaseObject((PyArrayObject *)array, owner) < 0) { /* steals owner, also on failure */
    Py_DECREF(array);
    return NULL;
  }
  if ((job->flags & AIN_JOB_COPY_INPUT) != 0) {
    PyObject *copy = PyArray_NewCopy((PyArrayObject *)array, NPY_CORDER);
    result->copied_bytes = job->size;
    Py_DECREF(array);
    return copy;
  }
  const uint8_t *seen = PyArray_DATA((PyArrayObject *)array);
  result->input_offset = (uint64_t)(seen - data);
  return array;
}

static void set_error_text(AinResult *result, const AinJob *job, const char *text, size_t size) {
  uint32_t room = state.channel.worker->slot_size;
  if (size > AIN_MESSAGE_TEXT_MAX) {
    size = AIN_MESSAGE_TEXT_MAX;
  }
  if (size > room) {
    size = room;
  }
  memcpy(ain_channel_reply_slot(&state.channel, job->slot), text, size);
  result->status = AIN_RESULT_ERROR;
  result->region = job->slot;
  result->size = size;
}

static void set_python_error(AinResult *result, const AinJob *job, PyObject *text) {
  PyObject *bytes = PyUnicode_AsEncodedString(text, "utf-8", "replace");
  char *data = NULL;
  Py_ssize_t size = 0;
  if (bytes != NULL && PyBytes_AsStringAndSize(bytes, &data, &size) == 0) {
    set_error_text(result, job, data, (size_t)size);
  } else {
    PyErr_Clear();
    static const char unreadable[] = "the model raised an error whose text cannot be encoded";
    set_error_text(result, job, unreadable, sizeof unreadable - 1);
  }
  Py_XDECREF(bytes);
}

/* Fetches the pending exception as text; used only for faults of the loop itself, models' are formatted in
 * Python. */
static void set_pending_exception(AinResult *result, const AinJob *job) {
  PyObject *type;
  PyObject *value;
  PyObject *trace;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  PyObject *text = value != NULL ? PyObject_Repr(value) : NULL;
  if (text != NULL) {
    set_python_error(result, job, text);
    Py_DECREF(text);
  } else {
    PyErr_Clear();
    static const char unknown[] = "the runtime failed without a reason";
    set_error_text(result, job, unknown, sizeof unknown - 1);
  }
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(trace);
}

/* Asks the host for memory for the result of the running job and waits for it. NULL with *refusal: a sentence
 * to be freed, or NULL when the host is gone. */
static uint8_t *ask_for_room(const AinJob *job, uint64_t size, char **refusal) {
  *refusal = NULL;
  if (!ain_control_send(AIN_MESSAGE_NEED, job->id, size, "", 0, -1)) {
    return NULL;
  }
  for (;;) {
    AinMessage message;
    char text[AIN_MESSAGE_TEXT_MAX + 1];
    int fd;
    if (!ain_control_receive(&message, text, &fd)) {
      return NULL;
    }
    if (message.type == AIN_MESSAGE_REGION && remember_region(message.id, message.value, fd)) {
      continue; /* of the next job */
    }
    void *start = MAP_FAILED;
    if (message.type == AIN_MESSAGE_ROOM && fd >= 0 && message.id == job->id && message.value == size) {
      start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (message.type != AIN_MESSAGE_REGION && fd >= 0) {
      close(fd);
    }
    *refusal = start == MAP_FAILED && message.value == 0 ? strdup(text) : NULL;
    return start != MAP_FAILED ? start : NULL;
  }
}

/* Where the result's bytes go: the reply slot, or memory of its own that the host makes. */
static uint8_t *result_memory(const AinJob *job, AinResult *result, char **refusal) {
  *refusal = NULL;
  if (result->size <= state.channel.worker->slot_size) {
    result->region = job->slot;
    return ain_channel_reply_slot(&state.channel, job->slot);
  }
  uint8_t *start;
  Py_BEGIN_ALLOW_THREADS;
  start = ask_for_room(job, result->size, refusal);
  Py_END_ALLOW_THREADS;
  result->region = AIN_REGION_PASSED;
  return start;
}

static bool copy_into(uint8_t *memory, PyArrayObject *array, int dtype) {
  if (PyArray_IS_C_CONTIGUOUS(array)) {
    memcpy(memory, PyArray_DATA(array), (size_t)PyArray_NBYTES(array));
    return true;
  }
  PyObject *target = PyArray_New(&PyArray_Type, PyArray_NDIM(array), PyArray_DIMS(array), numpy_types[dtype],
                                 NULL, memory, 0, NPY_ARRAY_CARRAY, NULL);
  bool copied = target != NULL && PyArray_CopyInto((PyArrayObject *)target, array) == 0;
  Py_XDECREF(target);
  return copied;
}

static void set_array(AinResult *result, const AinJob *job, PyArrayObject *array) {
  int dtype = dtype_of_array(array);
  if (dtype < 0 || PyArray_NDIM(array) != 3 || PyArray_DIM(array, 0) != (npy_intp)job->batch
      || PyArray_DIM(array, 1) > UINT32_MAX || PyArray_DIM(array, 2) > UINT32_MAX) {
    static const char shape[] =
        "the model's result is not an array [batch, rows, columns] of a supported type";
    set_error_text(result, job, shape, sizeof shape - 1);
    return;
  }
  result->dtype = (uint32_t)dtype;
  result->batch = job->batch;
  result->rows = (uint32_t)PyArray_DIM(array, 1);
  result->columns = (uint32_t)PyArray_DIM(array, 2);
  result->size = (uint64_t)PyArray_NBYTES(array);
  uint64_t size = result->size;
  char *refusal;
  uint8_t *memory = result_memory(job, result, &refusal);
  bool passed = result->region == AIN_REGION_PASSED;
  if (memory == NULL || !copy_into(memory, array, dtype)) {
    PyErr_Clear();
    const char *reason = refusal != NULL ? refusal : "no shared memory for the model's result";
    set_error_text(result, job, reason, strlen(reason));
  }
  free(refusal);
  if (memory != NULL && passed) {
    munmap(memory, size);
  }
}

static PyObject *call_handler(PyObject *handler, const AinJob *job, const uint8_t *data, AinResult *result) {
  PyObject *array = job_array(job, data, result);
  if (array == NULL) {
    return NULL;
  }
  PyObject *options = NULL;
  if (job->options_size > 0) {
    options = PyUnicode_DecodeUTF8((const char *)data + job->options_offset, (Py_ssize_t)job->options_size,
                                   "replace");
  } else {
    options = Py_None;
    Py_INCREF(options);
  }
  PyObject *length = PyLong_FromLong(job->output_length);
  PyObject *answer = NULL;
  if (options != NULL && length != NULL) {
    result->begun_ns = now_ns();
    answer = PyObject_CallFunctionObjArgs(handler, array, options, length, NULL);
    result->ended_ns = now_ns();
  }
  Py_XDECREF(length);
  Py_XDECREF(options);
  Py_DECREF(array);
  return answer;
}

static void run_job(PyObject *handler, const AinJob *job) {
  AinResult result = { .id = job->id, .status = AIN_RESULT_OK };
  long views_before = state.live_views;
  const uint8_t *data = job->dtype < N_DTYPES ? job_data(job) : NULL;
  if (data == NULL) {
    static const char lost[] = "the runtime did not get the memory of this request";
    set_error_text(&result, job, lost, sizeof lost - 1);
    ain_channel_publish(&state.channel, &result);
    return;
  }
  PyObject *answer = call_handler(handler, job, data, &result);
  if (answer == NULL) {
    set_pending_exception(&result, job);
  } else if (PyUnicode_Check(answer)) {
    set_python_error(&result, job, answer);
  } else if (PyArray_Check(answer)) {
    set_array(&result, job, (PyArrayObject *)answer);
  } else {
    static const char kind[] = "the runtime's handler answered neither an array nor a text";
    set_error_text(&result, job, kind, sizeof kind - 1);
  }
  Py_XDECREF(answer);
  bool kept = state.live_views > views_before;
  if (kept) {
    result.flags |= AIN_RESULT_KEPT_INPUT;
  }
  if (job->region == AIN_REGION_PASSED) {
    forget_region(job->id, !kept);
  }
  ain_channel_publish(&state.channel, &result);
}

/* --- the loop --- */

static void release_gil(void *data) {
  (void)data;
  state.released = PyEval_SaveThread();
}

static void retake_gil(void *data) {
  (void)data;
  PyEval_RestoreThread(state.released);
}

/* A control message while serving can only be memory for a coming job; anything else ends the loop. */
static bool take_region(void) {
  AinMessage message;
  char text[AIN_MESSAGE_TEXT_MAX + 1];
  int fd;
  return ain_control_receive(&message, text, &fd) && message.type == AIN_MESSAGE_REGION
         && remember_region(message.id, message.value, fd);
}

static PyObject *py_serve(PyObject *self, PyObject *handler) {
  (void)self;
  if (!state.open) {
    PyErr_SetString(PyExc_RuntimeError, "open_channel() comes first");
    return NULL;
  }
  for (;;) {
    AinJob job;
    bool control_ready;
    if (ain_channel_next(&state.channel, &job, &control_ready, release_gil, retake_gil, NULL)) {
      run_job(handler, &job);
    } else if (!control_ready || !take_region()) {
      break;
    }
    if (PyErr_CheckSignals() != 0) {
      return NULL;
    }
  }
  Py_RETURN_NONE;
}

static PyObject *py_open_channel(PyObject *self, PyObject *args) {
  (void)self;
  (void)args;
  char reason[256];
  if (PyArray_API == NULL && _import_array() < 0) {
    return NULL;
  }
  if (!ain_channel_open(&state.channel, reason, sizeof reason)) {
    PyErr_SetString(PyExc_OSError, reason);
    return NULL;
  }
  state.open = true;
  Py_RETURN_NONE;
}

#ifndef PyBUF_READ /* part of the stable interface whose name older headers keep back */
#define PyBUF_READ 0x100
#endif

/* The mapping lives as long as the process: a view of it needs no owner. */
static PyObject *py_request_slots(PyObject *self, PyObject *args) {
  (void)self;
  (void)args;
  if (!state.open) {
    PyErr_SetString(PyExc_RuntimeError, "open_channel() comes first");
    return NULL;
  }
  Py_ssize_t size = (Py_ssize_t)state.channel.host->slot_size * (Py_ssize_t)AIN_SLOTS;
  return PyMemoryView_FromMemory((char *)(uintptr_t)ain_channel_request_slot(&state.channel, 0), size,
                                 PyBUF_READ);
}

/* --- a worker born by fork --- */

/* Moves the descriptors above AIN_FD_END first, so that no dup2() overwrites one that is still needed. */
static bool place_descriptors(int *fds, int count) {
  for (int i = 0; i < count; i++) {
    fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 64);
    if (fds[i] < 0) {
      return false;
    }
  }
  for (int i = 0; i < count - 1; i++) {
    if (dup2(fds[i], AIN_FD_CONTROL + i) < 0) {
      return false;
    }
  }
  int output = fds[count - 1];
  if (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0) {
    return false;
  }
  return syscall(SYS_close_range, AIN_FD_END, ~0U, 0) == 0;
}

static PyObject *py_become_worker(PyObject *self, PyObject *args) {
  (void)self;
  int fds[AIN_FD_END - AIN_FD_CONTROL + 1];
  int parent;
  _Static_assert(sizeof fds / sizeof fds[0] == 6, "five channel descriptors and the output");
  if (!PyArg_ParseTuple(args, "iiiiiii", &parent, &fds[0], &fds[1], &fds[2], &fds[3], &fds[4], &fds[5])) {
    return NULL;
  }
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || !place_descriptors(fds, 6)) {
    return PyErr_SetFromErrno(PyExc_OSError);
  }
  if (getppid() != (pid_t)parent) {
    _exit(1); /* the prototype ended before prctl() took effect */
  }
  Py_RETURN_NONE;
}

/* --- sandbox --- */

#define MAX_PATHS 256

/* Fills paths with borrowed bytes of `kept`, which owns them. */
static int collect_paths(PyObject *list, bool writable, AinSandboxPath *paths, int count, PyObject *kept) {
  for (Py_ssize_t i = 0; i < PyList_Size(list); i++) {
    PyObject *bytes = NULL;
    if (count >= MAX_PATHS) {
      PyErr_SetString(PyExc_ValueError, "too many paths for the sandbox");
      return -1;
    }
    if (!PyUnicode_FSConverter(PyList_GetItem(list, i), &bytes)) {
      return -1;
    }
    int appended = PyList_Append(kept, bytes);
    Py_DECREF(bytes); /* the list holds it */
    if (appended != 0) {
      return -1;
    }
    paths[count++] = (AinSandboxPath){ .path = PyBytes_AsString(bytes), .writable = writable };
  }
  return count;
}

static PyObject *py_enter_sandbox(PyObject *self, PyObject *args) {
  (void)self;
  PyObject *readable;
  PyObject *writable;
  int template;
  int makes_memory;
  AinSandboxPath paths[MAX_PATHS];
  char applied[512];
  if (!PyArg_ParseTuple(args, "O!O!pp", &PyList_Type, &readable, &PyList_Type, &writable, &template,
                        &makes_memory)) {
    return NULL;
  }
  unsigned flags = (template ? AIN_SANDBOX_TEMPLATE : 0U) | (makes_memory ? AIN_SANDBOX_MAKES_MEMORY : 0U);
  PyObject *kept = PyList_New(0);
  int count = kept == NULL ? -1 : collect_paths(readable, false, paths, 0, kept);
  if (count >= 0) {
    count = collect_paths(writable, true, paths, count, kept);
  }
  PyObject *answer = NULL;
  if (count >= 0) {
    ain_sandbox_enter(paths, (size_t)count, flags, applied, sizeof applied);
    answer = PyUnicode_FromString(applied);
  }
  Py_XDECREF(kept);
  return answer;
}

static PyObject *py_narrow_sandbox(PyObject *self, PyObject *args) {
  (void)self;
  (void)args;
  if (!ain_sandbox_narrow()) {
    return PyErr_SetFromErrno(PyExc_OSError);
  }
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
  { "narrow_sandbox", py_narrow_sandbox, METH_NOARGS,
    "narrow_sandbox(): in a process forked from one that entered as a template: it may signal itself "
    "alone." },
  { "enter_sandbox", py_enter_sandbox, METH_VARARGS,
    "enter_sandbox(readable, writable, template, makes_memory) -> str: from now on this process reads and "
    "writes only below these\n"
    "paths, opens no network, starts no process (a template: no program), touches no other. Says what was "
    "applied, and what\n"
    "this machine lacks or denies." },
  { "become_worker", py_become_worker, METH_VARARGS,
    "become_worker(parent, control, request, reply, wake_worker, wake_host, output): right after fork, puts "
    "the\n"
    "descriptors in place, closes all others and ties this process to the prototype's life." },
  { "send", py_send, METH_VARARGS, "send(type, id, value, text, fd=-1): one control message to the host." },
  { "receive", py_receive, METH_NOARGS,
    "receive() -> (type, id, value, text, fd), or None when the host is gone." },
  { "open_channel", py_open_channel, METH_NOARGS, "Maps the host's shared memory; OSError says why not." },
  { "request_slots", py_request_slots, METH_NOARGS,
    "request_slots() -> memoryview: the memory of all request slots in bytes, read only." },
  { "serve", py_serve, METH_O,
    "serve(handler): calls handler(array, options, output_length) for each job until the host says stop.\n"
    "array: [batch, rows, columns], a view of the request slot. options: JSON text or None.\n"
    "The handler returns an array [batch, rows, columns] or a text that says what went wrong." },
  { NULL, NULL, 0, NULL },
};

static int module_exec(PyObject *module) {
  static const struct {
    const char *name;
    long value;
  } constants[] = {
    { "ABI_VERSION", AIN_ABI_VERSION },
    { "FD_CONTROL", AIN_FD_CONTROL },
    { "FD_REQUEST", AIN_FD_REQUEST },
    { "FD_END", AIN_FD_END },
    { "MESSAGE_HELLO", AIN_MESSAGE_HELLO },
    { "MESSAGE_LOAD", AIN_MESSAGE_LOAD },
    { "MESSAGE_LOADED", AIN_MESSAGE_LOADED },
    { "MESSAGE_FAILED", AIN_MESSAGE_FAILED },
    { "MESSAGE_FORK", AIN_MESSAGE_FORK },
    { "MESSAGE_FORKED", AIN_MESSAGE_FORKED },
    { "MESSAGE_REAPED", AIN_MESSAGE_REAPED },
    { "MESSAGE_READY", AIN_MESSAGE_READY },
    { "MESSAGE_DECLINED", AIN_MESSAGE_DECLINED },
    { "MESSAGE_TEXT_MAX", AIN_MESSAGE_TEXT_MAX },
  };
  for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++) {
    if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) != 0) {
      return -1;
    }
  }
  return 0;
}

static PyModuleDef_Slot slots[] = { { Py_mod_exec, (void *)module_exec }, { 0, NULL } };

static struct PyModuleDef definition = {
  PyModuleDef_HEAD_INIT, .m_name = "_ainode", .m_size = 0, .m_methods = methods, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__ainode(void) {
  return PyModuleDef_Init(&definition);
}
