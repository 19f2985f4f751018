"""Writes the bill of materials of the package, CycloneDX 1.5 as JSON, to standard output.

    python3 make-sbom.py VERSION COMMIT FOLDER

Names the libraries that lib/ainode contains, with the versions of the development packages they were linked from, and
the SHA-256 of each program in FOLDER/lib. The same input gives the same bytes: the time is SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

#: Debian's development package -> (name, licence as SPDX, what it does here)
LIBRARIES = {
    "libglib2.0-dev": ("GLib", "LGPL-2.1-or-later", "strings, containers, errors, options"),
    "libthrift-c-glib-dev": ("Apache Thrift c_glib", "Apache-2.0", "calls to ConfigNode and DataNode"),
    "libjansson-dev": ("Jansson", "MIT", "JSON"),
    "libyaml-dev": ("LibYAML", "MIT", "YAML"),
    "libpcre2-dev": ("PCRE2", "BSD-3-Clause", "of GLib"),
    "libffi-dev": ("libffi", "MIT", "of GLib"),
    "zlib1g-dev": ("zlib", "Zlib", "of Thrift"),
    "libssl-dev": ("OpenSSL", "Apache-2.0", "TLS"),
}
PROGRAMS = ("ainode", "ainode-runtime", "_ainode.abi3.so")


def installed_version(package: str) -> str:
    """The version that the machine that builds has; "unknown" where it is no Debian."""
    command = ["dpkg-query", "-W", "-f", "${Version}", package]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() else "unknown"


def linked(root: Path) -> list[str]:
    """The packages of LIBRARIES whose static archive cmake/AinDependencies.cmake names."""
    text = (root / "cmake" / "AinDependencies.cmake").read_text()
    patterns = {
        "libglib2.0-dev": r"\bglib-2\.0\b", "libthrift-c-glib-dev": r"\bthrift_c_glib\b",
        "libjansson-dev": r"\bjansson\b",
        "libyaml-dev": r"\byaml\b", "libpcre2-dev": r"\bpcre2-8\b", "libffi-dev": r"\bffi\b", "zlib1g-dev": r"\bz\b",
        "libssl-dev": r"\bssl\b",
    }  # fmt: skip
    return [package for package in LIBRARIES if re.search(patterns[package], text)]


def library_component(package: str) -> dict[str, object]:
    """One static library."""
    name, licence, use = LIBRARIES[package]
    version = installed_version(package)
    return {
        "type": "library",
        "bom-ref": package,
        "name": name,
        "version": version,
        "description": f"{use}; linked statically into lib/ainode",
        "licenses": [{"expression": licence}],
        "purl": f"pkg:deb/debian/{package}@{version.replace('+', '%2B').replace(':', '%3A')}",
    }


def program_component(path: Path) -> dict[str, object]:
    """One program of the package."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "type": "file",
        "bom-ref": f"file:lib/{path.name}",
        "name": f"lib/{path.name}",
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }


def main() -> int:
    """Prints the document."""
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    version, commit, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    root = Path(__file__).resolve().parents[1]
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    libraries = [library_component(package) for package in linked(root)]
    files = [program_component(folder / "lib" / name) for name in PROGRAMS]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"iotdb-ainode {version} {commit} {json.dumps(files)}")
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application",
                "bom-ref": "iotdb-ainode",
                "name": "iotdb-ainode",
                "version": version,
                "description": f"AINode for Apache IoTDB, commit {commit}",
                "licenses": [{"expression": "Apache-2.0"}],
            },
        },
        "components": libraries + files,
        "dependencies": [
            {"ref": "iotdb-ainode", "dependsOn": [c["bom-ref"] for c in files]},
            {"ref": "file:lib/ainode", "dependsOn": [c["bom-ref"] for c in libraries]},
        ],
    }
    json.dump(document, sys.stdout, indent=1, sort_keys=False)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
