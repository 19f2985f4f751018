"""Models of the pipeline convention of 2.0.8 and later, on a real node: registered, asked, taken over, dropped."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caller import Caller, Refused, good
from liar import Liar
from node import Node, Start
from pipelines import DRIFT, IMPORT, drift, write_pipeline
from processes import wait_until
from tsblock import decode, encode
from values import check_alive, series

#: registers what write_pipeline() made under an id of the test; dropped afterwards.
Register = Callable[[str, str], str]


@pytest.fixture
def register(node: Node) -> Iterator[Register]:
    """register(ID, URI) by a client of 2.0.10."""
    made: list[str] = []

    def create(name: str, uri: str) -> str:
        with node.call("H") as caller:
            caller.register(name, uri)
        made.append(name)
        return name

    yield create
    with node.call("H") as caller:
        for name in made:
            caller.drop(name)


@pytest.fixture
def late(node: Node) -> Iterator[Caller]:
    """A client of 2.0.10."""
    with node.call("H") as made:
        yield made


def forecast(caller: Caller, model: str, block: bytes | np.ndarray, length: int, **options: str) -> np.ndarray:
    """FORECAST, of one block."""
    data = block if isinstance(block, bytes) else encode(block)
    request = caller.types.TForecastReq(modelId=model, inputData=data, outputLength=length, options=dict(options))
    answer = good(caller.call("forecast", request)).forecastResult
    (result,) = answer if isinstance(answer, list) else [answer]
    return decode(result)


def wave(rows: int, columns: int = 1) -> np.ndarray:
    """Values that tell rows and columns."""
    return np.sin(np.arange(rows)[:, None] / 7 + np.arange(columns)) * 10 + np.arange(rows)[:, None]


def folder_of(node: Node, model: str) -> Path:
    """Where a pipeline is kept, as official AINodes of 2.0.8 and later look for it."""
    return node.home / "data" / "ainode" / "models" / "user_defined" / model


def user_models(node: Node) -> list[str]:
    """Folders of pipelines; staging must be empty or absent."""
    models = node.home / "data" / "ainode" / "models"
    assert not list(models.glob(".staging/*"))
    return sorted(path.name for path in models.glob("user_defined/*"))


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_asked_by_every_release(
    node: Node, late: Caller, register: Register, tmp_path: Path, framework: str
) -> None:
    """CALL INFERENCE and FORECAST of early and late releases; listed; kept where later releases look."""
    model = register(f"drift_{framework}", write_pipeline(tmp_path / "drift", framework=framework))
    values = wave(50)
    tolerance = 1e-12 if framework == "numpy" else 1e-5  # tensors are float32, as in the official releases
    assert np.allclose(forecast(late, model, values, 7), drift(values, 7), rtol=tolerance)
    assert np.allclose(late.infer(model, values), drift(values, 96), rtol=tolerance)
    late.ask(model, values, inferenceAttributes={"outputLength": "5"})
    assert np.allclose(late.answer()[0], drift(values, 5), rtol=tolerance)
    with node.call("E") as early:
        many = wave(50, 3)
        found = early.infer(model, many, inferenceAttributes={"predict_length": "4"})
        assert np.allclose(found, drift(many, 4), rtol=tolerance)
        assert np.allclose(forecast(early, model, many, 3), drift(many, 3), rtol=tolerance)
        assert early.states() == {model: "ACTIVE"}
    assert user_models(node) == [model]


def test_shapes_for_early_releases(node: Node, tmp_path: Path) -> None:
    """ConfigNodes up to 2.0.7 want shapes and types with the answer to CREATE MODEL."""
    with node.call("E") as early:
        configs = early.register("shaped", write_pipeline(tmp_path / "a", framework="numpy")).configs
        assert (configs.input_shape, configs.output_shape) == ([2880, 1], [96, 1])
        assert (configs.input_type, configs.output_type) == ([4], [4])
        early.drop("shaped")
        shapes = {"input_shape": [48, 3], "output_shape": [12, 3]}
        configs = early.register("shaped", write_pipeline(tmp_path / "b", framework="numpy", **shapes)).configs
        assert (configs.input_shape, configs.output_shape) == ([48, 3], [12, 3])
        assert (configs.input_type, configs.output_type) == ([4] * 3, [4] * 3)
        early.drop("shaped")
    assert user_models(node) == []


def test_windows(node: Node, register: Register, tmp_path: Path) -> None:
    """WINDOW=count(interval, step): one answer a window."""
    model = register("windows", write_pipeline(tmp_path / "drift", framework="numpy"))
    values = wave(40, 2)
    with node.call("E") as early:
        window = early.types.TWindowParams(windowInterval=10, windowStep=15)
        early.ask(model, values, windowParams=window, inferenceAttributes={"predict_length": "3"})
        answers = early.answer()
    assert len(answers) == 3
    for index, answer in enumerate(answers):
        assert np.allclose(answer, drift(values[15 * index : 15 * index + 10], 3))


EXACT = (
    IMPORT
    + """
