"""What the built-in models answer on three real series: the official node's numbers beside ours, as a table.

official_numbers.json holds what the official Python AINode 2.0.5 answered by SQL (official_diff.py --record). The
table is docs/NUMBERS.md: test_numbers.py prints it, and writes it anew with --write-numbers.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iotdb_cluster import Cluster, SqlError
from releases import has_old_ids, is_late

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).resolve().parent / "official_numbers.json"
TABLE = ROOT / "docs" / "NUMBERS.md"
MODELS = ROOT / "tests" / "models"
PACKAGES = ("sktime", "statsmodels", "scipy", "pmdarima", "hmmlearn")
SERIES = ("co2", "airline", "lynx")
LENGTH = 6
FORECASTERS: list[tuple[str, dict[str, str]]] = [
    ("arima", {}),
    ("arima", {"order": "(2,1,1)", "maxiter": "20"}),
    ("holtwinters", {}),
    ("exponential_smoothing", {}),
    ("naive_forecaster", {}),
    ("naive_forecaster", {"strategy": "mean", "sp": "12"}),
    ("stl_forecaster", {}),
    ("stl_forecaster", {"sp": "12"}),
]
DETECTORS: list[tuple[str, dict[str, str]]] = [
    ("gaussian_hmm", {"n_components": "2"}),
    ("gmm_hmm", {"n_components": "2"}),
    ("stray", {}),
    ("stray", {"k": "5"}),
]
LARGE: list[tuple[str, dict[str, str]]] = [("timer_xl", {}), ("sundial", {})]
CASES = FORECASTERS + DETECTORS + LARGE
OLD_IDS = {
    "arima": "_ARIMA",
    "exponential_smoothing": "_ExponentialSmoothing",
    "naive_forecaster": "_NaiveForecaster",
    "stl_forecaster": "_STLForecaster",
    "gaussian_hmm": "_GaussianHMM",
    "gmm_hmm": "_GMMHMM",
    "stray": "_Stray",
}


def released_in(model: str, release: str) -> bool:
    """Whether that release knows the model."""
    return not has_old_ids(release) or model in OLD_IDS


def key(model: str, options: dict[str, str], series: str) -> str:
    """One case's name, as the record and the table have it."""
    return f"{model}({', '.join(f'{name}={value}' for name, value in options.items())}) {series}"


def statement(release: str, model: str, options: dict[str, str], series: str, length: int = LENGTH) -> str:
    """The CALL INFERENCE of a case in that release."""
    name = OLD_IDS[model] if has_old_ids(release) else model
    given = dict(options)
    if (model, options) in FORECASTERS:  # the official node cannot take a length for large models
        given["outputLength" if is_late(release) else "predict_length"] = str(length)
    text = "".join(f', {option}="{value}"' for option, value in given.items())
    return f'CALL INFERENCE({name}, "select v from root.real.{series}"{text})'


def from_python(python: str, code: str) -> Any:
    """What `code` prints as JSON, run by that interpreter beside tests/models/reference.py."""
    done = subprocess.run([python, "-W", "ignore", "-c", code], cwd=MODELS, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{python} lacks what requirements/builtins.txt names: {done.stderr[-1000:]}")
    return json.loads(done.stdout)


def real_series(python: str) -> dict[str, list[float]]:
    """The three series, from sktime and statsmodels."""
    code = "import json, reference; print(json.dumps({k: v.tolist() for k, v in reference.real_series().items()}))"
    return dict(from_python(python, code))


def packages_of(python: str) -> dict[str, str]:
    """Versions of what the numbers depend on."""
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {PACKAGES!r}}}))"
    return dict(from_python(python, code))


def ask(cluster: Cluster, release: str, length: int = LENGTH) -> dict[str, Any]:
    """Every case's first column, or the error's text."""
    answers: dict[str, Any] = {}
    for model, options in CASES:
        if not released_in(model, release):
            continue
        for series in SERIES:
            try:
                rows = cluster.query(statement(release, model, options, series, length)).rows
                answers[key(model, options, series)] = [float(row[0]) for row in rows]
            except SqlError as error:
                answers[key(model, options, series)] = f"{error.code}: {error.message}"
    return answers


def difference(got: list[float], wanted: list[float]) -> float:
    """The largest one, relative to the largest value wanted."""
    assert len(got) == len(wanted) and wanted
    scale = max(abs(value) for value in wanted) or 1.0
    return max(abs(one - other) for one, other in zip(got, wanted)) / scale


@dataclass
class Line:
    """One case of the table: the official answer and, per release, ours."""

    name: str
    official: Any
    ours: dict[str, Any]

    @property
    def is_forecast(self) -> bool:
        """Whether the official answer begins with the last input row."""
        return self.name.split("(")[0] in {model for model, _ in FORECASTERS}

    def shifted(self, release: str) -> float | None:
        """Largest relative difference, forecast by forecast; None when one of both has none."""
        ours = self.ours.get(release)
        if not isinstance(ours, list) or not isinstance(self.official, list):
            return None
        wanted = self.official[1:] if self.is_forecast else self.official
        count = min(len(ours), len(wanted))
        return difference(ours[:count], wanted[:count])


def lines(ours: dict[str, dict[str, Any]]) -> list[Line]:
    """The table, from ours[release][case]."""
    recorded = json.loads(RECORD.read_text())["answers"]
    return [
        Line(name, official, {release: held[name] for release, held in ours.items() if name in held})
        for name, official in recorded.items()
    ]


def cell(answer: Any) -> str:
    """An answer in a few characters."""
    if answer is None:
        return "not in this release"
    if isinstance(answer, str):
        return "refused" if len(answer) > 60 else answer
    if set(answer) <= {0.0, 1.0}:
        return f"{len(answer)} labels, {answer.count(1.0)} of them 1"
    return ", ".join(f"{value:.6g}" for value in answer[:3])


def markdown(ours: dict[str, dict[str, Any]], packages: dict[str, str]) -> str:
    """The whole page; packages: of the interpreter that gave our answers."""
    recorded = json.loads(RECORD.read_text())["packages"]
    versions = [", ".join(f"{name} {version}" for name, version in held.items()) for held in (recorded, packages)]
    releases = sorted(ours, key=lambda release: [int(number) for number in re.findall(r"\d+", release)])
    head = "".join(f" ours, {release} | difference |" for release in releases)
    out = [
        "# Numbers of the built-in models beside the official ones",
        "",
        "Generated by `tests/cluster/test_numbers.py` (`--all --write-numbers`); do not edit. Three series that ship",
        f"with sktime and statsmodels, asked by SQL for {LENGTH} rows. The official answers are those of the Python "
        "AINode",
        "2.0.5 (`tests/cluster/official_diff.py --record`). Of forecasts the first values are shown. The official",
        "forecasters begin with the fitted value of the last input row; the difference is that of the same forecasts,",
        "the largest one, relative to the largest value. COMPATIBILITY.md says why numbers differ. timer_xl and",
        "sundial have small random weights here; the official sundial draws anew on every call, and its draw is most",
        "of the difference (with the same noise the answers are equal: tests/models).",
        "",
        f"Official: {versions[0]}.",
        f"Ours: {versions[1]}.",
        "",
        f"| model and series | official 2.0.5 |{head}",
        "|---|---|" + "---|---|" * len(releases),
    ]
    for line in lines(ours):
        row = f"| {line.name} | {cell(line.official)} |"
        for release in releases:
            far = line.shifted(release)
            row += f" {cell(line.ours.get(release))} | {'' if far is None else f'{far:.1e}'} |"
        out.append(row)
    return "\n".join(out) + "\n"
