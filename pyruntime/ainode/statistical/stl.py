"""stl_forecaster: STL decomposition of statsmodels; the trend goes on by its drift, the season by its last cycle, the

rest by its seasonal mean, as in sktime's STLForecaster."""

from typing import Any

import numpy as np

from ainode.attributes import Attributes, Boolean, Integer
from ainode.model import ModelError
from ainode.statistical import naive

TABLE = (
    Integer("sp", 2, low=2, high=5000),
    Integer("seasonal", 7, low=3, high=4999, odd=True),
    Integer("trend", None, optional=True, low=3, high=99_999, odd=True),
    Integer("low_pass", None, optional=True, low=3, high=99_999, odd=True),
    Integer("seasonal_deg", 1, low=0, high=1),
    Integer("trend_deg", 1, low=0, high=1),
    Integer("low_pass_deg", 1, low=0, high=1),
    Boolean("robust", False),
    Integer("seasonal_jump", 1, low=1, high=5000),
    Integer("trend_jump", 1, low=1, high=5000),
    Integer("low_pass_jump", 1, low=1, high=5000),
    Integer("inner_iter", None, optional=True, low=1, high=100),
    Integer("outer_iter", None, optional=True, low=0, high=100),
)

_NAMES = tuple(attribute.name for attribute in TABLE if attribute.name not in ("sp", "inner_iter", "outer_iter"))


def load() -> None:
    """Imports statsmodels' part alone."""
    import statsmodels.tsa.stl._stl  # noqa: F401


def _check(series: np.ndarray, attributes: Attributes) -> None:
    sp = attributes["sp"]
    if len(series) < sp + 1:
        raise ModelError(f"a season of sp={sp} rows needs at least {sp + 1} rows, the query gives {len(series)}")
    for name in ("trend", "low_pass"):
        if attributes[name] is not None and attributes[name] <= sp:
            raise ModelError(f"Attribute {name} expect an odd value above sp, which is {sp}, got {attributes[name]}.")


def forecast(series: np.ndarray, horizon: int, attributes: Attributes) -> np.ndarray:
    """See the package."""
    from statsmodels.tsa.stl._stl import STL

    _check(series, attributes)
    sp = attributes["sp"]
    parts = STL(series, period=sp, **attributes.select(_NAMES)).fit(
        inner_iter=attributes["inner_iter"], outer_iter=attributes["outer_iter"]
    )
    return (
        naive.predict(np.asarray(parts.trend), horizon, "drift", 1)
        + naive.predict(np.asarray(parts.seasonal), horizon, "last", sp)
        + naive.predict(np.asarray(parts.resid), horizon, "mean", sp)
    )


def official(attributes: Attributes) -> Any:
    """The object the official releases build."""
    from sktime.forecasting.trend import STLForecaster

    return STLForecaster(**attributes.select(attribute.name for attribute in TABLE))
