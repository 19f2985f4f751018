"""The built-in models and the large time-series models by SQL, on a real cluster.

The interpreter for models (--python) needs torch, sktime, statsmodels, pmdarima and hmmlearn.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ainode import Installation, ask_model, model_states, refused, wait_until
from iotdb_cluster import Cluster
from releases import calls_inference, has_old_ids, input_argument, is_late
from series import drop_doubles, load_doubles

MODELS = Path(__file__).resolve().parent.parent / "models"
GOLDEN = MODELS / "golden"
LENGTH = 6
OPTIONS: list[tuple[str, dict[str, str]]] = [
    ("arima", {}),
    ("arima", {"order": "(2,1,1)", "maxiter": "20"}),
    ("arima", {"maxiter": "50"}),  # what 2.0.10 does when nothing is said
    ("exponential_smoothing", {}),
    ("naive_forecaster", {}),
    ("naive_forecaster", {"strategy": "mean", "sp": "12"}),
    ("stl_forecaster", {"sp": "12"}),
]
SERIES = ("co2", "airline", "lynx")
CASES = [(model, options, series, LENGTH) for model, options in OPTIONS for series in SERIES]
OLD_IDS = {
    "arima": "_ARIMA",
    "exponential_smoothing": "_ExponentialSmoothing",
    "naive_forecaster": "_NaiveForecaster",
    "stl_forecaster": "_STLForecaster",
    "gaussian_hmm": "_GaussianHMM",
    "gmm_hmm": "_GMMHMM",
    "stray": "_Stray",
}


@pytest.fixture(scope="module")
def reference(model_python: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The series, and what sktime forecasts for CASES in the same interpreter."""
    cases = tmp_path_factory.mktemp("reference") / "cases.json"
    cases.write_text(json.dumps(CASES))
    done = subprocess.run(
        [model_python, str(MODELS / "reference.py"), str(cases)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{model_python} needs the packages of builtins.txt:\n{done.stderr[-2000:]}"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def real(cluster: Cluster, reference: Any) -> Iterator[Cluster]:
    """root.real.<series>.v as doubles."""
    load_doubles(cluster, "real", reference["series"])
    yield cluster
    drop_doubles(cluster, "real")


def model_id(release: str, model: str) -> str:
    """The id of a built-in in that release."""
    return OLD_IDS[model] if has_old_ids(release) else model


def infer(cluster: Cluster, model: str, source: str, *, rows: int = 96, **options: str) -> list[list[Any]]:
    """The answer with options as SQL writes them; `rows` of it."""
    return ask_model(cluster, model, source, length=rows, options=options).rows


def can_be_asked(release: str, options: dict[str, str]) -> bool:
    """MODEL_OPTIONS of FORECAST has commas between options and no quotes."""
    return calls_inference(release) or not any("," in value for value in options.values())


def difference(got: list[Any], wanted: list[float]) -> float:
    """The largest one, relative to the largest value."""
    assert len(got) == len(wanted)
    numbers = np.array([float(value) for value in got])
    return float(np.max(np.abs(numbers - wanted)) / np.max(np.abs(wanted)))


def test_forecasters_give_what_sktime_gives(real: Cluster, release: str, node: Installation, reference: Any) -> None:
    length = {"outputLength" if is_late(release) else "predict_length": str(LENGTH)}
    for at, (model, options, series, _) in enumerate(CASES):
        if not can_be_asked(release, options):
            continue
        query = f"select v from root.real.{series}"
        rows = infer(real, model_id(release, model), query, rows=LENGTH, **length, **options)
        ours = [row[0] for row in rows]
        if is_late(release) and (model, options) == ("arima", {}):
            at = CASES.index(("arima", {"maxiter": "50"}, series, LENGTH))
        to_right = difference(ours, reference["right"][at])
        to_official = difference(ours, reference["official"][at])
        print(f"{release} {model:22} {series:8} {options!s:40} sktime {to_right:.1e}  official {to_official:.1e}")
        assert to_right < 1e-9, (model, options, series)
        assert to_official > 0 or model == "exponential_smoothing"


def test_detectors_label_every_row(real: Cluster, release: str, node: Installation, reference: Any) -> None:
    rows = len(reference["series"]["lynx"])
    for model, options in (("gaussian_hmm", {"n_components": "2"}), ("gmm_hmm", {"n_components": "2"}), ("stray", {})):
        source = "select v from root.real.lynx"
        labels = infer(real, model_id(release, model), source, rows=rows, **options)
        assert len(labels) == rows
        assert {row[0] for row in labels} <= {0, 1}
        assert "hmm" not in model or {row[0] for row in labels} == {0, 1}, model
        # A column of doubles, whatever the model, where one is promised and in FORECAST.
        kind = float if is_late(release) or not calls_inference(release) else int
        assert all(len(row) == 1 and isinstance(row[0], kind) for row in labels)
        assert labels == infer(real, model_id(release, model), source, rows=rows, **options)


@pytest.mark.releases("2.0.1-beta", "2.0.5")  # later ones send one column
@pytest.mark.not_on("2.0.6", "2.0.7")  # FORECAST: test_functions.py
def test_several_columns_and_int_types(cluster: Cluster, release: str, node: Installation) -> None:
    answer = cluster.query(
        f'CALL INFERENCE({model_id(release, "naive_forecaster")}, "select s0, s1 from root.t.l", predict_length=3)'
    )
    last = cluster.query("select s0, s1 from root.t.l where time = 191000").rows[0][-2:]
    assert answer.columns == ["output0", "output1"]
    assert [[float(cell) for cell in row] for row in answer.rows] == [[float(cell) for cell in last]] * 3


def test_errors_name_attribute_limits_and_value(real: Cluster, release: str, node: Installation) -> None:
    source = "select v from root.real.lynx"
    # 2.0.10 calls the number of rows so in its own texts
    late = is_late(release)
    length, word, limit = ("outputLength", "output_length", 2880) if late else ("predict_length",) * 2 + (5000,)
    for model, option, text, words in (
        ("arima", "order", "(1,0)", ("order", "3 whole numbers", "(1,0)")),
        ("arima", "method", "basinhopping", ("method", "lbfgs", "basinhopping")),
        ("naive_forecaster", "sp", "0", ("sp", "between 1 and 5000", "got 0")),
        ("naive_forecaster", length, "5001", (word, f"between 1 and {limit}", "got 5001")),
        ("naive_forecaster", length, "many", (word, f"between 1 and {limit}", "got many")),
        ("stray", "outlier_tail", "both", ("outlier_tail", "max, min", "both")),
    ):
        if not can_be_asked(release, {option: text}) or (option == length and not calls_inference(release)):
            continue  # FORECAST has OUTPUT_LENGTH, which counts: test_functions.py
        with refused(*words):
            infer(real, model_id(release, model), source, **{option: text})
    assert node.status(real) == "Running"


def test_unknown_attributes_are_ignored_with_a_log_line(real: Cluster, release: str, node: Installation) -> None:
    name = model_id(release, "naive_forecaster")
    rows = 1 if calls_inference(release) and not is_late(release) else 96
    assert len(infer(real, name, "select v from root.real.lynx", strateggy="mean")) == rows
    wait_until(lambda: "did you mean strategy?" in node.start_log.read_text(), 10, "the log names the attribute")


# ---------------------------------------------------------------- 2.0.5 and later


@pytest.mark.releases("2.0.5")
def test_show_models(cluster: Cluster, node: Installation) -> None:
    shown = cluster.query("SHOW MODELS")
    assert shown.columns == ["ModelId", "ModelType", "Category", "State"]
    assert shown.rows[:10] == [
        ["arima", "Arima", "BUILT-IN", "ACTIVE"],
        ["holtwinters", "HoltWinters", "BUILT-IN", "ACTIVE"],
        ["exponential_smoothing", "ExponentialSmoothing", "BUILT-IN", "ACTIVE"],
        ["naive_forecaster", "NaiveForecaster", "BUILT-IN", "ACTIVE"],
        ["stl_forecaster", "StlForecaster", "BUILT-IN", "ACTIVE"],
        ["gaussian_hmm", "GaussianHmm", "BUILT-IN", "ACTIVE"],
        ["gmm_hmm", "GmmHmm", "BUILT-IN", "ACTIVE"],
        ["stray", "Stray", "BUILT-IN", "ACTIVE"],
        ["timer_xl", "Timer-XL", "BUILT-IN", "INACTIVE"],
        ["sundial", "Timer-Sundial", "BUILT-IN", "INACTIVE"],
    ]
    assert cluster.query("SHOW MODELS arima").rows == shown.rows[:1]
    with refused("arima"):
        cluster.execute("DROP MODEL arima")


@pytest.fixture(scope="module")
def table(cluster: Cluster, reference: Any) -> Iterator[Cluster]:
    """builtin.real(time, v, w): the lynx series, twice; builtin.wave(time, v): the input of a golden vector."""
    cluster.execute("CREATE DATABASE builtin", table=True)
    golden = np.load(GOLDEN / "expected.npz")
    lynx = ", ".join(f"({row * 1000}, {v!r}, {-v!r})" for row, v in enumerate(reference["series"]["lynx"]))
    wave = ", ".join(f"({row * 1000}, {float(v)!r})" for row, v in enumerate(golden["timer_L288_H96_in"]))
    cluster.execute(
        "CREATE TABLE lynx(v DOUBLE FIELD, w DOUBLE FIELD)",
        f"INSERT INTO lynx(time, v, w) VALUES {lynx}",
        "CREATE TABLE wave(v DOUBLE FIELD)",
        f"INSERT INTO wave(time, v) VALUES {wave}",
        table=True,
        database="builtin",
    )
    yield cluster
    cluster.execute("DROP DATABASE builtin", table=True)


def forecast(cluster: Cluster, model: str, source: str, length: int, options: str = "") -> list[dict[str, Any]]:
    """The FORECAST table function."""
    given = f", MODEL_OPTIONS=>'{options}'" if options else ""
    rows = f"{input_argument(cluster.version)}=>({source})"
    text = f"SELECT * FROM FORECAST(MODEL_ID=>'{model}', {rows}, OUTPUT_LENGTH=>{length}{given})"
    return sorted(cluster.query(text, table=True, database="builtin").dicts(), key=lambda row: int(row["time"]))


@pytest.mark.releases("2.0.5")
def test_forecast_begins_after_the_last_row(table: Cluster, node: Installation, reference: Any) -> None:
    rows = len(reference["series"]["lynx"])
    answer = forecast(table, "stl_forecaster", "SELECT time, v FROM lynx", LENGTH, "sp=12")
    assert [row["time"] for row in answer] == [(rows + step) * 1000 for step in range(LENGTH)]
    at = CASES.index(("stl_forecaster", {"sp": "12"}, "lynx", LENGTH))
    assert difference([row["v"] for row in answer], reference["right"][at]) < 1e-9
    both = forecast(table, "stl_forecaster", "SELECT time, v, w FROM lynx", LENGTH, "sp=12")
    assert [row["w"] for row in both] == pytest.approx([-row["v"] for row in answer], rel=1e-9)


@pytest.mark.releases("2.0.5")
def test_forecast_length_is_limited(table: Cluster, node: Installation) -> None:
    with refused("between 1 and 5000, got 5001"):
        forecast(table, "naive_forecaster", "SELECT time, v FROM lynx", 5001)
    assert len(forecast(table, "naive_forecaster", "SELECT time, v FROM lynx", 5000)) == 5000


@pytest.mark.releases("2.0.5")
def test_detectors_in_forecast_label_the_latest_rows(table: Cluster, node: Installation) -> None:
    answer = forecast(table, "stray", "SELECT time, v FROM lynx", 20)
    assert {row["v"] for row in answer} <= {0.0, 1.0}
    assert len(answer) == 20


@pytest.fixture
def weights(node: Installation, cluster: Cluster) -> Iterator[Path]:
    """The folder of weights; empty again afterwards."""
    place = node.models_dir / "weights"
    yield place
    for folder in place.iterdir():
        shutil.rmtree(folder)
    wait_until(lambda: model_states(cluster)["timer_xl"] == "INACTIVE", 20, "the weights are gone")


def state_is(cluster: Cluster, model: str, state: str | None) -> None:
    """Waits for a state in SHOW MODELS: two seconds are promised from the last close on."""
    begun = time.monotonic()
    wait_until(lambda: model_states(cluster).get(model) == state, 10, f"{model} is {state}")
    print(f"{model} is {state} after {time.monotonic() - begun:.2f} s")


def log_has(node: Installation, *words: str) -> None:
    def seen() -> bool:
        return any(all(word in line for word in words) for line in node.start_log.read_text().splitlines())

    wait_until(seen, 10, f"one log line with {words}")


@pytest.mark.releases("2.0.5")
def test_weights_are_served_once_they_are_there(table: Cluster, node: Installation, weights: Path) -> None:
    wave = "SELECT time, v FROM wave"
    with refused("timer_xl", "weights/timer_xl"):
        forecast(table, "timer_xl", wave, 96)
    (weights / "timer_xl").mkdir()
    shutil.copyfile(GOLDEN / "timer_xl" / "config.json", weights / "timer_xl" / "config.json")
    shutil.copyfile(GOLDEN / "timer_xl" / "model.safetensors", weights / "timer_xl" / "model.safetensors")
    closed = time.monotonic()
    state_is(table, "timer_xl", "ACTIVE")
    assert time.monotonic() - closed < 8  # two are promised; without any event of the kernel it would be ten
    wanted = np.load(GOLDEN / "expected.npz")["timer_L288_H96_out"]
    answer = forecast(table, "timer_xl", wave, 96)
    assert difference([row["v"] for row in answer], [float(value) for value in wanted]) < 1e-4
    assert len(forecast(table, "timer_xl", wave, 1000)) == 1000
    shutil.rmtree(weights / "timer_xl")
    state_is(table, "timer_xl", "INACTIVE")


@pytest.mark.releases("2.0.5")
def test_sundial_by_sql(table: Cluster, node: Installation, weights: Path) -> None:
    wave = "SELECT time, v FROM wave"
    shutil.copytree(GOLDEN / "sundial", weights / "sundial")
    state_is(table, "sundial", "ACTIVE")
    first = forecast(table, "sundial", wave, 96)
    assert first == forecast(table, "sundial", wave, 96)
    assert first != forecast(table, "sundial", wave, 96, "seed=7")
    assert first != forecast(table, "sundial", wave, 96, "num_samples=3")
    with refused("num_samples", "between 1 and 1000", "got 0"):
        forecast(table, "sundial", wave, 96, "num_samples=0")
    rows = infer(table, "sundial", "select s0, s1 from root.t.d", rows=5, predict_length="5")
    assert [len(row) for row in rows] == [2] * 5
    with refused("at least 16 rows", "gives 3"):
        infer(table, "sundial", "select s0 from root.t.d limit 3")


@pytest.mark.releases("2.0.5")
def test_faults_of_weights_have_a_state_and_a_sentence(table: Cluster, node: Installation, weights: Path) -> None:
    whole = (GOLDEN / "sundial" / "model.safetensors").read_bytes()
    folder = weights / "sundial"
    shutil.copytree(GOLDEN / "sundial", folder, ignore=shutil.ignore_patterns("*.safetensors"))
    log_has(node, "sundial", "model.safetensors is missing")
    with (folder / "model.safetensors").open("wb") as copying:
        copying.write(whole)
        copying.flush()
        log_has(node, "sundial/model.safetensors", "still being written")
        assert model_states(table)["sundial"] == "INACTIVE"
    state_is(table, "sundial", "ACTIVE")
    (folder / "model.safetensors").write_bytes(whole[:-1])
    state_is(table, "sundial", "FAILED")
    log_has(node, "sundial/model.safetensors", "ends behind the end of the file")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 32}))
    (folder / "model.safetensors").write_bytes(whole)
    log_has(node, "sundial/model.safetensors", "config.json implies")
    state_is(table, "sundial", "FAILED")
    with refused("config.json implies"):
        forecast(table, "sundial", "SELECT time, v FROM wave", 5)
    assert node.status(table) == "Running"


@pytest.mark.releases("2.0.5")
def test_any_folder_of_a_known_type_is_a_model(cluster: Cluster, node: Installation, weights: Path) -> None:
    shutil.copytree(GOLDEN / "timer_xl", weights / "my_copy")
    state_is(cluster, "my_copy", "ACTIVE")
    assert cluster.query("SHOW MODELS my_copy").rows == [["my_copy", "Timer-XL", "FINE-TUNED", "ACTIVE"]]
    shutil.rmtree(weights / "my_copy")
    state_is(cluster, "my_copy", None)
