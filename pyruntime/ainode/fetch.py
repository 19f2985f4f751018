"""Fetches the files of a model, in a process of its own that ends with the work.

    python -c '...' folder URI DIRECTORY MAX_BYTES TIMEOUT_S PRIVATE        http://, https:// or repo://, into DIRECTORY
    python -c '...' weights REPOSITORY DIRECTORY MAX_BYTES TIMEOUT_S PRIVATE   what of two files DIRECTORY lacks

Exit status 0, or one sentence on stdout and REFUSED (the source is not what it should be), TOO_LARGE or FAILED.
http and https: only the addresses that were checked are connected to, no proxy is used, every answer must have the
length it announces. repo: huggingface_hub with its own environment variables (HF_ENDPOINT, HF_TOKEN, proxies).
"""

import ast
import http.client
import ipaddress
import json
import os
import re
import shutil
import socket
import ssl
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterable
from typing import Any, Optional

REFUSED, TOO_LARGE, FAILED = 1, 2, 3

_CONFIG_MAX = 1 << 20  # bytes of config.yaml, config.json and of a program
_PROGRAMS_MAX = 100
_REDIRECTS_MAX = 5
_TRIES = 3
_IDLE_S = 20  # of one read or write
_CHUNK = 1 << 18
_WATCH_S = 0.25
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PORTS = {"http": 80, "https": 443}
_MODULE = re.compile(r"[A-Za-z_]\w{0,99}(\.[A-Za-z_]\w{0,99}){0,7}", re.ASCII)
_REPOSITORY = re.compile(r"[\w-][\w.-]{0,95}(/[\w-][\w.-]{0,95})?", re.ASCII)
_REVISION = re.compile(r"[\w-][\w./-]{0,199}", re.ASCII)
_WEIGHTS = ("model.safetensors", "config.json")  # in the order in which they take their places
_HUB_MISSING = (
    "repo:// needs the Python package huggingface_hub, which is not installed: run `lib/ainode env install "
    "--requirements lib/venv-bootstrap/requirements/hub.txt` and ask again"
)


class FetchError(Exception):
    """What is told, and the exit status."""

    def __init__(self, text: str, status: int = REFUSED) -> None:
        super().__init__(text)
        self.status = status


class _Passing(Exception):
    """A fault that another try may not meet."""


class Budget:
    """Bytes that may still be written, and the time they may take."""

    def __init__(self, max_bytes: int, timeout_s: float) -> None:
        self.max_bytes = max_bytes
        self.left = max_bytes
        self.timeout_s = timeout_s
        self.deadline = time.monotonic() + timeout_s

    def spend(self, count: int, what: str) -> None:
        """Takes bytes away."""
        self.left -= count
        if self.left < 0:
            raise FetchError(
                f"{what} is larger than the {self.max_bytes} bytes that ain_model_fetch_max_bytes allows", TOO_LARGE
            )

    def late(self) -> str:
        """The sentence for the end of the time."""
        return f"it was not fetched within the {self.timeout_s:g} s that ain_model_fetch_timeout_s allows"


# --- http and https


def is_public(text: str) -> bool:
    """Whether an address is one of the internet: not private, loopback, link-local, reserved or multicast."""
    address: Any = ipaddress.ip_address(text.partition("%")[0])
    if address.version == 6:
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.ip_address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address.teredo is not None:
            return False
    return bool(address.is_global and not address.is_multicast)


def _dial(host: str, port: int, private: bool) -> socket.socket:
    """Connects to an address of the host that may be connected to. Resolved once: no other answer can slip in."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _Passing(f"the name {host} was not found ({error})") from None
    allowed = [entry for entry in found if private or is_public(str(entry[4][0]))]
    if not allowed:
        raise FetchError(
            f"{host} is at the address {found[0][4][0]}, which is no public one; ain_model_fetch_private_addresses=1 "
            "allows such addresses"
        )
    failure: Optional[OSError] = None
    for family, kind, protocol, _, address in allowed:
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(_IDLE_S)
        try:
            connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise _Passing(f"{host} port {port} does not answer ({failure})")


class _Connection(http.client.HTTPConnection):
    """One connection; the certificate must be the host's."""

    def __init__(self, scheme: str, host: str, port: int, private: bool) -> None:
        self.default_port = _PORTS[scheme]
        super().__init__(host, port, timeout=_IDLE_S)
        self._private = private
        self._tls = ssl.create_default_context() if scheme == "https" else None

    def connect(self) -> None:
        """See http.client."""
        self.sock = _dial(self.host, self.port, self._private)
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)


