"""Harmful models on a real cluster: the request gets a sentence, the node stays Running, the next request works."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Callable

import pytest
from ainode import Installation, ask_model, create_model, drop_quietly, processes_of, refused, wait_until
from iotdb_cluster import Cluster, SqlError

Make = Callable[[str], str]
pytestmark = pytest.mark.releases("2.0.1-beta", "2.0.5")


def harmless(cluster: Cluster, name: str) -> int:
    """A call that every model of make_models.py answers; the number of rows."""
    return len(ask_model(cluster, name, "select s0, s1 from root.t.f where time < 96000").rows)


def harmful(cluster: Cluster, name: str) -> int:
    """A call with the value that sets the harmful models off; the number of rows."""
    return len(ask_model(cluster, name, "select s0, s1 from root.t.big where time < 96000").rows)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raises", ["the model has had enough"]),
        ("wrong_shape", ["192"]),
        ("wrong_columns", ["3", "2"]),
        ("segfaults", ["signal"]),
        ("divides_by_zero", ["signal"]),
    ],
)
def test_fault_is_a_sentence_and_stays_alone(
    cluster: Cluster, make: Make, node: Installation, name: str, words: list[str]
) -> None:
    sound, bad = make("identity"), make(name)
    assert harmless(cluster, sound) == 96
    assert harmless(cluster, bad) == 96
    node_id = node.row(cluster)
    for _ in range(3):
        with refused(*words):
            harmful(cluster, bad)
        assert harmless(cluster, sound) == 96
        assert harmless(cluster, bad) == 96
    assert node.row(cluster) == node_id
    node.expect_running(cluster)


def test_killed_worker(cluster: Cluster, make: Make, node: Installation) -> None:
    name = make("identity")
    harmless(cluster, name)
    workers = [pid for pid in processes_of(node.home) if pid != node.process_id()]
    assert workers, "no worker process was found"
    for pid in workers:
        node.kill_process(pid)
    deadline = time.monotonic() + 10
    while True:
        try:
            assert harmless(cluster, name) == 96
            break
        except SqlError as error:
            assert "worker" in error.message or "signal" in error.message, error
            assert time.monotonic() < deadline
    node.expect_running(cluster)


def test_model_that_never_returns(cluster: Cluster, make: Make, node: Installation) -> None:
    """The time limit (set to 3 s below) ends the worker; other models answer all the while."""
    node.stop()
    node.configure(ain_inference_timeout_ms="3000")
    node.start_running(cluster)
    try:
        sound, bad = make("identity"), make("never_returns")
        harmless(cluster, bad)
        caught: list[SqlError] = []

        def call() -> None:
            with refused("3") as errors:
                harmful(cluster, bad)
            caught.extend(errors)

        started = time.monotonic()
        thread = threading.Thread(target=call)
        thread.start()
        time.sleep(0.5)
        assert harmless(cluster, sound) == 96
        node.expect_running(cluster)
        thread.join(40)
        assert not thread.is_alive() and len(caught) == 1
        assert 2.5 <= time.monotonic() - started < 40
        assert harmless(cluster, bad) == 96
    finally:
        node.stop()
        node.configure(ain_inference_timeout_ms="55000")
        node.start_running(cluster)


def test_memory_limit(cluster: Cluster, make: Make, node: Installation) -> None:
    node.stop()
    node.configure(ain_worker_memory_bytes=str(2 << 30))
    node.start_running(cluster)
    try:
        sound, bad = make("identity"), make("eats_memory")
        harmless(cluster, bad)
        with refused("memory"):
            harmful(cluster, bad)
        assert harmless(cluster, sound) == 96
        assert harmless(cluster, bad) == 96
    finally:
        node.stop()
        node.configure(ain_worker_memory_bytes="0")
        node.start_running(cluster)


def test_model_that_keeps_its_inputs(cluster: Cluster, make: Make) -> None:
    name = make("keeps_input")
    for _ in range(40):
        assert harmless(cluster, name) == 96


def test_drop_while_it_runs(cluster: Cluster, node: Installation, models: Path) -> None:
    name = "sleeps_and_goes"
    create_model(cluster, name, f"file://{models}/sleeps")
    try:
        harmless(cluster, name)
        outcome: list[object] = []

        def call() -> None:
            try:
                outcome.append(harmful(cluster, name))
            except SqlError as error:
                outcome.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        time.sleep(0.5)
        cluster.execute(f"DROP MODEL {name}")
        thread.join(60)
        assert not thread.is_alive()
        assert outcome and (outcome[0] == 96 or isinstance(outcome[0], SqlError)), outcome
        wait_until(lambda: not (node.models_dir / name).exists(), 10, "the files of the dropped model are gone")
        node.expect_running(cluster)
    finally:
        drop_quietly(cluster, name)
