"""From a connected machine to one without a network: make-wheelhouse.sh here, the installation in an empty network."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest
import pythons

SCRIPT = pythons.BOOTSTRAP / "make-wheelhouse.sh"
SMALL = "numpy>=1.24\nPyYAML>=6\n"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A requirements file that is quick to serve."""
    file = tmp_path_factory.mktemp("requirements") / "small.txt"
    file.write_text(SMALL)
    return file


def make(*words: object) -> subprocess.CompletedProcess[str]:
    """Runs make-wheelhouse.sh with pip's own settings: they may name the index of this machine."""
    return subprocess.run(
        [str(SCRIPT), *map(str, words)], capture_output=True, text=True, check=False, timeout=170
    )


@pytest.fixture(scope="module")
def archive(small: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Wheels for the distribution's Python."""
    file = tmp_path_factory.mktemp("a connected machine") / "wheels.tar"
    done = make("-i", pythons.interpreter("debian"), "-o", file, small)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wheels.tar: 2 wheels" in done.stdout
    assert [path.name for path in file.parent.iterdir()] == ["wheels.tar"]
    return file


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    """An installation as far as `ainode env` needs one."""
    folder = tmp_path / "ai node"
    folder.mkdir()
    (folder / "venv-bootstrap").symlink_to(pythons.BOOTSTRAP)
    return folder


def create(
    ainode: pathlib.Path, home: pathlib.Path, small: pathlib.Path, *words: object, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs `ainode env create` with the distribution's Python, where there is no network at all."""
    line = ["unshare", "--user", "--map-root-user", "--net", ainode, "--home", home, "env", "create"]
    environment = pythons.clean_environment(PATH="/usr/bin:/bin", **variables)
    return pythons.run(*line, "--requirements", small, *words, env=environment)


def unpacked(archive: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The archive's folder, to change something in."""
    folder.mkdir()
    shutil.unpack_archive(archive, folder)
    return folder / "wheelhouse"


def test_archive_is_installed(
    ainode: pathlib.Path, home: pathlib.Path, small: pathlib.Path, archive: pathlib.Path
) -> None:
    """Put into the installation under the name that ain_install_offline looks for."""
    shutil.copy(archive, home / "wheelhouse.tar")
    done = create(ainode, home, small, ain_install_offline="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "small.lock" in done.stdout  # exact versions and hashes, from the archive itself
    assert sorted(path.name for path in home.iterdir()) == ["venv", "venv-bootstrap", "venv.lock", "wheelhouse.tar"]
    works = pythons.run(home / "venv" / "bin" / "python", "-c", "import numpy, yaml; print(numpy.ones(3).sum())")
    assert works.stdout == "3.0\n", works.stderr


def test_folder_is_installed(
    ainode: pathlib.Path, home: pathlib.Path, small: pathlib.Path, archive: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = unpacked(archive, tmp_path / "by hand")
    sums = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False)
    assert sums.returncode == 0, sums.stdout
    done = create(ainode, home, small, "--wheelhouse", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert folder.is_dir()


def test_truncated_archive_is_named(
    ainode: pathlib.Path, home: pathlib.Path, small: pathlib.Path, archive: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    cut = tmp_path / "cut.tar"
    cut.write_bytes(archive.read_bytes()[: archive.stat().st_size * 2 // 3])
    done = create(ainode, home, small, "--wheelhouse", cut)
    assert done.returncode == 4
    assert f"the archive {cut} cannot be unpacked; it is damaged or was not copied whole" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (home / "venv.wheels").exists()
    assert not (home / "venv" / ".ainode-complete").exists()
    whole = create(ainode, home, small, "--wheelhouse", archive)
    assert whole.returncode == 0, whole.stdout + whole.stderr


def test_missing_wheel_is_named(
    ainode: pathlib.Path, home: pathlib.Path, small: pathlib.Path, archive: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Also where an archive ends between two members, which tar takes for its end."""
    folder = unpacked(archive, tmp_path / "out")
    (wheel,) = folder.glob("[Pp][Yy][Yy][Aa][Mm][Ll]*.whl")
    wheel.unlink()
    lacking = tmp_path / "lacking.tar"
    subprocess.run(["tar", "-cf", lacking, "-C", folder.parent, "wheelhouse"], check=True)
    for named in (folder, lacking):
        done = create(ainode, home, small, "--wheelhouse", named)
        assert done.returncode == 4
        assert f"{named} lacks the file {wheel.name}, which its own list SHA256SUMS names" in done.stderr
    assert not (home / "venv.wheels").exists()


def test_changed_wheel_is_refused(
    ainode: pathlib.Path, home: pathlib.Path, small: pathlib.Path, archive: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = unpacked(archive, tmp_path / "out")
    (wheel,) = folder.glob("numpy*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    done = create(ainode, home, small, "--wheelhouse", folder)
    assert done.returncode == 4
    assert "DO NOT MATCH THE HASHES" in done.stdout + done.stderr
    assert "installing packages with pip ended with exit code" in done.stderr


def test_wheels_for_another_python_are_named(
    ainode: pathlib.Path, home: pathlib.Path, small: pathlib.Path, archive: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = unpacked(archive, tmp_path / "out")
    (folder / "made-for.txt").write_text("CPython 3.8 sparc64\n")
    done = create(ainode, home, small, "--wheelhouse", folder)
    assert done.returncode == 4
    assert f"the wheels in {folder} are for CPython 3.8 sparc64, and " in done.stderr
    assert "make-wheelhouse.sh --python 3." in done.stderr


def test_nothing_there_is_named(ainode: pathlib.Path, home: pathlib.Path, small: pathlib.Path) -> None:
    done = create(ainode, home, small, ain_install_offline="1")
    assert done.returncode == 4
    assert f"the folder or archive {home}/wheelhouse does not exist" in done.stderr
    assert "make-wheelhouse.sh" in done.stderr
    assert not (home / "venv").exists()


def test_another_version_is_served_from_the_lock(tmp_path: pathlib.Path) -> None:
    """One pip downloads for another Python: the lock's conditions are those of the target."""
    (tmp_path / "tiny.txt").write_text("PyYAML>=6\n")
    words = ["-i", pythons.interpreter("debian"), "--python", "3.9", "-o", tmp_path / "x.tar", tmp_path / "tiny.txt"]
    refused = make(*words)
    assert refused.returncode == 1
    assert "tiny.txt has no exact versions for Python 3.9; name an interpreter" in refused.stderr
    # of the real lock of transformers, which has PyYAML as well
    text = (pythons.BOOTSTRAP / "requirements" / "transformers.lock").read_text().replace("\\\n", " ")
    kept = [line for line in text.splitlines() if line.startswith(("# CPython", "pyyaml==", "regex=="))]
    (tmp_path / "tiny.lock").write_text("\n".join(kept) + "\n")
    done = make(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    wheels = sorted(path.name for path in unpacked(tmp_path / "x.tar", tmp_path / "out").glob("*.whl"))
    assert len(wheels) == 2
    assert all("-cp39-cp39-" in name for name in wheels), wheels
    assert (tmp_path / "out" / "wheelhouse" / "made-for.txt").read_text().startswith("CPython 3.9 ")


def test_usage(tmp_path: pathlib.Path) -> None:
    assert make("--bogus").returncode == 2
    assert "make-wheelhouse.sh [-i PYTHON]" in make("--help").stdout
    absent = make("nothing", "-o", tmp_path / "x.tar")
    assert absent.returncode == 1
    assert "there is no requirements file" in absent.stderr
    assert list(tmp_path.iterdir()) == []
