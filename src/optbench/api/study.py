"""Results in Python: documented data frames, figures, and a table in Jupyter."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path

import pandas as pd

from optbench.analysis.frames import evaluations_frame, trials_frame
from optbench.analysis.published import verdicts_frame
from optbench.analysis.sensitivity import sensitivity_frame
from optbench.analysis.statements import statements_frame
from optbench.analysis.table import comparison
from optbench.analysis.tuning import tuning_frame
from optbench.errors import OptbenchError, nearest
from optbench.report import render, save_everything
from optbench.report.build import build
from optbench.report.drawing import Drawing
from optbench.report.figures import FORMATS, file_drawings, rendered
from optbench.report.page.markup import el, join
from optbench.report.page.tables import note_items, table
from optbench.store import Results
from optbench.store.files import write_whole

_COMPARED = ("difference", "difference_low", "difference_high", "difference_p", "difference_n")


@dataclass(frozen=True)
class Figure:
    """A figure. Jupyter shows it; `save` writes it as SVG, PNG or PDF."""

    name: str
    caption: str
    _drawing: Drawing

    def svg(self) -> str:
        """Return the figure as SVG text."""
        return self._render("svg").decode()

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the figure in the format of the suffix (.svg, .png or .pdf). Raises `OptbenchError` for another suffix."""
        path = Path(path)
        suffix = path.suffix.lower().removeprefix(".")
        if suffix not in FORMATS:
            raise OptbenchError(f"unknown format '{suffix}'; {nearest(suffix, FORMATS)}", file=str(path))
        write_whole(path, self._render(suffix))
        return path

    def _render(self, format: str) -> bytes:
        return rendered(self._drawing, formats=(format,))[format]

    def _repr_svg_(self) -> str:
        return self.svg()


class Study:
    """Results of one or more suites.

    Frames are computed when asked for, from the records of all trials. Fractions, multiples and seconds are plain numbers.
    """

    def __init__(self, results: Results) -> None:
        self.results = results

    def table(self) -> pd.DataFrame:
        """Return one row per workload, target and optimizer: the comparison table (columns: `optbench.analysis.table.comparison`)."""
        return self._table.copy()

    def evaluations(self) -> pd.DataFrame:
        """Return one row per evaluation (columns: `optbench.analysis.frames.evaluations_frame`)."""
        return evaluations_frame(self.results)

    def trials(self) -> pd.DataFrame:
        """Return one row per trial, with its status and final metrics (columns: `optbench.analysis.frames.trials_frame`)."""
        return trials_frame(self.results)

    def comparisons(self) -> pd.DataFrame:
        """Return one row per workload and optimizer: the difference of its final metric from the baseline's.

        Columns: suite, workload, horizon, baseline (label), optimizer, metric, difference, difference_low and difference_high
        (95 % interval, paired by seed), difference_p (paired t test, Holm-adjusted), difference_n (seeds).
        """
        table = self._table.drop_duplicates(["suite", "workload", "horizon", "config_id"])
        group = ["suite", "workload", "horizon"]
        baselines = table[table["baseline"]].set_index(group)["optimizer"]
        others = table[~table["baseline"].astype(bool) & table["difference"].notna()].reset_index(drop=True)
        named = (
            others.join(baselines.rename("baseline_label"), on=group)
            if len(others)
            else others.assign(baseline_label=[])
        )
        named = named.drop(columns="baseline").rename(columns={"baseline_label": "baseline"})
        return named[[*group, "baseline", "optimizer", "metric", *_COMPARED]]

    def sensitivity(self) -> pd.DataFrame:
        """Return one row per swept entry (columns: `optbench.analysis.sensitivity.sensitivity_frame`); empty without sweeps."""
        return sensitivity_frame(self.results)

    def verdicts(self) -> pd.DataFrame:
        """Return one row per published value (columns: `optbench.analysis.published.verdicts_frame`); empty without any."""
        return verdicts_frame(self.results)

    def tuning(self) -> pd.DataFrame:
        """Return one row per tuning study (columns: `optbench.analysis.tuning.tuning_frame`); empty without tuning."""
        return tuning_frame(self.results)

    def statements(self) -> pd.DataFrame:
        """Return one row per test of a published statement (columns: `optbench.analysis.statements.statements_frame`)."""
        return statements_frame(self.results)

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of the figures that these results have."""
        return tuple(self._drawings)

    def figure(self, name: str) -> Figure:
        """Return a figure by name. Raises `OptbenchError` with the nearest name if there is none."""
        if name not in self._drawings:
            raise OptbenchError(f"no figure '{name}'; {nearest(name, self._drawings)}")
        drawing = self._drawings[name]
        return Figure(drawing.name, drawing.caption, drawing)

    def save(self, folder: str | PathLike[str]) -> tuple[Path, ...]:
        """Write all reports and figures to a folder, and return the paths. Raises `OptbenchError` if it cannot be written."""
        return save_everything(self.results, Path(folder))

    @cached_property
    def _table(self) -> pd.DataFrame:
        return comparison(self.results)

    @cached_property
    def _drawings(self) -> dict[str, Drawing]:
        verdicts = self.verdicts()
        found = file_drawings(self.results, self._table, verdicts if len(verdicts) else None)
        return {drawing.name: drawing for drawing in found}

    def __repr__(self) -> str:
        return f"Study({', '.join(suite.name for suite in self.results.suites)})"

    def __str__(self) -> str:
        return render(self.results)

    def _repr_html_(self) -> str:
        sections = [
            el(
                "section",
                el("h3", section.title),
                *(
                    join(
                        el("p", f"{block.heading}: {block.facts}" if block.heading else block.facts),
                        *(table(each, {}) for each in block.tables),
                        el("ul", *(el("li", warning) for warning in block.warnings), *note_items(block)),
                    )
                    for block in section.blocks
                ),
            )
            for section in build(self.results).sections
        ]
        return join(*sections)
