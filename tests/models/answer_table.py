"""What models answer in plain PyTorch, as a table for tests whose interpreter has no torch.

    PYTHON answer_table.py MODELS OUT.npz COUNT NAME ...

For every name: COUNT inputs [COUNT, rows, columns], different in every row of the table and exact in float32, as
NAME.input, and what a fresh model answers to each of them as NAME.output.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch

ROWS, COLUMNS = 96, 2
TOGETHER = 64  # so many in one call: the models named here treat each alone


def inputs(count: int, seed: int) -> np.ndarray:
    """Multiples of 1/8 between -512 and 512; the first value of each is its number."""
    random = np.random.default_rng(seed)
    values = random.integers(-4096, 4096, (count, ROWS, COLUMNS)).astype(np.float32) / 8
    values[:, 0, 0] = np.arange(count)
    return values


def answers(path: Path, values: np.ndarray) -> np.ndarray:
    """The model may write into what it gets: it gets copies."""
    model = torch.jit.load(str(path), map_location="cpu").eval()
    parts = [values[start : start + TOGETHER] for start in range(0, len(values), TOGETHER)]
    with torch.inference_mode():
        return np.concatenate([model(torch.tensor(part)).numpy().copy() for part in parts])


def main() -> int:
    """Writes the table."""
    warnings.simplefilter("ignore")
    models, out, count, *names = sys.argv[1:]
    torch.set_num_threads(1)
    table = {}
    for number, name in enumerate(names):
        table[f"{name}.input"] = inputs(int(count), number)
        table[f"{name}.output"] = answers(Path(models) / name / "model.pt", table[f"{name}.input"])
    np.savez(out, **table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
