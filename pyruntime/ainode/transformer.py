"""The decoder that timer_xl and sundial share: rotary attention with a key-value cache, gated feed-forward."""

import dataclasses
import itertools
import json
import math
import os
import time
from typing import Any, Callable, Optional

import numpy as np
import torch
import torch.nn.functional as functional

from ainode import threads
from ainode.attributes import Attributes, Table
from ainode.model import Model, ModelError, Spec
from ainode.safetensors import Weights

_CONFIG_MAX = 1 << 20  # bytes of config.json
_EPSILON = 1e-5
_ROTARY_BASE = 10000.0  # of the published models, whatever rope_theta says
_THREADS_SECONDS = 0.15  # of measuring with either number of threads: weights are to be served within two seconds
_TRIAL_PATCHES = 2  # the least that has tokens look at one another
CPU = torch.device("cpu")
#: Forecast length where the request says none.
DEFAULT_LENGTH = 96
#: Series that are computed together at most.
SERIES_MAX = 64
#: So many rows are multiplied faster from the other side, weight times columns: up to twice as fast with MKL.
_FEW_ROWS = range(4, 49)


def _whole(path: str, fields: dict[str, Any], name: str, default: Optional[int], high: int) -> int:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
        raise ModelError(f"{path}: {name} is {value!r}; a whole number between 1 and {high} was expected")
    return value


def linear(x: torch.Tensor, weight: torch.Tensor, bias: Optional[torch.Tensor] = None) -> torch.Tensor:
    """functional.linear, [..., in] to [..., out], in the order of multiplication that suits the number of rows."""
    rows = x.numel() // x.shape[-1]
    if rows not in _FEW_ROWS or x.device.type != "cpu":
        return functional.linear(x, weight, bias)
    columns = x.reshape(rows, -1).t()
    product = weight @ columns if bias is None else torch.addmm(bias[:, None], weight, columns)
    return product.t().reshape(*x.shape[:-1], -1)


def _attend_plainly(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: Optional[torch.Tensor]
) -> torch.Tensor:
    """Attention for torch before 2.0: softmax(Q K^T / sqrt(d)) V; without a mask, which is True where seen, causal, or
    from the last token to all."""
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is None:
        past = keys.shape[-2] - queries.shape[-2]
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril(past)
    scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return torch.softmax(scores, dim=-1) @ values


def _attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: Optional[torch.Tensor]
) -> torch.Tensor:
    """Attention [batch, heads, queries, head]: PyTorch's own where it has one (2.0 and later)."""
    if not hasattr(functional, "scaled_dot_product_attention"):
        return _attend_plainly(queries, keys, values, mask)
    causal = mask is None and queries.shape[-2] > 1
    return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=causal)


@dataclasses.dataclass(frozen=True)
class Config:
    """What of config.json decides the shape of the network."""

    patch: int  # values of a token
    hidden: int
    inner: int
    layers: int
    heads: int
    outputs: tuple[int, ...]  # values that each head predicts
    max_tokens: int
    fields: dict[str, Any]
    path: str

    def whole(self, name: str, default: int, high: int) -> int:
        """A further whole number of the file."""
        return _whole(self.path, self.fields, name, default, high)


def _read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            text = file.read(_CONFIG_MAX + 1)
        fields = json.loads(text.decode("utf-8")) if len(text) <= _CONFIG_MAX else None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no JSON text: {error}") from None
    if not isinstance(fields, dict):
        raise ModelError(f"{path} is no JSON object of less than {_CONFIG_MAX} bytes")
    return fields


def read_config(directory: str, model_type: str) -> Config:
    """<directory>/config.json, checked."""
    path = os.path.join(directory, "config.json")
    fields = _read_json(path)
    if fields.get("model_type") != model_type:
        raise ModelError(f"{path}: model_type is {fields.get('model_type')!r}; {model_type} was expected")
    if fields.get("hidden_act", "silu") != "silu":
        raise ModelError(f"{path}: hidden_act is {fields['hidden_act']!r}; silu is what these models use")
    outputs = fields.get("output_token_lens")
    if not isinstance(outputs, list) or not 1 <= len(outputs) <= 64:
        raise ModelError(f"{path}: output_token_lens is {outputs!r}; a list of whole numbers was expected")
    patch = _whole(path, fields, "input_token_len", None, 1 << 16)
    config = Config(
        patch=patch,
        hidden=_whole(path, fields, "hidden_size", None, 1 << 15),
        inner=_whole(path, fields, "intermediate_size", None, 1 << 17),
        layers=_whole(path, fields, "num_hidden_layers", None, 512),
        heads=_whole(path, fields, "num_attention_heads", None, 512),
        outputs=tuple(
            _whole(path, {"output_token_lens": length}, "output_token_lens", None, 1 << 16) for length in outputs
        ),
        max_tokens=_whole(path, fields, "max_position_embeddings", 10000, 1 << 20),
        fields=fields,
        path=path,
    )
    if config.hidden % (2 * config.heads) != 0:
        raise ModelError(f"{path}: hidden_size {config.hidden} is no even multiple of {config.heads} heads")
    if any(length % patch != 0 for length in config.outputs):
        raise ModelError(f"{path}: output_token_lens {outputs} are no multiples of input_token_len {patch}")
    return config