import numpy as np

class Last(ForecastPipeline):
    def forecast(self, inputs, **infer_kwargs):
        outputs = []
        for item in inputs:
            values = np.asarray(item["targets"])
            self.kind = values.dtype.name
            low = values[:, -1:] - (values[:, -1:] - 1000) if self.kind == "int64" else values[:, -1:]
            outputs.append(np.repeat(values[:, -1:] % 1000, infer_kwargs["output_length"], axis=1))
        return outputs
"""
)


@pytest.mark.parametrize("kind", ["int64", "float64"])
def test_types_are_not_squeezed(
    node: Node, register: Register, tmp_path: Path, kind: str
) -> None:
    """Whole numbers beyond 2^24 and 2^53, and doubles, arrive as they are when config.json asks for their type."""
    model = register(f"exact_{kind}", write_pipeline(tmp_path / "a", EXACT, "last.Last", input_type=kind))
    large = (1 << 60) + 7 if kind == "int64" else float((1 << 50) + 7)
    values = np.full((8, 1), large, dtype=kind)
    expected = large % 1000
    with node.call("E") as early:
        assert early.infer(model, values, inferenceAttributes={"predict_length": "2"}).tolist() == [[expected]] * 2


def test_options_reach_the_hooks(late: Caller, register: Register, tmp_path: Path) -> None:
    """As texts, to every hook that takes them; output_length is a number; what is the node's own stays there."""
    code = IMPORT + """
import numpy as np

class Echo(ForecastPipeline):
    def _preprocess(self, inputs, **infer_kwargs):
        assert infer_kwargs["factor"] == "2.5" or infer_kwargs["factor"] == "3", infer_kwargs
        assert sorted(infer_kwargs) == ["factor", "output_length"], infer_kwargs
        return inputs

    def forecast(self, inputs, output_length, factor="1"):
        return [np.full((1, output_length), float(factor)) for _ in inputs]

    def _postprocess(self, outputs, **infer_kwargs):
        return [output + (infer_kwargs["factor"] == "2.5") for output in outputs]
"""
    model = register("echo", write_pipeline(tmp_path / "a", code, "echo.Echo", framework="numpy"))
    found = forecast(late, model, wave(9), 4, factor="2.5", acceleration="true", nulls="zero", output_length="9")
    assert found.tolist() == [[3.5]] * 4
    with pytest.raises(Refused, match="AssertionError.*'factor': '4'"):
        forecast(late, model, wave(9), 4, factor="4")
    with pytest.raises(Refused, match="KeyError"):
        forecast(late, model, wave(9), 4)


SAME_NAMES = """
from .helper import VALUE
from iotdb.ainode.core.inference.pipeline.basic_pipeline import ForecastPipeline
import numpy as np

class Constant(ForecastPipeline):
    def forecast(self, inputs, **infer_kwargs):
        import helper  # the same file by its bare name
        assert helper.VALUE is VALUE
        return [np.full((1, infer_kwargs["output_length"]), VALUE) for _ in inputs]
"""


def test_modules_of_the_same_name(late: Caller, register: Register, tmp_path: Path) -> None:
    """Each model has its own helper, whatever its name, and a file called as an installed package hides nothing."""
    for value in (1.0, 2.0):
        raises = "raise RuntimeError\n"
        files = {"helper.py": f"VALUE = {value}\n", "json.py": raises, "numpy.py": raises}
        uri = write_pipeline(
            tmp_path / str(value), SAME_NAMES, "pipeline.Constant", files=files, framework="numpy"
        )
        register(f"same_{int(value)}", uri)
    for value in (1.0, 2.0, 1.0):
        assert forecast(late, f"same_{int(value)}", wave(9), 2).tolist() == [[value]] * 2


