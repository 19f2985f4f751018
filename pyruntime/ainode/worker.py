"""A worker: loads one model, then answers jobs until the host says stop."""

import contextlib
import dataclasses
import importlib
import json
import os
import resource
from typing import Any, Callable, Optional

import _ainode
import numpy as np

from ainode.model import Model, ModelError, Spec, describe, print_traceback

#: Kind of model (host: ain_model_kind_name) -> module with load(spec) -> Model. Imported when needed.
LOADERS: dict[str, str] = {
    "torchscript": "ainode.torchscript",
    "statistical": "ainode.statistical",
    "timer": "ainode.timer_xl",
    "sundial": "ainode.sundial",
    "pipeline": "ainode.pipeline",
}

#: Kinds that compute on a CUDA device where they are placed on one.
ON_DEVICE = ("torchscript", "timer", "sundial", "pipeline")

#: Kinds that bring weights and no code: ours copies those into sealed memory.
OUR_CODE = ("timer", "sundial")

_MISSING = "{name} is not installed in this Python environment: run `ainode env install` for it and start again"


def load_model(spec: Spec) -> Model:
    """Loads the model with the loader of its kind. ModelError is a sentence for the user."""
    if spec.kind not in LOADERS:
        raise ModelError(f"this runtime knows no models of kind {spec.kind!r}: lib/ holds files of different releases")
    try:
        return importlib.import_module(LOADERS[spec.kind]).load(spec)
    except ModuleNotFoundError as error:
        raise ModelError(_MISSING.format(name=error.name)) from error


def make_handler(model: Model) -> Callable[[np.ndarray, Optional[str], int], Any]:
    """The function that _ainode.serve() calls: answers an array, or the error as a sentence."""
    call = model.call

    def handler(array: np.ndarray, options: Optional[str], output_length: int) -> Any:
        try:
            return call(array, options, output_length)
        except BaseException as error:  # noqa: BLE001 - user code may even raise SystemExit
            if isinstance(error, ModelError):
                return describe(error)
            print_traceback(error)
            return "the model raised " + describe(error)

    return handler


def run() -> None:
    """From the host's LOAD message to the end of the job loop."""
    message = _ainode.receive()
    if message is None:
        return
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)  # what the model may leave behind is known by it; what the host spawned leads one already
    try:
        spec = Spec.parse(json.loads(message[3]))
        threads = spec.threads
        if spec.template:  # what forks has one thread; the forked set their own number
            spec = dataclasses.replace(spec, threads=1)
        if spec.memory_bytes > 0:
            resource.setrlimit(resource.RLIMIT_DATA, (spec.memory_bytes, spec.memory_bytes))
        if spec.sandbox:
            from ainode import sandbox

            trusted = spec.kind in OUR_CODE or spec.device != "cpu"
            cuda = spec.device != "cpu"
            applied = sandbox.enter(spec.directory, list(spec.read_paths), spec.template, trusted, cuda)
            if " no " in applied:
                print(f"the sandbox is incomplete: {applied}", flush=True)
        model = load_model(spec)
        findings = model.findings
        if spec.prove and not findings:
            from ainode import proof

            findings = proof.prove(spec, model)
        if not spec.template:
            _ainode.open_channel()
            if spec.device != "cpu" and spec.kind in ON_DEVICE:
                from ainode import pinned

                print(pinned.pin_slots(_ainode.request_slots()), flush=True)
    except BaseException as error:  # noqa: BLE001 - user code
        if not isinstance(error, ModelError):
            print_traceback(error)
        _ainode.send(_ainode.MESSAGE_FAILED, 0, 0, describe(error))
        return
    if spec.template:
        from ainode import template

        template.run(spec, lambda: serve_forked(model, threads))
    else:
        serve(model, findings)


def serve(model: Model, findings: str) -> None:
    """The job loop; the channel is open."""
    with model.session():
        _ainode.send(_ainode.MESSAGE_LOADED, 0, 0, findings)
        _ainode.serve(make_handler(model))


def serve_forked(model: Model, threads: int) -> None:
    """In a process forked from the model's template: greets the host, and answers jobs with what is loaded."""
    if threads > 1:
        importlib.import_module("torch").set_num_threads(threads)  # all kinds that have templates are of torch
    _ainode.send(_ainode.MESSAGE_HELLO, 0, _ainode.ABI_VERSION, "")
    if _ainode.receive() is not None:  # LOAD: what it describes is here
        _ainode.open_channel()
        serve(model, "")
