"""A real Apache IoTDB on loopback: fetch or build a release, start it, ask it by SQL, stop it.

Used by the tests, by quickstart.sh and by hand. Importing the module, fetching, starting and stopping need the
standard library alone; SQL needs the `apache-iotdb` package.

    python3 tests/cluster/iotdb_cluster.py fetch 2.0.5           # jars into the cache; prints their folder
    python3 tests/cluster/iotdb_cluster.py start 2.0.5 DIR       # fresh data in DIR; returns when it answers SQL
    python3 tests/cluster/iotdb_cluster.py sql DIR "SHOW CLUSTER"
    python3 tests/cluster/iotdb_cluster.py stop DIR              # ends both processes and removes DIR
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

PUBLISHED_AS_JARS = {"2.0.1-beta"}  # the other releases publish their sources only
RELEASES = ("2.0.1-beta", "2.0.2", "2.0.3", "2.0.5", "2.0.6", "2.0.7", "2.0.10")
MAVEN_QUIET = [
    f"-D{name}"
    for name in (
        "maven.test.skip=true",  # not compiled either: a fifth of the sources, and no module needs another's tests
        "maven.source.skip=true",
        "spotless.check.skip=true",
        "spotless.apply.skip=true",
        "checkstyle.skip",
        "rat.skip=true",
        "enforcer.skip=true",
        "mdep.analyze.skip=true",
    )
]
JAVA_OPENS = ["java.util.concurrent", "java.lang", "java.util", "java.nio", "java.io", "java.net", "sun.nio.ch"]
# Throw-away processes on small machines: quick to start matters more than peak speed.
JAVA_FLAGS = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.awt.headless=true"]


class IoTDBError(Exception):
    """Something about the cluster itself (not about a statement) went wrong; the text says what."""


class SqlError(Exception):
    """A statement was refused: `code` is IoTDB's status code, `message` its text."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def cache_dir() -> Path:
    """Where jars, sources and environments are kept between runs."""
    named = os.environ.get("IOTDB_AINODE_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "iotdb-ainode"


# ---------------------------------------------------------------- jars


def fetch(version: str, say: Callable[[str], None] = lambda text: None) -> Path:
    """The folder with all jars of `version`; downloads or builds them when the cache lacks them."""
    if not re.fullmatch(r"2\.\d+\.\d+(-[a-z0-9]+)?", version):
        raise IoTDBError(f"'{version}' is not an IoTDB release; known to work: {', '.join(RELEASES)}")
    home = cache_dir() / f"iotdb-{version}"
    if (home / "lib" / ".complete").exists():
        return home / "lib"
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # somebody else may be fetching the same release
        if (home / "lib" / ".complete").exists():
            return home / "lib"
        _need_java()
        if version not in PUBLISHED_AS_JARS:
            _build(version, home, say)
        say(f"copying the jars of IoTDB {version}")
        _copy_jars(version, home)
        shutil.rmtree(home / "build", ignore_errors=True)
        (home / "lib" / ".complete").touch()
    return home / "lib"


def _need_java() -> None:
    for program, package in (("java", "default-jdk-headless"), ("javac", "default-jdk-headless"), ("mvn", "maven")):
        if not shutil.which(program):
            raise IoTDBError(f"'{program}' is not installed; on Debian and Ubuntu: apt-get install {package}")


def _maven(args: Sequence[str], cwd: Path, log: Path) -> None:
    """Runs Maven with a repository of its own, so that edited builds never reach ~/.m2."""
    command = ["mvn", "-B", "-q", f"-Dmaven.repo.local={cache_dir() / 'm2'}", *args]
    with open(log, "ab") as out:
        done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise IoTDBError(f"maven failed (exit {done.returncode}), see {log}; its end:\n{_tail(log)}")


def _copy_jars(version: str, home: Path) -> None:
    wanted = "".join(
        f"<dependency><groupId>org.apache.iotdb</groupId><artifactId>{name}</artifactId>"
        f"<version>{version}</version></dependency>"
        for name in ("iotdb-server", "iotdb-confignode")
    )
    pom = home / "pom"
    pom.mkdir(exist_ok=True)
    (pom / "pom.xml").write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>local</groupId><artifactId>jars</artifactId>"
        f"<version>1</version><packaging>pom</packaging><dependencies>{wanted}</dependencies></project>\n"
    )
    shutil.rmtree(home / "lib", ignore_errors=True)
    _maven(
        ["dependency:copy-dependencies", f"-DoutputDirectory={home / 'lib'}", "-DincludeScope=runtime"],
        pom,
        home / "fetch.log",
    )
    if not any((home / "lib").glob("iotdb-server-*.jar")):
        raise IoTDBError(f"no iotdb-server jar came for {version}, see {home / 'fetch.log'}")


