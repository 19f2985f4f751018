"""Checks a built tree on a machine with an NVIDIA GPU: answers against the CPU's, latency, memory given back.

    python bench/cuda_check.py --python PYTHON [--build build/release]

PYTHON has NumPy and a torch with CUDA. Ends with 0: all well, 1: something is not, 2: no CUDA device.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support")]

import numpy as np  # noqa: E402
from caller import Caller, good  # noqa: E402
from generated import load_families  # noqa: E402
from node import new_node  # noqa: E402
from processes import wait_until  # noqa: E402
from standins.confignode import load_bindings  # noqa: E402

SIZES = ((96, 2), (100_000, 1))  # rows and columns of a small and a large request
REQUESTS = 50
LEFT_BYTES = 64 << 20  # of device memory that other programs may take meanwhile

_FREE = (
    "import os; os.environ['CUDA_VISIBLE_DEVICES'] = '0'; import torch\n"
    "print('free', torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else -1)"
)
_MODEL = """
import sys, torch
class Scaled(torch.nn.Module):
    def forward(self, x):
        return torch.tanh(x * 0.01) + x.mean(dim=1, keepdim=True)
torch.jit.trace(Scaled(), torch.ones(1, 4, 2)).save(sys.argv[1] + "/model.pt")
"""


def free_bytes(python: str) -> int:
    """Free memory of device 0, asked by a process that then ends; -1: torch has no CUDA device."""
    run = subprocess.run([python, "-c", _FREE], capture_output=True, text=True, check=True, timeout=120)
    return int(run.stdout.split("free ")[-1])


def name_of(size: tuple[int, int]) -> str:
    """The model for requests of that size, which its config.yaml fixes."""
    return f"rows_{size[0]}"


def make_model(python: str, folder: Path, size: tuple[int, int]) -> None:
    """Writes model.pt and config.yaml."""
    folder.mkdir(parents=True)
    subprocess.run([python, "-c", _MODEL, str(folder)], check=True)
    types = ["float32"] * size[1]
    (folder / "config.yaml").write_text(
        f"configs:\n  input_shape: {list(size)}\n  output_shape: {list(size)}\n"
        f"  input_type: {types}\n  output_type: {types}\n"
    )


def place(caller: Caller, what: str, model: str, device: str) -> None:
    """LOAD or UNLOAD MODEL."""
    request = getattr(caller.types, f"T{what.capitalize()}ModelReq")
    name = "existingModelId" if what == "load" else "modelId"
    good(caller.call(f"{what}Model", request(**{name: model, "deviceIdList": [device]})))


def answers(caller: Caller, rows: int, columns: int) -> tuple[list[np.ndarray], float]:
    """Answers to distinct requests, and their median latency in microseconds."""
    found, times = [], []
    for seed in range(REQUESTS):
        values = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
        begun = time.perf_counter()
        found.append(caller.infer(name_of((rows, columns)), values))
        times.append((time.perf_counter() - begun) * 1e6)
    return found, statistics.median(times)


def check(caller: Caller, python: str, models: Path) -> bool:
    """Prints the table; whether all is well."""
    wait_until(lambda: "0" in good(caller.call("showAIDevices")).deviceIdMap, 60, "SHOW AI_DEVICES shows device 0")
    for size in SIZES:
        make_model(python, models / name_of(size), size)
        caller.register(name_of(size), (models / name_of(size)).as_uri())
    free = free_bytes(python)
    results = {}
    for device in ("cpu", "0"):
        results[device] = []
        for size in SIZES:
            place(caller, "load", name_of(size), device)
            results[device].append(answers(caller, *size))
            place(caller, "unload", name_of(size), device)
    well = True
    print(f"{'rows x columns':>16} {'cpu, us':>10} {'GPU, us':>10} {'difference':>12}")
    for size, (expected, cpu_us), (found, cuda_us) in zip(SIZES, results["cpu"], results["0"], strict=True):
        far = max(float(np.max(np.abs(a - b))) for a, b in zip(expected, found, strict=True))
        well = well and far < 1e-4
        print(f"{f'{size[0]} x {size[1]}':>16} {cpu_us:10.0f} {cuda_us:10.0f} {far:12.2e}")
    kept = free - free_bytes(python)
    until = time.monotonic() + 20  # the worker ends after the answer to UNLOAD
    while kept >= LEFT_BYTES and time.monotonic() < until:
        time.sleep(1)
        kept = free - free_bytes(python)
    print(f"device memory not given back after UNLOAD: {max(kept, 0)} bytes")
    return well and kept < LEFT_BYTES


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True)
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--read-path", default="", help="a further folder that workers may read")
    options = parser.parse_args()
    if free_bytes(options.python) < 0:
        print("no CUDA device: nothing was checked")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "idl").mkdir()
        node = new_node(base, options.build.resolve(), options.python, load_bindings(base / "idl"), load_families())
        node.settings["AIN_WORKER_READ_PATHS"] = options.read_path
        node.install()
        try:
            node.start()
            with node.call("H", timeout=120) as caller:
                well = check(caller, options.python, base / "models")
            node.stop()
            slots = [line for line in node.log().splitlines() if "request slots are" in line]
        finally:
            node.kill()
            node.config_node.stop()
    print("\n".join(slots))
    print("all is well" if well and slots else "NOT well: see above")
    return 0 if well and slots else 1


if __name__ == "__main__":
    sys.exit(main())
