"""An AINode installed from its zip, as an operator would: unpack, edit conf, run the scripts of sbin.

Standard library alone at import, like iotdb_cluster.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from iotdb_cluster import Cluster, Rows, SqlError, die_with_parent, free_ports
from releases import calls_inference, has_old_ids, input_argument, is_late

# The manual's name and the newer name of one key: a file may hold either.
ALIASES = {
    "ain_inference_rpc_address": "ain_rpc_address",
    "ain_inference_rpc_port": "ain_rpc_port",
}


class AINodeError(Exception):
    """The node did not do what the test needed first; the text says what and shows the log."""


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Polls `condition` until it holds; AssertionError naming `what` when time is up."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.05)


def processes_of(directory: Path) -> list[int]:
    """Live processes that run or have mapped a file below `directory`."""
    found = []
    needle = str(directory.resolve()) + "/"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if needle in (entry / "maps").read_text(errors="replace"):
                found.append(int(entry.name))
    return found


@dataclass
class Installation:
    """One unpacked package. `home` is the folder that the zip holds."""

    home: Path
    python: str
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    def unpack(cls, package: Path, directory: Path, python: str, cluster: Cluster) -> Installation:
        """Unpacks `package` into `directory` and points its configuration to `cluster`, with a free port."""
        directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(["unzip", "-q", str(package), "-d", str(directory)], check=True)
        homes = [path for path in directory.iterdir() if path.name.endswith("-ainode-bin")]
        assert len(homes) == 1, f"{package} holds {[path.name for path in directory.iterdir()]}"
        self = cls(homes[0], python, free_ports(1)[0])
        self.configure(
            cluster_name=cluster.cluster_name,
            ain_seed_config_node=f"127.0.0.1:{cluster.ports['config']}",
            ain_inference_rpc_address="127.0.0.1",
            ain_inference_rpc_port=str(self.port),
            ain_cluster_ingress_port=str(cluster.ports["rpc"]),
        )
        return self

    @property
    def conf(self) -> Path:
        """The configuration file."""
        return self.home / "conf" / "iotdb-ainode.properties"

    @property
    def models_dir(self) -> Path:
        """Where registered models lie."""
        return self.home / "data" / "ainode" / "models"

    @property
    def start_log(self) -> Path:
        """What the start script and the node print."""
        return self.home.parent / "start.log"

    def configure(self, **settings: str) -> None:
        """Sets keys in the configuration file: in their line (commented out or under the other name) or at the end."""
        text = self.conf.read_text()
        for key, value in settings.items():
            names = "|".join(re.escape(name) for name in (key, ALIASES.get(key, key)))
            line = re.compile(rf"(?m)^#?\s*({names})\s*=.*$")
            match = line.search(text)
            if match:
                text = text[: match.start()] + f"{match[1]}={value}" + text[match.end() :]
            else:
                text = text.rstrip("\n") + f"\n{key}={value}\n"
        self.conf.write_text(text)

    def script(
        self, name: str, *args: str, timeout: float = 60, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs sbin/`name` to its end from a foreign directory; output and errors come as one text in stdout."""
        return subprocess.run(
            ["bash", str(self.home / "sbin" / name), *args],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
            check=False,
        )

    def start(
        self, *args: str, env: dict[str, str] | None = None, prefix: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes]:
        """Starts the node in the foreground of a new session, from a foreign directory, by the command `prefix`."""
        with self.start_log.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, "bash", str(self.home / "sbin" / "start-ainode.sh"), "-i", self.python, *args],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,  # should the tests be killed
                env={**os.environ, **(env or {})},
            )
        return self.process

    def start_refused(self, *args: str, timeout: float = 60, env: dict[str, str] | None = None) -> str:
        """Starts a node that must refuse to run; returns what it printed."""
        done = self.script("start-ainode.sh", "-i", self.python, *args, timeout=timeout, env=env)
        assert done.returncode != 0, f"start was not refused:\n{done.stdout}"
        return done.stdout

    def row(self, cluster: Cluster) -> dict[str, object] | None:
        """This node's line of SHOW CLUSTER."""
        for row in cluster.query("SHOW CLUSTER").dicts():
            if row["NodeType"] == "AINode" and int(row["InternalPort"]) == self.port:
                return row
        return None

    def status(self, cluster: Cluster) -> str | None:
        """The word in the Status column of that line (a reason may follow), None when the node is unknown."""
        row = self.row(cluster)
        return None if row is None else str(row["Status"]).partition("(")[0]

    def listens(self) -> bool:
        """Whether the node's port is open: SHOW CLUSTER may still tell of the run before."""
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def expect_running(self, cluster: Cluster) -> None:
        """SHOW CLUSTER says Running, now or with the next heartbeats.

        A ConfigNode that meets a connection of before a restart shows Unknown until its next heartbeat.
        """
        wait_until(lambda: self.status(cluster) == "Running", 20, "SHOW CLUSTER says Running")

    def start_running(
        self,
        cluster: Cluster,
        *args: str,
        timeout: float = 60,
        flush: bool = True,
        prefix: tuple[str, ...] = (),
    ) -> None:
        """start(), then waits until SHOW CLUSTER says Running; with `flush` also until SQL reaches the node."""
        process = self.start(*args, prefix=prefix)

        def running() -> bool:
            if process.poll() is not None and "-d" not in args:
                raise AINodeError(f"start-ainode.sh ended with {process.returncode}:\n{self.log_tail()}")
            return self.listens() and self.status(cluster) == "Running"

        try:
            wait_until(running, timeout, "SHOW CLUSTER says Running")
        except AssertionError as error:
            raise AINodeError(f"{error}\n{self.log_tail()}") from None
        if flush:
            flush_dead_connections(cluster)

    def stop(self, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """sbin/stop-ainode.sh; returns when the node's processes are gone."""
        done = self.script("stop-ainode.sh")
        if done.returncode == 0 and self.process:
            self.process.wait(timeout)
            self.process = None
        wait_until(lambda: not processes_of(self.home), timeout, f"all processes of {self.home} are gone")
        return done

    def signal(self, number: int) -> None:
        """Sends a signal to the process that start() made (the script becomes the node)."""
        assert self.process is not None
        self.process.send_signal(number)

    def process_id(self) -> int | None:
        """The host process of this installation."""
        host = (self.home / "lib" / "ainode").resolve()
        for pid in processes_of(self.home):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/exe").resolve() == host:
                    return pid
        return None

    def kill_process(self, pid: int) -> None:
        """kill -9 for one process of this installation."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """Ends whatever of this installation still runs."""
        for pid in processes_of(self.home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log_tail(self, lines: int = 40) -> str:
        """The end of what the node printed, for a message."""
        with contextlib.suppress(OSError):
            return "\n".join(self.start_log.read_text(errors="replace").splitlines()[-lines:])
        return "(nothing printed)"


def flush_dead_connections(cluster: Cluster) -> None:
    """Makes IoTDB notice that the node was restarted.

    ConfigNode and DataNode of 2.0.5 keep a connection that died and fail one statement with each; they throw it away
    because the node says farewell on it (without, they would keep it until nobody used it for a minute).
    """
    dead = re.compile("connect to AINode|Broken pipe|frame size|closed by peer", re.I)
    built_in = "_NaiveForecaster" if has_old_ids(cluster.version) else "naive_forecaster"
    ask = f'CALL INFERENCE({built_in}, "select s0 from root.t.f limit 8")'
    if not calls_inference(cluster.version):
        ask = f"SELECT FORECAST(s0, 'MODEL_ID'='{built_in}') FROM root.t.f"
        _flush_config_node(cluster)
    for statement in ("SHOW MODELS", ask):
        deadline = time.monotonic() + 15
        while True:
            try:
                cluster.query(statement)
                break
            except SqlError as error:
                if not dead.search(error.message):
                    break
                assert time.monotonic() < deadline, f"IoTDB {cluster.version} keeps a dead connection: {error}"
            time.sleep(0.2)


def _flush_config_node(cluster: Cluster) -> None:
    """The same for a ConfigNode that calls the AINode for CREATE MODEL, DROP MODEL and REMOVE AINODE alone."""
    create_failure(cluster, "never_made", "file:///no/such/folder")
    drop_quietly(cluster, "never_made")


def create_model(cluster: Cluster, model_id: str, uri: str, timeout: float = 60) -> None:
    """CREATE MODEL, and its outcome: returns when the model can be called, raises SqlError when it failed.

    Up to 2.0.7 the statement returns at once and the ConfigNode registers the model later; a failure shows in its log
    (on 2.0.1-beta in SHOW MODELS too), success when CALL INFERENCE knows the id, or where that statement never works,
    in its log. Later releases answer when it is done.
    """
    seen = cluster.log("confignode").stat().st_size
    cluster.execute(f'CREATE MODEL {model_id} USING URI "{uri}"')
    if is_late(cluster.version):
        return
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if _is_known(cluster, model_id, seen):
            return
        reason = _failure(cluster, model_id, seen)
        if reason is not None:
            raise SqlError(1500, reason)
        time.sleep(0.02)
    raise AssertionError(f"CREATE MODEL {model_id} neither worked nor failed within {timeout:.0f} s")


def _is_known(cluster: Cluster, model_id: str, seen: int) -> bool:
    """Whether the ConfigNode has finished creating the model; `seen`: its log's length before the statement."""
    if not calls_inference(cluster.version):
        log = _log_since(cluster, seen)
        # Written when it worked and when it did not. The plan that follows is applied at once; its lines name no model.
        before, _, after = log.partition(f"Start to update model [{model_id}]")
        failed = f"error trying to create model [{model_id}]" in before
        return "release ModelTableWriteLock" in after and not failed
    try:
        cluster.query(f'CALL INFERENCE({model_id}, "select nothing from root.of.the.kind")')
    except SqlError as error:
        return error.code not in (1504, 1505)
    return True


def ask_model(
    cluster: Cluster,
    model_id: str,
    source: str,
    *,
    length: int = 96,
    options: dict[str, str] | None = None,
    timeout_s: float = 0,
) -> Rows:
    """What a model answers to "select COLUMNS from root.DATABASE.DEVICE ...", by the statement that works there.

    That is CALL INFERENCE; `length` does not count then. Releases in which it never works get the table function
    FORECAST for `length` rows over the table DEVICE of that DATABASE; the time column is left out of the answer.
    """
    if calls_inference(cluster.version):
        pairs = (options or {}).items()
        given = "".join(f", {name}={value}" if name == "window" else f', {name}="{value}"' for name, value in pairs)
        return cluster.query(f'CALL INFERENCE({model_id}, "{source}"{given})', timeout_s=timeout_s)
    found = re.fullmatch(r"select (.+) from root\.(\w+)\.(\w+)(.*)", source)
    assert found, source
    columns, database, table, rest = found.groups()
    text = f"SELECT time, {columns} FROM {table}{rest}"
    more = f", OUTPUT_LENGTH=>{length}"
    if options:
        assert not any("," in value for value in options.values()), "MODEL_OPTIONS has no quotes"
        more += f", MODEL_OPTIONS=>'{','.join(f'{name}={value}' for name, value in options.items())}'"
    argument = input_argument(cluster.version)
    answer = cluster.query(
        f"SELECT * FROM FORECAST(MODEL_ID=>'{model_id}', {argument}=>({text}) ORDER BY time{more})",
        table=True,
        database=database,
        timeout_s=timeout_s,
    )
    rows = sorted(answer.rows, key=lambda row: int(row[0]))
    return Rows(answer.columns[1:], [row[1:] for row in rows])


def create_failure(cluster: Cluster, model_id: str, uri: str, timeout: float = 60) -> str:
    """CREATE MODEL that must fail, at once or later; returns the reason that the cluster was given."""
    seen = cluster.log("confignode").stat().st_size
    try:
        cluster.execute(f'CREATE MODEL {model_id} USING URI "{uri}"')
    except SqlError as error:
        return error.message
    wait_until(lambda: _failure(cluster, model_id, seen) is not None, timeout, f"CREATE MODEL {model_id} fails")
    return str(_failure(cluster, model_id, seen))


def _failure(cluster: Cluster, model_id: str, seen: int) -> str | None:
    """Why the ConfigNode gave up creating the model, by its log from byte `seen` on; None when it did not."""
    text = _log_since(cluster, seen)
    if f"Fail to create model [{model_id}]" not in text:
        return None
    reason = re.search(rf"CREATE MODEL \[{re.escape(model_id)}\] failed[^:]*:\[(.*)\]", text)
    return reason[1] if reason else text


def _log_since(cluster: Cluster, seen: int) -> str:
    """The ConfigNode's log from byte `seen` on."""
    with cluster.log("confignode").open("rb") as log:
        log.seek(seen)
        return log.read().decode(errors="replace")


def model_states(cluster: Cluster) -> dict[str, str]:
    """SHOW MODELS as {id: state}."""
    rows = cluster.query("SHOW MODELS")
    return dict(zip(rows.column("ModelId"), rows.column("State"), strict=True))


def drop_quietly(cluster: Cluster, model_id: str) -> None:
    """Drops a model that may not exist."""
    with contextlib.suppress(SqlError):
        cluster.execute(f"DROP MODEL {model_id}")


@contextlib.contextmanager
def refused(*words: str, code: int | None = None) -> Iterator[list[SqlError]]:
    """Expects one refused statement whose message holds every word (any case); with `code`, that status."""
    caught: list[SqlError] = []
    try:
        yield caught
    except SqlError as error:
        caught.append(error)
        missing = [word for word in words if word.lower() not in error.message.lower()]
        assert not missing, f"message lacks {missing}: {error}"
        assert code is None or error.code == code, f"wanted code {code}: {error}"
        return
    raise AssertionError("the statement was not refused")
