"""Reads `model.safetensors`: a length, a JSON header, then raw little-endian tensors.

The file comes from outside: every number of the header is checked before a byte of data is read. The tensors are copied
once, as float32, into sealed memory: whatever happens to the file afterwards, and whoever writes by mistake, they stay
as they were loaded; and processes forked from the one that loaded them share that memory.
"""

import fcntl
import json
import math
import mmap
import os
import struct
import warnings
from typing import Any

import torch

from ainode.model import ModelError

_HEADER_MAX = 100_000_000  # bytes; the format's own limit
_CHUNK = 1 << 24  # bytes that are converted at once
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def _broken(path: str, what: str) -> ModelError:
    return ModelError(f"{path} is not a whole safetensors file: {what}; copy it again")


def _read_header(path: str, fd: int) -> tuple[dict[str, Any], int, int]:
    """The header, the offset at which the data begins, and the bytes of data."""
    total = os.fstat(fd).st_size
    if total < 10:
        raise _broken(path, f"it has {total} bytes")
    (size,) = struct.unpack("<Q", os.pread(fd, 8, 0))
    if size > _HEADER_MAX or size > total - 8:
        raise _broken(path, f"its header is said to have {size} bytes, the file has {total}")
    try:
        header = json.loads(os.pread(fd, size, 8).decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _broken(path, f"its header is no JSON text ({error})") from None
    if not isinstance(header, dict):
        raise _broken(path, "its header is no JSON object")
    return header, 8 + size, total - 8 - size


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _check_entry(path: str, name: str, entry: Any, room: int) -> tuple[torch.dtype, list[int], int, int]:
    """Type, shape and place of a tensor."""
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if dtype not in _DTYPES:
        raise ModelError(f"{path}: tensor {name} has the type {dtype}; {', '.join(_DTYPES)} can be used")
    if not isinstance(shape, list) or len(shape) > 8 or not all(_is_count(size) and size > 0 for size in shape):
        raise _broken(path, f"tensor {name} has the shape {shape}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(offset) for offset in offsets):
        raise _broken(path, f"tensor {name} has the data_offsets {offsets}")
    begin, end = offsets
    if not begin <= end <= room:
        raise _broken(path, f"tensor {name} is at {begin} to {end} of {room} bytes of data")
    if end - begin != math.prod(shape) * torch.empty(0, dtype=_DTYPES[dtype]).element_size():
        raise _broken(path, f"tensor {name} of shape {shape} and type {dtype} has {end - begin} bytes")
    return _DTYPES[dtype], shape, begin, end


def _copy(path: str, source: int, offset: int, size: int, target: int) -> None:
    """Appends bytes of the file to the target."""
    while size > 0:
        copied = os.sendfile(target, source, offset, size)
        if copied == 0:
            raise _broken(path, "it became shorter while it was read")
        offset += copied
        size -= copied


def _convert(path: str, source: int, dtype: torch.dtype, offset: int, size: int, target: int) -> None:
    """Appends elements of another type, as float32."""
    while size > 0:
        data = bytearray(os.pread(source, min(size, _CHUNK), offset))
        if len(data) < min(size, _CHUNK):
            raise _broken(path, "it became shorter while it was read")
        left = memoryview(torch.frombuffer(data, dtype=dtype).to(torch.float32).numpy()).cast("B")
        while left:
            left = left[os.write(target, left) :]
        offset += len(data)
        size -= len(data)


def _seal(memory: int) -> mmap.mmap:
    """Maps finished memory; from now on nobody can change it."""
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
    return mmap.mmap(memory, 0, flags=flags, prot=mmap.PROT_READ)


def _load(path: str, source: int) -> dict[str, torch.Tensor]:
    header, start, room = _read_header(path, source)
    header.pop("__metadata__", None)
    places = {name: _check_entry(path, name, entry, room) for name, entry in header.items()}
    used = max((end for _, _, _, end in places.values()), default=0)
    if used != room:
        raise _broken(path, f"its tensors end {room - used} bytes before the file does")
    if not places:
        return {}
    memory = os.memfd_create("weights", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for dtype, _, begin, end in places.values():
            if dtype == torch.float32:
                _copy(path, source, start + begin, end - begin, memory)
            else:
                _convert(path, source, dtype, start + begin, end - begin, memory)
        mapped = _seal(memory)
    finally:
        os.close(memory)
    tensors = {}
    offset = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the memory is read-only is the point
        for name, (_, shape, _, _) in places.items():
            count = math.prod(shape)
            tensors[name] = torch.frombuffer(mapped, dtype=torch.float32, count=count, offset=offset).view(shape)
            offset += 4 * count
    return tensors


def open_tensors(path: str) -> dict[str, torch.Tensor]:
    """All tensors of the file as float32, in sealed memory: do not write to them. ModelError: the file is not whole."""
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return _load(path, source)
    except OSError as error:
        raise ModelError(f"{path} cannot be loaded: {error.strerror}") from None
    finally:
        os.close(source)


class Weights:
    """The tensors of a file, taken by name with the shape that config.json implies, onto the device."""

    def __init__(self, path: str, device: torch.device) -> None:
        self.path = path
        self.device = device
        self._tensors = open_tensors(path)

    def take(self, name: str, *shape: int) -> torch.Tensor:
        """The tensor of that name and shape; ModelError says what is there instead."""
        tensor = self._tensors.pop(name, None)
        if tensor is None:
            raise ModelError(f"{self.path} lacks the tensor {name} that config.json implies")
        if tuple(tensor.shape) != shape:
            raise ModelError(
                f"{self.path}: tensor {name} has the shape {list(tensor.shape)}, config.json implies {list(shape)}"
            )
        return tensor.to(self.device)

    def finish(self) -> None:
        """Refuses tensors that nothing asked for: config.json then describes another model."""
        if self._tensors:
            name = min(self._tensors)
            raise ModelError(
                f"{self.path} has {len(self._tensors)} tensors that config.json does not imply, the first is {name}"
            )