def test_imports_by_the_id(late: Caller, register: Register, tmp_path: Path) -> None:
    """Official AINodes import the folder as a package with the model's id, so that files may name it."""
    code = SAME_NAMES.replace("from .helper", "from named_like_this.below.helper").replace(
        "import helper ", "from named_like_this.below import helper "
    )
    files = {"below/helper.py": "VALUE = 5.0\n", "__init__.py": "STARTED = True\n", "below/data.json": "{}"}
    model = register(
        "named_like_this",
        write_pipeline(tmp_path / "a", code, "pipeline.Constant", files=files, framework="numpy"),
    )
    assert forecast(late, model, wave(9), 2).tolist() == [[5.0]] * 2


def test_torchscript_inside(late: Caller, register: Register, models: Path, tmp_path: Path) -> None:
    """self.model is the TorchScript of model.pt; tensors are float32 and may be written to."""
    code = IMPORT + """
import torch

class Scripted(ForecastPipeline):
    def _preprocess(self, inputs, **infer_kwargs):
        assert isinstance(self.model, torch.jit.ScriptModule) and self.model_info.model_type == "drift"
        batch = torch.stack([item["targets"] for item in inputs])
        assert batch.dtype == torch.float32, batch.dtype
        inputs[0]["targets"].zero_()
        return batch.transpose(1, 2)

    def forecast(self, inputs, **infer_kwargs):
        return self.model(inputs).transpose(1, 2)[:, :, -infer_kwargs["output_length"]:]

    def _postprocess(self, outputs, **infer_kwargs):
        return list(outputs)
"""
    uri = write_pipeline(tmp_path / "a", code, "scripted.Scripted")
    shutil.copy(models / "one_column" / "model.pt", tmp_path / "a" / "model.pt")
    model = register("scripted", uri)
    values = wave(40)
    assert np.allclose(forecast(late, model, values, 6), values[-6:], rtol=1e-6)


def test_batches(node: Node, late: Caller, register: Register, tmp_path: Path) -> None:
    """A pipeline that takes lists gets what waits in one list; one that looks at its first input alone does not."""
    waits = "outputs = []\n        import time; time.sleep(0.05)\n"
    waits += "        'say' in infer_kwargs and print('list of', len(inputs))\n"
    code = DRIFT.replace("outputs = []\n", waits)
    drifting = register("in_lists", write_pipeline(tmp_path / "a", code, framework="numpy"))
    first = code.replace("for item in inputs:", "for item in inputs[:1]:")
    alone = register("one_by_one", write_pipeline(tmp_path / "b", first, framework="numpy"))
    for model in (drifting, alone):
        forecast(late, model, wave(50), 5)
        frames = b""
        for index in range(7):
            request = late.types.TForecastReq(
                modelId=model, inputData=encode(wave(50) + index), outputLength=5, options={"say": "yes"}
            )
            frames += late.encode("forecast", request)
        late.connection.sendall(frames)  # at once, so that they wait together
        for index in range(7):
            (block,) = good(late.receive()).forecastResult
            assert np.allclose(decode(block), drift(wave(50) + index, 5))

        def sizes(model: str = model) -> list[int]:
            return [int(size) for size in re.findall(rf"model {model}: list of (\d+)", node.log())]

        wait_until(lambda said=sizes: sum(said()) >= 7, 20, "all that it said is in the log")
        assert sum(sizes()) == 7 and (max(sizes()) > 1) == (model == drifting), sizes()


CLASSIFIER = (
    IMPORT
    + """
import numpy as np

class Sign(ClassificationPipeline):
    def classify(self, inputs, **kwargs):
        assert inputs.ndim == 3
        labels = np.asarray(inputs).mean(axis=(1, 2)) > float(kwargs.get("above", 0))
        return [np.asarray(label, dtype=np.int64) for label in labels]
"""
)


