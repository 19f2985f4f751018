"""Install, start, infer, stop and remove on a machine that has nothing but Debian's Python and NumPy."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from debian import Machine
from generated import Service
from installed import connects, forecast, register_and_ask, running, settings, unpack, write_model
from node import free_port
from processes import wait_until
from standins.confignode import ConfigNode

#: What systemd says of a line that it does not understand.
UNIT_FAULT = r"Unknown (key|lvalue|section)|Failed to parse|[Ii]nvalid|ignoring"


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
    home = unpack(machine, package, "/opt/ain node")
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
    shutil.rmtree(home)
    left = {path for path in machine.files() - before if "__pycache__" not in path}
    assert left == set(), "files outside the installation"


@pytest.mark.parametrize("readme", ["README.md", "README_ZH.md"])
def test_links_of_the_readme(package: Path, readme: str) -> None:
    """What the README of the zip links to is in the zip."""
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
        top = names[0].split("/")[0]
        links = re.findall(r"\]\((?!https:)([^)#]+)[^)]*\)", archive.read(f"{top}/{readme}").decode())
    assert links
    assert [link for link in links if not any(name.startswith(f"{top}/{link}") for name in names)] == []


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
