"""Python code of Thrift IDLs, generated where a test run needs it.

All of the project's IDLs share the package `iotdbwire`; folders of several calls are joined into it, so that suites
with different IDLs can run in one process.
"""

from __future__ import annotations

import atexit
import importlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = "ACDEFGHT"
PACKAGE = "iotdbwire"

#: The generated service module and its types.
Service = tuple[ModuleType, ModuleType]


def generate(idls: Iterable[Path], directory: Path) -> None:
    """Generates every IDL with all it includes into directory and makes the modules importable."""
    compiler = shutil.which("thrift")
    assert compiler, "the Thrift compiler is needed (package thrift-compiler)"
    for idl in idls:
        command = [compiler, "-nowarn", "-r", "--gen", "py", "-out", str(directory), str(idl)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    sys.path.insert(0, str(directory))
    importlib.invalidate_caches()
    package = sys.modules.get(PACKAGE)
    if package is not None and str(directory / PACKAGE) not in package.__path__:
        package.__path__.append(str(directory / PACKAGE))


def load_families() -> dict[str, Service]:
    """Clients of every release family; generated once in a process, gone with it."""
    first = f"{PACKAGE}.fam{FAMILIES[0]}.ttypes"
    if first not in sys.modules:
        directory = Path(tempfile.mkdtemp(prefix="ain-families-"))
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        generate((ROOT / "tests" / "data" / "families" / f"ainode_{family}.thrift" for family in FAMILIES), directory)
    load = importlib.import_module
    return {
        family: (load(f"{PACKAGE}.fam{family}.IAINodeRPCService"), load(f"{PACKAGE}.fam{family}.ttypes"))
        for family in FAMILIES
    }
