"""timer_xl and sundial: golden vectors, generation rules, options, and files that are not what they should be."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ainode import sundial, timer_xl, transformer
from ainode.model import Model, ModelError
from ainode.safetensors import Weights, open_tensors
from conftest import HERE, make_spec
from make_weights import make_weights

GOLDEN = HERE / "golden"
EXPECTED = dict(np.load(GOLDEN / "expected.npz"))
LOADERS = {"timer_xl": (timer_xl.load, "timer"), "sundial": (sundial.load, "sundial")}


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """As the worker's session runs them."""
    with torch.inference_mode():
        yield


def load(name: str, directory: Path = GOLDEN) -> Model:
    """The model in directory/name, as a worker loads it."""
    loader, kind = LOADERS[name]
    return loader(make_spec(kind, name, str(directory / name)))


def ask(model: Model, values: np.ndarray, length: int, **options: str) -> np.ndarray:
    """[rows], [rows, columns] or a batch [n, rows, columns] -> [n, length, columns]."""
    array = np.asarray(values, dtype=np.float64)
    array = array[None, :, None] if array.ndim == 1 else array[None] if array.ndim == 2 else array
    array.flags.writeable = False
    return model.call(array, json.dumps(options) if options else None, length)


def wave(rows: int, phase: float = 0.0) -> np.ndarray:
    return 10 * np.sin(np.arange(rows) / 7 + phase) + np.arange(rows) / 50 + 100


def names(model: str) -> list[str]:
    return [key[: -len("_in")] for key in EXPECTED if key.startswith(model) and key.endswith("_in")]


