"""Fixtures of the interpreter tests."""

from __future__ import annotations

import pathlib

import pytest
import pythons


@pytest.fixture(scope="session")
def ask() -> pathlib.Path:
    """The program that prints every field of a probe."""
    return pythons.built("tests/unit/env/ain_env_ask")


@pytest.fixture(scope="session")
def ainode() -> pathlib.Path:
    """The ainode program: the real one, or its command line with stand-ins."""
    return pythons.built("lib/ainode", "tests/unit/app/ainode")


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with everything that requirements/core.txt asks for, small."""
    folder = tmp_path_factory.mktemp("wheel house")
    pythons.make_wheel(folder, "numpy", "99.1")
    pythons.make_wheel(folder, "torch", "99.2")
    return folder
