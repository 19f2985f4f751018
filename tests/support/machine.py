"""A machine to break: an installation of copies, and a mount namespace in which everything may be damaged.

`machine.examine(breaking="shell commands")` runs the doctor in a mount namespace of its own, in which /usr can be an
overlay and the commands have done their damage: nothing of it is seen outside. Needs root: what is broken are real
mounts, rights and files.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PYTHON = "/usr/bin/python3"
#: Files of others, and of nobody: a user without rights.
NOBODY = 54321
OVERLAY = """
mount -t tmpfs -o mode=755 tmpfs "$SCRATCH"
mkdir "$SCRATCH/upper" "$SCRATCH/work"
mount -t overlay overlay -o "lowerdir=/usr,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" /usr
"""


@dataclass
class Report:
    """What the doctor said."""

    code: int
    json: dict[str, Any]
    text: str
    findings: list[dict[str, Any]] = field(default_factory=list)

    def of(self, check: str, verdict: str | None = None) -> list[dict[str, Any]]:
        """The findings of one check, of one verdict."""
        return [one for one in self.findings if one["check"] == check and verdict in (None, one["verdict"])]

    def named(self, check: str, verdict: str, *parts: str, mend: str | None = "") -> dict[str, Any]:
        """The finding of that check and verdict that has all these parts; mend: a part of it, None for "has none"."""
        found = [one for one in self.of(check, verdict) if all(part in one["evidence"] for part in parts)]
        assert found, f"no {verdict} of {check} with {parts}:\n{self.text}"
        if mend is None:
            assert found[0]["mend"] is None, found[0]
        else:
            assert mend in (found[0]["mend"] or ""), found[0]
        # The text says the same, wrapped.
        flat = " ".join(self.text.split())
        assert " ".join(found[0]["evidence"].split()) in flat, self.text
        word = "ERROR" if verdict == "error" else verdict
        assert f"{word} {check} " in flat, self.text
        return found[0]

    def calm(self, *checks: str) -> None:
        """Nothing is wrong with these."""
        for check in checks:
            assert self.of(check), f"{check} is missing:\n{self.text}"
            bad = [one for one in self.of(check) if one["verdict"] != "ok"]
            assert not bad, f"{bad}\n{self.text}"


@dataclass
class Machine:
    """An installation, and how to look at it on a broken machine."""

    home: Path
    scratch: Path
    build: Path
    settings: dict[str, str]

    @property
    def system(self) -> Path:
        """ain_system_dir."""
        return self.home / "data" / "ainode" / "system"

    @property
    def models(self) -> Path:
        """ain_models_dir."""
        return self.home / "data" / "ainode" / "models"

    def configure(self, **settings: str) -> None:
        """Writes the configuration."""
        self.settings.update(settings)
        lines = [f"{key}={value}" for key, value in self.settings.items()]
        (self.home / "conf" / "iotdb-ainode.properties").write_text("\n".join(lines) + "\n")

    def run(
        self, *words: str, breaking: str = "", wrapper: str = "", overlay: bool = False, net: bool = False, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs lib/ainode with these words in a namespace of its own, after the commands."""
        start = f'exec {wrapper} "$HOME_DIR/lib/ainode" "$@"'
        script = "\n".join(["set -e", OVERLAY if overlay else "", breaking, start])
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "AIN_", "LD_"))}
        # Without pyenv and the like: the distribution's interpreter is the only one.
        clean |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SCRATCH": str(self.scratch), "HOME_DIR": str(self.home)}
        unshare = ["unshare", "--mount", "--propagation", "private", *(["--net"] if net else [])]
        done = subprocess.run(
            [*unshare, "sh", "-c", script, "sh", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=170,
            cwd="/",
            env=clean | env,
        )
        assert "AddressSanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        return done

    def examine(self, *options: str, python: str | None = PYTHON, **how: Any) -> Report:
        """Both forms of the report; they must agree."""
        words = ["doctor", "--home", str(self.home), *(["-i", python] if python else []), *options]
        first = self.run(*words, "--json", **how)
        assert first.stderr == "", first.stderr
        try:
            data = json.loads(first.stdout)
        except ValueError:
            raise AssertionError(f"no JSON, code {first.returncode}:\n{first.stdout}\n{first.stderr}") from None
        second = self.run(*words, **how)
        report = Report(first.returncode, data, second.stdout, data["findings"])
        assert first.returncode == second.returncode == data["exit_code"], (first, second)
        assert second.stderr == "" and "\033" not in second.stdout
        for line in second.stdout.splitlines():
            assert len(line) <= 100 or len(line.split()[-1]) > 55, line
        return report
