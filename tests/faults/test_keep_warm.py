"""ain_model_memory_bytes: models stay loaded until their processes have more, then the longest unused one goes."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

import numpy as np
import pytest
from caller import Caller, good
from node import Node, Start
from processes import memory_kib, wait_until
from values import Workload, check_alive, series

NAMES = [f"heavy_{index}" for index in range(6)]


def register(node: Node, models: Path, *names: str) -> None:
    """`heavy`, with 24 MB of weights, under these ids."""
    with node.call() as caller:
        for name in names:
            caller.register(name, (models / "heavy").as_uri())


def loaded(caller: Caller) -> set[str]:
    """SHOW LOADED MODELS."""
    answer = good(caller.call("showLoadedModels", caller.types.TShowLoadedModelsReq(deviceIdList=["cpu"])))
    return {name for name, count in answer.deviceLoadedModelsMap.get("cpu", {}).items() if count > 0}


def used_kib(node: Node) -> int:
    """What the workers have, as the node counts it."""
    total = 0
    for pid in node.workers():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just gone
            total += memory_kib(pid, "Pss")
    return total


def budget_for(node: Node, models: int) -> int:
    """Bytes that so many `heavy` models fit into, and one more does not. Measured: torch differs in size."""
    with node.call() as caller:
        sizes = []
        for count in range(1, models + 2):
            check_alive(caller, NAMES[count - 1])
            wait_until(lambda wanted=count: len(node.workers()) == wanted, 20, "those of the registrations have gone")
            sizes.append(used_kib(node))
    return (sizes[-2] + sizes[-1]) // 2 * 1024


@pytest.fixture
def budget(start_node: Start, models: Path) -> int:
    """For three models."""
    node = start_node()
    register(node, models, *NAMES[:4])
    return budget_for(node, 3)


def test_longest_unused_goes_first(start_node: Start, models: Path, budget: int) -> None:
    """Six models, room for three: right answers all along, and what went comes back when it is asked for."""
    node = start_node(AIN_MODEL_MEMORY_BYTES=str(budget))
    register(node, models, *NAMES)
    firsts = []
    with node.call() as caller, node.call("G") as shower:
        for turn in range(2):
            for index, name in enumerate(NAMES):
                begun = time.monotonic()
                check_alive(caller, name)
                firsts.append(time.monotonic() - begun)
                assert np.array_equal(caller.infer(name, series(turn * 10 + index)), series(turn * 10 + index))
                wait_until(lambda: used_kib(node) * 1024 <= budget, 20, "the processes fit into the budget")
                assert name in loaded(shower), "the one used last stays"
        assert 2 <= len(loaded(shower)) <= 3
    print(f"first answers of unloaded models: median {sorted(firsts)[len(firsts) // 2] * 1e3:.0f} ms")
    line = r"model (\S+) is unloaded from cpu after [\d.]+ s without a request, .*ain_model_memory_bytes"
    gone = re.findall(line, node.log())
    assert gone[:6] == NAMES, gone  # in the order of their last use


def test_loaded_by_request_stays(start_node: Start, models: Path, budget: int) -> None:
    """What LOAD MODEL asked for is not unloaded for others, also when nobody has used it."""
    node = start_node(AIN_MODEL_MEMORY_BYTES=str(budget))
    register(node, models, *NAMES)
    with node.call() as caller, node.call("G", timeout=60) as shower:
        good(shower.call("loadModel", shower.types.TLoadModelReq(existingModelId=NAMES[0], deviceIdList=["cpu"])))
        good(shower.call("loadModel", shower.types.TLoadModelReq(existingModelId=NAMES[1], deviceIdList=["cpu"])))
        wait_until(lambda: len(node.workers()) == 2, 20, "they are loaded, and nothing else")
        kept = set(node.workers())
        for name in NAMES[2:]:
            check_alive(caller, name)
            wait_until(lambda: used_kib(node) * 1024 <= budget, 20, "the processes fit into the budget")
            assert set(NAMES[:2]) <= loaded(shower)
        assert kept <= set(node.workers())
        check_alive(caller, *NAMES)


def test_busy_models_stay(start_node: Start, models: Path, budget: int) -> None:
    """A model that computes is not unloaded, however long it takes."""
    node = start_node(AIN_MODEL_MEMORY_BYTES=str(max(budget // 3, 64 << 20)))
    register(node, models, *NAMES[:3])
    with node.call() as caller:
        caller.register("busy", (models / "works").as_uri())
        values = Workload(caller, "busy").block(2)
        with node.call() as other:
            other.ask("busy", values)
            since = time.monotonic()
            while time.monotonic() < since + 1.5:
                check_alive(caller, *NAMES[:3])
                time.sleep(0.1)
            assert np.array_equal(other.answer()[0], values)
    assert not re.search(r"model busy is unloaded .*after 0\.0 s", node.log())
