"""Requests and answers larger than a worker's slots: their own memory, filled on another thread."""

from __future__ import annotations

import time

import numpy as np
import pytest
from caller import Caller, Refused
from node import Make, Node
from processes import memory_kib
from values import COLUMNS


def many_rows(rows: int, seed: int) -> np.ndarray:
    """Distinct values, exact in float32."""
    return (np.arange(rows * COLUMNS, dtype=np.int64).reshape(rows, COLUMNS) % 8191 + seed).astype(np.float32)


def test_first_request_is_large(node: Node, caller: Caller, make: Make) -> None:
    """No run is timed before it begins: the first request of a worker, and one after a pause longer than the limit."""
    model = make("identity")
    for pause in (0, 5.5):
        time.sleep(pause)
        for seed in range(5):
            values = many_rows(200_000, seed)
            assert np.array_equal(caller.infer(model, values), values)


def test_sizes_around_every_border(node: Node, caller: Caller, make: Make) -> None:
    """Slot sizes, the border of filling elsewhere, and one row more or less."""
    model = make("identity")
    for border in (8192, 32768, 65536):
        for rows in (border - 1, border, border + 1):
            values = many_rows(rows, rows % 97)
            assert np.array_equal(caller.infer(model, values), values)


def test_large_and_small_in_turn(node: Node, caller: Caller, make: Make) -> None:
    """A small request behind a large one on the same model gets its own answer; both slots stay apart."""
    model = make("identity")
    blocks = [many_rows(rows, index) for index, rows in enumerate([100_000, 1, 70_000, 96, 96, 150_000, 2, 96])]
    for values in blocks:
        caller.ask(model, values)
    for values in blocks:
        assert np.array_equal(caller.answer()[0], values)


def test_windows_whose_results_fit_no_answer(node: Node, caller: Caller, make: Make) -> None:
    """Refused with the first result, not collected first."""
    model = make("identity")
    rows, interval, step = 170_000, 100_000, 100
    window = caller.types.TWindowParams(windowInterval=interval, windowStep=step)
    with pytest.raises(Refused, match="the 701 windows of this query give 100000 rows of results each"):
        caller.infer(model, many_rows(rows, 1), windowParams=window)
    assert memory_kib(node.pid, "VmHWM") < 256 << 10
    values = many_rows(96, 2)
    assert np.array_equal(caller.infer(model, values), values)


def test_heartbeat_beside_large_requests(node: Node, make: Make) -> None:
    """Decoding megabytes never holds the loop for long."""
    model = make("identity")
    values = many_rows(700_000, 3)
    since = time.monotonic()
    with node.call() as caller:
        for _ in range(5):
            assert np.array_equal(caller.infer(model, values), values)
    node.assert_running(since)
    beats = sorted(beat.took for beat in node.beats(since))
    print(f"11 MB requests: {len(beats)} heartbeats, slowest {beats[-1] * 1e3:.1f} ms")
