"""Trains a small DLinear on one CSV series and writes what CREATE MODEL wants: model.pt and config.yaml.

    PYTHON train.py SERIES.csv OUT

DLinear splits a series into its trend (a moving average) and the rest, and maps each to the future by one linear layer.
The model takes the last 48 months and answers the next 24; it works on logarithms around the mean of its input, so it
needs no scaling outside. The last 24 rows of the file are never shown to it: forecast.py compares with them.
"""

from __future__ import annotations

import csv
import sys
import time
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

LENGTH, HORIZON, KERNEL = 48, 24, 13
EPOCHS = 120  # there are 49 windows only: many more would learn them by heart


class DLinear(nn.Module):
    """[batch, 48, 1] in, [batch, 24, 1] out."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = KERNEL
        self.trend = nn.Linear(LENGTH, HORIZON)
        self.season = nn.Linear(LENGTH, HORIZON)
        for layer in (self.trend, self.season):
            nn.init.constant_(layer.weight, 1.0 / LENGTH)

    def forward(self, x: Tensor) -> Tensor:
        """One forecast of every column."""
        logs = torch.log(torch.clamp(x, min=1.0)).transpose(1, 2)
        level = logs.mean(dim=2, keepdim=True)
        series = logs - level
        padded = nn.functional.pad(series, [self.kernel // 2, self.kernel // 2], mode="replicate")
        trend = nn.functional.avg_pool1d(padded, self.kernel, stride=1)
        future = self.trend(trend) + self.season(series - trend)
        return torch.exp(future + level).transpose(1, 2)


def read_series(path: Path) -> list[float]:
    """The second column of a CSV file with a header."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [float(row[1]) for row in rows]


def train(values: list[float]) -> tuple[DLinear, float]:
    """Fits the model to all windows of `values`; returns it with its mean relative error on them."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    count = len(values) - LENGTH - HORIZON + 1
    if count < 1:
        raise SystemExit(f"the series is too short: {len(values)} rows, at least {LENGTH + HORIZON} are needed")
    data = torch.tensor(values)
    inputs = torch.stack([data[at : at + LENGTH] for at in range(count)]).unsqueeze(2)
    wanted = torch.stack([data[at + LENGTH : at + LENGTH + HORIZON] for at in range(count)]).unsqueeze(2)
    model = DLinear()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-4)
    error = 0.0
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        answer = model(inputs)
        loss = ((torch.log(answer) - torch.log(wanted)) ** 2).mean()
        loss.backward()
        optimizer.step()
        error = float(((answer - wanted).abs() / wanted).mean())
    return model.eval(), error


def main() -> int:
    """Reads, trains, writes."""
    if len(sys.argv) != 3:
        print("usage: train.py SERIES.csv OUT", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")
    values = read_series(Path(sys.argv[1]))
    out = Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    model, error = train(values[:-HORIZON])
    torch.jit.script(model).save(str(out / "model.pt"))
    (out / "config.yaml").write_text(
        f"configs:\n  input_shape: [{LENGTH}, 1]\n  output_shape: [{HORIZON}, 1]\n"
        "  input_type: [float32]\n  output_type: [float32]\n"
        "attributes:\n  kind: DLinear\n"
    )
    print(
        f"DLinear {LENGTH} -> {HORIZON}, {len(values) - HORIZON} rows, {EPOCHS} epochs in "
        f"{time.monotonic() - started:.1f} s, mean error on them {100 * error:.1f} %"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
