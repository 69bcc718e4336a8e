"""Bundled series: a time series of the package statsmodels, which downloads nothing (`optbench[data]`)."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from optbench.catalog.data._series import splits
from optbench.catalog.types import DataInfo, Splits
from optbench.errors import OptbenchError, nearest

TASK = "forecasting"
RANGES = {"window": (1, None), "horizon": (1, None)}
#: series -> its column of the file `datasets/<series>/<series>.csv`; "" for a table with a column per month
_COLUMNS = {
    "co2": "co2",
    "elec_equip": "STS.M.I7.W.TOVT.NS0016.4.000",
    "elnino": "",
    "nile": "volume",
    "sunspots": "SUNACTIVITY",
}


def describe(
    root: Path,
    *,
    series: Literal["co2", "elec_equip", "elnino", "nile", "sunspots"] = "co2",
    window: int = 24,
    horizon: int = 6,
    missing: Literal["error", "previous"] = "previous",
) -> DataInfo:
    """`co2`: weekly at Mauna Loa, 2,284 values (59 missing); `elnino`: monthly sea temperature, 732; `sunspots`: yearly, 309;
    `elec_equip`: monthly turnover, 257; `nile`: yearly flow, 100. `missing`: as for `series`."""
    return load(root, series=series, window=window, horizon=horizon, missing=missing).info


def load(
    root: Path,
    *,
    series: Literal["co2", "elec_equip", "elnino", "nile", "sunspots"] = "co2",
    window: int = 24,
    horizon: int = 6,
    missing: Literal["error", "previous"] = "previous",
) -> Splits:
    """Return windows, split by time."""
    import pandas as pd

    if series not in _COLUMNS:
        raise OptbenchError(f"series: statsmodels has no series '{series}' here; {nearest(series, _COLUMNS)}")
    spec = find_spec("statsmodels")  # its files are read; nothing is imported
    if spec is None or spec.origin is None:
        raise OptbenchError("the package statsmodels is not installed: pip install 'optbench[data]'")
    file = Path(spec.origin).parent / "datasets" / series / f"{series}.csv"
    try:
        frame = pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise OptbenchError(f"series: {file}: {str(error).strip()}") from error
    column = _COLUMNS[series]
    values: Any = frame[column].to_numpy() if column else frame.iloc[:, 1:].to_numpy().ravel()
    fingerprint = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    source = f"statsmodels' bundled series {series}"
    return splits({series: values}, series, window, horizon, source, fingerprint, missing=missing)
