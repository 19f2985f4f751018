"""What exponential_smoothing and holtwinters share: statsmodels' exponential smoothing without data frames."""

from typing import Any, Optional

import numpy as np

from ainode.attributes import Attributes, Boolean, Choice, Integer, Numbers, Real, Table
from ainode.model import ModelError

_KINDS = ("add", "mul")


def table(trend: Optional[str]) -> Table:
    """The attributes; trend: the default of that one."""
    return (
        Choice("trend", trend, optional=True, choices=_KINDS),
        Boolean("damped_trend", False),
        Choice("seasonal", None, optional=True, choices=_KINDS),
        Integer("sp", 1, low=1, high=5000),
        Choice("initialization_method", "estimated", choices=("estimated", "heuristic", "legacy-heuristic", "known")),
        Real("initial_level", None, optional=True, low=-1e300, high=1e300),
        Real("initial_trend", None, optional=True, low=-1e300, high=1e300),
        Numbers("initial_seasonal", None, optional=True, low=-1e300, high=1e300, whole=False),
        Boolean("optimized", True),
        Boolean("remove_bias", False),
        Boolean("use_brute", False),
    )


def load() -> None:
    """Imports statsmodels' part alone."""
    import statsmodels.tsa.holtwinters  # noqa: F401


def _check_known(attributes: Attributes, trend: Optional[str], seasonal: Optional[str]) -> None:
    """The start values that initialization_method=known needs."""
    needed = ["initial_level"] + ["initial_trend"] * bool(trend) + ["initial_seasonal"] * bool(seasonal)
    for name in needed:
        if attributes[name] is None:
            raise ModelError(f"Attribute initialization_method known expect attribute {name} too, got none.")
    if seasonal and len(attributes["initial_seasonal"]) != attributes["sp"]:
        raise ModelError(
            f"Attribute initial_seasonal expect as many numbers as sp, which is {attributes['sp']}, "
            f"got {len(attributes['initial_seasonal'])}."
        )


def _arguments(series: np.ndarray, attributes: Attributes) -> dict[str, Any]:
    trend = attributes["trend"]
    if trend is None and attributes["damped_trend"]:
        trend = "add"  # damping asks for a trend
    seasonal = attributes["seasonal"]
    sp = attributes["sp"]
    if seasonal is None and sp > 1:
        seasonal = "add"
    if seasonal is not None and sp < 2:
        raise ModelError(f"Attribute seasonal {seasonal} expect attribute sp of at least 2, got {sp}.")
    if seasonal is not None and len(series) < 2 * sp:
        raise ModelError(f"a season of sp={sp} rows needs at least {2 * sp} rows, the query gives {len(series)}")
    arguments = {
        "trend": trend,
        "damped_trend": attributes["damped_trend"],
        "seasonal": seasonal,
        "seasonal_periods": sp if seasonal else None,
        "initialization_method": attributes["initialization_method"],
    }
    if attributes["initialization_method"] == "known":
        _check_known(attributes, trend, seasonal)
        arguments["initial_level"] = attributes["initial_level"]
        arguments["initial_trend"] = attributes["initial_trend"] if trend else None
        arguments["initial_seasonal"] = attributes["initial_seasonal"] if seasonal else None
    return arguments


def forecast(series: np.ndarray, horizon: int, attributes: Attributes) -> np.ndarray:
    """See the package."""
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    arguments = _arguments(series, attributes)
    if len(series) < 2:
        return np.repeat(series[-1:], horizon)  # nothing to estimate from one value
    model = ExponentialSmoothing(series, **arguments)
    fitted = model.fit(**attributes.select(("optimized", "remove_bias", "use_brute")))
    return np.asarray(fitted.forecast(horizon), dtype=np.float64)


def official(attributes: Attributes) -> Any:
    """The object the official releases build: neither trend nor season, whatever the model's name."""
    from sktime.forecasting.exp_smoothing import ExponentialSmoothing

    names = ("damped_trend", "initialization_method", "optimized", "remove_bias", "use_brute")
    return ExponentialSmoothing(**attributes.select(names))
