"""Trials in running order, with shared settings merged in and identities that hold."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from optbench.errors import OptbenchError
from optbench.suite.load import Loaded, load
from optbench.suite.plan import plan
from optbench.suite.types import Trial

SUITE = """\
workloads:
  w1: {model: mlp, data: digits, batch_size: 8, budget: 1 epoch}
  w2: {model: my.py:Net, data: digits, batch_size: 8, budget: 1 epoch}
schedule: {name: cosine, warmup: 5%}
clip: {norm: 1}
no_weight_decay: [norms]
seeds: 2
optimizers:
  A: adam
  B: {use: sgd, schedule: constant, clip: null, no_weight_decay: []}
  C: {use: opts/mine.py:Mine, clip: {value: 2}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "opts").mkdir()
    (tmp_path / "opts" / "mine.py").write_text("class Mine: ...\n")
    (tmp_path / "my.py").write_text("class Net: ...\n")
    return tmp_path


def loaded(folder: Path, text: str = SUITE, name: str = "s.yaml", *overrides: str) -> Loaded:
    (folder / name).write_text(text)
    return load(folder / name, overrides)


def by_label(trials: tuple[Trial, ...], workload: str = "w1") -> dict[str, Trial]:
    return {trial.label: trial for trial in trials if trial.workload_name == workload and trial.seed == 0}


def test_seed_by_seed_workload_by_workload_forwards_then_backwards(folder: Path) -> None:
    order = [(t.seed, t.workload_name, t.label) for t in plan(loaded(folder))]
    assert order == [
        *[(0, w, label) for w in ("w1", "w2") for label in "ABC"],
        *[(1, w, label) for w in ("w1", "w2") for label in "CBA"],
    ]


def test_own_settings_win_over_shared_ones_and_can_switch_them_off(folder: Path) -> None:
    entries = {label: trial.entry for label, trial in by_label(plan(loaded(folder))).items()}
    schedules = {label: entry.schedule.name for label, entry in entries.items() if entry.schedule}
    assert schedules == {"A": "cosine", "B": "constant", "C": "cosine"}
    assert entries["A"].clip is not None
    assert entries["A"].clip.norm == 1
    assert entries["B"].clip is None
    assert entries["C"].clip is not None
    assert entries["C"].clip.value == 2
    assert (entries["A"].no_weight_decay, entries["B"].no_weight_decay) == (("norms",), ())


def test_a_trial_carries_hashes_of_the_files_that_it_names(folder: Path) -> None:
    first = {(t.workload_name, t.label): t for t in plan(loaded(folder)) if t.seed == 0}
    assert set(first["w1", "A"].sources) == set()
    assert set(first["w1", "C"].sources) == {"opts/mine.py"}
    assert set(first["w2", "C"].sources) == {"my.py", "opts/mine.py"}
    (folder / "opts" / "mine.py").write_text("class Mine: changed = True\n")
    after = {(t.workload_name, t.label): t for t in plan(loaded(folder)) if t.seed == 0}
    assert first["w1", "C"].id != after["w1", "C"].id
    assert first["w1", "A"].id == after["w1", "A"].id


def test_a_missing_file_is_reported_at_its_place(folder: Path) -> None:
    (folder / "my.py").unlink()
    with pytest.raises(OptbenchError, match=r"s.yaml:3:8: workloads.w2.model: cannot read 'my.py'"):
        plan(loaded(folder))


def test_ids_are_unique_and_survive_storing(folder: Path) -> None:
    trials = plan(loaded(folder))
    assert len({trial.id for trial in trials}) == len(trials) == 12
    for trial in trials:
        stored = json.loads(json.dumps(trial.model_dump(mode="json")))
        assert Trial.model_validate(stored).id == trial.id


def test_ids_depend_on_neither_the_folder_nor_the_way_of_writing(folder: Path, tmp_path: Path) -> None:
    short = loaded(folder)
    other = tmp_path / "elsewhere"
    (other / "opts").mkdir(parents=True)
    for file in ("my.py", "opts/mine.py"):
        (other / file).write_text((folder / file).read_text())
    text = SUITE.replace("A: adam", "A: {use: adam}").replace("1 epoch", "{epochs: 1}")
    assert [t.id for t in plan(short)] == [t.id for t in plan(loaded(other, text))]


def test_more_seeds_leave_the_trials_of_the_first_as_they_were(folder: Path) -> None:
    few = {trial.id for trial in plan(loaded(folder))}
    more = {trial.id for trial in plan(loaded(folder, SUITE.replace("seeds: 2", "seeds: 5")))}
    assert few < more


def test_a_new_target_changes_no_id_but_a_changed_setting_does(folder: Path) -> None:
    ids = [t.id for t in plan(loaded(folder))]
    target = loaded(folder, SUITE, "s.yaml", "workload.target={at_least: 0.5}")
    assert [t.id for t in plan(target)] == ids
    for change in ("workload.batch_size=9", "clip.norm=2", "precision=bf16"):
        assert plan(loaded(folder, SUITE, "s.yaml", change))[0].id != ids[0]


def test_a_changed_copy_has_an_id_of_its_own(folder: Path) -> None:
    trial = plan(loaded(folder))[0]
    for deep in (False, True):
        copy = trial.model_copy(update={"precision": "bf16"}, deep=deep)
        assert copy.config_id != trial.config_id


def test_a_hundred_thousand_trials_are_planned_in_seconds(folder: Path) -> None:
    large = loaded(folder, SUITE.replace("seeds: 2", "seeds: 17000"))
    began = time.process_time()
    trials = plan(large)
    assert len({trial.id for trial in trials}) == 102_000
    assert time.process_time() - began < 6  # about 1 on an idle machine
