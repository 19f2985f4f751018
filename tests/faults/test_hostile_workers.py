"""A model that turns against its host: through the channel, the descriptors it was given, and what it leaves behind.

Its code comes with the request. Whatever it does, it costs itself; other models answer, heartbeats go on.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from caller import Caller, Refused, good
from node import Make, Node, Start
from pipelines import DRIFT, drift, write_pipeline
from processes import children, descriptors, is_stopped, marked, wait_until
from tsblock import decode, encode
from values import check_alive

#: What every attack may use; `page` is the worker's page of the ring, `job` the id of the running job.
PRELUDE = """
import contextlib, ctypes, fcntl, itertools, mmap, os, signal, socket, struct, sys, threading, time
import _ainode
host = mmap.mmap(4, 0, prot=mmap.PROT_READ)
page = mmap.mmap(5, 0)
(head,) = struct.unpack_from("=I", host, 16)
(job,) = struct.unpack_from("=Q", host, 32 + 64 * ((head - 1) % 4))
"""
CODE = "outputs = []\n        'code' in infer_kwargs and exec(infer_kwargs['code'], {'kept': kept})\n"
HOSTILE = "kept = {}\n" + DRIFT.replace("outputs = []\n", CODE)
VALUES = np.arange(20.0).reshape(20, 1)
ANSWER = drift(VALUES, 3)
_numbers = itertools.count(1)
#: Runs an attack: its code -> the answer; the model is made when it is first asked.
Attack = Callable[[str], np.ndarray]


def send(caller: Caller, model: str, code: str) -> None:
    """Asks the hostile model and does not wait."""
    options = {"code": PRELUDE + code} if code else {}
    request = caller.types.TForecastReq(modelId=model, inputData=encode(VALUES), outputLength=3, options=options)
    caller.send("forecast", request)


def take(caller: Caller) -> np.ndarray:
    """The next answer of the hostile model."""
    answer = good(caller.receive()).forecastResult
    (block,) = answer if isinstance(answer, list) else [answer]
    return decode(block)


def ask(caller: Caller, model: str, code: str = "") -> np.ndarray:
    """Asks the hostile model."""
    send(caller, model, code)
    return take(caller)


@pytest.fixture
def late(node: Node) -> Iterator[Caller]:
    """A client of 2.0.10."""
    with node.call("H") as made:
        yield made


@pytest.fixture
def hostile(node: Node, late: Caller, tmp_path: Path) -> Iterator[str]:
    """The id of a model that runs what it is sent; dropped afterwards."""
    model = f"hostile_{next(_numbers)}"
    node.allow(rf"model {model}: ")
    late.register(model, write_pipeline(tmp_path / "hostile", HOSTILE, framework="numpy"))
    yield model
    with node.call("H") as caller:
        caller.drop(model)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check_others(node: Node, caller: Caller, model: str, hostile: str) -> None:
    """Another model answers promptly with pauses in between, for which both sides sleep; the hostile one, too."""
    since = time.monotonic()
    times = []
    for _ in range(10):
        begun = time.monotonic()
        check_alive(caller, model)
        times.append(time.monotonic() - begun)
        time.sleep(0.02)
    assert sorted(times)[5] < (5 if node.sanitized else 0.5), times  # a slow machine may stall now and then
    with node.call("H") as other:
        assert np.allclose(ask(other, hostile), ANSWER)
    node.assert_running(since)


BELLS = {
    "blocks the descriptors": """
for fd in (6, 7):
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)
with contextlib.suppress(OSError):
    os.write(6, struct.pack("=Q", 2**64 - 2))
def steal():
    while True:
        os.read(os.open("/proc/self/fd/7", os.O_RDONLY), 8)
def steal_eventfd():
    while True:
        os.read(7, 8)
for run in (steal, steal_eventfd):
    threading.Thread(target=run, daemon=True).start()
""",
    "fills the pipes": """
def fill(fd):
    with contextlib.suppress(OSError):
        while os.write(fd, bytes(4096)):
            pass
fill(7)
""",
    "rings without end": """
