"""A node where the kernel, or a container's filter, refuses what it wants: it degrades with a log line, or refuses
with a sentence, and the doctor names it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from caller import Refused
from generated import Service
from machine import Machine
from node import Node, new_node
from processes import wait_until
from standins.confignode import Bindings
from values import series

SERIES = np.arange(40, dtype=np.float64).reshape(40, 1)


@pytest.fixture
def node(
    tmp_path: Path, build_dir: Path, model_python: str, bindings: Bindings, services: dict[str, Service]
) -> Iterator[Node]:
    """A node that is not started."""
    made = new_node(tmp_path / "node", build_dir, model_python, bindings, services)
    try:
        yield made
    finally:
        made.kill()
        made.config_node.stop()


def forecast(node: Node) -> np.ndarray:
    """Asks a built-in model that needs NumPy and a worker."""
    with node.call() as caller:
        return caller.infer("_NaiveForecaster", SERIES, inferenceAttributes={"predict_length": "3"})


DENIALS = [
    (call + error, name, cause)
    for calls, name in (
        (("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"), "Landlock"),
        (("seccomp",), "seccomp"),
    )
    for call in calls
    for error, cause in (
        ("", ", for this machine denies it: Operation not permitted"),
        ("=enosys", " in this kernel"),
        ("=eopnotsupp", " in this kernel"),
    )
]
RISKS = {"Landlock": "files are open", "seccomp": "network and programs are open"}


@pytest.mark.parametrize(("word", "name", "cause"), DENIALS)
def test_without_a_part_of_the_sandbox_models_run(
    node: Node, machine: Machine, deny: Path, word: str, name: str, cause: str
) -> None:
    """Whatever the machine denies, and however, costs a line in the log; the doctor warns."""
    node.wrapper = (str(deny), word, "--")
    node.start()
    assert forecast(node).shape == (3, 1)
    assert re.search(rf"the sandbox is incomplete: no_new_privs, .*no {name}{cause} \({RISKS[name]}\)", node.log())
    node.stop()
    if word.startswith("landlock_add_rule"):
        return  # the doctor adds none
    report = machine.examine("--quick", wrapper=f"{deny} {word} --")
    verdict = "denied" if "denies" in cause else "absent"
    report.named(name.lower(), "warning", f"{name} is {verdict}", mend=name.lower())
    assert report.code == 7


@pytest.mark.parametrize("words", [("seccomp",), ("seccomp=enosys",), ("seccomp", "landlock_restrict_self")])
def test_replicas_without_the_sandbox(node: Node, deny: Path, models: Path, words: tuple[str, ...]) -> None:
    """A template enters what there is, and so do those that it forks."""
    node.settings["AIN_MODEL_REPLICAS"] = "2"
    node.wrapper = (str(deny), *words, "--")
    node.start()
    with node.call() as caller:
        caller.register("twice", (models / "identity").as_uri())
        for seed in range(3):
            assert np.array_equal(caller.infer("twice", series(seed)), series(seed))
    wait_until(lambda: len(node.templates()) == 1, 10, "there is its template")
    assert "no seccomp" in node.log()


@pytest.mark.parametrize(
    ("word", "sentence", "check"),
    [
        ("memfd_create", "shared memory", "memfd"),
        ("pidfd_open", "watch", "pidfd"),
    ],
)
def test_what_cannot_be_done_without(
    node: Node, machine: Machine, deny: Path, word: str, sentence: str, check: str
) -> None:
    """The node joins and stays; each request is refused with the cause; the doctor has said so."""
    node.wrapper = (str(deny), word, "--")
    node.launch()
    wait_until(lambda: bool(node.config_node.nodes), 60, "the node is registered")
    with pytest.raises(Refused) as refused:
        forecast(node)
    assert sentence in refused.value.message or sentence in node.log(), (refused.value.message, node.log()[-3000:])
    node.stop()
    report = machine.examine("--quick", wrapper=f"{deny} {word} --")
    report.named(check, "error", mend="seccomp profile")
    assert report.code == 1


def test_sandbox_off_asks_for_neither(node: Node, machine: Machine, deny: Path) -> None:
    node.settings["AIN_WORKER_SANDBOX"] = "off"
    node.wrapper = (str(deny), "seccomp", "landlock_restrict_self", "--")
    node.start()
    assert forecast(node).shape == (3, 1)
    node.stop()
    machine.configure(ain_worker_sandbox="off")
    report = machine.examine("--quick", wrapper=f"{deny} seccomp landlock_restrict_self --")
    report.calm("landlock", "seccomp")


def test_few_open_files(node: Node, machine: Machine) -> None:
    node.wrapper = ("sh", "-c", 'ulimit -n 60; exec "$@"', "sh")
    node.launch()
    wait_until(lambda: bool(node.config_node.nodes), 60, "the node is registered")
    report = machine.examine("--quick", breaking="ulimit -n 60")
    report.named("open-files", "error", "at most 60 files", mend="ulimit -Hn 65536")
    assert report.code == 1
