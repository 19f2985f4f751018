"""Malformed frames and TsBlocks: the wanted answer to each, every truncation, random changes; the node lives on."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Iterator

import numpy as np
import pytest
import tsblock
from caller import Caller, Gone, Refused
from frames import header, receive_exactly, receive_frame, with_length
from node import Make, Node
from processes import memory_kib
from thrift.Thrift import TApplicationException
from values import Workload, check_alive, series

MALFORMED = 1510
SMALL = np.array([[1.5, -2.0], [3.25, 4.0], [5.0, 6.5], [7.0, -8.0]], np.float32)


@pytest.fixture
def identity(node: Node, make: Make) -> str:
    """A model that answers what it gets."""
    node.allow("request refused", "closing the connection of", "more messages about refused")
    return make("identity")


def refused_block(caller: Caller, model: str, block: bytes) -> str:
    """The sentence for a block."""
    with pytest.raises(Refused) as caught:
        caller.infer(model, block)
    assert caught.value.code == MALFORMED
    assert "\n" not in caught.value.message and len(caught.value.message) < 1000
    return caught.value.message


GOOD = tsblock.encode(SMALL)
HEAD = 4 + 2 + 4 + 3
TIME = 1 + 4 * 8


def changed(at: int, data: bytes) -> bytes:
    """The good block with other bytes at one place."""
    return GOOD[:at] + data + GOOD[at + len(data) :]


def plain(kind: int, rows: int, data: bytes, columns: int = 2) -> bytes:
    """A block whose columns all have this type and these bytes (flag byte included)."""
    return tsblock.head([kind] * columns, rows) + tsblock.times(rows) + data * columns


MALFORMED_BLOCKS: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", ["TsBlock"]),
    "one byte": (b"\0", ["TsBlock"]),
    "no columns": (struct.pack(">i", 0) + struct.pack(">i", 4) + b"\2" + tsblock.times(4), ["2 input columns", "0"]),
    "minus one columns": (changed(0, b"\xff\xff\xff\xff"), ["column"]),
    "two thousand million columns": (changed(0, b"\x7f\xff\xff\xff"), ["column"]),
    "one column": (tsblock.encode(SMALL[:, :1]), ["2 input columns", "gives 1"]),
    "three columns": (tsblock.encode(np.hstack([SMALL, SMALL[:, :1]])), ["2 input columns", "gives 3"]),
    "unknown type": (changed(4, b"\x63"), ["type", "99"]),
    "minus one rows": (changed(6, b"\xff\xff\xff\xff"), ["row"]),
    "more rows than bytes": (changed(6, b"\0\1\0\0"), ["byte"]),
    "no rows": (tsblock.encode(SMALL[:0]), ["no rows", "96"]),
    "unknown encoding": (changed(11, b"\x09"), ["encoding", "9"]),
    "encoding of another type": (changed(11, b"\2"), ["encoding"]),
    "time of another encoding": (changed(10, b"\1"), ["encoding"]),
    "null flag of 2": (changed(HEAD + TIME, b"\2"), ["null"]),
    "trailing byte": (GOOD + b"\0", ["byte"]),
    "trailing block": (GOOD + GOOD, ["byte"]),
    "text column": (plain(tsblock.TEXT, 1, b"\0" + struct.pack(">i", 2) + b"ab"), ["TEXT"]),
    "text of negative length": (plain(tsblock.TEXT, 1, b"\0\xff\xff\xff\xff"), ["length"]),
    "nested run length": (
        struct.pack(">i", 1) + b"\3" + struct.pack(">i", 4) + b"\2\4" + tsblock.times(4) + b"\4\1\0" + b"\0" * 4,
        ["encoding"],
    ),
}


@pytest.mark.parametrize("case", MALFORMED_BLOCKS)
def test_malformed_blocks(node: Node, caller: Caller, identity: str, case: str) -> None:
    """One sentence that names the model and what is wrong; the connection and the model go on."""
    block, parts = MALFORMED_BLOCKS[case]
    message = refused_block(caller, identity, block)
    assert identity in message
    for part in parts:
        assert part in message, f"{part!r} is not in: {message}"
    print(f"{case}: {message}")
    check_alive(caller, identity)


def test_every_truncation_of_a_block(node: Node, caller: Caller, identity: str) -> None:
    """No length of the same bytes is taken for a block but the right one."""
    assert np.array_equal(caller.infer(identity, GOOD), SMALL)
    for size in range(len(GOOD)):
        assert identity in refused_block(caller, identity, GOOD[:size])
    check_alive(caller, identity)


def run_length(kind: int, rows: int, value: bytes) -> bytes:
    """Two columns of one value repeated."""
    inner = bytes([{1: 1, 3: 1, 2: 2, 4: 2}[kind]])
    head = struct.pack(">i", 2) + bytes([kind] * 2) + struct.pack(">i", rows) + b"\2\4\4"
    return head + tsblock.times(rows) + (inner + b"\0" + value) * 2


def test_run_lengths_are_decoded(node: Node, caller: Caller, identity: str) -> None:
    """The official AINode answers these with wrong numbers."""
    answer = caller.infer(identity, run_length(tsblock.FLOAT, 96, struct.pack(">f", 2.5)))
    assert np.array_equal(answer, np.full((96, 2), 2.5, np.float32))
    answer = caller.infer(identity, run_length(tsblock.INT64, 96, struct.pack(">q", -7)))
    assert np.array_equal(answer, np.full((96, 2), -7.0, np.float32))


def test_run_length_bomb(node: Node, caller: Caller, identity: str) -> None:
    """A hundred bytes that stand for two thousand million rows are refused, not unfolded."""
    rows = 0x7FFFFFFF
    head = struct.pack(">i", 2) + b"\3\3" + struct.pack(">i", rows) + b"\4\4\4"
    block = head + b"\2\0" + b"\0" * 8 + (b"\1\0" + struct.pack(">f", 1.0)) * 2
    started = time.monotonic()
    message = refused_block(caller, identity, block)
    assert str(rows) in message, message
    assert time.monotonic() - started < 20
    assert memory_kib(node.pid, "VmHWM") < 1 << 20
    check_alive(caller, identity)


def test_nulls_become_zeros(node: Node, caller: Caller, identity: str) -> None:
    """The policy for user models; rows stay where they are."""
    column = b"\1" + bytes([0b01100000]) + struct.pack(">ff", 1.5, 4.5)
    answer = caller.infer(identity, plain(tsblock.FLOAT, 4, column))
    assert np.array_equal(answer, np.array([[1.5] * 2, [0.0] * 2, [0.0] * 2, [4.5] * 2], np.float32))


def test_wide_types_keep_what_the_model_wants(node: Node, caller: Caller, make: Make) -> None:
    """float64 stays float64 for a model that declares it."""
    model = make("identity_doubles")
    values = np.array([[0.1, 1e300], [-1e-300, 1 / 3]])
    assert np.array_equal(caller.infer(model, values), values)


# --- frames


def inference_frame(caller: Caller, model: str, block: bytes = GOOD) -> bytes:
    """The message of an inference, without its length."""
    return caller.encode("inference", caller.types.TInferenceReq(modelId=model, dataset=block))[4:]


def exchange(node: Node, data: bytes) -> bytes | None:
    """Sends bytes on a connection of their own, then the end; the first answer, None when there is none."""
    with socket.create_connection(("127.0.0.1", node.port), timeout=20) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return receive_frame(connection) or None
        except (ConnectionResetError, BrokenPipeError):
            return None


def test_every_truncation_of_a_frame(node: Node, caller: Caller, identity: str) -> None:
    """As a message that ends too early, and as a frame whose rest never comes: an error, or the connection ends."""
    message = inference_frame(caller, identity)
    outcomes = {"closed": 0, "status": 0, "exception": 0}
    for size in range(len(message)):
        answer = exchange(node, with_length(message[:size]))
        if answer is None:
            outcomes["closed"] += 1
            continue
        try:
            result = caller.read(answer)
            assert result.status.code == MALFORMED and result.status.message, result
            outcomes["status"] += 1
        except TApplicationException:
            outcomes["exception"] += 1
        assert exchange(node, with_length(message)[: 4 + size]) is None, size
    print(outcomes)
    assert outcomes["status"] > len(GOOD), outcomes
    check_alive(caller, identity)


FRAMES: dict[str, bytes] = {
    "zero length": b"\0\0\0\0",
    "negative length": b"\xff\xff\xff\xff",
    "huge length": b"\x7f\xff\xff\xff\x80\1\0\1",
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "old binary": b"\x00\x00\x00\x20\x00\x00\x00\x0egetAIHeartbeat" + bytes(14),
    "reply": with_length(b"\x80\x01\x00\x02\x00\x00\x00\x04stop\x00\x00\x00\x01\x00"),
    "name too long": with_length(b"\x80\x01\x00\x01\x7f\xff\xff\xff"),
    "compact of version 31": with_length(b"\x82\x3f\x00\x04stop"),
    "compact varint without end": with_length(b"\x82\x21" + b"\xff" * 40),
}


@pytest.mark.parametrize("case", FRAMES)
def test_what_is_no_message_closes(node: Node, caller: Caller, identity: str, case: str) -> None:
    """At once, without an answer; others go on."""
    started = time.monotonic()
    assert exchange(node, FRAMES[case]) is None
    assert time.monotonic() - started < 10
    check_alive(caller, identity)


def message_of(method: bytes, body: bytes) -> bytes:
    """A binary call."""
    return with_length(b"\x80\x01\x00\x01" + struct.pack(">i", len(method)) + method + struct.pack(">i", 7) + body)


def nested(depth: int) -> bytes:
    """Lists in lists in a field that no request has."""
    return b"\x0c\xff\xff" + b"\x0f\x00\x63" + b"\x0f\0\0\0\1" * depth + b"\x03\0\0\0\0" + b"\x00\x00"


ANSWERED: dict[str, bytes] = {
    "unknown method": message_of(b"nonsense", b"\x00"),
    "no argument": message_of(b"inference", b"\x00"),
    "argument of another type": message_of(b"inference", b"\x08\xff\xff\0\0\0\1\x00"),
    "empty request": message_of(b"inference", b"\x0c\xff\xff\x00\x00"),
    "id of another type": message_of(b"deleteModel", b"\x0c\xff\xff\x08\0\1\0\0\0\1\x00\x00"),
    "field twice": message_of(b"deleteModel", b"\x0c\xff\xff" + b"\x0b\0\1\0\0\0\1a" * 2 + b"\x00\x00"),
    "negative string": message_of(b"deleteModel", b"\x0c\xff\xff\x0b\0\1\xff\xff\xff\xff\x00\x00"),
    "string beyond the frame": message_of(b"deleteModel", b"\x0c\xff\xff\x0b\0\1\0\1\0\0\x00\x00"),
    "huge list": message_of(b"inference", b"\x0c\xff\xff\x0f\0\x63\x03\x7f\xff\xff\xff\x00\x00"),
    "negative list": message_of(b"inference", b"\x0c\xff\xff\x0f\0\x63\x03\xff\xff\xff\xff\x00\x00"),
    "huge map of nothing": message_of(b"inference", b"\x0c\xff\xff\x0d\0\x63\x0c\x0c\x7f\xff\xff\xff\x00\x00"),
    "thousandfold nesting": message_of(b"inference", nested(1000)),
    "unknown type": message_of(b"inference", b"\x0c\xff\xff\x1f\0\1\x00\x00"),
    "trailing bytes": message_of(b"getAIHeartbeat", b"\x0c\xff\xff\x0a\0\1" + bytes(8) + b"\x02\0\2\0\x00\x00" + b"xx"),
    "heartbeat without a stamp": message_of(b"getAIHeartbeat", b"\x0c\xff\xff\x00\x00"),
}


@pytest.mark.parametrize("case", ANSWERED)
def test_wrong_requests_are_answered(node: Node, caller: Caller, identity: str, case: str) -> None:
    """A message whose header is right gets an answer with its sequence id, and the connection goes on."""
    with socket.create_connection(("127.0.0.1", node.port), timeout=20) as connection:
        for _ in range(2):
            connection.sendall(ANSWERED[case])
            answer = receive_frame(connection)
            kind, method, seqid = header(answer)
            assert kind in (2, 3) and seqid == 7
            assert method in ("nonsense", "inference", "deleteModel", "getAIHeartbeat")
            assert len(answer) < 2000
    check_alive(caller, identity)


def mutations(seed: int, message: bytes, count: int) -> Iterator[bytes]:
    """Random changes: bits, bytes, ints at the borders, pieces removed, doubled, exchanged."""
    chance = random.Random(seed)
    borders = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\0\1\0\0"]
    for _ in range(count):
        data = bytearray(message)
        for _ in range(chance.choice([1, 1, 1, 2, 5, 20])):
            at = chance.randrange(len(data))
            kind = chance.randrange(6)
            if kind == 0:
                data[at] ^= 1 << chance.randrange(8)
            elif kind == 1:
                data[at] = chance.randrange(256)
            elif kind == 2:
                data[at : at + 4] = chance.choice(borders)
            elif kind == 3 and len(data) > 20:
                del data[at : at + chance.randrange(1, 9)]
            elif kind == 4:
                data[at:at] = data[at : at + chance.randrange(1, 33)]
            else:
                other = chance.randrange(len(data))
                data[at], data[other] = data[other], data[at]
        yield bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_random_changes_of_a_frame(node: Node, caller: Caller, identity: str, seed: int) -> None:
    """Five hundred each: answered or closed, within bounds; neither the node nor the model notices."""
    since = time.monotonic()
    message = inference_frame(caller, identity, tsblock.encode(series(seed, rows=7)))
    if seed % 2:
        message = caller.encode(
            "registerModel", caller.types.TRegisterModelReq(uri="file:///nowhere", modelId="nobody")
        )[4:]
    node.allow("was not registered")
    for data in mutations(seed, message, 500):
        exchange(node, with_length(data))
    check_alive(caller, identity)
    assert set(caller.states()) == {identity}
    node.assert_running(since)


@pytest.mark.parametrize("seed", range(2))
def test_random_changes_of_a_block(node: Node, caller: Caller, identity: str, seed: int) -> None:
    """A changed block is refused with a sentence, or answered with as many rows as it says."""
    answered = 0
    block = tsblock.encode(series(seed, rows=16))
    for data in mutations(seed, block, 1000):
        try:
            caller.infer(identity, data)
            answered += 1
        except Refused as refused:
            assert refused.code == MALFORMED and refused.message and "\n" not in refused.message
    print(f"{answered} of 1000 changed blocks were still blocks")
    check_alive(caller, identity)


def test_pipelined_garbage(node: Node, caller: Caller, identity: str) -> None:
    """Good requests before the garbage are answered, what follows is not read."""
    good = with_length(inference_frame(caller, identity))
    with socket.create_connection(("127.0.0.1", node.port), timeout=20) as connection:
        connection.sendall(good * 3 + b"\xff\xff\xff\xff" + good)
        answers = 0
        try:
            while receive_frame(connection):
                answers += 1
        except ConnectionResetError:
            pass
        assert answers <= 3
    check_alive(caller, identity)


def test_slow_byte_by_byte_request(node: Node, caller: Caller, identity: str) -> None:
    """However slowly it comes, it is answered, and nobody waits meanwhile."""
    data = with_length(inference_frame(caller, identity))
    since = time.monotonic()
    with socket.create_connection(("127.0.0.1", node.port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(0.002)
        assert len(receive_exactly(connection, 4)) == 4
    node.assert_running(since)


def test_answers_nobody_reads(node: Node, caller: Caller, identity: str) -> None:
    """Large answers to a client that does not read hold neither the node nor the other clients."""
    since = time.monotonic()
    values = np.zeros((200_000, 2), np.float32)
    lazy = [node.call() for _ in range(4)]
    for client in lazy:
        client.ask(identity, values)
    for _ in range(20):
        check_alive(caller, identity)
    for client in lazy:
        client.close()
    check_alive(caller, identity)
    node.assert_running(since)


def test_unread_answer_is_read_later(node: Node, caller: Caller, identity: str) -> None:
    """Late is not never."""
    values = (np.arange(400_000) % 4099).astype(np.float32).reshape(-1, 2)
    caller.ask(identity, values)
    time.sleep(1)
    try:
        assert np.array_equal(caller.answer()[0], values)
    except Gone:
        pytest.fail("the node did not wait for a slow reader")


def test_every_unusable_input_of_a_batch_is_refused(node: Node, caller: Caller, make: Make) -> None:
    """Requests that wait together and cannot be converted are all refused; a good one among them is answered."""
    node.allow("request refused", "closing the connection of")
    model = make("works")
    workload = Workload(caller, model)
    text = plain(tsblock.TEXT, 96, b"\0" + (struct.pack(">i", 1) + b"a") * 96)
    clients = [node.call() for _ in range(6)]
    with node.computing():
        caller.ask(model, workload.block(1))
    for index, client in enumerate(clients):
        client.ask(model, series(index) if index == 3 else text)
    assert caller.answer()[0].shape == (96, 2)
    for index, client in enumerate(clients):
        if index == 3:
            assert np.array_equal(client.answer()[0], series(3))
        else:
            with pytest.raises(Refused, match="TEXT"):
                client.answer()
        client.close()
