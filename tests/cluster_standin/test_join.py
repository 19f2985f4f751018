"""host/cluster against the stand-in ConfigNode: joining, waiting, refusals, wrong services, the release."""

from __future__ import annotations

import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ports import free_port
from standins.confignode import (
    NO_CLUSTER_ID,
    NOT_INITIALIZED,
    REDIRECT,
    REJECT_NODE_START,
    WARMING_UP,
    AINode,
    Answer,
    Bindings,
    ConfigNode,
    Cut,
    Fail,
    Mangle,
    Raw,
    RawService,
    Silent,
    Slow,
)

REJECTED, UNREACHABLE, INTERNAL, INVALID = 19, 20, 1, 2
A, C, D, E, F, G, H = (1 << i for i in range(7))


def properties(system_dir: Path) -> list[tuple[str, str]]:
    lines = (system_dir / "system.properties").read_text().splitlines()
    assert lines[0].startswith("#")
    return [tuple(line.split("=", 1)) for line in lines[1:]]  # type: ignore[misc]


# --- joining


@pytest.mark.parametrize("compact", [False, True], ids=["binary", "compact"])
def test_first_start_registers_and_later_starts_keep_the_id(
    bindings: Bindings, probe: Any, system_dir: Path, compact: bool
) -> None:
    flags = {"compact": True} if compact else {}
    with ConfigNode(bindings, compact=compact, next_id=7) as node:
        first = probe(node, port=10999, **flags)
        assert first.events["start"]["node"] == "-1"
        assert first.joined["node"] == "7"
        (call,) = node.calls("registerAINode")
        assert call.args.req.clusterName == "defaultCluster"
        configuration = call.args.req.aiNodeConfiguration
        assert (configuration.location.internalEndPoint.ip, configuration.location.internalEndPoint.port) == (
            "127.0.0.1",
            10999,
        )
        assert configuration.resource.cpuCoreNum >= 1
        assert configuration.resource.maxMemory > 1 << 28
        assert call.args.req.versionInfo.version == first.events["start"]["version"]
        assert call.args.req.versionInfo.buildInfo == first.events["start"]["build"]
        assert (b"\x0c\xff\xff" if not compact else b"\x0c\x01") in call.raw[:32]  # argument id -1

        keys = properties(system_dir)
        assert [key for key, _ in keys] == [
            "ainode_id",
            "cluster_name",
            "iotdb_version",
            "commit_id",
            "ain_rpc_address",
            "ain_rpc_port",
            "config_node_list",
        ]
        assert dict(keys)["ainode_id"] == "7"
        assert dict(keys)["config_node_list"] == f"TEndPoint(ip='127.0.0.1', port={node.port})"

        second = probe(node, port=10999, **flags)
        assert second.events["start"]["node"] == "7"
        assert second.joined["node"] == "7"
        assert len(node.calls("registerAINode")) == 1
        assert node.calls("restartAINode")[0].args.req.aiNodeConfiguration.location.aiNodeId == 7


def test_joining_is_quick(node: ConfigNode, probe: Any) -> None:
    fastest = min(float(probe(node).joined["ms"]) for _ in range(3))
    print(f"joined in {fastest:.0f} ms")
    assert fastest < 900  # no try is waited for


def test_a_changed_address_is_noted_and_stored(node: ConfigNode, probe: Any, system_dir: Path) -> None:
    probe(node, port=10811)
    again = probe(node, port=10812)
    assert again.joined["node"] == "2"
    assert "from 127.0.0.1:10811 to 127.0.0.1:10812" in again.log
    assert dict(properties(system_dir))["ain_rpc_port"] == "10812"
    assert "changes from" not in probe(node, port=10812).log


