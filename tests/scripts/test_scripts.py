"""The scripts of sbin/ against a recorded stand-in for lib/ainode, and with the program's command line itself."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECORDER = '#!/bin/sh\nprintf \'%s\\n\' "$$" "$PWD" "$@" >"${0%/*}/../recorded"\nexit 7\n'
SHELLS = ["sh", "bash", "dash"]


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    """An unpacked package whose program writes down how it was called."""
    folder = tmp_path / "apache iotdb ainode"
    (folder / "lib").mkdir(parents=True)
    shutil.copytree(ROOT / "sbin", folder / "sbin")
    program = folder / "lib" / "ainode"
    program.write_text(RECORDER)
    program.chmod(0o755)
    return folder


def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end."""
    command = [str(word) for word in words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)


def recorded(home: pathlib.Path) -> list[str]:
    """Returns pid, folder and arguments that lib/ainode was called with."""
    return (home / "recorded").read_text().splitlines()


def gone(pid: int) -> bool:
    """Whether the process has ended; whoever inherited it may not have reaped it yet."""
    try:
        return ") Z " in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", ["start", "stop", "remove"])
def test_arguments_arrive_as_written(home: pathlib.Path, shell: str, name: str) -> None:
    words = ["-i", "/a b/python3", "-m", "https://x/simple", "", "*", "$HOME", "a'b\"c"]
    done = run(shell, home / "sbin" / f"{name}-ainode.sh", *words, cwd="/")
    assert done.returncode == 7, done.stderr  # the program's own code
    assert done.stderr == ""
    assert recorded(home)[1:] == [
        "/",
        name,
        *words,
    ]  # the caller's folder: relative paths stay what they were


def test_banner(home: pathlib.Path) -> None:
    done = run(home / "sbin" / "start-ainode.sh")
    rule = "---------------------"
    wanted = [
        rule,
        "Starting IoTDB AINode",
        rule,
        f"Installation: {home}",
        f"Program:      {home}/lib/ainode",
    ]
    assert done.stdout.splitlines() == wanted


def test_process_is_replaced(home: pathlib.Path) -> None:
    with subprocess.Popen([home / "sbin" / "start-ainode.sh"], stdout=subprocess.DEVNULL) as script:
        script.wait(timeout=60)
    assert recorded(home)[0] == str(script.pid)


