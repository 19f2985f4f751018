"""Fixtures: the stand-in DataNode, and session_probe and `ainode query` against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from session_support import Outcome, Probe, Query, run_probe, run_query
from standins.datanode import Bindings, DataNode, load_bindings


@pytest.fixture(scope="session")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> Bindings:
    """Python code of the project's IDL."""
    return load_bindings(tmp_path_factory.mktemp("bindings"))


@pytest.fixture
def node(bindings: Bindings) -> Iterator[DataNode]:
    """A well-behaved DataNode, listening."""
    with DataNode(bindings) as started:
        yield started


@pytest.fixture
def probe(node: DataNode) -> Probe:
    """Run session_probe, against `node` unless told otherwise."""

    def run(*args: str, nodes: list[Any] | None = None, **options: Any) -> Outcome:
        return run_probe(*args, nodes=nodes if nodes is not None else [node], **options)

    return run


@pytest.fixture
def query(node: DataNode, tmp_path: Path) -> Query:
    """Run `ainode query` against `node`."""
    return lambda *args, **options: run_query(tmp_path / "home", node.port, *args, **options)
