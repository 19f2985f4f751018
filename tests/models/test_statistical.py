"""The statistical models against sktime, which is what the official releases call."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ainode import statistical
from ainode.attributes import Attributes
from ainode.model import ModelError
from conftest import Run, make_spec

LENGTH = 12

#: Model and options whose official numbers are right but for the horizon.
FORECASTS: list[tuple[str, dict[str, str]]] = [
    ("naive_forecaster", {}),
    ("naive_forecaster", {"sp": "12"}),
    ("naive_forecaster", {"strategy": "mean"}),
    ("naive_forecaster", {"strategy": "mean", "sp": "7"}),
    ("naive_forecaster", {"strategy": "drift"}),
    ("naive_forecaster", {"strategy": "mean", "window_length": "20"}),
    ("exponential_smoothing", {}),
    ("exponential_smoothing", {"initialization_method": "heuristic", "remove_bias": "true"}),
    ("arima", {}),
    ("arima", {"order": "(2,1,1)", "maxiter": "50"}),
    ("arima", {"order": "(1,0,0)", "seasonal_order": "(1,0,0,12)", "maxiter": "5"}),
    ("arima", {"with_intercept": "false", "method": "nm", "maxiter": "30"}),
    ("stl_forecaster", {}),
    ("stl_forecaster", {"sp": "12", "seasonal": "9", "robust": "true"}),
    ("stl_forecaster", {"sp": "12", "trend_deg": "0", "seasonal_jump": "2"}),
]


def sktime_forecast(model: str, options: dict[str, str], values: np.ndarray, horizon: range) -> np.ndarray:
    """What sktime itself forecasts with the object that the official releases build."""
    import json

    module = statistical.module_of(model)
    forecaster = module.official(Attributes(model, module.TABLE, json.dumps(options)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.array(forecaster.fit(pd.DataFrame(values)).predict(fh=horizon), dtype=np.float64)


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest one, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))


@pytest.mark.parametrize(("model", "options"), FORECASTS)
def test_true_forecasts(model: str, options: dict[str, str], run: Run, series: dict[str, np.ndarray]) -> None:
    for name, values in series.items():
        ours = run(model, values, LENGTH, **options)
        theirs = sktime_forecast(model, options, values, range(1, LENGTH + 1))
        print(f"{model:22} {options!s:60} {name:8} {difference(ours, theirs):.1e}")
        assert difference(ours, theirs) < 1e-9, name


@pytest.mark.parametrize(
    ("model", "options"), FORECASTS[:1] + FORECASTS[6:10] + FORECASTS[12:13] + [("holtwinters", {})]
)
def test_official_numbers_on_request(
    model: str, options: dict[str, str], run: Run, series: dict[str, np.ndarray]
) -> None:
    for values in series.values():
        theirs = sktime_forecast(model, options, values, range(LENGTH))
        official = run(model, values, LENGTH, official=True, **options)
        assert np.array_equal(official, theirs)
        if model != "holtwinters":  # one step late: the first value is the fit of the last row
            assert difference(run(model, values, LENGTH - 1, **options), official[1:]) < 1e-9


@pytest.mark.parametrize("options", [{}, {"sp": "12"}, {"sp": "12", "seasonal": "mul"}, {"trend": "mul"},
                                     {"damped_trend": "true"}])  # fmt: skip
def test_holtwinters_has_trend_and_season(options: dict[str, str], run: Run, series: dict[str, np.ndarray]) -> None:
    from sktime.forecasting.exp_smoothing import ExponentialSmoothing

    for values in series.values():
        sp = int(options.get("sp", 1))
        reference = ExponentialSmoothing(
            trend=options.get("trend", "add"), damped_trend=options.get("damped_trend") == "true",
            seasonal=options.get("seasonal", "add") if sp > 1 else None, sp=sp if sp > 1 else None, use_brute=False,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = np.array(reference.fit(pd.DataFrame(values)).predict(fh=range(1, LENGTH + 1)))
        assert difference(run("holtwinters", values, LENGTH, **options), theirs) < 1e-9


def test_known_start_values(run: Run) -> None:
    values = np.arange(20.0)
    with pytest.raises(ModelError, match="expect attribute initial_level too"):
        run("exponential_smoothing", values, 2, initialization_method="known")
    assert run("exponential_smoothing", values, 2, initialization_method="known", initial_level="3").shape == (2, 1)
    with pytest.raises(ModelError, match="initial_trend"):
        run("holtwinters", values, 2, initialization_method="known", initial_level="3")
    rising = run("exponential_smoothing", values, 3, damped_trend="true")[:, 0]
    assert np.all(np.diff(np.concatenate([values[-1:], rising])) > 0.1)  # damping brings its trend along


def test_columns_are_forecast_one_by_one(run: Run, series: dict[str, np.ndarray]) -> None:
    two = np.stack([series["co2"], series["co2"][::-1]], axis=1)
    for model in ("naive_forecaster", "exponential_smoothing", "holtwinters", "stl_forecaster", "arima"):
        together = run(model, two, 3)
        assert together.shape == (3, 2)
        assert together.dtype == np.float64
        assert np.array_equal(together[:, 1:], run(model, two[:, 1], 3))


def test_missing_values_as_sktime_takes_them(run: Run) -> None:
    values = np.array([1.0, np.nan, 3.0, 4.0, np.nan, 6.0, 7.0, np.nan, np.nan])
    for options in ({}, {"sp": "3"}, {"sp": "4"}, {"strategy": "mean"}, {"strategy": "mean", "sp": "4"}):
        theirs = sktime_forecast("naive_forecaster", options, values, range(1, 6))
        assert np.allclose(run("naive_forecaster", values, 5, **options), theirs, rtol=1e-12, equal_nan=True), options


def test_short_and_constant_series(run: Run) -> None:
    for model in ("naive_forecaster", "exponential_smoothing", "holtwinters"):
        assert np.array_equal(run(model, np.array([5.0]), 3)[:, 0], [5, 5, 5])
    for model in ("naive_forecaster", "exponential_smoothing", "holtwinters", "arima", "stl_forecaster"):
        assert np.allclose(run(model, np.full(50, 7.0), 4), 7, rtol=1e-3), model
    with pytest.raises(ModelError, match="sp=12 rows needs at least 13 rows, the query gives 5"):
        run("stl_forecaster", np.arange(5.0), 2, sp="12")
    with pytest.raises(ModelError, match="sp=12 rows needs at least 24 rows, the query gives 20"):
        run("holtwinters", np.arange(20.0), 2, sp="12")
    with pytest.raises(ModelError, match="at most the 5 rows"):
        run("naive_forecaster", np.arange(5.0), 2, window_length="6")
    with pytest.raises(ModelError, match="at least sp, which is 4"):
        run("naive_forecaster", np.arange(9.0), 2, window_length="3", sp="4")


def test_length_where_none_is_asked_for(run: Run) -> None:
    assert len(run("naive_forecaster", np.arange(9.0))) == 1
    assert len(run("naive_forecaster", np.arange(9.0), ainode_family="H")) == 96


def test_arima_maxiter_of_the_release(run: Run, series: dict[str, np.ndarray]) -> None:
    early, later = (run("arima", series["lynx"], 5, ainode_family=family) for family in "EH")
    assert np.array_equal(early, run("arima", series["lynx"], 5, maxiter="1"))
    assert np.array_equal(later, run("arima", series["lynx"], 5, maxiter="50"))
    assert not np.allclose(early, later, rtol=1e-3)


@pytest.mark.parametrize("options", [{}, {"strategy": "mean"}, {"strategy": "drift"}, {"sp": "24"},
                                     {"strategy": "mean", "sp": "24"}])  # fmt: skip
def test_naive_on_a_million_rows(options: dict[str, str], run: Run) -> None:
    values = np.random.default_rng(1).standard_normal(1_000_000)
    spent = []
    for _ in range(5):
        begun = time.perf_counter()
        run("naive_forecaster", values, LENGTH, **options)
        spent.append(time.perf_counter() - begun)
    print(f"naive {options}: {min(spent) * 1e3:.2f} ms")
    assert min(spent) < 0.05


def two_regimes(columns: int = 1) -> np.ndarray:
    """60 rows around 0, 60 around 20."""
    generator = np.random.default_rng(3)
    return np.concatenate([generator.normal(0, 1, (60, columns)), generator.normal(20, 1, (60, columns))])


@pytest.mark.parametrize("model", ["gaussian_hmm", "gmm_hmm"])
@pytest.mark.parametrize("columns", [1, 2])
def test_hidden_markov_models_work(model: str, columns: int, run: Run) -> None:
    values = two_regimes(columns)
    labels = run(model, values, n_components="2")
    assert labels.shape == (120, 1)
    assert labels.dtype == np.int32
    assert len(set(labels[:60, 0])) == 1
    assert set(labels[60:, 0]) == {1 - labels[0, 0]}
    assert np.array_equal(labels, run(model, values, n_components="2"))  # the seed is fixed
    assert set(run(model, values)[:, 0]) == {0}  # one state by default


def test_hidden_markov_labels_are_hmmlearns(run: Run, series: dict[str, np.ndarray]) -> None:
    from hmmlearn.hmm import GaussianHMM

    for values in series.values():
        reference = GaussianHMM(n_components=3, n_iter=20, random_state=7).fit(values[:, None]).predict(values[:, None])
        assert np.array_equal(
            run("gaussian_hmm", values, n_components="3", n_iter="20", random_state="7")[:, 0], reference
        )


def test_hidden_markov_errors(run: Run) -> None:
    with pytest.raises(ModelError, match="5 states .* the query gives 3"):
        run("gaussian_hmm", np.arange(3.0), n_components="5")
    with pytest.raises(ModelError, match="missing or infinite"):
        run("gmm_hmm", np.array([1.0, np.nan, 2.0]))


def test_stray_is_sktimes(run: Run, series: dict[str, np.ndarray]) -> None:
    from sklearn.preprocessing import MinMaxScaler
    from sktime.detection.stray import STRAY

    spiked = series["co2"].copy()
    spiked[40] += 100
    for values in (*series.values(), spiked):
        for options in ({}, {"k": "5", "alpha": "0.05"}, {"k": "1"}):
            arguments: dict[str, Any] = {
                name: float(text) if "." in text else int(text) for name, text in options.items()
            }
            reference = STRAY(p=0.5, **({"k": 10} | arguments)).fit_transform(
                MinMaxScaler().fit_transform(values[:, None])
            )
            labels = run("stray", values, **options)
            assert labels.dtype == np.int32
            assert np.array_equal(labels[:, 0], np.asarray(reference).astype(np.int32))
    assert run("stray", spiked)[40, 0] == 1


def test_stray_takes_every_shape(run: Run) -> None:
    assert run("stray", np.full(30, 4.0)).shape == (30, 1)
    assert run("stray", np.array([4.0])).tolist() == [[0]]
    assert run("stray", two_regimes(3)).shape == (120, 1)
    assert run("stray", np.arange(5.0), k="10").shape == (5, 1)


def test_detectors_label_the_latest_rows(run: Run) -> None:
    values = two_regimes()
    everything = run("gaussian_hmm", values, n_components="2", ainode_family="H")
    assert len(everything) == 120
    assert np.array_equal(run("gaussian_hmm", values, 48, n_components="2", ainode_family="H"), everything[-48:])
    with pytest.raises(ModelError, match="121 labels are asked for, the query gives 120 rows"):
        run("gaussian_hmm", values, 121)
    official = run("stray", values, 48, official=True, ainode_family="H")
    assert np.array_equal(official, run("stray", values[:48]))
    assert len(run("stray", values, official=True, ainode_family="E")) == 120


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pmdarima", None)
    with pytest.raises(ModelError, match="needs the Python package pmdarima.*lib/ainode env install --requirements"):
        statistical.load(make_spec("statistical", "arima"))
    with pytest.raises(ModelError, match="knows no built-in model 'prophet'"):
        statistical.load(make_spec("statistical", "prophet"))
