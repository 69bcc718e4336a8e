"""What `optbench verify` prints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from optbench.verify.conformance import Verdict
from optbench.verify.equations import IMPLEMENTATIONS, PROBLEMS, STEPS, TOLERANCE, Deviation

_STYLES = {"pass": "green", "fail": "bold red", "note": "yellow", "allowed": "yellow"}
BACKWARD_TOLERANCE = 1e-12


def deviations(found: Sequence[Deviation], backward: float, device: torch.device) -> RenderableType:
    """A row an optimizer; a column an implementation and precision; the greatest relative deviation in each."""
    dtypes = list(dict.fromkeys(deviation.dtype for deviation in found))
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("optimizer", no_wrap=True)
    columns = [(implementation, dtype) for dtype in dtypes for implementation in IMPLEMENTATIONS]
    for implementation, dtype in columns:
        table.add_column(f"{implementation}\n{_name(dtype)}", justify="right", no_wrap=True)
    by_cell = {(d.label, d.implementation, d.dtype): d for d in found}
    for label in dict.fromkeys(deviation.label for deviation in found):
        table.add_row(label, *(_cell(by_cell[label, i, dtype]) for i, dtype in columns))
    bounds = ", ".join(f"{TOLERANCE[dtype]:g} in {_name(dtype)}" for dtype in dtypes)
    by_hand = Text(f"{backward:.1e}", _STYLES["pass" if backward <= BACKWARD_TOLERANCE else "fail"])
    return Group(
        f"torch {torch.__version__} on {device}: greatest deviation from the equations",
        "",
        table,
        "",
        f"Deviation of a weight relative to how far its tensor has moved; {PROBLEMS} random problems of {STEPS} steps.",
        f"Passes up to {bounds}. '-': torch has no such implementation here.",
        Text.assemble("Two-layer network, backward pass by hand against autograd: ", by_hand),
    )


def verdicts(
    name: str,
    found: Sequence[Verdict],
    against: Sequence[Deviation],
    state_bytes: float | None,
    printed: str = "",
) -> RenderableType:
    """A row a check. `printed`: what the plug-in wrote meanwhile."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("check", "", "what was found"):
        table.add_column(column, overflow="fold")
    for verdict in found:
        table.add_row(verdict.check, Text(verdict.outcome, _STYLES[verdict.outcome]), verdict.detail)
    for deviation in against:
        outcome = "pass" if deviation.passed else "fail"
        what = f"deviates by {deviation.value:.1e} from the equation; passes up to {TOLERANCE[deviation.dtype]:g}"
        table.add_row(f"{deviation.label}, {_name(deviation.dtype)}", Text(outcome, _STYLES[outcome]), what)
    lines: list[RenderableType] = [name, "", table, ""]
    if state_bytes is not None:
        lines.append(
            f"State: {state_bytes:.3g} bytes a parameter, {state_bytes / 4:.3g}x parameters in float32 (measured on a 256 x 128 matrix)"
        )
    if said := printed.strip().splitlines():
        lines.append(Text(f"It printed {len(said)} line{'s' * (len(said) > 1)}, first: {said[0][:200]}"))
    return Group(*lines)


def _cell(deviation: Deviation) -> Text:
    if deviation.value is None:
        return Text("-")
    text = f"{deviation.value:.0e}" if deviation.value else "0"
    return Text(text if deviation.passed else f"{text} FAIL", _STYLES["pass" if deviation.passed else "fail"])


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
