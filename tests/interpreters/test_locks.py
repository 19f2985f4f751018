"""Locks: that those of the package are whole, and that an installation keeps to them."""

from __future__ import annotations

import hashlib
import pathlib
import re
import subprocess

import pytest
import pythons
from packaging.markers import Marker
from packaging.requirements import Requirement

FOLDER = pythons.BOOTSTRAP / "requirements"
SETS = sorted(path.stem for path in FOLDER.glob("*.txt"))
MINORS = ["3.9", "3.10", "3.11", "3.12", "3.13"]
PIN = re.compile(r"^([a-z0-9][a-z0-9.-]*)==([^ ;]+)(?: ; ([^\\]+?))? ((?:--hash=sha256:[0-9a-f]{64} ?)+)$")


def entries(name: str) -> list[tuple[str, str, str | None]]:
    """Returns (name, version, marker) of every pin; each line must be one, and have hashes."""
    text = (FOLDER / f"{name}.lock").read_text().replace("\\\n", " ")
    found = []
    for line in text.splitlines()[1:]:
        match = PIN.match(re.sub(r" +", " ", line.strip()))
        assert match, line[:120]
        found.append((match[1], match[2], match[3]))
    return found


def pins(name: str, minor: str, machine: str = "x86_64") -> dict[str, str]:
    """Returns {name: version} of what counts for that Python; each name once."""
    here = {
        "python_version": minor,
        "python_full_version": f"{minor}.5",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": machine,
        "os_name": "posix",
    }
    found: dict[str, str] = {}
    for package, version, marker in entries(name):
        if marker is None or Marker(marker).evaluate(here):
            assert package not in found, package
            found[package] = version
    return found


def ranges(name: str, minor: str) -> list[Requirement]:
    """Returns what the set asks for with that Python."""
    lines = [line for line in (FOLDER / f"{name}.txt").read_text().splitlines() if line and not line.startswith("#")]
    asked = [Requirement(line) for line in lines]
    return [one for one in asked if one.marker is None or one.marker.evaluate({"python_version": minor})]


@pytest.mark.parametrize("name", SETS)
def test_lock_of_set(name: str) -> None:
    """For every Python that it names there is one version of everything asked for, in its range, and no place."""
    text = (FOLDER / f"{name}.lock").read_text()
    assert text.startswith("# CPython 3.9-3.13: ")
    assert "://" not in text
    for minor in MINORS:
        found = pins(name, minor)
        for requirement in ranges(name, minor):
            package = requirement.name.lower().replace("_", "-")
            assert package in found, (minor, package)
            assert requirement.specifier.contains(found[package]), (minor, package, found[package])
    assert pins(name, "3.12", "aarch64").keys() >= {
        one.name.lower().replace("_", "-") for one in ranges(name, "3.12")
    }


@pytest.mark.parametrize("minor", MINORS)
def test_sets_suit_each_other(minor: str) -> None:
    together: dict[str, str] = {}
    for name in SETS:
        for package, version in pins(name, minor).items():
            assert together.setdefault(package, version) == version, (name, package)
    assert {"numpy", "torch", "sktime", "transformers"} <= together.keys()


# --- installations: an index of two versions of two packages, in a folder


@pytest.fixture
def index(tmp_path: pathlib.Path) -> pathlib.Path:
    """numpy and torch, in versions 1.5 and 2.5."""
    for name in ("numpy", "torch"):
        for version in ("1.5", "2.5"):
            pythons.make_wheel(tmp_path / "index", name, version)
    return tmp_path / "index"


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    """An installation with the ranges numpy>=1 and torch>=1, and no lock."""
    requirements = tmp_path / "home" / "venv-bootstrap" / "requirements"
    requirements.mkdir(parents=True)
    (requirements.parent / "probe.py").symlink_to(pythons.BOOTSTRAP / "probe.py")
    (requirements / "core.txt").write_text("numpy>=1\ntorch>=1\n")
    return tmp_path / "home"


def lock(home: pathlib.Path, index: pathlib.Path, span: str = "3.9-3.13", wrong: str = "") -> None:
    """Writes the lock for versions 1.5; `wrong` names the package whose hash is another's."""
    lines = [f"# CPython {span}: of a test"]
    for name in ("numpy", "torch"):
        data = (index / f"{name}-1.5-py3-none-any.whl").read_bytes()
        lines.append(f"{name}==1.5 --hash=sha256:{hashlib.sha256(data + wrong.encode() * (name == wrong)).hexdigest()}")
    (home / "venv-bootstrap" / "requirements" / "core.lock").write_text("\n".join(lines) + "\n")


def create(
    ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path, *words: object, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs `ainode env create`; what pip sees is the index alone."""
    environment = pythons.clean_environment(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(index), **variables)
    return pythons.run(ainode, "--home", home, "env", "create", *words, env=environment)


def test_installs_exactly_what_the_lock_says(ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path) -> None:
    lock(home, index)
    done = create(ainode, home, index)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Successfully installed numpy-1.5 torch-1.5" in done.stdout
    assert "No exact versions" not in done.stdout


def test_another_file_of_that_name_is_refused(ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path) -> None:
    lock(home, index, wrong="torch")
    done = create(ainode, home, index)
    assert done.returncode == 4
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stdout + done.stderr
    assert not (home / "venv" / ".ainode-complete").exists()


def test_python_without_a_lock_gets_the_ranges(ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path) -> None:
    lock(home, index, span="3.50-3.60")
    done = create(ainode, home, index)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Successfully installed numpy-2.5 torch-2.5" in done.stdout
    assert "core.lock has no exact versions for Python 3." in done.stdout


def test_what_the_operator_has_stays(ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path) -> None:
    """With numpy in place, only torch comes, and not in the version that goes with another numpy."""
    lock(home, index)
    python = home / "venv" / "bin" / "python"
    assert pythons.run(pythons.interpreter("debian"), "-m", "venv", home / "venv").returncode == 0
    words = ["-m", "pip", "install", "--no-index", "--find-links", index, "numpy==2.5"]
    assert pythons.run(python, *words).returncode == 0
    done = create(ainode, home, index)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No exact versions (what this environment holds already stays)" in done.stdout
    assert "Successfully installed torch-2.5" in done.stdout


def test_torch_from_an_index_of_its_own(
    ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """ain_torch_index names an index with the build for this machine; only torch comes from there."""
    lock(home, index)
    own = tmp_path / "own index" / "torch"
    pythons.make_wheel(own, "torch", "2.1+cpu")
    (own / "index.html").write_text('<a href="torch-2.1+cpu-py3-none-any.whl">torch-2.1+cpu-py3-none-any.whl</a>')
    (home / "conf").mkdir()
    (home / "conf" / "ainode-env.sh").write_text(f"ain_torch_index={own.parent.as_uri()}\n")
    environment = pythons.clean_environment(PIP_FIND_LINKS=str(index))
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    words = ["env", "create", "-m", mirror.as_uri()]
    for wheel in index.glob("torch*"):
        wheel.unlink()
    done = pythons.run(ainode, "--home", home, *words, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Installing torch from {own.parent.as_uri()}" in done.stdout
    assert "Successfully installed torch-2.1+cpu" in done.stdout
    assert "Successfully installed numpy-2.5" in done.stdout
    assert "No exact versions (ain_torch_index names another source)" in done.stdout
