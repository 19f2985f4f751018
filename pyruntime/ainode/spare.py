"""A process forked ahead: the next worker, which costs its model the fork and the first touches of shared pages.

It waits, unsandboxed and without user code like the prototype it was forked from, and ends with it.
"""

import contextlib
import os
import select
import socket
from collections.abc import Sequence
from typing import Callable, NoReturn, Optional

from ainode import forking

#: Shown by ps instead of the program's name, until it becomes a worker.
NAME = "ainode-spare"
#: Milliseconds without a request before one is forked: the worker that was just forked loads its model then.
_DELAY_MS = 50
#: The same after a fork that failed: processes or memory had run out.
_RETRY_MS = 2000
#: A prototype whose spares end unused so many times (out of memory, say) does without.
_FAILURES_MAX = 3


def _rename(name: str) -> str:
    """Names this process; returns its name before. Where /proc cannot be written nothing happens."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "r+", encoding="utf-8") as comm:
        before = comm.read().strip()
        comm.seek(0)
        comm.write(name)
        return before
    return ""


def _wait(link: socket.socket, name: str, warm_up: Callable[[], None]) -> list[int]:
    """The descriptors of the worker to become; none when the prototype has ended."""
    warm_up()
    data, descriptors, _, _ = socket.recv_fds(link, 1, forking.N_DESCRIPTORS)
    _rename(name)
    link.detach()  # become_worker() closes it
    return descriptors if data else []


class Spare:
    """The spare of one prototype: there is one or none."""

    def __init__(self, poll: "select.poll", warm_up: Callable[[], None], run: Callable[[], None]) -> None:
        self.poll = poll
        self.warm_up = warm_up
        self.run = run
        self.pid = 0
        self.pidfd = -1
        self.link: Optional[socket.socket] = None
        self.failures = 0
        self.delay_ms = _DELAY_MS

    def wanted_in(self) -> Optional[int]:
        """Milliseconds without anything else to do after which to make one; None when none is wanted."""
        return self.delay_ms if self.pid == 0 and self.failures < _FAILURES_MAX else None

    def give_up(self) -> None:
        """None is made from now on."""
        self.failures = _FAILURES_MAX

    def _child(self, parent: int, name: str, ours: socket.socket, theirs: socket.socket) -> NoReturn:
        status = 1
        try:
            theirs.close()
            descriptors = _wait(ours, name, self.warm_up)
            if descriptors:
                forking.become_worker(parent, descriptors, self.run)
            status = 0
        finally:
            os._exit(status)

    def make(self) -> None:
        """Forks it. OSError: there is none, and one is wanted again later."""
        self.delay_ms = _RETRY_MS
        theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        name = _rename(NAME)  # of ours, so that it has the name from its first moment on
        try:
            pid = os.fork()
            if pid == 0:
                self._child(parent, name, ours, theirs)
        finally:
            ours.close()
            _rename(name)
        try:
            self.pidfd = os.pidfd_open(pid)
        except OSError:
            theirs.close()  # it ends
            os.waitpid(pid, 0)
            raise
        self.delay_ms = _DELAY_MS
        self.failures += 1  # until it was of use
        self.pid = pid
        self.link = theirs
        self.poll.register(self.pidfd, select.POLLIN)

    def hand_over(self, descriptors: Sequence[int]) -> Optional[tuple[int, int]]:
        """Makes it a worker with these descriptors: pid and pidfd, which are the caller's now. None: there is none."""
        if self.link is None:
            return None
        link, self.link = self.link, None
        try:
            with link:
                socket.send_fds(link, [b"1"], descriptors)
        except OSError:  # it has just died; its end is told by the pidfd
            return None
        self.failures = 0
        found, self.pid, self.pidfd = (self.pid, self.pidfd), 0, -1
        return found

    def ended(self) -> None:
        """It died unused."""
        self.poll.unregister(self.pidfd)
        os.close(self.pidfd)
        os.waitpid(self.pid, 0)
        if self.link is not None:
            self.link.close()
        self.pid, self.pidfd, self.link = 0, -1, None
