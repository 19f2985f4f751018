"""Tests of the Python side of the models: run them with an interpreter that has torch and the statistical packages.

    PYTHON -m pytest tests/models

The package under test has the name of a module of tests/cluster: within one session the cluster tests come first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.modules.pop("ainode", None)
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent.parent / "pyruntime"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What forks comes first: a child of a process whose OpenMP threads have run waits for them for ever."""
    items.sort(key=lambda item: item.path.name != "test_pipelines.py")


def make_spec(kind: str, name: str, directory: str = "/", official: bool = False) -> Any:
    """What the host says about a built-in model."""
    from ainode.model import Spec

    return Spec(
        kind=kind, directory=directory, dtype="float64", input_shape=[0, 0], output_shape=[0, 0], prove=False,
        name=name, official_numbers=official,
    )  # fmt: skip


Run = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def run() -> Run:
    """run(model, values [rows] or [rows, columns], length, official=False, **options) -> [rows, columns]."""
    from ainode import statistical

    loaded: dict[tuple[str, bool], Any] = {}

    def call(name: str, values: np.ndarray, length: int = 0, official: bool = False, **options: str) -> np.ndarray:
        if (name, official) not in loaded:
            loaded[name, official] = statistical.load(make_spec("statistical", name, official=official))
        array = np.asarray(values, dtype=np.float64)
        array = array[:, None] if array.ndim == 1 else array
        array.flags.writeable = False
        return loaded[name, official].call(array[None], json.dumps(options) if options else None, length)[0]

    return call


@pytest.fixture(scope="session")
def series() -> dict[str, np.ndarray]:
    """Three real series that ship with statsmodels and sktime."""
    import statsmodels.api
    from sktime.datasets import load_airline, load_lynx

    co2 = statsmodels.api.datasets.co2.load_pandas().data["co2"].interpolate().to_numpy()[:500]
    return {"co2": co2, "airline": load_airline().to_numpy(), "lynx": load_lynx().to_numpy()}
