"""Pipelines on models of transformers and huggingface_hub, where the environment has these."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from caller import Caller, Refused, good
from node import Node, Start
from tsblock import decode, encode

TESTS = Path(__file__).resolve().parents[1]
SCALE = 3.0


@pytest.fixture(scope="session")
def transformers(model_python: str) -> Path:
    """A folder with transformers and what it needs, for the interpreter of the models; made once."""
    cache = Path(os.environ.get("AIN_TEST_CACHE", Path.home() / ".cache" / "iotdb-ainode"))
    place, wanted = cache / "transformers", TESTS / "requirements-transformers.txt"
    stamp = place / ".complete"
    text = model_python + "\n" + wanted.read_text()
    if not stamp.exists() or stamp.read_text() != text:
        shutil.rmtree(place, ignore_errors=True)
        command = [model_python, "-m", "pip", "install", "-q", "--no-deps", "--target", str(place), "-r", str(wanted)]
        subprocess.run(command, check=True, timeout=170)
        stamp.write_text(text)
    return place


@pytest.fixture(scope="session")
def made(model_python: str, transformers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of make_transformers.py."""
    out = tmp_path_factory.mktemp("transformers")
    environment = {**os.environ, "PYTHONPATH": str(transformers)}
    maker = TESTS / "models" / "make_transformers.py"
    subprocess.run([model_python, str(maker), str(out)], check=True, env=environment)
    return out


@pytest.fixture
def with_transformers(start_node: Start, transformers: Path) -> Iterator[Node]:
    """A node whose environment has transformers."""
    yield start_node(PYTHONPATH=str(transformers))


def forecast(caller: Caller, model: str, values: np.ndarray, length: int) -> np.ndarray:
    request = caller.types.TForecastReq(modelId=model, inputData=encode(values), outputLength=length, options={})
    (block,) = good(caller.call("forecast", request)).forecastResult
    return decode(block)


def test_models_of_the_libraries(with_transformers: Node, made: Path) -> None:
    """auto_map, an architecture that transformers has, and a hub mixin: from their folders, in evaluation mode."""
    node = with_transformers
    values = np.arange(20.0)[:, None]
    with node.call("H") as caller:
        for name in ("auto", "mixin", "known"):
            caller.register(f"of_{name}", (made / name).as_uri())
        for name in ("auto", "mixin"):
            assert np.allclose(forecast(caller, f"of_{name}", values, 4), 19 * SCALE)
        assert forecast(caller, "of_known", values, 2).tolist() == [[4.0]] * 2
    assert "made with TinyModel, training False" in node.log()
    assert "made with TinyMixin, training False" in node.log()


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "message"),
    [
        ("auto", "modeling_tiny.py", "class TinyModel(PreTrainedModel)", "class TinyModel(torch.nn.Module)",
         "auto_map.AutoModelForCausalLM is modeling_tiny.TinyModel, which is no PreTrainedModel"),
        ("auto", "configuration_tiny.py", "class TinyConfig(PretrainedConfig)", "class TinyConfig",
         "auto_map.AutoConfig is configuration_tiny.TinyConfig, which is no PretrainedConfig"),
        ("mixin", "mixin_tiny.py", ", PyTorchModelHubMixin)", ")", "which is no PyTorchModelHubMixin"),
        ("auto", "config.json", "configuration_tiny.", "someone/else--configuration_tiny.",
         "<file>.<Class> was expected, and the file in the folder of the model"),
    ],
)  # fmt: skip
def test_wrong_classes(
    with_transformers: Node, made: Path, tmp_path: Path, name: str, file: str, old: str, new: str, message: str
) -> None:
    """Each check says which key names what."""
    shutil.copytree(made / name, tmp_path / "source")
    path = tmp_path / "source" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with_transformers.allow("was not registered")
    with with_transformers.call("H") as caller, pytest.raises(Refused) as caught:
        caller.register("wrong_one", (tmp_path / "source").as_uri())
    assert message in caught.value.message
    with_transformers.allow("was not registered")
