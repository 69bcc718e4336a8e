"""Performance profiles over several workloads: share of workloads within a multiple of the fastest entry's time."""

from __future__ import annotations

from collections.abc import Iterator

from optbench.analysis.profiles import MAX_RATIO, profile_frame
from optbench.report.drawing import Drawing
from optbench.report.figures._groups import Material, file_stem
from optbench.report.plots import TIMES, Axis, Line, Panel, Plot

_EDGE = 0.02 * (
    MAX_RATIO - 1
)  # markers at both ends are whole, and a rise at the last ratio is not part of the frame


def drawings(material: Material) -> Iterator[Drawing]:
    for suite, profiles in material.frame(profile_frame).groupby("suite", sort=False):
        entries = tuple(material.entry(str(suite), name) for name in dict.fromkeys(profiles["optimizer"]))
        panels = []
        for time, (_, unit, _) in TIMES.items():
            own = profiles[profiles["unit"] == unit]
            lines = []
            for place, entry in enumerate(entries):
                curve = own[own["optimizer"] == entry.key]
                lines.append(
                    Line(place, tuple(curve["ratio"].tolist()), tuple(curve["share"].tolist()), steps=True)
                )
            least = "minimum" if unit == "seconds" else "fewest"
            x = Axis(
                f"multiple of the {least} {unit.replace('_', ' ')} to target",
                "number",
                1 - _EDGE,
                MAX_RATIO + _EDGE,
            )
            if len(own):
                panels.append(
                    Panel(x, Axis("share of workloads", "share", -0.03, 1.03), tuple(lines), time=time)
                )
        first = profiles.iloc[0]
        notes = (
            f"{first['workloads']} workloads, {first['runs']} trials in total. Time: median over seeds (Kaplan-Meier), infinite if at "
            "most half reached the target. No bands here; the table has one per score. The curves depend on the set of entries.",
        )
        caption = (
            f"Performance profile of {suite}: share of workloads by multiple of the fastest entry's time"
        )
        yield Drawing(
            file_stem("profile", str(suite) if material.several_suites else ""),
            caption,
            str(suite),
            Plot(str(suite), "performance profile", notes, tuple(panels), entries),
            of_suite=True,
        )
