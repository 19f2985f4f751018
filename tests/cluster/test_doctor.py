"""The doctor against real clusters: what it asks is understood, and changes nothing there."""

from __future__ import annotations

import json
from typing import Any

from ainode import Installation
from iotdb_cluster import Cluster


def examine(node: Installation, *options: str) -> dict[str, list[dict[str, Any]]]:
    """The findings by check."""
    done = node.script("doctor-ainode.sh", "-i", node.python, "--json", *options)
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return found


def test_running_node_is_fit(cluster: Cluster, node: Installation) -> None:
    before = cluster.query("SHOW CLUSTER").rows
    found = examine(node)
    for check in ("instance", "port", "seeds", "name", "members", "data-node", "advertised"):
        assert [one["verdict"] for one in found[check]] == ["ok"] * len(found[check]), found[check]
    row = node.row(cluster)
    assert row is not None
    assert (
        f"the cluster knows this node, id {row['NodeID']} at 127.0.0.1:{node.port}" in found["members"][0]["evidence"]
    )
    assert "is served by the AINode that runs here" in found["port"][0]["evidence"]
    assert len(cluster.query("SHOW CLUSTER").rows) == len(before)


def test_data_node_is_no_config_node(cluster: Cluster, node: Installation) -> None:
    """The usual mistake: the port that clients use."""
    (seed,) = examine(node, "-D", f"ain_seed_config_node=127.0.0.1:{cluster.ports['rpc']}")["seeds"]
    assert seed["verdict"] == "error" and "not a ConfigNode" in seed["evidence"], seed


def test_wrong_name(cluster: Cluster, node: Installation) -> None:
    (name,) = examine(node, "-D", "cluster_name=another")["name"]
    assert name["verdict"] == "error" and cluster.cluster_name in name["evidence"], name
