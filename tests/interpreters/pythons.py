"""What the interpreter tests share: the built programs, the interpreters of this machine, small wheels."""

from __future__ import annotations

import os
import pathlib
import subprocess
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BOOTSTRAP = ROOT / "venv-bootstrap"


def built(*names: str) -> pathlib.Path:
    """Returns the first of these files that is in the build folder (AIN_BUILD, or build/release)."""
    build = pathlib.Path(os.environ.get("AIN_BUILD", ROOT / "build" / "release"))
    for name in names:
        if (build / name).is_file():
            return build / name
    pytest.fail(f"{' or '.join(names)} is not in {build}: cmake --build --preset release")


def pyenv_versions() -> dict[str, pathlib.Path]:
    """Returns {"3.11": path of the newest 3.11 that pyenv has}."""
    root = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    found: dict[str, tuple[tuple[int, ...], pathlib.Path]] = {}
    for folder in root.glob("versions/*"):
        numbers = folder.name.split(".")
        python = folder / "bin" / "python"
        if len(numbers) == 3 and all(number.isdigit() for number in numbers) and python.exists():
            key = ".".join(numbers[:2])
            found[key] = max(found.get(key, ((), python)), (tuple(map(int, numbers)), python))
    return {key: python for key, (_, python) in found.items()}


def interpreter(minor: str) -> pathlib.Path:
    """Returns an interpreter of that minor version; the test is red without it."""
    if minor == "debian":
        path = pathlib.Path("/usr/bin/python3")
        assert path.exists(), "Debian's python3 is missing: apt-get install python3 python3-venv"
        return path
    versions = pyenv_versions()
    assert minor in versions, f"CPython {minor} is missing: pyenv install {minor}"
    return versions[minor]


def make_wheel(
    folder: pathlib.Path, name: str, version: str, text: str = "raise SystemExit('imported by a probe')\n",
    script: bool = False,
) -> None:  # fmt: skip
    """Writes a wheel of one module; unless its text is given, it cannot be imported without being noticed.

    script: with a program NAME-version that prints the version and where it is installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        files[f"{name}/show.py"] = f"import sys\n\n\ndef main():\n    print({version!r}, sys.prefix)\n"
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name}-version = {name}.show:main\n"
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


def clean_environment(**more: str) -> dict[str, str]:
    """Returns our environment without what steers Python or pip from outside."""
    keep = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "PIP_", "ain_", "AIN_"))
    }
    return {**keep, **more}


def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end and returns what it printed."""
    settings: dict[str, object] = {"env": clean_environment(), "timeout": 120, **options}
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, **settings
    )
