"""How the node ends: drains, or ends at once, and leaves nothing."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from caller import Gone, Refused
from node import Node, Start
from processes import wait_until
from values import Workload, check_alive, harmful, series


def terminate(node: Node, number: signal.Signals = signal.SIGTERM) -> float:
    """Sends the signal; returns when."""
    assert node.process is not None
    told = time.monotonic()
    node.process.send_signal(number)
    return told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_drains(start_node: Start, models: Path, number: signal.Signals) -> None:
    """Running and waiting requests are answered, new ones refused, the heartbeat says Unknown and why."""
    node = start_node()
    with node.call() as caller, node.call() as other:
        caller.register("works", (models / "works").as_uri())
        workload = Workload(caller, "works")
        with node.computing():
            caller.ask("works", workload.block(4))
            caller.ask("works", series(4))
        told = terminate(node, number)
        wait_until(lambda: "is stopping" in node.log(), 20, "the node says that it is stopping")
        with pytest.raises(Refused, match="is stopping"):
            other.infer("works", series())
        with pytest.raises(Refused, match="is stopping"):
            other.register("another", (models / "identity").as_uri())
        beat = other.heartbeat()
        assert beat.status == "Unknown" and "stopping" in beat.statusReason
        assert caller.answer()[0].shape == (96, 2)
        assert np.array_equal(caller.answer()[0], series(4))
    node.wait_ended(0)
    print(f"ended {time.monotonic() - told:.1f} s after the signal")
    assert node.config_node.heartbeats[-1].status in ("Unknown", None)
    assert "successfully stopped" in node.log()


def test_second_signal_ends_at_once(start_node: Start, models: Path) -> None:
    """The running request gets a sentence or a closed connection, not silence."""
    node = start_node(AIN_DRAIN_MS="60000", AIN_INFERENCE_TIMEOUT_MS="0")
    with node.call() as caller:
        caller.register("loops", (models / "never_returns").as_uri())
        check_alive(caller, "loops")
        with node.computing():
            caller.ask("loops", harmful())
        terminate(node)
        time.sleep(0.5)
        assert node.process is not None and node.process.poll() is None, "it did not wait for the request"
        told = terminate(node)
        with pytest.raises((Refused, Gone)) as caught:
            caller.answer()
        assert "stopping" in str(caught.value) or isinstance(caught.value, Gone)
    node.wait_ended(0)
    assert time.monotonic() - told < 30


def test_drain_has_an_end(start_node: Start, models: Path) -> None:
    """A model that never returns holds a stop no longer than ain_drain_ms."""
    node = start_node(AIN_DRAIN_MS="1500", AIN_INFERENCE_TIMEOUT_MS="0")
    with node.call() as caller:
        caller.register("loops", (models / "never_returns").as_uri())
        check_alive(caller, "loops")
        with node.computing():
            caller.ask("loops", harmful())
        told = terminate(node)
        with pytest.raises((Refused, Gone)):
            caller.answer()
    node.wait_ended(0)
    assert 1.4 < time.monotonic() - told < 30


def test_dropped_model_that_runs_does_not_hold_the_stop(start_node: Start, models: Path) -> None:
    """A model dropped while a request runs in it is no longer listed, but its worker still is there."""
    node = start_node(AIN_DRAIN_MS="1000", AIN_INFERENCE_TIMEOUT_MS="0")
    with node.call() as caller, node.call() as other:
        caller.register("loops", (models / "never_returns").as_uri())
        check_alive(caller, "loops")
        with node.computing():
            caller.ask("loops", harmful())
        other.drop("loops")
        assert other.states() == {}
        told = terminate(node)
        with pytest.raises((Refused, Gone)):
            caller.answer()
    node.wait_ended(0)
    assert time.monotonic() - told < 30


@pytest.mark.parametrize("moment", [0.0, 0.03, 0.1, 0.3, 1.0])
def test_stop_during_a_registration(start_node: Start, models: Path, moment: float) -> None:
    """It is finished or given up; nothing half-made stays."""
    node = start_node()
    node.allow("was not registered")
    with node.call() as caller:
        caller.send("registerModel", caller.types.TRegisterModelReq(modelId="m1", uri=(models / "lstm").as_uri()))
        time.sleep(moment)
        terminate(node)
        with contextlib.suppress(Gone):
            status = caller.receive().status
            assert status.code == 200 or status.message, status
    node.wait_ended(0)
    models_dir = node.home / "data" / "ainode" / "models"
    whole = [path.parent.name for path in models_dir.rglob("model.pt")]
    assert whole in ([], ["m1"]), whole


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.1, 0.25])
def test_second_signal_during_registrations(start_node: Start, models: Path, moment: float) -> None:
    """At once, with several registrations and first requests at every stage."""
    node = start_node()
    node.allow("was not registered", "model m")
    callers = [node.call() for _ in range(4)]
    with node.call() as caller:
        caller.register("ready", (models / "identity").as_uri())
        check_alive(caller, "ready")
    for index, caller in enumerate(callers):
        request = caller.types.TRegisterModelReq(modelId=f"m{index}", uri=(models / "lstm").as_uri())
        caller.send("registerModel", request)
        caller.ask("ready", series(index))
    time.sleep(moment)
    terminate(node)
    time.sleep(0.02)
    told = terminate(node)
    node.wait_ended(0)
    assert time.monotonic() - told < 15
    for caller in callers:
        caller.close()


def test_stop_while_the_runtime_starts(start_node: Start) -> None:
    """Before PyTorch is imported."""
    node = start_node()
    node.stop()
    node.launch()
    wait_until(lambda: node.log().count("has successfully started") == 2, 30, "it joined")
    told = terminate(node)
    node.wait_ended(0)
    assert time.monotonic() - told < 15


def test_stop_with_many_connections(start_node: Start) -> None:
    """Idle ones, half-sent ones, and one that never reads its answers."""
    node = start_node()
    idle = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(50)]
    for connection in idle[::2]:
        connection.sendall(b"\0\0\1\0\x80\1\0\1")
    told = terminate(node)
    node.wait_ended(0)
    assert time.monotonic() - told < 15
    for connection in idle:
        connection.close()


def test_removed_by_the_cluster(start_node: Start, models: Path) -> None:
    """REMOVE AINODE: answered first, then it ends in order."""
    node = start_node()
    with node.call() as caller:
        caller.register("m1", (models / "identity").as_uri())
        check_alive(caller, "m1")
        assert caller.call("stopAINode").code == 200
    node.wait_ended(0, timeout=30)


def test_spawned_workers(start_node: Start, models: Path) -> None:
    """Without a prototype: models work, die alone, and go with the node, also when it is killed."""
    node = start_node(AIN_WORKER_START_METHOD="spawn", AIN_INFERENCE_TIMEOUT_MS="5000")
    node.allow("model bad: ")
    with node.call() as caller:
        caller.register("good", (models / "identity").as_uri())
        caller.register("bad", (models / "segfaults").as_uri())
        check_alive(caller, "good", "bad")
        with pytest.raises(Refused, match="signal 11"):
            caller.infer("bad", harmful())
        check_alive(caller, "good", "bad")
        caller.drop("bad")
        wait_until(lambda: len(node.workers()) == 1, 10, "the worker of the dropped model is gone")
    node.stop()
    node.start()
    with node.call() as caller:
        check_alive(caller, "good")
    assert node.process is not None
    node.process.kill()
    node.wait_ended(-9)
