"""The sandbox of a worker, tried from inside: what it must deny is denied, what models need still works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIB = Path(os.environ.get("AIN_TEST_BUILD", ROOT / "build" / "release")) / "lib"

# Runs in an interpreter of its own; prints one JSON object: what was tried -> "allowed" or the error's name.
PROBE = """
import ctypes, importlib.machinery, importlib.util, json, mmap, os, resource, signal, socket, subprocess, sys, threading
module, package, model, private = sys.argv[1:5]
sys.path.insert(0, package)
loader = importlib.machinery.ExtensionFileLoader("_ainode", module)
spec = importlib.util.spec_from_file_location("_ainode", module, loader=loader)
sys.modules["_ainode"] = importlib.util.module_from_spec(spec); spec.loader.exec_module(sys.modules["_ainode"])
os.chdir(private)
from ainode import sandbox
applied = sandbox.enter(model, [])
outcome = {"applied": applied}
def attempt(name, action):
    try:
        action()
        outcome[name] = "allowed"
    except BaseException as error:
        outcome[name] = type(error).__name__
def thread():
    worker = threading.Thread(target=lambda: None); worker.start(); worker.join()
attempt("read model", lambda: open(os.path.join(model, "model.pt")).read())
attempt("read elsewhere", lambda: open(os.path.join(os.path.dirname(model), "secret")).read())
attempt("write model", lambda: open(os.path.join(model, "model.pt"), "w"))
attempt("write private", lambda: open(os.path.join(os.environ["HOME"], "x"), "w").write("x"))
attempt("list elsewhere", lambda: os.listdir(os.path.dirname(model)))
attempt("internet socket", lambda: socket.socket(socket.AF_INET))
attempt("udp socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
attempt("unix socket", lambda: socket.socket(socket.AF_UNIX))
attempt("socket pair", lambda: socket.socketpair())
attempt("start a program", lambda: subprocess.run(["/bin/true"], check=True))
attempt("signal the parent", lambda: os.kill(os.getppid(), 0))
attempt("signal itself", lambda: os.kill(os.getpid(), 0))
attempt("pidfd of the parent", lambda: os.pidfd_open(os.getppid()))
attempt("a thread", thread)
attempt("import numpy", lambda: __import__("numpy").ones(3).sum())
attempt("memfd", lambda: os.memfd_create("x"))
attempt("shared memory without a file", lambda: mmap.mmap(-1, 4096))
attempt("private memory", lambda: mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
attempt("fork", lambda: os.fork() or os._exit(0))
attempt("priority of the parent", lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19))
attempt("priority of all", lambda: os.setpriority(os.PRIO_USER, 0, 19))
attempt("own priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, 1))
attempt("scheduling of the parent", lambda: os.sched_setscheduler(os.getppid(), os.SCHED_IDLE, os.sched_param(0)))
attempt("processors of the parent", lambda: os.sched_setaffinity(os.getppid(), {0}))
attempt("own processors", lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)))
attempt("limits of the parent", lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1)))
attempt("own limits", lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
attempt("mode of a file", lambda: os.chmod(os.path.join(model, "model.pt"), 0))
attempt("owner of a file", lambda: os.chown(os.path.join(model, "model.pt"), -1, os.getgid()))
attempt("time of a file", lambda: os.utime(os.path.join(model, "model.pt")))
attempt("attribute of a file", lambda: os.setxattr(os.path.join(model, "model.pt"), "user.x", b"y"))
attempt("a session of its own", os.setsid)
attempt("a group of its own", lambda: os.setpgid(0, 0))
def call(function, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), function)
attempt("System V memory", lambda: call("shmget", 0, 4096, 0o600))
attempt("System V queue", lambda: call("msgget", 0, 0o600))
attempt("life beyond the parent", lambda: call("prctl", 1, 0, 0, 0, 0))
attempt("end with the parent", lambda: call("prctl", 1, 9, 0, 0, 0))
large = os.path.join(os.environ["HOME"], "y")
attempt("a large file", lambda: os.truncate(os.open(large, os.O_CREAT | os.O_RDWR), 1 << 29))
attempt("larger limits", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, 1 << 40)))
attempt("memory of the parent", lambda: open(f"/proc/{os.getppid()}/mem", "rb"))
attempt("environment of the parent", lambda: open(f"/proc/{os.getppid()}/environ", "rb").read())
attempt("many files", lambda: [os.open("/dev/null", os.O_RDONLY) for _ in range(1025)])
print(json.dumps(outcome))
"""


# CUDA's driver names its threads through /proc, and opens devices that only workers with a GPU may open.
CUDA_PROBE = (
    PROBE[: PROBE.index("applied = ")]
    + """
