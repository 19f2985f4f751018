"""The main job on every supported CPython: start, register, infer, stop; embedded and executed, forked and spawned.

An interpreter without a shared libpython is executed instead of embedded. Of those here each has one, so for that half
the probe is one that finds none.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pythons
from caller import Caller
from environments import ENVIRONMENTS, Environment
from generated import Service, load_families
from node import Node, new_node
from pipelines import drift, write_pipeline
from processes import children, command
from standins.confignode import Bindings, load_bindings

TABLE_HEAD = ("interpreter", "version", "numpy", "torch", "runs", "workers", "model", "ready s", "first ms")
SAID = re.compile(r"Python (\S+) at (.+) \(prefix .+, (embedding .+|executed), numpy (\S+), torch (\S+)\)")


@pytest.fixture(scope="session")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> Bindings:
    """Python code of the ConfigNode's IDL."""
    return load_bindings(tmp_path_factory.mktemp("bindings"))


@pytest.fixture(scope="session")
def services() -> dict[str, Service]:
    """Clients of every family."""
    return load_families()


@pytest.fixture(scope="module", params=ENVIRONMENTS, ids=lambda environment: environment.minor)
def environment(request: pytest.FixtureRequest) -> Environment:
    """An interpreter with its packages, made now if this is the first time on this machine."""
    made: Environment = request.param
    made.make()
    return made


@pytest.fixture(scope="module")
def folder(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for that interpreter: TorchScript of its own torch, else a pipeline on NumPy."""
    out = tmp_path_factory.mktemp("models")
    if not environment.torch:
        write_pipeline(out / "drift", framework=None)
        return out / "drift"
    done = pythons.run(environment.python, pythons.ROOT / "tests" / "models" / "make_models.py", out, "lstm")
    assert done.returncode == 0, done.stderr
    return out / "lstm"


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[tuple[str, ...]]]:
    """The rows of all runs; printed at the end, past pytest's capture."""
    rows: list[tuple[str, ...]] = [TABLE_HEAD]
    yield rows
    widths = [max(len(row[column]) for row in rows) for column in range(len(TABLE_HEAD))]
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print()
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def install(node: Node, mode: str) -> None:
    """Makes the directory; for "executed" with a probe that finds no shared libpython."""
    node.install()
    if mode == "executed":
        lib = node.home / "lib"
        built = lib.resolve()
        lib.unlink()
        lib.mkdir()
        for path in built.iterdir():
            if path.name != "venv-bootstrap":
                (lib / path.name).symlink_to(path)
        (lib / "venv-bootstrap").mkdir()
        probe = (pythons.BOOTSTRAP / "probe.py").read_text()
        row = 'rows += [("libpython", path) for path in libpython_candidates(config)]'
        assert probe.count(row) == 1
        (lib / "venv-bootstrap" / "probe.py").write_text(probe.replace(row, "pass"))
        (lib / "venv-bootstrap" / "requirements").symlink_to(pythons.BOOTSTRAP / "requirements")


def check_answers(caller: Caller, folder: Path, torch: bool) -> float:
    """Compares what the model answers. Returns how long the first answer took, in seconds."""
    if torch:
        sample = json.loads((folder / "sample.json").read_text())
        values = np.array(sample["input"], np.float32)
        expected = np.array(sample["output"])
    else:
        values = np.sin(np.arange(50)[:, None] / 7 + np.arange(2)) * 10 + np.arange(50)[:, None]
        expected = drift(values, 96)
    begun = time.monotonic()
    found = caller.infer("matrix", values)
    took = time.monotonic() - begun
    assert found.shape == expected.shape
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-6 if torch else 0)
    assert np.array_equal(caller.infer("matrix", values), found)
    return took


def check_processes(node: Node, mode: str, workers: str, python: Path) -> None:
    """What the workers are: children of a prototype or of the host, our program or the interpreter itself."""
    lines = {pid: command(pid) for pid in children(node.pid)}
    assert lines
    assert any("prototype" in line for line in lines.values()) == (workers == "fork"), lines
    for pid in lines:
        program = Path(f"/proc/{pid}/exe").resolve()
        assert program == (python.resolve() if mode == "executed" else node.build / "lib" / "ainode-runtime")


