"""The data session and `ainode query` against real DataNodes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from iotdb_cluster import Cluster
from session_support import PROBE, Outcome, run_probe, run_query

ROWS = 120_000
TYPES = ["BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE", "TEXT", "STRING", "BLOB", "TIMESTAMP", "DATE"]
NAMES = ["b", "i", "l", "f", "d", "t", "s", "bl", "ts", "da"]
VALUES = "true,-2147483648,-9223372036854775808,0.1,0.1,'a,\"b\"','é',X'00ff',1700000000123,'2024-02-29'"
MASK = (1 << 64) - 1
EXPECTED = [
    'true,-2147483648,-9223372036854775808,0.1,0.1,"a,""b""",é,0x00ff,2023-11-14T22:13:20.123Z,2024-02-29',
    ',7,,,,"",,,,',
]


@pytest.fixture(scope="session")
def loaded(cluster: Cluster) -> Cluster:
    """The cluster with rows of every type and a long series, in both dialects."""
    columns = ", ".join(NAMES)
    cluster.execute(
        "CREATE DATABASE root.kinds",
        *(f"CREATE TIMESERIES root.kinds.d.{n} {t}" for n, t in zip(NAMES, TYPES, strict=True)),
        f"INSERT INTO root.kinds.d(time, {columns}) VALUES (1, {VALUES})",
        "INSERT INTO root.kinds.d(time, i, t) VALUES (2, 7, '')",
        "CREATE DATABASE root.long",
        "CREATE TIMESERIES root.long.d.n INT64",
    )
    fields = ", ".join(f"{n} {t} FIELD" for n, t in zip(NAMES, TYPES, strict=True))
    cluster.execute(
        "CREATE DATABASE kinds",
        "USE kinds",
        f"CREATE TABLE everything (tag STRING TAG, {fields}, nothing DOUBLE FIELD)",
        f"INSERT INTO everything(time, tag, {columns}) VALUES (1, 'x', {VALUES})",
        "INSERT INTO everything(time, tag, i, t) VALUES (2, 'y', 7, '')",
        "CREATE TABLE long (n INT64 FIELD)",
        table=True,
    )
    _load_long(cluster)
    return cluster


def _load_long(cluster: Cluster) -> None:
    """Row i (time i + 1) of both series is 3 * i."""
    import numpy as np
    from iotdb.utils.IoTDBConstants import TSDataType
    from iotdb.utils.NumpyTablet import NumpyTablet
    from iotdb.utils.Tablet import ColumnType

    for table in (False, True):
        with cluster._session(table, "kinds" if table else None) as session:
            for first in range(0, ROWS, 30_000):
                at = np.arange(first, first + 30_000, dtype=np.int64)
                name = "long" if table else "root.long.d"
                kinds = [ColumnType.FIELD] if table else None
                tablet = NumpyTablet(name, ["n"], [TSDataType.INT64], [3 * at], at + 1, column_types=kinds)
                if table:
                    session.insert_relational_tablet(tablet)
                else:
                    session.insert_tablet(tablet)


def ask(cluster: Cluster, *args: str, **options: object) -> Outcome:
    return run_probe(*args, nodes=[f"127.0.0.1:{cluster.ports['rpc']}"], **options)


def check_sum(values: range) -> int:
    return sum((at + 1) * value for at, value in enumerate(values)) & MASK


def test_check(loaded: Cluster, tmp_path: Path) -> None:
    done = run_query(tmp_path, loaded.ports["rpc"])
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"The DataNode 127.0.0.1:{loaded.ports['rpc']} (release {loaded.version}) accepts the login of user \"root\".\n"
    )


def test_every_type_tree(loaded: Cluster, tmp_path: Path) -> None:
    columns = ", ".join(NAMES)
    done = run_query(tmp_path, loaded.ports["rpc"], "--csv", f"SELECT {columns} FROM root.kinds.d")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\r\n")
    assert lines[0] == "Time," + ",".join(f"root.kinds.d.{name}" for name in NAMES)
    stamps = ["1970-01-01T00:00:00.001Z", "1970-01-01T00:00:00.002Z"]
    assert lines[1:3] == [f"{stamp},{line}" for stamp, line in zip(stamps, EXPECTED, strict=True)]


