"""Ports for servers of tests."""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    """A loopback port nobody listens on now, below those that the kernel gives to connections of other tests."""
    for _ in range(1000):
        port = random.randrange(11000, 15000)  # from 15000 on are the real clusters'
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port between 11000 and 15000")
