"""What peers do to a server: half frames, slow frames, lies, floods, leaving; and what it may cost."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from frames import frame, header, receive_exactly, receive_frame, with_model, with_seqid
from wire_support import Probe

BEAT = frame("E_01_getAIHeartbeat_binary")
DELETE = frame("E_03_deleteModel_binary")
INFERENCE = frame("G_06_inference_binary")


def beat(connection: socket.socket, seqid: int) -> None:
    """One heartbeat there and back."""
    connection.sendall(with_seqid(BEAT, seqid))
    assert header(receive_frame(connection)) == (2, "getAIHeartbeat", seqid)


def settle(probe: Probe) -> None:
    """Ends when what other connections have sent before is read: the server's loop has gone round since."""
    with probe.connect() as connection:
        for seqid in range(3):
            beat(connection, seqid)


def expect_closed(connection: socket.socket) -> None:
    """The server closes, by whatever means, without a byte."""
    try:
        assert connection.recv(1) == b""
    except ConnectionResetError:
        pass


def test_byte_by_byte(probe: Probe) -> None:
    """A frame may come in any pieces."""
    with probe.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in with_seqid(BEAT, 9):
            connection.sendall(bytes([byte]))
        assert header(receive_frame(connection)) == (2, "getAIHeartbeat", 9)
        beat(connection, 10)


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 20, 49])
def test_two_pieces(probe: Probe, cut: int) -> None:
    """Also with a pause inside the length or behind it, and with a second frame behind the first."""
    with probe.connect() as connection:
        data = with_seqid(BEAT, 1) + with_seqid(BEAT, 2)
        connection.sendall(data[:cut])
        time.sleep(0.05)
        connection.sendall(data[cut:])
        assert [header(receive_frame(connection))[2] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("size", [1_000, 20_000, 1_000_000, 20_000_000])
def test_large_frames(probe: Probe, size: int) -> None:
    """Frames of all sizes come back whole, and the next one is found."""
    block = bytes(i % 251 for i in range(min(size, 251 * 40))) * max(1, size // (251 * 40))
    model = b"m1"
    body = b"\x80\x01\x00\x01" + struct.pack(">i", 9) + b"inference" + struct.pack(">i", 5)
    body += b"\x0c\xff\xff\x0b\x00\x01" + struct.pack(">i", len(model)) + model
    body += b"\x0b\x00\x02" + struct.pack(">i", len(block)) + block + b"\x00\x00"
    with probe.connect() as connection:
        connection.sendall(struct.pack(">I", len(body)) + body + with_seqid(BEAT, 6))
        answer = receive_frame(connection)
        assert header(answer) == (2, "inference", 5)
        assert answer.count(block) == 2
        assert header(receive_frame(connection)) == (2, "getAIHeartbeat", 6)


def test_slow_sender_is_closed(start_probe: Callable[..., Probe]) -> None:
    """A begun frame has a deadline that trickling does not move; idle ones have none here."""
    probe = start_probe("--frame-timeout", "300")
    with probe.connect() as idle, probe.connect() as slow:
        beat(idle, 1)
        start = time.monotonic()
        closed = False
        for byte in BEAT:
            try:
                slow.sendall(bytes([byte]))
            except OSError:
                closed = True
                break
            time.sleep(0.05)
        if not closed:
            expect_closed(slow)
        print(f"closed after {time.monotonic() - start:.2f} s")  # had it been read on, it would have been answered
        beat(idle, 2)
    assert "begun but not finished" in probe.stop()


def test_idle_timeout(start_probe: Callable[..., Probe]) -> None:
    """Idle connections end, busy ones do not, waiting for an answer is not idling."""
    probe = start_probe("--idle-timeout", "4000")
    with probe.connect() as idle, probe.connect() as busy, probe.connect() as waiting:
        waiting.sendall(with_model(INFERENCE, "slow-8000"))
        start = time.monotonic()
        for seqid in range(50):
            beat(busy, seqid)
            time.sleep(0.1)
        expect_closed(idle)
        assert header(receive_frame(waiting))[1] == "inference"
        assert time.monotonic() - start < 19  # else the client's own patience ends
        expect_closed(busy)
        expect_closed(waiting)


def test_unread_answers_have_a_deadline(start_probe: Callable[..., Probe]) -> None:
    """A peer that asks and never reads does not keep its answers for ever."""
    probe = start_probe("--frame-timeout", "500")
    with probe.connect() as connection, probe.connect() as other:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        beat(other, 0)
        start = time.monotonic()
        for _ in range(4):
            connection.sendall(with_model(INFERENCE, "big-20000000"))
        while probe.open_descriptors() > probe.descriptors + 1:
            assert time.monotonic() - start < 15
            beat(other, 1)
            time.sleep(0.02)
        assert time.monotonic() - start > 0.3
    assert "could not be delivered" in probe.stop()


LIES = {
    "zero length": b"\x00\x00\x00\x00",
    "over the limit": b"\x7f\xff\xff\xff",
    "negative": b"\xff\xff\xff\xff",
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "unframed binary": b"\x80\x01\x00\x01\x00\x00\x00\x0egetAIHeartbeat",
    "old binary": b"\x00\x00\x00\x20\x00\x00\x00\x0egetAIHeartbeat",
    "a reply": b"\x00\x00\x00\x11" + b"\x80\x01\x00\x02\x00\x00\x00\x04stop\x00\x00\x00\x01\x00",
    "an exception": b"\x00\x00\x00\x11" + b"\x80\x01\x00\x03\x00\x00\x00\x04stop\x00\x00\x00\x01\x00",
    "message type 9": b"\x00\x00\x00\x11" + b"\x80\x01\x00\x09\x00\x00\x00\x04stop\x00\x00\x00\x01\x00",
    "cut header": b"\x00\x00\x00\x06\x80\x01\x00\x01\x00\x00",
    "long name": b"\x00\x00\x00\x08\x80\x01\x00\x01\x7f\xff\xff\xff",
}


@pytest.mark.parametrize("name", LIES)
def test_lies_close_at_once(probe: Probe, name: str) -> None:
    """Bytes that are no message end the connection, with one line in the log; others do not notice."""
    with probe.connect() as other, probe.connect() as liar:
        beat(other, 1)
        start = time.monotonic()
        liar.sendall(LIES[name])
        expect_closed(liar)
        assert time.monotonic() - start < 15
        beat(other, 2)
    log = probe.stop()
    assert log.count("closing the connection of 127.0.0.1") == 1, log


def test_protocol_may_not_change(probe: Probe) -> None:
    """The first message of a connection chooses; here compact, and then binary."""
    with probe.connect() as connection:
        connection.sendall(frame("E_01_getAIHeartbeat_compact"))
        assert receive_frame(connection)[:1] == b"\x82"
        connection.sendall(BEAT)
        expect_closed(connection)
    assert "protocol changed" in probe.stop()


def test_trailing_bytes_are_refused(probe: Probe) -> None:
    """The method answers with a status, and the connection goes on."""
    body = DELETE[4:] + b"\x00"
    with probe.connect() as connection:
        connection.sendall(struct.pack(">I", len(body)) + body)
        assert b"bytes follow the end of the message" in receive_frame(connection)
        beat(connection, 3)


def test_huge_length_costs_nothing(probe: Probe) -> None:
    """200 announcements of 512 MiB: no memory before the bytes come, the heartbeat goes on."""
    head = struct.pack(">I", 536870912) + INFERENCE[4:40]
    connections = [probe.connect() for _ in range(200)]
    with probe.connect() as other:
        beat(other, 1)
        before = probe.resident_kib()
        for connection in connections:
            connection.sendall(head)
        beat(other, 2)
        time.sleep(0.2)
        grown = probe.resident_kib() - before
        beat(other, 3)
    for connection in connections:
        connection.close()
    print(f"200 announced frames of 512 MiB: {grown} KiB")
    assert grown < 4096


@pytest.mark.parametrize("count", [3, 50, 2000])
def test_pipelined_requests_in_order(start_probe: Callable[..., Probe], count: int) -> None:
    """Slow ones and fast ones: the answers keep the order, however many are sent ahead."""
    probe = start_probe("--max-in-flight", "16")
    parts = []
    for seqid in range(count):
        slow = seqid % 10 == 0 and seqid < 200
        parts.append(with_seqid(with_model(INFERENCE, "slow-20"), seqid) if slow else with_seqid(BEAT, seqid))
    with probe.connect() as connection:
        connection.sendall(b"".join(parts))
        got = [header(receive_frame(connection))[2] for _ in range(count)]
    assert got == list(range(count))


def test_oneway_is_not_answered(probe: Probe) -> None:
    """A oneway message is served and leaves no trace on the wire."""
    oneway = bytearray(with_seqid(DELETE, 1))
    oneway[7] = 4
    with probe.connect() as connection:
        connection.sendall(bytes(oneway) + with_seqid(BEAT, 2))
        assert header(receive_frame(connection)) == (2, "getAIHeartbeat", 2)


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_leaving_abandons_the_call(probe: Probe, how: str) -> None:
    """The callback runs as soon as the peer goes, while the call is in work."""
    connection = probe.connect()
    connection.sendall(with_model(INFERENCE, "hang"))
    settle(probe)
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half-close":
        connection.shutdown(socket.SHUT_WR)
    else:
        connection.close()
    assert probe.line() == "abandoned hang"
    if how == "half-close":
        assert b"the caller is gone" in receive_frame(connection)  # whoever still reads gets the answer
        expect_closed(connection)
        connection.close()


def test_leaving_with_reading_paused(start_probe: Callable[..., Probe]) -> None:
    """Also when the server has stopped reading, since too much is in flight."""
    probe = start_probe("--max-in-flight", "2")
    connection = probe.connect()
    connection.sendall(with_model(INFERENCE, "hang") * 50)
    settle(probe)
    connection.close()
    assert [probe.line() for _ in range(2)] == ["abandoned hang"] * 2


def test_half_close_still_gets_answers(probe: Probe) -> None:
    """As of `nc`: requests, end of input, then the answers."""
    with probe.connect() as connection:
        connection.sendall(with_seqid(BEAT, 1) + with_seqid(with_model(INFERENCE, "slow-200"), 2))
        connection.shutdown(socket.SHUT_WR)
        assert header(receive_frame(connection))[2] == 1
        assert header(receive_frame(connection))[2] == 2
        expect_closed(connection)


def test_full_house(start_probe: Callable[..., Probe]) -> None:
    """At the limit the connection that was silent longest makes room; one in use stays."""
    probe = start_probe("--max-connections", "20")
    with probe.connect() as working:
        beat(working, 0)
        others = []
        for seqid in range(1, 60):
            others.append(probe.connect())
            beat(working, seqid)
        beat(others[-1], 1)  # accepted by now, at the cost of another
        open_ones = 0
        for connection in others:
            ready, _, _ = select.select([connection], [], [], 0)
            open_ones += 0 if ready else 1
        assert open_ones == 19
        for connection in others:
            connection.close()


def addresses() -> list[tuple[str, list[str]]]:
    """What may be listened on, and where such a server is reached; IPv6 where this machine has it."""
    table = Path("/proc/net/if_inet6")
    both = ["127.0.0.1"]
    cases = [("127.0.0.1", both), ("0.0.0.0", both), ("localhost", both)]
    if table.exists() and " lo" in table.read_text(encoding="ascii"):
        cases += [("::1", ["::1"]), ("::", ["127.0.0.1", "::1"])]
    return cases


@pytest.mark.parametrize("address,hosts", addresses(), ids=lambda value: str(value))
def test_addresses(start_probe: Callable[..., Probe], address: str, hosts: list[str]) -> None:
    """IPv4, IPv6, names and wildcards."""
    probe = start_probe("--address", address)
    for host in hosts:
        with probe.connect(host=host) as connection:
            beat(connection, 1)


def test_half_sent_flood(start_probe: Callable[..., Probe]) -> None:
    """Half-sent frames on all connections do not keep the next peer out, nor the one at work."""
    probe = start_probe("--max-connections", "20")
    with probe.connect() as working:
        beat(working, 0)
        flood = [probe.connect() for _ in range(40)]
        for connection in flood:
            try:
                connection.sendall(BEAT[:20])
            except OSError:
                continue  # pushed out by a later one
        with probe.connect() as late:
            beat(late, 1)
        for connection in flood:
            connection.close()


def test_descriptors_run_out(start_probe: Callable[..., Probe]) -> None:
    """Short of descriptors the silent ones go; if all are busy the new one is turned away at once."""
    probe = start_probe(descriptors=40)
    with probe.connect() as working:
        beat(working, 0)
        crowd = [probe.connect() for _ in range(60)]
        for seqid in range(5):
            beat(working, seqid)
        for connection in crowd:
            connection.close()
        busy = []
        for _ in range(40):
            busy.append(probe.connect())
            try:
                busy[-1].sendall(with_model(INFERENCE, "slow-4000"))
            except OSError:
                continue
            time.sleep(0.005)
        beat(working, 9)
        answers = 0
        for connection in busy:
            try:
                answers += 1 if receive_frame(connection) else 0
            except ConnectionResetError:
                continue
            finally:
                connection.close()
        assert 10 < answers < 40
        beat(working, 10)
    assert "descriptors" in probe.stop()


def test_memory_for_requests_is_bounded(start_probe: Callable[..., Probe]) -> None:
    """All requests together get four times the largest frame; then peers are closed, the others go on."""
    probe = start_probe("--max-frame", "1000000")
    closed = 0
    with probe.connect() as other:
        hoarders = [probe.connect() for _ in range(10)]
        for connection in hoarders:
            try:
                connection.sendall(struct.pack(">I", 1000000) + INFERENCE[4:] + bytes(900000))
            except OSError:
                pass
        beat(other, 1)
        deadline = time.monotonic() + 20
        while closed < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
            closed = len(select.select(hoarders, [], [], 0)[0])
        time.sleep(0.2)
        closed = len(select.select(hoarders, [], [], 0)[0])
        for connection in hoarders:
            connection.close()
        assert 4 <= closed < 10
        settle(probe)
        other.sendall(with_seqid(with_model(INFERENCE, "big-500000"), 2))
        assert len(receive_frame(other)) > 500000
    assert "all memory for requests" in probe.stop()


def test_2000_idle_connections(probe: Probe) -> None:
    """Heartbeats do not notice 2,000 connections, half of them with a half-sent frame."""
    times = []
    with probe.connect() as connection:
        beat(connection, 0)
        before = probe.resident_kib()
        crowd = [probe.connect() for _ in range(2000)]
        for idle in crowd[::2]:
            idle.sendall(INFERENCE[:30])
        beat(connection, 1)
        grown = probe.resident_kib() - before
        for seqid in range(2000):
            start = time.perf_counter()
            beat(connection, seqid)
            times.append(time.perf_counter() - start)
    for idle in crowd:
        idle.close()
    times.sort()
    print(
        f"heartbeat beside 2000 connections: p50 {times[1000] * 1e6:.0f} us, p99 {times[1980] * 1e6:.0f} us, "
        f"worst {times[-1] * 1e6:.0f} us; memory {grown / 2000:.2f} KiB a connection"
    )
    assert times[1000] < 0.05


def test_random_bytes(probe: Probe) -> None:
    """Frames of noise behind a good first byte: closed or answered, never the end of the server."""
    import random

    noise = random.Random(7)
    for round_number in range(300):
        size = noise.randrange(1, 200)
        body = bytes([noise.choice([0x80, 0x82])]) + noise.randbytes(size)
        if round_number % 3 == 0:
            body = bytearray(noise.choice([BEAT, DELETE, INFERENCE])[4:])
            body[noise.randrange(len(body))] ^= 1 << noise.randrange(8)
        with probe.connect() as connection:
            connection.sendall(struct.pack(">I", len(body)) + bytes(body))
            connection.shutdown(socket.SHUT_WR)
            try:
                receive_exactly(connection, 1 << 20)
            except ConnectionResetError:
                pass
    with probe.connect() as connection:
        beat(connection, 1)


def test_farewell(start_probe: Callable[..., Probe]) -> None:
    """A server that ends gives idle peers a frame they cannot accept: pools of 2.0.5 then throw the connection away."""
    probe = start_probe()
    with probe.connect() as used, probe.connect() as silent:
        beat(used, 1)
        assert probe.process.stdin is not None
        probe.process.stdin.close()  # which ends the probe
        probe.process.stdin = None
        assert receive_exactly(used, 4) == b"\xff\xff\xff\xff"
        assert used.recv(1) == b""
        assert silent.recv(1) == b""  # who never asked has no pool to clean
    probe.process.wait(timeout=20)