def ring():
    until = time.monotonic() + 3
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            os.write(7, b"x")
        time.sleep(0)
threading.Thread(target=ring, daemon=True).start()
""",
    "pretends to be awake": "struct.pack_into('=I', page, 20, 0)",
}


@pytest.mark.parametrize("attack", BELLS)
def test_bells(node: Node, late: Caller, caller: Caller, make: Make, hostile: str, attack: str) -> None:
    """What a worker does to the descriptors by which the two wake one another does not stop the host."""
    sound = make("identity")
    check_alive(caller, sound)
    node.allow(rf"model {hostile}: ")
    assert np.allclose(ask(late, hostile, BELLS[attack]), ANSWER)
    check_others(node, caller, sound, hostile)


def test_closes_everything(node: Node, late: Caller, caller: Caller, make: Make, hostile: str) -> None:
    """A worker without descriptors: its request ends in time, and the host does not spin on what is closed."""
    sound = make("identity")
    check_alive(caller, sound)
    node.allow(rf"model {hostile}: ")
    send(late, hostile, "os.closerange(0, 64); time.sleep(1)")
    time.sleep(0.2)
    before, begun = cpu_seconds(node.pid), time.monotonic()
    time.sleep(0.7)
    used, passed = cpu_seconds(node.pid) - before, time.monotonic() - begun
    assert used < 0.6 * passed, f"{used:.2f} s of processor time in {passed:.2f} s"
    try:
        assert np.allclose(take(late), ANSWER)
    except Refused as refused:
        assert hostile in refused.message
    check_others(node, caller, sound, hostile)


#: Lies in the ring -> what the reply says about it.
LIES = {
    "more answers than jobs": ("struct.pack_into('=I', page, 16, 1000)", "more answers"),
    # or the host looks only when the true answer rings, which is then one too many
    "an answer to no job": ("struct.pack_into('=I', page, 16, head)", "a job it was not given|more answers"),
    "a message of no kind": ("_ainode.send(99, 0, 0, '')", "does not fit its state"),
    "loaded twice": ("_ainode.send(3, 0, 0, 'dtype=float32')", "does not fit its state"),
    "a child that is none": ("_ainode.send(7, 1, os.getppid(), '')", "does not fit its state"),
    "no message": ("socket.socket(fileno=os.dup(3)).send(b'x' * 10)", "no message"),
    "memory for no job": ("_ainode.send(11, job + 1, 4096, '')", "no job of it needs"),
    "no memory": ("_ainode.send(11, job, 0, '')", "no job of it needs"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies(node: Node, late: Caller, caller: Caller, make: Make, hostile: str, lie: str) -> None:
    """A worker that breaks the protocol is replaced, and the reply says how it did."""
    sound = make("identity")
    code, part = LIES[lie]
    ask(late, hostile)  # so that head is 1: the lie about the answer then names job 0 of an empty place
    node.allow(rf"model {hostile}: ")
    with pytest.raises(Refused) as caught:
        ask(late, hostile, code + "\ntime.sleep(4)")
    assert re.search(part, caught.value.message) and hostile in caught.value.message
    check_others(node, caller, sound, hostile)


def test_listens_no_more(late: Caller, hostile: str) -> None:
    """Its control socket is closed, as that of one that has just died: the next one answers what it cannot be told."""
    values = np.arange(500_000.0).reshape(-1, 1)  # 4 MB, whose memory is sent there
    request = late.types.TForecastReq(modelId=hostile, inputData=encode(values), outputLength=3, options={})
    for _ in range(3):
        assert np.allclose(ask(late, hostile, "os.close(3)"), ANSWER)
        answer = good(late.call("forecast", request)).forecastResult
        (block,) = answer if isinstance(answer, list) else [answer]
        assert np.allclose(decode(block), drift(values, 3))


def test_descriptors_that_come_with_nothing(node: Node, late: Caller, hostile: str) -> None:
    """A message of no bytes may carry descriptors: the host keeps none (looked at after each test)."""
    for count in (1, 4, 60):
        code = f"""
