"""Report and figure of measured optimizer steps (`optbench steps`)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from optbench.report.cells import Record, text_column
from optbench.report.colours import style
from optbench.report.document import Block, Column, Report, Section, Table
from optbench.report.drawing import Drawing
from optbench.report.figures import written
from optbench.report.plots import Axis, Entry, Interval, Mark, Panel, Plot, Points, Row
from optbench.report.text import clean, number
from optbench.step_time_results import StepTime, StepTimes

_MIB = 2**20
_ORDER = ("forloop", "foreach", "fused", "compiled", "own")


def steps_report(times: StepTimes) -> Report:
    """Return the report of measured steps; its `table` is `steps_frame`."""
    frame = steps_frame(times)
    threads = f", {times.threads} thread{'s' if times.threads != 1 else ''}" if times.threads else ""
    block = Block(
        heading="",
        facts=clean(
            f"{times.model}: {times.parameters:,} parameters in {times.tensors} tensors, {_mib(times.parameter_bytes)} MiB"
        ),
        tables=(Table.of("Milliseconds per step", _columns(), frame),),
        notes=tuple(_notes(times)),
        measured_on=clean(f"{times.device}{threads}"),
    )
    section = Section(clean(f"Optimizer steps on {times.model}"), "", (block,))
    return Report((section,), frame, pd.DataFrame(columns=["workload", "message"]))


def steps_frame(times: StepTimes) -> pd.DataFrame:
    """Return one row per optimizer and implementation: milliseconds (median, minimum, maximum over rounds), speedup over the
    for-loop, bytes, and milliseconds as a multiple of the floor."""
    loops = {
        row.label: row.median for row in times.rows if row.implementation == "forloop" and not row.problem
    }
    return pd.DataFrame([_record(times, row, loops.get(row.label, math.nan)) for row in times.rows])


def save_figure(times: StepTimes, folder: Path) -> tuple[Path, ...]:
    """Write `steps.svg`, `steps.png` and `steps.pdf`, and return their paths; none without data."""
    plot = _plot(times)
    return written([Drawing("steps", plot.title, "", plot)], folder) if plot.entries else ()


def _plot(times: StepTimes) -> Plot:
    """Return the figure: a bar per implementation, with whiskers over the rounds and a mark at the floor."""
    measured = [row for row in times.rows if not row.problem]
    entries, rows = [], []
    marks: list[Mark] = []
    for place, row in enumerate(measured):
        name = f"{clean(row.label)}, {row.implementation}"
        entries.append(Entry(name, name, style(_ORDER.index(row.implementation))))
        rows.append(Row(place, name, ()))
        marks += [
            Interval(0.0, row.median, place, place, "bar"),
            Interval(min(row.milliseconds), max(row.milliseconds), place),
            Points((row.floor,), (float(place),), marker="|"),
        ]
    notes = (
        "Median, with a line over the range of all rounds.",
        "|: the floor, one pass over the same number of bytes.",
    )
    longest = max((max(row.milliseconds) for row in measured), default=0.0)
    x = Axis("milliseconds per step", low=0.0, high=1.03 * longest)
    panel = Panel(x, Axis(""), tuple(marks), rows=tuple(rows))
    title = f"Steps on {clean(times.device)}"
    return Plot(clean(times.model), title, notes, (panel,), tuple(entries))


def _record(times: StepTimes, row: StepTime, loop: float) -> dict[str, Any]:
    def known(value: float | None) -> float:
        return math.nan if value is None else value

    return {
        "model": times.model,
        "optimizer": row.label,
        "implementation": row.implementation,
        "milliseconds": row.median,
        "milliseconds_low": min(row.milliseconds, default=math.nan),
        "milliseconds_high": max(row.milliseconds, default=math.nan),
        "times_faster_than_forloop": loop / row.median,
        "moved_bytes": known(row.moved_bytes),
        "floor_milliseconds": row.floor,
        "times_the_floor": row.median / row.floor,
        "state_over_parameters": known(row.state_bytes) / times.parameter_bytes,
        "step_peak_over_parameters": known(row.step_peak_bytes) / times.parameter_bytes,
        "compile_seconds": known(row.compile_seconds),
        "rounds": times.rounds,
        "device": times.device,
        "threads": known(times.threads),
        "problem": row.problem,
    }


def _columns() -> list[Column]:
    def times(value: float) -> str:
        return "–" if math.isnan(value) else f"{value:.2f}x"

    def spread(row: Record) -> str:
        low, high = row["milliseconds_low"], row["milliseconds_high"]
        return "–" if math.isnan(low) else f"{number(low)}–{number(high)}"

    return [
        text_column("optimizer"),
        Column("step", lambda row: str(row["implementation"]), text=True),
        Column("\nms", lambda row: number(row["milliseconds"])),
        Column("\nrange", spread),
        Column("faster\nthan loop", lambda row: times(row["times_faster_than_forloop"])),
        Column("MiB\nmoved", lambda row: _mib(row["moved_bytes"])),
        Column("x the\nfloor", lambda row: times(row["times_the_floor"])),
        Column("peak\nx", lambda row: times(row["step_peak_over_parameters"])),
    ]


def _notes(times: StepTimes) -> list[str]:
    notes = [
        f"Median and range over {times.rounds} interleaved rounds. The floor is the time of one pass over memory that moves as many bytes, "
        "measured in the same rounds; an update reads more than it writes, so it can be faster.",
        "Moved: gradients read once, parameters and state read and written. Peak: temporary memory of a step, as a multiple of "
        "the parameters' bytes.",
    ]
    compiled = [row.compile_seconds for row in times.rows if row.compile_seconds and not row.problem]
    if compiled:
        notes.append(
            f"Compiling took {min(compiled):.1f} to {max(compiled):.1f} s per optimizer, not included in the steps."
        )
    notes += [f"{row.label}, {row.implementation}: {row.problem}." for row in times.rows if row.problem]
    return [clean(note) for note in notes]


def _mib(size: float) -> str:
    """Return MiB with three significant digits; whole numbers from 100 on."""
    value = size / _MIB
    return f"{value:,.0f}" if value >= 99.5 else number(value)
