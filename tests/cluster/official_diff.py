"""The same SQL on a real 2.0.5 cluster, once with the official Python AINode and once with ours: what differs.

    python tests/cluster/official_diff.py --official DIR --zip PACKAGE [--record] [--out FILE]

DIR is laid out as bench/README.md says; `python` has the packages of tests/requirements.txt. Both nodes run the models
with the interpreter of DIR. Every difference in columns, types, rows, numbers, codes and messages is printed with the
rule of RULES that explains it (docs/COMPATIBILITY.md has the whole reasons); the exit status is 1 when one has no rule.
A third run, ours with ain_official_numbers=1, must differ in no number of a forecaster. --record writes
official_numbers.json, the yardstick of test_numbers.py.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT / "tests")]

from ainode import Installation, create_failure, create_model, wait_until  # noqa: E402
from iotdb_cluster import Cluster, SqlError  # noqa: E402
from model_numbers import (  # noqa: E402
    CASES,
    DETECTORS,
    LARGE,
    LENGTH,
    RECORD,
    SERIES,
    ask,
    key,
    packages_of,
    real_series,
    statement,
)
from official import OfficialNode  # noqa: E402
from series import load_doubles, load_series  # noqa: E402

RELEASE = "2.0.5"
MODELS = ROOT / "tests" / "models"
GOLDEN = MODELS / "golden"
USER_MODELS = [
    "identity", "identity_ints", "identity_doubles", "one_column", "dlinear", "dlinear_long", "lstm", "sum",
    "last_rows", "double", "integers", "writes_input", "not_a_number", "raises", "wrong_shape", "wrong_columns",
]  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One statement of the script."""

    name: str
    sql: str
    kind: str = "query"  # or "execute", or "create" (waits for the outcome), or "create again" (of an id that is there)
    table: bool = False


@dataclass
class Answer:
    """What a statement gave: rows, or an error."""

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    code: int = 200
    message: str = ""

    def short(self) -> str:
        """In one line."""
        if self.code != 200:
            return f"{self.code}: {self.message}"
        shown = ", ".join(str(row) for row in self.rows[:2])
        return f"{len(self.rows)} rows {self.columns} {self.types}: {shown}"[:300]


@dataclass(frozen=True)
class Rule:
    """Differences of one cause: steps and aspects by pattern, and the row of COMPATIBILITY.md in a few words."""

    steps: str
    aspects: str
    reason: str


# ---------------------------------------------------------------- the script


def inference(name: str, model: str, query: str, options: str = "") -> Step:
    """One CALL INFERENCE."""
    return Step(name, f'CALL INFERENCE({model}, "{query}"{options})')


def forecast(name: str, model: str, query: str, arguments: str = "") -> Step:
    """One FORECAST table function, sorted by time as far as the time column is there."""
    return Step(name, f"SELECT * FROM FORECAST(MODEL_ID=>'{model}', INPUT=>({query}){arguments})", table=True)


def script(models: Path) -> Iterator[Step]:
    """All statements in order."""
    yield from shows()
    yield from built_ins()
    yield from user_models(models)
    yield from bad_models(models)
    yield from forecasts()
    yield from removals()


def shows() -> Iterator[Step]:
    yield Step("show models", "SHOW MODELS")
    yield Step("show one model", "SHOW MODELS arima")
    yield Step("show a large model", "SHOW MODELS timer_xl")
    yield Step("show an unknown model", "SHOW MODELS nothing_here")
    yield Step("show models, table", "SHOW MODELS", table=True)
    yield Step("show ainodes, columns", "SHOW AINODES")
    yield Step("statements of later releases", "SHOW LOADED MODELS")


