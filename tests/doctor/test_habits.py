"""How the programs behave in a shell: help, version, usage, exit codes, umask, users without rights, and that
nothing is written outside the installation's directories and TMPDIR."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from generated import ROOT, Service
from machine import NOBODY, Machine
from node import Node, new_node
from processes import wait_until
from standins.confignode import Bindings

COMMANDS = ["start", "stop", "remove", "config", "query", "doctor", "env"]
SCRIPTS = ["start", "stop", "remove", "doctor"]
SERIES = np.arange(40, dtype=np.float64).reshape(40, 1)


def call(*words: object) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end."""
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=60)


# --- help, version, usage


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_version_of_commands(machine: Machine, command: str) -> None:
    program = machine.home / "lib" / "ainode"
    for option in ("--help", "-h"):
        shown = call(program, command, option)
        assert shown.returncode == 0 and shown.stdout.startswith("Usage:") and shown.stderr == ""
        assert f"ainode {command}" in shown.stdout.splitlines()[1]
        assert "--version" in shown.stdout
    version = call(program, command, "--version")
    assert version.returncode == 0 and re.fullmatch(r"AINode \d+\.\d+\.\d+ \(.+\)\n", version.stdout), version


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_and_version_of_scripts(machine: Machine, name: str) -> None:
    """Without the banner, which would be in the way."""
    script = machine.home / "sbin" / f"{name}-ainode.sh"
    assert call(script, "--help").stdout.startswith("Usage:")
    version = call(script, "--version")
    assert version.returncode == 0 and version.stdout.startswith("AINode ") and version.stdout.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("word", "part"), [("--no-such-option", "--no-such-option"), ("-Q", "-Q")])
def test_unknown_options_are_refused(machine: Machine, command: str, word: str, part: str) -> None:
    refused = call(machine.home / "lib" / "ainode", command, word)
    assert refused.returncode == 2
    assert part in refused.stderr and "--help" in refused.stderr and refused.stderr.count("\n") == 1
    assert refused.stdout == ""


def test_words_too_many_are_refused(machine: Machine) -> None:
    for command in ("start", "stop", "config", "doctor"):
        refused = call(machine.home / "lib" / "ainode", command, "what")
        assert refused.returncode == 2 and "'what' is not understood" in refused.stderr


def test_every_exit_code_is_documented() -> None:
    """In --help and in the manual, and no other."""
    header = (ROOT / "host" / "base" / "exit.h").read_text()
    codes = {int(code) for code in re.findall(r"AIN_EXIT_\w+ = (\d+)", header)}
    manual = (ROOT / "docs" / "OPERATIONS.md").read_text()
    table = manual.split("| exit code | meaning |")[1].split("\n\n")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == codes
    main = (ROOT / "host" / "main.c").read_text()
    listed = main.split('"Exit codes: ')[1].split(";")[0]
    assert {int(code) for code in re.findall(r"\b(\d) ", listed)} == codes


# --- a node in other people's circumstances


