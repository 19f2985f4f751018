"""Models of the convention of 2.0.8 and later: a folder with config.json, whose `pipeline_cls` is run.

The class derives from one of those in iotdb.ainode.core.inference.pipeline.basic_pipeline. It gets PyTorch tensors, or
NumPy arrays where torch is not installed or config.json says `"framework": "numpy"`.
"""

import contextlib
import importlib
import inspect
import json
import os
import time
from typing import Any, Callable, Optional

import numpy as np

from ainode import user_code, user_model
from ainode.model import DTYPES, Model, ModelError, Spec, describe

#: Forecast length where the request says none.
DEFAULT_LENGTH = 96
#: Rows of the first run, where config.json gives no input_shape: the first that the pipeline takes.
_TRIAL_ROWS = (96, 512, 1440, 2880)
_TRIAL_SECONDS = 10.0  # no further trial is begun after so long
_LONG_SECONDS = 0.02  # a run that takes longer is tried with more threads
_BATCHES = (2, 3, 8)
_RTOL = 1e-4
#: What the host adds to the options of a request.
_HOST_KEYS = ("ainode_family", "ainode_task")


def _read_config(directory: str) -> dict[str, Any]:
    path = os.path.join(directory, user_model.CONFIG)
    try:
        with open(path, encoding="utf-8") as file:
            fields = json.load(file)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no JSON text: {error}") from None
    if not isinstance(fields, dict):
        raise ModelError(f"{path} is no JSON object")
    return fields


