"""The number of threads a proof chooses, and the time it takes for slow models."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from ainode import proof, threads
from ainode.model import Model, Spec

SPEC = Spec("torchscript", "/", "float32", [8, 1], [8, 1], True)


class Machine:
    """A model whose run takes `alone` seconds with one thread and `together` with several."""

    def __init__(self, alone: float, together: float) -> None:
        self.times = {True: alone, False: together}
        self.count = 1
        self.runs = 0

    def set_threads(self, count: int) -> None:
        self.count = count

    def call(self, array: np.ndarray, options: str | None = None, length: int = 0) -> np.ndarray:
        self.runs += 1
        time.sleep(self.times[self.count == 1] * len(array))
        return array


@pytest.fixture(autouse=True)
def four_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})


@pytest.mark.parametrize(
    ("alone", "together", "wanted"),
    [(0.03, 0.01, 4), (0.03, 0.028, 1), (0.01, 0.03, 1), (0.0, 0.0, 1)],
    ids=["they pay", "they hardly pay", "they harm", "too short to tell"],
)
def test_threads(alone: float, together: float, wanted: int) -> None:
    machine = Machine(alone, together)
    assert threads.choose(lambda: machine.call(np.zeros(1)), machine.set_threads) == wanted
    assert machine.count == wanted, "what was chosen is set"


def test_a_proof_with_little_time_measures_less() -> None:
    machine = Machine(0.03, 0.01)
    assert threads.choose(lambda: machine.call(np.zeros(1)), machine.set_threads, 0.0) == 4
    assert machine.runs == 2


def test_findings_name_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(0.0, 0.0)
    monkeypatch.setattr(threads, "choose", lambda work, set_threads: 3)
    model = Model(machine.call, set_threads=machine.set_threads)
    assert proof.prove(SPEC, model) == "dtype=float32 batch=32 threads=3"
    assert proof.prove(SPEC, Model(machine.call)) == "dtype=float32 batch=32 threads=1"


def test_slow_model_is_proven_in_time() -> None:
    """Batches of a model of a quarter of a second would take half a minute to try: it runs alone."""
    machine = Machine(0.25, 0.25)
    begun = time.monotonic()
    assert proof.prove(SPEC, Model(machine.call, set_threads=machine.set_threads)) == "dtype=float32 batch=1 threads=1"
    assert time.monotonic() - begun < 25 and machine.runs < 20


def test_very_slow_model_is_not_run_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(0.05, 0.01)
    monkeypatch.setattr(threads, "LONGEST", 0.04)
    monkeypatch.setattr(threads, "_SECONDS", 0.0)
    assert threads.choose(lambda: machine.call(np.zeros(1)), machine.set_threads) == 1
    assert machine.runs == 1
