from __future__ import annotations

import errno
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from optbench.errors import OptbenchError
from optbench.events import Progressed, Resumed
from optbench.report import render
from optbench.store import Results, SuiteFolder, TrialFile, make_plan, read
from results_builder import (
    a_suite,
    diverged,
    evaluated,
    failed,
    finished,
    reaching,
    started,
    trials_of,
    write,
)

TRIAL = trials_of(a_suite())[0]


@pytest.fixture
def folder(tmp_path: Path) -> SuiteFolder:
    folder = SuiteFolder.of(tmp_path, "digits")
    folder.create()
    return folder


def only_log(tmp_path: Path):
    (suite,) = read([tmp_path]).suites
    (log,) = suite.logs
    return log


# --- one trial's file


def test_a_trial_comes_back_as_it_was_written(tmp_path, folder):
    events = reaching(3)
    with folder.open_trial(TRIAL) as file:
        assert all(file.append(event) for event in events)
    log = only_log(tmp_path)
    assert (log.id, log.config_id) == (TRIAL.id, TRIAL.config_id)
    assert type(TRIAL).model_validate(log.trial) == TRIAL
    assert [log.started, *log.evaluations, log.finished] == events


def test_a_whole_trial_is_written_in_one_move_and_again_only_if_it_changed(tmp_path, folder):
    assert folder.write_trial(TRIAL, reaching(3)) == "new"
    assert folder.write_trial(TRIAL, reaching(3)) == "same"
    log = only_log(tmp_path)
    assert [log.started, *log.evaluations, log.finished] == reaching(3)
    assert folder.write_trial(TRIAL, reaching(4)) == "replaced"
    assert only_log(tmp_path).evaluations[2].metrics["validation"]["accuracy"] == 0.5


def test_numbers_that_are_not_finite_survive(tmp_path, folder):
    metrics = {"validation": {"loss": math.inf, "accuracy": math.nan}}
    with folder.open_trial(TRIAL) as file:
        file.append(started(hyperparameters=[{"max_norm": math.inf}]))
        file.append(evaluated(1, 0.5, train_loss=-math.inf, metrics=metrics))
    assert "Infinity" not in file.path.read_text()
    log = only_log(tmp_path)
    assert log.started.hyperparameters == [{"max_norm": math.inf}]
    assert log.evaluations[0].train_loss == -math.inf
    assert log.evaluations[0].metrics["validation"]["loss"] == math.inf
    assert math.isnan(log.evaluations[0].metrics["validation"]["accuracy"])


@pytest.mark.parametrize(("total", "counts"), [(20, [10, 20]), (40, [None, None]), (None, [None, None])])
def test_gradient_evaluations_missing_from_older_records_are_the_steps_only_if_each_used_one(
    tmp_path, folder, total, counts
):
    end = finished(epochs=2, gradient_evaluations=total)
    folder.write_trial(TRIAL, [started(), evaluated(1, 0.5), evaluated(2, 0.6), end])
    assert list(only_log(tmp_path).gradient_evaluations) == counts


def test_every_record_is_on_disk_before_append_returns(folder):
    with folder.open_trial(TRIAL) as file:
        for epoch in range(1, 4):
            file.append(evaluated(epoch, 0.5))
            assert len(file.path.read_bytes().splitlines()) == 1 + epoch


def test_signs_of_life_are_not_stored(folder):
    with folder.open_trial(TRIAL) as file:
        assert not file.append(Progressed(step=1, train_seconds=0.1))
    assert len(file.path.read_text().splitlines()) == 1


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_torn_last_line_is_skipped_by_readers_and_cut_off_by_the_next_writer(tmp_path, folder, cut):
    with folder.open_trial(TRIAL) as file:
        file.append(started())
        file.append(evaluated(1, 0.5))
        whole = file.path.read_bytes()
        file.append(evaluated(2, 0.6))
    torn = file.path.read_bytes()[:-cut]
    file.path.write_bytes(torn)
    assert [event.step for event in only_log(tmp_path).evaluations] == [10]
    assert file.path.read_bytes() == torn
    with folder.open_trial(TRIAL) as again:
        assert again.torn_bytes == len(torn) - len(whole)
        assert again.last_step == 10
        assert again.append(evaluated(2, 0.6))
    assert [event.step for event in only_log(tmp_path).evaluations] == [10, 20]


