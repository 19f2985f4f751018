"""gaussian_hmm: states of a hidden Markov model with Gaussian emissions (hmmlearn)."""

import numpy as np

from ainode.attributes import Attributes, Boolean, Choice, Integer, Letters, Real
from ainode.statistical.hmm import SEED, fit_labels, load

TABLE = (
    Integer("n_components", 1, low=1, high=5000),
    Choice("covariance_type", "diag", choices=("spherical", "diag", "full", "tied")),
    Real("min_covar", 1e-3),
    Real("startprob_prior", 1.0),
    Real("transmat_prior", 1.0),
    Real("means_prior", 0.0),
    Real("means_weight", 0.0),
    Real("covars_prior", 1e-2),
    Real("covars_weight", 1.0),
    Choice("algorithm", "viterbi", choices=("viterbi", "map")),
    Integer("n_iter", 10, low=1, high=5000),
    Real("tol", 1e-2),
    Letters("params", "stmc", letters="stmc"),
    Letters("init_params", "stmc", letters="stmc"),
    Choice("implementation", "log", choices=("log", "scaling")),
    SEED,
    Boolean("verbose", False),
)

__all__ = ["TABLE", "label", "load"]


def label(sample: np.ndarray, attributes: Attributes) -> np.ndarray:
    """See the package."""
    from hmmlearn.hmm import GaussianHMM

    model = GaussianHMM(**attributes.select(attribute.name for attribute in TABLE))
    return fit_labels(model, sample, attributes)
