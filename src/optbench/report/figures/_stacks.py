"""Stacked horizontal bars whose parts are distinguishable in grey by lightness and hatching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Part:
    colour: str
    hatch: str = ""


def handles(parts: Mapping[str, Part]) -> list[Any]:
    """Return the legend handles."""
    from matplotlib.patches import Patch

    return [Patch(label=name, **_look(part)) for name, part in parts.items()]


def draw_stacks(axes: Axes, frame: pd.DataFrame, keys: Sequence[str], parts: Mapping[str, Part]) -> None:
    """Draw one stacked bar per key, the first at the top. `frame`: config_id, part, value."""
    for place, key in enumerate(keys):
        own = frame[frame["config_id"] == key].set_index("part")["value"]
        start = 0.0
        for name, part in parts.items():
            value = float(own.get(name, 0.0))
            axes.barh([place], [value], left=[start], height=0.66, zorder=3, **_look(part))
            start += value


def _look(part: Part) -> dict[str, Any]:
    return {"facecolor": part.colour, "edgecolor": "#54616a", "linewidth": 0.4, "hatch": part.hatch or None}
