"""Weights that are copied in and taken away while the node runs, by SQL; test_builtins.py has their faults."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ainode import Installation, model_states, refused, wait_until
from iotdb_cluster import Cluster
from releases import input_argument, number

MODELS = Path(__file__).resolve().parent.parent / "models"
ROWS = 700
pytestmark = pytest.mark.releases("2.0.5", "2.0.10")


@pytest.fixture(scope="module")
def table(cluster: Cluster) -> Iterator[Cluster]:
    """drop_in.wave(time, v): 700 rows, one a second."""
    rows = ", ".join(f"({row * 1000}, {row % 24}.5)" for row in range(ROWS))
    cluster.execute("CREATE DATABASE drop_in", table=True)
    cluster.execute(
        "CREATE TABLE wave(v DOUBLE FIELD)",
        f"INSERT INTO wave(time, v) VALUES {rows}",
        table=True,
        database="drop_in",
    )
    yield cluster
    cluster.execute("DROP DATABASE drop_in", table=True)


@pytest.fixture
def weights(node: Installation, cluster: Cluster) -> Iterator[Path]:
    """The folder of weights; empty again afterwards."""
    place = node.models_dir / "weights"
    yield place
    for folder in place.iterdir():
        shutil.rmtree(folder)
    wait_until(lambda: state(cluster, "timer_xl") == "INACTIVE", 20, "the weights are gone")


def state(cluster: Cluster, model: str) -> str:
    """As SHOW MODELS has it, in capitals; empty without the model."""
    return model_states(cluster).get(model, "").upper()


def seconds_until(cluster: Cluster, model: str, wanted: str, limit: float) -> float:
    """How long SHOW MODELS takes to say so."""
    begun = time.monotonic()
    wait_until(lambda: state(cluster, model) == wanted, limit, f"{model} is {wanted or 'gone'}")
    return time.monotonic() - begun


def forecast(cluster: Cluster, release: str, model: str, length: int = 96) -> list[float]:
    """FORECAST over the whole wave."""
    source = f"{input_argument(release)}=>(SELECT time, v FROM wave) ORDER BY time"
    text = f"SELECT * FROM FORECAST(MODEL_ID=>'{model}', {source}, OUTPUT_LENGTH=>{length})"
    rows = cluster.query(text, table=True, database="drop_in")
    assert rows.column("time") == [(ROWS + row) * 1000 for row in range(length)]
    return [float(cell) for cell in rows.column("v")]


@pytest.mark.parametrize("model", ["timer_xl", "sundial"])
@pytest.mark.parametrize("layout", ["weights", "builtin"])
def test_copied_in_and_taken_away(
    table: Cluster, node: Installation, weights: Path, release: str, model: str, layout: str
) -> None:
    folder = node.models_dir / layout / model
    try:
        shutil.copytree(MODELS / "golden" / model, folder)
        took = seconds_until(table, model, "ACTIVE", 10)
        print(f"{release}: {layout}/{model} is active {took:.2f} s after the last close")
        assert took < 8  # two are promised; without any event of the kernel it would be ten
        first = forecast(table, release, model)
        assert first == forecast(table, release, model) and len(set(first)) > 10
        shutil.rmtree(folder)
        assert seconds_until(table, model, "INACTIVE", 10) < 8
        with refused(model):
            forecast(table, release, model)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_copy_under_another_name(table: Cluster, node: Installation, weights: Path, release: str) -> None:
    """Any folder of a known model_type is a model. The DataNode of 2.0.5 asks the ConfigNode about ids, which knows
    built-ins and CREATE MODEL alone, and refuses it; later DataNodes ask nobody."""
    shutil.copytree(MODELS / "golden" / "timer_xl", weights / "my_copy")
    assert seconds_until(table, "my_copy", "ACTIVE", 10) < 8
    if number(release) >= (2, 0, 6):
        assert len(forecast(table, release, "my_copy")) == 96
    else:
        with refused("my_copy", code=1505):
            forecast(table, release, "my_copy")
        with refused("my_copy", code=1505):
            table.query('CALL INFERENCE(my_copy, "select s0 from root.t.d")')
    shutil.rmtree(weights / "my_copy")
    seconds_until(table, "my_copy", "", 10)


@pytest.mark.long
def test_full_size_weights(
    table: Cluster, node: Installation, weights: Path, release: str, model_python: str, tmp_path: Path
) -> None:
    """300 MB of random numbers, copied slowly; the time is printed, since it is the disk's as well."""
    subprocess.run([model_python, str(MODELS / "make_weights.py"), "timer", str(tmp_path), "--full"], check=True)
    folder = weights / "timer_xl"
    folder.mkdir()
    shutil.copy(tmp_path / "config.json", folder)
    with (tmp_path / "model.safetensors").open("rb") as source, (folder / "model.safetensors").open("wb") as target:
        size = 0
        while part := source.read(64 << 20):
            size += target.write(part)
            target.flush()
            time.sleep(0.3)
            assert state(table, "timer_xl") == "INACTIVE", "what is still being written is not served"
    closed = time.monotonic()
    wait_until(lambda: state(table, "timer_xl") != "INACTIVE", 20, "the weights are noticed")
    noticed = time.monotonic() - closed
    wait_until(lambda: state(table, "timer_xl") == "ACTIVE", 60, "the weights are active")
    active = time.monotonic() - closed
    print(
        f"{release}: {size >> 20} MB of weights are noticed {noticed:.2f} s and active {active:.2f} s after the close"
    )
    begun = time.monotonic()
    assert len(set(forecast(table, release, "timer_xl"))) > 1
    print(f"{release}: the first forecast takes {time.monotonic() - begun:.2f} s", end="; ")
    begun = time.monotonic()
    forecast(table, release, "timer_xl")
    print(f"the next one {time.monotonic() - begun:.2f} s")
    assert node.status(table) == "Running"
