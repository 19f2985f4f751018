"""The prototype: imports NumPy and PyTorch once, then forks a worker for each request of the host.

What makes forking safe (measured, see docs/ARCHITECTURE.md): PyTorch is set to one thread before any operation runs,
only one generic single-threaded operation is run, never user code, never CUDA; and no thread was started since the
imports. Where the last point does not hold, the request is declined and the host spawns a fresh process instead.
"""

import gc
import os
import random
import select
import socket
import struct
import sys
from typing import Any

import _ainode

_HEADER = struct.Struct("=IIQQ")  # AinMessage: type, text_size, id, value
_N_DESCRIPTORS = _ainode.FD_END - _ainode.FD_CONTROL + 1  # the channel's and the output pipe


def _thread_count() -> int:
    return len(os.listdir("/proc/self/task"))


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


def _reseed() -> None:
    """Gives a forked worker random numbers of its own."""
    seed = int.from_bytes(os.urandom(4), "little")
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def _become_worker(parent: int, descriptors: list[int]) -> None:
    """Child of fork: never returns."""
    status = 1
    try:
        _ainode.become_worker(parent, *descriptors)
        _reseed()
        from ainode import worker

        _ainode.send(_ainode.MESSAGE_HELLO, 0, _ainode.ABI_VERSION, "")
        worker.run()
        status = 0
    except BaseException:  # noqa: BLE001 - whatever happens, the child must not run on as a second prototype
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Prototype:
    def __init__(self) -> None:
        self.control = socket.socket(fileno=_ainode.FD_CONTROL)
        self.children: dict[int, int] = {}  # pidfd -> pid
        self.poll = select.poll()
        self.poll.register(self.control, select.POLLIN)
        self.threads = _thread_count()

    def fork(self, request: int, descriptors: list[int]) -> None:
        """Forks one worker, or declines: the host then starts a fresh process."""
        reason = ""
        try:
            if len(descriptors) != _N_DESCRIPTORS:
                reason = "the descriptors of the worker did not arrive: too many open files"
            elif _thread_count() > self.threads:
                reason = "a thread was started after the imports, so a forked worker could hang"
            else:
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
                _become_worker(parent, descriptors)
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

    def receive(self) -> bool:
        """One message of the host; False when the host is gone."""
        data, descriptors, _, _ = socket.recv_fds(self.control, _HEADER.size + _ainode.MESSAGE_TEXT_MAX, _N_DESCRIPTORS)
        if len(data) < _HEADER.size:
            return False
        kind, _, request, _ = _HEADER.unpack_from(data)
        try:
            if kind == _ainode.MESSAGE_FORK:
                self.fork(request, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def run(self) -> None:
        alive = True
        while alive:
            for fd, _ in self.poll.poll():
                if fd == self.control.fileno():
                    alive = self.receive()
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


