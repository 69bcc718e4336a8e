"""What `optbench verify` prints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rich.console import Group, RenderableType
from rich.text import Text

from optbench.engine.state_memory import StateMemory
from optbench.tables import FittedTable, Paragraph
from optbench.verify.conformance import Verdict
from optbench.verify.equations import IMPLEMENTATIONS, PROBLEMS, STEPS, TOLERANCE, Deviation

_STYLES = {"pass": "green", "fail": "bold red", "note": "yellow", "allowed": "yellow"}
BACKWARD_TOLERANCE = 1e-12


def deviations(found: Sequence[Deviation], backward: float, device: torch.device) -> RenderableType:
    """A row an optimizer; a column an implementation and precision; the greatest relative deviation in each."""
    dtypes = list(dict.fromkeys(deviation.dtype for deviation in found))
    columns = [(implementation, dtype) for dtype in dtypes for implementation in IMPLEMENTATIONS]
    by_cell = {(d.label, d.implementation, d.dtype): d for d in found}
    rows = [
        (Text(label), *(_cell(by_cell[label, i, dtype]) for i, dtype in columns))
        for label in dict.fromkeys(deviation.label for deviation in found)
    ]
    titles = ("optimizer", *(f"{implementation}\n{_name(dtype)}" for implementation, dtype in columns))
    table = FittedTable(titles, tuple(rows), (True, *(False for _ in columns)))
    bounds = ", ".join(f"{TOLERANCE[dtype]:g} in {_name(dtype)}" for dtype in dtypes)
    by_hand = Text(f"{backward:.1e}", _STYLES["pass" if backward <= BACKWARD_TOLERANCE else "fail"])
    return Group(
        Paragraph(Text(f"torch {torch.__version__} on {device}: greatest deviation from the equations")),
        "",
        table,
        "",
        Paragraph(
            Text(
                f"Deviation of a weight relative to how far its tensor has moved; {PROBLEMS} random problems of {STEPS} steps.\n"
                f"Passes up to {bounds}. '-': torch has no such implementation here."
            )
        ),
        Paragraph(Text.assemble("Two-layer network, backward pass by hand against autograd: ", by_hand)),
    )


def verdicts(
    name: str,
    found: Sequence[Verdict],
    against: Sequence[Deviation],
    state: StateMemory | None,
    printed: str = "",
    setting: str = "",
    sparse: bool = False,
) -> RenderableType:
    """One row per check. `printed`: the plug-in's output during the checks; `setting`: of an entry that is called like here; `sparse`: the
    gradients were."""
    rows = [(Text(v.check), Text(v.outcome, _STYLES[v.outcome]), Text(v.detail)) for v in found]
    for deviation in against:
        outcome = "pass" if deviation.passed else "fail"
        what = f"deviates by {deviation.value:.1e} from the equation; passes up to {TOLERANCE[deviation.dtype]:g}"
        rows.append(
            (
                Text(f"{deviation.label}, {_name(deviation.dtype)}"),
                Text(outcome, _STYLES[outcome]),
                Text(what),
            )
        )
    table = FittedTable(("check", "outcome", "what was found"), tuple(rows), (True, True, True))
    lines: list[RenderableType] = [Paragraph(Text(name)), "", table, ""]
    if sparse:
        lines.append(
            Paragraph(Text("Tried on matrices with sparse gradients, since it takes no dense ones."))
        )
    if setting:
        lines.append(Paragraph(Text(f"Called like an entry with {setting}.")))
    if state is not None:
        lines.append(Paragraph(Text(_size(state))))
    if said := printed.strip().splitlines():
        first = said[0] if len(said[0]) <= 200 else f"{said[0][:199]}…"
        lines.append(Paragraph(Text(f"It printed {len(said)} line{'s' * (len(said) > 1)}, first: {first}")))
    return Group(*lines)


def _size(state: StateMemory) -> str:
    if state.bytes is None:
        return f"State: unknown size ({state.note})"
    each = state.bytes / (256 * 128)
    sign, note = ("at least ", f"; {state.note}") if state.note else ("", "")
    return (
        f"State: {sign}{each:.3g} bytes a parameter, {each / 4:.3g}x parameters in float32 "
        f"(measured on a 256 x 128 matrix{note})"
    )


def _cell(deviation: Deviation) -> Text:
    if deviation.value is None:
        return Text("-")
    text = f"{deviation.value:.0e}" if deviation.value else "0"
    return Text(text if deviation.passed else f"{text} FAIL", _STYLES["pass" if deviation.passed else "fail"])


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
