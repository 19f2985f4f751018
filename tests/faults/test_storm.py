"""Everybody at once: commands on the same few models from several clients, requests for them, and processes that die.

AIN_TEST_SECONDS says how long (10); a sanitizer build runs the same (--build-dir). AIN_TEST_SEED chooses another storm.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from caller import Caller, Gone, Refused, good
from node import Node, Start
from processes import wait_until
from timer_weights import GOLDEN, active, copy_weights, wave
from values import is_served, series

SECONDS = float(os.environ.get("AIN_TEST_SECONDS", "10"))
SEED = os.environ.get("AIN_TEST_SEED", "0")
ASKERS, COMMANDERS = 12, 4
SETTINGS = {
    "AIN_MODEL_REPLICAS": "3",
    "AIN_ORPHAN_GRACE_MS": "300",
    "AIN_INFERENCE_TIMEOUT_MS": "5000",
    "AIN_BATCHING": "0",
}

pytestmark = pytest.mark.timeout(900)

#: Sentences that somebody may be told while others command and kill.
EXCUSES = re.compile(
    r"signal 9|was dropped|dropped meanwhile|there is no model|already|still being (registered|loaded)|unloaded"
    r"|not loaded|requests waiting|does not answer|did not answer|5000 ms"
)

#: And after a process was stopped for good that was just being loaded or proven.
LONG_EXCUSES = re.compile(r"within 45 s|did not finish loading|waited for model \[\w+\] longer than")

Deed = Callable[[], object]


@dataclass
class Storm:
    """What all of them share; kinds of storms say what is asked and what is done."""

    node: Node
    names: list[str]
    wanted: tuple[str, ...]
    """Deeds that must have been done a few times."""
    calm: float = 0.5
    """Longest time from one kill to the next, in seconds."""
    grown_up: float = 2
    """Seconds from which on a process is likely to have loaded its model: one that hangs before is given minutes."""
    excuses: re.Pattern[str] = EXCUSES
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    told: collections.Counter[str] = field(default_factory=collections.Counter)
    done: collections.Counter[str] = field(default_factory=collections.Counter)
    wrong: list[str] = field(default_factory=list)

    def compare(self, caller: Caller, name: str, chance: random.Random) -> None:
        """Asks once; the answer must be right."""
        raise NotImplementedError

    def deeds(self, caller: Caller, name: str) -> dict[str, tuple[int, Deed]]:
        """What one who commands can do, and how often in proportion."""
        types = caller.types
        return {
            "loaded": (
                3,
                lambda: good(
                    caller.call("loadModel", types.TLoadModelReq(existingModelId=name, deviceIdList=["cpu"]))
                ),
            ),
            "unloaded": (
                3,
                lambda: good(caller.call("unloadModel", types.TUnloadModelReq(modelId=name, deviceIdList=["cpu"]))),
            ),
            "shown": (
                2,
                lambda: good(caller.call("showLoadedModels", types.TShowLoadedModelsReq(deviceIdList=["cpu"]))),
            ),
        }

    # --- what becomes of it

    def goes_on(self) -> bool:
        """Until its time is over, or something was wrong."""
        return not self.stop.is_set() and not self.wrong

    def count(self, what: str) -> None:
        """One more of these."""
        with self.lock:
            self.done[what] += 1

    def saw_all(self) -> bool:
        """Whether each kind of deed was done a few times."""
        return min(self.done[what] for what in self.wanted) >= 3

    def attempt(self, what: str, deed: Deed) -> None:
        """One deed: done, or refused with a sentence that this storm explains."""
        try:
            deed()
            self.count(what)
        except Refused as refused:
            excuse = self.excuses.search(refused.message)
            with self.lock:
                if excuse is None and any("SIGSTOP" in what for what in self.done):
                    excuse = LONG_EXCUSES.search(refused.message)
                self.told[excuse[0] if excuse else refused.message] += 1
                if excuse is None:
                    self.wrong.append(f"{what}: {refused}")

    # --- the roles

    def ask(self, chance: random.Random) -> None:
        """Requests, each with its own values; now and then one leaves before the answer."""
        while self.goes_on():
            with self.node.call() as caller:
                for _ in range(chance.randrange(5, 60)):
                    if not self.goes_on():
                        return
                    name = chance.choice(self.names)
                    if chance.random() < 0.02:
                        caller.ask(name, series(chance.randrange(4096)))
                        self.count("left")
                        break
                    self.attempt("answered", lambda name=name: self.compare(caller, name, chance))

    def command(self, chance: random.Random) -> None:
        """One deed after the other, to whichever model."""
        with self.node.call("H", timeout=360) as caller:
            while self.goes_on():
                deeds = self.deeds(caller, chance.choice(self.names))
                (what,) = chance.choices(list(deeds), [weight for weight, _ in deeds.values()])
                self.attempt(what, deeds[what][1])
                time.sleep(chance.uniform(0, 0.3))

    def kill(self, chance: random.Random) -> None:
        """kill -9, or a stop for good, for one process of the node at a time: of any kind but the host itself."""
        kinds = {
            "worker": self.node.workers,
            "template": self.node.templates,
            "spare": self.node.spares,
            "prototype": self.node.prototypes,
        }
        seen: dict[int, float] = {}
        while not self.stop.wait(chance.uniform(0.02, self.calm)) and not self.wrong:
            for pid in [*self.node.workers(), *self.node.templates()]:
                seen.setdefault(pid, time.monotonic())
            kind = chance.choice([*["worker"] * 4, *["template"] * 2, "spare", "prototype"])
            number = signal.SIGSTOP if chance.random() < 0.05 else signal.SIGKILL
            if kind == "prototype" and not self.node.spares():
                number = signal.SIGKILL  # one that hangs while it starts is given five minutes
            for pid in kinds[kind]()[:1]:
                now = time.monotonic()
                if kind in ("worker", "template") and now - seen.get(pid, now) < self.grown_up:
                    number = signal.SIGKILL
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                    self.count(f"{kind} {number.name}")

    # --- its course

    def guard(self, role: Callable[[random.Random], None], name: str) -> threading.Thread:
        """A thread whose failure is a result, too."""

        def run() -> None:
            try:
                role(random.Random(f"{SEED} {name}"))
            except (Gone, OSError, AssertionError) as error:
                with self.lock:
                    self.wrong.append(f"{name}: {error!r}")

        return threading.Thread(target=run, name=name)

    def rage(self, *others: Callable[[random.Random], None]) -> None:
        """All of it, and others: no answer is wrong or missing, and every heartbeat is answered."""
        threads = [self.guard(self.ask, f"asker {index}") for index in range(ASKERS)]
        threads += [self.guard(self.command, f"commander {index}") for index in range(COMMANDERS)]
        threads += [self.guard(role, f"other {index}") for index, role in enumerate(others)]
        threads.append(self.guard(self.kill, "killer"))
        since = time.monotonic()
        for thread in threads:
            thread.start()
        most = SECONDS + 120  # until it saw each kind of deed, where the machine is slow
        while not self.wrong and time.monotonic() < since + (SECONDS if self.saw_all() else most):
            time.sleep(0.1)
        self.stop.set()
        for thread in threads:
            thread.join(400)
        print(f"\n{SECONDS:.0f} s: {dict(self.done)}, told {dict(self.told)}")
        assert not [thread.name for thread in threads if thread.is_alive()], "somebody waits for ever"
        assert not self.wrong, self.wrong[0]
        assert self.saw_all(), self.done
        for beat in self.node.beats(since):  # a prototype that dies again and again as it starts makes the node Unknown
            assert beat.error is None and beat.echoed and beat.took < (50 if self.node.sanitized else 5), beat
            assert beat.status == "Running" or "the Python runtime" in (beat.reason or ""), beat


def wait_for_calm(node: Node) -> None:
    """A prototype has a spare again, and the cluster knows."""
    wait_until(lambda: bool(node.spares()), 60, "a prototype has a spare")
    wait_until(lambda: node.config_node.heartbeats[-1].status == "Running", 10, "the node is Running")


@dataclass
class ModelStorm(Storm):
    """On models that answer what they get: two, and one whose template forks its processes."""

    models: Path = Path()

    def compare(self, caller: Caller, name: str, chance: random.Random) -> None:
        """Each time something else."""
        values = series(chance.randrange(4096))
        assert np.array_equal(caller.infer(name, values), values), name

    def deeds(self, caller: Caller, name: str) -> dict[str, tuple[int, Deed]]:
        """Also DROP, with CREATE behind it."""

        def replace() -> None:
            self.attempt("dropped", lambda: caller.drop(name))
            caller.register(name, (self.models / name).as_uri())

        return super().deeds(caller, name) | {"registered": (1, replace)}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_storm(start_node: Start, models: Path, method: str) -> None:
    """Afterwards every model serves, and nothing is left."""
    node = start_node(AIN_WORKER_START_METHOD=method, **SETTINGS)
    names = ["identity", "works", "heavy"]
    node.allow(rf"model ({'|'.join(names)})", r"the Python runtime \(")
    with node.call() as caller:
        for name in names:
            caller.register(name, (models / name).as_uri())
    storm = ModelStorm(node, names, ("answered", "loaded", "unloaded", "dropped", "registered"), models=models)
    if method == "spawn":  # a spawned process imports torch first
        storm.calm, storm.grown_up = 2.5, 10
    storm.rage()
    if method == "fork":
        wait_for_calm(node)
    with node.call() as caller:
        for name in names:
            if name not in caller.states():
                caller.register(name, (models / name).as_uri())
            # one of its processes may have been stopped: that is found out by a request
            wait_until(lambda name=name: is_served(caller, name), 360, f"{name} is served")
            caller.drop(name)
    node.check()


@dataclass
class WeightStorm(Storm):
    """On folders of weights that come, go and are replaced."""

    answers: list[np.ndarray] = field(default_factory=list)
    variants: list[Path] = field(default_factory=list)
    base: Path = Path()

    def compare(self, caller: Caller, name: str, chance: random.Random) -> None:
        """The answer of one of the weights, whichever they are just now."""
        del chance
        found = caller.infer(name, wave())
        near = [found.shape == one.shape and np.allclose(found, one, rtol=1e-3, atol=1e-4) for one in self.answers]
        assert any(near), (name, found[:3].tolist())

    def place(self, name: str, chance: random.Random) -> None:
        """Puts a folder in, whole, as mv does it, or file by file."""
        variant = chance.choice(self.variants)
        if chance.random() < 0.5:
            incoming = self.base.parent / f"incoming {name}"
            shutil.copytree(variant, incoming)
            os.rename(incoming, self.base / name)
        else:
            shutil.copytree(variant, self.base / name)

    def move(self, name: str, chance: random.Random) -> None:
        """Takes the weights away, replaces or spoils them, again and again; leaves them whole."""
        while self.goes_on():
            folder = self.base / name
            what = chance.choice(["removed", "replaced", "spoilt"])
            if what == "replaced":
                shutil.copyfile(chance.choice(self.variants) / "model.safetensors", folder / "model.new")
                os.replace(folder / "model.new", folder / "model.safetensors")
            else:
                if what == "spoilt":
                    with (folder / "model.safetensors").open("r+b") as file:
                        file.truncate(chance.randrange(2000))
                    time.sleep(chance.uniform(0, 1))
                shutil.rmtree(folder)
                time.sleep(chance.uniform(0, 1))
                self.place(name, chance)
            self.count(what)
            time.sleep(chance.uniform(0, 2))


def test_storm_of_weights(start_node: Start, tmp_path: Path) -> None:
    """Afterwards the weights are served that are there, and nothing stays of those that are not."""
    node = start_node(**SETTINGS)
    names, base = ["mine", "yours"], node.home / "data" / "ainode" / "models" / "weights"
    node.allow(rf"model ({'|'.join(names)}|still\d)", r"the Python runtime \(", "safetensors")
    excuses = re.compile(EXCUSES.pattern + "|is not active|cannot be used|cannot be read|is missing|bytes")
    wanted = ("answered", "loaded", "removed", "replaced", "spoilt")
    storm = WeightStorm(node, names, wanted, excuses=excuses, base=base)
    with node.call() as caller:
        for factor in (1.0, -3.0):
            storm.variants.append(tmp_path / f"variant {factor}")
            copy_weights(GOLDEN, storm.variants[-1], factor)
            shutil.copytree(storm.variants[-1], base / f"still{len(storm.variants)}")
        for index in (1, 2):
            wait_until(lambda index=index: active(caller, f"still{index}"), 30, "the weights are served")
            storm.answers.append(caller.infer(f"still{index}", wave()))
            shutil.rmtree(base / f"still{index}")
        for name in names:
            shutil.copytree(storm.variants[0], base / name)
            wait_until(lambda name=name: active(caller, name), 30, "the weights are served")
    storm.rage(*[lambda chance, name=name: storm.move(name, chance) for name in names])
    wait_for_calm(node)
    with node.call() as caller:
        for name in names:

            def served(name: str = name) -> bool:
                with contextlib.suppress(Refused):
                    storm.compare(caller, name, random.Random())
                    return True
                return False

            wait_until(served, 360, f"{name} is served")
            shutil.rmtree(base / name)
            wait_until(lambda name=name: not active(caller, name), 15, "weights that are gone are not served")
    node.check()
