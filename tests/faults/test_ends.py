"""How a worker ended is told: its exit code, its last words, and what ran out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from caller import Refused
from node import Start
from processes import wait_until
from values import check_alive, harmful

ENDS = """import os, sys
if b"worker" in open("/proc/self/cmdline", "rb").read().split(b"\\0")[:3]:
    sys.stderr.write("first words\\nlast words\\n")
    os._exit(7)
"""


def test_exit_code_and_last_words(start_node: Start, models: Path, environment: tuple[str, Path]) -> None:
    """A process that ends by itself, here while its interpreter starts."""
    python, packages = environment
    node = start_node(python=python, AIN_WORKER_START_METHOD="spawn")
    node.allow("model bad was not registered")
    (packages / "ends.py").write_text(ENDS)
    (packages / "ends.pth").write_text("import ends\n")
    with node.call() as caller:
        with pytest.raises(Refused) as caught:
            caller.register("bad", (models / "identity").as_uri())
        for part in ("[bad]", "exit code 7", "its last output: first words | last words"):
            assert part in caught.value.message, caught.value
        (packages / "ends.pth").unlink()
        caller.register("bad", (models / "identity").as_uri())
        check_alive(caller, "bad")


def test_memory_limit(start_node: Start, models: Path) -> None:
    """ain_worker_memory_bytes: the request fails with the reason, the node and other models do not notice."""
    node = start_node(AIN_WORKER_MEMORY_BYTES=str(2 << 30))
    node.allow("model eater: ")
    with node.call() as caller:
        caller.register("eater", (models / "eats_memory").as_uri())
        caller.register("sound", (models / "identity").as_uri())
        check_alive(caller, "eater", "sound")
        wait_until(lambda: len(node.workers()) == 2, 10, "there is one process for each")
        limits = Path(f"/proc/{node.workers()[0]}/limits").read_text(encoding="ascii")
        assert re.search(rf"Max data size +{2 << 30} +{2 << 30}", limits), limits
        with pytest.raises(Refused) as caught:
            caller.infer("eater", harmful())
        assert re.search("memory", caught.value.message) and "eater" in caught.value.message, caught.value
        check_alive(caller, "eater", "sound")
