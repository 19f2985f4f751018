"""Fixtures: the bindings, the stand-in ConfigNode and a way to run join_probe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from standins.confignode import Bindings, ConfigNode, load_bindings  # noqa: E402

# AIN_BUILD_DIR: the preset's build to test, e.g. build/asan
PROBE = ROOT / os.environ.get("AIN_BUILD_DIR", "build/release") / "tests" / "cluster_standin" / "join_probe"


@dataclass
class Outcome:
    """What join_probe printed: its events as dictionaries, and its log."""

    events: dict[str, dict[str, str]] = field(default_factory=dict)
    releases: list[int] = field(default_factory=list)
    log: str = ""
    seconds: float = 0

    @property
    def joined(self) -> dict[str, str]:
        """The event of a join that worked."""
        assert "joined" in self.events, (self.events, self.log)
        return self.events["joined"]

    @property
    def failed(self) -> dict[str, str]:
        """The event of one that did not."""
        assert "failed" in self.events, (self.events, self.log)
        return self.events["failed"]

    @property
    def message(self) -> str:
        """The sentence for the operator."""
        return self.failed["message"]


def parse_event(line: str) -> tuple[str, dict[str, str]]:
    kind, _, rest = line.partition(" ")
    head, _, message = rest.partition("message=")
    pairs = dict(re.findall(r"(\w+)=(\S+)", head))
    if message:
        pairs["message"] = message
    return kind, pairs


Probe = Callable[..., Outcome]


@pytest.fixture(scope="session")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> Bindings:
    """Python code of the project's IDLs."""
    return load_bindings(tmp_path_factory.mktemp("bindings"))


@pytest.fixture
def node(bindings: Bindings) -> Iterator[ConfigNode]:
    """A well-behaved ConfigNode, listening."""
    with ConfigNode(bindings) as started:
        yield started


@pytest.fixture
def system_dir(tmp_path: Path) -> Path:
    """The probe's ain_system_dir."""
    return tmp_path / "data" / "ainode" / "system"


@pytest.fixture
def probe(system_dir: Path) -> Probe:
    """Run join_probe with options; seeds may be stand-ins or texts."""

    def run(*seeds: Any, timeout: float = 60, expect: int | None = None, **options: Any) -> Outcome:
        texts = [seed if isinstance(seed, str) else seed.endpoint for seed in seeds]
        options.setdefault("system_dir", system_dir)
        command = [str(PROBE), "--seeds", ",".join(texts)]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        started = time.monotonic()
        ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        outcome = Outcome(log=ended.stderr, seconds=time.monotonic() - started)
        for line in ended.stdout.splitlines():
            kind, pairs = parse_event(line)
            outcome.events[kind] = pairs
            if kind == "release":
                outcome.releases.append(int(pairs["family"]))
        by_hand = "remove" in options or "find" in options
        wanted = expect if expect is not None else int(by_hand and "failed" in outcome.events)
        assert ended.returncode == wanted, (ended.returncode, ended.stdout, ended.stderr)
        assert by_hand or "freed" in outcome.events, (ended.stdout, ended.stderr)
        return outcome

    return run
