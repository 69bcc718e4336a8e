"""Numbered attempts of disturbed trials: which counts, which is run again, and that all are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from optbench.analysis.frames import trials_frame
from optbench.report import render
from optbench.store import SuiteFolder, read
from optbench.store.attempts import disagreement, to_run_again
from results_builder import ENVIRONMENT, a_suite, curve, finished, started, trials_of, write

CALM, DISTURBED = 0.98, 0.6
MOST_RERUNS = 2


def events(share: float, accuracy: float = 0.95, **environment: object):
    """A trial that got this share of the processor."""
    told = curve([0.5] * 4 + [accuracy] * 6)
    return [
        started(environment=ENVIRONMENT | {"host": "here", "code": "1"} | environment),
        *told[1:-1],
        finished(accuracy, cpu_seconds=5.0 * share),
    ]


def results(root: Path, *later: list, first: float = DISTURBED) -> Path:
    """Of two entries and three seeds; `later` are attempts 2, 3, ... of SGD's seed 0, whose first had the share `first`."""
    suite = a_suite()
    given = {(label, seed): events(CALM) for label in ("SGD", "Adam") for seed in range(3)}
    folder: SuiteFolder = write(root, suite, given | {("SGD", 0): events(first)})
    for number, told in enumerate(later, start=2):
        with folder.open_trial(trials_of(suite)[0], number) as file:
            for event in told:
                file.append(event)
    return root


def the_log(root: Path):
    logs = read([root]).suites[0].logs
    assert len(logs) == 6
    return next(log for log in logs if (log.trial["label"], log.trial["seed"]) == ("SGD", 0))


def test_a_trial_that_got_less_of_the_processor_than_its_row_is_disturbed_and_run_again(tmp_path):
    results(tmp_path)
    logs = read([tmp_path]).suites[0].logs
    assert [log.id for log in logs if log.disturbed] == [the_log(tmp_path).id]
    assert [log.id for log in to_run_again(logs, MOST_RERUNS)] == [the_log(tmp_path).id]
    assert to_run_again(logs, 0) == ()


def test_the_first_undisturbed_attempt_counts_and_the_others_are_kept(tmp_path):
    log = the_log(results(tmp_path, events(DISTURBED), events(CALM), events(0.99)))
    assert (log.attempt, log.attempts, log.disturbed) == (3, 4, False)
    assert [other.attempt for other in log.others] == [1, 2, 4]


def test_where_all_were_disturbed_the_first_counts_and_no_more_are_made_than_allowed(tmp_path):
    log = the_log(results(tmp_path, events(DISTURBED), events(0.7)))
    assert (log.attempt, log.attempts, log.disturbed) == (1, 3, True)
    assert to_run_again([log], MOST_RERUNS) == ()


def test_an_attempt_that_was_cut_off_does_not_count(tmp_path):
    log = the_log(results(tmp_path, events(CALM)[:-1]))
    assert (log.attempt, log.attempts, log.disturbed) == (1, 1, True)


def test_steal_of_the_hypervisor_disturbs_whatever_the_share(tmp_path):
    told = events(CALM)
    told[-1] = finished(cpu_seconds=5.0 * CALM, resources={"cpu_steal": {"mean": 0.2}})
    log = the_log(results(tmp_path, told))
    assert (log.attempt, log.disturbed) == (1, True)


def test_threads_that_waited_for_a_processor_disturb_also_where_all_trials_were_alike(tmp_path):
    """A neighbour that is busy during a whole run leaves no trial to hold the others against."""
    suite = a_suite()

    def told(queued: float | None):
        return [*events(DISTURBED)[:-1], finished(cpu_seconds=5.0 * DISTURBED, queued_seconds=queued)]

    given = {(label, seed): told(5.0 * 0.4) for label in ("SGD", "Adam") for seed in range(3)}
    write(tmp_path, suite, given | {("SGD", 1): told(5.0 * 0.01), ("SGD", 2): told(None)})
    logs = read([tmp_path]).suites[0].logs
    calm = [(log.trial["label"], log.trial["seed"]) for log in logs if not log.disturbed]
    assert calm == [("SGD", 1), ("SGD", 2)]


@pytest.mark.parametrize("facts", [{"device": "cuda"}, {"host": "elsewhere", "device_name": "alone"}])
def test_a_share_is_unknown_on_a_gpu_or_without_another_trial_of_that_machine(tmp_path, facts):
    suite = a_suite()
    given = {(label, seed): events(CALM) for label in ("SGD", "Adam") for seed in range(3)}
    write(tmp_path, suite, given | {("SGD", 0): events(DISTURBED, **facts)})
    assert not the_log(tmp_path).disturbed


def test_attempts_of_one_machine_agree_and_one_that_does_not_is_named(tmp_path):
    assert disagreement(the_log(results(tmp_path / "same", events(CALM)))) == ""
    unlike = the_log(results(tmp_path / "unlike", events(CALM, accuracy=0.96)))
    assert disagreement(unlike).startswith("attempts 2 and 1 differ at step 50 ")
    elsewhere = the_log(results(tmp_path / "other", events(CALM, accuracy=0.96, torch="2.16.0")))
    assert disagreement(elsewhere) == ""


def test_the_analysis_states_the_attempt_that_counts_and_how_many_there_were(tmp_path):
    frame = trials_frame(read([results(tmp_path, events(CALM))]))
    row = frame[(frame["optimizer"] == "SGD") & (frame["seed"] == 0)].iloc[0]
    assert (row["attempt"], row["attempts"], row["disturbed"]) == (2, 2, False)
    assert row["cpu_seconds"] == 5.0 * CALM
    assert len(frame) == 6


def test_a_report_states_what_was_run_again_what_stayed_disturbed_and_what_cannot_be_repeated(tmp_path):
    calm = render(read([results(tmp_path / "calm", events(CALM))]), "markdown")
    assert "1 trial was disturbed by other load and rerun: it was undisturbed in a rerun" in calm
    noisy = render(read([results(tmp_path / "noisy")]), "markdown")
    assert "training times of 1 trial were disturbed by other load: SGD seed 0" in noisy
    unlike = render(read([results(tmp_path / "unlike", events(CALM, accuracy=0.96))]), "markdown")
    assert "NOT REPRODUCIBLE: 1 trial gave different results" in unlike