fds = [os.open("/dev/null", os.O_RDONLY) for _ in range({count})]
control = socket.socket(fileno=os.dup(3))
for data in (b"", b"x" * 24):
    control.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{{len(fds)}}i", *fds))])
time.sleep(0.3)
"""
        node.allow(rf"model {hostile}: ")
        ask(late, hostile)
        before = list(descriptors(node.pid).values()).count("/dev/null")
        send(late, hostile, code)
        time.sleep(0.2)

        def closed(wanted: int = before) -> bool:
            return list(descriptors(node.pid).values()).count("/dev/null") == wanted

        wait_until(closed, 10, "the host has closed them")
        assert np.allclose(take(late), ANSWER)


def test_text_that_changes_while_it_is_read(node: Node, late: Caller, hostile: str) -> None:
    """An error's text lies in memory that the worker can still write."""
    code = """
def scribble():
    texts = itertools.cycle([b"a" * 16384, b"\\xff\\xe2" * 8192, b"\\xe2\\x82\\xac" * 5461 + b"a"])
    while True:
        page[4096:4096 + 16384] = next(texts)
if "scribbler" not in kept:
    kept["scribbler"] = threading.Thread(target=scribble, daemon=True)
    kept["scribbler"].start()
raise ValueError("x" * 1900)
"""
    node.allow(rf"model {hostile}: ")
    for _ in range(150):
        with pytest.raises(Refused):
            ask(late, hostile, code)
    node.assert_running(time.monotonic())


def test_asks_for_memory_and_does_not_wait(start_node: Start, tmp_path: Path) -> None:
    """An answer while the request for room still waits: the room, when it comes, is not for what has gone."""
    node = start_node(AIN_SHARED_MEMORY_BYTES=str(16 << 20))
    most = (16 << 20) // 8 * 3
    with node.call("H") as holder, node.call("H") as hasty:
        for caller, name in ((holder, "holder"), (hasty, "hasty")):
            caller.register(name, write_pipeline(tmp_path / name, HOSTILE, framework="numpy"))
            ask(caller, name)
        wait_until(lambda: len(node.workers()) == 2, 10, "there is one process for each")
        workers = set(node.workers())
        hold = "_ainode.receive(); print('holds it', flush=True)\nwhile not os.path.exists({!r}): time.sleep(0.01)"
        for turn in range(3):
            enough = tmp_path / f"enough {turn}"
            send(holder, "holder", f"_ainode.send(11, job, {most}, ''); {hold.format(str(enough))}")
            held = turn + 1
            wait_until(lambda held=held: node.log().count("model holder: holds it") == held, 20, "it has the room")
            assert np.allclose(ask(hasty, "hasty", f"_ainode.send(11, job, {most}, ''); time.sleep(0.1)"), ANSWER)
            enough.touch()
            assert np.allclose(take(holder), ANSWER)
            assert np.allclose(ask(hasty, "hasty"), ANSWER)
        assert set(node.workers()) == workers


def test_last_words_are_whole(node: Node, late: Caller, hostile: str) -> None:
    """The end of what a process has printed is quoted from the beginning of a character on."""
    for shift in range(3):
        node.allow(rf"model {hostile}: ")
        with pytest.raises(Refused) as caught:
            ask(late, hostile, f"print('a' * {shift} + '\\u20ac' * 1200, flush=True); os._exit(3)")
        assert "exit code 3" in caught.value.message
        assert "\N{REPLACEMENT CHARACTER}" not in caught.value.message and "\u20ac" * 500 in caught.value.message


def test_stops_itself(node: Node, late: Caller, caller: Caller, make: Make, hostile: str) -> None:
    """A process that is stopped is as one that computes without end."""
    sound = make("identity")
    node.allow(rf"model {hostile}: ")
    with pytest.raises(Refused, match="5000 ms"):
        ask(late, hostile, "os.kill(os.getpid(), signal.SIGSTOP)")
    later = "threading.Timer(3, os.kill, (os.getpid(), signal.SIGSTOP)).start()"
    assert np.allclose(ask(late, hostile, later), ANSWER)
    wait_until(lambda: any(is_stopped(pid) for pid in node.workers()), 20, "it has stopped itself")
    with pytest.raises(Refused, match="5000 ms"):
        ask(late, hostile)
    check_others(node, caller, sound, hostile)


