"""The bare work of the built-in models in one warm process: what a node's time per call is counted from.

    PYTHON model_kernels.py naive|smoothing|timer|sundial ROWS LENGTH SECONDS [WEIGHTS] [--official SOURCE]

naive and smoothing: the numeric kernel on an array that is there already, for smoothing the library's own fit and
forecast. timer and sundial: generation from 672 rows or so with this project's network, with one thread and with all
processors (the better one counts), or with the official node's network of SOURCE. Fresh data in every call. Prints
one line of JSON: calls and their median in ms.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Callable

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pyruntime"))

Kernel = Callable[[np.ndarray], Any]
SAMPLES = 10


def naive_kernel(length: int) -> Kernel:
    """The last value."""
    from ainode.statistical import naive

    return lambda series: naive.predict(series, length, "last", 1)


def smoothing_kernel(length: int) -> Kernel:
    """The library, called directly."""
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    return lambda series: ExponentialSmoothing(series, initialization_method="estimated").fit().forecast(length)


def large_kernel(name: str, length: int, weights: str) -> Kernel:
    """This project's network."""
    import torch
    from ainode import sundial, timer_xl

    network: Any = timer_xl.TimerXl(weights) if name == "timer" else sundial.Sundial(weights)
    return lambda series: network.generate(torch.from_numpy(series)[None], length)


def official_kernel(name: str, length: int, weights: str, source: str) -> Kernel:
    """The official node's network, as its strategies call it."""
    import torch

    sys.path.insert(0, source)
    if name == "timer":
        from ainode.core.model.timerxl.modeling_timer import TimerForPrediction as Network

        options = {}
    else:
        from ainode.core.model.sundial.modeling_sundial import SundialForPrediction as Network

        options = {"num_samples": SAMPLES}
    network = Network.from_pretrained(weights)

    def run(series: np.ndarray) -> Any:
        return network.generate(torch.tensor(series)[None].float(), max_new_tokens=length, revin=True, **options)

    return run


def measure(kernel: Kernel, rows: int, seconds: float) -> tuple[int, float]:
    """Calls, and their median in ms."""
    base = 10 * np.sin(np.arange(rows) / 7) + np.random.default_rng(1).standard_normal(rows) + 100
    kernel(base)
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 3:
        series = base + len(times)
        begun = time.perf_counter()
        kernel(series)
        times.append((time.perf_counter() - begun) * 1000)
    return len(times), statistics.median(times)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kernel", choices=("naive", "smoothing", "timer", "sundial"))
    parser.add_argument("rows", type=int)
    parser.add_argument("length", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("weights", nargs="?", default="")
    parser.add_argument("--official", help="source folder of the official node")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # as the node sets it
    if options.kernel in ("naive", "smoothing"):
        kernel = (naive_kernel if options.kernel == "naive" else smoothing_kernel)(options.length)
        found = [measure(kernel, options.rows, options.seconds)]
    else:
        import torch

        if options.official:
            kernel = official_kernel(options.kernel, options.length, options.weights, options.official)
        else:
            kernel = large_kernel(options.kernel, options.length, options.weights)
        found = []
        with torch.inference_mode():
            for threads in sorted({1, len(os.sched_getaffinity(0))}):
                torch.set_num_threads(threads)
                found.append(measure(kernel, options.rows, options.seconds / 2))
    calls, median = min(found, key=lambda pair: pair[1])
    print(json.dumps({"calls": calls, "ms": median}))


if __name__ == "__main__":
    main()
