"""Clients that go away, come back, ask for too much, or all at once."""

from __future__ import annotations

import contextlib
import re
import select
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from caller import Caller, Refused, good
from node import Make, Node, Start
from pipelines import DRIFT, drift, write_pipeline
from processes import wait_until
from tsblock import decode, encode
from values import Workload, check_alive, harmful, series


def test_worker_is_freed_when_the_client_goes(start_node: Start, models: Path) -> None:
    """After the grace, and not before; the next client is answered then."""
    node = start_node(AIN_ORPHAN_GRACE_MS="1000", AIN_INFERENCE_TIMEOUT_MS="0")
    with node.call() as caller:
        caller.register("loops", (models / "never_returns").as_uri())
        check_alive(caller, "loops")
        leaving = node.call()
        with node.computing():
            leaving.ask("loops", harmful())
        gone = time.monotonic()
        leaving.close()
        check_alive(caller, "loops")
        took = time.monotonic() - gone
        print(f"answered {took:.2f} s after the other client went")
        assert 0.9 < took < 30, took  # nothing else would end it
        caller.drop("loops")


#: Says that it runs, and takes as long as it is told, whatever else the machine does.
TAKES = DRIFT.replace(
    "outputs = []",
    """outputs = []
        import time
        print('runs', flush=True)
        time.sleep(float(infer_kwargs['takes']))""",
)


VALUES = np.arange(20.0).reshape(20, 1)


def ask_takes(caller: Caller, takes: float) -> None:
    """Keeps the model `takes` busy so long; does not wait."""
    options = {"takes": str(takes)}
    request = caller.types.TForecastReq(modelId="takes", inputData=encode(VALUES), outputLength=3, options=options)
    caller.send("forecast", request)


def check_takes(caller: Caller) -> None:
    """Its answer, which is right."""
    (block,) = good(caller.receive()).forecastResult
    assert np.allclose(decode(block), drift(VALUES, 3))


def test_every_orphan_has_its_own_grace(start_node: Start, tmp_path: Path) -> None:
    """A second client that goes shortly before the first one's grace ends still has its own."""
    node = start_node(AIN_ORPHAN_GRACE_MS="5000", AIN_INFERENCE_TIMEOUT_MS="0")
    node.allow("the first run of the pipeline failed")
    with node.call("H") as caller:
        caller.register("takes", write_pipeline(tmp_path / "takes", TAKES, framework="numpy"))
        ask_takes(caller, 0)
        good(caller.receive())
        first, second = node.call("H"), node.call("H")
        runs = node.log().count("model takes: runs")
        ask_takes(first, 1.0)
        wait_until(lambda: node.log().count("model takes: runs") > runs, 20, "it runs")
        begun = time.monotonic()
        first.close()  # its run ends by itself within the grace
        ask_takes(second, 6.0)
        time.sleep(4)
        second.close()
        time.sleep(max(0.0, begun + 5.5 - time.monotonic()))  # the first one's grace is over, the second one's is not
        assert "nobody waits" not in node.log()
        ask_takes(caller, 0)
        check_takes(caller)
        assert "nobody waits" not in node.log()
        caller.drop("takes")


def leave_while_it_runs(node: Node, model: str, orphans: int) -> None:
    """Until there were so many orphans: where a request had not begun when its client left, there is none."""
    for patience in (0.15, 0.5, 2, 8):
        leaving = node.call()
        leaving.ask(model, harmful(1e6 + 1000 * orphans))
        time.sleep(patience)
        leaving.close()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: node.log().count("nobody waits") >= orphans, 5 + patience, "the orphan is ended")
            return
    raise AssertionError(f"orphan {orphans} of {model} was not ended")


def test_clients_that_leave_do_not_make_a_model_fail(start_node: Start, models: Path) -> None:
    """However many in a row: it is not the model that misbehaves."""
    node = start_node(AIN_ORPHAN_GRACE_MS="100", AIN_INFERENCE_TIMEOUT_MS="0")
    with node.call() as caller:
        caller.register("loops", (models / "never_returns").as_uri())
        for seen in range(1, 11):
            leave_while_it_runs(node, "loops", seen)
        started = time.monotonic()
        check_alive(caller, "loops")
        assert time.monotonic() - started < 15  # a model that ended ten times would wait for half a minute
        caller.drop("loops")