#: Ways to hide what went wrong -> what the reply says all the same.
EXCUSES = {
    "class Odd(Exception):\n    def __str__(self): raise SystemExit(1)\nraise Odd": "the model raised Odd$",
    "class Odd(Exception):\n    def __str__(self): return 5\nraise Odd": "the model raised Odd$",
    "sys.stderr.close()\nraise ValueError('the reason')": "the model raised ValueError: the reason$",
    "sys.stderr = sys.stdout = 5\nraise ValueError('the reason')": "the model raised ValueError: the reason$",
    "raise ValueError('the\\0 reason')": "the model raised ValueError: the\N{REPLACEMENT CHARACTER} reason$",
    "raise ValueError('the \\x1b[31mreason')": r"the model raised ValueError: the  \[31mreason$",
    "raise ValueError('the reason\\n' * 10_000_000)": "the model raised ValueError: the reason",
}


@pytest.mark.parametrize("code", EXCUSES)
def test_reason_reaches_the_caller(node: Node, late: Caller, hostile: str, code: str) -> None:
    """Whatever the model does to the ways by which it is told; it lives on."""
    node.allow(rf"model {hostile}: ")
    ask(late, hostile, "kept['same'] = True")
    with pytest.raises(Refused, match=EXCUSES[code]):
        ask(late, hostile, code)
    assert np.allclose(ask(late, hostile, "assert kept['same']"), ANSWER)


STUBBORN = {
    "ignores signals": "for n in range(1, 65):\n    with contextlib.suppress(OSError, ValueError):\n"
    "        signal.signal(n, signal.SIG_IGN)",
    "hangs when it is forgotten": "class Hang:\n    def __del__(self):\n        while True: pass\nkept['x'] = Hang()",
    "has many threads": "for _ in range(300): threading.Thread(target=time.sleep, args=(1000,), daemon=False).start()",
    "has an alarm": "signal.signal(signal.SIGALRM, lambda *a: time.sleep(1000))\n"
    "signal.setitimer(signal.ITIMER_REAL, 0.01)",
}


@pytest.mark.parametrize("habit", STUBBORN)
def test_ends_all_the_same(node: Node, late: Caller, tmp_path: Path, habit: str) -> None:
    """DROP MODEL ends the process whatever it thinks of that."""
    before = set(node.workers())
    late.register("stubborn", write_pipeline(tmp_path / "stubborn", HOSTILE, framework="numpy"))
    node.allow("model stubborn: ")
    assert np.allclose(ask(late, "stubborn", STUBBORN[habit]), ANSWER)
    worker = node.worker(*before)
    late.drop("stubborn")
    wait_until(lambda: not os.path.exists(f"/proc/{worker}"), 10, "its process is gone")


@pytest.mark.parametrize(
    "code",
    [
        "os.fork()",
        "os.kill(os.getppid(), signal.SIGSTOP)",
        "os.kill(-1, signal.SIGTERM)",
        "os.kill(0, signal.SIGTERM)",
        "os.killpg(os.getpgid(0), signal.SIGTERM)",
        "open(f'/proc/{os.getppid()}/mem', 'r+b')",
        "open(f'/proc/{os.getppid()}/environ', 'rb').read()",
        "os.memfd_create('x')",
        "open('/dev/shm/x', 'w')",
        "open(f'/proc/{os.getppid()}/oom_score_adj', 'w')",
        "os.chmod('/', 0o700)",
    ],
)
def test_forbidden(node: Node, late: Caller, hostile: str, code: str) -> None:
    """The reply names the sandbox; the process lives on."""
    node.allow(rf"model {hostile}: ")
    ask(late, hostile, "kept['same'] = True")
    with pytest.raises(Refused) as caught:
        ask(late, hostile, code)
    assert "the sandbox of the AINode forbids it" in caught.value.message, caught.value
    assert np.allclose(ask(late, hostile, "assert kept['same']"), ANSWER)


