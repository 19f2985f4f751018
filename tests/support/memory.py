"""How much memory the node shares with its workers, seen from outside.

    python memory.py PID

looks again and again until its input ends, then prints the most it has seen and how often it has looked.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

#: Names of the memory that the host makes for requests and results.
OURS = "/memfd:ainode-"


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += family(int(child))
    return found


def _of_process(pid: int, found: dict[int, int]) -> None:
    """Adds the inode and size of all shared memory that one process holds, open or mapped."""
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                path = f"/proc/{pid}/fd/{name}"
                if os.readlink(path).startswith(OURS):
                    info = os.stat(path)
                    found[info.st_ino] = info.st_size
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and fields[5].startswith(OURS):
                begin, _, end = fields[0].partition("-")
                inode = int(fields[4])
                found[inode] = max(found.get(inode, 0), int(end, 16) - int(begin, 16))


def shared_bytes(pid: int) -> int:
    """Bytes of all shared memory of the node whose host this is, each piece once."""
    found: dict[int, int] = {}
    for member in family(pid):
        _of_process(member, found)
    return sum(found.values())


class Watch:
    """Looks again and again, in a process of its own, and afterwards tells the most that was seen."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak = 0
        self.looks = 0

    def __enter__(self) -> Watch:
        """Begins."""
        command = [sys.executable, __file__, str(self.pid)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "looking\n"  # its interpreter may take a while to start
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends."""
        said, _ = self._process.communicate("")
        self.peak, self.looks = (int(word) for word in said.split())


def look_at_rest(pid: int) -> int:
    """shared_bytes() while the host, which makes all of it, is stopped: a sum over one moment, not over several."""
    os.kill(pid, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + 30
        while "(stopped)" not in Path(f"/proc/{pid}/status").read_text():
            assert time.monotonic() < deadline, "the host does not stop"
            time.sleep(0.0005)
        return shared_bytes(pid)
    finally:
        os.kill(pid, signal.SIGCONT)


def main() -> None:
    """The watching process."""
    pid, peak, looks, pause = int(sys.argv[1]), 0, 0, 0.0
    while not select.select([sys.stdin], [], [], pause)[0]:
        begun = time.monotonic()
        peak = max(peak, look_at_rest(pid))
        looks += 1
        if looks == 1:
            print("looking", flush=True)
        pause = time.monotonic() - begun  # the host is to work, too
    print(peak, looks)


if __name__ == "__main__":
    main()
