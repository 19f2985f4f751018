"""The session against a DataNode that fails on demand."""

from __future__ import annotations

import struct
import time
from typing import Any

import pytest
from session_support import Outcome, Probe, Query
from standins.confignode import Answer, Cut, Fail, Mangle, Raw, RawService, Silent, Slow
from standins.datanode import Bindings, DataNode, Table, encode_block

EXECUTE, FETCH, OPEN = "executeQueryStatementV2", "fetchResultsV2", "openSession"
INVALID, MALFORMED, TOO_LARGE, TIMEOUT, CANCELLED, UNSUPPORTED, REJECTED, UNREACHABLE = 2, 3, 4, 14, 15, 18, 19, 20
MASK = (1 << 64) - 1

EVERY_TYPE = Table(
    ["b", "i", "l", "f", "d", "t", "s", "bl", "ts", "da"],
    ["BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE", "TEXT", "STRING", "BLOB", "TIMESTAMP", "DATE"],
    [
        [True, -(2**31), -(2**63), 0.1, 0.1, 'a,"b"\nc', "é", b"\x00\xff", 1700000000123, 20240229],
        [None] * 10,
        [False, 7, 2**63 - 1, float("nan"), float("-inf"), "", "\x1b[2J", b"", -1, 19700101],
    ],
)


def numbers(count: int, block_rows: int = 1000) -> Table:
    """Rows 0, 1, 2, ... with every seventh null."""
    rows = [[None if at % 7 == 3 else at] for at in range(count)]
    return Table(["n"], ["INT64"], rows, block_rows=block_rows)


def sum_of(table: Table) -> int:
    """The probe's check sum of a column of integers."""
    return sum((at + 1) * (1 if row[0] is None else row[0]) for at, row in enumerate(table.rows)) & MASK


def rows_of(outcome: Outcome) -> dict[str, str]:
    return outcome.one("rows")


def test_every_type(node: DataNode, query: Query) -> None:
    node.tables["select *"] = EVERY_TYPE
    done = query("--csv", "select *")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.encode().split(b"\r\n")
    assert lines[0] == b"b,i,l,f,d,t,s,bl,ts,da"
    assert lines[1].decode() == (
        'true,-2147483648,-9223372036854775808,0.1,0.1,"a,""b""\nc",é,0x00ff,2023-11-14T22:13:20.123Z,2024-02-29'
    )
    assert lines[2] == b"," * 9
    assert lines[3] == (
        b'false,7,9223372036854775807,NaN,-Infinity,"",\x1b[2J,0x,1969-12-31T23:59:59.999Z,1970-01-01'
    )
    shown = query("select *")
    assert "\x1b" not in shown.stdout and "\\u001b[2J" in shown.stdout
    assert "(3 rows)" in shown.stdout


def test_pages(node: DataNode, probe: Probe) -> None:
    table = node.tables["select n"] = numbers(100_003)
    outcome = probe("select n", fetch_rows=2500)
    assert rows_of(outcome) == {"n": "100003", "blocks": "121", "sums": str(sum_of(table))}
    assert len(node.calls(FETCH)) == 40
    assert not node.calls("closeOperation"), "the DataNode has ended the query itself"
    assert len(node.calls("closeSession")) == 1
    request = node.calls(EXECUTE)[0].args.req
    assert (request.fetchSize, request.statementId) == (2500, request.sessionId * 10)
    opened = node.calls(OPEN)[0].args.req
    assert (opened.client_protocol, opened.zoneId, opened.username) == (2, "UTC+8", "root")
    assert opened.configuration == {"version": "V_1_0", "sql_dialect": "tree"}


def test_tree_time_and_places(node: DataNode, query: Query) -> None:
    node.tables["select b, a, a from root.x"] = Table(
        ["root.x.b", "root.x.a", "root.x.a"], ["INT32", "TEXT", "TEXT"], [["x", 1], [None, 2]], [5, 6], places=[1, 0, 0]
    )
    done = query("--csv", "select b, a, a from root.x")
    assert done.stdout.split("\r\n") == [
        "Time,root.x.b,root.x.a,root.x.a",
        "1970-01-01T00:00:00.005Z,1,x,x",
        "1970-01-01T00:00:00.006Z,2,,",
        "",
    ]


