"""The classes that pipelines of users derive from, with the checks around their hooks.

Two generations of names work. Since 2.0.10 a pipeline defines `_preprocess`, its step (`forecast`, `classify`, `chat`)
and `_postprocess`, and the public names wrap the hooks in checks. Before, it defined `preprocess` and `postprocess`,
which call the checks through super().

Values are PyTorch tensors; in a process without torch, and for models with `"framework": "numpy"`, NumPy arrays.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from ainode.pipeline import call_hook

from iotdb.ainode.core.exception import InferenceModelInternalException
from iotdb.ainode.core.log import Logger
from iotdb.ainode.core.model.model_info import ModelInfo

_OLD_STEP = "_inference"
_logger = Logger()
_arrays = False


def use_arrays(arrays: bool) -> None:
    """Says which kind of values this process works on; once, before a pipeline is made."""
    global _arrays
    _arrays = arrays


def uses_arrays() -> bool:
    """Whether values are NumPy arrays here."""
    return _arrays


def _is_value(value: Any) -> bool:
    if _arrays:
        return isinstance(value, np.ndarray)
    import torch

    return isinstance(value, torch.Tensor)


def _expected() -> str:
    return "a NumPy array" if _arrays else "a torch.Tensor"


def _kind(value: Any) -> str:
    return type(value).__name__


def _pad(values: Any, before: int, after: int) -> Any:
    """A 1-D value with zeros around it."""
    if _arrays:
        return np.pad(values, (before, after))
    from torch.nn import functional

    return functional.pad(values, (before, after))


class BasicPipeline(ABC):  # noqa: B024 - the step is what is abstract, and each kind has its own
    """A model with what is done before and after it."""

    _step = ""  # name of the method that runs the model

    def __init__(self, model_info: ModelInfo, **model_kwargs: Any) -> None:
        """Loads the model that lies beside the pipeline: self.model, on self.device."""
        from iotdb.ainode.core.model.model_loader import load_model

        nested = model_kwargs.pop("model_kwargs", None)  # some hand their keywords on as one
        model_kwargs = {**nested, **model_kwargs} if isinstance(nested, dict) else model_kwargs
        self.model_info = model_info
        self.device = model_kwargs.get("device", "cpu")
        if not _arrays and isinstance(self.device, str):
            import torch

            self.device = torch.device(self.device)
        self.model = load_model(model_info, **{"device_map": self.device, **model_kwargs})

    def __init_subclass__(cls, **options: Any) -> None:
        """A pipeline with the oldest name of the step, _inference, gets the newer one."""
        super().__init_subclass__(**options)
        if _OLD_STEP in cls.__dict__ and cls._step and cls._step not in cls.__dict__:

            def step(self: Any, inputs: Any, **infer_kwargs: Any) -> Any:
                return call_hook(getattr(self, _OLD_STEP), inputs, infer_kwargs)

            setattr(cls, cls._step, step)

    def _preprocess(self, inputs: Any, **infer_kwargs: Any) -> Any:
        """Hook: makes of the checked inputs what the model takes."""
        return inputs

    def _postprocess(self, outputs: Any, **infer_kwargs: Any) -> Any:
        """Hook: makes of what the model gave what is then checked."""
        return outputs

    def preprocess(self, inputs: Any, **infer_kwargs: Any) -> Any:
        """Checks the inputs, then the hook."""
        return call_hook(self._preprocess, self._check_inputs(inputs, infer_kwargs), infer_kwargs)

    def postprocess(self, outputs: Any, **infer_kwargs: Any) -> Any:
        """The hook, then checks what it gave."""
        return self._check_outputs(call_hook(self._postprocess, outputs, infer_kwargs))

    def _check_inputs(self, inputs: Any, infer_kwargs: dict[str, Any]) -> Any:
        return inputs

    def _check_outputs(self, outputs: Any) -> Any:
        return outputs


class ForecastPipeline(BasicPipeline):
    """Inputs: a list of {"targets": [length] or [targets, length], and perhaps "past_covariates" and
    "future_covariates": {name: [length]}}. Outputs: a list of [targets, output_length]."""

    _step = "forecast"

    @abstractmethod
    def forecast(self, inputs: Any, **infer_kwargs: Any) -> Any:
        """The forecasts of the preprocessed inputs; output_length is among the keywords."""

    def _check_inputs(self, inputs: Any, infer_kwargs: dict[str, Any]) -> Any:
        """ValueError says what is wrong. With auto_adapt (the default) covariates of the wrong length are cut or
        filled with zeros, and future ones without a past are left out, each with a warning."""
        if not isinstance(inputs, list):
            raise ValueError(f"The inputs must be a list of dictionaries, but got {_kind(inputs)}.")
        length = int(infer_kwargs.get("output_length", 96))
        adapt = str(infer_kwargs.get("auto_adapt", True)).lower() != "false"
        for index, item in enumerate(inputs):
            past = _check_item(item, index)
            rows = item["targets"].shape[-1]
            _check_past(past, rows, adapt, index)
            _check_future(item, past, length, adapt, index)
        return inputs

    def _check_outputs(self, outputs: Any) -> Any:
        if not isinstance(outputs, list):
            raise ValueError(f"The outputs should be a list of 2D-tensors, but got {_kind(outputs)}.")
        for index, output in enumerate(outputs):
            if getattr(output, "ndim", None) != 2:
                found = f"{output.ndim} dims" if hasattr(output, "ndim") else f"a {_kind(output)}"
                raise InferenceModelInternalException(
                    f"Output in outputs_list should be 2D-tensor, but receives {found} at index {index}."
                )
        return outputs


def _check_item(item: Any, index: int) -> dict[str, Any]:
    """Returns the past covariates."""
    if not isinstance(item, dict):
        raise ValueError(f"Input at index {index} is not a dictionary.")
    if "targets" not in item:
        raise ValueError(f"Key 'targets' is missing in input at index {index}.")
    targets = item["targets"]
    if not _is_value(targets):
        raise ValueError(f"'targets' must be {_expected()}, but got {_kind(targets)} at index {index}.")
    if targets.ndim not in (1, 2):
        raise ValueError(f"'targets' must have 1 or 2 dimensions, but got {targets.ndim} dimensions at index {index}.")
    for key in ("past_covariates", "future_covariates"):
        if not isinstance(item.get(key, {}), dict):
            raise ValueError(f"'{key}' must be a dictionary, but got {_kind(item[key])} at index {index}.")
    return item.get("past_covariates", {})


def _check_covariate(key: str, name: str, values: Any, index: int) -> None:
    if not _is_value(values):
        raise ValueError(
            f"Each value in '{key}' must be {_expected()}, but got {_kind(values)} for key '{name}' at index {index}."
        )
    if values.ndim != 1:
        raise ValueError(f"Each of '{key}' must be 1-d, but {name} has {values.ndim} dimensions at index {index}.")


def _check_past(past: dict[str, Any], rows: int, adapt: bool, index: int) -> None:
    for name, values in list(past.items()):
        _check_covariate("past_covariates", name, values, index)
        found = values.shape[0]
        if found == rows:
            continue
        if not adapt:
            raise ValueError(
                f"Each of 'past_covariates' must be as long as the targets ({rows}), but {name} has {found} at index "
                f"{index}."
            )
        what = "its first ones are left out" if found > rows else "zeros are put before them"
        _logger.warning(f"past covariate {name} at index {index} has {found} values for {rows} rows: {what}")
        past[name] = values[-rows:] if found > rows else _pad(values, rows - found, 0)


def _check_future(item: dict[str, Any], past: dict[str, Any], length: int, adapt: bool, index: int) -> None:
    future = item.get("future_covariates", {})
    for name, values in list(future.items()):
        if name not in past:
            if not adapt:
                raise ValueError(
                    f"The keys of 'future_covariates' must be among those of 'past_covariates' {list(past)}, but "
                    f"{name} is not at index {index}."
                )
            _logger.warning(f"future covariate {name} at index {index} is left out: no past covariate has its name")
            del future[name]
            continue
        _check_covariate("future_covariates", name, values, index)
        found = values.shape[0]
        if found == length:
            continue
        if not adapt:
            raise ValueError(
                f"Each of 'future_covariates' must be as long as output_length ({length}), but {name} has {found} at "
                f"index {index}."
            )
        what = "its last ones are left out" if found > length else "zeros are put behind them"
        _logger.warning(f"future covariate {name} at index {index} has {found} values for {length} rows: {what}")
        future[name] = values[:length] if found > length else _pad(values, 0, length - found)
    if not future and "future_covariates" in item:
        del item["future_covariates"]


class ClassificationPipeline(BasicPipeline):
    """Inputs: one tensor [batch, variables, length]. Outputs: a list with one tensor for each of the batch: a label, or
    one for every row."""

    _step = "classify"

    @abstractmethod
    def classify(self, inputs: Any, **kwargs: Any) -> Any:
        """The labels of the preprocessed inputs."""

    def _check_inputs(self, inputs: Any, infer_kwargs: dict[str, Any]) -> Any:
        if not _is_value(inputs):
            raise ValueError(f"The inputs must be {_expected()}, but got {_kind(inputs)}.")
        if inputs.ndim != 3:
            raise ValueError(
                f"The inputs must have 3 dimensions [batch, variables, length], but got {inputs.ndim} dimensions."
            )
        return inputs

    def _check_outputs(self, outputs: Any) -> Any:
        if not isinstance(outputs, list):
            raise ValueError(f"The outputs should be a list of tensors, but got {_kind(outputs)}.")
        return outputs


class ChatPipeline(BasicPipeline):
    """Inputs and outputs are what the pipeline makes of them; requests give it the inputs of a forecast."""

    _step = "chat"

    @abstractmethod
    def chat(self, inputs: Any, **kwargs: Any) -> Any:
        """The answer to the preprocessed inputs."""


