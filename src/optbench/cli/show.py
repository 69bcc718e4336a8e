"""Commands that read and print: `report`, `records`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.errors import OptbenchError, Problem
from optbench.store import Results, read

if TYPE_CHECKING:
    from optbench.report.chart import Line
    from optbench.report.document import Report


def report(
    paths: Sequence[Path],
    format: str | None,
    output: Path | None,
    save: Path | None,
    *,
    leaderboard: bool = False,
    chart: bool | None = None,
) -> None:
    """One format to standard output or a file, or every format into a folder; or only the leaderboard, in one format.

    An `output` that is a folder, ends in a slash, or has no ending (without a `format`) is a folder for everything, as `save`.
    """
    from optbench import report as reports

    if save is None and output is not None and format is None and _names_folder(output):
        output, save = None, output
    if leaderboard and save is not None:
        raise OptbenchError("--leaderboard goes with --format and --output, not with --save")
    if save is not None:
        refuse_file_name(save)
    else:
        format = reports.chosen_format(format, output)
    results = read(paths)
    if save is not None:
        for path in reports.save_everything(results, save):
            print(path)
        return
    assert format is not None
    if leaderboard:
        from optbench.report.leaderboard import build_leaderboard as build
    else:
        from optbench.report.build import build
    if format == "terminal" and output is None:
        print_report(build(results), None if leaderboard else results, chart=chart)
    else:
        write(reports.render_report(build(results), format), output)


def _names_folder(output: Path) -> bool:
    """A path that was typed with a slash at its end has lost it on the way here: no ending then says the same."""
    try:
        return output.is_dir() or (output.suffix == "" and not os.path.lexists(output))
    except OSError as error:
        from optbench.store.files import explained

        raise explained(error, output) from error


def print_tables(results: Results) -> None:
    """The comparison on standard output."""
    from optbench.report.build import build

    print_report(build(results))


def print_report(report: Report, results: Results | None = None, *, chart: bool | None = False) -> None:
    """Print on standard output, in colour where that is a terminal. With `chart`, and with None in a terminal, also print a
    chart of each workload's curves."""
    from optbench.console import standard_output
    from optbench.report.formats.terminal import show

    console = standard_output()
    charts: list[list[Line]] = []
    if results is not None and (console.is_terminal if chart is None else chart):
        from optbench.report.curve_charts import curve_charts

        width, height = console.width, console.height if console.is_terminal else 24
        charts = curve_charts(
            results,
            min(width, 120),
            max(8, min(16, height - 14)),
            unicode=console.encoding.lower().replace("-", "") == "utf8",
            dark=os.environ.get("COLORFGBG", "").rpartition(";")[2] not in ("7", "15"),
        )
    show(report, console, charts)


def refuse_file_name(folder: Path) -> None:
    """Raise `OptbenchError` if the name of a new folder ends as that of a file, as in report.pdf."""
    from mimetypes import guess_type

    if guess_type(folder.name)[0] is not None and not folder.is_dir():
        message = f"expected a folder; '{folder.name}' ends as the name of a file (--output writes one file)"
        raise OptbenchError(Problem(message, where="--save"))


def records(
    paths: Sequence[Path], format: str | None, output: Path | None, *, survival: bool = False
) -> None:
    from optbench.report import chosen_format
    from optbench.report.records import FORMATS
    from optbench.report.records import records as render

    format = chosen_format(format, output, FORMATS)
    write(render(read(paths), format, survival=survival), output)


def write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        return
    from optbench.store.files import explained, is_standard_stream, make_folder, write_whole

    try:
        is_folder = output.is_dir()
    except OSError as error:
        raise explained(error, output) from error
    if is_folder:
        raise OptbenchError(
            Problem("expected a file; this is a folder (use --save for a folder)", file=str(output))
        )
    make_folder(output.parent)
    write_whole(output, text if text.endswith("\n") else text + "\n")
    if not is_standard_stream(output):
        print(output)
