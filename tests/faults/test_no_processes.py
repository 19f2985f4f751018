"""The limit of processes is reached: one sentence, no harm to what runs, and all is well when there is room again."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from caller import Refused
from crowd import ask_until, crowd
from generated import Service
from node import Node, new_node
from processes import children, wait_until
from standins.confignode import Bindings
from values import check_alive, is_served

#: A user that has no other processes: root is not held to the limit.
USER = "54321"
#: To read what only root may, as the interpreter.
RIGHTS = "+dac_override,+dac_read_search"
AS_USER = ("setpriv", "--securebits", "+no_setuid_fixup", "--reuid", USER, "--regid", USER, "--clear-groups")
AS_USER += ("--inh-caps", RIGHTS, "--ambient-caps", RIGHTS)
SENTENCE = "limit of processes"


@pytest.fixture(params=["1", "2"])
def node(
    build_dir: Path,
    model_python: str,
    bindings: Bindings,
    services: dict[str, Service],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Node]:
    """Of a user who is held to a limit, with so many replicas of a model at most."""
    settings = {"AIN_MODEL_REPLICAS": request.param, "AIN_BATCHING": "0"}
    made = new_node(tmp_path, build_dir, model_python, bindings, services, **settings)
    made.wrapper = AS_USER if os.geteuid() == 0 else ()
    try:
        made.start()
        yield made
        made.stop()
        complaints = made.complaints()
        assert not complaints, complaints
    finally:
        made.kill()
        made.config_node.stop()


def allow_processes(node: Node, count: str) -> None:
    """That many for the node's processes that start others."""
    for pid in [node.pid, *node.prototypes(), *node.templates()]:
        subprocess.run([*node.wrapper, "prlimit", "--pid", str(pid), f"--nproc={count}:"], check=True)


@contextmanager
def no_more_processes(node: Node) -> Iterator[None]:
    """None can be started for a while."""
    allow_processes(node, "1")
    try:
        yield
    finally:
        allow_processes(node, str(resource.getrlimit(resource.RLIMIT_NPROC)[1]))


def use_up_spares(node: Node) -> None:
    """No process is left that was forked ahead."""
    for pid in node.spares():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not node.spares(), 5, "there is no spare")


def test_no_process_for_a_model(node: Node, models: Path) -> None:
    """The model that has one is served, the other one refused with the cause; both are served afterwards."""
    node.allow(SENTENCE)
    with node.call() as caller:
        for name in ("one", "two"):
            caller.register(name, (models / "identity").as_uri())
        check_alive(caller, "one")
        since = time.monotonic()
        with no_more_processes(node):
            use_up_spares(node)
            for _ in range(3):
                with pytest.raises(Refused, match=SENTENCE):
                    check_alive(caller, "two")
                check_alive(caller, "one")
                with pytest.raises(Refused, match=SENTENCE):
                    caller.register("three", (models / "identity").as_uri())
                time.sleep(1)
        wait_until(lambda: is_served(caller, "two"), 10, "it is loaded")
        wait_until(lambda: bool(node.spares()), 15, "there is a spare again")
        caller.register("three", (models / "identity").as_uri())
        check_alive(caller, "one", "two", "three")
        node.assert_running(since)
        for name in ("one", "two", "three"):
            caller.drop(name)
    node.check()


@pytest.mark.parametrize("node", ["1"], indirect=True)
def test_a_long_shortage_fails_no_model(node: Node, models: Path) -> None:
    """However often it was tried in vain: once there is room the model is there, without LOAD MODEL."""
    node.allow(SENTENCE)
    with node.call() as caller:
        caller.register("one", (models / "identity").as_uri())
        with no_more_processes(node):
            use_up_spares(node)
            until = time.monotonic() + 20
            while time.monotonic() < until:
                with pytest.raises(Refused, match=SENTENCE):
                    check_alive(caller, "one")
                time.sleep(0.5)
            assert caller.states() == {"one": "ACTIVE"}
        wait_until(lambda: is_served(caller, "one"), 10, "it is loaded")
        caller.drop("one")
    node.check()


@pytest.mark.parametrize("node", ["4"], indirect=True)
def test_no_process_for_a_replica(node: Node, models: Path) -> None:
    """Those that are there serve all requests; later ones share the weights again."""
    node.allow(SENTENCE)
    with node.call() as caller:
        caller.register("heavy", (models / "heavy").as_uri())
        crowd(node, "heavy")
        (template,) = node.templates()
        since = time.monotonic()
        with no_more_processes(node):
            use_up_spares(node)
            for pid in node.workers()[1:]:
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: len(node.workers()) <= 1, 5, "one is left")
            node.allow("signal 9")
            for _ in range(4):
                crowd(node, "heavy")
            assert len(node.workers()) == 1
        time.sleep(1.5)  # until it is tried again
        ask_until(node, "heavy", 4)
        assert node.templates() == [template]
        assert len(children(template)) == 4, "all share its weights"
        node.assert_running(since)
        caller.drop("heavy")
    node.check()


@pytest.mark.parametrize("node", ["1"], indirect=True)
def test_no_process_for_the_runtime(node: Node, models: Path) -> None:
    """The prototype dies and no other can be started: the heartbeat says why; then one is."""
    node.allow(SENTENCE, r"the Python runtime \(.*signal 9", "model one: ")
    with node.call() as caller:
        caller.register("one", (models / "identity").as_uri())
        check_alive(caller, "one")
        with no_more_processes(node):
            os.kill(node.prototype(), signal.SIGKILL)
            wait_until(lambda: caller.heartbeat().status == "Unknown", 10, "the heartbeat tells")
            assert "limit of processes" in caller.heartbeat().statusReason
            with pytest.raises(Refused, match=SENTENCE):
                check_alive(caller, "one")
        wait_until(lambda: caller.heartbeat().status == "Running", 30, "it is Running")
        wait_until(lambda: is_served(caller, "one"), 10, "it is served")
        caller.drop("one")