def built_ins() -> Iterator[Step]:
    for model, options in CASES:
        for series in SERIES:
            yield Step(f"number {key(model, options, series)}", statement(RELEASE, model, options, series, LENGTH + 1))
    source = "select v from root.real.lynx"
    for name, model, options in (
        ("default length", "naive_forecaster", ""),
        ("default length, large", "timer_xl", ""),
        ("sundial", "sundial", ", predict_length=6"),
        ("time", "naive_forecaster", ", generateTime=true, predict_length=3"),
        ("head", "naive_forecaster", ", window=head(50), predict_length=2"),
        ("tail", "naive_forecaster", ", window=tail(50), predict_length=2"),
        ("count", "naive_forecaster", ", window=count(20, 40), predict_length=1"),
        ("unknown attribute", "naive_forecaster", ", strateggy=mean"),
        ("range, low", "naive_forecaster", ", sp=0"),
        ("range, high", "naive_forecaster", ", predict_length=5001"),
        ("zero rows", "naive_forecaster", ", predict_length=0"),
        ("no number", "naive_forecaster", ", predict_length=many"),
        ("no choice", "naive_forecaster", ', strategy="median"'),
        ("no truth", "exponential_smoothing", ', damped_trend="maybe"'),
        ("damped", "exponential_smoothing", ', damped_trend="true", predict_length=3'),
        ("heuristic", "exponential_smoothing", ', initialization_method="heuristic", predict_length=3'),
        ("known", "exponential_smoothing", ', initialization_method="known", predict_length=3'),
        ("short order", "arima", ', order="(1,0)"'),
        ("order is a program", "arima", """, order="tuple([1,0,0])", predict_length=3"""),
        ("seasonal", "arima", ', order="(1,0,0)", seasonal_order="(0,1,0,12)", maxiter=20, predict_length=3'),
        ("newton", "arima", ', method="newton", maxiter=5, predict_length=3'),
        ("stl, even seasonal", "stl_forecaster", ", sp=12, seasonal=8, predict_length=3"),
        ("stl, degrees", "stl_forecaster", ", sp=12, trend_deg=0, seasonal_deg=1, predict_length=3"),
        ("stray, tail", "stray", ', outlier_tail="min"'),
        ("stray, bad tail", "stray", ', outlier_tail="both"'),
    ):
        yield inference(f"built-in {name}", model, source, options)
    for device in "dfil":
        both = f"select s0, s1 from root.t.{device}"
        yield inference(f"two columns of {device}", "naive_forecaster", both, ", predict_length=3")
        yield inference(f"two columns of {device} to a detector", "stray", both)
    yield inference("two columns to timer_xl", "timer_xl", "select s0, s1 from root.t.d", ", predict_length=3")
    yield inference("text to a built-in", "naive_forecaster", "select s0 from root.t.t")
    yield inference("booleans to a built-in", "naive_forecaster", "select s0 from root.t.b")
    yield inference("one row", "naive_forecaster", "select s0 from root.t.d limit 1", ", predict_length=2")
    yield inference("no rows", "naive_forecaster", "select s0 from root.t.d where time > 1000000000")
    yield inference("no such series", "naive_forecaster", "select s9 from root.t.d")
    yield inference("few rows to timer_xl", "timer_xl", "select s0 from root.t.d limit 3", ", predict_length=3")
    yield inference("nulls", "naive_forecaster", "select v, w from root.holes.d", ", predict_length=2")
    yield inference("nulls to a detector", "stray", "select v, w from root.holes.d")
    yield inference("unknown model", "never_created", source)
    yield inference("old id", "_NaiveForecaster", source)
    yield inference("other case", "Naive_Forecaster", source)


def user_models(models: Path) -> Iterator[Step]:
    both = "select s0, s1 from root.t.{} where time < {}"
    for name in USER_MODELS:
        device = {"identity_ints": "i", "identity_doubles": "d", "double": "d"}.get(name, "f")
        columns = "s0" if name == "one_column" else "s0, s1"
        yield Step(f"create {name}", f'CREATE MODEL u_{name} USING URI "file://{models}/{name}"', "create")
        yield inference(f"call {name}", f"u_{name}", f"select {columns} from root.t.{device} where time < 96000")
    yield Step("show a user model", "SHOW MODELS u_identity")
    identity = "u_identity"
    for name, options in (
        ("head", ", window=head(96)"),
        ("head, too long", ", window=head(400)"),
        ("tail", ", window=tail(96)"),
        ("count", ", window=count(96, 48)"),
        ("count, long step", ", window=count(96, 500)"),
        ("count, too long", ", window=count(400, 1)"),
        ("count, zero", ", window=count(0, 1)"),
        ("unknown window", ", window=middle(5)"),
        ("time", ", generateTime=true"),
        ("no truth for time", ", generateTime=maybe"),
        ("unknown attribute", ", colour=red"),
        ("predict_length", ", predict_length=10"),
    ):
        yield inference(f"user model, {name}", identity, both.format("f", 192000), options)
    yield inference("user model, other types", identity, both.format("d", 96000))
    yield inference("user model, ints", identity, both.format("i", 96000))
    yield inference("user model, one column", identity, "select s0 from root.t.f where time < 96000")
    yield inference("user model, rows it cannot take", "u_dlinear", both.format("f", 50000))
    yield inference("user model, no rows", identity, "select s0, s1 from root.t.f where time > 1000000000")
    yield inference("user model, harmful value", "u_raises", both.format("big", 96000))
    yield inference("user model, harmful shape", "u_wrong_shape", both.format("big", 96000))
    yield inference("user model, harmful columns", "u_wrong_columns", both.format("big", 96000))
    yield Step(
        "create again, other content", f'CREATE MODEL u_identity USING URI "file://{models}/dlinear"', "create again"
    )
    yield Step("create a built-in's name", f'CREATE MODEL arima USING URI "file://{models}/identity"', "create again")
    yield Step("create weights", f'CREATE MODEL weights USING URI "file://{models}/identity"', "create")


