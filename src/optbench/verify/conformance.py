"""What a training loop may expect of an optimizer, asked of one plug-in: each check is one function, named as it is shown."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from optbench.engine.memory import state_bytes
from optbench.verify import checks_tensors, checks_training
from optbench.verify.bed import Fault, Note, Plugin, advance, said, seed_everything

Outcome = Literal["pass", "fail", "note", "allowed"]


@dataclass(frozen=True)
class Verdict:
    """`note`: no fault, but worth knowing. `allowed`: a fault that the user said is meant."""

    check: str
    outcome: Outcome
    detail: str


def conformance(plugin: Plugin, allow: Sequence[str] = ()) -> list[Verdict]:
    """Every check's verdict, in order. What the plug-in raises is a fault of it."""
    return [_verdict(name, check, plugin, name in allow) for name, check in CHECKS.items()]


def bytes_per_parameter(plugin: Plugin) -> float:
    """Bytes of persistent state for each fp32 parameter, after three steps on a 256 x 128 matrix."""
    valley = plugin.valley(shapes=((256, 128),))
    optimizer = plugin.build(valley)
    advance(plugin, valley, optimizer, range(3))
    return state_bytes([optimizer], list(valley.parameters())) / (256 * 128)


def _verdict(name: str, check: Callable[[Plugin], str], plugin: Plugin, allowed: bool) -> Verdict:
    outcome: Outcome = "pass"
    seed_everything(0)
    try:
        detail = check(plugin)
    except Note as note:
        outcome, detail = "note", str(note)
    except Fault as fault:
        outcome, detail = "fail", str(fault)
    except Exception as error:
        outcome, detail = "fail", _raised(error)
    return Verdict(name, "allowed" if outcome == "fail" and allowed else outcome, detail)


def _raised(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"raises {type(error).__name__}: {said(error)} ({last.filename}, line {last.lineno})"


CHECKS: dict[str, Callable[[Plugin], str]] = {
    "trains": checks_training.trains,
    "groups": checks_training.groups,
    "missing-gradients": checks_training.missing_gradients,
    "state-dict": checks_training.state_dict,
    "deterministic": checks_training.deterministic,
    "lr-0": checks_training.lr_zero,
    "schedule": checks_training.schedule,
    "dtype": checks_tensors.keeps_dtype,
    "zero-gradients": checks_tensors.zero_gradients,
    "one-element": checks_tensors.one_element,
    "scalar": checks_tensors.scalar,
    "bf16": checks_tensors.bf16,
    "channels-last": checks_tensors.channels_last,
    "closure": checks_tensors.closure,
    "gradients": checks_tensors.gradients,
}
