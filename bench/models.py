"""Makes the models that the comparison registers, with the interpreter that runs them.

    PYTHON models.py OUT

Beside those of tests/models: one with a long answer, one with a long input, and for the LSTM, which is not affine, a
table of inputs and the answers PyTorch gives to them one by one (bench_load --pairs).
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "models"))

import make_models  # noqa: E402

PAIRS = 8192
LONG_REPLY, LONG_INPUT = 100_000, 1_000_000


class LongReply(nn.Module):
    """100,000 different rows from the mean of 96."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.linspace(0.5, 1.5, LONG_REPLY).reshape(1, LONG_REPLY, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[N, 96, 1] to [N, 100000, 1]."""
        return x.mean(dim=1, keepdim=True) * self.weights


class LongInput(nn.Module):
    """The mean of a million rows."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1000000, 1] to [N, 1, 1]."""
        return x.mean(dim=1, keepdim=True)


def write_pairs(model: Path, path: Path) -> None:
    """The file that bench_load --pairs reads: three counts, then float32 inputs and answers by columns."""
    module = torch.jit.load(str(model)).eval()
    data = np.random.default_rng(7).standard_normal((PAIRS, make_models.ROWS, make_models.COLUMNS)).astype(np.float32)
    with torch.inference_mode(), path.open("wb") as file:
        for number, sample in enumerate(data):
            answer = module(torch.from_numpy(sample[None])).numpy()[0]
            if number == 0:
                np.array([PAIRS, sample.size, answer.size], dtype=np.uint32).tofile(file)
            sample.tofile(file)
            np.ascontiguousarray(answer.T).tofile(file)


def main() -> None:
    """Writes all of them."""
    warnings.simplefilter("ignore")
    out = Path(sys.argv[1])
    recipes = make_models.RECIPES
    recipes["long_reply"] = make_models.Recipe(LongReply, (96, 1), (LONG_REPLY, 1), has_sample=False)
    recipes["long_input"] = make_models.Recipe(
        LongInput, (LONG_INPUT, 1), (1, 1), input_type="float64", output_type="float64", has_sample=False
    )
    for name in ("dlinear_long", "lstm", "long_reply", "long_input"):
        make_models.make(name, out)
    write_pairs(out / "lstm" / "model.pt", out / "lstm.pairs")


if __name__ == "__main__":
    main()
