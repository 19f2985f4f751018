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
SLOW = "import time\ntime.sleep(3)\n" + DRIFT


def send_place(caller: Caller, what: str, model: str) -> None:
    """LOAD or UNLOAD MODEL on the CPU, without waiting."""
    request = getattr(caller.types, f"T{what.capitalize()}ModelReq")
    name = "existingModelId" if what == "load" else "modelId"
    caller.send(f"{what}Model", request(**{name: model, "deviceIdList": ["cpu"]}))


def test_unload_while_it_is_loading(node: Node, tmp_path: Path) -> None:
    """Both are answered: the one who loads is told that it did not come to that."""
    with node.call("H") as first, node.call("H") as second:
        first.register("slow", write_pipeline(tmp_path / "slow", SLOW, framework="numpy"))
        send_place(first, "load", "slow")
        node.settle()
        wait_until(lambda: len(node.workers()) == 1, 2, "it is being loaded")
        send_place(second, "unload", "slow")
        good(second.receive())
        with pytest.raises(Refused, match="unloaded"):
            good(first.receive())
        second.drop("slow")


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
    time.sleep(1)  # and the results are there
    for index in range(2):
        with node.call("H") as caller:
            expected = send(caller, 2.0 + index)
            assert np.allclose(decode(good(caller.receive()).forecastResult[0]), expected)
    assert runs() == before + 3
