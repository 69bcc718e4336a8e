"""`optbench calibrate`: targets from reference runs, written into the suite file."""

from __future__ import annotations

from pathlib import Path

import pytest

from optbench.analysis.targets import calibrated_target, references
from optbench.analysis.tuning import winners
from optbench.errors import OptbenchError
from optbench.events import Event
from optbench.runner.calibration import check_calibration, further_seeds, reference_suites
from optbench.store import Results, read
from optbench.suite.load import Loaded, load
from optbench.suite.plan import plan
from optbench.suite.types import Trial
from optbench.suite.yaml_edit import with_value
from program import optbench
from results_builder import a_suite, curve, diverged, write, write_trials

SUITE = """\
# A comment at the start.
workload:
  model: {name: mlp, hidden: [8]}
  data: {name: synthetic, shape: [6], classes: 3, train: 64, validation: 32, test: 32}
  batch_size: 16   # of all entries
  budget: 2 epochs
tuning: {trials: 4}
seeds: 2
optimizers:
  SGD: {use: sgd, lr: {log: [1e-3, 1]}}
  Adam: {use: adam, lr: {log: [1e-4, 1e-1]}}
"""


def _file(folder: Path, text: str = SUITE) -> Path:
    path = folder / "s.yaml"
    path.write_text(text)
    return path


def _events(trial: Trial) -> list[Event]:
    """Return a trial in which Adam is better, and better while tuning than it is on fresh seeds."""
    good = 0.9 if trial.label == "Adam" else 0.8
    return curve([0.5, good + trial.seed % 5 / 100, 0.6])


def _results(loaded: Loaded, root: Path) -> Results:
    for selected in (False, True):
        trials = plan(loaded, winners=winners(read([root / "s"])) if selected else {})
        write_trials(root, loaded.suite, trials, {t.id: _events(t) for t in trials}, name="s")
    return read([root / "s"])


# --- the target


def test_the_reference_is_the_best_entry_on_fresh_seeds_with_its_selected_settings(tmp_path: Path) -> None:
    loaded = load(_file(tmp_path))
    results = _results(loaded, tmp_path / "r")
    [best] = references(results)
    assert (best.label, best.metric, best.higher) == ("Adam", "accuracy", True)
    assert best.value == pytest.approx(0.905)  # mean over seeds 0 and 1 of the best evaluation
    assert best.point == winners(results)["synthetic", "Adam", 0]
    [other] = references(results, ("SGD",))
    assert other.label == "SGD"


def test_reference_runs_have_the_selected_settings_and_seeds_that_the_suite_does_not_use(
    tmp_path: Path,
) -> None:
    loaded = load(_file(tmp_path))
    results = _results(loaded, tmp_path / "r")
    seeds = further_seeds(loaded, 20)
    assert seeds == tuple(range(2, 22))
    [(reference, one)] = reference_suites(loaded, results, (), seeds)
    trials = plan(one)
    assert [trial.seed for trial in trials] == list(seeds)
    assert {trial.label for trial in trials} == {"Adam"}
    assert {trial.entry.rules[0].arguments["lr"] for trial in trials} == {reference.point["lr"]}
    assert one.name == "s-reference-synthetic"


def test_the_target_is_the_median_of_the_best_evaluations_and_half_of_the_runs_reach_it(
    tmp_path: Path,
) -> None:
    suite = a_suite(("Adam",), seeds=6)
    events = {("Adam", seed): curve([0.5, 0.8 + seed / 100, 0.7]) for seed in range(6)}
    found = calibrated_target(read([write(tmp_path, suite, events).path]), "accuracy", higher=True)
    assert found is not None
    assert (found.value, found.seeds, found.reached, found.epochs) == (pytest.approx(0.825), 6, 3, 2)


@pytest.mark.parametrize("higher", [True, False])
def test_the_median_run_reaches_the_rounded_target(higher: bool, tmp_path: Path) -> None:
    suite = a_suite(("Adam",), seeds=5)
    medians = {True: 0.39275766, False: 0.39275734}
    events = {("Adam", seed): curve([medians[higher] + (seed - 2) / 100]) for seed in range(5)}
    results = read([write(tmp_path, suite, events).path])
    found = calibrated_target(results, "accuracy", higher=higher)
    assert found is not None
    assert (found.value, found.reached) == (0.392757 if higher else 0.392758, 3)