def test_classification(node: Node, late: Caller, register: Register, tmp_path: Path) -> None:
    """CLASSIFY of 2.0.8 to 2.0.10 is a forecast without options and wants a row for every row; the method classify of
    the commercial fork gets the label; a forecaster refuses to classify."""
    model = register("signs", write_pipeline(tmp_path / "a", CLASSIFIER, "sign.Sign", framework="numpy"))
    request = late.types.TForecastReq(modelId=model, inputData=encode(wave(30)), outputLength=30)
    (block,) = good(late.call("forecast", request)).forecastResult
    assert decode(block).tolist() == [[1.0]] * 30
    drifting = register("no_classes", write_pipeline(tmp_path / "b", framework="numpy"))
    with node.call("T") as other:

        def classify(name: str, **options: str) -> np.ndarray:
            asked = other.types.TClassifyReq(modelId=name, inputData=encode(wave(30, 2)), options=options)
            (result,) = good(other.call("classify", asked)).classifyResult
            return decode(result)

        assert classify(model).tolist() == [[1.0]]
        assert classify(model, above="1000").tolist() == [[0.0]]
        with pytest.raises(Refused, match="no ClassificationPipeline"):
            classify(drifting)
        with pytest.raises(Refused, match="does not classify"):
            classify("naive_forecaster")
        with pytest.raises(Refused, match="there is no model"):
            classify("unknown_one")


def test_chat(late: Caller, register: Register, tmp_path: Path) -> None:
    """A ChatPipeline is asked as a forecaster is: no release has a call of its own for it."""
    code = IMPORT + """
import numpy as np

class Talk(ChatPipeline):
    def chat(self, inputs, **kwargs):
        return [np.full((1, kwargs["output_length"]), float(len(inputs))) for _ in inputs]
"""
    model = register("talk", write_pipeline(tmp_path / "a", code, "talk.Talk", framework="numpy"))
    assert forecast(late, model, wave(9), 3).tolist() == [[1.0]] * 3


BODY = """class P(ForecastPipeline):
    def forecast(self, inputs, **k):
        return [x['targets'] for x in inputs]
"""
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no class": ({"name": "p.Q"}, IMPORT + BODY, "p.py has no class Q"),
    "no name": ({"name": "justone"}, IMPORT + BODY, "<file>.<Class> was expected"),
    "no file": ({"name": "p.P", "files": {}, "pipeline_cls": "q.P"}, IMPORT + BODY, "q.py is not among its files"),
    "no pipeline": ({"name": "p.P"}, "class P:\n    pass\n", "derives from none of ForecastPipeline"),
    "abstract": ({"name": "p.P"}, IMPORT + "class P(ForecastPipeline):\n    pass\n", r"does not define forecast\(\)"),
    "syntax": ({"name": "p.P"}, "class P(:\n", "SyntaxError"),
    "raises": ({"name": "p.P"}, "raise RuntimeError('no luck')\n", "RuntimeError: no luck"),
    "exits": ({"name": "p.P"}, "raise SystemExit(3)\n", "SystemExit"),
    "dies": ({"name": "p.P"}, "import os\nos._exit(3)\n", "exit code 3"),
    "foreign import": (
        {"name": "p.P"},
        "from iotdb.ainode.core.model.sundial.modeling_sundial import SundialForPrediction\n",
        "of the official AINode, which this one does not have",
    ),
    "missing package": ({"name": "p.P"}, "import nosuchpackage\n", "nosuchpackage.*ainode env install"),
    "missing file": ({"name": "p.P"}, "from .beside import x\n", "imports beside, which is not among the files"),
    "transformers": (
        {"name": "p.P", "auto_map": {"AutoConfig": "p.C", "AutoModelForCausalLM": "p.M"}},
        IMPORT + BODY,
        "transformers .auto_map.*ainode env install --requirements .*transformers.txt",
    ),
    "mixin": (
        {"name": "p.P", "hub_mixin_cls": "p.P"},
        IMPORT + BODY,
        "huggingface_hub .hub_mixin_cls.*ainode env install --requirements .*transformers.txt",
    ),
    "mixin elsewhere": ({"name": "p.P", "hub_mixin_cls": "elsewhere.M"}, IMPORT + BODY, "elsewhere.py is not among"),
    "framework": ({"name": "p.P", "framework": "jax"}, IMPORT + BODY, "framework is jax; torch and numpy are known"),
    "type": ({"name": "p.P", "input_type": "int8"}, IMPORT + BODY, "input_type is int8"),
    "shape": ({"name": "p.P", "input_shape": [0, 1]}, IMPORT + BODY, "input_shape is not .rows, columns."),
    "declared shape": (
        {"name": "p.P", "input_shape": [7, 2], "framework": "numpy"},
        IMPORT + BODY.replace("return", "assert len(inputs[0]['targets']) == 3, 'three columns'\n        return"),
        r"fails on an input of the shape \[7, 2\]: AssertionError: three columns",
    ),
    "weights cut": ({"name": "p.P", "framework": "numpy"}, IMPORT + BODY, "not a whole safetensors file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_pipelines(node: Node, late: Caller, tmp_path: Path, case: str) -> None:
    """Refused with a sentence that says what to do; nothing stays on disk or in the list."""
    config, code, message = BAD[case]
    config = {"files": {"p.py": code}, **config}
    uri = write_pipeline(tmp_path / "a source", code, **config)
    if case == "weights cut":
        weights = tmp_path / "a source" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1])
    node.allow("was not registered")
    with pytest.raises(Refused, match=message) as caught:
        late.register("refused_one", uri)
    assert "\n" not in caught.value.message and len(caught.value.message) < 1500
    assert caught.value.code == 1505, caught.value
    assert user_models(node) == []
    assert "refused_one" not in good(late.call("showModels", late.types.TShowModelsReq())).modelIdList


