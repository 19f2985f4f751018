"""arima: ARIMA and SARIMA of pmdarima (statsmodels' SARIMAX behind it)."""

from typing import Any

import numpy as np

from ainode.attributes import Attributes, Boolean, Choice, Integer, Numbers

TABLE = (
    Numbers("order", (1, 0, 0), length=3),
    Numbers("seasonal_order", (0, 0, 0, 0), length=4),
    Numbers("start_params", None, optional=True, low=-1e10, high=1e10, whole=False),
    Choice("method", "lbfgs", choices=("lbfgs", "bfgs", "newton", "nm", "cg", "ncg", "powell")),
    Integer("maxiter", 1, later=50, low=1, high=5000),
    Boolean("suppress_warnings", True, later=False),
    Integer("out_of_sample_size", 0, low=0, high=5000),
    Choice("scoring", "mse", choices=("mse", "mae", "rmse", "mape", "smape", "rmsle", "r2")),
    Choice("trend", None, optional=True, choices=("n", "c", "t", "ct")),
    Boolean("with_intercept", True),
    Boolean("time_varying_regression", False),
    Boolean("enforce_stationarity", True),
    Boolean("enforce_invertibility", True),
    Boolean("simple_differencing", False),
    Boolean("measurement_error", False),
    Boolean("mle_regression", True),
    Boolean("hamilton_representation", False),
    Boolean("concentrate_scale", False),
)

_MODEL_NAMES = (
    "time_varying_regression",
    "enforce_stationarity",
    "enforce_invertibility",
    "simple_differencing",
    "measurement_error",
    "mle_regression",
    "hamilton_representation",
    "concentrate_scale",
)
_NAMES = (
    "order",
    "seasonal_order",
    "start_params",
    "method",
    "maxiter",
    "suppress_warnings",
    "out_of_sample_size",
    "scoring",
    "trend",
    "with_intercept",
)


def load() -> None:
    """Imports pmdarima."""
    import pmdarima  # noqa: F401


def _arguments(attributes: Attributes) -> Any:
    arguments = attributes.select(_NAMES)
    if arguments["start_params"] is not None:
        arguments["start_params"] = np.array(arguments["start_params"])
    return arguments


def forecast(series: np.ndarray, horizon: int, attributes: Attributes) -> np.ndarray:
    """See the package."""
    from pmdarima.arima import ARIMA

    model = ARIMA(**_arguments(attributes), **attributes.select(_MODEL_NAMES))
    return np.asarray(model.fit(series).predict(n_periods=horizon), dtype=np.float64)


def official(attributes: Attributes) -> Any:
    """The object the official releases build."""
    from sktime.forecasting.arima import ARIMA

    return ARIMA(**_arguments(attributes), **attributes.select(_MODEL_NAMES))
