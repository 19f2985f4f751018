"""A real cluster and an installed AINode per release, shared by all tests of that release."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ainode import Installation, create_model, drop_quietly, processes_of, wait_until
from iotdb_cluster import Cluster, SqlError
from releases import EVERY_RUN, WITH_ALL, takes
from series import load_series

_numbers = itertools.count(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that needs a cluster runs once per release."""
    if "release" in metafunc.fixturenames:
        known = EVERY_RUN + (WITH_ALL if metafunc.config.getoption("--all") else ())
        metafunc.parametrize("release", metafunc.config.getoption("--release") or known, scope="session")


def _release(item: pytest.Item) -> str:
    """The release that a test runs on; empty for a test without a cluster."""
    call = getattr(item, "callspec", None)
    return str(call.params.get("release", "")) if call else ""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps @pytest.mark.releases(...) and runs release after release, so that each cluster starts once."""
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        mark = item.get_closest_marker("releases")
        if item.get_closest_marker("long") and not config.getoption("--all"):
            left.append(item)
            continue
        if item.get_closest_marker("official") and not config.getoption("--official"):
            left.append(item)
            continue
        release = _release(item)
        named = not mark or not release or takes(release, mark.args)
        forbidden = item.get_closest_marker("not_on")
        (left if not named or (forbidden and release in forbidden.args) else kept).append(item)
    items[:] = sorted(kept, key=_release)
    config.hook.pytest_deselected(items=left)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "releases(*names): only on these IoTDB releases and those most like them")
    config.addinivalue_line("markers", "not_on(*names): on none of these releases, which lack what is tested")
    config.addinivalue_line("markers", "long: only with --all")
    config.addinivalue_line("markers", "official: only with --official DIR")


@pytest.fixture(scope="session")
def official(request: pytest.FixtureRequest) -> Path:
    """The official Python AINode 2.0.5; bench/README.md says how the folder is laid out."""
    return Path(request.config.getoption("--official")).resolve()


@pytest.fixture(scope="session")
def cluster(release: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running cluster with the series that the tests read."""
    running = Cluster.start(release, tmp_path_factory.mktemp(f"iotdb-{release}-"))
    try:
        running.wait_ready()
        load_series(running)
        yield running
    finally:
        running.remove()


def install(
    package: Path, model_python: str, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Installation:
    """Unpacks into a folder with a space in its name."""
    return Installation.unpack(package, tmp_path_factory.mktemp("a node") / "in here", model_python, cluster)


@pytest.fixture(scope="session")
def installation(
    cluster: Cluster, package: Path, model_python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """The node of the cluster, Running at first; use `node` to have it Running again."""
    installed = install(package, model_python, cluster, tmp_path_factory)
    try:
        installed.start_running(cluster)
        yield installed
        done = installed.stop()
        assert done.returncode == 0, done.stdout
    finally:
        left = processes_of(installed.home)
        installed.kill()
    assert not left, f"processes {left} outlived the node"


@pytest.fixture
def node(installation: Installation, cluster: Cluster) -> Installation:
    """The node, Running whatever the test before did."""
    if installation.process is None or installation.process.poll() is not None:
        installation.start_running(cluster)
    wait_until(lambda: installation.status(cluster) == "Running", 30, "the node is Running")
    return installation


@pytest.fixture
def other(
    cluster: Cluster, package: Path, model_python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """A second installation, not started: for starts that must be refused."""
    installed = install(package, model_python, cluster, tmp_path_factory)
    try:
        yield installed
        assert not processes_of(installed.home), "a refused start left processes behind"
    finally:
        installed.kill()


@pytest.fixture
def model_id(cluster: Cluster, node: Installation) -> Iterator[str]:
    """An unused model id; dropped afterwards."""
    name = f"model_{next(_numbers)}"
    yield name
    with contextlib.suppress(SqlError):
        drop_quietly(cluster, name)


@pytest.fixture
def make(cluster: Cluster, node: Installation, models: Path) -> Iterator[Any]:
    """make(NAME) registers a model of make_models.py under a fresh id and returns that id."""
    made: list[str] = []

    def register(name: str) -> str:
        made.append(f"{name}_{next(_numbers)}")
        create_model(cluster, made[-1], f"file://{models / name}")
        return made[-1]

    yield register
    for name in made:
        drop_quietly(cluster, name)
