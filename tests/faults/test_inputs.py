"""What becomes of values on their way into a model: nulls by policy, element types without loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caller import Caller, Refused
from node import Make, Node, Start
from pipelines import IMPORT, write_pipeline
from tsblock import encode

ROWS = 96
#: As the host interpolates: linear between neighbours, ends repeated; whole numbers take the value before.
POLICIES = ("zero", "interpolate", "error")
KINDS = {"identity": np.float32, "identity_doubles": np.float64, "identity_ints": np.int32, "identity_longs": np.int64}


def holes(columns: int = 2) -> np.ndarray:
    """Where a block has no values: at both ends, a run, single ones; other places in the second column."""
    mask = np.zeros((ROWS, columns), dtype=bool)
    mask[[0, 1, 10, 11, 12, 40, ROWS - 1], 0] = True
    mask[[5, 70, 71], 1] = True
    return mask


def filled(values: np.ndarray, mask: np.ndarray, policy: str) -> np.ndarray:
    """What the model should see."""
    result = values.copy()
    for column in range(values.shape[1]):
        gaps = mask[:, column]
        rows = np.arange(len(values))
        if policy == "zero":
            result[gaps, column] = 0
        elif values.dtype.kind == "f":
            result[gaps, column] = np.interp(rows[gaps], rows[~gaps], values[~gaps, column])
        else:
            for row in rows[gaps]:
                before = rows[~gaps & (rows < row)]
                source = before[-1] if len(before) else rows[~gaps][0]
                result[row, column] = values[source, column]
    return result


def ramp(dtype: Any) -> np.ndarray:
    """Values whose interpolation is exact in every type."""
    return (np.arange(ROWS)[:, None] * np.array([2, 4]) + 100).astype(dtype)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_nulls(caller: Caller, make: Make, kind: str, policy: str) -> None:
    """Each policy, asked for in the request, with each element type."""
    model = make(kind)
    values, mask = ramp(KINDS[kind]), holes()
    block = encode(values, nulls=mask)
    options = {"nulls": policy}
    if policy == "error":
        with pytest.raises(Refused, match=r"value column 1 of 2 \(.*\) is null in row 1 of 96"):
            caller.infer(model, block, inferenceAttributes=options)
        return
    assert np.array_equal(caller.infer(model, block, inferenceAttributes=options), filled(values, mask, policy))


def test_nulls_are_zero_by_default(caller: Caller, make: Make) -> None:
    """As DataNodes make of nearly all nulls themselves; another word for a policy is refused."""
    model = make("identity")
    values, mask = ramp(np.float32), holes()
    block = encode(values, nulls=mask)
    assert np.array_equal(caller.infer(model, block), filled(values, mask, "zero"))
    with pytest.raises(Refused, match="Attribute nulls expect one of zero, interpolate, error, got drop instead"):
        caller.infer(model, block, inferenceAttributes={"nulls": "drop"})


@pytest.mark.parametrize("policy", POLICIES)
def test_nulls_in_windows(caller: Caller, make: Make, policy: str) -> None:
    """A window is filled from the whole column, and refused only for nulls of its own."""
    model = make("one_column")
    values = np.arange(ROWS * 2, dtype=np.float32)[:, None] * 2
    mask = np.zeros(values.shape, dtype=bool)
    mask[ROWS - 2 : ROWS + 1] = True  # across the border of the first window
    window = caller.types.TWindowParams(windowInterval=ROWS, windowStep=ROWS)
    fields = {"windowParams": window, "inferenceAttributes": {"nulls": policy}}
    if policy == "error":
        with pytest.raises(Refused, match="is null in row 95 of 192"):
            caller.ask(model, encode(values, nulls=mask), **fields)
            caller.answer()
        mask[:ROWS] = False
        with pytest.raises(Refused, match="is null in row 97 of 192"):
            caller.ask(model, encode(values, nulls=mask), **fields)
            caller.answer()
        return
    caller.ask(model, encode(values, nulls=mask), **fields)
    assert np.array_equal(np.concatenate(caller.answer()), filled(values, mask, policy))


def test_policy_of_the_node(start_node: Start, models: Path, tmp_path: Path) -> None:
    """ain_null_policy decides where a request does not, for all kinds of models; all null is no series."""
    node = start_node(AIN_NULL_POLICY="interpolate")
    values, mask = ramp(np.float32), holes()
    with node.call("E") as caller:
        caller.register("identity", (models / "identity").as_uri())
        block = encode(values, nulls=mask)
        assert np.array_equal(caller.infer("identity", block), filled(values, mask, "interpolate"))
        asked = caller.infer("identity", block, inferenceAttributes={"nulls": "zero"})
        assert np.array_equal(asked, filled(values, mask, "zero"))
        doubles = encode(ramp(np.float64), nulls=holes())
        options = {"predict_length": "2", "strategy": "last"}
        last = filled(ramp(np.float64), holes(), "interpolate")[-1]
        assert np.array_equal(caller.infer("naive_forecaster", doubles, inferenceAttributes=options), [last, last])
        with pytest.raises(Refused, match="is null in every row, so there is nothing to interpolate from"):
            caller.infer("identity", encode(values, nulls=np.ones(values.shape, dtype=bool)))


def test_large_whole_numbers(caller: Caller, make: Make) -> None:
    """INT64 beyond 2^53 goes through a model that declares int64 and takes it; beside a float32 column, as doubles."""
    values = np.full((ROWS, 2), (1 << 60) + 1, dtype=np.int64) + np.arange(ROWS)[:, None]
    assert np.array_equal(caller.infer(make("identity_longs"), values), values)
    mixed = make("identity_mixed")
    sent = np.stack([np.arange(ROWS) + (1 << 40) + 1, np.arange(ROWS)], axis=1)
    found = caller.infer(mixed, encode(sent.astype(np.int64), [2, 3]))
    assert np.array_equal(found, sent)


def test_doubles_where_the_model_takes_them(node: Node, caller: Caller, make: Make) -> None:
    """Declared float64: doubles when the model takes them, else float32, found out when it is registered."""
    values = np.full((ROWS, 2), 1 / 3) + np.arange(ROWS)[:, None]
    assert np.array_equal(caller.infer(make("identity_doubles"), values), values)
    found = caller.infer(make("lstm_doubles"), values)
    assert found.shape == (ROWS, 2) and np.isfinite(found).all()
    kept = node.home / "data" / "ainode" / "models"
    dtypes = {path.parent.name.rpartition("_")[0]: path.read_text() for path in kept.glob("*/.ainode-model")}
    assert "dtype=float64" in dtypes["identity_doubles"] and "dtype=float32" in dtypes["lstm_doubles"]


def test_pipelines_take_nulls_by_policy(node: Node, tmp_path: Path) -> None:
    """The same for pipelines: tensors and arrays have no nulls."""
    code = IMPORT + """
import numpy as np

class Same(ForecastPipeline):
    def forecast(self, inputs, **infer_kwargs):
        return [np.array(item["targets"]) for item in inputs]
"""
    values, mask = ramp(np.float64), holes()
    with node.call("H") as late, node.call("E") as early:
        late.register("same", write_pipeline(tmp_path / "a", code, "same.Same", framework="numpy"))
        for policy in ("zero", "interpolate"):
            found = early.infer("same", encode(values, nulls=mask), inferenceAttributes={"nulls": policy})
            assert np.allclose(found, filled(values, mask, policy), rtol=1e-12)
        late.drop("same")
