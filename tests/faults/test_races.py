"""Commands that meet: what one asks for while another is being done."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from caller import Caller, Refused, good
from node import Node, Start
from pipelines import DRIFT, drift, write_pipeline
from processes import wait_until
from tsblock import decode, encode


def gated(gate: Path) -> str:
    """Code of a pipeline that is loaded when the file is there."""
    return f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n" + DRIFT


def send_place(caller: Caller, what: str, model: str) -> None:
    """LOAD or UNLOAD MODEL on the CPU, without waiting."""
    request = getattr(caller.types, f"T{what.capitalize()}ModelReq")
    name = "existingModelId" if what == "load" else "modelId"
    caller.send(f"{what}Model", request(**{name: model, "deviceIdList": ["cpu"]}))


def test_unload_while_it_is_loading(node: Node, tmp_path: Path) -> None:
    """Both are answered: the one who loads is told that it did not come to that."""
    with node.call("H") as first, node.call("H") as second:
        gate = tmp_path / "gate"
        gate.touch()
        first.register("slow", write_pipeline(tmp_path / "slow", gated(gate), framework="numpy"))
        gate.unlink()
        wait_until(lambda: not node.workers(), 10, "that of the registration has gone")
        send_place(first, "load", "slow")
        node.settle()
        wait_until(lambda: len(node.workers()) == 1, 20, "it is being loaded")
        send_place(second, "unload", "slow")
        good(second.receive())
        with pytest.raises(Refused, match="unloaded"):
            good(first.receive())
        second.drop("slow")


def test_dropped_while_it_is_proven(node: Node, tmp_path: Path) -> None:
    """Loading would take for ever: nobody waits for that any more, nor does a process stay that tries."""
    node.allow("model hangs was not registered: .*dropped meanwhile")
    uri = write_pipeline(tmp_path / "hangs", "import time\ntime.sleep(3600)\n" + DRIFT, framework="numpy")
    with node.call("H") as first, node.call("H") as second:
        first.send("registerModel", first.types.TRegisterModelReq(modelId="hangs", uri=uri))
        wait_until(lambda: bool(node.workers()), 20, "it is being loaded")
        second.drop("hangs")
        with pytest.raises(Refused, match="dropped meanwhile"):
            good(first.receive())
        wait_until(lambda: not node.workers(), 10, "its process has gone")


#: Tells that it runs, and that it has; between the two its client can go.
TELLS = DRIFT.replace(
    "outputs = []",
    """import time
        print('runs', flush=True)
        time.sleep(float(infer_kwargs.get('takes', 0)))
        print('ends', flush=True)
        outputs = []""",
)


def test_results_that_are_kept_have_a_bound_in_bytes(start_node: Start, tmp_path: Path) -> None:
    """Of clients that leave and ask again, the first gets the result that was kept; for the second is no room."""
    node = start_node(AIN_QUEUE_MAX_BYTES=str(1 << 20), AIN_ORPHAN_GRACE_MS="20000")
    length, columns = 2880, 40  # 900 KB

    def send(caller: Caller, last: float) -> np.ndarray:
        values = np.repeat([[1.0], [last]], columns, axis=1)
        request = caller.types.TForecastReq(
            modelId="tells", inputData=encode(values), outputLength=length, options={"takes": "2"}
        )
        caller.send("forecast", request)
        return drift(values, length)

    def runs(word: str = "runs") -> int:
        return node.log().count(f"model tells: {word}")

    with node.call("H") as caller:
        caller.register("tells", write_pipeline(tmp_path / "tells", TELLS, framework="numpy"))
    before = runs()
    for index in range(2):
        with node.call("H") as caller:
            send(caller, 2.0 + index)
            wait_until(lambda count=before + index + 1: runs() == count, 20, "it runs")
    wait_until(lambda: runs("ends") == before + 2, 20, "both have run")
    time.sleep(3)  # and the results are there
    for index in range(2):
        with node.call("H") as caller:
            expected = send(caller, 2.0 + index)
            assert np.allclose(decode(good(caller.receive()).forecastResult[0]), expected)
    assert runs() == before + 3


#: Tells that it is being loaded, and takes its time.
LOADS = "import time\nprint('loads', flush=True)\ntime.sleep(3)\n" + DRIFT


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
def test_dropped_before_those_who_wait_for_it_get_it(node: Node, tmp_path: Path, killed: bool) -> None:
    """A request that waits for a model to be registered, and a DROP that waits for the same: no process of it stays.
    Also when the one that loads it in advance is killed: the DROP comes about within that news."""
    model = "loads_killed" if killed else "loads"  # one that was dropped a moment ago is loaded in advance at once
    uri = write_pipeline(tmp_path / model, LOADS, framework="numpy")
    if killed:
        node.allow(f"model {model}: .*signal 9")

    def loads() -> int:
        return node.log().count(f"model {model}: loads")

    with node.call("H") as first, node.call("H") as second, node.call("H") as third:
        before = loads()
        first.register(model, uri)
        proof = loads() - before
        send_place(first, "load", model)
        good(first.receive())
        first.drop(model)
        before = loads()
        first.send("registerModel", first.types.TRegisterModelReq(modelId=model, uri=uri))
        wait_until(lambda: loads() == before + proof + 1, 30, "it is proven, and loaded where it was before")
        second.ask(model, np.ones((96, 2)))
        third.send("deleteModel", third.types.TDeleteModelReq(modelId=model))
        node.settle()
        if killed:
            os.kill(node.worker(), signal.SIGKILL)
        good(third.receive())
        good(first.receive())
        with pytest.raises(Refused, match="there is no model"):
            second.answer()
        assert loads() == before + proof + 1, "nobody loads what was dropped"
