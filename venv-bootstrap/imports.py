"""Imports one package and says how it went, for `ainode doctor`; host/doctor/packages.c reads the answer.

The host passes this text with ``-c``, a random word and the package's name. The answer is a block as that of
``probe.py``: ``version=`` and ``file=`` when it worked, else ``error=`` with the exception. Afterwards a small
computation is run, since a package may import and still be of no use on this processor.
"""

import os
import sys

MAX_VALUE = 2000


def encode(value):
    """Returns the text percent-encoded so that it fits on one line."""
    out = ""
    for character in value[:MAX_VALUE]:
        out += "%%%02X" % ord(character) if ord(character) < 0x20 or character in "%\x7f" else character
    return out


def try_import(name):
    """Returns the answer's rows."""
    try:
        module = __import__(name)
        if name == "torch":
            module.set_num_threads(1)
            module.ones(2, 2).mm(module.ones(2, 2)).numpy()
        elif name == "numpy":
            module.ones((2, 2)).dot(module.ones((2, 2)))
    except BaseException as error:  # noqa: B036 - whatever a package raises is the answer
        cause = error.__cause__ or error.__context__
        text = "%s: %s" % (type(error).__name__, error)
        if cause is not None and str(cause) not in text:
            text = "%s: %s; %s" % (type(cause).__name__, cause, text)
        return [("error", text)]
    return [("version", str(getattr(module, "__version__", "unknown"))), ("file", str(module.__file__))]


def main():
    """Writes the answer."""
    if sys.path and sys.path[0] == "":
        del sys.path[0]
    word, name = sys.argv[1:3]
    out = "\nAIN-PROBE-BEGIN %s\n" % word
    for key, value in try_import(name):
        out += "%s=%s\n" % (key, encode(value))
    out += "AIN-PROBE-END %s\n" % word
    data = out.encode("utf-8", "replace")
    while data:
        data = data[os.write(1, data) :]


main()
