"""Models of the pipeline convention of 2.0.8 and later, on a real node: registered, asked, taken over, dropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from caller import Caller
from node import Node
from pipelines import drift, write_pipeline
from values import series


def forecast(caller: Caller, model: str, values: np.ndarray, length: int, **options: str) -> np.ndarray:
    """FORECAST, of one block."""
    from caller import good
    from tsblock import decode, encode

    request = caller.types.TForecastReq(
        modelId=model, inputData=encode(values), outputLength=length, options=dict(options)
    )
    (block,) = good(caller.call("forecast", request)).forecastResult
    return decode(block)


def test_numpy_pipeline(node: Node, tmp_path: Path) -> None:
    """Registered, asked by CALL INFERENCE and FORECAST, dropped; nothing stays."""
    uri = write_pipeline(tmp_path / "drift", framework="numpy")
    with node.call("H") as caller:
        caller.register("drift_it", uri)
        values = series(3, 50, 1).astype(np.float64)
        found = forecast(caller, "drift_it", values, 7)
        assert np.allclose(found, drift(values, 7), rtol=1e-12)
        caller.drop("drift_it")
