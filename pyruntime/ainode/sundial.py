"""sundial: a decoder whose last state conditions a flow that turns noise into forecasts (Liu et al., ICML 2025).

Written from the published equations; reads the published files `config.json` and `model.safetensors`.
"""

import math
import os
from typing import Optional

import torch
import torch.nn.functional as functional

from ainode.attributes import Attributes, Boolean, Integer, Real
from ainode.model import Model, Spec
from ainode.safetensors import Weights
from ainode.torchscript import place
from ainode.transformer import (
    CPU,
    Cache,
    Config,
    Decoder,
    Generate,
    ceiling,
    linear,
    load_network,
    read_config,
    take_linear,
    take_pair,
)

#: The same request gives the same answer: the noise begins with this seed unless the request names one.
DEFAULT_SEED = 2021
DEFAULT_SAMPLES = 10

TABLE = (
    Integer("num_samples", DEFAULT_SAMPLES, low=1, high=1000),
    Integer("seed", DEFAULT_SEED, optional=True, low=0, high=2**63 - 1),
    Boolean("revin", True),
    Real("quantile", None, optional=True, low=0.0, high=1.0),
)

_REVIN_EPSILON = 1e-5
_FLOW_EPSILON = 1e-6
_TIME_WIDTH = 256
_CONDITIONS_MAX = 512  # pairs of series and step whose modulations are computed together: 15 MB
_PROBE_ROWS = 384
_PROBE_STEPS = 1

_Linear = tuple[torch.Tensor, torch.Tensor]


