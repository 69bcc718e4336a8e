"""Print every evaluation of every trial as one table.

For pandas, R or a spreadsheet: one row per evaluation, one column per quantity, with the unit in the column name. A trial
that ended before its first evaluation has one row with step 0 and its status.

Examples:
  optbench records results/digits --output digits.csv
  optbench records results/digits --format json
  optbench records results/digits --survival

Exit codes:
  0  written
  2  bad input
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from optbench.analysis.rows import seeds_not_shown_text
from optbench.cli.options import AllSeeds, Output, flag, option
from optbench.cli.printing import write
from optbench.cli.result_paths import ResultPaths
from optbench.report import chosen_format
from optbench.report.records import FORMATS
from optbench.report.records import records as render
from optbench.store import read

PLACE = "Read results", 2


def records(
    paths: ResultPaths = None,
    format: Annotated[
        Literal["csv", "json"] | None,
        option("FORMAT", "csv or json. Default: the suffix of --output, otherwise csv."),
    ] = None,
    output: Output = None,
    survival: Annotated[
        bool,
        flag(
            "--survival",
            "Print Kaplan-Meier curves of the time to target with 95 % bands instead, in each unit.",
        ),
    ] = False,
    all_seeds: AllSeeds = False,
) -> None:
    chosen = chosen_format(format, output, FORMATS)
    results = read(paths or [Path("results")], all_seeds=all_seeds)
    for suite in results.suites:
        if further := seeds_not_shown_text(suite):
            print(f"note: {suite.path}: {further}", file=sys.stderr)
    write(render(results, chosen, survival=survival), output)
