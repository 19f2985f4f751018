"""Imports one package and says how it went, for `ainode doctor`; host/doctor/packages.c reads the answer.

The host passes this text with ``-c``, a random word and the package's name. The answer is a block as that of
``probe.py``: ``version=`` and ``file=`` when it worked, else ``error=`` with the exception. A small computation is
part of it, since a package may import and still be of no use on this processor.
"""

import os
import sys
from typing import Any

MAX_VALUE = 2000


def encode(value: str) -> str:
    """Returns the text percent-encoded so that it fits on one line."""
    special = {character for character in value if ord(character) < 0x20 or character in "%\x7f"}
    return "".join(f"%{ord(c):02X}" if c in special else c for c in value[:MAX_VALUE])


def compute(name: str, module: Any) -> None:
    """Multiplies two matrices."""
    if name == "torch":
        module.set_num_threads(1)
        module.ones(2, 2).mm(module.ones(2, 2)).numpy()
    elif name == "numpy":
        module.ones((2, 2)).dot(module.ones((2, 2)))


def try_import(name: str) -> list[tuple[str, str]]:
    """Returns the answer's rows."""
    try:
        module = __import__(name)
        compute(name, module)
    except BaseException as error:  # whatever a package raises is the answer
        text = f"{type(error).__name__}: {error}"
        cause = error.__cause__ or error.__context__
        if cause is not None and str(cause) not in text:
            text = f"{type(cause).__name__}: {cause}; {text}"
        return [("error", text)]
    return [("version", str(getattr(module, "__version__", "unknown"))), ("file", str(module.__file__))]


def main() -> None:
    """Writes the answer."""
    if sys.path and sys.path[0] == "":
        del sys.path[0]  # the current directory
    word, name = sys.argv[1:3]
    rows = "".join(f"{key}={encode(value)}\n" for key, value in try_import(name))
    data = f"\nAIN-PROBE-BEGIN {word}\n{rows}AIN-PROBE-END {word}\n".encode("utf-8", "replace")
    while data:
        data = data[os.write(1, data) :]


main()
