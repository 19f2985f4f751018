"""ain_shared_memory_bytes: more large requests than it holds wait for their turn, nothing grows, nothing is lost."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from caller import Refused, good
from memory import Watch, shared_bytes
from node import Node, Start
from processes import wait_until
from tsblock import encode
from values import check_alive, harmful, series

MIB = 1 << 20
BUDGET = 16 * MIB
MOST = BUDGET // 8 * 3


def rows(count: int, seed: int) -> np.ndarray:
    """[count, 2], exact in float32, different for every seed."""
    steps = np.arange(count * 2, dtype=np.int64).reshape(count, 2)
    return (steps % 8191 + (seed % 5003)).astype(np.float32)


def load(node: Node, model: str, verb: str = "load") -> None:
    """LOAD MODEL or UNLOAD MODEL on the CPU."""
    with node.call("G", timeout=120) as caller:
        request = getattr(caller.types, f"T{verb.capitalize()}ModelReq")
        field = "existingModelId" if verb == "load" else "modelId"
        good(caller.call(f"{verb}Model", request(**{field: model}, deviceIdList=["cpu"])))


def register(node: Node, models: Path, name: str, *ids: str) -> None:
    """The model of make_models.py under these ids."""
    with node.call() as caller:
        for model in ids:
            caller.register(model, (models / name).as_uri())


def flood(node: Node, models: list[str], count: int, seed: int) -> list[str]:
    """One client: sends ahead, so that several of its requests wait; returns what was wrong."""
    wrong = []
    with node.call(timeout=120) as caller:
        blocks = [rows(150_000 + 20_000 * (index % 20), seed * 100 + index) for index in range(count)]
        for start in range(0, count, 3):
            for index in range(start, min(start + 3, count)):
                caller.ask(models[(index + seed) % len(models)], blocks[index])
            for index in range(start, min(start + 3, count)):
                try:
                    (answer,) = caller.answer()
                except Refused as refused:
                    wrong.append(str(refused))
                else:
                    if not np.array_equal(answer, blocks[index]):
                        wrong.append(f"request {index} of client {seed} got another answer")
    return wrong


def test_flood_of_large_requests(start_node: Start, models: Path) -> None:
    """Each has 1.2 to 4.4 MB and as large an answer; ten clients send three at a time; 16 MiB hold them all."""
    node = start_node(AIN_SHARED_MEMORY_BYTES=str(BUDGET))
    names = ["one", "two", "three"]
    register(node, models, "identity", *names)
    with node.call() as caller:
        check_alive(caller, *names)
    wait_until(lambda: shared_bytes(node.pid) < MIB, 10, "only the slots of three workers are left")
    wait_until(lambda: len(node.workers()) == 3, 10, "those of the registrations have gone")
    rest = shared_bytes(node.pid)
    wrong: list[str] = []
    lock = threading.Lock()

    def client(seed: int) -> None:
        found = flood(node, names, 6, seed)
        with lock:
            wrong.extend(found)

    since = time.monotonic()
    with Watch(node.pid) as watch:
        threads = [threading.Thread(target=client, args=(seed,)) for seed in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(f"60 large requests in {time.monotonic() - since:.1f} s, shared at most {watch.peak} of {BUDGET} bytes")
    assert not wrong, wrong[:5]
    assert watch.looks >= 3 and 0 < watch.peak <= BUDGET
    wait_until(lambda: shared_bytes(node.pid) == rest, 10, "what requests and results took is given back")
    node.assert_running(time.monotonic())  # before, it was stopped again and again to be looked at
    node.stop()
    totals = re.search(r"totals: (\d+) requests.*shared memory at most (\d+) of (\d+) bytes", node.log())
    assert totals and int(totals[1]) == 63 and int(totals[3]) == BUDGET
    assert max(watch.peak, MOST) <= int(totals[2]) <= BUDGET  # and it was scarce


def test_request_that_never_fits(start_node: Start, models: Path) -> None:
    """It is refused at once, with its size, the budget and the key; what just fits is answered."""
    node = start_node(AIN_SHARED_MEMORY_BYTES=str(BUDGET))
    register(node, models, "identity", "one")
    fits = MOST // 8
    with node.call() as caller:
        values = rows(fits, 1)
        assert np.array_equal(caller.infer("one", values), values)
        with pytest.raises(Refused) as caught:
            caller.infer("one", rows(fits + 1, 2))
        for part in ("[one]", str(MOST + 8), str(MOST), str(BUDGET), "ain_shared_memory_bytes"):
            assert part in caught.value.message, caught.value
        check_alive(caller, "one")


def test_result_that_never_fits(start_node: Start, models: Path) -> None:
    """A model whose answer is too large for the budget is told so; its process lives on."""
    node = start_node(AIN_SHARED_MEMORY_BYTES=str(BUDGET))
    register(node, models, "swells", "one")
    with node.call() as caller:
        check_alive(caller, "one")
        worker = node.worker()
        with pytest.raises(Refused) as caught:
            caller.infer("one", harmful(1e6 + 9))
        size = 96 * 10_000 * 9 * 2 * 4
        for part in ("[one]", str(size), str(MOST), str(BUDGET), "ain_shared_memory_bytes"):
            assert part in caught.value.message, caught.value
        check_alive(caller, "one")
        assert node.worker() == worker


def test_worker_that_dies_with_large_requests(start_node: Start, models: Path) -> None:
    """What a killed process had is free for the others when it is gone."""
    node = start_node(AIN_SHARED_MEMORY_BYTES=str(BUDGET))
    node.allow("model bad: ")
    register(node, models, "divides_by_zero", "bad")
    register(node, models, "identity", "one")
    deadly = rows(300_000, 0)
    deadly[5, 1] = 2e6
    with node.call() as caller, node.call() as other, Watch(node.pid) as watch:
        for seed in range(4):
            caller.ask("bad", deadly)
            caller.ask("bad", deadly)
            values = rows(400_000, seed)
            assert np.array_equal(other.infer("one", values), values)
            for _ in range(2):
                with pytest.raises(Refused, match="signal 8"):
                    caller.answer()
    assert watch.peak <= BUDGET
    wait_until(lambda: shared_bytes(node.pid) < MIB, 10, "nothing of the dead is left")


def test_client_that_leaves_while_it_waits(start_node: Start, models: Path) -> None:
    """Requests whose caller has gone leave the queue for memory."""
    node = start_node(AIN_SHARED_MEMORY_BYTES=str(BUDGET))
    register(node, models, "identity", "one", "two")
    for _ in range(3):
        leaving = [node.call() for _ in range(6)]
        for index, caller in enumerate(leaving):
            caller.ask(("one", "two")[index % 2], rows(500_000, index))
        for caller in leaving:
            caller.close()
        with node.call() as caller:
            values = rows(700_000, 3)
            assert np.array_equal(caller.infer("two", values), values)
    wait_until(lambda: shared_bytes(node.pid) < MIB, 10, "nothing of those who left is left")


def test_idle_workers_make_room_for_others(start_node: Start, models: Path) -> None:
    """Slots of more models than a quarter of the budget holds: the longest idle give theirs back."""
    node = start_node(AIN_SHARED_MEMORY_BYTES=str(BUDGET))
    names = [f"model_{index}" for index in range(18)]
    register(node, models, "identity", *names)
    with node.call() as caller, Watch(node.pid) as watch:
        for _ in range(2):
            check_alive(caller, *names)
    assert watch.peak <= BUDGET // 4
    wait_until(lambda: len(node.workers()) <= 15, 10, "not all of them are loaded")
    assert re.search(r"model model_0 is unloaded from cpu .*ain_shared_memory_bytes", node.log())


def test_loaded_models_keep_their_slots(start_node: Start, models: Path) -> None:
    """Whoever finds no room beside models that LOAD MODEL asked for waits until one of them is unloaded."""
    node = start_node(AIN_SHARED_MEMORY_BYTES=str(BUDGET))
    names = [f"model_{index}" for index in range(16)]
    register(node, models, "identity", *names)
    for name in names[:15]:
        load(node, name)
    wait_until(lambda: len(node.workers()) == 15, 10, "they are loaded")
    with node.call() as waiting, node.call() as caller:
        waiting.ask(names[15], series(3))
        check_alive(caller, *names[:15])
        waiting.connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            waiting.answer()
        waiting.connection.settimeout(60)
        load(node, names[4], "unload")
        assert np.array_equal(waiting.answer()[0], series(3))


def test_kept_requests_are_bounded(start_node: Start, models: Path) -> None:
    """A model that keeps every array and raises: its worker is replaced, and others get copies."""
    node = start_node(AIN_SHARED_MEMORY_BYTES=str(BUDGET))
    register(node, models, "keeps_and_raises", "one")
    large = rows(400_000, 1)
    large[7, 0] = 2e6
    with node.call() as caller, Watch(node.pid) as watch:
        check_alive(caller, "one")
        for _ in range(12):
            with pytest.raises(Refused, match="kept for evidence"):
                caller.infer("one", large)
        check_alive(caller, "one")
    assert watch.peak <= BUDGET
    assert "model one keeps its input arrays" in node.log()
    wait_until(lambda: shared_bytes(node.pid) < MIB, 10, "what was kept is given back")


def test_batches_of_large_requests(start_node: Start, models: Path) -> None:
    """Requests that would run together but do not fit together run in smaller batches."""
    node = start_node(AIN_SHARED_MEMORY_BYTES=str(BUDGET))
    register(node, models, "identity", "one")
    with node.call() as caller, Watch(node.pid) as watch:
        blocks = [rows(200_000, seed) for seed in range(12)]
        frames = b""
        for block in blocks:
            request = caller.types.TInferenceReq(modelId="one", dataset=encode(block))
            frames += caller.encode("inference", request)
        sender = threading.Thread(target=caller.connection.sendall, args=(frames,))
        sender.start()
        for block in blocks:
            assert np.array_equal(caller.answer()[0], block)
        sender.join()
    assert watch.peak <= BUDGET

