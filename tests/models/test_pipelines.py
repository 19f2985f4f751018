"""The import paths and checks that users' pipelines rely on, and the model behind a pipeline, in plain Python."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ainode import pipeline, tensor_file
from ainode.model import ModelError
from conftest import HERE, make_spec
from iotdb.ainode.core.exception import InferenceModelInternalException, NumericalRangeException
from iotdb.ainode.core.inference.pipeline import basic_pipeline
from iotdb.ainode.core.inference.pipeline.basic_pipeline import (
    BasicPipeline,
    ChatPipeline,
    ClassificationPipeline,
    ForecastPipeline,
)
from iotdb.ainode.core.model.model_constants import ModelCategory, ModelStates
from iotdb.ainode.core.model.model_info import ModelInfo

sys.path.insert(0, str(HERE.parent / "support"))
from pipelines import DRIFT, IMPORT, drift, write_pipeline, write_safetensors  # noqa: E402


@pytest.fixture(autouse=True)
def kind() -> Iterator[None]:
    """Tensors, as after a fresh start."""
    yield
    basic_pipeline.use_arrays(False)


class Plain(ForecastPipeline):
    """Newer names."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def _preprocess(self, inputs: Any, **options: Any) -> Any:
        self.seen.append("_preprocess")
        return inputs

    def forecast(self, inputs: Any, **options: Any) -> Any:
        self.seen.append("forecast")
        return [item["targets"] for item in inputs]

    def _postprocess(self, outputs: Any, **options: Any) -> Any:
        self.seen.append("_postprocess")
        return outputs


class Older(ForecastPipeline):
    """Names up to 2.0.9, with the checks through super()."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def preprocess(self, inputs: Any, **options: Any) -> Any:
        self.seen.append("preprocess")
        return super().preprocess(inputs, **options)

    def forecast(self, inputs: Any, **options: Any) -> Any:
        self.seen.append("forecast")
        return [item["targets"] for item in inputs]

    def postprocess(self, outputs: Any, **options: Any) -> Any:
        self.seen.append("postprocess")
        return super().postprocess(outputs, **options)


class Oldest(ForecastPipeline):
    """_inference, and hooks that take no options."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def _preprocess(self, inputs: Any) -> Any:
        self.seen.append("_preprocess")
        return inputs

    def _inference(self, inputs: Any, output_length: int = 1) -> Any:
        self.seen.append(f"_inference {output_length}")
        return [item["targets"] for item in inputs]

    def _postprocess(self, outputs: Any) -> Any:
        self.seen.append("_postprocess")
        return outputs


def run(made: Any, inputs: Any, **options: Any) -> Any:
    """The three steps as the worker takes them."""
    return pipeline.call_hook(
        made.postprocess,
        pipeline.call_hook(made.forecast, pipeline.call_hook(made.preprocess, inputs, options), options),
        options,
    )


def item(rows: int = 4, **more: Any) -> dict[str, Any]:
    return {"targets": torch.arange(float(rows))[None], **more}


@pytest.mark.parametrize(
    ("kind_of", "seen"),
    [
        (Plain, ["_preprocess", "forecast", "_postprocess"]),
        (Older, ["preprocess", "forecast", "postprocess"]),
        (Oldest, ["_preprocess", "_inference 7", "_postprocess"]),
    ],
)
def test_names_of_hooks(kind_of: Any, seen: list[str]) -> None:
    made = kind_of()
    (output,) = run(made, [item()], output_length=7, revin="true")
    assert output.tolist() == [[0, 1, 2, 3]] and made.seen == seen
    with pytest.raises(ValueError, match="The inputs must be a list of dictionaries, but got Tensor"):
        run(made, torch.ones(3), output_length=7)


BAD_INPUTS: list[tuple[Any, str]] = [
    ({}, "The inputs must be a list of dictionaries, but got dict."),
    ([3], "Input at index 0 is not a dictionary."),
    ([item(), {"target": 1}], "Key 'targets' is missing in input at index 1."),
    ([{"targets": [1.0]}], "'targets' must be a torch.Tensor, but got list at index 0."),
    ([{"targets": torch.ones(1, 1, 1)}], "'targets' must have 1 or 2 dimensions, but got 3 dimensions at index 0."),
    ([item(past_covariates=[1])], "'past_covariates' must be a dictionary, but got list at index 0."),
    ([item(future_covariates=1)], "'future_covariates' must be a dictionary, but got int at index 0."),
    ([item(past_covariates={"a": [1]})], "Each value in 'past_covariates' must be a torch.Tensor, but got list"),
    ([item(past_covariates={"a": torch.ones(1, 4)})], "Each of 'past_covariates' must be 1-d, but a has 2 dimensions"),
    (
        [item(past_covariates={"a": torch.ones(4)}, future_covariates={"a": torch.ones(1, 3)})],
        "Each of 'future_covariates' must be 1-d, but a has 2 dimensions",
    ),
]