def test_table_dialect_and_database(node: DataNode, probe: Probe) -> None:
    node.tables["select n"] = numbers(3)
    probe("select n", table=True, database="db1", zone="Asia/Shanghai")
    opened = node.calls(OPEN)[0].args.req
    assert opened.configuration == {"version": "V_1_0", "sql_dialect": "table", "db": "db1"}
    assert opened.zoneId == "Asia/Shanghai"


@pytest.mark.parametrize(("precision", "ticks"), [("ms", 1000), ("us", 10**6), ("ns", 10**9), (None, 1000)])
def test_precision(bindings: Bindings, probe: Probe, precision: str | None, ticks: int) -> None:
    with DataNode(bindings, precision=precision) as node:
        assert probe(nodes=[node]).one("opened")["ticks"] == str(ticks)


def test_unknown_precision(bindings: Bindings, probe: Probe) -> None:
    with DataNode(bindings, precision="fortnights") as node:
        assert "precision" in probe(nodes=[node]).one("refused")["message"]


def test_wrong_password(node: DataNode, probe: Probe, query: Query) -> None:
    refused = probe(password="guess-what").one("refused")
    assert refused["code"] == str(REJECTED)
    assert "801: Authentication failed; check ain_cluster_ingress_username" in refused["message"]
    done = query("-D", "ain_cluster_ingress_password=guess-what")
    assert done.returncode == 6
    assert "guess-what" not in refused["message"] + done.stdout + done.stderr
    assert len(node.calls(OPEN)) == 2, "a wrong password is not tried twice: users get locked"


def test_check(node: DataNode, query: Query) -> None:
    done = query()
    assert done.returncode == 0
    assert done.stdout == f'The DataNode 127.0.0.1:{node.port} (release 2.0.5) accepts the login of user "root".\n'
    node.tables.clear()
    assert "(release unknown)" in query().stdout


def test_nobody_there(probe: Probe) -> None:
    refused = probe(nodes=["127.0.0.1:1"]).one("refused")
    assert refused["code"] == str(UNREACHABLE)
    assert "127.0.0.1:1: cannot connect (Connection refused)" in refused["message"]
    assert "ain_cluster_ingress_port" in refused["message"]


def test_waits_for_a_datanode(bindings: Bindings, probe: Probe) -> None:
    with DataNode(bindings) as node:
        node.script(OPEN, Answer(203, "starting"), Answer(602))
        assert probe(nodes=[node], wait_ms=5000).one("opened")
        node.script(OPEN, *[Answer(203, "starting")] * 20)
        refused = probe(nodes=[node], wait_ms=700)
        assert 0.5 < refused.seconds < 9  # twenty answers take longer
        assert "203: starting" in refused.one("refused")["message"]


def test_other_addresses(bindings: Bindings, node: DataNode, probe: Probe) -> None:
    node.tables["select n"] = numbers(5)
    with DataNode(bindings) as other:
        other.tables = node.tables
        outcome = probe("select n", nodes=["127.0.0.1:1", node, other])
        assert outcome.one("opened")["address"] == node.endpoint
        # The node in use loses its leader: the next one is asked.
        node.script(EXECUTE, *[Answer(905, "leader changed")] * 5)
        outcome = probe("select n", nodes=[node, other])
        assert outcome.one("opened")["address"] == node.endpoint
        assert outcome.one("done")["address"] == other.endpoint
        node.script(EXECUTE, *[Raw(b"")] * 5)  # dies in the middle of the query
        outcome = probe("select n", nodes=[node, other])
        assert outcome.one("done")["address"] == other.endpoint


def test_further_nodes_of_the_configuration(bindings: Bindings, node: DataNode, query: Query) -> None:
    with DataNode(bindings) as other:
        node.stop()
        more = f"ain_cluster_ingress_nodes=127.0.0.1:1, {other.endpoint}"
        assert f"The DataNode {other.endpoint} " in query("-D", more).stdout
    done = query("-D", more)
    assert done.returncode == 1
    assert all(text in done.stderr for text in (node.endpoint, "127.0.0.1:1: ", other.endpoint)), done.stderr


def test_compact(bindings: Bindings, probe: Probe) -> None:
    with DataNode(bindings, compact=True) as node:
        table = node.tables["select n"] = numbers(2000)
        outcome = probe("select n", "select n", nodes=[node], fetch_rows=300)
        assert [rows["sums"] for rows in outcome.all("rows")] == [str(sum_of(table))] * 2


