"""Many requests for one model at once."""

from __future__ import annotations

import threading
import time

import numpy as np
from node import Node
from values import series


def crowd(node: Node, model: str) -> None:
    """Four clients send twelve requests each at once; every answer is checked."""
    wrong: list[int] = []

    def client(seed: int) -> None:
        with node.call() as caller:
            for index in range(12):
                caller.ask(model, series(seed * 20 + index))
            for index in range(12):
                if not np.array_equal(caller.answer()[0], series(seed * 20 + index)):
                    wrong.append(seed)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def ask_until(node: Node, model: str, count: int) -> None:
    """Crowds of requests until so many processes answer."""
    deadline = time.monotonic() + 60
    while len(node.workers()) < count:
        assert time.monotonic() < deadline, f"{len(node.workers())} processes instead of {count}"
        crowd(node, model)
