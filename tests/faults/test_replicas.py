"""Several processes for one model: they share its weights, die alone, and go when they are told."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from caller import Refused, good
from crowd import ask_until
from node import Node, Start
from processes import children, memory_kib, wait_until
from values import check_alive, harmful, series

REPLICAS = 4
SETTINGS = {"AIN_MODEL_REPLICAS": str(REPLICAS), "AIN_BATCHING": "0"}


@pytest.fixture
def node(start_node: Start, models: Path) -> Node:
    """With the models `heavy` and `small`, four processes each at most."""
    made = start_node(**SETTINGS)
    with made.call() as caller:
        caller.register("heavy", (models / "heavy").as_uri())
        caller.register("small", (models / "works").as_uri())
    wait_until(lambda: not made.workers() and not made.templates(), 10, "those of the registrations have gone")
    return made


def test_weights_are_shared(node: Node) -> None:
    """24 MB of weights lie in memory once, not in each of the four processes."""
    ask_until(node, "heavy", REPLICAS)
    (template,) = node.templates()
    private = [memory_kib(pid, "Private") for pid in node.workers()]
    print(f"private memory of the replicas {private} KiB, of the template {memory_kib(template, 'Private')} KiB")
    assert len(private) == REPLICAS
    assert max(private) < 20_000, private
    total = sum(memory_kib(pid, "Private") for pid in [*node.workers(), template])
    assert total < REPLICAS * 20_000 + 24_000
    assert sum(memory_kib(pid, "Pss") for pid in [*node.workers(), template]) > 24_000  # they are there, once


def test_replica_dies_alone(node: Node) -> None:
    """The others go on, the template forks another, and the request behind the deadly one is answered."""
    node.allow("model heavy: ")
    ask_until(node, "heavy", REPLICAS)
    (template,) = node.templates()
    before = set(node.workers())
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: killed not in node.workers(), 10, "the dead one is collected")
    assert before - {killed} <= set(node.workers())
    ask_until(node, "heavy", REPLICAS)
    assert node.templates() == [template]
    wait_until(lambda: bool(re.search(r"model heavy: .*signal 9", node.log())), 10, "the log tells of it")


def test_template_that_hangs(node: Node) -> None:
    """Its other processes answer on; one that it was to fork loads the model for itself."""
    node.allow("model heavy: ")
    ask_until(node, "heavy", 2)
    (template,) = node.templates()
    its_own = set(children(template))
    os.kill(template, signal.SIGSTOP)
    os.kill(min(its_own), signal.SIGKILL)
    ask_until(node, "heavy", len(node.workers()) + 1)
    assert set(node.workers()) - its_own
    with node.call() as caller:
        check_alive(caller, "heavy", "small")
    assert "does not answer; the next ones load the model for themselves" in node.log()


def test_template_dies(node: Node) -> None:
    """Its processes go with it; the next request finds others. Running requests get one sentence."""
    node.allow("model (heavy|small): ")
    ask_until(node, "heavy", 2)
    (template,) = node.templates()
    replicas = set(node.workers())
    with node.call() as caller:
        check_alive(caller, "small")
        (small,) = set(node.templates()) - {template}
        os.kill(template, signal.SIGKILL)
        wait_until(lambda: not replicas & set(node.workers()), 10, "its processes have gone")
        check_alive(caller, "heavy", "small")
        assert small in node.templates() and template not in node.templates()
        with node.computing():
            caller.ask("small", harmful(1e6 + 5_000_000))
        os.kill(small, signal.SIGKILL)
        with pytest.raises(Refused, match=r"\[small\] ended by signal 9"):
            caller.answer()
        check_alive(caller, "small", "heavy")
    ask_until(node, "heavy", REPLICAS)


def test_unload_gives_all_back(node: Node) -> None:
    """Also the template."""
    assert node.baseline is not None
    ask_until(node, "heavy", REPLICAS)
    with node.call("G", timeout=60) as caller:
        good(caller.call("unloadModel", caller.types.TUnloadModelReq(modelId="heavy", deviceIdList=["cpu"])))
    wait_until(lambda: not node.difference(), 10, f"nothing is left: {node.difference()}")
    with node.call() as caller:
        check_alive(caller, "heavy")


def test_model_that_crashes_its_replicas(start_node: Start, models: Path) -> None:
    """Each costs the request that it ran; the others are answered."""
    node = start_node(**SETTINGS)
    node.allow("model bad: ")
    with node.call() as caller:
        caller.register("bad", (models / "divides_by_zero").as_uri())
        for _ in range(3):
            caller.ask("bad", series(1))
            caller.ask("bad", harmful())
            caller.ask("bad", series(2))
            assert np.array_equal(caller.answer()[0], series(1))
            with pytest.raises(Refused, match="signal 8"):
                caller.answer()
            assert np.array_equal(caller.answer()[0], series(2))


def test_template_that_may_not_fork(start_node: Start, models: Path, tmp_path: Path) -> None:
    """An environment that starts a thread in every forked process: each replica then loads the model by itself."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, threading, time\n"
        "def begin():\n"
        "    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n"
        "os.register_at_fork(after_in_child=begin)\n"
    )
    node = start_node(**SETTINGS, PYTHONPATH=str(tmp_path))
    with node.call() as caller:
        caller.register("heavy", (models / "heavy").as_uri())
        check_alive(caller, "heavy")
    ask_until(node, "heavy", REPLICAS)
    assert node.log().count("model heavy: its processes do not share its weights (a thread was started") == 1
    wait_until(lambda: not node.templates(), 10, "the useless template has gone")

    def loaded() -> bool:
        """Each has weights of its own; one may still be loading them when the crowd has been answered by the others."""
        return min(memory_kib(pid, "Private") for pid in node.workers()) > 24_000

    wait_until(loaded, 30, "each process has weights of its own")
