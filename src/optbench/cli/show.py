"""Implementation of `report` and `records`, and functions that print reports."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.errors import OptbenchError, Problem
from optbench.store import Results, read

if TYPE_CHECKING:
    from optbench.report.chart import Line
    from optbench.report.document import Report


@dataclass(frozen=True)
class Selection:
    """What of a report is shown: `tables` by caption and `columns` by title; all if empty."""

    leaderboard: bool = False
    tables: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    captions: bool = True
    chart: bool | None = None
    all_seeds: bool = False

    @property
    def is_part(self) -> bool:
        return bool(self.tables or self.columns)


def report(
    paths: Sequence[Path],
    format: str | None,
    output: Path | None,
    save: Path | None,
    selection: Selection = Selection(),
) -> None:
    """Write one format to standard output or a file, or every format into a folder; or only the leaderboard, in one format.

    An `output` that is a folder, ends in a slash, or has no ending (without a `format`) is a folder for everything, as `save`.
    """
    from optbench import report as reports

    if save is None and output is not None and format is None and _names_folder(output):
        output, save = None, output
    if save is not None:
        _save(paths, save, selection)
        return
    format = reports.chosen_format(format, output)
    _refuse_parts(format, selection)
    results = read(paths, all_seeds=selection.all_seeds)
    shown = _built(results, selection)
    if format == "terminal" and output is None:
        whole = not (selection.leaderboard or selection.is_part)
        print_report(shown, results if whole else None, chart=selection.chart)
    else:
        write(reports.render_report(shown, format), output)


def _save(paths: Sequence[Path], folder: Path, selection: Selection) -> None:
    from optbench import report as reports

    given = [
        (selection.leaderboard, "--leaderboard"),
        (bool(selection.tables), "--table"),
        (bool(selection.columns), "--columns"),
    ]
    if wrong := [
        Problem("cannot be combined with --save; use --format and --output", name) for on, name in given if on
    ]:
        raise OptbenchError(*wrong)
    refuse_file_name(folder)
    results = read(paths, all_seeds=selection.all_seeds)
    if selection.captions:
        files = reports.save_everything(results, folder)
    else:
        files = reports.save(results, folder, reports.saved_formats(), figures=True, captions=False)
    for path in files:
        print(path)


def _refuse_parts(format: str, selection: Selection) -> None:
    """Raise `OptbenchError` for options that the format does not have."""
    from optbench.report.selection import SHOWING_TABLES

    problems = []
    if selection.is_part and format not in SHOWING_TABLES:
        option = "--table" if selection.tables else "--columns"
        problems.append(
            Problem(f"requires one of the formats {', '.join(SHOWING_TABLES)}; found {format}", option)
        )
    if not selection.captions and format != "latex":
        problems.append(
            Problem(f"requires the format latex, or --save; found the format {format}", "--no-captions")
        )
    if problems:
        raise OptbenchError(*problems)


def _built(results: Results, selection: Selection) -> Report:
    from optbench.report.selection import selected

    if selection.leaderboard:
        from optbench.report.leaderboard import build_leaderboard as build
    else:
        from optbench.report.build import build
    shown = replace(build(results), captions=selection.captions)
    return selected(shown, selection.tables, selection.columns) if selection.is_part else shown


def _names_folder(output: Path) -> bool:
    """Return whether the path is a folder. `Path` drops a trailing slash, so a new path without a suffix is a folder."""
    try:
        return output.is_dir() or (output.suffix == "" and not os.path.lexists(output))
    except OSError as error:
        from optbench.store.files import explained

        raise explained(error, output) from error


def print_tables(results: Results) -> None:
    """Print the comparison on standard output."""
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
        from optbench.report.chart import charts as charts_of
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


def refuse_file_name(folder: Path) -> None:
    """Raise `OptbenchError` if the name of a new folder ends as that of a file, as in report.pdf."""
    from mimetypes import guess_type

    if guess_type(folder.name)[0] is not None and not folder.is_dir():
        message = (
            f"expected a folder; '{folder.name}' has the suffix of a file (to write one file, use --output)"
        )
        raise OptbenchError(Problem(message, where="--save"))


def records(
    paths: Sequence[Path],
    format: str | None,
    output: Path | None,
    *,
    survival: bool = False,
    all_seeds: bool = False,
) -> None:
    """Write the records, and report seeds that are not among them on standard error."""
    from optbench.analysis.rows import seeds_not_shown_text
    from optbench.report import chosen_format
    from optbench.report.records import FORMATS
    from optbench.report.records import records as render

    format = chosen_format(format, output, FORMATS)
    results = read(paths, all_seeds=all_seeds)
    for suite in results.suites:
        if further := seeds_not_shown_text(suite):
            print(f"note: {suite.path}: {further}", file=sys.stderr)
    write(render(results, format, survival=survival), output)


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
            Problem("expected a file, found a folder (to write to a folder, use --save)", file=str(output))
        )
    make_folder(output.parent)
    write_whole(output, text if text.endswith("\n") else text + "\n")
    if not is_standard_stream(output):
        print(output)
