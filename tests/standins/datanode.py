"""A stand-in DataNode: opens sessions, answers queries in pages, and fails on demand.

    bindings = load_bindings(tmp_path)
    with DataNode(bindings) as node:
        node.tables["select 1"] = Table(["a"], ["INT32"], [[1], [None]])
        node.script("executeQueryStatementV2", Answer(802), Slow(1.0))

Actions are those of the stand-in ConfigNode; each serves one call of its method, and after them the node behaves.
"""

from __future__ import annotations

import importlib
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from generated import generate

from standins.confignode import IDL_DIR, Answer, ScriptedService

#: Logical type -> physical type byte, encoding, NumPy type of the wire (None: texts).
PHYSICAL: dict[str, tuple[int, int, str | None]] = {
    "BOOLEAN": (0, 0, "?"),
    "INT32": (1, 1, ">i4"),
    "DATE": (1, 1, ">i4"),
    "INT64": (2, 2, ">i8"),
    "TIMESTAMP": (2, 2, ">i8"),
    "FLOAT": (3, 1, ">f4"),
    "DOUBLE": (4, 2, ">f8"),
    "TEXT": (5, 3, None),
    "STRING": (5, 3, None),
    "BLOB": (5, 3, None),
}


@dataclass
class Bindings:
    """Python modules generated from the project's own IDL."""

    common: ModuleType
    messages: ModuleType
    service: ModuleType


def load_bindings(directory: Path) -> Bindings:
    """Generate the bindings into directory and import them; once in a process."""
    if "iotdbwire.rpc.ttypes" not in sys.modules:
        generate([IDL_DIR / "client.thrift"], directory)
    load = importlib.import_module
    return Bindings(
        load("iotdbwire.common.ttypes"), load("iotdbwire.rpc.ttypes"), load("iotdbwire.rpc.IClientRPCService")
    )


def encode_column(kind: str, values: list[Any]) -> tuple[int, bytes]:
    """The encoding byte and the bytes of one column; None is null; a column of nulls is one run, as servers send it."""
    _, encoding, wire = PHYSICAL[kind]
    nulls = [value is None for value in values]
    if all(nulls):
        return 4, bytes([encoding, 1, 0x80]) + (b"\0" if encoding == 0 else b"")
    head = b"\1" + np.packbits(nulls).tobytes() if any(nulls) else b"\0"
    if encoding == 0:
        return 0, head + np.packbits([bool(value) for value in values]).tobytes()
    present = [value for value in values if value is not None]
    if wire is not None:
        return encoding, head + np.array(present, dtype=wire).tobytes()
    texts = [value.encode() if isinstance(value, str) else value for value in present]
    return encoding, head + b"".join(struct.pack(">i", len(text)) + text for text in texts)


def encode_block(kinds: list[str], rows: list[list[Any]], times: list[int] | None = None) -> bytes:
    """One TsBlock of rows."""
    columns = [encode_column(kind, [row[at] for row in rows]) for at, kind in enumerate(kinds)]
    return b"".join(
        [
            struct.pack(">i", len(kinds)),
            bytes(PHYSICAL[kind][0] for kind in kinds),
            struct.pack(">i", len(rows)),
            bytes([2] + [encoding for encoding, _ in columns]),
            b"\0" + np.array(times if times is not None else [0] * len(rows), dtype=">i8").tobytes(),
            *(data for _, data in columns),
        ]
    )


@dataclass
class Table:
    """What a statement answers with."""

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    times: list[int] | None = None
    """Set: a result of the tree dialect, with a Time column."""
    block_rows: int = 1000
    places: list[int] | None = None
    """Which column of the blocks each column is."""


@dataclass
class Call:
    """One request received."""

    method: str
    args: Any
    at: float


@dataclass
class _Open:
    table: Table
    next_row: int = 0
    statement: str = ""


@dataclass
class _Session:
    id: int
    user: str
    dialect: str
    queries: dict[int, _Open] = field(default_factory=dict)


