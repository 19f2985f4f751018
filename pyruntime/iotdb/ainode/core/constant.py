"""Names of files and status numbers, as of 2.0.10."""

import os
from enum import Enum

IOTDB_AINODE_HOME = os.getenv("IOTDB_AINODE_HOME", "")
MODEL_WEIGHTS_FILE_IN_SAFETENSORS = "model.safetensors"
MODEL_CONFIG_FILE_IN_JSON = "config.json"
MODEL_WEIGHTS_FILE_IN_PT = "model.pt"
MODEL_CONFIG_FILE_IN_YAML = "config.yaml"
DEFAULT_CHUNK_SIZE = 8192


class TSStatusCode(Enum):
    """Status numbers of 2.0.8 and later."""

    SUCCESS_STATUS = 200
    REDIRECTION_RECOMMEND = 400
    MODEL_EXISTED_ERROR = 1503
    MODEL_NOT_EXIST_ERROR = 1504
    CREATE_MODEL_ERROR = 1505
    DROP_BUILTIN_MODEL_ERROR = 1506
    DROP_MODEL_ERROR = 1507
    UNAVAILABLE_AI_DEVICE_ERROR = 1508
    LOAD_MODEL_ERROR = 1509
    UNLOAD_MODEL_ERROR = 1510
    INVALID_URI_ERROR = 1511
    INVALID_INFERENCE_CONFIG = 1512
    INFERENCE_INTERNAL_ERROR = 1520
    AINODE_INTERNAL_ERROR = 1599

    def get_status_code(self) -> int:
        """The number."""
        return self.value
