"""Print the comparison tables of results, or write them.

Needs no torch and no GPU.

Examples:
  optbench report
  optbench report results/digits --format markdown
  optbench report claims --table Statements
  optbench report results/digits --output table.csv
  optbench report results/digits --save paper
  optbench report results/digits --format latex --table "target" --columns optimizer,final,seeds --no-captions

Exit codes:
  0  written
  2  bad input: no results found, or an unknown format
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from optbench import report as reports
from optbench.cli.options import AllSeeds, Output, OutputFormat, flag, option
from optbench.cli.printing import print_report, refuse_file_name, write
from optbench.cli.result_paths import ResultPaths
from optbench.errors import OptbenchError, Problem
from optbench.report.document import Report
from optbench.report.selection import SHOWING_TABLES, selected
from optbench.store import Results, read
from optbench.store.files import explained

PLACE = "Read results", 1


@dataclass(frozen=True)
class Options:
    """Arguments and options of the command. Tables and columns are all if empty."""

    paths: ResultPaths = None
    format: OutputFormat = None
    output: Output = None
    save: Annotated[Path | None, option("DIR", "Write every format into this folder.")] = None
    chart: Annotated[
        bool | None, flag("--chart/--no-chart", "Print curves below the tables. Default: only in a terminal.")
    ] = None
    leaderboard: Annotated[
        bool,
        flag(
            "--leaderboard",
            "Print only the score over all workloads, by the rules of the AlgoPerf competition.",
        ),
    ] = False
    tables: Annotated[
        list[str] | None,
        option("CAPTION", "Print only tables whose caption contains this text. Repeatable.", "--table"),
    ] = None
    columns: Annotated[
        str | None, option("TITLES", "Print only these columns, in this order, for example optimizer,final.")
    ] = None
    captions: Annotated[
        bool,
        flag(
            "--captions/--no-captions",
            "With --no-captions, figures have no title or note, and LaTeX tables no float, caption or note.",
        ),
    ] = True
    all_seeds: AllSeeds = False

    @property
    def titles(self) -> tuple[str, ...]:
        """Titles of the selected columns."""
        return tuple(filter(None, (title.strip() for title in (self.columns or "").split(","))))

    @property
    def is_part(self) -> bool:
        return bool(self.tables or self.titles)


def report(options: Options) -> None:
    """Write one format to standard output or a file, or every format into a folder; or only the leaderboard, in one format.

    An `output` that is a folder, ends in a slash, or has no ending (without a `format`) is a folder for everything, as `save`.
    """
    output = options.output
    if options.save is not None:
        _save(options, options.save)
        return
    if output is not None and options.format is None and _names_folder(output):
        _save(options, output)
        return
    format = reports.chosen_format(options.format, output)
    _refuse_parts(format, options)
    results = _read(options)
    shown = _built(results, options)
    if format == "terminal" and output is None:
        whole = not (options.leaderboard or options.is_part)
        print_report(shown, results if whole else None, chart=options.chart)
    else:
        write(reports.render_report(shown, format), output)


def _read(options: Options) -> Results:
    return read(options.paths or [Path("results")], all_seeds=options.all_seeds)


def _save(options: Options, folder: Path) -> None:
    given = [
        (options.leaderboard, "--leaderboard"),
        (bool(options.tables), "--table"),
        (bool(options.titles), "--columns"),
    ]
    if wrong := [
        Problem("cannot be combined with --save; use --format and --output", name) for on, name in given if on
    ]:
        raise OptbenchError(*wrong)
    refuse_file_name(folder)
    results = _read(options)
    if options.captions:
        files = reports.save_everything(results, folder)
    else:
        files = reports.save(results, folder, reports.saved_formats(), figures=True, captions=False)
    for path in files:
        print(path)


def _refuse_parts(format: str, options: Options) -> None:
    """Raise `OptbenchError` for options that the format does not have."""
    problems = []
    if options.is_part and format not in SHOWING_TABLES:
        option = "--table" if options.tables else "--columns"
        problems.append(
            Problem(f"requires one of the formats {', '.join(SHOWING_TABLES)}; found {format}", option)
        )
    if not options.captions and format != "latex":
        problems.append(
            Problem(f"requires the format latex, or --save; found the format {format}", "--no-captions")
        )
    if problems:
        raise OptbenchError(*problems)


def _built(results: Results, options: Options) -> Report:
    built = reports.build_leaderboard(results) if options.leaderboard else reports.build_report(results)
    shown = replace(built, captions=options.captions)
    return selected(shown, tuple(options.tables or ()), options.titles) if options.is_part else shown


def _names_folder(output: Path) -> bool:
    """Return whether the path is a folder. `Path` drops a trailing slash, so a new path without a suffix is a folder."""
    try:
        return output.is_dir() or (output.suffix == "" and not os.path.lexists(output))
    except OSError as error:
        raise explained(error, output) from error
