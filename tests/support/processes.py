"""What a process has and leaves: descriptors, children, memory, listening ports."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Polls `condition` until it holds; AssertionError naming `what` when time is up."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.01)


def pids() -> list[int]:
    """All processes there are."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; empty when the process has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()


def parent(pid: int) -> int:
    """The parent's number, 0 when the process has gone."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def is_zombie(pid: int) -> bool:
    """Whether it has ended and nobody has asked how."""
    fields = _stat(pid)
    return bool(fields) and fields[0] == "Z"


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped it."""
    return _stat(pid)[:1] == ["T"]


def cpu_ticks(pid: int) -> int:
    """Processor time that it has used, in units of 10 ms; 0 when it has gone."""
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0


def children(pid: int) -> list[int]:
    """Processes whose parent it is."""
    return [other for other in pids() if parent(other) == pid]


def command(pid: int) -> list[str]:
    """Its command line; empty when it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def is_spare(pid: int) -> bool:
    """Whether the prototype forked it ahead, and it is no worker yet."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == "ainode-spare"
    except OSError:
        return False


def marked(mark: str) -> list[int]:
    """Processes that were started with this text in their environment, or forked from such."""
    found = []
    for pid in pids():
        with contextlib.suppress(OSError):
            if mark.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return found


def descriptors(pid: int) -> dict[int, str]:
    """Its open descriptors and what they are."""
    found = {}
    with contextlib.suppress(FileNotFoundError):  # it has just gone
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


def listening_ports(pid: int) -> set[int]:
    """TCP ports on which it listens."""
    mine = set(descriptors(pid).values())
    ports = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in mine:
                    ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def memory_kib(pid: int, key: str = "VmRSS") -> int:
    """A figure of /proc/PID/status (VmRSS, RssAnon ...), or Pss and Private of smaps_rollup, in KiB."""
    file = "status" if key[0] in "VR" else "smaps_rollup"
    total = 0
    for line in Path(f"/proc/{pid}/{file}").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name == key or (key == "Private" and name.startswith("Private_")):
            total += int(rest.split()[0])
    return total
