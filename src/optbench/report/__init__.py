"""Reports of results in several formats. A format is a file in `formats/` with `SUFFIX` and `render(report) -> str`.

`SUFFIX` is the ending of its files. A run and `--save` write every format except those with `SAVED = False`. Heavy modules are
imported when a report is rendered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from optbench.errors import OptbenchError, nearest
from optbench.report.document import Picture, Report
from optbench.store import Results
from optbench.store.files import make_folder, write_whole

_FOLDER = Path(__file__).parent / "formats"


def render(results: Results, format: str = "terminal") -> str:
    """Return the comparison in one format. Raises `OptbenchError` for an unknown format."""
    check_format(format)
    return render_report(build_report(results), format)


def build_report(results: Results) -> Report:
    """Return the comparison of results, which every format shows."""
    from optbench.report import build

    return build.build(results)


def build_leaderboard(results: Results) -> Report:
    """Return the scores over all workloads, by the rules of the AlgoPerf competition."""
    from optbench.report import leaderboard

    return leaderboard.build_leaderboard(results)


def render_report(report: Report, format: str = "terminal") -> str:
    """Return a report in one format. Raises `OptbenchError` for an unknown format."""
    check_format(format)
    text: str = import_module(f"optbench.report.formats.{format}").render(report)
    return text


def chosen_format(format: str | None, output: Path | None, among: Sequence[str] = ()) -> str:
    """Return `format`, or else the format of the file name's ending; the first of all formats without either.

    `among`: the formats that a command has, if not all. Raises `OptbenchError` for an unknown format or ending.
    """
    names = tuple(among) or tuple(
        sorted((file.stem for file in _files()), key=lambda name: name != "terminal")
    )
    if format is not None:
        if format not in names:
            raise OptbenchError(f"unknown format '{format}': {nearest(format, names)}")
        return format
    if output is None or not output.suffix:
        return names[0]
    endings = {import_module(f"optbench.report.formats.{name}").SUFFIX: name for name in names}
    if output.suffix.lower() not in endings:
        known = ", ".join(f"{ending} ({name})" for ending, name in endings.items())
        message = f"no format has the suffix '{output.suffix}'; expected one of {known}; or choose a format with --format"
        raise OptbenchError(message, where="--output", file=str(output))
    return endings[output.suffix.lower()]


def check_format(format: str) -> None:
    """Raise `OptbenchError` for an unknown format."""
    chosen_format(format, None)


def saved_formats() -> tuple[str, ...]:
    """Return the formats that a run and `--save` write; the others are written only by name."""
    modules = {
        name: import_module(f"optbench.report.formats.{name}") for name in (file.stem for file in _files())
    }
    return tuple(name for name, module in modules.items() if getattr(module, "SAVED", True))


def _files() -> list[Path]:
    return [file for file in sorted(_FOLDER.glob("*.py")) if not file.stem.startswith("_")]


def save(
    results: Results,
    folder: Path,
    formats: Sequence[str] = ("markdown", "csv"),
    *,
    figures: bool = False,
    captions: bool = True,
) -> tuple[Path, ...]:
    """Write `report.md`, `report.csv`, ... atomically and return the paths; with CSV also `verdicts.csv` and the like, if any.

    Figures are written to `figures/` as SVG, PNG and PDF; files that are up to date are not written again. Numbers are
    written first, and Markdown, which shows the figures, last. Without `captions`, figures have neither title nor note, and LaTeX
    tables no caption. Raises `OptbenchError` if a file cannot be written.
    """
    report = replace(build_report(results), captions=captions)
    make_folder(folder)
    paths = {}
    for name in sorted(formats, key=lambda name: name == "markdown"):
        module = import_module(f"optbench.report.formats.{name}")
        if name == "markdown" and figures:
            report, drawn = _with_figures(report, results, folder)
        paths[name] = folder / f"report{module.SUFFIX}"
        write_whole(paths[name], module.render(report))
    more = []
    for name, frame in report.more.items() if "csv" in formats else ():
        more.append(folder / f"{name}.csv")
        write_whole(more[-1], import_module("optbench.report.formats.csv").to_csv(frame))
    return (*(paths[name] for name in formats), *more, *(drawn if figures else ()))


def save_everything(results: Results, folder: Path) -> tuple[Path, ...]:
    """Write all saved formats and the figures. Raises `OptbenchError` if a file cannot be written."""
    return save(results, folder, saved_formats(), figures=True)


def _with_figures(report: Report, results: Results, folder: Path) -> tuple[Report, tuple[Path, ...]]:
    """Write the figures; return the report with links to them, and their paths."""
    from optbench.report import figures

    drawn = figures.file_drawings(results, report.table, report.more.get("verdicts"))
    found = tuple(replace(each, is_captioned=report.captions) for each in drawn)
    paths = figures.written(found, folder / "figures")
    sections = tuple(
        replace(
            section,
            pictures=tuple(
                Picture(f"figures/{each.name}.svg", each.caption, each.is_main)
                for each in found
                if each.suite == suite.name
            ),
        )
        for suite, section in zip(results.suites, report.sections, strict=True)
    )
    return replace(report, sections=sections), paths