def test_redirect_is_a_success(node: DataNode, probe: Probe) -> None:
    table = node.tables["select n"] = numbers(2500)
    node.script(EXECUTE, Answer(400, redirect=("10.0.0.1", 6667)))
    assert rows_of(probe("select n", fetch_rows=1000))["sums"] == str(sum_of(table))


@pytest.mark.parametrize("code", [203, 204, 306, 602, 709, 712, 713, 717, 903, 904, 905, 906, 1007, 1010, 1014, 2207])
def test_passing_codes_are_repeated(node: DataNode, probe: Probe, code: int) -> None:
    node.tables["select n"] = numbers(3)
    node.script(EXECUTE, Answer(code, "not now"))
    assert rows_of(probe("select n"))["n"] == "3"
    assert len(node.calls(EXECUTE)) == 2


def test_passing_code_for_ever(node: DataNode, probe: Probe) -> None:
    node.script(EXECUTE, *[Answer(717, "too many queries")] * 10)
    failed = probe("select n").one("failed")
    assert failed["code"] == str(UNREACHABLE) and "717: too many queries" in failed["message"]
    assert len(node.calls(EXECUTE)) == 4


@pytest.mark.parametrize(("code", "wanted"), [(301, REJECTED), (550, REJECTED), (700, REJECTED), (803, REJECTED)])
def test_refusals_are_not_repeated(node: DataNode, probe: Probe, code: int, wanted: int) -> None:
    node.script(EXECUTE, Answer(code, "no\nsuch\x1bthing"))
    failed = probe("select n").one("failed")
    assert failed["code"] == str(wanted)
    assert f"code {code}: no such thing" in failed["message"]
    assert len(node.calls(EXECUTE)) == 1


def test_query_timeout_of_the_server(node: DataNode, probe: Probe) -> None:
    node.script(EXECUTE, Answer(720, "Query has executed too long"))
    assert probe("select n").one("failed")["code"] == str(TIMEOUT)


def test_expired_session_is_opened_anew_once(node: DataNode, probe: Probe) -> None:
    node.tables["select n"] = numbers(3)
    node.script(EXECUTE, Answer(802, "timed out"))
    assert rows_of(probe("select n"))["n"] == "3"
    assert len(node.calls(OPEN)) == 2
    node.script(EXECUTE, Answer(802, "timed out"), Answer(802, "timed out"))
    failed = probe("select n").one("failed")
    assert failed["code"] == str(REJECTED) and "802" in failed["message"]


def test_session_expires_between_pages(node: DataNode, probe: Probe) -> None:
    node.tables["select n"] = numbers(3000)
    node.script(FETCH, Answer(802, "timed out"))
    outcome = probe("select n", "select n", fetch_rows=1000)
    assert outcome.one("failed")["message"].startswith("after 1000 rows: ")
    assert rows_of(outcome)["n"] == "3000", "the session logs in again for the next query"


def test_datanode_dies_between_pages(node: DataNode, probe: Probe) -> None:
    node.tables["select n"] = numbers(3000)
    node.script(FETCH, Raw(b""))
    outcome = probe("select n", "select n", fetch_rows=1000)
    failed = outcome.one("failed")
    assert failed["code"] == str(UNREACHABLE)
    assert failed["message"].startswith("after 1000 rows: DataNode 127.0.0.1")
    assert rows_of(outcome)["n"] == "3000"


def test_slow_and_silent(node: DataNode, probe: Probe) -> None:
    node.tables["select n"] = numbers(3)
    node.script(EXECUTE, Slow(0.3))
    assert rows_of(probe("select n"))["n"] == "3"
    node.script(EXECUTE, Silent())
    outcome = probe("select n", reply_ms=2000)
    assert outcome.one("failed")["code"] == str(TIMEOUT)
    assert len(node.calls(EXECUTE)) == 2, "what took too long is not run again"
    node.script(EXECUTE, Silent())
    outcome = probe("select n", deadline_ms=2000)
    assert outcome.one("failed")["code"] == str(TIMEOUT) and outcome.seconds < 20
    assert 0 < node.calls(EXECUTE)[-1].args.req.timeout <= 2000, "the DataNode is told when to give up"
    node.script(OPEN, Silent())
    assert probe(reply_ms=300).one("refused")["code"] == str(UNREACHABLE)


