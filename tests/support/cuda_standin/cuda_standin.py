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
from types import ModuleType
from typing import Any

DEVICES = 2


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


def _change(torch: ModuleType) -> None:
    real_to = torch.nn.Module.to
    tensor_to = torch.Tensor.to

    def visible() -> bool:
        number = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        print(f"stand-in: this process sees device {number}", flush=True)
        return number.isdigit() and int(number) < DEVICES

    def to(real: Any) -> Any:
        return lambda self, *args, **named: self if isinstance(args[0], _Placed) else real(self, *args, **named)

    torch.version.cuda = "12.0"
    torch.cuda._device_count_nvml = lambda: DEVICES
    torch.cuda.is_available = visible
    torch.cuda.manual_seed_all = lambda seed: None
    torch.nn.Module.to = to(real_to)
    torch.jit.ScriptModule.to = to(real_to)
    torch.Tensor.to = to(tensor_to)
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
