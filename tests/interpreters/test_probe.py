"""The probe against every interpreter of this machine: each field is what the interpreter says of itself."""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import shutil
import subprocess

import pytest
import pythons

MINORS = ["3.9", "3.10", "3.11", "3.12", "3.13", "debian"]

# Written independently of probe.py: real imports, the interpreter's own metadata library, its own memory map.
SELF = r"""
import importlib.metadata, json, os, re, sys, sysconfig
def importable(name):
    try:
        __import__(name)
        return True
    except ImportError:
        return False
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
maps = re.findall(r"(/\S.*libpython%d\.%d\S*)$" % sys.version_info[:2], open("/proc/self/maps").read(), re.M)
print(json.dumps({
    "executable": sys.executable, "version": "%d.%d.%d" % sys.version_info[:3], "hexversion": str(sys.hexversion),
    "implementation": sys.implementation.name, "prefix": sys.prefix, "base_prefix": sys.base_prefix,
    "free_threaded": str(int(bool(sysconfig.get_config_var("Py_GIL_DISABLED")))), "mapped": maps[:1],
    "numpy": version("numpy"), "torch": version("torch"), "yaml": version("pyyaml"), "pip": version("pip"),
    "venv": str(int(importable("venv"))), "ensurepip": str(int(importable("ensurepip"))),
    "ssl": str(int(importable("ssl"))),
    "paths": [path for path in sys.path if path and os.path.isdir(path)],
    "managed": str(int(sys.prefix == sys.base_prefix and
                       os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")))),
}))
"""


def probe(ask: pathlib.Path, python: object, **options: object) -> dict[str, list[str]]:
    """Returns every row of a probe that must succeed."""
    done = pythons.run(ask, pythons.BOOTSTRAP, python, **options)
    assert done.returncode == 0, done.stderr
    rows: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        rows.setdefault(key, []).append(value)
    return rows


def check(ask: pathlib.Path, python: object, **options: object) -> dict[str, list[str]]:
    """Probes and compares every field with the interpreter's own word."""
    rows = probe(ask, python, **options)
    said = pythons.run(python, "-c", SELF, **options)
    assert said.returncode == 0, said.stderr
    own = json.loads(said.stdout.splitlines()[-1])
    for key in (
        "executable",
        "version",
        "hexversion",
        "implementation",
        "prefix",
        "base_prefix",
        "free_threaded",
    ):
        assert rows[key] == [own[key]], key
    for key in ("venv", "ensurepip", "ssl"):
        assert rows[key] == [own[key]], key
    for key in ("numpy", "torch", "yaml", "pip"):
        assert rows.get(key, [None]) == [own[key]], key
    assert rows["externally_managed"] == [own["managed"]]
    assert rows["path"] == own["paths"]
    assert rows["asked"] == [str(python)]
    check_libpython(rows, own["mapped"])
    lacking = [name for name in ("numpy", "torch") if own[name] is None]
    problems = rows.get("problem", [])
    assert all(name in " ".join(problems) for name in lacking)
    assert bool(problems) == bool(lacking)
    return rows


def check_libpython(rows: dict[str, list[str]], mapped: list[str]) -> None:
    """The library is the one the interpreter runs from, or at least one of its very version."""
    if mapped:
        assert rows["libpython"] == mapped
    if "libpython" in rows:
        library = ctypes.CDLL(rows["libpython"][0], mode=os.RTLD_LOCAL | os.RTLD_NOW)
        library.Py_GetVersion.restype = ctypes.c_char_p
        assert library.Py_GetVersion().decode().split()[0].rstrip("+") == rows["version"][0]


@pytest.mark.parametrize("minor", MINORS)
def test_interpreter(ask: pathlib.Path, minor: str) -> None:
    rows = check(ask, pythons.interpreter(minor))
    print(minor, rows["version"], rows.get("libpython"), rows["microseconds"])


@pytest.mark.parametrize("minor", MINORS)
def test_venv_of_interpreter(ask: pathlib.Path, minor: str, tmp_path: pathlib.Path) -> None:
    venv = tmp_path / "a venv"
    made = pythons.run(pythons.interpreter(minor), "-m", "venv", "--without-pip", venv)
    assert made.returncode == 0, made.stderr
    site = next(venv.glob("lib/python*/site-packages"))
    pythons.make_wheel(tmp_path, "numpy", "1.26.4")
    shutil.unpack_archive(tmp_path / "numpy-1.26.4-py3-none-any.whl", site, "zip")
    rows = check(ask, venv / "bin" / "python")
    assert rows["numpy"] == ["1.26.4"]
    assert rows["prefix"] == [str(venv)]
    assert "torch" not in rows
    # the folder alone is understood too, and the venv's own python answers
    assert probe(ask, venv)["prefix"] == [str(venv)]


