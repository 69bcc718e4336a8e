"""Export of all evaluations as one tidy table, for pandas and spreadsheets."""

from __future__ import annotations

import json

from optbench.analysis.frames import evaluations_frame
from optbench.analysis.survival import survival_frame
from optbench.errors import OptbenchError, nearest
from optbench.report.formats.csv import to_csv
from optbench.report.formats.json import to_records
from optbench.store import Results

FORMATS = ("csv", "json")


def records(results: Results, format: str = "csv", *, survival: bool = False) -> str:
    """Return one row per evaluation (columns: `evaluations_frame`), or the survival curves of time to target (`survival_frame`).

    Raises `OptbenchError` for an unknown format.
    """
    if format not in FORMATS:
        raise OptbenchError(f"unknown format '{format}': {nearest(format, FORMATS)}")
    table = survival_frame(results) if survival else evaluations_frame(results)
    if format == "csv":
        return to_csv(table)
    return json.dumps(to_records(table), indent=1, allow_nan=False) + "\n"