def accepted(function: Callable, options: dict[str, Any]) -> dict[str, Any]:
    """Those options that the function takes: older pipelines name what they want."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return options
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in options.items() if name in names}


def call_hook(function: Callable, value: Any, options: dict[str, Any]) -> Any:
    """function(value, **options) with the options it takes."""
    return function(value, **accepted(function, options))


class _Runner:
    """A pipeline and its three steps."""

    def __init__(self, spec: Spec, pipeline: Any, arrays: bool) -> None:
        from iotdb.ainode.core.inference.pipeline import basic_pipeline as shim

        self.name = spec.name
        self.arrays = arrays
        self.classifies = isinstance(pipeline, shim.ClassificationPipeline)
        step = "forecast"
        if self.classifies:
            step = "classify"
        elif isinstance(pipeline, shim.ChatPipeline):
            step = "chat"
        self.before = pipeline.preprocess
        self.step = getattr(pipeline, step)
        self.after = pipeline.postprocess

    def _inputs(self, array: np.ndarray) -> Any:
        """[batch, rows, columns] -> what the hooks get: a copy, for pipelines may write into it and keep it."""
        values = np.array(array.transpose(0, 2, 1), order="C")
        if not self.arrays:
            import torch

            values = torch.from_numpy(values)
        return values if self.classifies else [{"targets": one} for one in values]

    def _output(self, output: Any, index: int) -> np.ndarray:
        """One output as [rows, columns]."""
        if not isinstance(output, np.ndarray):
            output = _to_array(output)
        if output.ndim == 2:
            return output.T
        if self.classifies and output.ndim < 2:
            return output.reshape(-1, 1)
        raise ModelError(
            f"output {index} of the pipeline has the shape {list(output.shape)}; [columns, rows] was expected"
        )

    def run(self, array: np.ndarray, options: dict[str, Any], length: int) -> np.ndarray:
        """[batch, rows, columns] -> [batch, rows, columns]; length is 0 where the request gives none."""
        options = {**options, "output_length": length if length > 0 else DEFAULT_LENGTH}
        inputs = call_hook(self.before, self._inputs(array), options)
        outputs = call_hook(self.after, call_hook(self.step, inputs, options), options)
        if not self.arrays and not isinstance(outputs, (list, tuple, np.ndarray)):
            outputs = list(outputs) if getattr(outputs, "ndim", 0) >= 1 else outputs
        if not isinstance(outputs, (list, tuple, np.ndarray)):
            raise ModelError(f"the pipeline answered a {type(outputs).__name__}; a list of outputs was expected")
        if len(outputs) != len(array):
            raise ModelError(f"the pipeline gave {len(outputs)} outputs for {len(array)} inputs")
        results = [self._output(output, index) for index, output in enumerate(outputs)]
        if len({(result.shape, result.dtype) for result in results}) != 1:
            raise ModelError("the pipeline gave outputs of different shapes or types for inputs of one shape")
        stacked = np.stack(results)
        if self.classifies and stacked.shape[1] == 1 and length > 1:
            stacked = np.repeat(stacked, length, axis=1)  # SQL's CLASSIFY wants a row for every row
        return _carried(stacked)


def _to_array(output: Any) -> np.ndarray:
    if isinstance(output, (int, float, np.generic)):
        return np.asarray(output)
    try:
        from ainode.torchscript import to_numpy
    except ModuleNotFoundError:
        raise ModelError(f"the pipeline gave a {type(output).__name__}; a NumPy array was expected") from None
    return to_numpy(output)


def _carried(values: np.ndarray) -> np.ndarray:
    """Element types that cannot be sent, widened."""
    if values.dtype in DTYPES.values():
        return values
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    if values.dtype.kind == "f":
        return values.astype(np.float32 if values.dtype.itemsize < 4 else np.float64)
    raise ModelError(f"the pipeline's output has the type {values.dtype}; {', '.join(DTYPES)} can be sent")


def _has_torch() -> bool:
    """Whether torch can be imported; one that is there but broken is told of."""
    try:
        importlib.import_module("torch")
    except ModuleNotFoundError:
        return False
    except (ImportError, OSError) as error:
        print(f"the pipeline works on NumPy arrays, for torch cannot be imported: {error}", flush=True)
        return False
    return True


def _make_pipeline(spec: Spec, config: dict[str, Any], arrays: bool) -> Any:
    from iotdb.ainode.core.inference.pipeline import basic_pipeline as shim
    from iotdb.ainode.core.model.model_constants import ModelCategory, ModelStates
    from iotdb.ainode.core.model.model_info import ModelInfo

    name = config.get("pipeline_cls")
    if not isinstance(name, str):
        raise ModelError("config.json has no pipeline_cls, which names the class to run as <file>.<Class>")
    try:
        user_code.install(spec.directory, spec.name)
        cls = user_code.import_class(name, "pipeline_cls")
    except ModuleNotFoundError as error:
        raise ModelError(user_code.explain_missing(error, "__init__.py")) from error
    if not issubclass(cls, shim.BasicPipeline):
        raise ModelError(
            f"config.json: pipeline_cls is {name}, which derives from none of ForecastPipeline, ClassificationPipeline "
            "and ChatPipeline of iotdb.ainode.core.inference.pipeline.basic_pipeline"
        )
    abstract = sorted(getattr(cls, "__abstractmethods__", ()))
    if abstract:
        raise ModelError(f"the pipeline {name} does not define {' and '.join(abstract)}()")
    info = ModelInfo(
        model_id=spec.name,
        category=ModelCategory.USER_DEFINED,
        state=ModelStates.ACTIVE,
        model_type=config.get("model_type") or "",
        pipeline_cls=name,
        auto_map=config.get("auto_map"),
        hub_mixin_cls=config.get("hub_mixin_cls"),
    )
    device: Any = "cpu"
    if not arrays:
        from ainode.torchscript import place

        device = place(spec)
    try:
        return cls(info, device=device)
    except ModuleNotFoundError as error:
        raise ModelError(user_code.explain_missing(error, f"the pipeline {name}")) from error


def _options_of(text: Optional[str]) -> tuple[dict[str, Any], str]:
    """The options of a request and what it asks for: "classify" or nothing."""
    options = json.loads(text) if text else {}
    task = options.get("ainode_task", "")
    return {name: value for name, value in options.items() if name not in _HOST_KEYS}, task


def load(spec: Spec) -> Model:
    """Loads the pipeline of spec.directory. ModelError says what is wrong with it."""
    config = _read_config(spec.directory)
    user_model.stay_offline()
    arrays = config.get("framework") == "numpy" or not _has_torch()
    user_model.set_place(spec.directory, spec.name)
    from iotdb.ainode.core.inference.pipeline import basic_pipeline as shim

    shim.use_arrays(arrays)
    if not arrays:
        from ainode.torchscript import prepare_process

        prepare_process()
        importlib.import_module("torch").set_num_threads(max(spec.threads, 1))
        user_model.load_weights_only()
    runner = _Runner(spec, _make_pipeline(spec, config, arrays), arrays)

    def call(array: np.ndarray, options: Optional[str], output_length: int) -> np.ndarray:
        found, task = _options_of(options)
        if task == "classify" and not runner.classifies:
            raise ModelError(f"model [{spec.name}] forecasts: its pipeline is no ClassificationPipeline")
        return runner.run(array, found, output_length)

    session = _session(arrays)
    findings = ""
    if spec.prove:
        with session():
            findings = prove(spec, runner)
    return Model(call, session, findings)


def _session(arrays: bool) -> Callable[[], Any]:
    if arrays:
        return contextlib.nullcontext
    import torch

    return torch.no_grad  # not inference_mode: pipelines may keep tensors and go on with them elsewhere


def _samples(rows: int, columns: int, dtype: str, count: int) -> list[np.ndarray]:
    """Arrays [1, rows, columns] at three scales."""
    made = []
    for seed in range(count):
        values = np.random.default_rng(seed).standard_normal((1, rows, columns)) * (1.0, 100.0, 0.01)[seed % 3]
        made.append(values > 0 if dtype == "bool" else values.astype(DTYPES[dtype]))
    return made


def _first_run(spec: Spec, runner: _Runner, deadline: float) -> tuple[str, int, int, str]:
    """The element type, rows and columns of a run that went well, or the reason why none did."""
    rows, columns = spec.input_shape
    shapes = [(rows, columns)] if rows > 0 else [(rows, 1) for rows in _TRIAL_ROWS]
    reason = ""
    for dtype in [spec.dtype] + (["float32"] if spec.dtype != "float32" else []):
        for rows, columns in shapes:
            try:
                runner.run(_samples(rows, columns, dtype, 1)[0], {}, 0)
                return dtype, rows, columns, ""
            except Exception as error:  # noqa: BLE001 - user code
                reason = reason or describe(error)
            if time.monotonic() > deadline:
                return spec.dtype, 0, 0, reason
    return spec.dtype, 0, 0, reason


def _largest_batch(runner: _Runner, rows: int, columns: int, dtype: str, deadline: float) -> int:
    """So many inputs in one list give what they give alone; 1 when they do not, or when there is no time to see."""
    samples = _samples(rows, columns, dtype, max(_BATCHES))
    try:
        singles = []
        for sample in samples:
            singles.append(runner.run(sample, {}, 0)[0])
            if time.monotonic() > deadline:
                return 1
        for size in _BATCHES:
            for order in (list(range(size)), list(range(size - 1, -1, -1))):
                together = runner.run(np.concatenate([samples[i] for i in order]), {}, 0)
                alone = np.stack([singles[i] for i in order])
                scale = float(np.max(np.abs(alone), initial=0.0))
                if together.shape != alone.shape or not np.allclose(
                    together, alone, rtol=_RTOL, atol=1e-5 * scale, equal_nan=True
                ):
                    return 1
                if time.monotonic() > deadline:
                    return 1
    except Exception:  # noqa: BLE001 - user code; a pipeline that takes one input at a time is no fault
        return 1
    return max(_BATCHES)


def _choose_threads(spec: Spec, runner: _Runner, sample: np.ndarray) -> str:
    """Whether a pipeline that computes for long does so clearly faster on all processors: as findings."""
    begun = time.monotonic()
    runner.run(sample, {}, 0)
    if not _LONG_SECONDS < time.monotonic() - begun < _TRIAL_SECONDS / 8 or spec.device != "cpu":
        return ""
    import torch

    from ainode.transformer import set_threads

    return " " + set_threads(spec, torch.device("cpu"), lambda: runner.run(sample, {}, 0))


def prove(spec: Spec, runner: _Runner) -> str:
    """Runs the pipeline on random data; the findings for the host. Where no run goes well nothing is refused: only the
    author knows what it takes."""
    deadline = time.monotonic() + _TRIAL_SECONDS
    dtype, rows, columns, reason = _first_run(spec, runner, deadline)
    if rows == 0:
        if spec.input_shape[0] > 0:
            raise ModelError(f"the pipeline fails on an input of the shape {list(spec.input_shape)}: {reason}")
        print(f"the first run of the pipeline failed on random data of one column: {reason}", flush=True)
        return f"dtype={dtype} batch=1"
    threads = "" if runner.arrays else _choose_threads(spec, runner, _samples(rows, columns, dtype, 1)[0])
    batch = 1 if time.monotonic() > deadline else _largest_batch(runner, rows, columns, dtype, deadline)
    return f"dtype={dtype} batch={batch}{threads}"
