"""Small weights of timer_xl whose answers are known, and variants of them."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
from caller import Caller
from generated import ROOT

GOLDEN = ROOT / "tests" / "models" / "golden" / "timer_xl"


def copy_weights(source: Path, target: Path, factor: float) -> None:
    """Weights whose last layer answers `factor` times as much."""
    target.mkdir(parents=True)
    shutil.copyfile(source / "config.json", target / "config.json")
    data = (source / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    name = next(name for name in header if name.startswith("lm_heads") and name.endswith("weight"))
    begin, end = (8 + length + offset for offset in header[name]["data_offsets"])
    values = np.frombuffer(data[begin:end], np.float32) * np.float32(factor)
    (target / "model.safetensors").write_bytes(data[:begin] + values.tobytes() + data[end:])


def wave() -> np.ndarray:
    """Two periods and a half, with a trend."""
    steps = np.arange(192, dtype=np.float32)
    return (np.sin(steps / 12) * 10 + steps / 50).astype(np.float32)[:, None]


def active(caller: Caller, model: str) -> bool:
    """Whether SHOW MODELS says so."""
    answer = caller.call("showModels", caller.types.TShowModelsReq())
    return str(answer.stateMap.get(model, "")).upper() == "ACTIVE"