cuda = sys.argv[5] == "cuda"
outcome = {"applied": sandbox.enter(model, [], trusted=True, cuda=cuda)}
def name():
    go = threading.Event()
    other = threading.Thread(target=go.wait); other.start()
    try:
        with open(f"/proc/self/task/{other.native_id}/comm", "w") as comm:
            comm.write("named")
        outcome["name of a thread"] = open(f"/proc/self/task/{other.native_id}/comm").read().strip()
    except OSError as error:
        outcome["name of a thread"] = type(error).__name__
    finally:
        go.set()
        other.join()
name()
try:
    open("/proc/self/oom_score_adj", "w").close()
    outcome["elsewhere in proc"] = "allowed"
except OSError as error:
    outcome["elsewhere in proc"] = type(error).__name__
print(json.dumps(outcome))
"""
)

# A template forks two; the first aborts, the second tries what it may not do to the others.
TEMPLATE_PROBE = (
    PROBE[: PROBE.index("applied = ")]
    + """
import _ainode
applied = sandbox.enter(model, [], template=True)
outcome = {"applied": applied}
def fork(run):
    pid = os.fork()
    if pid == 0:
        _ainode.narrow_sandbox()
        run()
        os._exit(99)
    return os.waitpid(pid, 0)[1]
def try_signals():
    for other in (os.getppid(), 1):
        try:
            os.kill(other, 0)
            os._exit(1)
        except PermissionError:
            pass
    try:
        socket.socket(socket.AF_UNIX)
        os._exit(2)
    except PermissionError:
        pass
    os.kill(os.getpid(), 0)
    os._exit(0)
def try_others():
    for attempt in (os.fork, lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1)), os.setsid):
        try:
            attempt()
            os._exit(1)
        except PermissionError:
            pass
    os._exit(0)
outcome["others"] = os.waitstatus_to_exitcode(fork(try_others))
try:
    resource.prlimit(os.getppid(), resource.RLIMIT_CPU, resource.prlimit(os.getppid(), resource.RLIMIT_CPU))
    outcome["template limits its parent"] = "allowed"
except PermissionError:
    outcome["template limits its parent"] = "PermissionError"
outcome["abort"] = os.WTERMSIG(fork(os.abort))
outcome["signals"] = os.waitstatus_to_exitcode(fork(try_signals))
try:
    os.kill(os.getppid(), 0)
    outcome["template signals its parent"] = "allowed"
except PermissionError:
    outcome["template signals its parent"] = "PermissionError"
