"""Labels that change during training: the same for every optimizer, and exact after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from optbench.catalog.check import problems
from optbench.engine.relabel import Relabelling
from optbench.engine.session import prepare
from optbench.engine.step import training_step
from optbench.engine.tasks import CatalogTask
from optbench.suite.load import load
from trials import CPU, evaluations, run, trials, untimed


def table(relabel: Relabelling, step: int) -> list[int]:
    relabel.move_to(step)
    return relabel(torch.arange(10)).tolist()


def test_the_first_stretch_has_the_own_labels_and_each_later_one_a_permutation() -> None:
    relabel = Relabelling(10, 5, seed=3, device=CPU)
    assert table(relabel, 0) == table(relabel, 4) == list(range(10))
    later = [table(relabel, step) for step in (5, 9, 10, 15)]
    assert later[0] == later[1]
    assert all(sorted(each) == list(range(10)) for each in later)
    assert len({tuple(each) for each in later}) == 3


def test_a_stretch_depends_on_seed_and_step_alone() -> None:
    went_through, jumped = Relabelling(10, 5, 3, CPU), Relabelling(10, 5, 3, CPU)
    for step in range(12):
        went_through.move_to(step)
    assert table(went_through, 12) == table(jumped, 12)
    assert table(jumped, 12) != table(Relabelling(10, 5, 4, CPU), 12)
    assert table(jumped, 0) == list(range(10))


def test_training_and_evaluation_see_the_labels_that_hold(tmp_path: Path) -> None:
    session = prepare(trials(tmp_path, workload={"relabel": {"every": "1 epoch"}})[0], CPU, tmp_path)
    seen: list[torch.Tensor] = []
    assert isinstance(session.task, CatalogTask)
    criterion = session.task.criterion
    session.task.criterion = lambda outputs, labels: (seen.append(labels), criterion(outputs, labels))[1]
    for step in (0, 6):  # 6 steps an epoch
        training_step(session, step, step, want_norm=False)
    batches = [session.training_batches.batch(step) for step in (0, 6)]
    own = [batch.targets for batch in batches]
    assert torch.equal(seen[0], own[0])
    assert not torch.equal(seen[1], own[1])
    assert torch.equal(session.current(batches[1]).targets, seen[1])


def test_every_optimizer_of_a_seed_has_the_same_changes_and_loses_by_them(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"relabel": {"every": "4 epochs"}, "budget": {"epochs": 6}}
    changing = evaluations(run(trials(tmp_path, workload=changes)[0], tmp_path))
    still = evaluations(run(trials(tmp_path, workload={"budget": {"epochs": 6}})[0], tmp_path))
    assert [e.metrics for e in changing[:4]] == [e.metrics for e in still[:4]]
    assert changing[4].train_loss > still[4].train_loss


def test_a_trial_stopped_after_a_change_continues_exactly(tmp_path: Path) -> None:
    (trial,) = trials(tmp_path, workload={"relabel": {"every": "1 epoch"}, "evaluate": {"every": "2 steps"}})
    whole = [untimed(e) for e in evaluations(run(trial, tmp_path))]
    asked = iter([False] * 9 + [True] * 100)
    first = run(trial, tmp_path, checkpoint=tmp_path / "c.pt", should_stop=lambda: next(asked))
    rest = run(trial, tmp_path, checkpoint=tmp_path / "c.pt")
    told = {e.step: untimed(e) for e in (*evaluations(first), *evaluations(rest))}
    assert first[-1].status == "interrupted"  # type: ignore[union-attr]
    assert list(told.values()) == whole


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        (
            {"final": "best_validation"},
            "final: with 'relabel', the best weights may belong to earlier labels",
        ),
    ],
)
def test_settings_incompatible_with_relabel_are_reported(
    suite: dict[str, Any], message: str, tmp_path: Path
) -> None:
    trials(tmp_path, workload={"relabel": {"every": "1 epoch"}}, **suite)
    (problem,) = problems(load(tmp_path / "suite.yaml"), tmp_path)
    assert message in str(problem)
