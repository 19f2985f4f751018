"""Names of files, categories and states."""

from enum import Enum

CONFIG_JSON = "config.json"
MODEL_SAFETENSORS = "model.safetensors"
MODEL_PT = "model.pt"
MODEL_WEIGHT_FILES = (MODEL_SAFETENSORS, MODEL_PT, "pytorch_model.bin")
MODEL_WEIGHTS_FILE_IN_SAFETENSORS = MODEL_SAFETENSORS
MODEL_CONFIG_FILE_IN_JSON = CONFIG_JSON
MODEL_WEIGHTS_FILE_IN_PT = MODEL_PT
MODEL_CONFIG_FILE_IN_YAML = "config.yaml"


class ModelCategory(Enum):
    """Where a model comes from."""

    BUILTIN = "builtin"
    USER_DEFINED = "user_defined"
    FINE_TUNED = "fine_tuned"


class ModelStates(Enum):
    """What can be done with a model."""

    INACTIVE = "inactive"
    ACTIVATING = "activating"
    ACTIVE = "active"
    DROPPING = "dropping"


class UriType(Enum):
    """Where CREATE MODEL takes a model from."""

    REPO = "repo"
    FILE = "file"
