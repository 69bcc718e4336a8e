"""Commands that read and print: `report`, `records`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.errors import OptbenchError, Problem
from optbench.store import Results, read

if TYPE_CHECKING:
    from optbench.report.model import Report

_ENDINGS = {".md": "markdown", ".csv": "csv", ".json": "json", ".txt": "terminal"}


def report(
    paths: Sequence[Path],
    format: str | None,
    output: Path | None,
    save: Path | None,
    *,
    leaderboard: bool = False,
) -> None:
    """One format to standard output or a file, or every format into a folder; or only the leaderboard, in one format."""
    from optbench import report as reports

    if leaderboard and save is not None:
        raise OptbenchError("--leaderboard goes with --format and --output, not with --save")
    results = read(paths)
    if save is not None:
        for path in reports.save(results, save, tuple(reports.known_formats())):
            print(path)
        return
    if format is None:
        format = _ENDINGS.get(output.suffix, "terminal") if output else "terminal"
    reports.check_format(format)
    if leaderboard:
        from optbench.report.leaderboard import build_leaderboard as build
    else:
        from optbench.report.model import build
    if format == "terminal" and output is None:
        print_report(build(results))
    else:
        _write(reports.render_report(build(results), format), output)


def print_tables(results: Results) -> None:
    """The comparison on standard output."""
    from optbench.report.model import build

    print_report(build(results))


def print_report(report: Report) -> None:
    """On standard output, in colour where that is a terminal; 80 columns where it is none."""
    from rich.console import Console

    from optbench.report.formats.terminal import renderable

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 80
    console.print(renderable(report, console.width))


def records(paths: Sequence[Path], format: str, output: Path | None, *, survival: bool = False) -> None:
    from optbench.report.records import records as render

    _write(render(read(paths), format, survival=survival), output)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        return
    from optbench.store.files import explained, make_folder, write_whole

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
    print(output)
