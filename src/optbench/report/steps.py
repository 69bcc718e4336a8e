"""Report and figure of measured optimizer steps (`optbench steps`)."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.report.cells import Record
from optbench.report.colours import LIGHT
from optbench.report.document import Block, Cell, Column, Report, Section, Table
from optbench.report.text import clean, number
from optbench.steptimes import StepTime, StepTimes
from optbench.store.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

_MIB = 2**20
_ORDER = ("forloop", "foreach", "fused", "compiled", "own")


def steps_report(times: StepTimes) -> Report:
    """Return the report of measured steps; its `table` is `steps_frame`."""
    import pandas as pd

    frame = steps_frame(times)
    columns = _columns()
    rows = tuple(tuple(column.cell(row) for column in columns) for row in frame.to_dict("records"))
    threads = f", {times.threads} thread{'s' if times.threads != 1 else ''}" if times.threads else ""
    block = Block(
        heading="",
        facts=clean(
            f"{times.model}: {times.parameters:,} parameters in {times.tensors} tensors, {_mib(times.parameter_bytes)} MiB"
        ),
        tables=(Table("Milliseconds per step", tuple(columns), rows),),
        notes=tuple(_notes(times)),
        warnings=(),
        measured_on=clean(f"{times.device}{threads}"),
    )
    section = Section(clean(f"Optimizer steps on {times.model}"), "", (block,), (), "")
    return Report((section,), frame, pd.DataFrame(columns=["workload", "message"]))


def steps_frame(times: StepTimes) -> pd.DataFrame:
    """Return one row per optimizer and implementation: milliseconds (median, minimum, maximum over rounds), speedup over the
    for-loop, bytes, and milliseconds as a multiple of the floor."""
    import pandas as pd

    loops = {
        row.label: row.median for row in times.rows if row.implementation == "forloop" and not row.problem
    }
    return pd.DataFrame([_record(times, row, loops.get(row.label, math.nan)) for row in times.rows])


def save_figure(times: StepTimes, folder: Path) -> tuple[Path, ...]:
    """Write `steps.svg` and `steps.png`, and return their paths; none without data.

    One bar per implementation, with whiskers over the rounds and a line at the floor.
    """
    from matplotlib.figure import Figure

    measured = [row for row in times.rows if not row.problem]
    if not measured:
        return ()
    labels = list(dict.fromkeys(row.label for row in measured))
    names = [name for name in _ORDER if any(row.implementation == name for row in measured)]
    figure = Figure(
        figsize=(6.9, 1.1 + 0.16 * max(4, len(measured)) + 0.12 * len(labels)), layout="constrained"
    )
    axes = figure.subplots()
    place, ticks = 0.0, []
    for label in labels:
        own = [row for row in measured if row.label == label]
        ticks.append(place + (len(own) - 1) / 2)
        for row in own:
            low, high = row.median - min(row.milliseconds), max(row.milliseconds) - row.median
            axes.barh(place, row.median, 0.85, color=LIGHT[_ORDER.index(row.implementation)])
            axes.errorbar(
                row.median, place, xerr=[[low], [high]], color="#222222", linewidth=0.7, capsize=1.5
            )
            axes.plot([row.floor] * 2, [place - 0.46, place + 0.46], color="#222222", linewidth=1.4)
            place += 1
        place += 0.8
    for name in names:
        axes.barh(0, 0, color=LIGHT[_ORDER.index(name)], label=name)
    axes.plot([], [], color="#222222", linewidth=1.4, label="floor: one pass over the same number of bytes")
    axes.set_yticks(ticks, [_shortened(label) for label in labels], fontsize=7, parse_math=False)
    axes.invert_yaxis()
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel("milliseconds per step (median; whiskers: all rounds)", fontsize=7)
    axes.set_title(
        f"Steps on {_shortened(times.model, 60)}, {clean(times.device)}",
        fontsize=8,
        loc="left",
        parse_math=False,
    )
    axes.spines[["top", "right"]].set_visible(False)
    handles, texts = axes.get_legend_handles_labels()  # lines first, so that the floor is
    order = [*range(1, len(handles)), 0]
    figure.legend(
        [handles[i] for i in order],
        [texts[i] for i in order],
        fontsize=7,
        ncols=len(order),
        columnspacing=1.2,
        frameon=False,
        loc="outside lower center",
    )
    paths = tuple(folder / f"steps.{suffix}" for suffix in ("svg", "png"))
    for path in paths:
        file = io.BytesIO()
        figure.savefig(file, dpi=220, format=path.suffix[1:])
        write_whole(path, file.getvalue())
    return paths


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

    def spread(row: Record) -> Cell:
        low, high = row["milliseconds_low"], row["milliseconds_high"]
        return Cell("–" if math.isnan(low) else f"{number(low)}–{number(high)}")

    return [
        Column("optimizer", lambda row: Cell(clean(str(row["optimizer"]))), text=True),
        Column("step", lambda row: Cell(str(row["implementation"])), text=True),
        Column("\nms", lambda row: Cell(number(row["milliseconds"]))),
        Column("\nrange", spread),
        Column("faster\nthan loop", lambda row: Cell(times(row["times_faster_than_forloop"]))),
        Column("MiB\nmoved", lambda row: Cell(_mib(row["moved_bytes"]))),
        Column("x the\nfloor", lambda row: Cell(times(row["times_the_floor"]))),
        Column("peak\nx", lambda row: Cell(times(row["step_peak_over_parameters"]))),
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


def _shortened(label: str, most: int = 34) -> str:
    text = clean(label)
    return text if len(text) <= most else f"{text[: most - 1]}…"
