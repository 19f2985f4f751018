"""A stand-in ConfigNode that an AINode can register with, and that fails on demand.

    bindings = load_bindings(tmp_path)
    with ConfigNode(bindings) as node:
        node.script("registerAINode", Answer(1014), Answer(400, redirect=("127.0.0.1", other.port)))
        ...
        assert node.calls("registerAINode")[0].args.req.clusterName == "defaultCluster"

Each scripted action serves one call of its method; after them the node behaves: it accepts, keeps and checks
AINodes as a real ConfigNode does. Everything listens on loopback.
"""

from __future__ import annotations

import abc
import contextlib
import importlib
import socket
import ssl
import struct
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Callable

from generated import generate
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TMemoryBuffer

IDL_DIR = Path(__file__).resolve().parents[2] / "host" / "protocol"
SUCCESS, REDIRECT = 200, 400
NOT_INITIALIZED, REJECT_NODE_START, NO_CLUSTER_ID, WARMING_UP = 904, 1002, 1009, 1014
REGISTER_FAILED = {False: 1506, True: 1501}  # by "2.0.8 and later"
REMOVE_FAILED = {False: 1511, True: 1500}


@dataclass
class Bindings:
    """Python modules generated from the project's own IDLs."""

    common: ModuleType
    messages: ModuleType
    service: ModuleType
    ainode: ModuleType
    ainode_service: ModuleType


def load_bindings(directory: Path) -> Bindings:
    """Generate the bindings into directory and import them; once in a process."""
    if "iotdbwire.confignode.ttypes" not in sys.modules:
        generate((IDL_DIR / f"{name}.thrift" for name in ("common", "confignode", "ainode")), directory)
    load = importlib.import_module
    return Bindings(
        load("iotdbwire.common.ttypes"),
        load("iotdbwire.confignode.ttypes"),
        load("iotdbwire.confignode.IConfigNodeRPCService"),
        load("iotdbwire.ainode.ttypes"),
        load("iotdbwire.ainode.IAINodeRPCService"),
    )


# --- what can be scripted


@dataclass
class Answer:
    """A status instead of what the call would do."""

    code: int
    message: str = ""
    redirect: tuple[str, int] | None = None
    config_nodes: list[tuple[str, int]] = field(default_factory=list)
    node_id: int | None = None


@dataclass
class Slow:
    """Behave, after a while."""

    seconds: float


@dataclass
class Cut:
    """Behave, but send only the first bytes of the answer's frame (length included), then close."""

    after: int


@dataclass
class Raw:
    """Send these bytes as they are and close."""

    data: bytes


@dataclass
class Mangle:
    """Behave, but change the answer's message (without its length)."""

    change: Callable[[bytes], bytes]


@dataclass
class Fail:
    """Answer with a TApplicationException."""

    type: int
    message: str


@dataclass
class Silent:
    """Take the request and never answer."""


Action = Answer | Slow | Cut | Raw | Mangle | Fail | Silent


@dataclass
class Call:
    """One request received."""

    method: str
    args: Any
    at: float
    compact: bool
    raw: bytes


@dataclass
class Heartbeat:
    """One heartbeat sent to the AINode."""

    at: float
    took: float
    status: str | None
    reason: str | None
    echoed: bool
    error: str | None = None


@dataclass
class AINode:
    """A registered AINode."""

    id: int
    configuration: Any
    version: Any


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


def read_frame(connection: socket.socket) -> bytes:
    """Read one frame's contents."""
    (size,) = struct.unpack(">I", _receive(connection, 4))
    if size > 1 << 26:
        raise ConnectionError("oversize")
    return _receive(connection, size)


class Listener(abc.ABC):
    """A TCP service with one thread a connection; subclasses serve()."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.host = host
        self.port = port
        self._socket: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        self.tls: ssl.SSLContext | None = None
        """Set: every connection begins with a TLS handshake."""
        self.refused: list[str] = []
        """Why handshakes failed."""

    def start(self) -> None:
        """Listen; with port 0, on a free one."""
        self.stopping.clear()
        self._socket = socket.socket(self._family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((self.host, self.port))
        self._socket.listen(64)
        self.port = self._socket.getsockname()[1]
        self._spawn(self._accept, self._socket)

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listening: socket.socket) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
            self._spawn(self._run, connection)

    def _run(self, connection: socket.socket) -> None:
        secured = connection
        try:
            if self.tls is not None:
                connection.settimeout(5)
                secured = self.tls.wrap_socket(connection, server_side=True)
                secured.settimeout(None)
                with self._lock:
                    self._open.discard(connection)
                    self._open.add(secured)
            self.serve(secured)
        except ssl.SSLError as failure:
            self.refused.append(str(failure))
        except OSError:
            pass
        finally:
            with self._lock:
                self._open -= {connection, secured}
            secured.close()
            connection.close()

    @abc.abstractmethod
    def serve(self, connection: socket.socket) -> None:
        """Serve one connection until it ends."""

    def stop(self) -> None:
        """Stop listening and close every connection."""
        self.stopping.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=5)
        self._threads.clear()

    @property
    def endpoint(self) -> str:
        """host:port, as configuration files have it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __enter__(self) -> Any:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()


