"""The program that fetches models: against a server on loopback that lies, and a stand-in of the hub."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from liar import Liar, cut, dribble, endless, plain, redirect, unused_port

PYRUNTIME = Path(__file__).resolve().parents[2] / "pyruntime"
RUN = "import sys; sys.path[0] = sys.argv[1]; from ainode import fetch; sys.exit(fetch.main(sys.argv[2:]))"
REFUSED, TOO_LARGE, FAILED = 1, 2, 3
MODEL = {"config.yaml": b"configs: {}\n", "model.pt": b"a model" * 1000}


def load_fetch() -> ModuleType:
    """The module itself; its package has the name of a helper of other tests."""
    spec = importlib.util.spec_from_file_location("ain_fetch", PYRUNTIME / "ainode" / "fetch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fetch = load_fetch()


@pytest.fixture
def liar() -> Iterator[Liar]:
    with Liar() as server:
        yield server


def command(mode: str, source: str, directory: Path, max_bytes: int, timeout_s: float, private: bool) -> list[str]:
    return [sys.executable, "-c", RUN, str(PYRUNTIME), mode, source, str(directory), str(max_bytes), str(timeout_s),
            "1" if private else "0"]  # fmt: skip


def run(
    source: str, directory: Path, max_bytes: int = 1 << 24, timeout_s: float = 20, private: bool = True,
    mode: str = "folder", **environment: str,
) -> tuple[int, str]:  # fmt: skip
    """Exit status and what was said."""
    done = subprocess.run(command(mode, source, directory, max_bytes, timeout_s, private), capture_output=True,
                          text=True, timeout=60, check=False, env={**os.environ, **environment})  # fmt: skip
    assert not done.stderr, done.stderr
    assert done.stdout.count("\n") <= 1 and "Traceback" not in done.stdout
    return done.returncode, done.stdout.strip()


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


# --- http


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder(liar: Liar, tmp_path: Path, slash: str) -> None:
    """config.yaml first, then model.pt; nothing else is asked for."""
    url = liar.serve("m", {**MODEL, "secret": b"x"})
    assert run(url + slash, tmp_path) == (0, "")
    assert files_of(tmp_path) == MODEL
    assert liar.asked == ["/m/config.yaml", "/m/model.pt"]


def test_an_exported_model(liar: Liar, tmp_path: Path) -> None:
    url = liar.serve("m", {"config.yaml": b"c", "model.pt2": b"e"})
    assert run(url, tmp_path) == (0, "")
    assert files_of(tmp_path) == {"config.yaml": b"c", "model.pt2": b"e"}


def test_a_pipeline(liar: Liar, tmp_path: Path) -> None:
    """The programs that config.json names, and those they import, and no others."""
    config = {"auto_map": {"AutoConfig": "conf.Config", "AutoModel": "../evil.Model"}, "pipeline_cls": "sub.pipe.P"}
    files = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": b"w",
        "conf.py": b"import os\nfrom .help import x\n",
        "help.py": b"this is no Python",
        "sub/pipe.py": b"from ..help import y\nfrom . import near\nfrom .... import far\n",
        "sub/near.py": b"",
        "evil.py": b"",
        "other.py": b"",
    }
    assert run(liar.serve("m", files), tmp_path) == (0, "")
    assert set(files_of(tmp_path)) == set(files) - {"evil.py", "other.py"}


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "has neither config.yaml (with model.pt) nor config.json"),
        ({"config.yaml": b"c"}, "has config.yaml, but neither model.pt nor model.pt2"),
        ({"config.json": b"{}"}, "has config.json, but no model.safetensors"),
        ({"config.json": b"{"}, "config.json is no JSON text"),
    ],
)
def test_files_that_are_missing(liar: Liar, tmp_path: Path, files: dict[str, bytes], sentence: str) -> None:
    status, said = run(liar.serve("m", files), tmp_path)
    assert status == REFUSED
    assert sentence in said


def test_redirects_are_followed(liar: Liar, tmp_path: Path) -> None:
    """Relative and absolute ones, up to five."""
    liar.serve("there", MODEL)
    liar.answers["/m/config.yaml"] = redirect("/1", 301)
    for step in range(1, 4):
        liar.answers[f"/{step}"] = redirect(f"{liar.url}/{step + 1}", 307)
    liar.answers["/4"] = redirect("there/config.yaml", 308)
    liar.answers["/m/model.pt"] = redirect("../there/model.pt")
    assert run(f"{liar.url}/m", tmp_path) == (0, "")
    assert files_of(tmp_path) == MODEL


def test_redirects_that_loop(liar: Liar, tmp_path: Path) -> None:
    liar.answers["/m/config.yaml"] = redirect("/m/config.yaml")
    status, said = run(f"{liar.url}/m", tmp_path)
    assert (status, "more than 5 redirects" in said) == (REFUSED, True)
    assert len(liar.asked) == 6


TARGETS = [
    "file:///etc/passwd",
    "ftp://127.0.0.1/x",
    "gopher:x",
    "http://",
    "//a:b@h/x",
    "http://[::1/x",
    "http://\u00e4..b/x",
    "http://h:0x10/x",
]


@pytest.mark.parametrize("target", TARGETS)
def test_redirects_to_elsewhere(liar: Liar, tmp_path: Path, target: str) -> None:
    liar.answers["/m/config.yaml"] = redirect(target)
    status, _ = run(f"{liar.url}/m", tmp_path)
    assert status == REFUSED
    assert files_of(tmp_path) == {}


def test_a_huge_body_that_says_so(liar: Liar, tmp_path: Path) -> None:
    """Refused before a byte of it is taken."""
    url = liar.serve("m", MODEL)
    liar.answers["/m/model.pt"] = cut(b"", 1 << 50)
    status, said = run(url, tmp_path, max_bytes=1 << 20)
    assert status == TOO_LARGE
    assert f"has {1 << 50} bytes, more than the" in said


def test_a_huge_body_that_does_not(liar: Liar, tmp_path: Path) -> None:
    url = liar.serve("m", MODEL)
    liar.answers["/m/model.pt"] = endless(30)
    status, said = run(url, tmp_path, max_bytes=1 << 20)
    assert (status, "bytes allowed" in said) == (TOO_LARGE, True)
    assert sum(len(data) for data in files_of(tmp_path).values()) <= 1 << 20


def test_a_huge_configuration(liar: Liar, tmp_path: Path) -> None:
    url = liar.serve("m", {**MODEL, "config.yaml": bytes((1 << 20) + 1)})
    assert run(url, tmp_path)[0] == TOO_LARGE


def test_a_slow_body(liar: Liar, tmp_path: Path) -> None:
    """The time is that of the whole, not of one read."""
    url = liar.serve("m", MODEL)
    liar.answers["/m/model.pt"] = dribble(30)
    begun = time.monotonic()
    status, said = run(url, tmp_path, timeout_s=2)
    assert (status, "within the 2 s" in said) == (FAILED, True)
    assert time.monotonic() - begun < 25


@pytest.mark.parametrize("announced", [8000, 70_000])
def test_a_wrong_length(liar: Liar, tmp_path: Path, announced: int) -> None:
    """Tried three times, then told."""
    url = liar.serve("m", MODEL)
    liar.answers["/m/model.pt"] = cut(b"half", announced)
    status, said = run(url, tmp_path)
    assert (status, f"broke off after 4 of {announced} bytes" in said or "IncompleteRead" in said) == (FAILED, True)
    assert liar.asked.count("/m/model.pt") == 3


def test_a_server_that_recovers(liar: Liar, tmp_path: Path) -> None:
    """A failed try leaves nothing behind in the next one's file."""
    url = liar.serve("m", MODEL)
    good, answers = liar.answers["/m/model.pt"], [cut(b"wrong" * 5000, 70_000), plain(b"", 503)]
    liar.answers["/m/model.pt"] = lambda handler: (answers.pop(0) if answers else good)(handler)
    assert run(url, tmp_path, max_bytes=80_000) == (0, "")
    assert files_of(tmp_path) == MODEL