def test_a_killed_writer_leaves_only_whole_records_and_a_torn_tail(tmp_path):
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from pathlib import Path; from results_builder import *\n"
        f"folder = SuiteFolder.of(Path({str(tmp_path)!r}), 'digits'); folder.create()\n"
        "file = folder.open_trial(trials_of(a_suite())[0]); file.append(started()); print('on', flush=True)\n"
        "for epoch in range(1, 10**9): file.append(evaluated(epoch, 0.5))\n"
    )
    here = Path(__file__).parent.parent
    process = subprocess.Popen([sys.executable, "-c", code], cwd=here, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    [path] = tmp_path.glob("digits/trials/*.jsonl")
    while path.stat().st_size < 20_000:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    log = only_log(tmp_path)
    steps = [event.step for event in log.evaluations]
    assert steps == list(range(10, 10 * len(steps) + 1, 10))
    with TrialFile.open(log.path) as file:
        assert file.last_step == (steps[-1] if steps else None)


def test_evaluations_repeated_after_a_resume_are_stored_once(tmp_path, folder):
    with folder.open_trial(TRIAL) as file:
        file.append(started())
        file.append(evaluated(1, 0.5))
        file.append(evaluated(2, 0.6))
    with folder.open_trial(TRIAL) as file:
        assert file.append(Resumed(step=10))
        assert not file.append(evaluated(2, 0.6))
        assert file.append(evaluated(3, 0.7))
        file.append(finished())
    log = only_log(tmp_path)
    assert [event.step for event in log.evaluations] == [10, 20, 30]
    assert [event.step for event in log.resumed] == [10]
    assert log.timings_interrupted


def test_a_second_start_is_a_resumption_at_step_0(tmp_path, folder):
    for _ in range(2):
        with folder.open_trial(TRIAL) as file:
            file.append(started())
    log = only_log(tmp_path)
    assert [event.step for event in log.resumed] == [0]
    assert not log.timings_interrupted  # nothing had been measured yet


def test_a_complete_trial_takes_no_further_records(folder):
    with folder.open_trial(TRIAL) as file:
        file.append(finished())
    with folder.open_trial(TRIAL) as file:
        assert file.is_complete
        with pytest.raises(ValueError, match="complete"):
            file.append(finished())


@pytest.mark.parametrize(
    "ending", [finished(status="interrupted"), finished(status="failed", at_fault="infrastructure")]
)
def test_what_the_infrastructure_ended_is_not_complete_and_continues(tmp_path, folder, ending):
    with folder.open_trial(TRIAL) as file:
        file.append(ending)
        assert not file.is_complete
        file.append(Resumed(step=10))
        file.append(finished())
        assert file.is_complete
    assert only_log(tmp_path).finished.status == "completed"


@pytest.mark.parametrize("events", [diverged(), failed("optimizer")])
def test_an_optimizer_that_fails_is_complete(folder, events):
    with folder.open_trial(TRIAL) as file:
        for event in events:
            file.append(event)
        assert file.is_complete


def test_a_full_disk_reports_it_and_leaves_whole_lines(folder, monkeypatch):
    with folder.open_trial(TRIAL) as file:
        file.append(evaluated(1, 0.5))
        before = file.path.read_bytes()
        real = os.write

        def half(descriptor: int, data: bytes) -> int:
            if len(data) < 100:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, data[: len(data) - 50])

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half)
            with pytest.raises(OptbenchError, match="disk is full"):
                file.append(evaluated(2, 0.5))
        assert file.path.read_bytes() == before
        assert file.append(evaluated(2, 0.5))


# --- damaged and foreign files


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"\x00\x00garbage", "JSON"),
        (b'{"record": "evaluated", "step": "ten"}', "'step'"),
        (b'{"record": "evaluated"}', "'step'"),
        (b'{"record": "dream"}', "expected one of the records"),
        (b"[]", "expected one of the records"),
        (b"", "JSON"),
    ],
)
def test_a_damaged_line_leaves_out_its_trial_and_no_other(tmp_path, line, message):
    folder = write(tmp_path, a_suite(seeds=1), {("SGD", 0): reaching(3), ("Adam", 0): reaching(4)})
    damaged = folder.trial_path(trials_of(a_suite(seeds=1))[0])
    lines = damaged.read_bytes().split(b"\n")
    lines[3] = line
    damaged.write_bytes(b"\n".join(lines))
    (suite,) = read([tmp_path]).suites
    assert [log.trial["label"] for log in suite.logs] == ["Adam"]
    (warning,) = suite.warnings
    assert (warning.file, warning.line) == (str(damaged), 4)
    assert message in warning.message
    with pytest.raises(OptbenchError, match="damaged"):
        TrialFile.open(damaged)


HUGE = 10**400


