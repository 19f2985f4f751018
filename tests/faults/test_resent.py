"""Requests that a DataNode sends again because it gave up waiting: one run serves all tries.

AIN_TEST_RESEND_SCALE: 1 for the real times, a model of 70 s and a client that waits 60; a tenth of them by default. The
client's behaviour is in tests/support/datanode.py; test_slow_model.py in tests/cluster has a real one.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from datanode import DataNode, GaveUp
from node import Node, Start
from pipelines import IMPORT, write_pipeline
from processes import wait_until
from values import harmful, series

SCALE = float(os.environ.get("AIN_TEST_RESEND_SCALE", "0.1"))
MODEL, CLIENT = 70 * SCALE, 60 * SCALE
RELEASE = "2.0.10"


def model_runs(node: Node) -> int:
    """How often models ran, from the totals of a node that has stopped."""
    found = re.findall(r"totals: .* (\d+) model runs of", node.log())
    return int(found[-1])


#: Answers what it gets, after as many seconds as the first value lies above 1e6: however fast the machine is.
TAKES = (
    IMPORT
    + """
import time

import numpy as np


class Takes(ForecastPipeline):
    def forecast(self, inputs, **infer_kwargs):
        values = [np.array(item["targets"]) for item in inputs]
        print("runs", flush=True)
        time.sleep(max(0.0, max(float(one[0, 0]) for one in values) - 1e6))
        return values
"""
)


def slow(seconds: float) -> np.ndarray:
    """Keeps the model busy so long."""
    values = series(1)[:, 1:].astype(np.float64)
    values[0, 0] = 1e6 + seconds
    return values


def fast(seed: int) -> np.ndarray:
    """Does not."""
    return series(seed)[:, 1:].astype(np.float64)


def prepare(node: Node, folder: Path) -> None:
    """Registers and loads the slow model, in one run."""
    with node.call("H") as caller:
        caller.register("slow", write_pipeline(folder / "slow", TAKES, "takes.Takes", framework="numpy"))
        assert np.array_equal(caller.infer("slow", fast(9)), fast(9))


def runs(node: Node) -> int:
    """How often the model has begun."""
    return node.log().count("model slow: runs")


def test_second_try_gets_the_answer_of_the_first_run(start_node: Start, tmp_path: Path) -> None:
    """The model takes longer than the client waits; it runs once, whatever is asked behind it."""
    node = start_node(AIN_CLUSTER_VERSION=RELEASE)
    prepare(node, tmp_path)
    values = slow(MODEL)
    client = DataNode(node, CLIENT)
    started = time.monotonic()
    found = client.infer("slow", values)
    took = time.monotonic() - started
    assert client.asked >= 2, f"one try was enough: {took:.1f} s"
    assert np.array_equal(found, values)
    client.forget()
    node.stop()
    assert model_runs(node) == 2


def test_waiting_request_keeps_its_place(start_node: Start, tmp_path: Path) -> None:
    """A request that timed out while it waited for another one's run is run once, too."""
    node = start_node(AIN_CLUSTER_VERSION=RELEASE)
    prepare(node, tmp_path)
    with node.call("H", timeout=MODEL * 8) as busy:
        before = runs(node)
        busy.ask("slow", slow(MODEL * 1.2))
        wait_until(lambda: runs(node) > before, 20, "the model runs")
        client = DataNode(node, CLIENT)
        values = fast(5)
        assert np.array_equal(client.infer("slow", values), values)
        assert client.asked >= 2
        assert busy.answer()[0].shape == (96, 1)
    client.forget()
    node.stop()
    assert model_runs(node) == 3


def test_client_that_gives_up_frees_the_worker(start_node: Start, models: Path) -> None:
    """After the grace, although the connections of its earlier tries stay open."""
    grace = 30 * SCALE
    node = start_node(
        AIN_CLUSTER_VERSION=RELEASE, AIN_ORPHAN_GRACE_MS=str(int(grace * 1000)), AIN_INFERENCE_TIMEOUT_MS="0"
    )
    with node.call("H", timeout=CLIENT * 4) as caller:
        caller.register("loops", (models / "never_returns_one_column").as_uri())
        client = DataNode(node, CLIENT, tries=2)
        with pytest.raises(GaveUp):
            client.infer("loops", harmful()[:, 1:])
        gave_up = time.monotonic()
        assert len(client.forgotten) == 2
        values = series(3)[:, 1:]
        assert np.array_equal(caller.infer("loops", values), values)
        assert grace * 0.5 < time.monotonic() - gave_up < grace + 20  # it began shortly before that
        assert node.log().count("nobody waits for the answer") == 1
    client.forget()
    node.stop()
    assert model_runs(node) == 1, "only the last request had a run that ended"


def test_client_that_dies_frees_the_worker(start_node: Start, models: Path) -> None:
    """All its connections end in the middle of a try."""
    node = start_node(AIN_CLUSTER_VERSION=RELEASE, AIN_ORPHAN_GRACE_MS="500", AIN_INFERENCE_TIMEOUT_MS="0")
    with node.call("H", timeout=CLIENT * 4) as caller:
        caller.register("loops", (models / "never_returns_one_column").as_uri())
        client = DataNode(node, CLIENT)
        assert caller.infer("loops", series(1)[:, 1:]).shape == (96, 1)
        with node.computing():
            client.current.ask("loops", harmful()[:, 1:])
        client.forget()
        wait_until(lambda: "nobody waits for the answer" in node.log(), 10, "the worker is freed")
        values = series(3)[:, 1:]
        assert np.array_equal(caller.infer("loops", values), values)


def test_equal_requests_of_patient_clients_run_each(start_node: Start, tmp_path: Path) -> None:
    """Nothing is shared between clients that still listen: the second one asks on a connection in use."""
    node = start_node(AIN_CLUSTER_VERSION=RELEASE)
    prepare(node, tmp_path)
    values = slow(6.5)
    with node.call("H", timeout=120) as first, node.call("H", timeout=120) as second:
        assert np.array_equal(second.infer("slow", fast(1)), fast(1))
        first.ask("slow", values)
        time.sleep(5.3)
        second.ask("slow", values)
        assert np.array_equal(first.answer()[0], values)
        assert np.array_equal(second.answer()[0], values)
    node.stop()
    assert model_runs(node) == 4