@pytest.mark.timeout(2400)  # the first time, packages are downloaded; a run itself takes seconds
@pytest.mark.parametrize("workers", ["fork", "spawn"])
@pytest.mark.parametrize("mode", ["embedded", "executed"])
def test_main_job(
    environment: Environment,
    folder: Path,
    mode: str,
    workers: str,
    build_dir: Path,
    bindings: Bindings,
    services: dict[str, Service],
    table: list[tuple[str, ...]],
    tmp_path: Path,
) -> None:
    node = new_node(
        tmp_path, build_dir, str(environment.python), bindings, services, AIN_WORKER_START_METHOD=workers
    )
    if not environment.torch:
        node.allow("lacks torch")
    try:
        install(node, mode)
        begun = time.monotonic()
        node.start()
        ready = time.monotonic() - begun
        said = SAID.search(node.log())
        assert said, node.log()
        version, _, how, numpy, torch = said.groups()
        assert how.startswith("embedding" if mode == "embedded" else "executed")
        assert (torch != "absent") == environment.torch
        assert environment.minor == "debian" or version.startswith(f"{environment.minor}.")
        for package in environment.packages:
            name, _, exact = package.partition("==")
            assert {"numpy": numpy, "torch": torch}[name].split("+")[0] == exact
        with node.call() as caller:
            caller.register("matrix", folder.as_uri())
            assert caller.states() == {"matrix": "ACTIVE"}
            first = check_answers(caller, folder, environment.torch)
            check_processes(node, mode, workers, environment.python)
            caller.drop("matrix")
        node.stop()
        assert not node.complaints()
    finally:
        node.kill()
        node.config_node.stop()
    model = "TorchScript" if environment.torch else "NumPy pipeline"
    row = (environment.minor, version, numpy, torch, mode, workers, model, f"{ready:.1f}", f"{first * 1e3:.0f}")
    table.append(row)


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("form", ["relative", "link with a space", "folder", "moved", "shim"])
def test_ways_to_name_it(
    form: str, build_dir: Path, bindings: Bindings, services: dict[str, Service], tmp_path: Path
) -> None:
    """However the interpreter is written, the models run with that very one."""
    (environment,) = [one for one in ENVIRONMENTS if one.minor == "3.11"]
    environment.make()
    settings: dict[str, str] = {}
    if form == "relative":
        named = os.path.relpath(environment.python, "/")  # where the node is started
        prefix = environment.folder
    elif form == "shim":
        real = pythons.interpreter("3.11")
        named = str(real.parents[3] / "shims" / "python3")
        assert os.access(named, os.X_OK), "pyenv's shims are missing: pyenv rehash"
        (site,) = environment.folder.glob("lib/python*/site-packages")
        settings = {"PYENV_VERSION": real.parents[1].name, "PYTHONPATH": str(site)}
        prefix = real.parents[1]
    elif form == "moved":
        shutil.copytree(environment.folder, tmp_path / "once here", symlinks=True)
        (tmp_path / "once here").rename(tmp_path / "now there")
        prefix = tmp_path / "now there"
        named = str(prefix / "bin" / "python3")
    else:
        prefix = tmp_path / "my environment"
        prefix.symlink_to(environment.folder)
        named = str(prefix if form == "folder" else prefix / "bin" / "python")
    node = new_node(tmp_path, build_dir, named, bindings, services, **settings)
    node.allow("lacks torch")
    try:
        node.start()
        assert f"(prefix {prefix}, " in node.log()
        folder = write_pipeline(tmp_path / "drift", framework=None)
        with node.call() as caller:
            caller.register("matrix", folder)
            check_answers(caller, tmp_path / "drift", torch=False)
        node.stop()
        assert not node.complaints()
    finally:
        node.kill()
        node.config_node.stop()


def test_both_majors_of_numpy_are_covered() -> None:
    packages = " ".join(" ".join(environment.packages) for environment in ENVIRONMENTS)
    assert "numpy==1.26" in packages and "numpy==2." in packages
    assert {environment.minor for environment in ENVIRONMENTS} == {"3.9", "3.10", "3.11", "3.12", "3.13", "debian"}
    assert [environment.minor for environment in ENVIRONMENTS if environment.torch] == ["3.9", "3.13", "debian"]
