"""Writes random weights of timer_xl or sundial in the published layout, for tests and benchmarks.

python make_weights.py timer DIR            # tiny: a megabyte, loads in milliseconds
python make_weights.py sundial DIR --full   # of the published size (337 and 513 MB)
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Shapes = Iterator[tuple[str, tuple[int, ...]]]
_CHUNK = 1 << 20

SIZES = {
    "timer": ({"input_token_len": 96, "output_token_lens": [96], "num_hidden_layers": 8, "num_attention_heads": 8},
              {"hidden_size": 1024, "intermediate_size": 2048}),
    "sundial": ({"input_token_len": 16, "output_token_lens": [720], "num_hidden_layers": 12, "num_attention_heads": 12},
                {"hidden_size": 768, "intermediate_size": 3072}),
}  # fmt: skip


def make_config(model_type: str, full: bool) -> dict[str, Any]:
    """config.json of the published model, or of a tiny one."""
    fixed, sizes = SIZES[model_type]
    config = {"model_type": model_type, "hidden_act": "silu", "max_position_embeddings": 10000, **fixed, **sizes}
    if not full:
        config |= {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    if model_type == "sundial":
        config |= {"flow_loss_depth": 3, "num_sampling_steps": 50}
    return config


def _pair(name: str, out: int, into: int) -> Shapes:
    yield f"{name}.weight", (out, into)
    yield f"{name}.bias", (out,)


def _layers(config: dict[str, Any]) -> Shapes:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name in "qkv":
            yield from _pair(f"{prefix}self_attn.{name}_proj", hidden, hidden)
        yield f"{prefix}self_attn.o_proj.weight", (hidden, hidden)
        yield f"{prefix}ffn_layer.gate_proj.weight", (inner, hidden)
        yield f"{prefix}ffn_layer.up_proj.weight", (inner, hidden)
        yield f"{prefix}ffn_layer.down_proj.weight", (hidden, inner)
        for norm in ("norm1", "norm2"):
            yield f"{prefix}{norm}.weight", (hidden,)
            yield f"{prefix}{norm}.bias", (hidden,)
    yield "model.norm.weight", (hidden,)
    yield "model.norm.bias", (hidden,)


def _timer(config: dict[str, Any]) -> Shapes:
    hidden = config["hidden_size"]
    yield "model.embed_layer.emb.weight", (hidden, config["input_token_len"])
    yield from _layers(config)
    for index, length in enumerate(config["output_token_lens"]):
        yield f"lm_heads.{index}.weight", (length, hidden)


def _sundial(config: dict[str, Any]) -> Shapes:
    hidden, inner, token = config["hidden_size"], config["intermediate_size"], 2 * config["input_token_len"]
    out = config["output_token_lens"][0]
    yield from _pair("model.embed_layer.hidden_layer", inner, token)
    yield from _pair("model.embed_layer.output_layer", hidden, inner)
    yield from _pair("model.embed_layer.residual_layer", hidden, token)
    yield from _layers(config)
    prefix = "flow_loss.net."
    yield from _pair(f"{prefix}time_embed.mlp.0", hidden, 256)
    yield from _pair(f"{prefix}time_embed.mlp.2", hidden, hidden)
    yield from _pair(f"{prefix}cond_embed", hidden, hidden)
    yield from _pair(f"{prefix}input_proj", hidden, out)
    for block in range(config["flow_loss_depth"]):
        at = f"{prefix}res_blocks.{block}."
        yield f"{at}in_ln.weight", (hidden,)
        yield f"{at}in_ln.bias", (hidden,)
        yield from _pair(f"{at}mlp.0", hidden, hidden)
        yield from _pair(f"{at}mlp.2", hidden, hidden)
        yield from _pair(f"{at}adaLN_modulation.1", 3 * hidden, hidden)
    yield from _pair(f"{prefix}final_layer.linear", out, hidden)
    yield from _pair(f"{prefix}final_layer.adaLN_modulation.1", 2 * hidden, hidden)


def write_safetensors(path: Path, shapes: list[tuple[str, tuple[int, ...]]], seed: int = 1) -> None:
    """Random float32 tensors of those shapes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes:
        begin, end = end, end + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = np.random.default_rng(seed)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes:
            norm = name.endswith(".weight") and len(shape) == 1
            left = int(np.prod(shape))
            while left > 0:
                values = generator.standard_normal(min(left, _CHUNK), dtype=np.float32) * 0.02
                file.write((values + norm).astype("<f4").tobytes())
                left -= len(values)


def make_weights(model_type: str, directory: Path, full: bool = False, seed: int = 1) -> Path:
    """Writes both files into directory (made when absent) and returns it."""
    directory.mkdir(parents=True, exist_ok=True)
    config = make_config(model_type, full)
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    shapes = list({"timer": _timer, "sundial": _sundial}[model_type](config))
    write_safetensors(directory / "model.safetensors", shapes, seed)
    return directory


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_type", choices=sorted(SIZES))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    make_weights(args.model_type, args.directory, args.full)


if __name__ == "__main__":
    main()
