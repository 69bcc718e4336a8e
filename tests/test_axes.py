"""`axes:` and nothing else makes axes: a cell for each combination, a workload of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from optbench.analysis.table import comparison
from optbench.catalog.check import problems
from optbench.errors import OptbenchError
from optbench.store import read
from optbench.suite.dump import dump_text
from optbench.suite.load import Loaded, load
from optbench.suite.plan import plan
from program import optbench
from trials import TINY, trials

AXES = {"workload.batch_size": [16, 32], "init": ["he_normal", "orthogonal"]}


def test_every_combination_is_a_workload_of_its_own(tmp_path: Path) -> None:
    made = trials(tmp_path, axes=AXES, seeds=2)
    assert len(made) == 8
    names = list(dict.fromkeys(trial.workload_name for trial in made))
    assert names == [
        f"synthetic, batch_size={size}, init={init}"
        for size in (16, 32)
        for init in ("he_normal", "orthogonal")
    ]
    for trial in made:
        assert trial.workload.init is not None
        assert trial.axes == {"workload.batch_size": trial.batch_size, "init": trial.workload.init.name}
    assert len({trial.config_id for trial in made}) == 4


def test_a_suite_without_axes_has_the_ids_that_it_had(tmp_path: Path) -> None:
    """As before there were axes: written down then."""
    (trial,) = trials(tmp_path)
    (same,) = trials(tmp_path, axes={"workload.batch_size": [16]})
    assert trial.axes == {}
    assert trial.workload == same.workload
    assert trial.id != same.id


@pytest.mark.parametrize(
    ("path", "values", "read_back"),
    [
        ("clip", [None, {"norm": 1.0}], lambda t: t.entry.clip and t.entry.clip.norm),
        ("optimizers.SGD.lr", [0.1, 0.2], lambda t: t.entry.rules[0].arguments["lr"]),
        ("workload.model.hidden", [[8], [8, 8]], lambda t: t.workload.model.arguments["hidden"]),
        ("workload.accumulate", [1, 4], lambda t: t.workload.accumulate),
        ("schedule", ["constant", {"name": "cosine", "warmup": "5%"}], lambda t: t.entry.schedule.name),
        ("precision", ["fp32", "bf16"], lambda t: t.precision),
    ],
)
def test_any_setting_can_be_an_axis(path: str, values: list[Any], read_back: Any, tmp_path: Path) -> None:
    made = trials(tmp_path, axes={path: values})
    assert [trial.axes[path] for trial in made] == values
    assert len({str(read_back(trial)) for trial in made}) == 2


def test_an_axis_over_several_workloads_sets_it_in_each(tmp_path: Path) -> None:
    suite = {
        **TINY,
        "workloads": {"a": TINY["workload"], "b": TINY["workload"]},
        "axes": {"workload.batch_size": [16, 32]},
    }
    del suite["workload"]
    made = plan(loaded(tmp_path, suite))
    assert [(t.workload_name, t.batch_size) for t in made] == [
        ("a, batch_size=16", 16),
        ("b, batch_size=16", 16),
        ("a, batch_size=32", 32),
        ("b, batch_size=32", 32),
    ]


def test_lists_elsewhere_are_no_axes(tmp_path: Path) -> None:
    assert len(trials(tmp_path, workload={"model": {"name": "mlp", "hidden": [8, 8]}})) == 1


def loaded(folder: Path, suite: dict[str, Any]) -> Loaded:
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return load(path)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([1, 2], "axes: expected paths with lists of values, .*; found a list"),
        ({}, "found an empty mapping"),
        ({"workload.batch_size": 32}, "axes.workload.batch_size: expected a list of values; found 32"),
        ({"workload.batch_size": []}, "found an empty list"),
        ({"workload.batch_size": [32, 32]}, "found a duplicate"),
        ({"seeds": [1, 2]}, "'seeds' is not a setting of a trial"),
        ({"workload.batch_sise": [1, 2]}, "unknown key 'batch_sise'; did you mean 'batch_size'"),
        ({"optimizers.Adan.lr": [1, 2]}, "no entry 'Adan'"),
        (
            {"workload.batch_size": [16, "many"]},
            "expected a whole number of at least 1, or 'full'; found 'many'",
        ),
        ({"workload.accumulate": list(range(1, 1002))}, "at most 1,000 combinations; found 1,001"),
    ],
)
def test_wrong_axes_are_explained(axes: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(OptbenchError, match=message):
        loaded(tmp_path, {**TINY, "axes": axes})


SUITE = """\
workload:
  model: {name: mlp, hidden: [16]}
  data: {name: synthetic, shape: [12], classes: 3, train: 96, validation: 32, test: 32}
  budget: 1 epoch
  batch_size: 16
