"""Figures of the page: selection and order per group, and their index in the page's data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import pandas as pd

from optbench.analysis.curves import curves_frame
from optbench.analysis.finals import finals_frame
from optbench.analysis.parts import memory_parts_frame, time_parts_frame
from optbench.analysis.profile_curves import profile_frame
from optbench.analysis.survival import survival_frame
from optbench.analysis.sweep_curves import sweep_curves_frame, sweep_grid_frame
from optbench.report.document import Report
from optbench.report.page import figures
from optbench.report.page.curves import curves, points_for
from optbench.report.page.entries import Group
from optbench.report.page.figures import Figure
from optbench.report.page.markup import Html, el, join
from optbench.store import Results, SuiteResults

#: with more entries, figures with one row per entry are tall and placed together at the end
_MANY = 14


class Drawings:
    """Figures placed so far (`contents`), and the frames they are drawn from, which are computed on first use."""

    def __init__(self, report: Report, places: dict[str, int]) -> None:
        self._report, self._results = report, report.results or Results(())
        self._places = places
        self.contents: list[dict[str, Any]] = []

    def of_group(self, suite: str, group: Group) -> Html:
        """Return all figures of a group; empty without measurements."""

        def own(frame: pd.DataFrame) -> pd.DataFrame:
            if frame.empty:
                return frame
            within = frame["workload"] == group.workload if group.workload else True
            return frame[(frame["suite"] == suite) & within]

        table = own(self._report.table)
        metrics, others = curves(own(self._curves), table, group, points_for(self._curves))
        reached = figures.survival(own(self._survival), group)
        finals = figures.finals(own(self._finals), table, group)
        parts = (figures.memory(own(self._memory), group), figures.time(own(self._time), group))
        swept = figures.sensitivity(own(self._sweeps), group)
        upper = [each for each in (finals, *parts) if each is not None]
        lower, many = [*swept, *others], len(group.names) > _MANY
        narrow = [
            *reached,
            *(lower if many else upper),
            *(upper if many else lower),
        ]
        drawn = [
            self._figure([each], "span" if place == len(narrow) - 1 and place % 2 == 0 else "")
            for place, each in enumerate(narrow)
        ]
        wide = [self._figure(metrics, "wide")] if metrics else []
        drawn += [self._figure([each], "span") for each in figures.maps(own(self._grids), group)]
        return el("div", *wide, *drawn, class_="figures") if wide or drawn else Html("")

    def of_published(self, suite: str) -> list[Html]:
        """Return the figures of published and measured values per source, in the order of the published blocks."""
        verdicts = self._report.more.get("verdicts")
        if verdicts is None:
            return []
        own = verdicts[verdicts["suite"] == suite]
        found = []
        for _, claims in own.groupby(["workload", "source"], sort=False):
            drawn = figures.published(claims, Group("", "", {}, self._places))
            found.append(self._row(drawn) if drawn else Html(""))
        return found

    def _row(self, drawn: Sequence[Figure]) -> Html:
        """Return figures in rows of two; a single last one is as wide as two."""
        last = len(drawn) - 1
        sizes = ("span" if place == last and place % 2 == 0 else "" for place in range(len(drawn)))
        return el(
            "div",
            *(self._figure([each], size) for each, size in zip(drawn, sizes, strict=True)),
            class_="figures",
        )

    def of_suite(self, suite: SuiteResults) -> Html:
        """Return the performance profile over workloads; empty for leaderboards, which have their own rules and table."""
        if suite.plan is not None and "leaderboard" in suite.plan.provenance:
            return Html("")
        frame = self._profiles
        drawn = figures.profile(frame[frame["suite"] == suite.name], Group("", "", {}, self._places))
        return el("div", self._figure([drawn], "wide"), class_="figures") if drawn else Html("")

    def _figure(self, choices: Sequence[Figure], size: str) -> Html:
        """`size`: "wide", "span" (wide, no taller), or "" for half of the width."""
        first = len(self.contents)
        self.contents += [{"title": each.title, "note": each.note} | each.content for each in choices]
        caption = join(
            el("strong", choices[0].title, class_="title"), el("p", choices[0].note, class_="note")
        )
        places = ",".join(str(first + place) for place in range(len(choices)))
        return el("figure", el("figcaption", caption), class_=f"figure {size} js", data_figures=places)

    @cached_property
    def _curves(self) -> pd.DataFrame:
        return curves_frame(self._results)

    @cached_property
    def _survival(self) -> pd.DataFrame:
        return survival_frame(self._results)

    @cached_property
    def _finals(self) -> pd.DataFrame:
        return finals_frame(self._results)

    @cached_property
    def _memory(self) -> pd.DataFrame:
        return memory_parts_frame(self._results)

    @cached_property
    def _time(self) -> pd.DataFrame:
        return time_parts_frame(self._results)

    @cached_property
    def _sweeps(self) -> pd.DataFrame:
        return sweep_curves_frame(self._results)

    @cached_property
    def _grids(self) -> pd.DataFrame:
        return sweep_grid_frame(self._results)

    @cached_property
    def _profiles(self) -> pd.DataFrame:
        return profile_frame(self._results)
