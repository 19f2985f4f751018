"""The prototype: imports NumPy and PyTorch once, then forks a worker for each request of the host.

What makes forking safe (measured, see docs/ARCHITECTURE.md): PyTorch is set to one thread before any operation runs,
only one generic single-threaded operation is run, never user code, never CUDA; and no thread was started since the
imports. Where the last point does not hold, the request is declined and the host spawns a fresh process instead.
"""

import gc
import os
import select
import socket
from typing import Any

import _ainode

from ainode import forking


def _count_cuda_devices(torch: Any) -> int:
    """CUDA devices, asked of the driver's management library: CUDA itself must not be touched before a fork."""
    count = getattr(torch.cuda, "_device_count_nvml", None)
    if torch.version.cuda is None or count is None:
        return 0
    return max(count(), 0)


def _import_frameworks() -> tuple[str, int]:
    """Imports what nearly every model needs; returns the versions found, as text, and the number of CUDA devices."""
    found = []
    cuda = 0
    try:
        import numpy

        found.append(f"numpy {numpy.__version__}")
    except ImportError as error:
        found.append(f"no numpy ({error})")
    try:
        import torch
    except ImportError as error:
        found.append(f"no torch ({error})")
    else:
        torch.set_num_threads(1)
        from ainode import torchscript

        torchscript.prepare_process()
        found.append(f"torch {torch.__version__}")
        cuda = _count_cuda_devices(torch)
    return ", ".join(found), cuda


def _run_worker() -> None:
    from ainode import worker

    _ainode.send(_ainode.MESSAGE_HELLO, 0, _ainode.ABI_VERSION, "")
    worker.run()


class _Prototype:
    def __init__(self) -> None:
        self.control = socket.socket(fileno=_ainode.FD_CONTROL)
        self.children: dict[int, int] = {}  # pidfd -> pid
        self.poll = select.poll()
        self.poll.register(self.control, select.POLLIN)
        self.threads = forking.thread_count()

    def fork(self, request: int, descriptors: list[int]) -> None:
        """Forks one worker, or declines: the host then starts a fresh process."""
        reason = forking.objection(descriptors, self.threads)
        if not reason:
            try:
                self._fork(request, descriptors)
            except OSError as error:
                reason = str(error)
        if reason:
            _ainode.send(_ainode.MESSAGE_DECLINED, request, 0, reason)

    def _fork(self, request: int, descriptors: list[int]) -> None:
        """Fails before there is a child, or not at all."""
        parent = os.getpid()
        spare = os.open(os.devnull, os.O_RDONLY)  # makes sure that there will be room for the pidfd
        try:
            pid = os.fork()
            if pid == 0:
                forking.become_worker(parent, descriptors, _run_worker)
        finally:
            os.close(spare)
        pidfd = os.pidfd_open(pid)  # our own child, not yet reaped: no race
        os.set_inheritable(pidfd, False)
        self.children[pidfd] = pid
        self.poll.register(pidfd, select.POLLIN)
        _ainode.send(_ainode.MESSAGE_FORKED, request, pid, "", pidfd)

    def reap(self, pidfd: int) -> None:
        pid = self.children.pop(pidfd)
        self.poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        _ainode.send(_ainode.MESSAGE_REAPED, pid, status, "")

    def run(self) -> None:
        alive = True
        while alive:
            for fd, _ in self.poll.poll():
                if fd == self.control.fileno():
                    alive = forking.receive(self.control, self.fork)
                elif fd in self.children:
                    self.reap(fd)


def run() -> None:
    """Serves fork requests until the host closes the control socket."""
    _ainode.send(_ainode.MESSAGE_HELLO, 0, _ainode.ABI_VERSION, "")
    versions, cuda = _import_frameworks()
    gc.collect()
    gc.freeze()  # the collector of a worker leaves the shared pages alone
    prototype = _Prototype()
    _ainode.send(_ainode.MESSAGE_READY, 0, cuda, versions)
    prototype.run()


