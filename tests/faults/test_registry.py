"""Creating and dropping models: hostile names, wrong files, repeats, all at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caller import Caller, Refused
from node import Make, Node
from processes import wait_until
from values import check_alive, series


def models_on_disk(node: Node) -> set[str]:
    """Folders of models; staging must be empty or absent."""
    found = set()
    for path in (node.home / "data" / "ainode" / "models").iterdir():
        if path.name.startswith("."):
            assert not list(path.iterdir()), f"left behind: {list(path.rglob('*'))}"
        elif path.name != "weights":  # of built-in models
            found.add(path.name)
    return found


HOSTILE = [
    "",
    ".",
    "..",
    "/",
    "../models",
    "../x",
    "a/b",
    "/etc",
    "a\0b",
    "weights",
    "_ainode",
    "x",
    "y" * 65,
    "z" * 100_000,
    "naïve",
    "a b",
    "a\nb",
    "$(id)",
    "%s%n",
    ".staging",
    "\u202eeman",
]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_hostile_ids(node: Node, caller: Caller, make: Make, models: Path, name: str) -> None:
    """Neither created, nor dropped, nor run; nothing on disk is touched."""
    kept = make("identity")
    check_alive(caller, kept)
    node.allow("was not registered", "request refused: the text of")
    before = {path: path.stat().st_mtime_ns for path in node.home.rglob("*") if "logs" not in path.parts}
    uri = (models / "dlinear").as_uri()
    for act in (
        lambda: caller.register(name, uri),
        lambda: caller.drop(name),
        lambda: caller.infer(name, series()),
    ):
        with pytest.raises(Refused) as caught:
            act()
        assert caught.value.message and len(caught.value.message) < 1000
        assert "\n" not in caught.value.message and "\0" not in caught.value.message
        assert caught.value.code in (1500, 1501, 1505, 1510), caught.value
    after = {path: path.stat().st_mtime_ns for path in node.home.rglob("*") if "logs" not in path.parts}
    assert before == after
    check_alive(caller, kept)


@pytest.mark.parametrize("name", ["arima", "ARIMA", "_ARIMA", "naive_forecaster", "timer_xl", "sundial", "stray"])
def test_names_of_built_ins(node: Node, caller: Caller, models: Path, name: str) -> None:
    """Refused for user models, in any case; they cannot be dropped either."""
    node.allow("was not registered")
    listed = caller.states()
    with pytest.raises(Refused) as caught:
        caller.register(name, (models / "identity").as_uri())
    assert caught.value.code in (1500, 1502), caught.value
    with pytest.raises(Refused) as caught:
        caller.drop(name)
    assert caught.value.code in (1501, 1505), caught.value
    assert caller.states() == listed
    assert name not in models_on_disk(node)


def write(folder: Path, files: dict[str, bytes]) -> str:
    """A source folder."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder.as_uri()