@pytest.mark.parametrize(("inputs", "message"), BAD_INPUTS, ids=[message[:40] for _, message in BAD_INPUTS])
def test_checks_of_forecast_inputs(inputs: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Plain().preprocess(inputs, output_length=3)
    assert message in str(caught.value)


def test_covariates_are_adapted(capsys: pytest.CaptureFixture[str]) -> None:
    """Cut or filled with zeros, each with a warning; future ones without a past are left out."""
    tensor = torch.tensor
    given = item(
        past_covariates={"long": tensor([9.0, 1, 2, 3, 4]), "short": tensor([5.0, 6]), "right": torch.ones(4)},
        future_covariates={"long": tensor([1.0, 2, 3, 4]), "short": tensor([7.0]), "unknown": torch.ones(3)},
    )
    (got,) = Plain().preprocess([given], output_length=3)
    assert {name: values.tolist() for name, values in got["past_covariates"].items()} == {
        "long": [1, 2, 3, 4], "short": [0, 0, 5, 6], "right": [1] * 4,
    }  # fmt: skip
    found = {name: values.tolist() for name, values in got["future_covariates"].items()}
    assert found == {"long": [1, 2, 3], "short": [7, 0, 0]}
    said = capsys.readouterr().err
    for part in ("long", "short", "unknown", "left out", "zeros are put before", "zeros are put behind"):
        assert part in said
    (alone,) = Plain().preprocess([item(future_covariates={"unknown": torch.ones(3)})], output_length=3)
    assert "future_covariates" not in alone


@pytest.mark.parametrize(
    ("covariates", "message"),
    [
        ({"past_covariates": {"a": torch.ones(3)}}, "must be as long as the targets (4), but a has 3"),
        ({"future_covariates": {"a": torch.ones(3)}}, "must be among those of 'past_covariates' [], but a is not"),
        (
            {"past_covariates": {"a": torch.ones(4)}, "future_covariates": {"a": torch.ones(2)}},
            "must be as long as output_length (3), but a has 2",
        ),
    ],
)
@pytest.mark.parametrize("off", [False, "false"])
def test_covariates_without_auto_adapt(covariates: dict[str, Any], message: str, off: Any) -> None:
    with pytest.raises(ValueError) as caught:
        Plain().preprocess([item(**covariates)], output_length=3, auto_adapt=off)
    assert message in str(caught.value)


def test_checks_of_outputs() -> None:
    with pytest.raises(InferenceModelInternalException, match="should be 2D-tensor, but receives 3 dims at index 1"):
        Plain().postprocess([torch.ones(1, 2), torch.ones(1, 1, 2)])
    with pytest.raises(ValueError, match="The outputs should be a list of 2D-tensors, but got Tensor"):
        Plain().postprocess(torch.ones(1, 2))


def test_classification_checks() -> None:
    class Labels(ClassificationPipeline):
        def __init__(self) -> None:
            pass

        def classify(self, inputs: Any, **kwargs: Any) -> Any:
            return list(inputs)

    assert Labels().preprocess(torch.ones(1, 2, 3)).shape == (1, 2, 3)
    with pytest.raises(ValueError, match=r"3 dimensions \[batch, variables, length\], but got 2 dimensions"):
        Labels().preprocess(torch.ones(2, 3))
    with pytest.raises(ValueError, match="must be a torch.Tensor, but got list"):
        Labels().preprocess([torch.ones(2, 3)])
    with pytest.raises(ValueError, match="should be a list of tensors, but got Tensor"):
        Labels().postprocess(torch.ones(2))


@pytest.mark.parametrize("base", [ForecastPipeline, ClassificationPipeline, ChatPipeline])
def test_the_step_is_abstract(base: type) -> None:
    assert issubclass(base, BasicPipeline)
    with pytest.raises(TypeError, match="abstract"):
        type("Incomplete", (base,), {})(None)


def test_arrays_instead_of_tensors() -> None:
    basic_pipeline.use_arrays(True)
    given = {"targets": np.arange(4.0), "past_covariates": {"a": np.ones(2)}}
    (got,) = Plain().preprocess([given], output_length=3)
    assert got["past_covariates"]["a"].tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="must be a NumPy array, but got Tensor"):
        Plain().preprocess([item()], output_length=3)