#: Leaves three processes behind, one in a session of its own, one whose parent has ended; they ignore what can be
#: ignored.
LEAVES = """
import os, signal, time
def stay():
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(1000)
    os._exit(0)
if os.fork() == 0:
    stay()
if os.fork() == 0:
    try:
        os.setsid()
    except OSError:  # the sandbox of a template forbids that
        pass
    stay()
middle = os.fork()
if middle == 0:
    if os.fork() == 0:
        stay()
    os._exit(0)
os.waitpid(middle, 0)
"""


def test_sees_no_passwords(start_node: Start, tmp_path: Path) -> None:
    """Keys that the node has from its environment are not in the workers', neither there nor where it began."""
    node = start_node(AIN_CLUSTER_INGRESS_PASSWORD="not for models")
    node.allow("model curious: ")
    with node.call("H") as caller:
        caller.register("curious", write_pipeline(tmp_path / "curious", HOSTILE, framework="numpy"))
        for place in ("os.environ", "open('/proc/self/environ').read()"):
            with pytest.raises(Refused, match="AINODE_UNDER_TEST") as caught:
                words = f"str({place}).replace(chr(0), ' ').split()"
                ask(caller, "curious", f"raise ValueError([word for word in {words} if 'AIN' in word])")
            assert "PASSWORD" not in caught.value.message and "for models" not in caught.value.message


def name(pid: int) -> str:
    """Of the process; empty when it has gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def others(node: Node, prototypes: list[int]) -> list[int]:
    """Processes of the node but host, prototypes and what they hold ready, living or not yet collected."""
    found = {*marked(node.mark), *children(node.pid)} - {node.pid, *prototypes}
    return sorted(pid for pid in found if name(pid) not in ("", "ainode-spare"))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_nothing_survives(start_node: Start, tmp_path: Path, method: str) -> None:
    """Out of the sandbox a model may start processes: they end with its worker, and when the node stops."""
    node = start_node(AIN_WORKER_SANDBOX_OFF_MODELS="free", AIN_WORKER_START_METHOD=method)
    node.allow("model free: ", "the Python runtime .* ended by signal 9")
    prototypes = node.prototypes()
    uri = write_pipeline(tmp_path / "free", HOSTILE, framework="numpy")
    with node.call("H") as caller:
        caller.register("free", uri)
        assert np.allclose(ask(caller, "free", LEAVES), ANSWER)
        wait_until(lambda: len(others(node, prototypes)) == 4, 10, "there are the worker and what it has started")
        caller.drop("free")
        wait_until(lambda: not others(node, prototypes), 10, "what a dropped model had started is gone")
        caller.register("free", uri)
        assert np.allclose(ask(caller, "free", LEAVES), ANSWER)
        with pytest.raises(Refused, match="signal 9"):
            ask(caller, "free", "os.kill(os.getpid(), signal.SIGKILL)")
        wait_until(lambda: not others(node, prototypes), 10, "what a process that died had started is gone")
        assert np.allclose(ask(caller, "free", LEAVES), ANSWER)
        if method == "fork":
            found = others(node, prototypes) + prototypes
            os.kill(prototypes[0], signal.SIGKILL)
            wait_until(lambda: not [pid for pid in found if os.path.exists(f"/proc/{pid}")], 10, "all are gone")
            wait_until(lambda: node.config_node.heartbeats[-1].reason is None, 30, "there is another prototype")
            assert np.allclose(ask(caller, "free", LEAVES), ANSWER)


def test_template_leaves_nothing(start_node: Start, tmp_path: Path) -> None:
    """A template must be able to fork; what its model's code forks while it is loaded ends with it."""
    node = start_node(AIN_MODEL_REPLICAS="2")
    node.allow("model many: ")
    leaves = "\n    ".join(LEAVES.strip().splitlines())
    code = f"import os\ntry:\n    {leaves}\nexcept OSError:\n    pass\n{DRIFT}"
    prototypes = node.prototypes()
    with node.call("H") as caller:
        caller.register("many", write_pipeline(tmp_path / "many", code, framework="numpy"))
        assert np.allclose(ask(caller, "many"), ANSWER)
        caller.drop("many")
    wait_until(lambda: not others(node, prototypes), 10, "nothing of it is left")


