"""Clusters that change under a running node: releases without names, rolling upgrades, lost and new ConfigNodes.

Each test has a cluster of its own, small and with throw-away data.
"""

from __future__ import annotations

import contextlib
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ainode import Installation, create_model, model_states, refused, wait_until
from iotdb_cluster import Cluster, SqlError, fetch
from series import close, load_series, value

WANTED = [[value(row, 0)] for row in range(96)]
LAST = value(191, 0)
Begin = Callable[..., tuple[Cluster, Installation]]


@pytest.fixture
def begin(package: Path, model_python: str, tmp_path: Path) -> Iterator[Begin]:
    """begin(release, **options of Cluster.start): a cluster with data, and a node that is Running in it."""
    with contextlib.ExitStack() as ends:

        def start(release: str, **options: Any) -> tuple[Cluster, Installation]:
            cluster = Cluster.start(release, tmp_path / "cluster", **options)
            ends.callback(cluster.remove)
            cluster.wait_ready()
            load_series(cluster)
            node = Installation.unpack(package, tmp_path / "node", model_python, cluster)
            ends.callback(node.kill)
            node.start_running(cluster)
            return cluster, node

        yield start


def call(cluster: Cluster, model: str, rows: int = 96, options: str = "") -> list[list[Any]]:
    """CALL INFERENCE over one column."""
    return cluster.query(f'CALL INFERENCE({model}, "select s0 from root.t.f where time < {rows}000"{options})').rows


def until_it_answers(cluster: Cluster, model: str, rows: int, timeout: float = 40) -> list[list[Any]]:
    """As call(), as soon as the cluster can: its members need some seconds to find each other again."""
    got: list[Any] = []

    def answers() -> bool:
        try:
            got[:] = call(cluster, model, rows)
        except SqlError:
            return False
        return True

    wait_until(answers, timeout, f"{model} answers")
    return got


def members(cluster: Cluster) -> list[str]:
    """The versions of the ConfigNodes and DataNodes in SHOW CLUSTER."""
    return [str(row["Version"]) for row in cluster.query("SHOW CLUSTER").dicts() if row["NodeType"] != "AINode"]


# ---------------------------------------------------------------- releases


def nameless(release: str, folder: Path) -> Path:
    """The jar of that release that knows its number, without it: ConfigNodes and DataNodes then call it UNKNOWN, as
    those of the manual's example do."""
    (source,) = fetch(release).glob("node-commons-*.jar")
    target = folder / "node-commons-nameless.jar"
    with zipfile.ZipFile(source) as held, zipfile.ZipFile(target, "w") as made:
        for entry in held.infolist():
            if entry.filename not in ("META-INF/MANIFEST.MF", "git.properties"):
                made.writestr(entry, held.read(entry))
    return target


@pytest.mark.parametrize(
    "number",
    [
        "2.0.5",
        pytest.param("2.0.1-beta", marks=pytest.mark.long),
        pytest.param("2.0.10", marks=pytest.mark.long),
    ],
)
def test_members_without_a_version(begin: Begin, models: Path, tmp_path: Path, number: str) -> None:
    cluster, node = begin(number, jars_first=(nameless(number, tmp_path),))
    assert set(members(cluster)) == {"UNKNOWN"}
    naive = "_NaiveForecaster" if number == "2.0.1-beta" else "naive_forecaster"
    create_model(cluster, "mine", f"file://{models}/one_column")
    close(call(cluster, "mine"), WANTED, 0)
    if number != "2.0.10":
        assert call(cluster, naive, 192, ", predict_length=2") == [[LAST]] * 2
    with refused("mine"):
        create_model(cluster, "mine", f"file://{models}/last_rows")
    with refused("never"):
        call(cluster, "never")
    shown = cluster.query("SHOW MODELS mine").dicts()[0]
    if number == "2.0.10":
        assert [shown["Category"], shown["State"]] == ["user_defined", "active"]
        assert call(cluster, naive, 192, ", outputLength=2") == [[LAST]] * 2
        with refused("mine", code=1503):
            cluster.execute(f'CREATE MODEL mine USING URI "file://{models}/last_rows"')
    elif number == "2.0.5":
        assert [shown["Category"], shown["State"]] == ["USER-DEFINED", "ACTIVE"]
    cluster.execute("DROP MODEL mine")
    assert "mine" not in model_states(cluster)
    assert "UNKNOWN" in node.start_log.read_text(), "the log says what the release was told by"


@pytest.mark.parametrize(
    ("older", "newer"),
    [("2.0.1-beta", "2.0.5"), pytest.param("2.0.5", "2.0.10", marks=pytest.mark.long)],
)
def test_rolling_upgrade_under_a_running_node(begin: Begin, models: Path, older: str, newer: str) -> None:
    """First the ConfigNode, then the DataNode is replaced by the next release on the same data; nobody touches us."""
    cluster, node = begin(older)
    create_model(cluster, "mine", f"file://{models}/one_column")
    close(call(cluster, "mine"), WANTED, 0)
    number = (node.row(cluster) or {})["NodeID"]
    for role in ("confignode", "datanode"):
        cluster.end_role(role, signal.SIGTERM)
        cluster.start_role(role, newer)
        cluster.wait_ready()
        wait_until(lambda: running(cluster, node), 60, f"the node is Running with the new {role}")
        if role == "confignode":
            assert sorted(members(cluster)) == sorted([newer, older]), "the members are mixed"
    assert (node.row(cluster) or {})["NodeID"] == number
    assert node.process is not None and node.process.poll() is None
    rows = 96 if newer == "2.0.10" else 1
    wait_until(lambda: len(until_it_answers(cluster, "naive_forecaster", 192)) == rows, 15, f"the node speaks {newer}")
    shown = cluster.query("SHOW MODELS arima").rows[0]
    assert shown == (["arima", "sktime", "builtin", "active"] if newer == "2.0.10" else shown)
    if older == "2.0.1-beta":  # the newer ConfigNode cannot read what the older one stored about the model
        with refused("not active", code=701):
            call(cluster, "mine")
        cluster.execute("DROP MODEL mine")
        create_model(cluster, "mine", f"file://{models}/one_column")
    close(call(cluster, "mine"), WANTED, 0)
    assert model_states(cluster)["mine"].upper() == "ACTIVE"
    with refused("mine"):
        create_model(cluster, "mine", f"file://{models}/last_rows")