def test_an_identity_file_of_the_python_ainode_is_taken(node: ConfigNode, probe: Any, system_dir: Path) -> None:
    probe(node)
    file = system_dir / "system.properties"
    file.write_text(
        "#2025-09-01 10:11:12.131415\nainode_id=2\ncluster_name=defaultCluster\niotdb_version=2.0.5\n"
        "commit_id=abc1234\nain_rpc_address=127.0.0.1\nain_rpc_port=10810\n"
        "config_node_list=TEndPoint(ip='127.0.0.1', port=10710)\n"
    )
    assert probe(node).joined["node"] == "2"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no ainode_id"),
        (b"#x\nainode_id=\n", 'ainode_id is ""'),
        (b"ainode_id=-3\n", 'ainode_id is "-3"'),
        (b"ainode_id=1\nainode_id=2\n", "twice"),
        (b"ainode_id=99999999999\n", "not a node id"),
        (b"ainode_id=1\x00\n", "binary data"),
        (b"#" * 70000, "70000 bytes"),
    ],
)
def test_a_broken_identity_file_is_an_error(
    node: ConfigNode, probe: Any, system_dir: Path, content: bytes, says: str
) -> None:
    system_dir.mkdir(parents=True)
    (system_dir / "system.properties").write_bytes(content)
    outcome = probe(node)
    assert int(outcome.failed["code"]) == INTERNAL
    assert says in outcome.message
    assert str(system_dir / "system.properties") in outcome.message
    assert node.requests == []