CONFIG = b"configs:\n  input_shape: [96, 2]\n  output_shape: [96, 2]\n"
BAD_SOURCES: dict[str, tuple[dict[str, bytes], int, list[str]]] = {
    "no files": ({}, 1511, ["model.pt"]),
    "no config": ({"model.pt": b"x"}, 1511, ["config.yaml"]),
    "no model": ({"config.yaml": CONFIG}, 1511, ["model.pt"]),
    "not TorchScript": ({"model.pt": b"not a model", "config.yaml": CONFIG}, 1500, ["model.pt", "TorchScript"]),
    "empty model": ({"model.pt": b"", "config.yaml": CONFIG}, 1500, ["model.pt"]),
    "a cut archive": ({"model.pt": b"PK\x03\x04" + bytes(100), "config.yaml": CONFIG}, 1500, ["model.pt"]),
    "evil yaml": (
        {"model.pt": b"x", "config.yaml": b"configs: !!python/object/apply:os.system ['touch evil']\n"},
        1512,
        ["config.yaml"],
    ),
    "bomb": (
        {
            "model.pt": b"x",
            "config.yaml": b"configs:\n  a: &a [x,x,x,x,x,x,x,x]\n"
            + b"".join(b"  %c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 8)) for i in range(12))
            + b"  input_shape: *m\n  output_shape: [1, 1]\n",
        },
        1512,
        ["config.yaml"],
    ),
    "shape of strings": (
        {"model.pt": b"x", "config.yaml": b"configs:\n  input_shape: [a, b]\n  output_shape: [1, 1]\n"},
        1512,
        ["input_shape"],
    ),
    "huge shape": (
        {
            "model.pt": b"x",
            "config.yaml": b"configs:\n  input_shape: [2000000000, 2000000000]\n  output_shape: [1, 1]\n",
        },
        1512,
        ["input_shape"],
    ),
    "binary config": ({"model.pt": b"x", "config.yaml": bytes(range(256)) * 40}, 1512, ["config.yaml"]),
}


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_bad_sources(node: Node, caller: Caller, tmp_path: Path, case: str) -> None:
    """Refused with the file, the key and the reason; nothing stays on disk or in the list."""
    files, code, parts = BAD_SOURCES[case]
    uri = write(tmp_path / "a source", files)
    node.allow("was not registered", "is not known and has no effect")
    with pytest.raises(Refused) as caught:
        caller.register("refused_one", uri)
    assert caught.value.code == code, caught.value
    for part in parts:
        assert part in caught.value.message, caught.value
    assert "\n" not in caught.value.message
    assert caller.states() == {}
    assert models_on_disk(node) == set()
    assert not list(node.home.rglob("evil"))


def test_unknown_key_is_named(node: Node, caller: Caller, models: Path, tmp_path: Path) -> None:
    """A key nobody knows is no reason to refuse a model that works; the log names file, line and key."""
    shutil.copytree(models / "identity", tmp_path / "source")
    config = (tmp_path / "source" / "config.yaml").read_text()
    (tmp_path / "source" / "config.yaml").write_text(config.replace("configs:\n", "configs:\n  input_shapes: [1, 1]\n"))
    node.allow("config.yaml, line 2: the key 'input_shapes'")
    caller.register("with_more", (tmp_path / "source").as_uri())
    assert "config.yaml, line 2: the key 'input_shapes' under configs is not known" in node.log()
    check_alive(caller, "with_more")
    caller.drop("with_more")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "file://",
        "file:///",
        "file:///nowhere/at/all",
        "file:///dev/zero",
        "file:///proc/self",
        "file://otherhost/tmp/x",
        "http://127.0.0.1:1/x",
        "https://127.0.0.1:1/x",
        "repo://a/b/c",
        "ftp://127.0.0.1/x",
        "file:///tmp/%00",
        "file:///tmp/\0",
        "gopher:x",
        "x" * 100_000,
    ],
    ids=lambda uri: ascii(uri[:24]),
)
def test_bad_uris(node: Node, caller: Caller, uri: str) -> None:
    """Refused with a code and a message, quickly."""
    node.allow("was not registered", "registerModel request refused: the text of")
    since = time.monotonic()
    with pytest.raises(Refused) as caught:
        caller.register("refused_one", uri)
    assert caught.value.code in (1500, 1510, 1511), caught.value
    assert caught.value.message and len(caught.value.message) < 1000
    assert time.monotonic() - since < 30
    assert caller.states() == {} and models_on_disk(node) == set()
    node.assert_running(since)


def test_strange_files_in_the_source(node: Node, caller: Caller, models: Path, tmp_path: Path) -> None:
    """A fifo, a device, a link to elsewhere: refused or copied as what it points to, never waited for."""
    node.allow("was not registered")
    source = tmp_path / "source"
    shutil.copytree(models / "identity", source)
    (source / "model.pt").unlink()
    os.mkfifo(source / "model.pt")
    since = time.monotonic()
    with pytest.raises(Refused, match="model.pt"):
        caller.register("refused_one", source.as_uri())
    (source / "model.pt").unlink()
    (source / "model.pt").symlink_to("/dev/zero")
    with pytest.raises(Refused, match="model.pt"):
        caller.register("refused_one", source.as_uri())
    assert time.monotonic() - since < 30
    assert models_on_disk(node) == set()


