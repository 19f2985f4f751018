"""A worker whose model answers its input: what is left is the channel, the GIL and NumPy's C API."""

from __future__ import annotations

import os

import _ainode
import numpy as np


def identity(array: np.ndarray, options: str | None, output_length: int) -> np.ndarray:
    """The array itself."""
    del options, output_length
    return array


def main(role: str) -> None:
    """From the host's LOAD message to its end."""
    del role
    _ainode.send(_ainode.MESSAGE_HELLO, 0, _ainode.ABI_VERSION, "")
    _ainode.receive()
    _ainode.open_channel()
    _ainode.send(_ainode.MESSAGE_LOADED, 0, 0, "")
    _ainode.serve(identity)
    os._exit(0)
