"""Trials that several suites of one run have in common: they run once, and their records are copied."""

from __future__ import annotations

from collections.abc import Sequence

from optbench.runner.job import Job
from optbench.store import SuiteFolder
from optbench.store.archive import has_record


def copy_shared_trials(job: Job, earlier: Sequence[SuiteFolder]) -> int:
    """Copy the complete records of trials that `job` needs and that a suite which ran before it has. Return their number.

    Equal ids mean equal work: the same workload, entry, seed, precision and source files.
    """
    if not earlier:
        return 0  # without a look at the files, of which there may be 100,000
    copied = 0
    for trial in job.wanted:
        if has_record(job.folder.trial_path(trial)):
            continue
        copied += any(job.folder.copy_trial(trial, other) for other in earlier)
    return copied
