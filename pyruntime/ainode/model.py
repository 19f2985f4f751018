"""What every kind of model offers the worker, and how its answers and errors are put into form."""

import contextlib
import dataclasses
import re
import sys
import traceback
from typing import Any, Callable, Optional

import numpy as np

#: Element types that cross the channel, by the name the host uses.
DTYPES: dict[str, np.dtype] = {
    "bool": np.dtype(np.bool_),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
_CARRIED = frozenset(DTYPES.values())
_ERROR_TEXT_MAX = 2000
_STORY_MAX = 1 << 18  # the host logs far less


class ModelError(Exception):
    """Something about the model is wrong; the text is a sentence for the user."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """The host's description of a model."""

    kind: str
    directory: str
    dtype: str  # element type to run it with; the declared one while proving
    input_shape: list[int]  # rows, columns
    output_shape: list[int]
    prove: bool  # run it once on random data and report the findings
    memory_bytes: int = 0  # RLIMIT_DATA of the process, 0 for none
    sandbox: bool = False  # shut the process in before the model is loaded
    read_paths: tuple[str, ...] = ()  # what it may read there besides its own
    device: str = "cpu"  # or the index of a CUDA device
    name: str = ""  # id of the model
    template: bool = False  # load it and fork the processes that answer; this one never does
    threads: int = 0  # of torch, as an earlier proof found best; 0 for one
    official_numbers: bool = False  # built-ins: the numbers of the official releases where ours differ

    @staticmethod
    def parse(fields: dict[str, Any]) -> "Spec":
        """From the JSON object of the host; unknown fields are ignored."""
        names = {field.name for field in dataclasses.fields(Spec)}
        return Spec(**{name: value for name, value in fields.items() if name in names})


Handler = Callable[[np.ndarray, Optional[str], int], Any]


@dataclasses.dataclass
class Model:
    """A loaded model.

    call: array [batch, rows, columns] (a read-only view of shared memory), options (JSON text or None), output length
    (0: the model's own) -> array [batch, rows, columns]. It may raise: the worker turns that into a sentence.
    session: entered around the whole job loop.
    """

    call: Handler
    session: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    findings: str = ""  # of the proof, where loading was all there is to prove
    set_threads: Optional[Callable[[int], Any]] = None  # of the framework, where it computes on the processors


def as_batch(result: np.ndarray, batch: int) -> np.ndarray:
    """Brings a model's answer into the form [batch, rows, columns].

    Models of one column may drop it, models called with one sample may drop the batch axis; both as the official
    AINode accepts them (it squeezes the first axis).
    """
    if result.ndim == 3 and result.shape[0] == batch:
        shaped = result
    elif batch == 1:
        single = result[0] if result.ndim > 1 and result.shape[0] == 1 else result
        if single.ndim == 1:
            single = single[:, None]
        if single.ndim != 2:
            raise ModelError(f"the model's result has the shape {list(result.shape)}; [rows, columns] was expected")
        shaped = single[None]
    elif result.ndim == 2 and result.shape[0] == batch:
        shaped = result[:, :, None]
    else:
        raise ModelError(f"the model's result has the shape {list(result.shape)} for a batch of {batch}")
    if shaped.dtype not in _CARRIED:
        raise ModelError(f"the model's result has the type {shaped.dtype}; {', '.join(DTYPES)} can be sent")
    return shaped


def _message(error: BaseException) -> str:
    """What the error says, on one line. TorchScript wraps the cause in a report of several lines; the last line that
    names an error is the cause."""
    text = str(error)[:_STORY_MAX].strip()
    causes = re.findall(r"^(?:torch\.jit\.Error|[A-Za-z_.]*(?:Error|Exception)): *(.+)$", text, re.MULTILINE)
    if causes:
        text = causes[-1]
    text = " ".join(text.split())
    sandbox = sys.modules.get("ainode.sandbox")  # not loaded: not entered
    if sandbox is not None and sandbox.is_denial(error):
        text = f"{text} ({sandbox.HINT})"
    return text


def describe(error: BaseException) -> str:
    """One sentence for the user: type and message, without a traceback. Never raises, whatever the error does."""
    if isinstance(error, ModelError):
        return str(error)
    text = ""
    with contextlib.suppress(BaseException):  # a model's class of errors may even raise SystemExit
        text = _message(error)
    if len(text) > _ERROR_TEXT_MAX:
        text = text[:_ERROR_TEXT_MAX] + "..."
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def print_traceback(error: BaseException) -> None:
    """The whole story for the log: the host reads our stderr line by line. Never raises: the model may have closed or
    replaced stderr."""
    size = 0
    with contextlib.suppress(BaseException):
        size = len(str(error))
    with contextlib.suppress(BaseException):
        if size > _STORY_MAX:  # formatting that alone may take longer than the run may
            story = "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__ + "\n"
        else:
            story = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        print(story[:_STORY_MAX], file=sys.stderr, end="")
