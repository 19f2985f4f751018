"""naive_forecaster: the last value, the mean or the drift, optionally by season. Plain NumPy: a million rows cost

milliseconds. The rules, also about missing values (NaN), are those of sktime's NaiveForecaster."""

from typing import Any

import numpy as np

from ainode.attributes import Attributes, Choice, Integer
from ainode.model import ModelError

TABLE = (
    Choice("strategy", "last", choices=("last", "mean", "drift")),
    Integer("sp", 1, low=1, high=5000),
    Integer("window_length", None, optional=True, low=1, high=1 << 28),
)


def load() -> None:
    """Needs NumPy alone."""


def _seasons(window: np.ndarray, sp: int) -> np.ndarray:
    """[cycles, sp]: the window ends with the last cycle; what is missing of the first one is NaN."""
    missing = -len(window) % sp
    return np.concatenate([np.full(missing, np.nan), window]).reshape(-1, sp)


def _last(window: np.ndarray, sp: int) -> np.ndarray:
    """The last value of each season that is not NaN."""
    seasons = _seasons(window[-2 * sp :], sp)
    if np.isnan(seasons[-1]).any():
        seasons = _seasons(window, sp)  # rare: look further back
    known = ~np.isnan(seasons)
    latest = len(seasons) - 1 - np.argmax(known[::-1], axis=0)
    return seasons[latest, np.arange(sp)]


def _season_means(window: np.ndarray, sp: int) -> np.ndarray:
    """Means of windows without a missing value, without a second copy of them."""
    whole = len(window) - len(window) % sp
    counts = np.full(sp, whole // sp, dtype=np.float64)
    sums = window[len(window) - whole :].reshape(-1, sp).sum(axis=0)
    first = len(window) - whole  # of the first, shorter cycle, at the end of the season
    if first:
        sums[sp - first :] += window[:first]
        counts[sp - first :] += 1
    return np.divide(sums, counts, out=np.full(sp, np.nan), where=counts > 0)


def _mean(window: np.ndarray, sp: int) -> np.ndarray:
    if sp == 1:
        mean = window.mean()
        return np.array([mean if not np.isnan(mean) else np.nanmean(window)])
    means = _season_means(window, sp)
    return means if not np.isnan(means).any() else np.nanmean(_seasons(window, sp), axis=0)


def _drift(window: np.ndarray, horizon: int) -> np.ndarray:
    if len(window) < 2:
        return np.repeat(window[-1:], horizon)
    first, last = window[0], window[-1]
    if np.isnan(first) or np.isnan(last):
        raise ModelError(
            "strategy drift needs values in the first and the last row of its window; one of them is missing"
        )
    return last + np.arange(1, horizon + 1) * (last - first) / (len(window) - 1)


def predict(series: np.ndarray, horizon: int, strategy: str, sp: int, window_length: "int | None" = None) -> np.ndarray:
    """The values 1 to horizon after the series."""
    if window_length is not None and window_length > len(series):
        raise ModelError(
            f"Attribute window_length expect at most the {len(series)} rows of the query, got {window_length}"
        )
    if strategy != "drift" and window_length is not None and sp > 1 and window_length < sp:
        raise ModelError(f"Attribute window_length expect at least sp, which is {sp}, got {window_length}")
    window = series if window_length is None else series[-window_length:]
    if strategy == "drift":
        return _drift(window, horizon)
    cycle = _last(window, sp) if strategy == "last" else _mean(window, sp)
    return np.resize(cycle, horizon)


def forecast(series: np.ndarray, horizon: int, attributes: Attributes) -> np.ndarray:
    """See the package."""
    return predict(series, horizon, attributes["strategy"], attributes["sp"], attributes["window_length"])


def official(attributes: Attributes) -> Any:
    """The object the official releases build."""
    from sktime.forecasting.naive import NaiveForecaster

    return NaiveForecaster(**attributes.select(("strategy", "sp", "window_length")))
