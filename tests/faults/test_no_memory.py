"""The host gets no more address space: one sentence, no harm to what runs, and all is well when there is room again."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from caller import Caller, Gone, Refused, good
from node import Node, Start
from pipelines import DRIFT, drift, write_pipeline
from processes import memory_kib, wait_until
from tsblock import decode, encode
from values import check_alive, is_served, series

SENTENCE = "shared memory"


@contextmanager
def no_more_memory(node: Node, room_kib: int) -> Iterator[None]:
    """The host's address space may grow by so much only."""
    before = resource.prlimit(node.pid, resource.RLIMIT_AS)
    resource.prlimit(node.pid, resource.RLIMIT_AS, ((memory_kib(node.pid, "VmSize") + room_kib) << 10, before[1]))
    try:
        yield
    finally:
        resource.prlimit(node.pid, resource.RLIMIT_AS, before)


@pytest.mark.parametrize("room_kib", [0, 128, 256])
def test_no_memory_for_slots(start_node: Start, models: Path, room_kib: int) -> None:
    """The model that has its slots is served, the other one refused with the cause."""
    node = start_node()
    node.allow(SENTENCE)
    with node.call() as caller:
        for name in ("one", "two"):
            caller.register(name, (models / "identity").as_uri())
        check_alive(caller, "one")
        with no_more_memory(node, room_kib):
            for _ in range(2):
                with pytest.raises(Refused, match=SENTENCE):
                    check_alive(caller, "two")
                check_alive(caller, "one")
                assert caller.heartbeat().status == "Running"
        wait_until(lambda: is_served(caller, "two"), 10, "it is loaded")
        for name in ("one", "two"):
            caller.drop(name)
    node.check()


@pytest.mark.parametrize("room_kib", [0, 9_000, 90_000])
def test_no_memory_for_a_large_request(start_node: Start, tmp_path: Path, room_kib: int) -> None:
    """It is refused, or its connection closed, or it is answered; small requests and heartbeats go on."""
    node = start_node()
    large = np.arange(4_000_000.0).reshape(-1, 1)
    small = np.arange(20.0).reshape(20, 1)
    node.allow("memory")

    def ask(caller: Caller, values: np.ndarray) -> None:
        request = caller.types.TForecastReq(modelId="slow", inputData=encode(values), outputLength=3, options={})
        answer = good(caller.call("forecast", request)).forecastResult
        assert np.allclose(decode(answer[0]), drift(values, 3))

    with node.call("H") as caller:
        caller.register("slow", write_pipeline(tmp_path / "slow", DRIFT, framework="numpy"))
        ask(caller, small)
        with no_more_memory(node, room_kib):
            for _ in range(2):
                with node.call("H") as other:
                    try:
                        ask(other, large)
                    except Refused as refused:
                        assert "memory" in refused.message
                    except (Gone, OSError) as gone:
                        print(f"closed: {gone}")
                ask(caller, small)
                assert caller.heartbeat().status == "Running"
        with node.call("H") as other:
            ask(other, large)
        caller.drop("slow")
    node.check()


@pytest.mark.parametrize("room_kib", [0, 20_000, 100_000])
def test_no_memory_for_a_large_answer(start_node: Start, models: Path, room_kib: int) -> None:
    """Neither for the 72 MB of results of a small request nor for what they make in a reply."""
    node = start_node()
    node.allow("all memory for requests")
    rows, window = 6000, 3000
    values = series(1, rows)

    def ask(caller: Caller) -> None:
        windows = caller.types.TWindowParams(windowInterval=window, windowStep=1)
        caller.ask("one", values, windowParams=windows)
        answers = caller.answer()
        assert len(answers) == rows - window + 1
        for first in range(0, len(answers), 100):
            assert np.array_equal(answers[first], values[first : first + window])

    # Without any room the request's own 72 KB may not be had: then its connection is closed, which the log says.
    refusals = (Refused, Gone, OSError) if room_kib == 0 else Refused
    with node.call() as caller, node.call() as first, node.call() as second:
        caller.register("one", (models / "identity").as_uri())
        check_alive(caller, "one")
        with no_more_memory(node, room_kib):
            for other in (first, second):
                with pytest.raises(refusals, match="memory|closed|reset|pipe"):
                    ask(other)
                check_alive(caller, "one")
                assert caller.heartbeat().status == "Running"
        ask(caller)
        caller.drop("one")
    node.check()
