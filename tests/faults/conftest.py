"""A node under test, and what every test must leave as it found it.

After each test the node has the same number of descriptors, the same processes, ports and shared memory as after its
start; its log has no warning that the test did not announce, no line that is not the host's, and no sanitizer report.
"""

from __future__ import annotations

import itertools
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from caller import Caller, Refused
from generated import Service, load_families
from node import Make, Node, Start, new_node
from standins.confignode import Bindings, load_bindings

#: What harmful models are registered with on the shared node: bounds that tests can reach.
LIMITS = {
    "AIN_INFERENCE_TIMEOUT_MS": "5000",
    "AIN_ORPHAN_GRACE_MS": "700",
    "AIN_QUEUE_MAX_REQUESTS": "8",
    "AIN_WORKER_MEMORY_BYTES": str(3 << 30),
}
_numbers = itertools.count(1)
_PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Thousands of connections need as many descriptors on this side too."""
    del session
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture(scope="session")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> Bindings:
    """Python code of the ConfigNode's IDL."""
    return load_bindings(tmp_path_factory.mktemp("bindings"))


@pytest.fixture(scope="session")
def services() -> dict[str, Service]:
    """Clients of every family."""
    return load_families()


@pytest.fixture(scope="session")
def shared_node(
    build_dir: Path,
    model_python: str,
    bindings: Bindings,
    services: dict[str, Service],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Node]:
    """One node for all tests that leave it alive."""
    node = new_node(tmp_path_factory.mktemp("shared"), build_dir, model_python, bindings, services, **LIMITS)
    try:
        node.start()
        yield node
        node.stop()
        assert not node.complaints()
    finally:
        node.kill()
        node.config_node.stop()


@pytest.fixture
def node(shared_node: Node) -> Iterator[Node]:
    """The shared node, Running; checked afterwards."""
    if shared_node.process is None or shared_node.process.poll() is not None:
        shared_node.kill()
        shared_node.start()
        shared_node.complaints()
    yield shared_node
    shared_node.check()


@pytest.fixture
def start_node(
    build_dir: Path, model_python: str, bindings: Bindings, services: dict[str, Service], tmp_path: Path
) -> Iterator[Start]:
    """start_node(AIN_KEY="value", ...) makes and starts a node of the test's own; stopped and checked afterwards."""
    nodes: list[Node] = []

    def start(descriptors: int | None = None, python: str | None = None, **settings: str) -> Node:
        python = python or model_python
        made = new_node(tmp_path / str(len(nodes)), build_dir, python, bindings, services, **settings)
        nodes.append(made)
        return made.start(descriptors=descriptors)

    try:
        yield start
        for made in nodes:
            if made.process is not None:
                made.stop()
            complaints = made.complaints()
            assert not complaints, complaints
    finally:
        for made in nodes:
            made.kill()
            made.config_node.stop()


@pytest.fixture
def caller(node: Node) -> Iterator[Caller]:
    """A client of the shared node."""
    with node.call() as made:
        yield made


@pytest.fixture
def make(node: Node, models: Path) -> Iterator[Make]:
    """make(NAME) registers a model of make_models.py under a fresh id; dropped afterwards."""
    made: list[str] = []

    def register(name: str) -> str:
        made.append(f"{name}_{next(_numbers)}")
        with node.call() as caller:
            caller.register(made[-1], (models / name).as_uri())
        return made[-1]

    yield register
    with node.call() as caller:
        for name in made:
            try:
                caller.drop(name)
            except Refused as refused:
                assert "there is no model" in refused.message, refused


@pytest.fixture
def environment(model_python: str, tmp_path: Path) -> tuple[str, Path]:
    """A venv of the test's own that sees the packages of the interpreter under test: its python and site-packages."""
    venv = tmp_path / "an environment"
    subprocess.run([model_python, "-m", "venv", "--system-site-packages", "--without-pip", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    packages, ours = (
        subprocess.run([name, "-c", _PACKAGES], check=True, capture_output=True, text=True).stdout.strip()
        for name in (model_python, python)
    )
    (Path(ours) / "beside.pth").write_text(packages + "\n")
    return python, Path(ours)