def running(cluster: Cluster, node: Installation) -> bool:
    """Whether SHOW CLUSTER says so; not while it cannot be asked."""
    try:
        return node.status(cluster) == "Running"
    except SqlError:
        return False


# ---------------------------------------------------------------- members that die


@pytest.mark.parametrize("number", ["2.0.5", pytest.param("2.0.10", marks=pytest.mark.long)])
def test_killed_members_come_back(begin: Begin, models: Path, number: str) -> None:
    cluster, node = begin(number)
    create_model(cluster, "mine", f"file://{models}/one_column")
    for role in ("confignode", "datanode"):
        cluster.end_role(role)  # kill -9
        assert node.listens() and node.process is not None and node.process.poll() is None
        cluster.start_role(role)
        cluster.wait_ready()
        wait_until(lambda: running(cluster, node), 60, f"the node is Running after the {role}'s return")
        close(until_it_answers(cluster, "mine", 96), WANTED, 0)
    cluster.execute("DROP MODEL mine")
    assert "mine" not in model_states(cluster)
    # A node that starts while the ConfigNode is away says so, waits, and joins when it is there.
    node.stop()
    cluster.end_role("confignode")
    node.start_log.write_text("")
    process = node.start()
    wait_until(lambda: "cannot connect" in node.log_tail(), 20, "the log says what is waited for")
    assert process.poll() is None
    assert f"127.0.0.1:{cluster.ports['config']}" in node.log_tail()
    cluster.start_role("confignode")
    wait_until(lambda: running(cluster, node), 60, "the node joins")
    assert until_it_answers(cluster, "naive_forecaster", 192)


@pytest.mark.long
def test_three_config_nodes_and_a_new_leader(begin: Begin, models: Path, tmp_path: Path) -> None:
    cluster, node = begin("2.0.5", properties={"schema_replication_factor": "1", "data_replication_factor": "1"})
    others = []
    try:
        for at in range(2):
            others.append(Cluster.another_config_node(cluster, tmp_path / f"config-node-{at}"))
            wait_until(lambda: len(members(cluster)) == 2 + len(others), 120, "the ConfigNode joins")
        create_model(cluster, "mine", f"file://{models}/one_column")
        # A node that knows only a follower is sent to the leader.
        follower = f"127.0.0.1:{others[0].ports['config']}"
        node.stop()
        node.configure(ain_seed_config_node=follower)
        node.start_running(cluster)
        close(call(cluster, "mine"), WANTED, 0)
        cluster.end_role("confignode")  # the leader
        wait_until(lambda: leads_to_us(others, node.port), 90, "another ConfigNode leads and calls the node Running")
        assert node.process is not None and node.process.poll() is None
        close(until_it_answers(cluster, "mine", 96, 90), WANTED, 0)
        # It also restarts while the old leader is dead.
        node.stop()
        node.start()
        wait_until(lambda: leads_to_us(others, node.port), 90, "the restarted node joins by the new leader")
        cluster.start_role("confignode")
        wait_until(lambda: running(cluster, node), 90, "the old leader is back")
        close(until_it_answers(cluster, "mine", 96, 60), WANTED, 0)
    finally:
        for other in others:
            other.remove()


def leads_to_us(config_nodes: list[Cluster], port: int) -> bool:
    """Whether one of them says that the AINode is Running."""
    return any(other.ainode_running(port) for other in config_nodes)


# ---------------------------------------------------------------- one seat


def test_one_ainode_a_cluster(begin: Begin, package: Path, model_python: str, tmp_path: Path) -> None:
    """A second node, the same node without its identity, another cluster's identity: refused with what to do."""
    cluster, node = begin("2.0.5")
    other = Installation.unpack(package, tmp_path / "other", model_python, cluster)
    text = other.start_refused()
    assert "AINode" in text and "REMOVE AINODE" in text, text
    number = str((node.row(cluster) or {})["NodeID"])
    node.stop()
    system = node.home / "data" / "ainode" / "system"
    kept = system.rename(system.with_name("kept"))
    text = node.start_refused()
    assert f"remove-ainode.sh -t {number}" in text or "REMOVE AINODE" in text, text
    assert "system.properties" in text, text
    for path in system.iterdir():
        path.unlink() if path.is_file() else path.rmdir()
    system.rmdir()
    kept.rename(system)
    identity = system / "system.properties"
    whole = identity.read_text()
    identity.write_text(whole.replace(f"ainode_id={number}", "ainode_id=77"))
    text = node.start_refused()
    assert "77" in text and str(identity) in text and "SHOW AINODES" in text, text
    identity.write_text(whole)
    node.start_running(cluster)
    # Removed by its number while it runs; the seat is free.
    cluster.execute(f"REMOVE AINODE {number}")
    wait_until(lambda: node.row(cluster) is None, 30, "the node is gone")
    other.start_running(cluster)
    assert (other.row(cluster) or {})["NodeID"] != int(number)
    assert other.stop().returncode == 0
    done = other.script("remove-ainode.sh", "-t", str((other.row(cluster) or {})["NodeID"]))
    assert done.returncode == 0, done.stdout
    assert cluster.query("SHOW AINODES").rows == []
