"""Rows of trials that the tests of published statements select, and the values of a quantity by row."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from optbench.analysis.frames import counts, is_worst, passages_frame, worst_value
from optbench.analysis.rows import TableRow, all_rows
from optbench.analysis.sweeps import validation_score
from optbench.analysis.table import final_values
from optbench.analysis.trial_quantities import TrialQuantity, quantity_of
from optbench.analysis.tuning import SEPARATE, TuningVariation, tuned_labels, variation_between_studies
from optbench.store import Results, SuiteResults
from optbench.suite.axes import cell_name
from optbench.suite.grids import Grid
from optbench.suite.statements import (
    Candidate,
    Selection,
    choices,
    every_match,
    is_best,
    matching,
    problem_of,
    problem_of_any,
    problem_over,
    selection_text,
    values_of,
)
from optbench.suite.sweep import point_of_entry

#: metrics for which trials that diverged or failed count as the worst value
WORST_METRICS = ("final_metric", "validation_metric")


@dataclass(frozen=True)
class StatementRows:
    """The rows of trials of one suite that a selection can match, and their times to target."""

    suite: SuiteResults
    workloads: tuple[str, ...]
    rows: list[TableRow]
    candidates: list[Candidate]
    passages: pd.DataFrame

    @classmethod
    def of(cls, suite: SuiteResults) -> StatementRows:
        """Return the rows of a suite, without the trials of tuning."""
        every = all_rows(Results((suite,)))
        workloads = tuple(dict.fromkeys(map(workload_of, every)))
        rows = [row for row in every if row.trial.study is None]
        written = (suite.plan.resolved.get("sensitivity") or {}) if suite.plan is not None else {}
        swept = {name: Grid.model_validate(grid) for name, grid in written.items()}
        candidates = [
            Candidate.of(
                row.trial.label,
                workload_of(row),
                row.horizon,
                row.trial.axes,
                row.trial.point,
                point_of_entry(swept, row.trial.entry),
            )
            for row in rows
        ]
        return cls(suite, workloads, rows, candidates, passages_frame(Results((suite,))))

    def one(self, selection: Selection) -> tuple[TableRow, str]:
        """Return the selected row, and which values `best` selected ("" if there is no choice).

        Raises `LookupError` with the reason if there is not exactly one.
        """
        if problem := problem_of(selection, self.candidates):
            self._check_tuned([selection.get("optimizer")])
            raise LookupError(problem)
        options = choices(selection, self.candidates)
        rows = [self.rows[matching(option, self.candidates)[0]] for option in options]
        if len(rows) == 1:
            return rows[0], ""
        scores = self._scores(rows)
        if np.isnan(scores).all():
            raise LookupError("not run")
        best = int(np.nanargmax(scores))
        chosen = {key: value for key, value in options[best].items() if is_best(selection[key])}
        note = f"selected by validation: {selection_text(chosen)}"
        for key, value in chosen.items():
            values = values_of(key, selection, self.candidates)
            numbers = all(isinstance(each, (int, float)) for each in values)
            if (
                selection[key] == {"best": "all"}
                and numbers
                and len(values) > 2
                and value in (values[0], values[-1])
            ):
                note += f" (the {'smallest' if value == values[0] else 'largest'} value tried)"
        return rows[best], note

    def _check_tuned(self, labels: Iterable[Any]) -> None:
        """Raise `LookupError` if one of these entries has search spaces and no selected settings."""
        timed = {candidate.names["optimizer"] for candidate in self.candidates}
        waiting = sorted((tuned_labels(self.suite) - timed) & set(labels))
        if waiting:
            raise LookupError(f"the tuning of {', '.join(waiting)} is not complete")

    def _scores(self, rows: list[TableRow]) -> list[float]:
        """Return the mean last validation metric of each row; greater is better."""
        metric = rows[0].trial.workload.metrics[0]
        worst = worst_value(rows, metric)
        means = [
            float(
                np.mean(
                    [validation_score(log, metric, worst) for log in row.logs if counts(log)] or [math.nan]
                )
            )
            for row in rows
        ]
        return means if rows[0].facts(metric).higher_is_better else [-mean for mean in means]

    def by_value(self, selection: Selection, path: str) -> dict[Any, TableRow]:
        """Return the selected rows by the values of a path, numbers in increasing order.

        Raises `LookupError` if there are fewer than two values, or a value with no row or several.
        """
        if path == "optimizer":
            self._check_tuned(tuned_labels(self.suite))
        if problem := problem_over(selection, path, self.candidates):
            raise LookupError(problem)
        values = values_of(path, selection, self.candidates)
        return {value: self.one({**selection, path: value})[0] for value in values}

    def every(self, selection: Selection) -> list[TableRow]:
        """Return all selected rows, points of sweeps too. Raises `LookupError` with the reason if there is none."""
        if problem := problem_of_any(selection, self.candidates):
            raise LookupError(problem)
        return [self.rows[position] for position in every_match(selection, self.candidates)]

    def variation(self, rows: list[TableRow]) -> TuningVariation:
        """Return how rows of one workload vary between tuning studies.

        Points of sweeps have settings around those that the first study selected: verdicts about them are about these settings.
        """
        if any(row.trial.point for row in rows):
            return SEPARATE
        return variation_between_studies(self.suite, rows[0].trial.workload_name)

    def values(self, rows: list[TableRow], name: str) -> tuple[TrialQuantity, pd.DataFrame]:
        """Return the quantity, and its value per seed (index) and row (columns, by config_id)."""
        workload = rows[0].trial.workload
        if name in WORST_METRICS:
            metric = workload.metrics[0]
            quantity = TrialQuantity(lambda log: None, within=(-math.inf, math.inf))
            if name == "final_metric":
                return quantity, final_values(rows, metric)
            worst = worst_value(rows, metric)
            scores = {
                row.config_id: pd.Series(
                    {
                        log.trial["seed"]: validation_score(log, metric, worst)
                        for log in row.logs
                        if counts(log)
                    },
                    dtype=float,
                )
                for row in rows
            }
            return quantity, pd.DataFrame(scores)
        quantity = quantity_of(name, rows[0])
        columns = {
            row.config_id: pd.Series(
                {log.trial["seed"]: quantity_of(name, row).of_trial(log) for log in row.logs if counts(log)},
                dtype=float,
            )
            for row in rows
        }
        return quantity, pd.DataFrame(columns).replace([math.inf, -math.inf], math.nan)


def workload_of(row: TableRow) -> str:
    """Return the name of a row's workload in the suite, without the values of axes."""
    return row.trial.workload_name.removesuffix(cell_name("", row.trial.axes)) or row.trial.workload_name


def failed_rows(rows: list[TableRow]) -> int:
    """Return the number of trials that diverged or failed."""
    return sum(is_worst(log) for row in rows for log in row.logs)
