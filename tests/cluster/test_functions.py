"""FORECAST in both dialects, CLASSIFY, and the statements about loaded models: rows, columns, types and options."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from ainode import Installation, model_states, refused, wait_until
from iotdb_cluster import Cluster, SqlError
from releases import input_argument, is_late
from series import value

NAIVE = "naive_forecaster"
pytestmark = pytest.mark.releases("2.0.5", "2.0.10")


def last(column: int) -> float:
    """The last value of root.t.d, which the naive forecaster repeats."""
    return value(191, column)


@pytest.fixture(scope="module")
def table(cluster: Cluster) -> Iterator[Cluster]:
    """fun.s(time, device, v, w, i, l, f): 20 rows of each of two devices, one a second; fun.t(at, v): other names."""
    rows = ", ".join(
        f"({row * 1000}, '{device}', {row + ord(device)}.5, {-row}.5, {row}, {row}, {row}.25)"
        for device in "ab"
        for row in range(20)
    )
    cluster.execute("CREATE DATABASE fun", table=True)
    cluster.execute(
        "CREATE TABLE s(device STRING TAG, v DOUBLE FIELD, w DOUBLE FIELD, i INT32 FIELD, l INT64 FIELD,"
        " f FLOAT FIELD)",
        f"INSERT INTO s(time, device, v, w, i, l, f) VALUES {rows}",
        table=True,
        database="fun",
    )
    yield cluster
    cluster.execute("DROP DATABASE fun", table=True)


class Forecast:
    """SELECT * FROM FORECAST(...) as the release writes it."""

    def __init__(self, cluster: Cluster, release: str) -> None:
        self.cluster = cluster
        self.argument = input_argument(release)

    def __call__(
        self, columns: str = "v", more: str = "", *, model: str = NAIVE, source: str = "", order: str = " ORDER BY time"
    ) -> tuple[Any, list[str]]:
        """Rows and types, over device a unless `source` says otherwise."""
        query = source or f"SELECT time, {columns} FROM s WHERE device='a'"
        text = f"SELECT * FROM FORECAST(MODEL_ID=>'{model}', {self.argument}=>({query}){order}{more})"
        return self.cluster.query_typed(text, table=True, database="fun")


@pytest.fixture
def forecast(table: Cluster, release: str, node: Installation) -> Forecast:
    """The FORECAST table function over fun.s."""
    return Forecast(table, release)


# ---------------------------------------------------------------- the table function


def test_rows_columns_and_times(forecast: Forecast) -> None:
    rows, types = forecast("v", ", OUTPUT_LENGTH=>3")
    assert (rows.columns, types) == (["time", "v"], ["TIMESTAMP", "DOUBLE"])
    assert rows.rows == [[20000, 116.5], [21000, 116.5], [22000, 116.5]]
    rows, _ = forecast("v")
    assert rows.column("time") == [20000 + 1000 * row for row in range(96)]


@pytest.mark.parametrize(("column", "kind", "wanted"), [("i", "INT32", 19), ("l", "INT64", 19), ("f", "FLOAT", 19.25)])
def test_the_targets_type_comes_back(forecast: Forecast, column: str, kind: str, wanted: float) -> None:
    rows, types = forecast(column, ", OUTPUT_LENGTH=>2")
    assert types == ["TIMESTAMP", kind]
    assert rows.rows == [[20000, wanted], [21000, wanted]]


def test_several_targets(forecast: Forecast, release: str) -> None:
    if is_late(release):
        with refused("one target column", "[2]", code=701):
            forecast("v, w", ", OUTPUT_LENGTH=>2")
        return
    rows, types = forecast("v, w, i", ", OUTPUT_LENGTH=>2")
    assert (rows.columns, types) == (["time", "v", "w", "i"], ["TIMESTAMP", "DOUBLE", "DOUBLE", "INT32"])
    assert rows.rows == [[20000, 116.5, -19.5, 19], [21000, 116.5, -19.5, 19]]
    rows, _ = forecast("v, w", ", OUTPUT_LENGTH=>2, PREDICATED_COLUMNS=>'w'")
    assert (rows.columns, rows.rows) == (["time", "w"], [[20000, -19.5], [21000, -19.5]])


def test_partitions(forecast: Forecast) -> None:
    source = "SELECT time, device, v FROM s"
    rows, types = forecast("", ", OUTPUT_LENGTH=>2", source=source, order=" PARTITION BY device ORDER BY time")
    assert (rows.columns, types) == (["time", "v", "device"], ["TIMESTAMP", "DOUBLE", "STRING"])
    assert sorted(rows.rows, key=lambda row: (row[2], row[0])) == [
        [20000, 116.5, "a"],
        [21000, 116.5, "a"],
        [20000, 117.5, "b"],
        [21000, 117.5, "b"],
    ]


def test_input_is_kept_on_request(forecast: Forecast) -> None:
    source = "SELECT time, v FROM s WHERE device='a' AND time < 3000"
    rows, types = forecast("", ", OUTPUT_LENGTH=>2, PRESERVE_INPUT=>true", source=source)
    assert (rows.columns, types) == (["time", "v", "is_input"], ["TIMESTAMP", "DOUBLE", "BOOLEAN"])
    assert [[row[0], row[1], bool(row[2])] for row in rows.rows] == [
        [0, 97.5, True],
        [1000, 98.5, True],
        [2000, 99.5, True],
        [3000, 99.5, False],
        [4000, 99.5, False],
    ]


def test_start_interval_and_time_column(forecast: Forecast) -> None:
    rows, _ = forecast("v", ", OUTPUT_LENGTH=>3, OUTPUT_START_TIME=>500000, OUTPUT_INTERVAL=>60000")
    assert rows.column("time") == [500000, 560000, 620000]
    source = "SELECT time AS at, v FROM s WHERE device='b'"
    rows, _ = forecast("", ", OUTPUT_LENGTH=>2, TIMECOL=>'at'", source=source, order=" ORDER BY at")
    assert (rows.columns, rows.rows) == (["at", "v"], [[20000, 117.5], [21000, 117.5]])


@pytest.mark.releases("2.0.10")
def test_start_must_lie_behind_the_input(forecast: Forecast) -> None:
    with refused("OUTPUT_START_TIME", "[19000]", "[5]", code=701):
        forecast("v", ", OUTPUT_LENGTH=>3, OUTPUT_START_TIME=>5")


def test_options_reach_the_model(forecast: Forecast, release: str) -> None:
    rows, _ = forecast("v", ", OUTPUT_LENGTH=>2, MODEL_OPTIONS=>'strategy=mean,sp=2'")
    assert rows.column("v") == [106.5, 107.5]
    with refused("sp", "between 1 and 5000", "got 0", code=1599 if is_late(release) else 1510):
        forecast("v", ", MODEL_OPTIONS=>'sp=0'")


def test_lengths_and_unknown_models_are_refused(forecast: Forecast, release: str) -> None:
    longest = 2880 if is_late(release) else 5000
    assert len(forecast("v", f", OUTPUT_LENGTH=>{longest}")[0].rows) == longest
    with refused(f"between 1 and {longest}", f"got {longest + 1}", code=1599 if is_late(release) else 1510):
        forecast("v", f", OUTPUT_LENGTH=>{longest + 1}")
    with refused("OUTPUT_LENGTH", code=701):
        forecast("v", ", OUTPUT_LENGTH=>0")
    with refused("never_created", code=1504 if is_late(release) else 1505):
        forecast("v", model="never_created")


# ---------------------------------------------------------------- tree dialect


def tree(cluster: Cluster, options: str, device: str = "d", columns: str = "s0") -> tuple[Any, list[str]]:
    """SELECT FORECAST(...)."""
    return cluster.query_typed(f"SELECT FORECAST({columns}, 'MODEL_ID'='{NAIVE}'{options}) FROM root.t.{device}")


@pytest.mark.releases("2.0.6", "2.0.7", "2.0.10")
def test_tree_function(cluster: Cluster, node: Installation) -> None:
    rows, types = tree(cluster, ", 'OUTPUT_LENGTH'='3'")
    assert types == ["INT64", "DOUBLE"]
    assert rows.rows == [[192000 + 1000 * row, last(0)] for row in range(3)]
    for device in "fil":
        cast = int if device in "il" else float
        rows, types = tree(cluster, ", 'OUTPUT_LENGTH'='2'", device)
        assert [row[1] for row in rows.rows] == [cast(last(0))] * 2 and types[1] == "DOUBLE"
    rows, _ = tree(cluster, "")
    assert len(rows.rows) == 96
    rows, _ = tree(cluster, ", 'OUTPUT_LENGTH'='3', 'PRESERVE_INPUT'='true'")
    assert [len(rows.rows), rows.rows[0], rows.rows[191][0], rows.rows[192][0]] == [195, [0, 0.0], 191000, 192000]
    rows, _ = tree(cluster, ", 'OUTPUT_LENGTH'='2', 'OUTPUT_START_TIME'='500000', 'OUTPUT_INTERVAL'='60000'")
    assert [row[0] for row in rows.rows] == [500000, 560000]
    rows, _ = tree(cluster, ", 'OUTPUT_LENGTH'='2', 'MODEL_OPTIONS'='strategy=mean,sp=2'")
    means = [sum(value(row, 0) for row in range(first, 192, 2)) / 96 for first in (0, 1)]
    assert [row[1] for row in rows.rows] == pytest.approx(means, rel=1e-12)


@pytest.mark.releases("2.0.6", "2.0.7", "2.0.10")
def test_tree_function_refuses(cluster: Cluster, node: Installation, release: str) -> None:
    failed, limit, missing = ("1599", 2880, "1504") if is_late(release) else ("1510", 5000, "1505")
    with refused(failed, f"between 1 and {limit}", "got 9999"):
        tree(cluster, ", 'OUTPUT_LENGTH'='9999'")
    with refused(missing, "never"):
        cluster.query("SELECT FORECAST(s0, 'MODEL_ID'='never') FROM root.t.d")
    with refused("one value column"):
        tree(cluster, "", columns="s0, s1")


@pytest.mark.releases("2.0.10")
def test_windows_are_the_data_nodes_business_and_it_has_none(cluster: Cluster, node: Installation) -> None:
    for window in ("head(96)", "tail(50)", "count(50,50)"):
        rows = cluster.query(f'CALL INFERENCE({NAIVE}, "select s0 from root.t.d", window={window}, outputLength=2)')
        assert (rows.columns, rows.rows) == (["output"], [[last(0)]] * 2)


@pytest.mark.releases("2.0.10")
def test_call_inference_of_this_release(cluster: Cluster, node: Installation) -> None:
    def call(options: str, device: str = "d", model: str = NAIVE) -> tuple[Any, list[str]]:
        return cluster.query_typed(f'CALL INFERENCE({model}, "select s0 from root.t.{device}"{options})')

    rows, types = call("")
    assert (len(rows.rows), rows.columns, types) == (96, ["output"], ["DOUBLE"])
    rows, _ = call(", generateTime=true, outputLength=3")
    assert rows.rows == [[191000 + row * (191000 // 192), last(0)] for row in range(3)]
    for device in "il":
        assert call(", outputLength=1", device)[0].rows == [[int(last(0))]]
    assert len(call(", outputLength=5", model="stray")[0].rows) == 5
    assert len(call("", model="stray")[0].rows) == 192
    for wrong in ("0", "2881"):
        with refused("output_length", "between 1 and 2880", f"got {wrong}", code=301):
            call(f", outputLength={wrong}")
    with refused("BOOLEAN", code=701):
        call("", "b")


@pytest.mark.releases("2.0.10")
def test_classify(table: Cluster, node: Installation) -> None:
    source = "SELECT time, v FROM s WHERE device='a'"
    text = f"SELECT * FROM CLASSIFY(MODEL_ID=>'stray', INPUT=>({source}))"
    rows, types = table.query_typed(text, table=True, database="fun")
    assert (rows.columns, types) == (["time", "category"], ["TIMESTAMP", "INT32"])
    assert rows.column("time") == [1000 * row for row in range(20)]
    assert set(rows.column("category")) <= {0, 1}


# ---------------------------------------------------------------- models and devices


@pytest.mark.parametrize("dialect", ["tree", "table"])
def test_what_show_models_has(cluster: Cluster, node: Installation, release: str, dialect: str) -> None:
    rows, types = cluster.query_typed("SHOW MODELS", table=dialect == "table")
    assert (rows.columns, types) == (["ModelId", "ModelType", "Category", "State"], ["TEXT"] * 4)
    earlier, later = ["arima", "Arima", "BUILT-IN", "ACTIVE"], ["arima", "sktime", "builtin", "active"]
    wanted = later if is_late(release) else earlier
    assert cluster.query("SHOW MODELS arima", table=dialect == "table").rows == [wanted] == rows.rows[:1]
    assert cluster.query("SHOW MODELS nothing", table=dialect == "table").rows == []
    rows, types = cluster.query_typed("SHOW AINODES", table=dialect == "table")
    assert rows.columns == ["NodeID", "Status", "InternalAddress", "InternalPort"]
    assert types == ["INT32", "TEXT", "TEXT", "INT32"]
    assert [int(port) for port in rows.column("InternalPort")] == [node.port]


def loaded(cluster: Cluster, table: bool, devices: str = "") -> dict[str, int]:
    """SHOW LOADED MODELS as {model: instances on the CPU}."""
    rows, types = cluster.query_typed(f"SHOW LOADED MODELS{devices}", table=table)
    assert (rows.columns, types) == (["DeviceId", "ModelId", "Count(instances)"], ["TEXT", "TEXT", "INT32"])
    return {row[1]: row[2] for row in rows.rows if row[0] == "cpu"}


@pytest.mark.releases("2.0.6", "2.0.7", "2.0.10")
@pytest.mark.parametrize("dialect", ["tree", "table"])
def test_load_and_unload(cluster: Cluster, node: Installation, dialect: str, release: str) -> None:
    table = dialect == "table"
    late = is_late(release)

    def do(statement: str) -> None:
        cluster.execute(statement, table=table)

    rows, types = cluster.query_typed("SHOW AI_DEVICES", table=table)
    assert (rows.columns, types) == ((["DeviceId", "DeviceType"], ["TEXT"] * 2) if late else (["DeviceId"], ["TEXT"]))
    assert rows.rows[-1] == (["cpu", "cpu"] if late else ["cpu"])
    do("LOAD MODEL holtwinters TO DEVICES 'cpu'")
    wait_until(lambda: loaded(cluster, table).get("holtwinters") == 1, 30, "the model is loaded")
    assert loaded(cluster, table, " 'cpu'").get("holtwinters") == 1
    do("UNLOAD MODEL holtwinters FROM DEVICES 'cpu'")
    wait_until(lambda: "holtwinters" not in loaded(cluster, table), 30, "the model is unloaded")
    for statement, early_code, code, words in (
        ("UNLOAD MODEL holtwinters FROM DEVICES 'cpu'", 1510, 1510, ["holtwinters", "not loaded", "LOADED MODELS"]),
        ("LOAD MODEL holtwinters TO DEVICES 'cpu,cpu'", 0, 1509, ["[cpu]", "twice"]),
        ("LOAD MODEL holtwinters TO DEVICES '9'", 1507, 1508, ["[9]", "SHOW AI_DEVICES"]),
        ("UNLOAD MODEL holtwinters FROM DEVICES '9'", 1507, 1508, ["[9]", "SHOW AI_DEVICES"]),
        ("LOAD MODEL holtwinters TO DEVICES 'gpu'", 701, 701, ["cpu"]),
        ("LOAD MODEL never TO DEVICES 'cpu'", 1505, 1504, ["[never]", "SHOW MODELS"]),
        ("UNLOAD MODEL never FROM DEVICES 'cpu'", 1505, 1504, ["[never]", "SHOW MODELS"]),
        ("LOAD MODEL timer_xl TO DEVICES 'cpu'", 1510, 1509, ["timer_xl", "model.safetensors"]),
        ("DROP MODEL sundial", 1501, 1506, ["sundial", "built in" if late else "Built-in"]),
        ("DROP MODEL never", 1502, 1504, ["never"]),
    ):
        if not (wanted := code if late else early_code):
            continue  # 2.0.6 and 2.0.7 take a device twice
        with refused(*words, code=wanted):
            do(statement)


@pytest.mark.releases("2.0.6", "2.0.7", "2.0.10")
def test_training_does_not_reach_us(cluster: Cluster, node: Installation, release: str) -> None:
    """The DataNodes of these releases cannot send the request (they leave a required field out), and say so, or that
    they could not connect; the node stays Running."""
    with refused(*(["AINode"] if is_late(release) else ["dbType"]), code=1011 if is_late(release) else 305):
        cluster.execute("CREATE MODEL tuned FROM MODEL timer_xl ON DATASET (PATH root.t.d)")
    assert cluster.query("SHOW MODELS tuned").rows == []
    node.expect_running(cluster)


@pytest.mark.releases("2.0.5")
@pytest.mark.not_on("2.0.6", "2.0.7")
def test_training_is_refused_with_a_sentence(cluster: Cluster, node: Installation) -> None:
    with pytest.raises(SqlError) as caught:
        cluster.execute("CREATE MODEL tuned FROM MODEL timer_xl ON DATASET (PATH root.t.d)")
    assert "connect" not in caught.value.message
    began = time.monotonic()
    wait_until(lambda: "tuned" not in model_states(cluster), 10, "nothing of it is listed")
    assert time.monotonic() - began < 10
