"""The number columns of a table, checked: a cell that cannot be read is an error with its line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain

from optbench.errors import OptbenchError, Problem
from optbench.importing.cells import Cell, Unreadable, is_grouped, to_numbers, uses_decimal_comma
from optbench.importing.columns import CLOCKS, NUMBERS, STATUS, Columns
from optbench.importing.findings import Findings
from optbench.importing.tables import Table

Numbers = list[float | None]

_SHOWN = 5  # problems of a column
_WHOLE = ("step", "samples", "gradient_evaluations")
_LARGEST_STEP = 2**53


def cells_of(table: Table, column: str) -> Sequence[Cell]:
    found = table.columns.get(column)
    return found if found is not None else [table.constants[column]] * len(table)


def read_numbers(table: Table, columns: Columns, findings: Findings) -> dict[str, Numbers]:
    """Return the number columns by field or column name. Columns that were not mapped and have no number are left out."""
    used = {name: column for name, column in columns.fields.items() if name in NUMBERS}
    used |= {column: column for column in columns.metrics}
    comma = uses_decimal_comma(
        chain.from_iterable(cells_of(table, each) for each in used.values()), table.delimiter
    )
    numbers: dict[str, Numbers] = {}
    problems: list[Problem] = []
    left_out: list[Problem] = []
    for name, column in used.items():
        cells = cells_of(table, column)
        wrong: list[int] = []
        try:
            numbers[name] = to_numbers(cells, percent=column in columns.percent, decimal_comma=comma)
        except Unreadable as error:
            numbers[name], wrong = error.numbers, error.indexes
            if column not in columns.mapped and all(number is None for number in error.numbers):
                findings.note("columns without any number: skipped", f"{table.file}: {column}")
                left_out += _problems(table, column, wrong, "expected a number")
                del numbers[name]
                continue
        if comma and name in _WHOLE:
            wrong = sorted({*wrong, *(index for index, cell in enumerate(cells) if is_grouped(cell))})
        problems += _problems(table, column, wrong, "expected a number")
        if name in NUMBERS and name not in ("train_loss", "learning_rate"):
            problems += _check_clock(table, name, column, numbers[name])
    if problems:
        raise OptbenchError(*problems)
    clocks = [name for name in CLOCKS if name in numbers]
    if STATUS in columns.fields:
        return numbers  # trials that ended before their first evaluation
    if not clocks or not any(column in numbers for column in columns.metrics):
        what = "metric" if clocks else "step, epoch or seconds"
        raise OptbenchError(Problem(f"no column of a {what} has a number", file=table.file), *left_out)
    return numbers


def _check_clock(table: Table, name: str, column: str, numbers: Numbers) -> list[Problem]:
    """Return the problems of a clock, which must be finite; NaN counts as a missing value."""
    wrong, fractions = [], []
    for index, number in enumerate(numbers):
        if number is None:
            continue
        if math.isnan(number):
            numbers[index] = None
        elif not 0 <= number < math.inf or (name == "step" and number > _LARGEST_STEP):
            wrong.append(index)
        elif name == "step" and number != int(number):
            fractions.append(index)
    return [
        *_problems(
            table, column, wrong, f"expected {'a ' if name in CLOCKS[:2] else ''}finite {name} of at least 0"
        ),
        *_problems(table, column, fractions, "expected a whole number of steps"),
    ]


def _problems(table: Table, column: str, indexes: Sequence[int], expected: str) -> Iterator[Problem]:
    cells = cells_of(table, column) if indexes else ()
    for index in indexes[:_SHOWN]:
        found = f"{expected} in column '{column}'; found '{str(cells[index])[:50]}'"
        yield Problem(found, file=table.file, line=table.lines[index] if table.lines else None)
    if len(indexes) > _SHOWN:
        yield Problem(
            f"{len(indexes) - _SHOWN} more cells of column '{column}' cannot be read", file=table.file
        )