def test_other_answers(liar: Liar, tmp_path: Path) -> None:
    for answer, sentence in (
        (plain(b"", 403), "answers 403 Forbidden"),
        (plain(b"", 206), "answers 206"),
        (plain(b"x", Content_Encoding="gzip"), "comes in the encoding gzip"),
        (plain(b"<html>", Content_Type="text/html; charset=utf-8"), "is a web page"),
    ):
        liar.answers["/m/config.yaml"] = answer
        status, said = run(f"{liar.url}/m", tmp_path)
        assert status == REFUSED
        assert sentence in said


def test_nobody_there(tmp_path: Path) -> None:
    status, said = run(f"http://127.0.0.1:{unused_port()}/m", tmp_path)
    assert (status, "does not answer" in said) == (FAILED, True)
    status, said = run("http://name.invalid/m", tmp_path)
    assert (status, "name.invalid was not found" in said) == (FAILED, True)


def test_https_to_a_server_without_a_certificate(liar: Liar, tmp_path: Path) -> None:
    status, said = run(f"https://127.0.0.1:{liar.port}/m", tmp_path)
    assert (status, "SSL" in said) == (FAILED, True)


@pytest.mark.parametrize(
    "uri",
    ["http://", "http://user:secret@h/m", "http://h:x/m", "http://h:99999/m", "http://h/m?a=b", "http://h/m#a",
     "http://[::1/m", "repo://", "repo://a/b/c", "repo://../b", "repo://a/b@-x y"],
)  # fmt: skip
def test_uris_that_name_nothing(tmp_path: Path, uri: str) -> None:
    status, said = run(uri, tmp_path)
    assert status == REFUSED
    assert "secret" not in said


