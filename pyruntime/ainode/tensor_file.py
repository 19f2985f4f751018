"""The header of a safetensors file: a length, a JSON text, then raw little-endian tensors.

The file comes from outside: every number of the header is checked before a byte of data is touched. Needs NumPy only.
"""

import dataclasses
import json
import math
import mmap
import os
import struct
from typing import Any, Optional

import numpy as np

from ainode.model import ModelError

_HEADER_MAX = 100_000_000  # bytes; the format's own limit
#: Element types of the format: bytes, and NumPy's name where NumPy has it.
TYPES: dict[str, tuple[int, Optional[str]]] = {
    "F64": (8, "<f8"), "F32": (4, "<f4"), "F16": (2, "<f2"), "BF16": (2, None), "I64": (8, "<i8"), "I32": (4, "<i4"),
    "I16": (2, "<i2"), "I8": (1, "i1"), "U8": (1, "u1"), "BOOL": (1, "?"),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where a tensor lies in the mapped file."""

    dtype: str
    shape: list[int]
    begin: int
    end: int


def broken(path: str, what: str) -> ModelError:
    """The error of a file that is cut or damaged: a sentence for the user."""
    return ModelError(f"{path} is not a whole safetensors file: {what}; copy it again")


def open_file(path: str) -> int:
    """A descriptor of the file, to be closed by the caller. ModelError: it cannot be read."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None


def _read_header(path: str, fd: int, total: int) -> tuple[dict[str, Any], int]:
    """The header and the offset at which the data begins, of a file of `total` bytes."""
    if total < 10:
        raise broken(path, f"it has {total} bytes")
    (size,) = struct.unpack("<Q", os.pread(fd, 8, 0))
    if size > _HEADER_MAX or size > total - 8:
        raise broken(path, f"its header is said to have {size} bytes, the file has {total}")
    try:
        header = json.loads(os.pread(fd, size, 8).decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise broken(path, f"its header is no JSON text ({error})") from None
    if not isinstance(header, dict):
        raise broken(path, "its header is no JSON object")
    return header, 8 + size


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _check_entry(path: str, name: str, entry: Any, room: int, allowed: tuple[str, ...]) -> Entry:
    """Type, shape and place of a tensor, counted from the start of the data."""
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in allowed:
        raise ModelError(f"{path}: tensor {name} has the type {dtype}; {', '.join(allowed)} can be used")
    if not isinstance(shape, list) or len(shape) > 8 or not all(_is_count(size) and size > 0 for size in shape):
        raise broken(path, f"tensor {name} has the shape {shape}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(offset) for offset in offsets):
        raise broken(path, f"tensor {name} has the data_offsets {offsets}")
    begin, end = offsets
    if not begin <= end <= room:
        raise broken(path, f"tensor {name} is at {begin} to {end} of {room} bytes of data")
    if end - begin != math.prod(shape) * TYPES[dtype][0]:
        raise broken(path, f"tensor {name} of shape {shape} and type {dtype} has {end - begin} bytes")
    return Entry(dtype, shape, begin, end)


def read_entries(path: str, fd: int, allowed: tuple[str, ...] = tuple(TYPES)) -> dict[str, Entry]:
    """The tensors of an open file, places counted from its first byte. ModelError: not a whole file."""
    total = os.fstat(fd).st_size
    header, start = _read_header(path, fd, total)
    header.pop("__metadata__", None)
    room = total - start
    places = {name: _check_entry(path, name, entry, room, allowed) for name, entry in header.items()}
    used = max((entry.end for entry in places.values()), default=0)
    if used != room:
        raise broken(path, f"its tensors end {room - used} bytes before the file does")
    return {
        name: Entry(entry.dtype, entry.shape, start + entry.begin, start + entry.end) for name, entry in places.items()
    }


def open_entries(path: str, allowed: tuple[str, ...] = tuple(TYPES)) -> tuple[mmap.mmap, dict[str, Entry]]:
    """The mapped file and its tensors, as read_entries() gives them. ModelError: not a whole file."""
    fd = open_file(path)
    try:
        places = read_entries(path, fd, allowed)
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        return mmap.mmap(fd, 0, flags=flags, prot=mmap.PROT_READ), places
    finally:
        os.close(fd)


def open_arrays(path: str) -> dict[str, np.ndarray]:
    """All tensors as read-only arrays on the mapped file; BF16, which NumPy lacks, as float32."""
    mapped, places = open_entries(path)
    arrays = {}
    for name, entry in places.items():
        code = TYPES[entry.dtype][1]
        if code is None:
            halves = np.frombuffer(mapped[entry.begin : entry.end], "<u2").astype("<u4")
            arrays[name] = (halves << 16).view("<f4").reshape(entry.shape)
        else:
            count = math.prod(entry.shape)
            arrays[name] = np.frombuffer(mapped, code, count, entry.begin).reshape(entry.shape)
    return arrays