@pytest.mark.parametrize(
    ("record", "values", "message"),
    [
        ("trial", {"id": "a", "trial": {"seed": HUGE}}, "'trial'"),
        ("trial", {"attempt": HUGE}, "more than 64 bits"),
        (
            "started",
            {"splits": {"train": {}}},
            "expected 'int', got 'object' in 'splits'; found {'train': {}}",
        ),
        ("started", {"steps_per_epoch": 0}, "expected 'int' >= 1 in 'steps_per_epoch'; found 0"),
        ("started", {"environment": {"threads": HUGE}}, "more than 64 bits"),
        ("evaluated", {"step": HUGE}, f"<= {2**63 - 1} in 'step'"),
        ("evaluated", {"train_seconds": -HUGE}, f">= {-(2**63)} in 'train_seconds'"),
        ("evaluated", {"metrics": {"validation": {"accuracy": HUGE}}}, f"<= {2**63 - 1} in 'metrics'"),
        ("finished", {"train_seconds": HUGE}, f"<= {2**63 - 1} in 'train_seconds'"),
        ("finished", {"final": {"last": {"accuracy": HUGE}}}, f"<= {2**63 - 1} in 'final'"),
        ("finished", {"resources": {"cpu_steal": {"mean": HUGE}}}, f"<= {2**63 - 1} in 'resources'"),
    ],
)
def test_a_value_that_nothing_can_be_computed_from_leaves_out_its_trial(tmp_path, record, values, message):
    folder = write(tmp_path, a_suite(seeds=1), {("SGD", 0): reaching(3), ("Adam", 0): reaching(4)})
    damaged = folder.trial_path(trials_of(a_suite(seeds=1))[0])
    lines = damaged.read_text().splitlines()
    number = next(n for n, line in enumerate(lines, start=1) if f'"record": "{record}"' in line)
    lines[number - 1] = json.dumps(json.loads(lines[number - 1]) | values)
    damaged.write_text("\n".join(lines) + "\n")
    (suite,) = read([tmp_path]).suites
    assert [log.trial["label"] for log in suite.logs] == ["Adam"]
    (warning,) = suite.warnings
    assert (warning.file, warning.line) == (str(damaged), number)
    assert message in warning.message


def test_a_newer_format_is_refused_with_advice(tmp_path, folder):
    with folder.open_trial(TRIAL) as file:
        file.append(started())
    text = file.path.read_text()
    file.path.write_text(re.sub(r'"format": \d+', '"format": 99', text, count=1))
    for attempt in (lambda: read([tmp_path]), lambda: TrialFile.open(file.path)):
        with pytest.raises(OptbenchError, match=r"newer optbench \(format 99.*upgrade"):
            attempt()


def test_a_foreign_file_among_the_trials_is_left_out_with_a_warning(tmp_path):
    folder = write(tmp_path, a_suite(seeds=1), {("SGD", 0): reaching(3)})
    (folder.trials / "notes.jsonl").write_text('{"hello": 1}\n')
    (suite,) = read([tmp_path]).suites
    assert len(suite.logs) == 1
    assert "not written by optbench" in suite.warnings[0].message


def test_a_copied_trial_file_counts_once(tmp_path):
    folder = write(tmp_path, a_suite(seeds=1), {("SGD", 0): reaching(3)})
    (file,) = folder.trials.glob("*.jsonl")
    (folder.trials / "a-copy.jsonl").write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:4]))
    (suite,) = read([tmp_path]).suites
    assert [log.path for log in suite.logs] == [file]
    assert "only" in suite.warnings[0].message


# --- a suite's folder


@pytest.mark.parametrize(
    "label",
    [
        "../../etc/passwd",
        "a/b\\c",
        "🚀🔥",
        "العربية",
        "x" * 300,
        "漢" * 200,
        ".hidden",
        "",
        "CON:*?|<>",
        "\x1b[31m",
    ],
)
def test_any_label_gives_a_name_inside_the_folder(tmp_path, label):
    folder = SuiteFolder.of(tmp_path, label)
    folder.create()
    folder.open_trial(TRIAL.model_copy(update={"label": label, "workload_name": label})).close()
    (file,) = folder.trials.iterdir()
    assert file.resolve().parent.parent.parent == tmp_path.resolve()
    assert len(file.name.encode()) < 255
    assert only_log(tmp_path).trial["label"] == label


def test_suites_whose_names_differ_only_in_odd_characters_stay_apart(tmp_path):
    assert SuiteFolder.of(tmp_path, "a/b").path != SuiteFolder.of(tmp_path, "a?b").path
    assert SuiteFolder.of(tmp_path, "digits").path == tmp_path / "digits"


