"""Tuning by entry, over its repeated studies: what was selected, at what cost, and how sensitive the metric is near the best setting."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from optbench.analysis.order_statistics import tunability
from optbench.analysis.tuning import Study, expected_curve, pooled, studies, tuning_frame
from optbench.store import Results, SuiteResults
from optbench.suite.spaces import positions, tuned_arguments
from optbench.suite.tuning import TIME_TO_TARGET
from optbench.suite.widening import widened

#: distance from the best trial within which a trial is near it: absolute for a share, else relative
SHARE_MARGIN, MARGIN, STEPS_MARGIN = 0.01, 0.05, 0.1
ENTRY_COLUMNS = (
    *("suite", "workload", "optimizer", "metric", "metric_unit", "higher_is_better"),
    *("studies", "trials", "complete"),
    *("selected", "tuned", "fresh", "optimism", "diverged", "pruned"),
    *("tuning_steps", "tuning_epochs", "tuning_seconds", "expected_best", "tunability", "near_best"),
)
RANGE_COLUMNS = (
    *("suite", "workload", "optimizer", "hyperparameter", "space", "selected"),
    *("near_low", "near_high", "near_values", "decades", "near_trials"),
)


def tuned_entries_frame(results: Results, tuning: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row per tuned entry and workload, over its repeated studies.

    Columns: suite, workload, optimizer; metric (of selection), metric_unit, higher_is_better; studies (number), trials (planned per
    study), complete (ended, of all studies); selected (values by hyperparameter, one per study); tuned, fresh and optimism (means over
    studies, see `tuning_frame`); diverged, pruned, tuning_steps, tuning_epochs and tuning_seconds (of all studies together);
    expected_best (after 1, 2, ... trials, from the trials of all studies), tunability (`order_statistics.tunability` of it); near_best
    (share of all trials within 0.01 of the best value of a share, 5 % of that of another metric, or 10 % of the fewest steps to the
    target; NaN with pruning or an adaptive sampler, whose trials are not spread evenly). `tuning`: the frame of `tuning_frame`, if it is
    known already.
    """
    frame = tuning_frame(results) if tuning is None else tuning
    by_entry = frame.groupby(["suite", "workload", "optimizer"], sort=False)
    records = []
    for repeated in _by_entry(studies(results)):
        first = repeated[0]
        own = by_entry.get_group((first.suite, first.workload, first.label))
        whole = all(study.is_complete for study in repeated)
        curve = expected_curve(pooled(repeated)) if whole else np.array([])
        near = _near_best(repeated)
        is_even = near.size and first.tuning.prune is None and not first.tuning.is_adaptive
        records.append(
            {
                **{name: own[name].iloc[0] for name in ENTRY_COLUMNS[:5]},
                "higher_is_better": first.higher,
                "studies": len(own),
                "trials": int(own["trials"].max()),
                "selected": _selected(own["best"].tolist()),
                **{name: float(own[name].mean()) for name in ("tuned", "fresh", "optimism")},
                **{name: own[name].sum() for name in ("complete", "diverged", "pruned")},
                **{name: own[name].sum() for name in ("tuning_steps", "tuning_epochs", "tuning_seconds")},
                "expected_best": curve.tolist(),
                "tunability": tunability(curve) if curve.size else math.nan,
                "near_best": float(near.mean()) if is_even else math.nan,
            }
        )
    return pd.DataFrame(records, columns=list(ENTRY_COLUMNS))


def near_best_frame(results: Results) -> pd.DataFrame:
    """Return one row per tuned hyperparameter: the range of its values in the trials near the best one (`tuned_entries_frame`).

    Columns: suite, workload, optimizer, hyperparameter, space (as written), selected (one value per study); near_low and near_high
    (numbers; NaN for others), near_values (in order, for other values), decades (log10 of high / low; of 1 minus the value for
    `one_minus_log`; NaN where values are not on a logarithmic scale); near_trials (trials that the range is from). Entries whose studies
    are not complete have no rows.
    """
    records = [
        record
        for repeated in _by_entry(studies(results))
        if _near_best(repeated).any()
        for record in _ranges(repeated)
    ]
    return pd.DataFrame(records, columns=list(RANGE_COLUMNS))


def wider_spaces(suite: SuiteResults) -> dict[str, dict[str, Any]]:
    """Return wider spaces of the arguments whose selected value is at an end of its space on some workload, by label and name."""
    wider: dict[str, dict[str, Any]] = {}
    for study in studies(Results((suite,))):
        if study.best is None:
            continue
        point = study.rows[study.best].trial.point
        of_entry = wider.setdefault(study.label, {})
        for name, written in _written(study).items():
            space, edges = widened(name, point[name], of_entry.get(name, written))
            if edges:
                of_entry[name] = space
    return {label: spaces for label, spaces in wider.items() if spaces}


def _by_entry(found: Sequence[Study]) -> Iterator[list[Study]]:
    """Yield the repeated studies of each entry and workload."""
    groups: dict[tuple[str, str, str], list[Study]] = {}
    for study in found:
        groups.setdefault((study.suite, study.workload, study.label), []).append(study)
    yield from groups.values()


def _written(study: Study) -> dict[str, Any]:
    return tuned_arguments([rule.arguments for rule in study.entry.rules])


def _selected(points: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for point in points for name in point)
    return {name: [point[name] for point in points if name in point] for name in names}


def _near_best(repeated: Sequence[Study]) -> npt.NDArray[np.bool_]:
    """Return which trials of all studies are near the best one; empty before a setting is selected."""
    if any(study.best is None for study in repeated):
        return np.array([], dtype=bool)
    first, all_studies = repeated[0], pooled(repeated)
    sign = 1.0 if first.higher else -1.0
    scores = sign * all_studies.scores
    best = max(sign * study.scores[study.best] for study in repeated if study.best is not None)
    relative = STEPS_MARGIN if first.metric == TIME_TO_TARGET else MARGIN
    is_fraction = first.rows[0].facts(first.metric).is_fraction
    margin = SHARE_MARGIN if is_fraction else relative * abs(best)
    whole = np.array([n not in study.pruned for study in repeated for n in range(len(study.rows))])
    near: npt.NDArray[np.bool_] = (scores >= best - margin) & whole
    return near


def _ranges(repeated: Sequence[Study]) -> Iterator[dict[str, Any]]:
    first, near = repeated[0], _near_best(repeated)
    rows = [row for row, is_near in zip(pooled(repeated).rows, near, strict=True) if is_near]
    best = [study.rows[study.best].trial.point for study in repeated if study.best is not None]
    for name, written in _written(first).items():
        values = [row.trial.point[name] for row in rows]
        record = {
            "suite": first.suite,
            "workload": first.workload,
            "optimizer": first.label,
            "hyperparameter": name,
            "space": written,
            "selected": [point[name] for point in best],
            "near_low": math.nan,
            "near_high": math.nan,
            "near_values": [],
            "decades": math.nan,
            "near_trials": len(rows),
        }
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            record |= {"near_low": min(values), "near_high": max(values)}
            record["decades"] = _decades(values, written)
        else:
            record["near_values"] = list({repr(value): value for value in values}.values())
        yield record


def _decades(values: Sequence[float], written: Any) -> float:
    kinds = {space.kind for value in values for space, _ in positions(value, written)}
    numbers = [1 - value for value in values] if kinds == {"one_minus_log"} else list(values)
    if kinds not in ({"log"}, {"one_minus_log"}) or min(numbers) <= 0:
        return math.nan
    return math.log10(max(numbers) / min(numbers))