def test_copied_venv(ask: pathlib.Path, tmp_path: pathlib.Path) -> None:
    venv = tmp_path / "copied"
    assert (
        pythons.run(pythons.interpreter("3.11"), "-m", "venv", "--copies", "--without-pip", venv).returncode
        == 0
    )
    check(ask, venv / "bin" / "python3")


def test_moved_venv(ask: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert (
        pythons.run(pythons.interpreter("3.12"), "-m", "venv", "--without-pip", tmp_path / "here").returncode
        == 0
    )
    (tmp_path / "here").rename(tmp_path / "there")
    assert check(ask, tmp_path / "there" / "bin" / "python")["prefix"] == [str(tmp_path / "there")]


def test_link_and_relative_path(ask: pathlib.Path, tmp_path: pathlib.Path) -> None:
    link = tmp_path / "my python"
    link.symlink_to(pythons.interpreter("3.10"))
    check(ask, link)
    check(ask, "./my python", cwd=tmp_path)
    deeper = tmp_path / "sub"
    deeper.mkdir()
    check(ask, "../my python", cwd=deeper)


def test_name_on_path(ask: pathlib.Path) -> None:
    folder = pythons.interpreter("3.13").parent
    check(ask, "python3.13", env=pythons.clean_environment(PATH=f"{folder}:{os.environ['PATH']}"))


def test_pyenv_shim(ask: pathlib.Path, tmp_path: pathlib.Path) -> None:
    versions = pythons.pyenv_versions()
    shim = versions["3.12"].parents[3] / "shims" / "python3"
    assert shim.exists(), "pyenv's shims are missing: pyenv rehash"
    chosen = versions["3.12"].parents[1].name
    check(ask, shim, env=pythons.clean_environment(PYENV_VERSION=chosen))
    # a shim chooses by the folder it is called in
    (tmp_path / ".python-version").write_text(versions["3.10"].parents[1].name)
    environment = pythons.clean_environment()
    environment.pop("PYENV_VERSION", None)
    rows = check(ask, shim, cwd=tmp_path, env=environment)
    assert rows["version"][0].startswith("3.10.")


def test_search_path_and_user_site_are_honoured(ask: pathlib.Path, tmp_path: pathlib.Path) -> None:
    pythons.make_wheel(tmp_path, "torch", "2.1.0")
    shutil.unpack_archive(tmp_path / "torch-2.1.0-py3-none-any.whl", tmp_path / "more", "zip")
    environment = pythons.clean_environment(PYTHONPATH=str(tmp_path / "more"), PYTHONHOME="/nonexistent")
    python = pythons.interpreter("3.11")
    assert probe(ask, python, env=environment)["torch"] == ["2.1.0"]
    version = ".".join(probe(ask, python)["version"][0].split(".")[:2])
    user = tmp_path / "user" / "lib" / f"python{version}" / "site-packages"
    shutil.copytree(tmp_path / "more", user)
    environment = pythons.clean_environment(PYTHONUSERBASE=str(tmp_path / "user"))
    assert probe(ask, python, env=environment)["torch"] == ["2.1.0"]


def test_noise_of_customisation(ask: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nprint('AIN-PROBE-BEGIN x\\nexecutable=/evil\\nAIN-PROBE-END x')\n"
        "sys.stdout.write('no newline at the end')\nsys.stderr.write('warning!')\n"
        "import atexit; atexit.register(print, 'goodbye')\n"
    )
    rows = probe(ask, pythons.interpreter("3.9"), env=pythons.clean_environment(PYTHONPATH=str(tmp_path)))
    assert rows["version"][0].startswith("3.9.")


def test_folder_of_a_model_is_not_searched(ask: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text("raise SystemExit(1)\n")
    (tmp_path / "sysconfig.py").write_text("raise SystemExit(1)\n")
    rows = probe(ask, pythons.interpreter("3.11"), cwd=tmp_path)
    assert "numpy" not in rows


@pytest.mark.parametrize("minor", ["3.8", "3.7", "3.6", "2.7"])
def test_too_old(ask: pathlib.Path, minor: str) -> None:
    done = pythons.run(ask, pythons.BOOTSTRAP, pythons.interpreter(minor))
    assert done.returncode == 4
    assert f"{minor}." in done.stderr
    assert "(too old), and AINode runs models with CPython 3.9 or newer" in done.stderr
    assert "-i PYTHON" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            "import sysconfig\nknown = sysconfig.get_config_var\n"
            "sysconfig.get_config_var = lambda name: 1 if name == 'Py_GIL_DISABLED' else known(name)\n",
            "is cpython 3.13.0 built free-threaded, and AINode runs models with CPython 3.9 or newer "
            "with the global interpreter lock",
        ),
        (
            "import sys\nsys.implementation.name = 'pypy'\n",
            "is pypy 3.13.0, and AINode runs models with CPython 3.9 or newer",
        ),
    ],
    ids=["free-threaded", "PyPy"],
)
def test_other_builds_are_refused(ask: pathlib.Path, tmp_path: pathlib.Path, change: str, says: str) -> None:
    """As such interpreters say of themselves: this one is made to say the same, and the real probe asks it."""
    (tmp_path / "sitecustomize.py").write_text(change)
    python = tmp_path / "other python"
    real = pythons.interpreter("3.13")
    python.write_text(f"#!/bin/sh\nPYTHONPATH='{tmp_path}' exec '{real}' \"$@\"\n")
    python.chmod(0o755)
    version = real.parents[1].name
    done = pythons.run(ask, pythons.BOOTSTRAP, python)
    assert done.returncode == 4, done.stdout
    assert f"{python} {says.replace('3.13.0', version)}" in done.stderr
    assert "name another interpreter with -i PYTHON" in done.stderr
    assert done.stderr.count("\n") == 1


