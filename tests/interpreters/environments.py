"""The interpreters that the matrix runs models with: CPython 3.9 to 3.13 of pyenv, and the distribution's python3.

    python environments.py        makes what is not there yet, and says what it has

Each but the distribution's is a venv below the cache folder, made once and made anew when its packages change. The
oldest and the newest have torch (a download of gigabytes, for the index has only wheels that bring their own CUDA), the
distribution's has python3-torch; the others have NumPy alone, of both majors.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pythons

CACHE = Path(os.environ.get("IOTDB_AINODE_CACHE", Path.home() / ".cache" / "iotdb-ainode")) / "interpreters"


@dataclass(frozen=True)
class Environment:
    """One interpreter with its packages; without any, it is used as the distribution ships it."""

    minor: str
    packages: tuple[str, ...]
    torch: bool

    @property
    def folder(self) -> Path:
        """Where its venv lies."""
        return CACHE / self.minor

    @property
    def python(self) -> Path:
        """What is named with -i."""
        return self.folder / "bin" / "python" if self.packages else pythons.interpreter(self.minor)

    def make(self) -> None:
        """Makes the venv unless it is there with these very packages; tests that run at the same time wait."""
        if not self.packages:
            return
        base = pythons.interpreter(self.minor)
        wanted = "\n".join([str(base.resolve()), *self.packages])
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / f"{self.minor}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            complete = self.folder / ".complete"
            if complete.is_file() and complete.read_text() == wanted:
                return
            shutil.rmtree(self.folder, ignore_errors=True)
            done = pythons.run(base, "-m", "venv", self.folder)
            assert done.returncode == 0, done.stdout + done.stderr
            # Here, unlike elsewhere, pip's own settings hold: they may name the index of this machine.
            words = [self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary=:all:"]
            environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
            done = pythons.run(*words, *self.packages, env=environment, timeout=1800)
            assert done.returncode == 0, done.stdout + done.stderr
            complete.write_text(wanted)


ENVIRONMENTS = [
    Environment("3.9", ("numpy==1.26.4", "torch==1.13.1"), torch=True),
    Environment("3.10", ("numpy==1.26.4",), torch=False),
    Environment("3.11", ("numpy==2.4.6",), torch=False),
    Environment("3.12", ("numpy==1.26.4",), torch=False),
    Environment("3.13", ("numpy==2.4.6", "torch==2.15.0"), torch=True),
    Environment("debian", (), torch=True),
]


def main() -> None:
    """Makes all of them."""
    for environment in ENVIRONMENTS:
        begun = time.monotonic()
        environment.make()
        print(f"{environment.minor:8} {environment.python} ({time.monotonic() - begun:.0f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
