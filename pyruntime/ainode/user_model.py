"""The model behind a pipeline: what `load_model(model_info)` of the official AINode gives, from local files alone.

auto_map: a transformers model; hub_mixin_cls: a model of huggingface_hub; model.pt2 or model.pt: an exported program or
TorchScript; else the tensors of model.safetensors (or pytorch_model.bin) by name, or None where there is no such file.
"""

import importlib
import os
from typing import Any, Optional

from ainode.model import ModelError
from ainode.user_code import import_class

CONFIG = "config.json"
SAFETENSORS = "model.safetensors"
PICKLED = "pytorch_model.bin"

_directory: Optional[str] = None  # of the model of this process
_model_id = ""


def set_place(directory: str, model_id: str) -> None:
    """Says where the model of this process lies."""
    global _directory, _model_id
    _directory, _model_id = directory, model_id


def place_of(model_id: str) -> str:
    """The folder of the model. ModelError: it is not the one of this process."""
    if _directory is None or model_id != _model_id:
        raise ModelError(f"the files of model [{model_id}] cannot be read here: this process runs [{_model_id}] alone")
    return _directory


def stay_offline() -> None:
    """Libraries must look at local files alone; before they are imported."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ[name] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def load_weights_only() -> None:
    """Makes torch.load() read weights alone where the caller does not say otherwise, as it does by itself since 2.6."""
    import torch

    load = torch.load

    def load_weights(*arguments: Any, **options: Any) -> Any:
        options.setdefault("weights_only", True)
        return load(*arguments, **options)

    torch.load = load_weights


def _need(package: str, key: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise ModelError(
            f"the model needs the Python package {package} ({key} in its config.json), which is not installed: run "
            "`lib/ainode env install --requirements lib/venv-bootstrap/requirements/transformers.txt`"
        ) from None


def _auto_class(transformers: Any, config: Any) -> Any:
    """Of the auto classes that transformers has, the first that knows the configuration."""
    for task in (
        "TimeSeriesPrediction", "NextSentencePrediction", "Seq2SeqLM", "SequenceClassification", "TokenClassification",
    ):  # fmt: skip
        candidate = getattr(transformers, f"AutoModelFor{task}", None)
        if candidate is not None and type(config) in candidate._model_mapping:
            return candidate
    return transformers.AutoModelForCausalLM


def _load_transformers(directory: str, auto_map: dict[str, Any]) -> Any:
    transformers = _need("transformers", "auto_map")
    config_name, model_name = auto_map.get("AutoConfig"), auto_map.get("AutoModelForCausalLM")
    if config_name and model_name:
        config_class = import_class(str(config_name), "auto_map.AutoConfig")
        model_class = import_class(str(model_name), "auto_map.AutoModelForCausalLM")
        if not issubclass(config_class, transformers.PretrainedConfig):
            raise ModelError(f"config.json: auto_map.AutoConfig is {config_name}, which is no PretrainedConfig")
        if not issubclass(model_class, transformers.PreTrainedModel):
            raise ModelError(f"config.json: auto_map.AutoModelForCausalLM is {model_name}, which is no PreTrainedModel")
        config = config_class.from_pretrained(directory)
    else:
        config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=True)
        model_class = _auto_class(transformers, config)
        return model_class.from_pretrained(directory, config=config, local_files_only=True, trust_remote_code=True)
    return model_class.from_pretrained(directory, config=config, local_files_only=True)


def _load_mixin(directory: str, name: str) -> Any:
    hub = _need("huggingface_hub", "hub_mixin_cls")
    model_class = import_class(name, "hub_mixin_cls")
    if not issubclass(model_class, hub.PyTorchModelHubMixin):
        raise ModelError(f"config.json: hub_mixin_cls is {name}, which is no PyTorchModelHubMixin")
    return model_class.from_pretrained(directory, local_files_only=True)


def _load_state(directory: str) -> Any:
    path = os.path.join(directory, SAFETENSORS)
    pickled = os.path.join(directory, PICKLED)
    if os.path.isfile(path):
        try:
            from ainode.safetensors import open_state
        except ModuleNotFoundError:
            from ainode.tensor_file import open_arrays

            return open_arrays(path)
        return open_state(path)
    if os.path.isfile(pickled):
        import torch

        return torch.load(pickled, map_location="cpu", weights_only=True)
    return None


def _has_parameters(model: Any) -> bool:
    return callable(getattr(model, "to", None)) and callable(getattr(model, "parameters", None))


def load(model_id: str, auto_map: Optional[dict], hub_mixin_cls: Optional[str], device: Any, arrays: bool) -> Any:
    """The model, on its device. ModelError says what is missing or wrong."""
    directory = place_of(model_id)
    if arrays:
        from ainode.tensor_file import open_arrays

        path = os.path.join(directory, SAFETENSORS)
        return open_arrays(path) if os.path.isfile(path) else None
    if auto_map:
        model = _load_transformers(directory, auto_map)
    elif hub_mixin_cls:
        model = _load_mixin(directory, hub_mixin_cls)
    elif any(os.path.isfile(os.path.join(directory, name)) for name in ("model.pt", "model.pt2")):
        from ainode.torchscript import load_module

        return load_module(directory, device)
    else:
        return _load_state(directory)
    if _has_parameters(model):
        model = model.to(device)
        model.eval()
    return model
