"""Private memory of several replicas of one large model, against what they may have: 25 MB each and the weights once.

    PYTHON replicas.py [--python PYTHON] [--build build/release] [--replicas 4]

Makes a timer_xl of the published size (336 MB of random float32 weights) and a TorchScript model of 300 MB, starts this
node with as many replicas as asked for, has every replica answer, and prints what the kernel says of their processes.
Each answer is compared with the first one to the same input. `PYTHON` is as for compare.py; --python runs the models.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support"), str(ROOT / "bench")]

from caller import Caller, good  # noqa: E402
from generated import load_families  # noqa: E402
from node import Node, new_node  # noqa: E402
from processes import memory_kib, wait_until  # noqa: E402
from standins.confignode import load_bindings  # noqa: E402
from tsblock import decode, encode  # noqa: E402

EACH_MB = 25
TORCHSCRIPT_MB = 300
MAKE_TORCHSCRIPT = f"""
import sys, torch
class Large(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("weights", torch.randn(96, {TORCHSCRIPT_MB} * 250000 // 96))
    def forward(self, x):
        return x * torch.matmul(self.weights, self.weights[0]).reshape(1, 96, 1)
torch.jit.script(Large()).save(sys.argv[1] + "/model.pt")
"""
CONFIG = (
    "configs:\n  input_shape: [96, 2]\n  output_shape: [96, 2]\n"
    "  input_type: [float32, float32]\n  output_type: [float32, float32]\n"
)


def rows(model: str) -> np.ndarray:
    """The input of every request."""
    steps = np.arange(96 * 2, dtype=np.float32).reshape(96, 2)
    return np.tile(np.sin(steps * 0.1), (7, 1)) if model == "timer_xl" else np.sin(steps * 0.1)


def infer(caller: Caller, model: str) -> np.ndarray:
    """One answer."""
    request = caller.types.TInferenceReq(modelId=model, dataset=encode(rows(model)))
    return decode(good(caller.call("inference", request)).inferenceResult[0])


def crowd(node: Node, model: str, replicas: int, expected: np.ndarray) -> None:
    """Clients that ask at once until so many processes have answered."""
    wrong: list[float] = []

    def client() -> None:
        with node.call(timeout=300) as caller:
            for _ in range(3):
                difference = float(np.abs(infer(caller, model) - expected).max())
                if not difference <= 1e-4 * max(float(np.abs(expected).max()), 1.0):
                    wrong.append(difference)

    deadline = time.monotonic() + 300
    rounds = 0
    while len(node.workers()) < replicas or rounds < 2:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(node.workers())} of {replicas} replicas")
        threads = [threading.Thread(target=client) for _ in range(2 * replicas)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rounds += 1
    if wrong:
        raise RuntimeError(f"wrong answers: {wrong[:3]}")


def report(node: Node, model: str, replicas: int, weights_mb: float) -> bool:
    """Prints one line a process and the sum; whether it is within the bound."""
    processes = [("template", pid) for pid in node.templates()] + [("replica", pid) for pid in node.workers()]
    print(f"\n{model}: {weights_mb:.0f} MB of weights, {replicas} replicas\n")
    print("| process | private MB | PSS MB |\n|---|---|---|")
    private = pss = 0.0
    for name, pid in processes:
        own, share = memory_kib(pid, "Private") * 1.024e-3, memory_kib(pid, "Pss") * 1.024e-3
        private, pss = private + own, pss + share
        print(f"| {name} | {own:.1f} | {share:.1f} |")
    bound = replicas * EACH_MB + weights_mb
    print(f"| sum | {private:.1f} | {pss:.1f} |")
    # The weights that all share are nobody's private memory: the sum of PSS has them, and torch's share, too.
    once = private + weights_mb
    print(f"\nprivate and the weights once: {once:.0f} MB of {bound:.0f} allowed")
    return once <= bound and len(processes) == replicas + 1


def main() -> int:
    """Both models, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="/usr/bin/python3")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--replicas", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ain-replicas-") as base:
        folder = Path(base)
        (folder / "large").mkdir()
        (folder / "large.py").write_text(MAKE_TORCHSCRIPT)  # TorchScript reads the source
        subprocess.run([options.python, str(folder / "large.py"), str(folder / "large")], check=True)
        (folder / "large" / "config.yaml").write_text(CONFIG)
        settings = {"AIN_MODEL_REPLICAS": str(options.replicas), "AIN_BATCHING": "0"}
        (folder / "bindings").mkdir()
        bindings = load_bindings(folder / "bindings")
        node = new_node(folder / "node", options.build.resolve(), options.python, bindings, load_families(), **settings)
        try:
            node.install()
            weights = node.home / "data" / "ainode" / "models" / "weights" / "timer_xl"
            make = [options.python, str(ROOT / "tests" / "models" / "make_weights.py"), "timer", str(weights), "--full"]
            subprocess.run(make, check=True)
            node.start(timeout=120)
            good_all = True
            for model, size in (("timer_xl", (weights / "model.safetensors").stat().st_size / 1e6),
                                ("large", TORCHSCRIPT_MB)):  # fmt: skip
                with node.call(timeout=300) as caller:
                    if model == "large":
                        caller.register(model, (folder / model).as_uri())
                    else:
                        wait_until(lambda: "timer_xl is active" in node.log(), 120, "the weights are noticed")
                    expected = infer(caller, model)
                crowd(node, model, options.replicas, expected)
                good_all &= report(node, model, options.replicas, size)
                with node.call("G", timeout=60) as caller:
                    request = caller.types.TUnloadModelReq(modelId=model, deviceIdList=["cpu"])
                    good(caller.call("unloadModel", request))
            node.stop()
            return 0 if good_all else 1
        finally:
            node.kill()
            node.config_node.stop()


if __name__ == "__main__":
    sys.exit(main())
