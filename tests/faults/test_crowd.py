"""Thousands of idle and half-finished connections cost next to nothing and delay nobody."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from pathlib import Path

from node import Start
from processes import memory_kib
from values import check_alive

CROWD = 2000


def test_crowd_does_not_delay_heartbeats(start_node: Start, models: Path) -> None:
    """2,000 connections, silent ones and ones with half a frame, under the usual soft limit of descriptors."""
    node = start_node(descriptors=1024)
    node.allow("begun but not finished")
    with node.call() as caller:
        caller.register("one", (models / "identity").as_uri())
        check_alive(caller, "one")
        half = caller.encode("inference", caller.types.TInferenceReq(modelId="one", dataset=bytes(3000)))[:1500]
        before = memory_kib(node.pid)
        crowd = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(CROWD)]
        since = time.monotonic()
        for index, connection in enumerate(crowd):
            if index % 4 == 1:
                connection.sendall(half)
            elif index % 4 == 2:
                connection.sendall(half[:3])
            elif index % 4 == 3:
                connection.sendall(struct.pack(">I", 400 << 20) + half[4:200])
        times = []
        for stamp in range(3000):
            started = time.perf_counter()
            assert caller.heartbeat(sample=stamp % 10 == 0, stamp=stamp).status == "Running"
            times.append(time.perf_counter() - started)
        check_alive(caller, "one")
        time.sleep(max(0.0, since + 3 - time.monotonic()))  # a few of the ConfigNode's, too
        grown = memory_kib(node.pid) - before
        times.sort()
        print(
            f"\n{CROWD} connections: heartbeat p50 {times[1500] * 1e6:.0f} us, p99 {times[2970] * 1e6:.0f} us, "
            f"slowest {times[-1] * 1e3:.1f} ms; {grown / CROWD:.2f} KiB a connection; none lost"
        )
        assert times[1500] < 0.05
        assert grown < CROWD * 8 or node.sanitized
        node.assert_running(since)
        closed = 0
        for connection in crowd:
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                closed += connection.recv(1) == b""
        assert closed == 0, f"{closed} of {CROWD} connections were closed although there was room"
        for connection in crowd:
            connection.close()
        caller.drop("one")
    node.check()