def test_deadline_over_all_pages(node: DataNode, probe: Probe) -> None:
    node.tables["select n"] = numbers(30_000)
    failed = probe("select n", deadline_ms=2500, pause_ms=150, fetch_rows=1000).one("failed")
    assert failed["code"] == str(TIMEOUT)


def test_cancel(node: DataNode, probe: Probe) -> None:
    node.tables["select n"] = numbers(3)
    for method in (OPEN, EXECUTE):
        node.script(method, Silent())
        outcome = probe("select n", cancel_after_ms=1500)
        event = outcome.one("refused" if method == OPEN else "failed")
        assert event["code"] == str(CANCELLED) and outcome.seconds < 15


def test_limits(node: DataNode, probe: Probe) -> None:
    node.tables["select n"] = numbers(5000)
    failed = probe("select n", max_rows=2999).one("failed")
    assert failed["code"] == str(TOO_LARGE) and "more than 2999 rows" in failed["message"]
    failed = probe("select n", max_bytes=20_000).one("failed")
    assert failed["code"] == str(TOO_LARGE) and "20000 bytes" in failed["message"]
    failed = probe("select n", page_bytes=10_000).one("failed")
    assert failed["code"] == str(TOO_LARGE) and "at most 10000 are accepted" in failed["message"]
    assert probe("select n", max_rows=5000).one("rows")["n"] == "5000"


def test_rows_that_are_left_end_the_query(node: DataNode, probe: Probe) -> None:
    node.tables["select n"] = numbers(5000)
    outcome = probe("select n", "select n", fetch_rows=1000, stop_after=2)
    assert [rows["n"] for rows in outcome.all("rows")] == ["2000", "2000"]
    assert len(node.calls("closeOperation")) == 2
    assert node.calls("closeOperation")[0].args.req.queryId is not None


def test_max_rows_of_the_command(node: DataNode, query: Query) -> None:
    node.tables["select n"] = numbers(3000)
    done = query("select n")
    assert len(done.stdout.splitlines()) == 1002 and "There are more rows" in done.stderr
    done = query("--max-rows", "0", "select n")
    assert "(3000 rows)" in done.stdout
    done = query("--csv", "--max-rows", "2", "select n")
    assert done.stdout == "n\r\n0\r\n1\r\n"


def test_only_reads(node: DataNode, query: Query) -> None:
    for sql in ("drop database root.x", "insert into x values (1)", "select a into b(c) from root.x", ""):
        done = query(sql)
        assert done.returncode == 2 and "only reads" in done.stderr, (sql, done)
    assert query("--dialect", "table", "delete from t").returncode == 2
    assert query("--dialect", "cobol", "select 1").returncode == 2
    assert query("--database", "db1", "select 1").returncode == 2
    assert node.connections == 0


def test_many_threads(node: DataNode, probe: Probe) -> None:
    table = node.tables["select n"] = numbers(3000)
    outcome = probe("select n", "select n", threads=4, fetch_rows=500)
    assert [rows["sums"] for rows in outcome.all("rows")] == [str(sum_of(table))] * 8


# --- lies


def test_dropped_at_any_byte(node: DataNode, probe: Probe) -> None:
    """Cut anywhere in each reply: an error, or a repeat that works; never a wrong answer."""
    table = node.tables["select n"] = numbers(40, block_rows=10)
    for method in (OPEN, "requestStatementId"):
        for after in range(0, 45, 7):
            node.behave()
            node.script(method, Cut(after), Cut(after))
            assert probe("select n").one("refused")["code"] == str(UNREACHABLE)
    for method in (EXECUTE, FETCH):
        for after in [*range(0, 30, 5), *range(30, 400, 45)]:
            node.behave()
            node.script(method, Cut(after))
            outcome = probe("select n", "select n", fetch_rows=20)
            assert [rows["sums"] for rows in outcome.all("rows")][-1] == str(sum_of(table))
            assert len(outcome.all("failed")) == (1 if method == FETCH else 0)