def test_no_class_at_all(node: Node, late: Caller, tmp_path: Path) -> None:
    """config.json without a pipeline, and without a model_type of ours."""
    node.allow("was not registered")
    uri = write_pipeline(tmp_path / "a", name="p.P", pipeline_cls=None, model_type="t5")
    with pytest.raises(Refused, match="it has no pipeline_cls.*timer or sundial"):
        late.register("refused_one", uri)
    (tmp_path / "a" / "config.json").write_text("{'single': 1}")
    with pytest.raises(Refused, match="config.json, line 1: it is no JSON text"):
        late.register("refused_one", uri)
    assert user_models(node) == []


def test_no_network_and_no_other_files(node: Node, late: Caller, tmp_path: Path) -> None:
    """Code of a model runs shut in, while it is registered and later."""
    node.allow("was not registered")
    for index, attempt in enumerate(
        (
            "import socket; socket.create_connection(('127.0.0.1', 1), 1)",
            f"open({str(node.home / 'conf' / 'iotdb-ainode.properties')!r}).read()",
            "import subprocess; subprocess.run(['/bin/true'])",
            "import os; open(os.path.join(os.path.dirname(__file__), 'x'), 'w')",
        )
    ):
        uri = write_pipeline(tmp_path / str(index), f"{attempt}\n" + IMPORT + BODY, "p.P")
        with pytest.raises(Refused, match="sandbox of the AINode forbids it"):
            late.register("refused_one", uri)
    assert user_models(node) == []


def test_names_and_repeats(node: Node, late: Caller, register: Register, tmp_path: Path) -> None:
    """Built-in names are protected; the same content again is the same success; other content is refused."""
    node.allow("was not registered")
    uri = write_pipeline(tmp_path / "a", framework="numpy")
    other = write_pipeline(tmp_path / "b", framework="numpy", files={"more.txt": "other content\n"})
    for name in ("arima", "Sundial", "chronos2", "user_defined"):
        with pytest.raises(Refused) as caught:
            late.register(name, uri)
        assert caught.value.code in (1503, 1505), caught.value
    model = register("repeated", uri)
    late.register(model, uri)
    with pytest.raises(Refused) as caught:
        late.register(model, other)
    assert caught.value.code == 1503, caught.value
    (tmp_path / "a" / "__pycache__").mkdir()
    (tmp_path / "a" / "__pycache__" / "x.pyc").write_text("left out")
    (tmp_path / "a" / ".git").mkdir()
    late.register(model, uri)
    assert sorted(path.name for path in folder_of(node, model).iterdir() if path.name[0] != ".") == [
        "config.json", "model.safetensors", "pipeline_drift.py",
    ]  # fmt: skip
    with pytest.raises(Refused) as caught:
        late.drop("never_there")
    assert caught.value.code in (1504, 1505), caught.value  # the node does not know the caller's release


