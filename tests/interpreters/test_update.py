"""`ainode env update`: a folder is the index; its numpy and torch can be imported and used as far as the proof does."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import pythons
from generated import load_families
from node import new_node
from pipelines import IMPORT, write_pipeline
from standins.confignode import load_bindings

#: As much of numpy and torch as is asked to prove an installation.
USABLE = '''\
__version__ = "{version}"


class Matrix:
    dot = mm = lambda self, other: self
    numpy = lambda self: self


def ones(*shape):
    return Matrix()


def set_num_threads(number):
    pass
'''
SETS = {"core": ("numpy", "torch"), "more": ("ain-more-things",)}


@pytest.fixture
def index(tmp_path: pathlib.Path) -> pathlib.Path:
    """Versions 1.5, 2.5 and 3.5 of everything; the last of torch cannot be imported."""
    folder = tmp_path / "index"
    for version in ("1.5", "2.5", "3.5"):
        for name in ("numpy", "torch", "ain_more_things"):
            text = "raise OSError('built for another machine')\n" if (name, version) == ("torch", "3.5") else USABLE
            pythons.make_wheel(folder, name, version, text.format(version=version), script=True)
    return folder


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    """An installation; its path has a space."""
    bootstrap = tmp_path / "ai node" / "venv-bootstrap"
    (bootstrap / "requirements").mkdir(parents=True)
    for file in pythons.BOOTSTRAP.glob("*.py"):
        (bootstrap / file.name).symlink_to(file)
    return bootstrap.parent


def release(home: pathlib.Path, index: pathlib.Path, **versions: str) -> None:
    """Writes the sets of a release that asks for these versions; without any, the ranges >=1 and no lock."""
    folder = home / "venv-bootstrap" / "requirements"
    for name, packages in SETS.items():
        (folder / f"{name}.txt").write_text("".join(f"{package}>=1\n" for package in packages))
        lines = ["# CPython 3.9-3.50: of a test"]
        for package in packages:
            module = package.replace("-", "_")
            version = versions.get(module, "")
            wheel = index / f"{module}-{version}-py3-none-any.whl"
            if version:
                digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
                lines.append(f"{package}=={version} ; python_version >= '3' \\\n    --hash=sha256:{digest}")
        lines.append("ain-absent==1 ; python_version < '3' --hash=sha256:" + "0" * 64)
        (folder / f"{name}.lock").write_text("\n".join(lines) + "\n")
        if not versions:
            (folder / f"{name}.lock").unlink()


def env(
    ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path, *words: object, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs `ainode env`; what pip sees is the index alone."""
    environment = pythons.clean_environment(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(index), **variables)
    return pythons.run(ainode, "--home", home, "env", *words, env=environment)


def made(ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path) -> None:
    """The venv of an older release."""
    release(home, index, numpy="1.5", torch="1.5", ain_more_things="1.5")
    done = env(ainode, home, index, "create")
    assert done.returncode == 0, done.stdout + done.stderr


def state(home: pathlib.Path) -> list[tuple[str, int, int, bytes]]:
    """All of the venv: names, inodes, times, what is in the files."""
    found = []
    for path in sorted((home / "venv").rglob("*")):
        info = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found.append((str(path), info.st_ino, info.st_mtime_ns, data))
    return found


def beside(home: pathlib.Path) -> list[str]:
    """What lies in the installation."""
    return sorted(path.name for path in home.iterdir())


def test_brings_the_versions_of_the_release(ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path) -> None:
    made(ainode, home, index)
    nothing = env(ainode, home, index, "update")
    assert nothing.returncode == 0, nothing.stderr
    assert nothing.stdout == f"{home}/venv has what this release asks for; nothing had to be changed\n"
    (home / "venv" / "the operator's").write_text("stays")
    before = state(home)
    release(home, index, numpy="2.5", torch="1.5", ain_more_things="2.5")  # the set "more" is not in the venv
    told = env(ainode, home, index, "update", "-n")
    assert told.returncode == 4
    assert told.stdout == f"{home}/venv is to be updated: numpy is 1.5 and not ==2.5\n"
    assert state(home) == before
    done = env(ainode, home, index, "update")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{home}/venv is updated: numpy 1.5 to 2.5"
    assert beside(home) == ["venv", "venv-bootstrap", "venv.lock"]
    assert sorted(path.name for path in (home / "venv").glob(".ainode-*")) == [".ainode-complete"]
    assert (home / "venv" / "the operator's").read_text() == "stays"
    assert env(ainode, home, index, "check").returncode == 0
    # the scripts, new and old ones, work where the venv lies now
    for script, version in (("numpy-version", "2.5"), ("torch-version", "1.5")):
        said = pythons.run(home / "venv" / "bin" / script)
        assert said.stdout == f"{version} {home}/venv\n", said.stderr
    found = [path for path in (home / "venv").rglob("*") if path.is_file() and b".ainode-new" in path.read_bytes()]
    assert [path for path in found if path.suffix != ".pyc"] == []
    assert env(ainode, home, index, "update").stdout == nothing.stdout


