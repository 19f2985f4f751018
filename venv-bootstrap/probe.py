"""Says what the interpreter that runs it is, for the AINode host; host/env/probe.c reads the answer.

The host passes this text with ``-c`` and one argument, a random word; further arguments are names of packages
whose versions are wanted. The answer is one block of ``key=value`` lines between two lines that carry the word,
written in one go to descriptor 1, so that nothing a site customisation prints can be taken for it. Values are
percent-encoded. Nothing is imported that the interpreter's own library does not hold: packages are found by their
metadata, never run.

The syntax and the calls work on any Python since 2.7, so that one that is too old can still say so.
"""

import os
import re
import sys

MAX_PATHS = 32
MAX_VALUE = 4096


def encode(value):
    """Returns value as percent-encoded bytes that fit on one line."""
    if not isinstance(value, bytes):
        value = os.fsencode(value) if hasattr(os, "fsencode") else value.encode("utf-8")
    out = bytearray()
    for byte in bytearray(value[:MAX_VALUE]):
        if byte < 0x20 or byte in (0x25, 0x7F):
            out += b"%%%02X" % byte
        else:
            out.append(byte)
    return bytes(out)


def find_module(name):
    """Returns where the module lies ("" for one without a file), or None when it cannot be imported."""
    try:
        from importlib.util import find_spec

        spec = find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or spec.loader is None:
        return None
    return spec.origin or ""


def normalise(name):
    """Returns the name of a distribution in the spelling that compares."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_versions(names):
    """Returns {name: version} of those distributions that have metadata on sys.path; the first entry wins."""
    wanted = {normalise(name) for name in names}
    found = {}
    for entry in sys.path[:MAX_PATHS]:
        try:
            listing = os.listdir(entry)
        except OSError:
            continue
        for item in listing:
            if not item.endswith((".dist-info", ".egg-info")):
                continue
            parts = item.rsplit(".", 1)[0].split("-")
            if len(parts) >= 2 and normalise(parts[0]) in wanted:
                found.setdefault(normalise(parts[0]), parts[1])
    return found


def version_from_source(origin):
    """Returns the version that version.py beside the package's __init__ states, read as text, or "unknown"."""
    for name in ("version.py", "_version.py"):
        try:
            with open(os.path.join(os.path.dirname(origin), name), "rb") as source:
                text = source.read(65536).decode("utf-8", "replace")
        except (IOError, OSError):  # noqa: UP024 (two classes in Python 2)
            continue
        match = re.search(r"""^_*version_*\s*(?::\s*\w+\s*)?=\s*['"]([^'"]{1,64})['"]""", text, re.MULTILINE)
        if match:
            return match.group(1)
    return "unknown"


def package_version(module, versions):
    """Returns the version of an importable package, or None."""
    origin = find_module(module)
    if origin is None:
        return None
    return versions.get(normalise(module)) or version_from_source(origin)


def mapped_libpython():
    """Returns the shared libpython that this very process runs from, or None."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            text = maps.read()
    except (IOError, OSError):  # noqa: UP024 (two classes in Python 2)
        return None
    wanted = b"libpython" + ".".join(str(number) for number in sys.version_info[:2]).encode("ascii")
    for line in text.splitlines():
        path = line[line.find(b"/") :] if b"/" in line else b""
        if os.path.basename(path).startswith(wanted) and b".so" in path and not path.endswith(b" (deleted)"):
            return path if isinstance(path, str) else os.fsdecode(path)
    return None


def libpython_candidates(config):
    """Returns the existing shared libpython files that may be this interpreter's, the surest first."""
    paths = []
    mapped = mapped_libpython()
    if mapped:
        paths.append(mapped)
    libdir = config("LIBDIR") or ""
    base = getattr(sys, "base_prefix", sys.prefix)
    folders = [libdir, os.path.join(base, "lib")]
    if libdir and config("MULTIARCH"):
        folders.append(os.path.join(libdir, config("MULTIARCH")))
    folders.append(config("LIBPL") or "")
    for folder in folders:
        for name in (config("INSTSONAME"), config("LDLIBRARY")):
            if folder and name and ".so" in name:
                path = os.path.join(folder, name)
                if os.path.isfile(path) and path not in paths:
                    paths.append(path)
    return paths[:8]


def drop_own_folder():
    """Takes the current directory, which -c puts first, off sys.path: a model's folder must not change the answer."""
    if sys.path and sys.path[0] == "":
        del sys.path[0]


def facts(packages):
    """Returns the answer as a list of (key, value)."""
    import sysconfig

    config = sysconfig.get_config_var
    implementation = getattr(sys, "implementation", None)
    rows = [
        ("executable", sys.executable or ""),
        ("version", ".".join(str(number) for number in sys.version_info[:3])),
        ("hexversion", hex(sys.hexversion)[2:]),
        ("implementation", implementation.name if implementation else "unknown"),
        ("free_threaded", "1" if config("Py_GIL_DISABLED") else "0"),
        ("prefix", sys.prefix),
        ("base_prefix", getattr(sys, "base_prefix", sys.prefix)),
    ]
    rows += [("libpython", path) for path in libpython_candidates(config)]
    versions = installed_versions(list(packages) + ["numpy", "torch", "pyyaml", "pip"])
    for key, module in (("numpy", "numpy"), ("torch", "torch"), ("pip", "pip")):
        version = package_version(module, versions)
        if version is not None:
            rows.append((key, version))
    if find_module("yaml") is not None:
        rows.append(("yaml", versions.get("pyyaml", "unknown")))
    for key, module in (("venv", "venv"), ("ensurepip", "ensurepip"), ("ssl", "_ssl")):
        rows.append((key, "0" if find_module(module) is None else "1"))
    stdlib = sysconfig.get_path("stdlib") or ""
    managed = sys.prefix == getattr(sys, "base_prefix", sys.prefix) and os.path.isfile(
        os.path.join(stdlib, "EXTERNALLY-MANAGED")
    )
    rows.append(("externally_managed", "1" if managed else "0"))
    for name in packages:
        if normalise(name) in versions:
            rows.append(("package", name + "==" + versions[normalise(name)]))
    rows += [("path", path) for path in sys.path[:MAX_PATHS] if os.path.isdir(path)]
    return rows


def main():
    """Writes the answer."""
    word = sys.argv[1].encode("ascii")
    drop_own_folder()
    out = b"\nAIN-PROBE-BEGIN " + word + b"\n"
    for key, value in facts(sys.argv[2:]):
        out += key.encode("ascii") + b"=" + encode(value) + b"\n"
    out += b"AIN-PROBE-END " + word + b"\n"
    while out:
        out = out[os.write(1, out) :]


main()