def test_every_type_table(loaded: Cluster, tmp_path: Path) -> None:
    options = ("--dialect", "table", "--database", "kinds", "--csv")
    done = run_query(tmp_path, loaded.ports["rpc"], *options, "SELECT * FROM everything ORDER BY time")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\r\n")
    assert lines[0] == "time,tag," + ",".join(NAMES) + ",nothing"
    assert lines[1:3] == [
        f"1970-01-01T00:00:00.001Z,x,{EXPECTED[0]},",
        f"1970-01-01T00:00:00.002Z,y,{EXPECTED[1]},",
    ]
    done = run_query(tmp_path, loaded.ports["rpc"], *options, "SELECT * FROM everything WHERE tag = 'none'")
    assert done.stdout == lines[0] + "\r\n"


def test_paging(loaded: Cluster) -> None:
    """More rows than a page has, each at its place, whatever the pages' size."""
    for fetch_rows in (0, 777):
        check_paging(loaded, fetch_rows)


def check_paging(loaded: Cluster, fetch_rows: int) -> None:
    outcome = ask(loaded, "SELECT n FROM root.long.d", "SELECT n FROM root.long.d", fetch_rows=fetch_rows)
    for rows in outcome.all("rows"):
        assert rows["n"] == str(ROWS)
        assert rows["sums"] == f"{check_sum(range(1, ROWS + 1))},{check_sum(range(0, 3 * ROWS, 3))}"
    assert len(outcome.all("done")) == 2
    rows = ask(loaded, "SELECT n FROM long ORDER BY time", table=True, database="kinds", fetch_rows=fetch_rows).one(
        "rows"
    )
    assert (rows["n"], rows["sums"]) == (str(ROWS), str(check_sum(range(0, 3 * ROWS, 3))))


def test_result_that_is_left(loaded: Cluster) -> None:
    """Closing early ends the query; the session goes on."""
    outcome = ask(loaded, *["SELECT n FROM root.long.d"] * 3, "SHOW VERSION", fetch_rows=1000, stop_after=1)
    assert len(outcome.all("done")) == 4
    assert not loaded_queries(loaded), "no query runs on"


def loaded_queries(cluster: Cluster) -> list[str]:
    shown = cluster.query("SHOW QUERIES")
    at = shown.columns.index("Statement") if "Statement" in shown.columns else -1
    return [str(row[at]) for row in shown.rows if "root.long" in str(row[at])]


def test_refusals(loaded: Cluster) -> None:
    refused = ask(loaded, password="wrong").one("refused")
    assert "801" in refused["message"] and "ain_cluster_ingress_password" in refused["message"]
    refused = ask(loaded, user="nobody").one("refused")
    assert refused["code"] == "19"
    assert "ain_cluster_ingress_time_zone" in ask(loaded, zone="Nowhere").one("refused")["message"]
    outcome = ask(loaded, "SELECT n FROM long", "SELECT n FROM kinds.long LIMIT 1", table=True, database="absent")
    assert "'absent.long' does not exist" in outcome.one("failed")["message"]
    assert outcome.one("rows")["n"] == "1", "the session goes on after a refused statement"
    assert "700" in ask(loaded, "SELECT FROM").one("failed")["message"]


def test_deadline(loaded: Cluster) -> None:
    outcome = ask(loaded, "SELECT n FROM root.long.d", deadline_ms=400, pause_ms=50, fetch_rows=1000)
    assert outcome.one("failed")["code"] == "14"
    assert outcome.seconds < 10


def test_parallel_sessions(loaded: Cluster) -> None:
    outcome = ask(loaded, "SELECT n FROM root.long.d", threads=4)
    assert {rows["n"] for rows in outcome.all("rows")} == {str(ROWS)} and len(outcome.all("rows")) == 4


def test_datanode_killed_in_mid_query(release: str, loaded: Cluster) -> None:
    """The last test of this cluster's data: its DataNode stops, then all of it restarts."""
    command = [str(PROBE), "--nodes", f"127.0.0.1:{loaded.ports['rpc']}", "--fetch-rows", "1000", "--pause-ms", "30"]
    with subprocess.Popen([*command, "SELECT n FROM root.long.d"], stdout=subprocess.PIPE, text=True) as reading:
        assert reading.stdout is not None
        assert reading.stdout.readline().startswith("opened")
        time.sleep(0.5)
        os.kill(loaded.pids["datanode"][0], signal.SIGKILL)
        rest = reading.stdout.read()
    assert "failed" in rest and "code=20" in rest and "after" in rest, rest
    started = time.monotonic()
    refused = ask(loaded, "SHOW VERSION").one("refused")
    assert refused["code"] == "20" and time.monotonic() - started < 20
    loaded.restart()
    assert ask(loaded, "SELECT n FROM root.long.d").one("rows")["n"] == str(ROWS)
