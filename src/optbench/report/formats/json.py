"""JSON with all rows, notes and warnings of the report."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from optbench.report.document import Report

SUFFIX = ".json"
#: version of this file format
FORMAT = 1


def render(report: Report) -> str:
    content = {
        "format": FORMAT,
        "suites": [
            {
                "title": section.title,
                "command": section.command,
                "workloads": [
                    {
                        "heading": block.heading,
                        "facts": block.facts,
                        "notes": [
                            note.replace("{mark}", "best_group, fastest_group") for note in block.all_notes
                        ],
                        "measured_on": block.measured_on,
                        "summary": to_records(block.numbers) if block.numbers is not None else [],
                    }
                    for block in section.blocks
                ],
            }
            for section in report.sections
        ],
        "rows": to_records(report.table),
        "warnings": to_records(report.warnings),
        **{name: to_records(frame) for name, frame in report.more.items()},
    }
    return (
        json.dumps(content, indent=2, allow_nan=False) + "\n"
    )  # ASCII only, so no terminal control characters


def to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one plain dict per row; unknown and non-finite numbers are None."""
    return [{str(key): _plain(value) for key, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    if value is pd.NA or value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value
