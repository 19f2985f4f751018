"""load_model(): what BasicPipeline gives as self.model."""

from typing import Any

from ainode import user_model

from iotdb.ainode.core.inference.pipeline import basic_pipeline
from iotdb.ainode.core.model.model_info import ModelInfo


def load_model(model_info: ModelInfo, **model_kwargs: Any) -> Any:
    """The model from the files beside the pipeline, on `device_map` (or `device`); see ainode.user_model."""
    device = model_kwargs.get("device_map", model_kwargs.get("device", "cpu"))
    arrays = basic_pipeline.uses_arrays()
    return user_model.load(model_info.model_id, model_info.auto_map, model_info.hub_mixin_cls, device, arrays)