def _build(version: str, home: Path, say: Callable[[str], None]) -> None:
    """Builds ConfigNode and DataNode from the official source release (about five minutes on two cores)."""
    log = home / "fetch.log"
    build = home / "build"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    say(f"downloading the sources of IoTDB {version}")
    _maven(
        [
            "dependency:get",
            "-Dtransitive=false",
            f"-Dartifact=org.apache.iotdb:iotdb-parent:{version}:zip:source-release",
        ],
        build,
        log,
    )
    archive = cache_dir() / "m2/org/apache/iotdb/iotdb-parent" / version / f"iotdb-parent-{version}-source-release.zip"
    with zipfile.ZipFile(archive) as bundle:
        bundle.extractall(build)
    source = build / f"apache-iotdb-{version}"
    _edit_for_central(version, source)
    say(f"building IoTDB {version} (about 5 minutes on 2 cores; log in {log})")
    _maven(["-T", "2", "install", "-pl", "iotdb-core/datanode,iotdb-core/confignode", "-am", *MAVEN_QUIET], source, log)


def _edit_for_central(version: str, source: Path) -> None:
    """Three dependencies of the sources are not published where Maven looks: take their published twins."""
    for pom in source.rglob("pom.xml"):
        text = pom.read_text(encoding="utf-8")
        new = text.replace("com.github.moquette-io.moquette", "io.moquette")
        new = re.sub(r"<moquette\.version>0\.18[^<]*<", "<moquette.version>0.17<", new)
        new = new.replace("<tsfile.version>2.3.1<", "<tsfile.version>2.4.0<")
        if version == "2.0.3":  # a fork's release that is not there; its changes are in the next of Ratis
            new = new.replace("com.timecho.ratis", "org.apache.ratis")
            new = new.replace("<ratis.version>3.2.0<", "<ratis.version>3.2.1<")
        if version == "2.0.10":  # tsfile 2.4.0 is built with a newer ANTLR runtime
            new = new.replace("<antlr4.version>4.9.3<", "<antlr4.version>4.13.2<")
        if new != text:
            pom.write_text(new, encoding="utf-8")
    if version == "2.0.10":
        scan = source / "iotdb-core/datanode/src/main/java/org/apache/iotdb/db/pipe/event/common/tsfile/parser/scan"
        for java in scan.glob("*SinglePageWholeChunkReader.java"):
            text = java.read_text(encoding="utf-8")
            java.write_text(
                re.sub(r"(?m)^( *)defaultTimeDecoder,", r"\1getConfiguredTimeDecoder(),", text), encoding="utf-8"
            )


# ---------------------------------------------------------------- processes


def free_ports(count: int) -> list[int]:
    """Loopback ports nobody listens on, below the range the kernel hands to outgoing connections."""
    found: list[int] = []
    held: list[socket.socket] = []
    try:
        for _ in range(2000):
            port = random.randrange(15000, 32000)
            probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            held.append(probe)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
                if len(found) == count:
                    return found
    finally:
        for probe in held:
            probe.close()
    raise IoTDBError("no free ports between 15000 and 32000")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the JVM does: old connections do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def process_start(pid: int) -> int | None:
    """When process `pid` started (kernel ticks), or None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rsplit(")", 1)[1].split()
    return None if fields[0] == "Z" else int(fields[19])


def die_with_parent() -> None:
    """For preexec_fn: the child ends when the thread that started it does."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _tail(path: Path, lines: int = 30) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"(no log: {error})"


