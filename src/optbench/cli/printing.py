"""Print reports, or write them to files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from optbench.console import standard_output
from optbench.errors import OptbenchError
from optbench.report import build_report, render_report
from optbench.report.chart import Line
from optbench.report.chart import charts as charts_of
from optbench.report.document import Report
from optbench.report.formats.terminal import show
from optbench.store import Results
from optbench.store.files import explained, is_standard_stream, make_folder, write_whole


def print_tables(results: Results) -> None:
    """Print the comparison on standard output."""
    print_report(build_report(results))


def print_report(report: Report, results: Results | None = None, *, chart: bool | None = False) -> None:
    """Print on standard output, in colour where that is a terminal. With `chart`, and with None in a terminal, also print a
    chart of each workload's curves."""
    console = standard_output()
    charts: list[list[Line]] = []
    if results is not None and (console.is_terminal if chart is None else chart):
        from optbench.report.figures import terminal_drawings

        width, height = console.width, console.height if console.is_terminal else 24
        drawn = terminal_drawings(results, report.table)
        charts = [
            charts_of(
                [drawing for drawing in drawn if drawing.suite == suite.name],
                min(width, 120),
                max(8, min(16, height - 14)),
                unicode=console.encoding.lower().replace("-", "") == "utf8",
                dark=os.environ.get("COLORFGBG", "").rpartition(";")[2] not in ("7", "15"),
            )
            for suite in results.suites
        ]
    show(report, console, charts)


def print_format(report: Report, format: str) -> None:
    """Print on standard output in one format."""
    if format == "terminal":
        print_report(report)
    else:
        sys.stdout.write(render_report(report, format))


def refuse_file_name(folder: Path) -> None:
    """Raise `OptbenchError` if the name of a new folder ends as that of a file, as in report.pdf."""
    from mimetypes import guess_type

    if guess_type(folder.name)[0] is not None and not folder.is_dir():
        message = (
            f"expected a folder; '{folder.name}' has the suffix of a file (to write one file, use --output)"
        )
        raise OptbenchError(message, where="--save")


def write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        return
    try:
        is_folder = output.is_dir()
    except OSError as error:
        raise explained(error, output) from error
    if is_folder:
        raise OptbenchError(
            "expected a file, found a folder (to write to a folder, use --save)", file=str(output)
        )
    make_folder(output.parent)
    write_whole(output, text if text.endswith("\n") else text + "\n")
    if not is_standard_stream(output):
        print(output)
