"""64 clients on five models, with random kills, clients that leave, and models replaced: every answer is the right one.

AIN_TEST_SECONDS says how long they ask (20); the sanitizer builds of the host run the same (AIN_TEST_BUILD).
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import re
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from caller import Caller, Gone, Refused
from generated import ROOT
from node import Node, Start
from processes import memory_kib
from tsblock import encode
from values import harmful

CLIENTS = 64
SECONDS = float(os.environ.get("AIN_TEST_SECONDS", "20"))
#: Inputs of each model that one client sends, each once; more than it can within the time.
EACH = int(SECONDS * 10)
SLOW = 8  # of the requests to `works`, one in so many keeps it busy for a while
NAMES = ["dlinear", "lstm", "writes_input", "keeps_input", "works"]

#: What a client may be told while others kill, drop and leave.
EXCUSES = re.compile(
    r"signal 9|was dropped|dropped meanwhile|there is no model|still being registered|unloaded|requests waiting"
)


@pytest.fixture(scope="module")
def table(model_python: str, models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Inputs and the answers to them, computed without us."""
    out = tmp_path_factory.mktemp("table") / "table.npz"
    script = ROOT / "tests" / "models" / "answer_table.py"
    command = [model_python, str(script), str(models), str(out), str(CLIENTS * EACH), *NAMES]
    subprocess.run(command, check=True, timeout=120)
    return dict(np.load(out))


@dataclass
class Tally:
    """What the clients saw."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    right: collections.Counter[str] = field(default_factory=collections.Counter)
    excused: collections.Counter[str] = field(default_factory=collections.Counter)
    left: int = 0
    kills: int = 0
    reloads: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass
class Client:
    """Asks all models in turn, each time something new; now and then leaves without reading the answer."""

    index: int
    node: Node
    table: dict[str, np.ndarray]
    tally: Tally
    stop: threading.Event
    slow: np.ndarray

    def run(self) -> None:
        """Until told to stop, or all is asked."""
        chance = random.Random(self.index)
        questions = [(name, self.index * EACH + turn) for turn in range(EACH) for name in NAMES]
        chance.shuffle(questions)
        while questions and not self.stop.is_set() and not self.tally.wrong:
            with contextlib.closing(self.node.call(timeout=60)) as caller:
                for _ in range(chance.randrange(20, 200)):
                    if self.stop.is_set() or not questions:
                        return
                    name, row = questions.pop()
                    if chance.random() < 0.01:
                        caller.ask(name, self.block(name, row))
                        with self.tally.lock:
                            self.tally.left += 1
                        break
                    self.ask(caller, name, row)

    def block(self, name: str, row: int) -> bytes:
        """Sometimes one that keeps the slow model busy for a while."""
        values = self.table[f"{name}.input"][row]
        if name == "works" and row % SLOW == 0:
            values = np.where(self.slow > 1e6, self.slow, values)
        return encode(values)

    def ask(self, caller: Caller, name: str, row: int) -> None:
        """One request; what it gets must be its own answer or an excuse."""
        try:
            found = caller.infer(name, self.block(name, row))
        except Refused as refused:
            excuse = EXCUSES.search(refused.message)
            with self.tally.lock:
                if excuse:
                    self.tally.excused[excuse[0]] += 1
                else:
                    self.tally.wrong.append(f"{name}: {refused.message}")
            return
        expected = self.table[f"{name}.output"][row]
        if name == "works" and row % SLOW == 0:
            expected = np.where(self.slow > 1e6, self.slow, expected)
        scale = float(np.max(np.abs(expected)))
        good = found.shape == expected.shape and np.allclose(found, expected, rtol=1e-4, atol=1e-5 * scale)
        with self.tally.lock:
            if good:
                self.tally.right[name] += 1
            else:
                self.tally.wrong.append(f"{name} row {row}: {found[:2].tolist()} instead of {expected[:2].tolist()}")

    def guarded(self) -> None:
        """A thread's end is a result, too."""
        try:
            self.run()
        except (Gone, OSError, AssertionError) as error:
            with self.tally.lock:
                self.tally.wrong.append(f"client {self.index}: {error!r}")