def test_links_are_followed(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    links = tmp_path / "some bin"
    links.mkdir()
    (links / "first").symlink_to(home / "sbin" / "start-ainode.sh")
    (links / "second").symlink_to("first")
    (tmp_path / "whole").symlink_to(home)
    assert run(links / "second", "-d").returncode == 7
    assert recorded(home)[2:] == ["start", "-d"]
    (home / "recorded").unlink()
    assert run("sh", "second", cwd=links).returncode == 7  # without any slash
    assert recorded(home)[2:] == ["start"]
    assert run(tmp_path / "whole" / "sbin" / "stop-ainode.sh").returncode == 7
    assert run("bash", "sbin/start-ainode.sh", cwd=home).returncode == 7  # as the manual has it
    assert run("sh", "start-ainode.sh", cwd=home / "sbin").returncode == 7


def test_cdpath_does_not_mislead(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "sbin").mkdir()
    done = run("bash", "sbin/start-ainode.sh", cwd=home, env={**os.environ, "CDPATH": str(tmp_path)})
    assert done.returncode == 7, done.stderr


@pytest.mark.parametrize("name", ["start", "stop", "remove"])
def test_missing_program_is_named(home: pathlib.Path, name: str) -> None:
    (home / "lib" / "ainode").unlink()
    done = run(home / "sbin" / f"{name}-ainode.sh")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{home}/lib/ainode is missing or not executable: unpack")
    assert done.stderr.count("\n") == 1


def test_other_systems_get_one_sentence(home: pathlib.Path) -> None:
    common = home / "sbin" / "ainode-common.sh"
    kernel = "/proc/sys/kernel/ostype"
    assert kernel in common.read_text()
    common.write_text(common.read_text().replace(kernel, "/nonexistent"))
    done = run(home / "sbin" / "start-ainode.sh")
    assert done.returncode == 1
    assert done.stderr.startswith("AINode runs on Linux 5.10 or newer; this is Linux: run it on")
    assert done.stderr.count("\n") == 1
    assert not (home / "recorded").exists()


def test_scripts_cost_little(home: pathlib.Path) -> None:
    (home / "lib" / "ainode").unlink()
    (home / "lib" / "ainode").symlink_to("/bin/true")
    script = home / "sbin" / "start-ainode.sh"
    times = []
    for _ in range(20):
        begin = time.perf_counter()
        subprocess.run([script], stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - begin)
    print(f"start-ainode.sh: best {min(times) * 1e3:.1f} ms, median {sorted(times)[10] * 1e3:.1f} ms")
    # Whatever the time was: the shell does it all by itself, for no program can be found.
    alone = subprocess.run([script], capture_output=True, text=True, check=True, env={"PATH": "/nonexistent"})
    assert alone.stderr == ""


def test_shellcheck() -> None:
    assert shutil.which("shellcheck"), "shellcheck is missing: apt-get install shellcheck"
    scripts = [*ROOT.glob("sbin/*.sh"), ROOT / "conf" / "ainode-env.sh"]
    # SC2034: the settings are read by the program, not by a shell
    done = run("shellcheck", "-x", "-e", "SC2034", *scripts, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_batch_files() -> None:
    """They cannot run here: their line ends, their names and what they call are checked."""
    for name in ("start", "stop", "remove"):
        first = (ROOT / "sbin" / f"{name}-ainode.bat").read_bytes()
        second = (ROOT / "sbin" / "windows" / f"{name}-ainode.bat").read_bytes()
        assert f'call "%~dp0ainode-wsl.bat" {name}-ainode.sh %*'.encode() in first
        assert f'call "%~dp0..\\{name}-ainode.bat" %*'.encode() in second
    files = [*ROOT.glob("sbin/*.bat"), *ROOT.glob("sbin/windows/*.bat"), *ROOT.glob("conf/windows/*.bat")]
    assert len(files) == 8
    for file in files:
        text = file.read_bytes()
        assert text.count(b"\n") == text.count(b"\r\n"), file
    assert b"wsl --install" in (ROOT / "sbin" / "ainode-wsl.bat").read_bytes()


def test_commands_speak_plainly(tmp_path: pathlib.Path) -> None:
    """A warning of a command is a sentence for the operator, without the frame of a library's log."""
    properties = tmp_path / "conf" / "iotdb-ainode.properties"
    properties.parent.mkdir()
    properties.write_text("ain_infernce_rpc_port=1\nno.such.thing=1\n")
    build = pathlib.Path(os.environ.get("AIN_BUILD", ROOT / "build" / "release"))
    program = build / "lib" / "ainode"
    done = run(program, "--home", tmp_path, "stop")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f'{properties}:1: the key "ain_infernce_rpc_port" is unknown and ignored; '
        "the nearest known key is ain_inference_rpc_port",
        f'{properties}:2: the key "no.such.thing" is unknown and ignored; '
        "lib/ainode config prints those that are known",
        f"No AINode to stop: none runs on {tmp_path}/data/ainode/system.",
    ]


def test_whole_way(tmp_path: pathlib.Path) -> None:
    """Start in the background, start again, stop, stop again: by script, with stand-ins behind the command line."""
    build = pathlib.Path(os.environ.get("AIN_BUILD", ROOT / "build" / "release"))
    program = build / "tests" / "unit" / "app" / "ainode"
    assert program.is_file(), f"{program} is missing: cmake --build --preset release"
    home = tmp_path / "ai node"
    (home / "lib").mkdir(parents=True)
    shutil.copytree(ROOT / "sbin", home / "sbin")
    shutil.copy(program, home / "lib" / "ainode")
    start, stop = home / "sbin" / "start-ainode.sh", home / "sbin" / "stop-ainode.sh"
    done = run(start, "-d", "-D", "outcome=ready")
    try:
        assert done.returncode == 0, done.stderr
        pid = int(done.stdout.split("as process ")[1].split(".")[0])
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_text()
        assert "ainode" in command
        assert os.getpgid(pid) == pid
        again = run(start)
        assert again.returncode == 5
        assert f"as process {pid}" in again.stderr
    finally:
        stopped = run(stop)
    assert stopped.returncode == 0, stopped.stderr
    assert f"(process {pid}) has stopped" in stopped.stdout
    assert gone(pid)
    none_left = run(stop)
    assert none_left.returncode == 1
    assert "No AINode to stop" in none_left.stderr
    assert "Usage:" in run(start, "--help").stdout.splitlines()[0]
