"""Measures the built-in models of this AINode beside the official Python AINode 2.0.5.

    python bench/models_bench.py --official DIR [--only GROUP,...] [--parts PART,...] [--rounds 3] [--figures FILE]

The two run in turn, never both at once, with the same interpreter, libraries and weights. GROUPs: statistical, naive,
timer_xl, sundial. PARTs: kernel (the bare work), ours, official. --figures keeps what was found in a file and adds to
it, so that on a machine with other users groups and parts can be measured in short pieces, one after the other.
bench/README.md says what is needed and how to read it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import nodes  # noqa: F401 - extends the path by tests/support
import numpy as np
from caller import Caller, Refused
from compare import Figures, Table, processor_times, quotient, shown
from frames import receive_frame
from generated import load_families
from nodes import ROOT, Node, Official, Ours, load_bindings
from thrift.transport.TTransport import TTransportException
from tsblock import decode, encode

GROUPS = ("statistical", "naive", "timer_xl", "sundial")
PARTS = ("kernel", "ours", "official")
#: Model, attributes. The official holtwinters has neither trend nor season: trend=none is the same.
STATISTICAL = (
    ("arima", {}),
    ("holtwinters", {"trend": "none"}),
    ("exponential_smoothing", {}),
    ("naive_forecaster", {}),
    ("stl_forecaster", {"sp": "12"}),
    ("gaussian_hmm", {"n_components": "2"}),
    ("gmm_hmm", {"n_components": "2"}),
    ("stray", {}),
)
DETECTORS = ("gaussian_hmm", "gmm_hmm", "stray")
ROWS, LENGTH = 200, 48
LONG_ROWS = 1_000_000
LARGE_ROWS, LARGE_LENGTH = 672, 96
CLIENTS = 4
WEIGHTS = {"timer_xl": "timer", "sundial": "sundial"}


def series(rows: int, number: int) -> np.ndarray:
    """The data of request `number`: [rows], different in each."""
    noise = np.random.default_rng(number).standard_normal(min(rows, 4096))
    return 10 * np.sin(np.arange(rows) / 7 + number) + np.resize(noise, rows) + 100 + number


class Asker:
    """One connection that asks one model."""

    def __init__(self, node: Node, service: Any) -> None:
        self.caller = Caller(node.port, service, 300)
        self.types = self.caller.types

    def _ask(self, method: str, request: Any) -> tuple[float, Any]:
        frame = self.caller.encode(method, request)
        begun = time.perf_counter()
        self.caller.connection.sendall(frame)
        message = receive_frame(self.caller.connection)
        took = (time.perf_counter() - begun) * 1000
        answer = self.caller.read(message)
        if answer.status.code != 200:
            raise Refused(answer.status)
        return took, answer

    def inference(self, model: str, values: np.ndarray, length: int, options: dict[str, str]) -> tuple[float, Any]:
        """CALL INFERENCE: ms from the first byte sent to the last one received, and the answered column."""
        attributes = options if length == 0 else {**options, "predict_length": str(length)}
        request = self.types.TInferenceReq(model, encode(values[:, None]), inferenceAttributes=attributes)
        took, answer = self._ask("inference", request)
        return took, decode(answer.inferenceResult[0])[:, 0]

    def forecast(self, model: str, values: np.ndarray, length: int) -> tuple[float, Any]:
        """FORECAST of the table dialect, likewise."""
        took, answer = self._ask("forecast", self.types.TForecastReq(model, encode(values[:, None]), length, {}))
        return took, decode(answer.forecastResult)[:, 0]

    def close(self) -> None:
        """Hangs up."""
        self.caller.close()


class Bench:
    """What one run has at hand, and what it has found: figures by name, one value a round."""

    def __init__(self, options: argparse.Namespace, home: Path) -> None:
        self.options = options
        self.home = home
        self.build = Path(options.build).resolve()
        self.python: str = options.python
        self.service = load_families()["E"]
        self.figures: Figures = defaultdict(list)
        self.answers: dict[str, list[np.ndarray]] = {}  # of this round, by node and model
        if options.figures is not None and options.figures.exists():
            self.figures.update(json.loads(options.figures.read_text()))

    def note(self, name: str, value: float) -> None:
        """Keeps one figure."""
        self.figures[name].append(value)
        print(f"{name}: {value:.2f}", file=sys.stderr, flush=True)

    def settle(self) -> None:
        """Waits a while for a quiet machine; keeps what share of it others use."""
        deadline = time.monotonic() + self.options.wait
        while True:
            idle, total = processor_times()
            time.sleep(0.2)
            idle_then, total_then = processor_times()
            busy = 100 * (1 - (idle_then - idle) / max(total_then - total, 1))
            if busy < 10 or time.monotonic() > deadline:
                self.figures["busy %"].append(busy)
                return

    def kernel(self, *arguments: str) -> float:
        """ms of the bare work, of model_kernels.py."""
        self.settle()
        command = [self.python, str(ROOT / "bench" / "model_kernels.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=self.home)
        return float(json.loads(done.stdout.splitlines()[-1])["ms"])

    def repeat(self, name: str, ask: Any, seconds: float, least: int = 3) -> None:
        """ask(number) again and again: first call, then the median of the others."""
        self.settle()
        took, answer = ask(0)
        self.note(f"{name} first ms", took)
        self.answers[name] = [answer]
        times: list[float] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until or len(times) < least:
            took, answer = ask(len(times) + 1)
            times.append(took)
            self.answers[name].append(answer)
        self.note(f"{name} ms", statistics.median(times))

    def agree(self, model: str, ours: str, official: str, shift: int, tolerance: float = 1e-4) -> None:
        """Both must have answered the same to the same data. shift: rows by which the official answer lags."""
        pairs = list(zip(self.answers[ours], self.answers[official]))  # noqa: B905 - one may have answered more
        for mine, theirs in pairs:
            left, right = mine[: len(mine) - shift], theirs[shift:]
            if left.shape != right.shape or not np.allclose(left, right, rtol=tolerance, atol=1e-3):
                raise RuntimeError(f"the nodes disagree about {model}: {left[:5]} and {right[:5]}")


# --- the groups: each asks one node


def ask_statistical(bench: Bench, node: Node) -> None:
    """Every statistical model on 200 rows."""
    asker = Asker(node, bench.service)
    for model, attributes in STATISTICAL:
        length = 0 if model in DETECTORS else LENGTH
        name = f"{node.name} {model}"

        def ask(number: int, model: str = model, length: int = length, options: Any = attributes) -> tuple[float, Any]:
            return asker.inference(model, series(ROWS, number), length, options)

        try:
            bench.repeat(name, ask, bench.options.seconds)
        except Refused as refusal:
            if node.name == "ours":
                raise
            print(f"{name}: {refusal}", file=sys.stderr)
    asker.close()


def ask_naive(bench: Bench, node: Node) -> None:
    """A million rows."""
    asker = Asker(node, bench.service)
    values = series(LONG_ROWS, 1)

    def ask(number: int) -> tuple[float, Any]:
        return asker.inference("naive_forecaster", values + number, LENGTH, {})

    official = node.name == "official"
    bench.repeat(f"{node.name} naive long", ask, 0 if official else bench.options.seconds, 1 if official else 7)
    asker.close()


def ask_large(bench: Bench, node: Node, model: str) -> None:
    """One client, then several, with their memory."""
    asker = Asker(node, bench.service)
    bench.note(f"{node.name} {model} idle MiB", node.service_kib() / 1024)
    bench.repeat(f"{node.name} {model}", lambda k: asker.forecast(model, series(LARGE_ROWS, k), LARGE_LENGTH),
                 bench.options.seconds)  # fmt: skip
    bench.note(f"{node.name} {model} one client MiB", node.service_kib() / 1024)
    bench.settle()
    answers = ask_together(bench, node, model)
    bench.note(f"{node.name} {model} peak MiB", peak_mib(node))
    if node.name == "ours":  # batched answers are the single ones
        for number in sorted(answers)[:6]:
            _, alone = asker.forecast(model, series(LARGE_ROWS, number), LARGE_LENGTH)
            if not np.allclose(alone, answers[number], rtol=1e-4, atol=1e-3):
                raise RuntimeError(f"{model} answers otherwise in a batch")
    asker.close()


def ask_together(bench: Bench, node: Node, model: str) -> dict[int, np.ndarray]:
    """Several clients at once; returns the answers by number of the request."""
    answers: dict[int, np.ndarray] = {}
    until = time.monotonic() + bench.options.seconds

    def client(first: int) -> None:
        own, number = Asker(node, bench.service), first
        while time.monotonic() < until:
            _, answers[number] = own.forecast(model, series(LARGE_ROWS, number), LARGE_LENGTH)
            number += CLIENTS
        own.close()

    threads = [threading.Thread(target=client, args=(10_000 + index,)) for index in range(CLIENTS)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.note(f"{node.name} {model} {CLIENTS} clients /s", len(answers) / (time.monotonic() - begun))
    return answers


def peak_mib(node: Node) -> float:
    """Memory of the node's processes now; of the largest also what it had at most, where that is more."""
    peak = 0
    for pid in node.pids():
        text = Path(f"/proc/{pid}/status").read_text()
        peak = max(peak, *(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM:")))
    return max(node.service_kib(), peak) / 1024


def ask_node(bench: Bench, node: Node, group: str) -> None:
    """One group of one node, started for it."""
    if group in WEIGHTS:
        put_weights(bench, node, group)
    node.start(HF_HUB_OFFLINE="1")
    wait_ready(bench, node, group)
    if group == "statistical":
        ask_statistical(bench, node)
    elif group == "naive":
        ask_naive(bench, node)
    else:
        ask_large(bench, node, group)
    node.stop()


def wait_ready(bench: Bench, node: Node, group: str) -> None:
    """Until it listens, has imported PyTorch and looked at the weights."""
    deadline = time.monotonic() + 60
    time.sleep(3)
    while time.monotonic() < deadline:
        try:
            client, transport = node.client()
        except TTransportException:  # the official node registers first and listens afterwards
            time.sleep(0.5)
            continue
        states = client.showModels(node.registrar.bindings.ainode.TShowModelsReq()).stateMap
        transport.close()
        if group not in WEIGHTS or states[group] == "ACTIVE":
            time.sleep(1)  # the process that tried the weights ends
            return
        time.sleep(0.2)
    raise RuntimeError(f"{node.name} is not ready: see {node.home / 'start.log'}")


def put_weights(bench: Bench, node: Node, model: str) -> None:
    """Links the shared files into the node's folder."""
    directory = node.home / "data" / "ainode" / "models" / "weights" / model
    directory.mkdir(parents=True, exist_ok=True)
    for file in (bench.options.weights / WEIGHTS[model]).iterdir():
        if not (directory / file.name).exists():
            os.link(file, directory / file.name)


def measure_kernels(bench: Bench, group: str) -> None:
    """The bare work, and for the long input what the machine needs to move it."""
    options = bench.options
    if group == "statistical":
        bench.note("kernel smoothing ms", bench.kernel("smoothing", str(ROWS), str(LENGTH), str(options.seconds)))
        bench.note("kernel naive ms", bench.kernel("naive", str(ROWS), str(LENGTH), str(options.seconds)))
    elif group == "naive":
        floor = [str(bench.build / "bench" / "bench_floor"), "transfer", str(16 * LONG_ROWS), "21"]
        bench.settle()
        bench.note("floor naive long ms", float(subprocess.check_output(floor, text=True)) / 1000)
        bench.note("kernel naive long ms", bench.kernel("naive", str(LONG_ROWS), str(LENGTH), "1"))
    else:
        kind = WEIGHTS[group]
        arguments = [kind, str(LARGE_ROWS), str(LARGE_LENGTH), str(options.seconds), str(options.weights / kind)]
        bench.note(f"kernel {group} ms", bench.kernel(*arguments))
        if options.official is not None:
            source = str(options.official / "src" / "iotdb" / "iotdb-core" / "ainode")
            bench.note(f"official kernel {group} ms", bench.kernel(*arguments, "--official", source))


def measure_group(bench: Bench, group: str, ours: Node, official: Node | None) -> None:
    """One round: the bare work, ours, the official node."""
    parts = bench.options.parts.split(",")
    if "kernel" in parts:
        measure_kernels(bench, group)
    if "ours" in parts:
        ask_node(bench, ours, group)
    if "official" in parts and official is not None:
        ask_node(bench, official, group)
    if {"ours", "official"} <= set(parts) and official is not None:
        compare_answers(bench, group)


def compare_answers(bench: Bench, group: str) -> None:
    """What both answered to the same data."""
    if group == "naive":
        bench.agree("naive_forecaster", "ours naive long", "official naive long", 1)
    elif group == "timer_xl":
        bench.agree("timer_xl", "ours timer_xl", "official timer_xl", 0, 1e-3)
    elif group == "statistical":
        for model, _ in STATISTICAL:
            if f"official {model}" in bench.answers:
                bench.agree(model, f"ours {model}", f"official {model}", 0 if model in DETECTORS else 1, 1e-3)


# --- the table


def milliseconds(values: list[float]) -> str:
    """With as many digits as make sense."""
    digits = 2 if values and statistics.median(values) < 20 else 0
    return f"{shown(values, digits)} ms" if values else "–"


def less(over: list[float], under: list[float]) -> list[float]:
    """Differences round by round."""
    return [first - second for first, second in zip(over, under)]  # noqa: B905


def statistical_rows(table: Table, f: Figures) -> None:
    """Time per call on 200 rows, and what is added to the kernels."""
    for model, _ in STATISTICAL:
        ours, official = f[f"ours {model} ms"], f[f"official {model} ms"]
        ratios = quotient(official, ours)
        first = f"first {milliseconds(f[f'ours {model} first ms'])}"
        theirs = milliseconds(official) if official else "fails"
        table.row(f"{model}, {ROWS} rows", f"{milliseconds(ours)}; {first}", theirs, "–",
                  shown(ratios, 1) + ("x" if ratios else ""), None)  # fmt: skip
    for model, kernel in (("naive_forecaster", "naive"), ("exponential_smoothing", "smoothing")):
        added = less(f[f"ours {model} ms"], f[f"kernel {kernel} ms"])
        table.limit(f"{model}, {ROWS} rows: added to the kernel", added, 5, "ms", 2,
                    f"kernel {milliseconds(f[f'kernel {kernel} ms'])}")  # fmt: skip


def naive_rows(table: Table, f: Figures) -> None:
    """A million rows."""
    ours, official, floor = f["ours naive long ms"], f["official naive long ms"], f["floor naive long ms"]
    what = f"naive_forecaster, {LONG_ROWS:,} rows"
    table.ratio(what, milliseconds(ours), milliseconds(official), official, ours, 200)
    ratios = quotient(ours, floor)
    table.row("… over (loopback + one pass)", milliseconds(ours), f"floor {milliseconds(floor)}", "≤ 3x",
              shown(ratios, 2) + "x", statistics.median(ratios) <= 3 if ratios else None)  # fmt: skip
    bare = [first + second for first, second in zip(floor, f["kernel naive long ms"])]  # noqa: B905
    table.row("… added to floor and kernel", milliseconds(less(ours, bare)),
              f"kernel {milliseconds(f['kernel naive long ms'])}", "–", "–", None)  # fmt: skip


def large_rows(table: Table, f: Figures, model: str) -> None:
    """First and next calls, several clients, memory."""
    ours, official = f[f"ours {model} ms"], f[f"official {model} ms"]
    bare = f[f"kernel {model} ms"]
    ratios = quotient(ours, bare)
    what = f"{model}, {LARGE_ROWS} → {LARGE_LENGTH}"
    theirs = quotient(official, f[f"official kernel {model} ms"])
    table.row(f"{what}, over the bare forward", f"{milliseconds(ours)} of {milliseconds(bare)}",
              f"{milliseconds(official)} of {milliseconds(f[f'official kernel {model} ms'])} ({shown(theirs, 2)}x)",
              "≤ 1.1x", shown(ratios, 2) + "x", statistics.median(ratios) <= 1.1 if ratios else None)  # fmt: skip
    firsts = quotient(f[f"official {model} first ms"], f[f"ours {model} first ms"])
    table.row("… first call after the start", milliseconds(f[f"ours {model} first ms"]),
              milliseconds(f[f"official {model} first ms"]), "–", shown(firsts, 1) + "x", None)  # fmt: skip
    name = f"{model} {CLIENTS} clients /s"
    table.ratio(f"… {CLIENTS} clients, calls/s", shown(f[f"ours {name}"], 1), shown(f[f"official {name}"], 1),
                f[f"ours {name}"], f[f"official {name}"], 4)  # fmt: skip
    weights = f[f"{model} weights MiB"]
    beyond = less(less(f[f"ours {model} peak MiB"], f[f"ours {model} idle MiB"]), weights)
    table.limit("… memory beyond the idle service and the weights once", beyond, 200, "MiB", 0,
                f"{shown(less(f[f'official {model} peak MiB'], f[f'official {model} idle MiB']))} MiB")  # fmt: skip


def make_table(f: Figures) -> str:
    """The Markdown of what was measured."""
    table = Table()
    if f["ours arima ms"]:
        statistical_rows(table, f)
    if f["ours naive long ms"]:
        naive_rows(table, f)
    for model in WEIGHTS:
        if f[f"ours {model} ms"]:
            large_rows(table, f, model)
    return "\n".join(table.lines)


def describe(bench: Bench) -> str:
    """When, where and with what."""
    code = "import sys, torch, numpy; print(sys.version.split()[0], torch.__version__, numpy.__version__)"
    python, torch, numpy = subprocess.check_output([bench.python, "-c", code], text=True).split()
    ours = subprocess.check_output([str(bench.build / "lib" / "ainode"), "--version"], text=True).strip()
    return (
        f"Measured {datetime.date.today()} on {os.uname().machine}, {len(os.sched_getaffinity(0))} cores, "
        f"Linux {os.uname().release.split('-')[0]}: {ours} and the official AINode 2.0.5, both with Python {python}, "
        f"PyTorch {torch}, NumPy {numpy}. One value a round, several: median (lowest–highest). Other work on the "
        f"machine before each measurement: {shown(bench.figures['busy %'])} % of its processors."
    )


# --- the program


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, help="folder of the official AINode: venv/ and src/iotdb (README.md)")
    parser.add_argument("--python", help="interpreter that runs the models; default: the official node's")
    parser.add_argument("--build", default=str(ROOT / "build" / "release"), help="CMake build folder")
    parser.add_argument("--only", default=",".join(GROUPS), help="groups, separated by commas")
    parser.add_argument("--parts", default=",".join(PARTS), help="of each round; answers are compared within a run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="length of one measurement")
    parser.add_argument("--wait", type=float, default=10, help="seconds to wait for a quiet machine before a figure")
    parser.add_argument("--weights", type=Path, help="folder that keeps the random weights (850 MB)")
    parser.add_argument("--figures", type=Path, help="file that keeps the figures between runs")
    parser.add_argument("--out", type=Path, help="file for the table; default: stdout")
    options = parser.parse_args()
    if options.python is None:
        if options.official is None:
            parser.error("name --official DIR, or --python PYTHON to measure this node alone")
        options.python = str(options.official / "venv" / "bin" / "python")
    return options


def make_weights(bench: Bench, groups: list[str]) -> None:
    """Random weights of the published size."""
    for model in [group for group in groups if group in WEIGHTS]:
        kind = WEIGHTS[model]
        if not (bench.options.weights / kind / "model.safetensors").exists():
            script = str(ROOT / "tests" / "models" / "make_weights.py")
            subprocess.run([bench.python, script, kind, str(bench.options.weights / kind), "--full"], check=True)
        size = (bench.options.weights / kind / "model.safetensors").stat().st_size
        bench.figures[f"{model} weights MiB"] = [size / 2**20] * 100


def main() -> int:
    """Measures and prints."""
    options = parse_options()
    groups = [group for group in GROUPS if group in options.only.split(",")]
    with tempfile.TemporaryDirectory(prefix="ain-bench-", dir=options.weights) as home:
        options.weights = options.weights or Path(home)
        bench = Bench(options, Path(home))
        make_weights(bench, groups)
        bindings = load_bindings(bench.home)
        ours = Ours(bench.home / "ours", bindings, bench.build, bench.python)
        official = Official(bench.home / "official", bindings, options.official) if options.official else None
        try:
            for group in groups * options.rounds:
                measure_group(bench, group, ours, official)
                if options.figures is not None:
                    options.figures.write_text(json.dumps(bench.figures))
        finally:
            ours.close()
            if official is not None:
                official.close()
    text = f"{describe(bench)}\n\n{make_table(bench.figures)}\n"
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
