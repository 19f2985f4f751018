"""Measures this AINode beside the official Python AINode 2.0.5 and prints the table of docs/PERFORMANCE.md.

    python bench/compare.py --official DIR [--python PYTHON] [--rounds 3] [--seconds 3] [--out FILE]

The two run in turn, never both at once, with the same interpreter and the same model files. Without --official only
this node is measured (name an interpreter with --python). bench/README.md says what is needed and how to read it.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

from nodes import ROOT, Beat, Node, Official, Ours, descriptors, load_bindings, own_kib, parent_of

Figures = dict[str, list[float]]
DLINEAR, LSTM = "dlinear_long", "lstm"
LONG_REPLY, LONG_INPUT = "long_reply", "long_input"
CLIENTS = (1, 4, 16)
GAPS_MS = (2, 20)
GAP_TURNS = 5


class Bench:
    """What one comparison has at hand, and what it has found: figures by name, one value a round."""

    def __init__(self, options: argparse.Namespace, home: Path) -> None:
        self.seconds: float = options.seconds
        self.wait: float = options.wait
        self.build = Path(options.build).resolve()
        self.home = home
        self.python: str = options.python
        self.bindings = load_bindings(home)
        self.figures: Figures = defaultdict(list)

    def program(self, name: str) -> Path:
        """A program of the build."""
        return self.build / "bench" / name

    def note(self, name: str, value: float) -> None:
        """Keeps one figure."""
        self.figures[name].append(value)
        print(f"{name}: {value:.1f}", file=sys.stderr, flush=True)

    def make_models(self) -> None:
        """With the interpreter that will run them."""
        subprocess.run([self.python, str(ROOT / "bench" / "models.py"), str(self.home)], check=True)

    def settle(self) -> None:
        """Waits a while for others to leave the machine alone, and keeps what share of it they still use."""
        deadline = time.monotonic() + self.wait
        while True:
            idle, total = processor_times()
            time.sleep(0.3)
            idle_then, total_then = processor_times()
            busy = 100 * (1 - (idle_then - idle) / max(total_then - total, 1))
            if busy < 10 or time.monotonic() > deadline:
                self.figures["busy %"].append(busy)
                return

    def load(self, node: Node, model: str, *options: str, seconds: float | None = None) -> dict[str, float]:
        """One run of bench_load."""
        self.settle()
        length = str(seconds if seconds is not None else self.seconds)
        return node.load(self.program("bench_load"), model, "--seconds", length, *options)


def processor_times() -> tuple[int, int]:
    """Idle and all time of the machine's processors, in ticks."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)


def find_libpython(python: str) -> str:
    """The shared library of an interpreter, "-" where it has none."""
    code = ("import os, sysconfig; v = sysconfig.get_config_var; p = os.path.join(v('LIBDIR'), v('INSTSONAME')); "
            "print(p if '.so' in p and os.path.exists(p) else '-')")  # fmt: skip
    return subprocess.check_output([python, "-c", code], text=True).strip()


# --- what both nodes are asked


