"""Reads `model.safetensors` into PyTorch.

Weights of large models are copied once, as float32, into sealed memory: whatever happens to the file afterwards, and
whoever writes by mistake, they stay as they were loaded; and processes forked from the one that loaded them share that
memory. What load_state_dict() copies anyway is mapped.
"""

import fcntl
import math
import mmap
import os
import warnings

import torch

from ainode.model import ModelError
from ainode.tensor_file import Entry, broken, open_entries, open_file, read_entries

_CHUNK = 1 << 24  # bytes that are converted at once
_FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_ALL = {**_FLOATS, "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
        "BOOL": torch.bool}  # fmt: skip


def _copy(path: str, source: int, offset: int, size: int, target: int) -> None:
    """Appends bytes of the file to the target."""
    while size > 0:
        copied = os.sendfile(target, source, offset, size)
        if copied == 0:
            raise broken(path, "it became shorter while it was read")
        offset += copied
        size -= copied


def _convert(path: str, source: int, dtype: torch.dtype, offset: int, size: int, target: int) -> None:
    """Appends elements of another type, as float32."""
    while size > 0:
        data = bytearray(os.pread(source, min(size, _CHUNK), offset))
        if len(data) < min(size, _CHUNK):
            raise broken(path, "it became shorter while it was read")
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


def _copy_to_memory(path: str, source: int, places: dict[str, Entry]) -> mmap.mmap:
    """All tensors one after another, as float32."""
    memory = os.memfd_create("weights", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for entry in places.values():
            if entry.dtype == "F32":
                _copy(path, source, entry.begin, entry.end - entry.begin, memory)
            else:
                _convert(path, source, _FLOATS[entry.dtype], entry.begin, entry.end - entry.begin, memory)
        return _seal(memory)
    finally:
        os.close(memory)


def _load(path: str, source: int) -> dict[str, torch.Tensor]:
    places = read_entries(path, source, tuple(_FLOATS))
    if not places:
        return {}
    mapped = _copy_to_memory(path, source, places)
    tensors = {}
    offset = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the memory is read-only is the point
        for name, entry in places.items():
            count = math.prod(entry.shape)
            tensors[name] = torch.frombuffer(mapped, dtype=torch.float32, count=count, offset=offset).view(entry.shape)
            offset += 4 * count
    return tensors


def open_tensors(path: str) -> dict[str, torch.Tensor]:
    """All tensors of the file as float32, in sealed memory: do not write to them. ModelError: the file is not whole."""
    source = open_file(path)
    try:
        return _load(path, source)
    except OSError as error:
        raise ModelError(f"{path} cannot be loaded: {error.strerror}") from None
    finally:
        os.close(source)


def _view(mapped: mmap.mmap, entry: Entry) -> torch.Tensor:
    dtype = _ALL[entry.dtype]
    if entry.begin % torch.empty(0, dtype=dtype).element_size() != 0:
        return torch.frombuffer(bytearray(mapped[entry.begin : entry.end]), dtype=dtype).view(entry.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the memory is read-only is the point
        count = math.prod(entry.shape)
        return torch.frombuffer(mapped, dtype=dtype, count=count, offset=entry.begin).view(entry.shape)


def open_state(path: str) -> dict[str, torch.Tensor]:
    """All tensors of the file in their own types, on its pages: what load_state_dict() takes; do not write to them."""
    mapped, places = open_entries(path)
    return {name: _view(mapped, entry) for name, entry in places.items()}


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
