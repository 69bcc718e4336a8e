"""Tables of the cost of updates, convergence, gradients and machine utilisation, for workloads with `study` measurements."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from optbench.analysis.costs import RULES
from optbench.analysis.frames import plain_rows
from optbench.analysis.rows import TableRow
from optbench.report.axes import alone
from optbench.report.cells import Column, Record, text_column
from optbench.report.document import Block, Table
from optbench.report.text import clean, number
from optbench.suite.axes import short

_PREFIXES = ("", "k", "M", "G", "T", "P")


def cost_blocks(costs: pd.DataFrame, rows: Sequence[TableRow]) -> Iterator[Block]:
    """Yield one block per workload. `costs` and `rows` are those of one suite.

    With axes and a single entry, the combinations are the rows of one block.
    """
    if costs.empty:
        return
    if rows[0].trial.axes and alone(rows):
        cells = {
            row.config_id: ", ".join(f"{k}={v}" for k, v in short(row.trial.axes).items()) for row in rows
        }
        costs = costs.assign(optimizer=costs["config_id"].map(cells), workload="", best_use="")
    several = costs["workload"].nunique() > 1
    for workload, own in costs.groupby("workload", sort=False):
        tables = tuple(cost_tables(own))
        if tables:
            heading = "Costs" + (f": {clean(str(workload))}" if several else "")
            yield Block(heading, "Means over seeds", tables, tuple(cost_notes(own)))


def cost_tables(costs: pd.DataFrame) -> Iterator[Table]:
    """Yield the tables of one workload's rows of `costs_frame`, without columns that no row can fill.

    Machine utilisation is shown in long formats only.
    """
    if costs["activation_bytes"].notna().any() or costs["gradient_noise_end"].notna().any():
        yield from _table("Cost per update and per epoch", _COSTS, costs)
        yield from _table("Convergence", _CONVERGENCE, costs)
        if costs["best_use"].ne("").any():
            yield from _table("Best use, derived from the measurements", _USES, costs)
    watched = costs["exploded_steps"].notna().any() or costs["clipped"].notna().any()
    if watched:
        yield from _table("Gradients", _GRADIENTS, costs)
    yield from _table("Machine utilisation during training", _MACHINE, costs, detail=True)


def cost_notes(costs: pd.DataFrame) -> Iterator[str]:
    """Yield the definitions of the columns that are shown."""
    if costs["training_bytes"].notna().any():
        yield (
            "Memory: counted bytes of parameters, gradients, optimizer state and the activations of one batch. FLOPs: matrix products "
            "and convolutions in all forward and backward passes of an update."
        )
    if costs["gradient_noise_end"].notna().any():
        yield (
            "Noise scale: batch size in samples at which the noise of the gradient is as large as the gradient, at the initial and "
            "the final weights (McCandlish et al. 2018); –: too much noise for an estimate."
        )
    if costs["activation_bytes"].notna().any() and costs["best_use"].ne("").any():
        yield RULES
    if costs["exploded_steps"].notna().any():
        yield (
            "Exploded: steps with a gradient norm above 10x the running median; vanished: below 1/1000 of the first median while "
            "the loss is still high."
        )


def _table(
    caption: str, columns: tuple[Column, ...], costs: pd.DataFrame, *, detail: bool = False
) -> Iterator[Table]:
    records = plain_rows(costs)
    shown = [
        column for column in columns[1:] if any(column.of(record).text not in ("–", "") for record in records)
    ]
    if shown:
        yield Table.of(caption, (columns[0], *shown), records, detail)


def _scaled(column: str, unit: str = "", digits: int = 3) -> Callable[[Record], str]:
    """Return a cell function that writes the number with the SI prefix that leaves 1 to 1000."""

    def cell(row: Record) -> str:
        value = float(row[column])
        if math.isnan(value):
            return "–"
        power = min(len(_PREFIXES) - 1, int(math.log10(value) // 3)) if value >= 1 else 0
        return f"{number(value / 1000**power, digits)} {_PREFIXES[power]}{unit}".strip()

    return cell


def _number(column: str, factor: float = 1.0) -> Callable[[Record], str]:
    return lambda row: number(factor * float(row[column]))


_ENTRY = text_column("optimizer")
_BATCH = Column("batch\nsize", lambda row: str(row["batch_size"]))
_COSTS = (
    _ENTRY,
    _BATCH,
    Column("activations", _scaled("activation_bytes", "B")),
    Column("memory", _scaled("training_bytes", "B")),
    Column("peak\nmemory", _scaled("peak_memory_bytes", "B")),
    Column("ms per\nupdate", _number("seconds_per_update", 1e3)),
    Column("ms per\nepoch", _number("seconds_per_epoch", 1e3)),
    Column("FLOPs per\nupdate", _scaled("flops_per_update")),
    Column("FLOPs per\nepoch", _scaled("flops_per_epoch")),
)
_CONVERGENCE = (
    _ENTRY,
    Column("epochs\nto target", _number("epochs_to_target")),
    Column("updates\nto target", _number("steps_to_target")),
    Column("updates with\nrising loss %", _number("loss_rises", 100)),
    Column("noise scale\nat start", _number("gradient_noise_start")),
    Column("noise scale\nat end", _number("gradient_noise_end")),
)
_USES = (
    _ENTRY,
    Column("best use", lambda row: clean(str(row["best_use"])) or "no clear recommendation", text=True),
)
_GRADIENTS = (
    _ENTRY,
    Column("clipped\nsteps %", _number("clipped", 100)),
    Column("exploded\nsteps", _number("exploded_steps")),
    Column("vanished\nsteps", _number("vanished_steps")),
)
_MACHINE = (
    _ENTRY,
    Column("data wait %", _number("data_wait", 100)),
    Column("CPU %", _number("cpu_utilisation", 100)),
    Column("process memory", _scaled("process_memory_bytes", "B")),
    Column("GPU %", _number("gpu_utilisation", 100)),
    Column("GPU power W", _number("gpu_power_watts")),
    Column("GPU clock MHz", _number("gpu_clock_mhz")),
)
