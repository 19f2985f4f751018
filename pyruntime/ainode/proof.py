"""Proving a model at registration: does it run, with which element type, and can it take several samples at once?"""

import time
from typing import Callable, Optional

import numpy as np

from ainode import threads
from ainode.model import DTYPES, Model, ModelError, Spec, describe

#: Batch sizes that are tried against single calls. The largest one the host ever forms is the last.
BATCHES = (2, 3, 32)
_RTOL = 1e-4
#: A model whose batches cannot be tried in this time, in seconds, runs every request alone.
_BATCH_SECONDS = 15.0


def _sample(spec: Spec, dtype: str, scale: float, seed: int) -> np.ndarray:
    """One sample [1, rows, columns] of random values of the given scale."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((1, spec.input_shape[0], spec.input_shape[1])) * scale
    if DTYPES[dtype].kind == "b":
        return values > 0
    return values.astype(DTYPES[dtype])


def _run(model: Model, array: np.ndarray) -> np.ndarray:
    return np.array(model.call(array.copy(), None, 0))  # copies: the model may write into its input or reuse its output


def _check_shape(spec: Spec, result: np.ndarray) -> None:
    found = list(result.shape[1:])
    if found != list(spec.output_shape):
        raise ModelError(
            f"the model answers {found[0]} rows of {found[1]} columns to an input of {spec.input_shape[0]} rows of "
            f"{spec.input_shape[1]} columns, but config.yaml says output_shape {spec.output_shape}"
        )


def choose_dtype(spec: Spec, model: Model) -> str:
    """The declared element type when the model takes it, else float32. Raises what the model raised last."""
    candidates: list[str] = [spec.dtype] + (["float32"] if spec.dtype != "float32" else [])
    failure: Optional[Exception] = None
    for dtype in candidates:
        try:
            _check_shape(spec, _run(model, _sample(spec, dtype, 1.0, 1)))
            return dtype
        except ModelError:
            raise
        except Exception as error:  # noqa: BLE001 - user code
            failure = error
    assert failure is not None
    raise ModelError(
        f"the model fails on an input of {spec.input_shape[0]} rows and {spec.input_shape[1]} columns of type "
        f"{' or '.join(candidates)}: {describe(failure)}"
    ) from failure


def can_batch(spec: Spec, model: Model, dtype: str) -> bool:
    """True when batches of several sizes and a permuted order give what single calls give.

    Random input at three scales; an answer that depends on its neighbours, on its place or on earlier calls is found.
    """
    samples = [_sample(spec, dtype, (1.0, 100.0, 0.01)[i % 3], i) for i in range(max(BATCHES))]
    runs = len(samples) + 2 * sum(BATCHES)
    try:
        begun = time.perf_counter()
        _run(model, samples[0])
        if (time.perf_counter() - begun) * runs > _BATCH_SECONDS:
            return False
        singles = [_run(model, sample)[0] for sample in samples]
        for size in BATCHES:
            for order in (list(range(size)), list(range(size - 1, -1, -1))):
                together = _run(model, np.concatenate([samples[i] for i in order]))
                if together.shape[0] != size or not _close(together, np.stack([singles[i] for i in order])):
                    return False
    except Exception:  # noqa: BLE001 - user code; a model that cannot batch is no fault
        return False
    return True


def _close(together: np.ndarray, singles: np.ndarray) -> bool:
    if together.shape != singles.shape or together.dtype != singles.dtype:
        return False
    scale = float(np.max(np.abs(singles))) if singles.size else 0.0
    return bool(np.allclose(together, singles, rtol=_RTOL, atol=1e-5 * scale, equal_nan=True))


def choose_threads(spec: Spec, model: Model, dtype: str) -> int:
    """How many threads of torch make single calls fastest; 1 where that is not clear, or no processor computes."""
    if model.set_threads is None:
        return 1
    sample = _sample(spec, dtype, 1.0, 1)
    return threads.choose(lambda: _run(model, sample), model.set_threads)


def prove(spec: Spec, model: Model) -> str:
    """Runs the proof; returns the findings as the text `dtype=NAME batch=N threads=N` for the host to store."""
    enter: Callable = model.session
    with enter():
        dtype = choose_dtype(spec, model)
        batch = can_batch(spec, model, dtype)
        count = choose_threads(spec, model, dtype)
    return f"dtype={dtype} batch={max(BATCHES) if batch else 1} threads={count}"
