"""Fixtures of the doctor's tests; support/machine.py says what a machine is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from generated import ROOT, Service, load_families
from machine import Machine
from node import free_port
from standins.confignode import Bindings, ConfigNode, load_bindings


@pytest.fixture(scope="session")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> Bindings:
    """Python code of the ConfigNode's IDL."""
    return load_bindings(tmp_path_factory.mktemp("bindings"))


@pytest.fixture(scope="session")
def services() -> dict[str, Service]:
    """Clients of every family."""
    return load_families()


@pytest.fixture
def config_node(bindings: Bindings) -> Iterator[ConfigNode]:
    """A ConfigNode that listens."""
    with ConfigNode(bindings) as node:
        yield node


@pytest.fixture
def machine(tmp_path: Path, build_dir: Path, config_node: ConfigNode) -> Machine:
    """An installation that is fit: copies of the built programs, a ConfigNode, directories as a start makes them."""
    tmp_path.chmod(0o755)
    for folder in [tmp_path, *tmp_path.parents][:4]:  # pytest keeps its folders from other users
        if folder.stat().st_mode & 0o055 == 0:
            folder.chmod(0o755)
    home = tmp_path / "ai node"
    shutil.copytree(build_dir / "lib", home / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "sbin", home / "sbin")
    (home / "conf").mkdir()
    for folder in ("data/ainode/system", "data/ainode/models", "logs"):
        (home / folder).mkdir(parents=True)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    made = Machine(home, scratch, build_dir, {})
    made.configure(ain_seed_config_node=config_node.endpoint, ain_rpc_port=str(free_port()))
    return made


@pytest.fixture
def deny(build_dir: Path) -> Path:
    """The program that has the kernel refuse system calls."""
    return build_dir / "tests" / "unit" / "doctor" / "ain_deny"
