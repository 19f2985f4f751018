"""Requests that wait for their turn longer than their clients listen are told why."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from caller import Refused
from node import Node, Start
from processes import wait_until
from values import check_alive, harmful, series

LIMIT = 2.0
SENTENCE = rf"waited for model \[{{}}\] longer than {LIMIT * 1000:.0f} ms \(ain_queue_timeout_ms\): {{}}"


@pytest.fixture
def node(start_node: Start) -> Node:
    """Requests may wait for two seconds and run for as long as they like; each runs alone."""
    return start_node(
        AIN_QUEUE_TIMEOUT_MS=f"{LIMIT * 1000:.0f}",
        AIN_INFERENCE_TIMEOUT_MS="0",
        AIN_BATCHING="0",
        AIN_ORPHAN_GRACE_MS="0",
    )


def test_behind_a_long_run(node: Node, models: Path) -> None:
    """All that wait are told, each after its own wait; the run goes on, and another model does not notice."""
    node.allow("model loops: ")
    with node.call() as running, node.call() as waiting, node.call() as caller:
        caller.register("loops", (models / "never_returns").as_uri())
        check_alive(caller, "loops")
        worker = node.worker()
        caller.register("sound", (models / "identity").as_uri())
        check_alive(caller, "sound")
        with node.computing():
            running.ask("loops", harmful())
        since = time.monotonic()
        for seed in range(5):
            waiting.ask("loops", series(seed))
        check_alive(caller, "sound")
        for _ in range(5):
            with pytest.raises(Refused, match=SENTENCE.format("loops", "the model is busy with others")):
                waiting.answer()
            assert time.monotonic() - since >= LIMIT
        check_alive(caller, "sound")
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(Refused, match="signal 9"):
            running.answer()
        check_alive(caller, "loops")


def test_for_a_prototype_that_hangs_in_its_start(node: Node, models: Path) -> None:
    """The request gets the sentence, and the model is served as soon as the prototype goes on."""
    node.allow(r"the Python runtime \(")
    with node.call() as caller:
        caller.register("sound", (models / "identity").as_uri())
        check_alive(caller, "sound")
        old = node.prototype()
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: bool(set(node.prototypes()) - {old}), 20, "there is another one")
        (hanging,) = set(node.prototypes()) - {old}
        os.kill(hanging, signal.SIGSTOP)
        try:
            # Should this process be slow, the prototype is ready before it is stopped.
            why = "(the Python runtime is not ready, |no process has loaded the model yet)"
            with pytest.raises(Refused, match=SENTENCE.format("sound", why)):
                caller.infer("sound", series())
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(hanging, signal.SIGCONT)

        def served() -> bool:
            with contextlib.suppress(Refused):
                return np.array_equal(caller.infer("sound", series(5)), series(5))
            return False

        wait_until(served, 60, "the model is served again")
