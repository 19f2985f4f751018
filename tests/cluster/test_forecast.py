"""The FORECAST table function with a user model (table dialect, 2.0.5 and later)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from ainode import Installation, refused, wait_until
from iotdb_cluster import Cluster
from releases import input_argument
from series import close, sample, value

Make = Callable[[str], str]
pytestmark = pytest.mark.releases("2.0.5")


@pytest.fixture(scope="module")
def table(cluster: Cluster) -> Iterator[Cluster]:
    """db.series(time, device, s0, s1): two devices with the test series, an hour apart."""
    cluster.execute("CREATE DATABASE IF NOT EXISTS db", table=True)
    cluster.execute(
        "CREATE TABLE series(device STRING TAG, s0 FLOAT FIELD, s1 DOUBLE FIELD)", table=True, database="db"
    )
    for device in ("a", "b"):
        rows = ", ".join(f"({row * 1000}, '{device}', {value(row, 0)}, {value(row, 1)})" for row in range(96))
        cluster.execute(f"INSERT INTO series(time, device, s0, s1) VALUES {rows}", table=True, database="db")
    yield cluster
    cluster.execute("DROP DATABASE db", table=True)


def forecast(cluster: Cluster, model: str, source: str, options: str = "") -> list[dict[str, object]]:
    """SELECT * FROM FORECAST(...), sorted by time."""
    text = f"SELECT * FROM FORECAST(MODEL_ID=>'{model}', {input_argument(cluster.version)}=>({source}){options})"
    return sorted(cluster.query(text, table=True, database="db").dicts(), key=lambda row: int(str(row["time"])))


def test_forecast_is_what_torch_gives(table: Cluster, make: Make, models: Path) -> None:
    _, wanted = sample(models, "dlinear_long")
    rows = forecast(table, make("dlinear_long"), "SELECT time, s0, s1 FROM series WHERE device='a'")
    assert [row["time"] for row in rows] == [96000 + k * 1000 for k in range(96)]
    close([[row["s0"], row["s1"]] for row in rows], wanted, 1e-4)


def test_output_length_start_and_interval(table: Cluster, make: Make, models: Path) -> None:
    _, wanted = sample(models, "dlinear")
    options = ", OUTPUT_LENGTH=>24, OUTPUT_START_TIME=>500000, OUTPUT_INTERVAL=>60000"
    rows = forecast(table, make("dlinear"), "SELECT time, s0, s1 FROM series WHERE device='a'", options)
    assert [row["time"] for row in rows] == [500000 + k * 60000 for k in range(24)]
    close([[row["s0"], row["s1"]] for row in rows], wanted, 1e-4)


def test_preserve_input(table: Cluster, make: Make) -> None:
    rows = forecast(
        table, make("dlinear_long"), "SELECT time, s0, s1 FROM series WHERE device='a'", ", PRESERVE_INPUT=>true"
    )
    assert [bool(row["is_input"]) for row in rows] == [True] * 96 + [False] * 96
    close([[row["s0"], row["s1"]] for row in rows[:96]], [[value(row, 0), value(row, 1)] for row in range(96)], 0)


def test_partitions(table: Cluster, make: Make, models: Path) -> None:
    _, wanted = sample(models, "dlinear_long")
    rows = forecast(table, make("dlinear_long"), "SELECT * FROM series) PARTITION BY device ORDER BY (time")
    for device in ("a", "b"):
        part = [row for row in rows if row["device"] == device]
        close([[row["s0"], row["s1"]] for row in part], wanted, 1e-4)


def test_wrong_length_is_a_sentence(table: Cluster, make: Make, node: Installation) -> None:
    name = make("dlinear")
    with refused():
        forecast(table, name, "SELECT time, s0, s1 FROM series WHERE device='a'", ", OUTPUT_LENGTH=>48")
    assert node.status(table) == "Running"


def test_unknown_model(table: Cluster, node: Installation) -> None:
    with refused("never_created"):
        forecast(table, "never_created", "SELECT time, s0, s1 FROM series WHERE device='a'")


def test_create_show_and_drop_in_the_table_dialect(table: Cluster, node: Installation, models: Path) -> None:
    table.execute(f"CREATE MODEL by_table USING URI 'file://{models}/identity'", table=True)
    try:

        def states() -> list[str]:
            return [row["State"] for row in table.query("SHOW MODELS by_table", table=True).dicts()]

        wait_until(lambda: states() == ["ACTIVE"], 20, "SHOW MODELS lists the model as ACTIVE")
    finally:
        table.execute("DROP MODEL by_table", table=True)
    assert not table.query("SHOW MODELS by_table", table=True).rows
