"""The series that every test cluster holds, and the samples of the models of tests/models."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from iotdb_cluster import Cluster

ROWS = 192


def value(row: int, column: int) -> float:
    """What the test series hold: the samples of tests/models/make_models.py."""
    return round(8 * (10 * math.sin(0.3 * row + column) + row)) / 8


def load_series(cluster: Cluster) -> None:
    """root.t.f (two float columns), .d (doubles), .i (ints), .l (longs), .big (a harmful value), 192 rows each."""
    types = {"f": "FLOAT", "d": "DOUBLE", "i": "INT32", "l": "INT64", "big": "FLOAT", "b": "BOOLEAN", "t": "TEXT"}
    statements = ["CREATE DATABASE root.t"]
    for device, kind in types.items():
        statements.append(f"CREATE ALIGNED TIMESERIES root.t.{device}(s0 {kind}, s1 {kind})")
        rows = []
        for row in range(ROWS):
            cells: list[Any] = [value(row, column) for column in range(2)]
            if device in "il":
                cells = [int(cell) for cell in cells]
            if device == "big":
                cells[0] = 2e6
            if device == "b":
                cells = [str(row % 2 == 0).lower(), str(row % 3 == 0).lower()]
            if device == "t":
                cells = [f"'{row}'", "'x'"]
            rows.append(f"({row * 1000}, {cells[0]}, {cells[1]})")
        statements.append(f"INSERT INTO root.t.{device}(time, s0, s1) ALIGNED VALUES " + ", ".join(rows))
    cluster.execute(*statements)


def sample(models: Path, name: str) -> tuple[list[list[float]], list[list[float]]]:
    """Input and expected output of a model."""
    held = json.loads((models / name / "sample.json").read_text())
    return held["input"], held["output"]


def close(got: list[list[Any]], wanted: list[list[float]], tolerance: float = 1e-5) -> None:
    """Asserts that two tables hold the same numbers, up to float32 rounding."""
    assert [len(row) for row in got] == [len(row) for row in wanted]
    scale = max((abs(cell) for row in wanted for cell in row), default=1.0) or 1.0
    for at, (row, expected) in enumerate(zip(got, wanted, strict=True)):
        for cell, number in zip(row, expected, strict=True):
            assert abs(float(cell) - number) <= tolerance * scale, f"row {at}: {row} is not {expected}"
