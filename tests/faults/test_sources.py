"""CREATE MODEL from the network, and weights from the hub: whole nodes, a server on loopback that lies."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from caller import Caller, Refused
from liar import Liar, cut, dribble, redirect
from node import Node, Start
from processes import wait_until
from values import check_alive

ROOT = Path(__file__).resolve().parents[2]
PRIVATE = {"AIN_MODEL_FETCH_PRIVATE_ADDRESSES": "1"}


@pytest.fixture
def liar() -> Iterator[Liar]:
    with Liar() as server:
        yield server


def files_of(model: Path) -> dict[str, bytes]:
    """The two files of a model."""
    return {name: (model / name).read_bytes() for name in ("config.yaml", "model.pt")}


def left_behind(node: Node) -> list[Path]:
    """What of models is on disk, staging included."""
    base = node.home / "data" / "ainode" / "models"
    # os.walk() goes on where a folder is removed while it looks
    return [Path(folder, name) for folder, _, names in os.walk(base) for name in names]


def test_a_model_behind_http(start_node: Start, liar: Liar, models: Path) -> None:
    """It answers; the same again is the same success, other content is another model."""
    node = start_node(**PRIVATE)
    url = liar.serve("m", files_of(models / "identity"))
    with node.call() as caller:
        caller.register("fetched", url)
        check_alive(caller, "fetched")
        caller.register("fetched", url + "/")
        liar.serve("m", files_of(models / "dlinear_long"))
        with pytest.raises(Refused, match="other content"):
            caller.register("fetched", url)
        check_alive(caller, "fetched")
        caller.drop("fetched")
        node.allow("was not registered")
        liar.answers["/m/model.pt"] = cut(b"half", 4000)
        with pytest.raises(Refused, match="broke off|IncompleteRead"):
            caller.register("fetched", url)
        liar.answers["/m/model.pt"] = redirect("/m/model.pt")
        with pytest.raises(Refused, match="more than 5 redirects"):
            caller.register("fetched", url)
        liar.serve("m", {"config.yaml": b"configs: 1\n"})
        del liar.answers["/m/model.pt"]
        with pytest.raises(Refused, match="neither model.pt nor model.pt2"):
            caller.register("fetched", url)
    wait_until(lambda: left_behind(node) == [], 10, "nothing is left")


def test_limits(start_node: Start, liar: Liar, models: Path) -> None:
    """Of bytes and of time."""
    node = start_node(**PRIVATE, AIN_MODEL_FETCH_MAX_BYTES=str(1 << 20), AIN_MODEL_FETCH_TIMEOUT_S="5")
    node.allow("was not registered")
    url = liar.serve("m", files_of(models / "identity"))
    with node.call() as caller:
        liar.answers["/m/model.pt"] = cut(b"", 1 << 40)
        with pytest.raises(Refused, match="bytes, more than the"):
            caller.register("fetched", url)
        liar.answers["/m/model.pt"] = dribble(30)
        since = time.monotonic()
        with pytest.raises(Refused, match="within the 5 s that ain_model_fetch_timeout_s"):
            caller.register("fetched", url)
        assert time.monotonic() - since < 20
    node.assert_running(since)
    wait_until(lambda: left_behind(node) == [], 10, "nothing is left")


def test_private_addresses(node: Node, caller: Caller, liar: Liar, models: Path) -> None:
    """Refused unless the configuration says otherwise; nobody is connected to."""
    node.allow("was not registered")
    liar.serve("m", files_of(models / "identity"))
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(Refused, match="no public one; ain_model_fetch_private_addresses=1"):
            caller.register("fetched", f"http://{host}:{liar.port}/m")
    assert liar.asked == []


def test_a_download_is_dropped_or_ends_with_the_node(start_node: Start, liar: Liar, models: Path) -> None:
    """DROP MODEL ends it at once, a stop when what runs had its time; other models are served meanwhile."""
    node = start_node(**PRIVATE, AIN_DRAIN_MS="500")
    url = liar.serve("m", files_of(models / "identity"))
    liar.answers["/m/model.pt"] = dribble(60)
    with node.call() as slow, node.call() as caller:
        for _ in range(2):
            node.allow("was not registered")
            slow.send("registerModel", slow.types.TRegisterModelReq(modelId="slow", uri=url))
            wait_until(lambda: liar.asked.count("/m/model.pt") > 0, 20, "the download began")
            liar.asked.clear()
            caller.register("quick", (models / "identity").as_uri())
            check_alive(caller, "quick")
            caller.drop("quick")
            caller.drop("slow")
            assert slow.receive().status.code != 200
        wait_until(lambda: left_behind(node) == [], 10, "nothing is left")
        slow.send("registerModel", slow.types.TRegisterModelReq(modelId="slow", uri=url))
        wait_until(lambda: liar.asked.count("/m/model.pt") > 0, 20, "the download began")
        node.allow("was not registered")
        since = time.monotonic()
        node.stop()
        assert time.monotonic() - since < 15


#: Stands in for the library: copies from a folder.
HUB = """
import os, shutil
from types import SimpleNamespace as Made
BASE = os.environ["STAND_IN_HUB"]
class HfApi:
    def model_info(self, repository, revision=None, files_metadata=False, timeout=None):
        names = os.listdir(os.path.join(BASE, repository))
        sizes = [os.path.getsize(os.path.join(BASE, repository, name)) for name in names]
        return Made(sha="1", siblings=[Made(rfilename=name, size=size) for name, size in zip(names, sizes)])
def hf_hub_download(repository, name, revision, local_dir):
    return shutil.copy(os.path.join(BASE, repository, name), os.path.join(local_dir, name))
"""


@pytest.fixture
def hub(tmp_path: Path) -> dict[str, str]:
    """Settings of a node whose hub is a folder of this machine."""
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "huggingface_hub.py").write_text(HUB)
    return {"PYTHONPATH": str(tmp_path / "library"), "STAND_IN_HUB": str(tmp_path / "hub")}


def test_a_model_from_a_repository(start_node: Start, hub: dict[str, str], models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "identity", tmp_path / "hub" / "own" / "identity")
    node = start_node(**hub)
    with node.call() as caller:
        caller.register("fetched", "repo://own/identity")
        check_alive(caller, "fetched")
        node.allow("was not registered")
        with pytest.raises(Refused, match="the hub does not give own/other"):
            caller.register("other", "repo://own/other")


def test_weights_from_the_hub(start_node: Start, hub: dict[str, str], tmp_path: Path) -> None:
    """Asked for by a key, they come while the node runs, and the model becomes active."""
    sys.path.insert(0, str(ROOT / "tests" / "models"))
    from make_weights import make_weights

    make_weights("timer", tmp_path / "hub" / "thuml" / "timer-base-84m")
    node = start_node(**hub, AIN_WEIGHTS_DOWNLOAD="1")
    node.allow("the weights of sundial were not fetched: thuml/sundial-base-128m cannot be fetched")

    def state() -> str:
        with node.call() as caller:
            return str(caller.call("showModels", caller.types.TShowModelsReq()).stateMap["timer_xl"])

    wait_until(lambda: state() == "ACTIVE", 60, "timer_xl is active")
    wait_until(lambda: "the weights of sundial were not fetched" in node.log(), 30, "the other one is told")
    folder = node.home / "data" / "ainode" / "models" / "weights"
    assert sorted(path.name for path in folder.iterdir()) == ["timer_xl"]


def test_weights_are_not_fetched_unasked(node: Node) -> None:
    assert "ain_weights_download=1 has the next start fetch them" in node.log()
    assert "are fetched from the repository" not in node.log()