@dataclass
class Cluster:
    """One ConfigNode and one DataNode with their data below `directory`."""

    version: str
    directory: Path
    ports: dict[str, int]
    pids: dict[str, list[int]] = field(default_factory=dict)  # role -> [pid, start time]
    cluster_name: str = "defaultCluster"
    jars_first: tuple[Path, ...] = ()  # what the class path begins with
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)

    PROGRAMS = {  # heap and main class of each role
        "confignode": ("512m", "org.apache.iotdb.confignode.service.ConfigNode"),
        "datanode": ("1g", "org.apache.iotdb.db.service.DataNode"),
    }
    PORTS = ("config", "config_consensus", "rpc", "internal", "exchange", "schema_consensus", "data_consensus")

    @classmethod
    def start(
        cls,
        version: str,
        directory: Path | str,
        *,
        tied: bool = True,
        cluster_name: str = "defaultCluster",
        properties: dict[str, str] | None = None,
        ports: dict[str, int] | None = None,
        jars_first: tuple[Path, ...] = (),
    ) -> Cluster:
        """Starts both processes with fresh data and returns at once; see wait_ready(). With `tied` they die
        with the thread that calls this. `properties` are added to iotdb-system.properties."""
        fetch(version)
        directory = Path(directory).resolve()
        for part in ("conf", "logs", "run", "data"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        chosen = ports or dict(zip(cls.PORTS, free_ports(len(cls.PORTS)), strict=True))
        self = cls(version, directory, chosen, cluster_name=cluster_name, jars_first=jars_first)
        self._write_conf(properties or {})
        self._spawn_both(tied)
        return self

    @classmethod
    def another_config_node(cls, first: Cluster, directory: Path | str) -> Cluster:
        """Starts one more ConfigNode of `first`'s cluster and returns at once: it has no DataNode of its own."""
        directory = Path(directory).resolve()
        for part in ("conf", "logs", "run", "data"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        ports = dict(zip(cls.PORTS, free_ports(len(cls.PORTS)), strict=True))
        self = cls(first.version, directory, ports, cluster_name=first.cluster_name)
        self._write_conf({"cn_seed_config_node": f"127.0.0.1:{first.ports['config']}"})
        self.start_role("confignode")
        return self

    def start_role(self, role: str, version: str | None = None) -> None:
        """Starts "confignode" or "datanode" on the data that is there, of another release when one is named."""
        self.version = version or self.version
        self._spawn(role, fetch(self.version), *self.PROGRAMS[role], True)

    def end_role(self, role: str, number: int = signal.SIGKILL) -> None:
        """Ends "confignode" or "datanode" by that signal; returns when it is gone."""
        pid, _ = self.pids[role]
        os.kill(pid, number)
        for child in [child for child in self._children if child.pid == pid]:
            child.wait(60)
            self._children.remove(child)

    def _spawn_both(self, tied: bool) -> None:
        jars = fetch(self.version)
        try:
            for role, (heap, main) in self.PROGRAMS.items():
                self._spawn(role, jars, heap, main, tied)
        except BaseException:
            self.kill()
            raise
        state = {"version": self.version, "ports": self.ports, "pids": self.pids, "cluster_name": self.cluster_name}
        (self.directory / "cluster.json").write_text(json.dumps(state, indent=1))

    def restart(self) -> None:
        """Ends both processes politely and starts them again on the same data and ports; returns when ready."""
        for role, (pid, _) in self.pids.items():
            if self.alive(role):
                os.kill(pid, signal.SIGTERM)
        for child in self._children:
            child.wait(60)
        self._children.clear()
        self._spawn_both(tied=True)
        self.wait_ready()

    @classmethod
    def attach(cls, directory: Path | str) -> Cluster:
        """The cluster that an earlier start() left running in `directory`."""
        directory = Path(directory).resolve()
        try:
            state = json.loads((directory / "cluster.json").read_text())
        except OSError as error:
            raise IoTDBError(f"no cluster was started in {directory} ({error.strerror})") from None
        return cls(state["version"], directory, state["ports"], state["pids"], state["cluster_name"])

    def _write_conf(self, extra: dict[str, str]) -> None:
        port = self.ports
        seed = f"127.0.0.1:{port['config']}"
        settings = {
            "cluster_name": self.cluster_name,
            "cn_internal_address": "127.0.0.1",
            "cn_internal_port": port["config"],
            "cn_consensus_port": port["config_consensus"],
            "cn_seed_config_node": seed,
            "dn_rpc_address": "127.0.0.1",
            "dn_rpc_port": port["rpc"],
            "dn_internal_address": "127.0.0.1",
            "dn_internal_port": port["internal"],
            "dn_mpp_data_exchange_port": port["exchange"],
            "dn_schema_region_consensus_port": port["schema_consensus"],
            "dn_data_region_consensus_port": port["data_consensus"],
            "dn_seed_config_node": seed,
            "trusted_uri_pattern": ".*",  # let http URIs reach the AINode too
            **extra,
        }
        conf = self.directory / "conf"
        (conf / "iotdb-system.properties").write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        for role in ("confignode", "datanode"):
            (conf / f"logback-{role}.xml").write_text(
                '<configuration><appender name="FILE" class="ch.qos.logback.core.FileAppender">'
                f"<file>{self.log(role)}</file><encoder><pattern>%d [%t] %-5p %c - %m%n</pattern></encoder>"
                '</appender><root level="INFO"><appender-ref ref="FILE"/></root></configuration>\n'
            )

    def _spawn(self, role: str, jars: Path, heap: str, main: str, tied: bool) -> None:
        home = self.directory
        command = [
            "java",
            *(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in JAVA_OPENS),
            *JAVA_FLAGS,
            f"-Xmx{heap}",
            f"-DCONFIGNODE_HOME={home}",
            f"-DCONFIGNODE_CONF={home}/conf",
            f"-DIOTDB_HOME={home}",
            f"-DIOTDB_CONF={home}/conf",
            f"-DTSFILE_HOME={home}",
            f"-Dlogback.configurationFile={home}/conf/logback-{role}.xml",
            f"-Djava.io.tmpdir={home}/run",
            "-cp",
            ":".join([*map(str, self.jars_first), f"{jars}/*"]),
            main,
            "-s",
        ]
        with open(home / "logs" / f"{role}.out", "wb") as out:
            child = subprocess.Popen(
                command,
                cwd=home / "run",
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent if tied else None,
            )
        self._children.append(child)
        self.pids[role] = [child.pid, process_start(child.pid) or 0]

    def log(self, role: str) -> Path:
        """The log of "confignode" or "datanode"."""
        return self.directory / "logs" / f"{role}.log"

    def alive(self, role: str) -> bool:
        """Whether that process still runs (the process we started, not one that got its number later)."""
        entry = self.pids.get(role)
        return entry is not None and process_start(entry[0]) == entry[1]

    def ready(self) -> bool:
        """Whether the ConfigNode calls the DataNode Running and the DataNode opens sessions."""
        try:
            shown = _thrift_call(self.ports["config"], "showCluster", b"\0")
            if _status(shown) != 200:
                return False
            data_node = shown[0][3][0][1]
            return shown[0][5].get(data_node) == b"Running" and self._session_opens()
        except (OSError, KeyError, IndexError, ValueError, struct.error):
            return False

    def ainode_running(self, port: int) -> bool:
        """Whether the ConfigNode calls the AINode at `port` Running."""
        try:
            shown = _thrift_call(self.ports["config"], "showCluster", b"\0")
            nodes = {location[2][2]: location[1] for location in shown[0][4]}
            return bool(shown[0][5].get(nodes.get(port)) == b"Running")
        except (OSError, KeyError, IndexError, ValueError, struct.error):
            return False

    def _session_opens(self) -> bool:
        config = b"\x0d\0\x05\x0b\x0b\0\0\0\x01" + _text(b"version") + _text(b"V_1_0")
        request = (
            b"\x08\0\x01\0\0\0\x02"
            + b"\x0b\0\x02"
            + _text(b"UTC")
            + b"\x0b\0\x03"
            + _text(b"root")
            + b"\x0b\0\x04"
            + _text(b"root")
            + config
            + b"\0"
        )
        opened = _thrift_call(self.ports["rpc"], "openSession", b"\x0c\0\x01" + request + b"\0")
        return _status(opened) == 200

    def wait_ready(self, timeout: float = 180) -> None:
        """Returns once ready(); raises with the ends of the logs when a process dies or time is up."""
        deadline = time.monotonic() + timeout
        while not self.ready():
            dead = [role for role in self.pids if not self.alive(role)]
            if dead or time.monotonic() > deadline:
                why = f"the {dead[0]} ended" if dead else f"not ready after {timeout:.0f} s"
                raise IoTDBError(f"IoTDB {self.version} in {self.directory}: {why}\n{self.log_tails()}")
            time.sleep(0.2)

    def log_tails(self) -> str:
        """The last lines of every log, for a message."""
        return "\n".join(
            f"--- {path.name}\n{_tail(path)}"
            for path in sorted((self.directory / "logs").glob("*"))
            if path.stat().st_size
        )

    def kill(self) -> None:
        """Ends both processes at once. Their data is throw-away, so there is nothing to flush."""
        for role, (pid, _) in self.pids.items():
            if self.alive(role):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for child in self._children:
            child.wait()
        deadline = time.monotonic() + 10
        while any(self.alive(role) for role in self.pids):
            if time.monotonic() > deadline:
                raise IoTDBError(f"processes {self.pids} do not end")
            time.sleep(0.05)

    def remove(self) -> None:
        """kill(), and everything below `directory` goes."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    # SQL. A session per call: nothing has to be kept or closed, and a call costs some milliseconds only.

    def query(self, statement: str, *, table: bool = False, database: str | None = None, timeout_s: float = 0) -> Rows:
        """Runs a statement that returns rows (in the table dialect when `table`); 0: the cluster's own time limit."""
        return self.query_typed(statement, table=table, database=database, timeout_s=timeout_s)[0]

    def query_typed(
        self, statement: str, *, table: bool = False, database: str | None = None, timeout_s: float = 0
    ) -> tuple[Rows, list[str]]:
        """As query(); beside the rows the names of the columns' types, as the server declares them."""
        with self._session(table, database) as session, _sql_errors():
            data = session.execute_query_statement(statement, timeout=int(timeout_s * 1000))
            try:
                types = [getattr(kind, "name", str(kind)) for kind in data.get_column_types()]
                frame = data.todf()
            finally:
                data.close_operation_handle()
        cells = [[_plain(cell) for cell in row] for row in frame.itertuples(index=False, name=None)]
        return Rows([str(name) for name in frame.columns], cells), types

    def execute(self, *statements: str, table: bool = False, database: str | None = None) -> None:
        """Runs statements that return nothing, in order."""
        with self._session(table, database) as session, _sql_errors():
            for statement in statements:
                session.execute_non_query_statement(statement)

    @contextlib.contextmanager
    def _session(self, table: bool, database: str | None) -> Iterator[Any]:
        from iotdb.Session import Session  # the apache-iotdb package

        session = Session("127.0.0.1", self.ports["rpc"], "root", "root", zone_id="UTC", enable_redirection=False)
        if table:
            session.sql_dialect = "table"
            session.database = database
        session.open(False)
        try:
            yield session
        finally:
            session.close()


def _plain(cell: Any) -> Any:
    """Time stamps (the client makes dates of them in the table dialect) as milliseconds, the rest as it is."""
    return round(cell.timestamp() * 1000) if hasattr(cell, "timestamp") else cell


@contextlib.contextmanager
def _sql_errors() -> Iterator[None]:
    from iotdb.utils.exception import StatementExecutionException

    try:
        yield
    except StatementExecutionException as error:
        match = re.match(r"(\d+): (.*)", str(error), re.S)
        raise SqlError(int(match[1]) if match else 0, match[2] if match else str(error)) from None


@dataclass
class Rows:
    """A result table."""

    columns: list[str]
    rows: list[list[Any]]

    def column(self, name: str) -> list[Any]:
        """All values of one column."""
        at = self.columns.index(name)
        return [row[at] for row in self.rows]

    def dicts(self) -> list[dict[str, Any]]:
        """The rows as mappings from column name to value."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def text(self) -> str:
        """The table as the IoTDB command line draws it."""
        cells = [self.columns, *([("null" if value is None else str(value)) for value in row] for row in self.rows)]
        widths = [max(len(line[at]) for line in cells) for at in range(len(self.columns))]
        rule = "+" + "+".join("-" * width for width in widths) + "+"
        lines = [
            "|" + "|".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) + "|" for line in cells
        ]
        return "\n".join([rule, lines[0], rule, *lines[1:], rule])


STANDARD_PORTS = dict(zip(Cluster.PORTS, (10710, 10720, 6667, 10730, 10740, 10750, 10760), strict=True))


# ---------------------------------------------------------------- just enough Thrift to ask "are you there?"


def _text(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def _thrift_call(port: int, method: str, arguments: bytes) -> dict[int, Any]:
    """Calls `method` on a loopback port (framed, strict binary); the reply struct as {field id: value}."""
    message = b"\x80\x01\0\x01" + _text(method.encode()) + struct.pack(">i", 1) + arguments
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(struct.pack(">i", len(message)) + message)
        with connection.makefile("rb") as stream:
            (size,) = struct.unpack(">i", stream.read(4))
            reply = stream.read(size)
    if reply[:4] != b"\x80\x01\0\x02":
        raise ValueError(f"{method}: not a reply")
    (name_size,) = struct.unpack_from(">i", reply, 4)
    return cast("dict[int, Any]", _read_value(reply, 12 + name_size, 12)[0])


def _status(reply: dict[int, Any]) -> int:
    return int(reply[0][1][1])


def _read_value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    fixed = {2: ">?", 3: ">b", 4: ">d", 6: ">h", 8: ">i", 10: ">q"}.get(kind)
    if fixed:
        return struct.unpack_from(fixed, data, at)[0], at + struct.calcsize(fixed)
    if kind == 11:
        (size,) = struct.unpack_from(">i", data, at)
        return data[at + 4 : at + 4 + size], at + 4 + size
    if kind == 12:
        return _read_struct(data, at)
    if kind == 13:
        key_kind, value_kind, count = struct.unpack_from(">bbi", data, at)
        at += 6
        entries = {}
        for _ in range(count):
            key, at = _read_value(data, at, key_kind)
            entries[key], at = _read_value(data, at, value_kind)
        return entries, at
    if kind in (14, 15):
        item_kind, count = struct.unpack_from(">bi", data, at)
        at += 5
        items = []
        for _ in range(count):
            item, at = _read_value(data, at, item_kind)
            items.append(item)
        return items, at
    raise ValueError(f"thrift type {kind}")


def _read_struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    fields: dict[int, Any] = {}
    while data[at]:
        kind, number = struct.unpack_from(">bh", data, at)
        fields[number], at = _read_value(data, at + 3, kind)
    return fields, at + 1


# ---------------------------------------------------------------- command line


def main() -> int:
    """The commands of the module's docstring."""
    parser = argparse.ArgumentParser(description="A real Apache IoTDB on loopback.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch").add_argument("version")
    start = commands.add_parser("start")
    start.add_argument("version")
    start.add_argument("directory", type=Path)
    start.add_argument("--standard-ports", action="store_true", help="10710, 6667, ... where they are free")
    for name in ("stop", "ready", "port"):
        commands.add_parser(name).add_argument("directory", type=Path)
    commands.add_parser("free-port")
    node = commands.add_parser("node", help="exit 0 when the AINode at that port is Running")
    node.add_argument("directory", type=Path)
    node.add_argument("port", type=int)
    sql = commands.add_parser("sql")
    sql.add_argument("directory", type=Path)
    sql.add_argument("statement")
    sql.add_argument("--table", action="store_true")
    args = parser.parse_args()
    try:
        return _run(args)
    except (IoTDBError, SqlError) as error:
        print(f"iotdb: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    if args.command == "fetch":
        print(fetch(args.version, lambda text: print(f"  {text}", file=sys.stderr, flush=True)))
    elif args.command == "start":
        ports = STANDARD_PORTS if args.standard_ports and all(map(_is_free, STANDARD_PORTS.values())) else None
        cluster = Cluster.start(args.version, args.directory, tied=False, ports=ports)
        try:
            cluster.wait_ready()
        except BaseException:
            cluster.kill()
            raise
        print(json.dumps(cluster.ports))
    elif args.command == "ready":
        return 0 if Cluster.attach(args.directory).ready() else 1
    elif args.command == "free-port":
        print(free_ports(1)[0])
    elif args.command == "node":
        return 0 if Cluster.attach(args.directory).ainode_running(args.port) else 1
    elif args.command == "port":
        print(json.dumps(Cluster.attach(args.directory).ports))
    elif args.command == "sql":
        rows = Cluster.attach(args.directory).query(args.statement, table=args.table)
        print(rows.text())
    elif args.command == "stop":
        Cluster.attach(args.directory).remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
