"""User models by SQL: CREATE MODEL, SHOW MODELS, CALL INFERENCE, DROP MODEL on real clusters."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any, Callable

import pytest
from ainode import Installation, ask_model, create_failure, create_model, drop_quietly, model_states, refused
from iotdb_cluster import Cluster
from releases import calls_inference, has_old_ids
from series import close, sample, value

Make = Callable[[str], str]
pytestmark = pytest.mark.releases("2.0.1-beta", "2.0.5")  # later ones send one column only: test_one_column.py
WITH_WINDOWS = pytest.mark.not_on("2.0.6", "2.0.7")  # CALL INFERENCE alone has them
CONFIG = "configs:\n  input_shape: [96, 2]\n  output_shape: [96, 2]\n"


def infer(
    cluster: Cluster, model: str, source: str = "root.t.f", rows: int = 96, *, length: int = 96, **options: str
) -> Any:
    """What the model answers to the first rows of a device; `length`: rows of the answer."""
    query = f"select s0, s1 from {source} where time < {rows * 1000}"
    return ask_model(cluster, model, query, length=length, options=options)


def test_create_lists_the_model(cluster: Cluster, make: Make, release: str) -> None:
    name = make("identity")
    rows = cluster.query(f"SHOW MODELS {name}").dicts()
    assert len(rows) == 1
    assert rows[0]["ModelId"] == name
    assert rows[0]["State"].upper() == "ACTIVE"
    if has_old_ids(release):
        assert rows[0]["ModelType"] == "USER_DEFINED"
        assert "96" in rows[0]["Configs"] and "author" in rows[0]["Notes"]
    else:
        assert rows[0]["Category"] == "USER-DEFINED"


def test_identity_answers_what_it_got(cluster: Cluster, make: Make, release: str) -> None:
    answer = infer(cluster, make("identity"))
    assert answer.columns == (["output0", "output1"] if calls_inference(release) else ["s0", "s1"])
    close(answer.rows, [[value(row, 0), value(row, 1)] for row in range(96)], 0)


@pytest.mark.parametrize(
    "name",
    [
        "dlinear",
        "dlinear_long",
        "lstm",
        pytest.param("sum", marks=pytest.mark.not_on("2.0.6", "2.0.7")),  # FORECAST wants as many columns as it sent
        "last_rows",
        "double",
        "integers",
        "writes_input",
        "one_column",
    ],
)
def test_answer_is_what_torch_gives(cluster: Cluster, make: Make, models: Path, name: str) -> None:
    model = make(name)
    source, wanted = sample(models, name)
    columns = "s0, s1" if len(source[0]) == 2 else "s0"
    device = "d" if name == "double" else "f"
    text = f"select {columns} from root.t.{device} where time < {len(source)}000"
    close(ask_model(cluster, model, text, length=len(wanted)).rows, wanted)


def test_columns_arrive_in_the_order_of_the_select(cluster: Cluster, make: Make) -> None:
    answer = ask_model(cluster, make("identity"), "select s1, s0 from root.t.f where time < 96000")
    close(answer.rows, [[value(row, 1), value(row, 0)] for row in range(96)], 0)


@pytest.mark.parametrize(("device", "name"), [("d", "identity_doubles"), ("i", "identity_ints")])
def test_number_types(cluster: Cluster, make: Make, device: str, name: str) -> None:
    answer = infer(cluster, make(name), f"root.t.{device}")
    cut = int if device == "i" else float
    close(answer.rows, [[cut(value(row, 0)), cut(value(row, 1))] for row in range(96)])


@pytest.mark.releases("2.0.5")
def test_integers_become_the_models_type(cluster: Cluster, make: Make) -> None:
    """The other widths are refused by the DataNode itself, which reads the column as the model's type."""
    answer = infer(cluster, make("identity"), "root.t.i")
    close(answer.rows, [[int(value(row, 0)), int(value(row, 1))] for row in range(96)], 0)


def test_repeated_calls_differ_only_with_their_data(cluster: Cluster, make: Make) -> None:
    model = make("identity")
    for first in range(0, 50, 5):
        source = f"select s0, s1 from root.t.f where time >= {first}000 and time < {first + 96}000"
        answer = ask_model(cluster, model, source)
        close(answer.rows, [[value(row, 0), value(row, 1)] for row in range(first, first + 96)], 0)