def _split(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path with query."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchError(f"{url} is no URL ({error})") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise FetchError(f"{url} is no http:// or https:// URL with a host")
    if parts.username is not None or parts.password is not None:
        raise FetchError("the URL holds a user name or password; these would be stored and logged: leave them out")
    path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    if parts.query:
        path += "?" + urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path


def _request(url: str, private: bool) -> tuple[_Connection, http.client.HTTPResponse]:
    scheme, host, port, path = _split(url)
    connection = _Connection(scheme, host, port, private)
    try:
        headers = {"Accept-Encoding": "identity", "User-Agent": "ainode", "Connection": "close"}
        connection.request("GET", path, headers=headers)
        return connection, connection.getresponse()
    except ssl.SSLCertVerificationError as error:
        connection.close()
        raise FetchError(f"the certificate of {host} is not accepted: {error.verify_message}") from None
    except UnicodeError as error:
        raise FetchError(f"{url} names a host that cannot be ({error})") from None
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise _Passing(f"{url}: {type(error).__name__}: {error}") from None


def _follow(url: str, private: bool) -> tuple[_Connection, http.client.HTTPResponse]:
    """The answer at the end of the redirects."""
    for _ in range(_REDIRECTS_MAX + 1):
        connection, response = _request(url, private)
        if response.status not in (301, 302, 303, 307, 308):
            return connection, response
        connection.close()
        try:
            target = urllib.parse.urljoin(url, response.headers.get("Location", ""))
        except ValueError as error:
            raise FetchError(f"{url} leads to what is no URL ({error})") from None
        if url.startswith("https:") and not target.startswith("https:"):
            raise FetchError(f"{url} leads from https to {target}, which is not encrypted")
        url = target
    raise FetchError(f"{url} is behind more than {_REDIRECTS_MAX} redirects")


def _announced(response: http.client.HTTPResponse) -> Optional[int]:
    text = response.headers.get("Content-Length")
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else None


def _receive(response: http.client.HTTPResponse, url: str, path: str, budget: Budget, most: int) -> None:
    """The body into a file."""
    size, got = _announced(response), 0
    if max(size or 0, got) > most:
        raise FetchError(f"{url} has {size} bytes, more than the {most} allowed", TOO_LARGE)
    with open(path, "wb") as file:
        while True:
            try:
                data = response.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _Passing(f"{url} broke off after {got} bytes ({type(error).__name__}: {error})") from None
            if not data:
                break
            got += len(data)
            if got > most:
                raise FetchError(f"{url} has more than the {most} bytes allowed", TOO_LARGE)
            budget.spend(len(data), url)
            file.write(data)
    if size is not None and got != size:
        raise _Passing(f"{url} broke off after {got} of {size} bytes")


def _try_download(url: str, path: str, budget: Budget, most: int, private: bool) -> bool:
    connection, response = _follow(url, private)
    try:
        if response.status in (404, 410):
            return False
        if response.status >= 500 or response.status in (408, 425, 429):
            raise _Passing(f"{url} answers {response.status} {response.reason}")
        if response.status != 200:
            raise FetchError(f"{url} answers {response.status} {response.reason}; 200 was expected")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise FetchError(f"{url} comes in the encoding {response.headers['Content-Encoding']}, unasked for")
        if response.headers.get_content_type() == "text/html" and "Content-Type" in response.headers:
            raise FetchError(f"{url} is a web page; name the folder of the files (Hugging Face: .../resolve/main)")
        _receive(response, url, path, budget, most)
        return True
    finally:
        connection.close()


def download(url: str, path: str, budget: Budget, most: int, private: bool) -> bool:
    """Fetches a file, in up to three tries. False: there is none. Errors: FetchError."""
    for number in range(_TRIES):
        left = budget.left
        try:
            return _try_download(url, path, budget, most, private)
        except _Passing as fault:
            budget.left = left
            failure = fault
            if number + 1 < _TRIES:
                time.sleep(min(0.2 * 4**number, max(0.0, budget.deadline - time.monotonic())))
    raise FetchError(str(failure), FAILED)


# --- which files


def _modules(config: dict[str, Any]) -> set[str]:
    """Modules that a config.json names as `module.Class`."""
    mapped = config.get("auto_map")
    texts = list(mapped.values()) if isinstance(mapped, dict) else []
    texts += [config.get("pipeline_cls"), config.get("hub_mixin_cls")]
    return {text.rpartition(".")[0] for text in texts if isinstance(text, str) and _MODULE.fullmatch(text)} - {""}


def imported(source: bytes, module: str) -> set[str]:
    """Modules beside `module` that its program imports by relative imports."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()  # the trial run says it better
    package = module.split(".")[:-1]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and 0 < node.level <= len(package) + 1:
            base = package[: len(package) + 1 - node.level]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {".".join([*base, name]) for name in names}
    return {name for name in found if _MODULE.fullmatch(name)}


class Folder:
    """The files of a folder behind http or https, fetched into a directory."""

    def __init__(self, uri: str, directory: str, budget: Budget, private: bool) -> None:
        _split(uri)
        if "?" in uri or "#" in uri:
            raise FetchError("the URL names a folder: it cannot hold ? or #")
        self.base = uri if uri.endswith("/") else uri + "/"
        self.directory, self.budget, self.private = directory, budget, private

    def take(self, name: str, most: Optional[int] = None) -> bool:
        """One file; False: there is none."""
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return download(self.base + name, path, self.budget, most or self.budget.left, self.private)

    def _take_programs(self, config: dict[str, Any]) -> int:
        """The Python files that config.json names, and those they import."""
        waiting, seen = sorted(_modules(config)), set()
        while waiting and len(seen) < _PROGRAMS_MAX:
            module = waiting.pop()
            name = module.replace(".", "/") + ".py"
            if module in seen or not self.take(name, _CONFIG_MAX):
                continue
            seen.add(module)
            with open(os.path.join(self.directory, name), "rb") as file:
                waiting += sorted(imported(file.read(), module) - seen)
        return len(seen)

    def fetch(self) -> None:
        """config.yaml with model.pt or model.pt2; else config.json with model.safetensors and programs."""
        if self.take("config.yaml", _CONFIG_MAX):
            if not self.take("model.pt") and not self.take("model.pt2"):
                raise FetchError(f"{self.base} has config.yaml, but neither model.pt nor model.pt2")
            return
        if not self.take("config.json", _CONFIG_MAX):
            raise FetchError(f"{self.base} has neither config.yaml (with model.pt) nor config.json")
        with open(os.path.join(self.directory, "config.json"), "rb") as file:
            try:
                config = json.loads(file.read())
            except (ValueError, RecursionError):
                raise FetchError(f"{self.base}config.json is no JSON text") from None
        programs = self._take_programs(config) if isinstance(config, dict) else 0
        if not self.take("model.safetensors") and programs == 0:
            raise FetchError(f"{self.base} has config.json, but no model.safetensors")


# --- repo


def wanted(names: Iterable[str]) -> list[str]:
    """Of the files of a repository those that a model needs."""
    there = set(names)
    if "config.yaml" in there and there & {"model.pt", "model.pt2"}:
        return ["config.yaml", "model.pt" if "model.pt" in there else "model.pt2"]
    if "config.json" not in there:
        return []
    programs = [name for name in there if name.endswith(".py") and not name.startswith((".", "/")) and ".." not in name]
    return ["config.json", *sorted(programs), *({"model.safetensors"} & there)]


def _hub() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import huggingface_hub
    except ImportError as error:
        raise FetchError(f"{_HUB_MISSING} ({error})", FAILED) from None
    return huggingface_hub


def _take_from_hub(name: str, files: Optional[Iterable[str]], directory: str, budget: Budget) -> None:
    """Files of a repository (None: what a model needs) into directory, all of one revision."""
    repository, at, revision = name.partition("@")
    if not _REPOSITORY.fullmatch(repository) or (at and not _REVISION.fullmatch(revision)):
        raise FetchError(f"repo://{name} is no repository; write repo://owner/name or repo://owner/name@revision")
    hub = _hub()
    try:
        info = hub.HfApi().model_info(repository, revision=revision or None, files_metadata=True, timeout=_IDLE_S)
        sizes = {entry.rfilename: entry.size or 0 for entry in info.siblings or ()}
        chosen = wanted(sizes) if files is None else list(files)
        missing = [file for file in chosen if file not in sizes]
        if missing or not chosen:
            what = " and ".join(missing) or "config.yaml (with model.pt) or config.json"
            raise FetchError(f"the repository {repository} has no {what}")
        budget.spend(sum(sizes[file] for file in chosen), f"the repository {repository}")
        for file in chosen:
            hub.hf_hub_download(repository, file, revision=info.sha, local_dir=directory)
            if sizes[file] and os.path.getsize(os.path.join(directory, file)) != sizes[file]:
                raise FetchError(f"{file} of {repository} has not the {sizes[file]} bytes the hub announces", FAILED)
    except FetchError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises those of its HTTP client, too
        text = " ".join(str(error).split())[:500]
        raise FetchError(f"the hub does not give {repository}: {type(error).__name__}: {text}", FAILED) from None
    finally:
        shutil.rmtree(os.path.join(directory, ".cache"), ignore_errors=True)  # the library's own notes


def fetch_folder(uri: str, directory: str, budget: Budget, private: bool) -> None:
    """The files of the model that uri names into directory."""
    if uri.lower().startswith("repo://"):
        _take_from_hub(uri[len("repo://") :].strip("/"), None, directory, budget)
    else:
        Folder(uri, directory, budget, private).fetch()


def fetch_weights(repository: str, directory: str, budget: Budget) -> None:
    """Of config.json and model.safetensors what directory lacks. Each file appears whole, the configuration last."""
    missing = [file for file in _WEIGHTS if not os.path.exists(os.path.join(directory, file))]
    above, name = os.path.split(directory)
    aside = os.path.join(above, f".{name}.fetched")
    shutil.rmtree(aside, ignore_errors=True)  # of one that was killed
    try:
        os.makedirs(aside)
        if missing:
            _take_from_hub(repository, missing, aside, budget)
        os.makedirs(directory, exist_ok=True)
        for file in missing:
            os.replace(os.path.join(aside, file), os.path.join(directory, file))
    finally:
        shutil.rmtree(aside, ignore_errors=True)


# --- the process


def _watch(budget: Budget, parent: int) -> None:
    """Ends the process when its time is over or when nobody waits for it any more."""
    while os.getppid() == parent:
        if time.monotonic() > budget.deadline:
            print(budget.late(), flush=True)
            os._exit(FAILED)
        time.sleep(_WATCH_S)
    os._exit(FAILED)


def main(arguments: list[str]) -> int:
    """The command line above."""
    mode, source, directory, max_bytes, timeout_s, private = arguments
    budget = Budget(int(max_bytes), float(timeout_s))
    threading.Thread(target=_watch, args=(budget, os.getppid()), daemon=True).start()
    try:
        if mode == "weights":
            fetch_weights(source, directory, budget)
        else:
            fetch_folder(source, directory, budget, private == "1")
    except FetchError as error:
        print(" ".join(str(error).split()), flush=True)
        return error.status
    except OSError as error:
        print(f"{directory}: {error.strerror or error}", flush=True)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
