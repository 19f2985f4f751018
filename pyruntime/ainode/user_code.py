"""The Python files of a user's model, imported under a package name of their own.

A worker holds one model, but its files must not hide, or be hidden by, what is installed: `utils.py` of a model is
`ainode_user_model.utils`. They may import each other relatively, by the id of the model (as the official AINode
imports them) or by their bare names; the last two only where nothing of that name is installed.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Sequence
from typing import Any, Optional

from ainode.model import ModelError

PACKAGE = "ainode_user_model"


class _SameModule(importlib.abc.Loader):
    """Makes another name stand for a module of the model."""

    def __init__(self, real: str) -> None:
        self.real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """The usual one; it is replaced below."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Imports the module of the model and puts it in the place of this one."""
        sys.modules[module.__name__] = importlib.import_module(self.real)


class _OtherNames(importlib.abc.MetaPathFinder):
    """Asked last: finds `<id>`, `<id>.<file>` and `<file>` where nothing installed has that name."""

    def __init__(self, directory: str, model_id: str) -> None:
        self.directory = directory
        self.model_id = model_id

    def _real(self, name: str) -> str:
        top, _, rest = name.partition(".")
        if top == self.model_id:
            return f"{PACKAGE}.{rest}" if rest else PACKAGE
        return f"{PACKAGE}.{name}"

    def _exists(self, real: str) -> bool:
        path = os.path.join(self.directory, *real.split(".")[1:])
        return os.path.isfile(path + ".py") or os.path.isdir(path)

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]] = None, target: Optional[types.ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        """See importlib.abc.MetaPathFinder."""
        del path, target
        real = self._real(fullname)
        if fullname.partition(".")[0] == PACKAGE or not self._exists(real):
            return None
        return importlib.machinery.ModuleSpec(fullname, _SameModule(real), is_package=True)


def install(directory: str, model_id: str) -> None:
    """Makes the files of `directory` importable. ModelError: its __init__.py fails."""
    sys.dont_write_bytecode = True  # the folder is not ours to write to
    start = os.path.join(directory, "__init__.py")
    has_start = os.path.isfile(start)
    loader = importlib.machinery.SourceFileLoader(PACKAGE, start) if has_start else None
    spec = importlib.machinery.ModuleSpec(PACKAGE, loader, origin=start if has_start else None, is_package=True)
    spec.submodule_search_locations = [directory]
    package = importlib.util.module_from_spec(spec)
    if has_start:
        package.__file__ = start
    sys.modules[PACKAGE] = package
    sys.meta_path.append(_OtherNames(directory, model_id))
    if loader is not None:
        loader.exec_module(package)


def import_class(name: str, key: str) -> type:
    """The class that config.json names as `<file>.<Class>` under `key`. ModelError says what is wrong with it."""
    file, _, cls = name.rpartition(".")
    if not file or not cls or "--" in name:
        raise ModelError(
            f'config.json: {key} is "{name}"; <file>.<Class> was expected, and the file in the folder of the model'
        )
    try:
        module: Any = importlib.import_module(f"{PACKAGE}.{file}")
    except ModuleNotFoundError as error:
        raise ModelError(explain_missing(error, f"{file}.py")) from error
    found = getattr(module, cls, None)
    if not isinstance(found, type):
        raise ModelError(f"config.json: {key} is {name}, but {file}.py has no class {cls}")
    return found


def explain_missing(error: ModuleNotFoundError, where: str) -> str:
    """What to do about an import that failed, as a sentence."""
    name = error.name or "a module"
    top = name.partition(".")[0]
    if top == PACKAGE:
        return f"{where} imports {name[len(PACKAGE) + 1 :] or name}, which is not among the files of the model"
    if name.startswith("iotdb.ainode"):
        return (
            f"{where} imports {name} of the official AINode, which this one does not have: copy that file into the "
            "folder of the model and import it from there (docs/MODELS.md lists the modules that are there)"
        )
    return (
        f"the model needs the Python package {top} ({where} imports it), which is not installed: write its name into a "
        "file and run `lib/ainode env install --requirements FILE`"
    )