def test_no_id_is_drawn_when_it_could_not_be_kept(node: ConfigNode, probe: Any, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    outcome = probe(node, system_dir=blocker / "system")
    assert int(outcome.failed["code"]) == INTERNAL
    assert "ain_system_dir" in outcome.message
    assert node.calls("registerAINode") == []


def test_ipv6(bindings: Bindings, probe: Any) -> None:
    with ConfigNode(bindings, host="::1") as node:
        assert probe(node).joined["node"] == "2"


def test_names(node: ConfigNode, probe: Any) -> None:
    assert probe(f"localhost:{node.port}", wait_ms=3000).joined["node"] == "2"


def test_an_unknown_name_is_unreachable(probe: Any) -> None:
    outcome = probe("no-such-host.invalid:10710", wait_ms=0)
    assert int(outcome.failed["code"]) == UNREACHABLE
    assert "no-such-host.invalid" in outcome.message
    assert "resolved" in outcome.message


# --- redirects and waiting


def test_follows_redirects(bindings: Bindings, probe: Any) -> None:
    with ConfigNode(bindings) as leader, ConfigNode(bindings) as follower:
        follower.leader = leader
        outcome = probe(follower)
        assert outcome.joined["node"] == "2"
        again = [float(probe(follower).joined["ms"]) for _ in range(2)]
        assert min(float(outcome.joined["ms"]), *again) < 900, "it waited before it asked the leader"
        assert len(leader.calls("registerAINode")) == 1
        assert f"leader 127.0.0.1:{leader.port}" in outcome.log


def test_two_nodes_that_redirect_to_each_other_are_waited_for(bindings: Bindings, probe: Any) -> None:
    with ConfigNode(bindings) as one, ConfigNode(bindings) as other:
        one.leader, other.leader = other, one
        outcome = probe(one, wait_ms=2500)
        assert int(outcome.failed["code"]) == UNREACHABLE
        assert len(one.requests) + len(other.requests) < 30


def test_a_redirect_to_itself_is_waited_for(node: ConfigNode, probe: Any) -> None:
    node.script("registerAINode", Answer(REDIRECT, redirect=("127.0.0.1", node.port)))
    outcome = probe(node)
    assert outcome.joined["node"] == "2"
    first, second = node.calls("registerAINode")
    assert second.at - first.at > 0.9


def test_leader_change_while_registering(bindings: Bindings, probe: Any) -> None:
    with ConfigNode(bindings) as one, ConfigNode(bindings, next_id=5) as other:
        one.script("registerAINode", Answer(REDIRECT), Answer(REDIRECT, redirect=("127.0.0.1", other.port)))
        other.script("registerAINode", Answer(REDIRECT, redirect=("127.0.0.1", one.port)))
        outcome = probe(one, other, wait_ms=8000)
        assert outcome.joined["node"] in ("2", "5")


def test_a_dead_redirect_target_falls_back_to_the_seeds(node: ConfigNode, probe: Any) -> None:
    node.script("registerAINode", Answer(REDIRECT, redirect=("127.0.0.1", free_port())))
    assert probe(node).joined["node"] == "2"


def test_an_impossible_redirect_is_ignored(node: ConfigNode, probe: Any) -> None:
    node.script(
        "registerAINode",
        Answer(REDIRECT, redirect=("127.0.0.1", 70000)),
        Answer(REDIRECT, redirect=("x" * 300, 10710)),
        Answer(REDIRECT, redirect=("", 10710)),
    )
    assert probe(node, wait_ms=8000).joined["node"] == "2"


@pytest.mark.parametrize("code", [WARMING_UP, NOT_INITIALIZED, NO_CLUSTER_ID, REDIRECT, 4711])
def test_passing_codes_are_waited_for(node: ConfigNode, probe: Any, code: int) -> None:
    node.script("registerAINode", Answer(code, "not yet"), Answer(code))
    outcome = probe(node)
    assert outcome.joined["node"] == "2"
    times = [call.at for call in node.calls("registerAINode")]
    assert len(times) == 3
    assert times[1] - times[0] > 0.9
    assert f"code {code}: not yet" in outcome.log


def test_a_wait_is_bounded_and_tells_the_last_reason(node: ConfigNode, probe: Any) -> None:
    node.script("registerAINode", *[Answer(WARMING_UP, "leader is warming up")] * 20)
    outcome = probe(node, wait_ms=1500)
    assert int(outcome.failed["code"]) == UNREACHABLE
    assert "leader is warming up" in outcome.message
    assert 1.2 < outcome.seconds < 15  # twenty answers take longer


def test_waits_for_a_confignode_that_comes_later(bindings: Bindings, probe: Any) -> None:
    node = ConfigNode(bindings, port=free_port())
    timer = threading.Timer(6.0, node.start)
    timer.start()
    try:
        outcome = probe(node, wait_ms=30000)
    finally:
        timer.join()
        node.stop()
    assert outcome.joined["node"] == "2"
    assert outcome.log.count("Connection refused") >= 3


def test_one_try_asks_every_seed_once(bindings: Bindings, probe: Any) -> None:
    dead = f"127.0.0.1:{free_port()}"
    with ConfigNode(bindings) as node:
        node.script("registerAINode", Answer(WARMING_UP))
        outcome = probe(dead, node, wait_ms=0)
        assert int(outcome.failed["code"]) == UNREACHABLE
        assert "Connection refused" in outcome.message
        assert "1014" in outcome.message
        assert len(node.calls("registerAINode")) == 1
        assert probe(dead, node, wait_ms=0).joined["node"] == "2"


def test_a_slow_answer_is_waited_for(node: ConfigNode, probe: Any) -> None:
    node.script("registerAINode", Slow(1.5))
    assert float(probe(node).joined["ms"]) > 1400


@pytest.mark.parametrize("state", ["connecting", "waiting", "warming up", "joined"])
def test_freeing_is_prompt(node: ConfigNode, probe: Any, state: str) -> None:
    seeds: list[Any] = [node]
    if state == "connecting":
        seeds = [f"127.0.0.1:{free_port()}"]
    elif state == "waiting":
        node.script("registerAINode", Silent())
    elif state == "warming up":
        node.script("registerAINode", *[Answer(WARMING_UP)] * 100)
    outcome = probe(*seeds, wait_ms=-1, free_after_ms=2500, run_ms=15000)
    assert float(outcome.events["freed"]["took_ms"]) < 2000
    assert ("joined" in outcome.events) == (state == "joined")


# --- refusals


def test_wrong_cluster_name(bindings: Bindings, probe: Any) -> None:
    with ConfigNode(bindings, cluster_name="other") as node:
        outcome = probe(node)
        assert int(outcome.failed["code"]) == REJECTED
        assert "cluster_name=defaultCluster" in outcome.message
        assert len(node.calls("registerAINode")) == 1


@pytest.mark.parametrize("modern", [False, True], ids=["1506", "1501"])
def test_another_ainode_is_registered(bindings: Bindings, probe: Any, tmp_path: Path, modern: bool) -> None:
    with ConfigNode(bindings, modern=modern) as node:
        probe(node, port=10811)
        outcome = probe(node, port=10812, system_dir=tmp_path / "second")
        assert int(outcome.failed["code"]) == REJECTED
        assert "SHOW AINODES" in outcome.message
        assert "REMOVE AINODE" in outcome.message
        assert not (tmp_path / "second" / "system.properties").exists()


def test_the_address_is_taken(node: ConfigNode, probe: Any, tmp_path: Path) -> None:
    probe(node, port=10811)
    outcome = probe(node, port=10811, system_dir=tmp_path / "second")
    assert int(outcome.failed["code"]) == REJECTED
    assert "127.0.0.1:10811 is registered already" in outcome.message


def test_the_id_was_removed(node: ConfigNode, probe: Any, system_dir: Path) -> None:
    probe(node)
    node.nodes.clear()
    outcome = probe(node)
    assert int(outcome.failed["code"]) == REJECTED
    assert f"delete {system_dir / 'system.properties'}" in outcome.message
    assert (system_dir / "system.properties").exists()


def test_restart_in_another_cluster(node: ConfigNode, probe: Any) -> None:
    probe(node)
    outcome = probe(node, cluster_name="mine")
    assert int(outcome.failed["code"]) == REJECTED
    assert "cluster_name=mine" in outcome.message
    assert 'registered in "defaultCluster"' in outcome.log


def test_a_peers_text_cannot_forge_log_lines(node: ConfigNode, probe: Any) -> None:
    node.script("registerAINode", Answer(REJECT_NODE_START, "no\nroot: all is well\x1b[2J" + "x" * 5000))
    outcome = probe(node)
    assert "\nroot" not in outcome.log
    assert "\x1b" not in outcome.message
    assert len(outcome.message) < 1500


# --- lost answers


def test_a_registration_whose_answer_was_lost_is_found_again(node: ConfigNode, probe: Any, system_dir: Path) -> None:
    node.script("registerAINode", Cut(5))
    outcome = probe(node)
    assert outcome.joined["node"] == "2"
    assert dict(properties(system_dir))["ainode_id"] == "2"
    assert "whose answer was lost" in outcome.log


def test_a_lost_answer_does_not_steal_another_nodes_id(node: ConfigNode, probe: Any, tmp_path: Path) -> None:
    probe(node, port=10811)
    node.script("registerAINode", Cut(0))
    outcome = probe(node, port=10812, system_dir=tmp_path / "second")
    assert int(outcome.failed["code"]) == REJECTED


@pytest.mark.parametrize("compact", [False, True], ids=["binary", "compact"])
def test_cut_at_every_byte(bindings: Bindings, probe: Any, compact: bool) -> None:
    """Every truncation of an answer is a failed try with a reason, and changes nothing."""
    flags = {"compact": True} if compact else {}
    with ConfigNode(bindings, compact=compact) as node:
        probe(node, **flags)
        size = 0

        def measure(message: bytes) -> bytes:
            nonlocal size
            size = len(message) + 4
            return message

        node.script("restartAINode", Mangle(measure))
        probe(node, **flags)
        assert size > 60
        node.script("restartAINode", *[Cut(at) for at in range(size)])
        for _ in range(size):
            outcome = probe(node, wait_ms=0, **flags)
            assert int(outcome.failed["code"]) == UNREACHABLE
            assert "closed the connection" in outcome.message
        assert probe(node, **flags).joined["node"] == "2"


# --- not a ConfigNode


@pytest.mark.parametrize(
    ("service", "says"),
    [
        (RawService(answer=b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), "HTTP/1.1 400 Bad Request"),
        (RawService(banner=b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", close=False), "SSH-2.0-OpenSSH"),
        (RawService(answer=b"\x15\x03\x01\x00\x02\x02\x46"), "TLS"),
        (RawService(answer=b"\x80\x01\x00\x02\x00\x00\x00\x0eregisterAINode"), "without frames"),
        (RawService(answer=b"\x00\x00\x00\x00"), "not a ConfigNode"),
        (RawService(answer=b"\xff\xff\xff\xff"), "not a ConfigNode"),
        (RawService(answer=b"\x00\x00\x00\x05hello"), "nor the compact protocol"),
        (RawService(answer=b"\x00\x00\x00\x50" + bytes(range(128, 208))), "protocol"),
        (RawService(answer=b""), "closed the connection without an answer"),
        (RawService(), "closed the connection"),
    ],
    ids=["http", "ssh", "tls", "unframed", "zero", "huge", "text-frame", "garbage", "closed", "closed-at-once"],
)
def test_another_service_on_the_port(probe: Any, service: RawService, says: str) -> None:
    with service:
        outcome = probe(service, wait_ms=0)
    assert int(outcome.failed["code"]) == UNREACHABLE
    assert says in outcome.message, outcome.message
    assert "ain_seed_config_node" in outcome.message


def test_a_silent_port(probe: Any) -> None:
    with RawService(close=False) as service:
        outcome = probe(service, wait_ms=1000)
        assert int(outcome.failed["code"]) == UNREACHABLE
        assert "did not answer in time" in outcome.message
        assert outcome.seconds < 10


def test_a_datanode_port(node: ConfigNode, probe: Any) -> None:
    node.script("registerAINode", Fail(1, "Invalid method name: 'registerAINode'"))
    outcome = probe(node, wait_ms=0)
    assert int(outcome.failed["code"]) == UNREACHABLE
    assert "DataNode" in outcome.message


def test_an_internal_error_of_the_confignode_is_tried_again(node: ConfigNode, probe: Any) -> None:
    node.script("registerAINode", Fail(6, "NullPointerException"))
    outcome = probe(node)
    assert outcome.joined["node"] == "2"
    assert "NullPointerException" in outcome.log


@pytest.mark.parametrize("ours", [False, True], ids=["we-binary", "we-compact"])
def test_the_other_protocol_is_named(bindings: Bindings, probe: Any, ours: bool) -> None:
    flags = {"compact": True} if ours else {}
    with ConfigNode(bindings, compact=not ours) as node:
        outcome = probe(node, wait_ms=0, **flags)
        assert f"ain_thrift_compression_enabled={int(ours)}" in outcome.message


def test_hostile_replies_end_in_sentences(node: ConfigNode, probe: Any) -> None:
    """What crashed generated readers: see test_reply_check.c for the exhaustive version."""
    head = b"\x80\x01\x00\x02\x00\x00\x00\x0eregisterAINode\x00\x00\x00\x00"
    bodies = [
        b"\x0b\x00\x00\xff\xff\xff\xfb",
        b"\x0c\x00\x00" * 100000,
        b"\x0c\x00\x00" + b"\x0c\x00\x63" * 1000,
        b"\x0c\x00\x00\x0c\x00\x01\x08\x00\x01\x00\x00\x00\xc8\x08\x00\x01\x00\x00\x00\xc8",
        b"\x00",
    ]
    for body in bodies:
        message = head + body
        node.script("registerAINode", Raw(struct.pack(">I", len(message)) + message))
        outcome = probe(node, wait_ms=0)
        assert int(outcome.failed["code"]) == UNREACHABLE
        assert node.nodes == {}


def test_a_wrong_sequence_id_is_refused(node: ConfigNode, probe: Any) -> None:
    node.script("registerAINode", Mangle(lambda message: message[:22] + b"\x00\x00\x00\x07" + message[26:]))
    assert "sequence id 7" in probe(node, wait_ms=0).message


# --- the release


@pytest.mark.parametrize(
    ("versions", "families"),
    [
        ({0: ("2.0.1-beta", "x"), 1: ("2.0.1-beta", "x")}, [A]),
        ({0: ("2.0.10", "x"), 1: ("2.0.10", "x")}, [H]),
        ({0: ("2.0.11", "x"), 1: ("2.0.8", "x")}, [G]),
        ({0: ("UNKNOWN", "UNKNOWN"), 1: ("2.0.6", "x")}, [F]),
        ({0: ("UNKNOWN", "UNKNOWN"), 1: ("UNKNOWN", "UNKNOWN")}, []),
    ],
    ids=["oldest", "newest", "mixed", "half-known", "unknown"],
)
def test_the_release_is_learnt(
    bindings: Bindings, probe: Any, versions: dict[int, tuple[str, str]], families: list[int]
) -> None:
    with ConfigNode(bindings, versions=versions) as node:
        outcome = probe(node, run_ms=20000, await_release=True) if families else probe(node, run_ms=2000)
        assert int(outcome.events["start"]["family"]) == E
        assert outcome.releases == families
        assert "showCluster" in outcome.log


def test_a_frame_tells_the_release_when_versions_do_not(bindings: Bindings, probe: Any) -> None:
    with ConfigNode(bindings, versions={0: ("UNKNOWN", ""), 1: ("UNKNOWN", "")}) as node:
        assert probe(node, run_ms=20000, await_release=True, evidence=H).releases == [H]
        assert probe(node, run_ms=500, evidence=D | E | F).releases == []


def test_versions_count_more_than_frames(bindings: Bindings, probe: Any) -> None:
    with ConfigNode(bindings, versions={0: ("2.0.6", ""), 1: ("2.0.6", "")}) as node:
        assert probe(node, run_ms=3000, evidence=H).releases[-1] == F


def test_a_configured_release_is_kept(node: ConfigNode, probe: Any) -> None:
    outcome = probe(node, run_ms=500, version="2.0.10")
    assert int(outcome.events["start"]["family"]) == H
    assert outcome.releases == []


def test_showcluster_is_asked_again_until_it_answers(bindings: Bindings, probe: Any) -> None:
    with ConfigNode(bindings, versions={0: ("2.0.10", "")}) as node:
        node.script("showCluster", Fail(6, "busy"), Answer(WARMING_UP), Raw(b"\x00\x00\x00\x01x"))
        assert probe(node, run_ms=10000, await_release=True).releases == [H]


def test_a_new_peer_makes_it_ask_again(bindings: Bindings, probe: Any) -> None:
    """Within seconds instead of a minute, and once however many peers come."""
    with ConfigNode(bindings, versions={0: ("2.0.5", ""), 1: ("2.0.5", "")}) as node:

        def change() -> None:
            node.wait_for_calls("showCluster", 1, 30)
            time.sleep(0.5)  # the answer of before is on its way
            node.versions.update({0: ("2.0.10", ""), 1: ("2.0.10", "")})

        upgrade = threading.Thread(target=change)
        upgrade.start()
        outcome = probe(node, run_ms=35000, refresh_ms=3000, await_release=True)
        upgrade.join()
        assert outcome.releases == [H]
        assert outcome.seconds < 40
        assert len(node.calls("showCluster")) == 2


# --- removal


def test_remove_by_own_id(node: ConfigNode, probe: Any) -> None:
    probe(node, port=10811)
    outcome = probe(node, remove=-1)
    assert "done" in outcome.events
    assert node.nodes == {}
    (call,) = node.calls("removeAINode")
    assert call.args.req.aiNodeLocation.aiNodeId == 2
    assert call.args.req.aiNodeLocation.internalEndPoint.port == 10811


def test_remove_by_id_and_address(node: ConfigNode, probe: Any, tmp_path: Path) -> None:
    probe(node, port=10811)
    found = probe(node, find="127.0.0.1:10811", system_dir=tmp_path / "elsewhere")
    assert found.events["done"]["node"] == "2"
    assert "done" in probe(node, remove=2, system_dir=tmp_path / "elsewhere").events
    assert node.nodes == {}


def test_a_modern_cluster_never_removes_another_node(bindings: Bindings, probe: Any) -> None:
    with ConfigNode(bindings, modern=True) as node:
        probe(node)
        outcome = probe(node, remove=9)
        assert int(outcome.failed["code"]) == REJECTED
        assert "no AINode 9" in outcome.message
        assert list(node.nodes) == [2]


def test_remove_follows_the_leader_and_survives_a_lost_answer(bindings: Bindings, probe: Any) -> None:
    with ConfigNode(bindings) as leader, ConfigNode(bindings) as follower:
        probe(leader)
        follower.leader = leader
        leader.script("removeAINode", Cut(3))
        assert "done" in probe(follower, remove=2).events
        assert leader.nodes == {}


def test_remove_without_identity_or_cluster(probe: Any, node: ConfigNode) -> None:
    outcome = probe(node, remove=-1)
    assert int(outcome.failed["code"]) == INVALID
    assert "SHOW AINODES" in outcome.message
    outcome = probe(f"127.0.0.1:{free_port()}", remove=3, wait_ms=0)
    assert int(outcome.failed["code"]) == UNREACHABLE


# --- the stand-in itself


def test_heartbeats_report_a_node_that_does_not_answer(bindings: Bindings) -> None:
    with ConfigNode(bindings, heartbeat_s=0.05) as node:
        common = bindings.common
        location = common.TAINodeLocation(1, common.TEndPoint("127.0.0.1", free_port()))
        node.nodes[1] = AINode(1, common.TAINodeConfiguration(location, common.TNodeResource(1, 1)), None)
        deadline = time.monotonic() + 20
        while not node.heartbeats and time.monotonic() < deadline:
            time.sleep(0.02)
        assert node.heartbeats[0].error is not None
