"""Install, start, infer, stop and remove on a machine that has nothing but Debian's Python and NumPy."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from caller import Caller
from debian import Machine
from generated import Service
from node import free_port
from processes import wait_until
from standins.confignode import Bindings, ConfigNode
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
#: What systemd says of a line that it does not understand.
UNIT_FAULT = r"Unknown (key|lvalue|section)|Failed to parse|[Ii]nvalid|ignoring"
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
    machine: Machine, config_node: ConfigNode, *words: str, user: str = "root", **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a start script in the foreground until the block ends; then SIGTERM, and exit code 0."""
    before = len(config_node.calls("registerAINode")) + len(config_node.calls("restartAINode"))
    log = machine.root.parent / "node.log"
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


@pytest.fixture
def config_node(bindings: Bindings) -> Iterator[ConfigNode]:
    """The cluster."""
    with ConfigNode(bindings, heartbeat_s=0.2) as node:
        yield node


def settings(config_node: ConfigNode, port: int) -> dict[str, str]:
    """Of the node, as environment."""
    return {
        "AIN_SEED_CONFIG_NODE": config_node.endpoint, "AIN_INFERENCE_RPC_ADDRESS": "127.0.0.1",
        "AIN_INFERENCE_RPC_PORT": str(port),
    }  # fmt: skip


def interpreters(machine: Machine) -> dict[str, str]:
    """The kinds there are on such a machine: the distribution's, a venv of it, a link, a copy of another build."""
    machine.run("python3", "-m", "venv", "--system-site-packages", "/opt/a venv")
    machine.inside("/usr/local/bin/py").symlink_to("/usr/bin/python3")
    return {"distribution": "/usr/bin/python3", "venv": "/opt/a venv/bin/python", "folder of a venv": "/opt/a venv",
            "link": "/usr/local/bin/py"}  # fmt: skip


def test_zip(machine: Machine, package: Path, config_node: ConfigNode, services: dict[str, Service]) -> None:
    model = write_model(machine)
    kinds = interpreters(machine)
    before = machine.files("/opt/ain node")
    work = machine.inside("/opt")
    shutil.unpack_archive(package, work)
    (unpacked,) = work.glob("apache-iotdb-*")
    unpacked.rename(work / "ain node")
    for script in (work / "ain node").rglob("*"):
        if script.suffix == ".sh" or script.name in ("ainode", "ainode-runtime"):
            script.chmod(0o755)  # shutil's unzip forgets modes
    port = free_port()
    for number, python in enumerate(kinds.values()):
        words = ["sh", "/opt/ain node/sbin/start-ainode.sh", "-i", python]
        with running(machine, config_node, *words, **settings(config_node, port)):
            if number == 0:
                register_and_ask(services, port, model)
            else:
                wait_until(lambda: connects(services, port), 30, "the node listens")
                np.testing.assert_allclose(forecast(services, port), [16.0, 18.0, 20.0, 22.0])
    said = machine.run("sh", "/opt/ain node/sbin/remove-ainode.sh", **settings(config_node, port))
    assert "is removed from the cluster" in said
    shutil.rmtree(work / "ain node")
    left = {path for path in machine.files() - before if "__pycache__" not in path}
    assert left == set(), "files outside the installation"


def test_deb(machine: Machine, deb: Path, config_node: ConfigNode, services: dict[str, Service]) -> None:
    model = write_model(machine)
    shutil.copy(deb, machine.inside("/opt/ainode.deb"))
    said = machine.run("dpkg", "-i", "/opt/ainode.deb")
    assert "edit /etc/iotdb-ainode/iotdb-ainode.properties" in said
    assert machine.run("ainode", "--version").strip()
    state = machine.inside("/var/lib/iotdb-ainode")
    assert state.stat().st_mode & 0o777 == 0o750
    configuration = machine.inside("/etc/iotdb-ainode/iotdb-ainode.properties")
    assert configuration.stat().st_mode & 0o777 == 0o640
    port = free_port()
    text = configuration.read_text().replace("node=127.0.0.1:10710", f"node={config_node.endpoint}")
    configuration.write_text(text.replace("ain_inference_rpc_port=10810", f"ain_inference_rpc_port={port}"))
    words = ["/usr/lib/iotdb-ainode/lib/ainode", "start", "-i", "/usr/bin/python3"]  # ExecStart of the unit
    with running(machine, config_node, *words, user="iotdb-ainode"):
        register_and_ask(services, port, model)
    assert any((state / "ainode" / "models").rglob("pipeline_drift.py"))
    assert machine.inside("/var/log/iotdb-ainode/log_ainode_all.log").stat().st_size > 0
    machine.run("logrotate", "--debug", "/etc/logrotate.d/iotdb-ainode")

    machine.run("dpkg", "-i", "/opt/ainode.deb")  # an upgrade keeps what the operator wrote and the models
    assert f"ain_inference_rpc_port={port}" in configuration.read_text()
    with running(machine, config_node, *words, user="iotdb-ainode"):
        wait_until(lambda: connects(services, port), 30, "the node listens")
        np.testing.assert_allclose(forecast(services, port), [16.0, 18.0, 20.0, 22.0])

    machine.run("dpkg", "-r", "iotdb-ainode")
    assert not machine.inside("/usr/lib/iotdb-ainode/lib").exists()
    assert configuration.exists()
    said = machine.run("dpkg", "-P", "iotdb-ainode")
    assert "are left in /var/lib/iotdb-ainode" in said
    assert not configuration.exists()
    assert any((state / "ainode" / "models").rglob("pipeline_drift.py"))


def test_without_a_network(machine: Machine, deb: Path) -> None:
    """The start says what it waits for, and ends within its limit; nothing is fetched."""
    shutil.copy(deb, machine.inside("/opt/ainode.deb"))
    machine.run("dpkg", "-i", "/opt/ainode.deb", network=False)
    begun = time.monotonic()
    words = ["ainode", "start", "-i", "/usr/bin/python3"]
    said = machine.run(*words, network=False, code=1, AIN_CONFIG_NODE_WAIT_MS="1500")
    assert "127.0.0.1:10710" in said
    assert time.monotonic() - begun < 60


def test_unit_file(machine: Machine, deb: Path) -> None:
    """systemd itself finds no fault in the unit, the user and the completion script loads."""
    unit = Path(__file__).resolve().parents[2] / "packaging" / "systemd" / "iotdb-ainode.service"
    shutil.copy(deb, machine.inside("/opt/ainode.deb"))
    machine.run("dpkg", "-i", "/opt/ainode.deb")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--root", str(machine.root), unit.name],
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    faults = [line for line in done.stderr.splitlines() if ".service:" in line and re.search(UNIT_FAULT, line)]
    assert faults == []
    broken = machine.inside("/usr/lib/systemd/system/iotdb-ainode.service")
    broken.write_text(broken.read_text().replace("ProtectSystem=strict", "ProtectSystm=strict"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--root", str(machine.root), unit.name],
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert re.search(UNIT_FAULT, done.stderr), "a misspelt key is not noticed"
    script = (". /usr/share/bash-completion/completions/ainode; "
              "COMP_WORDS=(ainode sta); COMP_CWORD=1; _ainode; echo ${COMPREPLY[@]}")  # fmt: skip
    said = machine.run("bash", "-c", script)
    assert said.split() == ["start"]
