"""Ways to run session_probe and `ainode query`."""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parents[2]

# AIN_BUILD_DIR: the preset's build to test, e.g. build/asan
BUILD = ROOT / os.environ.get("AIN_TEST_BUILD", os.environ.get("AIN_BUILD_DIR", "build/release"))
PROBE = BUILD / "tests" / "session" / "session_probe"
AINODE = BUILD / "lib" / "ainode"


@dataclass
class Outcome:
    """What session_probe printed."""

    events: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    errors: str = ""
    seconds: float = 0

    def all(self, kind: str) -> list[dict[str, str]]:
        """Every event of a kind."""
        return [pairs for name, pairs in self.events if name == kind]

    def one(self, kind: str) -> dict[str, str]:
        """The only event of a kind."""
        found = self.all(kind)
        assert len(found) == 1, (kind, self.events, self.errors)
        return found[0]


Probe = Callable[..., Outcome]
Query = Callable[..., "subprocess.CompletedProcess[str]"]


def parse(line: str) -> tuple[str, dict[str, str]]:
    kind, _, rest = line.partition(" ")
    head, _, message = rest.partition("message=")
    pairs = dict(re.findall(r"(\S+)=(\S+)", head))
    if message:
        pairs["message"] = message
    return kind, pairs


def run_probe(*args: str, nodes: list[Any], timeout: float = 60, **options: Any) -> Outcome:
    """Run session_probe with statements; nodes may be stand-ins or texts."""
    texts = [node if isinstance(node, str) else node.endpoint for node in nodes]
    command = [str(PROBE), "--nodes", ",".join(texts)]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    started = time.monotonic()
    ended = subprocess.run([*command, "--", *args], capture_output=True, text=True, timeout=timeout, check=False)
    assert ended.returncode == 0, (ended.returncode, ended.stdout, ended.stderr)
    events = [parse(line) for line in ended.stdout.splitlines()]
    return Outcome(events, ended.stderr, time.monotonic() - started)


def run_query(home: Path, port: int, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run `ainode query` in an empty installation directory."""
    (home / "conf").mkdir(parents=True, exist_ok=True)
    (home / "conf" / "iotdb-ainode.properties").touch()
    command = [str(AINODE), "query", "--home", str(home), "-D", f"ain_cluster_ingress_port={port}", *args]
    done = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
    # Not text=True, which would hide the ends of CSV lines.
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())