def test_waiting_requests_go_with_their_client(start_node: Start, models: Path) -> None:
    """What has not begun is dropped at once: the model never sees it."""
    node = start_node()
    with node.call() as caller:
        caller.register("works", (models / "works").as_uri())
        workload = Workload(caller, "works")
        with node.computing():
            caller.ask("works", workload.block(4))
        leaving = [node.call() for _ in range(20)]
        for index, client in enumerate(leaving):
            client.ask("works", workload.block(1.0 + index * 0.01))
        node.settle()
        for client in leaving:
            client.close()
        started = time.monotonic()
        assert caller.answer()[0].shape == (96, 2)
        check_alive(caller, "works")
        print(f"answered {time.monotonic() - started:.1f} s after the others left")
        caller.drop("works")
    node.stop()
    totals = re.search(r"totals: .* (\d+) model runs of (\d+) samples", node.log())
    # One of them may have been in the worker's second slot.
    assert totals and int(totals[2]) <= Workload.RUNS + 3, totals and totals[0]


def test_request_sent_again_takes_over(start_node: Start, tmp_path: Path) -> None:
    """A DataNode that gave up and asks again gets the first computation's answer: the model ran once."""
    node = start_node(AIN_ORPHAN_GRACE_MS="20000")
    node.allow("the first run of the pipeline failed")

    def begins(takes: float) -> None:
        """A client asks, and leaves when the model runs."""
        before = node.log().count("model takes: runs")
        with node.call("H") as impatient:
            ask_takes(impatient, takes)
            wait_until(lambda: node.log().count("model takes: runs") > before, 20, "it runs")

    with node.call("H") as caller:
        caller.register("takes", write_pipeline(tmp_path / "takes", TAKES, framework="numpy"))
        begins(6)
        for _ in range(2):
            with node.call("H") as impatient:
                ask_takes(impatient, 6)
                time.sleep(0.6)
        with node.call("H") as patient:
            ask_takes(patient, 6)
            check_takes(patient)
        # Finished while nobody listened: kept for a moment.
        begins(2)
        time.sleep(4)
        with node.call("H") as patient:
            ask_takes(patient, 2)
            check_takes(patient)
        caller.drop("takes")
    node.stop()
    totals = re.search(r"totals: (\d+) requests answered, (\d+) refused or failed, (\d+) model runs", node.log())
    assert totals and int(totals[3]) == 2, totals and totals[0]


def has_answer(*callers: Caller) -> int:
    """How many of them have something to read."""
    return len(select.select([caller.connection for caller in callers], [], [], 0)[0])


def test_queue_over_its_bound_answers_at_once(start_node: Start, models: Path) -> None:
    """Eight wait (ain_queue_max_requests); the ninth is told so without waiting."""
    node = start_node(AIN_QUEUE_MAX_REQUESTS="8")
    with node.call() as caller:
        caller.register("works", (models / "works").as_uri())
        workload = Workload(caller, "works")
        clients = [node.call() for _ in range(16)]
        with node.computing():
            caller.ask("works", workload.block(4))
        for index, client in enumerate(clients):
            client.ask("works", series(index))
        wait_until(lambda: has_answer(*clients) >= 6, 30, "the refusals have come")
        assert not has_answer(caller), "the refusals waited for the model"
        assert caller.answer()[0].shape == (96, 2)
        answered, refused = 0, []
        for index, client in enumerate(clients):
            try:
                assert np.array_equal(client.answer()[0], series(index))
                answered += 1
            except Refused as refusal:
                refused.append(refusal.message)
            client.close()
        assert answered >= 8 and len(refused) >= 6
        for part in ("works", "8 requests waiting", "ain_queue_max_requests", "try again"):
            assert all(part in message for message in refused), refused[0]


def test_queue_bound_in_bytes(start_node: Start, models: Path) -> None:
    """Likewise for ain_queue_max_bytes."""
    node = start_node(AIN_QUEUE_MAX_BYTES=str(1 << 20))
    with node.call() as caller:
        caller.register("works", (models / "works").as_uri())
        workload = Workload(caller, "works")
        clients = [node.call() for _ in range(8)]
        with node.computing():
            caller.ask("works", workload.block(4))
        large = np.zeros((20_000, 2), np.float32)  # 320 KB on the wire
        for client in clients:
            client.ask("works", large)
        outcomes = []
        for client in clients:
            try:
                outcomes.append(client.answer()[0].shape == (20_000, 2))
            except Refused as refused:
                assert "ain_queue_max_bytes" in refused.message
                outcomes.append(None)
            client.close()
        assert None in outcomes and outcomes.count(True) >= 3, outcomes
        assert caller.answer()[0].shape == (96, 2)
        caller.drop("works")


