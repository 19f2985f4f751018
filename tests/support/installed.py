"""A node in a machine of debootstrap: its start, a model that needs no PyTorch, one answer, its end."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from caller import Caller
from debian import Machine
from generated import Service
from processes import wait_until
from standins.confignode import ConfigNode
from tsblock import decode, encode

PIPELINE = '''\
import numpy as np
from iotdb.ainode.core.inference.pipeline.basic_pipeline import ForecastPipeline


class Drift(ForecastPipeline):
    def forecast(self, inputs, **infer_kwargs):
        steps = np.arange(1, infer_kwargs["output_length"] + 1)
        outputs = []
        for item in inputs:
            targets = item["targets"]
            slope = (targets[:, -1:] - targets[:, :1]) / max(targets.shape[1] - 1, 1)
            outputs.append(targets[:, -1:] + slope * steps)
        return outputs
'''
CONFIG = {"pipeline_cls": "pipeline_drift.Drift", "framework": "numpy"}


def write_model(machine: Machine) -> str:
    """A model that needs no PyTorch; returns its path in the machine."""
    folder = machine.inside("/srv/drift")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "pipeline_drift.py").write_text(PIPELINE)
    return "/srv/drift"


@contextlib.contextmanager
def running(
    machine: Machine,
    config_node: ConfigNode,
    *words: str,
    user: str = "root",
    log: Path | None = None,
    **environment: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a start script in the foreground until the block ends; then SIGTERM, and exit code 0."""
    before = len(config_node.calls("registerAINode")) + len(config_node.calls("restartAINode"))
    log = log or machine.root.parent / "node.log"
    with log.open("ab") as output:
        line = machine.command(*words, user=user, **environment)
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def joined() -> bool:
        assert process.poll() is None, f"the node ended with {process.returncode}:\n{log.read_text()[-4000:]}"
        return len(config_node.calls("registerAINode")) + len(config_node.calls("restartAINode")) > before

    try:
        wait_until(joined, 60, "the node registers")
        yield process
        inner = int(subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True).split()[0])
        subprocess.run(["kill", "-TERM", str(inner)], check=True)
        assert process.wait(60) == 0, log.read_text()[-4000:]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()


def forecast(services: dict[str, Service], port: int) -> np.ndarray:
    """Four rows after 0, 2, 4, ... 14."""
    with Caller(port, services["E"]) as caller:
        types = caller.types
        block = encode(np.arange(0.0, 16.0, 2.0).reshape(-1, 1))
        request = types.TForecastReq(modelId="drift", inputData=block, outputLength=4, options={})
        answer = caller.call("forecast", request)
        assert answer.status.code == 200, answer
        return decode(answer.forecastResult).ravel()


def register_and_ask(services: dict[str, Service], port: int, path: str) -> None:
    """CREATE MODEL and FORECAST."""
    wait_until(lambda: connects(services, port), 30, "the node listens")
    with Caller(port, services["E"]) as caller:
        caller.register("drift", f"file://{path}")
    np.testing.assert_allclose(forecast(services, port), [16.0, 18.0, 20.0, 22.0])


def connects(services: dict[str, Service], port: int) -> bool:
    """Whether somebody listens."""
    try:
        Caller(port, services["E"]).close()
    except OSError:
        return False
    return True


def settings(config_node: ConfigNode, port: int) -> dict[str, str]:
    """Of the node, as environment."""
    return {
        "AIN_SEED_CONFIG_NODE": config_node.endpoint, "AIN_INFERENCE_RPC_ADDRESS": "127.0.0.1",
        "AIN_INFERENCE_RPC_PORT": str(port),
    }  # fmt: skip


def unpack(machine: Machine, package: Path, home: str) -> Path:
    """Unpacks the zip to that place; returns it."""
    place = machine.inside(home)
    work = place.parent / "unpacked"
    shutil.unpack_archive(package, work)
    (found,) = work.glob("apache-iotdb-*")
    found.rename(place)
    work.rmdir()
    for script in place.rglob("*"):
        if script.suffix == ".sh" or script.name in ("ainode", "ainode-runtime"):
            script.chmod(0o755)  # shutil's unzip forgets modes
    return place
