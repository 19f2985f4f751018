"""packaging/Containerfile: built by buildah on a base image of debootstrap, and run as its configuration says.

No image registry is asked. The program is the first process of a PID namespace, as in a container.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from debian import Machine
from generated import Service
from installed import connects, forecast, register_and_ask, running, settings, write_model
from node import free_port
from processes import wait_until
from standins.confignode import ConfigNode

ROOT = Path(__file__).resolve().parents[2]
BASE = "docker.io/library/debian:bookworm-slim"  # what the Containerfile's default means
VOLUME = "/var/lib/iotdb-ainode"


class Buildah:
    """buildah with a store of its own: layers where this file system can, else copies, which take twice as long."""

    def __init__(self, store: Path) -> None:
        for driver in ("overlay", "vfs"):
            place = store / driver
            self.words = ["buildah", "--root", str(place / "root"), "--runroot", str(place / "run"),
                          "--storage-driver", driver]  # fmt: skip
            if subprocess.run([*self.words, "info"], capture_output=True, check=False).returncode == 0:
                break

    def __call__(self, *words: object) -> str:
        """Runs a command; returns what it printed."""
        done = subprocess.run([*self.words, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=900, check=False)  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout.strip()


@pytest.fixture
def buildah(tmp_path: Path) -> Iterator[Buildah]:
    """Gone with all it made."""
    made = Buildah(tmp_path / "store")
    yield made
    made("rm", "--all")  # with what is mounted
    shutil.rmtree(tmp_path / "store")


def build(buildah: Buildah, archive: Path, deb: Path, folder: Path) -> dict[str, Any]:
    """The image `iotdb-ainode`, as the head of the Containerfile says, with NumPy alone; returns its configuration."""
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, archive, "/")
    buildah("commit", "--quiet", "--rm", container, BASE)
    folder.mkdir()
    shutil.copy(deb, folder / deb.name)
    shutil.copy(ROOT / "packaging" / "Containerfile", folder)
    buildah("bud", "--isolation", "chroot", "--pull-never", "--build-arg", "PYTHON_PACKAGES=python3-numpy",
            "-t", "iotdb-ainode", folder)  # fmt: skip
    image: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", "iotdb-ainode"))
    return image["OCIv1"]["config"]


@contextlib.contextmanager
def container(buildah: Buildah, volume: Path) -> Iterator[Machine]:
    """A new container of the image."""
    name = buildah("from", "--pull-never", "iotdb-ainode")
    machine = Machine(Path(buildah("mount", name)), {VOLUME: volume})
    write_model(machine)
    yield machine
    buildah("umount", name)


@pytest.mark.timeout(900)
def test_container(
    buildah: Buildah,
    archive: Path,
    deb: Path,
    config_node: ConfigNode,
    services: dict[str, Service],
    tmp_path: Path,
) -> None:
    config = build(buildah, archive, deb, tmp_path / "image")
    assert config["Volumes"] == {VOLUME: {}}
    assert config["ExposedPorts"] == {"10810/tcp": {}}
    assert config["StopSignal"] == "SIGTERM"
    assert config["User"] == "iotdb-ainode"
    words = [*config["Entrypoint"], *config["Cmd"]]
    port = free_port()
    variables = settings(config_node, port)
    volume = tmp_path / "volume"
    with container(buildah, volume) as machine:
        # What a runtime does with a new named volume: the image's folder, with its owner and mode.
        shutil.copytree(machine.inside(VOLUME), volume)
        owner = machine.inside(VOLUME).stat()
        subprocess.run(["chown", "-R", f"{owner.st_uid}:{owner.st_gid}", str(volume)], check=True)
        with running(machine, config_node, *words, user=config["User"], log=tmp_path / "one.log", **variables):
            register_and_ask(services, port, "/srv/drift")
        assert list(machine.inside(VOLUME).iterdir()) == [], "something was written beside the volume"
    assert any(volume.rglob("pipeline_drift.py"))
    with container(buildah, volume) as machine:
        with running(machine, config_node, *words, user=config["User"], log=tmp_path / "two.log", **variables):
            wait_until(lambda: connects(services, port), 30, "the node listens")
            np.testing.assert_allclose(forecast(services, port), [16.0, 18.0, 20.0, 22.0])
        said = machine.run(*config["Entrypoint"], "remove", user=config["User"], **variables)
        assert "is removed from the cluster" in said
    assert (len(config_node.calls("registerAINode")), len(config_node.calls("restartAINode"))) == (1, 1)