@WITH_WINDOWS
def test_window_head(cluster: Cluster, make: Make) -> None:
    answer = infer(cluster, make("identity"), rows=150, window="head(96)")
    close(answer.rows, [[value(row, 0), value(row, 1)] for row in range(96)], 0)


@WITH_WINDOWS
def test_window_tail(cluster: Cluster, make: Make) -> None:
    answer = infer(cluster, make("identity"), rows=150, window="tail(96)")
    close(answer.rows, [[value(row, 0), value(row, 1)] for row in range(54, 150)], 0)


@WITH_WINDOWS
def test_window_count(cluster: Cluster, make: Make) -> None:
    answer = infer(cluster, make("identity"), rows=192, window="count(96, 48)")
    wanted = [[value(row, 0), value(row, 1)] for start in (0, 48, 96) for row in range(start, start + 96)]
    close(answer.rows, wanted, 0)


@pytest.mark.releases("2.0.5", "2.0.2", "2.0.3")
@WITH_WINDOWS
def test_generate_time(cluster: Cluster, make: Make) -> None:
    answer = infer(cluster, make("dlinear"), length=24, generateTime="true")
    assert answer.columns == ["Time", "output0", "output1"]
    step = 95000 // 96  # the DataNode's own rule: it starts at the last input time
    assert [int(time) for time in answer.column("Time")] == [95000 + k * step for k in range(24)]


@pytest.mark.releases("2.0.5")
@WITH_WINDOWS
def test_bad_window_is_a_sentence(cluster: Cluster, make: Make, node: Installation) -> None:
    with refused("400", "96"):
        infer(cluster, make("identity"), window="count(400, 1)")
    node.expect_running(cluster)


@pytest.mark.parametrize("name", ["_hidden", "a", "x" * 65])
def test_bad_ids_are_refused(cluster: Cluster, node: Installation, models: Path, name: str) -> None:
    before = sorted(os.listdir(node.models_dir))
    with refused():
        create_model(cluster, name, f"file://{models}/identity")
    assert sorted(os.listdir(node.models_dir)) == before


@pytest.mark.parametrize("name", ["weights", "timer_xl", "sundial", "arima"])
def test_reserved_names_are_refused(cluster: Cluster, node: Installation, models: Path, name: str) -> None:
    before = sorted(os.listdir(node.models_dir))
    try:
        assert name in create_failure(cluster, name, f"file://{models}/identity")
    finally:
        drop_quietly(cluster, name)
    assert sorted(os.listdir(node.models_dir)) == before
    assert not (node.models_dir / name / "model.pt").exists()


def test_backquoted_path_is_not_an_id(cluster: Cluster, node: Installation, models: Path) -> None:
    before = sorted(path.name for path in node.models_dir.parent.iterdir())
    with refused():
        cluster.execute(f'CREATE MODEL `../outside` USING URI "file://{models}/identity"')
    assert sorted(path.name for path in node.models_dir.parent.iterdir()) == before


def test_dropping_odd_names_touches_nothing(cluster: Cluster, make: Make, node: Installation) -> None:
    name = make("identity")
    before = sorted(os.listdir(node.models_dir))
    for odd in ("`..`", "`.`", "``", "`../ainode`", "nothing_here"):
        with refused():
            cluster.execute(f"DROP MODEL {odd}")
    assert sorted(os.listdir(node.models_dir)) == before
    assert len(infer(cluster, name).rows) == 96