def test_drop_while_it_runs(start_node: Start, models: Path) -> None:
    """The running request and those that wait are answered; new ones are told; the files go."""
    node = start_node()
    with node.call() as caller, node.call() as waiting, node.call() as other:
        caller.register("works", (models / "works").as_uri())
        workload = Workload(caller, "works")
        with node.computing():
            caller.ask("works", workload.block(4))
        for _ in range(6):
            waiting.ask("works", series())
        node.settle()
        other.drop("works")
        assert not has_answer(caller), "the drop waited for the request"
        with pytest.raises(Refused, match="there is no model"):
            other.infer("works", series())
        for _ in range(6):
            assert np.array_equal(waiting.answer()[0], series())
        assert caller.answer()[0].shape == (96, 2)
        wait_until(lambda: not (node.home / "data/ainode/models/works").exists(), 20, "the files are gone")


def test_drop_gives_waiting_requests_a_bounded_time(start_node: Start, models: Path) -> None:
    """ain_drain_ms after the drop those that still wait are told, and the run that went on all the while may end."""
    node = start_node(AIN_DRAIN_MS="1000")
    with node.call() as caller, node.call() as waiting, node.call() as other:
        caller.register("works", (models / "works").as_uri())
        workload = Workload(caller, "works")
        with node.computing():
            caller.ask("works", workload.block(5))
        for _ in range(3):
            waiting.ask("works", series())
        node.settle()
        other.drop("works")
        told = []
        for _ in range(3):
            try:
                waiting.answer()
            except Refused as refused:
                told.append(refused.message)
        assert "model [works] was dropped" in told, told
        assert caller.answer()[0].shape == (96, 2)


def test_drop_and_register_while_clients_go_on(node: Node, make: Make, models: Path) -> None:
    """Replaced twenty times under load: every answer belongs to the model that the id meant then."""
    model = make("identity")
    stop = threading.Event()
    wrong: list[str] = []
    answered = [0, 0]

    def client(index: int) -> None:
        with node.call() as caller:
            seed = index * 1000
            while not stop.is_set():
                seed += 1
                try:
                    found = caller.infer(model, series(seed))
                except Refused as refused:
                    if not re.search(r"was dropped|there is no model|still being registered|unloaded", refused.message):
                        wrong.append(refused.message)
                    continue
                if np.array_equal(found, series(seed)):
                    answered[0] += 1
                elif np.array_equal(found, series(seed) * 2):
                    answered[1] += 1
                else:
                    wrong.append(f"seed {seed} got another answer")

    threads = [threading.Thread(target=client, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    since = time.monotonic()
    with node.call() as caller:
        for round_number in range(20):
            caller.drop(model)
            kind = 1 - round_number % 2
            wanted = answered[kind] + 3
            caller.register(model, (models / ["identity", "writes_input"][kind]).as_uri())
            wait_until(lambda k=kind, n=wanted: answered[k] >= n or bool(wrong), 20, "the new model answers")
    stop.set()
    for thread in threads:
        thread.join(20)
    assert not wrong, wrong[0]
    assert min(answered) >= 30, answered
    node.assert_running(since)


def test_unload_under_load_is_answered(node: Node, make: Make) -> None:
    """LOAD and UNLOAD while requests come without a pause, which start the model again at once."""
    model = make("identity")
    stop = threading.Event()
    wrong: list[str] = []

    def client(index: int) -> None:
        with node.call() as caller:
            while not stop.is_set():
                try:
                    check_alive(caller, model)
                except (Refused, AssertionError) as error:
                    wrong.append(str(error))

    threads = [threading.Thread(target=client, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    with node.call("H") as caller:
        types = caller.types
        for _ in range(10):
            loaded = caller.call("loadModel", types.TLoadModelReq(existingModelId=model, deviceIdList=["cpu"]))
            assert loaded.code == 200, loaded
            caller.call("unloadModel", types.TUnloadModelReq(modelId=model, deviceIdList=["cpu"]))
    stop.set()
    for thread in threads:
        thread.join(20)
    assert not wrong, wrong[0]