class RawService(Listener):
    """Not a ConfigNode: says `banner` at once, and `answer` when something was sent to it."""

    def __init__(self, banner: bytes = b"", answer: bytes | None = None, close: bool = True) -> None:
        super().__init__()
        self.banner, self.answer, self.close = banner, answer, close

    def serve(self, connection: socket.socket) -> None:
        """Send the texts, then close or stay silent."""
        connection.sendall(self.banner)
        if self.answer is not None:
            connection.recv(65536)
            connection.sendall(self.answer)
        if not self.close:
            self.stopping.wait()
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(1)
        while connection.recv(65536):
            pass


class ScriptedService(Listener):
    """A Thrift service that answers as its subclass behaves, but for what a test scripts."""

    def __init__(self, bindings: Any, host: str, port: int, compact: bool) -> None:
        super().__init__(host, port)
        self.bindings = bindings
        self.compact = compact
        self.requests: list[Any] = []
        """What record() keeps; each has a `method`."""
        self._scripts: dict[str, deque[Action]] = {}

    @abc.abstractmethod
    def record(self, method: str, args: Any, frame: bytes) -> None:
        """Keep a request."""

    @abc.abstractmethod
    def _behave(self, method: str, args: Any, answer: Answer | None) -> Any:
        """The result of a call."""

    # --- for tests

    def script(self, method: str, *actions: Action) -> None:
        """Queue what the next calls of a method meet."""
        self._scripts.setdefault(method, deque()).extend(actions)

    def calls(self, method: str) -> list[Any]:
        """Requests of one method so far."""
        return [call for call in self.requests if call.method == method]

    # --- serving

    def serve(self, connection: socket.socket) -> None:
        """Answer frame after frame."""
        while True:
            frame = read_frame(connection)
            compact = frame[:1] == b"\x82"
            if compact != self.compact:
                return  # as the Java server does
            if not self._answer(connection, frame):
                return

    def _protocol(self, buffer: TMemoryBuffer) -> Any:
        return TCompactProtocol(buffer) if self.compact else TBinaryProtocol(buffer)

    def _answer(self, connection: socket.socket, frame: bytes) -> bool:
        protocol = self._protocol(TMemoryBuffer(frame))
        method, _, seqid = protocol.readMessageBegin()
        args_class = getattr(self.bindings.service, f"{method}_args", None)
        if args_class is None:
            unknown = TApplicationException(TApplicationException.UNKNOWN_METHOD, f"Invalid method name: '{method}'")
            return self._send(connection, self._encode(method, seqid, unknown, TMessageType.EXCEPTION))
        args = args_class()
        args.read(protocol)
        action = self._next_action(method)
        self.record(method, args, frame)
        if isinstance(action, Silent):
            self.stopping.wait()
            return False
        if isinstance(action, Slow):
            self.stopping.wait(action.seconds)
        if isinstance(action, Raw):
            connection.sendall(action.data)
            return False
        if isinstance(action, Fail):
            failure = TApplicationException(action.type, action.message)
            return self._send(connection, self._encode(method, seqid, failure, TMessageType.EXCEPTION))
        result = getattr(self.bindings.service, f"{method}_result")()
        result.success = self._behave(method, args, action if isinstance(action, Answer) else None)
        message = self._encode(method, seqid, result, TMessageType.REPLY)
        if isinstance(action, Cut):
            connection.sendall((struct.pack(">I", len(message)) + message)[: action.after])
            return False
        if isinstance(action, Mangle):
            message = action.change(message)
        return self._send(connection, message)

    def _next_action(self, method: str) -> Action | None:
        queue = self._scripts.get(method)
        return queue.popleft() if queue else None

    def _encode(self, method: str, seqid: int, body: Any, kind: int) -> bytes:
        buffer = TMemoryBuffer()
        protocol = self._protocol(buffer)
        protocol.writeMessageBegin(method, kind, seqid)
        body.write(protocol)
        protocol.writeMessageEnd()
        return bytes(buffer.getvalue())

    @staticmethod
    def _send(connection: socket.socket, message: bytes) -> bool:
        connection.sendall(struct.pack(">I", len(message)) + message)
        return True


