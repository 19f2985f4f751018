"""Harmful models: the request gets one clear sentence, the node stays Running, the next request works."""

from __future__ import annotations

import re
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from caller import Caller, Refused
from node import Make, Node, Start
from processes import descriptors, wait_until
from tsblock import encode
from values import check_alive, harmful, series

INTERNAL = 1510


def refusal(caller: Caller, model: str, block: np.ndarray | bytes) -> Refused:
    """The one sentence that a request gets."""
    with pytest.raises(Refused) as caught:
        caller.infer(model, block)
    message = caught.value.message
    assert message and len(message) < 4096
    assert not re.search(r"[\x00-\x1f\x7f]", message), f"control characters in {message!r}"
    assert "Traceback" not in message
    return caught.value


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("raises", ["the model has had enough"]),
        ("wrong_shape", ["192 rows", "1 columns", "[96, 2]"]),
        ("wrong_columns", ["3 columns", "[96, 2]"]),
        ("segfaults", ["signal 11", "memory it must not"]),
        ("divides_by_zero", ["signal 8"]),
        ("never_returns", ["5000 ms", "ain_inference_timeout_ms"]),
        ("prints_forever", ["5000 ms", "ain_inference_timeout_ms"]),
        ("eats_memory", ["memory"]),
        ("prints_bytes", ["utf-8"]),
        ("raises_strangely", ["the model raised"]),
    ],
)
def test_fault_is_a_sentence_and_stays_alone(
    node: Node, caller: Caller, make: Make, name: str, parts: list[str]
) -> None:
    """Twice, for the second one meets a worker that has been replaced."""
    sound, bad = make("identity"), make(name)
    check_alive(caller, sound, bad)
    node.allow(rf"model {bad}: ")
    since = time.monotonic()
    for _ in range(2):
        refused = refusal(caller, bad, harmful())
        assert refused.code == INTERNAL
        assert bad in refused.message
        missing = [part for part in parts if part not in refused.message]
        assert not missing, f"{missing} in {refused.message}"
        check_alive(caller, sound, bad)
    node.assert_running(since)


def test_others_do_not_wait_for_the_harmful(node: Node, caller: Caller, make: Make) -> None:
    """While one model loops, another answers, and heartbeats go on."""
    sound, bad = make("identity"), make("never_returns")
    check_alive(caller, sound)
    node.allow(rf"model {bad}: ")
    since = time.monotonic()
    with node.call() as other:
        other.ask(bad, harmful())
        times = []
        while time.monotonic() < since + 3:
            started = time.monotonic()
            check_alive(caller, sound)
            times.append(time.monotonic() - started)
        with pytest.raises(Refused, match="5000 ms"):
            other.answer()
    assert 4.9 < time.monotonic() - since < 15
    print(
        f"identity beside an endless loop: {len(times)} answers, median {sorted(times)[len(times) // 2] * 1e6:.0f} us"
    )
    node.assert_running(since)


def test_log_cannot_be_forged(node: Node, caller: Caller, make: Make) -> None:
    """What a model prints stands behind its name, line by line, without control characters."""
    model = make("forges_log")
    caller.infer(model, harmful())
    wait_until(lambda: "unfinished" in node.log(), 10, "the model's output is in the log")
    text = node.log()
    assert f"model {model}: harmless" in text
    assert not re.search(r"^.{0,60}\[1:1\] forged", text, re.MULTILINE), "a forged line"
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u2028\u2029\u202e]", text), "a control character in the log"


def test_output_that_is_no_text(node: Node, caller: Caller, make: Make) -> None:
    """Bytes that are not UTF-8, written to the worker's output by other means than Python's."""
    before = set(node.workers())
    model = make("identity")
    check_alive(caller, model)
    worker = node.worker(*before)
    with open(f"/proc/{worker}/fd/2", "wb", buffering=0) as output:
        output.write(b"\xff\xfe\x00\x01\x80 noise\r\x1b[2J\n" + b"\xc3(" * 5000 + b"\nafterwards\n")
    wait_until(lambda: f"model {model}: afterwards" in node.log(), 10, "the output is in the log")
    check_alive(caller, model)


