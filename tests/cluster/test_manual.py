"""The examples of docs/MODELS.md give what it says they give, on a real cluster.

AIN_WRITE_MANUAL=1 writes what they give now into the manual instead.
"""

from __future__ import annotations

import calendar
import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ainode import Installation, model_states, wait_until
from iotdb_cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
MANUAL = ROOT / "docs" / "MODELS.md"
GOLDEN = ROOT / "tests" / "models" / "golden"
LARGE = ("timer_xl", "sundial")
EXAMPLE = re.compile(r"```sql\n(?P<sql>(?:CALL|SELECT)[^`]*)```\n\n```\n(?P<output>[^`]*)```\n")
#: Fits end where the library's optimiser ends: other versions, other last digits, and for a flat optimum more.
PACKAGES = ("hmmlearn", "pmdarima", "scipy", "sktime", "statsmodels", "torch")
VERSIONS = f"import importlib.metadata as m; print(*(f'{{p}} {{m.version(p)}}' for p in {PACKAGES!r}), sep=', ')"
MADE_WITH = re.compile(r"^Made with (.*)\.$", re.MULTILINE)
AIRLINE = "from sktime.datasets import load_airline; print(*load_airline().tolist())"
pytestmark = [pytest.mark.releases("2.0.5"), pytest.mark.not_on("2.0.6", "2.0.7")]  # CALL INFERENCE


@pytest.fixture(scope="module")
def airline(cluster: Cluster, model_python: str) -> Iterator[Cluster]:
    """root.air.passengers, and the table air: monthly from January 1949."""
    found = subprocess.run([model_python, "-c", AIRLINE], capture_output=True, text=True, check=True)
    values = [float(word) for word in found.stdout.split()]
    assert len(values) == 144
    times = [calendar.timegm((1949 + month // 12, month % 12 + 1, 1, 0, 0, 0)) * 1000 for month in range(144)]
    rows = ", ".join(f"({time}, {value!r})" for time, value in zip(times, values, strict=True))
    cluster.execute(
        "CREATE DATABASE root.air",
        "CREATE TIMESERIES root.air.passengers DOUBLE",
        f"INSERT INTO root.air(time, passengers) VALUES {rows}",
    )
    cluster.execute("CREATE DATABASE manual", table=True)
    cluster.execute(
        "CREATE TABLE air(passengers DOUBLE FIELD)",
        f"INSERT INTO air(time, passengers) VALUES {rows}",
        table=True,
        database="manual",
    )
    yield cluster
    cluster.execute("DROP DATABASE root.air")
    cluster.execute("DROP DATABASE manual", table=True)


@pytest.fixture
def weights(node: Installation, cluster: Cluster) -> Iterator[None]:
    """Small ones for the large models."""
    place = node.models_dir / "weights"
    for model in LARGE:
        shutil.copytree(GOLDEN / model, place / model)
    wait_until(lambda: all(model_states(cluster)[model] == "ACTIVE" for model in LARGE), 30, "both are active")
    yield
    for model in LARGE:
        shutil.rmtree(place / model)
    wait_until(lambda: all(model_states(cluster)[model] == "INACTIVE" for model in LARGE), 20, "they are gone")


def cells(output: str) -> list[list[str]]:
    """The texts of a printed table."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if line[:1] == "|"]


def ask(cluster: Cluster, sql: str) -> str:
    """What the example prints."""
    table = sql.startswith("SELECT")
    answer = cluster.query(" ".join(sql.split()), table=table, database="manual" if table else None)
    return answer.text() + "\n"


def agree(found: str, wanted: str, tolerance: float) -> bool:
    """The same shape and the same numbers, but for what libraries and processors differ in."""
    here, there = cells(found), cells(wanted)
    if [len(row) for row in here] != [len(row) for row in there] or here[0] != there[0]:
        return False
    pairs = [pair for row, other in zip(here[1:], there[1:], strict=True) for pair in zip(row, other, strict=True)]
    return all(math.isclose(float(left), float(right), rel_tol=tolerance) for left, right in pairs)


def test_examples(airline: Cluster, node: Installation, weights: None, model_python: str) -> None:
    text = MANUAL.read_text()
    done = subprocess.run([model_python, "-c", VERSIONS], capture_output=True, text=True, check=True)
    versions = done.stdout.strip()
    made_with = MADE_WITH.search(text)
    assert made_with is not None
    tolerance = 1e-4 if made_with[1] == versions else 0.1
    examples = list(EXAMPLE.finditer(text))
    models = set(re.findall(r"^### ([a-z_]+)$", text, re.MULTILINE))
    assert {model for model in models if any(model in example["sql"] for example in examples)} == models
    changed = text.replace(made_with[0], f"Made with {versions}.")
    for example in examples:
        found = ask(airline, example["sql"])
        if os.environ.get("AIN_WRITE_MANUAL") == "1":
            changed = changed.replace(example[0], example[0].replace(example["output"], found))
        else:
            assert agree(found, example["output"], tolerance), f"{example['sql']}\n{found}\nis not\n{example['output']}"
    if os.environ.get("AIN_WRITE_MANUAL") == "1":
        MANUAL.write_text(changed)
