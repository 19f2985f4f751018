"""A model that takes longer than the DataNode waits: it asks again, and one run serves all its tries.

The real times, 70 s and 60 s, so that it runs with --all only; tests/faults/test_resent.py has a tenth of them.
"""

from __future__ import annotations

import re
import time
from typing import Callable

import pytest
from ainode import Installation, ask_model
from iotdb_cluster import Cluster
from releases import calls_inference

RUNS = 5  # to measure
Make = Callable[[str], str]
pytestmark = pytest.mark.releases("2.0.6", "2.0.7", "2.0.10")
MODEL_S = 70
WAITS_S = 60  # dn_connection_timeout_ms of the DataNode


def test_second_try_gets_the_answer(cluster: Cluster, make: Make, node: Installation) -> None:
    """A model of 70 s, as the node and the cluster are configured without us."""
    node.stop()
    node.start_running(cluster)  # its totals begin anew
    name = make("works_one_column")
    cluster.execute("CREATE ALIGNED TIMESERIES root.t.slow(s0 FLOAT)")
    if by_forecast := not calls_inference(cluster.version):
        cluster.execute("CREATE TABLE slow(s0 FLOAT FIELD)", table=True, database="t")

    def ask(rounds: float) -> float:
        rows = ", ".join(f"({row * 1000}, {1e6 + rounds if row == 3 else row})" for row in range(96))
        cluster.execute(f"INSERT INTO root.t.slow(time, s0) ALIGNED VALUES {rows}")
        if by_forecast:
            cluster.execute(f"INSERT INTO slow(time, s0) VALUES {rows}", table=True, database="t")
        started = time.monotonic()
        answer = ask_model(cluster, name, "select s0 from root.t.slow", timeout_s=600)
        took = time.monotonic() - started
        assert len(answer.rows) == 96 and float(answer.rows[3][0]) == pytest.approx(1e6 + rounds)
        return took

    per_second = 8000 / min(ask(8000) for _ in range(RUNS))
    before = node.log_tail(100000)
    took = ask(int(MODEL_S * 1.15 * per_second))
    text = (cluster.log("datanode")).read_text(errors="replace")
    # 2.0.6 and 2.0.7 ask again without a line in their log.
    print(f"{took:.1f} s; the DataNode's log has {len(re.findall('Read timed out', text))} time-outs")
    assert took > WAITS_S, "the DataNode did not give up"
    node.stop()
    log = node.log_tail(100000)[len(before) :]
    node.start_running(cluster)
    found = re.findall(r"totals: .* (\d+) model runs of", log)
    probes = 1  # a forecast when the node had started
    assert found and int(found[-1]) == probes + RUNS + 1, "the model ran more often than it was asked"