def test_endless_talk_does_not_fill_the_disk(node: Node, caller: Caller, make: Make) -> None:
    """A model that prints without end costs the log a bounded number of lines."""
    model = make("prints_forever")
    node.allow(rf"model {model}: ")
    since = time.monotonic()
    size = node.log_file.stat().st_size
    with pytest.raises(Refused, match="5000 ms"):
        caller.infer(model, harmful())
    grown = node.log_file.stat().st_size - size
    print(f"five seconds of endless printing: {grown} bytes of log")
    assert grown < 200_000
    summary = re.compile(rf"model {model}: \(\d+ more lines were printed and left out here\)")
    wait_until(lambda: summary.search(node.log()) is not None, 10, "the log says how much was left out")
    check_alive(caller, model)
    node.assert_running(since)


def test_registration_refuses_what_cannot_answer(node: Node, caller: Caller, models: Path) -> None:
    """With the reason; and nothing of it stays."""
    node.allow("was not registered")
    for name, part in [("always_raises", "this model never works"), ("two_answers", "tuple")]:
        with pytest.raises(Refused) as caught:
            caller.register(f"{name}_x", (models / name).as_uri())
        assert part in caught.value.message and caught.value.code == 1500, caught.value
        assert f"{name}_x" not in caller.states()
        with pytest.raises(Refused, match=rf"there is no model \[{name}_x\]"):
            caller.infer(f"{name}_x", series())
    models_dir = node.home / "data" / "ainode" / "models"
    assert not [path for path in models_dir.rglob("*") if path.name == "model.pt"]


def test_writer_of_its_input_gets_right_answers(node: Node, caller: Caller, make: Make) -> None:
    """1,000 distinct requests to a model that doubles its input in place."""
    model = make("writes_input")
    for seed in range(1000):
        values = series(seed)
        assert np.array_equal(caller.infer(model, values), values * 2)


def test_keeper_of_its_inputs_is_not_deceived(node: Node, caller: Caller, make: Make) -> None:
    """A model that begins to keep its arrays only after its proof never sees one of them change.

    It answers the difference to the array kept; requests are sent ahead, so that both slots of its worker are in use.
    """
    model = make("remembers_input")
    assert np.array_equal(caller.infer(model, series(5)), series(5))
    inputs = [harmful()] + [series(seed * 3 + 1) for seed in range(40)]
    answers = []
    for start in range(0, len(inputs), 5):
        for values in inputs[start : start + 5]:
            caller.ask(model, values)
        answers += [caller.answer()[0] for _ in inputs[start : start + 5]]
    assert np.array_equal(answers[0], inputs[0])
    for index in range(1, len(inputs)):
        fresh = np.array_equal(answers[index], inputs[index])  # from a worker that has kept nothing yet
        follows = np.array_equal(answers[index], inputs[index] - inputs[index - 1])
        assert fresh or follows, f"answer {index} belongs to another array than the one before"


def ends(node: Node) -> list[float]:
    """When processes of the model `bad` have ended, in seconds."""
    lines = re.findall(r"^(\S+ \S+) WARNING \[\d+:\d+\] model bad: .*signal 8", node.log(), re.MULTILINE)
    return [datetime.strptime(when, "%Y-%m-%d %H:%M:%S,%f").timestamp() for when in lines]


def test_crash_loop_waits_longer_each_time_and_ends(start_node: Start, models: Path) -> None:
    """A client that only ever sends what kills the model does not keep the machine busy with new workers."""
    node = start_node()
    node.allow("model bad: ", r"model \[bad\] has failed")
    with node.call() as caller:
        caller.register("bad", (models / "divides_by_zero").as_uri())
        for _ in range(8):
            started = time.monotonic()
            refused = refusal(caller, "bad", harmful())
            assert "signal 8" in refused.message
        wait_until(lambda: len(ends(node)) == 8, 10, "the log tells of each end")
        pauses = np.diff(ends(node))
        # 100 ms after the second end, doubled after each; the log's times are cut to milliseconds.
        assert all(pauses[1:] > 0.1 * 2.0 ** np.arange(6) - 0.002), pauses
        refused = refusal(caller, "bad", series())
        for part in ("[bad]", "8 times", "signal 8", "LOAD MODEL", "new registration"):
            assert part in refused.message, refused
        assert caller.states() == {"bad": "FAILED"}
        node.assert_running(started)
        with node.call("H") as loader:
            types = loader.types
            loaded = loader.call("loadModel", types.TLoadModelReq(existingModelId="bad", deviceIdList=["cpu"]))
            assert loaded.code == 200, loaded
        assert caller.states() == {"bad": "ACTIVE"}
        check_alive(caller, "bad")
        for _ in range(8):
            refusal(caller, "bad", harmful())
        assert caller.states() == {"bad": "FAILED"}
        caller.drop("bad")
        caller.register("bad", (models / "divides_by_zero").as_uri())
        check_alive(caller, "bad")