def test_errors_by_their_names() -> None:
    text = "Attribute output_length expect value between 1 and 2880, got 9999 instead."
    assert str(NumericalRangeException("output_length", 1, 2880, 9999)) == text
    assert str(InferenceModelInternalException("x")) == "Inference model internal error: x"


# --- the model behind a pipeline: each in a process of its own, as in a worker


def _child(work: Callable[[], Any], pipe: Any) -> None:
    try:
        pipe.send((True, work()))
    except ModelError as error:
        pipe.send((False, str(error)))
    except BaseException:  # noqa: BLE001 - shown by the parent
        pipe.send((False, traceback.format_exc()))


def apart(work: Callable[[], Any]) -> Any:
    """work() in a forked process; its ModelError here. Nothing in this process may have computed with several threads:
    a child would wait for them for ever (conftest.py puts this file first)."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_child, args=(work, theirs))
    process.start()
    good, result = ours.recv() if ours.poll(60) else (False, "no answer")
    process.join(10)
    if process.is_alive():
        process.kill()
        process.join()
    if not good:
        raise ModelError(result)
    return result


def ask(folder: Path, values: np.ndarray, length: int = 3, options: dict[str, str] | None = None, **spec: Any) -> Any:
    """Loads the pipeline of the folder and runs it on values [rows, columns]; the answer [rows, columns]."""

    def work() -> np.ndarray:
        made = dataclasses.replace(make_spec("pipeline", "mine", str(folder)), **spec)
        model = pipeline.load(made)
        with model.session():
            return model.call(values[None], json.dumps(options or {}), length)[0]

    return apart(work)


WAVE = np.sin(np.arange(40.0))[:, None]
SELF_MODEL = (
    IMPORT
    + """
import numpy as np

class Shows(ForecastPipeline):
    def forecast(self, inputs, output_length=0):
        {body}
        return [np.full((1, output_length), float(value)) for _ in inputs]
"""
)


def shows(body: str) -> str:
    return SELF_MODEL.format(body=body)


def test_tensors_and_arrays(tmp_path: Path) -> None:
    write_pipeline(tmp_path / "a")
    assert np.allclose(ask(tmp_path / "a", WAVE.astype(np.float32)), drift(WAVE, 3), rtol=1e-5)
    write_pipeline(tmp_path / "b", framework="numpy")
    assert np.allclose(ask(tmp_path / "b", WAVE), drift(WAVE, 3), rtol=1e-12)


def test_where_torch_is_not_installed(tmp_path: Path) -> None:
    """The same pipeline gets arrays, and its weights as arrays; what needs torch says so."""
    body = "value = self.model['scale'][1]; assert type(inputs[0]['targets']) is np.ndarray, type(inputs[0]['targets'])"
    weights = {"scale": np.array([1.0, 2.5])}
    write_pipeline(tmp_path / "a", shows(body), "p.Shows", tensors=weights)
    write_pipeline(tmp_path / "b", "import torch\n" + DRIFT, "p.Drift")

    def without_torch(folder: Path) -> Any:
        def work() -> np.ndarray:
            for name in [name for name in sys.modules if name.partition(".")[0] in ("torch", "ainode", "iotdb")]:
                del sys.modules[name]
            sys.modules["torch"] = None  # type: ignore[assignment]
            from ainode import model, pipeline

            try:
                made = pipeline.load(model.Spec(**dataclasses.asdict(make_spec("pipeline", "mine", str(folder)))))
            except model.ModelError as error:
                raise ModelError(str(error)) from None
            return made.call(WAVE[None], None, 2)[0]

        return apart(work)

    assert without_torch(tmp_path / "a").tolist() == [[2.5], [2.5]]
    with pytest.raises(ModelError, match="needs the Python package torch"):
        without_torch(tmp_path / "b")


def test_self_model_is_the_state(tmp_path: Path) -> None:
    """model.safetensors by name, in the types of the file; else pytorch_model.bin, which may hold weights alone."""
    body = "value = self.model['scale'].sum(); assert str(self.model['scale'].dtype) == 'torch.int64'"
    write_pipeline(tmp_path / "a", shows(body), "p.Shows", tensors={"scale": np.array([40, 2])})
    assert ask(tmp_path / "a", WAVE).tolist() == [[42.0]] * 3
    (tmp_path / "a" / "model.safetensors").unlink()
    torch.save({"scale": torch.tensor([40, 3])}, tmp_path / "a" / "pytorch_model.bin")
    assert ask(tmp_path / "a", WAVE).tolist() == [[43.0]] * 3
    (tmp_path / "a" / "pytorch_model.bin").write_bytes(pickle.dumps({"scale": pathlib_bomb()}))
    with pytest.raises(ModelError, match="(?i)unpickling|weights|corrupt"):
        ask(tmp_path / "a", WAVE)
    (tmp_path / "a" / "pytorch_model.bin").unlink()
    body = "value = 7 if self.model is None else 8"
    (tmp_path / "a" / "p.py").write_text(shows(body))
    assert ask(tmp_path / "a", WAVE).tolist() == [[7.0]] * 3


class pathlib_bomb:  # noqa: N801
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('unpickled')",))


def test_torch_load_reads_weights_alone(tmp_path: Path) -> None:
    """Also where the pipeline itself calls it, whatever the release of torch."""
    body = "import os, torch; value = torch.load(os.path.join(os.path.dirname(__file__), 'w.bin'))['w'].sum()"
    write_pipeline(tmp_path / "a", shows(body), "p.Shows")
    torch.save({"w": torch.ones(5)}, tmp_path / "a" / "w.bin")
    assert ask(tmp_path / "a", WAVE).tolist() == [[5.0]] * 3
    torch.save({"w": pathlib_bomb()}, tmp_path / "a" / "w.bin")
    with pytest.raises(ModelError, match="(?i)weights.only|unpickling"):
        ask(tmp_path / "a", WAVE)


class Twice(torch.nn.Module):
    """Doubles."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2.0


