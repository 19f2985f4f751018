"""Certificates for tests, made with the openssl command: authorities, and what they sign."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: Names and addresses that a certificate of this machine bears.
HERE = "IP:127.0.0.1,IP:::1,DNS:localhost"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def openssl(*arguments: str | Path) -> None:
    """Runs one openssl command."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"openssl {arguments}: {done.stderr}"


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path

    def keys(self) -> dict[str, str]:
        """The node's settings that name the files."""
        return {"AIN_THRIFT_SSL_CERT_FILE": str(self.cert), "AIN_THRIFT_SSL_KEY_FILE": str(self.key)}


class Authority:
    """A CA; issue() signs."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory / name
        self.directory.mkdir(parents=True)
        self.cert, self._key = self.directory / "ca.pem", self.directory / "ca.key"
        subject = ("-subj", f"/CN={name}")
        openssl("req", "-x509", *NEW_KEY, "-keyout", self._key, "-out", self.cert, *subject, "-days", "2")

    def issue(self, name: str, sans: str = HERE, days: int = 2) -> Certificate:
        """A certificate for these subject alternative names; negative days: it has expired."""
        made = Certificate(self.directory / f"{name}.pem", self.directory / f"{name}.key")
        request, extensions = self.directory / f"{name}.csr", self.directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={sans}\n")
        openssl("req", *NEW_KEY, "-keyout", made.key, "-out", request, "-subj", f"/CN={name}")
        signer = ("-CA", self.cert, "-CAkey", self._key, "-CAcreateserial", "-days", str(days))
        openssl("x509", "-req", "-in", request, *signer, "-out", made.cert, "-extfile", extensions)
        return made

    def server(self, own: Certificate, mutual: bool = True) -> ssl.SSLContext:
        """For a stand-in that accepts; mutual: callers must show a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own.cert, own.key)
        if mutual:
            context.load_verify_locations(self.cert)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self, own: Certificate | None = None) -> ssl.SSLContext:
        """For a client that believes this authority, and shows a certificate when it has one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.cert)
        if own is not None:
            context.load_cert_chain(own.cert, own.key)
        return context
