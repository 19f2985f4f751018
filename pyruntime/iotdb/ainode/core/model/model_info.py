"""ModelInfo: what a pipeline is told about its model."""

from typing import Any, Optional

from iotdb.ainode.core.model.model_constants import ModelCategory, ModelStates


class ModelInfo:
    """The fields of config.json, and the id under which the model was registered."""

    def __init__(
        self,
        model_id: str,
        category: ModelCategory,
        state: ModelStates,
        model_type: str = "",
        pipeline_cls: str = "",
        repo_id: str = "",
        auto_map: Optional[dict[str, Any]] = None,
        hub_mixin_cls: Optional[str] = None,
        transformers_registered: bool = False,
        base_model_id: Optional[str] = None,
    ) -> None:
        self.model_id = model_id
        self.category = category
        self.state = state
        self.model_type = model_type
        self.pipeline_cls = pipeline_cls
        self.repo_id = repo_id
        self.auto_map = auto_map
        self.hub_mixin_cls = hub_mixin_cls
        self.transformers_registered = transformers_registered
        self.base_model_id = base_model_id

    def __repr__(self) -> str:
        """For logs."""
        return f"ModelInfo(model_id={self.model_id}, model_type={self.model_type}, category={self.category.value})"
