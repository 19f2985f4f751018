"""The Python environment changes while the node runs."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from node import Start
from processes import parent, wait_until
from values import check_alive


def test_next_worker_sees_what_was_installed(
    start_node: Start, models: Path, environment: tuple[str, Path]
) -> None:
    """A new prototype for what is loaded from now on; what is loaded goes on, and with it the old prototype."""
    python, packages = environment
    node = start_node(python=python)
    with node.call("H") as caller:
        for name in ("first", "second"):
            caller.register(name, (models / "identity").as_uri())
        check_alive(caller, "first")
        old_worker = node.worker()
        old = node.prototype()
        caller.drop("second")
        assert node.prototype() == old, "nothing was changed yet"
        (packages / "installed.pth").write_text("import sys; sys.stderr.write('the new environment is seen\\n')\n")
        caller.register("second", (models / "identity").as_uri())
        assert "the Python environment has changed" in node.log()
        wait_until(lambda: "runtime: the new environment is seen" in node.log(), 10, "its output is in the log")
        check_alive(caller, "second", "first")
        new_worker = node.worker(old_worker)
        assert parent(old_worker) == old and parent(new_worker) != old
        types = caller.types
        caller.call("unloadModel", types.TUnloadModelReq(modelId="first", deviceIdList=["cpu"]))
        wait_until(lambda: old not in node.prototypes(), 10, "the old prototype goes with its last worker")
        check_alive(caller, "first", "second")
        assert node.prototype() == parent(new_worker)
        assert node.log().count("the Python environment has changed") == 1


def test_old_prototype_dies(start_node: Start, models: Path, environment: tuple[str, Path]) -> None:
    """With its workers, and without harm to those of the new one."""
    python, packages = environment
    node = start_node(python=python)
    node.allow("the Python runtime .* ended by signal 9", "model first: ")
    with node.call() as caller:
        caller.register("first", (models / "identity").as_uri())
        check_alive(caller, "first")
        old = node.prototype()
        (packages / "installed.py").write_text("")
        since = time.monotonic()
        caller.register("second", (models / "identity").as_uri())
        check_alive(caller, "second")
        worker = node.worker(*[pid for pid in node.workers() if parent(pid) == old])
        subprocess.run(["kill", "-9", str(old)], check=True)
        wait_until(lambda: old not in node.prototypes(), 10, "it has gone")
        check_alive(caller, "first", "second")
        assert worker in node.workers(), "the worker of the new one is the same"
        node.assert_running(since)
