"""A whole node under test: the built host in an installation directory of its own, and a stand-in ConfigNode."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import ssl
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from caller import Caller
from generated import ROOT, Service
from ports import free_port
from processes import (
    children,
    command,
    cpu_ticks,
    descriptors,
    is_spare,
    is_zombie,
    listening_ports,
    marked,
    wait_until,
)
from standins.confignode import Bindings, ConfigNode, Heartbeat

SANITIZER_REPORT = re.compile(
    r"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehaviorSanitizer|runtime error:)"
)
LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) \[\d+:\d+\] (.*)$")
#: Counts what an earlier test caused.
LATE = re.compile(r"more messages about refused requests and connections were left out$")
SUPPRESSIONS = ROOT / "tests" / "support" / "tsan.supp"


@dataclass(frozen=True)
class Trace:
    """What a test must leave as it found it."""

    descriptors: int
    children: tuple[str, ...]
    shared_memory: frozenset[str]
    ports: frozenset[int]

    @property
    def prototypes(self) -> int:
        """How many there were."""
        return self.children.count("prototype")


@dataclass
class Node:
    """One installation directory; start() and stop() as often as a test likes."""

    home: Path
    build: Path
    python: str
    config_node: ConfigNode
    services: dict[str, Service]
    settings: dict[str, str] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()
    """Words before the command line: a program that starts the host in a worse world."""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    mark: str = field(default_factory=lambda: f"AINODE_UNDER_TEST={uuid.uuid4()}")
    log_seen: int = 0
    allowed: list[re.Pattern[str]] = field(default_factory=list)
    baseline: Trace | None = None
    tls: ssl.SSLContext | None = None
    """What callers use."""

    @property
    def sanitized(self) -> bool:
        """Whether the host is slow and large because it watches itself."""
        return self.build.name in ("asan", "tsan")

    # --- life

    @property
    def log_file(self) -> Path:
        """All that the host and its workers say."""
        return self.home.parent / "node.log"

    def install(self) -> None:
        """Makes the directory as a package would."""
        (self.home / "conf").mkdir(parents=True)
        (self.home / "lib").symlink_to(self.build / "lib")
        (self.home / "conf" / "iotdb-ainode.properties").write_text(
            f"ain_seed_config_node={self.config_node.endpoint}\n"
            f"ain_inference_rpc_address=127.0.0.1\nain_inference_rpc_port={self.port}\n"
        )

    def environment(self) -> dict[str, str]:
        """Of the host: its keys, the mark by which its processes are found, and the sanitizers' options."""
        name, _, value = self.mark.partition("=")
        options = {"second_deadlock_stack": "1", "suppressions": str(SUPPRESSIONS), "exitcode": "66"}
        return {
            **os.environ,
            name: value,
            "ASAN_OPTIONS": "detect_leaks=1:exitcode=66:fast_unwind_on_malloc=0",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=66",
            "G_SLICE": "always-malloc",  # GLib's own caches are not seen through
            "TSAN_OPTIONS": ":".join(f"{key}={text}" for key, text in options.items()),
            **self.settings,
        }

    def launch(self, *options: str, descriptors: int | None = None) -> subprocess.Popen[bytes]:
        """Starts the host and does not wait. descriptors: soft limit of open files."""
        if not self.home.exists():
            self.install()
        host = str(self.home / "lib" / "ainode")
        line = [*self.wrapper, host, "start", "--home", str(self.home), "-i", self.python, *options]
        if descriptors is not None:
            line = ["bash", "-c", f'ulimit -Sn {descriptors}; exec "$@"', "bash", *line]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                line, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment()
            )
        return self.process

    def start(self, *options: str, descriptors: int | None = None, timeout: float = 60) -> Node:
        """Starts the host; returns when the cluster sees it Running and its runtime is ready."""
        process = self.launch(*options, descriptors=descriptors)
        since = time.monotonic()

        def ready() -> bool:
            assert process.poll() is None, f"the node ended with {process.returncode}:\n{self.log()[-3000:]}"
            beats = [beat for beat in self.config_node.heartbeats if beat.at > since]
            return bool(beats) and beats[-1].status == "Running" and beats[-1].reason is None

        wait_until(ready, timeout, "the node is Running and its runtime ready")
        self.baseline = self.trace()
        return self

    def stop(self, timeout: float = 60) -> None:
        """SIGTERM; the node must end in order, and nothing of it may stay."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.wait_ended(0, timeout)

    def wait_ended(self, code: int, timeout: float = 60) -> None:
        """The node ends by itself with this exit code, and nothing of it stays."""
        assert self.process is not None
        found = self.process.wait(timeout)
        self.process = None
        assert found == code, f"exit code {found}:\n{self.log()[-5000:]}"
        wait_until(lambda: not marked(self.mark), 10, f"no process of the node is left: {marked(self.mark)}")

    def kill(self) -> None:
        """kill -9 for the host, and for whatever it leaves; never fails."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        for pid in marked(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # --- processes

    @property
    def pid(self) -> int:
        """The host."""
        assert self.process is not None
        return self.process.pid

    def prototypes(self) -> list[int]:
        """The process that forks the workers; a list, for it may be just gone or new."""
        return [pid for pid in children(self.pid) if "prototype" in command(pid) and not is_zombie(pid)]

    def prototype(self) -> int:
        """The one there is."""
        (pid,) = self.prototypes()
        return pid

    def workers(self) -> list[int]:
        """Processes that answer with a model: forked ones and spawned ones, living or not yet collected."""
        templates = self.templates()
        forked = [pid for pid in self._forked() if pid not in templates]
        forked += [pid for template in templates for pid in children(template)]
        return forked + [pid for pid in children(self.pid) if "worker" in command(pid)]

    def worker(self, *others: int) -> int:
        """The only one beside the others, once those that were told to end (of registrations, say) have gone."""
        found: set[int] = set()

        def one() -> bool:
            found.clear()
            found.update(set(self.workers()) - set(others))
            return len(found) == 1

        wait_until(one, 10, f"there is one worker beside {others}, not {found}")
        return found.pop()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Ends when a worker that was there before computes for what was sent inside: of a model that is loaded."""
        before = {pid: cpu_ticks(pid) for pid in self.workers()}
        assert before, "no model is loaded"
        yield
        wait_until(lambda: any(cpu_ticks(pid) >= used + 5 for pid, used in before.items()), 30, "a worker computes")

    def settle(self) -> None:
        """Ends when what other connections have sent before is taken: the node's loop has gone round since."""
        with self.call() as caller:
            for _ in range(3):
                caller.heartbeat()

    def templates(self) -> list[int]:
        """Processes that hold a model for others which they fork; told by what only they have open."""

        def has_pipe(pid: int) -> bool:
            return any(what.startswith("pipe:") for fd, what in descriptors(pid).items() if fd > 7)

        return [pid for pid in self._forked() if has_pipe(pid)]

    def spares(self) -> list[int]:
        """Processes that prototypes forked ahead of their use."""
        return [pid for prototype in self.prototypes() for pid in children(prototype) if is_spare(pid)]

    def _forked(self) -> list[int]:
        return [pid for prototype in self.prototypes() for pid in children(prototype) if not is_spare(pid)]

    def trace(self) -> Trace:
        """What there is now."""
        kinds = sorted("prototype" if "prototype" in command(pid) else f"worker {pid}" for pid in children(self.pid))
        kinds += [f"forked {pid}" for pid in self.workers() + self.templates() if f"worker {pid}" not in kinds]
        shared = frozenset(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else frozenset()
        return Trace(len(descriptors(self.pid)), tuple(kinds), shared, frozenset(listening_ports(self.pid)))

    def difference(self) -> str:
        """How the node differs from what it was after its start; empty when it does not."""
        assert self.baseline is not None
        now = self.trace()
        found = []
        if now.descriptors > self.baseline.descriptors:
            listing = "\n  ".join(f"{fd} {what}" for fd, what in sorted(descriptors(self.pid).items()))
            found.append(f"{now.descriptors} descriptors instead of {self.baseline.descriptors}:\n  {listing}")
        # What looked at the environment as the node started may have been seen, and has gone since.
        if set(now.children) - set(self.baseline.children) or now.prototypes != self.baseline.prototypes:
            found.append(f"processes {now.children} instead of {self.baseline.children}")
        if now.shared_memory - self.baseline.shared_memory:
            found.append(f"left in /dev/shm: {sorted(now.shared_memory - self.baseline.shared_memory)}")
        if now.ports != self.baseline.ports:
            found.append(f"listens on {sorted(now.ports)} instead of {sorted(self.baseline.ports)}")
        return "; ".join(found)

    # --- what it says

    def log(self) -> str:
        """Everything so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def new_log(self) -> str:
        """What came since the last time this was asked."""
        with self.log_file.open("rb") as file:
            file.seek(self.log_seen)
            data = file.read()
        self.log_seen += len(data)
        return data.decode(errors="replace")

    def allow(self, *patterns: str) -> None:
        """Warnings that this test will cause; each is searched in the text of a line."""
        self.allowed += [re.compile(pattern) for pattern in patterns]

    def complaints(self) -> str:
        """What should not have been logged since the last look: sanitizer reports, unannounced warnings, other text."""
        text = self.new_log()
        report = SANITIZER_REPORT.search(text)
        if report:
            return text[max(0, report.start() - 100) : report.start() + 8000]
        bad = []
        for line in text.splitlines():
            match = LOG_LINE.match(line)
            grave = match is None or match[1] in ("WARNING", "ERROR")
            if grave and not (match and any(pattern.search(match[2]) for pattern in [LATE, *self.allowed])):
                bad.append(line)
        self.allowed.clear()
        return "\n".join(bad)

    def check(self) -> None:
        """After a test: the node is as it was, and said nothing unexpected."""
        assert self.process is not None and self.process.poll() is None, f"the node has ended:\n{self.log()[-5000:]}"
        deadline = time.monotonic() + 15
        while (difference := self.difference()) and time.monotonic() < deadline:
            time.sleep(0.02)  # a helper may just look at a file
        complaints = self.complaints()
        assert not difference, f"{difference}\nlog:\n{self.log()[-3000:]}"
        assert not complaints, f"unexpected in the log:\n{complaints}"

    def call(self, family: str = "E", timeout: float = 60, compact: bool = False) -> Caller:
        """A connection of a client of that family."""
        return Caller(self.port, self.services[family], timeout, self.tls, compact)

    # --- heartbeats

    def beats(self, since: float) -> list[Heartbeat]:
        """Heartbeats sent since a time of time.monotonic()."""
        return [beat for beat in self.config_node.heartbeats if beat.at >= since]

    def assert_running(self, since: float, within: float = 4) -> None:
        """Every heartbeat since then was answered in time with Running, and there were some."""
        within *= 10 if self.sanitized else 1
        wait_until(lambda: bool(self.beats(since)), 10, "a heartbeat was sent")
        for beat in self.beats(since):
            assert beat.error is None and beat.echoed, beat
            assert beat.status == "Running", beat
            assert beat.took < within, beat


def new_node(
    directory: Path, build: Path, python: str, bindings: Bindings, services: dict[str, Service], **settings: str
) -> Node:
    """A node that is not yet started, with a ConfigNode that is; settings are the environment's AIN_* keys."""
    config_node = ConfigNode(bindings, heartbeat_s=0.1)
    config_node.start()
    return Node(directory / "an installation" / "here", build, python, config_node, services, settings)


#: Fixtures of tests/faults: make(NAME) -> id of a registered model; start_node(AIN_KEY=value) -> a node of one's own.
Make = Callable[[str], str]
Start = Callable[..., Node]
