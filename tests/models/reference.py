"""Real series and what sktime itself forecasts for them, as JSON: the yardstick of tests/cluster/test_builtins.py.

    PYTHON reference.py CASES.json    # CASES: [[model, {option: text}, series, length], ...]

prints {"series": {name: [values]}, "right": [[values]...], "official": [[values]...]}: forecasts 1..length, and those
of the official releases, whose horizon begins with the last input row.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "pyruntime"))

from ainode import statistical  # noqa: E402
from ainode.attributes import Attributes  # noqa: E402


def real_series() -> dict[str, np.ndarray]:
    """Three that ship with statsmodels and sktime."""
    import statsmodels.api
    from sktime.datasets import load_airline, load_lynx

    co2 = statsmodels.api.datasets.co2.load_pandas().data["co2"].interpolate().to_numpy()[:300]
    return {"co2": co2, "airline": load_airline().to_numpy(), "lynx": load_lynx().to_numpy()}


def main() -> None:
    """The command line above."""
    warnings.simplefilter("ignore")
    series = real_series()
    right, official = [], []
    for model, options, name, length in json.loads(Path(sys.argv[1]).read_text()):
        module = statistical.module_of(model)
        forecaster = module.official(Attributes(model, module.TABLE, json.dumps(options)))
        values = np.array(forecaster.fit(pd.DataFrame(series[name])).predict(fh=range(length + 1)))[:, 0]
        right.append(values[1:].tolist())
        official.append(values[:length].tolist())
    print(json.dumps({"series": {k: v.tolist() for k, v in series.items()}, "right": right, "official": official}))


if __name__ == "__main__":
    main()
