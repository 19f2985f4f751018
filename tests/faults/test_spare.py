"""The process that is forked ahead."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from caller import Caller
from node import Make, Node, Start
from processes import descriptors, is_spare, wait_until
from values import check_alive, series


def spare_of(node: Node) -> int:
    """The one there is, when it waits."""

    wait_until(lambda: len(node.spares()) == 1, 10, "a process is forked ahead")
    (spare,) = node.spares()
    return spare


def test_it_becomes_the_worker_and_another_is_made(node: Node, caller: Caller, make: Make) -> None:
    """Of a model that is asked for; one more is there for the next one."""
    first, second = make("identity"), make("identity")
    for model in (first, second):
        spare = spare_of(node)
        before = set(node.workers())
        caller.infer(model, series())
        assert node.worker(*before) == spare
        assert not is_spare(spare), "a worker has the name of its program"
        links = [fd for fd, what in descriptors(spare).items() if fd > 8 and what.startswith("socket:")]
        assert not links, "its link to the prototype is closed"
    check_alive(caller, first, second)


def test_it_dies(node: Node, caller: Caller, make: Make) -> None:
    """Nobody notices; another is made. After three unused ones there is none, and workers are forked when needed."""
    model = make("identity")
    for _ in range(3):
        spare = spare_of(node)
        os.kill(spare, signal.SIGKILL)
        wait_until(lambda gone=spare: gone not in node.spares(), 20, "it is collected")
    check_alive(caller, model)
    assert node.spares() == [], "no more are made"
    node.allow("ended by signal 9")
    os.kill(node.prototype(), signal.SIGKILL)  # the next one begins anew
    wait_until(lambda: node.spares(), 60, "the new prototype has one")
    check_alive(caller, model)


def test_it_hangs(node: Node, caller: Caller, make: Make) -> None:
    """It becomes a worker that never greets: another one answers, and nothing stays of it."""
    model = make("identity")
    spare = spare_of(node)
    os.kill(spare, signal.SIGSTOP)
    check_alive(caller, model)
    assert f"(pid {spare}) does not answer" in node.log()
    wait_until(lambda: not os.path.exists(f"/proc/{spare}"), 20, "it is gone")


def test_it_ends_with_the_prototype(start_node: Start, models: Path) -> None:
    """Whether that dies or is ended for idleness."""
    node = start_node(AIN_PROTOTYPE_IDLE_S="1")
    node.allow("ended by signal 9")
    with node.call("H") as caller:
        caller.register("first", (models / "identity").as_uri())
        spare = spare_of(node)
        os.kill(node.prototype(), signal.SIGKILL)
        wait_until(lambda: not os.path.exists(f"/proc/{spare}"), 20, "it ends with the prototype")
        check_alive(caller, "first")
        caller.call("unloadModel", caller.types.TUnloadModelReq(modelId="first", deviceIdList=["cpu"]))
        wait_until(lambda: node.prototypes() == [], 20, "the prototype has ended for idleness")
        check_alive(caller, "first")
    node.stop()

