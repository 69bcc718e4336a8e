"""Figures of the page: selection and order per block, and their index in the page's data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from optbench.report.document import Report
from optbench.report.figures import Drawing, drawings
from optbench.report.page.markup import Html, el, join
from optbench.report.page.plots import Encoder, points_for
from optbench.store import SuiteResults

#: with more entries, figures with one row per entry are tall and placed together at the end
_MANY = 14


class Drawings:
    """All figures of a report; those placed so far are in `contents`."""

    def __init__(self, report: Report, places: dict[str, int]) -> None:
        self._verdicts = report.more.get("verdicts")
        self._all = (
            drawings(report.results, report.table, self._verdicts) if report.results is not None else ()
        )
        self._encoder = Encoder(places, points_for(drawing.plot for drawing in self._all))
        self.contents: list[dict[str, Any]] = []

    @property
    def arrays(self) -> list[Any]:
        """The arrays of numbers that `contents` refer to."""
        return self._encoder.arrays

    def headings(self, suite: str) -> tuple[str, ...]:
        """Return the headings of the blocks that have figures."""
        return tuple(
            dict.fromkeys(each.heading for each in self._all if each.suite == suite and _is_of_block(each))
        )

    def of_heading(self, suite: str, heading: str) -> Html:
        """Return the figures of a block: first a place with a menu, then the main ones, then the others."""
        own = [
            each
            for each in self._all
            if each.suite == suite and each.heading == heading and _is_of_block(each)
        ]
        menu = [figure for each in own if each.in_menu for figure in self._encoder.figures(each.plot)]
        others = sorted((each for each in own if not each.in_menu), key=_order)
        narrow = [figure for each in others for figure in self._encoder.figures(each.plot)]
        return self._grid([self._figure(menu, "wide")] if menu else [], narrow)

    def of_published(self, suite: str) -> list[Html]:
        """Return the figures of published and measured values per source, in the order of the published blocks."""
        if self._verdicts is None:
            return []
        own = self._verdicts[self._verdicts["suite"] == suite]
        found = []
        for source, _ in own.groupby(["workload", "source"], sort=False):
            drawn = [each for each in self._all if each.suite == suite and each.source == source]
            found.append(
                self._grid([], [figure for each in drawn for figure in self._encoder.figures(each.plot)])
            )
        return found

    def of_suite(self, suite: SuiteResults) -> Html:
        """Return the figures over all workloads; empty for leaderboards, which have their own rules and table."""
        if suite.plan is not None and "leaderboard" in suite.plan.provenance:
            return Html("")
        own = [each for each in self._all if each.suite == suite.name and each.of_suite]
        return self._grid(
            [self._figure([figure], "wide") for each in own for figure in self._encoder.figures(each.plot)],
            [],
        )

    def _grid(self, wide: Sequence[Html], narrow: Iterable[dict[str, Any]]) -> Html:
        """Return figures in rows of two below the wide ones; a single last one is as wide as two."""
        figures = list(narrow)
        last = len(figures) - 1
        sizes = ("span" if place == last and place % 2 == 0 else "" for place in range(len(figures)))
        drawn = [self._figure([figure], size) for figure, size in zip(figures, sizes, strict=True)]
        return el("div", *wide, *drawn, class_="figures") if wide or drawn else Html("")

    def _figure(self, choices: Sequence[dict[str, Any]], size: str) -> Html:
        """Return one figure. `choices`: figures that share a place, with a menu. `size`: "wide", "span" (wide, no taller), or "" for
        half width.
        """
        first = len(self.contents)
        self.contents += choices
        caption = join(
            el("strong", choices[0]["title"], class_="title"), el("p", choices[0]["note"], class_="note")
        )
        places = ",".join(str(first + place) for place in range(len(choices)))
        return el("figure", el("figcaption", caption), class_=f"figure {size} js", data_figures=places)


def _is_of_block(drawing: Drawing) -> bool:
    return not drawing.of_suite and not drawing.source[0]


def _order(drawing: Drawing) -> tuple[bool, bool, int]:
    """Return the sort key of figures: tall ones last, main ones first, those of many panels after single ones."""
    panels = drawing.plot.panels
    is_tall = any(len(panel.rows) > _MANY for panel in panels)
    return is_tall, not drawing.is_main, len({panel.title for panel in panels})
