"""Entry of every process that holds an interpreter: greets the host, then becomes what it was started as."""

import contextlib
import os
import sys
import warnings

import _ainode


def calm_libraries() -> None:
    """Settings that must stand before NumPy and PyTorch are imported.

    One thread each: several workers share the processors, and a child of a process whose OpenMP pool ran would hang.
    Request arrays are read-only views; PyTorch warns once that it cannot express that, which is no news to us.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # Large models use more than one. Threads that spin while they wait take the processors from other workers: a
    # forward of 70 ms then lasts 460 on a busy machine; sleeping ones cost it nothing.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=FutureWarning)
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)


def main(role: str) -> None:
    """Runs `role` ("worker" or "prototype") until the host is done with this process."""
    calm_libraries()
    if role == "prototype":
        from ainode import prototype

        prototype.run()
    else:
        from ainode import worker

        _ainode.send(_ainode.MESSAGE_HELLO, 0, _ainode.ABI_VERSION, "")
        worker.run()
    with contextlib.suppress(BaseException):  # a model may have put anything in their place
        sys.stdout.flush()
        sys.stderr.flush()
    # Destructors of extension modules at interpreter exit are where embedded PyTorch crashes: skip them.
    os._exit(0)
