"""Devices: where models are loaded, and that each process sees its own.

CUDA devices are a stand-in (tests/support/cuda_standin), since the machines that run the tests have none.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from caller import Caller, Refused, good
from node import ROOT, Node, Start
from processes import wait_until
from values import check_alive, series


@pytest.fixture
def pinning() -> str:
    """What the stand-in does with memory that is registered; tests of that name another."""
    return "missing"


@pytest.fixture
def two_devices(start_node: Start, environment: tuple[str, Path], pinning: str) -> Node:
    """A node whose torch says that there are two CUDA devices."""
    python, packages = environment
    folder = ROOT / "tests" / "support" / "cuda_standin"
    (packages / "standin.pth").write_text(f"{folder}\nimport cuda_standin; cuda_standin.PINNING = '{pinning}'\n")
    return start_node(python=python, AIN_WORKER_READ_PATHS=str(folder))


@pytest.fixture
def latest(two_devices: Node) -> Iterator[Caller]:
    """A client of the newest family, once the prototype has told of its devices."""
    with two_devices.call("H", timeout=60) as caller:
        wait_until(lambda: len(devices(caller)) == 3, 60, "both devices are shown")
        yield caller


def devices(caller: Caller) -> dict[str, str]:
    """SHOW AI_DEVICES: device and kind."""
    return dict(good(caller.call("showAIDevices")).deviceIdMap)


def loaded(caller: Caller) -> dict[str, dict[str, int]]:
    """SHOW LOADED MODELS, without empty devices."""
    answer = good(caller.call("showLoadedModels", caller.types.TShowLoadedModelsReq(deviceIdList=[])))
    return {device: dict(models) for device, models in answer.deviceLoadedModelsMap.items() if models}


def place(caller: Caller, what: str, model: str, *names: str) -> None:
    """LOAD or UNLOAD MODEL."""
    request = getattr(caller.types, f"T{what.capitalize()}ModelReq")
    name = "existingModelId" if what == "load" else "modelId"
    good(caller.call(f"{what}Model", request(**{name: model, "deviceIdList": list(names)})))


def test_devices_are_shown_and_used(two_devices: Node, latest: Caller, models: Path) -> None:
    """A process for each device, which sees that device alone; they go one by one."""
    assert devices(latest) == {"cpu": "cpu", "0": "cuda", "1": "cuda"}
    for name in ("first", "second"):
        latest.register(name, (models / "identity").as_uri())
    place(latest, "load", "first", "0", "1", "cpu")
    place(latest, "load", "second", "1")
    wait_until(lambda: len(two_devices.workers()) == 4, 20, "there is a process for each place")
    assert loaded(latest) == {"0": {"first": 1}, "1": {"first": 1, "second": 1}, "cpu": {"first": 1}}
    for model, number in (("first", "0"), ("first", "1"), ("second", "1")):
        words = f"model {model}: stand-in: this process sees device {number}"
        wait_until(lambda words=words: words in two_devices.log(), 20, words)
    for index in range(12):
        assert np.array_equal(latest.infer("first", series(index)), series(index))
    check_alive(latest, "first", "second")
    place(latest, "unload", "first", "1")
    wait_until(lambda: len(two_devices.workers()) == 3, 20, "the process of that device has gone")
    assert loaded(latest) == {"0": {"first": 1}, "1": {"second": 1}, "cpu": {"first": 1}}


@pytest.mark.parametrize(
    ("pinning", "said", "calls"),
    [
        ("faster", "request slots are pinned: a copy of ", ("register",)),
        ("slower", "request slots are left unpinned: a copy of ", ("register", "unregister")),
        ("refused", "cudaHostRegister answered 801 (operation not supported)", ("register",)),
        ("missing", "request slots are left unpinned: AttributeError: this torch has no cudart", ()),
    ],
)
def test_slots_are_pinned_where_it_pays(
    two_devices: Node, latest: Caller, models: Path, said: str, calls: tuple[str, ...]
) -> None:
    """Kept when copies are faster, else given back; a refusal is a line of the log. Answers are right in each case."""
    latest.register("first", (models / "identity").as_uri())
    place(latest, "load", "first", "cpu")
    assert np.array_equal(latest.infer("first", series(0)), series(0))
    assert "request slots" not in two_devices.log(), "a worker on the CPU has no business with pinned memory"
    assert "stand-in: register" not in two_devices.log()
    place(latest, "unload", "first", "cpu")
    place(latest, "load", "first", "0")
    wait_until(lambda: said in two_devices.log(), 20, "the log says what was found")

    def registered() -> list[tuple[str, str]]:
        return re.findall(r"stand-in: (register|unregister) \d+ bytes(.*)", two_devices.log())

    wait_until(lambda: len(registered()) >= len(calls), 20, f"the library was called: {calls}")
    made = registered()
    assert tuple(call for call, _ in made) == calls
    assert all(flags == " with flags 9" for call, flags in made if call == "register"), "read only, portable"
    for index in range(8):
        assert np.array_equal(latest.infer("first", series(index)), series(index))


def test_other_names_are_refused(latest: Caller, models: Path) -> None:
    """With a sentence; nothing is loaded."""
    latest.register("first", (models / "identity").as_uri())
    before = loaded(latest)
    for name in ("2", "00", "01", "-1", "+1", " 1", "cuda", "cuda:0", ""):
        with pytest.raises(Refused) as caught:
            place(latest, "load", "first", name)
        assert "SHOW AI_DEVICES" in caught.value.message, (name, caught.value)
        assert loaded(latest) == before, name


def test_check_of_a_machine_with_a_gpu(environment: tuple[str, Path], build_dir: Path) -> None:
    """bench/cuda_check.py runs to its end with the stand-in, and says so where torch has no device."""
    python, packages = environment
    folder = ROOT / "tests" / "support" / "cuda_standin"
    program = ROOT / "bench" / "cuda_check.py"
    command = [sys.executable, program, "--python", python, "--build", build_dir, "--read-path", folder]
    without = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (without.returncode, without.stdout) == (2, "no CUDA device: nothing was checked\n"), without.stderr
    (packages / "standin.pth").write_text(f"{folder}\nimport cuda_standin; cuda_standin.PINNING = 'faster'\n")
    run = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "request slots are pinned" in run.stdout
