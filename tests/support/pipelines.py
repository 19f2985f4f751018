"""Writes small models of the pipeline convention: a folder with config.json and Python files. Needs no torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

_NAMES = {"float32": "F32", "float64": "F64", "int64": "I64", "bool": "BOOL"}

IMPORT = (
    "from iotdb.ainode.core.inference.pipeline.basic_pipeline import "
    "BasicPipeline, ChatPipeline, ClassificationPipeline, ForecastPipeline\n"
)

#: Works on arrays and, where torch is installed and "framework" does not say numpy, on tensors: the last value of every
#: column and its drift, so that the answer tells columns and order.
DRIFT = (
    IMPORT
    + '''
import numpy as np


class Drift(ForecastPipeline):
    def forecast(self, inputs, **infer_kwargs):
        length = int(infer_kwargs["output_length"])
        outputs = []
        for item in inputs:
            targets = np.atleast_2d(np.asarray(item["targets"]))
            slope = (targets[:, -1] - targets[:, 0]) / max(targets.shape[1] - 1, 1)
            outputs.append(targets[:, -1:] + slope[:, None] * np.arange(1, length + 1, dtype=targets.dtype))
        return outputs
'''
)


def drift(values: np.ndarray, length: int) -> np.ndarray:
    """What the pipeline Drift answers: values [rows, columns] -> [length, columns]."""
    slope = (values[-1] - values[0]) / max(len(values) - 1, 1)
    return values[-1] + np.arange(1, length + 1)[:, None] * slope


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """A safetensors file."""
    header: dict[str, Any] = {}
    data = b""
    for name, tensor in tensors.items():
        begin = len(data)
        data += tensor.tobytes()
        dtype = _NAMES[tensor.dtype.name]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_pipeline(
    folder: Path,
    code: str = DRIFT,
    name: str = "pipeline_drift.Drift",
    tensors: dict[str, np.ndarray] | None = None,
    files: dict[str, str] | None = None,
    **config: Any,
) -> str:
    """A folder with a pipeline, its weights and further files; keys of config.json that are None are left out. Returns
    its uri."""
    folder.mkdir(parents=True)
    fields = {"pipeline_cls": name, "model_type": "drift", **config}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in fields.items() if value is not None}))
    module = name.rpartition(".")[0].replace(".", "/")
    for path, text in {f"{module}.py": code, **(files or {})}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    write_safetensors(folder / "model.safetensors", tensors or {"scale": np.ones(1, np.float32)})
    return folder.as_uri()
