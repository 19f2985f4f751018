"""The attribute `acceleration=true` of a request to a TorchScript model.

torch.compile takes no TorchScript and needs a C++ compiler; what can be had without one is a frozen module (parameters
become constants, batch norms are folded into convolutions) in layouts that the processor likes. It is used where it
answers as the module itself; else the module is, and one line in the log says why.
"""

from typing import Any, Callable, Optional

import torch

_CALLS = 2  # a module that remembers its calls answers the second one differently
_RTOL, _ATOL = 1e-4, 1e-5

#: Loads the module anew, in the state in which it was saved.
Load = Callable[[], torch.jit.ScriptModule]
Forward = Callable[[torch.Tensor], Any]


def _optimize(load: Load) -> torch.jit.ScriptModule:
    return torch.jit.optimize_for_inference(torch.jit.freeze(load()))


def _close(ours: Any, theirs: Any) -> bool:
    if not isinstance(ours, torch.Tensor) or not isinstance(theirs, torch.Tensor) or ours.shape != theirs.shape:
        return False
    if ours.dtype != theirs.dtype:
        return False
    scale = float(theirs.abs().max()) if theirs.numel() and theirs.is_floating_point() else 0.0
    return bool(torch.allclose(ours, theirs, rtol=_RTOL, atol=_ATOL * scale, equal_nan=True))


def _differs(load: Load, sample: torch.Tensor) -> bool:
    module, optimized = load(), _optimize(load)
    return not all(_close(optimized(sample.clone()), module(sample.clone())) for _ in range(_CALLS))


def accelerate(load: Load, sample: torch.Tensor) -> tuple[Optional[Forward], str]:
    """The faster form of the module, tried on `sample` [batch, rows, columns], or None; and the line for the log."""
    try:
        if _differs(load, sample):
            return None, "acceleration=true is not used: the optimised model answers differently"
        return _optimize(load).forward, "acceleration=true: the model is frozen and optimised for inference"
    except Exception as error:  # noqa: BLE001 - user code, and whatever torch thinks of it
        cause = " ".join(str(error).split())[:200]
        return None, f"acceleration=true is not used: torch {torch.__version__} cannot optimise the model ({cause})"
