"""kill -9 for every kind of process, while it works and while it does not."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from caller import Caller, Gone, Refused
from node import Make, Node, Start
from processes import command, marked, wait_until
from values import Workload, check_alive, harmful, series


def worker_of(node: Node, caller: Caller, model: str) -> int:
    """The process that appears when the model is asked for the first time."""
    before = set(node.workers())
    caller.infer(model, series())
    return node.worker(*before)


@pytest.mark.parametrize(
    ("number", "parts"),
    [
        (signal.SIGKILL, ["signal 9", "memory ran out"]),
        (signal.SIGABRT, ["signal 6", "abort"]),
        (signal.SIGSEGV, ["signal 11"]),
        (signal.SIGTERM, ["signal 15"]),
    ],
)
def test_worker_killed_while_it_runs(
    node: Node, caller: Caller, make: Make, number: signal.Signals, parts: list[str]
) -> None:
    """Only the running request fails; the one behind it and the next one are answered."""
    sound, model = make("identity"), make("works")
    workload = Workload(caller, model)
    worker = node.worker()
    check_alive(caller, sound)
    node.allow(rf"model {model}: ")
    since = time.monotonic()
    with node.computing():
        caller.ask(model, workload.block(3))
        caller.ask(model, series(8))
    os.kill(worker, number)
    killed = time.monotonic()
    with pytest.raises(Refused) as caught:
        caller.answer()
    for part in [model, *parts]:
        assert part in caught.value.message, caught.value
    assert np.array_equal(caller.answer()[0], series(8))
    print(f"next answer {1e3 * (time.monotonic() - killed):.1f} ms after {number.name}")
    check_alive(caller, sound, model)
    node.assert_running(since)


def test_idle_worker_killed(node: Node, caller: Caller, make: Make) -> None:
    """Nobody notices: the next request is answered, twenty times in a row."""
    model = make("identity")
    worker = worker_of(node, caller, model)
    node.allow(rf"model {model}: .*signal 9")
    since = time.monotonic()
    times = []
    for _ in range(20):
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda gone=worker: gone not in node.workers(), 10, "the killed worker is collected")
        started = time.monotonic()
        check_alive(caller, model)
        times.append(time.monotonic() - started)
        worker = node.worker()
    times.sort()
    print(f"answer of a new worker: median {times[10] * 1e3:.1f} ms, slowest {times[-1] * 1e3:.1f} ms")
    node.assert_running(since)


def test_request_meets_a_worker_that_dies(node: Node, caller: Caller, make: Make) -> None:
    """Killed in the same moment as a request is sent: an answer or one sentence, never silence."""
    model = make("identity")
    worker = worker_of(node, caller, model)
    node.allow(rf"model {model}: .*signal 9")
    refused = 0
    for seed in range(30):
        caller.ask(model, series(seed))
        os.kill(worker, signal.SIGKILL)
        try:
            assert np.array_equal(caller.answer()[0], series(seed))
        except Refused as answer:
            refused += 1
            assert "signal 9" in answer.message
        check_alive(caller, model)
        worker = node.worker(worker)
    print(f"{refused} of 30 requests were running when their worker died")


def test_worker_stopped_is_like_one_that_never_returns(node: Node, caller: Caller, make: Make) -> None:
    """SIGSTOP: the time limit ends it."""
    model = make("identity")
    worker = worker_of(node, caller, model)
    node.allow(rf"model {model}: ")
    os.kill(worker, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(Refused, match="5000 ms"):
        caller.infer(model, series())
    assert 4.9 < time.monotonic() - started < 30
    check_alive(caller, model)


def kill_prototype(node: Node) -> None:
    """One that has been healthy for a while."""
    time.sleep(3.5)
    os.kill(node.prototype(), signal.SIGKILL)


def test_idle_prototype_killed(node: Node, caller: Caller, make: Make) -> None:
    """Its workers go with it; requests wait for the next one instead of failing."""
    model = make("identity")
    check_alive(caller, model)
    node.allow(r"the Python runtime \(.*signal 9", rf"model {model}: the Python runtime")
    worker = node.worker()
    since = time.monotonic()
    kill_prototype(node)
    wait_until(lambda: not command(worker), 20, "the worker has gone with it")
    check_alive(caller, model)
    print(f"answer {time.monotonic() - since - 3.5:.2f} s after the death of the prototype")
    node.assert_running(since)


def test_prototype_that_hangs(node: Node, caller: Caller, make: Make) -> None:
    """Another one takes its place; its workers answer on, and it goes with the last of them."""
    model, late = make("identity"), make("identity")
    check_alive(caller, model)
    hanging = node.prototype()
    node.allow(r"the Python runtime \(pid \d+\) does not answer")
    since = time.monotonic()
    os.kill(hanging, signal.SIGSTOP)
    with node.call() as other:
        other.ask(late, series(5))
        while time.monotonic() < since + 6:
            check_alive(caller, model)
            time.sleep(0.05)
        assert np.array_equal(other.answer()[0], series(5))
        other.drop(model)
    wait_until(lambda: not command(hanging), 10, "the one that hangs has gone")
    wait_until(lambda: len(node.prototypes()) == 1 and node.spares(), 20, "there is one with a spare")
    check_alive(caller, late)
    node.assert_running(since)


def test_worker_dies_under_a_prototype_that_hangs(node: Node, caller: Caller, make: Make) -> None:
    """Nobody tells how it ended: its request is refused all the same, and another prototype serves the next one."""
    model = make("works")
    workload = Workload(caller, model)
    worker = node.worker()
    hanging = node.prototype()
    node.allow(rf"model {model}: ", r"the Python runtime \(pid \d+\) does not answer")
    with node.computing():
        caller.ask(model, workload.block(3))
    os.kill(hanging, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(Refused, match=rf"\[{model}\] ended; how is not known"):
        caller.answer()
    check_alive(caller, model)
    wait_until(lambda: not command(hanging), 10, "the one that hangs has gone")


def test_prototype_killed_while_workers_run(node: Node, caller: Caller, make: Make) -> None:
    """Running requests get a sentence; what waits and what comes is answered; a registration is, too."""
    model, sound = make("works"), make("identity")
    workload = Workload(caller, model)
    check_alive(caller, sound)
    node.allow(r"the Python runtime \(", rf"model ({model}|{sound}): the Python runtime")
    since = time.monotonic()
    time.sleep(3.5)
    with node.computing():
        caller.ask(model, workload.block(3))
        caller.ask(model, series(3))
    os.kill(node.prototype(), signal.SIGKILL)
    with pytest.raises(Refused, match="signal 9"):
        caller.answer()
    assert np.array_equal(caller.answer()[0], series(3))
    check_alive(caller, sound)
    node.assert_running(since)


def test_prototype_killed_during_a_registration(node: Node, caller: Caller, make: Make, models: Path) -> None:
    """The registration waits for the next one."""
    model = make("identity")  # for the id to be dropped later
    caller.drop(model)
    node.allow(r"the Python runtime \(")
    time.sleep(3.5)
    caller.send("registerModel", caller.types.TRegisterModelReq(modelId=model, uri=(models / "dlinear").as_uri()))
    wait_until(lambda: bool(node.workers()), 10, "the model is being proven")
    os.kill(node.prototype(), signal.SIGKILL)
    assert caller.receive().status.code == 200
    assert caller.infer(model, series()).shape == (24, 2)


def unknown_because(node: Node, reason: str) -> bool:
    """Whether a heartbeat was answered so; the ConfigNode keeps them all, and the next prototype is soon there."""
    return any(beat.status == "Unknown" and reason in (beat.reason or "") for beat in node.config_node.heartbeats)


def test_prototype_that_dies_again_and_again(start_node: Start, models: Path) -> None:
    """Three deaths at the start in a row: the heartbeat says Unknown and why; it comes back when a prototype lives."""
    node = start_node()
    node.allow(r"the Python runtime \(")
    with node.call() as caller:
        caller.register("kept", (models / "identity").as_uri())
        killed: set[int] = set()

        def kill_another() -> bool:
            """The first one has worked and is replaced at once; one that is killed too late has, too."""
            for pid in set(node.prototypes()) - killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            return unknown_because(node, "signal 9")

        wait_until(kill_another, 60, "the third death in a row is noticed")
        wait_until(lambda: caller.heartbeat().status == "Running", 30, "the node is Running again")
        check_alive(caller, "kept")
        caller.drop("kept")


def test_prototype_that_worked_and_is_killed_again_and_again(node: Node, caller: Caller, make: Make) -> None:
    """However soon it was after its start: the next one is there at once, and the heartbeat stays Running."""
    model = make("identity")
    node.allow(r"the Python runtime \(.*signal 9", rf"model {model}: the Python runtime")
    since = time.monotonic()
    for _ in range(6):
        check_alive(caller, model)
        killed = node.prototype()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda gone=killed: bool(set(node.prototypes()) - {gone}), 10, "the next one is started")
    print(f"six deaths, all answered again after {time.monotonic() - since:.1f} s")
    check_alive(caller, model)
    node.assert_running(since)


def test_prototype_that_cannot_fork_any_more(start_node: Start, models: Path) -> None:
    """Out of descriptors: requests are answered all the same, by a process of another making or a sentence."""
    node = start_node(AIN_INFERENCE_TIMEOUT_MS="20000")
    node.allow("model ", "runtime")
    with node.call() as caller:
        caller.register("one", (models / "identity").as_uri())
        check_alive(caller, "one")
        caller.register("two", (models / "identity").as_uri())
        prototype = node.prototype()
        in_use = len(os.listdir(f"/proc/{prototype}/fd"))
        for room in (0, 2, 4, 6):
            resource.prlimit(prototype, resource.RLIMIT_NOFILE, (in_use + room, 20000))
            started = time.monotonic()
            try:
                check_alive(caller, "two")
            except Refused as refused:
                assert refused.message
            assert time.monotonic() - started < 15, room
            for worker in node.workers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            wait_until(lambda: not node.workers(), 10, "no worker is left")
            if node.prototypes() != [prototype]:
                break
        node.assert_running(started)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_host_killed(start_node: Start, models: Path, busy: bool) -> None:
    """Nothing of it is left; started again it is the same node with the same models."""
    node = start_node()
    with node.call() as caller:
        caller.register("kept", (models / "identity").as_uri())
        caller.register("works", (models / "works").as_uri())
        check_alive(caller, "kept", "works")
        if busy:
            values = Workload(caller, "works").block(20)
            with node.computing():
                caller.ask("works", values)
        wait_until(lambda: len(set(marked(node.mark)) - set(node.spares())) == 4, 10, "host, prototype, two workers")
        node.process.kill()
        node.process.wait()
        wait_until(lambda: not marked(node.mark), 10, "its processes are gone")
        if busy:
            with pytest.raises(Gone):
                caller.answer()
    node.process = None
    registered = len(node.config_node.calls("registerAINode"))
    node.start()
    assert len(node.config_node.calls("registerAINode")) == registered == 1
    assert len(node.config_node.calls("restartAINode")) == 1
    with node.call() as caller:
        assert caller.states() == {"kept": "ACTIVE", "works": "ACTIVE"}
        check_alive(caller, "kept", "works")


def test_host_killed_during_registrations(start_node: Start, models: Path) -> None:
    """At whatever moment: after the next start a model is there whole or not at all."""
    node = start_node()
    models_dir = node.home / "data" / "ainode" / "models"
    for moment in (0.0, 0.02, 0.06, 0.12, 0.2, 0.4):
        with node.call() as caller:
            name = f"m{int(moment * 1000)}"
            caller.send("registerModel", caller.types.TRegisterModelReq(modelId=name, uri=(models / "lstm").as_uri()))
            time.sleep(moment)
            node.process.kill()
            node.process.wait()
            node.process = None
            wait_until(lambda: not marked(node.mark), 10, "its processes are gone")
        node.start()
        with node.call() as caller:
            states = caller.states()
            assert set(states.values()) <= {"ACTIVE"}, states
            on_disk = {path.name for path in models_dir.iterdir() if not path.name.startswith(".")} - {"weights"}
            assert on_disk == set(states), (on_disk, states)
            if name not in states:
                caller.register(name, (models / "lstm").as_uri())
            assert caller.infer(name, series()).shape == (96, 2)


def test_two_workers_die_while_clients_go_on(node: Node, make: Make) -> None:
    """Eight clients on two models, a worker killed ten times: right answers or a sentence, and never a wrong answer."""
    names = [make("identity"), make("lstm")]
    node.allow(r"model \w+: .*signal 9")
    with node.call() as caller:
        expected = caller.infer(names[1], series(1))
    stop = threading.Event()
    answered = [0] * 8
    failed: list[str] = []

    def client(index: int) -> None:
        with node.call() as caller:
            while not stop.is_set():
                try:
                    if index % 2:
                        assert np.allclose(caller.infer(names[1], series(1)), expected, rtol=1e-4, atol=1e-5)
                    else:
                        values = series(index * 100 + answered[index])
                        assert np.array_equal(caller.infer(names[0], values), values)
                    answered[index] += 1
                except Refused as refused:
                    assert "signal 9" in refused.message, refused
                except AssertionError as error:
                    failed.append(str(error))
                    return

    threads = [threading.Thread(target=client, args=(index,)) for index in range(8)]
    since = time.monotonic()
    for thread in threads:
        thread.start()
    for _ in range(10):
        time.sleep(0.3)
        for worker in node.workers()[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
    before = list(answered)
    try:
        more = range(len(threads))
        wait_until(
            lambda: bool(failed) or all(answered[at] > before[at] + 10 for at in more), 60, "all of them go on"
        )
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert not failed, failed[0]
    assert not [thread for thread in threads if thread.is_alive()]
    with node.call() as caller:
        check_alive(caller, names[0])
    node.assert_running(since)


def test_harmful_during_kills(node: Node, caller: Caller, make: Make) -> None:
    """A model that crashes by itself and is killed from outside in turn is still served."""
    model = make("segfaults")
    node.allow(rf"model {model}: ")
    for round_number in range(6):
        check_alive(caller, model)
        if round_number % 2:
            os.kill(node.worker(), signal.SIGKILL)
        else:
            with pytest.raises(Refused, match="signal 11"):
                caller.infer(model, harmful())
    check_alive(caller, model)
