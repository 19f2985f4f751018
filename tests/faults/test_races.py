"""Commands that meet: what one asks for while another is being done."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from caller import Caller, Refused, good
from node import Node
from pipelines import DRIFT, write_pipeline
from processes import wait_until

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
