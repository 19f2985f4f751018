"""The bare forward of a TorchScript model in one warm process: what the added latency of a node is counted from.

    PYTHON forward.py model.pt ROWS COLUMNS SECONDS [GAP_MS]
    PYTHON forward.py model.pt ROWS COLUMNS served

As cheap as Python can do it: inference mode, one thread, fresh data in every call, torch.from_numpy and .numpy()
inside the measured time, nothing else. Prints one line of JSON. "served" runs it once for each byte that comes on
stdin, and answers a byte: the process behind `bench_floor gap`.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch


def serve(model: Callable[[torch.Tensor], torch.Tensor], data: np.ndarray) -> None:
    """The next call's data is ready before it is asked for."""
    number = 0
    array = data[0]
    while os.read(0, 1):
        model(torch.from_numpy(array)).numpy()
        os.write(1, b"y")
        number += 1
        array = data[number % 1024] + np.float32(number)


def main() -> None:
    """Measures and prints."""
    path, rows, columns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    served = sys.argv[4] == "served"
    seconds = 0.0 if served else float(sys.argv[4])
    gap = float(sys.argv[5]) / 1000 if len(sys.argv) > 5 else 0.0
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    data = np.random.default_rng(1).standard_normal((1024, 1, rows, columns)).astype(np.float32)
    times = []
    with torch.inference_mode():
        model = torch.jit.load(path).eval()
        for i in range(300):  # the executor's profiling runs, caches, the processor's clock
            model(torch.from_numpy(data[i])).numpy()
        if served:
            serve(model, data)
            return
        until = time.perf_counter() + seconds
        number = 0
        while time.perf_counter() < until:
            number += 1
            array = data[number % 1024] + np.float32(number)
            if gap > 0:
                time.sleep(gap)
            begun = time.perf_counter_ns()
            model(torch.from_numpy(array)).numpy()
            times.append(time.perf_counter_ns() - begun)
    times.sort()
    print(json.dumps({"p50_us": times[len(times) // 2] / 1e3, "p99_us": times[int(len(times) * 0.99)] / 1e3}))


if __name__ == "__main__":
    main()
