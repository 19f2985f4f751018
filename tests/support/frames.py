"""Thrift frames as raw bytes: recorded ones, changed ones, and what comes back."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "data"


def frame(name: str) -> bytes:
    """A recorded frame, length included."""
    return (DATA / "frames" / f"{name}.bin").read_bytes()


def with_length(body: bytes) -> bytes:
    """A message as a frame."""
    return struct.pack(">I", len(body)) + body


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
    return with_length(body)


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
