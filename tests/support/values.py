"""Inputs: harmless ones, the one that sets harmful models off, and how long the model `works` takes."""

from __future__ import annotations

import time

import numpy as np
from caller import Caller, Refused

ROWS, COLUMNS = 96, 2
TRIGGER = 2e6


def series(seed: int = 0, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """Harmless values, exact in float32, different for every seed."""
    steps = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    return (steps * 0.125 + (seed % 4096)).astype(np.float32)


def harmful(value: float = TRIGGER) -> np.ndarray:
    """A series with one value that no harmless one has."""
    values = series()
    values[3, 1] = value
    return values


def check_alive(caller: Caller, *models: str) -> None:
    """Each of these models, which answer what they get, does so."""
    for seed, model in enumerate(models):
        values = series(seed + 7)
        assert np.array_equal(caller.infer(model, values), values)


def is_served(caller: Caller, model: str) -> bool:
    """Whether the model answers, and rightly."""
    try:
        check_alive(caller, model)
    except Refused:
        return False
    return True


class Workload:
    """Requests that keep the model `works` busy for a given time; measured once on the node at hand."""

    RUNS = 5

    def __init__(self, caller: Caller, model: str) -> None:
        rounds = 4000
        times = []
        for _ in range(self.RUNS):
            started = time.monotonic()
            caller.infer(model, harmful(1e6 + rounds))
            times.append(time.monotonic() - started)
        self.per_second = rounds / min(times)  # others use the processor, too

    def block(self, seconds: float) -> np.ndarray:
        """The input for at least so many seconds of work."""
        return harmful(1e6 + max(1, int(seconds * self.per_second)))