def outcomes_of(node: Node, requests: list[tuple[str, str]]) -> list[tuple[int, str]]:
    """All registrations at the same time, each on a connection of its own."""
    found: list[tuple[int, str]] = [(0, "")] * len(requests)
    barrier = threading.Barrier(len(requests))

    def register(index: int) -> None:
        with node.call() as caller:
            barrier.wait()
            try:
                caller.register(*requests[index])
                found[index] = (200, "")
            except Refused as refused:
                found[index] = (refused.code, refused.message)

    threads = [threading.Thread(target=register, args=(index,)) for index in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def test_same_model_registered_twice_at_once(node: Node, caller: Caller, models: Path) -> None:
    """Callers re-send: the same id and the same content is one registration and one success for all."""
    uri = (models / "identity").as_uri()
    for round_number in range(5):
        name = f"twice_{round_number}"
        assert outcomes_of(node, [(name, uri)] * 8) == [(200, "")] * 8
        assert caller.states() == {name: "ACTIVE"}
        check_alive(caller, name)
        caller.register(name, uri)
        caller.drop(name)
        assert models_on_disk(node) == set()


def test_different_models_under_one_id_at_once(node: Node, caller: Caller, models: Path) -> None:
    """Exactly one wins; the others are told that the id is taken; the winner answers as itself."""
    node.allow("was not registered")
    uris = [(models / name).as_uri() for name in ("identity", "writes_input")]
    for round_number in range(6):
        name = f"either_{round_number}"
        found = outcomes_of(node, [(name, uris[0]), (name, uris[1])])
        codes = sorted(code for code, _ in found)
        assert codes == [200, 1502], found
        winner = [code for code, _ in found].index(200)
        assert np.array_equal(caller.infer(name, series(3)), series(3) * (winner + 1))
        caller.drop(name)


def test_many_registrations_at_once(node: Node, caller: Caller, models: Path) -> None:
    """Twenty different ones; heartbeats go on; all are there."""
    since = time.monotonic()
    uri = (models / "identity").as_uri()
    names = [f"many_{index}" for index in range(20)]
    assert outcomes_of(node, [(name, uri) for name in names]) == [(200, "")] * 20
    print(f"20 registrations at once: {time.monotonic() - since:.2f} s")
    assert caller.states() == dict.fromkeys(names, "ACTIVE")
    check_alive(caller, *names)
    wait_until(lambda: len(node.workers()) == 20, 10, "each has one process")
    for name in names:
        caller.drop(name)
    wait_until(lambda: not node.workers(), 10, "their workers are gone")
    node.assert_running(since)


def test_register_and_drop_crossing(node: Node, caller: Caller, models: Path) -> None:
    """A drop at any moment of a registration: both are answered, and list, disk and processes agree."""
    node.allow("was not registered")
    uri = (models / "identity").as_uri()
    for round_number in range(20):
        name = f"cross_{round_number}"
        registering = node.call()
        registering.send("registerModel", registering.types.TRegisterModelReq(modelId=name, uri=uri))
        time.sleep(round_number * 0.015)
        try:
            caller.drop(name)
            dropped = True
        except Refused as refused:
            assert "there is no model" in refused.message
            dropped = False
        status: Any = registering.receive().status
        registering.close()
        if dropped and status.code == 200:
            # The drop came after: nothing is left. It came before the end: the registration is cancelled.
            assert name not in caller.states()
        elif dropped:
            assert "dropped meanwhile" in status.message, status
            assert name not in caller.states()
        else:
            caller.drop(name)

    def clean() -> bool:
        """What staging has is just being removed."""
        with contextlib.suppress(AssertionError, FileNotFoundError):
            return models_on_disk(node) == set()
        return False

    wait_until(clean, 10, "nothing is left on disk")
    assert caller.states() == {}


def test_client_that_leaves_while_it_registers(node: Node, caller: Caller, models: Path) -> None:
    """The model is there afterwards, for callers ask again."""
    leaving = node.call()
    request = leaving.types.TRegisterModelReq(modelId="left_alone", uri=(models / "identity").as_uri())
    leaving.send("registerModel", request)
    time.sleep(0.01)
    leaving.close()
    caller.register("left_alone", request.uri)
    check_alive(caller, "left_alone")
    caller.drop("left_alone")
