"""What a worker may touch once it runs user code: its interpreter, its model, its shared memory, a private folder."""

import contextlib
import functools
import os
import resource
import sys
import tempfile
import time

import _ainode

#: System files that NumPy, PyTorch and the C library read at any time.
_SYSTEM = [
    *("/usr", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache", "/etc/localtime", "/etc/timezone"),
    *("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/mime.types", "/proc", "/sys/devices/system", "/sys/fs/cgroup"),
    "/sys/kernel/mm",
    *("/dev/null", "/dev/urandom", "/dev/random"),
]
#: What CUDA's driver opens for writing; newer ones fail with "OS call failed" where they may not name their threads
#: (/proc/self/task/*/comm) or not open nvidia-uvm-tools.
_CUDA = [
    *("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-caps"),
    *(f"/dev/nvidia{index}" for index in range(16)),
]
_TASKS = "/proc/self/task"
#: Folders that libraries write to, pointed at the private one.
_HOMES = ("HOME", "XDG_CACHE_HOME", "HF_HOME", "TORCHINDUCTOR_CACHE_DIR", "TMPDIR", "MPLCONFIGDIR", "NUMBA_CACHE_DIR")

HINT = (
    "the sandbox of the AINode forbids it: a model may read its own folder and the Python environment (more folders: "
    "ain_worker_read_paths), and may not use the network or start programs (the operator can let it out: "
    "ain_worker_sandbox_off_models)"
)
#: A worker that starts spends no longer than this on what earlier ones have left, in seconds.
_CLEANING_S = 0.03
#: Of one file that a model writes, in bytes; and how many it may have open.
LARGEST_FILE = 256 << 20
MOST_FILES = 1024
_DENIALS = ("Operation not permitted", "Permission denied")
_entered = False


def is_denial(error: BaseException) -> bool:
    """Whether the error looks like something that the sandbox of this process forbade."""
    return _entered and (isinstance(error, PermissionError) or any(words in str(error) for words in _DENIALS))


def _flatten(entry: "os.DirEntry[str]", folder: str) -> None:
    """Removes one entry of the folder; folders in it come to lie beside it."""
    if not entry.is_dir(follow_symlinks=False):
        os.unlink(entry.path)
        return
    os.chmod(entry.path, 0o700)
    with os.scandir(entry.path) as inner:
        for below in inner:
            if below.is_dir(follow_symlinks=False):
                os.chmod(below.path, 0o700)
                os.rename(below.path, os.path.join(folder, f"lifted {time.monotonic_ns()}"))
            else:
                os.unlink(below.path)
    os.rmdir(entry.path)


def remove(folder: str, until: float) -> bool:
    """Removes what a model has left, whatever the depth or the modes; False: not all of it until then."""
    empty = False
    while not empty:
        empty = True
        with os.scandir(folder) as entries:
            for entry in entries:
                if time.monotonic() > until:
                    return False
                empty = False
                _flatten(entry, folder)
    os.rmdir(folder)
    return True


def private_folder() -> str:
    """A folder of this worker alone, below the current directory; removed by later ones once its owner is gone."""
    base = os.getcwd()
    until = time.monotonic() + _CLEANING_S
    for name in os.listdir(base):
        if name.startswith("worker-"):
            owner = name.split("-")[1]
            if not os.path.exists(f"/proc/{owner}"):
                with contextlib.suppress(OSError):  # another worker may be at it, too
                    remove(os.path.join(base, name), until)
    return tempfile.mkdtemp(prefix=f"worker-{os.getpid()}-", dir=base)


def _bound_files() -> None:
    for limit, most in ((resource.RLIMIT_FSIZE, LARGEST_FILE), (resource.RLIMIT_NOFILE, MOST_FILES)):
        now = resource.getrlimit(limit)[1]
        bound = most if now == resource.RLIM_INFINITY else min(most, now)
        resource.setrlimit(limit, (bound, bound))


def _with_targets(paths: set[str]) -> set[str]:
    return paths | {os.path.realpath(path) for path in paths}


@functools.lru_cache(maxsize=1)
def environment() -> frozenset[str]:
    """What every worker of this interpreter may read. The prototype asks, so that the forked have it."""
    paths = {*_SYSTEM, sys.prefix, sys.base_prefix, sys.exec_prefix}
    paths.update(path for path in sys.path if path and os.path.exists(path))
    return frozenset(_with_targets(paths))


def enter(
    model_directory: str, read_paths: list[str], template: bool = False, trusted: bool = False, cuda: bool = False
) -> str:
    """Shuts this process in; returns one line that says what holds, and what the machine lacks or denies.

    template: this process will fork others, which narrow the sandbox to themselves. trusted: it runs no code of users
    (or on a device whose driver needs it): it may make shared memory, and files of any size. cuda: it
    uses a CUDA device.
    """
    if not trusted:
        _bound_files()
    private = private_folder()
    for name in _HOMES:
        os.environ[name] = private
    readable = environment() | _with_targets({model_directory, *read_paths})
    global _entered
    _entered = True
    writable = [private, "/dev/null"]
    if cuda:
        os.open(_TASKS, os.O_PATH | os.O_CLOEXEC)  # stays open: the rule holds while the kernel keeps its node
        writable += [*_CUDA, _TASKS]
    return _ainode.enter_sandbox(sorted(readable), writable, template, trusted)