def bad_models(models: Path) -> Iterator[Step]:
    for name, uri in (
        ("nowhere", "file:///no/such/folder"),
        ("a file", f"file://{models}/identity/model.pt"),
        ("no config", f"file://{models}/bad/no_config"),
        ("no model", f"file://{models}/bad/no_model"),
        ("ftp", "ftp://127.0.0.1/model"),
        ("refused http", "http://127.0.0.1:9/model/"),
        ("plain path", f"{models}/identity"),
        ("no torchscript", f"file://{models}/bad/no_torchscript"),
        ("unknown key", f"file://{models}/bad/unknown_key"),
        ("no input shape", f"file://{models}/bad/no_input_shape"),
        ("bad type", f"file://{models}/bad/bad_type"),
        ("no yaml", f"file://{models}/bad/no_yaml"),
        ("cannot work", f"file://{models}/always_raises"),
    ):
        identifier = "bad_" + name.replace(" ", "_")
        yield Step(f"create bad: {name}", f'CREATE MODEL {identifier} USING URI "{uri}"', "create")
        yield Step(f"show bad: {name}", f"SHOW MODELS {identifier}")
    for name, identifier in (("short id", "a"), ("underscore", "_hidden"), ("path", "`../outside`")):
        yield Step(f"create bad: {name}", f'CREATE MODEL {identifier} USING URI "file://{models}/identity"', "create")


def forecasts() -> Iterator[Step]:
    lynx, both = "SELECT time, v FROM lynx", "SELECT time, v, w FROM lynx"
    for name, model, query, arguments in (
        ("built-in", "naive_forecaster", lynx, ", OUTPUT_LENGTH=>5"),
        ("arima", "arima", lynx, ", OUTPUT_LENGTH=>5, MODEL_OPTIONS=>'maxiter=20'"),
        ("stl", "stl_forecaster", lynx, ", OUTPUT_LENGTH=>5, MODEL_OPTIONS=>'sp=12'"),
        ("stray", "stray", lynx, ", OUTPUT_LENGTH=>5"),
        ("default length", "naive_forecaster", lynx, ""),
        ("long", "naive_forecaster", lynx, ", OUTPUT_LENGTH=>5001"),
        ("zero", "naive_forecaster", lynx, ", OUTPUT_LENGTH=>0"),
        ("two columns", "naive_forecaster", both, ", OUTPUT_LENGTH=>5"),
        ("chosen column", "naive_forecaster", both, ", OUTPUT_LENGTH=>5, PREDICATED_COLUMNS=>'w'"),
        ("ints", "naive_forecaster", "SELECT time, i, l FROM kinds", ", OUTPUT_LENGTH=>3"),
        ("floats", "naive_forecaster", "SELECT time, f FROM kinds", ", OUTPUT_LENGTH=>3"),
        ("text", "naive_forecaster", "SELECT time, t FROM kinds", ", OUTPUT_LENGTH=>3"),
        ("nulls", "naive_forecaster", "SELECT time, h FROM kinds", ", OUTPUT_LENGTH=>3"),
        (
            "start and step",
            "naive_forecaster",
            lynx,
            ", OUTPUT_LENGTH=>3, OUTPUT_START_TIME=>9000000, OUTPUT_INTERVAL=>60000",
        ),
        ("input kept", "naive_forecaster", f"{lynx} WHERE time < 4000", ", OUTPUT_LENGTH=>2, PRESERVE_INPUT=>true"),
        ("time column", "naive_forecaster", "SELECT time AS t, v FROM lynx", ", OUTPUT_LENGTH=>2, TIMECOL=>'t'"),
        ("bad option", "naive_forecaster", lynx, ", OUTPUT_LENGTH=>2, MODEL_OPTIONS=>'sp=0'"),
        ("unknown option", "naive_forecaster", lynx, ", OUTPUT_LENGTH=>2, MODEL_OPTIONS=>'colour=red'"),
        (
            "partitions",
            "naive_forecaster",
            "SELECT * FROM parts) PARTITION BY device ORDER BY (time",
            ", OUTPUT_LENGTH=>2",
        ),
        ("timer_xl", "timer_xl", lynx, ", OUTPUT_LENGTH=>10"),
        ("timer_xl, two columns", "timer_xl", both, ", OUTPUT_LENGTH=>10"),
        ("sundial", "sundial", lynx, ", OUTPUT_LENGTH=>10"),
        ("sundial, long", "sundial", lynx, ", OUTPUT_LENGTH=>1000"),
        ("user model", "u_one_column", lynx, ""),
        ("user model, fewer", "u_one_column", lynx, ", OUTPUT_LENGTH=>10"),
        ("user model, more", "u_one_column", lynx, ", OUTPUT_LENGTH=>200"),
        ("user model, two columns", "u_identity", both, ""),
        ("user model, one of two columns", "u_identity", lynx, ""),
        ("unknown model", "never_created", lynx, ""),
    ):
        yield forecast(f"forecast {name}", model, query, arguments)