class _Block:
    """One residual block of the flow network."""

    def __init__(self, weights: Weights, prefix: str, width: int) -> None:
        self.norm = take_pair(weights, f"{prefix}in_ln", width)
        self.first = take_linear(weights, f"{prefix}mlp.0", width, width)
        self.second = take_linear(weights, f"{prefix}mlp.2", width, width)
        self.modulation = take_linear(weights, f"{prefix}adaLN_modulation.1", 3 * width, width)

    def __call__(self, a: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
        """a [n, samples, width], modulation [n, 1, 3 * width]."""
        shift, scale, gate = modulation.chunk(3, dim=-1)
        x = functional.layer_norm(a, a.shape[-1:], self.norm[0], self.norm[1], _FLOW_EPSILON) * (1 + scale) + shift
        return a + gate * linear(functional.silu(linear(x, *self.first)), *self.second)


class _Flow:
    """Turns noise into a forecast, given the state of the last token."""

    def __init__(self, config: Config, weights: Weights) -> None:
        width, out = config.hidden, config.outputs[0]
        prefix = "flow_loss.net."
        self.steps = config.whole("num_sampling_steps", 50, 10_000)
        time_first = take_linear(weights, f"{prefix}time_embed.mlp.0", width, _TIME_WIDTH)
        time_second = take_linear(weights, f"{prefix}time_embed.mlp.2", width, width)
        self.condition = take_linear(weights, f"{prefix}cond_embed", width, width)
        self.input = take_linear(weights, f"{prefix}input_proj", width, out)
        depth = config.whole("flow_loss_depth", 3, 100)
        self.blocks = [_Block(weights, f"{prefix}res_blocks.{i}.", width) for i in range(depth)]
        self.output = take_linear(weights, f"{prefix}final_layer.linear", out, width)
        self.modulation = take_linear(weights, f"{prefix}final_layer.adaLN_modulation.1", 2 * width, width)
        self.times = self._embed_times(time_first, time_second)

    def _embed_times(self, first: _Linear, second: _Linear) -> torch.Tensor:
        """The embedding of every step's time: the same for all requests."""
        half = _TIME_WIDTH // 2
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32) / half)
        times = torch.arange(self.steps, dtype=torch.float32) / self.steps * 1000.0
        angles = times[:, None] * frequencies
        wave = torch.cat((angles.cos(), angles.sin()), dim=-1).to(first[0].device)
        return linear(functional.silu(linear(wave, *first)), *second)

    def _modulations(self, condition: torch.Tensor, first: int, count: int) -> list[torch.Tensor]:
        """What the conditions [n, hidden] and the times of some steps make of each block and of the last layer:
        [n, count, ...] each. The samples of a series share them, and the weights are read once for all steps."""
        y = functional.silu(condition[:, None] + self.times[first : first + count])
        return [linear(y, *block.modulation) for block in self.blocks] + [linear(y, *self.modulation)]

    def _target(self, x: torch.Tensor, modulations: list[torch.Tensor], step: int) -> torch.Tensor:
        """The clean forecast the network sees behind x [n, samples, out]."""
        a = linear(x, *self.input)
        for block, modulation in zip(self.blocks, modulations):
            a = block(a, modulation[:, step, None])
        shift, scale = modulations[-1][:, step, None].chunk(2, dim=-1)
        a = functional.layer_norm(a, a.shape[-1:], eps=_FLOW_EPSILON) * (1 + scale) + shift
        return linear(a, *self.output)

    def __call__(self, states: torch.Tensor, noise: torch.Tensor, steps: Optional[int] = None) -> torch.Tensor:
        """states [n, hidden], noise [samples, out] -> [n, samples, out]. Every series gets the same noise, so that
        an answer does not depend on what is computed beside it. steps: stop earlier, to measure."""
        condition = linear(states, *self.condition)
        x = noise.expand(states.shape[0], *noise.shape)
        together = max(1, _CONDITIONS_MAX // states.shape[0])
        steps = min(self.steps, steps or self.steps)
        for first in range(0, steps, together):
            count = min(together, steps - first)
            modulations = self._modulations(condition, first, count)
            for step in range(count):
                x = x + (self._target(x, modulations, step) - noise) / self.steps
        return x


class Sundial:
    """The network."""

    def __init__(self, directory: str, device: torch.device = CPU) -> None:
        self.config = read_config(directory, "sundial")
        weights = Weights(os.path.join(directory, "model.safetensors"), device)
        hidden, inner, patch = self.config.hidden, self.config.inner, self.config.patch
        prefix = "model.embed_layer."
        self.embed_hidden = take_linear(weights, f"{prefix}hidden_layer", inner, 2 * patch)
        self.embed_output = take_linear(weights, f"{prefix}output_layer", hidden, inner)
        self.embed_residual = take_linear(weights, f"{prefix}residual_layer", hidden, 2 * patch)
        self.decoder = Decoder(self.config, weights, norm_first=True)
        self.flow = _Flow(self.config, weights)
        weights.finish()

    def _embed(self, values: torch.Tensor) -> torch.Tensor:
        """[n, rows] -> [n, tokens, hidden]; a short first patch is filled with zeros on its left and masked."""
        missing = -values.shape[1] % self.config.patch
        mask = functional.pad(torch.ones_like(values), (missing, 0))
        padded = functional.pad(values, (missing, 0))
        shape = (-1, self.config.patch)
        patches = torch.cat((padded.unflatten(-1, shape), mask.unflatten(-1, shape)), dim=-1)
        inner = functional.silu(linear(patches, *self.embed_hidden))
        return linear(inner, *self.embed_output) + linear(patches, *self.embed_residual)

    def probe(self) -> None:
        """A part of the work of a request: of the decoder one layer, of the flow a step."""
        self.decoder.probe(ceiling(_PROBE_ROWS, self.config.patch))
        states = torch.linspace(-1, 1, self.config.hidden, device=self.decoder.device)[None]
        self.flow(states, torch.zeros(DEFAULT_SAMPLES, self.config.outputs[0], device=states.device), _PROBE_STEPS)

    def _sample(self, values: torch.Tensor, length: int, samples: int, generator: torch.Generator) -> torch.Tensor:
        """In normalised space: [n, rows] -> [n, samples, length]. When a step's forecast is too short, its median over
        the samples goes on as input."""
        cache: Cache = []
        parts: list[torch.Tensor] = []
        missing = length
        while missing > 0:
            states = self.decoder(self._embed(values), cache)[:, -1]
            # drawn on the CPU, so that every device gives the same answer
            noise = torch.randn(samples, self.config.outputs[0], generator=generator).to(values.device)
            forecast = self.flow(states, noise)[:, :, :missing]
            parts.append(forecast)
            missing -= forecast.shape[2]
            values = forecast.median(dim=1).values
        return torch.cat(parts, dim=2)

    def generate(
        self,
        series: torch.Tensor,
        length: int,
        samples: int = DEFAULT_SAMPLES,
        seed: Optional[int] = DEFAULT_SEED,
        revin: bool = True,
    ) -> torch.Tensor:
        """[n, rows] in float64 -> [n, samples, length] in float64. seed None: other noise each time."""
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        values = series[:, -self.config.max_tokens * self.config.patch :].to(self.decoder.device)
        if not revin:
            return self._sample(values.to(torch.float32), length, samples, generator).to(torch.float64).cpu()
        mean = values.mean(dim=-1, keepdim=True)
        deviation = values.std(dim=-1, keepdim=True, unbiased=False) + _REVIN_EPSILON
        scaled = ((values - mean) / deviation).to(torch.float32)
        forecasts = self._sample(scaled, length, samples, generator).to(torch.float64)
        return (forecasts * deviation[..., None] + mean[..., None]).cpu()


def load(spec: Spec) -> Model:
    """Loads spec.directory. ModelError says what is wrong with the files."""

    def make_generate(network: Sundial) -> Generate:
        def generate(series: torch.Tensor, length: int, attributes: Attributes) -> torch.Tensor:
            samples, seed = attributes["num_samples"], attributes["seed"]
            forecasts = network.generate(series, length, samples, seed, attributes["revin"])
            if attributes["quantile"] is not None:
                return torch.quantile(forecasts, attributes["quantile"], dim=1)
            return forecasts.mean(dim=1)

        return generate

    return load_network(spec, lambda: Sundial(spec.directory, place(spec)), make_generate, TABLE, {"num_samples": "1"})
