"""What a DataNode of 2.0.8 and later does to get an answer: it gives up waiting, and asks again on a new connection.

As its AINode client: five tries; after each that timed out, the last one too, 100 ms of pause and a new connection,
while the old one is forgotten but not closed. Only the newest, on which nothing was asked, is closed in the end.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from caller import Caller, good
from node import Node
from tsblock import decode, encode

TRIES = 5
PAUSE = 0.1


class GaveUp(Exception):
    """No answer to any of the tries."""


class DataNode:
    """One pooled client of a DataNode; connections that it forgot stay open until forget()."""

    def __init__(self, node: Node, timeout: float, tries: int = TRIES) -> None:
        self.node, self.timeout, self.tries = node, timeout, tries
        self.asked = 0
        self.forgotten: list[Caller] = []
        self.current = node.call("H", timeout)

    def call(self, method: str, request: Any) -> Any:
        """The answer to one of the tries; GaveUp when there is none."""
        self.asked = 0
        while self.asked < self.tries:
            self.asked += 1
            try:
                return self.current.call(method, request)
            except TimeoutError:
                self.forgotten.append(self.current)
            time.sleep(PAUSE)
            self.current = self.node.call("H", self.timeout)
        self.current.close()
        raise GaveUp(f"{self.asked} tries of {self.timeout:.0f} s")

    def infer(self, model: str, values: np.ndarray) -> np.ndarray:
        """CALL INFERENCE."""
        request = self.current.types.TInferenceReq(modelId=model, dataset=encode(values))
        (block,) = good(self.call("inference", request)).inferenceResult
        return decode(block)

    def forget(self) -> None:
        """The process ends, and all its connections with it."""
        for caller in [*self.forgotten, self.current]:
            caller.close()
