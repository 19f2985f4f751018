"""Helpers for reading the files of a model."""

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from ainode import user_model

from iotdb.ainode.core.model.model_info import ModelInfo


def get_model_path(model_info: ModelInfo) -> str:
    """The folder of the model."""
    return user_model.place_of(model_info.model_id)


def load_model_config_in_json(config_path: str) -> dict[str, Any]:
    """The fields of a config.json."""
    with open(config_path, encoding="utf-8") as file:
        return json.load(file)


@contextlib.contextmanager
def temporary_sys_path(path: str) -> Iterator[None]:
    """With `path` as the first place to import from."""
    added = path not in sys.path
    if added:
        sys.path.insert(0, path)
    try:
        yield
    finally:
        if added and path in sys.path:
            sys.path.remove(path)


def import_class_from_path(module_name: str, class_path: str) -> type:
    """The class `<file>.<Class>` of a package."""
    import importlib

    file, _, name = class_path.rpartition(".")
    return getattr(importlib.import_module(f"{module_name}.{file}"), name)
