"""The probe server as a fixture, and Thrift clients generated from the families' IDLs."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from wire_support import DATA, FAMILIES, ROOT, Probe


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which build is tested."""
    parser.addoption("--build-dir", default=str(ROOT / "build" / "release"), help="CMake build folder")


@pytest.fixture
def start_probe(pytestconfig: pytest.Config) -> Iterator[Callable[..., Probe]]:
    """Starts probes; whatever still runs at the end is stopped and checked."""
    binary = Path(pytestconfig.getoption("--build-dir")) / "tests" / "wire" / "ain-rpc-probe"
    probes: list[Probe] = []

    def start(*options: str) -> Probe:
        probes.append(Probe(binary, list(options)))
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
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[ModuleType, ModuleType]]:
    """Per family: the generated service module and its types."""
    compiler = shutil.which("thrift")
    assert compiler, "the Thrift compiler is needed"
    output = tmp_path_factory.mktemp("gen-py")
    for family in FAMILIES:
        idl = DATA / "families" / f"ainode_{family}.thrift"
        command = [compiler, "-r", "--gen", "py", "-out", str(output), str(idl)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    sys.path.insert(0, str(output))
    return {
        family: (
            importlib.import_module(f"iotdbwire.fam{family}.IAINodeRPCService"),
            importlib.import_module(f"iotdbwire.fam{family}.ttypes"),
        )
        for family in FAMILIES
    }
