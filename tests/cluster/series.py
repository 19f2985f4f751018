"""The series that every test cluster holds, and the samples of the models of tests/models."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from iotdb_cluster import Cluster
from releases import calls_inference

ROWS = 192


def value(row: int, column: int) -> float:
    """What the test series hold: the samples of tests/models/make_models.py."""
    return round(8 * (10 * math.sin(0.3 * row + column) + row)) / 8


def load_series(cluster: Cluster) -> None:
    """root.t.f (two float columns), .d (doubles), .i (ints), .l (longs), .big (a harmful value), 192 rows each; and
    tables t.f, ... of the same content where only FORECAST can ask models."""
    types = {"f": "FLOAT", "d": "DOUBLE", "i": "INT32", "l": "INT64", "big": "FLOAT", "b": "BOOLEAN", "t": "TEXT"}
    statements = ["CREATE DATABASE root.t"]
    tables = []
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
        tables.append(f"CREATE TABLE {device}(s0 {kind} FIELD, s1 {kind} FIELD)")
        tables.append(f"INSERT INTO {device}(time, s0, s1) VALUES " + ", ".join(rows))
    cluster.execute(*statements)
    if not calls_inference(cluster.version):
        cluster.execute("CREATE DATABASE t", table=True)
        cluster.execute(*tables, table=True, database="t")


def load_doubles(cluster: Cluster, database: str, series: dict[str, list[float]]) -> None:
    """root.DATABASE.<series>.v, one value a second; and tables DATABASE.<series>(v) where FORECAST alone can ask."""
    statements = [f"CREATE DATABASE root.{database}"]
    tables = []
    for name, values in series.items():
        rows = ", ".join(f"({row * 1000}, {value!r})" for row, value in enumerate(values))
        statements.append(f"CREATE TIMESERIES root.{database}.{name}.v DOUBLE")
        statements.append(f"INSERT INTO root.{database}.{name}(time, v) VALUES {rows}")
        tables += [f"CREATE TABLE {name}(v DOUBLE FIELD)", f"INSERT INTO {name}(time, v) VALUES {rows}"]
    cluster.execute(*statements)
    if not calls_inference(cluster.version):
        cluster.execute(f"CREATE DATABASE {database}", table=True)
        cluster.execute(*tables, table=True, database=database)


def drop_doubles(cluster: Cluster, database: str) -> None:
    """What load_doubles() made."""
    cluster.execute(f"DROP DATABASE root.{database}")
    if not calls_inference(cluster.version):
        cluster.execute(f"DROP DATABASE {database}", table=True)


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