def test_removed_base(ask: pathlib.Path, tmp_path: pathlib.Path) -> None:
    venv = tmp_path / "venv"
    assert pythons.run(pythons.interpreter("3.11"), "-m", "venv", "--without-pip", venv).returncode == 0
    for name in ("python", "python3", "python3.11"):
        link = venv / "bin" / name
        link.unlink()
        link.symlink_to("/nonexistent/bin/python3.11")
    done = pythons.run(ask, pythons.BOOTSTRAP, venv / "bin" / "python")
    assert done.returncode == 4
    assert "the Python that this environment was made from has gone" in done.stderr
    assert f"python3 -m venv --clear {venv}" in done.stderr


def test_statically_linked_interpreter_without_library(ask: pathlib.Path) -> None:
    """Debian's python3 says that it is shared, yet its library is a package of its own: then it is executed."""
    rows = probe(ask, "/usr/bin/python3")
    hidden = [
        f"mount --bind /dev/null '{path}'"
        for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib")
        for path in pathlib.Path(folder).glob("libpython3*.so*")
        if not path.is_symlink()
    ]
    script = " && ".join([*hidden, f"exec '{ask}' '{pythons.BOOTSTRAP}' /usr/bin/python3"])
    done = pythons.run("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert "libpython=" not in done.stdout
    assert f"version={rows['version'][0]}" in done.stdout


def test_cache(ask: pathlib.Path, tmp_path: pathlib.Path) -> None:
    venv = tmp_path / "venv"
    assert pythons.run(pythons.interpreter("3.11"), "-m", "venv", "--without-pip", venv).returncode == 0
    python, cache = venv / "bin" / "python", tmp_path / "probe.cache"

    def asked() -> dict[str, str]:
        done = pythons.run(ask, pythons.BOOTSTRAP, python, cache)
        assert done.returncode == 0, done.stderr
        return dict(line.partition("=")[::2] for line in done.stdout.splitlines())

    assert asked()["cached"] == "0"
    warm = asked()
    assert warm["cached"] == "1"
    print("warm probe, microseconds:", warm["microseconds"])
    pythons.make_wheel(tmp_path, "numpy", "2.0.0")
    site = next(venv.glob("lib/python*/site-packages"))
    shutil.unpack_archive(tmp_path / "numpy-2.0.0-py3-none-any.whl", site, "zip")
    fresh = asked()
    assert (fresh["cached"], fresh["numpy"]) == ("0", "2.0.0")
    assert asked()["cached"] == "1"


def test_probing_leaves_nothing_behind(ask: pathlib.Path, tmp_path: pathlib.Path) -> None:
    venv = tmp_path / "venv"
    assert pythons.run(pythons.interpreter("3.13"), "-m", "venv", "--without-pip", venv).returncode == 0
    before = subprocess.run(["find", venv, "-printf", "%p %T@\n"], capture_output=True, check=True).stdout
    probe(ask, venv / "bin" / "python")
    after = subprocess.run(["find", venv, "-printf", "%p %T@\n"], capture_output=True, check=True).stdout
    assert before == after
