"""The data session over TLS against a real DataNode with enable_thrift_ssl=true."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from iotdb_cluster import Cluster
from session_support import run_query

PASSWORD = "keystore-password"


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with keystore.p12 and its certificate as PEM, made as an operator would."""
    folder = tmp_path_factory.mktemp("keystore")
    store = ["-keystore", str(folder / "keystore.p12"), "-storetype", "PKCS12", "-storepass", PASSWORD]
    store += ["-alias", "node"]
    name = ["-dname", "CN=datanode", "-ext", "SAN=IP:127.0.0.1", "-validity", "2"]
    for command in (
        ["keytool", "-genkeypair", "-keyalg", "RSA", "-keysize", "2048", *store, *name],
        ["keytool", "-exportcert", "-rfc", "-file", str(folder / "datanode.pem"), *store],
    ):
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def secure(release: str, keystore: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose DataNode's client port speaks TLS; not yet ready."""
    properties = {
        "enable_thrift_ssl": "true",
        "key_store_path": str(keystore / "keystore.p12"),
        "key_store_pwd": PASSWORD,
    }
    running = Cluster.start(release, tmp_path_factory.mktemp(f"tls-{release}-"), properties=properties)
    try:
        yield running
    finally:
        running.remove()


@pytest.mark.releases("2.0.5", "2.0.10")
def test_query_over_tls(secure: Cluster, keystore: Path, tmp_path: Path) -> None:
    port = secure.ports["rpc"]
    pem = keystore / "datanode.pem"
    tls = ["-D", "ain_cluster_ingress_ssl_enabled=1", "-D", f"ain_thrift_ssl_cert_file={pem}"]
    deadline = time.monotonic() + 120
    while (done := run_query(tmp_path, port, *tls)).returncode != 0:
        assert time.monotonic() < deadline, (done.stderr, secure.log_tails())
        time.sleep(0.5)
    assert "accepts the login" in done.stdout
    done = run_query(tmp_path, port, *tls, "--csv", "SHOW VERSION")
    assert done.stdout.splitlines()[1].startswith(secure.version), done
    ca = ["-D", "ain_cluster_ingress_ssl_enabled=1", "-D", f"ain_thrift_ssl_ca_file={pem}"]
    assert run_query(tmp_path, port, *ca).returncode == 0
    plain = run_query(tmp_path, port)
    assert plain.returncode == 1 and "TLS" in plain.stderr, plain.stderr
