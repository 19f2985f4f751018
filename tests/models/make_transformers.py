"""Makes tiny models of transformers and huggingface_hub, with pipelines, for the tests.

    PYTHON make_transformers.py OUT

writes OUT/auto (auto_map), OUT/known (an architecture that transformers has itself) and OUT/mixin (hub_mixin_cls).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

SCALE = 3.0

CONFIGURATION = """
from transformers import PretrainedConfig


class TinyConfig(PretrainedConfig):
    model_type = "tiny"

    def __init__(self, width=1, **kwargs):
        super().__init__(**kwargs)
        self.width = width
"""
MODELING = """
import torch
from transformers import PreTrainedModel

from .configuration_tiny import TinyConfig


class TinyModel(PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.scale = torch.nn.Linear(config.width, config.width, bias=False)
        self.post_init()

    def _init_weights(self, module):
        pass

    def forward(self, x):
        return self.scale(x)
"""
MIXIN = """
import torch
from huggingface_hub import PyTorchModelHubMixin


class TinyMixin(torch.nn.Module, PyTorchModelHubMixin):
    def __init__(self, width: int = 1):
        super().__init__()
        self.scale = torch.nn.Linear(width, width, bias=False)

    def forward(self, x):
        return self.scale(x)
"""
PIPELINE = """
import torch

from iotdb.ainode.core.inference.pipeline.basic_pipeline import ForecastPipeline
from iotdb.ainode.core.log import Logger

logger = Logger()


class TinyPipeline(ForecastPipeline):
    def __init__(self, model_info, **model_kwargs):
        super().__init__(model_info, **model_kwargs)
        logger.info(f"made with {type(self.model).__name__}, training {self.model.training}")

    def forecast(self, inputs, **infer_kwargs):
        last = torch.stack([item["targets"][:, -1:] for item in inputs])
        return list(self.model(last).repeat(1, 1, infer_kwargs["output_length"]))
"""
KNOWN_PIPELINE = """
import torch

from iotdb.ainode.core.inference.pipeline.basic_pipeline import ForecastPipeline


class GptPipeline(ForecastPipeline):
    def forecast(self, inputs, **infer_kwargs):
        assert type(self.model).__name__ == "GPT2LMHeadModel", type(self.model)
        logits = self.model(torch.zeros(len(inputs), 2, dtype=torch.long)).logits
        assert logits.shape == (len(inputs), 2, 8), logits.shape
        return [torch.full((1, infer_kwargs["output_length"]), 4.0) for _ in inputs]
"""


def extend(folder: Path, files: dict[str, str], **fields: object) -> None:
    """Adds Python files, and keys to config.json."""
    for name, text in files.items():
        (folder / name).write_text(text)
    path = folder / "config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**config, **fields}))


def main() -> None:
    """Makes all."""
    import torch
    from safetensors.torch import save_file
    from transformers import GPT2Config, GPT2LMHeadModel

    out = Path(sys.argv[1])
    package = out / "tiny_source"
    package.mkdir(parents=True)
    for name, text in (("configuration_tiny", CONFIGURATION), ("modeling_tiny", MODELING), ("mixin_tiny", MIXIN)):
        (package / f"{name}.py").write_text(text)
    sys.path.insert(0, str(out))
    from tiny_source.configuration_tiny import TinyConfig
    from tiny_source.mixin_tiny import TinyMixin
    from tiny_source.modeling_tiny import TinyModel

    model = TinyModel(TinyConfig())
    mixin = TinyMixin()
    for made in (model, mixin):
        with torch.no_grad():
            made.scale.weight.fill_(SCALE)
    model.save_pretrained(out / "auto")
    extend(
        out / "auto",
        {"configuration_tiny.py": CONFIGURATION, "modeling_tiny.py": MODELING, "pipeline_tiny.py": PIPELINE},
        auto_map={"AutoConfig": "configuration_tiny.TinyConfig", "AutoModelForCausalLM": "modeling_tiny.TinyModel"},
        pipeline_cls="pipeline_tiny.TinyPipeline",
    )
    (out / "mixin").mkdir()
    save_file(mixin.state_dict(), out / "mixin" / "model.safetensors")  # save_pretrained() wants a package more
    extend(
        out / "mixin",
        {"mixin_tiny.py": MIXIN, "pipeline_tiny.py": PIPELINE},
        width=1,
        hub_mixin_cls="mixin_tiny.TinyMixin",
        pipeline_cls="pipeline_tiny.TinyPipeline",
    )
    config = GPT2Config(vocab_size=8, n_positions=8, n_embd=8, n_layer=1, n_head=1)
    GPT2LMHeadModel(config).save_pretrained(out / "known")
    extend(
        out / "known",
        {"pipeline_gpt.py": KNOWN_PIPELINE},
        auto_map={"AutoTokenizer": "none.None"},
        pipeline_cls="pipeline_gpt.GptPipeline",
    )


if __name__ == "__main__":
    main()
