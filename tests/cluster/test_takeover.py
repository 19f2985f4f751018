"""Taking over what another AINode left: an official one's conf and data, and our own after an upgrade in place."""

from __future__ import annotations

import contextlib
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ainode import Installation, ask_model, create_model, model_states, processes_of, wait_until
from iotdb_cluster import Cluster
from official import OfficialNode
from releases import number
from series import close, load_series, value

GOLDEN = Path(__file__).resolve().parent.parent / "models" / "golden"
WANTED = [[value(row, 0), value(row, 1)] for row in range(96)]


def call(cluster: Cluster, model: str) -> list[list[float]]:
    """What the identity model answers."""
    return ask_model(cluster, model, "select s0, s1 from root.t.f where time < 96000").rows


def let_go(cluster: Cluster, port: int) -> None:
    """Restarts ConfigNode and DataNode: those of 2.0.5 keep connections to an official node that ended (it says no
    farewell on them) for as long as somebody uses them."""
    cluster.restart()
    wait_until(lambda: cluster.ainode_running(port), 60, "the new node is Running")


# ---------------------------------------------------------------- the official node (--official)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A 2.0.5 cluster of its own: it must be without an AINode."""
    cluster = Cluster.start("2.0.5", tmp_path / "cluster")
    try:
        cluster.wait_ready()
        load_series(cluster)
        yield cluster
    finally:
        cluster.remove()


@pytest.mark.official
def test_official_conf_and_data_as_they_are(
    own_cluster: Cluster, official: Path, package: Path, model_python: str, models: Path, tmp_path: Path
) -> None:
    """The official 2.0.5 node runs, models are registered with it by SQL; ours goes on with its conf and data, and the
    official one again with ours."""
    cluster = own_cluster
    theirs = OfficialNode(official, tmp_path / "official", cluster)
    try:
        theirs.add_weights(GOLDEN / "timer_xl")
        theirs.start(cluster)
        create_model(cluster, "mine", f"file://{models}/identity")
        create_model(cluster, "other", f"file://{models}/dlinear")
        close(call(cluster, "mine"), WANTED, 0)
        before = cluster.query("SHOW AINODES").dicts()
        theirs.stop()
        ours = Installation.unpack(package, tmp_path / "ours", model_python, cluster)
        try:
            ours.port = theirs.port
            shutil.copytree(theirs.home / "data", ours.home / "data", dirs_exist_ok=True)
            shutil.copy(theirs.home / "conf" / "iotdb-ainode.properties", ours.conf)
            ours.start_running(cluster, flush=False)
            let_go(cluster, ours.port)
            after = cluster.query("SHOW AINODES").dicts()
            assert [row["NodeID"] for row in after] == [row["NodeID"] for row in before]
            states = model_states(cluster)
            assert [states[name] for name in ("mine", "other", "timer_xl", "arima")] == ["ACTIVE"] * 4
            close(call(cluster, "mine"), WANTED, 0)
            assert len(call(cluster, "other")) == 24
            create_model(cluster, "new", f"file://{models}/identity")
            cluster.execute("DROP MODEL other")
            assert not (ours.models_dir / "other").exists()
            assert ours.stop().returncode == 0
            shutil.rmtree(theirs.home / "data")
            shutil.copytree(ours.home / "data", theirs.home / "data")
        finally:
            ours.kill()
        theirs.start(cluster)
        let_go(cluster, theirs.port)
        assert [row["NodeID"] for row in cluster.query("SHOW AINODES").dicts()] == [row["NodeID"] for row in before]
        states = model_states(cluster)
        assert states["mine"] == states["new"] == "ACTIVE" and "other" not in states
        assert set(states) - {"mine", "new"} == {
            "arima", "holtwinters", "exponential_smoothing", "naive_forecaster", "stl_forecaster", "gaussian_hmm",
            "gmm_hmm", "stray", "timer_xl", "sundial",
        }  # fmt: skip
        close(call(cluster, "new"), WANTED, 0)
    finally:
        theirs.kill()


# ---------------------------------------------------------------- layouts


@contextlib.contextmanager
def stopped(node: Installation, cluster: Cluster) -> Iterator[None]:
    """The node is stopped for a while, and Running again afterwards."""
    node.stop()
    try:
        yield
    finally:
        node.start_running(cluster)


@pytest.mark.releases("2.0.5", "2.0.10")
def test_both_layouts_on_disk(cluster: Cluster, node: Installation, models: Path, release: str) -> None:
    """What 2.0.5 (weights/<id>, <id>/model.pt) and later releases (builtin/<id>, marker files) leave on disk."""
    folders = [node.models_dir / "weights" / "timer_xl", node.models_dir / "builtin" / "sundial"]
    registered = number(release) >= (2, 0, 6)  # before, the DataNode asks the ConfigNode, which has a list of its own
    try:
        with stopped(node, cluster):
            for folder in folders:
                shutil.copytree(GOLDEN / folder.name, folder)
            shutil.copytree(models / "one_column", node.models_dir / "left_here")
            for place in (node.models_dir, node.models_dir / "builtin", folders[1]):
                (place / "__init__.py").touch()
        wait_until(
            lambda: {model_states(cluster)[name].upper() for name in ("timer_xl", "sundial")} == {"ACTIVE"},
            20,
            "both large models are active",
        )
        assert model_states(cluster)["left_here"].upper() == "ACTIVE"
        if registered:
            rows = ask_model(cluster, "left_here", "select s0 from root.t.f where time < 96000").rows
            close(rows, [row[:1] for row in WANTED], 0)
    finally:
        for folder in [*folders, node.models_dir / "left_here"]:
            shutil.rmtree(folder, ignore_errors=True)
        for marker in (node.models_dir, node.models_dir / "builtin"):
            (marker / "__init__.py").unlink(missing_ok=True)
        node.stop()
        node.start_running(cluster)


@pytest.mark.releases("2.0.5")
def test_upgrade_in_place(
    cluster: Cluster, node: Installation, models: Path, package: Path, model_id: str, tmp_path: Path
) -> None:
    """lib and sbin are replaced as docs/OPERATIONS.md says; conf, data, logs and the seat in the cluster stay."""
    create_model(cluster, model_id, f"file://{models}/identity")
    before = node.row(cluster)
    assert before is not None
    conf = node.conf.read_text()
    with zipfile.ZipFile(package) as bundle:
        bundle.extractall(tmp_path)
    (new,) = tmp_path.glob("*-ainode-bin")
    node.stop()
    try:
        for part in ("lib", "sbin"):
            shutil.rmtree(node.home / part)
            shutil.copytree(new / part, node.home / part)
        for program in [*(node.home / "lib").glob("ainode*"), *(node.home / "sbin").glob("*.sh")]:
            program.chmod(0o755)  # zipfile does not keep modes
    finally:
        node.start_running(cluster)
    after = node.row(cluster)
    assert after is not None and after["NodeID"] == before["NodeID"] and after["InternalPort"] == before["InternalPort"]
    assert node.conf.read_text() == conf
    assert model_states(cluster)[model_id] == "ACTIVE"
    close(call(cluster, model_id), WANTED, 0)
    assert node.process_id() in processes_of(node.home)
