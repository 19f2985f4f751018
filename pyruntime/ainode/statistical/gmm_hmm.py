"""gmm_hmm: states of a hidden Markov model whose emissions are mixtures of Gaussians (hmmlearn)."""

import numpy as np

from ainode.attributes import Attributes, Boolean, Choice, Integer, Letters, Real
from ainode.statistical.hmm import SEED, fit_labels, load

TABLE = (
    Integer("n_components", 1, low=1, high=5000),
    Integer("n_mix", 1, low=1, high=5000),
    Real("min_covar", 1e-3),
    Real("startprob_prior", 1.0),
    Real("transmat_prior", 1.0),
    Real("weights_prior", 1.0),
    Real("means_prior", 0.0),
    Real("means_weight", 0.0),
    Real("covars_prior", None, optional=True),
    Real("covars_weight", None, optional=True),
    Choice("algorithm", "viterbi", choices=("viterbi", "map")),
    # Releases up to 2.0.7 accept the misspelt word only.
    Choice(
        "covariance_type", "diag", choices=("spherical", "diag", "full", "tied"), aliases=(("sperical", "spherical"),)
    ),
    Integer("n_iter", 10, low=1, high=5000),
    Real("tol", 1e-2),
    Letters("params", "stmcw", letters="stmcw"),
    Letters("init_params", "stmcw", letters="stmcw"),
    Choice("implementation", "log", choices=("log", "scaling")),
    SEED,
    Boolean("verbose", False),
)

__all__ = ["TABLE", "label", "load"]


def label(sample: np.ndarray, attributes: Attributes) -> np.ndarray:
    """See the package."""
    from hmmlearn.hmm import GMMHMM

    model = GMMHMM(**attributes.select(attribute.name for attribute in TABLE))
    return fit_labels(model, sample, attributes)
