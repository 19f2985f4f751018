"""What the prototype and the templates of models have in common: how they fork a worker when the host asks."""

import contextlib
import os
import random
import socket
import struct
import sys
from typing import Callable, NoReturn

import _ainode

_HEADER = struct.Struct("=IIQQ")  # AinMessage: type, text_size, id, value
N_DESCRIPTORS = _ainode.FD_END - _ainode.FD_CONTROL + 1  # the channel's and the output pipe


def thread_count() -> int:
    """Threads of this process."""
    return len(os.listdir("/proc/self/task"))


def objection(descriptors: list[int], threads: int) -> str:
    """Why a worker cannot be forked now, or an empty text. threads: what this process may have."""
    if len(descriptors) != N_DESCRIPTORS:
        return "the descriptors of the worker did not arrive: too many open files"
    if thread_count() > threads:
        return "a thread was started after the imports, so a forked worker could hang"
    return ""


def _reseed() -> None:
    """Gives a forked worker random numbers of its own."""
    seed = int.from_bytes(os.urandom(4), "little")
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:  # torch.manual_seed() imports modules of devices that are not used, for 3 ms
        sys.modules["torch"].default_generator.manual_seed(seed)


def become_worker(parent: int, descriptors: list[int], run: Callable[[], None]) -> NoReturn:
    """Child of fork: never returns."""
    status = 1
    try:
        _ainode.become_worker(parent, *descriptors)
        _reseed()
        run()
        status = 0
    except BaseException:  # noqa: BLE001 - whatever happens, the child must not run on as a second prototype
        with contextlib.suppress(BaseException):
            sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(BaseException):  # a model may have put anything in their place
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def receive(control: socket.socket, fork: Callable[[int, list[int]], None]) -> bool:
    """One message of the host, and what it asks for; False when the host is gone."""
    data, descriptors, _, _ = socket.recv_fds(control, _HEADER.size + _ainode.MESSAGE_TEXT_MAX, N_DESCRIPTORS)
    if len(data) < _HEADER.size:
        return False
    kind, _, request, _ = _HEADER.unpack_from(data)
    try:
        if kind == _ainode.MESSAGE_FORK:
            fork(request, descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return True