def leaves_nothing(cluster: Cluster, node: Installation, name: str, uri: str, *words: str) -> None:
    """A CREATE MODEL that must fail with `words` in its message, and leave no trace of ours."""
    before = sorted(os.listdir(node.models_dir))
    try:
        reason = create_failure(cluster, name, uri)
        assert not [word for word in words if word.lower() not in reason.lower()], reason
        assert sorted(os.listdir(node.models_dir)) == before, "a failed registration left files"
        staging = node.models_dir / ".staging"
        assert not staging.exists() or not list(staging.iterdir()), "a failed registration left its staging"
        assert model_states(cluster).get(name, "gone").upper() in ("GONE", "UNAVAILABLE", "INACTIVE")
        node.expect_running(cluster)
    finally:
        drop_quietly(cluster, name)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("file:///no/such/folder", ["/no/such/folder"]),
        ("file://{models}/identity/model.pt", ["identity/model.pt"]),
        ("file://{empty}", ["config.yaml", "model.pt"]),
        ("file://{only_model}", ["config.yaml"]),
        ("file://{only_config}", ["model.pt"]),
        ("ftp://127.0.0.1/model", ["ftp"]),
    ],
)
def test_bad_uris(
    cluster: Cluster, node: Installation, models: Path, tmp_path: Path, model_id: str, uri: str, words: list[str]
) -> None:
    for name, files in {"empty": [], "only_model": ["model.pt"], "only_config": ["config.yaml"]}.items():
        (tmp_path / name).mkdir()
        for file in files:
            shutil.copy(models / "identity" / file, tmp_path / name)
    places = {name: str(tmp_path / name) for name in ("empty", "only_model", "only_config")}
    leaves_nothing(cluster, node, model_id, uri.format(models=models, **places), *words)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("", ["config.yaml"]),
        ("configs: [", ["config.yaml"]),
        ("other: 1\n", ["configs"]),
        ("configs: 5\n", ["configs"]),
        ("configs:\n  output_shape: [96, 2]\n", ["input_shape"]),
        ("configs:\n  input_shape: [96, 2]\n", ["output_shape"]),
        ("configs:\n  input_shape: 96\n  output_shape: [96, 2]\n", ["input_shape"]),
        ("configs:\n  input_shape: [96]\n  output_shape: [96, 2]\n", ["input_shape"]),
        ("configs:\n  input_shape: [96, 2, 1]\n  output_shape: [96, 2]\n", ["input_shape"]),
        ("configs:\n  input_shape: [0, 2]\n  output_shape: [96, 2]\n", ["input_shape"]),
        ("configs:\n  input_shape: [96, -2]\n  output_shape: [96, 2]\n", ["input_shape"]),
        ("configs:\n  input_shape: [96.5, 2]\n  output_shape: [96, 2]\n", ["input_shape"]),
        ("configs:\n  input_shape: [96, 2]\n  output_shape: [x, 2]\n", ["output_shape"]),
        (CONFIG + "  input_type: [float32]\n", ["input_type"]),
        (CONFIG + "  input_type: float32\n", ["input_type"]),
        (CONFIG + "  output_type: [float32, decimal]\n", ["output_type", "decimal"]),
        ("!!python/object/apply:os.system ['true']\n", ["config.yaml"]),
    ],
)
def test_broken_config(
    cluster: Cluster, node: Installation, models: Path, tmp_path: Path, model_id: str, config: str, words: list[str]
) -> None:
    shutil.copy(models / "identity" / "model.pt", tmp_path)
    (tmp_path / "config.yaml").write_text(config)
    leaves_nothing(cluster, node, model_id, f"file://{tmp_path}", *words)


