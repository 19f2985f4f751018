"""A machine as debootstrap makes it, and what the tests of the packages do with it.

The base system is made once and kept in the cache folder as an archive; each test unpacks a copy. Its processes run in
the chroot with a PID and a mount namespace of their own, so that nothing of a test survives it; the network is ours
(loopback), or none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from debian import Machine, base_system
from generated import Service, load_families
from standins.confignode import Bindings, ConfigNode, load_bindings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def archive() -> Path:
    """The base system, packed; test.sh has made it before."""
    return base_system()


def unpacked(archive: Path, root: Path) -> Iterator[Machine]:
    """A machine for as long as a test needs it."""
    root.mkdir()
    subprocess.run(["tar", "-C", str(root), "-xpf", str(archive)], check=True)
    yield Machine(root)
    shutil.rmtree(root)


@pytest.fixture
def machine(archive: Path, tmp_path: Path) -> Iterator[Machine]:
    """A fresh one."""
    yield from unpacked(archive, tmp_path / "machine")


@pytest.fixture
def newest_machine(tmp_path: Path) -> Iterator[Machine]:
    """One with the newest CPython that Debian has packages for."""
    yield from unpacked(base_system("testing"), tmp_path / "newest machine")


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package under test: AINODE_DEB, or one made now."""
    named = os.environ.get("AINODE_DEB")
    if named:
        return Path(named).resolve()
    out = tmp_path_factory.mktemp("deb")
    subprocess.run([str(ROOT / "packaging" / "make-deb.sh"), str(out)], check=True)
    (made,) = out.glob("*.deb")
    return made


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
    """The cluster."""
    with ConfigNode(bindings, heartbeat_s=0.2) as node:
        yield node
