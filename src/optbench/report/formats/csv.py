"""Tidy CSV, one row for each suite, workload, target and optimizer, as in `report.csv`."""

from __future__ import annotations

import pandas as pd
from pandas.api.types import is_numeric_dtype

from optbench.csv_escaping import escape
from optbench.report.document import Report
from optbench.report.text import clean

SUFFIX = ".csv"


def render(report: Report) -> str:
    return to_csv(report.table)


def to_csv(table: pd.DataFrame) -> str:
    """Return the table as CSV text; unknown numbers are empty cells.

    Text that a spreadsheet would run as a formula gets a leading apostrophe, which `optbench import csv` removes.
    Control characters are left out.
    """
    safe = table.rename(columns=_escaped)
    for column in safe.columns:
        known = safe[column]
        if not is_numeric_dtype(known):
            safe[column] = pd.Series([_escaped(value) for value in known], known.index, known.dtype)
    text: str = safe.to_csv(index=False, lineterminator="\n")
    return text


def _escaped(value: object) -> object:
    return escape(clean(value)) if isinstance(value, str) else value