@pytest.fixture
def node(
    tmp_path: Path, build_dir: Path, model_python: str, bindings: Bindings, services: dict[str, Service]
) -> Iterator[Node]:
    """A node that is not started, whose programs everybody may run."""
    made = new_node(tmp_path / "node", build_dir, model_python, bindings, services)
    made.install()
    (made.home / "lib").unlink()
    shutil.copytree(build_dir / "lib", made.home / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [tmp_path, *tmp_path.parents][:4]:
        folder.chmod(folder.stat().st_mode | 0o055)
    try:
        yield made
    finally:
        made.kill()
        made.config_node.stop()


def work(node: Node) -> None:
    """Starts, answers, stops."""
    node.launch()
    wait_until(lambda: bool(node.config_node.nodes), 90, "the node is registered")
    with node.call() as caller:
        answer = caller.infer("_NaiveForecaster", SERIES, inferenceAttributes={"predict_length": "3"})
    assert answer.shape == (3, 1)
    node.stop()


def public_python() -> str:
    """An interpreter with NumPy that other users may run, too: not one in root's home."""
    done = call("/usr/bin/python3", "-c", "import numpy")
    assert done.returncode == 0, f"apt-get install python3-numpy: {done.stderr}"
    return "/usr/bin/python3"


@pytest.mark.parametrize("mask", ["077", "027", "022"])
def test_umask_is_respected(node: Node, mask: str) -> None:
    node.wrapper = ("sh", "-c", f'umask {mask}; exec "$@"', "sh")
    work(node)
    written = [path for folder in ("data", "logs") for path in (node.home / folder).rglob("*")]
    assert len(written) > 5
    for path in written:
        mode = path.stat().st_mode & 0o777
        assert mode & int(mask, 8) == 0, f"{path} has mode {mode:o}"


def test_user_without_rights(node: Node) -> None:
    """Everything belongs to root but the two directories that the node writes."""
    for folder in ("data", "logs"):
        (node.home / folder).mkdir()
        os.chown(node.home / folder, NOBODY, NOBODY)
    node.python = public_python()
    node.settings["HOME"] = "/nonexistent"
    node.wrapper = ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--no-new-privs")
    work(node)
    written = [path for folder in ("data", "logs") for path in (node.home / folder).rglob("*")]
    assert {path.stat().st_uid for path in written} == {NOBODY}


#: Calls that make, change or remove files, and what strace prints of one that worked.
WRITING = (
    "openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,"
)
WRITING += "truncate,mknod,mknodat,chmod,fchmodat,chown,fchownat,utimensat"
LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += (\d+)")


def whole_lines(trace: Path) -> Iterator[str]:
    """Calls that others interrupted are put together again."""
    begun: dict[str, str] = {}
    for line in trace.read_text(errors="replace").splitlines():
        pid = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[pid] = line.removesuffix("<unfinished ...>").rstrip()
        elif " resumed>" in line and pid in begun:
            yield begun.pop(pid) + line.split(" resumed>", 1)[1]
        else:
            yield line


def written_paths(trace: Path, start: Path) -> set[str]:
    """Every path that some process changed."""
    paths = set()
    for line in whole_lines(trace):
        match = LINE.match(line)
        if match is None:
            continue
        call_name, arguments, _ = match.groups()
        reading = call_name in ("open", "openat") and not re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", arguments)
        if not reading:
            paths |= {os.path.normpath(start / text) for text in re.findall(r'"([^"]*)"', arguments)}
    return paths


def test_nothing_is_written_elsewhere(node: Node, tmp_path: Path) -> None:
    """All processes of a node are watched, from the start to the end."""
    assert shutil.which("strace"), "apt-get install strace"
    trace, temporary = tmp_path / "trace", tmp_path / "temporary"
    temporary.mkdir()
    node.settings |= {"TMPDIR": str(temporary), "HOME": "/nonexistent"}
    node.wrapper = ("strace", "-f", "-q", "-o", str(trace), "-e", f"trace={WRITING}", "-e", "signal=none")
    node.launch()
    wait_until(lambda: bool(node.config_node.nodes), 120, "the node is registered")
    with node.call(timeout=170) as caller:
        caller.infer("_NaiveForecaster", SERIES, inferenceAttributes={"predict_length": "3"})
    (host,) = [pid for pid in traced(node.pid)]
    os.kill(host, 15)
    node.wait_ended(0, 120)
    workers = node.home / "data" / "ainode" / "system" / "workers"
    paths = written_paths(trace, workers)
    allowed = tuple(f"{folder}/" for folder in (node.home / "data", node.home / "logs", temporary))
    allowed += (f"{node.home}/data", f"{node.home}/logs", "/proc/", "/dev/")
    outside = sorted(path for path in paths if not path.startswith(allowed))
    assert any(path.endswith("system.properties") for path in paths), "nothing was seen"
    assert not outside
    assert not [path for path in paths if path.startswith("/dev/") and path not in ("/dev/null", "/dev/tty")]


def traced(strace: int) -> list[int]:
    """The program that strace started."""
    from processes import children

    return children(strace)


def test_doctor_writes_nothing(machine: Machine, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    words = ["strace", "-f", "-q", "-o", trace, "-e", f"trace={WRITING}", machine.home / "lib" / "ainode", "doctor"]
    done = call(*words, "-i", sys.executable, "--limit", "30")
    assert "checked," in done.stdout
    paths = {path for path in written_paths(trace, Path("/")) if not path.startswith("/dev/")}
    assert not paths
