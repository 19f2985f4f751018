"""acceleration=true: the optimised model where it answers the same, else the model itself, and a line that says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ainode import accelerate, torchscript
from ainode.model import Model, Spec
from torch import Tensor, nn

ASKED = '{"acceleration": "true"}'


class Net(nn.Module):
    """A convolution and a batch norm, which freezing folds into one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x.transpose(1, 2))).transpose(1, 2))


class Counts(nn.Module):
    """Adds how many calls it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1.0
        return x + self.calls


def load(module: nn.Module, folder: Path) -> Model:
    """As a worker loads it."""
    torch.jit.script(module.eval()).save(str(folder / "model.pt"))
    return torchscript.load(Spec("torchscript", str(folder), "float32", [96, 2], [96, 2], False))


def sample(seed: int, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, 96, 2)).astype(np.float32)


def test_answers_stay_the_same(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = load(Net(), tmp_path)
    with model.session():
        for seed in range(20):
            values = sample(seed, seed % 3 + 1)
            assert np.allclose(model.call(values, ASKED, 0), model.call(values, None, 0), rtol=1e-4, atol=1e-5)
    assert capfd.readouterr().out.count("acceleration=true: the model is frozen") == 1


def test_optimised_model_is_the_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told apart by its answer to a sample that the comparison does not see."""
    model = load(Net(), tmp_path)
    monkeypatch.setattr(accelerate, "_close", lambda ours, theirs: True)
    monkeypatch.setattr(accelerate, "_optimize", lambda load: torch.jit.script(nn.Identity()))
    with model.session():
        assert np.array_equal(model.call(sample(1), ASKED, 0), sample(1))
        assert not np.array_equal(model.call(sample(1), None, 0), sample(1))


def test_model_that_cannot_be_optimised(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
        raise RuntimeError("no such\n  thing")

    monkeypatch.setattr(torch.jit, "freeze", refuse)
    model = load(Net(), tmp_path)
    with model.session():
        for seed in range(3):
            assert np.array_equal(model.call(sample(seed), ASKED, 0), model.call(sample(seed), None, 0))
    said = capfd.readouterr().out
    assert said.count("acceleration=true is not used") == 1 and "(no such thing)" in said


def test_optimised_model_that_answers_differently(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerate, "_optimize", lambda load: torch.jit.script(nn.Identity()))
    model = load(Net(), tmp_path)
    with model.session():
        assert np.array_equal(model.call(sample(1), ASKED, 0), model.call(sample(1), None, 0))
    assert "not used: the optimised model answers differently" in capfd.readouterr().out


def test_trying_leaves_no_trace(tmp_path: Path) -> None:
    """A model that counts its calls counts those of its callers only."""
    model = load(Counts(), tmp_path)
    with model.session():
        for call in range(1, 4):
            assert np.allclose(model.call(sample(call), ASKED, 0), sample(call) + call)