def test_runs_that_diverged_count_as_the_worst_and_half_of_them_give_no_target(tmp_path: Path) -> None:
    suite = a_suite(("Adam",), seeds=6)
    events = {("Adam", seed): curve([0.5, 0.8 + seed / 100]) if seed > 1 else diverged() for seed in range(6)}
    found = calibrated_target(read([write(tmp_path / "a", suite, events).path]), "accuracy", higher=True)
    assert found is not None
    assert found.value == pytest.approx(0.825)
    events |= {("Adam", 2): diverged()}
    assert (
        calibrated_target(read([write(tmp_path / "b", suite, events).path]), "accuracy", higher=True) is None
    )


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("{log: [1e-3, 1]}", "0.1", "expected at least one reference optimizer with a search space"),
        ("seeds: 2\n", "seeds: 2\naxes: {workload.batch_size: [8, 16]}\n", "one workload per combination"),
        (
            "budget: 2 epochs\n",
            "budget: 2 epochs\n  target: {at_least: 0.5}\n  stop_at_target: true\n",
            "stop at the present target",
        ),
    ],
)
def test_suites_that_cannot_be_calibrated_are_refused(
    right: str, wrong: str, message: str, tmp_path: Path
) -> None:
    loaded = load(_file(tmp_path, SUITE.replace(right, wrong)))
    with pytest.raises(OptbenchError, match=message):
        check_calibration(loaded, ("SGD",))


# --- the edit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:\n  b: 1 # c\n  d: 2\n", "a:\n  # new x\n  target: {t: 1}\n  b: 1 # c\n  d: 2\n"),
        ("a: {b: 1}  # c\n", "# new x\na: {target: {t: 1}, b: 1}  # c\n"),
        (
            "a:\n  # old\n  target: 0.5 # c\n  d: 2\n",
            "a:\n  # old\n  # new x\n  target: {t: 1} # c\n  d: 2\n",
        ),
        (
            "a:\n  # new y\n  target:\n    m: 1\n    n: 2\n\n  # c\n  d: 2\n",
            "a:\n  # new x\n  target: {t: 1}\n\n  # c\n  d: 2\n",
        ),
        ("a:\n  target:\n  - {m: 1}\n  - {m: 2}\nb: 1\n", "a:\n  # new x\n  target: {t: 1}\nb: 1\n"),
    ],
    ids=["missing key", "flow mapping", "scalar", "block and earlier comment", "list"],
)
def test_an_edit_keeps_everything_but_the_value(text: str, expected: str) -> None:
    assert with_value(text, ("a", "target"), "{t: 1}", "new x") == expected


def test_an_edit_of_a_missing_mapping_is_refused() -> None:
    with pytest.raises(OptbenchError, match="no key 'b' in the file"):
        with_value("a: {c: 1}\n", ("b", "target"), "1")


# --- the command


def test_calibrate_runs_what_is_missing_prints_the_target_and_writes_it(tmp_path: Path) -> None:
    path = _file(tmp_path)
    command = (
        "calibrate",
        str(path),
        "--seeds",
        "5",
        "--results",
        str(tmp_path / "r"),
        "--device",
        "cpu",
        "--threads",
        "1",
    )
    first = optbench(*command, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "target: {metric: accuracy, at_least: 0." in first.stdout
    assert path.read_text() == SUITE
    stored = {file.name for file in (tmp_path / "r").rglob("*.jsonl")}
    assert len([name for name in stored if "seed2147483648" in name]) == 8
    again = optbench(*command, "--write", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert {file.name for file in (tmp_path / "r").rglob("*.jsonl")} == stored
    text = path.read_text()
    assert "# Calibrated 20" in text
    assert "batch_size: 16   # of all entries" in text
    before, after = load(path).suite.workloads["synthetic"], (tmp_path / "r" / "s-reference-synthetic")
    assert before.target[0].at_least is not None
    assert after.is_dir()


def test_a_dry_run_shows_both_stages_and_runs_nothing(tmp_path: Path) -> None:
    done = optbench(
        "calibrate", str(_file(tmp_path)), "--dry-run", "--results", str(tmp_path / "r"), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "the best entry of each workload on 20 further seeds (2 to 21): 20 trials" in " ".join(
        done.stdout.split()
    )
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("count", "message"), [("3", "expected at least 5; found 3"), ("x", "expected a whole number; found x")]
)
def test_an_invalid_number_of_seeds_is_refused(count: str, message: str, tmp_path: Path) -> None:
    done = optbench("calibrate", str(_file(tmp_path)), "--seeds", count, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_shipped_suite_is_not_changed(tmp_path: Path) -> None:
    done = optbench("calibrate", "tuned", "--write", cwd=tmp_path)
    assert done.returncode == 2
    assert "a shipped suite is not changed: copy" in " ".join(done.stderr.split())
