"""Columns of tables in files, as arrays that are checked; messages name the file, the column and the row."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.catalog.data._text import check_utf8
from optbench.errors import OptbenchError
from optbench.plurals import counted

_OF_PARSER = "Error tokenizing data. C error: "

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


def read_table(path: str) -> pd.DataFrame:
    """Return the table of a CSV or Parquet file, not empty and with distinct names of columns. Raises `OptbenchError`.

    Rows are counted from 1, without the header.
    """
    import pandas as pd

    file = Path(path).expanduser()
    is_parquet = file.suffix.lower() in (".parquet", ".pq")
    try:
        file.stat()  # pandas imports pyarrow first
        frame = pd.read_parquet(file) if is_parquet else _read_csv(file)
    except FileNotFoundError:
        raise OptbenchError(f"path: no such file: {file}") from None
    except ImportError:
        message = f"path: {file}: Parquet files need the package pyarrow: pip install pyarrow"
        raise OptbenchError(message) from None
    except UnicodeDecodeError as error:
        check_utf8(file.read_bytes(), f"path: {file}", "convert the file to UTF-8")
        raise OptbenchError(f"path: {file}: not UTF-8: convert the file to UTF-8") from error
    except OSError as error:
        raise OptbenchError(f"path: {file}: {error.strerror or error}") from error
    except pd.errors.EmptyDataError:
        raise OptbenchError(f"path: {file}: expected a header and rows; the file is empty") from None
    except ValueError as error:  # pandas' errors of parsing are ValueErrors, and name the line
        raise OptbenchError(f"path: {file}: {str(error).strip().removeprefix(_OF_PARSER)}") from error
    if frame.empty:
        raise OptbenchError(f"path: {file}: expected rows below the header; found none")
    return frame


def identity(path: str) -> tuple[str, str]:
    """Return the file as messages name it, and a fingerprint of its content."""
    file = Path(path).expanduser()
    return str(file), hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _read_csv(file: Path) -> pd.DataFrame:
    """Read a file whose header fits its rows: pandas renames repeated names, and takes surplus values as an index.

    Reading two lines without a header raises an error for a surplus value in the second.
    """
    import pandas as pd

    def rows(**options: Any) -> pd.DataFrame:
        table: pd.DataFrame = pd.read_csv(file, header=None, dtype=str, skipinitialspace=True, **options)
        return table

    header = str(rows(nrows=1, sep="\x01").iloc[0, 0])
    if "," not in header and (separator := max(";\t|", key=header.count)) in header:
        raise OptbenchError(
            f"path: {file}: line 1: expected columns separated by commas; found {header!r}, which {separator!r} seems to separate: "
            "convert the file, with points in decimal numbers"
        )
    first = rows(nrows=2).iloc[0]
    names = ["" if isinstance(name, float) else str(name) for name in first]
    for position, name in enumerate(names):
        here = f"path: {file}: line 1: column {position + 1}"
        if not name:
            raise OptbenchError(f"{here} has no name: add one, or remove the column (an index of pandas?)")
        if name in names[:position]:
            raise OptbenchError(
                f"{here} is called '{name}', as column {names.index(name) + 1} is: rename one"
            )
    return pd.read_csv(file, low_memory=False, skipinitialspace=True)


def numbers_of(values: Any, name: str, source: str) -> npt.NDArray[np.float64]:
    """Return a column as float64, missing values as NaN. Raises `OptbenchError` for times, and with the first row that has no number."""
    import numpy as np

    if values.dtype.kind in "fiub":
        return values.astype(np.float64)  # type: ignore[no-any-return]
    import pandas as pd  # takes half a second, in each trial

    series = pd.Series(values)
    if series.dtype.kind in "mM":
        raise OptbenchError(
            f"{source}: column '{name}': expected numbers; found times ({series.dtype}): convert them to numbers, or remove the column"
        )
    numbers = pd.to_numeric(series, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = np.flatnonzero(np.isnan(numbers) & series.notna().to_numpy())
    if len(wrong):
        raise OptbenchError(
            f"{source}: column '{name}', row {wrong[0] + 1}: expected a number; found {str(values[wrong[0]])!r}"
        )
    return numbers


def check_finite(
    numbers: npt.NDArray[np.float64], name: str, source: str, fix: str = "fill or remove them"
) -> None:
    """Raise `OptbenchError` with the first row of a column that is missing or infinite. `fix`: what to do about missing values."""
    import numpy as np

    for wrong, found, advice in (
        (np.isnan(numbers), "a missing value", fix),
        (np.isinf(numbers), "an infinite one", "correct or remove them"),
    ):
        rows = np.flatnonzero(wrong)
        if len(rows):
            raise OptbenchError(
                f"{source}: column '{name}', row {rows[0] + 1}: expected a number; found {found} "
                f"({counted(len(rows), 'such row')}): {advice}"
            )


def check_varies(numbers: npt.NDArray[np.float64], name: str, source: str) -> None:
    """Raise `OptbenchError` for a target that has one value only."""
    if numbers.min() == numbers.max():
        raise OptbenchError(
            f"{source}: column '{name}': expected different values to predict; found {numbers[0]:g} in all {len(numbers)} rows"
        )
