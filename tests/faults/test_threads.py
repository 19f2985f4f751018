"""Threads of torch: as many as the proof found best, only in workers."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from node import Start
from values import check_alive, series


def thread_count(pid: int) -> int:
    """Threads of a process."""
    return len(os.listdir(f"/proc/{pid}/task"))


def test_stored_number_is_used(start_node: Start, models: Path) -> None:
    """After a restart, too; the prototype keeps one thread, so that it can go on forking."""
    node = start_node()
    with node.call() as caller:
        caller.register("wide", (models / "wide").as_uri())
        found = caller.infer("wide", series(1))
    manifest = node.home / "data" / "ainode" / "models" / "wide" / ".ainode-model"
    text = manifest.read_text()
    assert re.search(r"(?m)^threads=[1-9]\d?$", text), text
    node.stop()
    counts = {}
    for threads in (1, 3):
        manifest.write_text(re.sub(r"(?m)^threads=\d+$", f"threads={threads}", text))
        node.start()
        with node.call() as caller:
            assert np.allclose(caller.infer("wide", series(1)), found, rtol=1e-4)
            worker = node.worker()
            counts[threads] = thread_count(worker)
            prototype = thread_count(node.prototype())
            caller.register("another", (models / "identity").as_uri())
            check_alive(caller, "another")
            assert thread_count(node.prototype()) == prototype
            assert "does not fork" not in node.log()
            caller.drop("another")
        node.stop()
    assert counts[3] >= counts[1] + 2, counts
