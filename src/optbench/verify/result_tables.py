"""Tables that `optbench verify` prints."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import torch
from rich.console import Group, RenderableType
from rich.text import Text

from optbench.csv_escaping import escape
from optbench.engine.state_memory import StateMemory
from optbench.plurals import counted
from optbench.tables import FittedTable, Paragraph
from optbench.verify.conformance import Verdict
from optbench.verify.equations import IMPLEMENTATIONS, PROBLEMS, STEPS, TOLERANCE, Deviation
from optbench.verify.installed_packages import Checked, columns

_STYLES = {"pass": "green", "fail": "bold red", "note": "yellow", "allowed": "yellow"}
BACKWARD_TOLERANCE = 1e-12
_NAMED = 6  # failed checks in a row of the table of all classes; the CSV has all
_PREFIX = "cannot be checked: "


def deviation_table(deviations: Sequence[Deviation], backward: float, device: torch.device) -> RenderableType:
    """Return a table of maximum relative deviations: one row per optimizer, one column per implementation and precision.

    `backward`: the relative deviation of the hand-written backward pass from autograd.
    """
    dtypes = list(dict.fromkeys(deviation.dtype for deviation in deviations))
    columns = [(implementation, dtype) for dtype in dtypes for implementation in IMPLEMENTATIONS]
    by_cell = {(d.label, d.implementation, d.dtype): d for d in deviations}
    rows = [
        (Text(label), *(_cell(by_cell[label, i, dtype]) for i, dtype in columns))
        for label in dict.fromkeys(deviation.label for deviation in deviations)
    ]
    titles = ("optimizer", *(f"{implementation}\n{_name(dtype)}" for implementation, dtype in columns))
    table = FittedTable(titles, tuple(rows), (True, *(False for _ in columns)))
    bounds = ", ".join(f"{TOLERANCE[dtype]:g} in {_name(dtype)}" for dtype in dtypes)
    by_hand = Text(f"{backward:.1e}", _STYLES["pass" if backward <= BACKWARD_TOLERANCE else "fail"])
    return Group(
        Paragraph(
            Text(
                f"torch {torch.__version__} on {device}: maximum deviation from the reference implementations"
            )
        ),
        "",
        table,
        "",
        Paragraph(
            Text(
                f"Difference of a weight relative to the maximum change in its tensor, over {PROBLEMS} random problems of {STEPS} steps.\n"
                f"Tolerance: {bounds}. '-': not implemented in torch for this device."
            )
        ),
        Paragraph(
            Text.assemble("Two-layer network, hand-written backward pass compared with autograd: ", by_hand)
        ),
    )


def verdict_table(
    name: str,
    verdicts: Sequence[Verdict],
    deviations: Sequence[Deviation],
    state: StateMemory | None,
    printed: str = "",
    setting: str = "",
    sparse: bool = False,
) -> RenderableType:
    """Return a table with one row per check and per deviation from a reference, and notes below it.

    `printed`: output of the plug-in during the checks. `setting`: the entry setting with which the engine calls it in the same way.
    `sparse`: the checks used sparse gradients.
    """
    rows = [(Text(v.check), Text(v.outcome, _STYLES[v.outcome]), Text(v.detail)) for v in verdicts]
    for deviation in deviations:
        outcome = "pass" if deviation.passed else "fail"
        detail = (
            f"deviates by {deviation.value:.1e} from the reference; tolerance {TOLERANCE[deviation.dtype]:g}"
        )
        rows.append(
            (
                Text(f"{deviation.label}, {_name(deviation.dtype)}"),
                Text(outcome, _STYLES[outcome]),
                Text(detail),
            )
        )
    table = FittedTable(("check", "outcome", "detail"), tuple(rows), (True, True, True))
    lines: list[RenderableType] = [Paragraph(Text(name)), "", table, ""]
    if sparse:
        lines.append(
            Paragraph(Text("Checked on matrices with sparse gradients, since it rejects dense ones."))
        )
    if setting:
        lines.append(Paragraph(Text(f"Called as an entry with {setting}.")))
    if state is not None:
        lines.append(Paragraph(Text(_size(state))))
    if output := printed.strip().splitlines():
        first = output[0] if len(output[0]) <= 200 else f"{output[0][:199]}…"
        lines.append(
            Paragraph(Text(f"It printed {len(output)} line{'s' * (len(output) > 1)}, first: {first}"))
        )
    return Group(*lines)


def packages_table(results: Sequence[Checked]) -> RenderableType:
    """Return a table with one row per class: how many checks it passed, and which failed. Long texts are below the table."""
    rows = []
    for one in results:
        passed = sum(verdict.outcome != "fail" for verdict in one.verdicts)
        failed = "not checked" if one.problem else _failed(one)
        share = f"{passed}/{len(one.verdicts)}" if one.verdicts else "-"
        state = "" if one.state is None else f"{one.state / 4:.3g}x"
        style = _STYLES["fail" if failed else "pass"]
        rows.append((Text(one.offered.use), Text(share, style), Text(state), Text(failed)))
    titles = ("optimizer", "passed", "state", "failed checks")
    clean = sum(bool(one.verdicts) and not one.failed for one in results)
    versions = dict.fromkeys(f"{one.offered.package} {one.offered.version}" for one in results)
    return Group(
        FittedTable(titles, tuple(rows), (True, False, False, True)),
        "",
        *(
            Paragraph(
                Text(f"{one.offered.use} was not checked: {one.problem.removeprefix(_PREFIX)}"), hanging=2
            )
            for one in results
            if one.problem
        ),
        Paragraph(Text(f"{clean} of {counted(len(results), 'class', 'classes')} passed all checks.")),
        Paragraph(Text(f"torch {torch.__version__}; {', '.join(versions)}")),
        Paragraph(Text("State: bytes as a multiple of float32 parameters, on a 256 x 128 matrix.")),
    )


def _failed(one: Checked) -> str:
    """Return the names of failed checks, at most `_NAMED`."""
    if one.verdicts and len(one.failed) == len(one.verdicts):
        return "all"
    more = f" and {len(one.failed) - _NAMED} more" if len(one.failed) > _NAMED else ""
    return ", ".join(one.failed[:_NAMED]) + more


def packages_text(results: Sequence[Checked], format_: str) -> str:
    """Return the matrix of classes and checks as CSV or as a Markdown table."""
    names, cells = zip(*columns(results), strict=True)
    rows = list(zip(*cells, strict=True))
    if format_ == "csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([escape(cell) for cell in row] for row in rows)
        return out.getvalue()
    lines = [names, tuple("---" for _ in names), *rows]
    return "".join(
        f"| {' | '.join(c.replace('|', chr(92) + '|').replace(chr(10), ' ') for c in line)} |\n"
        for line in lines
    )


def _size(state: StateMemory) -> str:
    if state.bytes is None:
        return f"State: unknown size ({state.note})"
    each = state.bytes / (256 * 128)
    sign, note = ("at least ", f"; {state.note}") if state.note else ("", "")
    return (
        f"State: {sign}{each:.3g} bytes per parameter, {each / 4:.3g}x the parameters in float32 "
        f"(measured on a 256 x 128 matrix{note})"
    )


def _cell(deviation: Deviation) -> Text:
    if deviation.value is None:
        return Text("-")
    text = f"{deviation.value:.0e}" if deviation.value else "0"
    return Text(text if deviation.passed else f"{text} FAIL", _STYLES["pass" if deviation.passed else "fail"])


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
