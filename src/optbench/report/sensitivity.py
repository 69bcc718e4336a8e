"""Tables of sweeps: width of the basin, expected results of tuning, and regret of the default."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd

from optbench.analysis.compare import FEW_SEEDS
from optbench.analysis.sensitivity import LEVEL_RULE, MARGINS
from optbench.analysis.sweep_times import fastest
from optbench.report.cells import Column, text_column
from optbench.report.document import Block, Table
from optbench.report.outcomes import WORST
from optbench.report.text import clean, in_percent, number, with_interval

Row = Mapping[Any, Any]


def sensitivity_blocks(table: pd.DataFrame, times: pd.DataFrame | None = None) -> list[Block]:
    """Return one block per workload.

    `table`, `times`: the rows of one suite of `analysis.sensitivity.sensitivity_frame` and `analysis.sweep_times.sweep_times_frame`.
    """
    several = table["workload"].nunique() > 1 if len(table) else False
    return [
        _block(
            own,
            f" on {clean(str(workload))}" if several else "",
            fastest(times[times["workload"] == workload]) if times is not None else pd.DataFrame(),
        )
        for workload, own in (table.groupby("workload", sort=False) if len(table) else ())
    ]


def _block(table: pd.DataFrame, on: str, times: pd.DataFrame) -> Block:
    names = ", ".join(dict.fromkeys(table["hyperparameters"]))
    metric = clean(str(table["metric"].iloc[0]))
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    if "level" in table:  # some entry has a seed of which every point ran
        notes = tuple(_notes(table))
        tables = (
            _table("Basin of the learning rate", _basin_columns(table), table),
            _table(f"Validation {metric}, points of the grid drawn at random", _tuning_columns(table), table),
        )
    if len(times):
        tables += (_times_table(times),)
        notes += (TIMES_NOTE,)
    engine = "; many trials ran as one program (stacked)" if set(table["engine"]) == {"stacked"} else ""
    return Block(
        heading=f"Sensitivity{on}",
        facts=clean(f"Swept: {names}; sweep trials are not in the timed table{engine}"),
        tables=tables,
        notes=notes,
        warnings=tuple(_warnings(table)),
    )


def _table(caption: str, columns: list[Column], table: pd.DataFrame) -> Table:
    return Table.of(caption, columns, table[table["level"].notna()])


TIMES_NOTE = (
    "Fewest steps: minimum over all points of the grid, which is optimistic compared with a point chosen beforehand. Seconds to "
    "target are steps x step time: sweep trials share the machine, so the step time is taken from the entry's timed trials, which ran "
    "one at a time. –: no undisturbed timed trial, or the point changes what the update computes and not only its numbers."
)


def _times_table(times: pd.DataFrame) -> Table:
    columns = (
        text_column("optimizer"),
        Column("fewest steps at", lambda row: _point(row["point"])),
        Column("reached", lambda row: f"{row['reached']}/{row['seeds']}"),
        Column("steps\nto target", lambda row: f"{row['steps_to_target']:,.1f}".removesuffix(".0")),
        Column("ms per step,\ntimed alone", lambda row: _number(1000 * row["step_seconds"])),
        Column("seconds to target\n(steps x step time)", lambda row: _number(row["seconds_to_target"])),
    )
    target = clean(str(times["target"].iloc[0]))
    return Table.of(f"Target: {target}, grid point with the fewest steps", columns, times)


def _point(point: Mapping[str, Any]) -> str:
    if len(point) == 1:
        return number(float(next(iter(point.values()))))
    return ", ".join(f"{clean(str(name))}={number(float(value))}" for name, value in point.items())


def _number(value: float) -> str:
    return "–" if math.isnan(value) else number(value, 3)


def _basin_columns(table: pd.DataFrame) -> list[Column]:
    unit = "points" if in_percent(table.iloc[0]) else "%"
    columns = [text_column("optimizer")]
    for name, share in MARGINS.items():
        title = f"decades within\n{100 * share:g} {unit if share > 0.01 else unit.removesuffix('s')}"
        columns.append(Column(title, partial(_width, name)))
    columns.append(Column("best at", lambda row: f"{number(row['best_at'])}{(' ‡' if row['edge'] else '')}"))
    if "target_share" in table:
        columns.append(Column("reach\ntarget %", lambda row: _shown(row, "target_share", _percent)))
    columns.append(Column("worst", lambda row: str(row["failures"])))
    columns.append(Column("sensitivity", lambda row: row["level"], text=True))
    return columns


def _tuning_columns(table: pd.DataFrame) -> list[Column]:
    show = _percent if in_percent(table.iloc[0]) else lambda value: number(value, 3)
    columns = [text_column("optimizer")]
    for name in table.columns:
        trials = name.removeprefix("expected_best_")
        if trials.isdecimal():
            title = f"best of {trials}\nexpected"
            columns.append(Column(title, partial(_measure, name, show)))
    columns.append(Column("default\nregret", lambda row: _shown(row, "default_regret", show)))
    columns.append(Column("rate\nsensitivity", lambda row: _shown(row, "lr_sensitivity", show)))
    columns.append(Column("tunability", lambda row: _shown(row, "tunability", show)))
    return columns


def _shown(row: Row, name: str, show: Callable[[float], str]) -> str:
    return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], show)


def _measure(name: str, show: Callable[[float], str], row: Row) -> str:
    return _shown(row, name, show)


def _width(name: str, row: Row) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if not row["bracketed"]:
        text = _shown(row, name, lambda value: f"{value:.2f}")
        return f">= {text}" if row[f"{name}_open"] else text
    if math.isnan(low):
        return "–"
    return f">= {low:.1f}" if math.isinf(high) else f"{low:.1f} to {high:.1f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _warnings(table: pd.DataFrame) -> list[str]:
    found = []
    left = table.loc[~table["complete"].astype(bool), "optimizer"]
    if len(left):
        found.append(
            f"incomplete sweep for {', '.join(left)}: only seeds for which every point ran are counted"
        )
    engines = dict.fromkeys(engine for engine in table["engine"] if engine)
    if len(engines) > 1 or any(" and " in engine for engine in engines):
        found.append(
            "mixed engines: some trials ran stacked and some in their own process; the two agree in distribution only, so small "
            "differences mean nothing (run again with --fresh and --set engine=plain to use one engine)"
        )
    if "edge" in table:
        edges = [
            f"{row['optimizer']} ({row['edge']})"
            for row in table.fillna({"edge": ""}).to_dict("records")
            if row["edge"]
        ]
        if edges:
            found.append(
                f"best at the edge of the grid: {', '.join(edges)}; a wider grid may contain a better value"
            )
    fewest = int(table["seeds"].min())
    if 0 < fewest < FEW_SEEDS:
        found.append(
            f"preliminary: {fewest} seed{'s' * (fewest != 1)} of the sweep; at least {FEW_SEEDS} are needed for a conclusion"
        )
    return [clean(message) for message in found]


def _notes(table: pd.DataFrame) -> list[str]:
    known = table[table["level"].notna()]
    grid = "; ".join(
        dict.fromkeys(
            f"{row['grid_low']:g} to {row['grid_high']:g}, {row['points']} points ({row['optimizer']})"
            for row in known.to_dict("records")
        )
    )
    notes = [
        f"Grids: {grid}. Values over seeds ± half the 95 % t interval; trials that {WORST} ('worst') count as the worst outcome.",
        "Decades: width of the interval around the best rate in which the metric stays within the margin of the best, interpolated.",
        f"Sensitivity: {LEVEL_RULE}.",
        "Expected best of k: of k points drawn uniformly from this grid (unbiased; Dodge et al. 2019, Tang et al. 2020). Default "
        "regret: best of the grid minus the configured value. Rate sensitivity: mean shortfall over three decades around the "
        "best (after Wortsman et al. 2023). Tunability: weighted mean of the expected best, with the largest weights on the first "
        "trials (Sivaprasad et al. 2020).",
    ]
    if known["bracketed"].astype(bool).any():
        notes.append("'a to b': fewer than 3 points per decade, so only bounds of the width are known.")
    if any(known[f"{name}_open"].astype(bool).any() for name in MARGINS):
        notes.append(">=: the basin extends beyond an end of the grid.")
    if known["width_1_low"].isna().any() and (known["seeds"] > 1).any():
        notes.append(
            "–: no basin, because no point of some seed trained, or because values of 0 or less have no logarithm."
        )
    if (known["edge"] != "").any():
        notes.append("‡: at the edge of the grid.")
    if (known["lr_window"] < 3 - 1e-9).any():
        notes.append(
            "Rate sensitivity is clipped where the grid covers fewer than three decades around the best."
        )
    return [clean(note) for note in notes]