@pytest.mark.parametrize("content", ["empty", "text", "zip", "cut", "pickle"])
def test_not_torchscript(
    cluster: Cluster, node: Installation, models: Path, tmp_path: Path, model_id: str, content: str
) -> None:
    shutil.copytree(models / "identity", tmp_path / "m")
    target = tmp_path / "m" / "model.pt"
    whole = target.read_bytes()
    target.write_bytes(
        {"text": b"not a model\n", "cut": whole[: len(whole) // 2], "pickle": pickle.dumps({"w": 1})}.get(content, b"")
    )
    if content == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("readme.txt", "no model in here")
    leaves_nothing(cluster, node, model_id, f"file://{tmp_path}/m", "model.pt")


@pytest.mark.parametrize(("name", "words"), [("always_raises", ["this model never works"]), ("two_answers", ["tuple"])])
def test_models_that_cannot_work_are_not_registered(
    cluster: Cluster, node: Installation, models: Path, model_id: str, name: str, words: list[str]
) -> None:
    leaves_nothing(cluster, node, model_id, f"file://{models}/{name}", *words)


def test_wrong_declared_shape_is_found_at_registration(
    cluster: Cluster, node: Installation, models: Path, tmp_path: Path, model_id: str
) -> None:
    shutil.copytree(models / "dlinear", tmp_path / "m")
    config = tmp_path / "m" / "config.yaml"
    config.write_text(config.read_text().replace("output_shape: [24, 2]", "output_shape: [12, 2]"))
    leaves_nothing(cluster, node, model_id, f"file://{tmp_path}/m", "24", "12")


def test_id_is_free_again_after_a_failure(
    cluster: Cluster, node: Installation, models: Path, model_id: str, tmp_path: Path
) -> None:
    leaves_nothing(cluster, node, model_id, f"file://{tmp_path}", "model.pt")
    create_model(cluster, model_id, f"file://{models}/identity")
    assert len(infer(cluster, model_id).rows) == 96


def test_same_id_twice(cluster: Cluster, make: Make, models: Path) -> None:
    name = make("identity")
    with refused(name):
        create_model(cluster, name, f"file://{models}/dlinear_long")
    close(infer(cluster, name).rows, [[value(row, 0), value(row, 1)] for row in range(96)], 0)


def test_drop_removes_files_and_row(cluster: Cluster, make: Make, node: Installation) -> None:
    name = make("identity")
    assert (node.models_dir / name / "model.pt").exists()
    assert len(infer(cluster, name).rows) == 96
    cluster.execute(f"DROP MODEL {name}")
    assert not (node.models_dir / name).exists()
    assert name not in model_states(cluster)
    with refused(name):
        infer(cluster, name)


def test_same_id_with_other_content_after_drop(
    cluster: Cluster, node: Installation, models: Path, model_id: str
) -> None:
    create_model(cluster, model_id, f"file://{models}/identity")
    close(infer(cluster, model_id).rows[:1], [[value(0, 0), value(0, 1)]], 0)
    cluster.execute(f"DROP MODEL {model_id}")
    create_model(cluster, model_id, f"file://{models}/writes_input")
    close(infer(cluster, model_id).rows[:1], [[2 * value(0, 0), 2 * value(0, 1)]], 0)


def test_the_source_may_go_after_registration(
    cluster: Cluster, node: Installation, models: Path, tmp_path: Path, model_id: str
) -> None:
    shutil.copytree(models / "identity", tmp_path / "m")
    create_model(cluster, model_id, f"file://{tmp_path}/m")
    shutil.rmtree(tmp_path / "m")
    assert len(infer(cluster, model_id).rows) == 96


def test_source_path_with_spaces(
    cluster: Cluster, node: Installation, models: Path, tmp_path: Path, model_id: str
) -> None:
    shutil.copytree(models / "identity", tmp_path / "my model")
    create_model(cluster, model_id, f"file://{tmp_path}/my%20model")
    assert len(infer(cluster, model_id).rows) == 96


def test_wrong_number_of_columns(cluster: Cluster, make: Make, node: Installation) -> None:
    name = make("identity")
    with refused():
        ask_model(cluster, name, "select s0 from root.t.f where time < 96000")
    node.expect_running(cluster)


@pytest.mark.releases("2.0.5")
def test_wrong_number_of_rows_is_a_sentence(cluster: Cluster, make: Make, node: Installation) -> None:
    name = make("dlinear")
    with refused("96", "50"):
        infer(cluster, name, rows=50, length=24)
    assert len(infer(cluster, name, length=24).rows) == 24


def test_unknown_model(cluster: Cluster, node: Installation) -> None:
    with refused("never_created"):
        infer(cluster, "never_created")


def test_text_columns_are_refused(cluster: Cluster, make: Make, node: Installation) -> None:
    with refused():
        infer(cluster, make("identity"), "root.t.t")
    node.expect_running(cluster)


def test_nan_and_infinity_come_through(cluster: Cluster, make: Make) -> None:
    answer = infer(cluster, make("not_a_number"))
    assert len(answer.rows) == 96
    assert all(first != first or first is None for first, _ in answer.rows)
    assert all(float(second) == float("inf") for _, second in answer.rows)


def test_ten_models_at_once(cluster: Cluster, make: Make) -> None:
    names = [make("identity") for _ in range(10)]
    for name in names:
        assert len(infer(cluster, name).rows) == 96
    assert set(names) <= set(model_states(cluster))
