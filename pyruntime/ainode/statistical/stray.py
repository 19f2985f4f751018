"""stray: outliers by the gaps between nearest-neighbour distances (sktime's STRAY), columns scaled to 0..1 first."""

import numpy as np

from ainode.attributes import Attributes, Choice, Integer, Real
from ainode.model import ModelError

TABLE = (
    Real("alpha", 0.01),
    Integer("k", 10, low=1, high=5000),
    Choice("knn_algorithm", "brute", choices=("brute", "kd_tree", "ball_tree", "auto")),
    Real("p", 0.5),
    Integer("size_threshold", 50, low=1, high=5000),
    Choice("outlier_tail", "max", choices=("max", "min")),
)


def load() -> None:
    """Imports sktime's part alone."""
    import sktime.detection.stray  # noqa: F401


def _scale(sample: np.ndarray) -> np.ndarray:
    """Every column to 0..1; constant ones to 0. In the very order of operations of scikit-learn's MinMaxScaler: where
    distances are equal but for rounding, rounding decides what is an outlier."""
    low = np.nanmin(sample, axis=0)
    span = np.nanmax(sample, axis=0) - low
    factor = 1.0 / np.where(span == 0, 1, span)
    return sample * factor + (0.0 - low * factor)


def label(sample: np.ndarray, attributes: Attributes) -> np.ndarray:
    """See the package: 1 for an outlier, 0 for any other row."""
    from sktime.detection.stray import STRAY

    if np.isinf(sample).any():
        raise ModelError("the input has infinite values; this model needs finite ones")
    if len(sample) < 2:
        return np.zeros(len(sample))
    model = STRAY(**attributes.select(attribute.name for attribute in TABLE))
    return model.fit_transform(_scale(np.asarray(sample, dtype=np.float64)))
