"""A web server on loopback whose answers are whatever a test wants, also lies."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

#: Answers one request, by writing to the handler.
Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


def plain(body: bytes, status: int = 200, **headers: str) -> Answer:
    """An honest answer; headers by name with _ for -."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        sent = {"Content-Length": str(len(body)), **{name.replace("_", "-"): text for name, text in headers.items()}}
        for name, text in sent.items():
            handler.send_header(name, text)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def redirect(location: str, status: int = 302) -> Answer:
    """To somewhere else."""
    return plain(b"", status, Location=location)


def endless(seconds: float) -> Answer:
    """A body without an announced length that goes on for so long, as fast as it is read."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            handler.wfile.write(bytes(1 << 16))

    return answer


def dribble(seconds: float) -> Answer:
    """A byte now and then."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.1)

    return answer


def cut(body: bytes, announced: int) -> Answer:
    """A body that has not the length it should."""
    return plain(body, Content_Length=str(announced))


class _Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up on liars."""


class Liar:
    """The server; answers may be changed while it runs."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        liar = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802 - the library's name
                """Looks the path up."""
                liar.asked.append(self.path)
                liar.answers.get(self.path, plain(b"not here", 404))(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Says nothing."""

        self.server = _Quiet(("127.0.0.1", 0), Handler)
        self.port: int = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def __enter__(self) -> Liar:
        """Begins to answer."""
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def serve(self, folder: str, files: dict[str, bytes]) -> str:
        """Honest files below a folder; returns its URL."""
        for name, body in files.items():
            self.answers[f"/{folder}/{name}"] = plain(body)
        return f"{self.url}/{folder}"


def unused_port() -> int:
    """A port that refuses connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
