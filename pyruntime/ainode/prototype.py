"""The prototype: imports NumPy and PyTorch once, then forks a worker for each request of the host.

What makes forking safe (measured, see docs/ARCHITECTURE.md): PyTorch is set to one thread before any operation runs,
only one generic single-threaded operation is run, never user code, never CUDA; and no thread was started since the
imports. Where the last point does not hold, the request is declined and the host spawns a fresh process instead.
"""

import contextlib
import gc
import os
import select
import socket
import sys
from typing import Any

import _ainode

from ainode import forking
from ainode.spare import Spare


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
        from ainode import sandbox, worker  # noqa: F401 - the forked would spend milliseconds on it

        sandbox.environment()
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


def _warm_up() -> None:
    """The generic operation once more, in a forked process: it gets pages of its own where every worker writes."""
    if "torch" in sys.modules:
        from ainode import torchscript

        torchscript.warm_up()


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
        self.spare = Spare(self.poll, _warm_up, _run_worker)

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

    def _fork_now(self, descriptors: list[int]) -> tuple[int, int]:
        """Fails before there is a child, or not at all."""
        parent = os.getpid()
        room = os.open(os.devnull, os.O_RDONLY)  # makes sure that there will be room for the pidfd
        try:
            pid = os.fork()
            if pid == 0:
                forking.become_worker(parent, descriptors, _run_worker)
        finally:
            os.close(room)
        pidfd = os.pidfd_open(pid)  # our own child, not yet reaped: no race
        self.poll.register(pidfd, select.POLLIN)
        return pid, pidfd

    def _fork(self, request: int, descriptors: list[int]) -> None:
        pid, pidfd = self.spare.hand_over(descriptors) or self._fork_now(descriptors)
        self.children[pidfd] = pid
        _ainode.send(_ainode.MESSAGE_FORKED, request, pid, "", pidfd)

    def reap(self, pidfd: int) -> None:
        pid = self.children.pop(pidfd)
        self.poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        _ainode.send(_ainode.MESSAGE_REAPED, pid, status, "")

    def make_spare(self) -> None:
        if forking.thread_count() <= self.threads:
            with contextlib.suppress(OSError):  # too many processes or too little memory: later, perhaps
                self.spare.make()
        else:
            self.spare.give_up()

    def run(self) -> None:
        alive = True
        while alive:
            ready = self.poll.poll(self.spare.wanted_in())
            if not ready:
                self.make_spare()
            for fd, _ in ready:
                if fd == self.control.fileno():
                    alive = forking.receive(self.control, self.fork)
                elif fd == self.spare.pidfd:
                    self.spare.ended()
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


