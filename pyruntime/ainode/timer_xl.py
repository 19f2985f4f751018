"""timer_xl: a decoder over patches that predicts the next patch (Liu et al., Timer-XL, ICLR 2025).

Written from the published equations; reads the published files `config.json` and `model.safetensors`.
"""

import os

import torch

from ainode.attributes import Boolean
from ainode.model import Model, Spec
from ainode.safetensors import Weights
from ainode.torchscript import place
from ainode.transformer import CPU, Cache, Config, Decoder, Generate, linear, load_network, read_config

TABLE = (Boolean("revin", True),)

_PROBE_TOKENS = 7  # of the work that chooses the number of threads: 672 rows


def _statistics(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and unbiased deviation of every row. A constant window has the deviation 0, also one of a single value."""
    mean = values.mean(dim=-1, keepdim=True)
    if values.shape[-1] < 2:
        return mean, torch.zeros_like(mean)
    return mean, values.std(dim=-1, keepdim=True, unbiased=True)


class TimerXl:
    """The network."""

    def __init__(self, directory: str, device: torch.device = CPU) -> None:
        self.config: Config = read_config(directory, "timer")
        weights = Weights(os.path.join(directory, "model.safetensors"), device)
        hidden = self.config.hidden
        self.embedding = weights.take("model.embed_layer.emb.weight", hidden, self.config.patch)
        self.decoder = Decoder(self.config, weights, norm_first=False)
        self.heads: list[torch.Tensor] = [
            weights.take(f"lm_heads.{i}.weight", length, hidden) for i, length in enumerate(self.config.outputs)
        ]
        weights.finish()

    def _choose_head(self, wanted: int) -> torch.Tensor:
        """The one with the longest prediction that is not longer than wanted, else the first."""
        fitting = [head for head in self.heads if head.shape[0] <= wanted]
        return max(fitting, key=len) if fitting else self.heads[0]

    def step(self, values: torch.Tensor, wanted: int, cache: Cache, revin: bool) -> torch.Tensor:
        """The values after `values` [n, patches * patch], at most `wanted` of them."""
        scaled = values
        if revin:
            mean, deviation = _statistics(values)
            scaled = (values - mean) / torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        tokens = scaled.to(torch.float32).unflatten(-1, (-1, self.config.patch))
        last = self.decoder(linear(tokens, self.embedding), cache)[:, -1]
        predicted = linear(last, self._choose_head(wanted))[:, :wanted].to(torch.float64)
        return predicted * deviation + mean if revin else predicted

    def probe(self) -> None:
        """A part of the work of a request."""
        self.decoder.probe(_PROBE_TOKENS)

    def generate(self, series: torch.Tensor, length: int, revin: bool = True) -> torch.Tensor:
        """[n, rows] in float64 -> [n, length]. As published, each further step sees and normalises the values that
        were just predicted, while the cache keeps what came before."""
        tokens = min(series.shape[1] // self.config.patch, self.config.max_tokens)
        chunk = series[:, series.shape[1] - tokens * self.config.patch :].to(self.decoder.device)
        cache: Cache = []
        parts: list[torch.Tensor] = []
        missing = length
        while missing > 0:
            chunk = self.step(chunk, missing, cache, revin)
            parts.append(chunk)
            missing -= chunk.shape[1]
        return torch.cat(parts, dim=1).cpu()


def load(spec: Spec) -> Model:
    """Loads spec.directory. ModelError says what is wrong with the files."""

    def make_generate(network: TimerXl) -> Generate:
        return lambda series, length, attributes: network.generate(series, length, attributes["revin"])

    return load_network(spec, lambda: TimerXl(spec.directory, place(spec)), make_generate, TABLE, {})