def removals() -> Iterator[Step]:
    yield Step("drop a user model", "DROP MODEL u_identity", "execute")
    yield Step("show it", "SHOW MODELS u_identity")
    yield inference("call a dropped model", "u_identity", "select s0, s1 from root.t.f where time < 96000")
    yield Step("drop it again", "DROP MODEL u_identity", "execute")
    yield Step("drop a built-in", "DROP MODEL arima", "execute")
    yield Step("drop a large model", "DROP MODEL timer_xl", "execute")
    yield Step("drop what never was", "DROP MODEL never_created", "execute")
    yield Step("drop by an odd name", "DROP MODEL `../outside`", "execute")
    yield Step("train", "CREATE MODEL tuned FROM MODEL timer_xl ON DATASET (PATH root.t.d)", "execute")


# ---------------------------------------------------------------- running it


def load(cluster: Cluster, real: dict[str, list[float]]) -> None:
    """All data that the script reads."""
    load_series(cluster)
    load_doubles(cluster, "real", real)
    holes = ", ".join(f"({row * 1000}, {float(row)})" for row in range(0, 20, 2))
    cluster.execute(
        "CREATE DATABASE root.holes",
        "CREATE ALIGNED TIMESERIES root.holes.d(v DOUBLE, w DOUBLE)",
        f"INSERT INTO root.holes.d(time, v) ALIGNED VALUES {holes}",
        "INSERT INTO root.holes.d(time, w) ALIGNED VALUES (1000, 1.0), (3000, 1.0), (19000, 2.0)",
    )
    lynx = ", ".join(f"({row * 1000}, {v!r}, {-v!r})" for row, v in enumerate(real["lynx"]))
    kinds = ", ".join(
        f"({row * 1000}, {row}, {row}, {row}.5, 'x', {'null' if row % 3 else f'{row}.5'})" for row in range(20)
    )
    parts = ", ".join(f"({row * 1000}, '{name}', {row + ord(name)}.0)" for name in "ab" for row in range(20))
    cluster.execute("CREATE DATABASE diff", table=True)
    cluster.execute(
        "CREATE TABLE lynx(v DOUBLE FIELD, w DOUBLE FIELD)",
        f"INSERT INTO lynx(time, v, w) VALUES {lynx}",
        "CREATE TABLE kinds(i INT32 FIELD, l INT64 FIELD, f FLOAT FIELD, t STRING FIELD, h DOUBLE FIELD)",
        f"INSERT INTO kinds(time, i, l, f, t, h) VALUES {kinds}",
        "CREATE TABLE parts(device STRING TAG, v DOUBLE FIELD)",
        f"INSERT INTO parts(time, device, v) VALUES {parts}",
        table=True,
        database="diff",
    )


