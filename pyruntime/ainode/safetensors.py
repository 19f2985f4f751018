"""Reads `model.safetensors`: a length, a JSON header, then raw little-endian tensors. Mapped, not copied.

The file comes from outside: every number of the header is checked before a byte of data is touched.
"""

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
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def _broken(path: str, what: str) -> ModelError:
    return ModelError(f"{path} is not a whole safetensors file: {what}; copy it again")


def _map(path: str) -> mmap.mmap:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    try:
        if os.fstat(fd).st_size < 10:
            raise _broken(path, f"it has {os.fstat(fd).st_size} bytes")
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        return mmap.mmap(fd, 0, flags=flags, prot=mmap.PROT_READ)
    finally:
        os.close(fd)


def _read_header(path: str, mapped: mmap.mmap) -> tuple[dict[str, Any], int]:
    """The header and the offset at which the data begins."""
    (size,) = struct.unpack_from("<Q", mapped, 0)
    if size > _HEADER_MAX or size > len(mapped) - 8:
        raise _broken(path, f"its header is said to have {size} bytes, the file has {len(mapped)}")
    try:
        header = json.loads(mapped[8 : 8 + size].decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _broken(path, f"its header is no JSON text ({error})") from None
    if not isinstance(header, dict):
        raise _broken(path, "its header is no JSON object")
    return header, 8 + size


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


def _view(mapped: mmap.mmap, dtype: torch.dtype, shape: list[int], begin: int, end: int) -> torch.Tensor:
    if begin % torch.empty(0, dtype=dtype).element_size() != 0:
        return torch.frombuffer(bytearray(mapped[begin:end]), dtype=dtype).view(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the memory is read-only is the point
        return torch.frombuffer(mapped, dtype=dtype, count=math.prod(shape), offset=begin).view(shape)


def open_tensors(path: str) -> dict[str, torch.Tensor]:
    """All tensors of the file as float32. Those that are float32 in the file share its pages; do not write to them."""
    mapped = _map(path)
    header, start = _read_header(path, mapped)
    header.pop("__metadata__", None)
    room = len(mapped) - start
    places = {name: _check_entry(path, name, entry, room) for name, entry in header.items()}
    used = max((end for _, _, _, end in places.values()), default=0)
    if used != room:
        raise _broken(path, f"its tensors end {room - used} bytes before the file does")
    return {
        name: _view(mapped, dtype, shape, start + begin, start + end).to(torch.float32)
        for name, (dtype, shape, begin, end) in places.items()
    }


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