HAS_EXPORT = hasattr(torch, "export")
EXPORTED = shows("import torch; value = self.model(torch.full((1, 4, 1), 4.0)).mean()")


def export(path: Path) -> None:
    """model.pt2 of Twice, or bytes that no torch can load where this one cannot export."""
    if HAS_EXPORT:
        torch.export.save(torch.export.export(Twice(), (torch.ones(1, 4, 1),)), path)
    else:
        path.write_bytes(b"PK\x05\x06" + bytes(18))


def test_exported_program(tmp_path: Path) -> None:
    """model.pt2 alone: used where torch can, else a sentence; with model.pt beside it, that is used then."""
    write_pipeline(tmp_path / "a", EXPORTED, "p.Shows")
    export(tmp_path / "a" / "model.pt2")
    if HAS_EXPORT:
        assert ask(tmp_path / "a", WAVE).tolist() == [[8.0]] * 3
    else:
        with pytest.raises(ModelError, match=r"needs torch 2.1 or newer, this Python environment has 1"):
            ask(tmp_path / "a", WAVE)
    torch.jit.script(Twice()).save(str(tmp_path / "a" / "model.pt"))
    assert ask(tmp_path / "a", WAVE).tolist() == [[8.0]] * 3
    (tmp_path / "a" / "model.pt2").write_bytes(b"PK\x05\x06" + bytes(18))
    assert ask(tmp_path / "a", WAVE).tolist() == [[8.0]] * 3
    (tmp_path / "a" / "model.pt").unlink()
    with pytest.raises(ModelError, match="model.pt2 (needs torch|is not an exported program that torch)"):
        ask(tmp_path / "a", WAVE)


def test_exported_program_by_itself(tmp_path: Path) -> None:
    """The convention of config.yaml, with model.pt2: proven and run as model.pt is."""
    from ainode import proof, torchscript

    export(tmp_path / "model.pt2")
    spec = dataclasses.replace(
        make_spec("torchscript", "mine", str(tmp_path)), input_shape=[4, 1], output_shape=[4, 1], dtype="float32"
    )

    def work() -> str:
        return proof.prove(spec, torchscript.load(spec))

    if HAS_EXPORT:
        assert apart(work) == "dtype=float32 batch=1"  # its shapes are fixed
    else:
        with pytest.raises(ModelError, match="needs torch 2.1"):
            apart(work)


