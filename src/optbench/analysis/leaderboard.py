"""The leaderboard of the AlgoPerf competition: one score over many workloads, with its uncertainty, which the original lacks.

The rules are those of the competition's documentation and scoring code
(https://github.com/mlcommons/algorithmic-efficiency, https://github.com/mlcommons/submissions_algorithms), steps 1 to 6
below; the profile is that of Dolan and More (Mathematical Programming 91, 2002).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from optbench.analysis.profiles import MAX_RATIO, RESAMPLES, ratios_to_fastest
from optbench.analysis.rows import table_rows
from optbench.errors import OptbenchError
from optbench.store import Results, SuiteResults

#: multiples of the shortest time at which the profile is computed; above the last one, a time counts as never reached
TAUS = np.linspace(1.0, MAX_RATIO, 100)

Times = npt.NDArray[np.float64]  # (..., submission, workload)


@dataclass(frozen=True)
class Rules:
    """Which workloads are scored. `held_out`: variant -> the base workload it guards."""

    base: tuple[str, ...]
    held_out: Mapping[str, str]

    @property
    def scored(self) -> tuple[str, ...]:
        return *self.base, *self.held_out


@dataclass(frozen=True)
class Leaderboard:
    """`scores`: one row per submission, best first: submission, score, low, high (95 % band), reached (base workloads with
    a time that counts), workloads (base), studies_least, studies_most (a workload).
    `flips`: a row a pair in the order of the scores: first, second, flipped, tied (shares of resamples).
    `times` (medians over studies), `counted` (after the rules): submission x workload, seconds, inf = never reached.
    `profile`: submission x tau. `order_changed`: share of resamples in which any pair is in the opposite order.
    """

    rules: Rules
    scores: pd.DataFrame
    flips: pd.DataFrame
    times: pd.DataFrame
    counted: pd.DataFrame
    profile: pd.DataFrame
    order_changed: float


def rules_of(suite: SuiteResults) -> Rules:
    """Return the rules of the competition's targets file; without one, each workload with a target is a base workload.

    Raises `OptbenchError` if there is no workload with a target.
    """
    stated = suite.plan.provenance.get("leaderboard") if suite.plan is not None else None
    if stated is not None:
        return Rules(tuple(stated["base"]), dict(stated["held_out"]))
    names = dict.fromkeys(
        row.trial.workload_name for row in table_rows(Results((suite,))) if row.trial.workload.target
    )
    if not names:
        raise OptbenchError(
            "no workload has a target: a leaderboard needs at least one", file=str(suite.path)
        )
    return Rules(tuple(names), {})


def trial_times(suite: SuiteResults) -> pd.DataFrame:
    """Return one row per trial: submission, workload, study, seconds to the first evaluation that meets the target, else inf.

    A trial belongs to the study that its log names; where it names none, every seed is a study of one trial. Only the
    first target of a workload counts. Missing are trials that are not complete, and those whose clock was carried over a
    restart. Raises `OptbenchError` where a log has no times.
    """
    records = []
    for row in table_rows(Results((suite,))):
        if not row.trial.workload.target:
            continue
        target = row.trial.workload.target[0]
        for log in row.logs:
            if not log.is_complete or not log.seconds_count:
                continue
            facts = log.started.environment if log.started is not None else {}
            passed = (
                event.train_seconds
                for event in log.evaluations
                if target.holds(event.metrics.get(target.split, {}).get(target.metric, math.nan))
            )
            study = facts.get("study", log.trial["seed"])
            seconds = next(passed, math.inf)
            if math.isnan(seconds):
                raise OptbenchError(
                    "an evaluation has no training time: a leaderboard needs one for each evaluation",
                    file=str(log.path),
                )
            records.append((row.trial.label, row.trial.workload_name, study, seconds))
    return pd.DataFrame(records, columns=["submission", "workload", "study", "seconds"])


def leaderboard(trials: pd.DataFrame, rules: Rules, resamples: int = RESAMPLES, seed: int = 0) -> Leaderboard:
    """Score all submissions of `trials` (columns as `trial_times` gives them) against each other.

    1. A study's time is the least of its trials' times. 2. A submission's time on a workload is the median over its
    studies there; a workload without any study is infinite. 3. to 5.: `count`. 6. `profile` and `score`.
    The bands are percentiles over `resamples` bootstrap samples of the studies, drawn separately for each submission and workload.
    Raises `OptbenchError` if there is no trial.
    """
    if trials.empty:
        raise OptbenchError("no workload with a target has a complete trial: run the suite first")
    studies = study_times(trials)
    names = sorted(studies["submission"].unique())
    cells = _cells(studies, names, rules.scored)
    medians = np.array([[_median(cell) for cell in row] for row in cells], dtype=float)
    times = pd.DataFrame(medians, index=pd.Index(names, name="submission"), columns=list(rules.scored))
    counted = count(medians, rules)
    base = len(rules.base)
    scores = score(profile(counted[:, :base]))
    order = sorted(range(len(names)), key=lambda index: (-scores[index], names[index]))
    drawn = _resampled_scores(cells, rules, resamples, seed)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    table = pd.DataFrame(
        [
            {
                "submission": names[index],
                "score": scores[index],
                "low": low[index],
                "high": high[index],
                "reached": int(np.isfinite(counted[index, :base]).sum()),
                "workloads": base,
                "studies_least": min(len(cell) for cell in cells[index]),
                "studies_most": max(len(cell) for cell in cells[index]),
            }
            for index in order
        ]
    )
    flips, order_changed = _flips(drawn[:, order], [names[index] for index in order], scores[order])
    by_tau = pd.DataFrame(profile(counted[:, :base]), index=times.index, columns=pd.Index(TAUS, name="tau"))
    ranked = [names[index] for index in order]
    return Leaderboard(
        rules=rules,
        scores=table,
        flips=flips,
        times=times.loc[ranked],
        counted=pd.DataFrame(counted, index=times.index, columns=times.columns).loc[ranked],
        profile=by_tau.loc[ranked],
        order_changed=order_changed,
    )


def study_times(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the minimum time of the trials of each study: submission, workload, study, seconds."""
    return trials.groupby(["submission", "workload", "study"])["seconds"].min().reset_index()