#: Too much of something that no limit of the kernel bounds -> what the reply says.
EXCESS = {
    "large files": (
        "for n in range(5):\n    with open(os.environ['HOME'] + f'/{n}', 'wb') as file:\n"
        "        os.posix_fallocate(file.fileno(), 0, 256 << 20)",
        "1073741824",
    ),
    "files without a name": (
        "for n in range(5):\n    path = os.environ['HOME'] + f'/{n}'\n    kept[n] = open(path, 'wb')\n"
        "    os.posix_fallocate(kept[n].fileno(), 0, 256 << 20)\n    os.unlink(path)",
        "1073741824",
    ),
    "many files": ("for n in range(20100): open(os.environ['HOME'] + f'/{n}', 'w').close()", "20000 files"),
    "deep folders": (
        "os.chdir(os.environ['HOME'])\nfor n in range(100):\n    os.mkdir('d')\n    os.chdir('d')\nos.mkdir('e', 0)",
        "20000 files",
    ),
    "many threads": (
        "threading.stack_size(65536)\nfor _ in range(4200):\n"
        "    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
        "threads",
    ),
}


@pytest.mark.parametrize("what", EXCESS)
def test_excess(start_node: Start, models: Path, tmp_path: Path, what: str) -> None:
    """The process is ended with the reason, and not by the limit of time."""
    code, part = EXCESS[what]
    node = start_node()
    node.allow("model hostile: ")
    with node.call("H") as late, node.call() as caller:
        caller.register("sound", (models / "identity").as_uri())
        late.register("hostile", write_pipeline(tmp_path / "hostile", HOSTILE, framework="numpy"))
        check_alive(caller, "sound")
        ask(late, "hostile")
        with pytest.raises(Refused) as caught:
            ask(late, "hostile", code + "\ntime.sleep(30)")
        assert part in caught.value.message and "was ended" in caught.value.message, caught.value
        check_others(node, caller, "sound", "hostile")


#: Maps the running request once more, behind the back of who counts.
MAPS_AGAIN = """
libc = ctypes.CDLL(None)
libc.mremap.restype = ctypes.c_void_p
for line in open("/proc/self/maps"):
    if "ainode-large-request" in line and line not in kept:
        kept[line] = True
        begin, end = (int(word, 16) for word in line.split()[0].split("-"))
        found = libc.mremap(ctypes.c_void_p(begin), ctypes.c_size_t(0), ctypes.c_size_t(end - begin), 1)
        kept[begin, len(kept)] = found
"""


def test_holds_on_to_large_requests(start_node: Start, tmp_path: Path) -> None:
    """Memory that the host has let go of is bounded, too."""
    node = start_node(AIN_SHARED_MEMORY_BYTES=str(16 << 20))
    node.allow("model hoards: ", r"large-request")
    values = np.arange(500_000.0).reshape(-1, 1)  # 4 MB
    with node.call("H") as caller:
        caller.register("hoards", write_pipeline(tmp_path / "hoards", HOSTILE, framework="numpy"))
        request = caller.types.TForecastReq(
            modelId="hoards", inputData=encode(values), outputLength=3, options={"code": PRELUDE + MAPS_AGAIN}
        )
        for _ in range(6):
            with contextlib.suppress(Refused):
                good(caller.call("forecast", request))
        wait_until(lambda: "was ended: it holds" in node.log(), 20, "it is ended")
        wait_until(lambda: np.allclose(ask(caller, "hoards"), ANSWER), 10, "it answers again")


def test_one_large_file(node: Node, late: Caller, hostile: str) -> None:
    """Cut off at 256 MiB."""
    node.allow(rf"model {hostile}: ")
    with pytest.raises(Refused, match="File too large"):
        ask(late, hostile, "open(os.environ['HOME'] + '/x', 'wb').truncate(1 << 30)")
    assert np.allclose(ask(late, hostile), ANSWER)