def test_lying_lengths(node: DataNode, probe: Probe) -> None:
    node.tables["select n"] = numbers(3)
    for raw, says in [
        (struct.pack(">I", 0), "not a DataNode"),
        (struct.pack(">I", 0x7FFFFFFF), "not a DataNode"),
        (struct.pack(">I", 100 << 20), "at most 67108864 are accepted"),
        (struct.pack(">I", 1000) + b"short", "in the middle"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "TLS"),
    ]:
        node.behave()
        node.script(OPEN, Raw(raw), Raw(raw))
        message = probe("select n").one("refused")["message"]
        assert says in message, (raw, message)


def test_lying_blocks(node: DataNode, probe: Probe) -> None:
    good = numbers(3)
    block = encode_block(["INT64"], good.rows)

    def lie(change: Any, table: Table = good) -> dict[str, str]:
        node.tables["select n"] = table
        node.script(EXECUTE, Mangle(change))
        return probe("select n").one("failed")

    lies = {
        "rows": block[:5] + struct.pack(">i", 1000) + block[9:],
        "columns": struct.pack(">i", 2) + block[4:],
        "negative": struct.pack(">i", -1) + block[4:],
        "type": block[:4] + b"\x04" + block[5:],
    }
    for name, bad in lies.items():
        failed = lie(lambda message, bad=bad: message.replace(block, bad))
        assert failed["code"] in (str(MALFORMED), str(TOO_LARGE)), (name, failed)
    failed = lie(lambda message: message.replace(b"INT64", b"INT63"))
    assert failed["code"] == str(UNSUPPORTED) and '"INT63"' in failed["message"]
    failed = lie(lambda m: m, Table(["n", "m"], ["INT64"], good.rows))
    assert failed["code"] == str(MALFORMED) and "2 column names, 1 types" in failed["message"]
    assert node.connections >= len(lies)


def test_run_of_too_many_rows(node: DataNode, probe: Probe) -> None:
    """A few bytes that stand for 2^27 rows."""
    block = encode_block(["INT64"], [[1]])
    bomb = struct.pack(">i", 1) + b"\x02" + struct.pack(">i", 1 << 27) + b"\x04\x04" + b"\x02\x00" + b"\0" * 8
    bomb += b"\x02\x00" + b"\0" * 8
    node.tables["select n"] = Table(["n"], ["INT64"], [[1]])
    node.script(EXECUTE, Mangle(lambda m: m.replace(struct.pack(">i", len(block)) + block,
                                                    struct.pack(">i", len(bomb)) + bomb)))
    failed = probe("select n").one("failed")
    assert failed["code"] == str(TOO_LARGE) and "134217728 rows" in failed["message"]


def test_pages_without_rows(node: DataNode, probe: Probe) -> None:
    node.tables["select n"] = Table(["n"], ["INT64"], [[at] for at in range(2000)])
    original = node._page

    def empty(session: Any, query_id: int, fetch_rows: int) -> tuple[list[bytes], bool]:
        return ([], True) if session.queries[query_id].next_row else original(session, query_id, fetch_rows)

    node._page = empty  # type: ignore[method-assign]
    started = time.monotonic()
    failed = probe("select n", fetch_rows=1000).one("failed")
    assert failed["code"] == str(MALFORMED) and "without a row" in failed["message"]
    assert time.monotonic() - started < 10


def test_exceptions_and_strangers(node: DataNode, probe: Probe) -> None:
    node.script(EXECUTE, *[Fail(6, "Internal error")] * 4)
    assert "exception 6" in probe("select n").one("failed")["message"]
    node.script(OPEN, Fail(6, "Internal error processing openSession"))
    assert "ain_cluster_ingress_time_zone" in probe("select n").one("refused")["message"]
    node.script(OPEN, Fail(1, "Invalid method name: 'openSession'"))
    assert "not a DataNode's client port" in probe("select n").one("refused")["message"]
    with RawService(banner=b"220 mail.example ESMTP\r\n") as mail:
        assert "220 mail.example" in probe("select n", nodes=[mail]).one("refused")["message"]


def test_slow_drip(node: DataNode, probe: Probe) -> None:
    """A peer that keeps the connection open and sends nothing costs one reply time."""
    with RawService(banner=b"\x00\x00", close=False) as slow:
        outcome = probe("select n", nodes=[slow], reply_ms=400)
        assert outcome.one("refused")["code"] == str(UNREACHABLE) and outcome.seconds < 15