def test_drop_while_in_use(node: Node, late: Caller, tmp_path: Path) -> None:
    """What runs ends with its answer, what waits is refused, then the model and its worker are gone."""
    wait = "outputs = []\n        import time; time.sleep(float(infer_kwargs['wait']))\n"
    code = DRIFT.replace("outputs = []\n", wait)
    node.allow("the first run of the pipeline failed")
    late.register("in_use", write_pipeline(tmp_path / "a", code, framework="numpy"))
    values = wave(20)
    forecast(late, "in_use", values, 2, wait="0")
    with node.call("H") as busy:
        request = busy.types.TForecastReq(
            modelId="in_use", inputData=encode(values), outputLength=2, options={"wait": "1.5"}
        )
        busy.send("forecast", request)
        node.settle()
        late.drop("in_use")
        (block,) = good(busy.receive()).forecastResult
        assert np.allclose(decode(block), drift(values, 2))
        with pytest.raises(Refused) as caught:
            forecast(busy, "in_use", values, 2, wait="0")
        assert caught.value.code == 1504, caught.value
    wait_until(lambda: not node.workers(), 10, "its worker is gone")
    wait_until(lambda: not folder_of(node, "in_use").exists(), 10, "its files are gone")
    assert user_models(node) == []


def test_a_pipeline_that_dies(node: Node, late: Caller, register: Register, tmp_path: Path) -> None:
    """Its request fails, the next one is answered by a new process, others do not notice."""
    code = DRIFT.replace("outputs = []\n", "outputs = []\n        import os; 'die' in infer_kwargs and os._exit(9)\n")
    model = register("mortal", write_pipeline(tmp_path / "a", code, framework="numpy"))
    node.allow("model mortal")
    with pytest.raises(Refused, match="exit code 9"):
        forecast(late, model, wave(20), 2, die="now")
    assert np.allclose(forecast(late, model, wave(20), 2), drift(wave(20), 2))


def test_restart_and_takeover(start_node: Start, models: Path, tmp_path: Path) -> None:
    """After a restart a registered pipeline is there as it was; what an official AINode of 2.0.8 or later left is taken
    over as it is; what cannot be used is listed, left alone, and says why."""
    node = start_node(AIN_CLUSTER_VERSION="2.0.10")
    values = wave(30)
    with node.call("H") as caller:
        caller.register("kept", write_pipeline(tmp_path / "a", framework="numpy"))
    node.stop()
    home = node.home / "data" / "ainode" / "models"
    official = home / "user_defined" / "official"
    write_pipeline(official, DRIFT, "pipeline_drift.Drift")
    for folder in (home, home / "user_defined", official):
        (folder / "__init__.py").write_text("")
    write_pipeline(home / "user_defined" / "hopeless", pipeline_cls=None)
    shutil.copytree(models / "identity", home / "older")
    write_pipeline(home / "user_defined" / "older", framework="numpy")
    node.allow("hopeless holds no usable model", "user_defined/older is ignored: model older is in")
    node.start()
    with node.call("H") as caller:
        answer = good(caller.call("showModels", caller.types.TShowModelsReq()))
        mine = [name for name in answer.modelIdList if answer.categoryMap[name] == "user_defined"]
        states = {name: answer.stateMap[name] for name in mine}
        assert {answer.modelTypeMap[name] for name in ("kept", "official")} == {"drift"}
        assert states == {"kept": "active", "official": "active", "hopeless": "inactive", "older": "active"}
        assert np.allclose(forecast(caller, "kept", values, 3), drift(values, 3))
        assert np.allclose(forecast(caller, "official", values, 3), drift(values, 3), rtol=1e-5)
        check_alive_late = np.array_equal(forecast(caller, "older", series(1).astype(np.float64), 96), series(1))
        assert check_alive_late
        with pytest.raises(Refused, match="pipeline_cls"):
            forecast(caller, "hopeless", values, 3)
        for name in ("official", "hopeless"):
            caller.drop(name)
        caller.drop("kept")
        caller.drop("older")
    assert sorted(path.name for path in (home / "user_defined").iterdir()) == ["__init__.py", "older"]
    assert "counts as not proven" not in node.log()


def test_large_model_under_its_own_name(
    late: Caller, register: Register, model_python: str, tmp_path: Path
) -> None:
    """config.json of a published large model, without a pipeline of its own: run by the code of this AINode."""
    folder = tmp_path / "mine"
    maker = Path(__file__).parents[1] / "models" / "make_weights.py"
    subprocess.run([model_python, str(maker), "timer", str(folder)], check=True)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "configuration_timer.TimerConfig"}
    (folder / "config.json").write_text(json.dumps(config))
    model = register("my_timer", folder.as_uri())
    found = forecast(late, model, wave(96 * 3), 24)
    assert found.shape == (24, 1) and np.isfinite(found).all()


