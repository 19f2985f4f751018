"""What every release can do with a model of one column; the only shape that 2.0.10 sends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from ainode import Installation, ask_model, model_states, refused
from iotdb_cluster import Cluster
from releases import input_argument, is_late
from series import close, value

Make = Callable[[str], str]
WANTED = [[value(row, 0)] for row in range(96)]


def infer(cluster: Cluster, model: str, **options: str) -> list[list[float]]:
    """What the model answers to one column."""
    return ask_model(cluster, model, "select s0 from root.t.f where time < 96000", options=options).rows


def test_create_call_show_drop(cluster: Cluster, make: Make, node: Installation, release: str) -> None:
    name = make("one_column")
    close(infer(cluster, name), WANTED, 0)
    assert model_states(cluster)[name].upper() == "ACTIVE"
    if is_late(release):
        assert cluster.query(f"SHOW MODELS {name}").dicts()[0]["Category"] == "user_defined"
    cluster.execute(f"DROP MODEL {name}")
    with refused(name):
        infer(cluster, name)
    assert name not in model_states(cluster)


@pytest.mark.releases("2.0.5", "2.0.10", "2.0.2", "2.0.3")
@pytest.mark.not_on("2.0.6", "2.0.7")  # CALL INFERENCE
def test_generated_time(cluster: Cluster, make: Make) -> None:
    rows = infer(cluster, make("one_column"), generateTime="true")
    step = 95000 // 96  # the DataNode's own rule: it starts at the last input time
    assert [int(row[0]) for row in rows] == [95000 + k * step for k in range(96)]
    close([row[1:] for row in rows], WANTED, 0)


@pytest.mark.releases("2.0.10")
def test_codes_of_this_release(cluster: Cluster, node: Installation, models: Path, model_id: str) -> None:
    with refused("/no/such/folder", code=1505):
        cluster.execute(f'CREATE MODEL {model_id} USING URI "file:///no/such/folder"')
    with refused(model_id, code=301):  # the DataNode puts its own number on what CALL INFERENCE was answered
        infer(cluster, model_id)
    with refused(model_id, code=1504):
        cluster.execute(f"DROP MODEL {model_id}")
    cluster.execute(f'CREATE MODEL {model_id} USING URI "file://{models}/one_column"')
    with refused(model_id, code=1503):
        cluster.execute(f'CREATE MODEL {model_id} USING URI "file://{models}/last_rows"')


@pytest.fixture(scope="module")
def table(cluster: Cluster) -> Iterator[Cluster]:
    """one.series(time, s0): the first test series in the table dialect."""
    rows = ", ".join(f"({row * 1000}, {value(row, 0)})" for row in range(96))
    cluster.execute("CREATE DATABASE one", table=True)
    cluster.execute(
        "CREATE TABLE series(s0 DOUBLE FIELD)",
        f"INSERT INTO series(time, s0) VALUES {rows}",
        table=True,
        database="one",
    )
    yield cluster
    cluster.execute("DROP DATABASE one", table=True)


@pytest.mark.releases("2.0.5", "2.0.10")
def test_forecast(table: Cluster, make: Make, release: str) -> None:
    name = make("one_column")
    source = f"{input_argument(release)}=>(SELECT time, s0 FROM series) ORDER BY time"
    rows = table.query(f"SELECT * FROM FORECAST(MODEL_ID=>'{name}', {source})", table=True, database="one").dicts()
    assert [row["time"] for row in rows] == [96000 + k * 1000 for k in range(96)]
    close([[row["s0"]] for row in rows], WANTED, 0)