def test_sets_that_are_there_are_brought_along(ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path) -> None:
    made(ainode, home, index)
    more = home / "venv-bootstrap" / "requirements" / "more.txt"
    assert env(ainode, home, index, "create", "--requirements", more).returncode == 0
    release(home, index, numpy="2.5", torch="2.5", ain_more_things="2.5")
    done = env(ainode, home, index, "update")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith("ain-more-things 1.5 to 2.5, numpy 1.5 to 2.5, torch 1.5 to 2.5")
    # what somebody took away or replaced comes back
    pip = [home / "venv" / "bin" / "python3", "-m", "pip"]
    assert pythons.run(*pip, "uninstall", "-y", "torch").returncode == 0
    assert pythons.run(*pip, "install", "--no-index", "--find-links", index, "numpy==1.5").returncode == 0
    done = env(ainode, home, index, "update")
    assert done.stdout.splitlines()[-1].endswith("is updated: numpy 1.5 to 2.5, torch 2.5 added")
    again = env(ainode, home, index, "update", "-r")
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.splitlines()[-1] == f"{home}/venv is updated: everything was installed again"


def test_failure_changes_nothing(ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path) -> None:
    """What is absent, another file than the lock's, of no use on this machine, or too large for the disk."""
    made(ainode, home, index)
    before = state(home)
    environment = pythons.clean_environment(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(index))
    wheel = index / "torch-2.5-py3-none-any.whl"
    good = wheel.read_bytes()
    for fault in ("absent", "hash", "import", "full"):
        if fault == "full":
            pythons.make_wheel(index, "torch", "2.5", USABLE + "#" * 200_000)
        release(home, index, numpy="2.5", torch="3.5" if fault == "import" else "2.5", ain_more_things="1.5")
        if fault == "absent":
            wheel.unlink()
        elif fault == "hash":
            pythons.make_wheel(index, "torch", "2.5", "another = 1\n")
        limit = ["prlimit", "--fsize=100000"] if fault == "full" else []
        done = pythons.run(*limit, ainode, "--home", home, "env", "update", env=environment)
        assert done.returncode == 4, (fault, done.stdout + done.stderr)
        assert f"{home}/venv stays as it was: " in done.stderr
        if fault == "import":
            assert "OSError: built for another machine" in done.stderr
        assert state(home) == before, fault
        assert beside(home) == ["venv", "venv-bootstrap", "venv.lock"]
        assert env(ainode, home, index, "check").returncode == 0
        wheel.write_bytes(good)


