"""What every Python test of the project shares: options, the package under test, the interpreter for models."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
for folder in ("wire", "cluster", "support", "."):  # helper modules that are no tests
    sys.path.insert(0, str(ROOT / "tests" / folder))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also the releases and tests that take long")
    parser.addoption("--release", action="append", help="only this IoTDB release (may be repeated)")
    parser.addoption("--zip", help="test this package instead of building one")
    parser.addoption("--python", help="interpreter that runs the models (numpy and torch)")
    parser.addoption("--official", help="folder of the official AINode 2.0.5 (bench/README.md): also what needs it")
    parser.addoption("--write-numbers", action="store_true", help="with --all: write docs/NUMBERS.md anew")
    build = os.environ.get("AIN_TEST_BUILD", str(ROOT / "build" / "release"))
    parser.addoption("--build-dir", default=build, help="CMake build folder whose programs are tested")


def has_torch(python: str) -> bool:
    """Whether that interpreter can run models."""
    try:
        done = subprocess.run([python, "-c", "import numpy, torch"], capture_output=True, timeout=120, check=False)
    except OSError:
        return False
    return done.returncode == 0


@pytest.fixture(scope="session")
def model_python(request: pytest.FixtureRequest) -> str:
    """An interpreter with numpy and torch: --python, AINODE_PYTHON, the distribution's, or our own."""
    environment = os.environ.get("AINODE_PYTHON") or os.environ.get("AIN_TEST_PYTHON")
    named = request.config.getoption("--python") or environment
    candidates = [named] if named else ["/usr/bin/python3", sys.executable]
    for python in candidates:
        if has_torch(python):
            return python
    pytest.exit(f"no interpreter with numpy and torch among {candidates}; name one with AINODE_PYTHON", 3)


@pytest.fixture(scope="session")
def build_dir(request: pytest.FixtureRequest) -> Path:
    """The build under test: --build-dir, AIN_TEST_BUILD, or the release build."""
    return Path(request.config.getoption("--build-dir")).resolve()


@pytest.fixture(scope="session")
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip under test: --zip, AINODE_ZIP, or one made now."""
    named = request.config.getoption("--zip") or os.environ.get("AINODE_ZIP")
    if named:
        return Path(named).resolve()
    out = tmp_path_factory.mktemp("package")
    subprocess.run([str(ROOT / "packaging" / "make-zip.sh"), str(out)], check=True)
    (made,) = out.glob("*.zip")
    return made


@pytest.fixture(scope="session")
def models(model_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All models of tests/models/make_models.py, one folder each."""
    out = tmp_path_factory.mktemp("models")
    subprocess.run([model_python, str(ROOT / "tests" / "models" / "make_models.py"), str(out)], check=True)
    return out
