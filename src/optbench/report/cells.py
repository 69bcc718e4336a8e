"""Columns of the comparison tables, and formatting of their cells."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optbench.report.outcomes import status_text
from optbench.report.text import clean, count, in_percent, number, p_value, seconds, with_interval

if TYPE_CHECKING:
    import pandas as pd

Record = dict[Any, Any]
_Show = Callable[[float, float], str]  # a number, and the one whose decimals it takes


@dataclass(frozen=True)
class Cell:
    text: str
    marked: bool = False  # not significantly worse than any other entry


@dataclass(frozen=True)
class Column:
    """Title and cell function of a column. `title` may have two lines; `text` columns are aligned left and may wrap."""

    title: str
    cell: Callable[[Record], Cell | str]
    text: bool = False

    def of(self, record: Any) -> Cell:
        """Return the cell of a record."""
        cell = self.cell(record)
        return cell if isinstance(cell, Cell) else Cell(cell)


def text_column(title: str, name: str = "") -> Column:
    """Return a column with the text of the record's value `name` (default: its title)."""
    return Column(title, lambda row: clean(str(row[name or title])), text=True)


def comparison_columns(table: pd.DataFrame) -> list[Column]:
    """Return the columns of the main table for one block and target."""
    columns = [_optimizer(table)]
    if table["target"].iloc[0]:
        columns += _passages(table)
    if shows_gradients(table):
        columns.append(Column("gradients\nper step", lambda row: count(row["gradient_evaluations_per_step"])))
    metric = str(table["metric"].iloc[0])
    unit = " %" if in_percent(table.iloc[0]) else ""
    columns.append(Column(f"final\n{clean(metric)}{unit}", _final(table)))
    if shows_memory(table):
        columns.append(Column("memory\noverhead", _memory))
    columns.append(_seeds(table))
    columns.append(Column("status", status_text, text=True))
    return columns


def passage_columns(table: pd.DataFrame) -> list[Column]:
    """Return the columns of the tables of further targets."""
    return [_optimizer(table), *_passages(table), _seeds(table)]


def difference_columns(table: pd.DataFrame, unit_of_pairs: str = "seeds") -> list[Column]:
    unit = " (points)" if in_percent(table.iloc[0]) else ""

    def show(value: float) -> str:
        return f"{100 * value:+z.2f}" if unit else f"{value:+z.3g}"

    def difference(row: Record) -> str:
        if math.isnan(row["difference"]):
            return "–"
        return show(row["difference"]) + (" †" if row["imputed"] else "")

    def interval(row: Record) -> str:
        if math.isnan(row["difference_low"]) or row["difference_low"] == row["difference_high"]:
            return "–"
        return f"{show(row['difference_low'])} to {show(row['difference_high'])}"

    return [
        _optimizer(table),
        Column(f"difference{unit}", difference),
        Column("95 % interval", interval),
        Column("p (Holm)", lambda row: p_value(row["difference_p"])),
        Column(unit_of_pairs, lambda row: count(row["difference_n"])),
    ]


def separates_entries(table: pd.DataFrame, group: str) -> bool:
    """Return whether the tests separate entries: some are in the group and some are not."""
    return bool((table[group].eq(False).fillna(False)).any() and (table[group].eq(True).fillna(False)).any())


def none_worse(table: pd.DataFrame) -> bool:
    """Return whether final metrics were compared and no entry is significantly worse than another."""
    group = table["best_group"]
    return bool(group.notna().any() and not group.eq(False).fillna(False).any())


def shows_interval(table: pd.DataFrame) -> bool:
    """Return whether the brackets after times are 95 % intervals (else: ranges over seeds)."""
    return any(bool(table[f"{unit}_to_target_low"].notna().any()) for unit in shown_units(table))


def shown_units(table: pd.DataFrame) -> list[str]:
    """Return epochs and seconds; for imported logs without epochs steps, and seconds only if the log has them."""

    def is_known(unit: str) -> bool:
        return any(bool(table[f"{unit}_{name}"].notna().any()) for name in ("to_target", "budget"))

    if not table["trials"].any() or not any(map(is_known, ("epochs", "steps", "seconds"))):
        return ["epochs", "seconds"]
    lead = next((unit for unit in ("epochs", "steps") if is_known(unit)), None)
    return [unit for unit in (lead, "seconds") if unit is not None and (unit == lead or is_known(unit))]


