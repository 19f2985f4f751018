"""What a node does when the machine gives it no more: descriptors, processes, memory."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from caller import Caller, Refused, good
from generated import Service
from node import Make, Node, Start, new_node
from pipelines import DRIFT, drift, write_pipeline
from processes import descriptors, wait_until
from standins.confignode import Bindings
from tsblock import decode, encode
from values import check_alive, is_served


@contextmanager
def limited(pid: int, what: int, most: int) -> Iterator[None]:
    """The process may have no more than that for a while."""
    before = resource.prlimit(pid, what, (most, resource.prlimit(pid, what)[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


@contextmanager
def refusable(words: str) -> Iterator[None]:
    """What may be refused, but with these words."""
    try:
        yield
    except Refused as refused:
        assert words in refused.message, refused


@pytest.fixture
def idle(node: Node, make: Make) -> str:
    """A model that is not loaded."""
    return make("identity")


@pytest.mark.parametrize("room", [0, 2, 9, 11, 13])
def test_no_descriptors_for_a_worker(node: Node, caller: Caller, idle: str, room: int) -> None:
    """At whatever step of its start they run out: a sentence, and the next try succeeds."""
    node.allow("oo many open files")
    with limited(node.pid, resource.RLIMIT_NOFILE, len(descriptors(node.pid)) + room), refusable("oo many open files"):
        check_alive(caller, idle)
    wait_until(lambda: is_served(caller, idle), 20, "it is loaded")


#: Answers after a while.
SLOW = DRIFT.replace("outputs = []", "outputs = []\n        import time\n        time.sleep(0.05)")
VALUES = np.arange(20.0).reshape(20, 1)


def send(caller: Caller) -> None:
    """Asks the slow model and does not wait."""
    caller.send(
        "forecast", caller.types.TForecastReq(modelId="slow", inputData=encode(VALUES), outputLength=3, options={})
    )


def take(caller: Caller) -> None:
    """Its answer, which is right."""
    answer = good(caller.receive()).forecastResult
    assert np.allclose(decode(answer[0]), drift(VALUES, 3))


def serves(caller: Caller) -> bool:
    """Whether the slow model answers."""
    try:
        send(caller)
        take(caller)
    except Refused:
        return False
    return True


@pytest.fixture(params=[1, 2])
def slow_node(start_node: Start, tmp_path: Path, request: pytest.FixtureRequest) -> Node:
    """With a slow model, and so many replicas of it at most."""
    node = start_node(AIN_MODEL_REPLICAS=str(request.param), AIN_BATCHING="0", AIN_INFERENCE_TIMEOUT_MS="30000")
    with node.call("H") as caller:
        caller.register("slow", write_pipeline(tmp_path / "slow", SLOW, framework="numpy"))
    return node


def test_worker_without_a_descriptor_to_watch_it(slow_node: Node) -> None:
    """Ours run out while a worker is being forked: no process serves whose end nobody would see."""
    node = slow_node
    node.allow("oo many open files", "ended by signal 9")
    with node.call("H") as caller:
        asked = 1
        if node.environment()["AIN_MODEL_REPLICAS"] == "2":  # the second one is forked when the first is busy
            assert serves(caller)
            asked = 4
        before = set(node.workers())
        (forks,) = node.templates() or node.prototypes()
        os.kill(forks, signal.SIGSTOP)
        for _ in range(asked):
            send(caller)
        node.settle()
        with limited(node.pid, resource.RLIMIT_NOFILE, 3):
            os.kill(forks, signal.SIGCONT)
            wait_until(lambda: "oo many open files" in node.log(), 20, "a worker came that cannot be watched")
        for pid in set(node.workers()) - before:
            with contextlib.suppress(ProcessLookupError):  # the host may end it, too
                os.kill(pid, signal.SIGKILL)
        for _ in range(asked):
            with refusable("oo many open files" if asked == 1 else "nothing"):
                take(caller)
        wait_until(lambda: serves(caller), 20, "it is served")


def test_no_descriptors_for_one_more_worker(start_node: Start, tmp_path: Path) -> None:
    """Requests are served by the one that is there."""
    node = start_node(AIN_MODEL_REPLICAS="4", AIN_BATCHING="0")
    node.allow("oo many open files")
    with node.call("H") as caller:
        caller.register("slow", write_pipeline(tmp_path / "slow", SLOW, framework="numpy"))
        assert serves(caller)
        with limited(node.pid, resource.RLIMIT_NOFILE, len(descriptors(node.pid))):
            for _ in range(8):
                send(caller)
            for _ in range(8):
                take(caller)
        assert "oo many open files" in node.log()
        assert node.worker()


def test_few_descriptors_and_many_connections(
    build_dir: Path, model_python: str, bindings: Bindings, services: dict[str, Service], tmp_path: Path, models: Path
) -> None:
    """Peers that connect and are silent do not keep a model from being loaded."""
    node = new_node(tmp_path, build_dir, model_python, bindings, services)
    node.wrapper = ("bash", "-c", 'ulimit -n 200; exec "$@"', "bash")
    silent: list[socket.socket] = []
    try:
        node.start()
        node.allow("turned away", "is closed", "left out", "descriptors ran out", "silent longest")
        with node.call() as caller:
            caller.register("late", (models / "identity").as_uri())
            for _ in range(300):
                silent.append(socket.create_connection(("127.0.0.1", node.port)))
                caller.heartbeat()
            check_alive(caller, "late")
        assert len(descriptors(node.pid)) < 190
        node.stop()
        assert not node.complaints()
    finally:
        for connection in silent:
            connection.close()
        node.kill()
        node.config_node.stop()
