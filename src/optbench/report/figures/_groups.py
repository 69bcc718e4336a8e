"""Groups of rows that share a figure, and the frames that figures are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from optbench.analysis.entries import baseline_names, cells_compared, entry_families, entry_names
from optbench.analysis.rows import TableRow, table_rows
from optbench.analysis.sweep_curves import sweep_curves_frame
from optbench.report.colours import Style, style, styles
from optbench.report.plots import Entry
from optbench.report.text import clean
from optbench.store import Results, SuiteResults
from optbench.store.files import slug
from optbench.suite.types import Target


@dataclass(frozen=True)
class Group:
    """Rows of one workload, or the combinations of axes where a suite compares those."""

    suite: SuiteResults
    title: str  # of figures
    stem: str  # suffix of the figures' file names; "" where the suite has one group
    workloads: tuple[str, ...]
    rows: tuple[TableRow, ...]
    entries: tuple[Entry, ...]
    heading: str  # of its block in reports; "" where the suite has one group

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(self.rows[0].trial.workload.target)

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a frame that belong to this group, in its order."""
        keys = [entry.key for entry in self.entries]
        own = frame[frame["config_id"].isin(keys)]
        order = own["config_id"].map({key: place for place, key in enumerate(keys)})
        return own.assign(_order=order).sort_values("_order", kind="stable").drop(columns="_order")

    def entries_in(self, frame: pd.DataFrame) -> tuple[Entry, ...]:
        """Return the entries that occur in a frame."""
        known = set(frame["config_id"])
        return tuple(entry for entry in self.entries if entry.key in known)


@dataclass(frozen=True)
class Material:
    """The results that figures are drawn from, their frames, and what figures share."""

    results: Results
    table: pd.DataFrame  # of `analysis.table.comparison`
    verdicts: pd.DataFrame | None
    _frames: dict[Any, pd.DataFrame] = field(default_factory=dict)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        return tuple(group for suite in self.results.suites for group in _groups(suite, self.several_suites))

    @property
    def several_suites(self) -> bool:
        return len(self.results.suites) > 1

    def heading(self, suite: str, workload: str) -> str:
        """Return the heading of a workload's block in reports; "" where the suite has one group."""
        return next(
            (
                group.heading
                for group in self.groups
                if group.suite.name == suite and workload in group.workloads
            ),
            "",
        )

    @cached_property
    def styles(self) -> Mapping[str, Mapping[str, Style]]:
        """Styles of the entries, by name of the suite."""
        return {suite.name: _styles(suite) for suite in self.results.suites}

    def entry(self, suite: str, name: str, label: str = "") -> Entry:
        """Return the entry that is shown as `name`, with the style of that labelled `label` (default: `name`).

        An entry with several horizons in the timed table has the style of its first.
        """
        looks, label = self.styles[suite], label or name
        legend = label if label in looks else next((key for key in looks if key.startswith(f"{label} (")), "")
        return Entry(name, clean(name), looks[legend] if legend else style(0), clean(legend))

    def stem(self, suite: str, workload: str) -> str:
        """Return the suffix of the names of files of a sweep."""
        sweeps = self.frame(sweep_curves_frame)
        several = sweeps.loc[sweeps["suite"] == suite, "workload"].nunique() > 1
        return file_stem(suite if self.several_suites else "", workload if several else "")

    def frame(self, make: Callable[[Results], pd.DataFrame]) -> pd.DataFrame:
        """Return a frame of the results; each is computed once."""
        if make not in self._frames:
            self._frames[make] = make(self.results)
        return self._frames[make]


def file_stem(*parts: str) -> str:
    """Return the non-empty parts joined by dashes, valid as a file name on every system."""
    return "-".join(slug(part, 60) for part in parts if part)


def some(names: list[str], most: int = 4) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _styles(suite: SuiteResults) -> dict[str, Style]:
    return styles(entry_names(suite).values(), entry_families(suite), baseline_names(suite))


def _groups(suite: SuiteResults, several_suites: bool) -> list[Group]:
    rows = table_rows(Results((suite,)))
    names = entry_names(suite)
    looks = _styles(suite)
    prefix = suite.name if several_suites else ""

    def group(title: str, stem: str, own: list[TableRow], heading: str = "") -> Group:
        entries = tuple(
            Entry(row.config_id, names[row.config_id], looks[names[row.config_id]]) for row in own
        )
        workloads = tuple(dict.fromkeys(row.trial.workload_name for row in own))
        return Group(suite, clean(title), file_stem(prefix, stem), workloads, tuple(own), entries, heading)

    workloads = list(dict.fromkeys(row.trial.workload_name for row in rows))
    if cells_compared(rows):
        return [group(suite.name, "", rows)]
    if len(workloads) == 1:
        return [group(suite.name if several_suites else workloads[0], "", rows)]
    return [
        group(name, name, [row for row in rows if row.trial.workload_name == name], clean(name))
        for name in workloads
    ]
