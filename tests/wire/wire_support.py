"""A running probe server."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from pathlib import Path


class Probe:
    """One running probe server."""

    def __init__(self, binary: Path, options: list[str], descriptors: int | None = None) -> None:
        limit = [] if descriptors is None else ["prlimit", f"--nofile={descriptors}"]
        self.process = subprocess.Popen(
            [*limit, str(binary), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "G_MESSAGES_DEBUG": "all"},
        )
        self.pending = b""
        self.port = int(self.line().split()[1])
        self.descriptors = self.open_descriptors()

    def line(self, timeout: float = 20) -> str:
        """The next line the probe prints."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self.pending:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.process.stdout], [], [], max(left, 0))
            assert ready, "the probe said nothing in time"
            more = os.read(self.process.stdout.fileno(), 4096)
            assert more, f"the probe ended: {self.process.stderr.read() if self.process.stderr else ''!r}"
            self.pending += more
        text, _, self.pending = self.pending.partition(b"\n")
        return text.decode()

    def open_descriptors(self) -> int:
        """How many descriptors the probe has."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_kib(self) -> int:
        """Resident memory."""
        for text in Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines():
            if text.startswith("VmRSS:"):
                return int(text.split()[1])
        raise AssertionError("no VmRSS")

    def connect(self, timeout: float = 20, host: str = "127.0.0.1") -> socket.socket:
        """A raw connection."""
        return socket.create_connection((host, self.port), timeout=timeout)

    def stop(self) -> str:
        """Ends the probe, checks that it ended well and kept nothing; returns its log."""
        deadline = time.monotonic() + 10
        while self.open_descriptors() > self.descriptors and time.monotonic() < deadline:
            time.sleep(0.01)
        left = self.open_descriptors() - self.descriptors
        _, log = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, log.decode(errors="replace")
        assert left == 0, f"{left} descriptors are left"
        return log.decode(errors="replace")
