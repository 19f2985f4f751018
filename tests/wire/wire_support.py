"""A running probe server, and frames as raw bytes."""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
FAMILIES = "ACDEFGHT"


class Probe:
    """One running probe server."""

    def __init__(self, binary: Path, options: list[str]) -> None:
        self.process = subprocess.Popen(
            [str(binary), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "G_MESSAGES_DEBUG": "all"},
        )
        self.pending = b""
        self.port = int(self.line().split()[1])
        self.descriptors = self.open_descriptors()

    def line(self, timeout: float = 20) -> str:
        """The next line the probe prints."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self.pending:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.process.stdout], [], [], max(left, 0))
            assert ready, "the probe said nothing in time"
            more = os.read(self.process.stdout.fileno(), 4096)
            assert more, f"the probe ended: {self.process.stderr.read() if self.process.stderr else ''!r}"
            self.pending += more
        text, _, self.pending = self.pending.partition(b"\n")
        return text.decode()

    def open_descriptors(self) -> int:
        """How many descriptors the probe has."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_kib(self) -> int:
        """Resident memory."""
        for text in Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines():
            if text.startswith("VmRSS:"):
                return int(text.split()[1])
        raise AssertionError("no VmRSS")

    def connect(self, timeout: float = 20) -> socket.socket:
        """A raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def stop(self) -> str:
        """Ends the probe, checks that it ended well and kept nothing; returns its log."""
        deadline = time.monotonic() + 10
        while self.open_descriptors() > self.descriptors and time.monotonic() < deadline:
            time.sleep(0.01)
        left = self.open_descriptors() - self.descriptors
        _, log = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, log.decode(errors="replace")
        assert left == 0, f"{left} descriptors are left"
        return log.decode(errors="replace")


def frame(name: str) -> bytes:
    """A recorded frame, length included."""
    return (DATA / "frames" / f"{name}.bin").read_bytes()


def with_seqid(data: bytes, seqid: int) -> bytes:
    """A recorded binary frame with another sequence id."""
    size = struct.unpack(">i", data[8:12])[0]
    return data[: 12 + size] + struct.pack(">i", seqid) + data[16 + size :]


def with_model(data: bytes, model: str) -> bytes:
    """A recorded binary frame whose first string field is replaced."""
    start = 16 + struct.unpack(">i", data[8:12])[0] + 3 + 3
    size = struct.unpack(">i", data[start : start + 4])[0]
    text = model.encode()
    body = data[4:start] + struct.pack(">i", len(text)) + text + data[start + 4 + size :]
    return struct.pack(">i", len(body)) + body


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer when the peer closed."""
    data = bytearray()
    while len(data) < size:
        more = connection.recv(min(size - len(data), 1 << 20))
        if not more:
            break
        data += more
    return bytes(data)


def receive_frame(connection: socket.socket) -> bytes:
    """One frame without its length; empty at the end of the connection."""
    head = receive_exactly(connection, 4)
    if len(head) < 4:
        return b""
    return receive_exactly(connection, struct.unpack(">I", head)[0])


def header(message: bytes) -> tuple[int, str, int]:
    """Type, name and sequence id of a binary message."""
    assert message[:3] == b"\x80\x01\x00", message[:16]
    size = struct.unpack(">i", message[4:8])[0]
    return message[3], message[8 : 8 + size].decode(), struct.unpack(">i", message[8 + size : 12 + size])[0]
