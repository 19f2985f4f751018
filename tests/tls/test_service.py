"""The node's own port over TLS: the main job, every way a peer can fail to be one, and what handshakes cost."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from caller import Caller
from certificates import Authority, Certificate
from frames import frame, receive_frame, with_length
from node import Node
from processes import memory_kib, wait_until
from values import COLUMNS

_numbers = itertools.count(1)
#: The end of a connection as a client sees it, with or without the peer's goodbye.
ENDS = (ConnectionError, ssl.SSLError)


@pytest.fixture
def identity(node: Node, models: Path) -> Iterator[str]:
    """A registered model that answers what it is asked."""
    name = f"identity_{next(_numbers)}"
    with node.call() as caller:
        caller.register(name, (models / "identity").as_uri())
        yield name
        caller.drop(name)


def rows(count: int, seed: int = 0) -> np.ndarray:
    """Distinct values, exact in float32."""
    return (np.arange(count * COLUMNS, dtype=np.int64).reshape(count, COLUMNS) % 8191 + seed).astype(np.float32)


def dial(node: Node) -> socket.socket:
    """A plain connection."""
    connection = socket.create_connection(("127.0.0.1", node.port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Waits for the end; FALSE when data came instead."""
    try:
        return connection.recv(1) == b""
    except ENDS:
        return True


class Wire:
    """A TLS client whose every byte passes through the test's hands."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname="127.0.0.1")

    def outgoing(self) -> bytes:
        """What is to be sent now."""
        return self._out.read()

    def hello(self) -> bytes:
        """The first flight."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing()

    def shake_hands(self, connection: socket.socket) -> None:
        """The whole handshake."""
        for data in self.flights(connection):
            connection.sendall(data)

    def flights(self, connection: socket.socket) -> Iterator[bytes]:
        """The handshake, flight by flight: send each, whole or not; receives in between."""
        while True:
            try:
                self.tls.do_handshake()
                yield self.outgoing()
                return
            except ssl.SSLWantReadError:
                yield self.outgoing()
                self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        data = connection.recv(65536)
        if not data:
            raise ConnectionError("closed")
        self._in.write(data)

    def encrypt(self, data: bytes) -> bytes:
        """Records."""
        self.tls.write(data)
        return self.outgoing()

    def receive(self, connection: socket.socket, size: int) -> bytes:
        """So many decrypted bytes."""
        data = b""
        while len(data) < size:
            try:
                data += self.tls.read(size - len(data))
            except ssl.SSLWantReadError:
                self._take(connection)
        return data


# --- the main job