Cache = list[tuple[torch.Tensor, torch.Tensor]]
#: Series [n, rows] in float64, length, attributes -> [n, length] in float64.
Generate = Callable[[torch.Tensor, int, Attributes], torch.Tensor]


@dataclasses.dataclass
class _Layer:
    queries: tuple[torch.Tensor, torch.Tensor]
    keys: tuple[torch.Tensor, torch.Tensor]
    values: tuple[torch.Tensor, torch.Tensor]
    out: torch.Tensor
    gate: torch.Tensor
    up: torch.Tensor
    down: torch.Tensor
    norm1: tuple[torch.Tensor, torch.Tensor]
    norm2: tuple[torch.Tensor, torch.Tensor]


class Decoder:
    """`layers` decoder layers and a final norm. norm_first: the norms stand before attention and feed-forward."""

    def __init__(self, config: Config, weights: Weights, norm_first: bool) -> None:
        self.config = config
        self.norm_first = norm_first
        self.width = config.hidden // config.heads
        self.layers = [self._take_layer(weights, f"model.layers.{i}.") for i in range(config.layers)]
        self._probed = itertools.cycle(self.layers)
        self.norm = take_pair(weights, "model.norm", config.hidden)
        steps = torch.arange(0, self.width, 2, dtype=torch.float32) / self.width
        self.device = weights.device
        self._frequencies = (1.0 / (_ROTARY_BASE**steps)).to(self.device)

    def _take_layer(self, weights: Weights, prefix: str) -> _Layer:
        hidden, inner = self.config.hidden, self.config.inner

        def projection(name: str) -> tuple[torch.Tensor, torch.Tensor]:
            return take_linear(weights, f"{prefix}self_attn.{name}_proj", hidden, hidden)

        return _Layer(
            queries=projection("q"),
            keys=projection("k"),
            values=projection("v"),
            out=weights.take(f"{prefix}self_attn.o_proj.weight", hidden, hidden),
            gate=weights.take(f"{prefix}ffn_layer.gate_proj.weight", inner, hidden),
            up=weights.take(f"{prefix}ffn_layer.up_proj.weight", inner, hidden),
            down=weights.take(f"{prefix}ffn_layer.down_proj.weight", hidden, inner),
            norm1=take_pair(weights, f"{prefix}norm1", hidden),
            norm2=take_pair(weights, f"{prefix}norm2", hidden),
        )

    def _normalise(self, x: torch.Tensor, norm: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return functional.layer_norm(x, (self.config.hidden,), norm[0], norm[1], _EPSILON)

    def _rotations(self, first: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        angles = torch.outer(
            torch.arange(first, first + count, dtype=torch.float32, device=self.device), self._frequencies
        )
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()

    def _heads(self, x: torch.Tensor, projection: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        batch, tokens, _ = x.shape
        return linear(x, *projection).view(batch, tokens, self.config.heads, self.width).transpose(1, 2)

    def _attend(
        self,
        layer: _Layer,
        x: torch.Tensor,
        rotations: tuple[torch.Tensor, torch.Tensor],
        cache: Cache,
        index: int,
        mask: Optional[torch.Tensor],
        asked: int,
    ) -> torch.Tensor:
        """asked: only so many of the last tokens are answered."""
        queries = _rotate(self._heads(x[:, -asked:], layer.queries), *(part[-asked:] for part in rotations))
        keys = _rotate(self._heads(x, layer.keys), *rotations)
        values = self._heads(x, layer.values)
        if index < len(cache):
            keys = torch.cat((cache[index][0], keys), dim=2)
            values = torch.cat((cache[index][1], values), dim=2)
            cache[index] = (keys, values)
        else:
            cache.append((keys, values))
        mixed = _attend(queries, keys, values, mask)
        return linear(mixed.transpose(1, 2).flatten(2), layer.out)

    def __call__(self, x: torch.Tensor, cache: Cache) -> torch.Tensor:
        """New tokens [batch, tokens, hidden] to the state of the last one [batch, 1, hidden], all that a forecast is
        made from; cache holds the keys and values of earlier tokens and grows."""
        past = cache[0][0].shape[2] if cache else 0
        tokens = x.shape[1]
        rotations = self._rotations(past, tokens)
        mask = None
        if past > 0:
            mask = torch.ones(tokens, past + tokens, dtype=torch.bool, device=self.device).tril(past)
        asked = tokens
        for index, layer in enumerate(self.layers):
            if index == len(self.layers) - 1:
                asked, mask = 1, None  # nobody reads the others' states
            x = self._run_layer(layer, x, rotations, cache, index, mask, asked)
        return self._normalise(x, self.norm)

    def _run_layer(
        self,
        layer: _Layer,
        x: torch.Tensor,
        rotations: tuple[torch.Tensor, torch.Tensor],
        cache: Cache,
        index: int,
        mask: Optional[torch.Tensor],
        asked: int,
    ) -> torch.Tensor:
        """See _attend."""
        if self.norm_first:
            normal = self._normalise(x, layer.norm1)
            x = x[:, -asked:] + self._attend(layer, normal, rotations, cache, index, mask, asked)
            return x + _feed_forward(layer, self._normalise(x, layer.norm2))
        mixed = self._attend(layer, x, rotations, cache, index, mask, asked)
        x = self._normalise(x[:, -asked:] + mixed, layer.norm1)
        return self._normalise(x + _feed_forward(layer, x), layer.norm2)

    def probe(self, tokens: int) -> None:
        """One layer's work on a series of so many tokens, with another layer's weights each time: what all layers do,
        in a fraction of the time."""
        layer = next(self._probed)
        x = torch.linspace(-1, 1, tokens * self.config.hidden, device=self.device).view(1, tokens, -1)
        self._run_layer(layer, x, self._rotations(0, tokens), [], 0, None, tokens)


def _rotate(x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    left, right = x.chunk(2, dim=-1)
    return x * cosines + torch.cat((-right, left), dim=-1) * sines


def _feed_forward(layer: _Layer, x: torch.Tensor) -> torch.Tensor:
    return linear(functional.silu(linear(x, layer.gate)) * linear(x, layer.up), layer.down)


def take_linear(weights: Weights, name: str, out: int, into: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a linear layer."""
    return weights.take(f"{name}.weight", out, into), weights.take(f"{name}.bias", out)


def take_pair(weights: Weights, name: str, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a norm."""
    return weights.take(f"{name}.weight", size), weights.take(f"{name}.bias", size)


def set_threads(spec: Spec, device: torch.device, work: Callable[[], Any], seconds: Optional[float] = None) -> str:
    """Sets torch's threads; returns the findings of a proof, which tries whether all processors make `work` clearly
    faster than one, for about `seconds` each. Later loads take what was found then."""
    if not spec.prove:
        torch.set_num_threads(max(spec.threads, 1))
        return ""
    if device.type == "cpu":
        return f"threads={threads.choose(work, torch.set_num_threads, seconds)}"
    torch.set_num_threads(1)
    return "threads=1"


def load_network(
    spec: Spec,
    make: Callable[[], Any],
    make_generate: Callable[[Any], Generate],
    table: Table,
    options: dict[str, str],
) -> Model:
    """The model around the network that `make` loads. A proof chooses its number of threads by network.probe() and then
    has it answer a short request with `options`: what answers no numbers is refused."""
    begun = time.perf_counter()
    network = make()
    read = time.perf_counter()
    with torch.inference_mode():
        findings = set_threads(spec, network.decoder.device, network.probe, _THREADS_SECONDS)
    model = make_model(spec, table, network.config.patch, make_generate(network), findings)
    if spec.prove:
        chosen = time.perf_counter()
        _try_request(spec, model, network.config, options)
        print(
            f"the weights of {spec.name} were read in {read - begun:.2f} s, numbers of threads compared in "
            f"{chosen - read:.2f} s, a trial request answered in {time.perf_counter() - chosen:.2f} s",
            flush=True,
        )
    return model


def _try_request(spec: Spec, model: Model, config: Config, options: dict[str, str]) -> None:
    """ModelError where the model does not answer it with numbers."""
    values = np.sin(np.arange(_TRIAL_PATCHES * config.patch))[None, :, None]
    length = max(config.outputs)  # in one step: all that it computes is looked at
    with model.session():
        answer = model.call(values, json.dumps(options), length)
    if answer.shape != (1, length, 1) or not np.isfinite(answer).all():
        raise ModelError(
            f"{spec.directory}/model.safetensors was read, but a trial request is answered with values that are no "
            "numbers: its tensors are damaged, or another model's"
        )


def make_model(
    spec: Spec,
    table: Table,
    shortest: int,
    generate: Generate,
    findings: str,
) -> Model:
    """A model around generate, which takes at least `shortest` rows."""

    def call(array: np.ndarray, options: Optional[str], output_length: int) -> np.ndarray:
        attributes = Attributes(spec.name, table, options)
        batch, rows, columns = array.shape
        length = output_length if output_length > 0 else DEFAULT_LENGTH
        if rows < shortest:
            raise ModelError(f"it needs at least {shortest} rows of input, the query gives {rows}")
        if not np.isfinite(array).all():
            raise ModelError(
                f"model [{spec.name}] needs a number in every row; the input has missing or infinite values"
            )
        series = torch.from_numpy(np.ascontiguousarray(array.transpose(0, 2, 1)).astype(np.float64, copy=False))
        parts = series.reshape(batch * columns, rows).split(SERIES_MAX)
        result = torch.cat([generate(part, length, attributes) for part in parts])
        return result.reshape(batch, columns, length).transpose(1, 2).numpy()

    return Model(call, torch.inference_mode, findings)


def ceiling(value: int, unit: int) -> int:
    """How many units hold the value."""
    return math.ceil(value / unit)
