"""Nodes and stand-ins that speak TLS, and what every test must leave as it found it (as in tests/faults)."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import Authority, Certificate
from generated import Service, load_families
from node import Node, new_node
from standins.confignode import Bindings, ConfigNode, load_bindings

#: start_secure(mutual=..., config_node_tls=..., AIN_KEY=value) -> a node of one's own.
StartSecure = Callable[..., Node]


@pytest.fixture(scope="session")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> Bindings:
    """Python code of the ConfigNode's IDL."""
    return load_bindings(tmp_path_factory.mktemp("bindings"))


@pytest.fixture(scope="session")
def services() -> dict[str, Service]:
    """Clients of every family."""
    return load_families()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The cluster's CA."""
    return Authority(tmp_path_factory.mktemp("tls"), "cluster")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another CA."""
    return Authority(tmp_path_factory.mktemp("tls"), "stranger")


@pytest.fixture(scope="session")
def ainode_cert(authority: Authority) -> Certificate:
    """The AINode's."""
    return authority.issue("ainode")


@pytest.fixture(scope="session")
def peer_cert(authority: Authority) -> Certificate:
    """That of ConfigNodes and DataNodes."""
    return authority.issue("peer")


@pytest.fixture(scope="session")
def peer(authority: Authority, peer_cert: Certificate) -> ssl.SSLContext:
    """How the cluster dials the AINode."""
    return authority.client(peer_cert)


@pytest.fixture(scope="session")
def secure(authority: Authority, ainode_cert: Certificate) -> dict[str, str]:
    """The settings of an AINode with mutual TLS."""
    return {
        "AIN_INTERNAL_SSL_ENABLED": "1",
        "AIN_THRIFT_SSL_CA_FILE": str(authority.cert),
        **ainode_cert.keys(),
    }


@pytest.fixture(scope="session")
def secure_config_node(
    bindings: Bindings, authority: Authority, peer_cert: Certificate, peer: ssl.SSLContext
) -> Callable[[], ConfigNode]:
    """Makes a ConfigNode with mutual TLS, not yet started, that sends heartbeats."""

    def make() -> ConfigNode:
        made = ConfigNode(bindings, heartbeat_s=0.1)
        made.tls, made.beat_tls = authority.server(peer_cert), peer
        return made

    return make


@pytest.fixture(scope="session")
def shared_node(
    build_dir: Path,
    model_python: str,
    bindings: Bindings,
    services: dict[str, Service],
    secure: dict[str, str],
    secure_config_node: Callable[[], ConfigNode],
    peer: ssl.SSLContext,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Node]:
    """One node for all tests that leave it alive."""
    node = new_node(tmp_path_factory.mktemp("shared"), build_dir, model_python, bindings, services, **secure)
    node.config_node.stop()
    node.config_node = secure_config_node()
    node.config_node.start()
    node.tls = peer
    try:
        node.start()
        yield node
        node.stop()
        assert not node.complaints()
    finally:
        node.kill()
        node.config_node.stop()


@pytest.fixture
def node(shared_node: Node) -> Iterator[Node]:
    """The shared node, Running; checked afterwards."""
    shared_node.complaints()
    yield shared_node
    shared_node.check()
