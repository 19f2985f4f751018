"""What `ainode env update` needs to know of a venv and to do with its files; host/env/update.c runs it.

The host passes this text with ``-c`` to the venv's interpreter, with a random word, a command and its arguments. The
answer is a block as that of ``probe.py`` with one row: ``text=``, percent-encoded, or ``error=`` with a sentence.

    differences FILE...  what of these requirement files is not there as they ask for it; empty: nothing
    copy FROM TO         makes TO a copy of the venv FROM whose files are links to the same data, where that is possible
    changes FROM TO      how the packages of the venv TO differ from those of FROM
    settle FROM TO       makes the scripts of the venv in FROM ready for the place TO
"""

import importlib.metadata
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator

MAX_SCRIPT = 1 << 20
MARKS = (".ainode-incomplete", ".ainode-complete")


def encode(value: str) -> str:
    """Returns the text percent-encoded so that it fits on one line."""
    return "".join(f"%{ord(c):02X}" if ord(c) < 0x20 or c in "%\x7f" else c for c in value)


def normalise(name: str) -> str:
    """Returns the name of a distribution in the spelling that compares."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_lines(file: str) -> Iterator[str]:
    """The requirements of a file, without comments, options and hashes."""
    with open(file, encoding="utf-8") as opened:
        text = opened.read().replace("\\\n", " ")
    for line in text.splitlines():
        wanted = re.split(r"\s+(?:#|--)", line.strip())[0]
        if wanted and not wanted.startswith(("#", "-")):
            yield wanted


def versions(site: str) -> dict[str, str]:
    """{name: version} of what lies in that folder of packages."""
    found = importlib.metadata.distributions(path=[site])
    return {normalise(one.metadata["Name"]): one.version for one in found if one.metadata["Name"]}


def differences(*files: str) -> str:
    """What is to be changed; packages are compared as pip compares them."""
    from pip._vendor.packaging.requirements import Requirement

    present = versions(sysconfig.get_path("purelib"))
    told: dict[str, str] = {}
    for file in files:
        for line in requirement_lines(file):
            wanted = Requirement(line)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            name = normalise(wanted.name)
            version = present.get(name)
            if version is None:
                told[name] = f"{name} is absent"
            elif not wanted.specifier.contains(version, prereleases=True):
                told[name] = f"{name} is {version} and not {wanted.specifier}"
    return ", ".join(told[name] for name in sorted(told))


def link_or_copy(source: str, target: str) -> str:
    """One file. pip replaces files and never writes into them, so that the data can be shared."""
    try:
        os.link(source, target)
    except OSError:  # no hard links on this file system, or the file is somebody else's
        shutil.copy2(source, target)
    return target


def copy(source: str, target: str) -> str:
    """Copies all but our marks; `target` may be there already."""

    def marks(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if folder == source and name in MARKS]

    shutil.copytree(source, target, symlinks=True, ignore=marks, copy_function=link_or_copy, dirs_exist_ok=True)
    return ""


def changes(source: str, target: str) -> str:
    """The packages that were replaced, added and removed."""
    inside = os.path.relpath(sysconfig.get_path("purelib"), sys.prefix)
    before, after = (versions(os.path.join(venv, inside)) for venv in (source, target))
    told = []
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            told.append(f"{name} {after[name]} added")
        elif name not in after:
            told.append(f"{name} {before[name]} removed")
        elif before[name] != after[name]:
            told.append(f"{name} {before[name]} to {after[name]}")
    return ", ".join(told)


def settle(source: str, target: str) -> str:
    """Scripts and pyvenv.cfg name the folder that they were written in; each is replaced, never written into."""
    old, new = os.fsencode(source), os.fsencode(target)
    folder = os.path.join(source, "bin")
    for path in [os.path.join(source, "pyvenv.cfg"), *(os.path.join(folder, name) for name in os.listdir(folder))]:
        if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > MAX_SCRIPT:
            continue
        with open(path, "rb") as opened:
            data = opened.read()
        if b"\0" in data or old not in data:
            continue
        part = path + ".ainode-part"
        with open(part, "wb") as opened:
            opened.write(data.replace(old, new))
        shutil.copymode(path, part)
        os.replace(part, path)
    return ""


def main() -> None:
    """Writes the answer."""
    word, command, *arguments = sys.argv[1:]
    commands = {"differences": differences, "copy": copy, "changes": changes, "settle": settle}
    try:
        row = "text=" + encode(commands[command](*arguments))
    except Exception as error:  # whatever it is, it is the answer
        text = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        row = "error=" + encode(text[:2000])
    data = f"\nAIN-PROBE-BEGIN {word}\n{row}\nAIN-PROBE-END {word}\n".encode("utf-8", "replace")
    while data:
        data = data[os.write(1, data) :]


main()
