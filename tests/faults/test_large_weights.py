"""The large built-in models in a whole node: answers that do not depend on what is computed beside them."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caller import Caller, Refused
from node import Node, Start
from processes import wait_until
from tsblock import decode, encode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
from make_weights import make_weights  # noqa: E402

KINDS = {"timer_xl": "timer", "sundial": "sundial"}
ROWS, LENGTH, CLIENTS, TURNS = 200, 150, 8, 6


def start_with_weights(start_node: Start, kinds: dict[str, str], **settings: str) -> Node:
    """A node whose folders of weights are filled while it runs."""
    node = start_node(**settings)
    base = node.home / "data" / "ainode" / "models" / "weights"
    for name, kind in kinds.items():
        make_weights(kind, base / name)

    def active() -> bool:
        with node.call() as caller:
            states = caller.call("showModels", caller.types.TShowModelsReq()).stateMap
        return all(states.get(name) == "ACTIVE" for name in kinds)

    wait_until(active, 60, f"{sorted(kinds)} are active")
    return node


def forecast(caller: Caller, model: str, values: np.ndarray, **options: str) -> tuple[bytes, np.ndarray]:
    """The bytes of the answer and its only column."""
    block = encode(values.astype(np.float64)[:, None])
    request: Any = caller.types.TForecastReq(model, block, LENGTH, options)
    answer = caller.call("forecast", request)
    if answer.status.code != 200:
        raise Refused(answer.status)
    return answer.forecastResult, decode(answer.forecastResult)[:, 0]


def wave(phase: float) -> np.ndarray:
    return 10 * np.sin(np.arange(ROWS) / 7 + phase) + 100


def ask_all_at_once(node: Node, model: str) -> dict[int, list[tuple[bytes, np.ndarray]]]:
    """Half of the clients always ask the same, the others ever something else; the answers by client."""
    answers: dict[int, list[tuple[bytes, np.ndarray]]] = {index: [] for index in range(CLIENTS)}

    def client(index: int) -> None:
        with node.call() as caller:
            for turn in range(TURNS):
                phase = 0.0 if index % 2 == 0 else index + turn / 10
                answers[index].append(forecast(caller, model, wave(phase)))

    threads = [threading.Thread(target=client, args=(index,)) for index in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def runs(node: Node) -> tuple[int, int]:
    """Model runs and samples in them, as the node says at its end."""
    words = node.log().rpartition("totals: ")[2].split()
    return int(words[words.index("model") - 1]), int(words[words.index("samples,") - 1])


@pytest.mark.parametrize("model", sorted(KINDS))
def test_a_batch_changes_no_answer(start_node: Start, model: str) -> None:
    """Within 1e-4 of the answer alone, also beside others; and some did run together."""
    node = start_with_weights(start_node, {model: KINDS[model]})
    with node.call() as caller:
        _, alone = forecast(caller, model, wave(0.0))
        answers = ask_all_at_once(node, model)
        for index in range(0, CLIENTS, 2):
            assert len(answers[index]) == TURNS
            for _, values in answers[index]:
                assert np.allclose(values, alone, rtol=1e-4, atol=1e-3)
        for turn in range(TURNS):
            _, single = forecast(caller, model, wave(1 + turn / 10))
            assert np.allclose(answers[1][turn][1], single, rtol=1e-4, atol=1e-3)
    node.stop()
    jobs, samples = runs(node)
    assert samples == CLIENTS * TURNS + 1 + TURNS
    assert jobs < samples


@pytest.mark.parametrize("model", sorted(KINDS))
def test_without_batching_answers_are_equal_to_the_last_bit(start_node: Start, model: str) -> None:
    node = start_with_weights(start_node, {model: KINDS[model]}, AIN_BATCHING="0")
    answers = ask_all_at_once(node, model)
    assert len({data for index in range(0, CLIENTS, 2) for data, _ in answers[index]}) == 1
    node.stop()
    jobs, samples = runs(node)
    assert jobs == samples == CLIENTS * TURNS


def test_a_copy_of_weights_is_a_model_with_typed_options(start_node: Start) -> None:
    """Any folder with a known model_type; a constant gives numbers; texts that are no values are refused."""
    node = start_with_weights(start_node, {"my_sundial": "sundial", "my_timer": "timer"})
    with node.call() as caller:
        shown = caller.call("showModels", caller.types.TShowModelsReq())
        assert {shown.categoryMap[name] for name in ("my_sundial", "my_timer")} == {"FINE-TUNED"}
        for name in ("my_sundial", "my_timer"):
            _, constant = forecast(caller, name, np.full(ROWS, 5.0))
            assert np.allclose(constant, 5.0, rtol=1e-4)
            _, plain = forecast(caller, name, wave(0), revin="false")
            assert not np.allclose(plain, forecast(caller, name, wave(0))[1])
            with pytest.raises(Refused, match="Attribute revin expect true or false, got maybe"):
                forecast(caller, name, wave(0), revin="maybe")
        low, high = (forecast(caller, "my_sundial", wave(0), quantile=q, num_samples="20")[1] for q in ("0.1", "0.9"))
        assert np.all(low < high)
        first, again = (forecast(caller, "my_sundial", wave(0), seed="7")[0] for _ in range(2))
        assert first == again != forecast(caller, "my_sundial", wave(0), seed="8")[0]
        with pytest.raises(Refused, match="Attribute num_samples expect value between 1 and 1000, got ten"):
            forecast(caller, "my_sundial", wave(0), num_samples="ten")
