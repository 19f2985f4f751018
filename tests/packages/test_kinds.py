"""Every kind of interpreter on a clean machine: unpack the zip, start with -i, register, infer, stop, remove."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pythons
from debian import Machine
from environments import ENVIRONMENTS
from generated import Service
from installed import register_and_ask, running, settings, unpack, write_model
from node import free_port
from standins.confignode import ConfigNode

HOME = "/opt/ain node"
PYENV_MINOR = "3.12"
SAID = re.compile(r"Python (\S+) at (.+) \(prefix (.+), (embedding|executed)")


@dataclass
class Kind:
    """An interpreter of the machine."""

    named: str
    """After -i."""
    version: str
    runs: str
    """"embedding" (a libpython that fits is there) or "executed"."""
    environment: dict[str, str] = field(default_factory=dict)


def whole_life(
    machine: Machine, kind: Kind, package: Path, config_node: ConfigNode, services: dict[str, Service]
) -> None:
    """From the zip to an empty place."""
    home = unpack(machine, package, HOME)
    port = free_port()
    log = machine.root.parent / "node.log"
    log.unlink(missing_ok=True)
    variables = {**settings(config_node, port), **kind.environment}
    words = ["sh", f"{HOME}/sbin/start-ainode.sh", "-i", kind.named]
    with running(machine, config_node, *words, **variables):
        register_and_ask(services, port, "/srv/drift")
    said = SAID.search(log.read_text())
    assert said, log.read_text()
    version, _, _, runs = said.groups()
    assert (version.startswith(kind.version), runs) == (True, kind.runs), said[0]
    print(kind.named, said[0])
    removed = machine.run("sh", f"{HOME}/sbin/remove-ainode.sh", **settings(config_node, port))
    assert "is removed from the cluster" in removed
    shutil.rmtree(home)


def lives(
    machine: Machine, kinds: list[Kind], package: Path, config_node: ConfigNode, services: dict[str, Service]
) -> None:
    """All of them, one after the other; nothing is left outside the installation."""
    write_model(machine)
    before = machine.files(HOME)
    for kind in kinds:
        whole_life(machine, kind, package, config_node, services)
    assert {path for path in machine.files() - before if "__pycache__" not in path} == set()


def refused(machine: Machine, package: Path, python: str) -> str:
    """What a start with that interpreter says, instead of starting."""
    home = unpack(machine, package, HOME)
    said = machine.run("sh", f"{HOME}/sbin/start-ainode.sh", "-i", python, code=4)
    shutil.rmtree(home)
    return said


def test_of_the_distribution(
    machine: Machine, package: Path, config_node: ConfigNode, services: dict[str, Service]
) -> None:
    """Debian links its interpreter statically, and the library is a package of its own, which is absent here."""
    machine.run("python3", "-m", "venv", "--system-site-packages", "/opt/a venv")
    machine.inside("/usr/local/bin/py").symlink_to("/usr/bin/python3")
    names = ["/usr/bin/python3", "/opt/a venv/bin/python", "/opt/a venv", "/usr/local/bin/py"]
    lives(machine, [Kind(name, "3.11.", "executed") for name in names], package, config_node, services)
    # and the one that is no CPython
    for name in ("/usr/bin/pypy3", "pypy3"):
        said = refused(machine, package, name)
        assert re.search(rf"{name} is pypy 3\.\S+, and AINode runs models with CPython 3.9 or newer", said)
        assert "name another interpreter with -i PYTHON" in said


def bring_pyenv(machine: Machine) -> tuple[Path, Path]:
    """Copies a version of pyenv, with NumPy, to the same place of the machine. Returns the place here and there."""
    source = pythons.interpreter(PYENV_MINOR).parents[1]
    place = machine.inside(str(source))
    left_out = shutil.ignore_patterns("test", "idlelib", "__pycache__", "*.a", "share", "pip*")
    shutil.copytree(source, place, symlinks=True, ignore=left_out)
    (environment,) = [one for one in ENVIRONMENTS if one.minor == PYENV_MINOR]
    environment.make()
    for path in (environment.folder / "lib" / f"python{PYENV_MINOR}" / "site-packages").glob("numpy*"):
        shutil.copytree(path, place / "lib" / f"python{PYENV_MINOR}" / "site-packages" / path.name)
    return source, place


def relocate_as_conda(source: Path, place: Path) -> None:
    """What conda does to the files of a package: the search path of libraries is relative, texts have the new place."""
    python = place / "bin" / f"python{PYENV_MINOR}"
    data = python.read_bytes()
    old, new = os.fsencode(source / "lib"), b"$ORIGIN/../lib"
    assert data.count(old + b"\0") == 1
    python.unlink()  # it is a link to the data of another place
    python.write_bytes(data.replace(old + b"\0", new.ljust(len(old) + 1, b"\0")))
    python.chmod(0o755)
    (place / "conda-meta").mkdir()
    (place / "conda-meta" / "history").write_text("")


def test_of_pyenv_and_conda(
    machine: Machine, package: Path, config_node: ConfigNode, services: dict[str, Service]
) -> None:
    """Built with a shared library: where it was built, moved, and in the layout of a conda environment."""
    source, place = bring_pyenv(machine)
    moved, conda = machine.inside("/opt/moved python"), machine.inside("/opt/conda/envs/ain")
    for copy in (moved, conda):
        shutil.copytree(place, copy, symlinks=True, copy_function=os.link)
    relocate_as_conda(source, conda)
    library = {"LD_LIBRARY_PATH": "/opt/moved python/lib"}
    kinds = [
        Kind(f"{source}/bin/python3", f"{PYENV_MINOR}.", "embedding"),
        Kind("/opt/conda/envs/ain/bin/python", f"{PYENV_MINOR}.", "embedding"),
        Kind("/opt/conda/envs/ain", f"{PYENV_MINOR}.", "embedding"),
        Kind("/opt/moved python/bin/python3", f"{PYENV_MINOR}.", "embedding", library),
    ]
    shutil.move(place, place.with_name("away"))
    said = refused(machine, package, "/opt/moved python/bin/python3")
    assert "error while loading shared libraries: libpython" in said
    shutil.move(place.with_name("away"), place)
    lives(machine, kinds, package, config_node, services)


def test_newest(
    newest_machine: Machine, package: Path, config_node: ConfigNode, services: dict[str, Service]
) -> None:
    """CPython 3.14 or what has followed it: embedded, and executed where the library is not there."""
    machine = newest_machine
    version = machine.run("python3", "-c", "import sys; print('%d.%d.' % sys.version_info[:2])").strip()
    assert int(version.split(".")[1]) >= 14
    machine.run("python3", "-m", "venv", "--system-site-packages", "/opt/a venv")
    kinds = [Kind("/usr/bin/python3", version, "embedding"), Kind("/opt/a venv", version, "embedding")]
    lives(machine, kinds, package, config_node, services)
    for path in machine.inside("/usr/lib").rglob(f"libpython{version}*so*"):
        path.unlink()
    shutil.rmtree(machine.inside("/srv/drift"))
    kinds = [Kind("/usr/bin/python3", version, "executed")]
    lives(machine, kinds, package, config_node, services)