def bad_folders(models: Path) -> None:
    """The folders that no node should register, below `models`/bad."""
    sound = models / "identity"
    configs = {
        "no_config": None,
        "no_model": (sound / "config.yaml").read_text(),
        "no_torchscript": (sound / "config.yaml").read_text(),
        "unknown_key": (sound / "config.yaml").read_text().replace("configs:", "configs:\n  colour: red"),
        "no_input_shape": "configs:\n  output_shape: [96, 2]\n",
        "bad_type": "configs:\n  input_shape: [96, 2]\n  output_shape: [96, 2]\n  input_type: [decimal, decimal]\n",
        "no_yaml": "configs: [",
    }
    for name, config in configs.items():
        folder = models / "bad" / name
        folder.mkdir(parents=True)
        if config is not None:
            (folder / "config.yaml").write_text(config)
        if name == "no_torchscript":
            (folder / "model.pt").write_text("not a model\n")
        elif name != "no_model":
            shutil.copy(sound / "model.pt", folder)


def run_step(cluster: Cluster, step: Step) -> Answer:
    """The answer of one statement; never an exception of SQL."""
    try:
        if step.kind == "query":
            return typed_query(cluster, step)
        if step.kind == "create":
            create_model(cluster, step.sql.split()[2], step.sql.split('"')[1], timeout=60)
        elif step.kind == "create again":  # CALL INFERENCE would know the id at once
            return second_create(cluster, step)
        else:
            cluster.execute(step.sql)
        return Answer([], [], [])
    except SqlError as error:
        return Answer([], [], [], error.code, error.message)
    except (IndexError, KeyError, ValueError, TypeError) as error:
        return Answer([], [], [], -1, f"the client cannot read the answer: {type(error).__name__}: {error}")


def second_create(cluster: Cluster, step: Step) -> Answer:
    """CREATE MODEL of an id that is there: refused at once or within three seconds, or accepted."""
    try:
        return Answer([], [], [], 1500, create_failure(cluster, step.sql.split()[2], step.sql.split('"')[1], timeout=3))
    except AssertionError:
        return Answer([], [], [])


def typed_query(cluster: Cluster, step: Step) -> Answer:
    """Rows with the names of their types; a table's in the order of time."""
    rows, types = cluster.query_typed(step.sql, table=step.table, database="diff" if step.table else None)
    cells = rows.rows
    times = [at for at, name in enumerate(rows.columns) if name in ("time", "t")]
    parts = [at for at, kind in enumerate(types) if kind == "STRING"]
    if step.table and times:
        cells = sorted(cells, key=lambda row: ([str(row[at]) for at in parts], [int(row[at]) for at in times]))
    if "ainodes" in step.name:
        cells = []  # ids, versions and ports
    return Answer(rows.columns, types, cells)


def run_script(cluster: Cluster, models: Path, say: Callable[[str], None]) -> dict[str, Answer]:
    """All answers by the steps' names."""
    answers = {}
    for step in script(models):
        answers[step.name] = run_step(cluster, step)
        say(f"  {step.name}: {answers[step.name].short()}")
    return answers


# ---------------------------------------------------------------- comparing


def differences(official: Answer, ours: Answer) -> Iterator[tuple[str, str, str]]:
    """(aspect, official, ours) for everything that differs between two answers."""
    if official.code != ours.code:
        what = "success" if ours.code == 200 else "refused" if official.code == 200 else "code"
        yield what, official.short(), ours.short()
        return
    if official.code != 200:
        if official.message != ours.message:
            yield "message", official.message, ours.message
        return
    for aspect in ("columns", "types"):
        if getattr(official, aspect) != getattr(ours, aspect):
            yield aspect, str(getattr(official, aspect)), str(getattr(ours, aspect))
    if len(official.rows) != len(ours.rows):
        yield "count", official.short(), ours.short()
    elif [row for row in official.rows] != [row for row in ours.rows]:
        far = distance(official.rows, ours.rows)
        if far > 1e-6:
            aspect = "shifted" if is_shifted(official, ours) else "numbers"
            at = next(row for row, (one, other) in enumerate(zip(official.rows, ours.rows)) if one != other)
            yield aspect, f"row {at}: {official.rows[at : at + 3]}", f"row {at}: {ours.rows[at : at + 3]} ({far:.1e})"