def test_findings(tmp_path: Path) -> None:
    """Element type and batch of the first run; a pipeline that wants other data than ours is not refused."""

    def findings(folder: Path, **spec: Any) -> str:
        made = dataclasses.replace(make_spec("pipeline", "mine", str(folder)), prove=True, **spec)
        return apart(lambda: pipeline.load(made).findings)

    write_pipeline(tmp_path / "a")
    assert findings(tmp_path / "a", dtype="float32") == "dtype=float32 batch=8"
    assert findings(tmp_path / "a", dtype="int64") in ("dtype=int64 batch=8", "dtype=int64 batch=1")
    check = "assert str(inputs[0]['targets'].dtype) == 'torch.float32'\n        length = int"
    narrow = DRIFT.replace("length = int", check)
    write_pipeline(tmp_path / "b", narrow)
    assert findings(tmp_path / "b", dtype="float64") == "dtype=float32 batch=8"
    picky = DRIFT.replace("length = int", "assert len(inputs[0]['targets']) == 5\n        length = int")
    write_pipeline(tmp_path / "c", picky)
    assert findings(tmp_path / "c", dtype="float32") == "dtype=float32 batch=1"
    assert findings(tmp_path / "c", dtype="float32", input_shape=[20, 5]) == "dtype=float32 batch=8"
    with pytest.raises(ModelError, match=r"fails on an input of the shape \[20, 4\]: AssertionError"):
        findings(tmp_path / "c", dtype="float32", input_shape=[20, 4])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return inputs[0]['targets'][0, 0]", "The outputs should be a list of 2D-tensors"),
        ("return []", "0 outputs for 1 inputs"),
        ("return ['text']", "should be 2D-tensor, but receives a str at index 0"),
        ("return [np.full((1, 2), 'x')]", "has the type <U1"),
        ("raise KeyError('x')", "KeyError"),
    ],
)
def test_bad_answers(tmp_path: Path, body: str, message: str) -> None:
    write_pipeline(tmp_path / "a", shows(body), "p.Shows", framework="numpy")
    with pytest.raises(ModelError) as caught:
        ask(tmp_path / "a", WAVE)
    assert message in str(caught.value)


def test_model_info(tmp_path: Path) -> None:
    """What a pipeline is told, and where its files are."""
    body = (
        "from iotdb.ainode.core.model.utils import get_model_path, load_model_config_in_json; import os; "
        "info = self.model_info; path = get_model_path(info); "
        "assert (info.model_id, info.category.value, info.state.value) == ('mine', 'user_defined', 'active'), info; "
        "value = load_model_config_in_json(os.path.join(path, 'config.json'))['answer']"
    )
    write_pipeline(tmp_path / "a", shows(body), "p.Shows", answer=42)
    assert ask(tmp_path / "a", WAVE).tolist() == [[42.0]] * 3
    info = ModelInfo("x", ModelCategory.BUILTIN, ModelStates.ACTIVE)
    assert (info.model_type, info.auto_map, info.hub_mixin_cls) == ("", None, None)


def test_weights_as_arrays(tmp_path: Path) -> None:
    """All types of the format without torch; BF16 becomes float32."""
    path = tmp_path / "w.safetensors"
    tensors = {"a": np.array([1.5, -2], np.float32), "b": np.array([[1 << 40]], np.int64), "c": np.array([True, False])}
    write_safetensors(path, tensors)
    got = tensor_file.open_arrays(str(path))
    assert all(np.array_equal(got[name], tensors[name]) and got[name].dtype == tensors[name].dtype for name in tensors)
    header = json.dumps({"h": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    halves = (np.array([1.5, -2.25], np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
    path.write_bytes(len(header).to_bytes(8, "little") + header + halves)
    assert tensor_file.open_arrays(str(path))["h"].tolist() == [1.5, -2.25]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        tensor_file.open_arrays(str(path))


def test_threads_of_a_long_run(tmp_path: Path) -> None:
    """A pipeline that computes for long is tried with more threads; the finding is one or all of the processors."""
    body = "import torch; value = sum(float(torch.sin(torch.ones(4000000))[0]) for _ in range(3))"
    write_pipeline(tmp_path / "a", shows(body), "p.Shows")
    made = dataclasses.replace(make_spec("pipeline", "mine", str(tmp_path / "a")), prove=True, dtype="float32")
    found = apart(lambda: pipeline.load(made).findings)
    several = min(len(os.sched_getaffinity(0)), 16)
    assert found in ("dtype=float32 batch=8 threads=1", f"dtype=float32 batch=8 threads={several}"), found
    (tmp_path / "a" / "p.py").write_text(shows("import torch; value = torch.get_num_threads()"))
    assert ask(tmp_path / "a", WAVE, threads=2).tolist() == [[2.0]] * 3
