"""The two AINodes of a comparison: how each is installed, started, asked, looked at and stopped."""

from __future__ import annotations

import abc
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TMessageType
from thrift.transport import TSocket, TTransport

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support")]

from standins.confignode import Bindings, ConfigNode, load_bindings, read_frame  # noqa: E402

__all__ = ["Beat", "Bindings", "Node", "Official", "Ours", "load_bindings"]


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Registrar(ConfigNode):
    """A stand-in ConfigNode that remembers when it answered a registration or a restart."""

    def __init__(self, bindings: Bindings) -> None:
        super().__init__(bindings)
        self.answered: float | None = None

    def _answer(self, connection: socket.socket, frame: bytes) -> bool:
        done = super()._answer(connection, frame)
        if b"registerAINode" in frame[:32] or b"restartAINode" in frame[:32]:
            self.answered = time.monotonic()
        return done


class Node(abc.ABC):
    """One installed AINode."""

    name = ""

    def __init__(self, home: Path, bindings: Bindings) -> None:
        self.home = home
        self.registrar = Registrar(bindings)  # of its own: a cluster has one seat
        self.registrar.start()
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        (home / "conf").mkdir(parents=True)
        (home / "conf" / "iotdb-ainode.properties").write_text(
            f"cluster_name=defaultCluster\nain_seed_config_node=127.0.0.1:{self.registrar.port}\n"
            f"ain_rpc_address=127.0.0.1\nain_rpc_port={self.port}\n"
        )

    @abc.abstractmethod
    def command(self) -> list[str]:
        """What starts it, in its home."""

    def environment(self) -> dict[str, str]:
        """Beside our own."""
        return {}

    def start(self, **extra: str) -> float:
        """Starts it; returns the seconds from exec to the ConfigNode's answer."""
        self.registrar.answered = None
        with (self.home / "start.log").open("ab") as log:
            begun = time.monotonic()
            self.process = subprocess.Popen(
                self.command(), cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **self.environment(), **extra},
            )  # fmt: skip
        while self.registrar.answered is None:
            if self.process.poll() is not None or time.monotonic() > begun + 120:
                raise RuntimeError(f"{self.name} did not register: see {self.home / 'start.log'}")
            time.sleep(0.001)
        return self.registrar.answered - begun

    def stop(self) -> None:
        """Ends it and all it started."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def close(self) -> None:
        """Ends it and its ConfigNode."""
        self.stop()
        self.registrar.stop()

    def client(self, timeout: float = 120) -> tuple[Any, TTransport.TFramedTransport]:
        """A Thrift client and its transport, to be closed."""
        plain = TSocket.TSocket("127.0.0.1", self.port)
        plain.setTimeout(int(timeout * 1000))
        transport = TTransport.TFramedTransport(plain)
        transport.open()
        return self.registrar.bindings.ainode_service.Client(TBinaryProtocol(transport)), transport

    def register(self, model_id: str, folder: Path) -> None:
        """CREATE MODEL as the ConfigNode sends it."""
        request = self.registrar.bindings.ainode.TRegisterModelReq(f"file://{folder}", model_id)
        deadline = time.monotonic() + 20
        while True:
            try:
                client, transport = self.client()
                break
            except TTransport.TTransportException:  # it registers first and listens afterwards
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        response = client.registerModel(request)
        transport.close()
        if response.status.code != 200:
            raise RuntimeError(f"{self.name} refuses {model_id}: {response.status}")

    def load(self, program: Path, model: str, *options: str) -> dict[str, float]:
        """Runs bench_load; every wrong answer is fatal."""
        command = [str(program), "--port", str(self.port), "--model", model, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} against {self.name}: {done.stdout}{done.stderr}")
        return dict(json.loads(done.stdout))

    # --- its processes

    def pids(self) -> list[int]:
        """The node's processes, parents first."""
        assert self.process is not None
        found, at = [self.process.pid], 0
        while at < len(found):
            found += children(found[at])
            at += 1
        return found

    def workers(self) -> list[int]:
        """Processes that run models: children of the host's children, but for those forked ahead."""
        assert self.process is not None
        found = [worker for parent in children(self.process.pid) for worker in children(parent)]
        return [pid for pid in found if name_of(pid) != "ainode-spare"]

    def host_kib(self) -> int:
        """Resident memory of the process that listens."""
        assert self.process is not None
        return field_kib(self.process.pid, "status", "VmRSS")

    def service_kib(self) -> int:
        """Memory of all its processes; pages they share count once."""
        return sum(field_kib(pid, "smaps_rollup", "Pss") for pid in self.pids())


class Ours(Node):
    """This project's node: the build's lib and the sbin of the tree, as the package holds them."""

    name = "ours"

    def __init__(self, home: Path, bindings: Bindings, build: Path, python: str) -> None:
        super().__init__(home, bindings)
        self.python = python
        shutil.copytree(build / "lib", home / "lib")
        shutil.copytree(ROOT / "sbin", home / "sbin")

    def command(self) -> list[str]:
        """The script an operator types."""
        return ["/bin/sh", str(self.home / "sbin" / "start-ainode.sh"), "-i", self.python]


class Official(Node):
    """The Python AINode 2.0.5 in DIR: its virtual environment in venv/, its source release in src/iotdb."""

    name = "official"

    def __init__(self, home: Path, bindings: Bindings, directory: Path) -> None:
        super().__init__(home, bindings)
        self.python = str(directory / "venv" / "bin" / "python")
        self.source = directory / "src" / "iotdb" / "iotdb-core" / "ainode"

    def command(self) -> list[str]:
        """What its start script runs."""
        return [self.python, "-m", "ainode.core.script", "start"]

    def environment(self) -> dict[str, str]:
        """Where its modules are."""
        return {"PYTHONPATH": str(self.source), "PYTHONDONTWRITEBYTECODE": "1"}


class Beat:
    """Sends heartbeats, or the same bytes to an echo, and takes the time."""

    def __init__(self, bindings: Bindings, port: int) -> None:
        args = bindings.ainode_service.getAIHeartbeat_args()
        args.req = bindings.ainode.TAIHeartbeatReq(heartbeatTimestamp=1234567890123, needSamplingLoad=False)
        buffer = TTransport.TMemoryBuffer()
        protocol = TBinaryProtocol(buffer)
        protocol.writeMessageBegin("getAIHeartbeat", TMessageType.CALL, 1)
        args.write(protocol)
        protocol.writeMessageEnd()
        message = bytes(buffer.getvalue())
        self.frame = struct.pack(">I", len(message)) + message
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def once(self) -> float:
        """Milliseconds of one; an answer that does not echo the timestamp is an error."""
        begun = time.perf_counter()
        self.connection.sendall(self.frame)
        answer = read_frame(self.connection)
        took = time.perf_counter() - begun
        if struct.pack(">q", 1234567890123) not in answer:
            raise RuntimeError("this is no answer to a heartbeat")
        return took * 1000

    def close(self) -> None:
        """Hangs up."""
        self.connection.close()


def children(pid: int) -> list[int]:
    """Child processes of a process that may be gone."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def name_of(pid: int) -> str:
    """Of a process that may be gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def parent_of(pid: int) -> int:
    """0 when the process is gone."""
    return field_kib(pid, "status", "PPid")


def own_kib(pid: int) -> int:
    """What a process has written to and shares with nobody."""
    return field_kib(pid, "smaps_rollup", "Private_Dirty")


def descriptors(pid: int) -> int:
    """Open files of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def field_kib(pid: int, file: str, name: str) -> int:
    """A field of a file in /proc (sizes are in KiB); 0 when the process is gone."""
    try:
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
