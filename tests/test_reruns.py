"""A timed trial that other work disturbed is run again, as often as allowed, and the report says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fake_executor import FakeExecutor, events
from optbench.executor.api import Settings, Slot, StopRequest, Unit
from optbench.executor.dispatch import Dispatcher, Summary
from optbench.runner.job import Job
from optbench.runner.options import RunOptions
from optbench.runner.reruns import rerun_disturbed
from optbench.store import StoredSuite, SuiteFolder, TrialLog, read
from optbench.store.archive import ARCHIVE, pack
from optbench.suite.load import load
from optbench.suite.plan import plan
from program import optbench
from real_runs import a_suite
from results_builder import ENVIRONMENT, curve, finished, started

CALM, DISTURBED = 0.98, 0.6
HERE = ENVIRONMENT | {"host": "here"}


def told(share: float, environment: dict[str, Any] = HERE) -> list[Any]:
    """A trial that got this share of the processor."""
    return [
        started(environment=environment),
        *curve([0.95] * 10)[1:-1],
        finished(0.95, cpu_seconds=5.0 * share),
    ]


class Bench:
    """A stored suite of three trials, and a machine on which attempts go as foretold: shares, by seed."""

    def __init__(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, shares: dict[int, Sequence[float]]
    ) -> None:
        path = a_suite(root, {"SGD": "torch.optim.SGD"})
        loaded = load(path, ("seeds=3",))
        trials = plan(loaded)
        folder = SuiteFolder.of(root / "results", "tiny")
        folder.create()
        self.job, self.shares, self.attempts = (
            Job(loaded, trials, trials, folder, StoredSuite(folder.path)),
            shares,
            [],
        )
        self.messages: list[str] = []
        for trial in trials:
            with folder.open_trial(trial) as file:
                for event in told(shares[trial.seed][0]):
                    file.append(event)
        monkeypatch.setattr("optbench.runner.reruns._HOST", {"host": "here"})
        self.executor = FakeExecutor(self._messages, (Slot("cpu", "cpu", HERE),))

    def _messages(self, unit: Unit) -> Sequence[Any]:
        [trial] = unit.trials
        attempt = int(unit.name.partition("--attempt")[2])
        self.attempts.append((trial.seed, attempt))
        return events(trial.id, told(self.shares[trial.seed][attempt - 1]))

    def run_again(self, **options: Any) -> None:
        summary = Summary()
        dispatcher = Dispatcher(self.executor, self.job.folder, Settings(), StopRequest())
        rerun_disturbed(self.job, RunOptions(**options), dispatcher, self, summary)
        assert summary == Summary()

    def message(self, text: str) -> None:
        self.messages.append(text)

    @contextmanager
    def round(self, *_: Any, **__: Any) -> Iterator[Any]:
        yield lambda trial, event: None

    def logs(self) -> list[TrialLog]:
        return sorted(read([self.job.folder.path]).suites[0].logs, key=lambda log: log.trial["seed"])


def test_a_packed_folder_is_unpacked_before_trials_are_run_again(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch, {0: [DISTURBED, CALM], 1: [CALM], 2: [CALM]})
    pack(bench.job.folder.path)
    bench.run_again()
    assert bench.attempts == [(0, 2)]
    assert "Unpacked the records of 3 trials" in bench.messages[0]
    assert not (bench.job.folder.path / ARCHIVE).exists()
    assert len(list(bench.job.folder.trials.iterdir())) == 4


def test_disturbed_trials_are_run_again_until_an_attempt_is_undisturbed(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch, {0: [DISTURBED, CALM], 1: [CALM], 2: [DISTURBED, DISTURBED, CALM]})
    bench.run_again()
    assert bench.attempts == [(0, 2), (2, 2), (2, 3)]
    assert [(log.attempt, log.disturbed) for log in bench.logs()] == [(2, False), (1, False), (3, False)]


@pytest.mark.parametrize(("reruns", "attempts"), [(0, []), (1, [(0, 2), (2, 2)])])
def test_no_more_often_than_allowed(tmp_path, monkeypatch, reruns, attempts):
    shares = {0: [DISTURBED, CALM], 1: [CALM], 2: [DISTURBED] * 9}
    bench = Bench(tmp_path, monkeypatch, shares)
    bench.run_again(reruns=reruns)
    assert bench.attempts == attempts


def test_after_a_round_without_effect_there_is_no_other(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch, {0: [DISTURBED] * 9, 1: [CALM], 2: [DISTURBED] * 9})
    bench.run_again(reruns=5)
    assert bench.attempts == [(0, 2), (2, 2)]
    assert bench.messages[-1] == "Other load continues: 2 trials remain disturbed"


def test_trials_of_another_machine_or_version_are_left_alone(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch, {0: [DISTURBED] * 9, 1: [CALM], 2: [DISTURBED] * 9})
    bench.executor.slots = (Slot("cpu", "cpu", HERE | {"torch": "9.9"}),)
    bench.run_again()
    monkeypatch.setattr("optbench.runner.reruns._HOST", {"host": "elsewhere"})
    bench.executor.calls.clear()
    bench.run_again()
    assert bench.executor.calls == []  # no data are loaded
    assert bench.attempts == []


SLOWED = """
import time
from pathlib import Path
import torch

FIRST = Path(__file__).with_name("first")

class Slowed(torch.optim.SGD):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.slow = not FIRST.exists()
        FIRST.touch()

    def step(self, closure=None):
        time.sleep(0.02 * self.slow)  # as if another program had the processor
        return super().step(closure)
"""


def test_a_real_run_repeats_it_bit_for_bit_and_reports_it(tmp_path):
    (tmp_path / "slowed.py").write_text(SLOWED)
    suite = a_suite(tmp_path, {"Slowed": "slowed.py:Slowed"}, budget=10)
    suite.write_text(suite.read_text().replace("seeds: 1", "seeds: 2"))
    done = optbench("run", "tiny.yaml", "--threads", "1", "--reruns", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "disturbed by other load" in done.stderr
    logs = read([tmp_path / "results"]).suites[0].logs
    log = next(log for log in logs if log.trial["seed"] == 0)
    ends = [each.finished for each in (log, *log.others)]
    assert len(ends) == 2
    assert ends[0].final == ends[1].final
    assert max(end.train_seconds for end in ends) > 60 * 0.02  # of the 60 steps of the first attempt
    assert "disturbed by other load and rerun" in (tmp_path / "results/tiny/report.md").read_text()