# --- addresses


def test_private_addresses_are_refused(liar: Liar, tmp_path: Path) -> None:
    """By number, by name and in other spellings; the server is not even connected to."""
    liar.serve("m", MODEL)
    for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0",
                 "10.1.2.3", "192.168.0.1", "169.254.169.254", "[fe80::1]", "[fc00::1]", "100.64.0.1"):  # fmt: skip
        status, said = run(f"http://{host}:{liar.port}/m", tmp_path, private=False)
        assert status in (REFUSED, FAILED), host
        assert "no public one; ain_model_fetch_private_addresses=1" in said or "was not found" in said, said
    assert liar.asked == []


def test_which_addresses_are_public() -> None:
    for text in ("8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8"):
        assert fetch.is_public(text), text
    for text in ("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "0.0.0.0",
                 "224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1%eth0", "fc00::1", "ff02::1",
                 "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1", "2001:0:4136:e378::1"):  # fmt: skip
        assert not fetch.is_public(text), text


def test_a_name_that_changes_its_address(
    liar: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """What was checked is what is connected to: the name is asked once a connection."""
    liar.serve("m", MODEL)
    asked: list[str] = []
    public, dialled = ("93.184.216.34", liar.port), []

    def resolve(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        address = public if len(asked) == 1 else ("127.0.0.1", port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        dialled.append(address)
        raise OSError("unreachable")

    monkeypatch.setattr(fetch.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(fetch.socket.socket, "connect", connect)
    budget = fetch.Budget(1000, 10)
    with pytest.raises(fetch.FetchError, match="no public one"):  # the second try meets the other answer
        fetch.download("http://rebind.example/m", str(tmp_path / "m"), budget, 1000, False)
    assert dialled == [public]
    assert asked == ["rebind.example"] * 2
    assert liar.asked == []


def test_a_redirect_to_a_private_address(liar: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first server may be public, the second is checked as well."""
    liar.answers["/m/config.yaml"] = redirect(f"http://127.0.0.2:{liar.port}/secret")
    liar.answers["/secret"] = plain(b"secret")
    monkeypatch.setattr(fetch, "is_public", lambda text: text == "127.0.0.1")
    with pytest.raises(fetch.FetchError, match=r"127.0.0.2 is at the address 127.0.0.2, which is no public one"):
        fetch.download(f"{liar.url}/m/config.yaml", str(tmp_path / "m"), fetch.Budget(1000, 10), 1000, False)
    assert "/secret" not in liar.asked


# --- the process


def test_it_ends_with_its_parent(liar: Liar, tmp_path: Path) -> None:
    """A node that was killed leaves no downloads behind."""
    url = liar.serve("m", MODEL)
    liar.answers["/m/model.pt"] = dribble(60)
    line = command("folder", url, tmp_path, 1 << 24, 60, True)
    starter = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", starter, *line], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    while "/m/model.pt" not in liar.asked:
        time.sleep(0.02)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and not is_zombie(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# --- the hub


class Hub:
    """The few calls of the hub's protocol that fetching needs."""

    def __init__(self, liar: Liar) -> None:
        self.liar = liar
        self.environment = {"HF_ENDPOINT": liar.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "5"}

    def serve(self, name: str, files: dict[str, bytes], sha: str = "a" * 40, revision: str = "main") -> None:
        """A repository with one revision."""
        entries = [{"rfilename": file, "size": len(body)} for file, body in files.items()]
        info = json.dumps({"id": name, "modelId": name, "sha": sha, "private": False, "tags": [], "downloads": 0,
                           "likes": 0, "siblings": entries}).encode()  # fmt: skip
        for path in (f"/api/models/{name}", f"/api/models/{name}/revision/{revision}"):
            for query in ("", "?blobs=true", "?blobs=True"):
                self.liar.answers[path + query] = plain(info, Content_Type="application/json")
        for file, body in files.items():
            tag = f'"{hashlib.sha256(body).hexdigest()}"'
            self.liar.answers[f"/{name}/resolve/{sha}/{file}"] = plain(body, X_Repo_Commit=sha, ETag=tag)


@pytest.fixture
def hub(liar: Liar, tmp_path: Path) -> Hub:
    stand_in = Hub(liar)
    stand_in.environment["HF_HOME"] = str(tmp_path / "hf")
    return stand_in


WEIGHTS = {"config.json": b'{"model_type": "timer"}', "model.safetensors": b"weights" * 999}


def test_a_repository(hub: Hub, tmp_path: Path) -> None:
    """What a model needs of it, of the revision that was asked for."""
    into = tmp_path / "into"
    into.mkdir()
    hub.serve("own/m", {**WEIGHTS, "README.md": b"x", "code.py": b"y", "pytorch_model.bin": b"z"}, revision="v1")
    assert run("repo://own/m@v1", into, **hub.environment) == (0, "")
    assert files_of(into) == {**WEIGHTS, "code.py": b"y"}


def test_a_repository_of_a_torchscript_model(hub: Hub, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    hub.serve("own/m", {**MODEL, "config.json": b"{}"})
    assert run("repo://own/m", into, **hub.environment) == (0, "")
    assert files_of(into) == MODEL


def test_repositories_that_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.serve("own/large", WEIGHTS)
    status, said = run("repo://own/large", tmp_path, max_bytes=1000, **hub.environment)
    assert (status, "larger than the 1000 bytes" in said) == (TOO_LARGE, True)
    hub.serve("own/empty", {"README.md": b""})
    status, said = run("repo://own/empty", tmp_path, **hub.environment)
    assert (status, "has no config.yaml (with model.pt) or config.json" in said) == (REFUSED, True)
    status, said = run("repo://own/nothing", tmp_path, **hub.environment)
    assert (status, "the hub does not give own/nothing" in said) == (FAILED, True)


def test_weights_take_their_place_whole(hub: Hub, tmp_path: Path) -> None:
    """What is there already stays; nothing else appears."""
    hub.serve("thuml/timer", WEIGHTS)
    place = tmp_path / "weights" / "timer_xl"
    assert run("thuml/timer", place, mode="weights", **hub.environment) == (0, "")
    assert files_of(tmp_path / "weights") == {f"timer_xl/{name}": data for name, data in WEIGHTS.items()}
    (place / "config.json").write_bytes(b"own")
    (place / "model.safetensors").unlink()
    assert run("thuml/timer", place, mode="weights", **hub.environment) == (0, "")
    assert files_of(place) == {**WEIGHTS, "config.json": b"own"}


def test_weights_that_fail_leave_nothing(hub: Hub, tmp_path: Path) -> None:
    hub.serve("thuml/timer", WEIGHTS)
    hub.liar.answers[f"/thuml/timer/resolve/{'a' * 40}/config.json"] = plain(b"", 403)
    place = tmp_path / "weights" / "timer_xl"
    status, said = run("thuml/timer", place, mode="weights", **hub.environment)
    assert (status, "the hub does not give thuml/timer" in said) == (FAILED, True)
    assert files_of(tmp_path / "weights") == {}
    assert list((tmp_path / "weights").iterdir()) == []


def test_without_the_library(tmp_path: Path) -> None:
    """The sentence says how to get it."""
    (tmp_path / "huggingface_hub.py").write_text("raise ImportError('not here')")
    status, said = run("repo://own/m", tmp_path, PYTHONPATH=str(tmp_path))
    assert status == FAILED
    assert "requirements/hub.txt" in said
