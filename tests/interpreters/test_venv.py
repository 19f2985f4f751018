"""Environments made for real, without a network: the wheels are made here and hold almost nothing."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import time

import pytest
import pythons


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    """An installation as far as `ainode env` needs one; its path has a space."""
    folder = tmp_path / "ai node"
    folder.mkdir()
    (folder / "venv-bootstrap").symlink_to(pythons.BOOTSTRAP)
    return folder


def env(
    ainode: pathlib.Path, home: pathlib.Path, *words: object, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs `ainode env`."""
    return pythons.run(ainode, "--home", home, "env", *words, env=pythons.clean_environment(**variables))


def marks(home: pathlib.Path) -> list[str]:
    """Returns AINode's marks in the venv."""
    return sorted(path.name for path in (home / "venv").glob(".ainode-*"))


def test_create_offline_in_a_machine_without_network(
    ainode: pathlib.Path, home: pathlib.Path, wheelhouse: pathlib.Path
) -> None:
    (home / "wheelhouse").symlink_to(wheelhouse)
    words = ["unshare", "--user", "--map-root-user", "--net", ainode, "--home", home, "env", "create"]
    done = pythons.run(*words, env=pythons.clean_environment(ain_install_offline="1"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert marks(home) == [".ainode-complete"]
    assert f"Creating a virtual environment in {home}/venv" in done.stdout
    assert "Successfully installed numpy-99.1 torch-99.2" in done.stdout  # pip's own lines reach the operator
    shown = env(ainode, home, "show")
    assert "made by AINode" in shown.stdout
    assert "99.2" in shown.stdout
    assert env(ainode, home).returncode == 0  # check is the default
    again = env(ainode, home, "create")
    assert again.returncode == 0
    assert "Creating" not in again.stdout and "Successfully installed" not in again.stdout
    # made anew on request only
    (home / "venv" / "left-over").touch()
    anew = env(ainode, home, "create", "-r", "--wheelhouse", wheelhouse)
    assert anew.returncode == 0, anew.stdout + anew.stderr
    assert not (home / "venv" / "left-over").exists()
    removed = env(ainode, home, "remove")
    assert removed.returncode == 0, removed.stderr
    assert not (home / "venv").exists()


def test_half_made_is_made_again(ainode: pathlib.Path, home: pathlib.Path, wheelhouse: pathlib.Path) -> None:
    """Killed in the middle, refused by pip, completed: in that order on one venv."""
    words = [str(ainode), "--home", str(home), "env", "create", "--wheelhouse", str(wheelhouse)]
    with subprocess.Popen(
        words, env=pythons.clean_environment(), stdout=subprocess.DEVNULL, start_new_session=True
    ) as begun:
        deadline = time.monotonic() + 90
        while not (home / "venv" / "bin").exists():
            assert time.monotonic() < deadline and begun.poll() is None
            time.sleep(0.02)
        os.killpg(begun.pid, signal.SIGKILL)
    assert marks(home) == [".ainode-incomplete"]
    (home / "venv" / "left-over").touch()
    assert "not finished" in env(ainode, home, "check").stderr
    assert env(ainode, home, "create", "-n").returncode == 4
    empty = home / "empty"
    empty.mkdir()
    refused = env(ainode, home, "create", "--wheelhouse", empty)
    assert refused.returncode == 4
    assert f"{empty} must hold wheels of everything in" in refused.stderr
    assert marks(home) == [".ainode-incomplete"]
    assert not (home / "venv" / "left-over").exists()
    done = env(ainode, home, "create", "--wheelhouse", wheelhouse)
    assert done.returncode == 0, done.stdout + done.stderr
    assert marks(home) == [".ainode-complete"]


def test_operators_venv_is_completed_and_kept(
    ainode: pathlib.Path, home: pathlib.Path, wheelhouse: pathlib.Path
) -> None:
    assert pythons.run(pythons.interpreter("3.10"), "-m", "venv", home / "venv").returncode == 0
    (home / "venv" / "mine").write_text("keep")
    lacking = env(ainode, home, "check")
    assert lacking.returncode == 4
    assert "lacks numpy, without which no model can run, and torch" in lacking.stderr
    done = env(ainode, home, "create", "--wheelhouse", wheelhouse)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Creating" not in done.stdout
    assert "3.10." in done.stdout
    assert marks(home) == []
    forced = env(ainode, home, "create", "-r", "--wheelhouse", wheelhouse)
    assert forced.returncode == 0, forced.stdout + forced.stderr
    assert "Successfully installed" in forced.stdout
    kept = env(ainode, home, "remove")
    assert kept.returncode == 3
    assert "was not made by AINode" in kept.stderr
    assert (home / "venv" / "mine").read_text() == "keep"
    assert env(ainode, home, "check").returncode == 0


def test_concurrent_starts_wait(ainode: pathlib.Path, home: pathlib.Path, wheelhouse: pathlib.Path) -> None:
    words = [str(ainode), "--home", str(home), "env", "create", "--wheelhouse", str(wheelhouse)]
    started = [
        subprocess.Popen(
            words,
            env=pythons.clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [one.communicate(timeout=120)[0] for one in started]
    assert [one.returncode for one in started] == [0, 0, 0], outputs
    assert sum("Creating" in output for output in outputs) == 1
    assert sum("waiting for it to finish" in output for output in outputs) == 2
    assert marks(home) == [".ainode-complete"]


def test_named_interpreter_is_changed_by_install_only(
    ainode: pathlib.Path, home: pathlib.Path, wheelhouse: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    mine = tmp_path / "mine"
    python = mine / "bin" / "python"
    assert pythons.run(pythons.interpreter("3.13"), "-m", "venv", mine).returncode == 0

    def tree() -> str:
        return pythons.run("find", mine, "-printf", "%p %T@ %s\n").stdout

    before = tree()
    checked = env(ainode, home, "check", "-i", python)
    assert checked.returncode == 4
    assert f"env install -i {python}" in checked.stderr
    created = env(ainode, home, "create", "-i", python)
    assert created.returncode == 4
    assert "no venv is made" in created.stderr
    assert tree() == before
    assert not (home / "venv").exists()
    done = env(ainode, home, "install", "-i", python, "--wheelhouse", wheelhouse)
    assert done.returncode == 0, done.stdout + done.stderr
    assert env(ainode, home, "check", "-i", python).returncode == 0
    # the settings file names it as well, and other requirements may be asked for
    (home / "conf").mkdir()
    (home / "conf" / "ainode-env.sh").write_text(f"ain_interpreter_dir={mine}\n")
    assert env(ainode, home, "check").returncode == 0
    requirements = tmp_path / "more.txt"
    requirements.write_text("ain-more-things>=1\n")
    lacking = env(ainode, home, "check", "--requirements", requirements)
    assert lacking.returncode == 4
    assert "lacks ain-more-things" in lacking.stderr
    pythons.make_wheel(tmp_path / "wheels", "ain_more_things", "1.5")
    done = env(ainode, home, "install", "--requirements", requirements, "--wheelhouse", tmp_path / "wheels")
    assert done.returncode == 0, done.stdout + done.stderr
    assert env(ainode, home, "check", "--requirements", requirements).returncode == 0


def test_interpreter_of_the_distribution_is_left_alone(
    ainode: pathlib.Path, home: pathlib.Path, wheelhouse: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    requirements = tmp_path / "r.txt"
    requirements.write_text("ain-never-installed\n")
    words = ["install", "-i", "/usr/bin/python3", "--requirements", requirements, "--wheelhouse", wheelhouse]
    done = env(ainode, home, *words)
    assert done.returncode == 4
    assert "belongs to the distribution, which forbids pip" in done.stderr
    assert "apt-get install -y python3-numpy python3-torch" in done.stderr


def test_interpreter_without_ensurepip_is_named(
    ainode: pathlib.Path, home: pathlib.Path, wheelhouse: pathlib.Path
) -> None:
    """As a fresh Debian is: python3 is there, python3-venv is not."""
    bin_folder = home / "bin"
    bin_folder.mkdir()
    hidden = [
        f"mount -t tmpfs none '{path}'"
        for folder in ("/usr/lib", "/usr/local/lib")
        for path in pathlib.Path(folder).glob("python3*/ensurepip")
    ]
    script = " && ".join([*hidden, f"exec '{ainode}' --home '{home}' env create --wheelhouse '{wheelhouse}'"])
    environment = pythons.clean_environment(PATH=f"{bin_folder}")
    words = [
        "/usr/bin/unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "/bin/sh",
        "-c",
        f"PATH=/usr/bin:/bin; {script}",
    ]
    done = pythons.run(*words, env=environment)
    assert done.returncode == 4
    assert "lacks the ensurepip module; to mend it: apt-get install -y python3.11-venv" in done.stderr
    assert not (home / "venv").exists()
