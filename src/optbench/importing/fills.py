"""Distinguish NaN that was measured from NaN that means "not measured in this row"."""

from __future__ import annotations

import math
from collections.abc import Iterable

Numbers = list[float | None]


def drop_fills(numbers: dict[str, Numbers], names: Iterable[str], losses: Iterable[str]) -> None:
    """Replace NaN by None in the columns `names` of one run where it stands for a missing value.

    A NaN is a missing value in two cases. The row is of another kind: its columns never have a value in the same row as this
    column. Or the row has a finite training loss, and the column is finite in a later row, so training continued. Every
    other NaN was measured: columns that are logged together, as a loss and an accuracy, become NaN together.
    """
    columns = [name for name in dict.fromkeys(names) if name in numbers]
    with_nan = [
        name for name in columns if any(number is not None and math.isnan(number) for number in numbers[name])
    ]
    if not with_nan:
        return
    finite = {
        name: {i for i, number in enumerate(numbers[name]) if number is not None and math.isfinite(number)}
        for name in columns
    }
    alive = set().union(*(finite[name] for name in losses if name in finite))
    for name in with_nan:
        own = finite[name]
        if not own:
            continue
        together = [other for other in columns if other != name and finite[other] & own]
        apart = [other for other in columns if other != name and finite[other] and not finite[other] & own]
        beside = set().union(*(finite[other] for other in together))
        elsewhere = set().union(*(finite[other] for other in apart))
        nans = [i for i, number in enumerate(numbers[name]) if number is not None and math.isnan(number)]
        resumes = min(nans) < max(own)
        for i in nans:
            if (i in elsewhere and i not in beside) or (resumes and i in alive):
                numbers[name][i] = None