print(json.dumps(outcome))
"""
)


def run_probe(probe: str, base: Path, *more: str) -> dict[str, str]:
    """What the program prints, run with a model's folder and a private one."""
    model, private = base / "model", base / "private"
    model.mkdir()
    private.mkdir()
    (model / "model.pt").write_text("weights")
    (base / "secret").write_text("not yours")
    python = os.environ.get("AIN_TEST_PYTHON", sys.executable)
    run = subprocess.run(
        [python, "-c", probe, LIB / "_ainode.abi3.so", ROOT / "pyruntime", model, private, *more],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize(("device", "named"), [("cuda", "named"), ("cpu", "PermissionError")])
def test_threads_of_cuda_are_named(tmp_path: Path, device: str, named: str) -> None:
    """A worker on a GPU may name its threads, and write nothing else of /proc; one on the CPU not even that."""
    found = run_probe(CUDA_PROBE, tmp_path, device)
    if "no Landlock" in found["applied"]:
        assert found["name of a thread"] == "named", "what is not restricted works"
    else:
        assert found["name of a thread"] == named
        assert found["elsewhere in proc"] == "PermissionError"


def test_template_and_those_it_forks(tmp_path: Path) -> None:
    """Each may signal itself alone; an abort in a forked one is an abort where the kernel keeps signals inside by
    itself (Landlock 6), and an end by a fault elsewhere."""
    found = run_probe(TEMPLATE_PROBE, tmp_path)
    assert found["signals"] == 0
    assert found["template signals its parent"] == "PermissionError"
    assert found["abort"] in (6, 11)
    assert found["others"] == 0
    assert found["template limits its parent"] == "PermissionError"


# Leaves what is hard to remove, and removes it: as an ordinary user where root runs it.
LEFT_PROBE = (
    PROBE[: PROBE.index("applied = ")]
    + """
import time
base = os.path.join(private, "worker-1-left")
os.mkdir(base, 0o777)
os.chmod(private, 0o777)
os.chmod(base, 0o777)
if os.getuid() == 0:
    os.setresuid(65534, 65534, 65534)
os.chdir(base)
os.symlink(model, "link")
for depth in range(3000):
    os.mkdir("d")
    open("f", "w").close()
    os.chdir("d")
os.mkdir("closed", 0)
os.chdir("/")
gone = sandbox.remove(base, time.monotonic() - 1)
begun = time.monotonic()
outcome = {"too late": gone, "in time": sandbox.remove(base, begun + 60), "kept": os.path.exists(model)}
print(json.dumps({**outcome, "left": os.path.exists(base)}))
"""
)


def test_what_models_leave_can_be_removed(tmp_path: Path) -> None:
    """Thousands of folders in one another, closed ones, links to elsewhere."""
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(0o755)
    found = run_probe(LEFT_PROBE, tmp_path)
    assert found == {"too late": False, "in time": True, "kept": True, "left": False}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return run_probe(PROBE, tmp_path_factory.mktemp("sandbox"))


def test_what_the_kernel_applied_is_said(outcome: dict[str, str]) -> None:
    assert outcome["applied"].startswith("no_new_privs")


@pytest.mark.parametrize(
    "attempt",
    [
        *("internet socket", "udp socket", "unix socket", "start a program", "signal the parent"),
        *("pidfd of the parent", "memfd", "shared memory without a file", "System V memory", "System V queue", "fork"),
        *("priority of the parent", "priority of all", "scheduling of the parent", "processors of the parent"),
        *("limits of the parent", "mode of a file", "owner of a file", "time of a file", "attribute of a file"),
        *("a group of its own", "a session of its own", "life beyond the parent"),
    ],
)
def test_seccomp_denies(outcome: dict[str, str], attempt: str) -> None:
    assert "seccomp" in outcome["applied"]
    assert outcome[attempt] == "PermissionError"


@pytest.mark.parametrize("attempt", ["a large file", "many files"])
def test_limits_deny(outcome: dict[str, str], attempt: str) -> None:
    """What a model can fill a disk with is bounded."""
    assert outcome[attempt] == "OSError"


def test_limits_stay(outcome: dict[str, str]) -> None:
    """Also where root runs the node."""
    assert outcome["larger limits"] == "ValueError"


@pytest.mark.parametrize(
    "attempt", ["read elsewhere", "write model", "list elsewhere", "memory of the parent", "environment of the parent"]
)
def test_landlock_denies(outcome: dict[str, str], attempt: str) -> None:
    """On a kernel without Landlock these are allowed, and the log line must say so."""
    assert outcome[attempt] == ("PermissionError" if ", Landlock" in outcome["applied"] else "allowed")


@pytest.mark.parametrize(
    "attempt",
    [
        *("read model", "write private", "socket pair", "signal itself", "a thread", "import numpy", "private memory"),
        *("own priority", "own processors", "own limits", "end with the parent"),
    ],
)
def test_models_can_still(outcome: dict[str, str], attempt: str) -> None:
    assert outcome[attempt] == "allowed"