@pytest.mark.parametrize("name", names("timer"))
def test_timer_golden(name: str) -> None:
    wanted = EXPECTED[f"{name}_out"]
    got = ask(load("timer_xl"), EXPECTED[f"{name}_in"], len(wanted))[0, :, 0]
    assert got.dtype == np.float64
    assert np.allclose(got, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("name", names("sundial"))
def test_sundial_golden(name: str) -> None:
    wanted = EXPECTED[f"{name}_out"]
    network = sundial.Sundial(str(GOLDEN / "sundial"))
    values = torch.from_numpy(EXPECTED[f"{name}_in"].astype(np.float64))[None]
    got = network.generate(values, wanted.shape[1], samples=4, seed=2021)[0].numpy()
    assert np.allclose(got, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
    mean = ask(load("sundial"), EXPECTED[f"{name}_in"], wanted.shape[1], num_samples="4")[0, :, 0]
    assert np.allclose(mean, wanted.mean(axis=0), rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_timer_goes_on_with_its_cache() -> None:
    """The second step, recomputed without a cache: every window keeps its own normalisation."""
    network = timer_xl.TimerXl(str(GOLDEN / "timer_xl"))
    values = torch.from_numpy(wave(288))[None]
    first = network.step(values, 96, [], True)

    def scale(window: torch.Tensor) -> torch.Tensor:
        return (window - window.mean()) / window.std()

    tokens = torch.cat([scale(values), scale(first)], dim=1).float().unflatten(-1, (-1, 96))
    state = network.decoder(torch.nn.functional.linear(tokens, network.embedding), [])[:, -1]
    second = torch.nn.functional.linear(state, network.heads[0]).double() * first.std() + first.mean()
    got = network.generate(values, 160)
    assert torch.allclose(got[:, :96], first)
    assert torch.allclose(got[:, 96:], second[:, :64], rtol=1e-5)


def test_sundial_goes_on_with_its_median() -> None:
    network = sundial.Sundial(str(GOLDEN / "sundial"))
    values = torch.from_numpy(wave(100))[None]
    got = network.generate(values, 900, samples=5, revin=False)
    first = network.generate(values, 720, samples=5, revin=False)
    assert torch.equal(got[:, :, :720], first)
    padded = torch.cat([values.float(), first.median(dim=1).values.float()], dim=1)
    state = network.decoder(network._embed(padded), [])[:, -1]
    generator = torch.Generator().manual_seed(2021)
    torch.randn(5, 720, generator=generator)
    again = network.flow(state, torch.randn(5, 720, generator=generator))
    assert torch.allclose(got[:, :, 720:].float(), again[:, :, :180], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", sorted(LOADERS))
def test_batches_equal_single_calls(name: str) -> None:
    model = load(name)
    batch = np.stack([np.stack([wave(200, k), wave(200, k + 0.5)], axis=1) for k in range(3)])
    together = ask(model, batch, 120)
    assert together.shape == (3, 120, 2)
    for index in range(3):
        for column in range(2):
            single = ask(model, batch[index, :, column], 120)[0, :, 0]
            assert np.allclose(together[index, :, column], single, rtol=1e-4)


def test_more_series_than_are_computed_together() -> None:
    many = np.stack([wave(100, k / 10) for k in range(transformer.SERIES_MAX + 3)], axis=1)
    together = ask(load("timer_xl"), many, 5)
    assert together.shape == (1, 5, transformer.SERIES_MAX + 3)
    assert np.allclose(together[0, :, -1], ask(load("timer_xl"), many[:, -1], 5)[0, :, 0], rtol=1e-4)


@pytest.mark.parametrize("name", sorted(LOADERS))
def test_constant_series_give_numbers(name: str) -> None:
    for value in (5.0, 0.0, -1e12, 0.1):
        got = ask(load(name), np.full(300, value), 800)
        assert np.allclose(got, value, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", sorted(LOADERS))
def test_large_offsets_are_not_lost(name: str) -> None:
    """Normalisation in double precision: what float32 cannot tell apart is still a wave."""
    model = load(name)
    near, far = (ask(model, wave(200) + offset, 30)[0, :, 0] for offset in (0, 1e9))
    assert np.allclose(far - 1e9, near, atol=1e-3)


@pytest.mark.parametrize("name", sorted(LOADERS))
def test_default_length_and_short_input(name: str) -> None:
    model = load(name)
    shortest = {"timer_xl": 96, "sundial": 16}[name]
    assert ask(model, wave(shortest), 0).shape == (1, 96, 1)
    with pytest.raises(ModelError, match=f"at least {shortest} rows of input, the query gives {shortest - 1}"):
        ask(model, wave(shortest - 1), 5)
    with pytest.raises(ModelError, match="missing or infinite"):
        ask(model, np.where(np.arange(200) == 7, np.nan, wave(200)), 5)


def test_the_latest_rows_count() -> None:
    model = load("timer_xl")
    assert np.array_equal(ask(model, wave(700), 10), ask(model, wave(700)[700 % 96 :], 10))


def test_same_request_same_answer_unless_a_seed_is_asked() -> None:
    model = load("sundial")
    plain = ask(model, wave(200), 50)
    assert np.array_equal(plain, ask(model, wave(200), 50))
    assert np.array_equal(plain, ask(model, wave(200), 50, seed="2021"))
    assert not np.allclose(plain, ask(model, wave(200), 50, seed="7"), rtol=1e-6)
    assert not np.array_equal(ask(model, wave(200), 50, seed="none"), ask(model, wave(200), 50, seed="none"))


def test_options_are_typed() -> None:
    timer, model = load("timer_xl"), load("sundial")
    assert not np.allclose(ask(timer, wave(200), 9), ask(timer, wave(200), 9, revin="false"))
    assert not np.allclose(ask(model, wave(200), 9), ask(model, wave(200), 9, revin="False"))
    low, middle, high = (ask(model, wave(200), 9, quantile=q, num_samples="30") for q in ("0.1", "0.5", "0.9"))
    assert np.all(low < middle)
    assert np.all(middle < high)
    for option, text in (
        ("num_samples", "0"),
        ("num_samples", "ten"),
        ("revin", "maybe"),
        ("quantile", "1.1"),
        ("seed", "-1"),
    ):
        with pytest.raises(ModelError, match=f"Attribute {option} expect .* got {text} instead"):
            ask(model, wave(200), 9, **{option: text})


def test_weights_lie_in_sealed_memory(tmp_path: Path) -> None:
    """One copy, which processes forked later share and nobody can change, also not by replacing the file."""
    path = tmp_path / "model.safetensors"
    path.write_bytes((GOLDEN / "timer_xl" / "model.safetensors").read_bytes())
    tensors = open_tensors(str(path))
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    with path.open("r+b") as file:
        file.write(b"\xff" * 4096)
        file.truncate(4096)
    spans = [
        [int(end, 16) for end in line.split()[0].split("-")]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "/memfd:weights" in line and line.split()[1] == "r--s"
    ]
    assert tensors
    for name, tensor in tensors.items():
        assert any(start <= tensor.data_ptr() < end for start, end in spans)
        assert torch.equal(tensor, before[name])


def test_half_precision_weights_are_widened(tmp_path: Path) -> None:
    wanted = torch.randn(3, 4)
    for dtype, name in ((torch.float16, "F16"), (torch.bfloat16, "BF16"), (torch.float64, "F64")):
        data = wanted.to(dtype).contiguous().view(torch.uint8).numpy().tobytes()
        header = json.dumps({"w": {"dtype": name, "shape": [3, 4], "data_offsets": [0, len(data)]}}).encode()
        (tmp_path / "w").write_bytes(struct.pack("<Q", len(header)) + header + data)
        got = open_tensors(str(tmp_path / "w"))["w"]
        assert got.dtype == torch.float32
        assert torch.equal(got, wanted.to(dtype).float())


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    """copy(NAME): a writable copy of that golden model; the folder that holds it."""

    def make(name: str) -> Path:
        shutil.copytree(GOLDEN / name, tmp_path / name)
        return tmp_path

    return make


@pytest.mark.parametrize("name", sorted(LOADERS))
def test_files_that_are_missing(name: str, copy: Callable[[str], Path]) -> None:
    for file in ("model.safetensors", "config.json"):
        directory = copy(name)
        (directory / name / file).unlink()
        with pytest.raises(ModelError, match=f"{name}/{file} cannot be read: No such file"):
            load(name, directory)
        shutil.rmtree(directory / name)


Change = Callable[[dict[str, Any]], Any]
CONFIGS: list[tuple[Change, str]] = [
    (lambda c: c.update(model_type="t5"), "model_type is 't5'"),
    (lambda c: c.update(hidden_size=0), "hidden_size is 0; a whole number between 1"),
    (lambda c: c.update(hidden_size="64"), "hidden_size is '64'"),
    (lambda c: c.update(num_hidden_layers=True), "num_hidden_layers is True"),
    (lambda c: c.pop("input_token_len"), "input_token_len is None"),
    (lambda c: c.update(num_attention_heads=5), "no even multiple of 5 heads"),
    (lambda c: c.update(hidden_act="relu"), "hidden_act is 'relu'"),
    (lambda c: c.update(output_token_lens=[]), "output_token_lens is"),
    (lambda c: c.update(output_token_lens=[97]), "no multiples of input_token_len"),
    (lambda c: c.update(hidden_size=32), "has the shape .*config.json implies"),
    (lambda c: c.update(num_hidden_layers=3), "lacks the tensor model.layers.2."),
    (lambda c: c.update(num_hidden_layers=1), "tensors that config.json does not imply, the first is model.layers.1."),
]


@pytest.mark.parametrize(("change", "message"), CONFIGS)
@pytest.mark.parametrize("name", sorted(LOADERS))
def test_wrong_configs(name: str, change: Change, message: str, copy: Callable[[str], Path]) -> None:
    path = copy(name) / name / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        load(name, path.parent.parent)


def test_configs_that_are_no_json(copy: Callable[[str], Path]) -> None:
    path = copy("sundial") / "sundial" / "config.json"
    for text in (b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b" " * (1 << 21)):
        path.write_bytes(text)
        with pytest.raises(ModelError, match="config.json is no JSON"):
            load("sundial", path.parent.parent)


def header_of(**changes: Any) -> bytes:
    """A file of one tensor [2, 2] with the given fields changed."""
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]} | changes
    text = json.dumps({"w": entry}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(16)


BROKEN = [
    (b"", "it has 0 bytes"),
    (b"\x05" + bytes(7), "it has 8 bytes"),
    (struct.pack("<Q", 1 << 60) + bytes(20), "header is said to have"),
    (struct.pack("<Q", 21) + bytes(20), "header is said to have 21 bytes"),
    (struct.pack("<Q", 20) + bytes(20), "header is no JSON text"),
    (struct.pack("<Q", 2) + b"[]", "header is no JSON object"),
    (struct.pack("<Q", 100_000) + b"[" * 100_000, "header is no JSON text"),
    (header_of(dtype="I8"), "has the type I8"),
    (header_of(dtype=None), "has the type None"),
    (header_of(shape=[2, 3]), r"of shape \[2, 3\] and type F32 has 16 bytes"),
    (header_of(shape=[2, -2]), "has the shape"),
    (header_of(shape=[0, 2]), "has the shape"),
    (header_of(shape=[True, 2]), "has the shape"),
    (header_of(shape=[1 << 40, 1 << 40]), "has 16 bytes"),
    (header_of(shape="x"), "has the shape"),
    (header_of(data_offsets=[0, 32], shape=[4, 2]), "is at 0 to 32 of 16"),
    (header_of(data_offsets=[16, 0]), "is at 16 to 0"),
    (header_of(data_offsets=[-16, 0]), "has the data_offsets"),
    (header_of(data_offsets=[0, 8], shape=[2]), "end 8 bytes before the file does"),
    (header_of()[:-1], "is at 0 to 16 of 15"),
    (header_of() + b"x", "end 1 bytes before the file does"),
]


@pytest.mark.parametrize(("data", "message"), BROKEN)
def test_broken_files(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=message) as refused:
        open_tensors(str(path))
    assert str(path) in str(refused.value)


def test_every_truncation_is_found(tmp_path: Path) -> None:
    whole = header_of()
    path = tmp_path / "model.safetensors"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError):
            open_tensors(str(path))
    path.write_bytes(whole)
    assert open_tensors(str(path))["w"].shape == (2, 2)


def test_tensors_at_odd_places(tmp_path: Path) -> None:
    text = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    text += b" " * ((1 - len(text)) % 4)
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<f", 2.5))
    assert open_tensors(str(tmp_path / "w"))["w"].tolist() == [2.5]


@pytest.mark.parametrize("name", sorted(LOADERS))
def test_a_proof_finds_the_number_of_threads(name: str) -> None:
    loader, kind = LOADERS[name]
    before = torch.get_num_threads()
    spec = make_spec(kind, name, str(GOLDEN / name))
    found = loader(dataclasses.replace(spec, prove=True)).findings
    assert found in {f"threads={count}" for count in (1, len(os.sched_getaffinity(0)), 16)}
    assert loader(dataclasses.replace(spec, threads=2)).findings == ""
    assert torch.get_num_threads() == 2
    assert loader(spec).findings == ""
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


@pytest.mark.parametrize("processors", [1, 2])
@pytest.mark.parametrize("name", sorted(LOADERS))
def test_a_proof_is_answered_with_numbers(
    name: str, processors: int, copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files in which all shapes are right, but the last value of the last tensor is none."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)))
    directory = copy(name) / name
    loader, kind = LOADERS[name]
    spec = dataclasses.replace(make_spec(kind, name, str(directory)), prove=True)
    assert loader(spec).findings.startswith("threads=")
    path = directory / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-4] + struct.pack("<f", float("nan")))
    with pytest.raises(ModelError, match=f"{name}/model.safetensors was read, but .* no numbers"):
        loader(spec)
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", sorted(LOADERS))
def test_published_layout_is_complete(name: str, tmp_path: Path) -> None:
    """The tensors of the full-size layout, without their data: names and shapes fit what the code takes."""
    directory = make_weights(LOADERS[name][1], tmp_path / name)
    assert len(ask(load(name, tmp_path), wave(192), 30)[0]) == 30
    with pytest.raises(ModelError, match="lacks the tensor nothing.of.this"):
        Weights(str(directory / "model.safetensors"), transformer.CPU).take("nothing.of.this", 1)
