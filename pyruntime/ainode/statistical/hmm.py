"""What the two hidden Markov models share: hmmlearn with a fixed seed, and errors in sentences."""

from typing import Any

import numpy as np

from ainode.attributes import Attributes, Integer
from ainode.model import ModelError

#: The fitted states depend on random starts: the same request is to give the same labels.
DEFAULT_SEED = 2021

SEED = Integer("random_state", DEFAULT_SEED, low=0, high=2**32 - 1)


def load() -> None:
    """Imports hmmlearn."""
    import hmmlearn.hmm  # noqa: F401


def fit_labels(model: Any, sample: np.ndarray, attributes: Attributes) -> np.ndarray:
    """The state of every row."""
    needed = attributes["n_components"]
    if len(sample) < needed:
        raise ModelError(f"{needed} states (n_components) need at least as many rows, the query gives {len(sample)}")
    if not np.isfinite(sample).all():
        raise ModelError("the input has missing or infinite values; this model needs a number in every row")
    return model.fit(np.array(sample, dtype=np.float64)).predict(np.array(sample, dtype=np.float64))
