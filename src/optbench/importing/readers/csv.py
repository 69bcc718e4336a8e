"""Delimited text: a row per evaluation or log call, with commas, semicolons, tabs or bars between the cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from optbench.importing.delimited import read_delimited
from optbench.importing.findings import Findings
from optbench.importing.tables import Table


def read(paths: Sequence[Path], findings: Findings) -> list[Table]:
    """Return one table per file."""
    return [read_delimited(path, findings) for path in paths]
