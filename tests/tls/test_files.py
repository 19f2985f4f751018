"""Certificates and keys at start, and the connections that the node makes itself."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import Authority, Certificate, openssl
from generated import Service
from node import Node, free_port, new_node
from processes import wait_until
from standins.confignode import Bindings, ConfigNode, Cut, RawService, Slow

CONFIGURATION, FAILURE = 3, 1
Keys = dict[str, str]


@pytest.fixture
def run(build_dir: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """run(COMMAND, ..., KEY=value): one command of the host, in an installation of its own."""
    home = tmp_path / "home"
    (home / "conf").mkdir(parents=True)
    (home / "lib").symlink_to(build_dir / "lib")

    def command(*line: str, **keys: str) -> subprocess.CompletedProcess[str]:
        settings = {"AIN_RPC_PORT": str(free_port()), "AIN_CONFIG_NODE_WAIT_MS": "0", **keys}
        return subprocess.run(
            [str(home / "lib" / "ainode"), line[0], "--home", str(home), *line[1:]],
            env={**os.environ, "G_SLICE": "always-malloc", **settings},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return command


# --- files


def faults(directory: Path, authority: Authority, own: Certificate) -> Iterator[tuple[str, Keys, str]]:
    """A name, the keys, and what the sentence says of them."""
    cert, key, ca = "AIN_THRIFT_SSL_CERT_FILE", "AIN_THRIFT_SSL_KEY_FILE", "AIN_THRIFT_SSL_CA_FILE"
    text = directory / "text"
    text.write_text("no certificate\n")
    cut = directory / "cut.pem"
    cut.write_text(own.cert.read_text()[:200] + "\n-----END CERTIFICATE-----\n")
    locked = directory / "locked.key"
    openssl("pkey", "-in", own.key, "-out", locked, "-aes-128-cbc", "-passout", "pass:secret")
    other, late = authority.issue("other"), authority.issue("overdue", days=-1)
    weak = Certificate(directory / "weak.pem", directory / "weak.key")
    subject = ("-subj", "/CN=weak", "-days", "2", "-keyout", weak.key, "-out", weak.cert)
    openssl("req", "-x509", "-newkey", "rsa:1024", "-nodes", *subject)
    good = own.keys()
    yield "no keys", {}, "TLS needs a certificate and its key: set ain_thrift_ssl_cert_file"
    yield "no key", {cert: good[cert]}, "TLS needs a certificate and its key: set ain_thrift_ssl_key_file"
    yield "absent", {**good, cert: "/absent.pem"}, "ain_thrift_ssl_cert_file=/absent.pem: cannot open"
    yield "folder", {**good, key: str(directory)}, f"ain_thrift_ssl_key_file={directory}: "
    yield "text", {**good, cert: str(text)}, "there is no certificate in it (PEM, BEGIN CERTIFICATE)"
    yield "cut", {**good, cert: str(cut)}, f"ain_thrift_ssl_cert_file={cut}: a certificate in it is damaged"
    yield "text as key", {**good, key: str(text)}, "there is no private key in it that can be read"
    yield "passphrase", {**good, key: str(locked)}, "the key is protected by a passphrase"
    yield "other key", {**good, key: str(other.key)}, f"not the key of the first certificate in {own.cert}"
    yield "expired", late.keys(), f"ain_thrift_ssl_cert_file={late.cert}: the certificate has expired (it was valid"
    yield "short key", weak.keys(), "ee key too small"
    yield "text as ca", {**good, ca: str(text)}, f"ain_thrift_ssl_ca_file={text}: there is no certificate in it"
    yield "expired ca", {**good, ca: str(late.cert)}, "ain_thrift_ssl_ca_file="


def test_faults_of_files(
    run: Callable[..., subprocess.CompletedProcess[str]],
    model_python: str,
    authority: Authority,
    ainode_cert: Certificate,
    tmp_path: Path,
) -> None:
    """The start is refused with a sentence that names key, file and fault."""
    for name, keys, sentence in faults(tmp_path, authority, ainode_cert):
        done = run("start", "-i", model_python, AIN_INTERNAL_SSL_ENABLED="1", **keys)
        assert done.returncode == CONFIGURATION, (name, done)
        assert sentence in done.stderr, (name, done.stderr)
    done = run("start", "-i", model_python, AIN_CLUSTER_INGRESS_SSL_ENABLED="1")
    assert done.returncode == CONFIGURATION
    assert "TLS needs certificates to believe: set ain_thrift_ssl_ca_file, or ain_thrift_ssl_cert_file" in done.stderr


# --- the ConfigNode client


@pytest.fixture
def config_node(secure_config_node: Callable[[], ConfigNode]) -> Iterator[ConfigNode]:
    """With mutual TLS, and without heartbeats since nobody registers."""
    made = secure_config_node()
    made.start()
    yield made
    made.stop()


def ask(
    run: Callable[..., subprocess.CompletedProcess[str]], node: ConfigNode | RawService, **keys: str
) -> tuple[int, str]:
    """Runs `remove -t 9`, which asks the ConfigNode about a node it does not have."""
    done = run("remove", "-t", "9", AIN_SEED_CONFIG_NODE=node.endpoint, **keys)
    return done.returncode, done.stderr


def test_remove_over_tls(
    run: Callable[..., subprocess.CompletedProcess[str]], config_node: ConfigNode, secure: Keys
) -> None:
    """The certificate of this node is shown and believed, that of the ConfigNode is checked."""
    code, text = ask(run, config_node, **secure)
    assert code == 6 and "the cluster has no AINode 9" in text, text
    assert not config_node.refused
    code, text = ask(run, config_node, AIN_THRIFT_COMPRESSION_ENABLED="1", **secure)
    assert "without an answer" in text  # this stand-in speaks the binary protocol
    for after in (0, 1, 4, 20):
        config_node.script("getAINodeConfiguration", Cut(after))
        code, text = ask(run, config_node, **secure)
        assert code == FAILURE and "it closed the connection" in text, text


def test_config_node_that_is_not_believed(
    run: Callable[..., subprocess.CompletedProcess[str]],
    config_node: ConfigNode,
    authority: Authority,
    stranger: Authority,
    secure: Keys,
) -> None:
    """Another CA, another name, an expired certificate: refused with the reason; the name only where it is asked."""
    config_node.tls = authority.server(authority.issue("elsewhere", sans="DNS:elsewhere,IP:127.0.0.9"))
    code, text = ask(run, config_node, **secure)
    assert code == FAILURE and "does not bear the name or address that was dialled" in text
    code, text = ask(run, config_node, **secure, AIN_THRIFT_SSL_VERIFY_HOST="0")
    assert code == 6 and "the cluster has no AINode 9" in text
    config_node.tls = authority.server(stranger.issue("foreign"))
    assert "unable to get local issuer certificate" in ask(run, config_node, **secure)[1]
    config_node.tls = authority.server(authority.issue("overdue", days=-1))
    assert "its certificate is not accepted: certificate has expired" in ask(run, config_node, **secure)[1]
    config_node.tls = stranger.server(authority.issue("fine"))  # it does not believe us
    code, text = ask(run, config_node, **secure)
    assert code == FAILURE, text
    assert "it refused: " in text and "unknown ca" in text or "perhaps for this node's certificate" in text, text


def test_name_in_certificate(
    run: Callable[..., subprocess.CompletedProcess[str]],
    bindings: Bindings,
    authority: Authority,
    secure: Keys,
) -> None:
    """A host name is checked against names, an address against addresses."""
    node = ConfigNode(bindings, host="127.0.0.1")
    node.tls = authority.server(authority.issue("name only", sans="DNS:localhost"))
    with node:
        by_name = {**secure, "AIN_SEED_CONFIG_NODE": f"localhost:{node.port}"}
        done = run("remove", "-t", "9", **by_name)
        assert "the cluster has no AINode 9" in done.stderr, done.stderr
        assert "does not bear the name" in ask(run, node, **secure)[1]


def test_pinned_certificate(
    run: Callable[..., subprocess.CompletedProcess[str]], bindings: Bindings, authority: Authority
) -> None:
    """Without a CA file, what is in the certificate file is believed, whatever name it bears; nothing else."""
    shared = authority.issue("shared", sans="DNS:cluster")
    keys = {"AIN_INTERNAL_SSL_ENABLED": "1", **shared.keys()}
    node = ConfigNode(bindings)
    node.tls = authority.server(shared, mutual=False)
    with node:
        assert "the cluster has no AINode 9" in ask(run, node, **keys)[1]
        node.tls = authority.server(authority.issue("unknown"), mutual=False)
        assert "its certificate is not accepted" in ask(run, node, **keys)[1]


def test_other_side_without_tls(
    run: Callable[..., subprocess.CompletedProcess[str]], bindings: Bindings, config_node: ConfigNode, secure: Keys
) -> None:
    """One side with, one without: a sentence on each way, and no long wait."""
    with ConfigNode(bindings) as plain:
        started = time.monotonic()
        code, text = ask(run, plain, **secure)
        assert code == FAILURE and "no TLS connection: it " in text, text
        assert time.monotonic() - started < 40
    code, text = ask(run, config_node)
    assert code == FAILURE
    for answer, sentence in {
        b"\x15\x03\x03\x00\x02\x02\x28": "it refused: ",
        b"HTTP/1.0 400 Bad Request\r\n\r\n": "what it sends is no TLS",
        b"": "it closed the connection in the middle of the handshake",
    }.items():
        with RawService(answer=answer) as service:
            code, text = ask(run, service, **secure)
            assert code == FAILURE and sentence in text, (answer, text)
    with RawService(answer=b"\x15\x03\x03\x00\x02\x02\x28") as service:
        code, text = ask(run, service)
        assert "it speaks TLS and this node does not (ain_internal_ssl_enabled" in text, text


# --- whole nodes


@pytest.fixture
def made(
    build_dir: Path,
    model_python: str,
    bindings: Bindings,
    services: dict[str, Service],
    secure: Keys,
    secure_config_node: Callable[[], ConfigNode],
    peer: ssl.SSLContext,
    tmp_path: Path,
) -> Iterator[Node]:
    """A node of one's own with mutual TLS, not started; its ConfigNode is."""
    node = new_node(tmp_path / "own", build_dir, model_python, bindings, services, **secure)
    node.config_node.stop()
    node.config_node = secure_config_node()
    node.config_node.start()
    node.tls = peer
    try:
        yield node
        complaints = node.complaints()
        assert not complaints, complaints
    finally:
        node.kill()
        node.config_node.stop()