def distance(official: list[list[Any]], ours: list[list[Any]]) -> float:
    """Largest difference relative to the largest number of its column; infinite where something else differs."""
    worst = 0.0
    for ours_column, official_column in zip(zip(*ours), zip(*official)):
        try:
            wanted = [math.nan if cell is None else float(cell) for cell in official_column]
            got = [math.nan if cell is None else float(cell) for cell in ours_column]
        except (TypeError, ValueError):
            if ours_column != official_column:
                return math.inf
            continue
        finite = [abs(value) for value in wanted if math.isfinite(value)]
        scale = max(finite, default=1.0) or 1.0
        for one, other in zip(got, wanted):
            if one != other and not (math.isnan(one) and math.isnan(other)):
                worst = max(worst, abs(one - other) / scale if math.isfinite(one - other) else math.inf)
    return worst


def is_shifted(official: Answer, ours: Answer) -> bool:
    """Whether ours begin with the official second forecast."""
    at = [number for number, name in enumerate(official.columns) if name.lower() not in ("time", "t")]
    later = [[row[number] for number in at] for row in official.rows[1:]]
    return bool(later) and distance(later, [[row[number] for number in at] for row in ours.rows[:-1]]) < 1e-9


HORIZON = "the official forecasts begin with the fitted value of the last input row"
RULES = [
    Rule(
        "show models*", "numbers", "the order of rows: the official node lists weights before the other built-ins' end"
    ),
    Rule("number *|built-in *|two columns of *|nulls|forecast *", "shifted", HORIZON),
    Rule(
        "built-in default length|built-in unknown attribute|forecast input kept|forecast partitions", "numbers", HORIZON
    ),
    Rule("number holtwinters*", "numbers", "holtwinters has neither trend nor season there"),
    Rule("number g*_hmm*", "success", "hidden Markov models fail there in every call"),
    Rule("built-in damped", "success", "damped_trend needs a trend, which could not be given"),
    Rule(
        "built-in sundial|two columns to timer_xl",
        "success",
        "predict_length stays a text there, which large models cannot use",
    ),
    Rule("forecast sundial*|number sundial*", "numbers", "the official node draws anew on every call"),
    Rule("forecast timer_xl, two columns", "success", "large models look at the first column only"),
    Rule("built-in count", "count", "windows are ignored for built-ins"),
    Rule("built-in order is a program", "refused", "attributes are evaluated as Python"),
    Rule(
        "built-in *|few rows*|other case|user model, *|forecast bad option|create bad: *",
        "message",
        "the sentence names model, allowed values and place",
    ),
    Rule("forecast stray", "success", "detectors answer all rows, FORECAST wants OUTPUT_LENGTH"),
    Rule("forecast user model, fewer", "success", "OUTPUT_LENGTH is ignored for user models"),
    Rule("forecast user model, more", "code", "OUTPUT_LENGTH is ignored for user models"),
    Rule("forecast user model, one of two columns", "refused", "the number of columns is not checked"),
    Rule("call double", "success", "DOUBLE is narrowed to float32"),
    Rule("user model, harmful shape", "code", "the shape of answers is not checked"),
    Rule("user model, harmful columns", "refused", "the shape of answers is not checked"),
    Rule("create a built-in's name", "refused", "a user model may take a built-in's name and replaces it"),
    Rule("forecast arima", "success", "that user model answers in arima's place"),
    Rule(
        "create weights",
        "refused",
        "the name of a folder of its own is accepted there; the model is gone after a restart",
    ),
    Rule("create bad: no torchscript|create bad: cannot work", "refused", "models are not tried at registration"),
    Rule("show bad: *", "count", "a failed registration stays listed"),
    Rule("train", "message", "the official node does not answer"),
]


USED: set[Rule] = set()


def explain(name: str, aspect: str) -> Rule | None:
    """The first rule that fits."""
    for rule in RULES:
        if any(fnmatch.fnmatch(name, part) for part in rule.steps.split("|")) and aspect in rule.aspects.split("|"):
            USED.add(rule)
            return rule
    return None


def report(official: dict[str, Answer], ours: dict[str, Answer], out: list[str]) -> int:
    """Writes every difference; returns how many have no rule."""
    unexplained, equal = 0, 0
    for name in official:
        found = list(differences(official[name], ours[name]))
        equal += not found
        for aspect, theirs, own in found:
            rule = explain(name, aspect)
            unexplained += rule is None
            out.append(f"{name}: {aspect}\n    official  {theirs}\n    ours      {own}")
            out.append(f"    reason    {rule.reason if rule else '*** none ***'}")
    for rule in set(RULES) - USED:
        unexplained += 1
        out.append(f"a rule that explains nothing: {rule.steps}: {rule.reason}")
    out.append(f"{len(official)} statements: {equal} with equal answers, {unexplained} differences without a reason")
    return unexplained