def guarded_disturb(node: Node, models: Path, tally: Tally, stop: threading.Event) -> None:
    """What goes wrong here is a result, too."""
    try:
        disturb(node, models, tally, stop)
    except (Refused, OSError) as error:
        with tally.lock:
            tally.wrong.append(f"while disturbing: {error!r}")


def reload(node: Node, caller: Caller, models: Path, name: str, by_drop: bool) -> None:
    """Replaces the model by itself, or loads and unloads it."""
    if by_drop:
        caller.drop(name)
        caller.register(name, (models / name).as_uri())
        return
    types = caller.types
    caller.call("loadModel", types.TLoadModelReq(existingModelId=name, deviceIdList=["cpu"]))
    caller.call("unloadModel", types.TUnloadModelReq(modelId=name, deviceIdList=["cpu"]))


def disturb(node: Node, models: Path, tally: Tally, stop: threading.Event) -> None:
    """Kills workers and reloads models, whichever and whenever chance will have it, for as long as the clients ask."""
    chance = random.Random(1)
    with node.call("H") as caller:
        while not stop.wait(chance.uniform(0.05, 0.7)) and not tally.wrong:
            workers = node.workers()
            if workers and chance.random() < 0.8:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(workers), signal.SIGKILL)
                tally.kills += 1
            if chance.random() < 0.4:
                reload(node, caller, models, chance.choice(NAMES), chance.random() < 0.6)
                tally.reloads += 1


def test_every_answer_belongs_to_its_request(start_node: Start, models: Path, table: dict[str, np.ndarray]) -> None:
    """No reply is wrong, no client is left without one, the node stays Running, and nothing grows."""
    node = start_node(AIN_ORPHAN_GRACE_MS="300")
    node.allow(f"model ({'|'.join(NAMES)})")
    with node.call() as caller:
        for name in NAMES:
            caller.register(name, (models / name).as_uri())
            caller.infer(name, table[f"{name}.input"][0])
    tally, stop = Tally(), threading.Event()
    slow = np.where(harmful() > 1e6, np.float32(1e6 + 500), np.float32(0))
    clients = [Client(index, node, table, tally, stop, slow) for index in range(CLIENTS)]
    threads = [threading.Thread(target=client.guarded) for client in clients]
    threads.append(threading.Thread(target=guarded_disturb, args=(node, models, tally, stop)))
    since = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(SECONDS / 4)
    early = memory_kib(node.pid)
    while time.monotonic() < since + SECONDS and not tally.wrong:
        time.sleep(0.1)
    late = memory_kib(node.pid)
    stop.set()
    for thread in threads:
        thread.join(90)
    assert not [thread for thread in threads if thread.is_alive()], "a client waits for ever"
    beats = sorted(beat.took for beat in node.beats(since))
    print(
        f"\n{SECONDS:.0f} s: {sum(tally.right.values())} right answers {dict(tally.right)}, excuses "
        f"{dict(tally.excused)}, {tally.left} left, {tally.kills} kills, "
        f"{tally.reloads} reloads; heartbeats: {len(beats)}, slowest {beats[-1] * 1e3:.0f} ms; "
        f"host {early} -> {late} KiB"
    )
    assert not tally.wrong, tally.wrong[0]
    assert min(tally.right[name] for name in NAMES) >= 20, tally.right
    with node.call() as caller:
        for name in NAMES:
            row = SLOW // 2
            expected = table[f"{name}.output"][row]
            found = caller.infer(name, table[f"{name}.input"][row])
            assert np.allclose(found, expected, rtol=1e-4, atol=1e-3)
            caller.drop(name)
    node.assert_running(since, within=5)
    assert node.sanitized or late - early < 16 * 1024  # a sanitizer keeps what is freed
    assert min(tally.left, tally.kills, tally.reloads) >= 3, tally
    node.check()
    node.stop()
    answered, runs = (
        int(number) for number in re.findall(r"totals: (\d+) requests.* runs of (\d+) samples", node.log())[-1]
    )
    assert answered >= sum(tally.right.values())
    assert runs >= sum(tally.right.values()), "an answer was not computed"
