"""Downloads that are cut: an index on loopback that breaks off in the middle of the large file."""

from __future__ import annotations

import http.server
import os
import pathlib
import pty
import re
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator

import pytest
import pythons

LARGE = 24 << 20
PIECE = 1 << 20


class Index(http.server.ThreadingHTTPServer):
    """Serves the wheels of a folder; the first `cuts` requests of torch's wheel end after `pieces` of it."""

    daemon_threads = True

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.cuts = 0
        self.pieces = 10
        self.served: list[tuple[str, int]] = []  # name of a wheel, first byte

    @property
    def url(self) -> str:
        """For -m."""
        return f"http://127.0.0.1:{self.server_address[1]}/simple"

    def starts(self, name: str) -> list[int]:
        """From which bytes on that package's wheel was sent."""
        return [begin for wheel, begin in self.served if wheel.startswith(name)]


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: Index
    protocol_version = "HTTP/1.1"

    def log_message(self, *words: object) -> None:
        """Silent."""

    def reply(self, code: int, size: int, **headers: str) -> None:
        """The head of an answer."""
        self.send_response(code)
        self.send_header("Content-Length", str(size))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def do_GET(self) -> None:  # noqa: N802 (the name that the base class calls)
        """A list of a package's wheels, or a wheel."""
        package = self.path.strip("/").split("/")[-1]
        if not package.endswith(".whl"):
            found = [path.name for path in self.server.folder.glob(f"{package}-*.whl")]
            page = "".join(f'<a href="/files/{name}">{name}</a>\n' for name in found).encode()
            self.reply(200 if found else 404, len(page), Content_Type="text/html")
            self.wfile.write(page)
            return
        data = (self.server.folder / package).read_bytes()
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(asked[1]) if asked else 0
        self.server.served.append((package, begin))
        kept = {"Cache_Control": "max-age=3600", "ETag": '"1"', "Accept_Ranges": "bytes"}
        if asked:
            kept["Content_Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        self.reply(206 if asked else 200, len(data) - begin, Content_Type="application/octet-stream", **kept)
        cut = package.startswith("torch") and self.server.cuts > 0
        self.server.cuts -= int(cut)
        for number, at in enumerate(range(begin, len(data), PIECE)):
            if cut and number == self.server.pieces:
                self.close_connection = True
                return
            self.wfile.write(data[at : at + PIECE])
            time.sleep(0.03 if package.startswith("torch") else 0)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A small numpy, a torch of many bytes, and the real pip of the lock."""
    folder = tmp_path_factory.mktemp("wheels")
    pythons.make_wheel(folder, "numpy", "99.1")
    pythons.make_wheel(folder, "torch", "99.2")
    with zipfile.ZipFile(folder / "torch-99.2-py3-none-any.whl", "a") as wheel:
        wheel.writestr("torch/libraries.bin", os.urandom(LARGE))
    lock = pythons.BOOTSTRAP / "requirements" / "pip.lock"
    words = [pythons.interpreter("debian"), "-m", "pip", "download", "-q", "--require-hashes", "-r", lock, "-d", folder]
    subprocess.run([str(word) for word in words], check=True, timeout=120)  # with pip's own settings
    return folder


@pytest.fixture
def index(wheels: pathlib.Path) -> Iterator[Index]:
    """The index, serving."""
    server = Index(wheels)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    """An installation without a lock for its core set, for the wheels here are none that exist."""
    requirements = tmp_path / "home" / "venv-bootstrap" / "requirements"
    requirements.mkdir(parents=True)
    (requirements.parent / "probe.py").symlink_to(pythons.BOOTSTRAP / "probe.py")
    (requirements / "core.txt").write_text("numpy\ntorch\n")
    (requirements / "pip.lock").symlink_to(pythons.BOOTSTRAP / "requirements" / "pip.lock")
    return tmp_path / "home"


def create(ainode: pathlib.Path, home: pathlib.Path, index: Index, *words: str) -> tuple[int, str]:
    """Runs `ainode env create` on a terminal. Returns the exit code and what was seen there."""
    environment = pythons.clean_environment(
        PATH="/usr/bin:/bin",
        XDG_CACHE_HOME=str(home.parent / "cache"),
        TERM="xterm",
        COLUMNS="100",
        PIP_TRUSTED_HOST="127.0.0.1",  # pip keeps what comes over https, or from a host that is trusted
    )
    ours, theirs = pty.openpty()
    line = [str(ainode), "--home", str(home), "env", "create", "-m", index.url, *words]
    with subprocess.Popen(line, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the last one closed it
                break
            if not piece:
                break
            seen += piece
        process.wait(60)
    os.close(ours)
    return process.returncode, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode(errors="replace"))


def test_goes_on_where_it_was_cut(ainode: pathlib.Path, home: pathlib.Path, index: Index) -> None:
    index.cuts = 1
    code, seen = create(ainode, home, index)
    assert code == 0, seen[-3000:]
    assert re.search(r"Successfully installed pip-\d", seen)  # first of all
    first, second = index.starts("torch")
    assert (first, second >= 9 * PIECE) == (0, True)
    assert index.starts("numpy") == [0]
    # bytes and the time that is left, while it comes
    assert re.search(r"\d+\.\d/\d+\.\d MB.*eta 0:00:0\d", seen), seen[-3000:]


def test_begins_again_without_what_came_whole(ainode: pathlib.Path, home: pathlib.Path, index: Index) -> None:
    index.cuts, index.pieces = 1000, 1  # pip gives up after six
    code, seen = create(ainode, home, index)
    assert code == 4, seen[-3000:]
    assert "Run it again when the cause is gone (what was downloaded is kept)" in seen
    assert not (home / "venv" / ".ainode-complete").exists()
    index.cuts = 0
    fetched = len(index.served)
    code, seen = create(ainode, home, index)
    assert code == 0, seen[-3000:]
    assert {name.split("-")[0] for name, _ in index.served[fetched:]} == {"torch"}  # numpy and pip are in pip's cache


def test_index_without_a_newer_pip(
    ainode: pathlib.Path, home: pathlib.Path, index: Index, wheels: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """A mirror need not have it."""
    index.folder = tmp_path / "few"
    index.folder.mkdir()
    for wheel in [*wheels.glob("numpy*"), *wheels.glob("torch*")]:
        (index.folder / wheel.name).symlink_to(wheel)
    code, seen = create(ainode, home, index)
    assert code == 0, seen[-3000:]
    assert "Going on with pip 2" in seen
    assert (home / "venv" / ".ainode-complete").exists()
