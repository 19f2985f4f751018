"""A stand-in for two CUDA devices, where there is none: imported by a .pth file of the environment under test.

It makes this torch say what a CUDA build says when it is asked for devices, and lets a process that sees one device
compute there, in truth on the CPU. It shows how devices are chosen, told apart and given back; nothing of CUDA itself.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import time
from types import ModuleType
from typing import Any

DEVICES = 2
#: What cudaHostRegister() does here: "faster" or "slower" copies, "refused" (an error), "missing" (an old torch).
PINNING = "missing"


class _Device(type):
    """torch.device, which makes a device of the CPU out of "cuda:0", whose type it says is "cuda"."""

    real: Any = None

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, (cls.real, _Placed))

    def __call__(cls, *args: Any, **named: Any) -> Any:
        return _Placed() if args[:1] == ("cuda:0",) else cls.real(*args, **named)


class _Placed:
    """What a model is moved to."""

    type = "cuda"


class _Error(int):
    """cudaError of torch: a number that is asked for as int(error)."""


class _Cudart:
    """torch.cuda.cudart(). Pageable memory is copied in 2 ms; an error is left for the next operation, as by CUDA."""

    def __init__(self) -> None:
        self.registered: dict[int, int] = {}
        self.left_error = False

    def cudaHostRegister(self, address: int, size: int, flags: int) -> _Error:  # noqa: N802 - CUDA's name
        print(f"stand-in: register {size} bytes with flags {flags}", flush=True)
        if PINNING == "refused":
            self.left_error = True
            return _Error(801)
        self.registered[address] = size
        return _Error(0)

    def cudaHostUnregister(self, address: int) -> _Error:  # noqa: N802 - CUDA's name
        print(f"stand-in: unregister {self.registered.pop(address)} bytes", flush=True)
        return _Error(0)

    def cudaGetErrorString(self, error: _Error) -> str:  # noqa: N802 - CUDA's name
        return "operation not supported" if error == 801 else "no error"

    def copy(self, address: int) -> None:
        """One copy to the device, of memory at this address."""
        if self.left_error:
            self.left_error = False
            raise RuntimeError("CUDA error: operation not supported")
        pinned = any(start <= address < start + size for start, size in self.registered.items())
        time.sleep({"faster": 0.0005, "slower": 0.004}.get(PINNING, 0.002) if pinned else 0.002)


def _change(torch: ModuleType) -> None:
    real_to = torch.nn.Module.to
    real_tensor_to = torch.Tensor.to

    def visible() -> bool:
        number = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        print(f"stand-in: this process sees device {number}", flush=True)
        return number.isdigit() and int(number) < DEVICES

    def to(real: Any) -> Any:
        return lambda self, *args, **named: self if isinstance(args[0], _Placed) else real(self, *args, **named)

    cudart = _Cudart()

    def tensor_to(self: Any, *args: Any, **named: Any) -> Any:
        if not isinstance(args[0], _Placed):
            return real_tensor_to(self, *args, **named)
        cudart.copy(self.data_ptr())
        return self

    def runtime() -> _Cudart:
        if PINNING == "missing":
            raise AttributeError("this torch has no cudart")
        return cudart

    torch.version.cuda = "12.0"
    torch.cuda.cudart = runtime
    torch.cuda.mem_get_info = lambda: (1 << 30, 2 << 30)
    torch.cuda._device_count_nvml = lambda: DEVICES
    torch.cuda.is_available = visible
    torch.cuda.manual_seed_all = lambda seed: None
    torch.nn.Module.to = to(real_to)
    torch.jit.ScriptModule.to = to(real_to)
    torch.Tensor.to = tensor_to
    _Device.real = torch.device
    torch.device = _Device("device", (), {})


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        _change(module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            spec.loader = _Loader(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder())
