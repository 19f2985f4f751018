"""The probe server as a fixture, and Thrift clients generated from the families' IDLs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from generated import Service, load_families
from wire_support import Probe


@pytest.fixture
def start_probe(build_dir: Path) -> Iterator[Callable[..., Probe]]:
    """Starts probes; whatever still runs at the end is stopped and checked."""
    binary = build_dir / "tests" / "wire" / "ain-rpc-probe"
    probes: list[Probe] = []

    def start(*options: str, descriptors: int | None = None) -> Probe:
        probes.append(Probe(binary, list(options), descriptors))
        return probes[-1]

    yield start
    for probe in probes:
        if probe.process.returncode is None:
            probe.stop()


@pytest.fixture
def probe(start_probe: Callable[..., Probe]) -> Probe:
    """A probe with the default options."""
    return start_probe()


@pytest.fixture(scope="session")
def services() -> dict[str, Service]:
    """Per family: the generated service module and its types."""
    return load_families()
