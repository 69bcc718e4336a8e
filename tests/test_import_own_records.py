"""What `optbench records` wrote, imported again: every trial comes back as what it was."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from msgspec.structs import replace

from optbench.analysis.table import comparison
from optbench.events import Evaluated, Event, Finished
from optbench.importing.tidy import Imported, ImportOptions, import_logs
from optbench.report.records import records
from optbench.store import Results, read
from optbench.suite.dump import dump_text
from optbench.suite.load import load
from optbench.suite.plan import plan
from results_builder import (
    a_suite,
    curve,
    diverged,
    failed,
    finished,
    reaching,
    started,
    swept_twice,
    write,
    write_trials,
)

TARGET = "validation.accuracy>=0.9"


def imported_again(folder: Path, own: Results) -> tuple[Imported, pd.DataFrame]:
    (folder / "records.csv").write_text(records(own), encoding="utf-8")
    found = import_logs(
        "csv", [folder / "records.csv"], folder / "back", ImportOptions(targets=(TARGET,), name="back")
    )
    return found, comparison(read([folder / "back"]))


def test_every_status_comes_back(tmp_path: Path) -> None:
    events: dict[tuple[str, int], list[Event]] = {
        ("Completed", 0): reaching(4),
        ("Diverged later", 0): diverged(2),
        ("Diverged at once", 0): [started(), finished(status="diverged", epochs=0)],
        ("Fails", 0): failed(),
        ("Fails by infrastructure", 0): failed(at_fault="infrastructure"),
        ("Out of memory", 0): [started(), finished(status="out_of_memory", epochs=0)],
        ("Interrupted", 0): [started(), finished(status="interrupted", epochs=0)],
    }
    write(tmp_path / "own", a_suite([label for label, _ in events], seeds=1), events)
    own = read([tmp_path / "own"])
    _, back = imported_again(tmp_path, own)
    columns = ["optimizer", "trials", "reached", "epochs_to_target", "final_accuracy", "imputed"]
    columns += ["completed", "diverged", "out_of_memory", "failed", "missing"]
    pd.testing.assert_frame_equal(back[columns], comparison(own)[columns])


def test_gradient_evaluations_come_back(tmp_path: Path) -> None:
    def doubled(event: Event) -> Event:
        counted = isinstance(event, Evaluated | Finished)
        return replace(event, gradient_evaluations=2 * event.step) if counted else event  # type: ignore[union-attr, call-arg]

    events = {("SAM", 0): [doubled(event) for event in reaching(3)], ("SGD", 0): reaching(4)}
    write(tmp_path / "own", a_suite(["SAM", "SGD"], seeds=1), events)
    _, back = imported_again(tmp_path, read([tmp_path / "own"]))
    assert back.set_index("optimizer").loc["SAM", "gradient_evaluations_to_target"] == 60


def test_sweeps_are_left_out_and_counted(tmp_path: Path) -> None:
    swept_twice(tmp_path)
    own = read([tmp_path / "results"])
    found, back = imported_again(tmp_path, own)
    assert back[["optimizer", "trials"]].values.tolist() == [["SGD", 2], ["Adam", 2]]
    assert back["final_accuracy"].tolist() == comparison(own)["final_accuracy"].tolist()
    assert any(line.startswith("rows of sweeps: skipped") for line in found.findings)


def test_workloads_of_several_suites_stay_apart(tmp_path: Path) -> None:
    for name, accuracy in (("one", 0.6), ("two", 0.8)):
        write(tmp_path / "own", a_suite(["SGD"], seeds=1), {("SGD", 0): curve([0.5, accuracy])}, name)
    found, back = imported_again(tmp_path, read([tmp_path / "own"]))
    assert found.workloads == ("one: main", "two: main")
    assert back["final_accuracy"].tolist() == [0.6, 0.8]


def test_horizons_of_one_entry_stay_apart(tmp_path: Path) -> None:
    suite = a_suite(["SGD"], seeds=1, horizons=({"epochs": 2}, {"epochs": 4}))
    (tmp_path / "digits.yaml").write_text(dump_text(suite), encoding="utf-8")
    loaded = load(tmp_path / "digits.yaml")
    trials = plan(loaded)
    events = {trial.id: curve([0.5] * int(trial.workload.budget.value)) for trial in trials}
    write_trials(tmp_path / "own", loaded.suite, trials, events)
    found, back = imported_again(tmp_path, read([tmp_path / "own"]))
    assert sorted(found.workloads) == ["main (2 epochs)", "main (4 epochs)"]
    assert back["trials"].tolist() == [1, 1]
