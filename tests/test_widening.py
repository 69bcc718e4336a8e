"""Settings selected at an end of their search space: the mark, the wider space, and the command that sets it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from optbench import report
from optbench.analysis.tuned_entries import wider_spaces
from optbench.analysis.tuning import winners
from optbench.report.tuning import widening_command
from optbench.store import Results, read
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.spaces import spaces_of
from optbench.suite.widening import Edge, widened
from results_builder import curve, write_trials


@pytest.mark.parametrize(
    ("written", "value", "wider", "edge"),
    [
        ({"log": [1e-3, 1]}, 0.9, {"log": [1e-3, 10]}, Edge(True, 1)),
        ({"log": [1e-3, 1]}, 1.1e-3, {"log": [1e-4, 1]}, Edge(False, 1e-3)),
        ({"log": [1e-4, 1], "points": 5}, 1.0, {"log": [1e-4, 10], "points": 6}, Edge(True, 1)),
        ({"log": [1e-4, 1], "points": 9}, 1e-4, {"log": [1e-5, 1], "points": 11}, Edge(False, 1e-4)),
        ({"uniform": [0.1, 0.5]}, 0.11, {"uniform": [0, 0.5]}, Edge(False, 0.1)),
        ({"uniform": [0, 0.5]}, 0.5, {"uniform": [0, 1]}, Edge(True, 0.5)),
        ({"uniform": [-1, 1]}, -1.0, {"uniform": [-3, 1]}, Edge(False, -1)),
        ({"integer": [5, 10]}, 5, {"integer": [1, 10]}, Edge(False, 5)),
        ({"integer": [1, 10]}, 10, {"integer": [1, 19]}, Edge(True, 10)),
        ({"integer": [2, 10], "points": 5}, 10, {"integer": [2, 14], "points": 7}, Edge(True, 10)),
        ({"one_minus_log": [1e-3, 0.3]}, 0.999, {"one_minus_log": [1e-4, 0.3]}, Edge(True, 0.999)),
        ({"one_minus_log": [1e-3, 0.3]}, 0.7, {"one_minus_log": [1e-3, 0.93]}, Edge(False, 0.7)),
        ({"choice": [1e-3, 1e-2]}, 1e-2, {"choice": [1e-3, 1e-2, 0.1]}, Edge(True, 1e-2)),
        ({"choice": [0.3, 0.1, 1]}, 0.1, {"choice": [0.0333333, 0.3, 0.1, 1]}, Edge(False, 0.1)),
        ({"choice": [0, 0.1]}, 0.1, {"choice": [0, 0.1, 0.2]}, Edge(True, 0.1)),
        ({"choice": [2, 3]}, 2, {"choice": [1, 2, 3]}, Edge(False, 2)),
    ],
)
def test_a_space_grows_at_the_end_of_the_selected_value(
    written: Any, value: Any, wider: Any, edge: Edge
) -> None:
    assert widened("lr", value, written) == (wider, (edge,))
    [space] = spaces_of([{"lr": wider}])["lr"]
    [old] = spaces_of([{"lr": written}])["lr"]
    assert old.kind == space.kind
    if old.points is not None:  # the points of the old grid are points of the new one
        units = [(number + 0.5) / old.points for number in range(old.points)]
        new = [space.at((number + 0.5) / space.points) for number in range(space.points or 0)]
        assert all(any(abs(old.at(unit) / at - 1) < 1e-4 for at in new) for unit in units)


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("lr", {"log": [1e-3, 1]}, 0.03),
        ("weight_decay", {"uniform": [0, 0.1]}, 0.0),
        ("layers", {"integer": [1, 10]}, 1),
        ("momentum", {"uniform": [0, 1]}, 1.0),
        ("momentum", {"one_minus_log": [1e-3, 0.95]}, 0.05),
        ("lr", {"choice": [0.1, 0.2, 0.4]}, 0.2),
        ("lr", {"choice": ["0.1", 0.2]}, 0.2),
        ("weight_decay", {"choice": [0, 0.1]}, 0),
        ("steps", {"choice": [1, 2]}, 1),
        ("momentum", {"choice": [0.9, 0.95]}, 0.9),
        ("nesterov", {"choice": [True, False]}, True),
        ("momentum", {"one_minus_log": [1e-12, 0.3]}, 1 - 1e-12),
        ("lr", {"uniform": [-1.5e308, 0]}, -1.5e308),
    ],
)
def test_values_inside_a_space_and_at_natural_limits_are_not_at_an_edge(
    name: str, written: Any, value: Any
) -> None:
    assert widened(name, value, written) == (written, ())


@pytest.mark.parametrize(
    ("name", "written", "value", "wider"),
    [
        ("betas", [{"uniform": [0.5, 0.9]}, 0.999], [0.9, 0.999], [{"uniform": [0.5, 0.99]}, 0.999]),
        (
            "momentum",
            {"choice": [0, {"one_minus_log": [1e-2, 0.3]}]},
            0.99,
            {"choice": [0, {"one_minus_log": [1e-3, 0.3]}]},
        ),
        (
            "base",
            {"use": "torch.optim.SGD", "lr": {"log": [1e-3, 1]}},
            {"use": "torch.optim.SGD", "lr": 1.0},
            {"use": "torch.optim.SGD", "lr": {"log": [1e-3, 10]}},
        ),
    ],
)
def test_nested_spaces_grow_inside_of_their_argument(name: str, written: Any, value: Any, wider: Any) -> None:
    assert widened(name, value, written)[0] == wider


SUITE = """\
workload: {model: {name: mlp, hidden: [8]}, data: digits, batch_size: 64, budget: 2 epochs}
tuning: {trials: 20, studies: 2}
seeds: 2
families: {sgd: {lr: {log: [1e-3, 0.1]}}}
optimizers:
  SGD + "x" 1.5: {use: sgd, lr: {log: [1e-3, 0.1]}}
  Listed: {use: [{use: sgd, lr: {log: [1e-4, 0.1]}}]}
  Family: {use: sgd, family: sgd, momentum: {choice: [0, {one_minus_log: [1e-2, 0.3]}]}}
  torch.optim.Adam: {lr: {log: [1e-5, 0.1]}, betas: [{uniform: [0.5, 0.9]}, 0.999]}
  Rules:
    use: [{parameters: matrices, use: sgd, lr: {log: [1e-3, 0.1]}}, {parameters: rest, use: adam, lr: 0.001}]
  Inside: {use: sgd, lr: {log: [1e-3, 100]}}