def test_life_over_tls(made: Node) -> None:
    """Registration, farewell frame at the stop, restart under the same id, slow answers, removal."""
    made.start()
    assert "callers must show a certificate" in made.log()
    with made.call() as caller:
        assert caller.heartbeat().status == "Running"
        made.stop()
        assert caller.connection.recv(4) == struct.pack(">i", -1)  # the farewell frame
        assert caller.connection.recv(4) == b""
    made.config_node.script("restartAINode", Slow(1.5))
    made.start()
    assert len(made.config_node.calls("registerAINode")) == 1
    assert len(made.config_node.calls("restartAINode")) == 1
    wait_until(lambda: made.log().count("has successfully started") == 2, 30, "the slow answer has come")
    (node_id,) = made.config_node.nodes
    settings = {**made.environment(), "AIN_CONFIG_NODE_WAIT_MS": "0"}
    line = [str(made.home / "lib" / "ainode"), "remove", "--home", str(made.home)]
    done = subprocess.run(line, env=settings, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert node_id not in made.config_node.nodes
    made.wait_ended(0)
    assert not made.config_node.refused


def test_callers_without_certificate(made: Node, authority: Authority, ainode_cert: Certificate) -> None:
    """Without a CA file callers are not asked for a certificate, and the log says so."""
    made.settings.pop("AIN_THRIFT_SSL_CA_FILE")
    chain = made.home.parent / "chain.pem"  # own certificate and the CA's: what the node shows and what it believes
    made.home.parent.mkdir(parents=True)
    chain.write_text(ainode_cert.cert.read_text() + authority.cert.read_text())
    made.settings["AIN_THRIFT_SSL_CERT_FILE"] = str(chain)
    made.tls = authority.client()
    made.start()
    assert "callers are not asked for a certificate" in made.log()
    with made.call() as caller:
        assert caller.heartbeat().status == "Running"
    made.stop()


def test_stop_during_handshakes(made: Node) -> None:
    """Half-open handshakes do not hold up a stop."""
    made.start()
    open_ones = [socket.create_connection(("127.0.0.1", made.port)) for _ in range(50)]
    for connection in open_ones[::2]:
        connection.sendall(b"\x16\x03\x01\x02\x00")
    made.stop()
    for connection in open_ones:
        connection.close()


def test_node_without_tls_says_what_it_saw(
    build_dir: Path,
    model_python: str,
    bindings: Bindings,
    services: dict[str, Service],
    peer: ssl.SSLContext,
    tmp_path: Path,
) -> None:
    """A TLS client at a plain port is closed with a hint."""
    node = new_node(tmp_path / "plain", build_dir, model_python, bindings, services)
    try:
        node.start()
        node.allow("looks like TLS")
        plain = socket.create_connection(("127.0.0.1", node.port), timeout=20)
        with plain, pytest.raises((ssl.SSLError, ConnectionError)):
            peer.wrap_socket(plain, server_hostname="127.0.0.1")
        words = "this looks like TLS, which is off here (ain_internal_ssl_enabled)"
        wait_until(lambda: words in node.log(), 10, words)
        node.stop()
        assert not node.complaints()
    finally:
        node.kill()
        node.config_node.stop()
