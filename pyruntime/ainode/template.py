"""A template: holds one loaded model, and forks the processes that answer with it.

They share its weights, for nobody writes to those. It runs in the sandbox that it entered before it loaded the model,
and so do they; it never runs the model, stays single-threaded, and declines to fork when it is not: the host then has
every process load the model by itself.
"""

import contextlib
import gc
import os
import select
import signal
import socket
from typing import Callable

import _ainode

from ainode import forking
from ainode.model import Spec


class _Template:
    def __init__(self, spec: Spec, serve: Callable[[], None]) -> None:
        self.spec = spec
        self.serve = serve
        self.control = socket.socket(fileno=_ainode.FD_CONTROL)
        # The sandbox lets nobody open a pidfd: ends are told by SIGCHLD.
        self.ended, self.wake = os.pipe()
        os.set_blocking(self.ended, False)
        os.set_blocking(self.wake, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self.wake)

    def _run_child(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if self.spec.sandbox:
            _ainode.narrow_sandbox()
        self.serve()

    def fork(self, request: int, descriptors: list[int]) -> None:
        """Forks one worker, or declines: for now, where descriptors, processes or memory have run out."""
        reason = forking.objection(descriptors, 1)
        for_now = len(descriptors) != forking.N_DESCRIPTORS
        if not reason:
            try:
                parent = os.getpid()
                pid = os.fork()
                if pid == 0:
                    forking.become_worker(parent, descriptors, self._run_child)
                _ainode.send(_ainode.MESSAGE_FORKED, request, pid, "")
            except OSError as error:
                reason, for_now = str(error), True
        if reason:
            _ainode.send(_ainode.MESSAGE_DECLINED, request, int(for_now), reason)

    def reap(self) -> None:
        """Tells how those ended that have."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.ended, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            _ainode.send(_ainode.MESSAGE_REAPED, pid, status, "")

    def run(self) -> None:
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.ended, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if self.ended in ready:
                self.reap()
            if self.control.fileno() in ready and not forking.receive(self.control, self.fork):
                return


def run(spec: Spec, serve: Callable[[], None]) -> None:
    """Forks processes that call `serve` until the host closes the control socket."""
    gc.collect()
    gc.freeze()  # the collectors of the forked leave the shared pages alone
    template = _Template(spec, serve)
    _ainode.send(_ainode.MESSAGE_LOADED, 0, 0, "")
    template.run()