def test_a_pipeline_behind_http(start_node: Start, tmp_path: Path) -> None:
    """config.json, the files it names and those they import are fetched; the copy goes where pipelines are kept."""
    code = DRIFT.replace("import numpy as np", "import numpy as np\nfrom .helper import VALUE")
    write_pipeline(tmp_path / "a", code, framework="numpy", files={"helper.py": "VALUE = 1\n"})
    node = start_node(AIN_MODEL_FETCH_PRIVATE_ADDRESSES="1")
    with Liar() as server, node.call("H") as caller:
        url = server.serve("m", {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()})
        caller.register("fetched", url)
        caller.register("fetched", url)
        assert np.allclose(forecast(caller, "fetched", wave(30), 5), drift(wave(30), 5))
        assert user_models(node) == ["fetched"]
        caller.drop("fetched")
    assert user_models(node) == []


def test_others_go_on(caller: Caller, make: Callable[[str], str], register: Register, tmp_path: Path) -> None:
    """Models of both conventions side by side."""
    kept = make("identity")
    register("beside", write_pipeline(tmp_path / "a", framework="numpy"))
    check_alive(caller, kept)


@pytest.mark.parametrize("field", ["historyCovs", "futureCovs"])
def test_covariates_are_refused(late: Caller, register: Register, tmp_path: Path, field: str) -> None:
    """They are SQL queries, which this node does not send; an answer without them would be another forecast. Empty ones
    are none."""
    model = register("covariates", write_pipeline(tmp_path / "a", framework="numpy"))
    request = late.types.TForecastReq(modelId=model, inputData=encode(wave(20)), outputLength=2, options={})
    setattr(request, field, "select s1 from t")
    with pytest.raises(Refused, match="asks for covariates .*leave them out"):
        good(late.call("forecast", request))
    setattr(request, field, "")
    (block,) = good(late.call("forecast", request)).forecastResult
    assert np.allclose(decode(block), drift(wave(20), 2))


def test_the_example_of_the_manual(late: Caller, register: Register, tmp_path: Path) -> None:
    """The model in docs/MODELS.md, copied from there, is a whole model."""
    text = (Path(__file__).parents[2] / "docs" / "MODELS.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class Drift" in block]
    (config,) = re.findall(r"^drift/config.json +(\{.*\})$", text, re.MULTILINE)
    (tmp_path / "drift").mkdir()
    (tmp_path / "drift" / "config.json").write_text(config)
    (tmp_path / "drift" / "pipeline_drift.py").write_text(code)
    model = register("of_the_manual", (tmp_path / "drift").as_uri())
    assert np.allclose(forecast(late, model, wave(30), 5), drift(wave(30), 5), rtol=1e-12)


SLOW = (
    IMPORT
    + """
import time


class Slow(ForecastPipeline):
    def forecast(self, inputs, **infer_kwargs):
        print(f"batch of {len(inputs)}", flush=True)
        time.sleep(0.12)
        return [item["targets"][:, -1:].repeat(infer_kwargs["output_length"], axis=1) for item in inputs]
"""
)


def test_clients_of_a_slow_model_run_together(start_node: Start, tmp_path: Path) -> None:
    """Four clients that ask again as soon as they are answered all meet in one batch, not in two that take turns. On a
    machine that has no time for them they do so later."""
    node = start_node()
    clients = 4
    enough = threading.Event()
    wrong: list[int] = []
    with node.call("H") as caller:
        caller.register("slow", write_pipeline(tmp_path / "slow", SLOW, "slow.Slow", framework="numpy"))

    def ask(index: int) -> None:
        with node.call("H") as caller:
            turn = 0
            while not enough.is_set():
                turn += 1
                values = np.full((96, 1), 100.0 * index + turn)
                if not np.array_equal(forecast(caller, "slow", values, 4), values[:4]):
                    wrong.append(index)

    def met() -> bool:
        sizes = [int(size) for size in re.findall(r"batch of (\d+)", node.log())]
        return any(sizes[at : at + 6] == [clients] * 6 for at in range(len(sizes)))

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(clients)]
    for thread in threads:
        thread.start()
    try:
        wait_until(met, 40, "six batches of four, one after the other")
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    assert not wrong