"""


def _results(folder: Path) -> Results:
    """Write trials whose metric is better the nearer the first tuned learning rate is to 0.5."""
    (folder / "s.yaml").write_text(SUITE)
    loaded = load(folder / "s.yaml")
    for _ in range(2):
        stored = read([folder / "r"]) if (folder / "r").exists() else Results(())
        trials = plan(loaded, winners=winners(stored))
        events = {
            trial.id: curve(
                [0.5 - 0.1 * abs((trial.point.get("lr") or trial.point.get("0.lr") or 0.5) - 0.5)]
            )
            for trial in trials
        }
        write_trials(folder / "r", loaded.suite, trials, events, name="s")
    return read([folder / "r"])


def test_the_printed_command_sets_the_wider_spaces_for_every_form_of_an_entry(tmp_path: Path) -> None:
    results = _results(tmp_path)
    [suite] = results.suites
    wider = wider_spaces(suite)
    assert "Inside" not in wider
    assert wider['SGD + "x" 1.5'] == {"lr": {"log": [1e-3, 1]}}
    assert wider["Rules"] == {"0.lr": {"log": [1e-3, 1]}}
    command = widening_command(suite)
    assert command in report.render(results, format="markdown")
    program, verb, name, *options = shlex.split(command)
    assert (program, verb, name) == ("optbench", "run", "s")
    assert set(options[::2]) == {"--set"}
    changed = load(tmp_path / "s.yaml", options[1::2]).suite
    before = load(tmp_path / "s.yaml").suite
    for label, entry in changed.optimizers.items():
        expected = {
            name: tuple(spaces_of([{name: space}])[name]) for name, space in wider.get(label, {}).items()
        }
        arguments = [rule.arguments for rule in before.optimizers[label].rules]
        expected = {**spaces_of(arguments), **expected}
        assert spaces_of([rule.arguments for rule in entry.rules]) == expected


@pytest.mark.parametrize(
    ("command", "start"),
    [
        (
            "optbench run suites/a.yaml s.yaml --fresh --set seeds=2",
            "optbench run s.yaml --set seeds=2 --set ",
        ),
        ("optbench run suites --seeds 2", "--set "),
        ("optbench run --seeds 2 a s", "--set "),
        ("optbench calibrate s.yaml --seeds 5 --write", "--set "),
        ("optbench.run('s')", "--set "),
        ("", "--set "),
    ],
)
def test_the_command_names_this_suite_only_and_does_not_train_stored_trials_again(
    command: str, start: str, tmp_path: Path
) -> None:
    [suite] = _results(tmp_path).suites
    assert suite.plan is not None
    object.__setattr__(suite.plan, "command", command)
    assert widening_command(suite).startswith(start)


@pytest.mark.parametrize("joined", ["--set ", "--set="])
def test_the_command_sets_each_space_once(joined: str, tmp_path: Path) -> None:
    [suite] = _results(tmp_path).suites
    assert suite.plan is not None
    written = shlex.split(widening_command(suite))[4::2]
    paths = [*(setting.partition("=")[0] for setting in written), "timed"]
    before = " ".join(f"{joined}{shlex.quote(f'{path}={{log: [1, 2]}}')}" for path in paths)
    object.__setattr__(suite.plan, "command", f"optbench run s.yaml {before}")
    assert shlex.split(widening_command(suite))[4::2] == ["timed={log: [1, 2]}", *written]