def count(times: Times, rules: Rules) -> Times:
    """Return the times that count, of shape (..., submission, workload) with the workloads in the order of `rules.scored`.

    3. A variant's time becomes infinite where its base was not reached. 4. Every time over 4 x the least of its column
    becomes infinite. 5. A base's time becomes infinite where its variant's is.
    """
    counted = times.copy()
    position = {name: index for index, name in enumerate(rules.scored)}
    pairs = [(position[variant], position[base]) for variant, base in rules.held_out.items()]
    for variant, base in pairs:
        counted[..., variant] = np.where(np.isinf(counted[..., base]), np.inf, counted[..., variant])
    least = counted.min(axis=-2, keepdims=True)
    counted = np.where(counted > MAX_RATIO * least, np.inf, counted)
    for variant, base in pairs:
        counted[..., base] = np.where(np.isinf(counted[..., variant]), np.inf, counted[..., base])
    return counted


def profile(times: Times, taus: Sequence[float] | npt.NDArray[np.float64] = TAUS) -> Times:
    """Return the share of workloads with time / minimum time of the workload <= tau: (..., submission, tau)."""
    ratios = ratios_to_fastest(times)
    return np.stack([(ratios <= tau).mean(axis=-1) for tau in taus], axis=-1)


def score(profiles: Times) -> npt.NDArray[np.float64]:
    """Return the area under profiles over `TAUS` by the trapezoidal rule, divided by the range of tau."""
    area = ((profiles[..., 1:] + profiles[..., :-1]) / 2 * np.diff(TAUS)).sum(axis=-1)
    return np.asarray(area / (TAUS[-1] - TAUS[0]))


def _cells(studies: pd.DataFrame, names: Sequence[str], workloads: Sequence[str]) -> list[list[Times]]:
    known = {key: group.to_numpy() for key, group in studies.groupby(["submission", "workload"])["seconds"]}
    none = np.array([], dtype=float)
    return [[known.get((name, workload), none) for workload in workloads] for name in names]


def _median(values: Times) -> npt.NDArray[np.float64]:
    """Return the median over the last axis; infinite without values, and between a number and infinity."""
    if values.shape[-1] == 0:
        return np.full(values.shape[:-1], np.inf)
    return np.asarray(np.median(values, axis=-1))


def _resampled_scores(cells: list[list[Times]], rules: Rules, resamples: int, seed: int) -> Times:
    """Return the scores of bootstrap samples of the studies, (resample, submission)."""
    random = np.random.default_rng(seed)
    drawn = np.empty((resamples, len(cells), len(rules.scored)))
    for row, of_submission in enumerate(cells):
        for column, cell in enumerate(of_submission):
            size = len(cell)
            picks = random.integers(max(size, 1), size=(resamples, size))
            drawn[:, row, column] = _median(cell[picks] if size else np.empty((resamples, 0)))
    return score(profile(count(drawn, rules)[..., : len(rules.base)]))


def _flips(drawn: Times, names: Sequence[str], scores: Times) -> tuple[pd.DataFrame, float]:
    """Return each pair whose scores differ; `drawn`, `names` and `scores` are in the order of the scores."""
    records = []
    changed = np.zeros(len(drawn), dtype=bool)
    for first in range(len(names)):
        for second in range(first + 1, len(names)):
            if scores[first] == scores[second]:
                continue
            opposite = drawn[:, second] > drawn[:, first]
            tied = drawn[:, second] == drawn[:, first]
            changed |= opposite
            records.append((names[first], names[second], opposite.mean(), tied.mean()))
    flips = pd.DataFrame(records, columns=["first", "second", "flipped", "tied"])
    return flips, float(changed.mean())
