"""Commands that meet: what one asks for while another is being done."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from caller import Caller, Refused, good
from node import Node, Start
from pipelines import DRIFT, drift, write_pipeline
from processes import wait_until
from tsblock import decode, encode

#: Loading takes a while.
SLOW = "import time\ntime.sleep(1.5)\n" + DRIFT


def send_place(caller: Caller, what: str, model: str) -> None:
    """LOAD or UNLOAD MODEL on the CPU, without waiting."""
    request = getattr(caller.types, f"T{what.capitalize()}ModelReq")
    name = "existingModelId" if what == "load" else "modelId"
    caller.send(f"{what}Model", request(**{name: model, "deviceIdList": ["cpu"]}))


def test_unload_while_it_is_loading(node: Node, tmp_path: Path) -> None:
    """Both are answered: the one who loads is told that it did not come to that."""
    with node.call("H", timeout=10) as first, node.call("H", timeout=10) as second:
        first.register("slow", write_pipeline(tmp_path / "slow", SLOW, framework="numpy"))
        send_place(first, "load", "slow")
        wait_until(lambda: len(node.workers()) == 1, 5, "it is being loaded")
        time.sleep(0.3)
        send_place(second, "unload", "slow")
        good(second.receive())
        with pytest.raises(Refused, match="unloaded"):
            good(first.receive())
        second.drop("slow")


#: Tells that it runs, and does so until its client has gone.
TELLS = DRIFT.replace(
    "outputs = []", "import time\n        print('runs', flush=True)\n        time.sleep(0.2)\n        outputs = []"
)


def test_results_that_are_kept_have_a_bound_in_bytes(start_node: Start, tmp_path: Path) -> None:
    """Of clients that leave and ask again, the first gets the result that was kept; for the second is no room."""
    node = start_node(AIN_QUEUE_MAX_BYTES=str(1 << 20), AIN_ORPHAN_GRACE_MS="20000")
    length, columns = 2880, 40  # 900 KB

    def send(caller: Caller, last: float) -> np.ndarray:
        values = np.repeat([[1.0], [last]], columns, axis=1)
        request = caller.types.TForecastReq(modelId="tells", inputData=encode(values), outputLength=length, options={})
        caller.send("forecast", request)
        return drift(values, length)

    def runs() -> int:
        return node.log().count("model tells: runs")

    with node.call("H") as caller:
        caller.register("tells", write_pipeline(tmp_path / "tells", TELLS, framework="numpy"))
    before = runs()
    for index in range(2):
        with node.call("H") as caller:
            send(caller, 2.0 + index)
            wait_until(lambda count=before + index + 1: runs() == count, 20, "it runs")
    time.sleep(0.8)
    for index in range(2):
        with node.call("H") as caller:
            expected = send(caller, 2.0 + index)
            assert np.allclose(decode(good(caller.receive()).forecastResult[0]), expected)
    assert runs() == before + 3