def shows_memory(table: pd.DataFrame) -> bool:
    """Return whether memory overhead is known; imported logs do not contain it."""
    return bool(table["memory_overhead"].notna().any()) or not table["trials"].any()


def has_memory_range(table: pd.DataFrame) -> bool:
    """Return whether the memory overhead of some entry is a range over seeds."""
    return any(map(_has_memory_range, table.to_dict("records")))


def shows_gradients(table: pd.DataFrame) -> bool:
    """Return whether some entry used more or fewer than one gradient evaluation per step."""
    column = "gradient_evaluations_per_step"
    return column in table and bool(table[column].notna().any())


def _optimizer(table: pd.DataFrame) -> Column:
    several_horizons = table["horizon"].nunique() > 1
    several_sizes = table["batch_size"].nunique() > 1

    def cell(row: Record) -> str:
        extra = [str(row["horizon"])] if several_horizons else []
        extra += [f"batch {row['batch_size']}"] if several_sizes else []
        return clean(str(row["optimizer"])) + (f" ({', '.join(extra)})" if extra else "")

    return Column("optimizer", cell, text=True)


def _passages(table: pd.DataFrame) -> list[Column]:
    marks = separates_entries(table, "fastest_group")
    units = shown_units(table)

    def column(unit: str, show: _Show) -> Column:
        def cell(row: Record) -> Cell:
            marked = marks and unit == units[0] and row["fastest_group"] is True
            return Cell(_passage(row, unit, show), marked)

        return Column(f"{'gradients' if unit == 'gradient_evaluations' else unit}\nto target", cell)

    units += ["gradient_evaluations"] if shows_gradients(table) else []
    return [column(unit, seconds if unit == "seconds" else lambda value, _: count(value)) for unit in units]


def _passage(row: Record, unit: str, show: _Show) -> str:
    if not row["trials"]:
        return "–"
    if not row["reached"]:
        return "not reached"
    name, budget = f"{unit}_to_target", row[f"{unit}_budget"]
    if math.isnan(row[name]):
        return f"> {show(budget, budget)}" if not math.isnan(budget) else "–"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if math.isnan(low):
        low, high = row[f"{name}_min"], row[f"{name}_max"]
    middle = row[name]
    if math.isnan(low) or low == high or row["trials"] == 1:
        return show(middle, middle)
    end = show(high, middle) if not math.isnan(high) else f">{show(budget, middle)}"
    return f"{show(middle, middle)} ({show(low, middle)}–{end})"


def _final(table: pd.DataFrame) -> Callable[[Record], Cell]:
    marks = separates_entries(table, "best_group")
    scale = 100.0 if in_percent(table.iloc[0]) else 1.0
    halves = scale * (table["final_metric_high"] - table["final_metric_low"]) / 2
    narrow = bool(halves.between(1e-9, 0.05).any())

    def show(value: float) -> str:
        return f"{scale * value:z.{2 if narrow else 1}f}" if scale == 100.0 else number(value, 4)

    def show_half(value: float) -> str:
        return show(value) if scale == 100.0 else number(value, 2)

    def cell(row: Record) -> Cell:
        low, high = row["final_metric_low"], row["final_metric_high"]
        text = with_interval(row["final_metric"], low, high, show, show_half)
        return Cell(
            text + (" †" if row["imputed"] and text != "–" else ""), marks and row["best_group"] is True
        )

    return cell


def _memory(row: Record) -> str:
    text = _multiple(row["memory_overhead"])
    if _has_memory_range(row):
        text = f"{_multiple(row['memory_overhead_min'])}–{text}"
    return f">= {text}" if row["memory_note"] and text != "–" else text


def _has_memory_range(row: Record) -> bool:
    least = _multiple(row.get("memory_overhead_min", math.nan))
    return least not in ("–", _multiple(row["memory_overhead"]))


def _multiple(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}x"


def _seeds(table: pd.DataFrame) -> Column:
    if not table["target"].iloc[0]:
        return Column("seeds", lambda row: str(row["trials"]))
    return Column("seeds\nreached", lambda row: f"{row['reached']}/{row['trials']}")