@pytest.mark.parametrize("compact", [False, True], ids=["binary", "compact"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_main_job(
    node: Node, models: Path, authority: Authority, peer_cert: Certificate, version: ssl.TLSVersion, compact: bool
) -> None:
    """Register, show, run, drop, heartbeats: with both protocols and both versions of TLS."""
    context = authority.client(peer_cert)
    context.minimum_version = context.maximum_version = version
    since = time.monotonic()
    name = f"job_{next(_numbers)}"
    with Caller(node.port, node.services["E"], tls=context, compact=compact) as caller:
        assert caller.connection.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
        caller.register(name, (models / "identity").as_uri())
        assert name in caller.states()
        for count in (1, 96, 5000):
            assert np.array_equal(caller.infer(name, rows(count)), rows(count))
        for seed in range(20):  # ahead, in one go
            caller.ask(name, rows(96, seed))
        for seed in range(20):
            assert np.array_equal(caller.answer()[0], rows(96, seed))
        assert caller.heartbeat(sample=True).status == "Running"
        caller.drop(name)
        assert name not in caller.states()
    node.assert_running(since)


@pytest.mark.parametrize("megabytes", [1, 16, 48])
def test_frames_of_any_size(node: Node, identity: str, megabytes: int) -> None:
    """Requests and answers of many records, several at once, the answers left waiting for a while."""
    count = megabytes * (1 << 20) // (4 * COLUMNS)
    if node.sanitized:
        node.allow("no TLS connection: it closed")  # heartbeats give up after 5 s
    with node.call() as caller:
        for seed in range(3):
            caller.ask(identity, rows(count, seed))
        time.sleep(0.5)
        for seed in range(3):
            assert np.array_equal(caller.answer()[0], rows(count, seed))


def test_heartbeat_beside_large_requests(node: Node, identity: str) -> None:
    """Decrypting megabytes does not hold the loop for long."""
    since = time.monotonic()
    values = rows(700_000, 3)
    with node.call() as caller:
        for _ in range(5):
            assert np.array_equal(caller.infer(identity, values), values)
    node.assert_running(since)
    beats = sorted(beat.took for beat in node.beats(since))
    print(f"11 MB requests over TLS: {len(beats)} heartbeats, slowest {beats[-1] * 1e3:.1f} ms")


def test_byte_by_byte(node: Node, peer: ssl.SSLContext) -> None:
    """The handshake and a request that come one byte at a time; the request right behind the handshake."""
    wire = Wire(peer)
    with dial(node) as connection:
        for data in wire.flights(connection):
            for at in range(len(data)):
                connection.sendall(data[at : at + 1])
        for byte in wire.encrypt(frame("E_01_getAIHeartbeat_binary")):
            connection.sendall(bytes([byte]))
        (size,) = struct.unpack(">I", wire.receive(connection, 4))
        assert b"getAIHeartbeat" in wire.receive(connection, size)


def test_request_behind_the_handshake(node: Node, peer: ssl.SSLContext) -> None:
    """The first request in one packet with the end of the handshake: no event announces it."""
    wire = Wire(peer)
    with dial(node) as connection:
        first = wire.flights(connection)
        connection.sendall(next(first))
        last = next(first)
        assert wire.tls.version() == "TLSv1.3"
        connection.sendall(last + wire.encrypt(frame("E_01_getAIHeartbeat_binary") * 3))
        for _ in range(3):
            (size,) = struct.unpack(">I", wire.receive(connection, 4))
            assert b"getAIHeartbeat" in wire.receive(connection, size)


# --- who is let in


def attempt(node: Node, context: ssl.SSLContext) -> str:
    """Why a client with this context gets no answer."""
    with pytest.raises((*ENDS, OSError)) as failure, Caller(node.port, node.services["E"], 20, context) as caller:
        caller.heartbeat()
    return str(failure.value)


def test_client_certificates(node: Node, authority: Authority, stranger: Authority, peer_cert: Certificate) -> None:
    """Only a certificate of the CA that is valid now is accepted; the log says what was wrong."""
    node.allow("no TLS connection: ")
    refused = {
        "shows no certificate": authority.client(),
        "its certificate is not accepted: certificate has expired": authority.client(authority.issue("late", days=-1)),
        "its certificate is not accepted: unable to get local issuer certificate": authority.client(
            stranger.issue("foreign")
        ),
    }
    for reason, context in refused.items():
        seen = len(node.log())
        attempt(node, context)
        wait_until(lambda: reason in node.log()[seen:], 20, reason)  # noqa: B023
    with Caller(node.port, node.services["E"], tls=authority.client(peer_cert)) as caller:
        assert caller.heartbeat().status == "Running"


def test_client_that_does_not_believe_us(node: Node, stranger: Authority, peer_cert: Certificate) -> None:
    """Its alert is quoted."""
    node.allow("no TLS connection: it refused: .*unknown ca")
    seen = len(node.log())
    assert "certificate verify failed" in attempt(node, stranger.client(peer_cert))
    wait_until(lambda: "unknown ca" in node.log()[seen:], 20, "the alert is in the log")


def test_old_versions_are_refused(node: Node, authority: Authority, peer_cert: Certificate) -> None:
    """TLS 1.1 is not spoken, and weak ciphers of 1.2 neither."""
    node.allow("no TLS connection: ")
    old = authority.client(peer_cert)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    attempt(node, old)
    weak = authority.client(peer_cert)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("ECDHE+AES+SHA:@SECLEVEL=0:!AESGCM:!AESCCM")
    attempt(node, weak)


# --- what is no TLS


@pytest.mark.parametrize(
    "data",
    [
        frame("E_01_getAIHeartbeat_binary"),
        frame("E_01_getAIHeartbeat_compact"),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00",
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff" + b"\x01" * 70000,
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x16" * 100,
    ],
    ids=["binary", "compact", "http", "zero", "short hello", "long record", "alert", "repeated"],
)
def test_plain_bytes(node: Node, data: bytes) -> None:
    """Closed at once, with one sentence."""
    node.allow("it speaks no TLS", "no TLS connection: ")
    seen = len(node.log())
    with dial(node) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(data)
        while connection.recv(4096):  # an alert may come first
            pass
    lines = [line for line in node.log()[seen:].splitlines() if "closing the connection" in line]
    assert len(lines) <= 1  # fewer when the log says enough already
    if data[0] != 0x16 and lines:
        assert "it speaks no TLS, and this port speaks nothing else (ain_internal_ssl_enabled)" in lines[0]


def test_bytes_after_the_handshake(node: Node, peer: ssl.SSLContext) -> None:
    """A flipped bit, plain bytes and a replayed record end the connection; oversize frames do as without TLS."""
    node.allow("TLS failed", "what it sends is no TLS", "a frame of 4294967295 bytes", "neither Thrift's strict binary")
    request = frame("E_01_getAIHeartbeat_binary")
    for kind in ("flip", "plain", "replay", "length", "protocol"):
        wire = Wire(peer)
        with dial(node) as connection:
            wire.shake_hands(connection)
            if kind == "length":
                data = wire.encrypt(b"\xff\xff\xff\xff")
            elif kind == "protocol":
                data = wire.encrypt(with_length(b"hello"))
            else:
                good = wire.encrypt(request)
                data = {"flip": good[:-1] + bytes([good[-1] ^ 1]), "plain": request, "replay": good + good}[kind]
            connection.sendall(data)
            with contextlib.suppress(ConnectionError):
                while connection.recv(4096):
                    pass


# --- handshakes that end early or never


def test_cut_at_any_byte(node: Node, peer: ssl.SSLContext) -> None:
    """A client that goes away after any byte of its handshake and first request leaves nothing behind."""
    node.allow("no TLS connection: ")
    step = 17 if node.sanitized else 1
    at, whole = 0, False
    while not whole:
        wire, left = Wire(peer), at
        with dial(node) as connection:
            for data in itertools.chain(wire.flights(connection), [None]):
                sent = data if data is not None else wire.encrypt(frame("E_01_getAIHeartbeat_binary"))
                connection.sendall(sent[:left])
                left -= min(left, len(sent))
                if left == 0:
                    break
            else:
                whole = True
        at += step
    assert at > 1000
    print(f"cut at {at // step} places")
    with node.call() as caller:
        assert caller.heartbeat().status == "Running"


def test_stalled_handshakes(node: Node, peer: ssl.SSLContext) -> None:
    """1,400 peers that begin and go on no further: bounded in number, memory and time; others are served."""
    node.allow("no TLS connection: ", "too many TLS handshakes", "was not finished in time")
    hello = Wire(peer).hello()
    before = memory_kib(node.pid)
    since = time.monotonic()
    stalled = []
    try:
        for index in range(1400):
            connection = dial(node)
            connection.sendall(hello[: len(hello) * (index % 4) // 3])  # none of it up to all of it
            stalled.append(connection)
        with node.call() as caller:
            assert caller.heartbeat().status == "Running"
        grown = memory_kib(node.pid) - before
        held = sum(1 for connection in stalled if not ended(connection))
        print(f"{held} stalled handshakes hold {grown} KiB")
        assert held <= 1024
        if not node.sanitized:
            assert grown < 1024 * 64
        for connection in stalled:
            connection.settimeout(30)
            with contextlib.suppress(ConnectionError):
                while connection.recv(65536):
                    pass
        assert time.monotonic() - since < 60
    finally:
        for connection in stalled:
            connection.close()
    node.assert_running(since)


def ended(connection: socket.socket) -> bool:
    """Whether the peer has closed; looks without waiting."""
    connection.setblocking(False)
    try:
        while True:
            if connection.recv(65536) == b"":
                return True
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_many_handshakes_at_once(node: Node, peer: ssl.SSLContext) -> None:
    """A cluster that starts: hundreds of handshakes together, all of them succeed."""
    wires = []
    for _ in range(30 if node.sanitized else 300):  # the last one's first flight waits for its turn, 10 s at most
        wire, connection = Wire(peer), dial(node)
        flights = wire.flights(connection)
        connection.sendall(next(flights))
        wires.append((wire, connection, flights))
    request = frame("E_01_getAIHeartbeat_binary")
    for wire, connection, flights in wires:
        for data in flights:
            connection.sendall(data)
        connection.sendall(wire.encrypt(request))
    for wire, connection, _ in wires:
        (size,) = struct.unpack(">I", wire.receive(connection, 4))
        assert b"getAIHeartbeat" in wire.receive(connection, size)
        connection.close()


def test_slow_reader(node: Node, identity: str) -> None:
    """Answers that a peer does not take wait; they are whole when it reads on, and others are served meanwhile."""
    values = rows(200_000, 5)
    with node.call() as slow, node.call() as other:
        for _ in range(8):
            slow.ask(identity, values)
        for _ in range(20):
            assert other.heartbeat().status == "Running"
            time.sleep(0.05)
        for _ in range(8):
            assert np.array_equal(slow.answer()[0], values)


def test_goodbye(node: Node, peer: ssl.SSLContext) -> None:
    """close_notify from the client ends the connection with close_notify from the node."""
    with dial(node) as plain, peer.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        connection.sendall(frame("E_01_getAIHeartbeat_binary"))
        assert receive_frame(connection)
        connection.unwrap().close()
