"""Start, stop, restart, refuse, remove: the scripts of sbin against real clusters."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import Callable

import pytest
from ainode import Installation, ask_model, flush_dead_connections, model_states, processes_of, wait_until
from iotdb_cluster import Cluster, free_ports
from series import close, value

Make = Callable[[str], str]
ROOT = Path(__file__).resolve().parents[2]


def works(cluster: Cluster, name: str) -> None:
    """An identity model of one column answers."""
    answer = ask_model(cluster, name, "select s0 from root.t.f where time < 96000")
    close(answer.rows, [[value(row, 0)] for row in range(96)], 0)


def model_states_on_disk(node: Installation) -> set[str]:
    """Ids of the models in the models folder."""
    return {path.parent.name for path in node.models_dir.glob("*/model.pt")}


def test_show_cluster_names_the_build(cluster: Cluster, node: Installation) -> None:
    row = node.row(cluster)
    assert row is not None
    version = re.search(r"project\(iotdb_ainode VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())
    assert version and row["Version"] == version[1]
    assert re.fullmatch(r"[0-9a-f]{7}(-dev)?", str(row["BuildInfo"]))
    assert row["InternalAddress"] == "127.0.0.1"


def test_show_ainodes(cluster: Cluster, node: Installation) -> None:
    rows = cluster.query("SHOW AINODES").dicts()
    assert [int(row.get("InternalPort", row.get("RpcPort", 0))) for row in rows] == [node.port]
    assert str(rows[0]["Status"]).startswith("Running")  # a reason may follow


def test_stop_shows_unknown_and_start_takes_the_same_id(cluster: Cluster, make: Make, node: Installation) -> None:
    name = make("one_column")
    before = node.row(cluster)
    assert before is not None
    done = node.stop()
    assert done.returncode == 0, done.stdout
    wait_until(lambda: node.status(cluster) == "Unknown", 60, "SHOW CLUSTER says Unknown")
    again = node.script("stop-ainode.sh")
    assert "not running" in again.stdout.lower() or again.returncode != 0, again.stdout
    node.start_running(cluster)
    after = node.row(cluster)
    assert after is not None and after["NodeID"] == before["NodeID"]
    assert model_states(cluster)[name].upper() == "ACTIVE"
    works(cluster, name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_node(cluster: Cluster, make: Make, node: Installation, number: int) -> None:
    name = make("one_column")
    works(cluster, name)
    process = node.process
    assert process is not None
    process.send_signal(number)
    assert process.wait(20) in (0, 128 + number, -number)
    wait_until(lambda: not processes_of(node.home), 10, "all processes of the node are gone")
    node.start_running(cluster)
    works(cluster, name)


def test_killed_node_comes_back_with_its_models(cluster: Cluster, make: Make, node: Installation) -> None:
    name = make("one_column")
    works(cluster, name)
    host = node.process_id()
    assert host is not None
    node.kill_process(host)
    wait_until(lambda: not processes_of(node.home), 10, "its workers die with the host")
    assert node.process is not None
    node.process.wait(10)
    node.start_running(cluster, flush=False)
    assert model_states_on_disk(node) >= {name}
    cluster.restart()  # 2.0.5 does not let go of connections that died without a farewell
    wait_until(lambda: node.status(cluster) == "Running", 60, "SHOW CLUSTER says Running again")
    works(cluster, name)


def test_second_start_is_refused_with_the_pid(cluster: Cluster, node: Installation) -> None:
    text = node.start_refused()
    assert str(node.process_id()) in text, text
    node.expect_running(cluster)


def test_background_start(cluster: Cluster, node: Installation, make: Make) -> None:
    name = make("one_column")
    node.stop()
    done = node.script("start-ainode.sh", "-i", node.python, "-d")
    assert done.returncode == 0, done.stdout
    try:
        wait_until(lambda: node.status(cluster) == "Running", 30, "the node is Running")
        flush_dead_connections(cluster)
        works(cluster, name)
    finally:
        node.stop()
    node.start_running(cluster)


def test_under_nohup_as_the_manual_writes_it(cluster: Cluster, node: Installation, make: Make) -> None:
    name = make("one_column")
    node.stop()
    command = f"nohup bash sbin/start-ainode.sh -i '{node.python}' > myout.file 2>& 1 & echo $!"
    done = subprocess.run(["bash", "-c", command], cwd=node.home, stdout=subprocess.PIPE, text=True, check=True)
    assert int(done.stdout) > 0
    try:
        wait_until(lambda: node.status(cluster) == "Running", 30, "the node is Running")
        flush_dead_connections(cluster)
        works(cluster, name)
    finally:
        node.stop()
    node.start_running(cluster)


def test_port_in_use(cluster: Cluster, node: Installation, other: Installation) -> None:
    other.configure(ain_inference_rpc_port=str(node.port))
    text = other.start_refused()
    assert str(node.port) in text and str(node.process_id()) in text, text
    assert len(cluster.query("SHOW AINODES").rows) == 1


def test_wrong_cluster_name(cluster: Cluster, node: Installation, other: Installation) -> None:
    other.configure(cluster_name="somewhereElse")
    text = other.start_refused()
    assert "somewhereElse" in text and "cluster" in text, text
    assert len(cluster.query("SHOW AINODES").rows) == 1


def test_two_data_nodes_ports_are_not_a_config_node(cluster: Cluster, node: Installation, other: Installation) -> None:
    """A seed that names another service is an error with its address, not a crash and not an endless wait."""
    other.configure(ain_seed_config_node=f"127.0.0.1:{cluster.ports['rpc']}", ain_config_node_wait_ms="0")
    text = other.start_refused()
    assert str(cluster.ports["rpc"]) in text, text


def test_no_config_node(cluster: Cluster, node: Installation, other: Installation) -> None:
    (port,) = free_ports(1)
    other.configure(ain_seed_config_node=f"127.0.0.1:{port}", ain_config_node_wait_ms="3000")
    started = time.monotonic()
    text = other.start_refused()
    assert 2 < time.monotonic() - started < 30
    assert text.count(f"127.0.0.1:{port}") >= 2, f"every try is told with its address:\n{text}"


def test_silent_peer_on_the_seed_port(cluster: Cluster, node: Installation, other: Installation) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        port = listener.getsockname()[1]
        other.configure(ain_seed_config_node=f"127.0.0.1:{port}", ain_config_node_wait_ms="2000")
        text = other.start_refused()
    assert str(port) in text, text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("this line has no sign", ["iotdb-ainode.properties"]),
        ("ain_inference_rpc_port=70000", ["ain_inference_rpc_port", "70000", "65535"]),
        ("ain_inference_rpc_port=many", ["ain_inference_rpc_port", "many"]),
        ("ain_thrift_compression_enabled=maybe", ["ain_thrift_compression_enabled", "maybe"]),
        ("ain_seed_config_node=nowhere", ["ain_seed_config_node", "nowhere"]),
        ("ain_rpc_port=4711", ["ain_rpc_port", "ain_inference_rpc_port"]),
        ("ain_system_dir=/proc/ainode", ["ain_system_dir", "/proc/ainode"]),
    ],
)
@pytest.mark.releases("2.0.5")
def test_bad_configuration(
    cluster: Cluster, node: Installation, other: Installation, line: str, words: list[str]
) -> None:
    key = line.split("=")[0]
    text = other.conf.read_text()
    kept = [old for old in text.splitlines() if not old.startswith(f"{key}=")]
    other.conf.write_text("\n".join([*kept, line]) + "\n")
    printed = other.start_refused()
    assert not [word for word in words if word not in printed], printed


@pytest.mark.releases("2.0.5")
def test_unknown_key_is_a_warning(cluster: Cluster, node: Installation, make: Make) -> None:
    name = make("one_column")
    node.stop()
    kept = node.conf.read_text()
    node.conf.write_text(kept + "ain_inferense_rpc_port=1\n")
    try:
        node.start_running(cluster)
        assert "ain_inference_rpc_port" in node.log_tail(200)
        works(cluster, name)
        node.stop()
    finally:
        node.conf.write_text(kept)
    node.start_running(cluster)


@pytest.mark.releases("2.0.5")
def test_environment_overrides_the_file(cluster: Cluster, node: Installation, other: Installation) -> None:
    text = other.start_refused(env={"CLUSTER_NAME": "fromTheEnvironment"})
    assert "fromTheEnvironment" in text, text


@pytest.mark.releases("2.0.5")
@pytest.mark.parametrize(
    ("python", "words"),
    [("/no/such/python", ["/no/such/python"]), ("/bin/ls", ["/bin/ls"]), ("/etc/passwd", ["/etc/passwd"])],
)
def test_bad_interpreter(
    cluster: Cluster, node: Installation, other: Installation, python: str, words: list[str]
) -> None:
    other.python = python
    text = other.start_refused()
    assert not [word for word in words if word not in text], text


@pytest.mark.releases("2.0.5")
def test_read_only_installation(cluster: Cluster, node: Installation, make: Make, tmp_path: Path) -> None:
    """Nothing is written outside data, logs and venv."""
    name = make("one_column")
    works(cluster, name)
    written = {path.relative_to(node.home).parts[0] for path in changed_files(node.home)}
    assert written <= {"data", "logs", "venv", "conf", "myout.file"}, written


def changed_files(home: Path) -> list[Path]:
    """Files below `home` that are younger than the unpacked LICENSE."""
    unpacked = (home / "lib" / "ainode").lstat().st_ctime
    return [path for path in home.rglob("*") if path.is_file() and path.lstat().st_mtime > unpacked + 1]


@pytest.mark.releases("2.0.5")
def test_as_another_user(cluster: Cluster, node: Installation, make: Make) -> None:
    """The node runs as a user who owns nothing but data and logs, and is stopped by the owner of the machine."""
    if os.geteuid() != 0:
        return  # the whole suite runs as an ordinary user then
    name = make("one_column")
    works(cluster, name)
    node.stop()
    places = [node.home / "data", node.home / "logs"]

    def give(owner: int) -> None:
        for path in [entry for place in places for entry in (place, *place.rglob("*"))]:
            os.lchown(path, owner, owner)

    parents = [path for path in node.home.parents if path != Path("/") and path != Path("/tmp")]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in parents}
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    own_python = node.python
    give(65534)
    for path in parents:
        path.chmod(modes[path] | 0o011)
    try:
        # Ours may lie where only root can go. The shell makes the exec happen as that user.
        check = [*nobody, "sh", "-c", 'exec "$0" -c "import numpy, torch"']
        reachable = (own_python, "/usr/bin/python3")
        node.python = next(python for python in reachable if subprocess.run([*check, python], cwd="/").returncode == 0)
        node.start_running(cluster, prefix=nobody)
        works(cluster, name)
        node.stop()
    finally:
        node.kill()
        node.python = own_python
        for path in parents:
            path.chmod(modes[path])
        give(0)
    node.start_running(cluster)


@pytest.mark.releases("2.0.5", "2.0.10")
def test_remove_by_sql_and_join_again(cluster: Cluster, node: Installation) -> None:
    process = node.process
    assert process is not None
    cluster.execute("REMOVE AINODE")
    wait_until(lambda: node.row(cluster) is None, 60, "SHOW CLUSTER does not list the node any more")
    process.wait(30)
    wait_until(lambda: not processes_of(node.home), 10, "all processes of the removed node are gone")
    shutil.rmtree(node.home / "data" / "ainode" / "system")
    node.start_running(cluster)


def test_remove_script_and_join_again(cluster: Cluster, node: Installation) -> None:
    before = node.row(cluster)
    assert before is not None
    done = node.script("remove-ainode.sh")
    assert done.returncode == 0, done.stdout
    wait_until(lambda: node.row(cluster) is None, 60, "SHOW CLUSTER does not list the node any more")
    if processes_of(node.home):
        node.stop()
    node.process = None
    shutil.rmtree(node.home / "data" / "ainode" / "system", ignore_errors=True)
    node.start_running(cluster)
    after = node.row(cluster)
    assert after is not None and after["NodeID"] != before["NodeID"]


def test_config_node_restart_is_survived(cluster: Cluster, node: Installation, make: Make) -> None:
    """The node needs no restart when its peers come and go: heartbeats are stateless."""
    name = make("one_column")
    cluster.restart()
    wait_until(lambda: node.status(cluster) == "Running", 60, "SHOW CLUSTER says Running again")
    assert node.process is not None and node.process.poll() is None
    works(cluster, name)
