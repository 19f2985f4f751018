"""The official Python AINode 2.0.5 as a member of a test cluster; bench/README.md says how its folder is laid out."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from ainode import AINodeError, wait_until
from iotdb_cluster import Cluster, die_with_parent, free_ports


class OfficialNode:
    """One home (conf, data, logs) of the official node, whose code and interpreter lie in `directory`."""

    def __init__(self, directory: Path, home: Path, cluster: Cluster) -> None:
        self.home = home
        self.python = str(directory / "venv" / "bin" / "python")
        self.source = directory / "src" / "iotdb" / "iotdb-core" / "ainode"
        for needed in (Path(self.python), self.source / "ainode" / "thrift"):
            if not needed.exists():
                raise AINodeError(f"{needed} is not there; bench/README.md says how {directory} is laid out")
        (self.port,) = free_ports(1)
        self.process: subprocess.Popen[bytes] | None = None
        (home / "conf").mkdir(parents=True)
        (home / "conf" / "iotdb-ainode.properties").write_text(
            f"cluster_name={cluster.cluster_name}\nain_seed_config_node=127.0.0.1:{cluster.ports['config']}\n"
            f"ain_rpc_address=127.0.0.1\nain_rpc_port={self.port}\n"
            f"ain_cluster_ingress_port={cluster.ports['rpc']}\n"
        )

    @property
    def weights(self) -> Path:
        """Where weights of the large models lie; they are looked for at the start."""
        return self.home / "data" / "ainode" / "models" / "weights"

    def add_weights(self, source: Path) -> None:
        """Copies a folder of weights, before the start."""
        shutil.copytree(source, self.weights / source.name)

    def start(self, cluster: Cluster, timeout: float = 180) -> None:
        """Starts it; returns when SHOW CLUSTER says Running."""
        with (self.home / "start.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.python, "-m", "ainode.core.script", "start"],
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
                env={
                    **os.environ,
                    "PYTHONPATH": str(self.source),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "HF_HUB_OFFLINE": "1",  # it would try for minutes where there is no network
                },
            )
        process = self.process

        def running() -> bool:
            if process.poll() is not None:
                raise AINodeError(f"the official node ended with {process.returncode}: {self.home / 'start.log'}")
            return cluster.ainode_running(self.port)

        wait_until(running, timeout, "SHOW CLUSTER says that the official node is Running")

    def stop(self) -> None:
        """SIGTERM as its script sends it; killed after ten seconds, since it waits for one more connection."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def kill(self) -> None:
        """Ends it at once, with all it started."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
