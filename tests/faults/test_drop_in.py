"""Weights that another user copies in: the kernel does not tell the node whether he still has the files open."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import pytest
from caller import Caller
from generated import ROOT
from node import Node, Start
from processes import descriptors, wait_until

GOLDEN = ROOT / "tests" / "models" / "golden" / "timer_xl"
STRANGER = 4321
#: Longer than a file has to be at rest when no event tells anything of it.
PAUSE_S = 1.5
#: Two are promised; what no event tells is found after ten, by looking again.
LIMIT_S = 8.0


def state(caller: Caller, model: str) -> str:
    """As SHOW MODELS has it; empty without the model."""
    return str(caller.call("showModels", caller.types.TShowModelsReq()).stateMap.get(model, "")).upper()


@pytest.fixture
def node(start_node: Start) -> Node:
    """A node without the right to ask about files of others. Only root can give files away; else they are its own."""
    node = start_node()
    if os.geteuid() == 0:
        node.stop()
        node.wrapper = ("setpriv", "--bounding-set=-lease", "--inh-caps=-lease")
        node.start()
    return node


def give_away(path: Path) -> None:
    """To another user, where we may."""
    path.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(path, STRANGER, STRANGER)


@pytest.fixture
def folder(node: Node) -> Path:
    """Where the weights belong."""
    return node.home / "data" / "ainode" / "models" / "weights" / "timer_xl"


def is_watched(node: Node, folder: Path) -> bool:
    """Whether the node has asked the kernel to tell what happens there."""
    inode = re.compile(rf"^inotify .*\bino:{folder.stat().st_ino:x} ", re.MULTILINE)
    return any(inode.search(Path(f"/proc/{node.pid}/fdinfo/{fd}").read_text())
               for fd, what in descriptors(node.pid).items() if "inotify" in what)  # fmt: skip


def test_a_slow_writer_is_waited_for(node: Node, folder: Path) -> None:
    """It allocates all of the file at once, writes the header, pauses: size and header are right meanwhile."""
    data = (GOLDEN / "model.safetensors").read_bytes()
    with node.call() as caller:
        folder.mkdir()
        wait_until(lambda: is_watched(node, folder), 20, "the folder is watched")
        shutil.copyfile(GOLDEN / "config.json", folder / "config.json")
        give_away(folder / "config.json")
        target = folder / "model.safetensors"
        with target.open("wb", buffering=0) as file:
            give_away(target)
            file.truncate(len(data))
            half = len(data) // 2
            file.write(data[:half])
            until = time.monotonic() + PAUSE_S
            while time.monotonic() < until:
                assert state(caller, "timer_xl") == "INACTIVE"
                time.sleep(0.05)
            file.write(data[half:])
        closed = time.monotonic()
        wait_until(lambda: state(caller, "timer_xl") == "ACTIVE", LIMIT_S, "the weights are active")
        print(f"active {time.monotonic() - closed:.2f} s after the last close")


@pytest.mark.parametrize("way", ["copied", "renamed"])
def test_a_whole_folder(node: Node, folder: Path, way: str, tmp_path: Path) -> None:
    """Files that are there before the folder is watched."""
    with node.call() as caller:
        place = folder if way == "copied" else tmp_path / "incoming"
        place.mkdir()
        for name in ("config.json", "model.safetensors"):
            shutil.copyfile(GOLDEN / name, place / name)
            give_away(place / name)
        if way == "renamed":
            os.rename(place, folder)
        closed = time.monotonic()
        wait_until(lambda: state(caller, "timer_xl") == "ACTIVE", LIMIT_S, "the weights are active")
        print(f"active {time.monotonic() - closed:.2f} s after the last close")
