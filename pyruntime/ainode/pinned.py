"""Request slots of the channel as page-locked memory of CUDA, where this machine copies faster from it.

Only these: an oversize request comes in memory of its own for one request, and locking its pages would cost more than
the one copy gains; and results come from the device into memory of torch's, from which they are copied to their slot.
"""

import contextlib
import statistics
import time
import warnings
from typing import Any

import numpy as np
import torch

_FLAGS = 0x01 | 0x08  # cudaHostRegisterPortable; cudaHostRegisterReadOnly, for the worker may not write to requests
_REPEATS = 5
_GAIN = 0.9  # the registration stays when a copy takes less than this part of the time before
_MOST_BYTES = 4 << 20  # of one measured copy: a few milliseconds for all of them


def _copy_us(block: torch.Tensor, device: torch.device) -> float:
    """Median time of a copy of the block to the device, in microseconds. Such a copy returns when it is done."""
    block.to(device)  # the first one allocates
    times = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        block.to(device)
        times.append((time.perf_counter() - begun) * 1e6)
    return statistics.median(times)


def _clear_error(device: torch.device) -> None:
    """CUDA keeps the error of a refused call for whoever asks next: that must not be the model's first kernel."""
    with contextlib.suppress(RuntimeError):
        torch.ones(1).to(device).add_(1)


def _check(cudart: Any, call: str, code: Any) -> None:
    if int(code) != 0:
        raise RuntimeError(f"{call} answered {int(code)} ({cudart.cudaGetErrorString(code)})")


def _pin(slots: memoryview, device: torch.device) -> str:
    """Registers the slots if that pays; returns what was found. Whatever CUDA or torch refuse is raised."""
    cudart = torch.cuda.cudart()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the memory is read only: it is only read
        memory = torch.from_numpy(np.frombuffer(slots, np.uint8))
    block = memory[: min(len(slots) // 2, _MOST_BYTES)]
    before = _copy_us(block, device)
    _check(cudart, "cudaHostRegister", cudart.cudaHostRegister(memory.data_ptr(), len(slots), _FLAGS))
    kept = False
    try:
        after = _copy_us(block, device)
        kept = after < before * _GAIN
    finally:
        if not kept:
            _check(cudart, "cudaHostUnregister", cudart.cudaHostUnregister(memory.data_ptr()))
    times = f"a copy of {len(block)} bytes takes {before:.0f} us unpinned, {after:.0f} us pinned"
    return f"request slots are {'pinned' if kept else 'left unpinned'}: {times}"


def pin_slots(slots: memoryview) -> str:
    """Pins the request slots if copies to cuda:0, the device of this process, gain by it. Never raises: returns a line.

    Called once, before the first job. The mapping, and with it what is registered, lasts as long as the process.
    """
    device = torch.device("cuda:0")
    try:
        return _pin(slots, device)
    except Exception as error:  # noqa: BLE001 - an old torch or an error of CUDA: requests go on without
        _clear_error(device)
        cause = " ".join(str(error).split())[:200]
        return f"request slots are left unpinned: {type(error).__name__}: {cause}"
