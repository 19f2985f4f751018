"""Pipelines (config.json with pipeline_cls) by SQL on real clusters, of the releases before 2.0.8, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ainode import Installation, ask_model, create_failure, create_model, model_states, refused
from iotdb_cluster import Cluster
from pipelines import IMPORT, drift, write_pipeline
from releases import input_argument, is_late
from series import close, value

SOURCE = "select s0 from root.t.d where time < 96000"  # 2.0.1-beta wants the declared type, DOUBLE
INPUT = np.array([[value(row, 0)] for row in range(96)])


def test_create_call_show_drop(
    cluster: Cluster, node: Installation, model_id: str, release: str, tmp_path: Path
) -> None:
    """The life of a pipeline on arrays. Releases up to 2.0.2 want as many rows as input_shape says."""
    uri = write_pipeline(tmp_path / "drift", framework="numpy", input_shape=[96, 1], output_shape=[7, 1])
    create_model(cluster, model_id, uri)
    assert model_states(cluster)[model_id].upper() == "ACTIVE"
    if is_late(release):
        (row,) = cluster.query(f"SHOW MODELS {model_id}").dicts()
        assert row["ModelType"] == "drift" and row["Category"] == "user_defined"
    options = {"outputLength" if is_late(release) else "predict_length": "7"}
    close(ask_model(cluster, model_id, SOURCE, length=7, options=options).rows, drift(INPUT, 7))
    assert (node.models_dir / "user_defined" / model_id / "pipeline_drift.py").is_file()
    cluster.execute(f"DROP MODEL {model_id}")
    with refused(model_id):
        ask_model(cluster, model_id, SOURCE)
    assert not (node.models_dir / "user_defined" / model_id).exists()


@pytest.mark.releases("2.0.5", "2.0.10")
def test_forecast(cluster: Cluster, node: Installation, model_id: str, release: str, tmp_path: Path) -> None:
    """The table function, with options that reach the hooks."""
    code = (
        IMPORT
        + """
import torch

class Shift(ForecastPipeline):
    def forecast(self, inputs, **infer_kwargs):
        length = infer_kwargs["output_length"]
        return [x["targets"][:, -length:] + float(infer_kwargs.get("shift", 0)) for x in inputs]
"""
    )
    create_model(cluster, model_id, write_pipeline(tmp_path / "shift", code, "shift.Shift"))
    rows = ", ".join(f"({row * 1000}, {value(row, 0)})" for row in range(96))
    cluster.execute("CREATE DATABASE pipes", table=True)
    cluster.execute(
        "CREATE TABLE series(s0 DOUBLE FIELD)",
        f"INSERT INTO series(time, s0) VALUES {rows}",
        table=True,
        database="pipes",
    )
    source = f"{input_argument(release)}=>(SELECT time, s0 FROM series) ORDER BY time"
    text = f"SELECT * FROM FORECAST(MODEL_ID=>'{model_id}', {source}, OUTPUT_LENGTH=>5, MODEL_OPTIONS=>'shift=2.5')"
    answer = cluster.query(text, table=True, database="pipes").dicts()
    cluster.execute("DROP DATABASE pipes", table=True)
    assert [row["time"] for row in answer] == [96000 + k * 1000 for k in range(5)]
    close([[row["s0"]] for row in answer], INPUT[-5:] + 2.5)


def test_refused_pipeline(cluster: Cluster, node: Installation, model_id: str, tmp_path: Path) -> None:
    """The reason reaches the user, and nothing stays."""
    uri = write_pipeline(tmp_path / "bad", "import nosuchpackage\n", "bad.Bad")
    assert "nosuchpackage" in create_failure(cluster, model_id, uri)
    assert not (node.models_dir / "user_defined").exists()