optimizers:
  SGD: {use: sgd, lr: 0.1}
axes:
  workload.batch_size: [32, 100]
  init: [he_normal, he_narmol]
  clip:
    - null
    - {norm: 1, valu: 2}
"""


def test_a_mistake_in_a_value_is_shown_where_the_value_is(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(SUITE)
    with pytest.raises(OptbenchError) as caught:
        load(path)
    (found,) = caught.value.problems
    assert (found.line, found.column) == (13, 17)
    assert "unknown key 'valu'; did you mean 'value'?" in found.message
    path.write_text(SUITE.replace(", valu: 2", ""))
    one, other = problems(load(path), tmp_path)
    assert (one.line, one.message) == (
        9,
        "a batch of 100 is larger than the training split (96 samples)",
    )
    assert other.line == 10
    assert "did you mean 'he_normal'?" in other.message


def test_a_suite_with_axes_is_written_and_read_back(tmp_path: Path) -> None:
    first = loaded(tmp_path, {**TINY, "axes": {**AXES, "clip": [None, {"norm": 1}]}})
    (tmp_path / "again.yaml").write_text(dump_text(first.suite))
    again = load(tmp_path / "again.yaml")
    assert again.suite == first.suite
    assert [cell.values for cell in again.cells] == [cell.values for cell in first.cells]


def test_the_command_line_sets_axes_and_what_they_start_from(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump({**TINY, "axes": {"workload.batch_size": [16, 32]}}, sort_keys=False))
    made = plan(load(path, ["axes.workload.batch_size=[8]", "workload.accumulate=2"]))
    assert [(trial.batch_size, trial.workload.accumulate) for trial in made] == [(8, 2)]


def test_tables_have_one_row_per_cell_with_the_axes_as_columns(tmp_path: Path) -> None:
    suite = {**TINY, "axes": {**AXES, "clip": [None, {"norm": 1}]}}
    (tmp_path / "which.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
    done = optbench("run", "which.yaml", "--device", "cpu", "--threads", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = comparison(read([tmp_path / "results"]))
    assert list(table.columns[:5]) == ["suite", "workload", "workload.batch_size", "init", "clip"]
    assert len(table) == 8
    assert table["workload.batch_size"].tolist() == [16] * 4 + [32] * 4
    assert set(table["clip"].dropna()) == {"norm 1"}
    assert table["baseline"].all()
    assert "By axes" in done.stdout
    assert "batch_size=16" not in done.stdout.split("By axes")[0]


@pytest.mark.parametrize(
    "axes", [{"clip.norm": [1, 2], "clip": [None]}, {"clip": [{"norm": 3}], "clip.norm": [1, 2]}]
)
def test_an_axis_inside_another_is_refused(axes: dict[str, Any], tmp_path: Path) -> None:
    """One of the two would set what the other has set, and cells of different names would be the same."""
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({**TINY, "axes": axes}))
    with pytest.raises(OptbenchError, match=r"axes.clip.norm: the axis 'clip' sets this key too"):
        load(tmp_path / "suite.yaml")


@pytest.mark.parametrize("path", ["", ".", "workload."])
def test_an_axis_that_is_no_path_is_refused(path: Any, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({**TINY, "axes": {path: [1, 2]}}))
    with pytest.raises(OptbenchError, match="expected the dotted path of a setting; found"):
        load(tmp_path / "suite.yaml")


def test_two_ways_to_write_one_value_are_one_error(tmp_path: Path) -> None:
    axes = {"schedule": ["cosine", {"name": "cosine"}], "workload.batch_size": [16, 32]}
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump({**TINY, "axes": axes}, sort_keys=False))
    with pytest.raises(OptbenchError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.where == "axes.schedule"
    assert problem.message == 'expected distinct values; "cosine" and {"name": "cosine"} are equal'