def test_the_plan_comes_back_as_it_was_written(folder):
    suite = a_suite()
    plan = make_plan("digits", suite, trials_of(suite), "optbench run digits", {"revision": "abc"})
    assert folder.read_plan() is None
    folder.write_plan(plan)
    assert folder.read_plan() == plan
    assert [row.trial["label"] for row in plan.rows] == ["SGD", "Adam"]


def test_a_damaged_plan_is_an_error_that_names_it(folder):
    (folder.path / "plan.json").write_text('{"format": 1}')
    with pytest.raises(OptbenchError, match=r"plan\.json: damaged"):
        folder.read_plan()


def test_a_plan_whose_entries_are_none_is_damaged(folder):
    suite = a_suite()
    folder.write_plan(make_plan("toy", suite, trials_of(suite)))
    whole = json.loads((folder.path / "plan.json").read_text())
    for place, key in ((whole["resolved"]["optimizers"], "SGD"), (whole["rows"][0]["trial"], "entry")):
        kept, place[key] = place[key], "none"
        (folder.path / "plan.json").write_text(json.dumps(whole))
        with pytest.raises(OptbenchError, match=r"plan\.json: damaged"):
            folder.read_plan()
        place[key] = kept
    (folder.path / "plan.json").write_text(json.dumps(whole))
    assert folder.read_plan() is not None


@pytest.mark.parametrize(
    "grids", ["none", {"lr": "none"}, {"lr": {"factors": {}}}, {"lr": {"values": [10**400]}}]
)
def test_a_plan_whose_grids_are_none_is_damaged(folder, grids):
    suite = a_suite()
    plan = make_plan("toy", suite, trials_of(suite))
    folder.write_plan(replace(plan, resolved=plan.resolved | {"sensitivity": {"lr": {"factors": [0.1, 1]}}}))
    assert folder.read_plan() is not None
    folder.write_plan(replace(plan, resolved=plan.resolved | {"sensitivity": grids}))
    with pytest.raises(OptbenchError, match=r"plan\.json: damaged"):
        folder.read_plan()


DAMAGE = {
    "resolved.title": 3,
    "resolved.description": {"a": 1},
    "resolved.workloads": [1],
    "resolved.published": {"0": "none"},
    "resolved.published.0.values.memory_overhead": "none",
    "resolved.published.0.values.memory_overhead.kind": "guess",
    "resolved.published.0.source": 3,
    "provenance.findings": 3,
    "provenance.imported": ["csv"],
    "provenance.leaderboard": {"base": "digits"},
    "provenance.merged": "all",
    "higher_is_better": {"accuracy": "often"},
    "metrics": {"accuracy": {"unit": "fraction"}},
    "rows.0": "none",
    "rows.0.trial.label": 3,
    "seeds": ["one"],
}


@pytest.mark.parametrize("place", DAMAGE)
def test_a_plan_with_a_damaged_field_is_reported_with_its_place_and_the_rest_is_shown(folder, place):
    claim = {"kind": "deterministic", "value": 2, "unit": "x"}
    row = {"source": "A table", "optimizer": "SGD", "values": {"memory_overhead": claim}}
    suite = a_suite(published=[row])
    folder.write_plan(make_plan("digits", suite, trials_of(suite), provenance={"imported": "csv"}))
    with folder.open_trial(trials_of(suite)[0]) as file:
        for event in reaching(3):
            file.append(event)
    whole = json.loads((folder.path / "plan.json").read_text())
    *path, last = place.split(".")
    content = whole
    for name in path:
        content = content[int(name)] if isinstance(content, list) else content[name]
    content[int(last) if isinstance(content, list) else last] = DAMAGE[place]
    (folder.path / "plan.json").write_text(json.dumps(whole))
    [suite] = read([folder.path]).suites
    assert re.search(rf"damaged \('{re.escape(place)}", suite.warnings[0].message)
    assert suite.plan is None
    for format in ("terminal", "markdown", "html", "json", "csv", "latex"):
        assert "SGD" in render(Results((suite,)), format)


def test_a_file_where_the_folder_should_be_is_an_error(tmp_path):
    (tmp_path / "digits").write_text("")
    with pytest.raises(OptbenchError, match="a file is where a folder is expected"):
        SuiteFolder.of(tmp_path, "digits").create()


def test_a_folder_that_refuses_is_an_error(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OptbenchError, match="no permission: choose another folder with --results"):
        SuiteFolder.of(tmp_path, "digits").create()