def test_worker_inherits_nothing(node: Node, caller: Caller, make: Make) -> None:
    """A worker has the descriptors of its channel and its output, and none of the host's."""
    before = set(node.workers())
    check_alive(caller, make("identity"))
    worker = node.worker(*before)
    found = descriptors(worker)
    assert found
    foreign = {fd: what for fd, what in found.items() if fd > 7 and not what.startswith("/")}
    assert not foreign, found
    assert not [what for what in found.values() if "log_ainode" in what], found


@pytest.mark.parametrize(
    ("name", "words"), [("raises", "had enough"), ("wrong_shape", "192 rows"), ("wrong_columns", "3 columns")]
)
def test_batch_companions_do_not_pay(node: Node, caller: Caller, make: Make, name: str, words: str) -> None:
    """Requests that run together with one that the model cannot stand are answered all the same."""
    model = make(name)
    check_alive(caller, model)
    for bad in (1, 4, 7):
        frames = b""
        for index in range(8):
            block = encode(harmful() if index == bad else series(index))
            frames += caller.encode("inference", caller.types.TInferenceReq(modelId=model, dataset=block))
        caller.connection.sendall(frames)  # at once, so that they wait together
        for index in range(8):
            if index == bad:
                with pytest.raises(Refused, match=words):
                    caller.answer()
            else:
                assert np.array_equal(caller.answer()[0], series(index))


@pytest.mark.parametrize("name", ["lstm", "dlinear", "keeps_state", "writes_input"])
def test_acceleration(start_node: Start, models: Path, name: str) -> None:
    """acceleration=true in the query: the same answers, and one line in the log that says what came of it."""
    node = start_node()
    with node.call() as caller:
        caller.register("plain", (models / name).as_uri())
        caller.register("fast", (models / name).as_uri())
        for seed in range(5):
            values = series(seed) / 100
            plain = caller.infer("plain", values)
            fast = caller.infer("fast", values, inferenceAttributes={"acceleration": "true"})
            assert np.allclose(fast, plain, rtol=1e-4, atol=1e-4)
        wait_until(lambda: "acceleration=true" in node.log(), 20, "the log says so")
    node.stop()
    assert node.log().count("model fast: acceleration=true") == 1
    assert "model plain: acceleration=true" not in node.log()


def test_sandbox_and_the_models_let_out(start_node: Start, models: Path) -> None:
    """A denial reaches the author with a hint; the operator can name models that may do all."""
    node = start_node(AIN_WORKER_SANDBOX_OFF_MODELS=" trusted , other")
    with node.call() as caller:
        for name in ("trusted", "stranger"):
            caller.register(name, (models / "reads_file").as_uri())
            check_alive(caller, name)
        assert np.all(caller.infer("trusted", harmful()) == ord("r"))  # of root
        confined = "no Landlock" not in node.log()
        if confined:
            refused = refusal(caller, "stranger", harmful())
            for part in ("/etc/passwd", "the sandbox of the AINode forbids it", "ain_worker_sandbox_off_models"):
                assert part in refused.message, refused
        else:
            assert np.all(caller.infer("stranger", harmful()) == ord("r"))
        assert "model trusted runs without the sandbox" in node.log()
        assert "model stranger runs without the sandbox" not in node.log()


def test_open_node_does_not_blame_the_sandbox(start_node: Start, models: Path) -> None:
    """Without a sandbox, nothing is said to be forbidden by it."""
    node = start_node(AIN_WORKER_SANDBOX="off")
    with node.call() as caller:
        caller.register("reader", (models / "reads_file").as_uri())
        assert np.all(caller.infer("reader", harmful()) == ord("r"))
        assert "sandbox" not in node.log().replace("AIN_WORKER_SANDBOX", "").replace("ain_worker_sandbox", "")
