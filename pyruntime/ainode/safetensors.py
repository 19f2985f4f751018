"""Reads `model.safetensors` into PyTorch. Mapped, not copied."""

import math
import mmap
import warnings

import torch

from ainode.model import ModelError
from ainode.tensor_file import Entry, open_entries

_FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_ALL = {**_FLOATS, "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
        "BOOL": torch.bool}  # fmt: skip


def _view(mapped: mmap.mmap, entry: Entry) -> torch.Tensor:
    dtype = _ALL[entry.dtype]
    if entry.begin % torch.empty(0, dtype=dtype).element_size() != 0:
        return torch.frombuffer(bytearray(mapped[entry.begin : entry.end]), dtype=dtype).view(entry.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the memory is read-only is the point
        count = math.prod(entry.shape)
        return torch.frombuffer(mapped, dtype=dtype, count=count, offset=entry.begin).view(entry.shape)


def open_tensors(path: str) -> dict[str, torch.Tensor]:
    """All tensors of the file as float32. Those that are float32 in the file share its pages; do not write to them."""
    mapped, places = open_entries(path, tuple(_FLOATS))
    return {name: _view(mapped, entry).to(torch.float32) for name, entry in places.items()}


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