def test_a_whole_file_is_replaced_in_one_move(folder, monkeypatch):
    folder.write_text("report.md", "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OptbenchError, match="disk is full"):
            folder.write_text("report.md", "new")
    assert (folder.path / "report.md").read_text() == "old"
    assert [path.name for path in folder.path.iterdir() if path.is_file()] == ["report.md"]


def test_archiving_makes_room_and_deletes_no_record(tmp_path, folder):
    for _ in range(2):
        with folder.open_trial(TRIAL) as file:
            file.append(finished())
        folder.checkpoint_path(TRIAL).write_bytes(b"weights")
        assert folder.set_aside(TRIAL).is_file()
        assert not folder.trial_path(TRIAL).exists()
        assert not folder.checkpoint_path(TRIAL).exists()
    assert len(list((folder.path / "superseded").iterdir())) == 2
    assert folder.set_aside(TRIAL) is None


# --- the lock


@pytest.mark.parametrize(
    ("changes", "ending", "is_copied"),
    [
        ({}, finished(), True),
        ({"rung": 0.5}, finished(status="paused", epochs=5, at_fault=""), False),
        ({"timed": False}, finished(), False),
    ],
)
def test_paused_and_untimed_trials_are_not_copied(tmp_path, folder, changes, ending, is_copied):
    source = SuiteFolder.of(tmp_path, "source")
    source.create()
    source.write_trial(TRIAL.model_copy(update=changes), [started(), evaluated(5, 0.5), ending])
    planned = TRIAL.model_copy(update=changes | {"timed": True})
    assert folder.copy_trial(planned, source) is is_copied
    assert folder.trial_path(TRIAL).exists() is is_copied


def test_a_second_writer_gets_the_name_of_the_lock_holder(folder):
    with (
        folder.lock(),
        pytest.raises(OptbenchError, match=rf"process {os.getpid()} on .* \(since "),
        folder.lock(),
    ):
        pass
    with folder.lock():
        pass


def test_the_lock_of_a_killed_process_is_free(folder):
    code = (
        "import sys, time; from pathlib import Path; from optbench.store import SuiteFolder\n"
        f"with SuiteFolder(Path({str(folder.path)!r})).lock(): print('held', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(OptbenchError, match=f"process {process.pid}"), folder.lock():
        pass
    process.kill()
    process.wait()
    with folder.lock():
        pass


# --- reading


def test_a_root_and_its_suites_may_be_given_in_any_mixture(tmp_path):
    for name in ("one", "two"):
        write(tmp_path, a_suite(seeds=1), {("SGD", 0): reaching(3)}, name=name)
    names = [suite.name for suite in read([tmp_path / "two", tmp_path]).suites]
    assert names == ["two", "one"]


def test_suites_of_one_name_in_two_roots_are_distinguished(tmp_path):
    for root in ("a", "b"):
        write(tmp_path / root, a_suite(seeds=1), {("SGD", 0): reaching(3)})
    assert [suite.name for suite in read([tmp_path / "a", tmp_path / "b"]).suites] == ["a/digits", "b/digits"]


def test_nothing_to_read_names_what_was_expected_and_what_is_near(tmp_path):
    folder = write(tmp_path / "results", a_suite(seeds=1), {("SGD", 0): reaching(3)})
    for path, message in [
        (tmp_path / "missing", "no such folder: expected a folder written by `optbench run`"),
        (tmp_path, f"did you mean '{tmp_path / 'results'}'"),
        (folder.checkpoints, f"did you mean '{folder.path}'"),
        (folder.path / "plan.json", "a file: expected a folder"),
    ]:
        with pytest.raises(OptbenchError, match=re.escape(message)):
            read([path])


def test_reading_changes_nothing(tmp_path):
    folder = write(tmp_path, a_suite(seeds=1), {("SGD", 0): reaching(3)})
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    read([tmp_path])
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


def test_a_folder_of_copied_trials_without_a_plan_is_read(tmp_path):
    folder = write(tmp_path, a_suite(seeds=1), {("SGD", 0): reaching(3)})
    (folder.path / "plan.json").unlink()
    (suite,) = read([tmp_path]).suites
    assert suite.plan is None
    assert len(suite.logs) == 1


def test_a_header_is_plain_json_that_other_tools_can_read(folder):
    with folder.open_trial(TRIAL):
        header = json.loads(folder.trial_path(TRIAL).read_text())
    assert header["record"] == "trial"
    assert header["trial"]["label"] == "SGD"