class DataNode(ScriptedService):
    """A DataNode with the user root."""

    def __init__(
        self,
        bindings: Bindings,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        compact: bool = False,
        password: str = "root",
        precision: str | None = "ms",
    ) -> None:
        super().__init__(bindings, host, port, compact)
        self.password = password
        self.precision = precision
        self.tables: dict[str, Table] = {
            "SHOW VERSION": Table(["Version", "BuildInfo"], ["TEXT", "TEXT"], [["2.0.5", "abc1234"]])
        }
        self.connections = 0
        self.sessions: dict[int, _Session] = {}
        self._next_id = 100

    def behave(self) -> None:
        """Forget what was scripted."""
        self._scripts.clear()

    def expire(self) -> None:
        """Forget every session, as a restart or a time-out does; connections stay."""
        self.sessions.clear()

    # --- serving

    def serve(self, connection: socket.socket) -> None:
        """Answer frame after frame."""
        self.connections += 1
        super().serve(connection)

    def record(self, method: str, args: Any, frame: bytes) -> None:
        """Keep the request."""
        self.requests.append(Call(method, args, time.monotonic()))

    # --- behaviour

    def _status(self, answer: Answer) -> Any:
        common = self.bindings.common
        redirect = common.TEndPoint(*answer.redirect) if answer.redirect is not None else None
        return common.TSStatus(code=answer.code, message=answer.message or None, redirectNode=redirect)

    def _behave(self, method: str, args: Any, answer: Answer | None) -> Any:
        handler = {
            "openSession": self._open_session,
            "closeSession": self._close_session,
            "requestStatementId": self._statement_id,
            "executeQueryStatementV2": self._execute,
            "fetchResultsV2": self._fetch,
            "closeOperation": self._close_operation,
        }[method]
        return handler(args, answer)

    def _open_session(self, args: Any, answer: Answer | None) -> Any:
        request = args.req
        if answer is None and (request.username, request.password) != ("root", self.password):
            answer = Answer(801, "Authentication failed.")
        answer = answer or Answer(200)
        response = self.bindings.messages.TSOpenSessionResp(self._status(answer), 2)
        if answer.code == 200:
            self._next_id += 1
            response.sessionId = self._next_id
            dialect = request.configuration["sql_dialect"]
            self.sessions[response.sessionId] = _Session(response.sessionId, request.username, dialect)
            if self.precision is not None:
                response.configuration = {"timestamp_precision": self.precision}
        return response

    def _close_session(self, args: Any, answer: Answer | None) -> Any:
        self.sessions.pop(args.req.sessionId, None)
        return self._status(answer or Answer(200))

    def _statement_id(self, args: Any, answer: Answer | None) -> Any:
        return args.sessionId * 10

    def _close_operation(self, args: Any, answer: Answer | None) -> Any:
        session = self.sessions.get(args.req.sessionId)
        if session is not None:
            session.queries.pop(args.req.queryId, None)
        return self._status(answer or Answer(200))

    def _page(self, session: _Session, query_id: int, fetch_rows: int) -> tuple[list[bytes], bool]:
        query = session.queries[query_id]
        table = query.table
        blocks = []
        end = min(query.next_row + max(fetch_rows, 1), len(table.rows))
        kinds = table.types
        if table.places is not None:
            kinds = [table.types[table.places.index(at)] for at in range(max(table.places) + 1)]
        while query.next_row < end:
            upto = min(query.next_row + table.block_rows, end)
            rows = table.rows[query.next_row : upto]
            times = table.times[query.next_row : upto] if table.times is not None else None
            blocks.append(encode_block(kinds, rows, times))
            query.next_row = upto
        more = query.next_row < len(table.rows)
        if not more:
            del session.queries[query_id]
        return blocks, more

    def _execute(self, args: Any, answer: Answer | None) -> Any:
        request, messages = args.req, self.bindings.messages
        session = self.sessions.get(request.sessionId)
        if session is None and answer is None:
            answer = Answer(802, "Log in failed. Either you are not authorized or the session has timed out.")
        table = self.tables.get(request.statement)
        if table is None and answer is None:
            answer = Answer(550, f"Table '{request.statement}' does not exist.")
        if answer is not None and answer.code not in (200, 400):
            return messages.TSExecuteStatementResp(self._status(answer))
        assert session is not None and table is not None
        self._next_id += 1
        session.queries[self._next_id] = _Open(table, 0, request.statement)
        blocks, more = self._page(session, self._next_id, request.fetchSize)
        return messages.TSExecuteStatementResp(
            self._status(answer or Answer(200)),
            queryId=self._next_id,
            columns=table.columns,
            dataTypeList=table.types,
            ignoreTimeStamp=table.times is None,
            queryResult=blocks,
            moreData=more,
            columnIndex2TsBlockColumnIndexList=table.places,
        )

    def _fetch(self, args: Any, answer: Answer | None) -> Any:
        request, messages = args.req, self.bindings.messages
        session = self.sessions.get(request.sessionId)
        if session is None and answer is None:
            answer = Answer(802, "Log in failed.")
        if answer is not None and answer.code not in (200, 400):
            return messages.TSFetchResultsResp(self._status(answer), False, True)
        assert session is not None
        if request.queryId not in session.queries:
            return messages.TSFetchResultsResp(self._status(Answer(200)), False, True)
        blocks, more = self._page(session, request.queryId, request.fetchSize)
        return messages.TSFetchResultsResp(self._status(Answer(200)), True, True, queryResult=blocks, moreData=more)
