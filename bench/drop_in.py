"""How long weights of the published sizes take from the last close to SHOW MODELS saying active, against 2 s.

    python bench/drop_in.py --python PYTHON [--rounds 3] [--wait 10] [--weights DIR] [--out FILE]

A node with the given interpreter runs meanwhile; the files are copied as `cp` does, config.json first. Prints one row a
model: the time; its phases: until SHOW MODELS says LOADING, reading, comparing numbers of threads, the trial request;
and the processor time of all processes of the node.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import nodes  # noqa: F401 - extends the path by tests/support
from caller import Caller
from compare import Figures, processor_times, shown
from generated import load_families
from nodes import ROOT, Node, Ours, load_bindings

MODELS = {"timer_xl": "timer", "sundial": "sundial"}
TARGET_S = 2.0
#: The line of the process that tries the weights, and the phases in it.
PHASES = re.compile(r"were read in ([0-9.]+) s, .* compared in ([0-9.]+) s, .* answered in ([0-9.]+) s")


def state(caller: Caller, model: str) -> str:
    """As SHOW MODELS has it."""
    return str(caller.call("showModels", caller.types.TShowModelsReq()).stateMap[model]).upper()


def wait_for(caller: Caller, model: str, wanted: tuple[str, ...]) -> float:
    """Seconds until its state is one of these."""
    begun = time.monotonic()
    while state(caller, model) not in wanted:
        if time.monotonic() > begun + 60:
            raise RuntimeError(f"{model} is {state(caller, model)}, not {' or '.join(wanted)}")
        time.sleep(0.002)
    return time.monotonic() - begun


def settle(wait: float) -> float:
    """Waits at most so long for a quiet machine; per cent of its processors that are busy then."""
    deadline = time.monotonic() + wait
    while True:
        idle, total = processor_times()
        time.sleep(0.2)
        idle_then, total_then = processor_times()
        busy = 100 * (1 - (idle_then - idle) / max(total_then - total, 1))
        if busy < 10 or time.monotonic() > deadline:
            return busy


def processor_seconds(node: Node) -> float:
    """Of the node's processes, also of those that ended."""
    ticks = 0
    for pid in node.pids():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def phases(node: Node) -> list[float]:
    """Reading, choosing threads, trial: of the latest load, as the log has them; empty when it says nothing."""
    lines = (node.home / "start.log").read_text() + "".join(
        path.read_text() for path in sorted((node.home / "logs").glob("*.log"))
    )
    found = PHASES.findall(lines)
    return [float(seconds) for seconds in found[-1]] if found else []


def drop(node: Node, caller: Caller, model: str, source: Path, figures: Figures, wait: float) -> None:
    """One copy, one removal."""
    folder = node.home / "data" / "ainode" / "models" / "weights" / model
    figures["busy %"].append(settle(wait))
    spent = processor_seconds(node)
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(source / name, folder / name)
    closed = time.monotonic()
    noticed = wait_for(caller, model, ("LOADING", "ACTIVE"))
    wait_for(caller, model, ("ACTIVE",))
    active = time.monotonic() - closed
    time.sleep(0.5)  # the process that tried them ends
    figures[f"{model} active"].append(active)
    figures[f"{model} noticed"].append(noticed)
    figures[f"{model} cpu"].append(processor_seconds(node) - spent)
    figures[f"{model} MB"].append((source / "model.safetensors").stat().st_size / 1e6)
    for name, seconds in zip(("read", "threads", "trial"), phases(node)):  # noqa: B905 - there may be none
        figures[f"{model} {name}"].append(seconds)
    print(f"{model}: active after {active:.2f} s, noticed after {noticed:.2f} s", file=sys.stderr, flush=True)
    shutil.rmtree(folder)
    wait_for(caller, model, ("INACTIVE",))


def make_table(figures: Figures) -> str:
    """One row a model."""
    lines = [
        f"Other work on the machine before each copy: {shown(figures['busy %'])} % of its processors.",
        "",
        "| weights | last close to active | noticed | read | threads | trial | processor time | target | met |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model in MODELS:
        seconds = figures[f"{model} active"]
        names = ("active", "noticed", "read", "threads", "trial", "cpu")
        cells = " | ".join(f"{shown(figures[f'{model} {name}'], 2)} s" for name in names)
        met = "yes" if statistics.median(seconds) <= TARGET_S else "**no**"
        lines.append(f"| {model}, {figures[f'{model} MB'][0]:.0f} MB | {cells} | ≤ {TARGET_S:.0f} s | {met} |")
    return "\n".join(lines)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="interpreter that runs the models")
    parser.add_argument("--build", default=str(ROOT / "build" / "release"), help="CMake build folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wait", type=float, default=10, help="seconds to wait for a quiet machine before a copy")
    parser.add_argument("--weights", type=Path, help="folder that keeps the random weights (850 MB)")
    parser.add_argument("--out", type=Path, help="file for the table; default: stdout")
    return parser.parse_args()


def measure(options: argparse.Namespace, home: Path, figures: Figures) -> None:
    """All rounds on one node."""
    weights = options.weights or home
    for kind in MODELS.values():
        if not (weights / kind / "model.safetensors").exists():
            script = str(ROOT / "tests" / "models" / "make_weights.py")
            subprocess.run([options.python, script, kind, str(weights / kind), "--full"], check=True)
    node = Ours(home / "ours", load_bindings(home), Path(options.build).resolve(), options.python)
    try:
        node.start()
        service: Any = load_families()["E"]
        time.sleep(4)  # PyTorch is imported
        with Caller(node.port, service, 60) as caller:
            for model, kind in list(MODELS.items()) * options.rounds:
                drop(node, caller, model, weights / kind, figures, options.wait)
    finally:
        node.close()


def main() -> int:
    """Measures and prints."""
    options = parse_options()
    figures: Figures = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="ain-bench-", dir=options.weights) as home:
        measure(options, Path(home), figures)
    text = make_table(figures) + "\n"
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
