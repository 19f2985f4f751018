"""User models of one tensor [batch, rows, columns]: TorchScript (`model.pt`) or an exported program (`model.pt2`)."""

import contextlib
import importlib
import importlib.util
import io
import os
import re
from typing import Any, Callable, Optional

import numpy as np
import torch

from ainode.model import Model, ModelError, Spec, as_batch

_WIDEN = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.int16: torch.int32,
          torch.int8: torch.int32, torch.uint8: torch.int32}
_CARRIED = frozenset((torch.float32, torch.float64, torch.int32, torch.int64, torch.bool))


_prepared = False


def warm_up() -> None:
    """The one generic operation of processes that fork: touches what every worker will. Single-threaded, no CUDA."""
    with torch.inference_mode():
        archive = io.BytesIO()
        torch.jit.save(torch.jit.script(torch.nn.Linear(4, 4)), archive)
        archive.seek(0)
        torch.jit.load(archive, map_location="cpu").eval()(torch.ones(1, 2, 4))


def prepare_process() -> None:
    """Settings of the process, and one generic operation that takes the first-call costs off every worker.

    Called by the prototype before it forks: must stay single-threaded and must not touch CUDA or user code. What it
    forked is prepared already. The profiling executor re-optimises during the first calls (2 ms each) and gains nothing
    on small models.
    """
    global _prepared
    if _prepared:
        return
    torch.set_num_threads(1)
    torch._C._jit_set_profiling_executor(False)
    torch._C._jit_set_profiling_mode(False)
    warm_up()
    _prepared = True


def to_numpy(result: Any) -> np.ndarray:
    """A tensor as an array that shares its memory; element types the channel cannot carry are widened."""
    if not isinstance(result, torch.Tensor):
        raise ModelError(f"the model returned a {type(result).__name__}; one tensor was expected")
    if result.dtype in _CARRIED:
        try:
            return result.numpy()  # the usual case: dense, in main memory, without a gradient
        except (TypeError, RuntimeError):
            pass  # what it is instead is found out below
    tensor = result.detach()
    if tensor.dtype in _WIDEN:
        tensor = tensor.to(_WIDEN[tensor.dtype])
    if tensor.is_complex() or tensor.is_sparse or tensor.is_quantized:
        raise ModelError(f"the model returned a tensor of type {tensor.dtype}; a plain real tensor was expected")
    return tensor.cpu().resolve_neg().numpy()


def place(spec: Spec) -> torch.device:
    """The device of the model. Of several GPUs the process sees one: its own."""
    if spec.device == "cpu":
        return torch.device("cpu")
    os.environ["CUDA_VISIBLE_DEVICES"] = spec.device
    if not torch.cuda.is_available():
        raise ModelError(f"device {spec.device} cannot be used by torch {torch.__version__} in this process")
    torch.cuda.manual_seed_all(int.from_bytes(os.urandom(4), "little"))  # after a fork only the CPU's has been
    return torch.device("cuda:0")


def _load_script(path: str) -> torch.jit.ScriptModule:
    try:
        module = torch.jit.load(path, map_location="cpu")
    except Exception as error:
        cause = re.sub(r"\s+", " ", str(error)).strip()[:300]
        raise ModelError(
            f"{os.path.basename(path)} is not a TorchScript archive that torch {torch.__version__} can load ({cause}); "
            "save the model with torch.jit.script(model).save('model.pt') or torch.jit.trace"
        ) from None
    return module.eval()


def _load_export(path: str) -> torch.nn.Module:
    """model.pt2, of torch.export.save()."""
    name = os.path.basename(path)
    if importlib.util.find_spec("torch.export") is None:
        raise ModelError(
            f"{name} needs torch 2.1 or newer, this Python environment has {torch.__version__}: install a newer torch, "
            "or save the model as TorchScript in model.pt beside it"
        )
    try:
        return importlib.import_module("torch.export").load(path).module()
    except Exception as error:
        cause = re.sub(r"\s+", " ", str(error)).strip()[:300]
        raise ModelError(
            f"{name} is not an exported program that torch {torch.__version__} can load ({cause}); save the model with "
            "torch.export.save(torch.export.export(model, (example,)), 'model.pt2') of this torch or an older one"
        ) from None


def load_module(directory: str, device: torch.device) -> Any:
    """model.pt2 of the folder where this torch can load it, else model.pt, on its device. ModelError says why not."""
    script, export = (os.path.join(directory, name) for name in ("model.pt", "model.pt2"))
    has_script, has_export = os.path.isfile(script), os.path.isfile(export)
    if not has_script and not has_export:
        raise ModelError(f"{script} is missing")
    if has_export:
        try:
            return _load_export(export).to(device)
        except ModelError as error:
            if not has_script:
                raise
            print(f"model.pt is used: {error}", flush=True)
    return _load_script(script).to(device)


def _entry(module: Any) -> Callable[[torch.Tensor], Any]:
    """What to call: forward itself where no hooks go around it, since looking for them in every call takes time."""
    if module._forward_hooks or module._forward_pre_hooks:
        return module
    return module.forward


def load(spec: Spec) -> Model:
    """Loads the model of spec.directory onto its device. ModelError says what is wrong with the file."""
    prepare_process()
    device = place(spec)

    def load_again() -> Any:
        return load_module(spec.directory, device)

    forward = _entry(load_again())
    from_numpy = torch.from_numpy
    accelerated: list[Callable[[torch.Tensor], Any]] = []  # made with the first request that asks for it

    def call_accelerated(tensor: torch.Tensor) -> Any:
        if not accelerated:
            from ainode.accelerate import accelerate

            found, line = accelerate(load_again, tensor)
            print(line, flush=True)
            accelerated.append(found or forward)
        return accelerated[0](tensor)

    # User models take no options (official behaviour). The host sends some only to ask for acceleration.
    def call(array: np.ndarray, options: Optional[str], output_length: int) -> np.ndarray:
        del output_length
        if options is not None:
            return as_batch(to_numpy(call_accelerated(from_numpy(array))), len(array))
        return as_batch(to_numpy(forward(from_numpy(array))), len(array))

    def call_on_device(array: np.ndarray, options: Optional[str], output_length: int) -> np.ndarray:
        del output_length
        run = forward if options is None else call_accelerated
        return as_batch(to_numpy(run(from_numpy(array).to(device))), len(array))

    def session() -> contextlib.AbstractContextManager[Any]:
        return torch.inference_mode()

    if device.type != "cpu":
        return Model(call_on_device, session)
    torch.set_num_threads(max(spec.threads, 1))
    return Model(call, session, set_threads=torch.set_num_threads)
