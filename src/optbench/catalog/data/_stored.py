"""Arrays in the data root that are read or made once, instead of in each trial."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt


def stored_arrays(file: Path) -> dict[str, npt.NDArray[Any]] | None:
    """Return the arrays of a file by name; None if it is missing or damaged."""
    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except Exception:  # NumPy and zipfile raise many types for a damaged file
        return None


def store_arrays(file: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays to a file, which ends in .npz, as a whole. A data root that cannot be written is not an error."""
    import numpy as np

    partial = file.with_name(f".{file.stem}.{os.getpid()}.npz")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            np.savez_compressed(partial, **arrays)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