def measure_forward(bench: Bench, gap: int = 0, seconds: float | None = None) -> float:
    """The bare forward, with a pause of `gap` ms before each call or back to back; its median."""
    bench.settle()
    command = [bench.python, str(ROOT / "bench" / "forward.py"), str(bench.home / DLINEAR / "model.pt"), "96", "2",
               str(seconds or bench.seconds), str(gap)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    bench.note(f"forward gap {gap} p50", found["p50_us"])
    return float(found["p50_us"])


def measure_rates(bench: Bench, node: Node, prefix: str) -> None:
    """1, 4 and 16 clients. The official node serves ten connections: the others wait, and are counted."""
    for clients in CLIENTS:
        found = bench.load(node, DLINEAR, "--connections", str(clients), "--patience", "2")
        bench.note(f"{prefix} {clients} clients /s", found["per_second"])
        bench.note(f"{prefix} {clients} clients p50", found["p50_us"])
        bench.note(f"{prefix} {clients} clients p99", found["p99_us"])
        bench.note(f"{prefix} {clients} clients unserved", found["unserved"])
        bench.note(f"{prefix} {clients} clients errors", found["errors"])


def measure_long(bench: Bench, node: Node, calls: int) -> None:
    """A long answer and a long question."""
    reply = ["--rows", "96", "--columns", "1", "--warm", "1"]
    found = bench.load(node, LONG_REPLY, *reply, "--calls", str(calls), seconds=30)
    bench.note(f"{node.name} long reply p50", found["p50_us"])
    question = ["--rows", "1000000", "--columns", "1", "--type", "double", "--warm", "1"]
    found = bench.load(node, LONG_INPUT, *question, "--calls", str(calls), seconds=30)
    bench.note(f"{node.name} long input p50", found["p50_us"])


def measure_node(bench: Bench, node: Node) -> None:
    """Start, memory, rates, long data: one round of one node."""
    bench.note(f"{node.name} start ms", node.start() * 1000)
    time.sleep(6 if node.name == "official" else 4)  # the prototype has imported PyTorch
    bench.note(f"{node.name} host idle MiB", node.host_kib() / 1024)
    bench.note(f"{node.name} service idle MiB", node.service_kib() / 1024)
    if not bench.figures[f"{node.name} long input p50"]:
        for model in (DLINEAR, LSTM, LONG_REPLY, LONG_INPUT):
            node.register(model, bench.home / model)
    bench.load(node, DLINEAR, "--calls", "1", "--warm", "1")
    bench.note(f"{node.name} host first model MiB", node.host_kib() / 1024)
    bench.note(f"{node.name} service first model MiB", node.service_kib() / 1024)
    measure_rates(bench, node, node.name)
    measure_long(bench, node, 3 if node.name == "official" else 30)


# --- what only ours is asked


def measure_gaps(bench: Bench, node: Node) -> None:
    """One client that pauses between its calls.

    What a pause costs (the processor sleeps, its caches become those of others) changes within seconds. So the bare
    forward, a C echo of a frame's bytes, a bare chain (that echo, which has the same forward run by a Python process
    behind a pipe) and the node take turns, each with the same pauses.
    """
    chained = [bench.python, str(ROOT / "bench" / "forward.py"), str(bench.home / DLINEAR / "model.pt"), "96", "2",
               "served"]  # fmt: skip
    for gap in GAPS_MS:
        for _ in range(GAP_TURNS):
            bare = measure_forward(bench, gap, 1)
            echo = [str(bench.program("bench_floor")), "gap", "1608", str(gap * 1000), str(1000 // gap)]
            bench.note(f"echo gap {gap} p50", float(subprocess.check_output(echo, text=True)))
            chain = float(subprocess.check_output(echo + chained, text=True))
            bench.note(f"chain added gap {gap} p50", chain - bare)
            found = bench.load(node, DLINEAR, "--gap-us", str(gap * 1000), "--warm", "20", seconds=1)
            bench.note(f"added gap {gap} p50", found["p50_us"] - bare)
            bench.note(f"gap {gap} node / chain", found["p50_us"] / chain)


def measure_lstm(bench: Bench, node: Node, prefix: str) -> None:
    """16 clients on the LSTM."""
    found = bench.load(node, LSTM, "--connections", "16", "--pairs", str(bench.home / "lstm.pairs"))
    bench.note(f"{prefix} lstm /s", found["per_second"])


def measure_unbatched(bench: Bench, node: Node) -> None:
    """The same node with one key changed."""
    node.start(AIN_BATCHING="0")
    time.sleep(4)
    found = bench.load(node, DLINEAR, "--connections", "16")
    bench.note("unbatched 16 clients /s", found["per_second"])
    measure_lstm(bench, node, "unbatched")
    node.stop()


def measure_identity(bench: Bench) -> None:
    """Host to worker and back with a model that answers its input, without RPC."""
    lib = bench.home / "identity"
    if not lib.exists():
        (lib / "pyruntime").mkdir(parents=True)
        for name in ("ainode-runtime", "_ainode.abi3.so"):
            shutil.copy2(bench.build / "lib" / name, lib / name)
        shutil.copytree(ROOT / "bench" / "identity" / "ainode", lib / "pyruntime" / "ainode")
    bench.settle()
    command = [str(bench.program("bench_identity")), str(lib), bench.python, find_libpython(bench.python), "300000"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    bench.note("identity p50", found["p50_us"])
    bench.note("identity p99", found["p99_us"])


def measure_floor(bench: Bench) -> None:
    """The bytes of the long input over loopback, and one pass over its values."""
    done = subprocess.run([str(bench.program("bench_floor")), "transfer", "16000000", "21"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    bench.note("floor long input", float(done.stdout))


def measure_unloaded(bench: Bench, node: Node) -> None:
    """The first request to models that are registered and not loaded, with a ready prototype."""
    copies = [f"copy{i}" for i in range(5)]
    node.start()
    time.sleep(4)
    for copy in copies:
        node.register(copy, bench.home / DLINEAR)
    node.stop()
    node.start()
    time.sleep(4)
    for copy in copies:
        found = bench.load(node, copy, "--calls", "1", "--warm", "0")
        bench.note("unloaded first ms", found["first_us"] / 1000)
    node.stop()


def percentile(values: list[float], fraction: float) -> float:
    """Of unsorted values."""
    return sorted(values)[int(fraction * (len(values) - 1))]


def beat_for(bench: Bench, node: Node, echo_port: int, seconds: float, prefix: str) -> None:
    """Heartbeats and echoes in turn."""
    beats = {"heartbeat": Beat(bench.bindings, node.port), "echo": Beat(bench.bindings, echo_port)}
    times: dict[str, list[float]] = {name: [] for name in beats}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, beat in beats.items():
            times[name].append(beat.once())
            time.sleep(0.002)
    for name, beat in beats.items():
        beat.close()
        bench.note(f"{prefix} {name} p50", percentile(times[name], 0.5))
        bench.note(f"{prefix} {name} p99", percentile(times[name], 0.99))


def measure_heartbeats(bench: Bench, node: Node, idle_connections: int) -> None:
    """Alone, then under 16 clients and beside idle connections."""
    echo = subprocess.Popen([str(bench.program("bench_floor")), "echo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert echo.stdout is not None
    port = int(echo.stdout.readline())
    idle = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(idle_connections)]
    bench.note("idle connections", len(idle))
    bench.note("host with idle connections MiB", node.host_kib() / 1024)
    try:
        beat_for(bench, node, port, bench.seconds, "idle")
        load = threading.Thread(target=bench.load, args=(node, DLINEAR, "--connections", "16"))
        load.start()
        time.sleep(0.5)
        beat_for(bench, node, port, bench.seconds - 1, "loaded")
        load.join()
    finally:
        for connection in idle:
            connection.close()
        echo.communicate()


def kill_workers(node: Node, times: int, killed: list[int]) -> None:
    """kill -9 for the process that runs the busiest model, once a second."""
    for _ in range(times):
        time.sleep(1)
        workers = node.workers()
        if workers:
            victim = max(workers, key=processor_ticks)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)


def processor_ticks(pid: int) -> int:
    """Processor time a process has used."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def measure_kills(bench: Bench, node: Node, kills: int) -> None:
    """16 clients while their worker is killed once a second."""
    bench.load(node, DLINEAR, "--connections", "16", seconds=1)
    killed: list[int] = []
    killer = threading.Thread(target=kill_workers, args=(node, kills, killed))
    killer.start()
    found = bench.load(node, DLINEAR, "--connections", "16", seconds=kills + 1)
    killer.join()
    bench.note("kills", len(killed))
    bench.note("kills failed requests", found["errors"])
    bench.note("kills replies /s", found["per_second"])
    bench.note("kills max latency ms", found["max_us"] / 1000)
    bench.note("kills next answer ms", found["silence_us"] / 1000)


def measure_growth(bench: Bench, node: Node, calls: int) -> None:
    """Memory and descriptors of host, prototype and worker after a tenth of the calls and after all of them.

    Counted is what a process has for itself (Private_Dirty, exact; VmRSS may be off by 64 pages a processor).
    """
    bench.load(node, DLINEAR, "--connections", "16", "--calls", str(calls // 10), seconds=600)
    assert node.process is not None
    worker = node.workers()[0]
    processes = {"host": node.process.pid, "prototype": parent_of(worker), "worker": worker}
    before = {name: (own_kib(pid), descriptors(pid)) for name, pid in processes.items()}
    bench.load(node, DLINEAR, "--connections", "16", "--calls", str(calls - calls // 10), seconds=600)
    bench.note("growth calls", calls)
    for name, pid in processes.items():
        bench.note(f"growth {name} KiB", own_kib(pid) - before[name][0])
        bench.note(f"growth {name} descriptors", descriptors(pid) - before[name][1])


# --- the table


def shown(values: list[float], digits: int = 0) -> str:
    """Median, and between which values it lay."""
    if not values:
        return "–"
    middle = f"{statistics.median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def quotient(over: list[float], under: list[float]) -> list[float]:
    """Round by round."""
    return [first / second for first, second in zip(over, under)]  # noqa: B905 - an interrupted round has fewer


class Table:
    """Lines of Markdown: what, target, found, met."""

    def __init__(self) -> None:
        self.lines = ["| what | ours | official | target | found | met |", "|---|---|---|---|---|---|"]

    def row(self, what: str, ours: str, official: str, target: str, found: str, met: bool | None) -> None:
        """One line; met None: nothing to compare."""
        verdict = "–" if met is None else "yes" if met else "**no**"
        self.lines.append(f"| {what} | {ours} | {official} | {target} | {found} | {verdict} |")

    def ratio(self, what: str, ours: str, official: str, over: list[float], under: list[float], least: float) -> None:
        """A line that asks for a ratio; its median counts."""
        ratios = quotient(over, under)
        met = statistics.median(ratios) >= least if ratios else None
        self.row(what, ours, official, f"≥ {least:g}x", shown(ratios, 1) + ("x" if ratios else ""), met)

    def limit(self, what: str, values: list[float], most: float, unit: str, digits: int = 1, other: str = "–") -> None:
        """A line that asks for no more than a limit; the median counts."""
        met = statistics.median(values) <= most if values else None
        text = f"{shown(values, digits)} {unit}"
        self.row(what, text, other, f"≤ {most:.3g} {unit}", text, met)


def added(f: Figures, name: str) -> list[float]:
    """Latency beyond the bare forward's median, round by round."""
    return [mine - bare for mine, bare in zip(f[name], f["forward gap 0 p50"])]  # noqa: B905


def speed_rows(table: Table, f: Figures) -> None:
    """Latency and throughput."""
    bare = f"forward {shown(f['forward gap 0 p50'])} µs"
    table.row("`inference` 96x2, 1 client, p50", f"{shown(f['ours 1 clients p50'])} µs",
              f"{shown(f['official 1 clients p50'])} µs", "–", bare, None)  # fmt: skip
    table.limit("added to the forward, p50", added(f, "ours 1 clients p50"), 30, "µs")
    table.limit("added to the forward's p50, p99", added(f, "ours 1 clients p99"), 150, "µs")
    for gap in GAPS_MS:
        floor = f"forward {shown(f[f'forward gap {gap} p50'])}, C echo {shown(f[f'echo gap {gap} p50'])} µs"
        table.limit(f"added with gaps of {gap} ms, p50", f[f"added gap {gap} p50"], 150, "µs", other=floor)
        chain = f"it adds {shown(f[f'chain added gap {gap} p50'])} µs"
        ratio = f"{shown(f[f'gap {gap} node / chain'], 2)}x"
        table.row(f"the same over a bare chain (C echo, pipe, Python) at {gap} ms", ratio, chain, "–", ratio, None)
    table.limit("host → worker → host, model that answers its input, p50", f["identity p50"], 5, "µs", 2)
    for clients in CLIENTS[:-1]:
        name = f"{clients} clients /s"
        ratios = quotient(f[f"ours {name}"], f[f"official {name}"])
        who = "1 client" if clients == 1 else f"{clients} clients"
        table.row(f"{who}, replies/s", shown(f[f"ours {name}"]), shown(f[f"official {name}"]), "–",
                  shown(ratios, 1) + "x", None)  # fmt: skip
    official = f"{shown(f['official 16 clients /s'])}; {shown(f['official 16 clients unserved'])} clients never served"
    rates = f["ours 16 clients /s"]
    table.ratio("16 clients, replies/s", shown(rates), official, rates, f["official 16 clients /s"], 200)
    single = f["unbatched 16 clients /s"]
    table.ratio("16 clients, batching off", shown(single), official, single, f["official 16 clients /s"], 100)
    table.ratio("batching on over off, DLinear", shown(rates), "–", rates, single, 1.3)
    lstm = f["ours lstm /s"]
    table.ratio("batching on over off, LSTM", shown(lstm), "–", lstm, f["unbatched lstm /s"], 3)


def data_rows(table: Table, f: Figures) -> None:
    """Long answers and questions."""
    for what, name, least in (("100,000-row reply", "long reply", 500.0), ("1,000,000 rows in", "long input", 1.0)):
        ours, official = f[f"ours {name} p50"], f[f"official {name} p50"]
        table.ratio(f"{what}, ms", shown([v / 1000 for v in ours], 2), shown([v / 1000 for v in official], 1),
                    official, ours, least)  # fmt: skip
    ratios = quotient(f["ours long input p50"], f["floor long input"])
    floor = shown([v / 1000 for v in f["floor long input"]], 2)
    ours = shown([v / 1000 for v in f["ours long input p50"]], 2)
    what = "1,000,000 float64 rows in over (loopback + one pass)"
    table.row(what, ours, f"floor {floor} ms", "≤ 3x", shown(ratios, 2) + "x",
              statistics.median(ratios) <= 3 if ratios else None)  # fmt: skip


def life_rows(table: Table, f: Figures) -> None:
    """Start, memory, faults, heartbeats."""
    table.limit("exec of start-ainode.sh to the ConfigNode's 200, warm probe", f["ours start ms"], 100, "ms", 0,
                f"{shown(f['official start ms'])} ms")  # fmt: skip
    table.limit("first request to an unloaded model", f["unloaded first ms"], 50, "ms")
    for when in ("idle", "first model"):
        table.limit(f"host, {when}, resident", f[f"ours host {when} MiB"], 15, "MiB", 1,
                    f"{shown(f[f'official host {when} MiB'])} MiB")  # fmt: skip
        table.row(f"whole service, {when}, PSS", f"{shown(f[f'ours service {when} MiB'])} MiB",
                  f"{shown(f[f'official service {when} MiB'])} MiB", "–", "–", None)  # fmt: skip
    calls = f"{shown(f['growth calls'])}"
    for name in ("host", "prototype", "worker"):
        table.limit(f"growth of the {name}, from a tenth of {calls} calls on", f[f"growth {name} KiB"], 64, "KiB", 0,
                    f"descriptors {shown(f[f'growth {name} descriptors'])}")  # fmt: skip
    beat, echo = (
        f"{shown(f[f'idle {name} p50'], 3)} / {shown(f[f'idle {name} p99'], 3)} ms" for name in ("heartbeat", "echo")
    )
    table.row("heartbeat alone, p50 / p99", beat, "–", "–", f"C echo {echo}", None)
    connections = shown(f["idle connections"])
    bound = max(5.0, 2 * statistics.median(f["loaded echo p99"])) if f["loaded echo p99"] else 5.0
    table.limit(f"heartbeat p99 under 16 clients and {connections} idle connections", f["loaded heartbeat p99"], bound,
                "ms", 2, f"C echo {shown(f['loaded echo p99'], 2)} ms")  # fmt: skip
    table.limit("worker killed once a second under 16 clients: next answer", f["kills next answer ms"], 60, "ms")
    table.limit("… longest request", f["kills max latency ms"], 100, "ms")
    failed = quotient(f["kills failed requests"], f["kills"])
    table.limit("… failed requests a kill (those that ran)", failed, 16, "", 1)


def describe(bench: Bench, rounds: int) -> str:
    """When, where and with what."""
    code = "import sys, torch, numpy; print(sys.version.split()[0], torch.__version__, numpy.__version__)"
    python, torch, numpy = subprocess.check_output([bench.python, "-c", code], text=True).split()
    ours = subprocess.check_output([str(bench.build / "lib" / "ainode"), "--version"], text=True).strip()
    return (
        f"Measured {datetime.date.today()} on {os.uname().machine}, {len(os.sched_getaffinity(0))} cores, "
        f"Linux {os.uname().release.split('-')[0]}: {ours} and the official AINode 2.0.5, both with Python {python}, "
        f"PyTorch {torch}, NumPy {numpy}. Rounds: {rounds}, of {bench.seconds:g} s a figure; median (lowest–highest). "
        f"Other work on the machine before each measurement: {shown(bench.figures['busy %'])} % of its processors."
    )


def make_table(f: Figures) -> str:
    """The Markdown of all figures."""
    table = Table()
    speed_rows(table, f)
    data_rows(table, f)
    life_rows(table, f)
    return "\n".join(table.lines)


# --- the program


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, help="folder of the official AINode: venv/ and src/iotdb (README.md)")
    parser.add_argument("--python", help="interpreter that runs the models; default: the official node's")
    parser.add_argument("--build", default=str(ROOT / "build" / "release"), help="CMake build folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="length of one measurement")
    parser.add_argument("--wait", type=float, default=10, help="seconds to wait for a quiet machine before a figure")
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--growth-calls", type=int, default=1_000_000)
    parser.add_argument("--idle-connections", type=int, default=10_000)
    parser.add_argument("--out", type=Path, help="file for the table; default: stdout")
    options = parser.parse_args()
    if options.python is None:
        if options.official is None:
            parser.error("name --official DIR, or --python PYTHON to measure this node alone")
        options.python = str(options.official / "venv" / "bin" / "python")
    return options


def one_round(bench: Bench, ours: Node, official: Node | None) -> None:
    """The forward, ours, ours with batching off, the official one: never two at once."""
    measure_forward(bench)
    measure_identity(bench)
    measure_floor(bench)
    measure_node(bench, ours)
    measure_gaps(bench, ours)
    measure_lstm(bench, ours, "ours")
    ours.stop()
    measure_unbatched(bench, ours)
    if official is not None:
        measure_node(bench, official)
        official.stop()


def run(bench: Bench, options: argparse.Namespace) -> None:
    """All rounds, then what is measured once."""
    ours = Ours(bench.home / "ours", bench.bindings, bench.build, bench.python)
    official = Official(bench.home / "official", bench.bindings, options.official) if options.official else None
    try:
        ours.start()  # probes the interpreter and remembers what it found
        ours.stop()
        for _ in range(options.rounds):
            one_round(bench, ours, official)
        measure_unloaded(bench, ours)
        ours.start()
        time.sleep(4)
        measure_heartbeats(bench, ours, options.idle_connections)
        measure_kills(bench, ours, options.kills)
        measure_growth(bench, ours, options.growth_calls)
    finally:
        ours.close()
        if official is not None:
            official.close()


def main() -> int:
    """Measures and prints."""
    options = parse_options()
    with tempfile.TemporaryDirectory(prefix="ain-bench-") as home:
        bench = Bench(options, Path(home))
        bench.make_models()
        run(bench, options)
        text = f"{describe(bench, options.rounds)}\n\n{make_table(bench.figures)}\n"
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