def test_cut_short(ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path) -> None:
    """Killed in the middle: the old one goes on, and the next update clears away and does it."""
    made(ainode, home, index)
    before = state(home)
    release(home, index, numpy="2.5", torch="2.5", ain_more_things="1.5")
    environment = pythons.clean_environment(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(index))
    fresh = home / "venv.ainode-new"
    with subprocess.Popen(
        [str(ainode), "--home", str(home), "env", "update"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    ) as begun:  # fmt: skip
        deadline = time.monotonic() + 90
        while not (fresh / "bin").exists():
            assert time.monotonic() < deadline and begun.poll() is None
            time.sleep(0.01)
        os.killpg(begun.pid, signal.SIGKILL)
    assert fresh.exists()
    assert state(home) == before
    (fresh / "left-over").touch()
    done = env(ainode, home, index, "update")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith("is updated: numpy 1.5 to 2.5, torch 1.5 to 2.5")
    assert beside(home) == ["venv", "venv-bootstrap", "venv.lock"]
    assert not (home / "venv" / "left-over").exists()
    # the moment between two renames, where a file system cannot exchange folders
    (home / "venv").rename(home / "venv.ainode-old")
    assert env(ainode, home, index, "update").returncode == 0
    assert env(ainode, home, index, "check").returncode == 0
    assert beside(home) == ["venv", "venv-bootstrap", "venv.lock"]


def test_file_system_without_exchange(ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path) -> None:
    """As on NFS: two renames do it."""
    made(ainode, home, index)
    release(home, index, numpy="2.5", torch="1.5", ain_more_things="1.5")
    traced = {"ASAN_OPTIONS": "detect_leaks=0"}  # it cannot, below strace
    environment = pythons.clean_environment(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(index), **traced)
    words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=renameat2:error=EINVAL", ainode]
    done = pythons.run(*words, "--home", home, "env", "update", env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith("is updated: numpy 1.5 to 2.5")
    assert beside(home) == ["venv", "venv-bootstrap", "venv.lock"]


def test_offline(ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path) -> None:
    """A folder of wheels without locks: the ranges count, and what is within them stays; without a network."""
    made(ainode, home, index)
    release(home, index)
    (home / "venv-bootstrap" / "requirements" / "core.txt").write_text("numpy>=2,<3\ntorch>=1\n")
    words = ["unshare", "--user", "--map-root-user", "--net", ainode, "--home", home, "env", "update"]
    done = pythons.run(*words, "--wheelhouse", index)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith("is updated: numpy 1.5 to 2.5")


def test_venv_behind_a_link(
    ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Moved elsewhere by the operator: the link stays, and the folder behind it is replaced."""
    made(ainode, home, index)
    shutil.move(home / "venv", tmp_path / "another disk")
    (home / "venv").symlink_to(tmp_path / "another disk")
    release(home, index, numpy="2.5", torch="1.5", ain_more_things="1.5")
    done = env(ainode, home, index, "update")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (home / "venv").is_symlink()
    assert not list(tmp_path.glob("another disk.*"))
    assert pythons.run(home / "venv" / "bin" / "numpy-version").stdout == f"2.5 {home}/venv\n"


def test_what_is_refused(
    ainode: pathlib.Path, home: pathlib.Path, index: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    release(home, index, numpy="2.5", torch="2.5", ain_more_things="2.5")
    absent = env(ainode, home, index, "update")
    assert absent.returncode == 4
    assert f"{home}/venv is absent, so there is nothing to update; to make it: " in absent.stderr
    named = env(ainode, home, index, "update", "-i", "/usr/bin/python3")
    assert named.returncode == 3
    assert "update changes only the venv that AINode made" in named.stderr
    assert pythons.run(pythons.interpreter("debian"), "-m", "venv", home / "venv").returncode == 0
    before = state(home)
    operators = env(ainode, home, index, "update")
    assert operators.returncode == 3
    assert f"{home}/venv was made by you, so AINode replaces no version in it" in operators.stderr
    assert state(home) == before
    for done in (absent, named, operators):
        assert done.stderr.count("\n") == 1


SAYS_MAJOR = (
    IMPORT
    + """
import numpy as np


class Major(ForecastPipeline):
    def forecast(self, inputs, **infer_kwargs):
        major = float(np.__version__.split(".")[0])
        return [np.full((len(item["targets"]), int(infer_kwargs["output_length"])), major) for item in inputs]
"""
)


def test_below_a_running_node(build_dir: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """What is loaded answers on; what is loaded afterwards has the new NumPy. With the wheels of the real one."""
    wanted = tmp_path / "wanted.txt"
    uri = write_pipeline(tmp_path / "major", SAYS_MAJOR, "pipeline_major.Major", framework="numpy")
    (tmp_path / "bindings").mkdir()
    bindings = load_bindings(tmp_path / "bindings")
    node = new_node(tmp_path / "node", build_dir, "", bindings, load_families())
    node.install()
    node.python = str(node.home / "venv" / "bin" / "python3")
    node.allow("lacks torch")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment["PATH"] = f"{pythons.interpreter('3.11').parent}:{os.environ['PATH']}"

    def env_of_node(action: str, versions: str) -> subprocess.CompletedProcess[str]:
        wanted.write_text(f"numpy{versions}\n")
        words = ["env", action, "--requirements", wanted]
        return pythons.run(build_dir / "lib" / "ainode", "--home", node.home, *words, env=environment, timeout=300)

    def major(model: str) -> float:
        return float(caller.infer(model, np.ones((8, 1)))[0, 0])

    done = env_of_node("create", "==1.26.4")
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        node.start()
        with node.call() as caller:
            caller.register("before", uri)
            assert major("before") == 1
            done = env_of_node("update", ">=2")
            assert done.returncode == 0, done.stdout + done.stderr
            assert "numpy 1.26.4 to 2." in done.stdout.splitlines()[-1]
            assert major("before") == 1
            caller.register("after", uri)
            assert (major("after"), major("before")) == (2, 1)
        node.stop()
        assert not node.complaints()
    finally:
        node.kill()
        node.config_node.stop()
