"""A described figure, with where it is shown."""

from __future__ import annotations

from dataclasses import dataclass

from optbench.report.plots import Plot


@dataclass(frozen=True)
class Drawing:
    """A figure with where it is shown."""

    name: str  # of its files, without an ending
    caption: str  # plain text
    suite: str
    plot: Plot
    heading: str = ""  # of its block in reports, where the suite has several
    source: tuple[str, str] = (
        "",
        "",
    )  # workload and source of the published values beside whose table it stands
    of_suite: bool = False  # beside the table of all workloads
    is_main: bool = False  # shown in short reports; the others are linked
    in_files: bool = True
    in_menu: bool = False  # such figures of one heading share a place on the page
    is_captioned: bool = True  # has a title and a note
