"""Selection of fewer points of a curve for a small drawing; points are never averaged, so that each was measured."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt


def kept(values: npt.NDArray[np.float64], most: int, always: Collection[int] = ()) -> npt.NDArray[np.int_]:
    """Return the positions of at most about `most` values, ascending.

    These are the first and the last, `always`, and the minimum and maximum of each of equal sections in between, so that no spike is
    lost (M4 with two points per section; Jugel et al., VLDB 2014).
    """
    size = len(values)
    if size <= most:
        return np.arange(size)
    stretches = np.array_split(np.arange(size), max(1, (most - 2) // 2))
    chosen = {0, size - 1, *(place for place in always if 0 <= place < size)}
    for stretch in stretches:
        known = stretch[np.isfinite(values[stretch])]
        if len(known):
            chosen |= {int(known[np.argmin(values[known])]), int(known[np.argmax(values[known])])}
    return np.array(sorted(chosen))