class ConfigNode(ScriptedService):
    """A ConfigNode with one seat for an AINode."""

    def __init__(
        self,
        bindings: Bindings,
        *,
        cluster_name: str = "defaultCluster",
        host: str = "127.0.0.1",
        port: int = 0,
        compact: bool = False,
        next_id: int = 2,
        modern: bool = False,
        versions: dict[int, tuple[str, str]] | None = None,
        heartbeat_s: float | None = None,
    ) -> None:
        super().__init__(bindings, host, port, compact)
        self.cluster_name = cluster_name
        self.cluster_id = "3a7c5cb4-7d5c-4b3a-9a58-6f5f0c5c0001"
        self.next_id = next_id
        self.modern = modern
        """Status numbers of 2.0.8 and later."""
        self.versions = versions if versions is not None else {0: ("2.0.5", "abc1234"), 1: ("2.0.5", "abc1234")}
        """Node id -> version, build; id 0 is the ConfigNode, the others are DataNodes."""
        self.leader: ConfigNode | None = None
        """Set: this one is a follower and redirects."""
        self.nodes: dict[int, AINode] = {}
        self.beat_tls: ssl.SSLContext | None = None
        """Set: heartbeats go over TLS."""
        self.heartbeats: list[Heartbeat] = []
        self._heartbeat_s = heartbeat_s
        self._arrived = threading.Condition()

    # --- for tests

    def wait_for_calls(self, method: str, count: int, timeout: float = 10) -> list[Call]:
        """Wait until a method was called count times."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.calls(method)) >= count, timeout):
                raise AssertionError(f"{len(self.calls(method))} calls of {method} instead of {count}")
        return self.calls(method)

    # --- serving

    def start(self) -> None:
        """Listen, and send heartbeats where asked to."""
        super().start()
        if self._heartbeat_s is not None:
            self._spawn(self._beat)

    def record(self, method: str, args: Any, frame: bytes) -> None:
        """Keep the request, and wake who waits for it."""
        with self._arrived:
            self.requests.append(Call(method, args, time.monotonic(), self.compact, frame))
            self._arrived.notify_all()

    # --- behaviour

    def _status(self, code: int, message: str = "", redirect: tuple[str, int] | None = None) -> Any:
        common = self.bindings.common
        return common.TSStatus(
            code=code,
            message=message or None,
            redirectNode=common.TEndPoint(*redirect) if redirect is not None else None,
        )

    def _config_nodes(self, extra: list[tuple[str, int]] | None = None) -> list[Any]:
        common = self.bindings.common
        places = extra if extra else [(self.host, self.port)]
        return [
            common.TConfigNodeLocation(i, common.TEndPoint(*place), common.TEndPoint(place[0], 10720))
            for i, place in enumerate(places)
        ]

    def _behave(self, method: str, args: Any, answer: Answer | None) -> Any:
        if answer is None and self.leader is not None:
            answer = Answer(REDIRECT, "not the leader", (self.leader.host, self.leader.port))
        handler = {
            "registerAINode": self._register,
            "restartAINode": self._restart,
            "removeAINode": self._remove,
            "getAINodeConfiguration": self._get_configuration,
            "showCluster": self._show_cluster,
            "getClusterId": self._get_cluster_id,
            "showVariables": self._show_variables,
        }[method]
        return handler(args, answer)

    def _register(self, args: Any, answer: Answer | None) -> Any:
        request = args.req
        node_id = None
        if answer is None:
            answer = self._admit(request)
            if answer.code == SUCCESS:
                node_id = self.next_id
                self.next_id += 1
                self.nodes[node_id] = AINode(node_id, request.aiNodeConfiguration, request.versionInfo)
                request.aiNodeConfiguration.location.aiNodeId = node_id
        else:
            node_id = answer.node_id
        status = self._status(answer.code, answer.message, answer.redirect)
        return self.bindings.messages.TAINodeRegisterResp(status, self._config_nodes(answer.config_nodes), node_id)

    def _admit(self, request: Any) -> Answer:
        if request.versionInfo is None:
            raise ConnectionError("a real ConfigNode dereferences versionInfo")
        if request.clusterName != self.cluster_name:
            return Answer(REJECT_NODE_START, f"Reject AINode start. The ClusterName {request.clusterName} differs.")
        wanted = request.aiNodeConfiguration.location.internalEndPoint
        for node in self.nodes.values():
            if node.configuration.location.internalEndPoint == wanted:
                return Answer(REJECT_NODE_START, "Reject AINode start. Because there are conflicts of ip:port.")
        if self.nodes:
            return Answer(REGISTER_FAILED[self.modern], "There is already one AINode in the cluster.")
        return Answer(SUCCESS, "Accept Node registration.")

    def _restart(self, args: Any, answer: Answer | None) -> Any:
        request = args.req
        node_id = request.aiNodeConfiguration.location.aiNodeId
        if answer is None:
            if request.clusterName != self.cluster_name:
                answer = Answer(REJECT_NODE_START, f"Reject AINode restart. ClusterName {request.clusterName} differs.")
            elif node_id not in self.nodes:
                answer = Answer(REJECT_NODE_START, f"there are no corresponding AINode(whose nodeId={node_id})")
            else:
                self.nodes[node_id] = AINode(node_id, request.aiNodeConfiguration, request.versionInfo)
                answer = Answer(SUCCESS, "Accept Node restart.")
        status = self._status(answer.code, answer.message, answer.redirect)
        return self.bindings.messages.TAINodeRestartResp(status, self._config_nodes(answer.config_nodes))

    def _remove(self, args: Any, answer: Answer | None) -> Any:
        if answer is None:
            node_id = args.req.aiNodeLocation.aiNodeId
            if self.modern and self.nodes:
                node_id = next(iter(self.nodes))
            known = self.nodes.pop(node_id, None) is not None
            answer = Answer(SUCCESS, "Server accepted the request") if known else Answer(REMOVE_FAILED[self.modern])
        return self._status(answer.code, answer.message, answer.redirect)

    def _get_configuration(self, args: Any, answer: Answer | None) -> Any:
        answer = answer or Answer(SUCCESS)
        wanted = {i: n.configuration for i, n in self.nodes.items() if args.aiNodeId in (-1, i)}
        status = self._status(answer.code, answer.message, answer.redirect)
        return self.bindings.messages.TAINodeConfigurationResp(status, wanted if answer.code == SUCCESS else None)

    def _show_cluster(self, args: Any, answer: Answer | None) -> Any:
        common, messages = self.bindings.common, self.bindings.messages
        if answer is not None and answer.code != SUCCESS:
            status = self._status(answer.code, answer.message, answer.redirect)
            return messages.TShowClusterResp(status, [], [], [], {}, {})
        place = common.TEndPoint(self.host, 6667)
        data_nodes = [common.TDataNodeLocation(i, place, place, place, place, place) for i in self.versions if i > 0]
        ai_nodes = [node.configuration.location for node in self.nodes.values()]
        ids = [*self.versions, *self.nodes]
        versions = {i: messages.TNodeVersionInfo(*v) for i, v in self.versions.items()}
        versions |= {i: node.version for i, node in self.nodes.items()}
        return messages.TShowClusterResp(
            self._status(SUCCESS), self._config_nodes(), data_nodes, ai_nodes, {i: "Running" for i in ids}, versions
        )

    def _get_cluster_id(self, args: Any, answer: Answer | None) -> Any:
        answer = answer or Answer(SUCCESS)
        status = self._status(answer.code, answer.message, answer.redirect)
        return self.bindings.messages.TGetClusterIdResp(status, self.cluster_id)

    def _show_variables(self, args: Any, answer: Answer | None) -> Any:
        messages = self.bindings.messages
        answer = answer or Answer(SUCCESS)
        status = self._status(answer.code, answer.message, answer.redirect)
        known = messages.TClusterParameters(self.cluster_name) if answer.code == SUCCESS else None
        return messages.TShowVariablesResp(status, known)

    # --- heartbeats

    def _beat(self) -> None:
        connections: dict[int, socket.socket] = {}
        count = 0
        while not self.stopping.wait(self._heartbeat_s):
            for node in list(self.nodes.values()):
                count += 1
                self.heartbeats.append(self._beat_once(node, connections, count % 10 == 0))
        for connection in connections.values():
            connection.close()

    def _beat_once(self, node: AINode, connections: dict[int, socket.socket], sample: bool) -> Heartbeat:
        place = node.configuration.location.internalEndPoint
        started = time.monotonic()
        stamp = time.perf_counter_ns()
        args = self.bindings.ainode_service.getAIHeartbeat_args()
        args.req = self.bindings.ainode.TAIHeartbeatReq(heartbeatTimestamp=stamp, needSamplingLoad=sample)
        try:
            if node.id not in connections:
                plain = socket.create_connection((place.ip, place.port), timeout=5)
                connections[node.id] = (
                    self.beat_tls.wrap_socket(plain, server_hostname=place.ip) if self.beat_tls is not None else plain
                )
            connection = connections[node.id]
            self._send(connection, self._encode("getAIHeartbeat", count_of(stamp), args, TMessageType.CALL))
            protocol = self._protocol(TMemoryBuffer(read_frame(connection)))
            protocol.readMessageBegin()
            result = self.bindings.ainode_service.getAIHeartbeat_result()
            result.read(protocol)
        except OSError as failure:
            broken = connections.pop(node.id, None)
            if broken is not None:
                broken.close()
            return Heartbeat(started, time.monotonic() - started, None, None, False, str(failure))
        reply = result.success
        echoed = reply.heartbeatTimestamp == stamp
        return Heartbeat(started, time.monotonic() - started, reply.status, reply.statusReason, echoed)


def count_of(stamp: int) -> int:
    """Give a sequence id that differs from beat to beat."""
    return stamp & 0x7FFFFFFF
