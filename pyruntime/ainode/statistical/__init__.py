"""The statistical built-ins: forecasters and detectors fitted to every request anew.

Each module has TABLE (its attributes), load() (imports what it needs) and, for forecasters, forecast(series, horizon,
attributes) of one column, or for detectors label(rows, attributes) of the whole input. What is common stands here.
"""

import importlib
import os
import warnings
from types import ModuleType
from typing import Optional

import numpy as np

from ainode.attributes import Attributes
from ainode.model import Model, ModelError, Spec

#: Id of the model -> module. Nothing here imports a library.
MODULES: dict[str, str] = {
    "arima": "arima",
    "holtwinters": "holtwinters",
    "exponential_smoothing": "exponential_smoothing",
    "naive_forecaster": "naive",
    "stl_forecaster": "stl",
    "gaussian_hmm": "gaussian_hmm",
    "gmm_hmm": "gmm_hmm",
    "stray": "stray",
}

#: Forecast length where the request says none.
_DEFAULT_LENGTH = 1
_DEFAULT_LENGTH_LATER = 96  # 2.0.8 and newer

INSTALL = (
    "the model {model} needs the Python package {package}, which is not installed: run "
    "`lib/ainode env install --requirements lib/venv-bootstrap/requirements/builtins.txt` and ask again"
)


def module_of(model: str) -> ModuleType:
    """The module of a model id, not yet loaded."""
    return importlib.import_module("ainode.statistical." + MODULES[model])


def _horizon(attributes: Attributes, output_length: int) -> int:
    if output_length > 0:
        return output_length
    return _DEFAULT_LENGTH_LATER if attributes.later else _DEFAULT_LENGTH


def _forecast(module: ModuleType, sample: np.ndarray, attributes: Attributes, output_length: int) -> np.ndarray:
    """Every column by itself: [rows, columns] -> [horizon, columns]."""
    horizon = _horizon(attributes, output_length)
    columns = [module.forecast(np.ascontiguousarray(column), horizon, attributes) for column in sample.T]
    return np.stack(columns, axis=1)


def _forecast_as_official(
    module: ModuleType, sample: np.ndarray, attributes: Attributes, output_length: int
) -> np.ndarray:
    """The numbers of the official releases: their horizon begins at 0, the fitted value of the last input row."""
    import pandas

    frame = pandas.DataFrame(np.array(sample))
    fitted = module.official(attributes).fit(frame)
    return np.array(fitted.predict(fh=range(_horizon(attributes, output_length))), dtype=np.float64)


def _label(module: ModuleType, sample: np.ndarray, attributes: Attributes, output_length: int) -> np.ndarray:
    """One label a row; of the latest rows when fewer are asked for."""
    rows = len(sample)
    if output_length > rows:
        raise ModelError(
            f"a detector labels the rows of the query: {output_length} labels are asked for, the query gives "
            f"{rows} rows"
        )
    labels = np.asarray(module.label(sample, attributes)).astype(np.int32)[:, None]
    return labels if output_length <= 0 else labels[rows - output_length :]


def _label_as_official(
    module: ModuleType, sample: np.ndarray, attributes: Attributes, output_length: int
) -> np.ndarray:
    """The official releases from 2.0.8 on label the first rows, and fit those alone."""
    if not attributes.later:
        return _label(module, sample, attributes, 0)
    length = _horizon(attributes, output_length)
    return _label(module, sample[:length], attributes, 0)


def load(spec: Spec) -> Model:
    """The model whose id is spec.name."""
    if spec.name not in MODULES:
        raise ModelError(f"this runtime knows no built-in model {spec.name!r}: lib/ holds files of different releases")
    module = module_of(spec.name)
    os.environ.setdefault("JOBLIB_MULTIPROCESSING", "0")  # a worker starts no programs; joblib would warn of it
    try:
        module.load()
        if spec.official_numbers:
            importlib.import_module("sktime")
    except ModuleNotFoundError as error:
        raise ModelError(INSTALL.format(model=spec.name, package=error.name)) from error
    forecasts = hasattr(module, "forecast")
    if spec.official_numbers:
        run = _forecast_as_official if forecasts else _label_as_official
    else:
        run = _forecast if forecasts else _label

    def call(array: np.ndarray, options: Optional[str], output_length: int) -> np.ndarray:
        attributes = Attributes(spec.name, module.TABLE, options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries, about convergence and frequencies: not for the log
            return np.stack([run(module, sample, attributes, output_length) for sample in array])

    return Model(call)
