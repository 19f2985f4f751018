"""The session over TLS: ain_cluster_ingress_ssl_enabled with the ain_thrift_ssl_ keys, by `ainode query`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority, Certificate
from session_support import Query
from standins.datanode import Bindings, DataNode, Table


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The cluster's CA."""
    return Authority(tmp_path_factory.mktemp("ca"), "cluster")


@pytest.fixture(scope="module")
def own(authority: Authority) -> Certificate:
    """The AINode's certificate."""
    return authority.issue("ainode")


@pytest.fixture
def node(bindings: Bindings, authority: Authority) -> Iterator[DataNode]:
    """A DataNode that speaks TLS and asks for no certificate, as a real one does."""
    made = DataNode(bindings)
    made.tls = authority.server(authority.issue("datanode"), mutual=False)
    made.tables["select n"] = Table(["n"], ["INT64"], [[at] for at in range(5000)])
    with made as started:
        yield started


def keys(ca: Path | None = None, cert: Path | None = None, key: Path | None = None, **more: str) -> list[str]:
    """-D options of a TLS ingress."""
    named = {"ca_file": ca, "cert_file": cert, "key_file": key, **more}
    options = ["-D", "ain_cluster_ingress_ssl_enabled=1"]
    for name, value in named.items():
        options += ["-D", f"ain_thrift_ssl_{name}={value}"] if value is not None else []
    return options


def test_rows_over_tls(node: DataNode, query: Query, authority: Authority) -> None:
    done = query(*keys(authority.cert), "--csv", "select n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\r\n")[1:-1] == [str(at) for at in range(5000)]
    assert query(*keys(authority.cert)).returncode == 0
    assert not node.refused


def test_certificate_file_as_the_official_node_has_it(node: DataNode, query: Query, authority: Authority) -> None:
    """There is no CA key in the official configuration: the certificate file is what is believed."""
    assert query(*keys(cert=authority.cert)).returncode == 0


def test_mutual(bindings: Bindings, query: Query, node: DataNode, authority: Authority, own: Certificate) -> None:
    node.tls = authority.server(authority.issue("datanode"), mutual=True)
    assert query(*keys(authority.cert, own.cert, own.key)).returncode == 0
    done = query(*keys(authority.cert))
    assert done.returncode == 1 and "certificate required" in done.stderr, done.stderr


def test_certificates_that_are_not_believed(
    node: DataNode, query: Query, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    for tls, options in [
        (None, keys(stranger.cert)),
        (authority.server(authority.issue("elsewhere", sans="DNS:elsewhere.example"), mutual=False), None),
        (authority.server(authority.issue("old", days=-1), mutual=False), None),
    ]:
        node.tls = tls if tls is not None else node.tls
        done = query(*(options if options is not None else keys(authority.cert)))
        assert done.returncode == 1 and "no TLS connection" in done.stderr, done.stderr
    assert not node.calls("openSession"), "no password goes to a peer that is not believed"
    node.tls = authority.server(authority.issue("elsewhere", sans="DNS:elsewhere.example"), mutual=False)
    assert query(*keys(authority.cert, verify_host="0")).returncode == 0


def test_one_side_only(bindings: Bindings, node: DataNode, query: Query, authority: Authority) -> None:
    done = query()
    assert done.returncode == 1 and "perhaps it wants TLS" in done.stderr, done.stderr
    node.tls = None
    done = query(*keys(authority.cert), "--timeout", "3")
    assert done.returncode == 1 and "no TLS connection" in done.stderr, done.stderr
    assert not node.calls("openSession")


def test_bad_files(node: DataNode, query: Query, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    for options in (keys(tmp_path / "bad.pem"), keys(tmp_path / "absent.pem"), keys()):
        done = query(*options)
        assert done.returncode == 3 and "ain_thrift_ssl_" in done.stderr, done.stderr