# ---------------------------------------------------------------- the program


def on_cluster(work: Path, name: str, real: dict[str, list[float]]) -> Cluster:
    """A fresh 2.0.5 cluster with the data."""
    cluster = Cluster.start(RELEASE, work / name)
    try:
        cluster.wait_ready()
        load(cluster, real)
    except BaseException:
        cluster.remove()
        raise
    return cluster


def wait_for_weights(cluster: Cluster) -> None:
    """Both large models are active."""
    wait_until(lambda: set(cluster.query("SHOW MODELS").column("State")) == {"ACTIVE"}, 60, "all models are active")


def with_official(args: argparse.Namespace, work: Path, models: Path, real: Any, say: Any) -> dict[str, Answer]:
    """The script's answers with the official node."""
    cluster = on_cluster(work, "official-cluster", real)
    node = OfficialNode(args.official, work / "official-node", cluster)
    try:
        for name in ("timer_xl", "sundial"):
            node.add_weights(GOLDEN / name)
        node.start(cluster)
        wait_for_weights(cluster)
        if args.record:
            answers = ask(cluster, RELEASE, LENGTH + 1)
            packages = packages_of(node.python)
            RECORD.write_text(
                json.dumps({"release": RELEASE, "packages": packages, "answers": answers}, indent=1) + "\n"
            )
        return run_script(cluster, models, say)
    finally:
        node.kill()
        cluster.remove()


def with_ours(
    args: argparse.Namespace, work: Path, models: Path, real: Any, say: Any
) -> tuple[dict[str, Answer], dict[str, Any]]:
    """The script's answers with our node, and its forecasts with ain_official_numbers=1."""
    cluster = on_cluster(work, "our-cluster", real)
    python = str(args.official / "venv" / "bin" / "python")
    node = Installation.unpack(args.zip, work / "our-node", python, cluster)
    try:
        for name in ("timer_xl", "sundial"):
            shutil.copytree(GOLDEN / name, node.models_dir / "weights" / name)
        node.configure(ain_official_numbers="1")
        node.start_running(cluster, timeout=180)
        wait_for_weights(cluster)
        as_official = ask(cluster, RELEASE, LENGTH + 1)
        node.stop()
        node.configure(ain_official_numbers="0")
        node.start_running(cluster, timeout=180)
        wait_for_weights(cluster)
        return run_script(cluster, models, say), as_official
    finally:
        node.kill()
        cluster.remove()


def main() -> int:
    """The command line of the module's docstring."""
    parser = argparse.ArgumentParser(description="The official AINode 2.0.5 and ours, by the same SQL.")
    parser.add_argument("--official", type=Path, required=True)
    parser.add_argument("--zip", type=Path, required=True)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    args.official, args.zip = args.official.resolve(), args.zip.resolve()
    say: Callable[[str], None] = print if args.verbose else lambda text: None
    python = str(args.official / "venv" / "bin" / "python")
    real = real_series(python)
    with tempfile.TemporaryDirectory(prefix="ainode-diff-") as folder:
        work = Path(folder)
        models = work / "models"
        models.mkdir()
        subprocess.run([python, str(MODELS / "make_models.py"), str(models)], check=True)
        bad_folders(models)
        official = with_official(args, work, models, real, say)
        ours, as_official = with_ours(args, work, models, real, say)
    out: list[str] = []
    failed = report(official, ours, out)
    failed += same_numbers(official, as_official, out)
    text = "\n".join(out) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text)
    return 1 if failed else 0


def same_numbers(official: dict[str, Answer], as_official: dict[str, Any], out: list[str]) -> int:
    """With ain_official_numbers=1 every forecast is the official one; returns how many are not."""
    failed = 0
    for model, options in CASES:
        if (model, options) in DETECTORS + LARGE:
            continue
        for series in SERIES:
            name = key(model, options, series)
            theirs = official[f"number {name}"]
            own = as_official[name]
            if theirs.code != 200 and isinstance(own, str):
                continue  # both refuse
            far = math.inf
            if theirs.code == 200 and isinstance(own, list) and len(own) == len(theirs.rows):
                far = distance(theirs.rows, [[value] for value in own])
            failed += far > 1e-9
            out.append(f"ain_official_numbers=1: {name}: largest relative difference {far:.1e}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
